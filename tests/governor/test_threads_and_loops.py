"""
One governor under many threads and several event loops at once, in real time, with a switch at nearly every bytecode.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from egressor import EgressorError, Governor
from tests.governor.judge import most_in_any_window

SECOND = 1_000_000_000


@pytest.fixture
def switching() -> Iterator[None]:
    """
    Let the interpreter switch threads a million times a second.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def run_all(threads: list[threading.Thread]) -> None:
    """
    Start and join *threads*.
    """
    begun, go = threading.Semaphore(0), threading.Event()

    def started(run: Callable[[], None]) -> Callable[[], None]:
        def first() -> None:
            begun.release()
            go.wait()
            run()

        return first

    for thread in threads:
        thread.run = started(thread.run)  # type: ignore[method-assign]
        thread.start()
        # One by one, and before any of them starts a thread of the library's: Python 3.11 can't install coverage's
        # trace function in two threads at once, and the second one dies of it.
        begun.acquire()
    go.set()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize(
    ("limit", "window", "most", "rate"),
    [
        ("100/second", SECOND, 100, 100),
        ("200/second burst 10", SECOND, 210, 200),
        ("25/second fixed", SECOND, 50, 25),
    ],
)
def test_sixteen_threads_and_four_loops_keep_one_limit_and_use_it(
    switching: None, limit: str, window: int, most: int, rate: int
) -> None:
    """
    No window ever holds more than the limit, at least 97 % of the allowance is used, and at rest nothing is held.
    """
    lasts = 2.5
    gov = Governor({"s": {"limits": [limit], "max_concurrency": 20, "max_wait": 30.0, "age_after": 30.0}})
    # Stamps are taken inside of the call: after its admission, before the next one's is possible to matter.
    sent_at: list[int] = []
    end = time.monotonic() + lasts

    def send() -> None:
        sent_at.append(time.monotonic_ns())

    async def asend() -> None:
        sent_at.append(time.monotonic_ns())

    def blocking() -> None:
        while time.monotonic() < end:
            try:
                gov.call("s", send, deadline=end - time.monotonic() + 0.001)
            except EgressorError:
                return

    def looping() -> None:
        async def worker() -> None:
            while time.monotonic() < end:
                try:
                    await gov.acall("s", asend, deadline=end - time.monotonic() + 0.001)
                except EgressorError:
                    return

        async def main() -> None:
            await asyncio.gather(*(worker() for _ in range(4)))

        asyncio.run(main())

    run_all(
        [*(threading.Thread(target=blocking) for _ in range(16)), *(threading.Thread(target=looping) for _ in range(4))]
    )

    status = gov.status()["s"]
    # Between admission and stamp the threads switch: allow each end of the window a hundredth of it.
    assert most_in_any_window(sent_at, window * 98 // 100) <= most
    assert (status["in_flight"], sum(status["waiting"].values()), status["limits"][-1]["left"]) == (0, 0, 20)
    assert status["admitted"] == len(sent_at)
    whole = int(lasts) if "fixed" in limit else lasts
    assert len(sent_at) >= 0.97 * rate * whole


def test_places_are_never_more_than_there_are(switching: None) -> None:
    """
    Sixteen threads and four loops share three places: never more than three are inside, and all are free at the end.
    """
    gov = Governor({"s": {"max_concurrency": 3, "max_wait": 60.0, "timeout": 60.0}})
    inside: set[int] = set()
    seen: list[int] = []

    def send(number: int) -> None:
        inside.add(number)
        seen.append(len(inside))
        inside.discard(number)

    async def asend(number: int) -> None:
        inside.add(number)
        await asyncio.sleep(0)
        seen.append(len(inside))
        inside.discard(number)

    def blocking(number: int) -> None:
        for _ in range(100):
            gov.call("s", send, number)

    def looping(number: int) -> None:
        async def worker(task: int) -> None:
            for _ in range(25):
                await gov.acall("s", asend, number * 100 + task)

        async def main() -> None:
            await asyncio.gather(*(worker(task) for task in range(4)))

        asyncio.run(main())

    run_all(
        [
            *(threading.Thread(target=blocking, args=(number,)) for number in range(16)),
            *(threading.Thread(target=looping, args=(number,)) for number in range(100, 104)),
        ]
    )

    assert len(seen) == 2_000
    assert max(seen) <= 3
    assert gov.status()["s"]["limits"][0]["left"] == 3
    assert gov.status()["s"]["in_flight"] == 0


def test_one_governor_serves_one_loop_after_the_other() -> None:
    """
    Nothing is bound to the first event loop that used a governor, nor to a decorated function's.
    """
    gov = Governor({"s": {"max_concurrency": 1}})

    @gov.throttled("s")
    async def send() -> int:
        await asyncio.sleep(0)
        return 7

    async def main() -> list[int]:
        return await asyncio.gather(*(send() for _ in range(10)))

    assert [asyncio.run(main()) for _ in range(3)] == [[7] * 10] * 3
    assert gov.status()["s"]["admitted"] == 30


def test_a_loop_that_was_closed_with_a_waiter_holds_nobody_up() -> None:
    """
    A waiter whose loop is gone is passed over, and whoever waits behind it is served.
    """
    gov = Governor({"s": {"max_concurrency": 1, "max_wait": 30.0}})
    holder = gov.permit("s").acquire()
    loop = asyncio.new_event_loop()
    lost = loop.create_task(gov.acall("s", asyncio.sleep, 0))
    for _ in range(3):
        loop.run_until_complete(asyncio.sleep(0))
    assert gov.status()["s"]["waiting"]["medium"] == 1
    served: list[str] = []
    behind = threading.Thread(target=gov.call, args=("s", lambda: served.append("behind")))
    behind.start()
    while gov.status()["s"]["waiting"]["medium"] < 2:
        pass

    lost._log_destroy_pending = False  # type: ignore[attr-defined]  # lost on purpose
    loop.close()
    holder.release()
    behind.join(10)

    assert served == ["behind"]
    assert gov.status()["s"]["in_flight"] == 0
    lost.get_coro().close()


@pytest.mark.parametrize("way", ["straight", "plan", "block"])
def test_a_call_that_outlived_its_loop_gives_its_place_back_when_it_is_collected(way: str) -> None:
    """
    Regression: a call that was ended outside of its context raised there, and kept its place.
    """
    gov = Governor({"s": {"max_concurrency": 1}})
    loop = asyncio.new_event_loop()
    forever = asyncio.Event().wait

    async def block() -> None:
        async with gov.permit("s"):
            await forever()

    lost = loop.create_task(
        block() if way == "block" else gov.acall("s", forever, deadline=None if way == "straight" else 60.0)
    )
    loop.run_until_complete(asyncio.sleep(0))
    assert gov.status()["s"]["in_flight"] == 1

    lost._log_destroy_pending = False  # type: ignore[attr-defined]  # lost on purpose
    loop.close()
    lost.get_coro().close()

    assert gov.status()["s"]["in_flight"] == 0
    assert gov.call("s", lambda: 7) == 7


def test_what_a_call_carries_in_its_context_stays_there() -> None:
    """
    A context variable is seen inside the user's function, in threads and tasks, and leaks into no other call.
    """
    gov = Governor({"s": {"max_concurrency": 5}})
    trace: contextvars.ContextVar[int] = contextvars.ContextVar("trace", default=-1)

    async def look(number: int) -> int:
        await asyncio.sleep(0)
        return trace.get() - number

    async def carry(number: int) -> int:
        trace.set(number)
        seen: int = await gov.acall("s", look, number)
        return seen + await asyncio.to_thread(gov.call, "s", trace.get) - number

    async def main() -> list[int]:
        return await asyncio.gather(*(carry(number) for number in range(50)))

    assert asyncio.run(main()) == [0] * 50
    assert trace.get() == -1


def test_an_attempt_that_takes_too_long_is_cancelled_on_either_way() -> None:
    """
    The policy's *timeout* ends an attempt on the straight path as it does in the plan, as a `TimeoutError` with a text;
    a function's own comes out as it is.
    """
    gov = Governor({"s": {"timeout": 0.02, "retry": {"attempts": 1}, "max_concurrency": 1}})

    async def hang() -> None:
        await asyncio.Event().wait()

    async def main() -> list[int]:
        counts = []
        for deadline, words in ((None, "policy's timeout"), (10.0, "policy's timeout"), (0.01, "call's deadline")):
            with pytest.raises(TimeoutError, match=words):
                await gov.acall("s", hang, deadline=deadline)
            counts.append(asyncio.current_task().cancelling())  # type: ignore[union-attr]
        return counts

    async def fail() -> None:
        raise TimeoutError

    assert asyncio.run(main()) == [0, 0, 0]
    assert gov.status()["s"]["categories"] == {"timeout": 3}
    with pytest.raises(TimeoutError, match=r"^$"):
        asyncio.run(gov.acall("s", fail, deadline=10.0))
    assert gov.status()["s"]["limits"][0]["left"] == 1


@pytest.mark.parametrize("ending", ["value", "error"])
def test_a_function_that_survives_its_time_out_leaves_the_task_uncancelled(ending: str) -> None:
    """
    Regression: a function that made a value, or another error, of its cancellation left its task counted as cancelled.
    """
    gov = Governor({"s": {"timeout": 0.02, "retry": {"attempts": 1}}})

    async def stubborn() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if ending == "error":
                raise LookupError from None
        return "value"

    async def main() -> tuple[object, int]:
        try:
            result: object = await gov.acall("s", stubborn)
        except LookupError:
            result = "error"
        return result, asyncio.current_task().cancelling()  # type: ignore[union-attr]

    assert asyncio.run(main()) == (ending, 0)


def test_a_cancellation_from_outside_stays_one_when_the_time_is_up_too() -> None:
    """
    A task that is cancelled while its attempt's time runs out is cancelled, not timed out.
    """
    gov = Governor({"s": {"timeout": 0.02, "max_concurrency": 1}})

    task: asyncio.Task[object]

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            task.cancel()

    async def main() -> bool:
        nonlocal task
        task = asyncio.create_task(gov.acall("s", hang))
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(main())
    assert gov.status()["s"]["limits"][0]["left"] == 1
