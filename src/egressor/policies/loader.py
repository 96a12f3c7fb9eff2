"""
From ``egressor.toml``, or tables of its shape, to a `Config`: every error is found, and says where.

This opens the one file that the room may open; what a table means is in `reading`.
"""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING, Any

from egressor.errors import ConfigError
from egressor.policies.checks import dotted, show
from egressor.policies.hiding import hide
from egressor.policies.reading import ConfigErrors, Reading

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from egressor.policies.model import Config, Policy

__all__ = ["ConfigErrors", "from_services", "from_table", "load"]

_LARGEST = 1_000_000
_PLACE = r" \(at line (\d+), column \d+\)$"
_END = " (at end of document)"


def load(path: str | os.PathLike[str]) -> Config:
    """
    Read the configuration file at *path*.

    Raises:
        ConfigError: It can't be read, is not TOML, or a setting is wrong: with file, line, key, and the nearest valid
            name. Several at once are a `ConfigErrors`.
    """
    import tomllib

    from egressor.policies.lines import find_lines

    file = os.fspath(path)
    text, writable = _read(file)
    try:
        table = tomllib.loads(text)
        lines = find_lines(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(str(error), file=file, text=text) from None
    except RecursionError:
        message = "lists or tables are nested too deeply"
        raise ConfigError(message, file=file) from None
    except ValueError:
        # An integer of thousands of digits: Python refuses it before tomllib can say where it stands.
        message = "a number has too many digits"
        raise ConfigError(message, file=file) from None

    reading = Reading(file=file, lines=lines)
    config = reading.config(table)
    if writable:
        _refuse_keys(config, file)
    return config


def from_table(table: Mapping[str, Any], *, file: str | None = None) -> Config:
    """
    Read a table of the file's shape; *file* is only named in errors and sources.

    Raises:
        ConfigError: A setting is wrong; see `load`.
    """
    return Reading(file=file, lines={}).config(table)


def from_services(services: Mapping[str, Policy | Mapping[str, Any]], **settings: object) -> Config:
    """
    Build a configuration from services by name, each a `Policy` or a table of the file's shape.

    Args:
        services: Policies or tables by the service's name.
        **settings: What stands in the file's ``[egressor]`` section: ``store``, ``ledger``, ``history_for``,
            ``history_most``, ``money_sync``, ``on_store_loss``, ``unknown_hosts``.

    Raises:
        ConfigError: A setting is wrong; see `load`.
    """
    return from_table({"egressor": settings, "services": services})


def _read(file: str) -> tuple[str, bool]:
    """
    Return the text of *file*, and whether everybody may write to it.
    """
    from pathlib import Path

    path = Path(file)
    try:
        state = path.stat()
        raw = _bytes(path) if stat.S_ISREG(state.st_mode) else None
    except OSError as error:
        message = f"it can't be read: {error.strerror or type(error).__name__}"
        raise ConfigError(message, file=file) from None
    except ValueError:
        message = f"{show(file)} is no path"
        raise ConfigError(message) from None
    if raw is None:
        # A pipe would wait for ever, a device never end.
        message = "it is not a regular file"
        raise ConfigError(message, file=file)
    if len(raw) > _LARGEST:
        message = f"it has {state.st_size} bytes, more than {_LARGEST}"
        raise ConfigError(message, file=file)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"it is not UTF-8: byte 0x{raw[error.start]:02x}"
        raise ConfigError(message, file=file, line=raw.count(b"\n", 0, error.start) + 1) from None
    return text, os.name == "posix" and bool(state.st_mode & stat.S_IWOTH)


def _bytes(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_LARGEST + 1)


def _refuse_keys(config: Config, file: str) -> None:
    """
    Refuse a file that everybody may write to, if it says where a key is sent, or who has one.
    """
    for name, policy in config.services.items():
        if policy.api_key is not None:
            message = "everybody may write to the file, and so choose where the key is sent: chmod o-w"
            raise ConfigError(message, file=file, key=dotted(("services", name, "api_key")))
    if config.gateway.keys:
        message = "everybody may write to the file, and so make a key of their own: chmod o-w"
        raise ConfigError(message, file=file, key="gateway.keys")


def _syntax_error(message: str, *, file: str, text: str) -> ConfigError:
    from egressor.policies.lines import find_twice

    twice = find_twice(text) if re.match(r"Cannot (overwrite|declare|mutate)", message) else None
    if twice is not None:
        path, first, second = twice
        return ConfigError(f"it is there twice, first on line {first}", file=file, line=second, key=dotted(path))
    place = re.search(_PLACE, message)
    line = int(place[1]) if place else max(1, text.rstrip("\n").count("\n") + 1)
    what = hide(re.sub(_PLACE, "", message).removesuffix(_END))
    return ConfigError(f"not valid TOML: {what[:1].lower()}{what[1:]}", file=file, line=line)
