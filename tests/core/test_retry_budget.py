"""
The retry budget: case 39 exactly, and what of cases 40 and 41 holds here too.

Case 40 is gRPC's throttle and case 41 AWS's quota. We took Finagle's form: it forgets with time, so that good times
don't pay for a storm long after and a client locked out by an outage isn't locked out for ever, and it states a bound
of retries per call. Their properties that matter hold in this form and are tested as ours: an outage turns retries
off, calls that go on turn them on again, what isn't a retry costs nothing, and an empty quota refills by itself.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor._core.retry import BudgetCell, BudgetSpec, balance, deposit, in_share, may_retry, overdraw, withdraw
from egressor.errors import ConfigError

SECOND = 1_000_000
BEGIN = 1_000 * SECOND


def make(*, ttl: float = 10, ratio: float = 0.1, reserve: int = 0) -> BudgetSpec:
    """
    Return a spec with its *ttl* in seconds: 10 % over 10 s, no reserve.
    """
    return BudgetSpec(ttl=round(ttl * SECOND), ratio=ratio, reserve=reserve)


def drain(cell: BudgetCell, spec: BudgetSpec, now: int) -> int:
    """
    Withdraw until refused, and return how often it was granted.
    """
    count = 0
    while withdraw(cell, spec, now):
        count += 1
    return count


def deposit_many(cell: BudgetCell, spec: BudgetSpec, now: int, count: int) -> None:
    """
    Count so many calls at once.
    """
    for _ in range(count):
        deposit(cell, spec, now)


@pytest.mark.parametrize(
    ("spec", "calls", "retries"),
    [
        (make(ttl=5, ratio=0.1), 10_000, 1_000),
        (make(ttl=1, ratio=0.1, reserve=10), 10_000, 1_010),
        (make(ttl=1, ratio=2.0), 10_000, 20_000),
        (make(ratio=0), 10_000, 0),
        (make(ratio=0, reserve=3), 10_000, 3),
        (make(ratio=0.25), 7, 1),
        (make(ratio=0.001), 1_999, 1),
    ],
)
def test_calls_pay_for_retries(spec: BudgetSpec, calls: int, retries: int) -> None:
    """
    Case 39 (Finagle RetryBudgetTest): so many calls at one time pay for so many retries, to the last one.
    """
    cell = BudgetCell()
    deposit_many(cell, spec, BEGIN, calls)

    assert balance(cell, spec, BEGIN) // 1000 == retries
    assert drain(cell, spec, BEGIN) == retries


def test_calls_and_retries_in_turn() -> None:
    """
    Case 39, as Finagle plays it: each of 10,000 failing calls deposits, and tries to withdraw at once.
    """
    spec, cell, retries = make(ttl=5, ratio=0.1), BudgetCell(), 0
    for _ in range(10_000):
        deposit(cell, spec, BEGIN)
        retries += withdraw(cell, spec, BEGIN)

    assert abs(retries - 1_000) <= 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ttl": 0.999999}, "ttl is 999999 µs, and must be from 1 to 60 seconds"),
        ({"ttl": 60.000001}, "ttl is 60000001 µs, and must be from 1 to 60 seconds"),
        ({"ratio": -0.1}, "ratio is -0.1, and must be from 0 to 1000"),
        ({"ratio": 1000.1}, "ratio is 1000.1, and must be from 0 to 1000"),
        ({"ratio": float("nan")}, "ratio is nan, and must be from 0 to 1000"),
        ({"ratio": 0.0004}, "ratio is 0.0004, and must be 0 or at least 0.001"),
        ({"reserve": -1}, "reserve is -1, and must be at least 0"),
    ],
)
def test_a_spec_names_what_is_wrong(settings: dict[str, float], message: str) -> None:
    """
    Case 39, continued: a ttl outside of 1 to 60 s is refused, and so is whatever else makes no sense.
    """
    with pytest.raises(ConfigError) as caught:
        make(**settings)  # type: ignore[arg-type]

    assert str(caught.value) == message


@pytest.mark.parametrize("ttl", [1, 60])
def test_a_ttl_of_1_and_of_60_seconds_is_fine(ttl: int) -> None:
    """
    Case 39, continued: the bounds themselves are allowed.
    """
    assert make(ttl=ttl).width == ttl * 100_000


def test_a_refusal_changes_nothing() -> None:
    """
    Refused withdrawals and questions leave the balance as it was.
    """
    spec, cell = make(), BudgetCell()
    deposit_many(cell, spec, BEGIN, 9)

    answers = [may_retry(cell, spec, BEGIN), withdraw(cell, spec, BEGIN), withdraw(cell, spec, BEGIN)]
    before = balance(cell, spec, BEGIN)
    deposit(cell, spec, BEGIN)

    assert answers == [False, False, False]
    assert before == 900
    assert (may_retry(cell, spec, BEGIN), withdraw(cell, spec, BEGIN), balance(cell, spec, BEGIN)) == (True, True, 0)


def test_calls_are_forgotten() -> None:
    """
    Deposits live for the ttl, less at most a tenth: an hour-old call pays for nothing.
    """
    spec, cell = make(ttl=10), BudgetCell()
    deposit_many(cell, spec, BEGIN, 100)

    at = [balance(cell, spec, BEGIN + round(after * SECOND)) for after in (0, 8.999999, 9.999999, 10, 3600)]

    assert at == [10_000, 10_000, 10_000, 0, 0]


@pytest.mark.parametrize("reserve", [0, 3])
def test_an_untouched_budget_holds_its_reserve(reserve: int) -> None:
    """
    Case 39, continued: a new cell holds the reserve and nothing else, at any time.
    """
    cell = BudgetCell()

    assert [balance(cell, make(reserve=reserve), now) for now in (0, BEGIN)] == [reserve * 1000] * 2


def test_deposits_of_one_sub_window_are_only_counted() -> None:
    """
    Every call deposits, so that the books are made once in a sub-window: here of 1 s.
    """
    spec, cell = make(ttl=10), BudgetCell()
    fresh = []
    for after in (0, 0.5, 0.999999, 1, 0.9, 5):
        deposit(cell, spec, BEGIN + round(after * SECOND))
        fresh.append(cell.fresh)

    assert fresh == [1, 2, 3, 1, 2, 1]


def test_an_outage_turns_retries_off_and_calls_turn_them_on() -> None:
    """
    Case 40 (gRPC), as ours: 100 calls pay for 10 retries, the eleventh is refused, and 10 more calls pay for one.
    """
    spec, cell = make(), BudgetCell()
    deposit_many(cell, spec, BEGIN, 100)
    granted = drain(cell, spec, BEGIN)

    deposit_many(cell, spec, BEGIN, 9)
    before = may_retry(cell, spec, BEGIN)
    deposit(cell, spec, BEGIN)

    assert (granted, before, may_retry(cell, spec, BEGIN)) == (10, False, True)


def test_an_empty_budget_refills_by_itself() -> None:
    """
    Case 41 (aws-sdk-go-v2 #3550), as ours: the reserve is there again when the retries that used it are forgotten.
    """
    spec, cell = make(ttl=10, reserve=5), BudgetCell()

    granted = [drain(cell, spec, BEGIN + after * SECOND) for after in (0, 9, 10, 3600)]

    assert granted == [5, 0, 5, 5]


def test_a_storm_costs_at_most_its_share() -> None:
    """
    C03: a minute of 100 calls/s that all fail and all want 3 retries sends at most a tenth more.
    """
    spec, cell, retries = make(), BudgetCell(), 0
    for call in range(6_000):
        now = BEGIN + call * 10_000
        deposit(cell, spec, now)
        retries += sum(withdraw(cell, spec, now) for _ in range(3))

    assert 550 <= retries <= 600


@given(
    steps=st.lists(st.tuples(st.integers(0, 3 * SECOND), st.integers(0, 12), st.integers(0, 3)), max_size=40),
    ratio=st.sampled_from([0, 0.1, 0.25, 1.0]),
    reserve=st.integers(0, 3),
)
def test_the_bound_holds_in_every_window(steps: list[tuple[int, int, int]], ratio: float, reserve: int) -> None:
    """
    The retries of the last nine sub-windows and this one never exceed the reserve and the ratio of their calls.
    """
    spec, cell, now = make(ttl=1, ratio=ratio, reserve=reserve), BudgetCell(), BEGIN
    calls: list[int] = []
    retries: list[int] = []
    for by, new, wanted in steps:
        now += by
        deposit_many(cell, spec, now, new)
        calls += [now] * new
        for _ in range(wanted):
            oldest = (now // spec.width - 9) * spec.width
            paid = reserve * 1000 + spec.deposit * sum(at >= oldest for at in calls)
            used = 1000 * sum(at >= oldest for at in retries)
            granted = withdraw(cell, spec, now)
            assert granted is (paid - used >= 1000)
            retries += [now] * granted


@given(steps=st.lists(st.tuples(st.integers(-5 * SECOND, 5 * SECOND), st.booleans()), max_size=60))
def test_clocks_that_step_back_mint_nothing(steps: list[tuple[int, bool]]) -> None:
    """
    Whatever the clock does, the retries never exceed the reserve and the calls, over all time.
    """
    spec, cell, now = make(ttl=60, ratio=1.0), BudgetCell(), 10_000 * SECOND
    calls = retries = 0
    for by, is_call in steps:
        now += by
        if is_call:
            deposit(cell, spec, now)
            calls += 1
        else:
            retries += withdraw(cell, spec, now)

        # Within 60 s nothing is forgotten, so that each retry was paid for by a call of its own.
        assert retries <= calls


@pytest.mark.parametrize(
    ("free", "untold", "members", "expected"),
    [
        (1, 0, 1, True),
        (0, 0, 1, False),
        (0, 1, 1, False),
        (1, 5, 1, True),
        # One in any case, and then a quarter of what there was before.
        (1, 0, 4, True),
        (1, 1, 4, False),
        (11, 2, 4, True),
        (9, 2, 4, False),
        (9, 3, 4, False),
    ],
)
def test_a_share_of_the_budget(free: int, untold: int, members: int, expected: bool) -> None:
    """
    Who has not told of its retries yet makes no more than its part of what there was.
    """
    cell, spec = BudgetCell(), make(reserve=free)

    assert in_share(cell, spec, BEGIN, untold=untold, members=members) is expected


def test_what_was_made_already_is_a_debt() -> None:
    """
    Two more than there are have to be paid by calls, or forgotten, before there is another one.
    """
    cell, spec = BudgetCell(), make(reserve=1)
    for _ in range(3):
        overdraw(cell, spec, BEGIN)
    in_debt = balance(cell, spec, BEGIN)
    deposit_many(cell, spec, BEGIN, 30)

    assert (in_debt, drain(cell, spec, BEGIN), drain(cell, spec, BEGIN + 11 * SECOND)) == (-2000, 1, 1)
