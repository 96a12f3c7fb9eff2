"""
The clocks, real and fake, and what a driver does with a step that is interrupted or that it can't perform.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from egressor import Governor
from egressor._core.admission import Denied, Why
from egressor._core.model import Outcome
from egressor._core.steps import MISS, Charge, Done, Hold, Keep, Recall, Sleep
from egressor._drivers import aio, sync
from egressor._drivers.clock import Clock
from egressor._drivers.job import Job
from egressor.governor.nesting import Nest
from egressor.testing import FakeClock, play

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

MICRO = 1_000_000


@pytest.fixture
def interrupt() -> Iterator[Any]:
    """
    Return a function that interrupts this thread, as Ctrl-C does, after so many seconds.
    """

    def interrupted(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupted)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_a_sleep_never_ends_early() -> None:
    """
    Blocking and awaiting, the real clock sleeps until the time, and not at all where that is over.
    """
    clock = Clock()
    until = clock.now() + 20_000

    clock.sleep(until)  # real time: that of the clock itself
    assert clock.now() >= until
    until = clock.now() + 20_000
    asyncio.run(clock.asleep(until))
    assert clock.now() >= until
    clock.sleep(0)  # real time: none
    asyncio.run(clock.asleep(0))


class Timed:
    """
    Something that is to be looked at, and remembers when and where it was.
    """

    def __init__(self, clock: Clock, over: asyncio.Event, *, is_exact: bool) -> None:
        self.is_exact = is_exact
        self.looks: list[tuple[int, int]] = []
        self._clock = clock
        self._over = over

    def tick(self) -> None:
        """
        Remember this moment, and this thread.
        """
        self.looks.append((self._clock.now(), threading.get_ident()))
        self._over.set()


@pytest.mark.parametrize("is_exact", [False, True])
@pytest.mark.parametrize("after", [-5, 0, 50, 3_000])
def test_a_loop_looks_in_its_own_thread_and_never_early(after: int, is_exact: bool) -> None:
    """
    Also an alarm that the threads' clock has kept rings in the loop, once, and not before its time.
    """
    clock = Clock()

    async def main() -> tuple[int, list[tuple[int, int]]]:
        over = asyncio.Event()
        timed = Timed(clock, over, is_exact=is_exact)
        when = clock.now() + after
        clock.loop().arm(timed, when)
        await over.wait()
        return when, timed.looks

    when, looks = asyncio.run(main())

    assert [thread for _, thread in looks] == [threading.get_ident()]
    assert looks[0][0] >= when


def test_a_limit_without_a_burst_is_kept_to_the_microsecond() -> None:
    """
    Whoever waits in a loop for a limit of one at a time goes when it is due, and not before.
    """
    gov = Governor({"s": {"limits": ["500/second burst 1"], "max_wait": 60.0}})
    times: list[int] = []

    async def one() -> None:
        async with gov.permit("s"):
            times.append(gov.clock.now())

    async def main() -> None:
        await asyncio.gather(*(one() for _ in range(20)))

    began = gov.clock.now()
    asyncio.run(main())

    assert gov.gate("s").is_exact
    assert [at for turn, at in enumerate(times) if at < began + turn * 2_000] == []


def test_a_loop_may_run_in_another_thread_later() -> None:
    """
    Regression: a loop that had waited in one thread was not woken by it any more once another thread ran it.
    """
    gov = Governor({"s": {"max_concurrency": 1, "max_wait": 60.0}})
    loop = asyncio.new_event_loop()

    async def use() -> int:
        async with gov.permit("s"):
            return 7

    async def wait() -> int:
        task = asyncio.create_task(use())
        await asyncio.sleep(0)
        holder.release()
        return await task

    holder = gov.permit("s").acquire()
    assert loop.run_until_complete(wait()) == 7
    holder = gov.permit("s").acquire()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    waiting = asyncio.run_coroutine_threadsafe(use(), loop)
    while not gov.status()["s"]["waiting"]["medium"]:
        pass
    holder.release()

    assert waiting.result(10) == 7
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_without_a_thread_for_alarms_a_loop_uses_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Regression: where no thread could be started, who waited in a loop for a fast limit waited for ever.
    """

    def fails(thread: threading.Thread) -> None:
        raise RuntimeError

    monkeypatch.setattr(threading.Thread, "start", fails)
    gov = Governor({"s": {"limits": ["200/second burst 1"], "max_wait": 60.0}})

    async def main() -> list[int]:
        return list(await asyncio.gather(*(gov.acall("s", asyncio.sleep, 0, number) for number in range(4))))  # type: ignore[arg-type] # of its two forms the checker takes the first

    assert asyncio.run(main()) == [0, 1, 2, 3]


