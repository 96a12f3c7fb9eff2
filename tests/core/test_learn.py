"""
What is made of what servers say of their limits: tables, and properties against a server that counts for itself.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor._core.learn import (
    INVALID,
    Heard,
    Hint,
    available,
    believed,
    hear,
    hold,
    is_near,
    merge,
    part_of,
    parts_of,
    ready_at,
    spend,
    units_of,
    usual,
)

S = 1_000_000
WALL = 1_800_000_000 * S
LOW, MEDIUM, HIGH, CRITICAL = range(4)
AMOUNTS = {("weight", 60 * S): 6000}


def heard(left: float, limit: float | None = 100, *, resets: float = 60, at: int = 0, **more: Any) -> Heard:
    """
    Return what is known after a first answer, *at* so many seconds.
    """
    hint = Hint("requests", left, limit, int(resets * S), 60 * S, **more)
    cell = hear(None, hint, at * S, WALL, AMOUNTS)
    assert cell is not None
    return cell


def again(cell: Heard, left: float, *, at: int = 1, resets: float = 59, **more: Any) -> Heard | None:
    """
    Return what is known after another answer.
    """
    return hear(cell, Hint("requests", left, 100, int(resets * S), 60 * S, **more), at * S, WALL, AMOUNTS)


def when(cell: Heard, at: float = 0, *, level: int = CRITICAL, units: int = 1, out: int = 0, members: int = 1) -> float:
    """
    Return after how many seconds a call may go.
    """
    now = int(at * S)
    return (ready_at(cell, now, level=level, units=units, out=out, members=members) - now) / S


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (Hint("requests", 5.0, 10.0, 9 * S), (5, 10, 9)),
        (Hint("requests", 5.9, 10.0, 9 * S), (5, 10, 9)),
        (Hint("requests", 5.0, None, 9 * S), (5, 5, 9)),
        (Hint("requests", 5.0, None, 9 * S, None, 7.0), (5, 12, 9)),
        (Hint("requests", None, 10.0, 9 * S, None, 7.2), (2, 10, 9)),
        (Hint("requests", None, 10.0, 9 * S, None, 17.0), (0, 10, 9)),
        (Hint("requests", 20.0, 10.0, 9 * S), (20, 20, 9)),
        (Hint("weight", window=60 * S, used=5900.0), (100, 6000, 60)),
        (Hint(INVALID, limit=10, window=60 * S, adds=1), (9, 10, 60)),
    ],
    ids=str,
)
def test_an_answer_is_understood(hint: Hint, expected: tuple[int, int, int]) -> None:
    """
    What is left, of how much, until when; what is used stands for what is left where the whole is known.
    """
    cell = hear(None, hint, 0, WALL, AMOUNTS)

    assert cell is not None
    assert (cell.left, cell.limit, cell.until // S) == expected


@pytest.mark.parametrize(
    "hint",
    [
        Hint("requests", 5.0, 10.0),
        Hint("requests", 5.0, 10.0, None, 60 * S),
        Hint("requests", 5.0, 10.0, 0),
        Hint("requests", None, 10.0, 9 * S),
        Hint("weight", window=10 * S, used=5900.0),
        Hint("orders", window=60 * S, used=5900.0),
    ],
    ids=str,
)
def test_an_answer_that_says_too_little_is_ignored(hint: Hint) -> None:
    """
    Without what is left, or without when it comes back, nobody is held back by a guess; a reset that is now is over.
    """
    assert hear(None, hint, 0, WALL, AMOUNTS) is None


@pytest.mark.parametrize(
    ("hint", "seconds"),
    [
        (Hint("requests", 0.0, 100.0, 3_600_000 * S), 3_600),
        (Hint("requests", 0.0, 100.0, 3_600_000 * S, 86_400 * S), 86_400),
        (Hint("requests", 0.0, 100.0, 3_600_000 * S, 60 * S), 3_600),
        (Hint("requests", 0.0, None, 3_600 * S), 3_600),
        (Hint("requests", 0.0, 100.0, 7_200 * S, refills=True), 7_200),
        (Hint("requests", 0.0, 100.0, 0), 0),
    ],
    ids=str,
)
def test_a_good_answer_closes_nothing_for_days(hint: Hint, seconds: int) -> None:
    """
    Milliseconds that were meant hold for an hour, or for the period that is named; a refused call's hold as they are.
    """
    assert believed([hint], is_refused=False) == [hint._replace(resets=seconds * S)]
    assert believed([hint], is_refused=True) == [hint]


def test_a_good_answer_belies_a_limit_of_nothing() -> None:
    """
    It has served one; a reset that isn't said stays unsaid.
    """
    none, some = Hint("requests", 0.0, 0.0, 60 * S), Hint("tokens", 0.0, 100.0)

    assert believed([none, some], is_refused=False) == [some]
    assert believed([none, some], is_refused=True) == [none, some]


@pytest.mark.parametrize("is_refused", [True, False])
@pytest.mark.parametrize("turn", [1, -1])
def test_the_strictest_of_one_answer_s_policies_holds(is_refused: bool, turn: int) -> None:
    """
    A day's limit that is used up is not forgotten for a second's, nor for one whose reset can't be read.
    """
    day, burst, unread = Hint("requests", 0.0, 50, 3_000 * S), Hint("requests", 90.0, 100, S), Hint("requests", 0.0)
    used = Hint("requests", None, 100.0, 60 * S, None, 99.0)
    others = [
        Hint("tokens", 5.0, 10, S),
        Hint("requests", 5.0, 10, S, S),
        Hint("requests", 7.0, 10, S, per="endpoint"),
    ]

    found = believed([day, burst, unread, used, *others][::turn], is_refused=is_refused)
    assert sorted(found, key=str) == sorted([day, *others], key=str)
    assert believed([burst, used, unread][::turn], is_refused=is_refused) == [used]


def test_windows_of_the_clock_end_with_the_clock_s() -> None:
    """
    Binance's minute began 20 seconds ago by the clock: it is over in 40.
    """
    cell = hear(None, Hint("weight", window=60 * S, used=1.0), 0, 60 * S * 1000 + 20 * S, AMOUNTS)

    assert cell is not None
    assert cell.until == 40 * S


def test_less_is_believed_at_once_and_more_slowly() -> None:
    """
    From 80 to 10 in one step; back to 90 by an eighth of the difference each; never above what is said.
    """
    cell = heard(80)
    assert again(cell, 10) is cell
    assert cell.left == 10
    steps = []
    for _ in range(60):
        again(cell, 90)
        steps.append(cell.left)
    assert steps[:3] == [20, 28, 35]
    assert steps[-1] == 90


def test_the_newest_reset_holds_and_then_all_is_forgotten() -> None:
    """
    An answer that moves the reset moves it; whoever asks after it goes; the next answer is a first one.
    """
    cell = heard(0)
    again(cell, 0, at=1, resets=9)
    assert (when(cell, 1), when(cell, 10)) == (9.0, 0.0)
    later = again(cell, 90, at=11)
    assert later is not cell
    assert later is not None
    assert later.left == 90


def test_a_reset_that_has_come_ends_what_was_known() -> None:
    """
    An answer whose reset is now says that all is there.
    """
    assert again(heard(3), 0, resets=0) is None


def test_coming_back_is_later_by_what_the_caller_says() -> None:
    """
    Not everybody that was told the same comes back at the same moment.
    """
    cell = hear(None, Hint("requests", 0.0, 10.0, 9 * S), 0, WALL, AMOUNTS, late=S)

    assert cell is not None
    assert when(cell) == 10.0


def test_an_answer_that_says_too_little_leaves_what_is_known() -> None:
    """
    A hint without a reset changes nothing; a limit that was said once is remembered when it isn't said.
    """
    cell = heard(30)
    assert hear(cell, Hint("requests", 5.0), S, WALL, AMOUNTS) is cell
    assert cell.left == 30
    hear(cell, Hint("requests", 0.0, None, 9 * S, 60 * S), S, WALL, {})
    assert (cell.left, cell.limit) == (0, 100)


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        (25, (0, 0, 0, 0)),
        (24, (2.4, 0, 0, 0)),
        (12, (60 / 13, 60 / 13, 0, 0)),
        (6, (60 / 7, 60 / 7, 60 / 7, 0)),
        (1, (30, 30, 30, 0)),
        (0, (60, 60, 60, 60)),
    ],
)
def test_near_the_edge_lower_priorities_are_spread_first(left: int, expected: tuple[float, ...]) -> None:
    """
    Below a quarter low ones, below an eighth medium ones, below a sixteenth high ones; nobody goes when none is left.
    """
    cell = heard(left)

    assert [when(cell, level=level) for level in range(4)] == pytest.approx(expected, abs=1e-5)


def test_what_is_spread_lasts_until_the_reset() -> None:
    """
    Twenty that are left go one by one over the minute, and the last has gone when the window ends.
    """
    cell = heard(20)
    gone: list[float] = []
    for _ in range(20):
        at = (gone[-1] if gone else 0) + when(cell, gone[-1] if gone else 0, level=LOW)
        cell.paced[LOW] = int(at * S)
        spend(cell, 1)
        gone.append(at)

    assert gone == sorted(gone)
    assert 50 < gone[-1] < 60
    assert when(cell, gone[-1], level=LOW) == pytest.approx(60 - gone[-1], abs=1e-5)


def test_one_priority_s_calls_don_t_put_off_another_s() -> None:
    """
    Each level has its own pace, so that many high ones don't starve a low one.
    """
    cell = heard(12)
    cell.paced = [0, 10 * S, 10 * S, 10 * S]
    assert when(cell, 10, level=LOW) == 0.0
    cell.paced = [10 * S, 0, 10 * S, 10 * S]
    assert when(cell, 10, level=MEDIUM) == 0.0


@pytest.mark.parametrize(
    ("left", "level", "units", "expected"),
    [
        (50, CRITICAL, 1, 0),
        (0, CRITICAL, 1, 0.6),
        (0, CRITICAL, 5, 3),
        (-10, CRITICAL, 5, 150 / 110 * 6),
        (13, LOW, 1, 0),
        (12, LOW, 1, 60 / 88),
        (6, MEDIUM, 1, 60 / 94),
        (50, CRITICAL, 500, 60),
        (50, LOW, 95, 60),
    ],
)
def test_a_bucket_is_waited_for_as_it_fills(left: int, level: int, units: int, expected: float) -> None:
    """
    A bucket of 100 that is full in a minute has one when it has filled so far; lower priorities leave a part of it.
    """
    cell = heard(50, refills=True)
    cell.left = left

    assert when(cell, level=level, units=units) == pytest.approx(expected, abs=1e-3)


def test_a_cost_beyond_the_limit_goes_when_all_of_it_is_there() -> None:
    """
    Who wants more than there ever is waits for no more than the whole: the server may know better.
    """
    assert [when(heard(left), units=500) for left in (99, 100)] == [60.0, 0.0]


def test_what_is_taken_of_a_bucket_comes_back_as_slowly() -> None:
    """
    Half of it is there again in a minute; with ten more taken it is full twelve seconds later, and no sooner.
    """
    cell = heard(50, refills=True)
    spend(cell, 10)

    assert [available(cell, at * S) for at in (0, 36, 72)] == [40, 70, 100]
    full = heard(100, refills=True)
    spend(full, 10)
    assert available(full, 0) == 90


def test_nothing_left_of_an_unknown_whole_holds() -> None:
    """
    Many servers say what is left and not of how much.
    """
    assert [when(heard(left, None, refills=refills)) for left in (0, 1) for refills in (False, True)] == [60, 60, 0, 0]


def test_calls_under_way_and_other_processes_have_their_part() -> None:
    """
    Of ten that are left, three under way leave seven; of four processes each has three, the last units being whose who
    is first.
    """
    cell = heard(10)

    assert [when(cell, units=units, out=3) for units in (7, 8)] == [0.0, 60.0]
    assert [when(cell, units=units, members=4) for units in (3, 4)] == [0.0, 60.0]
    assert [when(cell, out=out, members=4) for out in (2, 3)] == [0.0, 60.0]


def test_that_others_share_it_is_no_edge() -> None:
    """
    Of a whole limit nobody's calls are spread, however many processes use it; of a fifth each has its part.
    """
    assert when(heard(100), level=LOW, members=16) == 0.0
    assert when(heard(20), level=LOW, members=4) == 10.0


def test_what_every_call_takes_is_taken_though_no_cost_says_so() -> None:
    """
    A call is a request, has some weight and some tokens; whether it is an order only its cost can say.
    """
    cost = {"requests": 1, "tokens": 800}

    assert [units_of(cost, unit) for unit in ("requests", "tokens", "weight", "orders", INVALID)] == [1, 800, 1, 0, 1]


def test_bad_manners_are_counted_by_answers_only() -> None:
    """
    A call that ends well has used up none of the invalid requests; each bad one takes its own.
    """
    hint = Hint(INVALID, limit=10, window=60 * S, adds=1)
    cell = hear(None, hint, 0, WALL, {})
    assert cell is not None
    spend(cell, 1)
    assert hear(cell, hint, S, WALL, {}) is cell
    assert (cell.left, cell.until) == (8, 60 * S)


def test_of_two_processes_knowledge_the_one_with_less_left_holds() -> None:
    """
    What is over counts for nothing, and a pace is one's own.
    """
    mine, other, over = heard(30), heard(10), heard(0, resets=1)
    mine.paced = [7, 7, 7, 7]

    assert merge(mine, over, 2 * S) is mine
    assert merge(None, over, 2 * S) is None
    assert merge(None, other, 0) is other
    assert merge(other, heard(10), 0) is other
    assert merge(mine, other, 0) is other
    assert other.paced == [7, 7, 7, 7]


def test_near_means_that_somebody_has_to_wait() -> None:
    """
    Less than a quarter.
    """
    assert [is_near(heard(left), 0) for left in (25, 24)] == [False, True]


def test_a_wait_that_is_asked_for_is_nothing_left() -> None:
    """
    Until its end nobody goes; the longer of two holds; what is known of a bucket doesn't fill meanwhile.
    """
    cell = hold(None, 0, 20 * S)
    assert (when(cell), when(cell, 20)) == (20.0, 0.0)
    assert hold(cell, S, 10 * S) is cell
    assert when(cell, 1) == 19.0
    assert when(hold(heard(50, refills=True), 0, 90 * S), 59) == 31.0
    assert hold(cell, 30 * S, 40 * S) is not cell


def test_the_parts_of_a_service() -> None:
    """
    An endpoint and a recipient have limits of their own at some servers; a user is no part of the service.
    """
    scope = {"user": "u", "endpoint": "search", "recipient": "r"}

    assert parts_of({}) == ("",)
    assert parts_of(scope) == ("", "endpoint=search", "recipient=r")
    assert [part_of(scope, name) for name in ("endpoint", "recipient", "user", "ip")] == [
        "endpoint=search",
        "recipient=r",
        "",
        "",
    ]


@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(1, 120), st.booleans()), min_size=1, max_size=20),
    st.integers(0, 300),
    st.integers(0, 3),
    st.integers(1, 50),
    st.integers(0, 50),
    st.integers(1, 9),
)
def test_whatever_was_said_a_wait_ends_at_the_reset(
    said: list[tuple[int, int, bool]], at: int, level: int, units: int, out: int, members: int
) -> None:
    """
    Nobody waits beyond the reset or into the past, more is never believed than was said, and less is at once.
    """
    cell: Heard | None = None
    for second, (left, resets, refills) in enumerate(said):
        before = None if cell is None or cell.until <= second * S else available(cell, second * S)
        cell = hear(cell, Hint("requests", left, 100, resets * S, 60 * S, refills=refills), second * S, WALL, {})
        assert cell is not None
        assert cell.left <= left
        assert cell.left == left or (before is not None and before < cell.left)
    assert cell is not None
    now = at * S
    assert now <= ready_at(cell, now, level=level, units=units, out=out, members=members) <= max(now, cell.until)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.booleans()), max_size=80),
    st.integers(1, 30),
    st.booleans(),
)
def test_a_server_that_says_what_is_left_is_never_overrun(
    calls: list[tuple[int, int, bool]],
    limit: int,
    refills: bool,
) -> None:
    """
    Against a server that counts for itself no call meets a limit, whether answers come at once or late, up to the reset
    behind which nobody knows of them any more.
    """
    now, left, cell = 0, float(limit), None
    late: list[Hint] = []

    def come_home() -> None:
        nonlocal cell
        for _ in late:
            if cell is not None:
                spend(cell, 1)
        cell = hear(cell, late[-1], now, WALL, {}) if late else cell
        late.clear()

    for pause, level, is_late in calls:
        now += pause * S
        if cell is not None and now >= cell.until:
            # They came just before.
            now, then = cell.until - 1, now
            come_home()
            now = then
        if refills:
            left = min(limit, left + pause * limit / 60)
        elif now % (60 * S) < pause * S:
            left = limit
        if cell is not None and ready_at(cell, now, level=level, units=1, out=len(late), members=1) > now:
            continue
        assert left > 0.999 or cell is None
        left = max(0.0, left - 1)
        resets = int((limit - left) * 60 / limit * S) if refills else 60 * S - now % (60 * S)
        late.append(Hint("requests", left, limit, resets, refills=refills))
        if not is_late or cell is None:
            come_home()


@pytest.mark.parametrize(
    ("before", "units", "after"),
    [(None, 7, 7), (1, 1, 1), (1, 2, 2), (1000, 1000, 1000), (1000, 4200, 1100), (1000, 4201, 1101), (1000, 0, 969)],
)
def test_what_calls_usually_take_is_learned_slowly(before: int | None, units: int, after: int) -> None:
    """
    The first says all; then a 32nd of the way with each, rounded up.
    """
    assert after == usual(before, units)


@given(st.lists(st.integers(0, 10**6), min_size=1))
def test_what_is_usual_lies_between_the_least_and_the_most(calls: list[int]) -> None:
    """
    Whatever they take.
    """
    found = None
    for units in calls:
        found = usual(found, units)

    assert found is not None
    assert min(calls) <= found <= max(calls)
