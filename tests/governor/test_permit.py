"""
Permits: capacity for a block of code, or from hand to hand.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from typing import Any

import pytest

from egressor import CircuitOpen, ConfigError, Governor, WaitTooLong
from egressor.testing import FakeClock


@pytest.fixture(params=[False, True], ids=["straight", "tapped"])
def gov(request: pytest.FixtureRequest) -> Governor:
    """
    Return a governor whose service ``s`` has one place and a hundred tokens a minute, with a tap or without.
    """
    policy = {"max_concurrency": 1, "limits": ["100 tokens/minute burst 100"], "breaker": {"consecutive": 1}}
    gov = Governor({"s": {**policy, "max_wait": 1.0}}, clock=FakeClock())
    if request.param:
        gov.tap(lambda event: None)
    return gov


def tokens(gov: Governor) -> int:
    """
    Return how many tokens are left.
    """
    left: int = gov.status()["s"]["limits"][0]["left"]
    return left


def held(gov: Governor) -> int:
    """
    Return how many attempts are under way.
    """
    count: int = gov.status()["s"]["in_flight"]
    return count


def test_a_block_holds_its_permit_to_its_end(gov: Governor) -> None:
    """
    A block holds one place, blocking or awaiting, and may be entered again after its end.
    """
    permit = gov.permit("s")

    async def awaiting() -> int:
        async with permit as same:
            assert same is permit
            return held(gov)

    for _ in range(2):
        with permit as same:
            assert same is permit
            assert held(gov) == 1
        assert asyncio.run(awaiting()) == 1

    assert held(gov) == 0
    assert gov.status()["s"]["succeeded"] == 4


def test_the_true_cost_is_settled_inside_the_block(gov: Governor) -> None:
    """
    A cost that turns out lower is given back, and one that turns out higher is charged, as often as it is said.
    """
    with gov.permit("s", cost={"tokens": 10}) as permit:
        seen = [tokens(gov)]
        for cost in (4, 30, 12.5, 0):
            permit.settle(cost={"tokens": cost})
            seen.append(tokens(gov))
        permit.settle(cost={"other": 5})
        seen.append(tokens(gov))
        permit.settle(cost={"tokens": 7, "requests": 2})

    assert seen == [90, 96, 70, 87, 100, 100]
    assert tokens(gov) == 93
    assert held(gov) == 0


def test_a_slip_in_a_settled_unit_is_a_mistake_that_changes_nothing(gov: Governor) -> None:
    """
    A unit that no limit counts was left out in silence, and the estimate stood.
    """
    with gov.permit("s", cost={"tokens": 10}) as permit:
        with pytest.raises(ConfigError, match="s has no limit of 'token'") as caught:
            permit.settle(cost={"tokens": 4, "token": 350})
        left = tokens(gov)

    assert (caught.value.nearest, left, tokens(gov)) == ("tokens", 90, 90)


def test_settling_outside_of_the_block_is_a_mistake(gov: Governor) -> None:
    """
    A permit that is not held has nothing to settle.
    """
    permit = gov.permit("s")

    with pytest.raises(ConfigError, match="the permit is not held: settle inside the block"):
        permit.settle(cost={"tokens": 1})
    with permit:
        pass
    with pytest.raises(ConfigError, match="not held"):
        permit.settle(cost={"tokens": 1})


def test_a_permit_is_held_once(gov: Governor) -> None:
    """
    To take a permit that is held is a mistake, which leaves it held.
    """
    with gov.permit("s") as permit:
        with pytest.raises(ConfigError, match="the permit is held already"):
            permit.acquire()
        assert held(gov) == 1

    assert held(gov) == 0


@pytest.mark.parametrize("way", ["block", "release", "ablock", "arelease"])
def test_an_error_in_the_block_is_the_attempts(gov: Governor, way: str) -> None:
    """
    What leaves the block, or is handed to `release`, is the attempt's failure: it opens the breaker, and comes out.
    """
    error = ConnectionRefusedError()

    async def awaiting() -> None:
        if way == "ablock":
            async with gov.permit("s"):
                raise error
        permit = await gov.permit("s")
        await permit.arelease(error)
        await permit.arelease()

    if way == "block":
        with pytest.raises(ConnectionRefusedError) as caught, gov.permit("s"):
            raise error
        assert caught.value is error
    elif way == "release":
        permit = gov.permit("s").acquire()
        permit.release(error)
        permit.release()
    elif way == "ablock":
        with pytest.raises(ConnectionRefusedError) as caught:
            asyncio.run(awaiting())
        assert caught.value is error
    else:
        asyncio.run(awaiting())

    assert gov.status()["s"]["categories"] == {"network": 1}
    with pytest.raises(CircuitOpen):
        gov.permit("s").acquire()
    assert held(gov) == 0


def test_a_permit_that_was_awaited_is_not_released_blocking() -> None:
    """
    A plan that awaits can't be ended by blocking; the mistake leaves the permit held.
    """
    gov = Governor({"s": {"max_concurrency": 1}}, clock=FakeClock())
    gov.tap(lambda event: None)

    async def main() -> None:
        permit = await gov.permit("s")
        with pytest.raises(ConfigError, match=r"given back by: await permit\.arelease"):
            permit.release()
        assert held(gov) == 1
        await permit.arelease()

    asyncio.run(main())

    assert held(gov) == 0


def test_a_refused_permit_is_raised_where_it_is_taken(gov: Governor) -> None:
    """
    With the only place held, every other way to take a permit ends in a refusal, and then in a permit.
    """

    async def by_block() -> None:
        async with gov.permit("s"):
            pass

    async def by_hand() -> None:
        await (await gov.permit("s")).arelease()

    holder = gov.permit("s").acquire()
    for way in (by_block, by_hand):
        with pytest.raises(WaitTooLong):
            asyncio.run(way())
    with pytest.raises(WaitTooLong):
        gov.permit("s").acquire()
    holder.release()
    for way in (by_block, by_hand):
        asyncio.run(way())

    assert held(gov) == 0


@pytest.mark.parametrize("way", ["acquire", "await"])
def test_a_permit_that_is_dropped_comes_back(gov: Governor, way: str) -> None:
    """
    A permit that nobody holds any more is given back when it is collected, as a cancelled attempt.
    """

    async def forget() -> None:
        await gov.permit("s")

    if way == "acquire":
        gov.permit("s").acquire()
    else:
        asyncio.run(forget())
    gc.collect()

    assert held(gov) == 0
    assert gov.status()["s"]["categories"] == {"cancelled": 1}
    assert gov.call("s", lambda: 7) == 7


def test_a_permit_that_is_dropped_wakes_whoever_waits() -> None:
    """
    With the real clock, a thread that waits for the place of a permit that is dropped gets it long before its own end.
    """
    gov = Governor({"s": {"max_concurrency": 1, "max_wait": 60.0}})
    box: list[Any] = [gov.permit("s").acquire()]
    waiting = threading.Thread(target=gov.call, args=("s", lambda: box.append("done")))
    waiting.start()
    while gov.status()["s"]["waiting"]["medium"] == 0:
        pass

    del box[0]
    gc.collect()
    waiting.join(10)

    assert box == ["done"]


def test_a_permit_may_be_released_by_another_thread(gov: Governor) -> None:
    """
    A permit is not bound to the thread, or the context, that took it.
    """
    permit = gov.permit("s").acquire()
    thread = threading.Thread(target=permit.release)
    thread.start()
    thread.join()

    assert held(gov) == 0


def test_a_block_may_be_left_in_another_context() -> None:
    """
    A block that is entered in one context and left in another gives its place back all the same.
    """
    gov = Governor({"s": {"max_concurrency": 1}}, clock=FakeClock())
    permit = gov.permit("s")

    # In a context of its own: what it leaves behind there is no concern of the next test.
    contextvars.copy_context().run(permit.__enter__)
    thread = threading.Thread(target=permit.__exit__, args=(None, None, None))
    thread.start()
    thread.join()

    assert held(gov) == 0
    assert gov.call("s", lambda: 7) == 7


def test_a_permit_is_refused_what_its_route_refuses(gov: Governor) -> None:
    """
    A permit by endpoint and priority uses the route that was made first, and a pause refuses it.
    """
    for _ in range(2):
        with gov.permit("s", endpoint="chat", priority="low"):
            pass
    gov.pause("s")

    with pytest.raises(Exception, match="an operator paused it"), gov.permit("s", endpoint="chat", priority="low"):
        pass
    gov.resume("s")
    gov.resume("s")
    with gov.permit("s", endpoint="chat", priority="low"):
        assert held(gov) == 1


def test_what_was_not_estimated_is_charged_all_the_same(gov: Governor) -> None:
    """
    Regression: a unit of which a permit had taken nothing was not charged when it was settled.
    """
    gov = Governor({"s": {"limits": ["1000 tokens/minute"], "max_wait": 0.0}}, clock=FakeClock())
    with gov.permit("s") as permit:
        permit.settle(cost={"tokens": 700})
        permit.settle(cost={"tokens": 950})

    assert gov.status()["s"]["limits"][0]["left"] == 50
    with gov.permit("s") as permit, pytest.raises(ConfigError, match="places"):
        permit.settle(cost={"places": 0})


def test_a_permit_is_one_callers_while_it_waits() -> None:
    """
    Regression: two tasks that entered one permit object while it waited both got a place, and one was lost.
    """
    gov = Governor({"s": {"max_concurrency": 1, "max_wait": 5.0}}, clock=FakeClock())
    permit = gov.permit("s")

    async def use() -> None:
        async with permit:
            await asyncio.sleep(0)

    async def main() -> list[BaseException | None]:
        async with gov.permit("s"):
            tasks = [asyncio.create_task(use()) for _ in range(2)]
            for _ in range(3):
                await asyncio.sleep(0)
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, second = asyncio.run(main())

    assert (first, type(second)) == (None, ConfigError)
    assert gov.status()["s"]["limits"][0]["left"] == 1
    held = permit.acquire()
    with pytest.raises(ConfigError, match="held already"):
        permit.acquire()
    held.release()


def test_a_permit_that_could_not_be_had_can_be_asked_for_again() -> None:
    """
    A refusal leaves the permit as it was.
    """
    gov = Governor({"s": {"max_concurrency": 1, "max_wait": 0.0}}, clock=FakeClock())
    permit = gov.permit("s")

    with gov.permit("s"), pytest.raises(WaitTooLong):
        # In a context of its own, or it would borrow the place of the block around it.
        contextvars.Context().run(permit.acquire)
    with permit:
        assert gov.status()["s"]["in_flight"] == 1
