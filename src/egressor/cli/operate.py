"""
Commands to what is running: ``status``, ``pause``, ``resume``, ``reset-breaker``, ``lift-ban``.

They go to the store that the configuration names, if several processes can share it: whatever runs on it obeys, and
nothing need run. A store in memory is reached through the gateway that has it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPException
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

import click

from egressor.gateway import place
from egressor.governor import Governor
from egressor.stores import StoreAway
from egressor.stores.opening import open_store
from egressor.stores.overview import look

from . import home
from .text import columns, meant

if TYPE_CHECKING:
    from egressor.policies import Config

__all__ = ["ask", "lift_ban", "pause", "reset_breaker", "resume", "status"]

_TIMEOUT = 10.0
_UNHEALTHY = frozenset({"open", "forced_open", "banned", "paused"})
_HEADINGS = ("SERVICE", "STATE", "WAITING", "IN FLIGHT", "OK", "FAILED", "REFUSED", "LIMITS LEFT")
_FLEET = ("SERVICE", "STATE", "MEMBERS", "WAITING", "IN FLIGHT", "ADMITTED", "FAILED", "LIMITS LEFT")
_NUMBERS = frozenset({3, 4, 5, 6})
_FLEET_NUMBERS = frozenset({2, 4, 5, 6})
_CONFIG = click.option("--config", "file", type=click.Path(), help="Configuration file, whose store is asked.")
_URL = click.option("--url", help="Ask the gateway at this URL instead.")
_SQLITE = "sqlite:///"
_LEVELS = ("critical", "high", "medium", "low")


@click.command
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_CONFIG
@_URL
def status(file: str | None, url: str | None, *, as_json: bool) -> int:
    """
    Show how the services are: in all processes on the configuration's store, or in the running gateway.

    The exit code is 1 if one of them is open, banned or paused, or if the store or the gateway doesn't answer.
    """
    config = _shared(file, url)
    code, document = ask(url, "/-/status.json", key="services") if config is None else _look(config)
    if code:
        return code
    services: Mapping[str, Any] = document["services"]
    if as_json:
        click.echo(json.dumps(document, ensure_ascii=False))
    elif not services:
        click.echo("no services")
    elif config is None:
        click.echo(columns([_HEADINGS, *(_row(name, services[name]) for name in services)], right=_NUMBERS))
    else:
        click.echo(columns([_FLEET, *(_fleet_row(name, services[name]) for name in services)], right=_FLEET_NUMBERS))
    # As a gateway tells it that goes on with its share.
    away = sorted({each.get("store_away") or "" for each in services.values()} - {""})
    for why in away:
        sys.stderr.write(f"egressor: the store is away: {why}\n")
    return 1 if away or any(each["state"] in _UNHEALTHY for each in services.values()) else 0


@click.command
@click.argument("service")
@click.option("--reason", default="", help="Why; callers are told.")
@_CONFIG
@_URL
def pause(service: str, reason: str, file: str | None, url: str | None) -> int:
    """
    Refuse all calls to SERVICE until it is resumed.
    """
    return _act("pause", service, file, url, reason)


@click.command
@click.argument("service")
@_CONFIG
@_URL
def resume(service: str, file: str | None, url: str | None) -> int:
    """
    End a pause of SERVICE.
    """
    return _act("resume", service, file, url)


@click.command("reset-breaker")
@click.argument("service")
@_CONFIG
@_URL
def reset_breaker(service: str, file: str | None, url: str | None) -> int:
    """
    Close the breaker of SERVICE, and forget what it has counted.
    """
    return _act("reset-breaker", service, file, url)


@click.command("lift-ban")
@click.argument("service")
@_CONFIG
@_URL
def lift_ban(service: str, file: str | None, url: str | None) -> int:
    """
    End the suspension of SERVICE now.
    """
    return _act("lift-ban", service, file, url)


def _act(action: str, service: str, file: str | None, url: str | None, reason: str = "") -> int:
    config = _shared(file, url)
    if config is None:
        body = json.dumps({"reason": reason}).encode() if reason else b""
        code, document = ask(url, f"/-/services/{quote(service, safe='')}/{action}", body, key="state")
        state = document.get("state")
    else:
        code, state = _act_on(config, action, service, reason)
    if not code:
        click.echo(f"{service}: {state}")
    return code


def _shared(file: str | None, url: str | None) -> Config | None:
    """
    Return the configuration whose store is to be asked; None where the gateway is.
    """
    config = home.find(file, url)
    if config is None or config.store == "memory:":
        return None
    if config.sources["store"] == home.HOME and not home.is_used(config) and place.find() is not None:
        # A gateway runs, and not on that file: it has another configuration, or nobody has called through it yet.
        return None
    return config


def _look(config: Config) -> tuple[int, dict[str, Any]]:
    """
    Return an exit code, 0 if the store has answered, and how the services are.
    """
    store = open_store(config.store)
    assert store is not None  # noqa: S101 - memory is none, and has been ruled out
    with closing(store):
        try:
            services = look(config, store)
        except StoreAway as error:
            where = "" if not config.store.startswith(_SQLITE) else f" ({_file(config.store)})"
            return _fail(1, f"the store is away: {error}{where}")
    return 0, {"version": version("egressor"), "store": config.store, "now": time.time(), "services": services}


def _file(address: str) -> Path:
    return Path(unquote(address.removeprefix(_SQLITE))).absolute()


def _act_on(config: Config, action: str, service: str, reason: str) -> tuple[int, str]:
    """
    Do *action* as one more process on the store; return an exit code, and the state that all of them see then.
    """
    if service not in config.services:
        names = ", ".join(sorted(config.services)) or "none is configured"
        return _fail(2, f"no service {service[:64]!r}: {names}{meant(service, config.services)}")[0], ""
    # Whoever acts by itself while the store is away has done nothing, and would note that it has.
    code, _ = _look(config)
    if code:
        return code, ""
    with Governor(config=config) as gov:
        if action == "pause":
            gov.pause(service, reason)
        else:
            getattr(gov, action.replace("-", "_"))(service)
    code, document = _look(config)
    if code:
        return code, ""
    found = document["services"][service]
    if action in {"pause", "resume"} and bool(found["paused"]) is not (action == "pause"):
        return _fail(1, f"the store went away before it had taken the {action}: try again")[0], ""
    return 0, str(found["state"])


def ask(url: str | None, path: str, body: bytes | None = None, *, key: str) -> tuple[int, dict[str, Any]]:
    """
    Ask the gateway; return an exit code, 0 if it has answered, and the answer. Where no *key* is in that, it is none.
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
            if not isinstance(document, dict) or key not in document:
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


def _fleet_row(name: str, service: Mapping[str, Any]) -> tuple[str, ...]:
    one = _row(name, {"succeeded": 0, "denied": {}, **service})
    return (
        *one[:2],
        str(len(service["members"])),
        *one[2:4],
        str(service["admitted"]),
        one[5],
        one[-1],
    )
