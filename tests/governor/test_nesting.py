"""
Calls inside calls: they share places and attempts, and whatever they lend is given back once.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import threading
from typing import Any

import pytest

from egressor import Governor, WaitTooLong
from egressor.governor.nesting import CURRENT
from egressor.testing import FakeClock


def one_place(**policy: Any) -> Governor:
    """
    Return a governor whose service ``s`` has one place.
    """
    return Governor({"s": {"max_concurrency": 1, "max_wait": 5.0, **policy}}, clock=FakeClock(), dice=lambda: 0.5)


def places(gov: Governor) -> tuple[int, int]:
    """
    Return how many places are free, and how many attempts are under way.
    """
    status = gov.status()["s"]
    return status["limits"][-1]["left"], status["in_flight"]


def test_children_of_a_permit_use_its_place_one_at_a_time() -> None:
    """
    Ten calls gathered inside a permit of the only place take turns on it, and all of them end.
    """
    gov = one_place(max_wait=60.0)
    at_once = []

    async def child(number: int) -> int:
        at_once.append(gov.status()["s"]["in_flight"])
        await asyncio.sleep(0)
        return number

    async def main() -> list[int]:
        async with gov.permit("s"):
            return await asyncio.gather(*(gov.acall("s", child, number) for number in range(10)))

    assert asyncio.run(main()) == list(range(10))
    assert at_once == [2] * 10
    assert places(gov) == (1, 0)


def test_somebody_else_does_not_get_in_beside_the_call_and_its_child() -> None:
    """
    While a nested call uses the lent place, a call from elsewhere finds none.
    """
    gov = one_place()

    def elsewhere() -> object:
        with pytest.raises(WaitTooLong):
            contextvars.Context().run(gov.call, "s", str, deadline=1.0)
        return places(gov)

    assert gov.call("s", lambda: gov.call("s", elsewhere)) == (0, 2)
    assert places(gov) == (1, 0)


@pytest.mark.parametrize("inner", ["begins after", "spans"])
@pytest.mark.parametrize("tapped", [False, True])
@pytest.mark.parametrize("way", ["acall", "permit"])
def test_a_task_may_outlive_the_call_that_started_it(inner: str, way: str, tapped: bool) -> None:
    """
    Regression: a task started in a call, whose own call came after or across the call's end, took a place for good.
    """
    gov = one_place()
    if tapped:
        gov.tap(lambda event: None)
    tasks: list[asyncio.Task[object]] = []
    go_on = asyncio.Event()

    async def late() -> object:
        if inner == "begins after":
            await go_on.wait()
        return await gov.acall("s", go_on.wait)

    async def outer() -> None:
        tasks.append(asyncio.create_task(late()))
        await asyncio.sleep(0)

    async def by_permit() -> None:
        async with gov.permit("s"):
            await outer()

    async def main() -> None:
        await (gov.acall("s", outer) if way == "acall" else by_permit())
        assert places(gov) == ((1, 0) if inner == "begins after" else (0, 1))
        go_on.set()
        await tasks[0]

    asyncio.run(main())

    assert places(gov) == (1, 0)


def test_a_nested_call_may_outlive_one_attempt_and_see_the_next() -> None:
    """
    A task that spans the failed attempt and its retry borrows the place of whichever is under way.
    """
    gov = one_place(retry={"attempts": 2})
    tasks: list[asyncio.Task[object]] = []
    go_on = asyncio.Event()

    async def outer() -> str:
        if tasks:
            go_on.set()
            return "second"
        tasks.append(asyncio.create_task(gov.acall("s", go_on.wait)))
        await asyncio.sleep(0)
        raise ConnectionRefusedError

    async def main() -> tuple[object, object]:
        contested = asyncio.create_task(gov.acall("s", outer))
        while gov.status()["s"]["waiting"]["medium"] == 0:
            await asyncio.sleep(0)
        go_on.set()
        return await contested, await tasks[0]

    assert asyncio.run(main()) == ("second", True)
    assert places(gov) == (1, 0)


def test_a_fallback_may_call_the_same_service() -> None:
    """
    Regression: a fallback that called the same service lent a place which its call no longer held, and lost one.
    """
    gov = one_place(retry={"attempts": 1})

    def fails() -> None:
        raise ConnectionRefusedError

    assert gov.call("s", fails, fallback=lambda: gov.call("s", lambda: "other")) == "other"
    assert places(gov) == (1, 0)


@pytest.mark.parametrize("is_watched", [False, True])
def test_a_permit_that_was_dropped_inside_ends_its_loan(is_watched: bool) -> None:
    """
    Regression: the call around a permit that was dropped lent its place until its own end.
    """
    gov = one_place()
    if is_watched:
        gov.tap(lambda event: None)

    def outer() -> tuple[int, int]:
        gov.permit("s").acquire()
        gc.collect()
        # A finaliser only leaves word: the gate does the rest when it is looked at.
        gov.gate("s").tick()
        return places(gov)

    assert gov.call("s", outer) == (0, 1)
    assert places(gov) == (1, 0)


def test_a_permit_that_was_dropped_lends_nothing() -> None:
    """
    Regression: calls after a permit that was dropped without being released borrowed its place, and lost one.
    """
    gov = one_place()

    gov.permit("s").acquire()
    gc.collect()

    assert gov.call("s", lambda: gov.call("s", lambda: 1)) == 1
    assert places(gov) == (1, 0)
    assert gov.status()["s"]["categories"] == {"cancelled": 1}


@pytest.mark.parametrize("way", ["acquire", "await"])
def test_permits_without_a_block_hold_a_place_each(way: str) -> None:
    """
    Regression: permits taken one after the other in one context lent each other their place, and the limit held nobody.
    """
    gov = Governor({"s": {"max_concurrency": 3, "max_wait": 1.0}}, clock=FakeClock())
    held = []

    async def main() -> None:
        held.extend([await gov.permit("s") for _ in range(3)])
        with pytest.raises(WaitTooLong):
            await gov.permit("s")
        assert places(gov) == (0, 3)
        for permit in held:
            await permit.arelease()

    def blocking() -> None:
        held.extend([gov.permit("s").acquire() for _ in range(3)])
        with pytest.raises(WaitTooLong):
            gov.permit("s").acquire()
        assert places(gov) == (0, 3)
        for permit in held:
            permit.release()

    asyncio.run(main()) if way == "await" else blocking()

    assert places(gov) == (3, 0)


def test_a_permit_that_is_acquired_nests_inside_its_block() -> None:
    """
    Calls inside the block of a permit that was acquired before use its place.
    """
    gov = one_place()

    with gov.permit("s").acquire():
        assert gov.call("s", lambda: places(gov)) == (0, 2)

    assert places(gov) == (1, 0)


def test_threads_with_the_callers_context_are_nested_too() -> None:
    """
    Eight threads that inherit a call's context borrow its place at once, a thousand times, and none is lost.
    """
    gov = Governor({"s": {"max_concurrency": 1, "max_wait": 60.0}})

    def child() -> None:
        for _ in range(125):
            gov.call("s", lambda: None)

    def outer() -> None:
        threads = [threading.Thread(target=contextvars.copy_context().run, args=(child,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    gov.call("s", outer)

    assert places(gov) == (1, 0)
    assert gov.status()["s"]["admitted"] == 1_001


def test_calls_of_another_service_borrow_nothing() -> None:
    """
    A call nested in one of another service takes a place of its own service, and the outer keeps its own.
    """
    gov = Governor({"s": {"max_concurrency": 1}, "t": {"max_concurrency": 1}}, clock=FakeClock())

    seen = gov.call("s", lambda: gov.call("t", lambda: (gov.status()["s"]["limits"], gov.status()["t"]["limits"])))

    assert [part[0]["left"] for part in seen] == [0, 0]


def test_three_levels_of_three_attempts_make_three() -> None:
    """
    Nested functions that all retry make as many attempts as one of them may, not their product.
    """
    gov = Governor({"s": {"retry": {"attempts": 3, "budget": False}}}, clock=FakeClock(), dice=lambda: 0.5)
    sent = []

    @gov.throttled("s")
    def inner() -> None:
        sent.append(1)
        raise ConnectionRefusedError

    @gov.throttled("s")
    def middle() -> None:
        inner()

    @gov.throttled("s")
    def outer() -> None:
        middle()

    with pytest.raises(ConnectionRefusedError):
        outer()

    assert len(sent) == 3


def test_a_chain_of_tasks_that_start_each_other_does_not_grow() -> None:
    """
    Regression: each call of an endless chain of tasks kept all calls before it alive.
    """
    gov = one_place(max_wait=60.0)

    async def main() -> int:
        done = asyncio.get_running_loop().create_future()

        async def step(left: int) -> None:
            if left:
                tasks.append(asyncio.create_task(gov.acall("s", step, left - 1)))
                await asyncio.sleep(0)
            else:
                done.set_result(CURRENT.get())

        tasks = [asyncio.create_task(gov.acall("s", step, 300))]
        nest, depth = await done, 0
        await asyncio.gather(*tasks)
        while nest is not None:
            nest, depth = nest.parent, depth + 1
        return depth

    assert asyncio.run(main()) <= 3
    assert places(gov) == (1, 0)


def test_a_permit_that_is_dropped_while_it_lends_gives_its_place_back_once() -> None:
    """
    Regression: its place was given back by the loan and by the drop, so that another call could go beyond the bound.
    """
    gov = Governor({"s": {"max_concurrency": 3, "max_wait": 0.0}}, clock=FakeClock())
    others = [gov.permit("s").acquire() for _ in range(2)]

    async def main() -> list[tuple[int, int]]:
        go_on = asyncio.Event()
        stack = contextlib.ExitStack()
        stack.enter_context(gov.permit("s"))
        task = asyncio.create_task(gov.acall("s", go_on.wait))
        await asyncio.sleep(0)
        seen = [places(gov)]
        del stack
        gc.collect()
        seen.append(places(gov))
        go_on.set()
        await task
        return [*seen, places(gov)]

    assert asyncio.run(main()) == [(0, 4), (0, 3), (1, 2)]
    for each in others:
        each.release()
    assert places(gov) == (3, 0)
