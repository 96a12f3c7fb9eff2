"""
Real web servers behind the gateway: each request is answered as it is without us, and the server sees it once.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, DummyCookieJar
from yarl import URL

from tests.gateway.rig import Rig, ask_raw, gateway
from tests.gateway.servers import KINDS, LARGE, Server

pytestmark = pytest.mark.anyio
# What a proxy may change or add, and what is another one in each answer.
OURS = {"connection", "keep-alive", "date", "transfer-encoding", "egressor-attempts", "egressor-wait-ms"}
# Which line of a log belongs to which test: a server may note a request that was broken off much later.
MARKS = count(1000)
REQUESTS: list[tuple[str, str, dict[str, str], bytes | None]] = [
    ("GET", "/page.txt", {}, None),
    ("GET", "/page.txt", {"Accept-Encoding": "gzip"}, None),
    ("GET", "/page.txt?a=1&a=%2F&b", {"Accept-Encoding": "identity"}, None),
    ("GET", "/a%20b&c.txt", {}, None),
    ("GET", "/empty.txt", {}, None),
    ("GET", "/nothing.txt", {}, None),
    ("GET", "/moved", {}, None),
    ("HEAD", "/page.txt", {}, None),
    ("HEAD", "/large.bin", {}, None),
    ("HEAD", "/nothing.txt", {}, None),
    ("GET", "/large.bin", {"Range": "bytes=5-9"}, None),
    ("GET", "/large.bin", {"Range": "bytes=-1000"}, None),
    ("GET", "/large.bin", {"Range": f"bytes={LARGE}-"}, None),
    ("GET", "/page.txt", {"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}, None),
    ("GET", "/page.txt", {"If-Match": '"other"'}, None),
    ("OPTIONS", "/page.txt", {}, None),
    ("POST", "/page.txt", {"Content-Type": "text/plain"}, b"x" * 10),
    ("PUT", "/up/big.bin", {}, b"x" * 3_000_000),
    ("DELETE", "/up/nothing.bin", {}, None),
]


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """
    One of the servers.
    """
    folder: Path = tmp_path_factory.mktemp(request.param)
    with KINDS[request.param](folder) as running:
        yield running


async def answer(session: ClientSession, url: str, row: tuple[str, str, dict[str, str], bytes | None]) -> Any:
    """
    Send one request, and return what came.
    """
    method, path, headers, body = row
    async with session.request(
        method, URL(url + path, encoded=True), headers=headers, data=body and BytesIO(body), allow_redirects=False
    ) as found:
        content = await found.read()
        names = [(name.lower(), value) for name, value in found.headers.items() if name.lower() not in OURS]
        return found.status, found.reason, sorted(names), content


async def lines(server: Server, number: int, query: str) -> list[str]:
    """
    Return what the server has noted of requests with *query*, once there are *number* lines or 10 s have passed: it
    writes when it has answered.
    """
    found: list[str] = []
    for _ in range(1000):
        found = [line for line in server.log() if query in line]
        if len(found) >= number:
            break
        await asyncio.sleep(0.01)  # real time: another process writes
    return found


def rig(server: Server) -> Any:
    """
    Return a gateway to *server*.
    """
    return gateway(server.url, timeout=10, lease_for=10)


@pytest.mark.parametrize("row", REQUESTS, ids=lambda row: " ".join((row[0], row[1], *map("=".join, row[2].items()))))
async def test_as_without_us(server: Server, row: tuple[str, str, dict[str, str], bytes | None]) -> None:
    """
    Status, words, headers and body are the same direct and through us, and so is what the server has noted.
    """
    method, path, *rest = row
    mark = f"mark={next(MARKS)}"
    row = (method, path + ("&" if "?" in path else "?") + mark, *rest)  # type: ignore[assignment]
    async with (
        rig(server) as ours,
        ClientSession(auto_decompress=False, cookie_jar=DummyCookieJar(), skip_auto_headers=["User-Agent"]) as session,
    ):
        direct = await answer(session, server.url, row)
        through = await answer(session, ours.url + "/t", row)
        state = await ours.at_rest()
        noted = await lines(server, 2, mark)

    assert through == direct
    assert len(noted) == 2
    assert noted[0] == noted[1]
    assert state["in_flight"] == 0


async def test_compression_is_the_servers(server: Server) -> None:
    """
    The comparison can see compression: the server packs, and the client can unpack.
    """
    async with rig(server) as ours:
        asked = {"Accept-Encoding": "gzip"}
        async with ours.session.get(ours.url + "/t/page.txt", headers=asked) as found:
            packed = await found.read()

    assert found.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed) == b"hello, this is a page\n" * 50


async def test_an_upload_that_waits_for_continue(server: Server) -> None:
    """
    A PUT with ``Expect: 100-continue`` is stored, whatever its form.
    """
    async with rig(server) as ours:
        reader, writer = await asyncio.open_connection("127.0.0.1", ours.port)
        head = b"PUT /t/up/%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nExpect: 100-continue\r\n%s\r\n"
        writer.write(head % (b"new.txt", b"Transfer-Encoding: chunked\r\n"))
        interim = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        writer.write(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n")
        raw = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        stored = (server.folder / "files/up/new.txt").read_bytes()
        (server.folder / "files/up/new.txt").unlink()

    assert interim == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert raw.startswith((b"HTTP/1.1 201 ", b"HTTP/1.1 204 "))
    assert stored == b"abcde"


async def test_an_early_refusal_of_a_long_upload(server: Server) -> None:
    """
    A server that refuses a body by its length says so to our client, too.
    """
    async with rig(server) as ours:
        status, *_ = await answer(ours.session, ours.url + "/t", ("PUT", "/up/x.bin", {}, b"x" * 3_000_000))

    assert status == 413


@pytest.mark.parametrize(
    "body",
    [
        (b"Content-Length: 5\r\n", b"GET /"),
        (b"Transfer-Encoding: chunked\r\n", b"5\r\nGET /\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked\r\n", b'05;a="\\n"\r\nGET /\r\n000\r\nX: y\r\n\r\n'),
        (b"Content-Length: 0\r\n", b""),
    ],
)
async def test_one_request_is_one_request(server: Server, body: tuple[bytes, bytes]) -> None:
    """
    Whatever its body looks like, the server notes each of ten requests on one connection once, and nothing else.
    """
    mark = f"mark={next(MARKS)}"
    head = b"POST /t/page.txt?" + mark.encode() + b"&n=%d HTTP/1.1\r\nHost: localhost\r\n" + body[0] + b"\r\n" + body[1]
    last = b"GET /t/page.txt?" + mark.encode() + b"&n=10 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    async with rig(server) as ours:
        raw = await ask_raw(ours.port, b"".join(head % number for number in range(10)) + last)
        noted = await lines(server, 11, mark)

    assert raw.count(b"\r\nEgressor-Attempts: 1\r\n") == 11
    assert [line.split()[1] for line in noted] == [f"/page.txt?{mark}&n={number}" for number in range(11)]


async def test_many_at_once(server: Server) -> None:
    """
    400 requests over 40 connections, large ones among them, are all answered whole.
    """

    async def ask(ours: Rig, number: int) -> tuple[int, int]:
        path = "/large.bin" if number % 40 == 0 else "/page.txt"
        async with ours.session.get(f"{ours.url}/t{path}?{mark}", headers={"Accept-Encoding": "identity"}) as found:
            return found.status, len(await found.read())

    mark = f"mark={next(MARKS)}"
    async with rig(server) as ours:
        found = await asyncio.gather(*(ask(ours, number) for number in range(400)))
        state = await ours.at_rest()
        noted = await lines(server, 400, mark)

    large = (200, LARGE - LARGE % 256)
    assert found == [large if number % 40 == 0 else (200, 1100) for number in range(400)]
    assert (state["succeeded"], len(noted)) == (400, 400)
