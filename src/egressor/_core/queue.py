"""
Who goes first among those that wait.

A service has one `Queue`; in it stands one `Line` for each cell that somebody waits for: a call that a user's own
limit holds back must not hold back the others. A waiter stands in exactly one line, that of the cell which refused
it last with the longest wait, and changes lines when another cell turns out to be short.

The order inside a line is (level, deadline, arrival):

- *level* is the priority, and grows by one for each `age` microseconds of waiting, up to the highest, so a call of
  the lowest priority stands among the highest after ``3 * age``, and nothing that arrives later than its deadline
  allows can pass it there. That is the bound on starvation.
- inside a level the earlier deadline goes first, then the earlier arrival. Every waiter has a deadline (the policy's
  ``max_wait`` at the latest), so this ages by itself.

Whoever stands first is served first or nobody is: a big ask at the head is never passed by small ones behind it,
and a newcomer may only pass those that it ranks before.

Each level of a line is a heap; waiters that left are dropped when they surface, and a heap that is mostly dead is
rebuilt, so each join, move and leave costs O(log n) and memory follows the living. So does the record of arrivals,
which promotion and `Queue.last_below` read: at each level one row of those that came there and one of those that were
raised to it, each in the order of *since*.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush, nsmallest
from typing import Any, Generic, TypeVar

from .model import Priority

__all__ = ["Line", "Queue", "Waiter"]

_LEVELS = len(Priority)
_TOP = _LEVELS - 1
_SLACK = 64

T = TypeVar("T")


class Waiter(Generic[T]):
    """
    One call in the queue.

    Attributes:
        what: What it waits for; the queue never looks at it.
        level: Its priority, raised by waiting.
        deadline: Microseconds; it leaves at this time whatever happens.
        since: When it came, or when its level was last raised.
        line: The line where it stands; None once it has left.
        units: What it wants of that line's cell.
    """

    __slots__ = ("deadline", "level", "line", "seq", "since", "units", "what")

    def __init__(self, what: T, *, level: int, deadline: int, now: int) -> None:
        self.what = what
        self.level = level
        self.deadline = deadline
        self.since = now
        self.seq = 0
        self.units = 0
        self.line: Line[T] | None = None


class Line(Generic[T]):
    """
    Those that wait for one cell.

    Attributes:
        name: The cell's name: its limit, and its key.
        ready_at: When it is worth asking for the first of them again, in microseconds.
        alarm_at: When somebody last promised to look; the store's business.
        size: How many wait.
    """

    __slots__ = ("_heaps", "_latest", "_sizes", "_units", "alarm_at", "name", "ready_at", "size")

    def __init__(self, name: tuple[str, str]) -> None:
        self.name = name
        self.ready_at = 0
        self.alarm_at: int | None = None
        self.size = 0
        self._heaps: tuple[list[tuple[int, int, Waiter[T]]], ...] = tuple([] for _ in range(_LEVELS))
        self._sizes = [0] * _LEVELS
        self._units = [0] * _LEVELS
        self._latest = [0] * _LEVELS

    def push(self, waiter: Waiter[T]) -> None:
        """
        Let *waiter* stand here, by its level, deadline and arrival.
        """
        level = waiter.level
        heappush(self._heaps[level], (waiter.deadline, waiter.seq, waiter))
        waiter.line = self
        self.size += 1
        self._sizes[level] += 1
        self._units[level] += waiter.units
        self._latest[level] = max(waiter.deadline, self._latest[level])

    def drop(self, waiter: Waiter[T]) -> None:
        """
        Let *waiter*, which stands here, go.
        """
        level = waiter.level
        waiter.line = None
        self.size -= 1
        self._sizes[level] -= 1
        self._units[level] -= waiter.units
        if not self._sizes[level]:
            self._heaps[level].clear()
            self._latest[level] = 0
        elif len(self._heaps[level]) > 2 * self._sizes[level] + _SLACK:
            self._heaps[level][:] = [item for item in self._heaps[level] if self._stands(item[2], level)]
            heapify(self._heaps[level])

    def first(self) -> Waiter[T] | None:
        """
        Return whoever goes next; None where nobody waits.
        """
        for level in range(_TOP, -1, -1):
            head = self._head(level)
            if head is not None:
                return head
        return None

    def heads(self) -> list[Waiter[T]]:
        """
        Return the first of each level, the best first.
        """
        return [head for level in range(_TOP, -1, -1) if (head := self._head(level)) is not None]

    def top(self, number: int) -> list[Waiter[T]]:
        """
        Return the first *number* of those that wait here, in their order.
        """
        found: list[Waiter[T]] = []
        for level in range(_TOP, -1, -1):
            stand = [item for item in self._heaps[level] if self._stands(item[2], level)]
            found += [item[2] for item in nsmallest(number - len(found), stand)]
            if len(found) >= number:
                break
        return found

    def next_expiry(self) -> int | None:
        """
        Return the earliest deadline of all that wait here.
        """
        heads = (self._head(level) for level in range(_LEVELS))
        return min((head.deadline for head in heads if head is not None), default=None)

    def overdue(self, now: int) -> Waiter[T] | None:
        """
        Return somebody whose deadline has come; None if nobody's has.
        """
        for level in range(_LEVELS):
            head = self._head(level)
            if head is not None and head.deadline <= now:
                return head
        return None

    def ranks_before(self, *, level: int, deadline: int, seq: int) -> bool:
        """
        Whether somebody of *level*, *deadline* and arrival *seq* goes before everybody here.
        """
        for above in range(_TOP, level, -1):
            if self._sizes[above]:
                return False
        head = self._head(level)
        return head is None or (deadline, seq) < (head.deadline, head.seq)

    def units_before(self, *, level: int, deadline: int) -> int:
        """
        Return what those take that will surely go before a newcomer of *level* and *deadline*.
        """
        before = sum(self._units[level + 1 :])
        return before + (self._units[level] if deadline >= self._latest[level] else 0)

    def sizes(self) -> list[int]:
        """
        Return how many wait, by level.
        """
        return list(self._sizes)

    def _head(self, level: int) -> Waiter[T] | None:
        heap = self._heaps[level]
        while heap:
            waiter = heap[0][2]
            if self._stands(waiter, level):
                return waiter
            heappop(heap)
        return None

    def _stands(self, waiter: Waiter[T], level: int) -> bool:
        return waiter.line is self and waiter.level == level


class Queue(Generic[T]):
    """
    All that wait for one service.

    Args:
        age: Microseconds of waiting that raise a waiter's level by one; 0 never does.
    """

    __slots__ = ("_arrivals", "_gone", "_next_at", "_raised", "_seq", "age", "lines", "size")

    def __init__(self, *, age: int) -> None:
        self.age = age
        self.size = 0
        self.lines: dict[tuple[str, str], Line[T]] = {}
        self._seq = 0
        self._gone = 0
        # Before this time nobody has waited long enough to be raised.
        self._next_at = 0
        self._arrivals: tuple[deque[Waiter[T]], ...] = tuple(deque() for _ in range(_LEVELS))
        self._raised: tuple[deque[Waiter[T]], ...] = tuple(deque() for _ in range(_LEVELS))

    def line(self, name: tuple[str, str]) -> Line[T]:
        """
        Return the line of the cell called *name*, a new one if nobody waits for it yet.
        """
        found = self.lines.get(name)
        if found is None:
            found = self.lines[name] = Line(name)
        return found

    def join(self, waiter: Waiter[T], line: Line[T], *, units: int) -> None:
        """
        Let *waiter* in, at *line*, where it wants *units*.
        """
        self._seq += 1
        waiter.seq = self._seq
        waiter.units = units
        line.push(waiter)
        self._arrivals[waiter.level].append(waiter)
        self.size += 1

    def rejoin(self, waiter: Waiter[T], line: Line[T], *, units: int) -> None:
        """
        Let *waiter* in again, at *line*, with the rank that it had when it left.
        """
        waiter.units = units
        line.push(waiter)
        self.size += 1
        # Each row is in the order of times; whoever was given a turn has waited longer than most.
        row = self._raised[waiter.level]
        row.append(waiter)
        if len(row) > 1 and row[-2].since > waiter.since:
            ordered = sorted(row, key=_since)
            row.clear()
            row.extend(ordered)

    def move(self, waiter: Waiter[T], line: Line[T], *, units: int) -> None:
        """
        Let *waiter* stand at *line* instead; its rank goes with it.
        """
        self._step_out(waiter)
        # It may have been the only one there, and the line gone with it.
        self.lines.setdefault(line.name, line)
        waiter.units = units
        line.push(waiter)

    def leave(self, waiter: Waiter[T]) -> None:
        """
        Let *waiter* go; nothing happens if it has gone already.
        """
        if waiter.line is None:
            return
        self._step_out(waiter)
        self.size -= 1
        self._gone += 1
        if self._gone > 2 * self.size + _SLACK or not self.size:
            self._gone = 0
            for row in (*self._arrivals, *self._raised):
                living = [each for each in row if each.line is not None]
                row.clear()
                row.extend(living)

    def promote(self, now: int) -> list[Line[T]]:
        """
        Raise the level of those that have waited long enough; return the lines that have another first one by that.
        """
        changed: list[Line[T]] = []
        if not self.age or now < self._next_at:
            return changed
        # Whoever joins from here on has all of it before it.
        next_at = now + self.age
        for level in range(_TOP):
            arrivals, raised = self._arrivals[level], self._raised[level]
            while arrivals or raised:
                row = arrivals if not raised or (arrivals and arrivals[0].since <= raised[0].since) else raised
                waiter = row[0]
                line = waiter.line
                if line is not None:
                    if waiter.since + self.age > now:
                        next_at = min(next_at, waiter.since + self.age)
                        break
                    line.drop(waiter)
                    waiter.level = level + 1
                    waiter.since += self.age
                    line.push(waiter)
                    self._raised[level + 1].append(waiter)
                    if line.first() is waiter:
                        changed.append(line)
                row.popleft()
        self._next_at = next_at
        return changed

    def last_below(self, level: int) -> Waiter[T] | None:
        """
        Return who came last to the lowest level below *level*: whom a full queue gives up for a better one.
        """
        for rows in zip(self._arrivals[:level], self._raised[:level], strict=True):
            for row in rows:
                while row and row[-1].line is None:
                    row.pop()
            newest = [row[-1] for row in rows if row]
            if newest:
                return max(newest, key=_since)
        return None

    def sizes(self) -> list[int]:
        """
        Return how many wait, by level.
        """
        return [sum(column) for column in zip(*(line.sizes() for line in self.lines.values()), strict=True)] or [
            0
        ] * _LEVELS

    def _step_out(self, waiter: Waiter[T]) -> None:
        line = waiter.line
        assert line is not None  # noqa: S101 - only who stands somewhere is moved or leaves
        line.drop(waiter)
        if not line.size:
            self.lines.pop(line.name, None)


def _since(waiter: Waiter[Any]) -> int:
    return waiter.since
