"""
Cells in memory: a dictionary of integers for each limit.

A limit for everybody has one cell. A limit for each value of a scope (each user, say) has one cell for each value that
was seen lately: `Bank` keeps two generations, moves what is touched into the young one, and forgets the old one as a
whole when the horizon has passed, without looking at its keys. A cell that nobody touched for a horizon says the same
as no cell, so nothing is lost.
"""

from __future__ import annotations

__all__ = ["NONE_FREE", "Allotted", "Bank", "Places"]


class Bank:
    """
    Cells by key, in two generations.

    Args:
        horizon: Microseconds after which an untouched cell says the same as none.
    """

    __slots__ = ("_old", "_young", "horizon", "turn_at")

    def __init__(self, *, horizon: int) -> None:
        self.horizon = horizon
        self.turn_at = 0
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}

    def __getitem__(self, key: str) -> int:
        cell = self._young.get(key)
        if cell is None:
            cell = self._old.pop(key, 0)
            if cell:
                self._young[key] = cell
        return cell

    def __setitem__(self, key: str, cell: int) -> None:
        self._young[key] = cell

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def items(self) -> list[tuple[str, int]]:
        """
        Return every key with its cell.
        """
        return [*self._old.items(), *self._young.items()]

    def turn(self, now: int) -> tuple[dict[str, int], ...]:
        """
        Make the young generation the old one if it is time, and return what is forgotten by that.

        The caller lets go of it outside of its lock: freeing a million keys takes a while.
        """
        if now < self.turn_at:
            return ()
        # However late this comes, the young generation may hold a cell that was touched just now.
        gone = self._old
        self._old, self._young, self.turn_at = self._young, {}, now + self.horizon
        return (gone,)


class Places:
    """
    How many are held, by key; a key that holds nothing takes no room.
    """

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: dict[str, int] = {}

    def __getitem__(self, key: str) -> int:
        return self._held.get(key, 0)

    def __setitem__(self, key: str, cell: int) -> None:
        if cell:
            self._held[key] = cell
        else:
            self._held.pop(key, None)

    def __len__(self) -> int:
        return len(self._held)

    def items(self) -> list[tuple[str, int]]:
        """
        Return every key with what it holds.
        """
        return list(self._held.items())


NONE_FREE = 1 << 40
"""
What a cell of `Allotted` says where every place that was given is in use.
"""


class Allotted:
    """
    Places that the store has given to this process, by key: `NONE_FREE` less those that are free.

    A place that comes free is not for the next one here: others may come first. It stays in use until `returned` has
    it handed back. While the process goes on alone, with a share of its own, cells are plain counts of what is held.

    Attributes:
        is_alone: Whether it does.
    """

    __slots__ = ("_back", "_used", "is_alone")

    def __init__(self) -> None:
        # In use, less those that were given.
        self._used: dict[str, int] = {}
        self._back: dict[str, int] = {}
        self.is_alone = False

    def __getitem__(self, key: str) -> int:
        return self._used.get(key, 0) + (0 if self.is_alone else NONE_FREE)

    def __setitem__(self, key: str, cell: int) -> None:
        used = cell if self.is_alone else cell - NONE_FREE
        before = self._used.get(key, 0)
        if used < before and not self.is_alone:
            self._back[key] = self._back.get(key, 0) + before - used
        else:
            self.use(key, used - before)

    def __len__(self) -> int:
        return len(self._used)

    def used(self, key: str) -> int:
        """
        Return how many of *key* are in use, less those that were given.
        """
        return self._used.get(key, 0)

    def use(self, key: str, places: int) -> None:
        """
        Count *places* more of *key* as in use; fewer are given.
        """
        used = self._used.get(key, 0) + places
        if used:
            self._used[key] = used
        else:
            self._used.pop(key, None)

    def returned(self, key: str) -> int:
        """
        Return how many of *key* have come free since this was last asked.
        """
        return self._back.pop(key, 0)

    def items(self) -> list[tuple[str, int]]:
        """
        Return every key with how many are in use, less those that were given.
        """
        return list(self._used.items())
