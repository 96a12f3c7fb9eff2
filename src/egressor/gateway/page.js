"use strict";

// Each state: its rank (the worst first), a sign beside the word, and a colour that only repeats them.
const STATES = {
  forced_open: [0, "✖", "open (forced)", "bad"],
  banned: [1, "⛔", "banned", "bad"],
  open: [2, "✖", "open", "bad"],
  paused: [3, "‖", "paused", "wait"],
  half_open: [4, "◐", "half-open", "wait"],
  disabled: [6, "○", "breaker off", "soft"],
  closed: [7, "✔", "ok", "good"],
};
const LEVELS = ["critical", "high", "medium", "low"];
const EVERY_MS = 1000;
const STALE_S = 5;

let seenAt = null;
let failed = "";

function cell(name, content, kind) {
  const node = document.createElement("td");
  node.dataset.name = name;
  if (kind) node.className = kind;
  if (content instanceof Node) node.append(content);
  else node.textContent = content;
  return node;
}

function list(lines, none) {
  if (!lines.length) return none;
  const node = document.createElement("ul");
  for (const line of lines) {
    const item = document.createElement("li");
    item.textContent = line;
    node.append(item);
  }
  return node;
}

function total(numbers) {
  return Object.values(numbers || {}).reduce((sum, number) => sum + number, 0);
}

function rank(service) {
  const known = STATES[service.state];
  if (!known) return 5;
  return known[0] === 7 && service.retry_after_s > 0 ? 5 : known[0];
}

function breaker(service) {
  const state = service.breaker.state || service.state;
  const openings = service.breaker.openings_total;
  return state.replace("_", "-") + (openings ? `, opened ${openings}×` : "");
}

function everywhere(service, own, all) {
  if (!service) return own;
  const node = document.createElement("div");
  node.append(own instanceof Node ? own : String(own));
  const line = document.createElement("div");
  line.className = "soft";
  line.textContent = `${all} in ${service.members} processes`;
  node.append(line);
  return node;
}

function row(name, service, fleet) {
  const [, sign, word, kind] = STATES[service.state] || [0, "?", service.state, "wait"];
  const notes = [];
  if (service.paused) notes.push(service.paused);
  if (service.ban.until_s > 0) notes.push(`ban: ${Math.ceil(service.ban.until_s)} s left`);
  if (service.retry_after_s > 0) notes.push(`retry after ${Math.ceil(service.retry_after_s)} s`);

  const state = document.createElement("div");
  const main = document.createElement("span");
  main.className = `state ${kind}`;
  const icon = document.createElement("span");
  icon.setAttribute("aria-hidden", "true");
  icon.textContent = `${sign} `;
  main.append(icon, word);
  state.append(main);
  for (const note of notes) {
    const line = document.createElement("div");
    line.className = "soft";
    line.textContent = note;
    state.append(line);
  }

  const limits = service.limits.map((limit) => `${limit.left} of ${limit.limit} ${limit.unit}: ${limit.name}`);
  const waiting = LEVELS.filter((level) => service.waiting[level]).map((level) => `${service.waiting[level]} ${level}`);
  const heading = document.createElement("th");
  heading.scope = "row";
  heading.textContent = name;
  const node = document.createElement("tr");
  node.append(
    heading,
    cell("State", state),
    cell("Breaker", breaker(service)),
    cell("Limits left", list(limits, "no limit")),
    cell("Waiting", everywhere(fleet, list(waiting, "0"), fleet && total(fleet.waiting))),
    cell("In flight", everywhere(fleet, service.in_flight, fleet && fleet.in_flight), "number"),
    cell("OK", service.succeeded, "number"),
    cell("Failed", service.failed, "number"),
    cell("Refused", total(service.denied), "number"),
  );
  return node;
}

function show(status) {
  const shared = status.fleet ? status.fleet.services : {};
  const entries = Object.entries(status.services);
  entries.sort(([a, one], [b, two]) => rank(one) - rank(two) || two.failed - one.failed || (a < b ? -1 : 1));
  document.getElementById("services").replaceChildren(...entries.map(([name, service]) => row(name, service, shared[name])));
  const minutes = Math.floor(status.uptime_s / 60);
  document.getElementById("about").textContent =
    `version ${status.version}, up ${minutes < 1 ? `${Math.floor(status.uptime_s)} s` : `${minutes} min`}` +
    (status.draining ? ", stopping" : "") +
    (status.fleet && status.fleet.away ? ", the store is away: only this process is shown" : "") +
    (status.last_reload_error ? ", last reload failed: the former configuration holds" : "");
}

function showAge() {
  const node = document.getElementById("age");
  const age = seenAt === null ? null : Math.floor((performance.now() - seenAt) / 1000);
  const stale = age === null ? failed !== "" : age > STALE_S;
  node.textContent = (age === null ? "no data yet" : `data is ${age} s old`) + (failed ? ` (${failed})` : "");
  node.classList.toggle("stale", stale);
  document.getElementById("services").classList.toggle("old", stale);
}

async function poll() {
  try {
    const answer = await fetch("/-/status.json", { cache: "no-store", signal: AbortSignal.timeout(4000) });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    show(await answer.json());
    seenAt = performance.now();
    failed = "";
  } catch {
    failed = "the gateway does not answer";
  }
  showAge();
  setTimeout(poll, EVERY_MS);
}

setInterval(showAge, EVERY_MS);
poll();
