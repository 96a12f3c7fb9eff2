"""
How long a server asks us to stay away, read from its headers.

Every form that servers send, for one meaning: seconds from the moment of the answer (RFC 9110 10.2.3).

- ``Retry-After: 17``, and the float that some send although the RFC knows only whole seconds;
- ``Retry-After: 17s``, ``17 seconds`` and ``17;x=1``: a number with its unit, or with parameters as of a structured
  field (RFC 9651 3.1.2);
- ``Retry-After: <HTTP-date>`` in the three formats of RFC 9110 5.6.7, also with an offset (``+0100``) in place of GMT,
  as in mails (RFC 5322 3.3), or as ISO 8601 writes it with a zone (RFC 3339). A date is measured against the response's
  own ``Date`` header, since the two clocks are then the same one; only without it against our clock;
- ``retry-after-ms`` and ``x-ms-retry-after-ms``: milliseconds (Azure, OpenAI);
- on a 429 without any of them, the ``t`` of the IETF draft's ``RateLimit`` header, which must never win over
  ``Retry-After`` (draft-ietf-httpapi-ratelimit-headers, section 5).

Where several are given, the latest wins: too early costs a ban, too late costs seconds. What can't be read is ignored,
as the same RFCs ask. A wait above 30 days is cut to 30 days: beyond that it is a mistake or a joke. One such mistake is
known and has a meaning: a number that, as seconds or milliseconds since 1970, is a time within a day before or 30 days
after the answer, is that time.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["LONGEST", "http_date", "retry_after"]

LONGEST: Final = 30 * 86400.0
_DAY: Final = 86400.0
_READ: Final = 128
_WAITS: Final = frozenset({"retry-after", "retry-after-ms", "x-ms-retry-after-ms", "ratelimit"})
_PIECES: Final = 16
# Above every time since 1970 in milliseconds, and below what float can't count.
_MOST: Final = 1e15
_SECONDS: Final = re.compile(r"(?i)([0-9.]{1,20})\s?(?:s|secs?|seconds?)")
_ISO: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(\.\d{1,9})?(?:[Zz]|([+-])(\d\d):?(\d\d))", re.ASCII
)
_OFFSET: Final = re.compile(r"([+-])(\d\d)(\d\d)", re.ASCII)
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1
    )
}


def retry_after(
    headers: Mapping[str, Sequence[str]], *, status: int | None = None, now: float | None = None
) -> float | None:
    """
    Read the wait that a response asks for, in seconds.

    Args:
        headers: Header values by lower-case name.
        status: Status code of the response; the ``RateLimit`` header counts only beside a 429.
        now: Seconds since 1970, for a date in a response without a ``Date`` header. Default: such dates are ignored.

    Returns:
        0 to 30 days; None if the response names no wait that can be read.
    """
    if _WAITS.isdisjoint(headers):
        return None
    waits = list(_asked(headers, now))
    if not waits and status == 429:
        waits = list(_ratelimit(headers.get("ratelimit", ())))
    return min(max(waits), LONGEST) if waits else None


def http_date(text: str, *, near: float | None = None) -> float | None:
    """
    Read an HTTP-date (RFC 9110 5.6.7) as seconds since 1970; None if it is none.

    Args:
        text: ``Sun, 06 Nov 1994 08:49:37 GMT``, ``Sunday, 06-Nov-94 08:49:37 GMT`` or ``Sun Nov  6 08:49:37 1994``;
            the name of the day may be missing, and in place of GMT may be an offset such as ``+0100``.
        near: Seconds since 1970 around which the century of a two-digit year is chosen. Default: 2000 to 2099.
    """
    words = text[:_READ].replace(",", " ").lower().split()
    offset = _OFFSET.fullmatch(words[-1]) if words else None
    if offset is not None:
        words[-1] = "utc"
    words = " ".join(words).replace("-", " ").split()
    if words and words[0][:3] in _DAYS:
        del words[0]
    if len(words) == 4 and words[0] in _MONTHS:  # asctime has the month first and the year last, and no zone
        month, day, clock, year = words
    elif len(words) == 5 and words[4] in {"gmt", "utc"}:
        day, month, year, clock = words[:4]
    else:
        return None
    parts = clock.split(":")
    if month not in _MONTHS or len(parts) != 3 or not all(map(_is_digits, (day, year, *parts))):
        return None
    full = _century(int(year), near) if len(year) == 2 else int(year)
    time = _epoch(full, _MONTHS[month], int(day), *map(int, parts))
    return time if time is None or offset is None else time - _ahead(*offset.groups())


def _iso(text: str) -> float | None:
    """
    Read a time with its zone as RFC 3339 writes it, as seconds since 1970; None if it is none.
    """
    found = _ISO.fullmatch(text)
    time = _epoch(*map(int, found.groups()[:6])) if found is not None else None
    if found is None or time is None:
        return None
    fraction, *offset = found.groups()[6:]
    return time + float(fraction or 0) - (_ahead(*offset) if offset[0] else 0)


def _ahead(sign: str, hours: str, minutes: str) -> int:
    """
    Return by how many seconds the clocks of a zone are ahead of UTC's.
    """
    return (int(hours) * 3600 + int(minutes) * 60) * (1 if sign == "+" else -1)


def _epoch(year: int, month: int, day: int, hour: int, minute: int, second: int) -> float | None:
    # Seconds stay outside: a leap second is 60 (RFC 9110 5.6.7), which datetime refuses.
    if second > 60:
        return None
    try:
        return datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp() + second
    except ValueError:
        return None


def _century(year: int, near: float | None) -> int:
    # RFC 9110 5.6.7: what seems more than 50 years ahead is the latest past year with those digits.
    here = 2000 if near is None else 1970 + int(near / 31556952)
    full = here - here % 100 + year
    return full - 100 if near is not None and full > here + 50 else full


def _is_digits(text: str) -> bool:
    # int() and isdigit() alone also take the digits of other scripts, and int() takes underscores.
    return len(text) <= 4 and text.isascii() and text.isdigit()


def _asked(headers: Mapping[str, Sequence[str]], now: float | None) -> Iterable[float]:
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        for value in headers.get(name, ()):
            millis = _number(value)
            if millis is not None:
                yield millis / 1000
    for value in headers.get("retry-after", ()):
        seconds = _number(value)
        if seconds is not None and seconds <= LONGEST:
            yield seconds
        else:
            yield from _fields(value, _clock(headers, now))


def _clock(headers: Mapping[str, Sequence[str]], now: float | None) -> float | None:
    usable = now is not None and math.isfinite(now) and abs(now) < 1e12
    dates = (http_date(value, near=now if usable else None) for value in headers.get("date", ()))
    return next((date for date in dates if date is not None), now if usable else None)


def _fields(value: str, here: float | None) -> Iterable[float]:
    """
    Read a field that is no plain number of seconds.

    Clients join repeated headers with a comma, and a date holds a comma of its own.
    """
    dated = False
    for piece in value[:_READ].split(",")[:_PIECES]:
        word = piece.partition(";")[0].strip()
        seconds = None if dated else _plain(word)
        if seconds is None:
            date = _iso(word) or http_date(word, near=here)
            seconds = max(date - here, 0.0) if date is not None and here is not None else None
        elif seconds > LONGEST:
            seconds = _until(seconds, here)
        if seconds is not None:
            yield seconds
        # "Wed, 99" is a broken date, not a wait of 99 seconds.
        dated = word[:3].lower() in _DAYS


def _until(number: float, here: float | None) -> float:
    """
    Return the wait that a *number* above 30 days means: until that time, if it is one near *here*; else its seconds.
    """
    if here is not None:
        for time in (number, number / 1000):
            if -_DAY <= time - here <= LONGEST:
                return max(time - here, 0.0)
    return number


def _plain(word: str) -> float | None:
    """
    Read a number of seconds, with or without its unit.
    """
    found = _SECONDS.fullmatch(word)
    return _number(found[1] if found else word)


def _number(text: str) -> float | None:
    """
    Read a number of seconds: not negative, plain ASCII, no ``inf``, no ``nan``, no underscores.
    """
    word = text[:_READ].strip()
    if not word or not word.isascii() or word[0] not in "0123456789." or "_" in word:
        return None
    try:
        value = float(word)
    except ValueError:
        return None
    return min(value, _MOST)  # so many digits that they overflow to infinity are a very long wait


def _ratelimit(values: Sequence[str]) -> Iterable[float]:
    """
    Read the reset of the ``RateLimit`` items that are used up: ``"default";r=0;t=30, "daily";r=120;t=86400``.

    Where no item says ``r=0``, something is used up all the same, and the soonest reset is the least that is known.
    """
    spent: list[float] = []
    open_: list[float] = []
    for value in values:
        # What stands between quotes is a policy's name, and may hold the separators.
        bare = "".join(value[:1024].split('"')[::2])
        for item in bare.split(",")[:_PIECES]:
            parameters = dict(_parameter(part) for part in item.split(";"))
            seconds = _number(parameters.get("t", ""))
            if seconds is not None:
                (spent if parameters.get("r") == "0" else open_).append(seconds)
    return spent or ([min(open_)] if open_ else [])


def _parameter(part: str) -> tuple[str, str]:
    name, _, value = part.partition("=")
    return name.strip(), value.strip()
