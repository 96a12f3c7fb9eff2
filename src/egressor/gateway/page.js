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
const GROUPS = {
  open: ["✖", "open", "bad"],
  reopened: ["✖", "reopened", "bad"],
  muted: ["○", "muted", "soft"],
  resolved: ["✔", "resolved", "good"],
};
const BANS = {
  active: ["⛔", "banned", "bad"],
  over: ["✔", "over", "soft"],
  ended: ["✔", "ended", "good"],
  lifted: ["✔", "lifted", "good"],
};
const EVERY_MS = 1000;
const LEDGER_MS = 15000;
const MOST_ROWS = 20;
const DAY_S = 86400;
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

function badge(sign, word, kind) {
  const node = document.createElement("span");
  node.className = `state ${kind}`;
  const icon = document.createElement("span");
  icon.setAttribute("aria-hidden", "true");
  icon.textContent = `${sign} `;
  node.append(icon, word);
  return node;
}

function head(text) {
  const node = document.createElement("th");
  node.scope = "row";
  node.textContent = text;
  return node;
}

function line(...cells) {
  const node = document.createElement("tr");
  node.append(...cells);
  return node;
}

function since(stamp) {
  const seconds = Math.floor((Date.now() - Date.parse(stamp)) / 1000);
  if (!(seconds >= 0)) return stamp ? day(stamp) : "";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  return seconds < DAY_S ? `${Math.floor(seconds / 3600)} h ago` : day(stamp);
}

function day(stamp) {
  return `${String(stamp).slice(0, 16).replace("T", " ")} UTC`;
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
  if (service.slowed_s > 0) notes.push(`slowed after a 429 for ${Math.ceil(service.slowed_s)} s`);
  if (service.cache) notes.push(`cache: ${service.cache.hits} hits, ${service.cache.misses} misses`);

  const state = document.createElement("div");
  state.append(badge(sign, word, kind));
  for (const note of notes) {
    const line = document.createElement("div");
    line.className = "soft";
    line.textContent = note;
    state.append(line);
  }

  const limits = service.limits.map((limit) => `${limit.left} of ${limit.limit} ${limit.unit}: ${limit.name}`);
  const waiting = LEVELS.filter((level) => service.waiting[level]).map((level) => `${service.waiting[level]} ${level}`);
  return line(
    head(name),
    cell("State", state),
    cell("Breaker", breaker(service)),
    cell("Limits left", list(limits, "no limit")),
    cell("Waiting", everywhere(fleet, list(waiting, "0"), fleet && total(fleet.waiting))),
    cell("In flight", everywhere(fleet, service.in_flight, fleet && fleet.in_flight), "number"),
    cell("OK", service.succeeded, "number"),
    cell("Failed", service.failed, "number"),
    cell("Refused", total(service.denied), "number"),
  );
}

function group(each) {
  const [sign, word, kind] = GROUPS[each.state] || ["?", each.state, "wait"];
  return line(
    head(each.endpoint ? `${each.service}/\u200b${each.endpoint}` : each.service),
    cell("Category", each.category.replaceAll("_", " ")),
    cell("State", badge(sign, word, kind)),
    cell("Count", each.count, "number"),
    cell("Gave up", each.gave_up, "number"),
    cell("Last seen", since(each.last_seen)),
    cell("Fingerprint", each.fingerprint, "mono"),
    cell("Message", each.message, "text"),
  );
}

function ban(each) {
  const [sign, word, kind] = BANS[each.state] || ["?", each.state, "wait"];
  const until = each.ended || each.until || "";
  return line(
    head(each.service),
    cell("State", badge(sign, word, kind)),
    cell("Began", since(each.began)),
    cell("Until", until ? day(until) : ""),
    cell("Scope", each.scope || ""),
    cell("Because of", each.rule || "", "text"),
  );
}

function fill(name, rows, summary) {
  document.getElementById(name).replaceChildren(...rows);
  document.getElementById(`${name}-table`).hidden = !rows.length;
  document.getElementById(`${name}-summary`).textContent = summary;
}

function showErrors(found) {
  const most = Math.max(1, ...found.timeline.map((hour) => hour.count));
  const hours = found.timeline.map((hour) => {
    const node = document.createElement("li");
    node.className = hour.gave_up ? "lost" : hour.count ? "some" : "";
    node.style.height = `${Math.round((100 * hour.count) / most)}%`;
    return node;
  });
  document.getElementById("hours").replaceChildren(...(found.total ? hours : []));
  const rate = found.recovery_rate === null ? "" : ` (${Math.round(100 * found.recovery_rate)} %)`;
  const lost = found.dropped ? `; ${found.dropped} were dropped` : "";
  const away = found.ledger.away ? `; the ledger is away: ${found.ledger.away}` : "";
  const sums =
    `${found.total} failed attempts of ${found.calls} calls in 24 hours: ${found.recovered} recovered${rate}, ` +
    `${found.fell_back} fell back, ${found.gave_up} gave up`;
  fill("errors", found.groups.map(group), (found.total ? sums : "none in 24 hours") + lost + away);
}

function showBans(found) {
  const active = found.active.length;
  fill("bans", found.bans.map(ban), active ? `${active} in force` : found.total ? "none in force" : "none");
}

async function get(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(4000) });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  return answer.json();
}

async function look() {
  const from = Math.floor(Date.now() / 1000) - DAY_S;
  try {
    showErrors(await get(`/-/errors.json?since=${from}&groups=${MOST_ROWS}&recent=0`));
    showBans(await get(`/-/bans.json?limit=${MOST_ROWS}`));
  } catch {
    // How old the data is, the header says; what is shown stays.
  }
  setTimeout(look, LEDGER_MS);
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
    show(await get("/-/status.json"));
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
look();
