"""
Checks of addresses: where cells and facts live. Nothing of what was given is shown but the scheme.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from egressor.policies.checks import SettingError, nearest, show
from egressor.policies.hiding import holds_secret

if TYPE_CHECKING:
    from egressor.policies.checks import Check

__all__ = ["ledger", "store"]

_KNOWN = ("memory:", "sqlite:///", "postgresql://")
_FILE = r"[^\x00-\x1f\x7f?#]{1,1000}"
_DATABASE = (
    r"postgresql://(?P<user>[^:@/?#]*@)?[A-Za-z0-9._~%:,\[\]-]*(/[A-Za-z0-9._~%-]*)?"
    r"(\?(?P<query>[a-z_]+=[^&#\s]*(&[a-z_]+=[^&#\s]*)*))?"
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


def store(*schemes: str) -> Check:
    """
    Return the check of a store's address; those with one of *schemes* are known, and not in this version.
    """

    def check(value: object) -> str:
        if value == "memory:":
            return "memory:"
        scheme = value.partition(":")[0] if isinstance(value, str) else ""
        if scheme in schemes:
            message = f'{show(scheme + ":")} is not supported by this version, only "memory:"'
            raise SettingError(message)
        raise _no_address(value, ("memory:",))

    return check


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
    scheme = value.partition(":")[0] if isinstance(value, str) else ""
    shown = show(scheme) if scheme and not holds_secret(str(value)) else "it"
    message = f"{shown} is no address: this version knows {', '.join(show(each) for each in known)}"
    return SettingError(message, nearest=nearest(value, known))
