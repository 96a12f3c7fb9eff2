"""
One decision over many cells: all of them give, or none does.

An `Entry` says what one limit is asked for; an attempt's entries are taken together. On the first refusal what was
taken is put back, which is exact because nothing can come between: whoever holds the cells holds their lock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum
from itertools import takewhile
from typing import NamedTuple

from egressor.errors import ConfigError

from .limits import BUCKET, BUCKET_BITS, Algorithm, Concurrency, Gcra, Sliding

__all__ = [
    "MICRO_USD",
    "ONE_REQUEST",
    "PLACES",
    "REQUESTS",
    "USD",
    "Ask",
    "Denied",
    "Entry",
    "Laid",
    "Lease",
    "Settled",
    "Why",
    "check_cost",
    "lay",
    "micro_usd",
    "put_back",
    "shown",
    "take",
    "whole",
]

REQUESTS = "requests"
"""
The unit of limits that count calls.
"""

PLACES = "places"
"""
The unit of max_concurrency, which no cost names.
"""

USD = "usd"
"""
The unit in which a cost states money, of which budgets take it.
"""

MICRO_USD = "micro_usd"
"""
The unit in which money is kept: whole micro-dollars.
"""

# What somebody may write for it, and no limit would count.
_MONEY = frozenset({USD, "dollar", "dollars"})
ONE_REQUEST: Mapping[str, int] = {REQUESTS: 1}
"""
The cost of most calls; nobody changes it.
"""

_MOST = 1 << 53
_MOST_USD = 10**9
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
    SHED = "shed"
    BANNED = "banned"
    PAUSED = "paused"
    BUDGET = "budget"
    NEVER_FITS = "never_fits"
    QUEUE_FULL = "queue_full"
    WAIT_TOO_LONG = "wait_too_long"
    STORE = "store"


Laid = tuple[
    tuple[tuple[MutableMapping[str, int], str, int, int], ...],
    tuple[tuple[MutableMapping[str, int], str, int, int, int, int, int, Sliding], ...],
    tuple[tuple[MutableMapping[str, int], str, int, int], ...],
    tuple[tuple[MutableMapping[str, int], str, int, Callable[[int, int, int, int], int]], ...],
]
"""
Entries laid out for `take`: token buckets, sliding windows, places, the rest.
"""


class Ask:
    """
    What one attempt wants from the cells, all at once.

    Most asks are taken at first sight, and nobody reads their entries: an ask may be made from what is laid out, with
    *spell* to write its entries when somebody wants them.

    Attributes:
        buckets: The entries of token buckets, laid out for `take`.
        slides: Those of sliding windows, laid out for `take`.
        holds: Those of places, which are held until the lease is settled, laid out for `take`.
        others: The rest, laid out for `take`.
        level: The priority, from 0 to 3.
        compiled: What it was made from; a store that has loaded another policy since does not take it.
        scope: Who and what for.
        cost: What it takes, by unit.
        limited: Whether limits apply to it.
    """

    __slots__ = (
        "_entries",
        "_spell",
        "buckets",
        "compiled",
        "cost",
        "holds",
        "level",
        "limited",
        "others",
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
        self._entries: tuple[Entry, ...] | None = entries
        self._spell: Callable[[Ask], tuple[Entry, ...]] | None = None
        self.buckets, self.slides, self.holds, self.others = lay(entries)
        self.limited = limited
        self.compiled = compiled
        self.scope = scope or {}
        self.cost = cost or {}
        self.level = level

    @staticmethod
    def laid(
        steps: Laid,
        spell: Callable[[Ask], tuple[Entry, ...]],
        level: int,
        compiled: object,
        scope: Mapping[str, str],
        cost: Mapping[str, int],
    ) -> Ask:
        """
        Return the ask of what is laid out already, quickly: its arguments have no names at the call.
        """
        ask = _new(Ask)
        ask._entries = None  # noqa: SLF001 - the same class
        ask._spell = spell  # noqa: SLF001
        ask.buckets, ask.slides, ask.holds, ask.others = steps
        ask.limited = True
        ask.compiled = compiled
        ask.scope = scope
        ask.cost = cost
        ask.level = level
        return ask

    @property
    def entries(self) -> tuple[Entry, ...]:
        """
        What each limit is asked for.
        """
        if self._entries is None:
            self._entries = self._spell(self) if self._spell is not None else ()
        return self._entries

    @property
    def places(self) -> tuple[Entry, ...]:
        """
        Those of the entries that are held until the lease is settled.
        """
        return tuple([entry for entry in self.entries if type(entry.limit) is Concurrency]) if self.holds else ()

    def with_entries(self, entries: tuple[Entry, ...]) -> Ask:
        """
        Return this ask with *entries* instead.
        """
        return Ask(
            entries, level=self.level, compiled=self.compiled, scope=self.scope, cost=self.cost, limited=self.limited
        )


_new = object.__new__


class Lease:
    """
    A granted ask. It is settled exactly once.

    Attributes:
        ask: What was granted.
        at: When, in monotonic microseconds.
        generation: The breaker's generation then: a result from before a change of state counts for nothing.
        probe: The breaker's number of this probe; 0 for an ordinary call.
        is_plain: Whether it is no probe of anything: then a success may be settled on the straight path.
        is_settled: Whether it was handed back.
        is_heard: Whether its answer has been there, and has said what is left of the server's limits.
        is_taken: Whether its cells are charged. A lease that was put into a waiter's hand is charged when the waiter
            takes it up; until then its units are reserved.
    """

    __slots__ = ("ask", "at", "generation", "is_heard", "is_plain", "is_settled", "is_taken", "probe")

    def __init__(self, ask: Ask, *, at: int, generation: int, probe: int) -> None:
        self.ask = ask
        self.at = at
        self.generation = generation
        self.probe = probe
        self.is_plain = probe == 0
        self.is_settled = False
        self.is_heard = False
        self.is_taken = True


class Denied(NamedTuple):
    """
    A refusal, as a value.

    Attributes:
        why: The reason.
        key: The limit, breaker or switch that refused.
        wait: Microseconds after which it is worth asking again; None where nobody knows.
        text: The refusal in words: the thing, the value, the limit.
        is_open: Whether the store has yet to be asked, which happens in the queue: then it is no refusal at all.
    """

    why: Why
    key: str
    wait: int | None
    text: str
    is_open: bool = False

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

    Every call passes here, so the usual cases of the algorithms' `ask` stand in line: a call costs as much as what it
    decides. What they decide is what the algorithms say, and a property test holds them to it.
    """
    for bucket in ask.buckets:
        cells, key, cost, span = bucket
        cell = cells[key]
        after = (cell if cell > now else now) + cost
        if after - now > span:
            return _undo(ask, bucket, now)
        cells[key] = after
    for slide in ask.slides:
        cells, key, units, added, width, mask, amount, limit = slide
        cell = cells[key]
        if cell & BUCKET != now // width:
            after = limit.ask(cell, now, units)
        elif ((cell >> BUCKET_BITS) & mask) + units <= amount:
            after = cell + added
        else:
            after = -1
        if after < 0:
            return _undo(ask, slide, now)
        cells[key] = after
    for hold in ask.holds:
        cells, key, units, most = hold
        after = cells[key] + units
        if after > most:
            return _undo(ask, hold, now)
        cells[key] = after
    for other in ask.others:
        cells, key, units, decide = other
        after = decide(cells[key], now, units, skew)
        if after < 0:
            return _undo(ask, other, now)
        cells[key] = after
    return True


