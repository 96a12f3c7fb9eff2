"""
What comes before an answer's head and behind its body: interim answers end here, trailers go on to whoever takes them.
"""

from __future__ import annotations

import asyncio
import re
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import requests
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from egressor.gateway.trailers import Watch, announced
from tests.gateway.rig import LOOP_NAMES, LOOPS, ask_raw, gateway, raw_upstream, upstream

if TYPE_CHECKING:
    from tests.gateway.rig import Rig, Talk

pytestmark = pytest.mark.anyio
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
BODY = b"5\r\nhello\r\n0\r\n"
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nTrailer: X-Early\r\n\r\n"
TAKES = b"TE: trailers\r\n"


@pytest.fixture(params=LOOPS, ids=LOOP_NAMES)
def anyio_backend(request: pytest.FixtureRequest) -> object:
    """
    Run each of these on both event loops.
    """
    return request.param


def saying(*pieces: bytes) -> Talk:
    """
    Return an upstream that answers each request of a connection with *pieces*, one write for each.
    """

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)  # so that the pieces don't become one
            await reader.readuntil(b"\r\n\r\n")

    return talk


async def ask(rig: Rig, fields: bytes = TAKES, *, version: bytes = b"1.1") -> tuple[bytes, bytes]:
    """
    Return the head of an answer, and what stands behind its data.
    """
    sent = b"GET /t/x HTTP/%s\r\nHost: localhost\r\nConnection: close\r\n%s\r\n" % (version, fields)
    head, _, body = (await ask_raw(rig.port, sent)).partition(b"\r\n\r\n")
    data, last, behind = body.rpartition(b"0\r\n")
    assert re.sub(rb"[0-9]\r\n|\r\n", b"", data or behind) == b"hello"
    return head, behind if last else b""


@pytest.mark.parametrize(
    ("announcement", "sent", "expected"),
    [
        (b"Trailer: X-Sum\r\n", b"X-Sum: 1\r\n", b"X-Sum: 1\r\n"),
        (b"Trailer: x-sum, X-B\r\n", b"X-Sum:  1 \r\nx-b:2\r\n", b"X-Sum: 1\r\nx-b: 2\r\n"),
        (b"trailer: X-Sum\r\nTrailer: X-B\r\n", b"X-B: 2\r\nX-Sum: 1\r\n", b"X-B: 2\r\nX-Sum: 1\r\n"),
        (b"Trailer: X-Sum\r\n", "X-Sum: é\r\n".encode("latin-1"), "X-Sum: é\r\n".encode()),
        (b"Trailer: X-Sum\r\n", b"", b""),
        # Not announced, or not fit to stand behind a body, or not the upstream's to say.
        (b"", b"X-Sum: 1\r\n", b""),
        (b"Trailer: X-Sum\r\n", b"X-Other: 1\r\n", b""),
        (b"Trailer: Set-Cookie, X-Sum\r\n", b"Set-Cookie: a=b\r\nX-Sum: 1\r\n", b"X-Sum: 1\r\n"),
        (b"Trailer: Egressor-Cost-Usd, Keep-Alive\r\n", b"Egressor-Cost-Usd: 0\r\nKeep-Alive: 1\r\n", b""),
        (b"Trailer: X-Sum\r\n", b"X-Sum: " + b"1" * 20_000 + b"\r\n", b""),
    ],
    ids=range(10),
)
@pytest.mark.parametrize("size", [1, 7, 100_000])
async def test_trailers_go_on(announcement: bytes, sent: bytes, expected: bytes, size: int) -> None:
    """
    Whatever pieces an answer comes in, the announced fields stand behind its body, and nothing else does.
    """
    whole = HEAD + announcement + b"\r\n" + BODY + sent + b"\r\n"
    if len(whole) > 1_000 and size < 100:
        size = 1_000
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    async with raw_upstream(saying(*pieces)) as base, gateway(base) as rig:
        _, behind = await ask(rig)
        state = await rig.at_rest()

    assert behind == expected + b"\r\n"
    assert (state["succeeded"], state["failed"]) == (1, 0)


@pytest.mark.parametrize(
    ("fields", "version", "behind"),
    [
        (b"TE: trailers\r\n", b"1.1", b"X-Sum: 1\r\n\r\n"),
        (b"TE: gzip;q=0.5, Trailers\r\nConnection: TE\r\n", b"1.1", b"X-Sum: 1\r\n\r\n"),
        (b"TE: gzip\r\n", b"1.1", b"\r\n"),
        (b"", b"1.1", b"\r\n"),
        (b"TE: trailers\r\n", b"1.0", b""),
    ],
)
async def test_only_who_takes_trailers_gets_them(fields: bytes, version: bytes, behind: bytes) -> None:
    """
    Others get the body as ever, and no word of what they miss.
    """
    answer = HEAD + b"Trailer: X-Sum\r\n\r\n" + BODY + b"X-Sum: 1\r\n\r\n"
    async with raw_upstream(saying(answer)) as base, gateway(base) as rig:
        head, came = await ask(rig, fields, version=version)

    assert came == behind
    assert (b"\r\nTrailer: X-Sum\r\n" in head + b"\r\n") == (b"X-Sum" in behind)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"TE": "trailers"}, ("trailers", "TE")),
        ({"TE": "gzip, trailers", "Connection": "TE, X-Mine", "X-Mine": "1"}, ("trailers", "TE")),
        ({"TE": "gzip"}, (None, None)),
        ({}, (None, None)),
    ],
)
async def test_the_upstream_hears_who_takes_trailers(headers: dict[str, str], expected: tuple[object, object]) -> None:
    """
    The field is for one connection, so that it is said anew, and without what this gateway does not take.
    """
    seen: list[tuple[object, object]] = []

    async def note(request: web.BaseRequest) -> web.Response:
        seen.append((request.headers.get("TE"), request.headers.get("Connection")))
        return web.Response()

    async with (
        upstream(note) as base,
        gateway(base) as rig,
        rig.session.get(rig.url + "/t/x", headers=headers) as answer,
    ):
        status = answer.status

    assert (status, seen) == (200, [expected])


