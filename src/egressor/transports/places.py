"""
Which service a URL belongs to.

A service's ``base_url`` names a place: a scheme, a host, a port, and a path that ends on a segment's border, so that
``/v1`` holds ``/v1`` and ``/v1/chat``, but not ``/v10``. The longest path wins; of two equal ones, the first in the
configuration. Hosts and schemes don't depend on case, the default port may be left out, and ``%7E`` is ``~``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from egressor.policies import Policy

__all__ = ["Places"]

_PORTS = {"http": 80, "https": 443}

_Origin = tuple[str, str, int | None]


class Places:
    """
    The places of all services.

    Args:
        services: Policies by the service's name; those without ``base_url`` are no place.

    Attributes:
        twins: By the service that is found, a later one of the same place, which never is.
    """

    __slots__ = ("_origins", "twins")

    def __init__(self, services: Mapping[str, Policy]) -> None:
        self._origins: dict[_Origin, list[tuple[tuple[str, ...], str]]] = {}
        self.twins: dict[str, str] = {}
        for name, policy in services.items():
            if policy.base_url is not None:
                url = urlsplit(policy.base_url)
                origin = _origin(url.scheme, url.hostname or "", url.port)
                self._origins.setdefault(origin, []).append((_segments(url.path.rstrip("/")), name))
        for places in self._origins.values():
            places.sort(key=lambda place: -len(place[0]))
            first: dict[tuple[str, ...], str] = {}
            for path, name in places:
                if first.setdefault(path, name) != name:
                    self.twins[first[path]] = name

    def find(self, *, scheme: str, host: str, port: int | None, path: str) -> str | None:
        """
        Return the service at a URL; None if there is none.

        Args:
            scheme: ``http`` or ``https``, in any case.
            host: A name or an address, an IPv6 one without brackets; an international name as ``xn--…``.
            port: None for the scheme's default.
            path: The path as it is sent, with or without its query.
        """
        places = self._origins.get(_origin(scheme, host, port))
        if places is None:
            return None
        segments = _segments(path.partition("?")[0])
        return next((name for prefix, name in places if segments[: len(prefix)] == prefix), None)


def _origin(scheme: str, host: str, port: int | None) -> _Origin:
    scheme = scheme.lower()
    return scheme, host.lower().rstrip("."), _PORTS.get(scheme) if port is None else port


def _segments(path: str) -> tuple[str, ...]:
    # Escapes are compared by what they mean, but inside a segment: an escaped slash is no border.
    return tuple([unquote(segment) for segment in path.split("/")[1:]])
