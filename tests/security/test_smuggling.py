"""
Requests that two programs could end at different bytes, through real sockets: refused and cut off, or forwarded as one.

The corpus is ``smuggling.jsonl``: a name, the request (``<a*3>`` stands for ``aaa``), and a verdict, ``refuse`` or
``one``. Both of aiohttp's parsers stand behind the strict reading in turn, and must make no difference.
"""

from __future__ import annotations

import asyncio

import aiohttp.http_parser
import aiohttp.web_protocol
import pytest

from tests.gateway.rig import gateway
from tests.gateway.test_framing import ROWS, expand
from tests.security.judge import Seen, answers, ask, upstream

pytestmark = pytest.mark.anyio
PARSERS = {"C": aiohttp.http_parser.HttpRequestParser, "Python": aiohttp.http_parser.HttpRequestParserPy}
TOGETHER = 32
POST = b"POST /t/a HTTP/1.1\r\nHost: localhost\r\n"


def never(_: bytes) -> bool:
    """
    Wait until the other side hangs up.
    """
    return False


@pytest.fixture(params=PARSERS)
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """
    Which parser stands behind.
    """
    monkeypatch.setattr(aiohttp.web_protocol, "HttpRequestParser", PARSERS[request.param])
    return str(request.param)


@pytest.mark.parametrize("verdict", ["refuse", "one"])
async def test_the_corpus(parser: str, verdict: str) -> None:
    """
    What is refused ends its connection and reaches no upstream; what is forwarded is one request with one answer.
    """
    rows = [row for row in ROWS if row["verdict"] == verdict]
    wrong = []
    async with upstream() as notes, gateway(notes.url, max_concurrency=None) as rig:
        gate = asyncio.Semaphore(TOGETHER)

        async def judge(row: dict[str, str]) -> None:
            async with gate:
                done = answers(1) if verdict == "one" else never
                statuses, _, hung_up = await ask(rig.port, expand(row["request"]), enough=done)
            good = statuses[-1:] == [200] if verdict == "one" else set(statuses) <= {400, 405, 421} and hung_up
            if not good or len([each for each in statuses if each >= 200]) > 1:
                wrong.append((row["name"], statuses, hung_up))

        await asyncio.gather(*map(judge, rows))
        state = await rig.at_rest()

    assert wrong == []
    assert len(rows) > 15
    assert (len(notes.requests), notes.odd) == (len(rows) if verdict == "one" else 0, [])
    assert state["admitted"] == len(notes.requests)


@pytest.mark.parametrize(
    ("data", "seen"),
    [
        (
            POST + b"Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n1\r\nd\r\n0\r\n\r\n",
            ("POST", "/a", b"abcd"),
        ),
        (
            POST + b"Content-Length: 0030\r\n\r\nGET /t/b HTTP/1.1\r\nHost: x\r\n\r\n",
            ("POST", "/a", b"GET /t/b HTTP/1.1\r\nHost: x\r\n\r\n"),
        ),
        (b"GET /t/a HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive, host\r\n\r\n", ("GET", "/a", b"")),
    ],
)
async def test_what_is_forwarded_is_what_was_read(parser: str, data: bytes, seen: tuple[str, str, bytes]) -> None:
    """
    The upstream gets the same method, path and body, framed anew.
    """
    async with upstream() as notes, gateway(notes.url) as rig:
        await ask(rig.port, data, enough=answers(1))

    assert [(each.method, each.target, each.body) for each in notes.requests] == [seen]
    assert [each.header("host") for each in notes.requests] == [notes.url.removeprefix("http://")]


async def test_pipelined_requests_stay_apart(parser: str) -> None:
    """
    Requests that come in one piece are answered in their order, up to the one that is refused.
    """
    one = b"POST /t/%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"
    data = b"".join(one % number for number in range(5))
    async with upstream() as notes, gateway(notes.url) as rig:
        statuses, _, _ = await ask(rig.port, data, enough=answers(5))

    assert statuses == [200] * 5
    assert [each.target for each in notes.requests] == [f"/{number}" for number in range(5)]
    assert [each.body for each in notes.requests] == [b"abc"] * 5


async def test_a_body_that_turns_bad(parser: str) -> None:
    """
    A request whose later chunks have no single reading is refused, and its connection ends, though it had begun well.
    """
    head = b"POST /t/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    async with upstream() as notes, gateway(notes.url) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(head)
        await writer.drain()
        await asyncio.sleep(0.05)  # real time: the first piece is read on its own
        writer.write(b"3\nabc\r\n0\r\n\r\nGET /t/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(10):
            raw = await reader.read()
        writer.close()

    assert raw.startswith(b"HTTP/1.1 400")
    assert raw.count(b"HTTP/1.1 ") == 1
    assert notes.requests == []


async def test_the_refusal_repeats_nothing(parser: str, capfd: pytest.CaptureFixture[str]) -> None:
    """
    A refused request's bytes stand neither in the answer nor in a log: they may hold a key.
    """
    async with upstream() as notes, gateway(notes.url) as rig:
        _, raw, _ = await ask(rig.port, b"GET /t/x HTTP/1.1\r\nHost: localhost\r\nAuthorization : sk-canary\r\n\r\n")

    assert b"application/problem+json" in raw
    assert b'"reason": "bad_request"' in raw
    assert b"canary" not in raw
    assert "canary" not in str(capfd.readouterr())


def test_the_judge_can_tell() -> None:
    """
    Two requests that differ in a byte of the body differ for the judge.
    """
    assert Seen("GET", "/", (), b"a") != Seen("GET", "/", (), b"b")
