"""
Requests and answers pass as they are, in both directions at once.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from tests.gateway.rig import FAST, Rig, ask_raw, gateway, raw_upstream, upstream

pytestmark = pytest.mark.anyio
MEGABYTE = 1 << 20


async def mirror(request: web.BaseRequest) -> web.Response:
    """
    Answer with what was received.
    """
    body = await request.read()
    seen = {
        "method": request.method,
        "target": request.raw_path,
        "headers": [[name.decode(), value.decode()] for name, value in request.raw_headers],
        "sha": hashlib.sha256(body).hexdigest(),
        "length": len(body),
    }
    return web.json_response(seen)


async def seen(rig: Rig, method: str, path: str, **options: Any) -> dict[str, Any]:
    """
    Send a request through *rig* to `mirror`, and return what arrived there.
    """
    async with rig.session.request(method, URL(rig.url + path, encoded=True), **options) as answer:
        assert answer.status == 200
        found: dict[str, Any] = await answer.json()
    found["headers"] = {name.lower(): value for name, value in found["headers"]}
    return found


async def test_request_arrives() -> None:
    """
    Method, path, query, headers and body arrive; hop-by-hop fields and our own do not; Host is the upstream's.
    """
    async with upstream(mirror) as base, gateway(base + "/v1") as rig:
        sent = {"Egressor-User": "u", "Egressor-Priority": "low", "X-A": "1", "TE": "gzip", "Authorization": "me"}
        found = await seen(rig, "PATCH", "/t/a%20b?q=%2F&q=", data=b"hello", headers=sent)

    assert (found["method"], found["target"], found["length"]) == ("PATCH", "/v1/a%20b?q=%2F&q=", 5)
    headers = found["headers"]
    assert headers["host"] == base.removeprefix("http://")
    assert (headers["x-a"], headers["authorization"], headers["content-length"]) == ("1", "me", "5")
    assert not {"te", "egressor-user", "egressor-priority"} & headers.keys()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "QUERY"])
async def test_methods_without_a_body(method: str) -> None:
    """
    Every method passes, and no header is invented on the way, but for the mark against loops.
    """
    async with upstream(mirror) as base, gateway(base) as rig:
        head = f"{method} /t/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        raw = await ask_raw(rig.port, head.encode())

    found = json.loads(raw.partition(b"\r\n\r\n")[2])
    names = {name.lower() for name, _ in found["headers"]} - {"content-length"}
    assert (found["method"], names) == (method, {"host", "egressor-hops"})


async def test_key_is_added(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """
    The service's key replaces the client's, and nobody but the upstream sees it.
    """
    monkeypatch.setenv("KEY", "sk-canary-1")
    async with upstream(mirror) as base, gateway(base, api_key={"env": "KEY"}) as rig:
        found = await seen(rig, "GET", "/t/x", headers={"Authorization": "Bearer mine", "X-Api-Key": "mine"})
        async with rig.session.get(rig.url + "/-/status.json") as answer:
            status = await answer.text()

    assert found["headers"]["authorization"] == "Bearer sk-canary-1"
    assert "x-api-key" not in found["headers"]
    assert "sk-canary-1" not in status + caplog.text


@pytest.mark.parametrize("chunked", [False, True])
async def test_ten_megabytes_up_and_down(chunked: bool) -> None:
    """
    Large bodies pass whole in both directions.
    """
    data = bytes(range(256)) * 4096 * 10

    async def echo(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        if not chunked:
            response.content_length = request.content_length
        await response.prepare(request)
        async for piece in request.content.iter_any():
            await response.write(piece)
        return response

    async def pieces() -> Any:
        for start in range(0, len(data), MEGABYTE):
            yield data[start : start + MEGABYTE]

    async with (
        upstream(echo) as base,
        gateway(base) as rig,
        rig.session.post(rig.url + "/t/x", data=pieces() if chunked else BytesIO(data)) as answer,
    ):
        got = await answer.read()
        state = await rig.at_rest()

    assert answer.status == 200
    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()
    assert (state["succeeded"], state["failed"]) == (1, 0)


async def test_events_pass_at_once() -> None:
    """
    The first event is there before the upstream has sent the second; the lease is held until the last.
    """
    go_on = asyncio.Event()

    async def events(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        await go_on.wait()
        await response.write(b"data: 2\n\n")
        return response

    async with upstream(events) as base, gateway(base) as rig, rig.session.get(rig.url + "/t/x") as answer:
        first = await answer.content.readany()
        held = rig.state()["in_flight"]
        go_on.set()
        rest = await answer.content.read()
        state = await rig.at_rest()

    assert (first, held, rest) == (b"data: 1\n\n", 1, b"data: 2\n\n")
    assert state["succeeded"] == 1


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_pieces_are_framed_one_by_one(version: str) -> None:
    """
    Each is a chunk of its own, whatever its length; a client of HTTP/1.0 gets the bytes alone.
    """
    pieces = [b"x" * size for size in (1, 9, 10, 15, 16, 255, 256, 4095, 70_000)]
    taken = asyncio.Event()

    async def events(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
            await taken.wait()
            taken.clear()
        return response

    frames = [b"%x\r\n%b\r\n" % (len(piece), piece) if version == "1.1" else piece for piece in pieces]
    async with upstream(events) as base, gateway(base) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(f"GET /t/x HTTP/{version}\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        found = []
        for each in frames[:-1]:
            found.append(await reader.readexactly(len(each)))
            taken.set()
        # What is longer than the upstream's buffers may come in parts.
        rest = await reader.readexactly(len(pieces[-1]))
        taken.set()
        rest += await reader.read()
        writer.close()

    assert found == frames[:-1]
    assert rest.count(b"x") == len(pieces[-1])
    assert rest.endswith(b"\r\n0\r\n\r\n") == (version == "1.1")


async def test_upload_streams() -> None:
    """
    The upstream gets the beginning of a long body before the client has sent its end.
    """
    began = asyncio.Event()

    async def reader(request: web.BaseRequest) -> web.Response:
        size = len(await request.content.readany())
        began.set()
        size += len(await request.read())
        return web.Response(text=str(size))

    async def pieces() -> Any:
        yield b"x" * MEGABYTE
        await asyncio.wait_for(began.wait(), 10)
        yield b"y"

    async with (
        upstream(reader) as base,
        gateway(base) as rig,
        rig.session.post(rig.url + "/t/x", data=pieces()) as answer,
    ):
        assert await answer.text() == str(MEGABYTE + 1)


async def test_compressed_bytes_pass_untouched() -> None:
    """
    Nothing is unpacked in either direction.
    """
    packed = gzip.compress(b"hello" * 100)

    async def answer_packed(request: web.BaseRequest) -> web.Response:
        assert await request.read() == packed
        return web.Response(body=packed, headers={"Content-Encoding": "gzip", "X-Type": request.content_type})

    headers = {"Content-Encoding": "gzip", "Content-Type": "application/x"}
    async with (
        upstream(answer_packed) as base,
        gateway(base) as rig,
        rig.session.post(rig.url + "/t/x", data=packed, headers=headers) as answer,
    ):
        got = await answer.read()

    assert (got, answer.headers["Content-Encoding"]) == (packed, "gzip")
    assert answer.headers["X-Type"] == "application/x"


async def test_redirects_are_returned() -> None:
    """
    A redirect goes to the client as it came; nobody follows it.
    """
    hits: list[str] = []

    async def away(request: web.BaseRequest) -> web.Response:
        hits.append(request.raw_path)
        return web.Response(status=307, headers={"Location": "http://127.0.0.1:9/elsewhere"})

    async with (
        upstream(away) as base,
        gateway(base) as rig,
        rig.session.get(rig.url + "/t/x", allow_redirects=False) as answer,
    ):
        state = await rig.at_rest()

    assert (answer.status, answer.headers["Location"], hits) == (307, "http://127.0.0.1:9/elsewhere", ["/x"])
    assert state["failed"] == 0


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", (204, None)),
        (b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", (304, None)),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", (200, "0")),
    ],
)
async def test_no_body(head: bytes, expected: tuple[int, str | None]) -> None:
    """
    Answers without a body end at once.
    """

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await writer.drain()

    async with raw_upstream(talk) as base, gateway(base) as rig, rig.session.get(rig.url + "/t/x") as answer:
        assert (answer.status, answer.headers.get("Content-Length")) == expected
        assert await answer.read() == b""


async def test_head_keeps_the_length() -> None:
    """
    The answer to HEAD says how long the body would be, and has none.
    """

    async def sized(request: web.BaseRequest) -> web.Response:
        return web.Response(body=b"x" * 1234)

    async with upstream(sized) as base, gateway(base) as rig:
        raw = await ask_raw(rig.port, b"HEAD /t/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")

    head, _, body = raw.partition(b"\r\n\r\n")
    assert b"content-length: 1234" in head.lower()
    assert body == b""


async def test_nothing_is_invented_in_an_answer() -> None:
    """
    Without a Content-Type or Server from the upstream the client gets none; cookies and repeated headers stay apart.
    """

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 Fine\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 1\r\n\r\nx")
        await writer.drain()

    async with raw_upstream(talk) as base, gateway(base) as rig, rig.session.get(rig.url + "/t/x") as answer:
        names = {name.lower() for name in answer.headers}
        assert await answer.read() == b"x"

    assert answer.reason == "Fine"
    assert answer.headers.getall("Set-Cookie") == ["a=1", "b=2"]
    assert names == {"set-cookie", "content-length", "date", "egressor-attempts", "egressor-wait-ms"}


async def test_expect_continue() -> None:
    """
    A client that waits for 100 Continue gets it once the body is wanted.
    """
    async with upstream(mirror) as base, gateway(base) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(b"POST /t/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        interim = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        writer.write(b"abc")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        writer.close()

    assert interim == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert head.startswith(b"HTTP/1.1 200")


async def test_nothing_is_uploaded_for_a_refused_call() -> None:
    """
    A refusal comes before a large body is asked for.
    """
    async with gateway() as rig:
        rig.gov.pause("t")
        raw = await ask_raw(
            rig.port,
            b"POST /t/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 1000000\r\n"
            b"Expect: 100-continue\r\n\r\n",
        )

    assert raw.startswith(b"HTTP/1.1 503")
    assert b"100 Continue" not in raw


@pytest.mark.parametrize(
    ("method", "headers", "size", "hits"),
    [
        ("GET", {}, 0, 3),
        ("PUT", {}, 10, 3),
        ("PUT", {}, 65_536, 3),
        ("PUT", {}, 65_537, 1),
        ("POST", {}, 10, 1),
        ("POST", {"Idempotency-Key": "k"}, 10, 3),
    ],
)
async def test_retries(method: str, headers: dict[str, str], size: int, hits: int) -> None:
    """
    What may have run is sent again if it is idempotent and its body was kept; the last answer comes out as it is.
    """
    bodies: list[bytes] = []

    async def fail(request: web.BaseRequest) -> web.Response:
        bodies.append(await request.read())
        return web.Response(status=500, text=f"failure {len(bodies)}")

    async with (
        upstream(fail) as base,
        gateway(base, retry=FAST) as rig,
        rig.session.request(method, rig.url + "/t/x", data=b"x" * size, headers=headers) as answer,
    ):
        text = await answer.text()

    assert (answer.status, text, answer.headers["Egressor-Attempts"]) == (500, f"failure {hits}", str(hits))
    assert answer.headers.get("x-should-retry") == ("false" if hits > 1 else None)
    assert bodies == [b"x" * size] * hits


@pytest.mark.parametrize(("size", "hits"), [(65_536, 3), (65_537, 1)])
async def test_a_body_that_is_gone_is_not_sent_again(size: int, hits: int) -> None:
    """
    Even what surely has not run is sent once only, if its body was not kept.
    """
    sizes: list[int] = []

    async def refuse(request: web.BaseRequest) -> web.Response:
        sizes.append(len(await request.read()))
        return web.Response(status=429)

    async with (
        upstream(refuse) as base,
        gateway(base, retry=FAST) as rig,
        rig.session.put(rig.url + "/t/x", data=b"x" * size) as answer,
    ):
        assert answer.status == 429

    assert sizes == [size] * hits


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("gzip", bytes), ("br", bytes)])
async def test_a_packed_failure_is_understood_and_left_packed(coding: str, pack: Callable[[bytes], bytes]) -> None:
    """
    A spent quota is seen inside of a packed answer, which is relayed as it came; what can't be unpacked is no harm.
    """
    error = {"error": {"message": "no money", "type": "insufficient_quota", "code": "insufficient_quota"}}
    packed = pack(json.dumps(error).encode())

    async def refuse(request: web.BaseRequest) -> web.Response:
        return web.Response(status=429, body=packed, headers={"Content-Encoding": coding})

    async with upstream(refuse) as base, gateway(base) as rig, rig.session.get(rig.url + "/t/x") as answer:
        got = await answer.read()
        state = await rig.at_rest()

    assert (answer.status, got) == (429, packed)
    assert coding != "gzip" or state["categories"] == {"quota_exhausted": 1}


async def test_a_retry_that_succeeds() -> None:
    """
    A failure that a retry cures is nothing that the client sees.
    """
    statuses = [503, 200]

    async def moody(request: web.BaseRequest) -> web.Response:
        return web.Response(status=statuses.pop(0), text="x")

    async with upstream(moody) as base, gateway(base, retry=FAST) as rig, rig.session.get(rig.url + "/t/x") as answer:
        pass

    assert (answer.status, answer.headers["Egressor-Attempts"]) == (200, "2")
    assert int(answer.headers["Egressor-Wait-Ms"]) < 1000


async def test_a_long_failing_answer_is_relayed_whole() -> None:
    """
    Looking at the beginning of a failing answer takes nothing away from it.
    """
    data = b"e" * 200_000

    async def fail(request: web.BaseRequest) -> web.Response:
        return web.Response(status=400, body=data)

    async with upstream(fail) as base, gateway(base) as rig, rig.session.get(rig.url + "/t/x") as answer:
        assert (answer.status, await answer.read()) == (400, data)


async def test_scope_and_endpoint_reach_the_rules() -> None:
    """
    Each user has a limit of their own, and each endpoint its.
    """
    rules = [
        {"match": {"user": "*"}, "limits": ["2/hour"]},
        {"match": {"endpoint": "embeddings"}, "limits": ["1/hour"]},
    ]

    async def status(rig: Rig, path: str, user: str) -> int:
        async with rig.session.get(rig.url + path, headers={"Egressor-User": user}) as answer:
            return answer.status

    async with upstream(mirror) as base, gateway(base, rules=rules, max_wait=0) as rig:
        found = [
            await status(rig, path, user)
            for path, user in [
                ("/t/a", "u1"),
                ("/t/a", "u1"),
                ("/t/a", "u1"),
                ("/t/a", "u2"),
                ("/t/embeddings", "u3"),
                ("/t/embeddings", "u4"),
            ]
        ]

    assert found == [200, 200, 429, 200, 200, 429]
