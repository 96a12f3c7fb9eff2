"""
The way of failed attempts into the ledger, off the calls' way.

`Failures.tell` appends to a queue and, if nobody is on the way yet, rings a bell: it takes no lock. One thread of the
process takes what is there every twentieth of a second, groups and redacts it, and hands entries to the history.

*Floods.* A service that is down fails as often as it is called. Of each group the first few failures of a turn become
entries of their own; more of the same group and outcome become one entry that says how many it stands for. So every
failure is counted, and what is written is bounded.

*Others.* The thread works in slices and lets others run in between, so that a call waits for it less than a
millisecond. What finds the queue full is dropped, and counted. Groups are bounded, too: what is new beyond them is
counted by its category.
"""

from __future__ import annotations

import atexit
import logging
import os
import time
from collections import deque
from contextlib import suppress
from itertools import count
from queue import Empty, SimpleQueue
from threading import Lock, RLock, Thread
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from egressor._host.threads import starts

from .failure import Told
from .grouping import Draft, Groups, entry_of
from .history import History  # noqa: TC001 - loaded before `atexit` is told: what begins first ends last

if TYPE_CHECKING:
    from .entry import Entry
    from .failure import Failure

__all__ = ["Failures"]

_LOG = logging.getLogger("egressor")
_EVERY: WeakSet[Failures] = WeakSet()
_turn = count(1)
_QUEUE: Final = 10_000
_EACH: Final = 0.05
_SLICE: Final = 0.0004
_MOST_AT_ONCE: Final = 300
_ALONE: Final = 10
_ALONE_IN_ALL: Final = 100


class Failures:
    """
    One governor's failed attempts, on their way; any thread may use it.

    Args:
        history: Where entries go; a reload may put another in its place.
        queue: How many calls may wait to be looked at. Default: 10,000.

    Attributes:
        dropped: Calls whose failures found the queue full, came after the end, or can't be written.
        is_rung: Whether the thread knows that something waits.
    """

    def __init__(self, history: History, *, queue: int = _QUEUE) -> None:
        self.history = history
        self.dropped = 0
        self._most = queue
        self._told: deque[Told] = deque()
        self.is_rung = False
        self._is_closed = False
        self._turn = RLock()
        self._groups = Groups()
        _EVERY.add(self)

    @property
    def merged(self) -> int:
        """
        How many failures were counted by their category only, as their service had too many groups.
        """
        return self._groups.merged

    def tell(self, service: str, outcome: str, failures: list[Failure], *, rings: bool = True) -> None:
        """
        Take note of a call of *service* that has ended as *outcome* says, after *failures*. Never waits, never raises.

        Args:
            service: The service.
            outcome: ``recovered``, ``fell_back`` or ``gave_up``.
            failures: The attempts that failed.
            rings: Whether the thread is woken. A finaliser, which may run inside of anything, leaves that to the next.
        """
        if self._is_closed or len(self._told) >= self._most:
            self.dropped += 1
            return
        self._told.append(Told(next(_turn), service, outcome, tuple(failures)))
        if rings and not self.is_rung:
            self.is_rung = True
            _scribe.wake(self)

    def gather(self) -> None:
        """
        Hand over what was told until now, on this thread.
        """
        self.is_rung = False
        with self._turn:
            told = [self._told.popleft() for _ in range(len(self._told))]
            if told:
                entries = self._written(told)
                try:
                    self.history.add(entries)
                except Exception:
                    self.dropped += len(told)
                    raise

    def close(self) -> None:
        """
        Take no more, and hand over what there is.
        """
        self._is_closed = True
        self.gather()

    def _written(self, told: list[Told]) -> list[Entry]:
        drafts: list[Draft] = []
        last: dict[tuple[str, str, str], list[Draft]] = {}
        alone: dict[str, int] = {}
        pace = _Pace()
        for call in told:
            pace.keep()
            for left, failure in enumerate(call.failures, 1 - len(call.failures)):
                try:
                    name = self._groups.name(call.service, failure)
                except Exception as error:  # noqa: BLE001 - one that is odd must not take the others along
                    self._lost(1, error)
                    continue
                same = last.setdefault((call.service, name, call.outcome), [])
                if not same and len(drafts) >= _MOST_AT_ONCE:
                    name = self._groups.merge(call.service, failure)
                    same = last.setdefault((call.service, name, call.outcome), [])
                if not same or (len(same) < _ALONE and alone.get(call.service, 0) < _ALONE_IN_ALL):
                    same.append(Draft(call, name))
                    drafts.append(same[-1])
                    alone[call.service] = alone.get(call.service, 0) + 1
                same[-1].take(failure, ends=not left)
        entries = []
        for draft in sorted(drafts, key=lambda draft: draft.newest.at):
            try:
                entries.append(entry_of(draft))
            except Exception as error:  # noqa: BLE001 - likewise
                self._lost(max(1, draft.calls), error)
            pace.keep()
        return entries

    def _lost(self, calls: int, error: Exception) -> None:
        self.dropped += calls
        _LOG.warning("a failed attempt that can't be an entry is dropped: %s", type(error).__name__)

    def _begin_in_child(self) -> None:
        # What waits is the parent's to write.
        self._told.clear()
        self.is_rung = False
        self._turn = RLock()


class _Pace:
    """
    Lets others have the interpreter after each slice of work: who waits for it waits no longer than that.
    """

    def __init__(self) -> None:
        self._until = time.perf_counter() + _SLICE

    def keep(self) -> None:
        """
        Let others go first if the slice is over.
        """
        if time.perf_counter() > self._until:
            time.sleep(0)
            self._until = time.perf_counter() + _SLICE


def _gather(failures: Failures) -> None:
    try:
        failures.gather()
    except Exception as error:  # noqa: BLE001 - one governor's fault must keep no other's from being written
        _LOG.warning("failed attempts could not be written: %s", type(error).__name__)


class _Scribe:
    """
    The thread that hands over, one for all governors of the process; it is made at the first failure.
    """

    def __init__(self) -> None:
        self._bell: SimpleQueue[Failures] = SimpleQueue()
        self._begun = Lock()

    def wake(self, failures: Failures) -> None:
        """
        See that *failures* are gathered soon.
        """
        self._bell.put(failures)
        # Whoever gets it starts the thread, and gives it back only if there is none to be had.
        if self._begun.acquire(blocking=False):
            thread = Thread(target=self._run, args=(self._bell,), name="egressor-failures", daemon=True)
            if not starts(thread):
                self._begun.release()
                # Whose bell nobody hears rings it again at the next failure.
                with suppress(Empty):
                    while True:
                        self._bell.get_nowait().is_rung = False

    def _run(self, bell: SimpleQueue[Failures]) -> None:
        while True:
            found = [bell.get()]
            time.sleep(_EACH)
            try:
                while True:
                    found.append(bell.get_nowait())
            except Empty:
                pass
            for each in found:
                _gather(each)
            # A governor that nobody holds any more shall go.
            del each, found


_scribe = _Scribe()


def _after_fork() -> None:
    global _scribe  # noqa: PLW0603 - the thread stayed in the parent, and may have held its lock
    _scribe = _Scribe()
    for each in list(_EVERY):
        each._begin_in_child()  # noqa: SLF001 - the same module


def _at_exit() -> None:
    for each in list(_EVERY):
        _gather(each)


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
