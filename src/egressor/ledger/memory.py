"""
A ledger in memory: the newest entries of this process.
"""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING

from . import KEEP_FOR, Pick, Tally

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .entry import Entry

__all__ = ["MemoryLedger"]

_RING = 10_000


class MemoryLedger:
    """
    A ring of entries, gone with the process.

    Args:
        keep_for: How long an entry is kept, in microseconds. Default: a year.
        keep_most: How many are kept. Default: 10,000, a few megabytes.
    """

    name = "memory"
    is_durable = False

    def __init__(self, *, keep_for: int = KEEP_FOR, keep_most: int = _RING) -> None:
        self._keep_for = keep_for
        self._keep_most = keep_most
        self._lock = RLock()
        self._entries: dict[str, Entry] = {}
        self._pruned = 0

    def append(self, entries: Sequence[Entry]) -> int:
        """
        Keep *entries*; above the ring's size the oldest are dropped, and counted.
        """
        with self._lock:
            before = len(self._entries)
            for entry in entries:
                self._entries.setdefault(entry.id, entry)
            new = len(self._entries) - before
            if len(self._entries) > self._keep_most:
                self._drop(sorted(self._entries)[: len(self._entries) - self._keep_most])
            return new

    def read(self, pick: Pick) -> list[Entry]:
        """
        Return the entries that are asked for.
        """
        with self._lock:
            return pick.of(list(self._entries.values()))

    def retain(self, keep_for: int, keep_most: int) -> None:
        """
        From now on keep entries for *keep_for* microseconds, and *keep_most* of them, 10,000 at most.
        """
        self._keep_for = keep_for
        self._keep_most = min(keep_most, _RING)

    def prune(self, now: int) -> int:
        """
        Drop what is too old at *now*, and the oldest of too many.
        """
        with self._lock:
            old = [key for key, entry in self._entries.items() if entry.at < now - self._keep_for]
            excess = len(self._entries) - len(old) - self._keep_most
            if excess > 0:
                old += sorted(self._entries.keys() - set(old))[:excess]
            self._drop(old)
            return len(old)

    def tally(self) -> Tally:
        """
        Return what it holds.
        """
        with self._lock:
            oldest = min((entry.at for entry in self._entries.values()), default=None)
            return Tally(len(self._entries), self._pruned, oldest)

    def close(self) -> None:
        """
        Nothing is open; the entries stay readable.
        """

    def _drop(self, keys: list[str]) -> None:
        for key in keys:
            del self._entries[key]
        self._pruned += len(keys)
