"""
A ledger by its address.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from egressor.errors import ConfigError

from . import KEEP_FOR, KEEP_MOST
from .history import History
from .memory import MemoryLedger

if TYPE_CHECKING:
    from collections.abc import Callable

    from . import Ledger
    from .spool import Spool
    from .till import MemoryTill, Till

__all__ = ["open_history", "open_ledger", "open_till"]

_SQLITE = "sqlite:///"


def open_ledger(address: str) -> Ledger:
    """
    Return the ledger at *address*, which the configuration has checked. Nothing is opened before it is used.

    Raises:
        ConfigError: Its folder is not there, or what it needs is not installed.
    """
    if address.startswith(_SQLITE):
        from .sqlite import SqliteLedger

        return SqliteLedger(_file(address))
    if address.startswith("postgresql:"):
        from .postgres import PostgresLedger

        return PostgresLedger(address)
    return MemoryLedger()


def open_history(
    address: str,
    *,
    wall: Callable[[], int],
    keep_for: int = KEEP_FOR,
    keep_most: int = KEEP_MOST,
    is_reading: bool = False,
) -> History:
    """
    Return the way into the ledger at *address*, with its spool; one that only *is reading* leaves the spool alone.

    Args:
        address: Where the ledger is.
        wall: The time, in microseconds since 1970.
        keep_for: How long an entry is kept, in microseconds. Default: a year.
        keep_most: How many entries are kept. Default: 1,000,000; in memory 10,000 at most.
        is_reading: Whether nothing is written.

    Raises:
        ConfigError: As `open_ledger`.
    """
    ledger = open_ledger(address)
    ledger.retain(keep_for, keep_most)
    return History(ledger, spool=_spool(address) if ledger.is_durable else None, wall=wall, is_reading=is_reading)


def open_till(address: str, *, wall: Callable[[], int], keep_for: int = KEEP_FOR) -> Till | MemoryTill:
    """
    Return the way of money into the ledger at *address*, with a connection and a spool of its own.

    Args:
        address: Where the ledger is.
        wall: The time, in microseconds since 1970.
        keep_for: How long sums are kept, in microseconds. Default: a year.

    Raises:
        ConfigError: As `open_ledger`.
    """
    from .till import MemoryTill, Till

    ledger = open_ledger(address)
    if not ledger.is_durable:
        return MemoryTill(ledger, wall=wall, keep_for=keep_for)
    return Till(ledger, spool=_spool(address, "owed"), wall=wall, keep_for=keep_for)


def _spool(address: str, name: str = "spool") -> Spool:
    from .spool import Spool

    if address.startswith(_SQLITE):
        file = _file(address)
        return Spool(file.with_name(f"{file.name}.{name}"))
    import hashlib

    known = hashlib.sha256(address.encode()).hexdigest()[:16]
    base = os.environ.get("XDG_STATE_HOME", "")
    state = Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "state"
    return Spool(state / "egressor" / name / known)


def _file(address: str) -> Path:
    from urllib.parse import unquote

    # Absolute from here on: a daemon changes its directory after it has read its configuration.
    path = Path(os.path.abspath(unquote(address.removeprefix(_SQLITE))))  # noqa: PTH100 - links stay as they are
    if not path.parent.is_dir():
        msg = f"the folder of the ledger's file is not there, or is none: {path.parent}"
        raise ConfigError(msg, key="egressor.ledger")
    if path.is_dir():
        msg = f"the ledger's file is a folder: {path}"
        raise ConfigError(msg, key="egressor.ledger")
    return path
