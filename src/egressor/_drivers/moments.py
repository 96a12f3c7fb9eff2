"""
The time of a fake clock: what is due when, who waits for it, and when it may jump.

It may jump only when everybody rests: else somebody who was woken for one moment would find the next one. Whoever
waits is known, and so is whoever was woken and has not gone on yet. A thread that blocks here rests until it is woken.
An event loop has no such sign; a callback of ours, once in each of its passes, sees whether anything else is about to
run. Some passes without it are rest, as an answer may still be on its way from a socket; so are many passes in which
nobody was woken, or a test that polls with ``sleep(0)`` would hold up the time.

What a thread does between two waits can't be seen: it counts as busy until it waits again or ends, or until nothing
has happened for a tenth of a second of real time. Then it is taken to wait for something else, such as the end of
other threads, and is not waited for until it waits here again.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager, suppress
from heapq import heappop, heappush
from itertools import count
from threading import Condition
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["AsyncSignal", "Moments", "Signal"]

_IDLE = 20
_QUIET = 100
_PATIENCE = 0.1
_PAUSE = 0.001


class Moments:
    """
    A time that moves when it is told to, or by itself when everybody waits for it.

    Args:
        now: Monotonic microseconds at the beginning.
        wall: Microseconds since 1970 at the beginning.
        jumps: Whether it moves by itself.

    Attributes:
        jumps: Whether it moves by itself.
        changed: Guards everything here. It may be taken with a gate's lock held, never the other way round.
    """

    def __init__(self, *, now: int, wall: int, jumps: bool) -> None:
        self._now = now
        self._wall = wall
        self.jumps = jumps
        self.changed = Condition()
        self._changed_at = time.monotonic()
        self._timers: list[tuple[int, int, Callable[[], object]]] = []
        self._seq = count()
        self._is_jumping = False
        self._parties: dict[threading.Thread, _Party] = {}
        self._watches: dict[asyncio.AbstractEventLoop, _Watch] = {}

    def call_at(self, when: int, function: Callable[[], object]) -> None:
        """
        Call *function* when the time *when* has come.
        """
        with self.changing():
            heappush(self._timers, (when, next(self._seq), function))

    def may_jump(self) -> bool:
        """
        Say whether everybody rests, and something will be due.
        """
        if not self.jumps or self._is_jumping or not self._timers:
            return False
        return not any(party.is_busy for party in self._parties.values())

    def jump(self) -> bool:
        """
        Move to the next moment and do what is due then, if everybody rests; say whether that was done.
        """
        with self.changed:
            if not self.may_jump():
                return False
            self._is_jumping = True
            until = max(self._timers[0][0], self._now)
        try:
            self._run_to(until)
        finally:
            with self.changing():
                self._is_jumping = False
        return True

    def give_up(self) -> None:
        """
        Wait no longer for those who do something else, once nothing has happened for a while.
        """
        with self.changed:
            if self._changed_at + _PATIENCE <= time.monotonic():
                for party in self._parties.values():
                    party.rests = True

    @contextmanager
    def changing(self) -> Iterator[None]:
        """
        Guard a change that others may be waiting for.
        """
        with self.changed:
            yield
            self._changed_at = time.monotonic()
            self.changed.notify_all()

    def party(self) -> _Party:
        """
        Return this thread, as one that takes part.
        """
        thread = threading.current_thread()
        with self.changed:
            party = self._parties.get(thread)
            if party is None:
                self._parties = {each: old for each, old in self._parties.items() if each.is_alive()}
                party = self._parties[thread] = _Party(thread)
            return party

    def watch(self) -> _Watch:
        """
        Return the watch over the event loop that runs here.
        """
        loop, party = asyncio.get_running_loop(), self.party()
        with self.changed:
            watch = self._watches.get(loop)
            if watch is None:
                self._watches = {each: old for each, old in self._watches.items() if not each.is_closed()}
                watch = self._watches[loop] = _Watch(self, loop, party)
            watch.party = party
            return watch

    def _run_to(self, until: int) -> None:
        while True:
            with self.changed:
                due = heappop(self._timers) if self._timers and self._timers[0][0] <= until else None
                moved = max(0, (until if due is None else due[0]) - self._now)
                self._now += moved
                self._wall += moved
            if due is None:
                return
            due[2]()


class _Party:
    """
    A thread that takes part: it blocks, or runs an event loop whose tasks wait.

    Attributes:
        rests: Whether it has nothing to do but to wait.
        blocks: Whether it stands still in a wait, so that its event loop can't run either.
    """

    def __init__(self, thread: threading.Thread) -> None:
        self._thread = thread
        self.rests = False
        self.blocks = False

    @property
    def is_busy(self) -> bool:
        return not self.rests and self._thread.is_alive()

    def stand(self, *, still: bool) -> None:
        self.rests = self.blocks = still


class Signal:
    """
    Ends the wait of this thread when it is called, from any thread.
    """

    def __init__(self, moments: Moments) -> None:
        self._moments = moments
        self._party = moments.party()
        self._is_set = False

    def __call__(self) -> None:
        with self._moments.changing():
            self._is_set = True
            self._party.stand(still=False)

    def wait(self) -> None:
        """
        Block until it is called.
        """
        moments = self._moments
        with moments.changing():
            self._party.stand(still=not self._is_set)
        try:
            while not self._is_set:
                if not moments.jump():
                    self._rest()
        finally:
            with moments.changed:
                self._party.stand(still=False)

    def _rest(self) -> None:
        moments = self._moments
        with moments.changed:
            moments.changed.wait_for(lambda: self._is_set or moments.may_jump(), _PATIENCE if moments.jumps else None)
            moments.give_up()


class AsyncSignal:
    """
    Ends the wait of a task of this event loop when it is called, from any thread.
    """

    def __init__(self, moments: Moments) -> None:
        self._moments = moments
        self._loop = asyncio.get_running_loop()
        self._woken: asyncio.Future[None] = self._loop.create_future()
        self._watch = moments.watch()

    def __call__(self) -> None:
        # In a loop that was closed nobody is left to be woken.
        with self._moments.changing(), suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._set)
            self._watch.stir()

    async def wait(self) -> None:
        """
        Wait until it is called.
        """
        self._watch.join()
        try:
            await self._woken
        finally:
            self._watch.waiting -= 1

    def _set(self) -> None:
        if not self._woken.done():
            self._woken.set_result(None)


class _Watch:
    """
    Sees when an event loop rests, and jumps then.

    Attributes:
        party: The thread that runs the loop.
        waiting: Tasks that wait here.
    """

    def __init__(self, moments: Moments, loop: asyncio.AbstractEventLoop, party: _Party) -> None:
        self._moments = moments
        self._loop = loop
        # What is about to run. An event loop of another make has no such thing: there, every pass counts as busy.
        self._ready: Any = getattr(loop, "_ready", True)
        self._quiet = 0
        self._is_looking = False
        self.party = party
        self.waiting = 0

    def join(self) -> None:
        self.waiting += 1
        with self._moments.changed:
            self.stir()
        if self._moments.jumps and not self._is_looking:
            self._is_looking = True
            self._loop.call_soon(self._look)

    def stir(self) -> None:
        """
        Note that there is something to do here, though not before a thread that stands still goes on.
        """
        self._quiet = 0
        if not self.party.blocks:
            self.party.rests = False

    def _look(self) -> None:
        if not self.waiting:
            self._is_looking = False
            return
        with self._moments.changed:
            self._quiet += 1 if self._ready else _QUIET // _IDLE
            rested, self.party.rests = self.party.rests, self._quiet >= _QUIET
        if self.party.rests and not rested:
            with self._moments.changing():
                pass
        if not self.party.rests or self._moments.jump():
            self._loop.call_soon(self._look)
            return
        # Others have something to do, or nothing will be due: let them have the processor.
        self._moments.give_up()
        self._loop.call_later(_PAUSE, self._look)
