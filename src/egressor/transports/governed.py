"""
What every transport shares: its options, and where a request goes.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from egressor._core.admission import shown
from egressor.errors import ConfigError, Rejected
from egressor.governor import Governor

from .places import Places

if TYPE_CHECKING:
    from egressor._core.model import ServiceType
    from egressor.governor import Route

    from .options import CallOptions

__all__ = ["Governed"]

_LOG = logging.getLogger("egressor")


class Governed:
    """
    The part of a transport that knows the governor.

    Args:
        gov: The governor.
        service: Where all requests belong; None looks for each in the services' ``base_url``.
        options: What the transport says about its calls.

    Raises:
        ConfigError: There is no such service, or *gov* is no governor.
    """

    def __init__(self, gov: Governor, service: str | ServiceType | None, options: CallOptions) -> None:
        if not isinstance(gov, Governor):
            msg = f"a transport takes a governor first, and then the service's name, not {shown(gov)}"
            raise ConfigError(msg, key="gov")
        self._gov = gov
        self._service = service
        self._options = options
        self._config = gov.config
        self._places = Places(gov.config.services)
        self._routes: dict[str, Route] = {}
        self._has_warned = False
        if service is not None:
            gov.gate(service)

    def _place(self, request: Any) -> tuple[str, str, int | None, str]:
        """
        Return *request*'s scheme, host, port (None: the scheme's default) and path, as they are sent.
        """
        raise NotImplementedError

    def _own(self, request: Any) -> object:  # noqa: ARG002 - most libraries have no place for it
        """
        Return the options that *request* carries itself; None if it carries none.
        """
        return None

    def _sees(self, route: Route, library: str, sender: Any, *methods: str) -> bool:
        """
        Say whether a service's cache may be used: whether requests leave as they are seen here.

        Any code but the *library*'s and ours may sign in as somebody, whose answers are for nobody else.

        Args:
            route: Where the request goes.
            library: The client library's module.
            sender: What sends it.
            methods: How the sender does that; none if it is a function.
        """
        if route.gate.compiled.policy.cache is None:
            return False
        kind = type(sender)
        found = [getattr(kind, name, None) for name in methods] or [sender]
        modules = [str(getattr(each, "__module__", None) or "") for each in found if each is not None]
        foreign = [each for each in modules if not f"{each}.".startswith((f"{library}.", "egressor."))]
        if not foreign:
            return True
        self._warn(route.service, foreign[0])
        return False

    def _warn(self, service: str, module: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            text = "%s: its cache is not used: code of %s sends what passes here, and may sign in as somebody"
            _LOG.warning(text, service, module or "others")

    def _route(self, request: Any) -> Route | None:
        """
        Return where *request* goes; None if it passes ungoverned.
        """
        service = self._service if self._service is not None else self._find(request)
        if service is None:
            return None
        own = self._own(request)
        if self._options.plain is None or own is not None:
            return self._gov.route(service, self._options.of(request, own))
        route = self._routes.get(service)
        # A reload may have taken the service away, and another brought it back with another gate.
        if route is None or route.gate is not self._gov.gate(service):
            route = self._routes[service] = self._gov.route(service, self._options.plain)
        return route

    def _find(self, request: Any) -> str | None:
        config = self._gov.config
        if config is not self._config:
            self._places, self._config = Places(config.services), config
        scheme, host, port, path = self._place(request)
        service = self._places.find(scheme=scheme, host=host, port=port, path=path)
        if service is None and config.unknown_hosts == "refuse":
            place = host if port is None else f"{host}:{port}"
            # The path stays out of it: some APIs have their token there.
            msg = f'no service\'s base_url holds this URL at {scheme}://{place} (unknown_hosts = "refuse")'
            raise Rejected(msg, key="unknown_hosts", reason="unknown_host")
        if service in self._places.twins:
            other = self._places.twins.pop(service)
            text = (
                "%s and %s have one base_url: what passes here is taken for %s, and the limits of %s don't hold for it"
            )
            _LOG.warning(text + "; name the service that is meant", service, other, service, other)
        return service
