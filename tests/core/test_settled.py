"""
What is known of a cost afterwards, however late and however often it is corrected: it never frees what is not free.

The judge keeps the list of what was really used, as far as anybody knew, and reads no cell.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from egressor._core.limits import Fixed, Gcra, Sliding

Rate: TypeAlias = Gcra | Sliding | Fixed
START = 1_000_000
MINUTE = 60_000_000
BUCKET = Gcra(amount=1000, period=MINUTE, burst=1000)
SLIDING = Sliding(amount=1000, period=MINUTE)
FIXED = Fixed(amount=1000, period=MINUTE)


class Move(NamedTuple):
    """
    What happens *pause* microseconds after the move before: a call takes *units*, or one that has, the *which*-th of
    the last ones, turns out to have cost them.
    """

    pause: int
    is_take: bool
    units: int
    which: int = 0


class Used:
    """
    The calls that went, and what each is known to have cost.
    """

    def __init__(self) -> None:
        self.calls: list[list[int]] = []

    def room(self, limit: Rate, now: int) -> int:
        """
        Return how many units may go at *now* with all that is known; below zero where too much has gone already.
        """
        if isinstance(limit, Sliding):
            return limit.amount - sum(units for at, units in self.calls if at > now - limit.period)
        if isinstance(limit, Fixed):
            return limit.amount - sum(units for at, units in self.calls if at // limit.period == now // limit.period)
        recent = [(at, units) for at, units in self.calls if at > now - limit.period]
        return min(
            (
                limit.most + (now - since) // limit.gap - sum(units for at, units in recent if at >= since)
                for since, _ in recent
            ),
            default=limit.most,
        )


def play(limit: Rate, moves: list[Move]) -> tuple[int, int, Used]:
    """
    Do all that, and check each call that goes; return the cell, the time and the calls.
    """
    cell, now, used = 0, START, Used()
    for pause, is_take, units, which in moves:
        now += pause
        if is_take or not used.calls:
            after = limit.ask(cell, now, units)
            if after >= 0:
                assert units <= used.room(limit, now)
                cell = after
                used.calls.append([now, units])
        else:
            call = used.calls[-1 - which % min(4, len(used.calls))]
            at, before = call
            if units > before:
                cell = limit.charge(cell, now, units - before)
            else:
                cell = limit.refund(cell, now, before - units, at)
            call[1] = units
    return cell, now, used


limits: st.SearchStrategy[Rate] = st.one_of(
    st.builds(Gcra, amount=st.integers(1, 12), period=st.integers(1, 600), burst=st.integers(1, 15)),
    st.builds(Sliding, amount=st.integers(1, 12), period=st.integers(1, 600)),
    st.builds(Fixed, amount=st.integers(1, 12), period=st.integers(1, 600)),
)
pauses = st.one_of(st.just(0), st.integers(0, 40), st.integers(0, 700))
takes = st.builds(Move, pauses, st.just(True), st.integers(1, 6))
truths = st.builds(
    Move,
    pauses,
    st.just(False),
    st.one_of(st.integers(0, 12), st.integers(0, 60), st.just(1 << 50)),
    st.integers(0, 3),
)


@given(limits, st.lists(st.one_of(takes, takes, truths), min_size=1, max_size=50))
# A debt that is not kept is somebody else's to give away.
@example(
    Gcra(amount=10, period=100, burst=10),
    [Move(0, True, 8), Move(0, True, 1), Move(0, False, 15), Move(0, False, 1, 1), Move(0, True, 1)],
)
# A debt so deep that it was cut, and corrected while its call is in the window, and after.
@example(Gcra(amount=1, period=10, burst=1), [Move(0, True, 1), Move(0, False, 9), Move(0, False, 6), Move(0, True, 1)])
@example(Sliding(amount=1, period=64), [Move(0, True, 1), Move(0, False, 9), Move(0, False, 6), Move(0, True, 1)])
# Older units must not leave before those that nobody could count.
@example(
    Sliding(amount=4, period=64),
    [
        Move(0, True, 2),
        Move(30, True, 2),
        Move(0, False, 1 << 50),
        Move(36, False, 3),
        Move(0, True, 2),
    ],
)
@example(Fixed(amount=1, period=600), [Move(0, True, 1), Move(0, False, 1 << 50), Move(0, False, 9), Move(0, True, 1)])
def test_no_call_goes_into_what_others_are_known_to_have_used(limit: Rate, moves: list[Move]) -> None:
    """
    Whatever was settled before, in whatever order, a call goes only where all that was really used leaves room for it.
    """
    play(limit, moves)


@pytest.mark.parametrize(
    ("limit", "moves", "left"),
    [
        # One settles 1500 for 100, another 10 for 800: 510 too many have gone.
        (limit, [Move(0, True, 800), Move(0, True, 100), Move(0, False, 1500), Move(0, False, 10, 1)], 0)
        for limit in (BUCKET, SLIDING, FIXED)
    ]
    + [
        # Corrected twice: in the end 900 were used.
        (limit, [Move(0, True, 500), Move(0, True, 400), Move(0, False, 1400), Move(0, False, 400)], 100)
        for limit in (BUCKET, SLIDING, FIXED)
    ]
    + [
        # A debt that is too deep to be counted errs towards fewer.
        (limit, [Move(0, True, 500), Move(0, True, 400), Move(0, False, 5000), Move(0, False, 400)], left)
        for limit, left in ((BUCKET, 0), (SLIDING, 0), (FIXED, 100))
    ],
)
def test_what_is_left_after_corrections(limit: Rate, moves: list[Move], left: int) -> None:
    """
    A debt up to the limit once more is kept to the unit, and one that is deeper frees nothing.
    """
    cell, now, _ = play(limit, moves)

    assert limit.left(cell, now) == left


@pytest.mark.parametrize(
    ("limit", "wait"),
    [(BUCKET, 120_060_000), (Gcra(amount=20, period=MINUTE, burst=5), 168_000_000), (SLIDING, 60_875_000)],
)
def test_a_cost_that_is_stated_wrongly_closes_a_limit_for_a_while(limit: Rate, wait: int) -> None:
    """
    However much is charged, the next unit is to be had within three periods of a bucket, or one of a window.
    """
    assert limit.wait(limit.charge(0, START, 1 << 52), START, 1) == wait


def test_what_was_taken_before_a_cut_debt_never_comes_back() -> None:
    """
    Once a bucket is so far up again that refunds count, those of the time before the cut are not among them.
    """
    limit = Gcra(amount=10, period=100, burst=10)
    cell = limit.charge(limit.ask(0, START, 5), START, 1 << 50)

    deep = [limit.refund(cell, START + after, 1 << 50, START) for after in (0, 99, 100, 101)]
    later = limit.refund(cell, START + 101, 5, START + 100)

    assert (deep, later) == ([cell] * 4, cell - 49)
