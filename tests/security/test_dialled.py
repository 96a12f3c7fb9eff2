"""
Whatever a client sends, only the configured upstream is dialled, and only with what the route allows.

Three judges: every socket that this process connects (an audit hook of the interpreter), a listener that nobody may
reach, and the upstream's own notes. The forms are made of ``ssrf.json`` and ``paths.txt``; with ``EGRESSOR_SOAK=1``
all of them are sent, else every fourth, always the same.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from aiohttp import web

from tests.gateway.rig import gateway, gateway_of
from tests.gateway.rig import upstream as serving
from tests.security.judge import answers, ask, upstream

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(900)]
HERE = Path(__file__).parent
FORMS = json.loads((HERE / "ssrf.json").read_text(encoding="utf-8"))
PATHS = [line for line in (HERE / "paths.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
EVERY = 1 if os.environ.get("EGRESSOR_SOAK") == "1" else 4
LEAST = 5_000
TOGETHER = 16
_hooks: list[list[tuple[str, Any]]] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event in {"socket.connect", "socket.getaddrinfo"} and _hooks:
        found = arguments[1] if event == "socket.connect" else arguments[0]
        for each in _hooks:
            each.append((event, found))


sys.addaudithook(_audit)


@contextmanager
def dialled() -> Iterator[list[tuple[str, Any]]]:
    """
    Note each address that this process connects to, and each name that it resolves.
    """
    found: list[tuple[str, Any]] = []
    _hooks.append(found)
    try:
        yield found
    finally:
        _hooks.remove(found)


def requests(port: int) -> Iterator[bytes]:
    """
    Yield every form as a whole request, with *port* where nobody may come.
    """
    hosts = [host.format(port=port) for host in FORMS["hosts"]]
    whole = [scheme + host for scheme in FORMS["schemes"] for host in hosts]
    for path, host in product(FORMS["paths"], hosts):
        yield request(path.replace("{full}", "http://" + host).replace("{host}", host))
    for name, host in product(FORMS["headers"], hosts):
        yield request("/t/x", f"{name}: {_value(name, host)}")
        yield request("/t/x", f"{name}: http://{host}/")
    for name, text in product(FORMS["parameters"], hosts):
        yield request(f"/t/x?{name}=http://{text}/")
        yield request("/t/x", "Content-Type: application/json", body=json.dumps({name: f"http://{text}/"}))
    for text in whole:
        yield request(f"{text}/t/x")
    for host in hosts:
        yield request("/t/x", host=host)
        yield request(f"http://{host}/t/x", host=host)


def _value(name: str, host: str) -> str:
    return f'for=1.1.1.1;host="{host}";proto=http' if name == "Forwarded" else host


def request(target: str, *lines: str, host: str = "localhost", body: str = "") -> bytes:
    """
    Return a request as bytes.
    """
    length = [f"Content-Length: {len(body.encode())}"] if body else []
    method = "POST" if body else "GET"
    head = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close", *length, *lines]
    return ("\r\n".join(head) + "\r\n\r\n" + body).encode()


async def test_only_the_configured_host_is_dialled() -> None:
    """
    Over all forms: one address connected to, no name resolved, the trap empty, and no fault of ours.
    """
    trapped: list[str] = []

    async def trap(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        trapped.append("came")
        writer.close()

    server = await asyncio.start_server(trap, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    forms = list(requests(port))
    faults = []
    async with server, upstream() as notes, gateway(notes.url, breaker={"enabled": False}) as rig:
        gate = asyncio.Semaphore(TOGETHER)

        async def send(data: bytes) -> None:
            async with gate:
                statuses, _, hung_up = await ask(rig.port, data)
            if not hung_up or len(statuses) != 1 or statuses[0] >= 500:
                faults.append((data, statuses, hung_up))

        with dialled() as found:
            await asyncio.gather(*map(send, forms[::EVERY]))

    mine = {("socket.connect", ("127.0.0.1", each)) for each in (rig.port, notes.port)}
    own = notes.url.removeprefix("http://")
    assert len(forms) >= LEAST
    assert set(found) == mine
    assert (trapped, faults[:3]) == ([], [])
    assert len(notes.requests) > len(forms) // EVERY // 4
    assert {each.header("host") for each in notes.requests} == {own}


async def test_the_judge_notices() -> None:
    """
    A connection that is made elsewhere is noted.
    """
    async with upstream() as notes:
        with dialled() as found:
            await ask(notes.port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", enough=answers(1))

    assert ("socket.connect", ("127.0.0.1", notes.port)) in found


@pytest.mark.parametrize("prefix", ["", "/v1/only"])
async def test_a_path_stays_in_its_route(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Over the corpus: what reaches an upstream came for it, byte for byte, with its own key, and stays below its prefix.

    However often an upstream decodes the path, and whatever it takes for a separator, it doesn't leave the prefix.
    """
    for name in "ab":
        monkeypatch.setenv(f"KEY_{name.upper()}", f"sk-{name}")
    forwarded = 0
    async with upstream() as a, upstream() as b:
        services: dict[str, Any] = {
            name: {"base_url": notes.url + prefix, "api_key": {"env": f"KEY_{name.upper()}"}}
            for name, notes in (("a", a), ("b", b))
        }
        async with gateway_of(services) as rig:
            for line in PATHS:
                for this, other, notes, its in (("a", "b", a, b), ("b", "a", b, a)):
                    path = line.replace("{a}", this).replace("{A}", this.upper()).replace("{b}", other)
                    a.requests.clear()
                    b.requests.clear()
                    statuses, _, _ = await ask(rig.port, request(path))
                    went = [*notes.requests, *its.requests]
                    assert (path, len(statuses), max(statuses) < 500) == (path, 1, True)
                    if not went:
                        assert (path, statuses[0] in {400, 404, 405}) == (path, True) or path.startswith("/-/")
                        continue
                    forwarded += 1
                    assert (path, its.requests) == (path, [])
                    assert went[0].header("authorization") == f"Bearer sk-{this}"
                    assert went[0].target.startswith("/")
                    assert prefix + path.removeprefix(f"/{this}") in {went[0].target, went[0].target.removeprefix("/")}
                    assert stays_below(went[0].target, prefix or "/")

    assert len(PATHS) * 2 > forwarded > 40


