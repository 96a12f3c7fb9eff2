"""
Error handlers: the user's own code that is told of errors, where it can neither break nor delay a call.

Each handler has a thread and a bounded queue of its own. A call that fails appends to the queue and goes on; what finds
the queue full is dropped and counted. So a handler may block, raise, return what it likes, or make calls itself, and
only its own errors wait for it. Errors of calls that a handler makes are told to no handler: each would make the next.
"""

from __future__ import annotations

import asyncio
import logging
import os
from copy import copy
from functools import partial
from inspect import iscoroutine
from queue import SimpleQueue
from threading import Event, RLock, Thread, local
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

from egressor._core.admission import shown
from egressor._core.model import ErrorCategory, Verdict
from egressor._host.threads import starts
from egressor.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Failure", "Handlers", "to_category"]

_QUEUE = 1_000
# An exception holds the frames that it has passed, with all that is in them.
_WHOLE = 100
_MOST = 64
_SLOW = 1.0
_LOG = logging.getLogger("egressor")
_EVERY: WeakSet[Handlers] = WeakSet()
_HERE = local()


class Failure(NamedTuple):
    """
    An attempt that failed, as an error handler is told of it.

    Attributes:
        service: The service.
        verdict: What it was.
        error: What was raised; None where the failure is an answer. Where a hundred wait already, a copy without
            traceback, cause and context, which would keep a call's variables alive.
        at: When, in seconds since 1970.
    """

    service: str
    verdict: Verdict
    error: BaseException | None
    at: float


