"""
The lines to one Redis server that are at hand.

A line is away from the others while it is asked, and comes back only when its answer has been read whole. To open one
may take longer than whoever needs it can wait: names are looked up, TLS is agreed on. So that is done on a thread of
its own. Who can't wait goes away empty-handed, and finds the line at hand when it comes again.
"""

from __future__ import annotations

import os
from collections import deque
from threading import Event, Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING

from . import StoreAway

if TYPE_CHECKING:
    from collections.abc import Callable

    from .redis_line import Line

__all__ = ["Lines"]

_DIALS = 8
_IDLE = 8


class Lines:
    """
    The lines to one server that are at hand, for any thread.

    Args:
        open_line: Makes one.
    """

    def __init__(self, open_line: Callable[[], Line]) -> None:
        self._open = open_line
        self._idle: deque[Line] = deque()
        self._dials = 0
        self._lock = Lock()
        self._is_closed = False

    def take(self, until: float) -> Line:
        """
        Return a line that nobody else has.

        Raises:
            StoreAway: None can be had *until* then.
        """
        while self._idle:
            try:
                line = self._idle.pop()
            except IndexError:
                break
            if line.pid == os.getpid() and line.is_fresh():
                return line
            line.close()
        return self._dial(until)

    def give(self, line: Line) -> None:
        """
        Hand back a line whose answers have been read.
        """
        if self._is_closed or len(self._idle) >= _IDLE:
            line.close()
        else:
            self._idle.append(line)

    def drop(self) -> None:
        """
        End those that are at hand: one of them broke, and they go to the same server.
        """
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:
                return

    def close(self) -> None:
        """
        End all, also those that come back later.
        """
        self._is_closed = True
        self.drop()

    def _dial(self, until: float) -> Line:
        with self._lock:
            if self._dials >= _DIALS:
                msg = f"Redis: {_DIALS} connections are being opened, and none is open yet"
                raise StoreAway(msg)
            self._dials += 1
        dial = _Dial(self)
        try:
            Thread(target=dial.run, args=(self._open,), name="egressor-redis-dial", daemon=True).start()
        except RuntimeError:
            self.dialled()
            msg = "Redis: no thread can be started to open a connection"
            raise StoreAway(msg) from None
        return dial.wait(until)

    def dialled(self) -> None:
        """
        Count one dial less.
        """
        with self._lock:
            self._dials -= 1


class _Dial:
    """
    A line that is being opened, and whoever waits for it.
    """

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._lock = Lock()
        self._done = Event()
        self._line: Line | None = None
        self._text = ""
        self._is_left = False

    def run(self, open_line: Callable[[], Line]) -> None:
        try:
            self._line = open_line()
        except StoreAway as error:
            self._text = str(error)
        except Exception as error:  # noqa: BLE001 - whoever waits is told; nobody else could be
            self._text = f"Redis: {type(error).__name__} while connecting"
        finally:
            self._lines.dialled()
        with self._lock:
            self._done.set()
            if self._is_left and self._line is not None:
                self._lines.give(self._line)

    def wait(self, until: float) -> Line:
        self._done.wait(max(0.0, until - monotonic()))
        with self._lock:
            if not self._done.is_set():
                self._is_left = True
                msg = "Redis: no connection yet"
                raise StoreAway(msg)
        if self._line is None:
            raise StoreAway(self._text)
        return self._line