def stays_below(target: str, prefix: str) -> bool:
    """
    Whether *target*'s path stays below *prefix* however often it is decoded.
    """
    path = target.partition("?")[0].encode()
    for _ in range(4):
        parts: list[str] = []
        text = path.decode("utf-8", "replace").replace("\\", "/").partition(";")[0]
        for part in PurePosixPath(text).parts:
            if part == "..":
                del parts[-1:]
            else:
                parts.append(part)
        if not "/".join(parts).replace("//", "/").startswith(prefix):
            return False
        path = unquote_to_bytes(path)
    return True


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("where", ["http://127.0.0.1:{trap}/x", "//127.0.0.1:{trap}/x", "https://evil.test/", "/other"])
async def test_redirects_are_returned(status: int, where: str) -> None:
    """
    A redirect goes back as it came, and nobody follows it.
    """
    trapped: list[str] = []

    async def trap(request: web.BaseRequest) -> web.Response:
        trapped.append(request.raw_path)
        return web.Response()

    async with serving(trap) as url:
        location = where.format(trap=url.rpartition(":")[2])

        async def redirect(request: web.BaseRequest) -> web.Response:
            return web.Response(status=status, headers={"Location": location, "Refresh": f"0; url={location}"})

        async with serving(redirect) as base, gateway(base) as rig:
            with dialled() as found:
                async with rig.session.get(rig.url + "/t/x", allow_redirects=False) as answer:
                    pass

    ports = {address[1] for event, address in found if event == "socket.connect"}
    assert (answer.status, answer.headers["Location"], trapped) == (status, location, [])
    assert ports == {rig.port, int(base.rpartition(":")[2])}