def lay(entries: Sequence[Entry]) -> Laid:
    """
    Lay *entries* out for `take`.
    """
    buckets: list[tuple[MutableMapping[str, int], str, int, int]] = []
    slides: list[tuple[MutableMapping[str, int], str, int, int, int, int, int, Sliding]] = []
    holds: list[tuple[MutableMapping[str, int], str, int, int]] = []
    others: list[tuple[MutableMapping[str, int], str, int, Callable[[int, int, int, int], int]]] = []
    for cells, key, units, limit, _, _ in entries:
        if type(limit) is Gcra:
            buckets.append((cells, key, units * limit.gap, limit.span))
        elif type(limit) is Sliding:
            slides.append((cells, key, units, units * limit.unit, limit.width, limit.mask, limit.amount, limit))
        elif type(limit) is Concurrency:
            holds.append((cells, key, units, limit.amount))
        else:
            others.append((cells, key, units, limit.ask))
    return tuple(buckets), tuple(slides), tuple(holds), tuple(others)


def _undo(ask: Ask, refused: object, now: int) -> bool:
    steps = (*ask.buckets, *ask.slides, *ask.holds, *ask.others)
    if refused is steps[0]:
        return False
    # The order in which `take` goes: by kind, and inside of a kind as the entries stand.
    kinds = {Gcra: 0, Sliding: 1, Concurrency: 2}
    order = sorted(ask.entries, key=lambda entry: kinds.get(type(entry.limit), 3))
    taken = takewhile(lambda pair: pair[0] is not refused, zip(steps, order, strict=True))
    put_back([entry for _, entry in taken], now, now)
    return False