async def test_each_answer_has_its_own_trailers() -> None:
    """
    They are neither announced by an interim answer, nor left from the one before on the same connection.
    """
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        for number in (b"1", b"2", b"3"):
            fields = b"X-Early: 1\r\nX-Sum: " + number + b"\r\n\r\n" if number != b"2" else b"\r\n"
            writer.write(EARLY + HEAD + b"Trailer: X-Sum\r\n\r\n" + BODY + fields)
            await reader.readuntil(b"\r\n\r\n")

    async with raw_upstream(talk) as base, gateway(base) as rig:
        seen = [await ask(rig) for _ in range(3)]

    assert [behind for _, behind in seen] == [b"X-Sum: 1\r\n\r\n", b"\r\n", b"X-Sum: 3\r\n\r\n"]
    assert connections == 1


async def test_a_failing_answer_has_its_trailers() -> None:
    """
    It was read to its end before it is relayed.
    """
    answer = HEAD.replace(b"200 OK", b"404 No") + b"Trailer: X-Sum\r\n\r\n" + BODY + b"X-Sum: 1\r\n\r\n"
    async with raw_upstream(saying(answer)) as base, gateway(base) as rig:
        head, behind = await ask(rig)

    assert head.startswith(b"HTTP/1.1 404")
    assert behind == b"X-Sum: 1\r\n\r\n"


async def test_early_hints_confuse_nobody() -> None:
    """
    Python's own HTTP client takes 103 for the answer itself, which it does not get here.
    """
    answer = EARLY + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
    async with raw_upstream(saying(answer)) as base, gateway(base) as rig:

        def get(url: str) -> list[tuple[int, str]]:
            with requests.Session() as session:
                answers = [session.get(url, timeout=10) for _ in range(2)]
            return [(each.status_code, each.text) for each in answers]

        through = await asyncio.to_thread(get, rig.url + "/t/x")
        directly = await asyncio.to_thread(get, base)

    assert through == [(200, "hi")] * 2
    assert {status for status, _ in directly} == {103}


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=5),
    st.lists(st.tuples(st.sampled_from([b"X-A", b"x-b", b"X-C"]), st.sampled_from([b"", b"1", b"a b"])), max_size=4),
    st.data(),
)
def test_a_watch_finds_the_end(chunks: list[bytes], fields: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    """
    However the body is cut into pieces, and whatever its data looks like, the fields are those behind it.
    """
    body = b"".join(b"%x;e=1\r\n%s\r\n" % (len(each), each) for each in chunks) + b"0\r\n"
    whole = body + b"".join(b"%s: %s\r\n" % pair for pair in fields) + b"\r\n"
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)), max_size=6)) | {0, len(whole)})
    watch = Watch(["x-a", "X-B"])
    for begin, end in pairwise(cuts):
        watch.see(whole[begin:end])
    watch.see(b"HTTP/1.1 200 OK\r\n\r\n0\r\nX-A: 2\r\n\r\n")

    assert watch.fields == [(name, value) for name, value in fields if name != b"X-C"]


@given(st.binary(max_size=200), st.integers(0, 200))
def test_a_watch_bears_everything(data: bytes, cut: int) -> None:
    """
    Bytes that are no chunks have no trailers, and break nothing.
    """
    watch = Watch(["x-a"])
    watch.see(data[:cut])
    watch.see(data[cut:])
    watch.see(b"zz\r\n0\r\nX-A: 1\r\n\r\n")

    assert watch.fields in ([], [(b"X-A", b"1")])


@pytest.mark.parametrize("field", [b"Content-Length: 1", b"X A: 1", b"X-A : 1", b"X-A: \x001", b" folded", b"X-A: 1\n"])
def test_a_field_that_makes_all_doubtful(field: bytes) -> None:
    """
    Fields with one among them that may not stand there, or can be read in two ways, are left out as a whole.
    """
    watch = Watch(["x-a", "content-length"])
    watch.see(BODY + b"X-A: 2\r\n" + field + b"\r\n\r\n")

    assert watch.fields == []


def test_names_that_are_none() -> None:
    """
    What no header could be called, or what belongs in front of a body, is not announced.
    """
    raw = [(b"Trailer", b"X-A,, content-type,\xe9, Connection"), (b"X", b"Y"), (b"trailer", b"Content-Digest")]

    assert announced(raw) == ["X-A", "Content-Digest"]
