"""
Cancelled anywhere: whatever was taken for what was not sent is given back, and the next call works.

A sweep, not a dice roll: each way of making a call is cancelled in the first pass of the event loop, in a second run in
the second pass, and so on until it ends before it is cancelled. So it is also cancelled between the moment in which it
was woken and the moment in which it runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest

from egressor import Governor
from egressor._drivers.clock import Clock
from egressor.testing import FakeClock

PASSES = 2_000
STATED = 1_000


class World:
    """
    A governor with one service, and what was sent to it.
    """

    def __init__(self, clock: Clock, **policy: Any) -> None:
        self.gov = Governor({"s": policy}, clock=clock, dice=lambda: 0.5)
        self.sent = 0
        self.fails = 0

    async def send(self) -> str:
        """
        Be the user's function.
        """
        self.sent += 1
        await asyncio.sleep(0)
        if self.fails:
            self.fails -= 1
            raise ConnectionRefusedError
        await asyncio.sleep(0)
        return "done"


async def by_acall(world: World) -> object:
    """
    Call.
    """
    return await world.gov.acall("s", world.send)


async def by_decorator(world: World) -> object:
    """
    Call what is decorated.
    """
    return await world.gov.throttled("s")(world.send)()


async def by_block(world: World) -> object:
    """
    Take a permit for a block.
    """
    async with world.gov.permit("s"):
        return await world.send()


async def by_hand(world: World) -> object:
    """
    Take a permit, and give it back.
    """
    permit = await world.gov.permit("s")
    try:
        return await world.send()
    finally:
        await permit.arelease()


async def by_generator(world: World) -> object:
    """
    Read a decorated generator to its end.
    """

    @world.gov.throttled("s")
    async def stream() -> Any:
        yield await world.send()
        await asyncio.sleep(0)
        yield "done"  # real time: none, one turn of the loop

    items = []
    async with aclosing(stream()) as each:
        async for item in each:
            items.append(item)
            await asyncio.sleep(0)
    return items[-1]


WAYS: list[Callable[[World], Awaitable[object]]] = [by_acall, by_decorator, by_block, by_hand, by_generator]


async def cancelled_in(world: World, way: Callable[[World], Any], *, tasks: int, victim: int, at: int) -> bool:
    """
    Start *tasks* calls and cancel number *victim* in pass *at*; return whether that was before its end.
    """
    world.gov.call("s", str)
    running = [asyncio.create_task(way(world)) for _ in range(tasks)]
    for _ in range(at):
        await asyncio.sleep(0)
    was_running = not running[victim].done()
    running[victim].cancel()
    results = await asyncio.gather(*running, return_exceptions=True)
    for number, result in enumerate(results):
        if number == victim and was_running:
            assert isinstance(result, asyncio.CancelledError)
        else:
            assert result == "done"
    return was_running


def sweep(make: Callable[[], World], way: Callable[[World], Any], *, tasks: int, victim: int, tapped: bool) -> int:
    """
    Cancel in each pass, one after the other, look at what is left each time, and return how many passes there were.
    """
    for at in range(PASSES):
        world = make()
        if tapped:
            world.gov.tap(lambda event: None)
        was_running = asyncio.run(cancelled_in(world, way, tasks=tasks, victim=victim, at=at))
        nothing_is_held(world, at)
        if not was_running:
            return at
    msg = f"it still ran after {PASSES} passes"
    raise AssertionError(msg)


def nothing_is_held(world: World, at: int) -> None:
    """
    Check that only what was sent is taken, and that the next call works at once.
    """
    status = world.gov.status()["s"]
    left = {limit["unit"]: limit["left"] for limit in status["limits"]}
    assert (at, status["in_flight"], sum(status["waiting"].values())) == (at, 0, 0)
    assert (at, status["admitted"]) == (at, world.sent + 1)
    if "places" in left:
        assert (at, left["places"]) == (at, 1)
    assert (at, left["requests"]) == (at, STATED - world.sent - 1)
    assert world.gov.call("s", lambda: 7, deadline=0.001) == 7


@pytest.mark.parametrize("tapped", [False, True])
@pytest.mark.parametrize(("tasks", "victim"), [(1, 0), (2, 0), (2, 1), (3, 1)])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("clock", [FakeClock, Clock])
def test_a_call_may_be_cancelled_anywhere_in_the_line_for_a_place(
    clock: type[Clock], way: Callable[[World], Any], tasks: int, victim: int, tapped: bool
) -> None:
    """
    With one place and a queue, a cancelled call gives back its place, or its place in the queue, and others go on.
    """

    def make() -> World:
        return World(clock(), limits=[f"{STATED}/month burst {STATED}"], max_concurrency=1)

    assert sweep(make, way, tasks=tasks, victim=victim, tapped=tapped) >= 3


@pytest.mark.parametrize("tapped", [False, True])
@pytest.mark.parametrize("way", WAYS[:2])
def test_a_call_may_be_cancelled_anywhere_in_its_retries(way: Callable[[World], Any], tapped: bool) -> None:
    """
    A call cancelled in its first attempt, its backoff or its second attempt leaves nothing behind.
    """

    def make() -> World:
        world = World(FakeClock(), limits=[f"{STATED}/month burst {STATED}"], max_concurrency=1)
        world.fails = 1
        return world

    assert sweep(make, way, tasks=1, victim=0, tapped=tapped) >= 20


@pytest.mark.parametrize("victim", [0, 1, 2])
@pytest.mark.parametrize("way", WAYS)
def test_a_call_may_be_cancelled_anywhere_in_the_line_for_a_rate(way: Callable[[World], Any], victim: int) -> None:
    """
    A call cancelled while it waits for its time is not charged, and whoever waits behind it is served in its stead.
    """
    ends = []
    for at in range(PASSES):
        world = World(FakeClock(), limits=["1/second burst 1"])
        was_running = asyncio.run(cancelled_in(world, way, tasks=3, victim=victim, at=at))
        status = world.gov.status()["s"]
        assert (at, status["in_flight"], sum(status["waiting"].values())) == (at, 0, 0)
        assert (at, status["admitted"]) == (at, world.sent + 1)
        ends.append(world.gov.clock.now() // 1_000_000)
        if not was_running:
            break

    assert ends[-1] == 1_003
    assert min(ends) == 1_002
    assert max(ends) == 1_003


def test_the_place_of_a_cancelled_waiter_goes_to_the_next() -> None:
    """
    A waiter that is cancelled after it was woken, and before it ran, hands its lease on.
    """

    async def main() -> list[str]:
        gov = Governor({"s": {"max_concurrency": 1}})
        order: list[str] = []
        go = asyncio.Event()

        async def work(name: str) -> None:
            async with gov.permit("s"):
                order.append(name)
                await go.wait()

        tasks = [asyncio.create_task(work(name)) for name in ("holder", "first", "second")]
        await asyncio.sleep(0)
        assert gov.status()["s"]["waiting"]["medium"] == 2
        go.set()
        while gov.status()["s"]["waiting"]["medium"] == 2:
            await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return order

    assert asyncio.run(main()) == ["holder", "second"]
