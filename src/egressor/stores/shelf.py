"""
Where answers are kept: in this process.

What a shelf gives may be too old: it knows how long an answer was to be kept, and not what that means. A shelf that has
lost something, or can't be reached, misses.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import RLock
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from egressor._core.cache import Entry

__all__ = ["Kept", "MemoryShelf", "Shelf"]


class Kept(NamedTuple):
    """
    An answer with its times, in microseconds by the shelf's clock.

    Attributes:
        entry: The answer.
        at: When it came.
        fresh_for: How long it is fresh.
    """

    entry: Entry
    at: int
    fresh_for: int


class Shelf(Protocol):
    """
    The answers of one service.
    """

    def get(self, key: str) -> Kept | None:
        """
        Return what is kept under *key*.
        """

    def put(self, key: str, kept: Kept, *, until: int) -> None:
        """
        Keep an answer, at most until *until*.
        """

    def drop(self, key: str) -> None:
        """
        Keep nothing under *key*.
        """


class MemoryShelf:
    """
    The answers that were used last, as many as fit. Each step takes the same time, however many there are.

    Args:
        max_entries: How many at most.
        max_bytes: How many bytes at most, what holds them included.

    Attributes:
        size: Bytes that are kept now.
    """

    def __init__(self, *, max_entries: int, max_bytes: int) -> None:
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self.size = 0
        # The collector may end a call in the midst of these lines, in this very thread.
        self._lock = RLock()
        self._kept: OrderedDict[str, tuple[Kept, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: str) -> Kept | None:
        """
        Return what is kept under *key*, which is the last to be dropped from now on.
        """
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            self._kept.move_to_end(key)
            return found[0]

    def put(self, key: str, kept: Kept, *, until: int) -> None:  # noqa: ARG002 - whoever gets it looks at its age
        """
        Keep an answer in the place of those that were not used for the longest time.
        """
        size = kept.entry.size + len(key)
        with self._lock:
            self.drop(key)
            if size > self.max_bytes:
                return
            self._kept[key] = kept, size
            self.size += size
            while self.size > self.max_bytes or len(self._kept) > self.max_entries:
                self.size -= self._kept.popitem(last=False)[1][1]

    def drop(self, key: str) -> None:
        """
        Keep nothing under *key*.
        """
        with self._lock:
            found = self._kept.pop(key, None)
            if found is not None:
                self.size -= found[1]
