"""
The waits that servers ask for, in every form that they send.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor._core.retry_after import LONGEST, http_date, retry_after

TODAY = 1_796_000_000.0  # 29 November 2026, in milliseconds above 1e12
NOON = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT, the date of the RFC's own examples


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0.0),
        ("17", 17.0),
        (" 17 ", 17.0),
        ("0.5", 0.5),
        ("1e1", 10.0),
        ("1e12", LONGEST),
        ("9" * 400, LONGEST),
        ("5, 10", 10.0),
        ("10, 5", 10.0),
        ("-1", None),
        ("-0", None),
        ("inf", None),
        ("nan", None),
        ("Infinity", None),
        ("1_0", None),
        ("٣", None),
        ("", None),
        (" ", None),
        ("soon", None),
        ("17 seconds", 17.0),
        ("5s", 5.0),
        ("0.5 Sec", 0.5),
        ("9;x=1", 9.0),
        ("9; x=1, 4", 9.0),
        ("12,34", 34.0),
        ("34,12", 34.0),
        ("-5s", None),
        ("1.5.2s", None),
        ("5 minutes", None),
        (";x=1", None),
        ("\u202e17", None),
        ("Wed, 99", None),
        ("1.2.3", None),
    ],
)
def test_seconds(value: str, expected: float | None) -> None:
    """
    A number of seconds is taken as it stands; what is no plain, non-negative number is ignored.
    """
    found = retry_after({"retry-after": [value]}, now=NOON)

    assert expected == found


@pytest.mark.parametrize(
    ("value", "now", "expected"),
    [
        (f"{NOON + 3:.0f}", NOON, 3.0),
        (f"{(NOON + 3) * 1000:.0f}", NOON, 3.0),
        (f"{(TODAY + 30) * 1000:.0f}", TODAY, 30.0),
        (f"{(TODAY + 30) * 1000:.0f}, 5", TODAY, 30.0),
        (f"{TODAY + 30:.0f};x=1", TODAY, 30.0),
        (f"{NOON - 3:.0f}", NOON, 0.0),
        (f"{NOON + LONGEST:.0f}", NOON, LONGEST),
        (f"{NOON - 86_401:.0f}", NOON, LONGEST),
        (f"{NOON + LONGEST + 1:.0f}", NOON, LONGEST),
        (f"{NOON + 3:.0f}", None, LONGEST),
        (f"{LONGEST:.0f}", LONGEST, LONGEST),
    ],
)
def test_a_time_that_was_meant(value: str, now: float | None, expected: float) -> None:
    """
    Some servers put the time there at which to come again; one far from now is a wait, and cut like any other.
    """
    assert retry_after({"retry-after": [value]}, now=now) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 06 Nov 1994 09:49:37 +0100",
        "Sunday, 06-Nov-94 03:19:37 -0530",
    ],
)
def test_three_date_formats(text: str) -> None:
    """
    All of the RFC's three formats, and those of mails, name the same instant.
    """
    found = http_date(text, near=NOON)

    assert found == NOON


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Sun",
        "Sun, 06 Nov 1994",
        "Sun, 06 Nov 1994 08:49 GMT",
        "Sun, 06 Nov 1994 08:49:37 PST",
        "Sun, 06 Nov 1994 08:49:37 +01",
        "Sun Nov  6 08:49:37 1994 +0100",
        "+0100",
        "Sun, 06 Xyz 1994 08:49:37 GMT",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Nov 99999 08:49:37 GMT",
        "Sun, 06 Nov ١٩٩٤ 08:49:37 GMT",
        "Sun, 06 Nov 0 08:49:37 GMT",
        "Sun Xyz  6 08:49:37 1994",
    ],
)
def test_broken_dates(text: str) -> None:
    """
    A date with anything wrong in it is no date.
    """
    found = http_date(text, near=NOON)

    assert found is None


def test_leap_second() -> None:
    """
    The sixtieth second exists, and is the first of the next minute.
    """
    found = http_date("Sat, 31 Dec 2016 23:59:60 GMT")

    assert datetime(2017, 1, 1, tzinfo=UTC).timestamp() == found


@pytest.mark.parametrize(
    ("text", "near", "year"),
    [
        ("Sunday, 06-Nov-94 08:49:37 GMT", None, 2094),
        ("Sunday, 06-Nov-94 08:49:37 GMT", datetime(2026, 1, 1, tzinfo=UTC).timestamp(), 1994),
        ("Sunday, 06-Nov-81 08:49:37 GMT", datetime(2026, 1, 1, tzinfo=UTC).timestamp(), 1981),
        ("Sunday, 06-Nov-75 08:49:37 GMT", datetime(2026, 1, 1, tzinfo=UTC).timestamp(), 2075),
    ],
)
def test_century(text: str, near: float | None, year: int) -> None:
    """
    Two digits of a year are at most fifty years ahead of the clock beside them.
    """
    found = http_date(text, near=near)

    assert found is not None
    assert year == datetime.fromtimestamp(found, UTC).year


@pytest.mark.parametrize(
    ("headers", "now", "expected"),
    [
        ({"retry-after": ["Sun, 06 Nov 1994 08:49:47 GMT"], "date": ["Sun, 06 Nov 1994 08:49:37 GMT"]}, 0.0, 10.0),
        ({"retry-after": ["Sun, 06 Nov 1994 08:49:47 GMT"]}, NOON, 10.0),
        ({"retry-after": ["Sun, 06 Nov 1994 08:49:47 GMT"], "date": ["yesterday"]}, NOON, 10.0),
        ({"retry-after": ["Sun, 06 Nov 1994 08:49:47 GMT"]}, None, None),
        ({"retry-after": ["Sun, 06 Nov 1994 08:49:47 GMT"]}, math.nan, None),
        ({"retry-after": ["Sun, 06 Nov 1994 08:49:47 GMT"]}, math.inf, None),
        ({"retry-after": ["Sun, 06 Nov 1994 08:49:47 GMT"]}, 1e300, None),
        ({"retry-after": ["Sun, 06 Nov 1994 08:49:27 GMT"]}, NOON, 0.0),
        ({"retry-after": ["Sun, 06 Nov 2094 08:49:27 GMT"]}, NOON, LONGEST),
        ({"retry-after": ["3, Sun, 06 Nov 1994 08:49:47 GMT"]}, NOON, 10.0),
        ({"retry-after": ["Sun, 06 Nov 1994 08:49:47 GMT, 30"]}, NOON, 30.0),
        ({"retry-after": ["1994-11-06T08:49:47Z"]}, NOON, 10.0),
        ({"retry-after": ["1994-11-06 09:49:47.500+01:00"]}, NOON, 10.5),
        ({"retry-after": ["1994-11-06T03:19:47-0530"]}, None, None),
        ({"retry-after": ["1994-11-06T03:19:47-0530"], "date": ["Sun, 06 Nov 1994 08:49:37 +0000"]}, 0.0, 10.0),
        ({"retry-after": ["1994-11-06T08:49:47"]}, NOON, None),
        ({"retry-after": ["1994-13-06T08:49:47Z"]}, NOON, None),
        ({"retry-after": ["1994-11-06T08:49:27Z"]}, NOON, 0.0),
    ],
)
def test_dates(headers: dict[str, list[str]], now: float | None, expected: float | None) -> None:
    """
    A date is measured against the response's own clock, else against ours; a past one means at once.
    """
    found = retry_after(headers, now=now)

    assert expected == found


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after-ms": ["1500"]}, 1.5),
        ({"x-ms-retry-after-ms": ["250.5"]}, 0.2505),
        ({"retry-after": ["1"], "retry-after-ms": ["1500"]}, 1.5),
        ({"retry-after": ["2"], "retry-after-ms": ["1500"]}, 2.0),
        ({"retry-after": ["2", "9"]}, 9.0),
        ({"retry-after-ms": ["-5"], "retry-after": ["2"]}, 2.0),
    ],
)
def test_latest_of_several_wins(headers: dict[str, list[str]], expected: float | None) -> None:
    """
    Of several waits the latest is obeyed, so that none of them is broken.
    """
    found = retry_after(headers)

    assert expected == found


@pytest.mark.parametrize(
    ("value", "status", "expected"),
    [
        ('"default";r=0;t=30', 429, 30.0),
        ('"default";r=50;t=30', 429, 30.0),
        ('"burst";r=0;t=5, "daily";r=120;t=86400', 429, 5.0),
        ('"burst";r=0;t=5, "daily";r=0;t=86400', 429, 86400.0),
        ('"burst";r=3;t=5, "daily";r=120;t=86400', 429, 5.0),
        ('"a;t=1,b";r=0;t=30', 429, 30.0),
        ('"default";r=0;t=soon', 429, None),
        ('"default";r=0', 429, None),
        ('"default";r=0;t=30', 503, None),
    ],
)
def test_ratelimit_header(value: str, status: int, expected: float | None) -> None:
    """
    Beside a 429, the reset of the used-up RateLimit item stands in for a missing Retry-After.
    """
    found = retry_after({"ratelimit": [value]}, status=status)

    assert expected == found


def test_retry_after_beats_ratelimit() -> None:
    """
    Retry-After must win over RateLimit, also where it is the shorter one.
    """
    found = retry_after({"retry-after": ["3"], "ratelimit": ['"default";r=0;t=30']}, status=429)

    assert found == 3.0


@given(st.integers(min_value=0, max_value=4_000_000_000))
def test_dates_agree_with_the_standard_library(second: int) -> None:
    """
    What the standard library writes as an HTTP-date is read back to the second.
    """
    found = http_date(formatdate(second, usegmt=True))

    assert second == found


@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "date", "ratelimit"]), st.lists(st.text())))
def test_any_text(headers: dict[str, list[str]]) -> None:
    """
    Whatever stands in the headers, the wait is None or between 0 and 30 days.
    """
    found = retry_after(headers, status=429, now=NOON)

    assert found is None or 0 <= found <= LONGEST
