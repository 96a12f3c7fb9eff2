"""
The forms in which providers write moments and spans.

What a number means is its dialect's to say, never its size's: one provider's 1795313511 is a moment, another's 12000
are milliseconds left. A moment is measured against the answer's own ``Date`` where it has one, since both clocks are
then the same one; only without it against ours. A moment that has passed is 0, and so is never early.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from egressor._core.retry_after import LONGEST, http_date

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from egressor.dialects.bodies import Answer

__all__ = ["clock", "epoch", "first", "iso", "number", "prose", "span"]

_DIGITS: Final = 32
_AROUND: Final = ".,;!)'\""
_UNITS: Final = {
    "d": 86400.0,
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 0.001,
    "us": 1e-6,
    "\u00b5s": 1e-6,
    "ns": 1e-9,
}
_WORDS: Final = {
    "millisecond": 0.001,
    "second": 1.0,
    "sec": 1.0,
    "minute": 60.0,
    "min": 60.0,
    "hour": 3600.0,
    "day": 86400.0,
}


def first(headers: Mapping[str, Sequence[str]], name: str) -> str:
    """
    Return the first value of a header; empty if there is none.
    """
    values = headers.get(name)
    return values[0] if values else ""


def number(text: object) -> float | None:
    """
    Read a plain number of at most 32 characters; None for anything else, ``inf`` and ``nan`` included.
    """
    if isinstance(text, bool):
        return None
    if isinstance(text, (int, float)):
        return float(text) if abs(text) < 1e15 and math.isfinite(text) else None
    if not isinstance(text, str):
        return None
    word = text.strip()
    if not word or len(word) > _DIGITS or not word.isascii() or "_" in word or word[0] not in "0123456789.-":
        return None
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def clock(headers: Mapping[str, Sequence[str]], now: float | None) -> float | None:
    """
    Return the moment of an answer in seconds since 1970, by its own ``Date``, else *now*; None without either.
    """
    usable = now if now is not None and math.isfinite(now) and abs(now) < 1e12 else None
    dates = (http_date(value, near=usable) for value in headers.get("date", ()))
    return next((date for date in dates if date is not None), usable)


def epoch(text: object, answer: Answer, *, unit: float = 1) -> float | None:
    """
    Read a moment since 1970, in seconds or in *unit* parts of them, as the seconds left; None without a clock.
    """
    moment, here = number(text), clock(answer.headers, answer.now)
    if moment is None or here is None:
        return None
    return min(max(moment / unit - here, 0.0), LONGEST)


def iso(text: str, headers: Mapping[str, Sequence[str]], now: float | None) -> float | None:
    """
    Read a moment by RFC 3339 as the seconds left; None if it is none, or without a clock.
    """
    from datetime import datetime

    here = clock(headers, now)
    if here is None or len(text) > 40:
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return min(max(moment.timestamp() - here, 0.0), LONGEST) if moment.tzinfo is not None else None


def span(text: str) -> float | None:
    """
    Read a span as Go writes it, ``6m0s``, ``1h2m3.5s`` or ``12ms``, as seconds; a bare number counts as seconds.
    """
    bare = number(text)
    if bare is not None:
        return bare if bare >= 0 else None
    total, digits, unit = 0.0, "", ""
    for letter in [*text.strip()[:_DIGITS], "0"]:
        if letter in "0123456789.":
            if unit:
                value = number(digits)
                if value is None or unit not in _UNITS:
                    return None
                total, digits, unit = total + value * _UNITS[unit], "", ""
            digits += letter
        else:
            unit += letter
    return total if digits == "0" else None


def prose(text: str, before: str) -> float | None:
    """
    Read a span out of a sentence, behind the words *before*: "9 minutes", "41.724s", "30 seconds", "6m0s".

    Minutes and longer units are rounded up to the next whole one, since "9 minutes" is anything up to ten of them.
    """
    _, begun, rest = text.partition(before)
    if not begun:
        return None
    words = rest[:64].split()
    if not words:
        return None
    amount = number(words[0])
    if amount is None:
        return span(words[0].rstrip(_AROUND))
    name = words[1].strip(_AROUND).lower().removesuffix("s") if len(words) > 1 else "second"
    seconds = _WORDS.get(name)
    if seconds is None or amount < 0:
        return None
    return (amount + 1) * seconds if seconds >= 60 else amount * seconds
