"""
The limit grammar: ``AMOUNT [UNIT] / [N] PERIOD [burst B | fixed]``.

A limit that nobody can read must never become a limit that nobody enforces, so everything outside the grammar is an
error, and so is a unit that looks like a slip of a known one: ``20 request/minute`` would otherwise count a unit
called ``request`` that no call ever costs, and let everything through.

Every text has one canonical form, which is what `Limit.text` holds: ``0.5/second`` is ``1/2 seconds``. The fraction
is dissolved into the period, because cells count in whole units and whole microseconds.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from egressor.errors import ConfigError
from egressor.policies.hiding import NOT_SHOWN, holds_secret

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["PERIODS", "REQUESTS", "Limit"]

REQUESTS = "requests"
"""
The unit that every attempt costs one of, and that a limit counts when it names no other.
"""

_DAY = 86_400_000_000
PERIODS = {
    "second": 1_000_000,
    "minute": 60_000_000,
    "hour": 3_600_000_000,
    "day": _DAY,
    "week": 7 * _DAY,
    # No calendar month is longer, so a sliding month errs towards fewer; a fixed one follows the calendar.
    "month": 31 * _DAY,
}
"""
The periods, in microseconds.
"""

_MONTHS = 12
_LONGEST = 366 * _DAY
_MOST = 10**12
_MOST_BURST = 10**9
_LONGEST_TEXT = 100
_PERIOD_SLIPS = {
    "s": "second", "sec": "second", "secs": "second", "m": "minute", "min": "minute", "mins": "minute",
    "h": "hour", "hr": "hour", "hrs": "hour", "d": "day", "w": "week", "mo": "month", "mon": "month",
    "year": "365 days", "years": "365 days", "y": "365 days",
}  # fmt: skip
_UNIT_SLIPS = {
    "req": REQUESTS, "reqs": REQUESTS, "call": REQUESTS, "calls": REQUESTS, "attempts": REQUESTS,
    "tok": "tokens", "toks": "tokens",
}  # fmt: skip
_UNITS = (
    REQUESTS, "tokens", "input_tokens", "output_tokens", "weight", "orders", "messages", "bytes", "characters",
    "credits", "points", "images",
)  # fmt: skip
_RESERVED = {"burst", "fixed", "per", *PERIODS, *(f"{name}s" for name in PERIODS)}
_FORM = "a limit reads AMOUNT [UNIT] / [N] PERIOD [burst B | fixed]"
_AMOUNT = r"([0-9]+(?:_[0-9]+)*)(?:\.([0-9]{1,6}))?"
_WHOLE = r"[0-9]+(?:_[0-9]+)*"
_UNIT = r"[a-z][a-z0-9_]{0,31}"


class _UnreadableError(Exception):
    """
    Why a text is no limit, and the word that was probably meant.
    """

    def __init__(self, message: str, nearest: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.nearest = nearest


@dataclass(frozen=True, slots=True, repr=False)
class Limit:
    """
    So much of a unit per period.

    Two limits are equal if their canonical texts are.

    Args:
        text: ``"20/minute"``, ``"0.5/second burst 2"``, ``"200_000 tokens/minute"``, ``"10000/day fixed"``.

    Attributes:
        text: The canonical form of the text that was given.
        amount: Units per period, from 1 to 10^12.
        unit: What is counted; ``requests`` unless the text names another.
        period_us: Length of the whole period (all *count* of them) in microseconds, at most 366 days. A month counts
            as 31 days here; with *fixed* the calendar decides.
        period_name: ``second``, ``minute``, ``hour``, ``day``, ``week`` or ``month``.
        count: How many of these make the period: 5 in ``20/5 minutes``. At most 12 for months.
        burst: Units that may be taken at once, from 1 to 10^9: a token bucket. None: a sliding window, or a fixed one.
        fixed: Whether windows follow the clock (and the service's time zone) instead of sliding.

    Raises:
        ConfigError: The text is not in the grammar, or a number is out of its range.
    """

    text: str
    amount: int = field(init=False, compare=False)
    unit: str = field(init=False, compare=False)
    period_us: int = field(init=False, compare=False)
    period_name: str = field(init=False, compare=False)
    count: int = field(init=False, compare=False)
    burst: int | None = field(init=False, compare=False)
    fixed: bool = field(init=False, compare=False)

    def __post_init__(self) -> None:
        try:
            parsed = _parse(self.text)
        except _UnreadableError as error:
            if isinstance(self.text, str) and holds_secret(self.text):
                # Of a key that was pasted here, the reason would show a part.
                message = f"limit {NOT_SHOWN}: {_FORM}"
                raise ConfigError(message) from None
            shown = repr(self.text) if isinstance(self.text, str) else f"of type {type(self.text).__name__}"
            message = f"limit {shown[:_LONGEST_TEXT]}: {error.message}"
            raise ConfigError(message, nearest=error.nearest) from None
        for name, value in parsed.items():
            object.__setattr__(self, name, value)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Limit({self.text!r})"


def _parse(text: str) -> dict[str, object]:
    if not isinstance(text, str):
        message = 'a limit is a text such as "20/minute"'
        raise _UnreadableError(message)
    if len(text) > _LONGEST_TEXT or not text.isascii() or not text.isprintable():
        message = f"a limit is at most {_LONGEST_TEXT} plain ASCII characters"
        raise _UnreadableError(message)
    head, slash, tail = text.partition("/")
    if not slash:
        nearest = "/".join(text.split(" per ")) if " per " in text else None
        message = f'there is no "/": {_FORM}'
        raise _UnreadableError(message, nearest)

    amount, parts, unit = _quantity(head.split())
    count, period, rest = _period(tail.split())
    count *= parts
    length = _length(period, count)
    burst, fixed = _ending(rest)
    if burst is not None and amount > length:
        message = f"amount {amount} with a burst is more than one per microsecond, the finest a token bucket can tell"
        raise _UnreadableError(message)
    return {
        "text": _canonical(amount, unit, count, period, burst=burst, fixed=fixed),
        "amount": amount,
        "unit": unit,
        "period_us": length,
        "period_name": period,
        "count": count,
        "burst": burst,
        "fixed": fixed,
    }


def _canonical(amount: int, unit: str, count: int, period: str, *, burst: int | None, fixed: bool) -> str:
    what = str(amount) if unit == REQUESTS else f"{amount} {unit}"
    per = period if count == 1 else f"{count} {period}s"
    ending = " fixed" if fixed else "" if burst is None else f" burst {burst}"
    return f"{what}/{per}{ending}"


def _quantity(words: list[str]) -> tuple[int, int, str]:
    """
    Read ``0.5 tokens`` as (1, 2, "tokens"): one per two periods.
    """
    if not words:
        message = "the amount is missing"
        raise _UnreadableError(message)
    found = re.fullmatch(_AMOUNT, words[0])
    if found is None:
        message = f"amount {words[0]!r} is not a plain number such as 20, 200_000 or 0.5 (six decimals at most)"
        if re.fullmatch(r"-[0-9._]+", words[0]):
            message = f"amount {words[0]} is not above 0"
        raise _UnreadableError(message)
    decimals = found[2] or ""
    units, scale = int(found[1].replace("_", "") + decimals), 10 ** len(decimals)
    if units == 0:
        message = f"amount {words[0]} is not above 0 (to stop a service, pause it)"
        raise _UnreadableError(message)
    shared = math.gcd(units, scale)
    if units // shared > _MOST:
        message = f"amount {words[0]} is above {_MOST}" + (" when its decimals are counted in" if decimals else "")
        raise _UnreadableError(message)
    return units // shared, scale // shared, _unit(words[1:])


def _unit(words: list[str]) -> str:
    if not words:
        return REQUESTS
    if len(words) > 1:
        message = f"{' '.join(words)!r} is more than one unit"
        raise _UnreadableError(message)
    unit = words[0]
    if unit in _UNITS:
        return unit
    nearest = _UNIT_SLIPS.get(unit) or _near(unit, _UNITS, cutoff=0.82)
    if nearest is not None or unit in _RESERVED or not re.fullmatch(_UNIT, unit):
        message = f"unknown unit {unit!r}: a unit is lower-case letters, digits and _, such as requests or tokens"
        raise _UnreadableError(message, nearest)
    return unit


def _period(words: list[str]) -> tuple[int, str, list[str]]:
    """
    Read ``5 minutes fixed`` as (5, "minute", ["fixed"]).
    """
    count = 1
    if words and re.match(r"[-+.0-9]", words[0]):
        count = _number(words[0], what="the number of periods", most=_LONGEST // PERIODS["second"])
        words = words[1:]
    if not words:
        message = "the period is missing: second, minute, hour, day, week or month"
        raise _UnreadableError(message)
    name = words[0] if words[0] in PERIODS else words[0].removesuffix("s")
    if name not in PERIODS:
        nearest = _PERIOD_SLIPS.get(words[0].lower()) or _near(words[0], PERIODS)
        message = f"unknown period {words[0]!r}: second, minute, hour, day, week or month"
        raise _UnreadableError(message, nearest)
    return count, name, words[1:]


def _length(period: str, count: int) -> int:
    length = count * PERIODS[period]
    if period == "month" and count <= _MONTHS:
        return min(length, _LONGEST)
    if length > _LONGEST:
        message = f"{count} {period}s is longer than 366 days"
        raise _UnreadableError(message)
    return length


def _ending(words: list[str]) -> tuple[int | None, bool]:
    if not words:
        return None, False
    if words == ["fixed"]:
        return None, True
    if "burst" in words and "fixed" in words:
        message = '"burst" and "fixed" exclude each other'
        raise _UnreadableError(message)
    if words[0] == "burst":
        if len(words) == 1:
            message = 'the number after "burst" is missing'
            raise _UnreadableError(message)
        if len(words) > 2:
            message = f"unexpected {' '.join(words[2:])!r} at the end"
            raise _UnreadableError(message)
        return _number(words[1], what="burst", most=_MOST_BURST), False
    message = f"unexpected {' '.join(words)!r} after the period: only [burst B | fixed] may follow"
    raise _UnreadableError(message, _near(words[0], ("burst", "fixed")))


def _number(word: str, *, what: str, most: int) -> int:
    if not re.fullmatch(_WHOLE, word):
        message = f"{what} {word!r} is not a whole number"
        raise _UnreadableError(message)
    value = int(word.replace("_", ""))
    if not 1 <= value <= most:
        message = f"{what} {word} is not between 1 and {most}"
        raise _UnreadableError(message)
    return value


def _near(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    import difflib

    found = difflib.get_close_matches(word.lower(), tuple(known), 1, cutoff)
    return found[0] if found else None
