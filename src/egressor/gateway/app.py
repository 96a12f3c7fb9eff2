"""
Each request's way in: who asks, what for, and then to the governor or to the gateway's own pages.

There is no router: the first segment of the path is the service, and ``-`` is the gateway itself.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from aiohttp import web

from egressor.errors import ConfigError
from egressor.governor.route import Options

from . import admin, headers, paths
from .body import open_body
from .guard import misdirected, stranger
from .problems import Problem, RefusedError
from .relay import Order, carry
from .targets import origins

if TYPE_CHECKING:
    from collections.abc import Mapping

    from egressor.governor import Governor
    from egressor.policies import Config

    from .forward import Upstream
    from .targets import Origin

__all__ = ["Gateway"]

_LOG = logging.getLogger("egressor.gateway")
_REFUSED_METHODS = frozenset({"CONNECT", "TRACE"})


class Gateway:
    """
    The proxy, for one governor.

    Args:
        gov: The governor.
        upstream: Sends the requests.
        token: What an operator has to show; empty refuses every operator.
        host: The name or address that is listened on.

    Attributes:
        is_draining: Whether it is about to stop.
        started: When it started, in seconds since 1970.
        reloads: How often the configuration was replaced.
        last_error: Why the last reload failed; empty if it did not.

    Raises:
        ConfigError: A service's key can't be read.
    """

    def __init__(self, gov: Governor, upstream: Upstream, *, token: str = "", host: str = "127.0.0.1") -> None:
        self.gov = gov
        self.token = token
        self.host = host
        self.is_draining = False
        self.started = time.time()
        self.began = time.monotonic()
        self.reloads = 0
        self.last_error = ""
        self._upstream = upstream
        self._origins = origins(gov.config)

    def reload(self, config: Config) -> None:
        """
        Take another configuration, all or nothing.

        Raises:
            ConfigError: It is wrong, or a key can't be read; the old one stays.
        """
        fresh = origins(config)
        self.gov.reload(config)
        self._origins = fresh
        self.reloads += 1
        self.last_error = ""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """
        Answer one request.
        """
        dialect = "generic"
        extra: dict[str, str] = {}
        try:
            problem = misdirected(request.headers.get("Host"), self.host) or stranger(request.headers, self.host)
            if problem is not None:
                return respond(problem)
            target = paths.split(request.raw_path)
            if target.service == "-":
                return await admin.handle(self, request, target.path)
            origin = self._origin(target.service)
            dialect = origin.dialect
            answer = await self._forward(request, target, origin)
            if isinstance(answer, web.StreamResponse):
                return answer
            problem, extra = answer
        except RefusedError as error:
            problem, extra = error.problem, error.headers
        except (ConnectionError, web.HTTPException):
            raise  # The client is gone, or the server half speaks for itself.
        except Exception as error:  # noqa: BLE001 - the client gets an answer, and we a line that holds no secret
            problem = _broken(error)
        return respond(problem, dialect=dialect, extra=extra)

    def _origin(self, service: str) -> Origin:
        origin = self._origins.get(service)
        if origin is not None:
            return origin
        if service in self.gov.config.services:
            detail = f"{service} has no base_url in the configuration, so there is nowhere to forward to"
            raise RefusedError(Problem(404, "no_base_url", "No upstream", detail))
        names = ", ".join(sorted(self._origins)) or "none"
        detail = f"no service {service[:64]!r}; a path begins with one of: {names}. The status page is at /-/"
        raise RefusedError(Problem(404, "unknown_service", "Unknown service", detail))

    async def _forward(
        self, request: web.BaseRequest, target: paths.Target, origin: Origin
    ) -> web.StreamResponse | tuple[Problem, dict[str, str]]:
        if request.method in _REFUSED_METHODS:
            # TRACE would show the client the key that is added here.
            detail = f"{request.method} is not forwarded"
            raise RefusedError(Problem(405, "method", "Method not allowed", detail))
        head = headers.read(request.raw_headers)
        if "websocket" in head.upgrade.lower():
            detail = "this version forwards no WebSocket"
            raise RefusedError(Problem(501, "upgrade", "Upgrade not supported", detail, is_final=True))
        try:
            route = self.gov.route(
                origin.service,
                Options(
                    endpoint=origin.endpoint(target.path),
                    priority=head.priority,
                    scope=head.scope,
                    deadline=head.deadline,
                ),
            )
        except ConfigError as error:
            raise RefusedError(Problem(400, "bad_header", "Bad header", error.message)) from None
        order = Order(
            origin,
            request.method,
            origin.base_url + target.path + target.query,
            origin.signed(head.pairs),
            await open_body(request, expects=head.expects_continue),
            head.is_idempotent,
        )
        return await carry(request, order, route, gov=self.gov, upstream=self._upstream)


def respond(problem: Problem, *, dialect: str = "generic", extra: Mapping[str, str] | None = None) -> web.Response:
    """
    Return *problem* as an answer, with the *extra* headers.
    """
    return web.Response(
        status=problem.status,
        body=problem.body(dialect),
        headers={**problem.headers(), **(extra or {}), "X-Content-Type-Options": "nosniff", "Server": "egressor"},
    )


def _broken(error: Exception) -> Problem:
    # No traceback: its lines may show what the client or an upstream has sent.
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place is not None else "nowhere"
    _LOG.error("a request failed by a fault of ours: %s at %s", type(error).__name__, where)
    return Problem(500, "internal", "A fault of the gateway", "this is a fault of the gateway, and it was logged")
