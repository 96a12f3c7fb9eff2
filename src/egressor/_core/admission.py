"""
One decision over many cells: all of them give, or none does.

An `Entry` says what one limit is asked for; an attempt's entries are taken together. On the first refusal what was
taken is put back, which is exact because nothing can come between: whoever holds the cells holds their lock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from enum import StrEnum
from itertools import takewhile
from typing import NamedTuple

from egressor.errors import ConfigError

from .limits import BUCKET, BUCKET_BITS, Algorithm, Concurrency, Gcra, Sliding

__all__ = [
    "REQUESTS",
    "Ask",
    "Denied",
    "Entry",
    "Lease",
    "Settled",
    "Why",
    "check_cost",
    "never_fits",
    "places",
    "put_back",
    "shown",
    "take",
    "whole",
]

REQUESTS = "requests"
"""
The unit of limits that count calls.
"""

_MOST = 1 << 53
_SHOWN = 40


class Entry(NamedTuple):
    """
    What one limit is asked for.

    Attributes:
        cells: The limit's cells, by key; a missing key reads as 0.
        key: Which of them.
        units: How much, 0 or more.
        limit: The algorithm.
        name: The limit as users write it, for messages.
        unit: The unit's name.
    """

    cells: MutableMapping[str, int]
    key: str
    units: int
    limit: Algorithm
    name: str
    unit: str


class Why(StrEnum):
    """
    Why an attempt was not admitted.
    """

    LIMIT = "limit"
    CIRCUIT_OPEN = "circuit_open"
    BANNED = "banned"
    PAUSED = "paused"
    BUDGET = "budget"
    NEVER_FITS = "never_fits"
    QUEUE_FULL = "queue_full"
    WAIT_TOO_LONG = "wait_too_long"
    STORE = "store"


class Ask:
    """
    What one attempt wants from the cells, all at once.

    Attributes:
        entries: What each limit is asked for.
        buckets: Those of token buckets, laid out for `take`.
        slides: Those of sliding windows, laid out for `take`.
        others: The rest, laid out for `take`.
        places: Those of them that are held until the lease is settled.
        level: The priority, from 0 to 3.
        compiled: What it was made from; a store that has loaded another policy since does not take it.
        scope: Who and what for.
        cost: What it takes, by unit.
        limited: Whether limits apply to it.
    """

    __slots__ = (
        "buckets",
        "compiled",
        "cost",
        "entries",
        "level",
        "limited",
        "others",
        "places",
        "scope",
        "slides",
    )

    def __init__(
        self,
        entries: tuple[Entry, ...],
        *,
        level: int,
        compiled: object = None,
        scope: Mapping[str, str] | None = None,
        cost: Mapping[str, int] | None = None,
        limited: bool = True,
    ) -> None:
        self.entries = entries
        buckets: list[tuple[MutableMapping[str, int], str, int, int, Entry]] = []
        slides: list[tuple[MutableMapping[str, int], str, int, int, int, int, int, Entry]] = []
        others: list[tuple[MutableMapping[str, int], str, int, Callable[[int, int, int, int], int], Entry]] = []
        for entry in entries:
            cells, key, units, limit, _, _ = entry
            if type(limit) is Gcra:
                buckets.append((cells, key, units * limit.gap, limit.span, entry))
            elif type(limit) is Sliding:
                slides.append((cells, key, units, units * limit.unit, limit.width, limit.mask, limit.amount, entry))
            else:
                others.append((cells, key, units, limit.ask, entry))
        self.buckets = tuple(buckets)
        self.slides = tuple(slides)
        self.others = tuple(others)
        self.limited = limited
        self.compiled = compiled
        self.scope = scope or {}
        self.cost = cost or {}
        self.places = places(entries)
        self.level = level

    def with_entries(self, entries: tuple[Entry, ...]) -> Ask:
        """
        Return this ask with *entries* instead.
        """
        return Ask(
            entries, level=self.level, compiled=self.compiled, scope=self.scope, cost=self.cost, limited=self.limited
        )


class Lease:
    """
    A granted ask. It is settled exactly once.

    Attributes:
        ask: What was granted.
        at: When, in monotonic microseconds.
        generation: The breaker's generation then: a result from before a change of state counts for nothing.
        probe: The breaker's number of this probe; 0 for an ordinary call.
        is_settled: Whether it was handed back.
        is_taken: Whether its cells are charged. A lease that was put into a waiter's hand is charged when the waiter
            takes it up; until then its units are reserved.
    """

    __slots__ = ("ask", "at", "generation", "is_settled", "is_taken", "probe")

    def __init__(self, ask: Ask, *, at: int, generation: int, probe: int) -> None:
        self.ask = ask
        self.at = at
        self.generation = generation
        self.probe = probe
        self.is_settled = False
        self.is_taken = True


class Denied(NamedTuple):
    """
    A refusal, as a value.

    Attributes:
        why: The reason.
        key: The limit, breaker or switch that refused.
        wait: Microseconds after which it is worth asking again; None where nobody knows.
        text: The refusal in words: the thing, the value, the limit.
    """

    why: Why
    key: str
    wait: int | None
    text: str

    @property
    def may_park(self) -> bool:
        """
        Whether waiting in the queue may help.
        """
        return self.why is Why.LIMIT


class Settled(NamedTuple):
    """
    What settling a lease said.

    Attributes:
        may_retry: Whether the retry that was asked for is inside the retry budget; it is counted then.
        breaker: The breaker's new state, if this changed it.
    """

    may_retry: bool
    breaker: str | None


def take(ask: Ask, now: int, skew: int) -> bool:
    """
    Take all of *ask*'s entries, or none: then every cell is as it was.

    Every call passes here, so the usual cases of `Gcra.ask` and `Sliding.ask` stand in line: a call costs as much as
    what it decides. What they decide is what the algorithms say, and a property test holds them to it.
    """
    for cells, key, cost, span, entry in ask.buckets:
        cell = cells[key]
        after = (cell if cell > now else now) + cost
        if after - now > span:
            return _undo(ask, entry, now)
        cells[key] = after
    for cells, key, units, added, width, mask, amount, entry in ask.slides:
        cell = cells[key]
        if cell & BUCKET != now // width:
            after = entry.limit.ask(cell, now, units)
        elif ((cell >> BUCKET_BITS) & mask) + units <= amount:
            after = cell + added
        else:
            after = -1
        if after < 0:
            return _undo(ask, entry, now)
        cells[key] = after
    for cells, key, units, decide, entry in ask.others:
        after = decide(cells[key], now, units, skew)
        if after < 0:
            return _undo(ask, entry, now)
        cells[key] = after
    return True


def _undo(ask: Ask, refused: Entry, now: int) -> bool:
    order = [step[-1] for step in ask.buckets] + [step[-1] for step in ask.slides] + [step[-1] for step in ask.others]
    put_back(tuple(takewhile(lambda entry: entry is not refused, order)), now, now)
    return False


def put_back(entries: Sequence[Entry], now: int, at: int) -> None:
    """
    Give back *entries* that were taken at *at* and never used.
    """
    for entry in entries:
        cells, key = entry.cells, entry.key
        cell = cells[key]
        # A key that was forgotten meanwhile holds nothing to give back, and is not to be remembered for it.
        if cell:
            cells[key] = entry.limit.refund(cell, now, entry.units, at)


def never_fits(entries: Sequence[Entry]) -> Entry | None:
    """
    Return the first of *entries* that no wait could satisfy.
    """
    return next((entry for entry in entries if entry.units > entry.limit.most), None)


def places(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """
    Return those of *entries* that are held until the lease is settled.
    """
    # A list first: a generator costs twice as much, and a scope's ask is made for every call.
    return tuple([entry for entry in entries if type(entry.limit) is Concurrency])


def check_cost(cost: Mapping[str, float]) -> dict[str, int]:
    """
    Return *cost* in whole units, rounded up, with one request where it names none.

    Raises:
        ConfigError: A value is not a finite number from 0 to 2^53, or a unit is not a name.
    """
    if not isinstance(cost, Mapping):
        msg = f"a cost is a mapping of units to amounts, not {shown(cost)}"
        raise ConfigError(msg, key="cost")
    checked = {REQUESTS: 1}
    for unit, value in cost.items():
        if not isinstance(unit, str) or not unit.isidentifier():
            msg = f"a unit of a cost must be a name, not {shown(unit)}"
            raise ConfigError(msg, key="cost")
        checked[unit] = whole(value, what="a cost", key=f"cost.{unit}")
    return checked


def whole(value: object, *, what: str, key: str) -> int:
    """
    Return *value* rounded up to a whole number.

    Raises:
        ConfigError: It is not a finite number from 0 to 2^53; the message calls it *what*.
    """
    # A bool is an int to Python; as an amount it is a mistake.
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        msg = f"{what} must be a number, not {shown(value)} ({type(value).__name__})"
        raise ConfigError(msg, key=key)
    # Chained comparison is False for NaN, and exact for integers of any size.
    if not 0 <= value <= _MOST:
        msg = f"{what} must be a finite number from 0 to 2^53, not {shown(value)}"
        raise ConfigError(msg, key=key)
    return -int(-value // 1)


def shown(value: object) -> str:
    """
    Return *value* as an error message may show it: short, and whatever its ``repr`` does.
    """
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a user's object may raise anything here
        return f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
