"""
Checks of addresses: where cells and facts live. Nothing of what was given is shown but the scheme.
"""

from __future__ import annotations

import re

from egressor.policies.checks import SettingError, nearest, show
from egressor.policies.hiding import holds_secret

__all__ = ["ledger", "store"]

_SERVERS = (
    "redis://",
    "rediss://",
    "redis+cluster://",
    "rediss+cluster://",
    "redis+sentinel://",
    "rediss+sentinel://",
    "redis+unix://",
)
_STORES = ("memory:", "sqlite:///", *_SERVERS)
_KNOWN = ("memory:", "sqlite:///", "postgresql://")
_FILE = r"[^\x00-\x1f\x7f?#]{1,1000}"
_DATABASE = (
    r"postgresql://(?P<user>[^:@/?#]*@)?[A-Za-z0-9._~%:,\[\]-]*(/[A-Za-z0-9._~%-]*)?"
    r"(\?(?P<query>[a-z_]+=[^&#\s]*(&[a-z_]+=[^&#\s]*)*))?"
)
# As `egressor.stores.redis_place` reads them: whatever passes here is an address there, and names no password.
_HOST = r"(\[[0-9a-fA-F:.%]+\]|[A-Za-z0-9._-]+)(:(?P<port>[0-9]{1,5}))?"
_SERVER = r"([A-Za-z0-9._~%-]+@)?(?P<hosts>[^@/?#]*)(/(?P<path>[^?#]*))?(\?(?P<query>[^#]*))?"
_OPTIONS = {
    "namespace": r"[A-Za-z0-9_.-]{1,64}",
    "db": r"[0-9]{0,4}",
    "ssl_ca_certs": r"[^\x00-\x20\x7f]{1,1000}",
    "ssl_certfile": r"[^\x00-\x20\x7f]{1,1000}",
    "ssl_keyfile": r"[^\x00-\x20\x7f]{1,1000}",
    "ssl_check_hostname": r"(?i:no|false|0|yes|true|1)",
}
_ELSEWHERE = (
    "a password has no place in an address, which is logged along the way: put it into the environment variable "
    "EGRESSOR_REDIS_PASSWORD"
)
# Those of libpq's parameters that hold no secret, and change nothing that the ledger counts on.
_PARAMETERS = (
    "host",
    "hostaddr",
    "passfile",
    "port",
    "sslcert",
    "sslcrl",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "target_session_attrs",
    "user",
)


def store(value: object) -> str:
    """
    Check a store's address: ``memory:``, ``sqlite:///file``, ``redis://host:port/0`` and its kin.
    """
    if not isinstance(value, str):
        raise _no_address(value, _STORES)
    if value == "memory:":
        return value
    if value.startswith("sqlite:///"):
        return _file(value)
    if value.startswith(_SERVERS):
        return _server(value)
    raise _no_address(value, _STORES)


def ledger(value: object) -> str:
    """
    Check a ledger's address: ``memory:``, ``sqlite:///file``, ``postgresql://user@host:port/database``.
    """
    if not isinstance(value, str):
        raise _no_address(value, _KNOWN)
    if value == "memory:":
        return value
    if value.startswith("sqlite:///"):
        return _file(value)
    if value.startswith("postgresql://"):
        return _database(value)
    raise _no_address(value, _KNOWN)


def _file(value: str) -> str:
    path = value.removeprefix("sqlite:///")
    if not re.fullmatch(_FILE, path) or path == ":memory:":
        message = 'it names no file: "sqlite:///history.db" is one in the working directory, "sqlite:////var/…" another'
        raise SettingError(message)
    return value


def _server(value: str) -> str:
    scheme, _, rest = value.partition("://")
    # Whatever stands before the last `@` of all is taken for a password: one may hold any character.
    user = rest.rpartition("@")[0]
    if ":" in user or holds_secret(user):
        raise SettingError(_ELSEWHERE)
    found = re.fullmatch(_SERVER, rest)
    if found is None or re.search(r"[\s\x00-\x1f\x7f]", rest):
        message = "it can't be read: redis://user@host:6379/0 can"
        raise SettingError(message)
    kind = scheme.partition("+")[2]
    hosts, path = found["hosts"], found["path"] or ""
    if kind == "unix":
        if hosts or not path or found[1]:
            message = "it names no socket: redis+unix:///run/redis.sock has three slashes"
            raise SettingError(message)
    else:
        _check_hosts(hosts.split(","), kind)
        _check_database(path, kind)
    _check_options(found["query"] or "", kind, is_tls=scheme.startswith("rediss"))
    return value


def _check_hosts(hosts: list[str], kind: str) -> None:
    if len(hosts) > 1 and not kind:
        message = "it names several servers: redis+cluster:// and redis+sentinel:// may"
        raise SettingError(message)
    for host in hosts:
        found = re.fullmatch(_HOST, host)
        if found is None or not 0 < int(found["port"] or 6379) < 1 << 16:
            message = "the name or the port of its host can't be read: redis://host:6379/0 has both"
            raise SettingError(message)


def _check_database(path: str, kind: str) -> None:
    database = path
    if kind == "sentinel":
        master, _, database = path.partition("/")
        if not master:
            message = "it doesn't say what the sentinels call the master: redis+sentinel://host:26379/master/0"
            raise SettingError(message)
    if not re.fullmatch(r"[0-9]{0,4}", database):
        message = "its database is no number: redis://host:6379/0 ends with one"
        raise SettingError(message)
    if kind == "cluster" and int(database or 0):
        message = "a cluster has no database but 0"
        raise SettingError(message)


def _check_options(query: str, kind: str, *, is_tls: bool) -> None:
    known = [name for name in _OPTIONS if (is_tls or not name.startswith("ssl_")) and (kind == "unix" or name != "db")]
    for option in query.split("&") if query else ():
        name, _, given = option.partition("=")
        if name not in known:
            message = f"it has a parameter that may not stand here; those that may: {', '.join(known)}"
            raise SettingError(message, nearest=nearest(name, known))
        if not re.fullmatch(_OPTIONS[name], given):
            message = f"its {name} can't be read"
            raise SettingError(message)


def _database(value: str) -> str:
    found = re.fullmatch(_DATABASE, value)
    if found is None:
        # A password stands here, most of the time.
        message = (
            "it is not postgresql://user@host:port/database; a password belongs into PGPASSWORD or a password file, "
            "as an address is logged along the way"
        )
        raise SettingError(message)
    for parameter in (found["query"] or "").split("&"):
        name, _, given = parameter.partition("=")
        if name and name not in _PARAMETERS:
            message = f"it has a parameter that may not stand here; those that may: {', '.join(_PARAMETERS)}"
            raise SettingError(message, nearest=nearest(name, _PARAMETERS))
        if name not in {"host", "passfile", "sslcert", "sslcrl", "sslkey", "sslrootcert"} and holds_secret(given):
            message = "the value of one of its parameters looks like a key"
            raise SettingError(message)
    return value


def _no_address(value: object, known: tuple[str, ...]) -> SettingError:
    # What has no colon, or more in front of it than a scheme, may hold a password: "host=a password=b".
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]{0,30}):", value) if isinstance(value, str) else None
    scheme = found[1] if found else ""
    # A beginning without its colon or slashes is what was meant, too.
    near = nearest(f"{scheme}://" if str(value).startswith(f"{scheme}:/") else value, known)
    shown = show(scheme) if scheme and not holds_secret(str(value)) else "it"
    message = f"{shown} is no address: this version knows {', '.join(show(each) for each in known)}"
    return SettingError(message, nearest=near)
