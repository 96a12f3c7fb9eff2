"""
Whether the promises held: decided from what the services have noted, and from what the client was answered.

The judge shares nothing with the governor but the numbers of `cast`. It counts again instead of believing anybody: how
much arrived in each window, when the breaker must have been open, until when a service wanted to be left alone. What
was on the wire already when an answer changed the state is no offence: `GRACE` is for that.

A promise that a run has not put to the test is neither kept nor broken: its finding is None.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from .cast import AGE_AFTER, ATTEMPTS, BOUND, BUDGET, CAST, CONSECUTIVE, OPEN_FOR, PRIORITIES, PROBES, Service

if TYPE_CHECKING:
    from .journal import Arrival, Notes

__all__ = ["GRACE", "Finding", "Reply", "allowed", "bans", "first_waits", "judge"]

GRACE = 0.25
"""
Seconds for which requests may still arrive that were sent before an answer was read.
"""

_NANO = 1_000_000_000
_DAY = 86_400
# On a machine that is busy, one request may overtake another between the gate and the service.
_SHARE = 0.002
_FEWEST = 20
_MARGIN = _NANO // 20
_NEAR = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """
    What the client was answered.

    Attributes:
        service: By which service.
        priority: The call's priority.
        status: The status; 0 if the answer broke.
        reason: The gateway's reason if it refused; else empty.
        has_retry_after: Whether the answer said when to come back.
    """

    service: str
    priority: str
    status: int
    reason: str = ""
    has_retry_after: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One promise.

    Attributes:
        promise: Its number.
        text: What was promised.
        held: Whether it held; None if it was not put to the test.
        detail: The figures.
        services: The services on which it was judged: those where the run put it to the test.
    """

    promise: str
    text: str
    held: bool | None
    detail: str
    services: tuple[str, ...] = ()


def judge(
    notes: Notes, replies: Sequence[Reply], status: Mapping[str, Mapping[str, Any]], *, charged: int = 0
) -> list[Finding]:
    """
    Return a finding for each promise.

    Args:
        notes: What the services have noted.
        replies: What the client was answered.
        status: The services of the gateway's ``status.json``, after the last call.
        charged: What the gateway's ledger has charged, in micro-dollars.
    """
    return [
        _limits(notes),
        _priorities(notes),
        _rest(status),
        _refusals(replies),
        _probes(notes),
        _money(notes, replies, charged),
        _attempts(notes),
        _retry_after(notes),
    ]


