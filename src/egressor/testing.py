"""
For tests, ours and our users': a clock that obeys, plans played by hand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from egressor._drivers.clock import Clock
from egressor._drivers.moments import AsyncSignal, Moments, Signal
from egressor.stores import Parked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from egressor._core.admission import Ask, Denied, Lease
    from egressor._core.plan import Plan
    from egressor._core.steps import Done, Step
    from egressor._drivers.crowd import Crowd
    from egressor.stores import Home, Ticking
    from egressor.stores.gate import Gate

__all__ = ["FakeClock", "play"]

_MICRO = 1_000_000


class FakeClock(Moments, Clock):
    """
    A clock that moves only when it is told to, or when everybody waits for it.

    Hand it to `Governor`; then neither limits nor backoff nor breakers take real time.

    With *jumps*, it moves on to the next moment at which something is due once all who wait for it do nothing else:
    however many tasks, event loops and threads there are, whoever is woken goes on at the moment that it waited for.
    A thread takes part from its first wait on; one that does something else for a tenth of a second of real time is
    not waited for until it waits again.

    Args:
        jumps: Whether the clock moves on by itself when everybody waits for it. Without, `advance` does it.
        start: Monotonic seconds at the beginning.
        wall: Seconds since 1970 at the beginning.
    """

    def __init__(self, *, jumps: bool = True, start: float = 1_000.0, wall: float = 1_800_000_000.0) -> None:
        super().__init__(now=round(start * _MICRO), wall=round(wall * _MICRO), jumps=jumps)
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

    def sleep(self, until: int) -> None:
        """
        Block until *until*.
        """
        signal = Signal(self)
        if until > self._now:
            self.call_at(until, signal)
            signal.wait()

    async def asleep(self, until: int) -> None:
        """
        Wait until *until*.
        """
        signal = AsyncSignal(self)
        if until > self._now:
            self.call_at(until, signal)
            await signal.wait()

    def wait(self, gate: Gate, ask: Ask, until: int) -> Lease | Denied:
        """
        Wait in the queue of *gate*, blocking.
        """
        signal = Signal(self)
        parked = Parked(self._home, signal)
        reply = gate.park(ask, until, parked)
        if reply is not None:
            return reply
        try:
            signal.wait()
        except BaseException:
            gate.abandon(parked)
            raise
        return _taken_up(gate, parked)

    def rest(self, crowd: Crowd, until: int) -> None:
        """
        Wait until *crowd* has news, at most until *until*, blocking.
        """
        signal = Signal(self)
        parked = Parked(self._home, signal)
        if crowd.join(parked):
            self.call_at(until, signal)
            try:
                signal.wait()
            finally:
                crowd.leave(parked)

    async def arest(self, crowd: Crowd, until: int) -> None:
        """
        Wait until *crowd* has news, at most until *until*.
        """
        parked = self.stand()
        if crowd.join(parked):
            self.call_at(until, parked.signal)
            try:
                await self.woken(parked)
            finally:
                crowd.leave(parked)

    def stand(self) -> Parked:
        """
        Return what a task waits with.
        """
        return Parked(self._home, self.signal())

    def signal(self) -> Any:
        """
        Return a new signal for a task that waits.
        """
        return AsyncSignal(self)

    def woken(self, parked: Parked) -> Awaitable[object]:
        """
        Return what to await until *parked* is woken.
        """
        signal: AsyncSignal = parked.signal
        return signal.wait()


def _taken_up(gate: Gate, parked: Parked) -> Lease | Denied:
    reply = gate.take_up(parked, object)
    assert reply is not None  # noqa: S101 - here nobody comes too late
    return reply


class _FakeHome:
    """
    Everybody who waits for a fake clock.
    """

    is_prompt = True

    def __init__(self, moments: Moments) -> None:
        self._moments = moments
        self._armed: dict[Ticking, int] = {}

    def is_gone(self) -> bool:
        return False

    def arm(self, ticking: Ticking, when: int) -> None:
        with self._moments.changed:
            if self._armed.get(ticking, when + 1) <= when:
                return
            self._armed[ticking] = when
            self._moments.call_at(when, lambda: self._tick(ticking, when))

    def wake(self, parked: Parked) -> None:
        parked.signal()

    def _tick(self, ticking: Ticking, when: int) -> None:
        with self._moments.changed:
            if self._armed.get(ticking) == when:
                del self._armed[ticking]
        ticking.tick()


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
