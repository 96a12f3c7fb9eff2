"""
The command ``doctor``: whether what Egressor stands on holds.

It looks, and changes nothing: no file is made, no member joins, nothing is taken of a limit.
"""

from __future__ import annotations

import json
import platform
import sqlite3
import stat
import time
from contextlib import closing, suppress
from importlib.metadata import version
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import click

from egressor.errors import ConfigError
from egressor.gateway import place
from egressor.gateway.targets import refusals
from egressor.ledger.opening import open_history
from egressor.policies import Config, load
from egressor.stores import StoreAway
from egressor.stores.opening import open_store
from egressor.stores.overview import members

from . import home
from .findings import BAD, OK, WARN, Finding, about_files, about_server, about_sqlite, uncounted, unpriced
from .text import columns

if TYPE_CHECKING:
    from egressor.stores import Store

__all__ = ["doctor"]

_SQLITE = "sqlite:///"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@click.command
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--config", "file", type=click.Path(), help="Configuration file.")
def doctor(file: str | None, *, as_json: bool) -> int:
    """
    Look whether the store, the ledger and what they stand on are fit, and say what to do about what is not.

    The exit code is 1 if something is bad, and 0 if there are no more than warnings.
    """
    config = _config(file)
    findings = [*_machine(), *_store(config), *_ledger(config), *_keys(config), *_limits(config), *_gateway()]
    is_fit = all(each.level != BAD for each in findings)
    if as_json:
        document = {"ok": is_fit, "findings": [each._asdict() for each in findings]}
        click.echo(json.dumps(document, ensure_ascii=False))
    else:
        click.echo(columns([(each.level, each.what, each.text) for each in findings]))
    return 0 if is_fit else 1


def _config(file: str | None) -> Config:
    """
    Return the configuration, or that of no file where there is none.
    """
    try:
        path = home.config_path(file)
    except ConfigError:
        return home.settled(Config(), anyway=True)
    return home.settled(load(path), anyway=True)


def _machine() -> list[Finding]:
    python = f"{platform.python_version()}, egressor {version('egressor')}"
    found = [Finding("python", OK, python), about_sqlite(sqlite3.sqlite_version_info)]
    folder = place.folder()
    with suppress(OSError):
        mode = stat.S_IMODE(folder.stat().st_mode)
        if mode & _OTHERS:
            found.append(Finding("state folder", WARN, f"others may look into {folder}, mode {mode:o}: chmod 700"))
    return found


# --- the store -------------------------------------------------------------------------------------------------------


def _store(config: Config) -> list[Finding]:
    if config.store == "memory:":
        text = "memory: each process counts by itself; to share limits, name a sqlite:///file or a redis://host"
        return [Finding("store", OK, text)]
    if _is_unmade(config, "store"):
        return [Finding("store", OK, "its folder is not there yet: egressor serve makes it")]
    try:
        store = open_store(config.store)
    except ConfigError as error:
        return [Finding("store", BAD, error.message)]
    assert store is not None  # noqa: S101 - memory was ruled out
    with closing(store):
        path = getattr(store, "path", None)
        found = about_files("store", path) if isinstance(path, Path) else _wire(config.store)
        if any(each.level == BAD for each in found):
            return found
        return [*found, *_asked(config, store)]


def _asked(config: Config, store: Store) -> list[Finding]:
    facts = getattr(store, "facts", None)
    try:
        found = about_server(facts()) if facts is not None else []
    except StoreAway as error:
        found = [Finding("server", WARN, f"it doesn't say how it is: {error}")]
    try:
        return [*found, _members(config, store)]
    except StoreAway as error:
        text = f"it can't be asked: {error}; until it can, on_store_loss = {config.on_store_loss!r} holds"
        return [Finding("store", BAD, text)]


def _members(config: Config, store: Store) -> Finding:
    alive: set[str] = set()
    places = 0
    for name in sorted({*config.services, *store.services()}):
        state, at = store.look(name)
        mine = {each["name"] for each in members(state, at)}
        alive |= mine
        places += sum(units for row in state.held.values() for who, units in row.items() if who in mine)
    text = f"it answers; {len(alive)} members have asked within the last seconds, and hold {places} places"
    return Finding("members", OK, text)


def _wire(address: str) -> list[Finding]:
    from egressor.stores.redis_place import Place

    where = Place(address)
    if where.tls is None and where.kind != "unix" and not all(_is_here(host) for host, _ in where.hosts):
        text = f"{where}: passwords and users' names go there in the clear; where others listen, use rediss://"
        return [Finding("store", WARN, text)]
    return [Finding("store", OK, f"{where}, {'TLS' if where.tls is not None else 'on this machine'}")]


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# --- the rest --------------------------------------------------------------------------------------------------------


def _ledger(config: Config) -> list[Finding]:
    if config.ledger == "memory:":
        return [Finding("ledger", OK, "memory: history ends with its process; to keep it, name a sqlite:///file")]
    if _is_unmade(config, "ledger"):
        return [Finding("ledger", OK, "its folder is not there yet: egressor serve makes it")]
    found = []
    if config.ledger.startswith(_SQLITE):
        found = about_files("ledger", Path(unquote(config.ledger.removeprefix(_SQLITE))).absolute())
        if any(each.level == BAD for each in found):
            return found
    try:
        history = open_history(config.ledger, wall=lambda: time.time_ns() // 1000, is_reading=True)
    except ConfigError as error:
        return [*found, Finding("ledger", BAD, error.message)]
    with closing(history):
        state = history.state()
    if state["away"]:
        text = f"it can't be read: {state['away']}; what happens meanwhile waits in the spool"
        return [*found, Finding("ledger", BAD, text)]
    if state["spooled"]:
        text = f"{state['spooled']} entries wait in the spool: the next process that writes takes them along"
        return [*found, Finding("ledger", WARN, text)]
    text = f"{state['ledger']}: it answers, and holds {state['entries']} entries of at most {config.history_most}"
    return [*found, Finding("ledger", OK, f"{text}, which are kept for {config.history_for / 86_400:g} days")]


def _keys(config: Config) -> list[Finding]:
    found = [Finding("upstream", BAD, f"{each}; egressor serve would not start here") for each in refusals(config)]
    return [*found, *[Finding("prices", WARN, str(each)) for each in unpriced(config)]]


def _limits(config: Config) -> list[Finding]:
    return [Finding("limits", WARN, each) for each in uncounted(config)]


def _gateway() -> list[Finding]:
    known = place.find()
    return [Finding("gateway", OK, f"runs at {known.url}" if known else "none of this user's runs")]


def _is_unmade(config: Config, name: str) -> bool:
    return config.sources[name] == home.HOME and not place.folder().is_dir()
