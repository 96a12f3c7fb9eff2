"""
Calls that cost money: held before they are sent, charged when they are over, refused when there is not enough.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from egressor import BudgetExceeded, BudgetPolicy, ConfigError, Governor, Policy, StoreUnavailable
from egressor.governor.calls import Flight, _Function
from egressor.governor.route import Options
from egressor.ledger.money import shown_usd
from egressor.policies import from_services
from egressor.policies.loader import from_table
from egressor.testing import FakeClock

ONCE = {"attempts": 1}
DAY = 86_400.0
Make = Callable[..., Governor]


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """
    Makes a governor of one service, ``api``, with a ledger of each kind in turn.
    """
    opened: list[Governor] = []

    def build(budget: dict[str, Any] | None = None, **settings: Any) -> Governor:
        address = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/ledger.db"
        table = {"retry": ONCE} | settings | ({} if budget is None else {"budget": budget})
        opened.append(Governor({"api": table}, ledger=address))
        return opened[-1]

    yield build
    for gov in opened:
        gov.close()


def cells(gov: Governor) -> dict[str, tuple[int, int, int]]:
    """
    What each budget has spent, holds and doesn't know, once all that was told is charged.
    """
    money = gov.context.money
    assert money is not None
    if money.till.is_durable:
        money.till.hold(money.purse("api", gov.config.services["api"], {"user": "u"})._want(10**15))  # type: ignore[union-attr]
    found = money.till.read(lambda page: page.budgets())
    return {each.key: (each.cell.spent, each.cell.held, each.cell.unknown) for each in found}


def sums(gov: Governor) -> list[tuple[Any, ...]]:
    """
    What was spent, without the day.
    """
    money = gov.context.money
    assert money is not None
    return [(tuple(each.tags), *each[2:]) for each in money.till.read(lambda page: page.sums(0))]


def fail(error: BaseException) -> Callable[[], Any]:
    """
    A function that raises *error*.
    """

    def function() -> Any:
        raise error

    return function


@pytest.mark.parametrize("is_async", [True, False])
def test_of_fifty_calls_at_once_as_many_are_served_as_are_paid_for(make: Make, is_async: bool) -> None:
    """
    Fifty calls of 0.00075 on a budget of 0.001: one is served, by the list that the server keeps.
    """
    gov = make({"day": 0.001})
    served: list[int] = []
    refused: list[BaseException] = []

    async def crowd() -> None:
        @gov.throttled("api", cost={"usd": 0.00075})
        async def fetch(number: int) -> None:
            served.append(750)
            await asyncio.sleep(0)

        refused.extend(filter(None, await asyncio.gather(*(fetch(n) for n in range(50)), return_exceptions=True)))

    def one() -> None:
        try:
            gov.call("api", lambda: served.append(750), cost={"usd": 0.00075})
        except BudgetExceeded as error:
            refused.append(error)

    if is_async:
        asyncio.run(crowd())
    else:
        threads = [Thread(target=one) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert sum(served) == 750
    assert [type(error) for error in refused] == [BudgetExceeded] * 49
    assert cells(gov) == {"api/day@UTC": (750, 0, 0)}


def test_a_refusal_says_what_is_left_and_when_it_renews(make: Make) -> None:
    """
    The message has the budget, its limit, the rest and the end of its period; nothing has changed.
    """
    gov = make({"day": 0.001, "total": 5})
    gov.call("api", lambda: None, cost={"usd": 0.0009})
    with pytest.raises(BudgetExceeded) as caught:
        gov.call("api", lambda: None, cost={"usd": 0.0002})

    assert str(caught.value).startswith(
        "api: the budget api/day@UTC of 0.001000 USD has 0.000100 USD left, and the call may cost 0.000200 USD;"
        " it renews at "
    )
    assert (caught.value.service, caught.value.key, caught.value.reason) == ("api", "api/day@UTC", "budget")
    assert 0 < (caught.value.retry_after or 0) <= DAY
    assert cells(gov) == {"api/day@UTC": (900, 0, 0), "api/total@UTC": (900, 0, 0)}


def test_a_budget_renews_when_its_period_does() -> None:
    """
    Waiting as long as the refusal said is enough, and less is not.
    """
    clock = FakeClock()
    gov = Governor({"api": {"budget": {"hour": 0.001}}}, clock=clock)
    gov.call("api", lambda: None, cost={"usd": 0.001})
    with pytest.raises(BudgetExceeded) as caught:
        gov.call("api", lambda: None, cost={"usd": 0.001})
    assert caught.value.retry_after is not None
    clock.advance(caught.value.retry_after - 0.000_001)
    with pytest.raises(BudgetExceeded):
        gov.call("api", lambda: None, cost={"usd": 0.001})
    clock.advance(0.000_001)

    assert gov.call("api", lambda: "served", cost={"usd": 0.001}) == "served"


@pytest.mark.parametrize(
    ("spent", "cost", "part"),
    [
        (0, 2, "a cost of 2.000000 USD can never fit the budget api/total@UTC of 1.000000 USD"),
        (0.9, 0.2, "has 0.100000 USD left, and the call may cost 0.200000 USD; it does not renew"),
    ],
)
def test_a_refusal_that_no_time_cures_names_none(make: Make, spent: float, cost: float, part: str) -> None:
    """
    What never fits, and what never renews, has no time to come back at.
    """
    gov = make({"total": 1})
    gov.call("api", lambda: None, cost={"usd": spent})
    with pytest.raises(BudgetExceeded) as caught:
        gov.call("api", lambda: None, cost={"usd": cost})

    assert part in str(caught.value)
    assert caught.value.retry_after is None


def test_money_that_is_held_may_come_back(make: Make) -> None:
    """
    While a call is under way its whole hold is taken; what it did not cost is there for the next.
    """
    gov = make({"day": 0.001})
    # Without a block: then nothing runs inside of it.
    permit = gov.permit("api", cost={"usd": 0.0009}).acquire()
    with pytest.raises(BudgetExceeded, match="calls under way hold the rest") as caught:
        gov.call("api", lambda: None, cost={"usd": 0.0009})
    permit.settle(cost={"usd": Decimal("0.00004"), "requests": 1})
    permit.release()
    gov.call("api", lambda: None, cost={"usd": 0.0009})

    assert caught.value.retry_after == 1.0
    assert cells(gov) == {"api/day@UTC": (940, 0, 0)}


@pytest.mark.parametrize(
    ("error", "spent", "unknown"),
    [
        (ConnectionRefusedError(), 0, 0),
        (TimeoutError(), 500, 500),
        (ValueError("after the answer"), 500, 500),
        (KeyboardInterrupt(), 500, 500),
    ],
)
def test_a_failure_is_charged_if_it_may_have_cost_something(
    make: Make, error: BaseException, spent: int, unknown: int
) -> None:
    """
    What never reached the server costs nothing; of what nobody knows the estimate is charged, as unknown.
    """
    gov = make({"day": 0.001})
    with pytest.raises(type(error)):
        gov.call("api", fail(error), cost={"usd": 0.0005})

    assert cells(gov) == {"api/day@UTC": (spent, 0, unknown)}


def test_what_was_not_sent_costs_nothing(make: Make) -> None:
    """
    A call that is refused after its money was held gives all of it back.
    """
    gov = make({"day": 0.001}, limits=["1/day"], max_wait=0)
    gov.call("api", lambda: None, cost={"usd": 0.0001})
    with pytest.raises(Exception, match="1/day"):
        gov.call("api", lambda: None, cost={"usd": 0.0001})

    assert cells(gov) == {"api/day@UTC": (100, 0, 0)}


def test_each_attempt_that_may_have_cost_something_is_paid_for(make: Make) -> None:
    """
    Retries hold anew, until there is no money for another: then the failure comes out, and says why it ended.
    """
    gov = make({"day": 0.001}, retry={"attempts": 9, "base": 0.0, "budget": False})
    made: list[int] = []

    def function() -> None:
        made.append(400)
        raise TimeoutError

    with pytest.raises(TimeoutError):
        gov.call("api", function, cost={"usd": 0.0004})

    assert sum(made) == 800
    assert cells(gov) == {"api/day@UTC": (800, 0, 800)}


def test_a_retry_after_a_refusal_by_the_server_costs_nothing_more(make: Make) -> None:
    """
    One hold does for as many attempts as cost nothing.
    """
    gov = make({"day": 0.001}, retry={"attempts": 3, "base": 0.0, "budget": False})
    outcomes = iter([ConnectionRefusedError(), ConnectionRefusedError(), None])

    def function() -> str:
        error = next(outcomes)
        if error is not None:
            raise error
        return "served"

    assert gov.call("api", function, cost={"usd": 0.0009}) == "served"
    assert cells(gov) == {"api/day@UTC": (900, 0, 0)}


def test_a_cancelled_call_is_charged_as_unknown_once_it_was_sent(make: Make) -> None:
    """
    Cancelled while it waits for its turn it costs nothing; in mid-call, its estimate.
    """
    gov = make({"day": 0.001}, max_concurrency=1)

    async def run() -> None:
        inside = asyncio.Event()

        async def work() -> None:
            inside.set()
            await asyncio.Event().wait()

        first = asyncio.create_task(gov.acall("api", work, cost={"usd": 0.0004}))
        await inside.wait()
        second = asyncio.create_task(gov.acall("api", work, cost={"usd": 0.0004}))
        for _ in range(200):
            await asyncio.sleep(0.001)  # real time: the ledger is asked by a thread
            if gov.status()["api"]["waiting"]["medium"]:
                break
        for task in (second, first):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(run())

    assert cells(gov) == {"api/day@UTC": (400, 0, 400)}


def test_a_rule_s_budget_is_each_value_s_own(make: Make) -> None:
    """
    Each user has a budget, besides the service's; whoever no rule matches has the service's only.
    """
    rules = [
        {"match": {"user": "*"}, "budget": {"day": 0.001}},
        {"match": {"feature": "batch", "model": "m"}, "budget": {"total": 0.5}},
    ]
    gov = make({"day": 1}, rules=rules)
    odd = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGH"
    for user in ("u1", odd):
        gov.call("api", lambda: None, scope={"user": user}, cost={"usd": 0.0009})
        with pytest.raises(BudgetExceeded):
            gov.call("api", lambda: None, scope={"user": user}, cost={"usd": 0.0009})
    gov.call("api", lambda: None, scope={"feature": "batch", "model": "m"}, cost={"usd": 0.01})
    found = cells(gov)

    assert found["api/day@UTC"] == (11_800, 0, 0)
    assert found["api[user=*:u1]/day@UTC"] == (900, 0, 0)
    assert found["api[feature=batch,model=m]/total@UTC"] == (10_000, 0, 0)
    assert len(found) == 4
    assert odd not in str(found)


def test_a_new_user_s_first_calls_at_once_share_one_budget(make: Make) -> None:
    """
    Eight at once of somebody who was never seen before: as many are served as the budget pays for.
    """
    gov = make(rules=[{"match": {"user": "*"}, "budget": {"day": 0.002}}])
    served: list[int] = []

    def one() -> None:
        with suppress(BudgetExceeded):
            gov.call("api", lambda: served.append(750), scope={"user": "new"}, cost={"usd": 0.00075})

    threads = [Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(served) == 1500


def test_what_was_spent_is_added_up_by_what_it_was_for(make: Make) -> None:
    """
    By model, feature and user, as far as the call says.
    """
    gov = make({"day": 1})
    for scope in ({"user": "u1", "feature": "chat", "model": "m"}, {"user": "u1", "feature": "chat", "model": "m"}, {}):
        gov.call("api", lambda: None, scope=scope, cost={"usd": 0.1})
    cells(gov)

    assert sums(gov) == [(("api", "", "", ""), 1, 100_000, 0), (("api", "m", "chat", "u1"), 2, 200_000, 0)]


def test_without_a_cost_a_call_with_a_budget_is_a_mistake(make: Make) -> None:
    """
    A budget that doesn't know what it spends keeps nothing; a call that is free says so.
    """
    gov = make({"day": 1})

    @gov.handled("api")
    def handled() -> None: ...

    for call in (lambda: gov.call("api", lambda: None), handled, lambda: gov.permit("api").__enter__()):
        with pytest.raises(ConfigError, match="does not say what it may cost"):
            call()
    assert gov.call("api", lambda: "free", cost={"usd": 0}) == "free"
    assert cells(gov) in ({}, {"api/day@UTC": (0, 0, 0)})


def test_a_call_inside_of_a_call_that_states_no_cost_is_a_part_of_it(make: Make) -> None:
    """
    The outer one holds the money for both, and no longer than it lasts; another service's call holds its own.
    """
    gov = make({"day": 1})
    gov.reload({"api": gov.config.services["api"], "other": {"budget": {"day": 1}}})

    def outer() -> str:
        inside = gov.call("other", lambda: "in", cost={"usd": 0.2})
        return str(gov.call("api", lambda: gov.call("api", lambda: inside)))

    assert gov.call("api", outer, cost={"usd": 0.1}) == "in"
    with pytest.raises(ConfigError):
        gov.call("api", lambda: "after")
    assert cells(gov) == {"api/day@UTC": (100_000, 0, 0), "other/day@UTC": (200_000, 0, 0)}


@pytest.mark.parametrize("way", ["call", "permit", "acall", "generator"])
def test_a_call_inside_of_a_call_is_held_for_by_itself(make: Make, way: str) -> None:
    """
    A hundred calls of 0.05 inside of one of 0.001 all went, and nobody was charged for them.
    """
    gov = make({"day": 0.1}, rules=[{"match": {"user": "*"}, "budget": {"day": 0.05}}])
    made: list[int] = []
    options: dict[str, Any] = {"cost": {"usd": 0.001}, "scope": {"user": "u1"}}

    def inside() -> None:
        for each in range(100):
            gov.call("api", made.append, each, cost={"usd": 0.05}, scope={"user": "u2"})

    async def append(each: int) -> None:
        made.append(each)

    async def ainside() -> None:
        for each in range(100):
            await gov.acall("api", append, each, cost={"usd": 0.05}, scope={"user": "u2"})

    @gov.throttled("api", **options)
    def items() -> Iterator[None]:
        yield
        inside()

    with pytest.raises(BudgetExceeded) as caught:
        if way == "call":
            gov.call("api", inside, **options)
        elif way == "acall":
            asyncio.run(gov.acall("api", ainside, **options))
        elif way == "generator":
            list(items())
        else:
            with gov.permit("api", **options):
                inside()

    assert (made, caught.value.key) == ([0], "api[user=*:u2]/day@UTC")
    # The outer one has failed in its midst, so that nobody knows what it did cost itself.
    assert cells(gov) == {
        "api/day@UTC": (51_000, 0, 1_000),
        "api[user=*:u1]/day@UTC": (1_000, 0, 1_000),
        "api[user=*:u2]/day@UTC": (50_000, 0, 0),
    }


@pytest.mark.parametrize(
    ("stated", "inner", "spent"),
    [
        ((30_000,), (10_000,), 30_000),
        ((30_000,), (10_000, 25_000), 35_000),
        ((50_000, 20_000), (10_000,), 50_000),
        ((15_000, 20_000), (30_000,), 30_000),
    ],
    ids=["covered", "above", "three levels", "three levels, above"],
)
def test_what_calls_inside_were_charged_is_taken_off(
    make: Make, stated: tuple[int, ...], inner: tuple[int, ...], spent: int
) -> None:
    """
    An outer estimate that covers what is inside of it is not paid twice.
    """
    gov = make({"day": 1})

    def outer(level: int) -> None:
        if level < len(stated):
            gov.call("api", outer, level + 1, cost={"usd": stated[level] / 1e6})
            return
        for each in inner:
            gov.call("api", lambda: None, cost={"usd": each / 1e6})

    outer(0)

    assert cells(gov) == {"api/day@UTC": (spent, 0, 0)}
    assert sum(each[2] for each in sums(gov)) == spent


def test_what_a_call_inside_was_charged_is_known_of_an_outer_one_that_is_not(make: Make) -> None:
    """
    Of an outer call that fails, unknown is only what was not charged to the calls inside of it.
    """
    gov = make({"day": 1})

    def outer() -> None:
        gov.call("api", lambda: None, cost={"usd": 0.01})
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        gov.call("api", outer, cost={"usd": 0.03})

    assert cells(gov) == {"api/day@UTC": (30_000, 0, 20_000)}
    assert [each[1:] for each in sums(gov)] == [(2, 30_000, 20_000)]


def test_nothing_is_taken_off_a_budget_that_the_call_inside_does_not_have(make: Make) -> None:
    """
    A call of no user's inside of a user's: the user's budget would pay for neither.
    """
    gov = make({"day": 1}, rules=[{"match": {"user": "*"}, "budget": {"day": 1}}])
    gov.call(
        "api",
        lambda: gov.call("api", lambda: None, cost={"usd": 0.02}),
        cost={"usd": 0.02},
        scope={"user": "u1"},
    )

    assert cells(gov) == {"api/day@UTC": (40_000, 0, 0), "api[user=*:u1]/day@UTC": (20_000, 0, 0)}


def test_an_attempt_that_costs_nothing_takes_nothing_off_the_next(make: Make) -> None:
    """
    What was charged inside of an attempt that was refused is no part of the attempt that is charged.
    """
    gov = make({"day": 1}, retry={"attempts": 2, "base": 0})
    errors = iter([ConnectionRefusedError()])

    def outer() -> None:
        gov.call("api", lambda: None, cost={"usd": 0.02})
        for error in errors:
            raise error

    gov.call("api", outer, cost={"usd": 0.03})

    assert cells(gov) == {"api/day@UTC": (50_000, 0, 0)}


def test_a_call_inside_that_ends_late_is_no_part_of_the_next_attempt(make: Make) -> None:
    """
    Regression: what it was charged came off the attempt that followed, and was paid by nobody.
    """
    gov = make({"day": 1}, retry={"attempts": 2, "base": 0})
    errors = iter([ConnectionRefusedError()])

    async def main() -> None:
        begun, end = asyncio.Event(), asyncio.Event()
        late: list[asyncio.Task[None]] = []

        async def inner() -> None:
            begun.set()
            await end.wait()

        async def outer() -> None:
            for error in errors:
                late.append(asyncio.create_task(gov.acall("api", inner, cost={"usd": 0.02})))
                await begun.wait()
                raise error
            end.set()
            await late[0]

        await gov.acall("api", outer, cost={"usd": 0.03})

    asyncio.run(main())

    assert cells(gov) == {"api/day@UTC": (50_000, 0, 0)}


def test_a_permit_s_truth_is_that_of_all_inside_of_it(make: Make) -> None:
    """
    What is settled includes the calls inside; one below what they were charged takes nothing back from them.
    """
    gov = make({"day": 1})
    with gov.permit("api", cost={"usd": 0.03}) as permit:
        gov.call("api", lambda: None, cost={"usd": 0.01})
        permit.settle(cost={"usd": 0.012})
    with gov.permit("api", cost={"usd": 0.03}) as permit:
        gov.call("api", lambda: None, cost={"usd": 0.01})
        permit.settle(cost={"usd": 0.005})

    assert cells(gov) == {"api/day@UTC": (22_000, 0, 0)}


def test_a_fallback_s_calls_are_not_paid_for_by_the_call_that_has_failed(make: Make) -> None:
    """
    That one's money is charged, or given back, before: a call in the fallback says what it costs.
    """
    gov = make({"day": 1})
    with pytest.raises(ConfigError, match="does not say what it may cost"):
        gov.call(
            "api",
            fail(ConnectionRefusedError()),
            cost={"usd": 0.1},
            fallback=lambda: gov.call("api", lambda: None),
        )

    assert cells(gov) == {"api/day@UTC": (0, 0, 0)}


def test_a_service_without_a_budget_holds_nothing() -> None:
    """
    Its calls may state what they cost, and take the straight path.
    """
    gov = Governor({"api": {}})

    assert gov.call("api", lambda: "served", cost={"usd": 3}) == "served"
    assert gov.context.money is None
    assert gov.gate("api").calm


def test_a_call_that_no_rule_s_budget_matches_holds_nothing(make: Make) -> None:
    """
    Nor need it say what it costs.
    """
    gov = make(rules=[{"match": {"user": "*"}, "budget": {"day": 0.001}}])

    assert gov.call("api", lambda: "served") == "served"


def test_the_soft_share_warns_once(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """
    When it is reached: in the log and in the history, once in a period.
    """
    caplog.set_level(logging.WARNING, "egressor")
    gov = make({"day": 0.001, "soft": 0.5})
    for _ in range(3):
        gov.call("api", lambda: None, cost={"usd": 0.0003})
    noted = [entry for entry in gov.history() if entry["kind"] == "budget"]

    assert caplog.messages == ["api: the soft share of the budget api/day@UTC of 0.001000 USD is reached"]
    assert [(entry["what"], entry["service"], entry["data"]) for entry in noted] == [
        ("soft", "api", {"budget": "api/day@UTC", "usd": "0.001000"})
    ]


def test_a_refusal_takes_the_fallback(make: Make) -> None:
    """
    A spent budget is a refusal like others.
    """
    gov = make({"day": 0.001})

    assert gov.call("api", lambda: None, cost={"usd": 1}, fallback="instead") == "instead"
    assert gov.status()["api"]["denied"] == {"budget": 1}


def test_a_call_that_is_interrupted_between_its_steps_leaves_nothing_held(make: Make) -> None:
    """
    A signal may end a plan where no step catches it: whoever lands the call ends what it holds.
    """
    gov = make({"day": 0.001})
    route = gov.route("api", Options(cost={"usd": 0.0004}))
    flight = Flight(gov.context, route, _Function(str, (), {}))
    assert flight.purse is not None
    flight.purse.hold(400)
    during = cells(gov)
    flight.land(None)

    assert (during, cells(gov)) == ({"api/day@UTC": (0, 400, 0)}, {"api/day@UTC": (0, 0, 0)})


def test_a_generator_holds_until_it_is_over(make: Make) -> None:
    """
    Its money is charged at its end, once.
    """
    gov = make({"day": 0.001})

    @gov.throttled("api", cost={"usd": 0.0004})
    def items() -> Iterator[int]:
        yield from range(3)

    running = items()
    next(running)
    during = cells(gov)
    list(running)

    assert during == {"api/day@UTC": (0, 400, 0)}
    assert cells(gov) == {"api/day@UTC": (400, 0, 0)}


def test_a_permit_that_is_dropped_is_charged_as_unknown(make: Make) -> None:
    """
    Nobody knows what its block has cost.
    """
    gov = make({"day": 0.001})
    permit = gov.permit("api", cost={"usd": 0.0004})
    permit.acquire()
    del permit
    gc.collect()

    assert cells(gov) == {"api/day@UTC": (400, 0, 400)}


def test_a_slip_in_a_settled_unit_leaves_the_money_as_it_was(make: Make) -> None:
    """
    What is refused is refused whole, also the part of it that was money.
    """
    gov = make({"day": 1}, limits=["1000 tokens/minute"])
    with gov.permit("api", cost={"usd": 0.002}) as permit, suppress(ConfigError):
        permit.settle(cost={"usd": 0.001, "token": 5})

    assert cells(gov) == {"api/day@UTC": (2_000, 0, 0)}


def test_an_awaited_permit_tells_its_truth(make: Make) -> None:
    """
    The last word counts; a unit that no limit counts changes nothing.
    """
    gov = make({"day": 0.001})

    async def run() -> None:
        async with gov.permit("api", cost={"usd": 0.0004}) as permit:
            permit.settle(cost={"usd": 0.0001})
            permit.settle(cost={"usd": 0.0002})

    asyncio.run(run())

    assert cells(gov) == {"api/day@UTC": (200, 0, 0)}


def test_a_permit_without_a_budget_takes_a_truth_too() -> None:
    """
    The same code runs with a budget and without one.
    """
    gov = Governor({"api": {}})
    with gov.permit("api", cost={"usd": 0.0004}) as permit:
        permit.settle(cost={"usd": 0.0001})

    assert gov.status()["api"]["succeeded"] == 1


def test_a_reload_begins_a_budget_and_another_ledger(tmp_path: Path) -> None:
    """
    Calls after it are held for; a call under way ends in the ledger that it began in.
    """
    gov = Governor({"api": {"retry": ONCE}}, ledger="memory:")
    call = gov.throttled("api", cost={"usd": 0.0009})(lambda: "served")
    assert call() == "served"  # type: ignore[no-untyped-call] # a lambda has no types
    gov.reload({"api": Policy(budget=BudgetPolicy(day=Decimal("0.001")))})
    assert call() == "served"  # type: ignore[no-untyped-call] # a lambda has no types
    with pytest.raises(BudgetExceeded):
        call()  # type: ignore[no-untyped-call] # a lambda has no types
    before = gov.context.money
    path = tmp_path / "egressor.toml"
    path.write_text(f"[egressor]\nledger = 'sqlite:///{tmp_path}/l.db'\n[services.api]\nbudget.day = 0.001\n")
    with gov.permit("api", cost={"usd": 0.0001}):
        gov.reload(path)
    assert call() == "served"  # type: ignore[no-untyped-call] # a lambda has no types

    assert before is not None
    assert before.till.read(lambda page: page.budgets())[0].cell.spent == 1000
    gov.close()


def test_whether_money_waits_for_the_disk_is_a_setting_that_a_reload_changes(tmp_path: Path) -> None:
    """
    By default it doesn't.
    """
    services = {"api": {"budget": {"day": 1}}}
    gov = Governor(services, ledger=f"sqlite:///{tmp_path}/l.db")
    money = gov.context.money
    assert money is not None
    found = [money.till.is_strict]
    for how in ("full", "normal"):
        gov.reload(from_services(services, ledger=gov.config.ledger, money_sync=how))
        found.append(money.till.is_strict)
    gov.close()

    assert found == [False, True, False]


def test_prices_stay_where_a_reload_names_services_only() -> None:
    """
    As the other settings do.
    """
    prices = {"models": [{"model": "m", "usd_per_mtok": {"input": 1, "output": 2}}]}
    gov = Governor(config=from_table({"services": {"api": {"budget": {"day": 1}}}, "prices": prices}))
    gov.reload({"api": {"budget": {"day": 2}}})

    assert [each.model for each in gov.config.prices.models] == ["m"]
    assert gov.context.money is not None
    assert gov.context.money.prices is gov.config.prices


def test_without_its_ledger_a_budget_is_closed(tmp_path: Path) -> None:
    """
    A ledger that can't be written refuses calls with a budget, at once and for as long, and no others.
    """
    gov = Governor({"api": {"budget": {"day": 1}}, "other": {}}, ledger=f"sqlite:///{tmp_path}/sub.db")
    (tmp_path / "sub.db").write_bytes(b"no database, and long enough not to be taken for an empty one" * 20)
    with pytest.raises(StoreUnavailable, match="the ledger is away, and without it no budget can be kept") as caught:
        gov.call("api", lambda: None, cost={"usd": 0.1})

    assert (caught.value.key, caught.value.retry_after) == ("ledger", 1.0)
    assert gov.call("other", lambda: "served") == "served"
    gov.close()


@pytest.mark.parametrize(
    ("amount", "expected"),
    [(0, "0.000000"), (1, "0.000001"), (1_500_000, "1.500000"), (-1, "-0.000001"), (10**15, "1000000000.000000")],
)
def test_an_amount_has_six_places(amount: int, expected: str) -> None:
    """
    Whole micro-dollars, as dollars.
    """
    assert shown_usd(amount) == expected


def test_without_a_bound_costs_are_only_added_up() -> None:
    """
    A call that says what it costs is counted, one that doesn't passes uncounted; none is refused, whatever it costs.
    """
    gov = Governor({"api": {"retry": ONCE, "budget": {"unbounded": True}}})
    told = [gov.call("api", lambda: "served", cost={"usd": 1_000_000}), gov.call("api", lambda: "served")]
    with gov.permit("api", cost={"usd": 1}) as permit:
        permit.settle(cost={"usd": 2})
    costs = gov.costs()

    assert told == ["served", "served"]
    assert costs["total"] == {"calls": 2, "usd": "1000002.000000", "unknown_usd": "0.000000"}
    assert costs["budgets"] == []


def test_without_a_bound_nobody_waits_for_a_ledger_that_is_away(tmp_path: Path) -> None:
    """
    Calls go on uncounted, blocking and awaiting; with a bound they are refused.
    """
    lock = tmp_path / "l.db.lock"
    lock.mkdir()  # What is no file can't be locked.
    services: dict[str, Any] = {
        "free": {"retry": ONCE, "budget": {"unbounded": True}},
        "bound": {"retry": ONCE, "budget": {"total": 5}},
    }
    gov = Governor(services, ledger=f"sqlite:///{tmp_path}/l.db")

    async def served() -> str:
        return "served"

    told = [
        gov.call("free", lambda: "served", cost={"usd": 1}),
        asyncio.run(gov.acall("free", served, cost={"usd": 1})),
    ]
    with pytest.raises(StoreUnavailable):
        gov.call("bound", lambda: "served", cost={"usd": 1})
    gov.close()

    assert told == ["served"] * 2
