"""
Windows that follow the wall clock: calendars, time zones, and clocks that somebody sets.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from egressor._core.limits import Fixed

SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Sao_Paulo",
    "America/Havana", "Pacific/Apia",
)  # fmt: skip


def wall(text: str, zone: str = "UTC") -> int:
    """
    Return the local time *text* as microseconds since 1970.
    """
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * SECOND


def end_after(limit: Fixed, at: int, *, now: int = HOUR) -> int:
    """
    Return the wall time at which the window of wall time *at* ends: when a full window grants again.
    """
    cell = limit.ask(0, now, limit.amount, at - now)
    return at - limit.ask(cell, now, 1, at - now)


@pytest.mark.parametrize(
    ("limit", "zone", "at", "ends"),
    [
        ({"period": 60 * SECOND}, "UTC", "2026-11-22 10:11:12", "2026-11-22 10:12:00"),
        ({"period": 60 * SECOND}, "UTC", "2026-11-22 10:12:00", "2026-11-22 10:13:00"),
        ({"period": HOUR}, "Asia/Kathmandu", "2026-11-22 10:11:12", "2026-11-22 10:45:00"),
        ({"period": DAY}, "UTC", "2026-11-22 23:59:59", "2026-11-23 00:00:00"),
        ({"period": DAY}, "Asia/Kathmandu", "2026-11-22 10:11:12", "2026-11-23 00:00:00"),
        ({"period": DAY}, "Europe/Berlin", "2026-03-29 00:00:00", "2026-03-30 00:00:00"),
        ({"period": DAY}, "Europe/Berlin", "2026-10-25 12:00:00", "2026-10-26 00:00:00"),
        ({"period": 7 * DAY}, "UTC", "2026-11-22 12:00:00", "2026-11-23 00:00:00"),
        ({"period": 7 * DAY}, "UTC", "2026-11-23 00:00:00", "2026-11-30 00:00:00"),
        ({"period": 7 * DAY}, "Europe/Berlin", "2026-03-29 12:00:00", "2026-03-30 00:00:00"),
        ({"period": 0, "month": True}, "UTC", "2028-02-29 12:00:00", "2028-03-01 00:00:00"),
        ({"period": 0, "month": True}, "UTC", "2028-02-01 00:00:00", "2028-03-01 00:00:00"),
        ({"period": 0, "month": True}, "America/New_York", "2026-12-31 23:00:00", "2027-01-01 00:00:00"),
        ({"period": 0, "month": True, "count": 3}, "UTC", "2026-11-22 00:00:00", "2027-01-01 00:00:00"),
        ({"period": 0, "month": True, "count": 12}, "UTC", "2026-01-01 00:00:00", "2027-01-01 00:00:00"),
    ],
)
def test_windows_end_where_the_calendar_says(limit: dict[str, Any], zone: str, at: str, ends: str) -> None:
    """
    Minutes and hours end with UTC's, days, weeks (on Mondays) and months with those of the service's time zone.
    """
    made = Fixed(amount=5, zone=None if zone == "UTC" else ZoneInfo(zone), **limit)
    ends_in = "UTC" if limit["period"] == HOUR else zone
    expected = wall("2026-11-22 05:00:00") if limit["period"] == HOUR else wall(ends, ends_in)

    assert end_after(made, wall(at, zone)) == expected


@given(st.integers(1, 3000), st.sampled_from(ZONES), st.integers(0, 24 * 60 - 1))
@example(15_000, "Pacific/Apia", 60)  # 2011: the island went without the 30th of December.
def test_a_day_of_a_zone_ends_at_its_next_midnight(days: int, zone: str, minute: int) -> None:
    """
    A day lasts while the date stays the same in its zone: at its end there is another one, and just before it not yet.
    """
    here = ZoneInfo(zone)
    at = wall("2009-01-01") + days * DAY + minute * 60 * SECOND

    end = end_after(Fixed(amount=1, period=DAY, zone=here), at)

    assert date_of(end - 1, here) == date_of(at, here) < date_of(end, here)


@given(st.integers(0, 40_000), st.integers(0, DAY - 1))
def test_months_and_weeks_end_on_their_first_day(days: int, time: int) -> None:
    """
    A window of a month ends on a first, one of a week on a Monday, both at midnight, and never later than the longest.
    """
    at = days * DAY + time

    month, week = end_after(Fixed(amount=1, period=0, month=True), at), end_after(Fixed(amount=1, period=7 * DAY), at)

    assert (date_of(month, UTC).day, month % DAY, month - at <= 31 * DAY) == (1, 0, True)
    assert (date_of(week, UTC).isoweekday(), week % DAY, week - at <= 7 * DAY) == (1, 0, True)


def date_of(at: int, zone: ZoneInfo | type(UTC)) -> date:  # type: ignore[valid-type]
    """
    Return the date in *zone* at *at*.
    """
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at)).astimezone(zone).date()


# --- somebody sets the clock -----------------------------------------------------------------------------------------

Jumps = list[tuple[int, int]]
PERIOD = 64_000


def grants(limit: Fixed, jumps: Jumps, *, skew: int) -> list[int]:
    """
    Ask all the time while the wall clock moves by each jump's microseconds, and return when one unit was granted.
    """
    cell, now, log = 0, 0, []
    for pause, jump in jumps:
        until = now + pause
        while now <= until:
            after = limit.ask(cell, now, 1, skew)
            if after >= 0:
                cell = after
                log.append(now)
            now = now + 1 if after >= 0 else min(now - after, until + 1)
        skew += jump
    return log


@given(
    st.lists(st.tuples(st.integers(0, 2 * PERIOD), st.integers(-3 * PERIOD, 3 * PERIOD)), min_size=1, max_size=12),
    st.integers(0, PERIOD),
)
def test_a_clock_that_jumps_never_lends_an_allowance_twice(jumps: Jumps, skew: int) -> None:
    """
    However the wall clock is set, the allowance of one window and that of the next lie a period apart, or 1/64 less.
    """
    limit = Fixed(amount=2, period=PERIOD)

    log = grants(limit, jumps, skew=10 * PERIOD + skew)

    # The first window may be short: it began before anybody asked. Each of the others is given whole, at its beginning.
    begins = log[2::2]
    assert all(later - begin >= PERIOD - PERIOD // 64 for begin, later in pairwise(begins))


@pytest.mark.parametrize("jump", [-HOUR, HOUR, -25 * HOUR, 25 * HOUR, -1, 1, -30 * SECOND, 30 * SECOND])
@pytest.mark.parametrize("period", [60 * SECOND, HOUR, DAY])
def test_a_jump_moves_no_open_window(jump: int, period: int) -> None:
    """
    A window that has begun ends when it was to end, in time that passes, whatever the wall clock says then.
    """
    limit, now, skew = Fixed(amount=1, period=period), HOUR, wall("2026-11-22 10:00:10")
    cell = limit.ask(0, now, 1, skew - now)
    wait = limit.ask(cell, now, 1, skew - now)

    later = limit.ask(cell, now - wait - 1, 1, skew - now + jump)
    again = limit.ask(cell, now - wait, 1, skew - now + jump)

    assert later == -1
    assert again > 0


@given(st.integers(0, 3 * PERIOD), st.integers(-PERIOD, PERIOD), st.integers(0, 2 * PERIOD))
@example(PERIOD, -1, 0)
def test_a_window_that_a_jump_has_lengthened_is_over_at_the_horizon(now: int, jump: int, more: int) -> None:
    """
    A cell that nobody touched for its horizon says the same as none, also where the clock was moved in between.
    """
    limit, skew = Fixed(amount=1, period=PERIOD), 10 * PERIOD
    cell = limit.charge(0, now, 1, skew)
    again = now + PERIOD
    cell = limit.charge(cell, again, 1, skew + jump)

    later = again + limit.horizon + more

    for after in (skew, skew + jump, skew + 2 * jump):
        assert limit.wait(cell, later, 2, after) == limit.wait(0, later, 2, after)


def test_after_a_jump_the_windows_are_aligned_again() -> None:
    """
    The window after a jump is longer than a period, and ends where the clock, as it is now, has its boundary.
    """
    limit, skew = Fixed(amount=1, period=HOUR), 100 * HOUR
    first = limit.ask(0, 0, 1, skew)
    second = limit.ask(first, HOUR, 1, skew + 20 * 60 * SECOND)

    wait = limit.ask(second, HOUR, 1, skew + 20 * 60 * SECOND)

    assert -wait == 40 * 60 * SECOND + HOUR


def test_the_shortest_day_keeps_the_wait_a_lower_bound() -> None:
    """
    Of days that may have 23 hours, the wait for the one after next counts no more than they have.
    """
    zone = ZoneInfo("Europe/Berlin")
    limit, at = Fixed(amount=1, period=DAY, zone=zone), wall("2026-03-28 12:00:00", "Europe/Berlin")
    cell = limit.ask(0, HOUR, 1, at - HOUR)

    wait = limit.wait(cell, HOUR, 2, at - HOUR)

    assert 34 * HOUR <= wait <= 35 * HOUR


def test_a_unit_that_was_taken_in_the_window_before_is_not_given_back_to_this_one() -> None:
    """
    A lease from 23:59 that comes back unused after midnight gives the new day nothing.
    """
    limit, skew = Fixed(amount=10, period=DAY), wall("2026-11-22") - HOUR
    late = DAY - 60 * SECOND + HOUR
    old = limit.ask(0, late, 1, skew)
    full = limit.ask(old, DAY + HOUR, 10, skew)

    assert limit.refund(full, DAY + HOUR + 1, 1, late) == full
    assert limit.refund(old, DAY + HOUR, 1, late) == old
    assert limit.left(limit.refund(full, DAY + HOUR + 1, 1, DAY + HOUR), DAY + HOUR + 1, skew) == 1
