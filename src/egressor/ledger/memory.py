"""
A ledger in memory: the newest entries of this process.
"""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING, TypeVar

from egressor._host.fork import heed

from . import KEEP_FOR, Pick, Tally
from .aging import aged, monotonic
from .folding import KEEP_ERRORS, fewer
from .grouping import ERROR
from .money_memory import MemoryPage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .entry import Entry
    from .money import Page

__all__ = ["MemoryLedger"]

_RING = 10_000
_T = TypeVar("_T")


class MemoryLedger:
    """
    A ring of entries, gone with the process.

    Args:
        keep_for: How long an entry is kept, in microseconds. Default: a year.
        keep_most: How many are kept, failures apart. Default: 10,000, a few megabytes.
        keep_errors: How many failures are kept of each service. Default: 2,000.
        mono: Monotonic time, in microseconds.
    """

    name = "memory"
    is_durable = False
    is_at_hand = False

    def __init__(
        self,
        *,
        keep_for: int = KEEP_FOR,
        keep_most: int = _RING,
        keep_errors: int = KEEP_ERRORS,
        mono: Callable[[], int] = monotonic,
    ) -> None:
        self._keep_for = keep_for
        self._keep_most = keep_most
        self._keep_errors = keep_errors
        self._lock = RLock()
        self._entries: dict[str, Entry] = {}
        self._errors: dict[str, dict[str, Entry]] = {}
        self._pruned = 0
        self._page = MemoryPage()
        self._mono = mono
        self._age: int | None = None
        self._seen_at = 0
        heed(self)

    def append(self, entries: Sequence[Entry]) -> int:
        """
        Keep *entries*; above the ring's size the oldest are dropped, and counted, and failures are folded.
        """
        with self._lock:
            new = 0
            for entry in entries:
                place = self._errors.setdefault(entry.service, {}) if entry.kind == ERROR else self._entries
                new += entry.id not in place
                place.setdefault(entry.id, entry)
            if len(self._entries) > self._keep_most:
                self._drop(self._entries, sorted(self._entries)[: len(self._entries) - self._keep_most])
            for errors in self._errors.values():
                if len(errors) > self._keep_errors:
                    self._fold(errors)
            return new

    def read(self, pick: Pick, *, patience: float | None = None) -> list[Entry]:  # noqa: ARG002 - nobody keeps it
        """
        Return the entries that are asked for.
        """
        with self._lock:
            return pick.of([entry for place in self._places() for entry in place.values()])

    def retain(self, keep_for: int, keep_most: int) -> None:
        """
        From now on keep entries for *keep_for* microseconds, and *keep_most* of them, 10,000 at most.
        """
        self._keep_for = keep_for
        self._keep_most = min(keep_most, _RING)

    def proven(self, now: int) -> int:
        """
        Return up to when it may forget, as a clock says *now*.
        """
        with self._lock:
            before, self._seen_at = self._seen_at, self._mono()
            self._age = now if self._age is None else aged(self._age, self._seen_at - before, now)
            return min(now, self._age)

    def prune(self, now: int) -> int:
        """
        Drop what is too old at *now*, and the oldest of too many.
        """
        with self._lock:
            total = 0
            for place in self._places():
                old = [key for key, entry in place.items() if entry.at < now - self._keep_for]
                excess = len(place) - len(old) - self._keep_most
                if place is self._entries and excess > 0:
                    old += sorted(place.keys() - set(old))[:excess]
                self._drop(place, old)
                total += len(old)
            return total

    def tally(self, *, patience: float | None = None) -> Tally:  # noqa: ARG002 - nobody keeps it
        """
        Return what it holds.
        """
        with self._lock:
            every = [entry.at for place in self._places() for entry in place.values()]
            return Tally(len(every), self._pruned, min(every, default=None))

    def money(
        self,
        work: Callable[[Page], _T],
        *,
        at_once: bool = True,  # noqa: ARG002 - nothing here outlives a power cut
        patience: float | None = None,  # noqa: ARG002 - nobody keeps it
    ) -> _T:
        """
        Do *work* on the page of money, which nobody else has meanwhile.
        """
        with self._lock:
            return work(self._page)

    def money_nowait(self, work: Callable[[Page], _T]) -> _T:
        """
        As `money`: there is nothing to wait for.
        """
        return self.money(work)

    def moved_at(self) -> float:
        """
        Return 0.0: there is nobody else.
        """
        return 0.0

    def close(self) -> None:
        """
        Nothing is open; the entries stay readable.
        """

    def before_fork(self) -> None:
        """
        Wait until nobody is at work here: the child gets whole entries, and a lock that somebody can let go of.
        """
        self._lock.acquire()

    def after_fork(self) -> None:
        """
        Go on.
        """
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """
        Go on, with what the parent had.
        """
        self._lock.release()

    def _places(self) -> list[dict[str, Entry]]:
        return [self._entries, *self._errors.values()]

    def _fold(self, errors: dict[str, Entry]) -> None:
        old = sorted(errors)[: len(errors) - self._keep_errors // 2]
        changed, folded, dropped = fewer([errors[key] for key in old], self._keep_errors // 4)
        errors.update((each.id, each) for each in changed)
        for key in folded:
            del errors[key]
        self._drop(errors, dropped)

    def _drop(self, place: dict[str, Entry], keys: list[str]) -> None:
        for key in keys:
            del place[key]
        self._pruned += len(keys)
