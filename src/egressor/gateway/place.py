"""
Where a running gateway is found by the commands of the same user: its URL and the operator's token, in a file that
nobody else can read.
"""

from __future__ import annotations

import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from egressor.errors import ConfigError

__all__ = ["Place", "find", "folder", "leave", "new_token", "settle"]

_SHORTEST_TOKEN = 16


class Place(NamedTuple):
    """
    A running gateway.

    Attributes:
        url: Where it is, without a slash at the end.
        token: What an operator shows.
        pid: Its process.
    """

    url: str
    token: str
    pid: int

    def __repr__(self) -> str:
        return f"Place({self.url!r}, pid={self.pid})"


def folder() -> Path:
    """
    Return the user's state folder: ``$XDG_STATE_HOME/egressor``, else ``~/.local/state/egressor``.
    """
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".local" / "state") / "egressor"  # noqa: PTH117


def new_token() -> str:
    """
    Return the token of ``EGRESSOR_TOKEN``, or else a random one.

    Raises:
        ConfigError: The one that is set is too short to protect anything.
    """
    token = os.environ.get("EGRESSOR_TOKEN", "")
    if not token:
        return secrets.token_urlsafe(32)
    if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        message = f"it must have at least {_SHORTEST_TOKEN} printable ASCII characters and no blank"
        raise ConfigError(message, key="EGRESSOR_TOKEN")
    return token


def settle(place: Place) -> Path:
    """
    Write *place* down, readable by this user only, and return the file.

    Raises:
        OSError: It can't be written.
    """
    home = folder()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = home / f"gateway-{place.url.rpartition(':')[2]}.json"
    fresh = home / f".gateway-{place.pid}-{secrets.token_hex(4)}"
    # Made with its mode, never widened for a moment, and renamed when it is whole.
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        json.dump(place._asdict(), stream)
    fresh.replace(path)
    return path


def leave(path: Path, pid: int) -> None:
    """
    Remove the file at *path*, if it still speaks of the process *pid*.
    """
    place = _read(path)
    if place is not None and place.pid == pid:
        with suppress(OSError):
            path.unlink()


def find(url: str | None = None) -> Place | None:
    """
    Return the gateway at *url*, or the one that was started last; None if none is known.
    """
    try:
        files = sorted(folder().glob("gateway-*.json"), key=_age, reverse=True)
    except OSError:
        return None
    places = [place for path in files if (place := _read(path)) is not None]
    if url is None:
        return next((place for place in places if _is_alive(place.pid)), None)
    return next((place for place in places if place.url == url.rstrip("/")), None)


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _read(path: Path) -> Place | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Place(str(found["url"]), str(found["token"]), int(found["pid"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _is_alive(pid: int) -> bool:
    if os.name != "posix":
        return True  # There, signal 0 would end the process.
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
