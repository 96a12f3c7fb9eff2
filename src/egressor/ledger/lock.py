"""
A ledger's turn: one writer at a time, over all processes of this host.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from egressor._host import lock
from egressor._host.lock import hold

from . import LedgerAway

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["hold", "turn"]

_PATIENCE = 2.0


@contextmanager
def turn(path: Path, *, patience: float = _PATIENCE) -> Iterator[None]:
    """
    Hold the lock file at *path* for a piece of work.

    Raises:
        LedgerAway: Somebody else held it for *patience* seconds, or it can't be opened.
    """
    with ExitStack() as mine:
        try:
            mine.enter_context(lock.turn(path, patience=patience))
        except lock.LockAway as error:
            raise LedgerAway(str(error)) from None
        yield
