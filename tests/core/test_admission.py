"""
One decision over many cells, and what a cost may be.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from math import ceil, inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor._core.admission import (
    Ask,
    Denied,
    Entry,
    Why,
    check_cost,
    put_back,
    shown,
    take,
    whole,
)
from egressor._core.limits import Concurrency, Fixed, Gcra, Sliding
from egressor.errors import ConfigError

SECOND = 1_000_000


def entry(limit: Gcra | Sliding | Fixed | Concurrency, units: int = 1, *, cell: int = 0, key: str = "") -> Entry:
    """
    Return an entry that asks *limit*, whose cell holds *cell*, for *units*.
    """
    cells: dict[str, int] = defaultdict(int)
    cells[key] = cell
    return Entry(cells, key, units, limit, f"{limit.amount} of {type(limit).__name__}", "requests")


limits = st.one_of(
    st.builds(Gcra, amount=st.integers(1, 5), period=st.integers(1, 500), burst=st.integers(1, 5)),
    st.builds(Sliding, amount=st.integers(1, 5), period=st.integers(1, 500)),
    st.builds(Fixed, amount=st.integers(1, 5), period=st.integers(1, 500)),
    st.builds(Concurrency, amount=st.integers(1, 5)),
)
pasts = st.lists(st.tuples(st.integers(0, 100), st.integers(0, 6)), min_size=1, max_size=20)


def left(entries: list[Entry], now: int) -> list[int]:
    """
    Return what is left in each of *entries*' cells.
    """
    return [each.limit.left(each.cells[each.key], now) for each in entries]


@given(st.lists(limits, min_size=1, max_size=4), pasts)
def test_all_cells_give_or_none_does(
    kinds: list[Gcra | Sliding | Fixed | Concurrency], past: list[tuple[int, int]]
) -> None:
    """
    After each decision either all entries are taken, or every cell says the same as before, now and later.
    """
    cells: list[dict[str, int]] = [{"": 0} for _ in kinds]
    now = SECOND
    for pause, units in past:
        now += pause
        entries = [Entry(cell, "", units, kind, "", "") for cell, kind in zip(cells, kinds, strict=True)]
        before = left(entries, now)
        waits = [each.limit.wait(each.cells[""], now, 7) for each in entries]
        asked = [each.limit.ask(each.cells[""], now, units, 0) for each in entries]

        granted = take(Ask(tuple(entries), level=0), now, 0)

        assert granted == (min(asked) >= 0)
        if granted:
            assert left(entries, now) == [much - units for much in before]
        else:
            assert left(entries, now) == before
            assert [each.limit.wait(each.cells[""], now, 7) for each in entries] == waits


@given(st.lists(limits, min_size=1, max_size=4), st.integers(1, 5))
def test_what_was_taken_can_be_put_back(kinds: list[Gcra | Sliding | Fixed | Concurrency], units: int) -> None:
    """
    Entries that were taken and put back at the same moment leave what was there.
    """
    entries = [entry(kind, min(units, kind.most)) for kind in kinds]
    before = left(entries, SECOND)

    take(Ask(tuple(entries), level=0), SECOND, 0)
    put_back(entries, SECOND, SECOND)

    assert left(entries, SECOND) == before


def test_asking_for_nothing_fits_always_but_into_debt() -> None:
    """
    A cost of 0 is a peek: it takes nothing, and is refused only while a debt is unpaid.
    """
    limit = Gcra(amount=1, period=SECOND, burst=2)
    full, debt = entry(limit, 0, cell=3 * SECOND), entry(limit, 0, cell=4 * SECOND)

    assert (take(Ask((full,), level=0), SECOND, 0), full.cells[""]) == (True, 3 * SECOND)
    assert not take(Ask((debt,), level=0), SECOND, 0)


def test_places_are_what_is_held_until_the_end() -> None:
    """
    Only concurrency is given back when a lease is settled.
    """
    rate, place = entry(Sliding(amount=1, period=SECOND)), entry(Concurrency(amount=3))
    ask = Ask((rate, place), level=2)

    assert Ask((rate, place), level=0).places == (place,)
    assert (ask.places, ask.level, ask.scope, ask.cost) == ((place,), 2, {}, {})


def test_an_ask_with_other_entries_is_otherwise_the_same() -> None:
    """
    Only the entries, and the places among them, differ.
    """
    place = entry(Concurrency(amount=3))
    ask = Ask((), level=1, compiled="policy", scope={"user": "u"}, cost={"tokens": 3}, limited=False)

    other = ask.with_entries((place,))

    assert (other.entries, other.places) == ((place,), (place,))
    assert (other.level, other.compiled, other.scope, other.cost, other.limited) == (
        1, "policy", {"user": "u"}, {"tokens": 3}, False,
    )  # fmt: skip


@pytest.mark.parametrize("why", list(Why))
def test_only_limits_and_retry_after_are_waited_for(why: Why) -> None:
    """
    A ban, a pause, an open breaker, a spent budget or a full queue is not cured by standing in line.
    """
    assert Denied(why, "key", None, "text").may_park == (why is Why.LIMIT)


@pytest.mark.parametrize(
    ("cost", "checked"),
    [
        ({}, {"requests": 1}),
        ({"tokens": 0.2}, {"requests": 1, "tokens": 1}),
        ({"tokens": 7, "requests": 0}, {"requests": 0, "tokens": 7}),
        ({"requests": 2.0}, {"requests": 2}),
        ({"tokens": 1 << 53}, {"requests": 1, "tokens": 1 << 53}),
        ({"tokens": -0.0}, {"requests": 1, "tokens": 0}),
    ],
)
def test_a_cost_is_whole_units_rounded_up(cost: dict[str, float], checked: dict[str, int]) -> None:
    """
    Each attempt is one request unless it says otherwise.
    """
    assert check_cost(cost) == checked


@pytest.mark.parametrize(
    ("usd", "micro"),
    [
        (0, 0),
        (1, 1_000_000),
        (0.00075, 750),
        (0.1, 100_000),
        (0.0000001, 1),
        (0.0000011, 2),
        (Decimal("0.000001"), 1),
        (Decimal("1.0000001"), 1_000_001),
        (10**9, 10**15),
    ],
)
def test_money_is_whole_micro_dollars_rounded_up(usd: float | Decimal, micro: int) -> None:
    """
    A number means the digits that it is written with, and no money is lost to rounding.
    """
    assert check_cost({"usd": usd, "tokens": 3}) == {"requests": 1, "micro_usd": micro, "tokens": 3}


@pytest.mark.parametrize("value", [-1, nan, inf, 10**9 + 1, Decimal("nan"), Decimal(-1), True, "7", None, [1]])
def test_money_that_is_no_amount_is_an_error(value: object) -> None:
    """
    The message names the value and the limits.
    """
    with pytest.raises(ConfigError, match=r"^cost\.usd: a cost in US dollars must be a ") as caught:
        check_cost({"usd": value})  # type: ignore[dict-item]

    assert caught.value.key == "cost.usd"


@pytest.mark.parametrize("value", [-1, -1e-9, nan, inf, -inf, (1 << 53) + 1, 10**400, True, False, "7", None, [1], 1j])
def test_a_cost_that_is_no_amount_is_an_error(value: object) -> None:
    """
    Negative, infinite, huge, or no number at all: the message names the value and the limits.
    """
    with pytest.raises(ConfigError, match=r"^cost\.tokens: a cost must be a (finite )?number.*, not ") as caught:
        check_cost({"tokens": value})  # type: ignore[dict-item]

    assert caught.value.key == "cost.tokens"


@pytest.mark.parametrize("unit", ["", "two words", "1st", "a-b", 7, None])
def test_a_unit_that_is_no_name_is_an_error(unit: object) -> None:
    """
    A unit that no limit could name would be counted nowhere.
    """
    with pytest.raises(ConfigError, match="a unit of a cost must be a name"):
        check_cost({unit: 1})  # type: ignore[dict-item]


@pytest.mark.parametrize("unit", ["USD", "Usd", "dollars", "Dollar"])
def test_money_under_another_name_is_an_error(unit: str) -> None:
    """
    No budget would take it; the message names the unit that is meant.
    """
    with pytest.raises(ConfigError, match="money is 'usd' in a cost, not ") as caught:
        check_cost({unit: 0.1})

    assert caught.value.nearest == "usd"


@given(st.one_of(st.integers(0, 1 << 53), st.floats(0, 1 << 53)))
def test_whole_rounds_up_exactly(value: float) -> None:
    """
    The result is the ceiling of the exact value.
    """
    assert whole(value, what="it", key="k") == ceil(Fraction(value))


class Rude:
    """
    An object that can't be shown.
    """

    def __repr__(self) -> str:
        message = "no"
        raise RuntimeError(message)


@pytest.mark.parametrize(
    ("value", "text"), [(7, "7"), ("x" * 38, repr("x" * 38)), ("x" * 39, "'" + "x" * 39 + "…"), (Rude(), "a Rude")]
)
def test_what_is_shown_is_short_whatever_it_is(value: object, text: str) -> None:
    """
    At most 40 characters and a dot of dots; an object that can't be shown is named by its type.
    """
    assert shown(value) == text


def test_what_was_forgotten_is_not_remembered_for_being_given_back() -> None:
    """
    A key whose cell is gone holds nothing: giving back to it makes no key, and no capacity.
    """
    held = entry(Gcra(amount=10, period=SECOND, burst=10), 3)
    held.cells.clear()
    untouched = entry(Gcra(amount=10, period=SECOND, burst=10), 3)

    put_back((held._replace(cells={"": 0}), untouched), 5 * SECOND, 5 * SECOND)

    assert dict(untouched.cells) == {"": 0}


@given(
    st.lists(
        st.tuples(st.sampled_from(["bucket", "window", "fixed", "places"]), st.integers(1, 40), st.integers(1, 4)),
        min_size=1,
        max_size=4,
    ),
    st.lists(st.just(0) | st.integers(0, SECOND // 3), min_size=1, max_size=60),
)
def test_take_in_line_decides_as_the_algorithms_do(limits: list[tuple[str, int, int]], gaps: list[int]) -> None:
    """
    The cells after `take` are those that each algorithm's own `ask` makes, or all as before if one of them refuses.
    """
    made: dict[str, Callable[[int], Gcra | Sliding | Fixed | Concurrency]] = {
        "bucket": lambda amount: Gcra(amount=amount, period=SECOND, burst=max(1, amount // 2)),
        "window": lambda amount: Sliding(amount=amount, period=SECOND),
        "fixed": lambda amount: Fixed(amount=amount, period=SECOND),
        "places": lambda amount: Concurrency(amount=amount),
    }
    entries = tuple(entry(made[kind](amount), units) for kind, amount, units in limits)
    cells = [0] * len(entries)
    now = 0
    for gap in gaps:
        now += gap
        asked = [each.limit.ask(cell, now, each.units, 0) for each, cell in zip(entries, cells, strict=True)]
        left = [each.limit.left(cell, now, 0) for each, cell in zip(entries, cells, strict=True)]

        assert take(Ask(entries, level=1), now, 0) == (min(asked) >= 0)

        got = [each.cells[each.key] for each in entries]
        if min(asked) >= 0:
            cells = asked
            assert got == cells
        else:
            assert [each.limit.left(cell, now, 0) for each, cell in zip(entries, got, strict=True)] == left
            cells = got