def test_a_backoff_takes_real_time_without_a_fake_clock() -> None:
    """
    With the real clock, a retry comes when its backoff is over, by either driver.
    """
    gov = Governor({"s": {"retry": {"attempts": 2, "base": 0.02, "jitter": False}}})
    times: list[int] = []

    def flaky() -> None:
        times.append(gov.clock.now())
        if len(times) % 2:
            raise ConnectionRefusedError

    async def aflaky() -> None:
        flaky()

    gov.call("s", flaky)
    asyncio.run(gov.acall("s", aflaky))

    assert times[1] - times[0] >= 20_000
    assert times[3] - times[2] >= 20_000


@pytest.mark.parametrize("clock", [Clock, lambda: FakeClock(jumps=False)])
def test_a_thread_that_waits_can_be_interrupted(interrupt: Any, clock: Any) -> None:
    """
    Ctrl-C ends a wait in the queue at once, and the place in the queue is given up.
    """
    gov = Governor({"s": {"max_concurrency": 1}}, clock=clock())
    holder = gov.permit("s").acquire()

    interrupt(0.05)
    with pytest.raises(KeyboardInterrupt):
        gov.call("s", str)

    assert sum(gov.status()["s"]["waiting"].values()) == 0
    holder.release()
    assert gov.call("s", lambda: 7) == 7


def test_a_backoff_can_be_interrupted(interrupt: Any) -> None:
    """
    Ctrl-C in a backoff ends the call, and nothing is held meanwhile.
    """
    gov = Governor({"s": {"max_concurrency": 1, "retry": {"attempts": 2, "base": 30.0, "jitter": False}}})

    def fail() -> None:
        raise ConnectionRefusedError

    interrupt(0.05)
    with pytest.raises(KeyboardInterrupt):
        gov.call("s", fail)

    assert gov.status()["s"]["in_flight"] == 0
    assert gov.call("s", lambda: 7) == 7