def allowed(service: Service, arrivals: Sequence[Arrival]) -> int:
    """
    Return the units that *service* allowed from the first to the last of *arrivals*.
    """
    if not arrivals:
        return 0
    if service.burst is None:
        windows = int(arrivals[-1].wall // service.period) - int(arrivals[0].wall // service.period) + 1
        return windows * service.amount
    span = (arrivals[-1].at_ns - arrivals[0].at_ns) / _NANO
    return int(span * service.amount / service.period) + service.burst + 1


def bans(arrivals: Iterable[Arrival]) -> int:
    """
    Count the bans among *arrivals*: what was on its way when one began belongs to it.
    """
    number = until = 0
    for each in arrivals:
        if each.status == 418:
            number += each.at_ns >= until
            until = each.done_ns + each.retry_after * _NANO
    return number


def first_waits(arrivals: Iterable[Arrival]) -> dict[str, list[float]]:
    """
    Return, by priority, the seconds from the start of each call to its first arrival.
    """
    waits: dict[str, list[float]] = {name: [] for name in PRIORITIES}
    seen: set[str] = set()
    for each in arrivals:
        if each.call not in seen and each.priority in waits:
            seen.add(each.call)
            waits[each.priority].append((each.at_ns - each.sent_ns) / _NANO)
    return waits


def _limits(notes: Notes) -> Finding:
    refused = over = total = 0
    judged = _seen(each.service for each in notes.arrivals)
    shared = [name for name in judged if not CAST[name].is_ours]
    for name in judged:
        service, arrivals = CAST[name], notes.of(name)
        total += len(arrivals)
        if service.is_ours:
            refused += sum(each.status in {403, 429} for each in arrivals)
            over += _over(service, arrivals)
        else:
            over += _beyond(service, arrivals)
    text = "no window over what the server allows"
    detail = f"{over} over by the judge's count, {refused} refused by the servers, of {total} requests"
    if shared:
        detail += f"; refusals of {', '.join(shared)} don't count, as others use up the same limit"
    return Finding("P1", text, max(refused, over) <= _SHARE * total if total else None, detail, judged)


def _seen(names: Iterable[str]) -> tuple[str, ...]:
    """
    Return the services among *names*, in the order of the cast.
    """
    found = set(names)
    return tuple(name for name in CAST if name in found)


def _over(service: Service, arrivals: Iterable[Arrival]) -> int:
    """
    Count the requests that *service* did not allow.
    """
    over = 0
    if service.burst is None:
        used: Counter[int] = Counter()
        for each in arrivals:
            window = int(each.wall // service.period)
            used[window] += each.cost
            over += used[window] > service.amount
        return over
    level, at = 0.0, 0
    for each in arrivals:
        level = max(0.0, level - (each.at_ns - at) / _NANO * service.amount / service.period) + each.cost
        at = each.at_ns
        if level > service.burst + 1:
            over += 1
            level -= each.cost
    return over


def _beyond(service: Service, arrivals: Sequence[Arrival]) -> int:
    """
    Count the requests of ours that no window should hold, wherever it begins, if others use up the server's windows.

    What left a whole period apart may arrive a little closer together.
    """
    span = int(service.period * _NANO) - _MARGIN
    inside: deque[Arrival] = deque()
    used = over = 0
    for each in arrivals:
        inside.append(each)
        used += each.cost
        while inside[0].at_ns <= each.at_ns - span:
            used -= inside.popleft().cost
        over += used > service.amount
    return over


def _priorities(notes: Notes) -> Finding:
    pairs = wrong = 0
    judged: set[str] = set()
    firsts = {each.call: each for each in reversed(notes.arrivals)}
    lines: dict[tuple[str, str], list[Arrival]] = {}
    for each in reversed(firsts.values()):
        lines.setdefault((each.service, each.line), []).append(each)
    for line in lines.values():
        for before, after in combinations(line, 2):
            # Both waited when the first was let go, and not at the same moment as the second.
            if after.sent_ns + _MARGIN < before.at_ns and before.at_ns + _MARGIN < after.at_ns:
                first, second = _level(before, before.at_ns), _level(after, before.at_ns)
                pairs += first != second
                wrong += first < second
                judged |= {before.service} if first != second else set()
    means = {name: sum(each) / max(1, len(each)) for name, each in first_waits(notes.arrivals).items()}
    detail = f"{wrong} of {pairs} pairs the wrong way; " + ", ".join(
        f"{name} {mean * 1000:.0f}" for name, mean in means.items()
    )
    held = wrong <= _SHARE * pairs if pairs >= _FEWEST else None
    return Finding("P2", "a higher priority goes first", held, f"{detail} ms", _seen(judged))


def _level(arrival: Arrival, now: int) -> int:
    """
    Return the priority of a waiting call at *now*: waiting raises it.
    """
    aged = int((now - arrival.sent_ns) / _NANO / AGE_AFTER)
    return min(len(PRIORITIES) - 1, len(PRIORITIES) - 1 - PRIORITIES.index(arrival.priority) + aged)


def _rest(status: Mapping[str, Mapping[str, Any]]) -> Finding:
    in_flight = sum(each["in_flight"] for each in status.values())
    waiting = sum(sum(each["waiting"].values()) for each in status.values())
    detail = f"{in_flight} in flight, {waiting} waiting"
    held = in_flight == waiting == 0 if status else None
    return Finding("P3", "at rest nothing is held", held, detail, _seen(status))


def _refusals(replies: Iterable[Reply]) -> Finding:
    refusals = [each for each in replies if each.reason]
    silent = Counter(f"{each.service} {each.reason}" for each in refusals if not each.has_retry_after)
    detail = f"{len(refusals) - silent.total()} of {len(refusals)} with Retry-After"
    without = "".join(f", {number} {what} without" for what, number in silent.items())
    judged = _seen(each.service for each in refusals)
    return Finding("P4", "refusals say when to come back", not silent if refusals else None, detail + without, judged)


def _probes(notes: Notes) -> Finding:
    text = f"an open breaker lets out {PROBES} probe at a time"
    fullest = probes = 0
    judged: set[str] = set()
    for service, down, up in notes.outages:
        arrivals = [each for each in notes.of(service) if each.at_ns < up]
        opened = _opened(arrivals, down)
        times = [each.at_ns / _NANO for each in arrivals if opened is not None and each.at_ns > opened]
        probes += len(times)
        judged |= {service} if times else set()
        for index, at in enumerate(times):
            fullest = max(fullest, sum(at <= other < at + _NEAR * OPEN_FOR for other in times[index:]))
    detail = f"{probes} probes while it was open, at most {fullest} in {OPEN_FOR * 1000:.0f} ms"
    return Finding("P5", text, fullest <= PROBES if probes else None, detail, _seen(judged))


def _opened(arrivals: Iterable[Arrival], down: int) -> int | None:
    """
    Return from when on the breaker must have been open: so many failures in a row, and the grace.

    An answer that was under way when the outage began may succeed later, and closes nothing any more.
    """
    streak = 0
    for each in sorted(arrivals, key=lambda each: each.done_ns):
        streak = 0 if each.is_ok else streak + 1
        if streak >= CONSECUTIVE and each.done_ns >= down:
            return each.done_ns + int(GRACE * _NANO)
    return None


def _money(notes: Notes, replies: Iterable[Reply], charged: int) -> Finding:
    days: Counter[int] = Counter()
    services: set[str] = set()
    for each in notes.arrivals:
        if each.micro_usd and each.line == BOUND:
            days[int(each.wall // _DAY)] += each.micro_usd
            services.add(each.service)
    refused = sum(each.reason == "budget" for each in replies)
    most = BUDGET * len(days)
    is_kept = all(billed <= BUDGET for billed in days.values()) and days.total() <= charged <= most
    detail = f"{_usd(days.total())} USD billed, {_usd(charged)} charged, of {_usd(most)}; {refused} refused for it"
    return Finding("P6", "no budget is overspent", is_kept if refused else None, detail, _seen(services))


def _usd(micro: int) -> str:
    return f"{micro / 1_000_000:.6f}"


def _attempts(notes: Notes) -> Finding:
    made: dict[str, Counter[str]] = {name: Counter(each.call for each in notes.of(name)) for name in CAST}
    most = {name: max(calls.values(), default=0) for name, calls in made.items()}
    retried = sum(number > 1 for calls in made.values() for number in calls.values())
    held = all(most[name] <= ATTEMPTS[name] for name in CAST)
    detail = f"{retried} calls were tried again"
    detail += "".join(f"; {name} {most[name]} of {ATTEMPTS[name]}" for name in CAST if most[name] > 1)
    judged = _seen(name for name in CAST if most[name] > 1)
    text = "no call makes more attempts than its policy has"
    return Finding("P7", text, held if retried else None, detail, judged)


def _retry_after(notes: Notes) -> Finding:
    told = early = 0
    judged: set[str] = set()
    for service in CAST:
        arrivals = notes.of(service)
        away = [
            (each.done_ns + int(GRACE * _NANO), each.done_ns + each.retry_after * _NANO)
            for each in arrivals
            if each.retry_after
        ]
        told += len(away)
        judged |= {service} if away else set()
        early += sum(any(begin <= each.at_ns < end for begin, end in away) for each in arrivals)
    detail = f"{told} answers with Retry-After, {early} requests before its end"
    return Finding("P8", "Retry-After is obeyed", early == 0 if told else None, detail, _seen(judged))
