"""
Budgets of money: what may be held, and what is charged.

A budget keeps a cell: what was spent in its period, and what is held for calls under way. A call is held for before it
is sent, in all of its budgets or in none; when it is over, the truth replaces what was held. All amounts are whole
micro-dollars, all times whole microseconds since 1970, both handed in.

*Why spent + held never passes the limit.* A hold takes no more than is free, so the sum is within the limit after it.
Settling takes the hold out and puts the truth in, and the truth is no more than the hold, so the sum never grows
otherwise. The argument stands on that one condition: a hold is an upper bound of what its call can cost. So:

- A call that can't be bounded further (its client has said ``max_tokens``, or its transport can't) is *firm*: its worst
  case is held.
- Any other may be held for less, and is then *capped*: whoever sends it must see to it that it can't cost more, by the
  ``max_tokens`` that the hold pays for. It gets an eighth of what is free, or what such a call is likely to cost if
  that is more. So a worst case of 128,000 tokens doesn't block a budget of which hardly anything is spent, many such
  calls go at once, and a call is cut short only where the budget really is nearly used up.

Should a truth be above its hold all the same (a provider that doesn't keep to its own bound), it is charged: money that
is gone is gone. The sum may then pass the limit by that much, `Settled.over` says so, and nothing more is held until
the period ends.

*Periods.* A spend belongs to the period in which it was held for, and to no other; each period has a cell of its own.
So a clock that jumps ends no period and resets nothing, whichever way: what a wrong clock spends is missing in the
period that it names, and once it is right again the cell of the real one is as it was.

*A hold whose call is never heard of again* is charged whole when it expires, and counted as unknown besides, until
somebody finds out the truth. So even then the sum doesn't grow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "NEVER",
    "Ask",
    "Cell",
    "Denied",
    "Held",
    "Hold",
    "Place",
    "Settled",
    "cell_name",
    "expire",
    "forecast",
    "hold",
    "is_soft",
    "release",
    "resolve",
    "settle",
]

NEVER: Final = 2**62
"""
The end of a period that has none.
"""

# A capped call gets this part of what is free. Less would cut answers short while most of the money is there; more
# would let fewer of them go at once.
_PART: Final = 8

# A forecast needs a hundredth of the period behind it: one call in the first second says nothing about a month.
_FIRST: Final = 100


class Ask(NamedTuple):
    """
    One budget that applies to a call.

    Attributes:
        key: Its name: whose, of which period, in which time zone. Another of any of them is another budget.
        limit: Micro-dollars that may be spent in a period.
        soft: Micro-dollars from which on it warns.
        start: When the period that the call falls in began.
        end: When it ends; `NEVER` for a budget in all.
        cell: The name of its cell.
    """

    key: str
    limit: int
    soft: int
    start: int
    end: int

    @property
    def cell(self) -> str:
        return cell_name(self.key, self.start)


class Cell(NamedTuple):
    """
    What a budget keeps of one period.

    Attributes:
        start: When the period began.
        end: When it ends.
        spent: Micro-dollars spent, those of unknown calls included.
        held: Micro-dollars held for calls under way.
        unknown: How much of *spent* is only what was held for a call that was never heard of again.
        warned: Whether the soft share has warned in this period.
    """

    start: int
    end: int
    spent: int = 0
    held: int = 0
    unknown: int = 0
    warned: bool = False


class Place(NamedTuple):
    """
    A budget that a hold stands in: its key, the beginning of the period, and its limit at that time; and the name of
    its cell.
    """

    key: str
    start: int
    limit: int

    @property
    def cell(self) -> str:
        return cell_name(self.key, self.start)


class Hold(NamedTuple):
    """
    What is held for one call; it is settled, released or expired exactly once, which whoever keeps it sees to.

    Attributes:
        amount: Micro-dollars, in each of its places.
        places: The budgets that it stands in.
        expires_at: When it counts as lost.
    """

    amount: int
    places: tuple[Place, ...]
    expires_at: int


class Held(NamedTuple):
    """
    A yes.

    Attributes:
        hold: What is held.
        cells: The cells that changed, by name.
        capped: Whether the call could cost more than is held for it, unless it is bounded to that.
        warned: Keys of the budgets whose soft share was reached by this hold, once in a period.
    """

    hold: Hold
    cells: dict[str, Cell]
    capped: bool
    warned: tuple[str, ...]


class Denied(NamedTuple):
    """
    A no; nothing has changed.

    Attributes:
        key: The budget that says so; of several, the one that renews last.
        left: Micro-dollars that are free in it.
        renews_at: When its period ends; None if it never does.
        why: ``never``: the call is above the limit itself. ``spent``: the rest is too little until the budget renews.
            ``in_flight``: it would fit, were it not for what is held for calls under way; once they are over it may.
    """

    key: str
    left: int
    renews_at: int | None
    why: str


class Settled(NamedTuple):
    """
    The end of a hold.

    Attributes:
        cells: The cells that changed, by name. One that is not there any more doesn't.
        over: Keys of the budgets in which more is spent and held than their limit, because a call has cost more than
            was held for it.
    """

    cells: dict[str, Cell]
    over: tuple[str, ...]


def cell_name(key: str, start: int) -> str:
    """
    Return the name of the cell that the budget *key* has in the period that began at *start*.
    """
    return f"{key}#{start}"


def hold(
    cells: Mapping[str, Cell],
    asks: tuple[Ask, ...],
    *,
    worst: int,
    likely: int | None = None,
    now: int,
    lasts: int,
) -> Held | Denied:
    """
    Hold money for a call in all of its budgets, or in none.

    Args:
        cells: The cells, by name; a budget that was not used yet in its period has none.
        asks: The budgets that apply, each once.
        worst: Micro-dollars that the call can cost at most.
        likely: Micro-dollars that it is likely to cost at most; given only for a call that can be bounded to what is
            held for it. Default: None, a firm call: the worst case is held.
        now: The time.
        lasts: Microseconds after which the hold counts as lost.
    """
    found = [(ask, cells.get(ask.cell) or Cell(ask.start, ask.end)) for ask in asks]
    need = worst if likely is None else min(worst, likely)
    free = min((ask.limit - cell.spent - cell.held for ask, cell in found), default=worst)
    if need > free:
        return _denied(found, need)
    amount = worst if likely is None else min(worst, max(need, free // _PART))
    changed, warned = {}, []
    for ask, cell in found:
        warns = not cell.warned and cell.spent + cell.held + amount >= ask.soft
        if warns:
            warned.append(ask.key)
        changed[ask.cell] = cell._replace(held=cell.held + amount, warned=cell.warned or warns)
    places = tuple(Place(ask.key, ask.start, ask.limit) for ask in asks)
    return Held(Hold(amount, places, now + lasts), changed, amount < worst, tuple(warned))


def _denied(found: list[tuple[Ask, Cell]], need: int) -> Denied:
    """
    Say which budget refuses: one that could never pay, else one that has spent too much, else one that holds too much.
    """
    above = [(ask, cell) for ask, cell in found if need > ask.limit]
    spent = [(ask, cell) for ask, cell in found if need > ask.limit - cell.spent]
    short = [(ask, cell) for ask, cell in found if need > ask.limit - cell.spent - cell.held]
    why = "never" if above else "spent" if spent else "in_flight"
    ask, cell = max(above or spent or short, key=lambda each: each[1].end)
    left = max(0, ask.limit - cell.spent - cell.held)
    return Denied(ask.key, left, None if cell.end == NEVER else cell.end, why)


def settle(cells: Mapping[str, Cell], hold: Hold, truth: int) -> Settled:
    """
    Charge what the call did cost, and give the rest of *hold* back.
    """
    return _end(cells, hold, spent=truth)


def release(cells: Mapping[str, Cell], hold: Hold) -> Settled:
    """
    Give *hold* back whole: the call was not sent, or cost nothing.
    """
    return _end(cells, hold, spent=0)


def expire(cells: Mapping[str, Cell], hold: Hold, *, less: int = 0) -> Settled:
    """
    Charge *hold*, of whose call nobody has heard, whole, but for what was charged otherwise: it becomes unknown.

    Args:
        cells: The cells.
        hold: What is held.
        less: Micro-dollars of it that calls inside of the call were charged, 0 or more.
    """
    amount = max(0, hold.amount - less)
    return _end(cells, hold, spent=amount, unknown=amount)


def _end(cells: Mapping[str, Cell], hold: Hold, *, spent: int, unknown: int = 0) -> Settled:
    changes = {"held": -hold.amount, "spent": spent, "unknown": unknown}
    return _changed(cells, hold, changes)


def resolve(cells: Mapping[str, Cell], hold: Hold, truth: int) -> Settled:
    """
    Put the truth in the place of what `expire` has charged for *hold*.
    """
    return _changed(cells, hold, {"held": 0, "spent": truth - hold.amount, "unknown": -hold.amount})


def _changed(cells: Mapping[str, Cell], hold: Hold, changes: dict[str, int]) -> Settled:
    changed, over = {}, []
    for place in hold.places:
        cell = cells.get(place.cell)
        if cell is None:
            # The period is long over, and its spend is history's.
            continue
        cell = cell._replace(
            spent=cell.spent + changes["spent"],
            held=cell.held + changes["held"],
            unknown=cell.unknown + changes["unknown"],
        )
        changed[place.cell] = cell
        if cell.spent + cell.held > place.limit:
            over.append(place.key)
    return Settled(changed, tuple(over))


def is_soft(cell: Cell, ask: Ask) -> bool:
    """
    Tell whether the soft share is reached.
    """
    return cell.spent + cell.held >= ask.soft


def forecast(cell: Cell, now: int) -> int | None:
    """
    Return what will be spent at the period's end if it goes on as so far, in micro-dollars, rounded up.

    Returns:
        None for a budget without an end, and before a hundredth of the period is over.
    """
    length, gone = cell.end - cell.start, now - cell.start
    if cell.end == NEVER or gone * _FIRST < length:
        return None
    return max(cell.spent, -(-cell.spent * length // gone))
