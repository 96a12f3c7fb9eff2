"""
What the commands put into effect: the configuration, and the user's state folder for what it gives no place.

A library keeps its counters and its history in memory unless it is told otherwise. A gateway and its commands are
several processes that speak of the same services, so they share a file without being told.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from egressor.errors import ConfigError
from egressor.gateway import place
from egressor.governor.asked import check_service
from egressor.ledger.opening import open_history
from egressor.policies import load
from egressor.policies.settings import DEFAULT, with_sources
from egressor.stores.opening import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from egressor.policies import Config

__all__ = ["HOME", "config_path", "find", "is_used", "named", "prepare", "read", "settled"]

HOME = "default of the commands"
"""
The source of a value that `settled` has put in.
"""

_DEFAULT = "egressor.toml"
_FILE = "egressor.db"


def config_path(given: str | None) -> Path:
    """
    Return the configuration file: *given*, else ``EGRESSOR_CONFIG``, else ``egressor.toml`` here.

    Raises:
        ConfigError: There is none.
    """
    named = given or os.environ.get("EGRESSOR_CONFIG")
    path = Path(named or _DEFAULT)
    if not named and not path.exists():
        message = "there is no such file here: name one with --config or EGRESSOR_CONFIG, or write one: egressor init"
        raise ConfigError(message, file=_DEFAULT)
    return path


def prepare() -> str:
    """
    Make the user's state folder, which only this user may look into; return why it can't be made, or nothing.
    """
    try:
        place.folder().mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:
        return getattr(error, "strerror", None) or str(error)
    return ""


def settled(config: Config, *, anyway: bool = False) -> Config:
    """
    Return *config* with the file in the user's state folder as its store and its ledger, where it names none.

    Where that folder isn't there, they stay in memory; *anyway* shows what they would be.
    """
    # A store in a file takes locks of the kind that POSIX has.
    names = ("store", "ledger") if os.name == "posix" else ("ledger",)
    missing = [name for name in names if config.sources[name] == DEFAULT]
    folder = _folder()
    if not missing or folder is None or not (anyway or folder.is_dir()):
        return config
    address = f"sqlite:///{quote(str(folder / _FILE))}"
    store = address if "store" in missing else config.store
    ledger = address if "ledger" in missing else config.ledger
    sources = {**config.sources, **dict.fromkeys(missing, HOME)}
    return with_sources(replace(config, store=store, ledger=ledger), sources)


def read(path: Path) -> Config:
    """
    Return the configuration in the file at *path*, as the commands put it into effect.

    Raises:
        ConfigError: It can't be read, or holds a mistake.
    """
    return settled(load(path))


def find(file: str | None, url: str | None) -> Config | None:
    """
    Return the configuration that *file* or the environment names; None where there is none, or the gateway at *url* is
    to be asked.

    Raises:
        ConfigError: There is one, and it can't be read, or holds a mistake.
    """
    if url is not None:
        return None
    try:
        path = config_path(file)
    except ConfigError:
        return None
    return read(path)


def named(config: Config, service: str, *, paid: Callable[[], Collection[str]] = tuple) -> None:
    """
    Refuse a *service* that neither *config* nor its ledger knows: what is said of it would look like good news.

    Args:
        config: The configuration.
        service: The name; empty for all.
        paid: Returns the services that have cost something.

    Raises:
        ConfigError: Nobody knows it.
    """
    if service in {"", *config.services}:
        return
    way = open_history(config.ledger, wall=lambda: time.time_ns() // 1000, is_reading=True)
    try:
        check_service(service, config.services, way, paid=paid)
    finally:
        way.close()


def is_used(config: Config) -> bool:
    """
    Whether *config*'s store, a file, has been used by anybody.
    """
    store = open_store(config.store)
    path: Path | None = getattr(store, "path", None)
    return path is not None and path.exists()


def _folder() -> Path | None:
    try:
        return place.folder()
    except RuntimeError:  # This user has no home.
        return None
