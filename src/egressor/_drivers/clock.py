"""
The real clock, and the homes of those that wait.

A `Home` keeps timers for stores and wakes waiters. Each event loop is one home, with one timer for each gate; all
threads together are another, with one daemon thread that starts at the first wait. Both round up, so nobody is woken
before the time.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from contextlib import suppress
from heapq import heapify, heappop, heappush
from itertools import count
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from time import monotonic_ns
from typing import TYPE_CHECKING, Any
from weakref import finalize, ref

from egressor.stores import Parked

if TYPE_CHECKING:
    from _thread import LockType
    from collections.abc import Awaitable

    from egressor._core.admission import Ask, Denied, Lease
    from egressor.stores import Home, Ticking
    from egressor.stores.gate import Gate

    from .crowd import Crowd

__all__ = ["Clock", "LoopHome", "ThreadsHome"]

_LOG = logging.getLogger("egressor")
_MICRO = 1_000_000
# How long it takes at least until a thread that sleeps is awake, and an event loop that it wakes.
_EARLY = 120
_GRACE = 0.25
_SLACK = 64
_Inbox = SimpleQueue[tuple[int, "ref[Ticking] | None"]]


class Clock:
    """
    Time, in microseconds.
    """

    def __init__(self) -> None:
        self.threads: Home = ThreadsHome()
        # No lock, which a fork could leave locked: what is done to it is one operation of the interpreter's each.
        self._loops: dict[asyncio.AbstractEventLoop, LoopHome] = {}

    @staticmethod
    def now() -> int:
        """
        Monotonic time: it never steps, whatever happens to the wall clock.
        """
        return monotonic_ns() // 1000

    ns = staticmethod(time.monotonic_ns)

    @staticmethod
    def wall() -> int:
        """
        Time since 1970 UTC.
        """
        return time.time_ns() // 1000

    def loop(self) -> Home:
        """
        Return the home of the event loop that runs here.
        """
        loop = asyncio.get_running_loop()
        home = self._loops.get(loop)
        if home is None:
            for old in [each for each in list(self._loops) if each.is_closed()]:
                self._loops.pop(old, None)
            home = self._loops.setdefault(loop, LoopHome(loop, self))
        return home

    def sleep(self, until: int) -> None:
        """
        Block until *until*.
        """
        while (left := until - self.now()) > 0:
            time.sleep(left / _MICRO)

    async def asleep(self, until: int) -> None:
        """
        Wait until *until*.
        """
        while (left := until - self.now()) > 0:  # noqa: ASYNC110 - the time has no event to wait for
            await asyncio.sleep(left / _MICRO)

    def wait(self, gate: Gate, ask: Ask, until: int) -> Lease | Denied:
        """
        Block in the queue of *gate*, at most until *until*.
        """
        parked = Parked(self.threads, _locked())
        try:
            reply = gate.park(ask, until, parked)
            while reply is None:
                # The alarm thread does the waking; should it be gone (a fork), whoever waits looks for itself.
                if parked.signal.acquire(timeout=max(0, until - self.now()) / _MICRO + _GRACE):
                    reply = gate.take_up(parked, _locked)
                else:
                    gate.tick()
        except BaseException:
            gate.abandon(parked)
            raise
        return reply

    async def await_turn(self, gate: Gate, ask: Ask, until: int) -> Lease | Denied:
        """
        Wait in the queue of *gate*, at most until *until*.
        """
        parked = self.stand()
        try:
            reply = gate.park(ask, until, parked)
            while reply is None:
                await self.woken(parked)
                reply = gate.take_up(parked, self.signal)
        except BaseException:
            gate.abandon(parked)
            raise
        return reply

    def rest(self, crowd: Crowd, until: int) -> None:
        """
        Block until *crowd* has news, at most until *until*.
        """
        parked = Parked(self.threads, _locked())
        if crowd.join(parked):
            try:
                parked.signal.acquire(timeout=max(0, until - self.now()) / _MICRO)
            finally:
                crowd.leave(parked)

    async def arest(self, crowd: Crowd, until: int) -> None:
        """
        Wait until *crowd* has news, at most until *until*.
        """
        parked = self.stand()
        if crowd.join(parked):
            delay = max(0, until - self.now()) / _MICRO
            timer = asyncio.get_running_loop().call_later(delay, _set, parked.signal)
            try:
                await parked.signal
            finally:
                timer.cancel()
                crowd.leave(parked)

    def stand(self) -> Parked:
        """
        Return what a task waits with, in the event loop that runs here.
        """
        return Parked(self.loop(), self.signal())

    def signal(self) -> Any:
        """
        Return a new signal for a task that waits.
        """
        return asyncio.get_running_loop().create_future()

    def woken(self, parked: Parked) -> Awaitable[object]:
        """
        Return what to await until *parked* is woken.
        """
        return parked.signal  # type: ignore[no-any-return]


class LoopHome:
    """
    An event loop, as a home.
    """

    is_prompt = False
    __slots__ = ("__weakref__", "_armed", "_clock", "_knocks", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        self._loop = loop
        self._clock = clock
        self._armed: dict[Ticking, tuple[int, asyncio.TimerHandle]] = {}
        self._knocks: dict[Ticking, _Knock] = {}

    def is_gone(self) -> bool:
        """
        Whether nobody who lived here can be woken any more.
        """
        return self._loop.is_closed()

    def arm(self, ticking: Ticking, when: int) -> None:
        """
        Look at *ticking* at *when*.
        """
        if ticking.is_exact:
            knock = self._knocks.get(ticking) or self._knocks.setdefault(ticking, _Knock(self, ticking))
            if not self._clock.now() < knock.when <= when:
                knock.when = when
            with suppress(RuntimeError):  # No thread can be started any more: the loop's own timers will have to do.
                self._clock.threads.arm(knock, when - _EARLY)
                return
        armed = self._armed.get(ticking)
        if armed is not None and armed[0] <= when:
            return
        self._run_here(self._arm, ticking, when)

    def look(self, knock: _Knock) -> None:
        """
        Do in this loop what *knock* was set for.
        """
        self._run_here(self._look, knock)

    def _look(self, knock: _Knock) -> None:
        while 0 < knock.when - self._clock.now() <= _EARLY:
            pass  # No sleep is as short as what is left.
        self._knocks.pop(knock.ticking, None)
        knock.ticking.tick()

    def wake(self, parked: Parked) -> None:
        """
        Let *parked* go on.
        """
        self._run_here(_set, parked.signal)

    def _run_here(self, function: Any, *args: object) -> None:
        # A loop may run in one thread now and in another one later.
        if asyncio.events._get_running_loop() is self._loop:  # noqa: SLF001 - it is in that module's __all__
            function(*args)
            return
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            return  # The loop was closed: nobody is left to be woken.

    def _arm(self, ticking: Ticking, when: int) -> None:
        armed = self._armed.get(ticking)
        if armed is not None:
            if armed[0] <= when:
                return
            armed[1].cancel()
        delay = max(0, when - self._clock.now()) / _MICRO
        if not self._loop.is_closed():
            self._armed[ticking] = (when, self._loop.call_later(delay, self._tick, ticking))

    def _tick(self, ticking: Ticking) -> None:
        self._armed.pop(ticking, None)
        ticking.tick()


class _Knock:
    """
    An alarm that an event loop has set with the threads' clock, because its own timers are late by up to a millisecond.

    Attributes:
        ticking: What is to be looked at, in the loop.
        when: When, in monotonic microseconds.
    """

    is_exact = True
    __slots__ = ("__weakref__", "_home", "ticking", "when")

    def __init__(self, home: LoopHome, ticking: Ticking) -> None:
        self._home = home
        self.ticking = ticking
        self.when = 0

    def tick(self) -> None:
        """
        Wake the loop.
        """
        self._home.look(self)


def _locked() -> LockType:
    lock = Lock()
    lock.acquire()
    return lock


def _set(signal: asyncio.Future[None]) -> None:
    if not signal.done():
        signal.set_result(None)


class ThreadsHome:
    """
    All threads together, as one home, with one daemon thread for the alarms.

    Alarms reach it through a queue, which says so to the thread, too, when nobody needs it any more.
    """

    is_prompt = False
    __slots__ = ("__weakref__", "_state")

    def __init__(self) -> None:
        self._state: tuple[int, _Inbox, dict[ref[Ticking], int]] = (0, SimpleQueue(), {})

    def is_gone(self) -> bool:
        """
        Whether nobody who lived here can be woken any more: never.
        """
        return False

    def arm(self, ticking: Ticking, when: int) -> None:
        """
        Look at *ticking* at *when*.
        """
        # A fork takes the memory along, but not the thread.
        pid, inbox, armed = self._state
        if pid != os.getpid():
            # Without a lock, which a fork could leave locked: two threads that come here at once start a thread each.
            inbox, armed = SimpleQueue(), {}
            Thread(target=_ring, args=(inbox, armed), name="egressor-alarms", daemon=True).start()
            finalize(self, inbox.put, (0, None)).atexit = False
            self._state = (os.getpid(), inbox, armed)
        # By weak references: who has an alarm set is not kept alive by that.
        key = ref(ticking)
        if armed.get(key, when + 1) <= when:
            return
        armed[key] = when
        inbox.put((when, key))

    def wake(self, parked: Parked) -> None:
        """
        Let *parked* go on.
        """
        parked.signal.release()


def _ring(inbox: _Inbox, armed: dict[ref[Ticking], int]) -> None:
    """
    Look at whatever has an alarm, at its time, until nobody needs that any more.
    """
    alarms: list[tuple[int, int, ref[Ticking]]] = []
    numbers = count()
    while True:
        left = None if not alarms else max(0, alarms[0][0] - Clock.now()) / _MICRO
        try:
            when, key = inbox.get(timeout=left)
        except Empty:
            when, _, key = heappop(alarms)
            if armed.get(key) == when:
                del armed[key]
            _tick(key)
            continue
        if key is None:
            return
        heappush(alarms, (when, next(numbers), key))
        if len(alarms) > 2 * len(armed) + _SLACK:
            alarms = [(when, next(numbers), key) for key, when in list(armed.items()) if key() is not None]
            heapify(alarms)


def _tick(key: ref[Ticking]) -> None:
    ticking = key()
    if ticking is not None:
        try:
            ticking.tick()
        except Exception as error:  # noqa: BLE001 - the alarms of all others go on
            _LOG.error("an alarm failed: %s: %s", type(error).__name__, error)
