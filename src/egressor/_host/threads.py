"""
Starting a thread where none may be left: a container bounds how many there are.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threading import Thread

__all__ = ["starts"]

_LOG = logging.getLogger("egressor")
_told = [False]


def starts(thread: Thread) -> bool:
    """
    Start *thread*; False if the system gives none, which is logged the first time. Whoever asked tries again later.
    """
    try:
        thread.start()
    except (RuntimeError, MemoryError) as error:
        if not _told[0]:
            _told[0] = True
            _LOG.warning("a thread could not be started, and is tried again later: %s: %s", thread.name, error)
        return False
    return True
