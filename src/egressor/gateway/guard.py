"""
Who may speak to the gateway at all: programs that call it by one of its names, and pages that it has served itself.

A name that an attacker's DNS points to 127.0.0.1 arrives with that name in ``Host``; another site's page says so in
``Sec-Fetch-Site`` and ``Origin``. Without these checks any page in a browser could spend the keys that are added here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING

from egressor.errors import ConfigError

from .problems import Problem

if TYPE_CHECKING:
    from aiohttp.web import BaseRequest

    from egressor.policies import Config

__all__ = ["Names", "arrival", "check_open", "is_loopback", "misdirected", "page", "stranger"]

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9.-]{1,253})(?::[0-9]{1,5})?")
_ORIGIN = re.compile(r"https?://(?P<host>[^/]+)")
_ANY = frozenset({"0.0.0.0", "::"})  # noqa: S104 - all addresses is no name


def is_loopback(host: str) -> bool:
    """
    Whether *host* means this machine only.
    """
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def arrival(request: BaseRequest) -> str | None:
    """
    Return the address at which *request* has arrived.
    """
    name = request.transport.get_extra_info("sockname") if request.transport is not None else None
    return str(name[0]).lower() if isinstance(name, tuple) else None


def check_open(host: str, config: Config) -> None:
    """
    Refuse to be open to other machines without clients' keys: whoever reaches the gateway can spend the keys behind it.

    Raises:
        ConfigError: *host* is not a loopback one, and there are no keys.
    """
    if not is_loopback(host) and not config.gateway.keys:
        message = f"{host} is open to other machines: make a key for each client (egressor key NAME), or use 127.0.0.1"
        raise ConfigError(message, key="gateway.keys")


class Names:
    """
    The names that a client may call the gateway by: loopback names, the one listened on, and the configured ones.

    An address is good, too, if the request has arrived there: no name server can make another one of it.
    """

    __slots__ = ("_names",)

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(_bare(name) for name in names) - _ANY | {"localhost", "127.0.0.1", "::1"}

    def has(self, host: str, arrived_at: Callable[[], str | None]) -> bool:
        """
        Whether *host*, with or without a port, is one of them; *arrived_at* is asked only where nothing else fits.
        """
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = _bare(found["name"])
        return name in self._names or is_loopback(name) or name == arrived_at()


def _nowhere() -> None:
    return None


def misdirected(host: str | None, names: Names, arrived_at: Callable[[], str | None] = _nowhere) -> Problem | None:
    """
    Refuse a request whose ``Host`` is none of ours.
    """
    if names.has(host or "", arrived_at):
        return None
    return Problem(421, "wrong_host", "Not a name of this gateway", "the Host header names neither localhost nor us")


def stranger(
    headers: Mapping[str, str],
    names: Names,
    arrived_at: Callable[[], str | None] = _nowhere,
    *,
    is_strict: bool = False,
) -> Problem | None:
    """
    Refuse what another site's page has sent.

    Args:
        headers: The request's headers.
        names: The gateway's names.
        arrived_at: The address at which the request has arrived.
        is_strict: Whether every origin but the gateway's own is refused, those of programs with a scheme of their own
            included.
    """
    origin = headers.get("Origin")
    foreign = headers.get("Sec-Fetch-Site") in {"cross-site", "same-site"}
    if origin is not None and not foreign:
        found = _ORIGIN.fullmatch(origin)
        foreign = origin == "null" or (is_strict if found is None else not names.has(found["host"], arrived_at))
    if not foreign:
        return None
    return Problem(403, "cross_site", "Another site's page", "pages of other sites may not use this gateway")


def page(headers: Mapping[str, str]) -> Problem | None:
    """
    Refuse what a browser would show or run of an upstream's: it would be a page of the gateway's own origin, from which
    a script could call every service.
    """
    wanted = headers.get("Sec-Fetch-Dest", "empty")
    if wanted in {"empty", "websocket"} and "Service-Worker" not in headers:
        return None
    return Problem(
        403, "page", "No pages", "a service's answers are for programs: no browser may show or run them here"
    )


def _bare(name: str) -> str:
    return name.lower().strip("[]")
