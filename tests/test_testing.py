"""
The fake clock with a crowd: whoever is woken goes on at the moment that it waited for, however many there are.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from egressor import Governor, Priority
from egressor.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MICRO = 1_000_000
GAP = MICRO // 10
CROWD = 300


@pytest.fixture
def restless() -> Iterator[None]:
    """
    Let threads take turns at nearly every bytecode.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def governed(clock: FakeClock) -> Governor:
    """
    Return a governor of one service that lets a call through each tenth of a second.
    """
    policy = {"limits": ["10/second burst 1"], "max_wait": 3_600, "age_after": 3_600, "queue_size": 1_000}
    return Governor({"s": policy}, clock=clock)


def in_threads(clock: FakeClock, *targets: Callable[[], object]) -> None:
    """
    Run each of *targets* in a thread of its own, all beginning together, to its end.
    """
    gate = threading.Barrier(len(targets))
    begun = threading.Semaphore(0)

    def run(target: Callable[[], object]) -> None:
        begun.release()
        # From its first wait on, a thread is known to the clock.
        clock.sleep(clock.now())  # real time: none, the clock is a fake
        gate.wait()
        target()

    threads = [threading.Thread(target=run, args=(target,)) for target in targets]
    for thread in threads:
        thread.start()
        # One by one: Python 3.11 can't install coverage's trace function in two threads at once.
        begun.acquire()
    for thread in threads:
        thread.join()


async def crowd(levels: list[Priority], passes: list[int]) -> list[tuple[int, int, int]]:
    """
    Let a task for each of *levels* wait at once; return what went: microseconds since the first, level, number.

    Each holds its permit for as many passes of the event loop as *passes* says, in turn.
    """
    clock = FakeClock()
    gov = governed(clock)
    went: list[tuple[int, int, int]] = []
    start = clock.now()

    async def one(number: int, level: Priority) -> None:
        async with gov.permit("s", priority=level):
            for _ in range(passes[number % len(passes)]):
                await asyncio.sleep(0)
            went.append((clock.now() - start, level, number))

    await asyncio.gather(*(one(number, level) for number, level in enumerate(levels)))
    return went


@settings(max_examples=25)
@given(st.lists(st.sampled_from(list(Priority)), min_size=1, max_size=CROWD), st.lists(st.integers(0, 60), min_size=1))
@example([Priority(number * 7 % 4) for number in range(CROWD)], [0, 3])
def test_a_crowd_of_tasks_goes_in_order_and_in_time(levels: list[Priority], passes: list[int]) -> None:
    """
    Hundreds of tasks at one limit: each goes exactly at its moment, by priority and then by arrival.
    """
    went = asyncio.run(crowd(levels, passes))

    # The first finds the limit unused; the others wait.
    order = [0, *sorted(range(1, len(levels)), key=lambda number: (-levels[number], number))]
    assert went == [(place * GAP, levels[number], number) for place, number in enumerate(order)]


def test_a_crowd_that_sleeps_wakes_in_time() -> None:
    """
    Tasks that sleep for different times each wake at theirs, again and again.
    """
    clock = FakeClock()
    late: list[int] = []

    async def one(number: int) -> None:
        for _ in range(5):
            until = clock.now() + (1 + number % 17) * 1_000
            await clock.asleep(until)
            late.append(clock.now() - until)

    async def main() -> None:
        await asyncio.gather(*(one(number) for number in range(200)))

    asyncio.run(main())

    assert late == [0] * 1_000


@pytest.mark.usefixtures("restless")
def test_threads_go_in_time() -> None:
    """
    Several threads at one limit: a call each tenth of a second, and none of them finds another time when it goes.
    """
    clock = FakeClock()
    gov = governed(clock)
    start = clock.now()
    went: list[int] = []

    def work() -> None:
        for _ in range(25):
            gov.call("s", lambda: went.append(clock.now() - start))

    in_threads(clock, *[work] * 6)

    assert went == [place * GAP for place in range(150)]


@pytest.mark.usefixtures("restless")
def test_threads_that_sleep_wake_in_time() -> None:
    """
    The sleep of one thread does not carry another one past its own.
    """
    clock = FakeClock()
    late: list[int] = []

    def work(step: int) -> None:
        for _ in range(300):
            until = clock.now() + step
            clock.sleep(until)  # real time: none, the clock is a fake
            late.append(clock.now() - until)

    in_threads(clock, *[lambda step=step: work(step) for step in (700, 1_100, 1_300, 1_700)])

    assert late == [0] * 1_200


@pytest.mark.usefixtures("restless")
def test_event_loops_and_threads_go_in_time() -> None:
    """
    Tasks of two event loops and a thread share one limit, and each goes at its moment.
    """
    clock = FakeClock()
    gov = governed(clock)
    start = clock.now()
    went: list[int] = []

    def note() -> None:
        went.append(clock.now() - start)

    async def anote() -> None:
        note()

    def loop() -> None:
        async def main() -> None:
            await asyncio.gather(*(gov.acall("s", anote) for _ in range(40)))

        asyncio.run(main())

    def work() -> None:
        for _ in range(40):
            gov.call("s", note)

    in_threads(clock, loop, work, loop)

    assert went == [place * GAP for place in range(120)]


def test_a_thread_that_does_something_else_holds_up_nobody() -> None:
    """
    A thread that took part and now waits for the end of another one is given up, and the time goes on.
    """
    clock = FakeClock()
    gov = governed(clock)
    start = clock.now()
    clock.sleep(start + 1)  # real time: none, the clock is a fake
    went: list[int] = []

    in_threads(clock, lambda: [gov.call("s", lambda: went.append(clock.now() - start)) for _ in range(3)])

    assert went == [1, 1 + GAP, 1 + 2 * GAP]


def test_a_task_that_polls_does_not_stop_the_time() -> None:
    """
    A task that looks again in each pass of its event loop sees the time move on.
    """
    clock = FakeClock()

    async def main() -> int:
        sleeping = asyncio.create_task(clock.asleep(clock.now() + MICRO))
        passes = 0
        while not sleeping.done():
            await asyncio.sleep(0)
            passes += 1
        return passes

    assert asyncio.run(main()) > 0
    assert clock.now() == 1_001 * MICRO


def test_a_blocking_call_inside_of_a_task_moves_the_time() -> None:
    """
    A thread that blocks in its event loop does not wait for the tasks that it keeps from running.
    """
    clock = FakeClock()
    start = clock.now()

    async def main() -> list[int]:
        sleeping = asyncio.create_task(clock.asleep(start + 1_000))
        await asyncio.sleep(0)
        clock.sleep(start + 5_000)  # real time: none, the clock is a fake
        blocked = clock.now()
        await sleeping
        return [blocked - start, clock.now() - start]

    assert asyncio.run(main()) == [5_000, 5_000]


def test_a_sleep_whose_event_loop_is_gone_wakes_nobody() -> None:
    """
    The time of a sleep that was cancelled, in an event loop that was closed, passes like any other.
    """
    clock = FakeClock(jumps=False)
    start = clock.now()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(clock.asleep(start + MICRO), 0)

    asyncio.run(main())
    clock.advance(2.0)

    assert clock.now() == start + 2 * MICRO


def test_a_sleep_that_is_over_waits_for_nobody() -> None:
    """
    A sleep until now or before ends at once, also where nobody moves the clock.
    """
    clock = FakeClock(jumps=False)

    clock.sleep(clock.now())  # real time: none, the clock is a fake
    asyncio.run(clock.asleep(clock.now() - 1))

    assert clock.now() == 1_000 * MICRO
