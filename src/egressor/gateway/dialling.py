"""
Which addresses may be dialled for a service.

A name is resolved once, its addresses are checked, and those that pass are dialled: a name server that answers
otherwise a moment later is not asked again. What an operator writes as an address is dialled as it stands, since no
name server can move it: ``http://127.0.0.1:9000`` needs no further word. A name is different: whoever owns it, or
answers for it, chooses where it leads, and with it where the service's key goes. So a name may lead to public addresses
only, unless the service says ``private = true``; and a name never leads to the metadata server of a cloud, to a
link-local address, or back to the gateway.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, NamedTuple
from urllib.request import getproxies_environment

from aiohttp import DefaultResolver
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from egressor.errors import ConfigError

if TYPE_CHECKING:
    from egressor.policies import Config
    from egressor.policies import Gateway as Settings

    from .targets import Origin

__all__ = ["Dialler", "ForbiddenAddressError", "Place", "is_localhost", "kind_of", "literal", "proxies", "proxy_urls"]

_LOG = logging.getLogger("egressor.gateway")
# The first that holds is the kind; what stands in none of them is public.
_KINDS = {
    "a metadata server": (
        "169.254.169.254/32",
        "169.254.170.2/32",
        "169.254.170.23/32",
        "100.100.100.200/32",
        "168.63.129.16/32",
        "192.0.0.192/32",
        "fd00:ec2::254/128",
        "fd00:ec2::23/128",
        "fd20:ce::254/128",
    ),
    "link-local": ("169.254.0.0/16", "fe80::/10"),
    "loopback": ("127.0.0.0/8", "::1/128"),
    "private": (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "198.18.0.0/15",
        "fc00::/7",
        "fec0::/10",
    ),
    "no host's": ("0.0.0.0/8", "192.0.0.0/24", "224.0.0.0/4", "240.0.0.0/4", "::/128", "ff00::/8", "100::/64"),
}
_NETWORKS = [(kind, ip_network(network)) for kind, networks in _KINDS.items() for network in networks]
_EMBEDDING = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"), ip_network("::/96"))
_DECLARABLE = frozenset({"loopback", "private"})
_ADVICE = {
    False: ", but to one inside of a network: if the service is there, say private = true",
    True: ", but to a metadata server, a link-local address, or this gateway itself",
}
_WRITABLE = _DECLARABLE | {"link-local", "a metadata server"}


class ForbiddenAddressError(Exception):
    """
    A service's name leads only to addresses that it may not lead to. The message shows no address, and says what to do.
    """


class Place(NamedTuple):
    """
    A host and port that a service names.

    Attributes:
        host: A name or an address, in lower case and without brackets.
        port: The port.
        is_private: Whether the service says that it is inside of a private network.
    """

    host: str
    port: int
    is_private: bool

    def fault(self) -> str | None:
        """
        Say what is wrong with an address that is written as one; None for a name, or if nothing is.
        """
        address = literal(self.host)
        kind = None if address is None else kind_of(address)
        if kind is None or kind in (_WRITABLE if self.is_private else _DECLARABLE):
            return None
        if kind in _WRITABLE:
            return f"the address is {kind}: if the service is there, say private = true"
        return f"the address is {kind}, and can't be dialled"

    def takes(self, address: IPv4Address | IPv6Address) -> bool:
        """
        Whether the name may lead to *address*.
        """
        kind = kind_of(address)
        if kind is None:
            return True
        return kind in _DECLARABLE if self.is_private else kind == "loopback" and is_localhost(self.host)


class Dialler(AbstractResolver):
    """
    Resolves the names of services, and of nobody else.

    Args:
        inner: Asks the name server. Default: aiohttp's own.

    Attributes:
        own_ports: The ports that this gateway listens on.
    """

    def __init__(self, inner: AbstractResolver | None = None) -> None:
        self._inner = inner
        self._places: dict[tuple[str, int], Place] = {}
        self._told: set[Place] = set()
        self.own_ports: set[int] = set()

    def allow(self, places: Iterable[Place]) -> None:
        """
        Take *places* instead of all former ones; where two services share one, both must call it private.
        """
        fresh: dict[tuple[str, int], Place] = {}
        for place in places:
            known = fresh.get((place.host, place.port), place)
            fresh[place.host, place.port] = place._replace(is_private=place.is_private and known.is_private)
        self._places = fresh
        self._told.clear()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """
        Return the addresses of *host* that may be dialled.

        Raises:
            ForbiddenAddressError: There is none.
            OSError: The name server knows none at all.
        """
        place = self._places.get((host.lower().rstrip("."), port))
        if place is None:
            message = f"{host[:253]} is no service's host"
            raise ForbiddenAddressError(message)
        if self._inner is None:
            self._inner = DefaultResolver()
        found = await self._inner.resolve(host, port, family)
        good = [each for each in found if self._is_good(each, place)]
        if found and not good:
            message = f"{host[:253]} leads to no address that it may lead to{_ADVICE[place.is_private]}"
            if place not in self._told:
                # Once for each configuration: the message of each request goes to its client.
                self._told.add(place)
                _LOG.error("%s", message)
            raise ForbiddenAddressError(message)
        return good

    async def close(self) -> None:
        """
        Stop asking.
        """
        if self._inner is not None:
            await self._inner.close()

    def leads_home(self, origin: Origin) -> bool:
        """
        Whether *origin* is written as this machine's address with a port of ours.
        """
        if origin.place.port not in self.own_ports:
            return False
        address = literal(origin.place.host)
        return is_localhost(origin.place.host) if address is None else _is_here(address)

    def _is_good(self, found: ResolveResult, place: Place) -> bool:
        address = literal(found["host"])
        if address is None or not place.takes(address):
            return False
        return found["port"] not in self.own_ports or not _is_here(address)


def proxies(config: Config) -> list[Place]:
    """
    Return where the HTTP proxies are that the environment names, if *config* asks for them: the operator's word.

    Raises:
        ConfigError: As `proxy_urls` does.
    """
    urls = [URL(url) for name, url in proxy_urls(config.gateway).items() if name != "no"]
    return [Place((url.raw_host or "").lower().rstrip("."), url.port or 0, is_private=True) for url in urls]


def proxy_urls(settings: Settings) -> dict[str, str]:
    """
    Return the URLs of the HTTP proxies that the environment names, by scheme, if *settings* ask for them.

    Returns:
        A proxy each for ``http``, ``https`` and ``all``, and as ``no`` the hosts that need none.

    Raises:
        ConfigError: One of them is no URL of an HTTP proxy.
    """
    if settings.proxy != "env":
        return {}
    found = getproxies_environment()
    urls: dict[str, str] = {name: _proxy_url(name, found[name]) for name in ("http", "https", "all") if name in found}
    return {**urls, "no": found["no"]} if "no" in found else urls


def _proxy_url(name: str, value: str) -> str:
    text = value if "://" in value else f"http://{value}"
    try:
        url = URL(text)
        is_good = url.scheme in {"http", "https"} and bool(url.raw_host) and bool(url.port)
    except ValueError:
        is_good = False
    if not is_good:
        # What it is stays unsaid: there may be a password in it.
        message = f"the environment's {name}_proxy is no URL of an HTTP proxy"
        raise ConfigError(message, key="gateway.proxy")
    return text


def is_localhost(host: str) -> bool:
    """
    Whether *host* is a name that means this machine (RFC 6761 section 6.3).
    """
    low = host.lower().rstrip(".")
    return low == "localhost" or low.endswith(".localhost")


def literal(host: str) -> IPv4Address | IPv6Address | None:
    """
    Return *host* as an address, if it is written as one.
    """
    try:
        return ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None


def kind_of(address: IPv4Address | IPv6Address) -> str | None:
    """
    Return what kind of address this is, an IPv4 address inside of an IPv6 one included; None for a public one.
    """
    kind = next((kind for kind, network in _NETWORKS if address in network), None)
    return kind or next((inner for each in _inside(address) if (inner := kind_of(each))), None)


def _inside(address: IPv4Address | IPv6Address) -> list[IPv4Address]:
    if isinstance(address, IPv4Address):
        return []
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if any(address in network for network in _EMBEDDING) or int(address) >> 32 & 0xFDFFFFFF == 0x5EFE:
        found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return [each for each in found if each is not None]


def _is_here(address: IPv4Address | IPv6Address) -> bool:
    """
    Whether *address* is one of this machine: only there can a socket be bound.
    """
    if kind_of(address) == "loopback":
        return True
    family = socket.AF_INET6 if isinstance(address, IPv6Address) else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True
