"""
What holds for every limit, whatever is asked of it: the promises, judged by a log.
"""

from __future__ import annotations

from typing import TypeAlias

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from egressor._core.limits import FOREVER, Concurrency, Fixed, Gcra, Sliding
from tests.core.limit_judge import asks, excess_over_bucket, let_through, most_in_any_window, one_after_the_other

Rate: TypeAlias = Gcra | Sliding | Fixed
START = 1_000_000

gcras = st.builds(Gcra, amount=st.integers(1, 12), period=st.integers(1, 600), burst=st.integers(1, 8))
slidings = st.builds(Sliding, amount=st.integers(1, 12), period=st.integers(1, 600))
fixeds = st.builds(Fixed, amount=st.integers(1, 12), period=st.integers(1, 600))
rates: st.SearchStrategy[Rate] = st.one_of(gcras, slidings, fixeds)
limits = st.one_of(rates, st.builds(Concurrency, amount=st.integers(1, 12)))
histories = asks(pause=300, units=6)


def used(limit: Rate | Concurrency, history: list[tuple[int, int]]) -> tuple[int, int]:
    """
    Return the cell after *history*, with the time of its end. Odd entries are charged, so that cells are overdrawn too.
    """
    cell, now = 0, START
    for position, (pause, units) in enumerate(history):
        now += pause
        if position % 5 == 4:
            cell = limit.charge(cell, now, units)
        else:
            after = limit.ask(cell, now, units)
            cell = cell if after < 0 else after
    return cell, now


# --- P1: never more than the limit -----------------------------------------------------------------------------------


@given(gcras, histories)
def test_a_bucket_never_gives_more_than_amount_and_burst_in_any_period(
    limit: Gcra, history: list[tuple[int, int]]
) -> None:
    """
    No window of one period holds more than the amount plus the burst.
    """
    log = let_through(limit, history)

    assert most_in_any_window(log, limit.period) <= limit.amount + limit.most


@given(gcras, histories)
def test_a_bucket_never_gives_more_than_it_was_filled_with(limit: Gcra, history: list[tuple[int, int]]) -> None:
    """
    No stretch of time, however short, holds more than the burst and one unit for each gap in it.
    """
    log = let_through(limit, history)

    assert excess_over_bucket(log, burst=limit.most, gap=limit.gap) <= 0


@given(slidings, histories)
def test_a_sliding_window_never_holds_more_than_the_amount(limit: Sliding, history: list[tuple[int, int]]) -> None:
    """
    No window of one period, wherever it begins, holds more than the amount.
    """
    log = let_through(limit, history)

    assert most_in_any_window(log, limit.period) <= limit.amount


