"""
What several processes on one store decide together: one step for all of them.

Each process keeps a gate of its own, with its own line of waiters; a *member* of the fleet is one such gate. What they
share is a `State`: the cells of limits, who holds how many places, how the service stands, and the best waiter of each
member in each line. `exchange` is the only thing that changes it: a member hands in what it has to give and what it
wants, and is told what it gets. A store has to do no more than run it as one step that nobody can come between;
whoever can't run it (a server with a language of its own) is held to it by the conformance suite.

*What is granted lives for a while.* A member that is granted a unit uses it a moment later: its thread has to wake. So
every grant says until when it may be used, and is accounted so that no window of the limit's length holds too much
whenever in that time it is used:

- A sliding window counts by sub-buckets, so it is all the same when in the present one a unit is used.
- A fixed window likewise, until its end.
- A token bucket holds back as much of its burst as would come back in the time that a grant may be late, beyond one
  gap: a use that is late by less than a gap moves nobody over amount + burst in any window.

*Who goes first.* A want is served if no other member has shown a better waiter for one of its cells. Whoever gets
nothing is registered there with its rank, and is called when it is its turn. A waiter that has said nothing for `STAY`
passes its turn on; a member that has said nothing for `LIFE` is dead, and the places that it held come back.

*Lost answers.* A request whose answer is lost may be made again: places are said in full, not as differences; units
that were granted and never heard of stay taken; what the service's standing became is told apart by its version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .fleet_model import FIRST, Answer, Back, Member, Part, Rank, Reply, Request, State, Top, Wait, Want
from .limits import Algorithm, Concurrency, Fixed, Gcra, Sliding
from .model import Priority

__all__ = [
    "FIRST",
    "LIFE",
    "STAY",
    "Answer",
    "Back",
    "Member",
    "Part",
    "Rank",
    "Reply",
    "Request",
    "State",
    "Top",
    "Wait",
    "Want",
    "exchange",
    "grace",
    "lend",
]

STAY = 600_000
"""
How long a waiter that says nothing keeps its turn, in microseconds.
"""

LIFE = 5_000_000
"""
How long a member that says nothing counts as alive, in microseconds.
"""

_TOP = len(Priority) - 1


def exchange(state: State, request: Request, now: int, skew: int = 0) -> Reply:
    """
    Do what *request* says, all of it, at *now*.

    Of an outdated standing nothing is decided: the reply tells the present one, and nothing has changed.

    Args:
        state: What is shared; it is changed in place.
        request: What a member hands in.
        now: The store's time, in microseconds.
        skew: Wall time less *now*, for windows that go by the calendar.
    """
    if request.version != state.version:
        return Reply(now, state.version, standing=state.standing, members=len(state.members))
    given = _bury(state, now)
    state.members[request.member] = Member(now + LIFE, request.address, request.info)
    if request.standing is not None:
        # Numbers never come twice, also where a server forgets everything.
        state.version = max(state.version + 1, now)
        state.standing = request.standing
    if request.places or request.backs:
        given |= _take_back(state, request, now, skew)
    mine: dict[str, Wait] = {}
    limits: dict[str, Algorithm] = {}
    answers = tuple([_serve(state, request, want, mine, limits, now, skew) for want in request.wants])
    tops = tuple([_top(state, request, top, limits, now, skew) for top in request.tops]) if request.tops else ()
    calls: tuple[str, ...] = ()
    if mine or state.waits:
        _register(state, request, mine, limits)
        calls = _calls(state, request, mine, limits, given, now, skew)
    cells = tuple([(cell, _cell(state, cell, limit)) for cell, limit in limits.items()])
    return Reply(now, state.version, None, answers, tops, cells, len(state.members), calls)


def grace(limit: Algorithm, cell: int, now: int, units: int) -> int:
    """
    Return until when *units* of *limit* may be used that are granted at *now*, which leaves *cell*.
    """
    if type(limit) is Sliding:
        return (now // limit.width + 1) * limit.width
    if type(limit) is Fixed:
        return limit.end(cell)
    if type(limit) is Gcra:
        # A cost that is nearly all of the burst needs all of it: what is held back for lateness, too.
        return now + (limit.late if units * limit.gap <= limit.span - limit.kept else limit.gap - 1)
    return now + LIFE


def lend(limit: Algorithm, cell: int, now: int, units: int, skew: int = 0) -> int:
    """
    Take *units* that may be used until `grace`: the new cell, or minus the wait, as `limits` has it.
    """
    if type(limit) is not Gcra:
        return limit.ask(cell, now, units, skew)
    cost = units * limit.gap
    after = (cell if cell > now else now) + cost
    latest = now + max(limit.span - limit.kept, min(limit.span, cost))
    return after if after <= latest else latest - after


def before(rank: Rank, other: Rank, now: int, age: int) -> bool:
    """
    Whether *rank* goes before *other* at *now*.
    """
    return _key(rank, now, age) < _key(other, now, age)


# --- inside ----------------------------------------------------------------------------------------------------------


def _key(rank: Rank, now: int, age: int) -> tuple[int, int, int]:
    level = rank.level + max(0, now - rank.since) // age if age else rank.level
    return -min(level, _TOP), rank.deadline, rank.since


def _cell(state: State, cell: str, limit: Algorithm) -> int:
    return sum(state.held.get(cell, {}).values()) if type(limit) is Concurrency else state.cells.get(cell, 0)


def _bury(state: State, now: int) -> set[str]:
    """
    Forget the dead; return the cells of which they held places.
    """
    given: set[str] = set()
    dead = [name for name, member in state.members.items() if member.until <= now]
    if not dead:
        return given
    for name in dead:
        del state.members[name]
        given |= _forget(state.held, name)
        _forget(state.waits, name)
    state.held = {cell: row for cell, row in state.held.items() if row}
    state.waits = {cell: row for cell, row in state.waits.items() if row}
    return given


def _forget(table: Mapping[str, dict[str, Any]], name: str) -> set[str]:
    return {cell for cell, row in table.items() if row.pop(name, None) is not None}


def _take_back(state: State, request: Request, now: int, skew: int) -> set[str]:
    given: set[str] = set()
    for cell, units in request.places:
        if state.held.get(cell, {}).get(request.member, 0) > units:
            given.add(cell)
        _hold(state, cell, request.member, units)
    for (cell, units, limit), at in request.backs:
        value = state.cells.get(cell, 0)
        if at is None or (at == FIRST and not value):
            state.cells[cell] = limit.charge(value, now, units, skew)
        elif value and at != FIRST:
            state.cells[cell] = limit.refund(value, now, units, at)
            given.add(cell)
    return given


def _hold(state: State, cell: str, member: str, units: int) -> None:
    row = state.held.setdefault(cell, {})
    row[member] = units
    if not units:
        del row[member]
        if not row:
            del state.held[cell]


def _serve(
    state: State,
    request: Request,
    want: Want,
    mine: dict[str, Wait],
    limits: dict[str, Algorithm],
    now: int,
    skew: int,
) -> Answer:
    """
    Let as many of *want*'s calls go as may; the next one is registered where it is held up.
    """
    blocked = None
    for part in want.parts:
        limits[part.cell] = part.limit
        if part.cell in mine:
            # Behind one of its own: that one ranks before, and is registered there.
            blocked = part.cell if blocked is None else blocked
    if blocked is not None:
        return Answer(0, 0, blocked)
    times, until, most = 0, 0, want.most
    # Mostly nobody waits for anything.
    for part in want.parts if state.waits else ():
        first = _best(state, part.cell, request.member, now, request.age)
        if first is None:
            continue
        if before(first[1].rank, want.rank, now, request.age):
            mine[part.cell] = Wait(want.rank, part.units, now, is_told=False)
            return Answer(0, 0, part.cell)
        # The calls behind the first one have ranks of their own.
        most = 1
    while times < most:
        short = _take(state, request.member, want.parts, now, skew)
        if short is not None:
            cell, wait, units = short
            mine[cell] = Wait(want.rank, units, now, is_told=True)
            return Answer(times, until, cell, wait)
        times += 1
        until = min([_until(state, part, now) for part in want.parts], default=now + LIFE)
    if most < want.most and want.parts:
        # Until its member has told of the next one's rank, nobody below passes.
        mine[want.parts[0].cell] = Wait(want.rank, want.parts[0].units, now, is_told=True)
        return Answer(times, until, want.parts[0].cell, 0)
    return Answer(times, until)


def _until(state: State, part: Part, now: int) -> int:
    return grace(part.limit, state.cells.get(part.cell, 0), now, part.units)


def _take(state: State, member: str, parts: Iterable[Part], now: int, skew: int) -> tuple[str, int | None, int] | None:
    """
    Take all of *parts*, or say which cell is short for longest, and for how long: then nothing is taken.
    """
    taken: list[tuple[Part, int]] = []
    worst: tuple[str, int | None, int] | None = None
    longest = -1
    for part in parts:
        if type(part.limit) is Concurrency:
            after = _cell(state, part.cell, part.limit) + part.units
            if after > part.limit.amount and longest < 1 << 62:
                worst, longest = (part.cell, None, part.units), 1 << 62
        else:
            after = lend(part.limit, state.cells.get(part.cell, 0), now, part.units, skew)
            if after < 0 and -after > longest:
                worst, longest = (part.cell, -after, part.units), -after
        taken.append((part, after))
    if worst is not None:
        return worst
    for part, after in taken:
        if type(part.limit) is Concurrency:
            _hold(state, part.cell, member, state.held.get(part.cell, {}).get(member, 0) + part.units)
        else:
            state.cells[part.cell] = after
    return None


def _top(
    state: State, request: Request, top: Top, limits: dict[str, Algorithm], now: int, skew: int
) -> tuple[int, int]:
    """
    Take what may be had of *top*, if nobody else waits for that cell.
    """
    cell, units, limit = top.part
    limits[cell] = limit
    if _best(state, cell, request.member, now, request.age) is not None:
        return 0, 0
    if type(limit) is Concurrency:
        units = min(units, max(0, limit.amount - _cell(state, cell, limit)) // top.share)
        if units:
            _hold(state, cell, request.member, state.held.get(cell, {}).get(request.member, 0) + units)
        return units, now + LIFE
    value = state.cells.get(cell, 0)
    units = min(units, limit.left(value, now, skew) // top.share)
    after = lend(limit, value, now, units, skew) if units > 0 else -1
    if after < 0:
        return 0, 0
    state.cells[cell] = after
    return units, grace(limit, after, now, units)


def _best(state: State, cell: str, but: str, now: int, age: int) -> tuple[str, Wait] | None:
    """
    Return the first of those that wait for *cell*, other than member *but*.
    """
    row = state.waits.get(cell)
    if not row:
        return None
    found = [(name, wait) for name, wait in row.items() if name != but and wait.seen > now - STAY]
    return min(found, key=lambda each: (_key(each[1].rank, now, age), each[0]), default=None)


def _register(state: State, request: Request, mine: dict[str, Wait], limits: Iterable[str]) -> None:
    for cell in {*limits, *request.left}:
        row = state.waits.get(cell)
        if cell in mine:
            state.waits.setdefault(cell, {})[request.member] = mine[cell]
        elif row is not None and row.pop(request.member, None) is not None and not row:
            del state.waits[cell]


def _calls(
    state: State,
    request: Request,
    mine: dict[str, Wait],
    limits: dict[str, Algorithm],
    given: set[str],
    now: int,
    skew: int,
) -> tuple[str, ...]:
    """
    Return the addresses of those whose turn it may be now, and who don't come by themselves.
    """
    found = []
    for cell in sorted({*limits, *given, *request.left}):
        first = _best(state, cell, request.member, now, request.age)
        if first is None:
            continue
        name, wait = first
        own = mine.get(cell)
        if own is not None and before(own.rank, wait.rank, now, request.age):
            continue
        limit = limits.get(cell)
        # Whoever was called and left instead has called nobody in its place.
        if (
            cell not in given
            and cell not in request.left
            and wait.is_told
            and (limit is None or not _could(state, cell, limit, wait.units, now, skew))
        ):
            continue
        state.waits[cell][name] = wait._replace(is_told=True)
        member = state.members.get(name)
        if member is not None and member.address not in found:
            found.append(member.address)
    return tuple(found)


def _could(state: State, cell: str, limit: Algorithm, units: int, now: int, skew: int) -> bool:
    if type(limit) is Concurrency:
        return _cell(state, cell, limit) + units <= limit.amount
    return lend(limit, state.cells.get(cell, 0), now, units, skew) >= 0
