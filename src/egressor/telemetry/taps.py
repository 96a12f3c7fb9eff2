"""
Observers of the stream of steps.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from threading import Condition, Thread, current_thread
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakSet

from egressor._host.threads import starts

if TYPE_CHECKING:
    from collections.abc import Callable

    from egressor._core.steps import Step

__all__ = ["Event", "Taps"]

_QUEUE = 10_000
_EVERY: WeakSet[Taps] = WeakSet()
_LOG = logging.getLogger("egressor")
# Neither its text nor its traceback is told: both may show what a call has sent.
_RAISED = "a tap raised %s at %s; its calls go on, and later faults are only counted"


class Event(NamedTuple):
    """
    One step as it was performed.

    Attributes:
        service: The service.
        step: What the plan asked for.
        reply: What came of it.
        now: When it was done, in monotonic microseconds.
    """

    service: str
    step: Step
    reply: object
    now: int


class Taps:
    """
    The observers of one governor.

    Attributes:
        dropped: Events that found the queue full.
        failed: Events that an observer raised on.
        is_on: Whether anybody observes.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self.failed = 0
        self.is_on = False
        self._taps: tuple[Callable[[Event], object], ...] = ()
        self._events: deque[Event] = deque()
        self._changed = Condition()
        self._thread: Thread | None = None
        self._is_busy = False
        _EVERY.add(self)

    def __bool__(self) -> bool:
        return bool(self._taps)

    def add(self, tap: Callable[[Event], object]) -> None:
        """
        Call *tap* with each `Event` from now on, on the observers' thread.
        """
        with self._changed:
            self._taps = (*self._taps, tap)
            self.is_on = True
            self._start()

    def remove(self, tap: Callable[[Event], object]) -> None:
        """
        Call *tap* no more.
        """
        with self._changed:
            self._taps = tuple(each for each in self._taps if each is not tap)
            self.is_on = bool(self._taps)

    def put(self, event: Event) -> None:
        """
        Hand *event* to the observers; never blocks for longer than it takes to append.

        Calls that an observer makes are not observed: each would make the next.
        """
        if self._thread is current_thread():
            return
        with self._changed:
            if len(self._events) >= _QUEUE:
                self.dropped += 1
                return
            if self._thread is None:
                self._start()
            self._events.append(event)
            self._changed.notify()

    def drain(self, timeout: float | None = None) -> bool:
        """
        Wait until the observers have seen everything; False if that took longer than *timeout* seconds.
        """
        with self._changed:
            return self._changed.wait_for(lambda: not self._events and not self._is_busy, timeout)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = Thread(target=self._run, name="egressor-taps", daemon=True)
            if not starts(self._thread):
                self._thread = None

    def _after_fork(self) -> None:
        # The thread stayed in the parent, and may have held the lock; what was queued is the parent's to tell.
        self._changed = Condition()
        self._events.clear()
        self._is_busy = False
        self._thread = None

    def _run(self) -> None:
        while True:
            with self._changed:
                self._is_busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._events)
                self._is_busy = True
                event = self._events.popleft()
            for tap in self._taps:
                try:
                    tap(event)
                except BaseException as error:  # noqa: BLE001 - an observer's fault is nobody else's, nor is its exit
                    self.failed += 1
                    if self.failed == 1:
                        _LOG.warning(_RAISED, type(error).__name__, _place(error))


def _place(error: BaseException) -> str:
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    return "nowhere" if step is None else f"{step.tb_frame.f_code.co_filename}:{step.tb_lineno}"


def _after_fork() -> None:
    for taps in list(_EVERY):
        taps._after_fork()  # noqa: SLF001 - the same module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
