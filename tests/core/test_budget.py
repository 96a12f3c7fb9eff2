"""
Budgets: what may be held and what is charged, by examples.
"""

from __future__ import annotations

import pytest

from egressor._core.budget import (
    NEVER,
    Ask,
    Cell,
    Denied,
    Held,
    Hold,
    Place,
    Settled,
    expire,
    forecast,
    hold,
    is_soft,
    release,
    resolve,
    settle,
)

DAY = Ask("day", limit=1000, soft=800, start=0, end=86_400)
MONTH = Ask("month", limit=5000, soft=4000, start=0, end=30 * 86_400)
TOTAL = Ask("total", limit=9000, soft=9000, start=0, end=NEVER)


def take(
    cells: dict[str, Cell], *asks: Ask, worst: int, likely: int | None = None, now: int = 5
) -> tuple[Held | Denied, dict[str, Cell]]:
    """
    Hold, and return the answer and all cells afterwards.
    """
    found = hold(cells, asks, worst=worst, likely=likely, now=now, lasts=60)
    return found, {**cells, **(found.cells if isinstance(found, Held) else {})}


def held(found: Held | Denied) -> Hold:
    """
    Return the hold of a yes.
    """
    assert isinstance(found, Held)
    return found.hold


def test_a_firm_call_is_held_for_in_full_in_all_of_its_budgets() -> None:
    """
    The worst case stands in each cell until the truth replaces it.
    """
    found, cells = take({}, DAY, MONTH, worst=300)
    places = (Place("day", 0, 1000), Place("month", 0, 5000))

    assert Held(Hold(300, places, 65), cells, capped=False, warned=()) == found
    assert {"day#0": Cell(0, 86_400, held=300), "month#0": Cell(0, 30 * 86_400, held=300)} == cells
    assert Settled({"day#0": Cell(0, 86_400, 120), "month#0": Cell(0, 30 * 86_400, 120)}, ()) == settle(
        cells, held(found), 120
    )


def test_a_budget_for_one_call_serves_one_of_fifty() -> None:
    """
    Fifty calls of $0.00075 against $0.001, of which LiteLLM served all: one goes, and the rest wait for it.
    """
    cells: dict[str, Cell] = {}
    answers = []
    for _ in range(50):
        found, cells = take(cells, DAY, worst=750)
        answers.append(found)

    assert [Denied("day", 250, 86_400, "in_flight")] * 49 == answers[1:]
    assert held(answers[0]).amount == 750


def test_a_budget_for_a_hundred_calls_serves_a_hundred_of_a_thousand() -> None:
    """
    B01: a thousand calls that end in another order than they began, ten at a time, spend it to the last micro-dollar.
    """
    cells: dict[str, Cell] = {}
    live: list[Hold] = []
    served = 0
    for number in range(1000):
        found, cells = take(cells, DAY, worst=10)
        if isinstance(found, Held):
            live.append(found.hold)
            served += 1
        if len(live) == 10 or number > 990:
            cells |= settle(cells, live.pop(number * 7 % len(live)), 10).cells if live else {}

    assert (served, cells["day#0"].spent, cells["day#0"].held) == (100, 1000, 0)


@pytest.mark.parametrize(
    ("asks", "cells", "worst", "expected"),
    [
        ((DAY,), {}, 1001, Denied("day", 1000, 86_400, "never")),
        ((DAY,), {"day#0": Cell(0, 86_400, spent=900)}, 101, Denied("day", 100, 86_400, "spent")),
        ((DAY,), {"day#0": Cell(0, 86_400, spent=900, held=50)}, 60, Denied("day", 50, 86_400, "in_flight")),
        ((DAY,), {"day#0": Cell(0, 86_400, spent=1200)}, 0, Denied("day", 0, 86_400, "spent")),
        ((TOTAL,), {"total#0": Cell(0, NEVER, spent=9000)}, 1, Denied("total", 0, None, "spent")),
        (
            (DAY, MONTH),
            {"day#0": Cell(0, 86_400, spent=990), "month#0": Cell(0, 2_592_000, spent=4990)},
            20,
            Denied("month", 10, 2_592_000, "spent"),
        ),
        (
            (MONTH, DAY),
            {"day#0": Cell(0, 86_400, spent=990), "month#0": Cell(0, 2_592_000, held=4990)},
            20,
            Denied("day", 10, 86_400, "spent"),
        ),
        (
            (MONTH, DAY),
            {"month#0": Cell(0, 2_592_000, spent=4990)},
            1001,
            Denied("day", 1000, 86_400, "never"),
        ),
    ],
)
def test_a_no_says_which_budget_what_is_left_and_when_it_renews(
    asks: tuple[Ask, ...], cells: dict[str, Cell], worst: int, expected: Denied
) -> None:
    """
    Of several budgets the one that is in the way longest speaks; nothing is taken from the others.
    """
    before = dict(cells)
    found, after = take(cells, *asks, worst=worst)

    assert (expected, before) == (found, after)


