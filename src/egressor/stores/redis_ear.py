"""
The thread that hears for which services this process is called.

It has a line of its own, as one that listens can't be asked anything else. When the line ends it is opened again, for
ever: at first soon, then once a second. What was called meanwhile is lost, which costs time and nothing else.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from . import StoreAway
from .redis_words import seen

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

    from .redis_line import Line

__all__ = ["listen"]

_LOG = logging.getLogger("egressor")
_PING = 1.0
# So often in a row nothing is said before the other end is asked; at once if another line of this process has failed.
_QUIET = 5
_FIRST = 0.02
_LONGEST = 1.0


def listen(
    open_line: Callable[[], Line], channel: str, called: Callable[[str], object], closed: Event, doubt: Event
) -> None:
    """
    Hand what is said on *channel* to *called*, until *closed*.

    Whoever has been let down by another line to the same server sets *doubt*: a network that forgets connections tells
    nobody, and calls would be lost for long.
    """
    pause = _FIRST
    while not closed.is_set():
        with suppress(StoreAway, RedisError, OSError, ValueError):
            line = open_line()
            try:
                line.send("SUBSCRIBE", channel, until=monotonic() + _PING)
                while not closed.is_set() and _hear(line, called, doubt):
                    pause = _FIRST
            finally:
                line.close()
        closed.wait(pause)
        pause = min(2 * pause, _LONGEST)


def _hear(line: Line, called: Callable[[str], object], doubt: Event) -> bool:
    """
    Wait for the next that is said. Where nothing is, ask whether anybody is there; whether the line is alive.
    """
    found = None
    for _ in range(_QUIET):
        found = line.read(until=monotonic() + _PING)
        if found is not None or doubt.is_set():
            break
    doubt.clear()
    if found is None:
        line.send("PING", until=monotonic() + _PING)
        found = line.read(until=monotonic() + _PING)
        if found is None:
            return False
    if isinstance(found, list) and found[0] == b"message":
        try:
            called(seen(found[2]))
        except Exception:  # noqa: BLE001 - a call that nobody could hear would end all others
            _LOG.exception("what should be done when a service is called failed")
    return True
