"""
Commands to a running gateway: ``status``, ``pause``, ``resume``, ``reset-breaker``, ``lift-ban``.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

import click

from egressor.gateway import place

from .text import columns

__all__ = ["ask", "lift_ban", "pause", "reset_breaker", "resume", "status"]

_TIMEOUT = 10.0
_UNHEALTHY = frozenset({"open", "forced_open", "banned", "paused"})
_HEADINGS = ("SERVICE", "STATE", "WAITING", "IN FLIGHT", "OK", "FAILED", "REFUSED", "LIMITS LEFT")
_NUMBERS = frozenset({3, 4, 5, 6})
_URL = click.option("--url", help="The gateway's URL; default: the one that this user started last.")
_LEVELS = ("critical", "high", "medium", "low")


@click.command
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_URL
def status(url: str | None, *, as_json: bool) -> int:
    """
    Show how the services of the running gateway are.

    The exit code is 1 if one of them is open, banned or paused, or if the gateway doesn't answer.
    """
    code, document = ask(url, "/-/status.json")
    if code:
        return code
    services: Mapping[str, Any] = document["services"]
    if as_json:
        click.echo(json.dumps(document, ensure_ascii=False))
    elif services:
        click.echo(columns([_HEADINGS, *(_row(name, services[name]) for name in services)], right=_NUMBERS))
    else:
        click.echo("no services")
    return 1 if any(each["state"] in _UNHEALTHY for each in services.values()) else 0


@click.command
@click.argument("service")
@click.option("--reason", default="", help="Why; callers are told.")
@_URL
def pause(service: str, reason: str, url: str | None) -> int:
    """
    Refuse all calls to SERVICE until it is resumed.
    """
    return _act("pause", service, url, reason)


@click.command
@click.argument("service")
@_URL
def resume(service: str, url: str | None) -> int:
    """
    End a pause of SERVICE.
    """
    return _act("resume", service, url)


@click.command("reset-breaker")
@click.argument("service")
@_URL
def reset_breaker(service: str, url: str | None) -> int:
    """
    Close the breaker of SERVICE, and forget what it has counted.
    """
    return _act("reset-breaker", service, url)


@click.command("lift-ban")
@click.argument("service")
@_URL
def lift_ban(service: str, url: str | None) -> int:
    """
    End the suspension of SERVICE now.
    """
    return _act("lift-ban", service, url)


def _act(action: str, service: str, url: str | None, reason: str = "") -> int:
    body = json.dumps({"reason": reason}).encode() if reason else b""
    code, document = ask(url, f"/-/services/{quote(service, safe='')}/{action}", body)
    if not code:
        click.echo(f"{service}: {document['state']}")
    return code


def ask(url: str | None, path: str, body: bytes | None = None) -> tuple[int, dict[str, Any]]:
    """
    Ask the gateway; return an exit code, 0 if it has answered, and the answer.
    """
    known = place.find(url)
    base = (url or (known.url if known else "")).rstrip("/")
    if not base:
        return _fail(
            1, "no running gateway of this user is known: start one with egressor serve, or name it with --url"
        )
    if not base.startswith(("http://", "https://")):
        return _fail(2, "--url must begin with http:// or https://")
    try:
        parts = urlsplit(base)
        shown = f"{parts.scheme}://{parts.hostname or ''}" + ("" if parts.port is None else f":{parts.port}")
    except ValueError:
        return _fail(2, "--url is no URL: its host or port can't be read")
    if "@" in parts.netloc or " " in base:
        return _fail(2, "--url holds no user, password or blank: http://host:port")
    request = Request(base + path, data=body)  # noqa: S310 - the scheme was checked
    # Where clients need keys, looking needs the token, too.
    token = (os.environ.get("EGRESSOR_TOKEN") or (known.token if known else "")).strip()
    if not token.isascii() or not token.isprintable():
        return _fail(2, "EGRESSOR_TOKEN holds characters that no token has")
    if token or body is not None:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with _opener().open(request, timeout=_TIMEOUT) as answer:
            document = json.loads(answer.read())
            if not isinstance(document, dict):
                return _fail(1, f"what answers at {shown} is no egressor gateway")
            return 0, document
    except HTTPError as error:
        with error:
            return _fail(2, _detail(error))
    except (URLError, OSError, ValueError, HTTPException) as error:
        # Of other errors only the kind is told: their text may repeat the request, and the token with it.
        reason = getattr(error, "reason", None) or type(error).__name__
        return _fail(1, f"the gateway at {shown} does not answer: {reason}")


class _NoRedirect(HTTPRedirectHandler):
    """
    Nobody is followed with the token.
    """

    def redirect_request(self, *_: object) -> None:
        """
        Take the redirect for the error that it is here.
        """


def _opener() -> OpenerDirector:
    # No proxy: the gateway is on this machine, whatever the environment says.
    return build_opener(ProxyHandler({}), _NoRedirect())


def _detail(error: HTTPError) -> str:
    try:
        return str(json.loads(error.read())["detail"])
    except (ValueError, TypeError, KeyError, OSError):
        return f"the gateway answered {error.code}"


def _fail(code: int, message: str) -> tuple[int, dict[str, Any]]:
    sys.stderr.write(f"egressor: {message}\n")
    return code, {}


def _row(name: str, service: Mapping[str, Any]) -> tuple[str, ...]:
    waiting = [f"{service['waiting'][level]} {level}" for level in _LEVELS if service["waiting"][level]]
    limits = [f"{limit['left']}/{limit['limit']} {limit['unit']}" for limit in service["limits"]]
    state = str(service["state"]).replace("_", "-")
    return (
        name,
        "ok" if state == "closed" else state,
        ", ".join(waiting) or "0",
        str(service["in_flight"]),
        str(service["succeeded"]),
        str(service["failed"]),
        str(sum(service["denied"].values())),
        ", ".join(limits) or "-",
    )