def test_a_worst_case_does_not_block_a_budget_that_is_nearly_unspent() -> None:
    """
    A call that could cost more than the whole budget goes, capped to an eighth of what is free, and others beside it.
    """
    cells: dict[str, Cell] = {}
    amounts = []
    for _ in range(20):
        found, cells = take(cells, DAY, worst=1280, likely=20)
        assert isinstance(found, Held)
        assert found.capped
        amounts.append(found.hold.amount)

    assert amounts[:3] == [125, 109, 95]
    assert min(amounts) >= 20


def test_a_call_that_can_be_bounded_is_not_capped_where_there_is_plenty() -> None:
    """
    Its worst case is held if that is no more than its part of what is free.
    """
    found, _ = take({}, DAY, worst=125, likely=20)

    assert isinstance(found, Held)
    assert (found.hold.amount, found.capped) == (125, False)


def test_near_the_end_a_likely_call_gets_all_that_is_left() -> None:
    """
    What is likely to be needed is held as long as it fits, and refused when it doesn't.
    """
    cells = {"day#0": Cell(0, 86_400, spent=970)}
    first, cells = take(cells, DAY, worst=1280, likely=20)
    second, cells = take(cells, DAY, worst=1280, likely=20)

    assert (20, Denied("day", 10, 86_400, "in_flight")) == (held(first).amount, second)


def test_without_a_budget_everything_goes() -> None:
    """
    No budget applies: the hold stands nowhere.
    """
    found, cells = take({}, worst=10**12)

    assert (Hold(10**12, (), 65), {}) == (held(found), cells)


def test_the_soft_share_warns_once_in_a_period() -> None:
    """
    The hold that reaches it says so, and none after it until the next period.
    """
    first, cells = take({}, DAY, worst=799)
    second, cells = take(cells, DAY, worst=1)
    third, cells = take(cells, DAY, worst=1)
    tomorrow = DAY._replace(start=86_400, end=172_800)
    fourth, later = take(cells, tomorrow, worst=900)

    assert [each.warned for each in (first, second, third, fourth) if isinstance(each, Held)] == [
        (),
        ("day",),
        (),
        ("day",),
    ]
    assert (is_soft(cells["day#0"], DAY), is_soft(later["day#86400"]._replace(held=9), tomorrow)) == (True, False)


def test_what_was_not_sent_costs_nothing() -> None:
    """
    A released hold leaves the cell as it was.
    """
    before = {"day#0": Cell(0, 86_400, spent=7)}
    found, cells = take(before, DAY, worst=300)

    assert Settled(before, ()) == release(cells, held(found))


def test_a_lost_call_is_charged_whole_and_can_be_put_right() -> None:
    """
    What nobody has heard of is unknown at what was held, so that its truth can only give something back.
    """
    found, cells = take({}, DAY, worst=300)
    lost = expire(cells, held(found)).cells

    assert {"day#0": Cell(0, 86_400, spent=300, unknown=300)} == lost
    assert {"day#0": Cell(0, 86_400, spent=100, unknown=100)} == expire(cells, held(found), less=200).cells
    assert {"day#0": Cell(0, 86_400)} == expire(cells, held(found), less=301).cells
    assert Settled({"day#0": Cell(0, 86_400, spent=120)}, ()) == resolve(lost, held(found), 120)


