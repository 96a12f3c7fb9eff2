"""
The gateway's own pages under ``/-/``: looking is free, changing needs POST, the token, and no foreign page.
"""

from __future__ import annotations

import json
import logging
import time
from datetime import UTC, datetime
from hmac import compare_digest
from importlib.metadata import version
from typing import TYPE_CHECKING

from aiohttp import web

from .page import FILES, HEADERS
from .problems import Problem, RefusedError

if TYPE_CHECKING:
    from .app import Gateway

__all__ = ["AUDIT", "handle", "status"]

AUDIT = logging.getLogger("egressor.audit")
_ACTIONS = {
    "pause": "pause",
    "resume": "resume",
    "reset-breaker": "reset_breaker",
    "lift-ban": "lift_ban",
}
_LONGEST_REASON = 200
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
    if path in FILES:
        _allow(request, "GET", "HEAD")
        content_type, body = FILES[path]
        return web.Response(body=body, content_type=content_type, charset="utf-8", headers=HEADERS)
    match path:
        case "/healthz":
            _allow(request, "GET", "HEAD")
            return _json({"status": "ok"})
        case "/readyz":
            _allow(request, "GET", "HEAD")
            word = "draining" if gateway.is_draining else "ready"
            return _json({"status": word}, status=503 if gateway.is_draining else 200)
        case "/status.json":
            _allow(request, "GET", "HEAD")
            return _json(status(gateway))
    raise RefusedError(Problem(404, "not_found", "Not found", "there is nothing here; the status page is at /-/"))


def status(gateway: Gateway) -> dict[str, object]:
    """
    Return what ``/-/status.json`` shows.
    """
    return {
        "version": version("egressor"),
        "started": datetime.fromtimestamp(gateway.started, UTC).isoformat(timespec="seconds"),
        "uptime_s": round(time.monotonic() - gateway.began, 3),
        "now": time.time(),
        "draining": gateway.is_draining,
        "reloads": gateway.reloads,
        "last_reload_error": gateway.last_error,
        "services": gateway.gov.status(),
    }


async def _act(gateway: Gateway, request: web.BaseRequest, service: str, action: str) -> web.StreamResponse:
    _authorise(gateway, request)
    # Only what is configured: asking the governor for an unknown name could make a preset's gate.
    if service not in gateway.gov.config.services:
        names = ", ".join(sorted(gateway.gov.config.services)) or "none"
        raise RefusedError(Problem(404, "unknown_service", "Unknown service", f"no service {service[:64]!r}: {names}"))
    if action not in _ACTIONS:
        detail = f"no action {action[:40]!r}: {', '.join(_ACTIONS)}"
        raise RefusedError(Problem(404, "unknown_action", "Unknown action", detail))
    reason = await _reason(request)
    if action == "pause":
        gateway.gov.pause(service, reason)
    else:
        getattr(gateway.gov, _ACTIONS[action])(service)
    AUDIT.info("operator: %s %s from %s%s", action, service, request.remote, f": {reason}" if reason else "")
    return _json({"service": service, "action": action, "state": gateway.gov.status()[service]["state"]})


def _authorise(gateway: Gateway, request: web.BaseRequest) -> None:
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    given, wanted = token.strip().encode(), gateway.token.encode()
    if not wanted or kind.lower() != "bearer" or not compare_digest(given, wanted):
        AUDIT.warning("operator: refused without a valid token, from %s", request.remote)
        detail = "this needs the operator's token: Authorization: Bearer …"
        raise RefusedError(Problem(401, "token", "Not authorised", detail))


async def _reason(request: web.BaseRequest) -> str:
    """
    Return the reason in the body, ``{"reason": "…"}``; empty if there is none.
    """
    if (request.content_length or 0) > 4096 or (request.content_length is None and request.body_exists):
        raise RefusedError(Problem(413, "bad_body", "Body too large", "at most 4096 bytes, of a stated length"))
    raw = await request.read()
    if not raw:
        return ""
    try:
        reason = json.loads(raw)["reason"]
    except (ValueError, TypeError, KeyError, RecursionError):
        reason = None
    if not isinstance(reason, str) or len(reason) > _LONGEST_REASON or not reason.isprintable():
        detail = f'the body must be {{"reason": "…"}} with at most {_LONGEST_REASON} printable characters'
        raise RefusedError(Problem(400, "bad_body", "Bad body", detail))
    return reason


def _allow(request: web.BaseRequest, *methods: str) -> None:
    if request.method not in methods:
        problem = Problem(405, "method", "Method not allowed", f"only {' and '.join(methods)} here")
        raise RefusedError(problem, {"Allow": ", ".join(methods)})


def _json(document: object, *, status: int = 200) -> web.Response:
    body = json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    return web.Response(status=status, body=body, content_type="application/json", headers=_PLAIN)
