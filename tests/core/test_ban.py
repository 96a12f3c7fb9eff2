"""
Suspensions: when they begin, how they grow, and that one probe ends them.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor._core.ban import BanCell, BanNews, BanSpec, check, lift, restore, settle, suspend, take
from egressor._core.model import ErrorCategory, Verdict

S = 1_000_000
SPEC = BanSpec(suspend_for=100 * S, challenge_for=10 * S, max_suspend_for=1000 * S, growth=2.0, probe_lease=30 * S)


def ban(told: float | None = None, category: ErrorCategory | None = ErrorCategory.BAN) -> Verdict:
    """
    Return the verdict of a ban for *told* seconds.
    """
    return Verdict(category=category, retry_after=told, scope="ip", why="a rule")


def banned(*, at: int = 1000, told: float | None = None) -> BanCell:
    """
    Return a cell that was suspended once, *at* seconds.
    """
    cell = BanCell()
    suspend(cell, SPEC, at * S, ban(told))
    return cell


def suspended(cell: BanCell, at: int, told: float | None = None) -> float:
    """
    Suspend *cell* at so many seconds, and return when that ends.
    """
    suspend(cell, SPEC, at * S, ban(told))
    return cell.until / S


def state(cell: BanCell) -> tuple[float, int, float]:
    """
    Return the cell's numbers, in seconds.
    """
    return cell.until / S, cell.count, cell.probe_until / S


def test_without_a_ban_everybody_passes_and_nobody_is_a_probe() -> None:
    """
    A fresh cell stops nobody, and a result says nothing to it.
    """
    cell = BanCell()

    assert (check(cell, 0), take(cell, SPEC, 0), settle(cell, 0, ok=True)) == (0, False, None)
    assert state(cell) == (0, 0, 0)


@pytest.mark.parametrize(("now", "wait"), [(1000, 100), (1099, 1), (1100, 0), (5000, 0)])
def test_a_suspension_is_half_open(now: int, wait: int) -> None:
    """
    Waiting exactly the returned time is enough, one microsecond less is not.
    """
    cell = banned()
    cell.until //= S

    assert check(cell, now) == wait


@pytest.mark.parametrize(
    ("told", "lasts"), [(None, 100), (7, 7), (0.5, 0.5), (99, 99), (50_000, 50_000), (0, 100)], ids=str
)
def test_the_server_s_word_comes_before_ours(told: float | None, lasts: float) -> None:
    """
    What the server names is neither lengthened to our first suspension nor capped by our longest; 0 names nothing.
    """
    assert banned(told=told).until / S == 1000 + lasts


def test_suspensions_in_a_row_grow_up_to_the_longest() -> None:
    """
    Each ban after a failed probe doubles the time: 100, 200, 400, 800, then 1000.
    """
    cell, lasts = BanCell(), []

    for _ in range(6):
        start = cell.until // S
        lasts.append(suspended(cell, start) - start)

    assert lasts == [100, 200, 400, 800, 1000, 1000]


@given(st.integers(1, 10**6), st.floats(1, 100), st.integers(0, 10_000))
def test_no_number_of_bans_overflows(first: int, growth: float, count: int) -> None:
    """
    However many bans in a row and however steep the growth, the time is the longest at most, and the first at least.
    """
    spec = BanSpec(suspend_for=first, challenge_for=1, max_suspend_for=first + 10**12, growth=growth, probe_lease=1)
    cell = BanCell()
    cell.count = count

    suspend(cell, spec, 0, ban())

    assert first <= cell.until <= first + 10**12


def test_calls_under_way_report_the_same_ban() -> None:
    """
    Three calls that learn of one ban make one suspension, which ends at the latest of what they were told.
    """
    cell = banned()
    suspended(cell, 1010)
    suspended(cell, 1020, 500)
    suspended(cell, 1030, 5)

    assert state(cell) == (1520, 1, 0)


def test_after_the_end_one_probe_goes_and_the_others_wait_for_it() -> None:
    """
    While the probe is out the others wait until its lease ends; the one that asks then is the next probe.
    """
    cell = banned()

    assert take(cell, SPEC, 1100 * S)
    assert [check(cell, now * S) // S for now in (1100, 1129, 1130)] == [30, 1, 0]
    assert take(cell, SPEC, 1130 * S)
    assert check(cell, 1130 * S) == 30 * S


@pytest.mark.parametrize(
    ("ok", "ended", "after"),
    [(True, True, (0, 0, 0)), (False, False, (1100, 1, 0))],
    ids=["success", "failure"],
)
def test_a_probe_s_result_ends_the_episode_or_lets_the_next_probe_go(
    *, ok: bool, ended: bool, after: tuple[int, int, int]
) -> None:
    """
    A success forgets the bans in a row; a failure that is no ban leaves the episode open, and frees the probe's turn.
    """
    cell = banned()
    take(cell, SPEC, 1100 * S)

    news = settle(cell, 1110 * S, ok=ok)

    assert news == (BanNews("ended", 1100 * S, 1, "ip", "a rule") if ended else None)
    assert state(cell) == after
    assert check(cell, 1110 * S) == 0


def test_a_success_from_before_the_ban_ends_nothing() -> None:
    """
    A result that comes while the suspension lasts says nothing about its end.
    """
    cell = banned()

    assert settle(cell, 1050 * S, ok=True) is None
    assert state(cell) == (1100, 1, 0)


def test_a_probe_that_meets_the_ban_begins_the_next_suspension() -> None:
    """
    It lasts twice as long, and no probe is out any more.
    """
    cell = banned()
    take(cell, SPEC, 1100 * S)

    assert suspended(cell, 1110) == 1310
    assert state(cell) == (1310, 2, 0)


def test_lifting_forgets_everything() -> None:
    """
    After an operator's word the next ban is a first one again.
    """
    cell = banned()
    take(cell, SPEC, 1100 * S)

    assert lift(cell, 1100 * S) == BanNews("lifted", 1100 * S, 1, "ip", "a rule")
    assert lift(cell, 1100 * S) is None
    assert (*state(cell), cell.scope, cell.why) == (0, 0, 0, "", "")
    assert suspended(cell, 2000) == 2100


def test_a_challenge_suspends_for_its_own_time() -> None:
    """
    It is shorter than a ban's, grows likewise, shortens no ban, and 0 turns it off.
    """
    challenge, cell = ban(category=ErrorCategory.CHALLENGE), BanCell()
    suspend(cell, SPEC, 0, challenge)
    assert state(cell) == (10, 1, 0)
    suspend(cell, SPEC, 10 * S, challenge)
    assert state(cell) == (30, 2, 0)
    off = BanSpec(suspend_for=1, challenge_for=0, max_suspend_for=1, growth=1, probe_lease=1)
    assert suspend(fresh := BanCell(), off, 0, challenge) is None
    assert state(fresh) == (0, 0, 0)
    long = banned()
    assert suspend(long, SPEC, 1010 * S, challenge) is None
    assert state(long) == (1100, 1, 0)


@pytest.mark.parametrize("category", [each for each in ErrorCategory if each not in ("ban", "challenge")] + [None])
def test_no_other_verdict_suspends(category: ErrorCategory | None) -> None:
    """
    Whatever time the server names, only a ban and a challenge begin a suspension; a geo-block does not.
    """
    cell = BanCell()

    assert suspend(cell, SPEC, 0, ban(60, category)) is None
    assert state(cell) == (0, 0, 0)


def test_news_tells_how_it_went_and_not_each_call() -> None:
    """
    It begins, calls under way name ends that are a little later, one names a much later one, and the next ban follows.
    """
    cell = BanCell()
    found = [
        suspend(cell, SPEC, at, ban(told))
        for at, told in ((0, 100), (S // 2, 100), (S, 105), (2 * S, 500), (600 * S, None))
    ]

    assert [each and (each.what, each.until / S, each.times, each.told) for each in found] == [
        ("began", 100, 1, True),
        None,
        None,
        ("lengthened", 502, 1, True),
        ("lengthened", 800, 2, False),
    ]


@pytest.mark.parametrize(
    ("what", "until", "after"),
    [
        ("began", 1500, (1500, 3, 0)),
        ("lengthened", 1500, (1500, 3, 0)),
        ("began", 900, (1000, 3, 0)),
        ("began", 10**9, (1000 + 31 * 86_400, 3, 0)),
        ("ended", 1500, (0, 0, 0)),
        ("lifted", 1500, (0, 0, 0)),
    ],
)
def test_an_open_episode_is_taken_up_again(what: str, until: int, after: tuple[int, int, int]) -> None:
    """
    One whose time is over waits for its probe, one that is closed stays so, and nobody is banned for years.
    """
    cell = BanCell()

    restore(cell, 1000 * S, BanNews(what, until * S, 3, "ip", "a rule"), said=900 * S)

    assert state(cell) == after


@pytest.mark.parametrize(
    ("until", "after", "scope"),
    [(1099, (1100, 1, 0), "ip"), (1100, (1100, 1, 0), "ip"), (5000, (5000, 3, 0), "account")],
)
def test_of_two_suspensions_the_longer_one_holds(until: int, after: tuple[int, int, int], scope: str) -> None:
    """
    Whichever was known first.
    """
    cell = banned()

    restore(cell, 1000 * S, BanNews("began", until * S, 3, "account", "another"), said=900 * S)

    assert (*state(cell), cell.scope) == (*after, scope)


@pytest.mark.parametrize("end", ["ended", "lifted"])
@pytest.mark.parametrize(("said", "is_banned"), [(1149, False), (1150, False), (1151, True)])
def test_what_has_ended_since_is_not_taken_up(end: str, said: int, is_banned: bool) -> None:
    """
    By a call that went well, or by an operator: only what was said afterwards bans again.
    """
    cell = banned()
    if end == "ended":
        settle(cell, 1150 * S, ok=True)
    else:
        lift(cell, 1150 * S)

    restore(cell, 1200 * S, BanNews("began", 2000 * S, 1, "ip", "a rule"), said=said * S)

    assert bool(cell.until) is is_banned


@pytest.mark.parametrize("said", [-3000, 0, 600])
def test_a_ban_of_before_the_clock_began(said: int) -> None:
    """
    The clock counts from the machine's start, which may be later than the ban's: that nothing has ended is no end.
    """
    cell = BanCell()

    restore(cell, 600 * S, BanNews("began", 11_400 * S, 1, "ip", "a rule"), said=said * S)

    assert state(cell) == (11_400, 1, 0)
