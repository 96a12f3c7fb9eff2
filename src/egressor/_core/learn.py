"""
What a server says is left of its limits, kept beside our own cells.

A `Hint` is what one answer says of one limit. A `Heard` is what we make of such hints: how much is left, of how much,
until when. It stands beside the policy's limits and takes nothing from their cells, so it can only ever hold calls
back, and whatever the server says, no more goes than the policy allows.

*Less, at once; more, slowly.* An answer that says less than we thought is believed as a whole; one that says more, by
an eighth of the difference: it may be an old one, or may not know yet of the calls under way. When the reset has come
the whole of it is forgotten.

*Near the edge.* Most servers count in windows: what is left must last until the reset. When less than a quarter is
left, calls of low priority are spread evenly over the time until then, those of medium priority below an eighth, of
high priority below a sixteenth; critical calls go until nothing is left. Some servers refill a bucket all the time (the
dialect says which): there a lower priority leaves a part of the bucket to the higher ones, and the rest is a wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "INVALID",
    "Heard",
    "Hint",
    "available",
    "believed",
    "hear",
    "hold",
    "is_near",
    "merge",
    "part_of",
    "parts_of",
    "ready_at",
    "spend",
    "units_of",
    "usual",
]

INVALID: Final = "invalid_requests"
"""
The unit of requests that a service counts as bad manners, and bans for.
"""

# Below limit / EDGE[level] of what a window has, calls of that level are spread; 0: never.
_EDGE: Final = (4, 8, 16, 0)
_SLOWLY: Final = 8
_STEADILY: Final = 32
# Keys of a scope whose values a server may limit, each by itself.
_PARTS: Final = ("endpoint", "recipient", "model")
_WHOLE: Final = ("",)
_MOST: Final = 1 << 53
# The longest that a good answer holds anybody back, if it does not say what period its limit is for.
_HOUR: Final = 3_600_000_000
# Every call takes some of these, whether or not its cost says so.
_EVERY: Final = frozenset({"requests", "tokens", "input_tokens", "output_tokens", "weight", INVALID})


class Hint(NamedTuple):
    """
    One limit, as an answer tells of it.

    Attributes:
        unit: What is counted: ``requests``, ``tokens``, ``input_tokens``, ``output_tokens``, ``weight``, ``orders``.
        left: How much is left; None if it is not said.
        limit: How much there is in all; None if it is not said.
        resets: Microseconds from the answer until it is whole again; None if it is not said or can't be read.
        window: Microseconds that the limit is for; None if it is not said.
        used: How much is used; None if it is not said.
        refills: Whether it comes back all the time, as a bucket does, and not at the reset as a whole.
        per: The key of a scope for each of whose values there is such a limit, ``endpoint`` or ``model``: it says
            nothing of the others. Empty if it is for all.
        adds: By how much this very answer has used it up, where the server doesn't tell and we count; else 0.
    """

    unit: str
    left: float | None = None
    limit: float | None = None
    resets: int | None = None
    window: int | None = None
    used: float | None = None
    refills: bool = False
    per: str = ""
    adds: int = 0


class Heard:
    """
    What is known of one of the server's limits.

    Attributes:
        unit: What it counts.
        window: Microseconds that it is for; 0 if nobody said.
        left: How much was left at *at*.
        limit: How much there is in all; the most that was seen, if nobody said.
        at: When that was, in microseconds.
        until: When it is whole again.
        refills: Whether it comes back all the time.
        paced: When a call of each level last went.
    """

    __slots__ = ("at", "left", "limit", "paced", "refills", "unit", "until", "window")

    def __init__(self, unit: str, window: int, *, refills: bool) -> None:
        self.unit = unit
        self.window = window
        self.refills = refills
        self.left = self.limit = self.at = self.until = 0
        self.paced = [0, 0, 0, 0]


def believed(hints: Iterable[Hint], *, is_refused: bool) -> list[Hint]:
    """
    Return what to believe of an answer's *hints*; *is_refused* is whether it refused its call for a limit.

    An answer that has served its call belies a limit of nothing, and need not be believed that none will be served for
    days: where it names no period of a day, say, its reset may be in a unit that nobody documents.
    """
    found: dict[tuple[str, int, str], Hint] = {}
    for hint in hints if is_refused else _trimmed(hints):
        # Policies that differ by their names alone have one cell: the strictest holds, in whatever order they come.
        key = hint.unit, hint.window or 0, hint.per
        if key not in found or _rank(hint) < _rank(found[key]):
            found[key] = hint
    return list(found.values())


def _trimmed(hints: Iterable[Hint]) -> Iterable[Hint]:
    for hint in hints:
        longest = max(hint.window or 0, _HOUR)
        if hint.limit is not None and hint.limit < 1:
            continue
        is_longer = not hint.refills and hint.resets is not None and hint.resets > longest
        yield hint._replace(resets=longest) if is_longer else hint


def _rank(hint: Hint) -> tuple[bool, float, int]:
    left = hint.left if hint.left is not None else (hint.limit or 0) - (hint.used or 0)
    return not hint.resets, left, -(hint.resets or 0)


def hear(
    cell: Heard | None, hint: Hint, now: int, wall: int, amounts: Mapping[tuple[str, int], int], *, late: int = 0
) -> Heard | None:
    """
    Take *hint* in; return the cell as it is then, None if nothing is known that could hold anybody back.

    Args:
        cell: What was known.
        hint: What the answer said.
        now: The time, in microseconds.
        wall: The time since 1970, in microseconds: some servers' windows follow the clock, and they don't say so.
        amounts: The policy's own limits by unit and period, for servers that say only what is used.
        late: Microseconds by which we come later than at the reset, so that not everybody comes at once.
    """
    if cell is not None and cell.until <= now:
        cell = None
    said = _counted(cell, hint, now) if hint.adds else _said(cell, hint, now, wall, amounts)
    if said is None:
        return cell
    left, limit, until = said
    if until <= now:
        return None
    if cell is None:
        cell = Heard(hint.unit, hint.window or 0, refills=hint.refills)
        cell.paced = [now] * len(cell.paced)
    elif left > (have := available(cell, now)):
        left = have + max(1, (left - have) // _SLOWLY)
    cell.left, cell.limit, cell.at, cell.until = left, max(limit, left), now, until + late
    return cell


def _counted(cell: Heard | None, hint: Hint, now: int) -> tuple[int, int, int]:
    limit = _whole(hint.limit)
    return (
        (limit - hint.adds, limit, now + (hint.window or 0))
        if cell is None
        else (cell.left - hint.adds, limit, cell.until)
    )


def _said(
    cell: Heard | None, hint: Hint, now: int, wall: int, amounts: Mapping[tuple[str, int], int]
) -> tuple[int, int, int] | None:
    window = hint.window or 0
    limit = _whole(hint.limit) or amounts.get((hint.unit, window), 0)
    # A part of a unit is no unit that could be used.
    left = int(min(hint.left, _MOST)) if hint.left is not None else None
    if left is None and hint.used is not None and limit:
        left = max(0, limit - -int(-min(hint.used, _MOST) // 1))
    resets = hint.resets
    if resets is None and hint.left is None and window:
        # Who tells what is used, and no more, counts in windows of the clock (Binance).
        resets = window - wall % window
    if left is None or resets is None:
        return None
    known = limit or left + _whole(hint.used) or (cell.limit if cell is not None else 0)
    return left, known, now + resets


def _whole(value: float | None) -> int:
    return 0 if value is None else int(min(value, _MOST))


def available(cell: Heard, now: int) -> int:
    """
    Return what is left at *now*, below 0 if more was used than there was.
    """
    span = cell.until - cell.at
    if not cell.refills or span <= 0:
        return cell.left
    return cell.left + (cell.limit - cell.left) * min(max(0, now - cell.at), span) // span


def is_near(cell: Heard, now: int) -> bool:
    """
    Whether so little is left that somebody has to wait for it.
    """
    return available(cell, now) * _EDGE[0] < cell.limit


def ready_at(cell: Heard, now: int, *, level: int, units: int, out: int, members: int) -> int:
    """
    Return when a call may go, *now* if it may at once.

    Args:
        cell: What is known.
        now: The time, in microseconds.
        level: Its priority, from 0 to 3.
        units: What it takes.
        out: What calls under way take of which the server may not know yet.
        members: How many processes share what is left.
    """
    if now >= cell.until:
        return now
    have, edge = available(cell, now), _EDGE[level]
    kept = cell.limit // (2 * edge) if cell.refills and edge else 0
    # Of what is left each process has its part; the last units are one's who is first.
    share = -(-(have - kept) // members) - out
    is_whole = have >= cell.limit > 0
    if share < units and not (is_whole and units + kept > cell.limit):
        lacking = (units + out) * members + kept - have
        speed = cell.limit - have
        if not cell.refills or lacking >= speed:
            return cell.until
        return now + -(-(cell.until - now) * max(1, lacking) // speed)
    if edge and not cell.refills and (have - out) * edge < cell.limit:
        return max(now, cell.paced[level] + (cell.until - cell.paced[level]) // (share + 1))
    return now


def hold(cell: Heard | None, now: int, until: int) -> Heard:
    """
    Return what is known when the server has asked to be left alone until *until*, without saying what is left.
    """
    if cell is None or cell.until <= now:
        cell = Heard("requests", 0, refills=False)
    cell.left, cell.at, cell.until, cell.refills = 0, now, max(cell.until, until), False
    return cell


def parts_of(scope: Mapping[str, str]) -> tuple[str, ...]:
    """
    Return the parts of a service that a call of *scope* is about, of which a server may speak apart; all of it first.
    """
    return ("", *[f"{name}={scope[name]}" for name in _PARTS if name in scope]) if scope else _WHOLE


def part_of(scope: Mapping[str, str], name: str) -> str:
    """
    Return the part that *scope* names as its *name*; empty if it names none, or if there are no such parts.
    """
    return f"{name}={scope[name]}" if name in _PARTS and name in scope else ""


def spend(cell: Heard, units: int) -> None:
    """
    Take *units* off what is left: a call has ended, and its answer did not say what is left now.
    """
    if cell.unit == INVALID:
        return
    if cell.refills and cell.limit > cell.left:
        # It fills as fast as before, and is full the later.
        cell.until += -(-units * (cell.until - cell.at) // (cell.limit - cell.left))
    cell.left -= units


def units_of(cost: Mapping[str, int], unit: str) -> int:
    """
    Return what a call of *cost* takes of *unit*: at least one of what every call takes.
    """
    return max(cost.get(unit, 0), 1) if unit in _EVERY else cost.get(unit, 0)


def usual(before: int | None, units: int) -> int:
    """
    Return what a call usually takes, after one more that took *units*; *before* is None for the first.

    A step is a 32nd of the way, as calls differ a hundredfold, and rounded up: that errs towards more.
    """
    return units if before is None else before - (before - units) // _STEADILY


def merge(cell: Heard | None, other: Heard, now: int) -> Heard | None:
    """
    Return what to go by of two processes' knowledge: that with less left.
    """
    if other.until <= now or (cell is not None and cell.until > now and available(cell, now) <= available(other, now)):
        return cell
    if cell is not None:
        other.paced = cell.paced
    return other