@given(fixeds, histories, st.integers(0, 10_000))
def test_a_fixed_window_never_holds_more_than_the_amount(
    limit: Fixed, history: list[tuple[int, int]], start: int
) -> None:
    """
    No window between two whole periods of the wall clock holds more than the amount.
    """
    log = let_through(limit, [(start, 1), *history])

    windows: dict[int, int] = {}
    for at, units in log:
        windows[at // limit.period] = windows.get(at // limit.period, 0) + units
    assert max(windows.values()) <= limit.amount


@given(st.integers(1, 12), st.lists(st.tuples(st.booleans(), st.integers(1, 4)), max_size=60))
def test_no_more_places_are_held_than_there_are(amount: int, moves: list[tuple[bool, int]]) -> None:
    """
    Whatever is taken and given back, the places held stay within the amount and never go below 0.
    """
    limit = Concurrency(amount=amount)

    cell = 0
    for is_back, units in moves:
        after = limit.refund(cell, 0, units, 0) if is_back else limit.ask(cell, 0, units)
        cell = cell if after < 0 else after
        assert 0 <= cell <= amount
        assert limit.left(cell, 0) == amount - cell


# --- waits -----------------------------------------------------------------------------------------------------------


@given(rates, histories, st.integers(1, 12))
def test_waiting_exactly_the_returned_time_is_enough(limit: Rate, history: list[tuple[int, int]], units: int) -> None:
    """
    A refusal names the time at which the same ask is granted, and one microsecond earlier it is not.
    """
    cell, now = used(limit, history)
    units = min(units, limit.most)

    after = limit.ask(cell, now, units)

    if after < 0:
        assert limit.ask(cell, now - after - 1, units) == -1
        assert limit.ask(cell, now - after, units) >= 0


@given(rates, histories, st.integers(1, 12))
def test_the_wait_that_is_told_beforehand_is_the_wait_of_the_ask(
    limit: Rate, history: list[tuple[int, int]], units: int
) -> None:
    """
    For what fits at once, `wait` says exactly what a refused `ask` would.
    """
    cell, now = used(limit, history)
    units = min(units, limit.most)

    after = limit.ask(cell, now, units)

    assert limit.wait(cell, now, units) == max(0, -after if after < 0 else 0)


@given(st.one_of(gcras, fixeds), histories, st.integers(1, 40))
def test_many_units_wait_as_long_as_the_last_of_them(
    limit: Gcra | Fixed, history: list[tuple[int, int]], units: int
) -> None:
    """
    `wait` for more than ever fits at once is the wait of the last, if each is taken as soon as it may be.
    """
    cell, now = used(limit, history)

    assert limit.wait(cell, now, units) == one_after_the_other(limit, cell, now, units)


@given(slidings, histories, st.integers(1, 40))
def test_a_sliding_wait_is_never_longer_than_the_true_one(
    limit: Sliding, history: list[tuple[int, int]], units: int
) -> None:
    """
    `wait` is a lower bound, too short by at most two sub-buckets for each period that lies in between.
    """
    cell, now = used(limit, history)

    wait, true = limit.wait(cell, now, units), one_after_the_other(limit, cell, now, units)

    rounds = (units - 1) // limit.amount
    assert true - rounds * (66 * limit.width - limit.period) <= wait <= true


@given(rates, histories)
def test_what_is_left_can_be_taken_and_no_more(limit: Rate, history: list[tuple[int, int]]) -> None:
    """
    `left` units are granted at once, and one more is not.
    """
    cell, now = used(limit, history)

    left = limit.left(cell, now)

    assert left == 0 or limit.ask(cell, now, left) >= 0
    assert limit.ask(cell, now, left + 1) < 0


@given(limits, histories, st.integers(1, 6))
def test_what_is_taken_is_what_is_not_left_or_a_debt(
    limit: Rate | Concurrency, history: list[tuple[int, int]], units: int
) -> None:
    """
    `taken` is the limit less what is left, and the whole of it where nothing is; what is charged is added to the unit.
    """
    cell, now = used(limit, history)

    taken = limit.taken(cell, now)

    assert limit.left(cell, now) == max(0, limit.most - taken)
    # Deeper debts are cut.
    if taken + units <= limit.most:
        assert limit.taken(limit.charge(cell, now, units), now) == taken + units


def test_a_debt_is_told_in_full() -> None:
    """
    What was charged beyond a limit counts as taken, too.
    """
    every: list[Rate | Concurrency] = [
        Gcra(amount=10, period=1_000, burst=10),
        Sliding(amount=10, period=1_000),
        Fixed(amount=10, period=1_000),
        Concurrency(amount=10),
    ]

    assert [limit.taken(limit.charge(0, START, 14), START) for limit in every] == [14] * 4


def test_nobody_knows_when_a_place_comes_free() -> None:
    """
    A refused place waits until somebody settles, and no wait can be told beforehand.
    """
    limit = Concurrency(amount=2)

    assert (limit.ask(2, 0, 1), limit.wait(2, 0, 5), limit.charge(2, 0, 1), limit.left(3, 0)) == (-FOREVER, 0, 3, 0)


# --- cells -----------------------------------------------------------------------------------------------------------


@given(limits, histories)
def test_a_cell_is_never_below_zero(limit: Rate | Concurrency, history: list[tuple[int, int]]) -> None:
    """
    Cells stay non-negative integers, whatever is taken, charged and given back; but for places, of which those that
    are lent may be given back before they are taken back.
    """
    cell, now = used(limit, history)

    assert cell >= 0
    assert isinstance(limit, Concurrency) or limit.refund(cell, now, 1 << 40, now) >= 0
    assert limit.charge(cell, now, 1 << 60) >= 0


@given(rates, histories, st.integers(1, 12))
def test_a_cell_untouched_for_its_horizon_says_the_same_as_none(
    limit: Rate, history: list[tuple[int, int]], units: int
) -> None:
    """
    After the horizon a cell may be forgotten: it answers as an untouched one does, for all that is asked of it later.
    """
    cell, now = used(limit, history)
    later = now + limit.horizon

    assert limit.ask(cell, later, units) == limit.ask(0, later, units)
    assert limit.left(cell, later) == limit.left(0, later)
    assert limit.wait(cell, later, 3 * units) == limit.wait(0, later, 3 * units)


@pytest.mark.parametrize(
    ("amount", "bits"), [(1, 40 + 66 * 2), (20, 40 + 66 * 6), (200_000, 40 + 66 * 19), (10**12, 40 + 66 * 41)]
)
def test_a_sliding_cell_has_a_bounded_size(amount: int, bits: int) -> None:
    """
    However much is asked and charged, in whatever order, the integer stays within its 65 counts, total and number.
    """
    limit = Sliding(amount=amount, period=60_000_000)

    cell = 0
    for step in range(1000):
        cell = limit.charge(cell, step * 700_000, amount // 3 + 1)
        assert cell.bit_length() <= bits


def test_a_key_that_was_used_once_stays_small() -> None:
    """
    One call of one user costs a hundred bits, not four thousand.
    """
    limit = Sliding(amount=200_000, period=60_000_000)

    assert limit.ask(0, 10**15, 1).bit_length() <= 64


# --- after the fact --------------------------------------------------------------------------------------------------


@given(limits, histories, st.integers(1, 12))
def test_what_was_just_taken_can_be_given_back_as_if_it_had_never_been(
    limit: Rate | Concurrency, history: list[tuple[int, int]], units: int
) -> None:
    """
    A refund at the moment of the ask restores all that can be asked: what is left, and every wait.
    """
    cell, now = used(limit, history)
    after = limit.ask(cell, now, units)
    if after < 0:
        return

    back = limit.refund(after, now, units, now)

    assert limit.left(back, now) == limit.left(cell, now)
    assert [limit.wait(back, now, more) for more in range(1, 30)] == [
        limit.wait(cell, now, more) for more in range(1, 30)
    ]


@given(
    rates,
    st.lists(
        st.tuples(
            st.one_of(st.just(0), st.integers(0, 300)), st.integers(1, 4), st.sampled_from(["take", "cancel", "oldest"])
        ),
        min_size=1,
        max_size=50,
    ),
)
# Full again since: what was given back later was there already.
@example(Gcra(amount=1, period=1, burst=1), [(0, 1, "take"), (1, 1, "take"), (0, 1, "oldest"), (0, 1, "take")])
# Taken in the window before this one.
@example(Fixed(amount=1, period=100), [(0, 1, "take"), (100, 1, "take"), (0, 1, "oldest"), (0, 1, "take")])
def test_a_refund_never_mints(limit: Rate, moves: list[tuple[int, int, str]]) -> None:
    """
    However late and in whatever order unused units are given back, those that were used stay within the limit.
    """
    cell, now, out, log = 0, START, list[tuple[int, int]](), list[tuple[int, int]]()
    for pause, units, move in moves:
        now += pause
        if move == "take" or not out:
            after = limit.ask(cell, now, units)
            if after >= 0:
                cell = after
                out.append((now, units))
        else:
            at, back = out.pop() if move == "cancel" else out.pop(0)
            cell = limit.refund(cell, now, back, at)
    log = sorted(out)

    if isinstance(limit, Gcra):
        assert excess_over_bucket(log, burst=limit.most, gap=limit.gap) <= 0
    elif isinstance(limit, Sliding):
        assert most_in_any_window(log, limit.period) <= limit.amount
    else:
        for window in {at // limit.period for at, _ in log}:
            assert sum(units for at, units in log if at // limit.period == window) <= limit.amount


@given(limits, histories, st.integers(1, 1000), st.integers(1, 12))
def test_a_charge_beyond_the_limit_is_paid_by_those_that_follow(
    limit: Rate | Concurrency, history: list[tuple[int, int]], units: int, more: int
) -> None:
    """
    A charge is never refused, and never leaves more, nor a shorter wait, than there was before it.
    """
    cell, now = used(limit, history)

    after = limit.charge(cell, now, units)

    assert limit.left(after, now) == max(0, limit.left(cell, now) - units)
    assert limit.wait(after, now, more) >= limit.wait(cell, now, more)


# --- a clock that steps back -----------------------------------------------------------------------------------------


@given(rates, histories, st.integers(0, 5_000), st.integers(1, 12), st.integers(1, 6))
def test_time_that_steps_back_only_lengthens_waits(
    limit: Rate, history: list[tuple[int, int]], back: int, units: int, charged: int
) -> None:
    """
    Before the time of a cell nothing is to be had that was not to be had then, and no charge makes it cheaper.
    """
    cell, now = used(limit, history)
    earlier = now - back
    units = min(units, limit.most)

    assert earlier + limit.wait(cell, earlier, units) >= now + limit.wait(cell, now, units) or not limit.wait(
        cell, now, units
    )
    assert limit.left(cell, earlier) <= limit.left(cell, now)
    assert limit.left(limit.charge(cell, earlier, charged), now) <= limit.left(cell, now)
    assert limit.wait(limit.charge(cell, earlier, charged), now, units) >= limit.wait(cell, now, units)


@given(rates, st.lists(st.tuples(st.integers(-400, 300), st.integers(1, 4)), min_size=1, max_size=50))
def test_a_clock_that_steps_back_lends_nothing_twice(limit: Rate, moves: list[tuple[int, int]]) -> None:
    """
    Where time steps back now and then, what is granted stays within what the time that has passed allows.
    """
    cell, now, passed, log = 0, START, 0, list[tuple[int, int]]()
    for pause, units in moves:
        now += pause
        passed += max(0, pause)
        after = limit.ask(cell, now, units)
        if after >= 0:
            cell = after
            log.append((passed, units))

    if isinstance(limit, Gcra):
        assert excess_over_bucket(log, burst=limit.most, gap=limit.gap) <= 0
    elif isinstance(limit, Sliding):
        assert most_in_any_window(log, limit.period) <= limit.amount
    else:
        assert most_in_any_window(log, limit.period) <= 2 * limit.amount


# --- precision -------------------------------------------------------------------------------------------------------


@given(st.integers(1, 50), st.integers(1, 10_000_000), st.integers(0, 10**9))
def test_a_sliding_window_gives_back_at_most_a_64th_late(amount: int, period: int, now: int) -> None:
    """
    A full window gives its units back after one period, and at the latest 1/64 of a period (and rounding) after that.
    """
    limit = Sliding(amount=amount, period=period)
    cell = limit.ask(0, now, amount)

    wait = -limit.ask(cell, now, 1)

    assert period <= wait <= period + -(-period // 64) + 64


@given(st.integers(1, 10**6), st.integers(1, 10**10), st.integers(1, 1000))
def test_a_bucket_errs_towards_fewer_by_less_than_a_microsecond_a_unit(amount: int, period: int, burst: int) -> None:
    """
    The gap is the period over the amount, rounded up.
    """
    limit = Gcra(amount=amount, period=period, burst=burst)

    assert period <= limit.gap * amount < period + amount
