"""
What answers have said of the server's limits, for one service.

A few cells, by unit and window, and by endpoint, recipient or model where a limit is its own. Whoever calls holds the
gate's lock. What they mean is decided in `egressor._core.learn`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from egressor._core import learn
from egressor._core.learn import Heard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from egressor._core.admission import Ask
    from egressor._core.learn import Hint

    from .compiled import Compiled

__all__ = ["Learned"]

_CELLS = 64
_SECOND = 1_000_000
# The window of a wait that a server has asked for: what it says of its limits does not end that.
_HOLD = -1
_Key = tuple[str, int, str]


class Learned:
    """
    The cells.

    Args:
        dice: Draws from 0 up to, not including, 1.

    Attributes:
        cells: They, by unit, window (`_HOLD` for a wait) and part of the service; the empty part is all of it.
        heard: How many calls are under way whose answer has said already what it has to say: bodies that stream.
        dropped: How often there was no room for what a server said.
    """

    __slots__ = ("_dice", "_since", "_usual", "cells", "dropped", "heard")

    def __init__(self, dice: Callable[[], float]) -> None:
        self._dice = dice
        self.cells: dict[_Key, Heard] = {}
        self.heard = self.dropped = 0
        # What a call takes of each unit that a server has spoken of.
        self._usual: dict[str, int] = {}
        # What was said before is forgotten.
        self._since = 0

    def hear(self, hints: Iterable[Hint], ask: Ask, compiled: Compiled, now: int, wall: int) -> bool:
        """
        Take in what the answer to *ask* said; return whether other processes should know of it soon.
        """
        is_news = False
        for hint in hints if compiled.learns else ():
            part = learn.part_of(ask.scope, hint.per)
            if hint.per == "endpoint" and not part:
                continue  # Of one endpoint, and nobody knows which.
            key = (hint.unit, hint.window or 0, part)
            cell = self.cells.get(key)
            if cell is None and not self._has_room(now):
                self.dropped += 1
                continue
            late = 0 if hint.resets is None else int(min(hint.resets // 20, _SECOND) * self._dice())
            was_near = cell is not None and cell.until > now and learn.is_near(cell, now)
            cell = learn.hear(cell, hint, now, wall, compiled.amounts, late=late)
            if cell is None:
                self.cells.pop(key, None)
            else:
                self.cells[key] = cell
            is_news = is_news or was_near or (cell is not None and learn.is_near(cell, now))
        return is_news

    def hold(self, ask: Ask, name: str, now: int, until: int) -> bool:
        """
        Hold calls of *ask*'s endpoint, recipient or model back until *until*, and no others; False if it has no such
        *name*.

        Where there is no room, what ends first is forgotten: one of them never holds everybody back.
        """
        part = learn.part_of(ask.scope, name)
        if not part:
            return False
        key = ("requests", _HOLD, part)
        if key in self.cells or self._has_room(now) or self._makes_room(until):
            self.cells[key] = learn.hold(self.cells.get(key), now, until)
        return True

    def ready_at(self, ask: Ask, now: int, *, under_way: int, members: int) -> tuple[int, Heard | None, str]:
        """
        Return when *ask* may go as far as the server's limits say, which of them says so, and of which part it is.
        """
        worst, why, where = now, None, ""
        for part, cell in self._of(ask):
            units = learn.units_of(ask.cost, cell.unit)
            # What calls under way take nobody has added up: as much as this one, or as one usually does.
            out = min(units, self._usual.get(cell.unit, units)) * max(0, under_way - self.heard)
            when = learn.ready_at(cell, now, level=ask.level, units=units, out=out, members=members) if units else now
            if when > worst:
                worst, why, where = when, cell, part
        return worst, why, where

    def granted(self, ask: Ask, now: int) -> None:
        """
        Take note that *ask* goes.
        """
        for _, cell in self._of(ask):
            cell.paced[ask.level] = now

    def spent(self, ask: Ask) -> None:
        """
        Take off what *ask* used; if its answer says what is left, that comes next.
        """
        for _, cell in self._of(ask):
            units = learn.units_of(ask.cost, cell.unit)
            learn.spend(cell, units)
            self._usual[cell.unit] = learn.usual(self._usual.get(cell.unit), units)

    def passed(self, calls: int) -> None:
        """
        Take off what so many *calls* on the straight path used at the least, whose answers said nothing.
        """
        for (_, _, part), cell in self.cells.items():
            if not part:
                learn.spend(cell, calls * learn.units_of({}, cell.unit))

    def is_tight(self, now: int, under_way: int, ours: Callable[[str], int]) -> bool:
        """
        Whether the server's limits may stand in the way of a call that *ours*, what is left of a unit here, lets pass.
        """
        out = max(0, under_way - self.heard)
        return any(
            cell.until > now and (key[2] or learn.available(cell, now) - out < ours(cell.unit))
            for key, cell in self.cells.items()
        )

    def is_near(self, now: int) -> bool:
        """
        Whether somebody has to wait by the server's word: others may know that it no longer holds.
        """
        return any(
            cell.until > now and (learn.available(cell, now) <= 0 or learn.is_near(cell, now))
            for cell in self.cells.values()
        )

    def snapshot(self, now: int) -> list[dict[str, object]]:
        """
        Return the cells, as plain values.
        """
        return [
            {
                "unit": cell.unit,
                "scope": part,
                "window_s": cell.window / _SECOND or None,
                "left": max(0, learn.available(cell, now)),
                "limit": cell.limit,
                "resets_s": (cell.until - now) / _SECOND,
            }
            for (_, _, part), cell in self.cells.items()
            if cell.until > now
        ]

    def forget(self, now: int) -> None:
        """
        Forget what was said before *now*.
        """
        self._since = max(self._since, now)
        self.cells = {key: cell for key, cell in self.cells.items() if cell.at > self._since}

    def dump(self) -> list[Any]:
        """
        Return the cells for other processes, and since when; times are this process's.
        """
        cells = self.cells.items()
        rows = [[*key, cell.left, cell.limit, cell.at, cell.until, int(cell.refills)] for key, cell in cells]
        return [self._since, rows]

    def load(self, told: Sequence[Any], by: int, now: int) -> None:
        """
        Take in what others know; *by* makes our times of theirs.

        Of what we count ourselves they know all that we have told them, and what they have counted: that replaces ours,
        and whoever calls counts again what we have yet to tell.
        """
        since, rows = told
        counted = {key: self.cells.pop(key) for key in list(self.cells) if key[0] == learn.INVALID}
        if since:
            self.forget(since + by)
        for unit, window, part, left, limit, at, until, refills in rows:
            if at + by <= self._since:
                continue
            other = Heard(unit, max(0, window), refills=bool(refills))
            other.left, other.limit, other.at, other.until = left, limit, at + by, until + by
            other.paced = [other.at] * len(other.paced)
            key = (unit, window, part)
            if key in counted:
                other.paced = counted[key].paced
            cell = self.cells.get(key)
            # Of two waits the longer one holds.
            cell = other if cell and window == _HOLD and until + by > cell.until else learn.merge(cell, other, now)
            if cell is not None and (key in self.cells or self._has_room(now)):
                self.cells[key] = cell

    def _of(self, ask: Ask) -> list[tuple[str, Heard]]:
        parts = learn.parts_of(ask.scope)
        return [(part, cell) for (_, _, part), cell in self.cells.items() if part in parts]

    def _has_room(self, now: int) -> bool:
        if len(self.cells) >= _CELLS:
            for key in [key for key, cell in self.cells.items() if cell.until <= now]:
                del self.cells[key]
        return len(self.cells) < _CELLS

    def _makes_room(self, until: int) -> bool:
        self.dropped += 1
        parts = [key for key in self.cells if key[2]]
        first = min(parts, key=lambda key: self.cells[key].until, default=None)
        if first is None or self.cells[first].until >= until:
            return False
        del self.cells[first]
        return True