def put_back(entries: Sequence[Entry], now: int, at: int) -> None:
    """
    Give back *entries* that were taken at *at* and never used.
    """
    for entry in entries:
        cells, key = entry.cells, entry.key
        cell = cells[key]
        # A key that was forgotten meanwhile holds nothing to give back, and is not to be remembered for it. Places that
        # are lent may be given back first: then there are fewer than none for a moment.
        if cell or type(entry.limit) is Concurrency:
            cells[key] = entry.limit.refund(cell, now, entry.units, at)


def check_cost(cost: Mapping[str, float | Decimal]) -> dict[str, int]:
    """
    Return *cost* in whole units, rounded up, with one request where it names none; ``usd`` in micro-dollars.

    Raises:
        ConfigError: A value is not a finite number from 0 to 2^53, or a unit is not a name that a limit may count.
    """
    if not isinstance(cost, Mapping):
        msg = f"a cost is a mapping of units to amounts, not {shown(cost)}"
        raise ConfigError(msg, key="cost")
    checked = {REQUESTS: 1}
    for unit, value in cost.items():
        if not isinstance(unit, str) or not unit.isidentifier():
            msg = f"a unit of a cost must be a name, not {shown(unit)}"
            raise ConfigError(msg, key="cost")
        if unit == PLACES:
            msg = "places are no cost: max_concurrency counts attempts, each of which takes one"
            raise ConfigError(msg, key="cost.places")
        if unit != USD and unit.lower() in _MONEY:
            msg = f"money is 'usd' in a cost, not {shown(unit)}"
            raise ConfigError(msg, key="cost", nearest=USD)
        if unit == USD:
            checked[MICRO_USD] = micro_usd(value)
            continue
        checked[unit] = whole(value, what="a cost", key=f"cost.{unit}")
    return checked


def micro_usd(value: object) -> int:
    """
    Return *value* US dollars in whole micro-dollars, rounded up from the digits that it is written with.

    Raises:
        ConfigError: It is not a finite number from 0 to a billion.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        msg = f"a cost in US dollars must be a number, not {shown(value)} ({type(value).__name__})"
        raise ConfigError(msg, key="cost.usd")
    # A Decimal that is no number refuses to be compared.
    if (isinstance(value, Decimal) and not value.is_finite()) or not 0 <= value <= _MOST_USD:
        msg = f"a cost in US dollars must be a finite number from 0 to {_MOST_USD}, not {shown(value)}"
        raise ConfigError(msg, key="cost.usd")
    # 0.1 means a tenth, not the binary fraction beside it.
    return int((Decimal(str(value)) * 1_000_000).to_integral_value(ROUND_CEILING))


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
