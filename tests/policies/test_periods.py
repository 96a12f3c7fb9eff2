"""
When periods begin and end, in zones whose clocks jump.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor._core.budget import NEVER, Ask
from egressor.policies import BudgetPolicy
from egressor.policies.periods import KINDS, asks_of, period_of

ZONES = [
    *("UTC", "Europe/Berlin", "America/New_York", "America/Havana", "America/Santiago", "Asia/Beirut", "Asia/Kolkata"),
    *("Australia/Lord_Howe", "Pacific/Apia", "America/St_Johns", "Africa/Casablanca", "Asia/Tehran"),
]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR = 3_600_000_000
# 1986 to 2037: St. John's set its clock back over midnight until 2011, and Apia skipped a day that year.
moments = st.integers(16 * 366 * 24, 67 * 365 * 24).flatmap(
    lambda hour: st.sampled_from([0, 60, 59_999_999, 1_799_999_999]).map(lambda micro: hour * HOUR + micro)
)


def micro(text: str) -> int:
    """
    Return microseconds since 1970 of an ISO time, in UTC if it names no offset.
    """
    at = datetime.fromisoformat(text)
    return (at.replace(tzinfo=at.tzinfo or UTC) - EPOCH) // timedelta(microseconds=1)


def local(at: int, zone: str) -> datetime:
    """
    Return what the clock on the wall says.
    """
    return (EPOCH + timedelta(microseconds=at)).astimezone(ZoneInfo(zone))


@pytest.mark.parametrize(
    ("kind", "zone", "at", "start", "end"),
    [
        ("hour", "Asia/Kolkata", "2026-11-29T12:34:56", "2026-11-29T12:00", "2026-11-29T13:00"),
        ("day", "UTC", "2026-11-29T00:00:00", "2026-11-29T00:00", "2026-11-30T00:00"),
        ("day", "UTC", "2026-11-29T23:59:59.999999", "2026-11-29T00:00", "2026-11-30T00:00"),
        ("day", "Asia/Kolkata", "2026-11-29T18:29:59", "2026-11-28T18:30", "2026-11-29T18:30"),
        ("week", "UTC", "2026-11-29T12:00", "2026-11-23T00:00", "2026-11-30T00:00"),
        ("week", "UTC", "2026-11-30T00:00", "2026-11-30T00:00", "2026-12-07T00:00"),
        ("month", "UTC", "2026-12-31T23:59", "2026-12-01T00:00", "2027-01-01T00:00"),
        ("month", "UTC", "2028-02-29T12:00", "2028-02-01T00:00", "2028-03-01T00:00"),
        ("month", "America/New_York", "2026-12-01T04:59", "2026-11-01T04:00", "2026-12-01T05:00"),
        # 23 and 25 hours.
        ("day", "Europe/Berlin", "2026-03-29T12:00", "2026-03-28T23:00", "2026-03-29T22:00"),
        ("day", "Europe/Berlin", "2026-10-25T12:00", "2026-10-24T22:00", "2026-10-25T23:00"),
        # Midnight is skipped: the day begins at one o'clock.
        ("day", "Asia/Beirut", "2026-03-28T22:00", "2026-03-28T22:00", "2026-03-29T21:00"),
        ("day", "Asia/Beirut", "2026-03-28T21:59", "2026-03-27T22:00", "2026-03-28T22:00"),
        # Midnight comes twice, at 04:00 and at 05:00 UTC: the day begins at the first.
        ("day", "America/Havana", "2026-11-01T04:00", "2026-11-01T04:00", "2026-11-02T05:00"),
        ("day", "America/Havana", "2026-11-01T05:30", "2026-11-01T04:00", "2026-11-02T05:00"),
        # The last hour of the day comes twice.
        ("day", "America/Santiago", "2026-04-05T03:30", "2026-04-04T03:00", "2026-04-05T04:00"),
        # One minute into the day the clock goes back to yesterday: the day has begun all the same.
        ("day", "America/St_Johns", "2010-11-07T02:30:30", "2010-11-07T02:30", "2010-11-08T03:30"),
        ("day", "America/St_Johns", "2010-11-07T02:45", "2010-11-07T02:30", "2010-11-08T03:30"),
        # The 30th of December 2011 never came.
        ("day", "Pacific/Apia", "2011-12-30T09:59", "2011-12-29T10:00", "2011-12-30T10:00"),
        ("day", "Pacific/Apia", "2011-12-30T10:00", "2011-12-30T10:00", "2011-12-31T10:00"),
    ],
)
def test_a_period_begins_and_ends_when_the_calendar_turns(kind: str, zone: str, at: str, start: str, end: str) -> None:
    """
    Written in UTC: the first moment of a day, week or month there, and the first of the next.
    """
    assert (micro(start), micro(end)) == period_of(kind, zone, micro(at))


def test_a_budget_in_all_never_ends() -> None:
    """
    Its one period holds every moment.
    """
    assert period_of("total", "UTC", micro("2026-11-29T12:00")) == (0, NEVER)


@given(kind=st.sampled_from(KINDS), zone=st.sampled_from(ZONES), at=moments)
def test_each_moment_is_in_exactly_one_period(kind: str, zone: str, at: int) -> None:
    """
    B10: the periods cover the line of time without a gap or an overlap, whatever the clocks do.
    """
    start, end = period_of(kind, zone, at)

    assert start <= at < end
    assert (start, end) == period_of(kind, zone, start) == period_of(kind, zone, end - 1)
    if kind != "total":
        assert period_of(kind, zone, end)[0] == end
        assert period_of(kind, zone, start - 1)[1] == start


@given(zone=st.sampled_from(ZONES), at=moments)
def test_days_weeks_and_months_begin_where_the_calendar_there_says(zone: str, at: int) -> None:
    """
    A judge that only reads the wall: at its beginning a period shows another page than a moment before.
    """
    for kind, page in (("day", "%Y-%m-%d"), ("week", "%G-%V"), ("month", "%Y-%m")):
        start, _ = period_of(kind, zone, at)
        first = local(start, zone)

        assert first.strftime(page) != local(start - 1, zone).strftime(page)
        assert first.strftime(page) == local(start + 59_999_999, zone).strftime(page)
        assert timedelta() <= timedelta(hours=first.hour, minutes=first.minute) <= timedelta(hours=1)


def test_a_policy_asks_for_each_period_that_it_bounds() -> None:
    """
    Limits and soft shares are micro-dollars; the key names whose budget it is, of what period, in what zone.
    """
    policy = BudgetPolicy(
        hour=Decimal("0.000003"), month=Decimal(25), total=Decimal(100), soft=0.5, timezone="Europe/Berlin"
    )
    begin, end = micro("2026-10-31T23:00"), micro("2026-11-30T23:00")

    assert (
        Ask("s/hour@Europe/Berlin", 3, 2, micro("2026-11-29T12:00"), micro("2026-11-29T13:00")),
        Ask("s/month@Europe/Berlin", 25_000_000, 12_500_000, begin, end),
        Ask("s/total@Europe/Berlin", 100_000_000, 50_000_000, 0, NEVER),
    ) == asks_of(policy, "s", micro("2026-11-29T12:34"))
