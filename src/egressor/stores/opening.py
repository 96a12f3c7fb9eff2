"""
A store by its address.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from egressor.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from . import Store
    from .shelf_shared import Answers

__all__ = ["open_answers", "open_store"]

_SQLITE = "sqlite:///"


def open_store(address: str) -> Store | None:
    """
    Return the store at *address*, which the configuration has checked; None for ``memory:``, which is none. Nothing is
    opened before it is used.

    Raises:
        ConfigError: Its folder is not there, or what it needs is not installed.
    """
    if address == "memory:":
        return None
    if address.startswith(_SQLITE):
        from .sqlite import SqliteStore

        return SqliteStore(_file(address))
    from .redis import RedisStore

    return RedisStore(address)


def open_answers(address: str, *, wall: Callable[[], int]) -> Answers | None:
    """
    Return where processes of the store at *address* share answers; None for ``memory:``. Nothing is opened before it
    is used.

    Args:
        address: The store's address, which the configuration has checked.
        wall: Time since 1970, in microseconds.
    """
    if address == "memory:":
        return None
    if address.startswith(_SQLITE):
        from .shelf_sqlite import AnswerFile

        path = _file(address)
        return AnswerFile(path.with_name(f"{path.name}.answers"), wall=wall)
    from .shelf_redis import AnswerServer

    return AnswerServer(address, wall=wall)


def _file(address: str) -> Path:
    # Absolute from here on: a daemon changes its directory after it has read its configuration.
    path = Path(os.path.abspath(unquote(address.removeprefix(_SQLITE))))  # noqa: PTH100 - links stay as they are
    if not path.parent.is_dir():
        msg = f"the folder of the store's file is not there, or is none: {path.parent}"
        raise ConfigError(msg, key="egressor.store")
    if path.is_dir():
        msg = f"the store's file is a folder: {path}"
        raise ConfigError(msg, key="egressor.store")
    return path
