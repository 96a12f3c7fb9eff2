"""
The gateway's own pages under ``/-/``: changing something needs POST, the token, and no foreign page.

Looking is free where everybody who can reach the gateway may use it. Where clients need keys, looking needs the
operator's token; a browser asks for it as the password of any user. A browser sends such a password along by itself,
whoever's page asks: so it never counts for a change, which takes a header that only a program sets.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from datetime import UTC, datetime
from functools import partial
from hmac import compare_digest
from typing import TYPE_CHECKING, Any, NoReturn
from weakref import WeakKeyDictionary

from aiohttp import web

from egressor.errors import ConfigError

from . import incidents
from .guard import arrival, stranger
from .keys import password
from .openapi import document
from .page import FILES, HEADERS
from .problems import Problem, RefusedError, meant

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from .app import Gateway

__all__ = ["AUDIT", "handle", "note_refusal", "status"]

AUDIT = logging.getLogger("egressor.audit")
_ACTIONS = {
    "pause": "pause",
    "resume": "resume",
    "reset-breaker": "reset_breaker",
    "lift-ban": "lift_ban",
}
_LONGEST_REASON = 200
_MOST_ENTRIES = 1_000
_PATIENCE = 10.0
_LOOK_EACH = 0.9
_PROBES = frozenset({"/healthz", "/readyz"})
_PLAIN = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Server": "egressor"}


async def handle(gateway: Gateway, request: web.BaseRequest, path: str) -> web.StreamResponse:
    """
    Answer a request for *path* below ``/-``.

    Raises:
        RefusedError: There is nothing there, or it may not be done.
    """
    parts = path.split("/")
    if len(parts) == 4 and parts[1] == "services":
        _allow(request, "POST")
        return await _act(gateway, request, parts[2], parts[3])
    if len(parts) == 4 and parts[1] == "errors":
        _allow(request, "POST")
        return await _mark(gateway, request, parts[2], parts[3])
    if path in _PROBES:
        _allow(request, "GET", "HEAD")
        return _probe(gateway, path)
    if gateway.keys:
        _look(gateway, request)
    if path in FILES:
        _allow(request, "GET", "HEAD")
        content_type, body = FILES[path]
        return web.Response(body=body, content_type=content_type, charset="utf-8", headers=HEADERS)
    if path in _DOCUMENTS:
        _allow(request, "GET", "HEAD")
        incidents.expect(request.query)
        return _json(_DOCUMENTS[path](gateway))
    if path == "/status.json":
        _allow(request, "GET", "HEAD")
        incidents.expect(request.query)
        return _json({**status(gateway), "fleet": await _FLEET.seen(gateway)})
    if path in _LEDGER:
        _allow(request, "GET", "HEAD")
        try:
            return _json(await _LEDGER[path](gateway, request.query))
        except ConfigError as error:
            raise RefusedError(Problem(400, "bad_query", "Bad query", str(error))) from None
    raise RefusedError(Problem(404, "not_found", "Not found", "there is nothing here; the status page is at /-/"))


def status(gateway: Gateway) -> dict[str, object]:
    """
    Return what ``/-/status.json`` shows of this process.
    """
    return {
        "version": _version(),
        "started": datetime.fromtimestamp(gateway.started, UTC).isoformat(timespec="seconds"),
        "uptime_s": round(time.monotonic() - gateway.began, 3),
        "now": time.time(),
        "draining": gateway.is_draining,
        "reloads": gateway.reloads,
        "last_reload_error": gateway.last_error,
        "services": gateway.gov.status(),
    }


def _version() -> str:
    # Not needed for the first request, and slow to import.
    from importlib.metadata import version

    return version("egressor")


class _Fleet:
    """
    What all processes on the store do, as it was asked a moment ago: however many look, the store is asked once.
    """

    def __init__(self) -> None:
        self._looks: WeakKeyDictionary[Gateway, tuple[float, asyncio.Task[dict[str, Any] | None]]] = WeakKeyDictionary()

    async def seen(self, gateway: Gateway) -> dict[str, Any] | None:
        """
        Return it; a thread waits for the store.
        """
        at, task = self._looks.get(gateway, (0.0, None))
        if task is None or (task.done() and time.monotonic() - at >= _LOOK_EACH):
            task = asyncio.create_task(asyncio.to_thread(gateway.gov.fleet))
            self._looks[gateway] = time.monotonic(), task
        # Whoever hangs up doesn't take the others' answer along.
        return await asyncio.shield(task)


_FLEET = _Fleet()


def note_refusal(remote: str | None, what: str) -> None:
    """
    Log that somebody at *remote* had no valid token or key: *what* was asked for.

    A line a second is written at most, and says how many it stands for: whoever knocks a thousand times a second shall
    not fill the disk.
    """
    _refusals.count += 1
    now = time.monotonic()
    if now < _refusals.next:
        return
    more = f" ({_refusals.count} since the last such line)" if _refusals.count > 1 else ""
    AUDIT.warning("%s: refused without %s, from %s%s", _now(), what, remote, more)
    _refusals.count, _refusals.next = 0, now + 1.0


class _Refusals:
    """
    How many refusals no line has told of, and when the next line may be written.
    """

    __slots__ = ("count", "next")

    def __init__(self) -> None:
        self.count = 0
        self.next = 0.0


_refusals = _Refusals()


def _document(gateway: Gateway) -> dict[str, object]:
    return document(_version(), _ACTIONS, gateway.gov.config.services, incidents.MARKING)


def _probe(gateway: Gateway, path: str) -> web.Response:
    if path == "/healthz":
        return _json({"status": "ok"})
    word = "draining" if gateway.is_draining else "ready"
    return _json({"status": word}, status=503 if gateway.is_draining else 200)


async def _act(gateway: Gateway, request: web.BaseRequest, service: str, action: str) -> web.StreamResponse:
    _authorise(gateway, request)
    # Only what is configured: asking the governor for an unknown name could make a preset's gate.
    if service not in gateway.gov.config.services:
        names = ", ".join(sorted(gateway.gov.config.services)) or "none"
        detail = f"no service {service[:64]!r}: {names}{meant(service, gateway.gov.config.services)}"
        raise RefusedError(Problem(404, "unknown_service", "Unknown service", detail))
    if action not in _ACTIONS:
        detail = f"no action {action[:40]!r}: {', '.join(_ACTIONS)}"
        raise RefusedError(Problem(404, "unknown_action", "Unknown action", detail))
    reason = await _reason(request)
    by = f"the operator's token, from {request.remote}"
    if action == "pause":
        gateway.gov.pause(service, reason, by=by)
    else:
        getattr(gateway.gov, _ACTIONS[action])(service, by=by)
    why = f": {reason}" if reason else ""
    AUDIT.info("%s operator: %s %s from %s%s", _now(), action, service, request.remote, why)
    return _json({"service": service, "action": action, "state": gateway.gov.status()[service]["state"]})


async def _mark(gateway: Gateway, request: web.BaseRequest, fingerprint: str, action: str) -> web.StreamResponse:
    _authorise(gateway, request)
    if action not in incidents.MARKING:
        detail = f"no action {action[:40]!r}: {', '.join(incidents.MARKING)}"
        raise RefusedError(Problem(404, "unknown_action", "Unknown action", detail))
    document = await _body(request, *incidents.MARKING[action])
    done = await incidents.mark(
        gateway, fingerprint, action, document, by=f"the operator's token, from {request.remote}"
    )
    AUDIT.info("%s operator: %s errors %s from %s", _now(), action, fingerprint, request.remote)
    return _json(done)


async def _history(gateway: Gateway, query: Mapping[str, str]) -> dict[str, object]:
    """
    Return what ``/-/history.json`` shows. A ledger may take its time: a thread waits for it.
    """
    incidents.expect(query, "service", "kind", "since", "limit")
    service, kind = query.get("service", ""), query.get("kind", "")
    limit, since = query.get("limit", "100"), query.get("since", "0")
    if not re.fullmatch(r"[a-z0-9_.-]{0,64}", service) or not re.fullmatch(r"[a-z0-9_.-]{0,64}", kind):
        raise RefusedError(
            Problem(400, "bad_query", "Bad query", "service and kind have at most 64 of a-z, 0-9, _, ., -")
        )
    if not re.fullmatch(r"[0-9]{1,4}", limit, re.ASCII) or not 1 <= int(limit) <= _MOST_ENTRIES:
        raise RefusedError(Problem(400, "bad_query", "Bad query", f"limit is a whole number of 1 to {_MOST_ENTRIES}"))
    if not re.fullmatch(r"[0-9]{1,11}(\.[0-9]{1,9})?", since, re.ASCII):
        raise RefusedError(Problem(400, "bad_query", "Bad query", "since is a number of seconds since 1970"))
    read = partial(gateway.gov.history, service, kind=kind)
    entries = await asyncio.to_thread(read, since=float(since), limit=int(limit))
    return {"entries": entries, "ledger": await asyncio.to_thread(gateway.gov.ledger.state)}


def _authorise(gateway: Gateway, request: web.BaseRequest) -> None:
    """
    Refuse a change by anybody but the operator, and by any page but our own.
    """
    problem = stranger(request.headers, gateway.names, partial(arrival, request), is_strict=True)
    if problem is not None:
        raise RefusedError(problem)
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not _is_token(gateway, token.strip()):
        _refuse(request, {"WWW-Authenticate": 'Bearer realm="egressor"'})


def _look(gateway: Gateway, request: web.BaseRequest) -> None:
    """
    Refuse a look by anybody but the operator.
    """
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    given = password(token) if kind.lower() == "basic" else token.strip()
    if kind.lower() not in {"basic", "bearer"} or not _is_token(gateway, given):
        _refuse(request, {"WWW-Authenticate": 'Basic realm="egressor"'})


def _is_token(gateway: Gateway, given: str) -> bool:
    return bool(gateway.token) and compare_digest(given.encode(errors="replace"), gateway.token.encode())


def _refuse(request: web.BaseRequest, challenge: dict[str, str]) -> NoReturn:
    note_refusal(request.remote, "the operator's token")
    detail = "this needs the operator's token: Authorization: Bearer …"
    raise RefusedError(Problem(401, "token", "Not authorised", detail), challenge)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


async def _reason(request: web.BaseRequest) -> str:
    """
    Return the reason in the body, ``{"reason": "…"}``; empty if there is none.
    """
    document = await _body(request, "reason")
    reason = document.get("reason", None if document else "")
    if not isinstance(reason, str) or len(reason) > _LONGEST_REASON or not reason.isprintable():
        detail = f'the body must be {{"reason": "…"}} with at most {_LONGEST_REASON} printable characters'
        raise RefusedError(Problem(400, "bad_body", "Bad body", detail))
    return reason


async def _body(request: web.BaseRequest, *fields: str) -> dict[str, Any]:
    """
    Return the body, an object that has no other *fields*; an empty one if there is none.
    """
    if (request.content_length or 0) > 4096 or (request.content_length is None and request.body_exists):
        raise RefusedError(Problem(413, "bad_body", "Body too large", "at most 4096 bytes, of a stated length"))
    try:
        async with asyncio.timeout(_PATIENCE):
            raw = await request.read()
    except TimeoutError:
        detail = f"it was not there within {_PATIENCE:g} s"
        raise RefusedError(Problem(408, "slow_body", "The body came too slowly", detail)) from None
    try:
        document = json.loads(raw) if raw else {}
    except (ValueError, RecursionError):
        document = None
    if type(document) is not dict or (raw and not document):
        raise RefusedError(
            Problem(400, "bad_body", "Bad body", "the body must be an object of JSON that says something")
        )
    unknown = next((name for name in document if name not in fields), None)
    if unknown is not None:
        there_is = f"there is {', '.join(map(repr, fields))}" if fields else "the body has none"
        raise RefusedError(Problem(400, "bad_body", "Bad body", f"no field {unknown[:40]!r}: {there_is}"))
    return document


def _allow(request: web.BaseRequest, *methods: str) -> None:
    if request.method not in methods:
        problem = Problem(405, "method", "Method not allowed", f"only {' and '.join(methods)} here")
        raise RefusedError(problem, {"Allow": ", ".join(methods)})


def _json(document: object, *, status: int = 200) -> web.Response:
    body = json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    return web.Response(status=status, body=body, content_type="application/json", headers=_PLAIN)


_LEDGER: dict[str, Callable[[Gateway, Mapping[str, str]], Awaitable[dict[str, object]]]] = {
    "/history.json": _history,
    "/errors.json": incidents.errors,
    "/bans.json": incidents.bans,
    "/costs.json": incidents.costs,
}
_DOCUMENTS: dict[str, Callable[[Gateway], object]] = {
    "/openapi.json": _document,
}