class _Handler:
    """
    One handler, on a thread of its own.
    """

    def __init__(
        self, function: Callable[[Failure], object], service: str | None, category: ErrorCategory | None
    ) -> None:
        self.function = function
        self.name = _name(function)
        self.service = service
        self.category = category
        self.handled = self.failed = self.dropped = self.slow = 0
        self.longest = 0.0
        self._busy_since: float | None = None
        # A queue into which a finaliser may put, inside of another put.
        self._queue: SimpleQueue[Failure | Event | None] = SimpleQueue()
        self._lock = RLock()
        self._thread: Thread | None = None
        self._begin()

    def takes(self, failure: Failure) -> bool:
        """
        Whether *failure* concerns it. That somebody cancelled is told only to who asks for it.
        """
        if self.service not in (None, failure.service):
            return False
        found = failure.verdict.category
        return found is self.category or (self.category is None and found is not ErrorCategory.CANCELLED)

    def put(self, failure: Failure) -> None:
        """
        Hand *failure* over; waits for nothing.
        """
        waiting = self._queue.qsize()
        kept = failure if waiting < _WHOLE else _light(failure) if waiting < _QUEUE else None
        if kept is None:
            with self._lock:
                self.dropped += 1
            return
        if self._thread is None:
            self._begin()
        self._queue.put(kept)

    def mark(self) -> Event:
        """
        Return what is set when it has handled all that it was given so far.
        """
        seen = Event()
        self._queue.put(seen)
        return seen

    def end(self) -> None:
        """
        Handle what it was given, and no more.
        """
        self._queue.put(None)

    def after_fork(self) -> None:
        """
        Begin anew in a child: the thread, and what was queued, are the parent's.
        """
        self._queue = SimpleQueue()
        self._lock = RLock()
        self._thread = self._busy_since = None

    def snapshot(self) -> dict[str, Any]:
        """
        Return how it fares, as plain values.
        """
        since = self._busy_since
        return {
            "name": self.name,
            "service": self.service,
            "category": None if self.category is None else self.category.value,
            "handled": self.handled,
            "failed": self.failed,
            "dropped": self.dropped,
            "slow": self.slow,
            "longest_s": self.longest,
            "busy_s": 0.0 if since is None else monotonic() - since,
            "waiting": self._queue.qsize(),
        }

    def _begin(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = Thread(target=self._run, name=f"egressor-on-error-{self.name}"[:60], daemon=True)
                if not starts(self._thread):
                    # The next failure tries again; until then they wait in the queue.
                    self._thread = None

    def _run(self) -> None:
        _HERE.handles = True
        queue = self._queue
        while (given := queue.get()) is not None:
            if isinstance(given, Event):
                given.set()
                continue
            self._busy_since = started = monotonic()
            try:
                result = self.function(given)
                if iscoroutine(result):
                    asyncio.run(result)
            except BaseException as error:  # noqa: BLE001 - a handler's fault is nobody else's, nor is its exit
                self._faulted(error)
            took = monotonic() - started
            self._busy_since = None
            self.handled += 1
            self.slow += took > _SLOW
            self.longest = max(self.longest, took)

    def _faulted(self, error: BaseException) -> None:
        self.failed += 1
        if self.failed == 1:
            # Its type alone: what it says, and the lines it passed, may hold what no log should.
            kind = type(error).__name__
            _LOG.warning("the error handler %s raised %s; later faults are only counted", self.name, kind)


class Handlers:
    """
    The error handlers of one governor.
    """

    def __init__(self) -> None:
        self._handlers: tuple[_Handler, ...] = ()
        self._lock = RLock()
        _EVERY.add(self)

    def __bool__(self) -> bool:
        return bool(self._handlers)

    def add(
        self, function: Callable[[Failure], object], *, service: str | None, category: ErrorCategory | None
    ) -> None:
        """
        Tell *function* of failures from now on.

        Raises:
            ConfigError: It can't be called, or there are 64 already.
        """
        if not callable(function):
            msg = f"an error handler is a function of one argument, not {shown(function)}"
            raise ConfigError(msg, key="on_error")
        with self._lock:
            if len(self._handlers) >= _MOST:
                msg = f"there are {_MOST} error handlers already, each with a thread of its own"
                raise ConfigError(msg, key="on_error")
            self._handlers = (*self._handlers, _Handler(function, service, category))

    def put(self, service: str, verdict: Verdict, error: BaseException | None, at: float) -> None:
        """
        Tell those whom it concerns, unless it was one of them who made the call.
        """
        if getattr(_HERE, "handles", False):
            return
        failure = Failure(service, verdict, error, at)
        for handler in self._handlers:
            if handler.takes(failure):
                handler.put(failure)

    def drain(self, timeout: float) -> bool:
        """
        Wait until all that was put has been handled; False if that took longer than *timeout* seconds.
        """
        until = monotonic() + timeout
        return all(seen.wait(max(0.0, until - monotonic())) for seen in [each.mark() for each in self._handlers])

    def close(self) -> None:
        """
        Let each handle what it was given, and no more; waits for none.
        """
        with self._lock:
            handlers, self._handlers = self._handlers, ()
        for each in handlers:
            each.end()

    def snapshot(self) -> list[dict[str, Any]]:
        """
        Return how each fares, as plain values.
        """
        return [each.snapshot() for each in self._handlers]

    def _after_fork(self) -> None:
        self._lock = RLock()
        for each in self._handlers:
            each.after_fork()


def to_category(value: object) -> ErrorCategory | None:
    """
    Return the `ErrorCategory` that *value*, the enum's member or its value, means; None for None.

    Raises:
        ConfigError: It is neither.
    """
    if value is None or isinstance(value, ErrorCategory):
        return value
    names = [each.value for each in ErrorCategory]
    if isinstance(value, str) and value in names:
        return ErrorCategory(value)
    from difflib import get_close_matches

    nearest = next(iter(get_close_matches(shown(value).strip("'").lower(), names, n=1)), None)
    msg = f"unknown category {shown(value)}: {', '.join(names)}"
    raise ConfigError(msg, key="category", nearest=nearest)


def _light(failure: Failure) -> Failure | None:
    """
    Return *failure* with an exception that holds no frames; None if it can't be copied.
    """
    if failure.error is None:
        return failure
    try:
        twin = copy(failure.error)
    except Exception:  # noqa: BLE001 - its class may make of a copy what it likes
        return None
    if twin is failure.error or not isinstance(twin, BaseException):
        return None
    return failure._replace(error=twin)


def _name(function: object) -> str:
    while isinstance(function, partial):
        function = function.func
    name = getattr(function, "__qualname__", None)
    return name if isinstance(name, str) else type(function).__name__


def _after_fork() -> None:
    for handlers in list(_EVERY):
        handlers._after_fork()  # noqa: SLF001 - the same module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