def test_whoever_waits_looks_for_itself_if_no_alarm_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A thread whose alarm is lost leaves the queue a little after its time, not never.
    """
    gov = Governor({"s": {"max_concurrency": 1, "max_wait": 0.05}})
    monkeypatch.setattr(type(gov.clock.threads), "arm", lambda self, ticking, when: None)
    holder = gov.permit("s").acquire()

    with pytest.raises(Exception, match="its turn did not come"):
        gov.call("s", str)

    holder.release()


@pytest.mark.parametrize("held_for", [0.02, 0.3])
def test_a_retry_after_reaches_its_end_by_either_driver(held_for: float) -> None:
    """
    With the real clock, calls held back by a Retry-After go when it is over, in a thread and in a loop.
    """
    gov = Governor({"s": {"retry": {"attempts": 1}}}, dice=lambda: 0.0)

    class Busy:
        status_code = 429

        def __init__(self) -> None:
            self.headers = {"Retry-After-Ms": str(held_for * 1_000)}

    gov.call("s", Busy)
    began = gov.clock.now()
    asyncio.run(gov.acall("s", asyncio.sleep, 0))
    assert gov.call("s", lambda: 7) == 7
    assert gov.clock.now() - began <= 5 * MICRO


# --- the fake clock --------------------------------------------------------------------------------------------------


def test_a_fake_clock_moves_when_it_is_told_to() -> None:
    """
    Without jumps, a thread and a task wait for `advance`; the wall clock moves along, and alone by `step_wall`.
    """
    clock = FakeClock(jumps=False, start=5.0, wall=100.0)
    woken: list[str] = []

    def sleeper() -> None:
        clock.sleep(6 * MICRO)  # real time: none, it is the fake clock's
        woken.append("thread")

    thread = threading.Thread(target=sleeper)
    thread.start()

    async def main() -> None:
        task = asyncio.create_task(clock.asleep(7 * MICRO))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not task.done()
        clock.advance(2.0)
        await task
        woken.append("task")

    while not clock._timers:
        pass
    asyncio.run(main())
    thread.join(10)
    clock.step_wall(-50.0)

    assert sorted(woken) == ["task", "thread"]
    assert (clock.now(), clock.wall()) == (7 * MICRO, 52 * MICRO)


def test_waiting_for_a_fake_clock_ends_with_its_advance() -> None:
    """
    A thread that waits in a queue for a clock without jumps is served when the clock is moved on.
    """
    clock = FakeClock(jumps=False)
    gov = Governor({"s": {"limits": ["1/second burst 1"]}}, clock=clock)
    gov.call("s", str)
    served: list[int] = []
    thread = threading.Thread(target=gov.call, args=("s", lambda: served.append(clock.now())))
    thread.start()
    while not gov.status()["s"]["waiting"]["medium"]:
        pass

    clock.advance(0.5)
    assert served == []
    clock.advance(0.5)
    thread.join(10)

    assert served == [1_001 * MICRO]


def test_a_plan_is_played_to_its_end_or_to_the_last_reply() -> None:
    """
    `play` returns the steps and the result; None where the replies ran out; an exception is thrown in.
    """

    def story() -> Generator[Any, Any, Done]:
        try:
            _, now = yield Sleep(1)
        except KeyError:
            now = 0
        yield Sleep(now)
        return Done(attempts=3)

    assert play(story(), [None, None], now=5, step=2) == ([Sleep(1), Sleep(5)], Done(attempts=3))
    assert play(story(), [KeyError()]) == ([Sleep(1), Sleep(0)], None)
    assert play(story(), []) == ([Sleep(1)], None)


# --- steps that later policies use -----------------------------------------------------------------------------------


class Shelf:
    """
    A cache and a ledger of one value each, that write down what they are asked.
    """

    def __init__(self, *, found: object = MISS, denied: Denied | None = None) -> None:
        self.found = found
        self.denied = denied
        self.asked: list[object] = []

    def recall(self, step: Recall) -> object:
        """
        Look the step's key up.
        """
        self.asked.append(step.key)
        return self.found

    async def arecall(self, step: Recall) -> object:
        """
        Look the step's key up, awaiting.
        """
        return self.recall(step)

    def keep(self, done: Done | None) -> None:
        """
        Keep nothing.
        """
        self.asked.append(done)

    def drop(self) -> None:
        """
        Do nothing.
        """

    def hold(self, micro_usd: int) -> object:
        """
        Reserve *micro_usd*.
        """
        self.asked.append(micro_usd)
        return self.denied or "hold"

    async def ahold(self, micro_usd: int) -> object:
        """
        Reserve *micro_usd*.
        """
        return self.hold(micro_usd)

    def charge(self, hold: object, done: Done | None) -> None:
        """
        Settle *hold*.
        """
        self.asked.append((hold, None if done is None else done.attempts))


def story_of_money() -> Generator[Any, Any, Done]:
    """
    Ask the cache, hold money, and charge it.
    """
    value, _ = yield Recall("key")
    hold, _ = yield Hold(5)
    charged, _ = yield Charge(hold, None)
    yield Keep("key", None)
    return Done(outcome=Outcome((value, hold, charged)))


def perform(story: Any, driver: str, shelf: Shelf | None) -> Done:
    """
    Perform *story* by *driver*.
    """
    gov = Governor({"s": {}}, clock=FakeClock())
    gate = gov.gate("s")
    job = Job(clock=gov.clock, gate=gate, wish=None, timeout=1, nest=Nest.of(gate), cache=shelf, money=shelf)  # type: ignore[arg-type]
    done = sync.Run(story, job).start() if driver == "sync" else asyncio.run(aio.Run(story, job).start())
    assert isinstance(done, Done)
    return done


@pytest.mark.parametrize("driver", ["sync", "async"])
def test_both_drivers_ask_the_cache_and_the_ledger(driver: str) -> None:
    """
    `Recall`, `Hold`, `Charge` and `Keep` go to the cache and the ledger of the job, and their replies come back.
    """
    shelf = Shelf(found="kept")

    done = perform(story_of_money(), driver, shelf)

    assert done.outcome is not None
    assert done.outcome.value == ("kept", "hold", None)
    assert shelf.asked == ["key", 5, ("hold", None), None]


@pytest.mark.parametrize("driver", ["sync", "async"])
def test_without_a_cache_it_misses_and_without_a_ledger_money_is_refused(driver: str) -> None:
    """
    A job that has neither finds nothing, and holds no money.
    """
    done = perform(story_of_money(), driver, None)

    assert done.outcome is not None
    assert isinstance(done.outcome.value, tuple)
    value, hold, charged = done.outcome.value
    assert (value, charged) == (MISS, None)
    assert isinstance(hold, Denied)
    assert hold.why is Why.BUDGET


@pytest.mark.parametrize("driver", ["sync", "async"])
def test_a_step_that_nobody_performs_ends_the_plan(driver: str) -> None:
    """
    What a driver does not know is thrown into the plan as an error of ours, so that the plan can put things back.
    """

    def story() -> Generator[Any, Any, Done]:
        try:
            yield "dance"
        except AssertionError as error:
            return Done(outcome=Outcome(str(error)))
        return Done()

    done = perform(story(), driver, None)

    assert done.outcome is not None
    assert done.outcome.value == "nobody performs 'dance' here"
