"""
Where a Redis or Valkey server is: its address, read.

- ``redis://host:port/db``, ``rediss://…`` for TLS, ``redis+unix:///path/to/socket?db=0``
- ``redis+cluster://host:port,host:port``, ``rediss+cluster://…``
- ``redis+sentinel://host:port,host:port/master/db``, ``rediss+sentinel://…``

After ``?`` may stand ``namespace``, and for TLS ``ssl_ca_certs``, ``ssl_certfile``, ``ssl_keyfile``,
``ssl_check_hostname`` (``no``). A password stands in the environment, as ``EGRESSOR_REDIS_PASSWORD`` or
``REDISCLI_AUTH``. One in a configuration's address is refused before it comes here (`egressor.policies.addresses`), as
addresses are logged along the way; one that comes here all the same works, and is shown nowhere.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

from egressor.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Place"]

_KEY = "egressor.store"
_KINDS = {"": "single", "+unix": "unix", "+cluster": "cluster", "+sentinel": "sentinel"}
_TLS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname")
_PASSWORDS = ("EGRESSOR_REDIS_PASSWORD", "REDISCLI_AUTH")
_NAMESPACE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_PORTS = {"sentinel": 26_379}
_NO = {"no": False, "false": False, "0": False, "yes": True, "true": True, "1": True}


class Place:
    """
    An address in parts.

    Args:
        address: The address.
        environ: Where passwords stand. Default: the process's environment.

    Attributes:
        kind: ``single``, ``unix``, ``cluster`` or ``sentinel``.
        hosts: Hosts and ports; of sentinels where the kind says so. The path of the socket and 0 for ``unix``.
        db: The database's number.
        master: What sentinels call the master; else empty.
        namespace: What keeps users of one server apart. Default: ``default``.
        username: Who we are there; None is the default user.
        password: How that is proved.
        sentinel_password: How it is proved to sentinels: the ``EGRESSOR_SENTINEL_PASSWORD`` of the environment.
        tls: Options of TLS; None where it isn't spoken.

    Raises:
        ConfigError: It is no such address. Nothing of it is repeated, as a password may stand anywhere in it.
    """

    def __init__(self, address: str, environ: Mapping[str, str] = os.environ) -> None:
        found = re.fullmatch(r"(rediss?)(\+[a-z]+)?://(.*)", address, re.DOTALL)
        if found is None or found[2] not in (None, *_KINDS):
            msg = "it is not redis://host:port/db, nor one of rediss, redis+cluster, redis+sentinel, redis+unix"
            raise _wrong(msg)
        self.kind = _KINDS[found[2] or ""]
        try:
            parts = urlsplit("//" + found[3])
        except ValueError:
            parts = None
        if parts is None or parts.fragment:
            # A `#` in a password ends the part that names the host.
            msg = "it can't be read; a password with special characters belongs into the environment"
            raise _wrong(msg)
        user, at, places = parts.netloc.rpartition("@")
        name, _, password = user.partition(":")
        self.username = unquote(name) or None if at else None
        given = next((environ[each] for each in _PASSWORDS if environ.get(each)), None)
        self.password = unquote(password) or given
        self.sentinel_password = environ.get("EGRESSOR_SENTINEL_PASSWORD") or None
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.hosts = self._hosts(places, parts.path)
        self.master, self.db = self._database(parts.path, options)
        self.namespace = options.pop("namespace", "default")
        if not _NAMESPACE.fullmatch(self.namespace):
            msg = "its namespace has other characters than letters, digits, `.`, `_`, `-`, or more than 64"
            raise _wrong(msg)
        self.tls = self._tls(options) if found[1] == "rediss" else None
        if options:
            known = ", ".join(("namespace", *_TLS))
            msg = f"it has a parameter that may not stand here; those that may: {known}, the last four for TLS"
            raise _wrong(msg)

    def __repr__(self) -> str:
        return f"<Place {self.kind}: {self}>"

    def __str__(self) -> str:
        return ", ".join(host if self.kind == "unix" else f"{host}:{port}" for host, port in self.hosts)

    def _hosts(self, places: str, path: str) -> list[tuple[str, int]]:
        if self.kind == "unix":
            if places or not path:
                msg = "it names no socket: redis+unix:///run/redis.sock has three slashes"
                raise _wrong(msg)
            return [(unquote(path), 0)]
        hosts = [self._host(each) for each in places.split(",") if each] or [("localhost", _PORTS.get(self.kind, 6379))]
        if self.kind == "single" and len(hosts) > 1:
            msg = "it names several servers: redis+cluster:// and redis+sentinel:// may"
            raise _wrong(msg)
        return hosts

    def _host(self, place: str) -> tuple[str, int]:
        found = re.fullmatch(r"(?:\[([0-9a-fA-F:.%]+)\]|([A-Za-z0-9._-]+))(?::([0-9]{1,5}))?", place)
        port = int(found[3]) if found and found[3] else _PORTS.get(self.kind, 6379)
        if found is None or not 0 < port < 1 << 16:
            msg = "the name or the port of its host can't be read"
            raise _wrong(msg)
        return found[1] or found[2], port

    def _database(self, path: str, options: dict[str, str]) -> tuple[str, int]:
        master = ""
        if self.kind == "unix":
            said = options.pop("db", "")
        elif self.kind == "sentinel":
            master, _, said = path.removeprefix("/").partition("/")
            if not master:
                msg = "it doesn't say what the sentinels call the master: redis+sentinel://host:port/master/0"
                raise _wrong(msg)
        else:
            said = path.removeprefix("/")
        if not re.fullmatch(r"[0-9]{0,4}", said):
            msg = "its database is no number"
            raise _wrong(msg)
        if self.kind == "cluster" and int(said or 0):
            msg = "a cluster has no database but 0"
            raise _wrong(msg)
        return unquote(master), int(said or 0)

    @staticmethod
    def _tls(options: dict[str, str]) -> dict[str, str | bool]:
        found: dict[str, str | bool] = {"ssl_check_hostname": True}
        for name in _TLS:
            if name in options:
                found[name] = options.pop(name)
        check = found["ssl_check_hostname"]
        if isinstance(check, str):
            if check.lower() not in _NO:
                msg = "ssl_check_hostname is neither yes nor no"
                raise _wrong(msg)
            found["ssl_check_hostname"] = _NO[check.lower()]
        return found


def _wrong(message: str) -> ConfigError:
    return ConfigError(message, key=_KEY)