def test_a_truth_above_its_hold_is_charged_and_said() -> None:
    """
    Money that is gone is gone: the budget is over, says so, and holds nothing more.
    """
    found, cells = take({}, DAY, MONTH, worst=900)
    ended = settle(cells, held(found), 1100)

    assert ended.over == ("day",)
    assert Denied("day", 0, 86_400, "spent") == take(ended.cells, DAY, worst=1)[0]


def test_what_is_held_for_others_counts_when_a_truth_is_too_high() -> None:
    """
    The overrun is said as soon as spent and held together are above the limit, and not before.
    """
    first, cells = take({}, DAY, worst=500)
    _, cells = take(cells, DAY, worst=400)

    assert [settle(cells, held(first), truth).over for truth in (600, 601)] == [(), ("day",)]


def test_a_spend_belongs_to_the_period_in_which_it_was_held_for() -> None:
    """
    A call that ends after midnight takes nothing from the new day, and the month that both are in has it.
    """
    found, cells = take({}, DAY, MONTH, worst=300)
    tomorrow = DAY._replace(start=86_400, end=172_800)
    _, cells = take(cells, tomorrow, MONTH, worst=40)

    after = {"day#0": Cell(0, 86_400, spent=300), "month#0": Cell(0, 2_592_000, spent=300, held=40)}

    assert Settled(after, ()) == settle(cells, held(found), 300)
    del cells["day#0"]
    assert list(settle(cells, held(found), 300).cells) == ["month#0"]


def test_a_clock_set_back_over_midnight_resets_nothing() -> None:
    """
    B10: after midnight, back before it, and over it again: each day has what was held in it, and no more than its own.
    """
    tomorrow = DAY._replace(start=86_400, end=172_800)
    cells: dict[str, Cell] = {}
    for ask, worst in ((DAY, 600), (tomorrow, 400), (DAY, 300), (tomorrow, 500)):
        found, cells = take(cells, ask, worst=worst)
        cells |= settle(cells, held(found), worst).cells

    assert {
        "day#0": Cell(0, 86_400, spent=900, warned=True),
        "day#86400": Cell(86_400, 172_800, spent=900, warned=True),
    } == cells
    assert Denied("day", 100, 86_400, "spent") == take(cells, DAY, worst=101)[0]
    assert Denied("day", 100, 172_800, "spent") == take(cells, tomorrow, worst=101)[0]


def test_a_clock_that_was_years_ahead_gives_nothing_and_locks_nobody_out() -> None:
    """
    Regression: after one call of 2031 the month's money could be spent again, and then none until 2031.
    """
    ahead = MONTH._replace(start=10**9, end=10**9 + 30 * 86_400)
    cells: dict[str, Cell] = {}
    for ask, worst in ((MONTH, 4900), (ahead, 1000)):
        found, cells = take(cells, ask, worst=worst)
        cells |= settle(cells, held(found), worst).cells
    again, _ = take(cells, MONTH, worst=4900)
    rest, _ = take(cells, MONTH, worst=100)
    next_month, _ = take(cells, MONTH._replace(start=30 * 86_400, end=60 * 86_400), worst=5000)
    then, _ = take(cells, ahead, worst=4001)

    assert Denied("month", 100, 30 * 86_400, "spent") == again
    assert (held(rest).amount, held(next_month).amount) == (100, 5000)
    assert Denied("month", 4000, 10**9 + 30 * 86_400, "spent") == then


@pytest.mark.parametrize(
    ("cell", "now", "expected"),
    [
        (Cell(0, 1000, spent=100), 500, 200),
        (Cell(0, 1000, spent=100), 300, 334),
        (Cell(0, 1000, spent=100), 9, None),
        (Cell(0, 1000, spent=100), 10, 10_000),
        (Cell(0, 1000, spent=100), 1500, 100),
        (Cell(0, NEVER, spent=100), 500, None),
    ],
)
def test_a_forecast_goes_on_as_so_far(cell: Cell, now: int, expected: int | None) -> None:
    """
    Half the period and half the money: the same again; rounded up, and none where a guess would mean nothing.
    """
    assert expected == forecast(cell, now)
