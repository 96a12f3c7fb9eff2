"""
For tests, ours and our users': a clock that obeys, plans played by hand.
"""

from __future__ import annotations

import asyncio
from heapq import heappop, heappush
from itertools import count
from threading import Condition, Event
from typing import TYPE_CHECKING, Any

from egressor._drivers.clock import Clock
from egressor.stores import Parked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from egressor._core.admission import Ask, Denied, Lease
    from egressor._core.plan import Plan
    from egressor._core.steps import Done, Step
    from egressor.stores import Home, Ticking
    from egressor.stores.gate import Gate

__all__ = ["FakeClock", "play"]

_MICRO = 1_000_000
_PASSES = 20


class FakeClock(Clock):
    """
    A clock that moves only when it is told to, or when everybody waits for it.

    Hand it to `Governor`; then neither limits nor backoff nor breakers take real time.

    Args:
        jumps: Whether a blocking wait moves the clock to its end at once, and an awaiting one does as soon as the
            event loop has nothing else to do. Without, `advance` does it.
        start: Monotonic seconds at the beginning.
        wall: Seconds since 1970 at the beginning.
    """

    def __init__(self, *, jumps: bool = True, start: float = 1_000.0, wall: float = 1_800_000_000.0) -> None:
        self._now = round(start * _MICRO)
        self._wall = round(wall * _MICRO)
        self._jumps = jumps
        self._timers: list[tuple[int, int, Callable[[], object]]] = []
        self._seq = count()
        self._changed = Condition()
        self._home = _FakeHome(self)
        self.threads = self._home

    def now(self) -> int:  # type: ignore[override]
        """
        Return the fake monotonic time in microseconds.
        """
        return self._now

    def ns(self) -> int:
        """
        Return the fake monotonic time in nanoseconds.
        """
        return self._now * 1000

    def wall(self) -> int:  # type: ignore[override]
        """
        Return the fake wall time in microseconds.
        """
        return self._wall

    def loop(self) -> Home:
        """
        Return the one home of all that wait for this clock.
        """
        return self._home

    def advance(self, seconds: float) -> None:
        """
        Move on by *seconds*, and do at each moment on the way what is due then.
        """
        self._run_to(self._now + round(seconds * _MICRO))

    def step_wall(self, seconds: float) -> None:
        """
        Move the wall clock alone, as an operator or NTP does.
        """
        self._wall += round(seconds * _MICRO)

    def call_at(self, when: int, function: Callable[[], object]) -> None:
        """
        Call *function* when the time *when* has come.
        """
        with self._changed:
            heappush(self._timers, (when, next(self._seq), function))
            self._changed.notify_all()

    def sleep(self, until: int) -> None:
        """
        Block until *until*.
        """
        if self._jumps:
            self._run_to(max(until, self._now))
            return
        woken = Event()
        self.call_at(until, woken.set)
        woken.wait()

    async def asleep(self, until: int) -> None:
        """
        Wait until *until*.
        """
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()
        self.call_at(until, lambda: loop.call_soon_threadsafe(_wake, woken))
        await self._await(woken)

    def wait(self, gate: Gate, ask: Ask, until: int) -> Lease | Denied:
        """
        Wait in the queue of *gate*, blocking.
        """
        woken = Event()
        parked = Parked(self._home, woken.set)
        reply = gate.park(ask, until, parked)
        if reply is not None:
            return reply
        try:
            while not woken.is_set():
                if not (self._jumps and self._jump()):
                    woken.wait(0.01 if self._jumps else None)
        except BaseException:
            gate.abandon(parked)
            raise
        return gate.take_up(parked)

    async def await_turn(self, gate: Gate, ask: Ask, until: int) -> Lease | Denied:
        """
        Wait in the queue of *gate*, awaiting.
        """
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()
        parked = Parked(self._home, lambda: loop.call_soon_threadsafe(_wake, woken))
        reply = gate.park(ask, until, parked)
        if reply is not None:
            return reply
        try:
            await self._await(woken)
        except BaseException:
            gate.abandon(parked)
            raise
        return gate.take_up(parked)

    async def _await(self, woken: asyncio.Future[None]) -> None:
        passes = 0
        while self._jumps and not woken.done():
            # Nobody tells when a loop has nothing else to do; some idle passes are as good.
            await asyncio.sleep(0)
            passes += 1
            if passes % _PASSES == 0 and not woken.done():
                self._jump()
        await woken

    def _jump(self) -> bool:
        with self._changed:
            when = self._timers[0][0] if self._timers else None
        if when is None:
            return False
        self._run_to(max(when, self._now))
        return True

    def _run_to(self, until: int) -> None:
        while True:
            with self._changed:
                due = heappop(self._timers) if self._timers and self._timers[0][0] <= until else None
                moved = max(0, (until if due is None else due[0]) - self._now)
                self._now += moved
                self._wall += moved
            if due is None:
                return
            due[2]()


class _FakeHome:
    """
    Everybody who waits for a fake clock.
    """

    is_prompt = True

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._armed: dict[Ticking, int] = {}

    def is_gone(self) -> bool:
        return False

    def arm(self, ticking: Ticking, when: int) -> None:
        if self._armed.get(ticking, when + 1) <= when:
            return
        self._armed[ticking] = when

        def tick() -> None:
            if self._armed.get(ticking) == when:
                del self._armed[ticking]
            ticking.tick()

        self._clock.call_at(when, tick)

    def nudge(self, ticking: Ticking) -> None:
        self.arm(ticking, 0)

    def wake(self, parked: Parked) -> None:
        parked.signal()  # type: ignore[operator]


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


def play(plan: Plan, replies: Iterable[Any], *, now: int = 0, step: int = 0) -> tuple[list[Step], Done | None]:
    """
    Perform *plan* with *replies*, in order, and return the steps it yielded and what it came to.

    Args:
        plan: The plan.
        replies: What each step comes to; an exception is thrown in at its step.
        now: The time of the first reply, in microseconds.
        step: Microseconds from each reply to the next.

    Returns:
        The steps, and the plan's result; None if the replies ran out before its end.
    """
    steps = [next(plan)]
    for reply in replies:
        try:
            steps.append(plan.throw(reply) if isinstance(reply, BaseException) else plan.send((reply, now)))
        except StopIteration as stop:
            return steps, stop.value
        now += step
    return steps, None
