"""
Each request's way in: who asks, what for, and then to the governor or to the gateway's own pages.

There is no router: the first segment of the path is the service, and ``-`` is the gateway itself.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import unquote

from aiohttp import web

from egressor.errors import ConfigError
from egressor.governor.money import may_ask_models
from egressor.governor.route import Options

from . import admin, headers, paths
from .body import Shelf, open_body
from .dialling import proxies
from .faults import Faults
from .guard import Names, arrival, check_open, is_loopback, misdirected, page, stranger
from .keys import Keyring, Turnstile, admitted
from .models import check_models
from .problems import Problem, RefusedError, meant
from .relay import Order, carry
from .room import bodies_for
from .targets import origins

if TYPE_CHECKING:
    from collections.abc import Mapping

    from egressor._core.model import Priority
    from egressor.governor import Governor
    from egressor.governor.route import Route
    from egressor.policies import ClientKey, Config

    from .dialling import Place
    from .forward import Upstream
    from .targets import Origin

__all__ = ["ALLOWED", "Gateway", "respond"]

_LOG = logging.getLogger("egressor.gateway")
# Whoever sends what can be read in two ways may have sent more of it already.
_CLOSING = frozenset({400, 421})
# CONNECT is refused before it is parsed.
_REFUSED_METHODS = frozenset({"TRACE"})
ALLOWED = {"Allow": "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"}
"""
What goes with a 405 of a service's (RFC 9110 section 15.5.6).
"""


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
        names: What clients may call it.
        keys: The clients' keys.

    Raises:
        ConfigError: A service's key can't be read, or the environment's proxy is none.
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
        self._turnstile = Turnstile()
        self._faults = Faults()
        # Who meets it again is in a loop; it says nothing else.
        self._mark = secrets.token_hex(6)
        self._shelf = Shelf(0)
        self._settle(gov.config, origins(gov.config), proxies(gov.config))

    def listens_on(self, port: int) -> None:
        """
        Note that *port* is the gateway's own: no service is there.
        """
        self._upstream.dialler.own_ports.add(port)
        if not is_loopback(self.host):
            _LOG.warning("%s is open to other machines, in plain HTTP: put a server with TLS in front of it", self.host)

    def reload(self, config: Config) -> None:
        """
        Take another configuration, all or nothing.

        Raises:
            ConfigError: It is wrong, it looks like half a file, or a key can't be read; the old one stays.
        """
        check_open(self.host, config)
        _check_whole(self.gov.config, config)
        fresh, between = origins(config), proxies(config)
        self.gov.reload(config)
        self._settle(config, fresh, between)
        self.reloads += 1
        self.last_error = ""

    def _settle(self, config: Config, fresh: dict[str, Origin], between: list[Place]) -> None:
        self._origins = fresh
        # At most one for each endpoint, priority, highest priority and key with a budget of each service.
        self._routes: dict[tuple[str | Priority | None, ...], Route] = {}
        self.names = Names((self.host, *config.gateway.hosts))
        self.keys = Keyring(config.gateway.keys)
        self._shelf.most = bodies_for(config.gateway)
        self._upstream.dialler.allow([*(origin.place for origin in fresh.values()), *between])

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """
        Answer one request, in the time that the configuration gives it.
        """
        limit = self.gov.config.gateway.total_timeout
        try:
            if limit is None:
                return await self._handle(request)
            async with asyncio.timeout(limit):
                return await self._handle(request)
        except TimeoutError:
            problem = Problem(504, "total_timeout", "The request took too long", f"it was not done within {limit:g} s")
        except asyncio.CancelledError:
            if not self.is_draining or request.transport is None:
                raise
            problem = Problem(503, "draining", "The gateway ends", "this gateway is about to end", retry_after=1.0)
        if request.writer.output_size:
            message = "the answer was cut off"
            raise ConnectionResetError(message)
        return respond(problem, dialect=self._dialect(request))

    def _dialect(self, request: web.BaseRequest) -> str:
        known = self._origins.get(request.raw_path.partition("?")[0].removeprefix("/").partition("/")[0])
        return "generic" if known is None else known.dialect

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        service, dialect = "", "generic"
        extra: dict[str, str] = {}
        try:
            here = partial(arrival, request)
            problem = misdirected(request.headers.get("Host"), self.names, here)
            problem = problem or stranger(request.headers, self.names, here)
            if problem is not None:
                return respond(problem)
            target = paths.split(request.raw_path)
            if target.service == "-":
                return await admin.handle(self, request, target.path)
            if (problem := page(request.headers)) is not None:
                return respond(problem)
            # A key that is none is told so here as well.
            is_said = bool(self.keys) and any(name in request.headers for name in (headers.KEY, *headers.CREDENTIALS))
            if not target.service and not target.path.strip("/") and not is_said:
                return respond(self._at_the_door())
            known = self._origins.get(target.service)
            service, dialect = (known.service, known.dialect) if known is not None else (service, dialect)
            head, mine = self._admitted(request, target)
            with nullcontext() if mine is None else self._turnstile.passing(mine):
                answer = await self._forward(request, head, mine, target, known or self._nowhere(target.service))
            if isinstance(answer, web.StreamResponse):
                return answer
            problem, extra = answer
        except RefusedError as error:
            problem, extra = error.problem, error.headers
        except (ConnectionError, web.HTTPException):
            raise  # The client is gone, or the server half speaks for itself.
        except Exception as error:  # noqa: BLE001 - the client gets an answer, and we a line that holds no secret
            problem = self._broken(error, service)
        return respond(problem, dialect=dialect, extra=extra)

    def _broken(self, error: Exception, service: str) -> Problem:
        line = self._faults.line(error, service=service, now=self.gov.clock.now())
        if line is not None:
            _LOG.error("%s", line)
        return Problem(500, "internal", "A fault of the gateway", "this is a fault of the gateway, and it was logged")

    def _admitted(self, request: web.BaseRequest, target: paths.Target) -> tuple[headers.Head, ClientKey | None]:
        """
        Return the request's headers as they may be forwarded, and whose key was removed from them, if one is needed.
        """
        head = headers.read(request.raw_headers)
        if not self.keys:
            return head, None
        try:
            mine, key = self.keys.owner(head)
        except RefusedError:
            admin.note_refusal(request.remote, "a client's key")
            raise
        # Twice, as a front server may unquote once, too.
        if key in unquote(unquote(target.path + target.query)):
            raise RefusedError(Problem(400, "bad_path", "A key in the URL", "the client's key stands in the URL, too"))
        return admitted(head, mine, key, target.service), mine

    def _passed(self, hops: tuple[str, ...]) -> tuple[str, str]:
        return headers.HOPS, ", ".join((*hops, self._mark)) if hops else self._mark

    def _at_the_door(self) -> Problem:
        """
        Say where to go; which services there are is not for those without a key.
        """
        names = "" if self.keys else f": {', '.join(sorted(self._origins)) or 'none'}"
        detail = f"a path begins with a service's name{names}. The status page is at /-/"
        return Problem(404, "unknown_service", "No service named", detail)

    def _nowhere(self, service: str) -> NoReturn:
        """
        Refuse a service that can't be forwarded to.
        """
        if service in self.gov.config.services:
            detail = f"{service} has no base_url in the configuration, so there is nowhere to forward to"
            raise RefusedError(Problem(404, "no_base_url", "No upstream", detail))
        names = ", ".join(sorted(self._origins)) or "none"
        detail = f"no service {service[:64]!r}; a path begins with one of: {names}{meant(service, self._origins)}"
        detail += ". The status page is at /-/"
        raise RefusedError(Problem(404, "unknown_service", "Unknown service", detail))

    async def _forward(
        self,
        request: web.BaseRequest,
        head: headers.Head,
        mine: ClientKey | None,
        target: paths.Target,
        origin: Origin,
    ) -> web.StreamResponse | tuple[Problem, dict[str, str]]:
        if request.method in _REFUSED_METHODS:
            # TRACE would show the client the key that is added here.
            detail = f"{request.method} is not forwarded"
            raise RefusedError(Problem(405, "method", "Method not allowed", detail), dict(ALLOWED))
        if self._upstream.dialler.leads_home(origin) or self._mark in head.hops:
            detail = f"{origin.service} leads back to this gateway: the request would go round for ever"
            raise RefusedError(Problem(508, "loop", "A loop", detail, is_final=True))
        try:
            route = self._route(origin.service, origin.endpoint(target.path), head, mine)
        except ConfigError as error:
            raise RefusedError(Problem(400, "bad_header", "Bad header", error.message)) from None
        is_bound = mine is not None and bool(mine.models or mine.budget)
        shelf = self._shelf if origin.reads or is_bound else None
        body = await open_body(request, self.gov.config.gateway, expects=head.expects_continue, shelf=shelf)
        order = Order(
            origin,
            request.method,
            origin.base_url + target.path + target.query,
            [*origin.signed(head.pairs), self._passed(head.hops)],
            body,
            head.is_idempotent,
            # Other protocols are not offered to the upstream, which then answers in HTTP.
            is_upgrade=head.upgrade.strip().lower() == "websocket" and request.method == "GET",
            takes_trailers=head.takes_trailers,
        )
        try:
            if mine is not None and mine.models and may_ask_models(route.gate.compiled.policy):
                check_models(mine, order)
            return await carry(request, order, route, gov=self.gov, upstream=self._upstream)
        finally:
            body.close()

    def _route(self, service: str, endpoint: str | None, head: headers.Head, mine: ClientKey | None) -> Route:
        """
        Return where a request goes, which is one place for all that say no more of themselves than their priority.
        """
        ceiling = None if mine is None else mine.max_priority
        payer = None
        if mine is not None and mine.budget is not None and may_ask_models(self.gov.config.services[service]):
            payer = mine.owner, mine.budget
        key = (service, endpoint, head.priority, ceiling, payer and payer[0])
        route = None if head.scope or head.deadline is not None else self._routes.get(key)
        if route is not None:
            return route
        options = Options(
            endpoint=endpoint,
            priority=head.priority,
            scope=head.scope,
            deadline=head.deadline,
            ceiling=ceiling,
            payer=payer,
        )
        route = self.gov.route(service, options)
        if not head.scope and head.deadline is None:
            self._routes[key] = route
        return route


def respond(problem: Problem, *, dialect: str = "generic", extra: Mapping[str, str] | None = None) -> web.Response:
    """
    Return *problem* as an answer, with the *extra* headers.
    """
    answer = web.Response(
        status=problem.status,
        body=problem.body(dialect),
        headers={**problem.headers(), **(extra or {}), "X-Content-Type-Options": "nosniff", "Server": "egressor"},
    )
    if problem.status in _CLOSING:
        answer.force_close()
    return answer


def _check_whole(before: Config, after: Config) -> None:
    """
    Refuse what half a file looks like, since a door would open or all would end: that takes a restart.
    """
    if before.gateway.keys and not after.gateway.keys:
        message = "there are no clients' keys any more, and everybody would get in: if that is meant, restart"
        raise ConfigError(message, key="gateway.keys")
    if before.services and not after.services:
        message = "there are no services any more: if that is meant, restart"
        raise ConfigError(message, key="services")
