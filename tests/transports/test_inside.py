"""
Errors inside of good answers, and in the middle of streams: told by the body, through every kind of client.
"""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import httpx
import httpx2
import pytest
import requests

from egressor import Banned, Governor
from egressor.testing import FakeClock
from tests.transports.every import CLIENTS, EVERY
from tests.transports.upstream import answer, as_json, lie, stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.transports.every import Ask
    from tests.transports.upstream import Behaviour, Upstream

EASY: dict[str, Any] = {"retry": {"attempts": 3, "jitter": False}, "breaker": {"consecutive": 50}, "timeout": 5.0}
FINE = {"error": [], "result": {"unixtime": 1}}
DOWN = {"error": ["EService:Unavailable"]}
BROKE = {"error": ["EOrder:Insufficient funds"]}
LIMITED = {"retCode": 10006, "retMsg": "Too many visits!"}
OVERLOADED = (
    b"event: message_start\ndata: {}\n\n",
    b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n',
)
FAILED = b'data: {"type":"response.failed","response":{"error":{"code":"server_error"}}}\n\n'
TOKENS = b'data: {"choices":[{"delta":{"content":"an \\"error\\" that is none"}}]}\n\n'


def governor(dialect: str, **policy: Any) -> Governor:
    """
    Return a governor of one service, ``api``, on a clock that jumps over every wait.
    """
    return Governor({"api": {**EASY, "dialect": dialect, **policy}}, clock=FakeClock())


@pytest.fixture(params=CLIENTS)
def ask(request: pytest.FixtureRequest) -> Ask:
    """
    A client that is asked for an answer and reads it whole.
    """
    return CLIENTS[request.param]


@pytest.fixture(params=EVERY)
def read(request: pytest.FixtureRequest) -> Ask:
    """
    As `ask`; one of them reads piece by piece.
    """
    return EVERY[request.param]


def chunked(value: object, *, packed: bool = False) -> Behaviour:
    """
    Answer with a JSON document whose length nobody is told.
    """
    body = json.dumps(value).encode()

    def behave(handler: Any) -> None:
        coding = {"content-encoding": "gzip"} if packed else {}
        handler.head(200, {"content-type": "application/json", "transfer-encoding": "chunked", **coding})
        handler.chunk(gzip.compress(body) if packed else body)
        handler.wfile.write(b"0\r\n\r\n")

    return behave


@pytest.mark.parametrize(
    "make", [as_json, chunked, lambda value: chunked(value, packed=True)], ids=["length", "chunks", "packed"]
)
def test_an_error_inside_is_retried(ask: Ask, upstream: Upstream, make: Callable[[object], Behaviour]) -> None:
    """
    An exchange that is away says so with 200: the attempt failed, and is made again before anybody has seen a byte.
    """
    gov = governor("kraken")
    url = upstream.script("/a", make(DOWN), make(FINE))

    assert json.loads(ask(gov, url)) == FINE
    state = gov.status()["api"]
    assert (state["failed"], state["succeeded"], state["in_flight"]) == (1, 1, 0)
    assert len(upstream.received) == 2


def test_the_last_error_inside_comes_out_as_it_was_sent(ask: Ask, upstream: Upstream) -> None:
    """
    What can't be helped by another attempt is handed out, and counted as what it is.
    """
    gov = governor("kraken")
    url = upstream.script("/a", as_json(BROKE))

    assert json.loads(ask(gov, url)) == BROKE
    assert gov.status()["api"]["categories"] == {"insufficient_funds": 1}
    assert len(upstream.received) == 1


def test_a_limit_inside_holds_everybody_back(ask: Ask, upstream: Upstream) -> None:
    """
    A limit that is told inside of a 200 is one, for the count and for the retry.
    """
    gov = governor("bybit")
    url = upstream.script("/a", as_json(LIMITED), as_json({"retCode": 0, "result": {}}))

    assert json.loads(ask(gov, url))["retCode"] == 0
    assert gov.status()["api"]["categories"] == {"rate_limit": 1}


def test_a_ban_inside_suspends(ask: Ask, upstream: Upstream) -> None:
    """
    A lockout that is told inside of a 200 closes the service.
    """
    gov = governor("kraken", retry={"attempts": 1})
    url = upstream.script("/a", as_json({"error": ["EGeneral:Temporary lockout"]}))
    ask(gov, url)

    with pytest.raises(Banned):
        ask(gov, url)
    assert gov.status()["api"]["state"] == "banned"
    assert len(upstream.received) == 1


def test_a_page_where_json_is_due(ask: Ask, upstream: Upstream) -> None:
    """
    A page with 200, where all answers are JSON, is no success; where pages are what is asked for, it is one.
    """
    page = answer(200, b"<html><body>Down for maintenance</body></html>", {"content-type": "text/html"})
    url = upstream.script("/a", page)
    strict, plain = governor("kraken", retry={"attempts": 1}), governor("generic")

    assert ask(strict, url) == ask(plain, url)
    assert (strict.status()["api"]["failed"], plain.status()["api"]["failed"]) == (1, 0)


@pytest.mark.parametrize(
    ("dialect", "behaviour"),
    [
        ("generic", as_json(DOWN)),
        ("discord", as_json(DOWN)),
        ("kraken", answer(200, json.dumps(DOWN).encode(), {"content-type": "image/png"})),
        ("kraken", as_json({**DOWN, "padding": "x" * 70_000})),
        ("kraken", chunked({"result": "x" * 200_000, "error": ["EService:Unavailable"]})),
        ("kraken", as_json({"result": list(range(9_000))})),
    ],
    ids=["plain HTTP", "never inside", "no document", "long", "long, of unknown length", "data"],
)
def test_what_is_not_read(read: Ask, upstream: Upstream, dialect: str, behaviour: Behaviour) -> None:
    """
    A body is read only where its provider says errors in it, where it may be a document, and where it is short.
    """
    gov = governor(dialect)
    url = upstream.script("/a", behaviour)

    assert len(read(gov, url)) > 0
    state = gov.status()["api"]
    assert (state["succeeded"], state["failed"], state["in_flight"]) == (1, 0, 0)


def test_a_head_has_nothing_to_read(ask: Ask, upstream: Upstream) -> None:
    """
    The length of a HEAD's answer is of a body that isn't there.
    """
    gov = governor("kraken")
    url = upstream.script("/a", as_json(FINE))

    assert ask(gov, url, "HEAD") == b""
    assert gov.status()["api"]["succeeded"] == 1


def test_a_short_body_that_breaks_is_asked_for_again(ask: Ask, upstream: Upstream) -> None:
    """
    Nobody has seen a byte of a document that breaks while it is read for its verdict.
    """
    gov = governor("kraken")

    def cut(handler: Any) -> None:
        handler.head(200, {"content-type": "application/json", "content-length": "100"})
        handler.wfile.write(b'{"error')
        handler.close_connection = True

    url = upstream.script("/a", cut, as_json(FINE))

    assert json.loads(ask(gov, url)) == FINE
    assert len(upstream.received) == 2


def test_a_body_that_breaks_for_good_raises_the_clients_own(ask: Ask, upstream: Upstream) -> None:
    """
    The last attempt's broken body is the library's own exception, as it is without us.
    """
    gov = governor("kraken", retry={"attempts": 1})
    url = upstream.script("/a", lie)
    mine = (httpx.HTTPError, httpx2.HTTPError, requests.RequestException, aiohttp.ClientError)

    with pytest.raises(mine):
        ask(gov, url)
    state = gov.status()["api"]
    assert (state["failed"], state["in_flight"]) == (1, 0)


def test_a_document_that_is_read_bit_by_bit_is_heard(upstream: Upstream) -> None:
    """
    Who asks requests for a stream gets one at once; the error inside counts, and is not retried.
    """
    gov = governor("kraken")
    url = upstream.script("/a", chunked(DOWN, packed=True))

    assert json.loads(EVERY["requests-stream"](gov, url)) == DOWN
    assert gov.status()["api"]["categories"] == {"server_error": 1}
    assert len(upstream.received) == 1


@pytest.mark.parametrize(
    ("dialect", "pieces", "categories"),
    [
        ("anthropic", OVERLOADED, {"overloaded": 1}),
        ("generic", OVERLOADED, {"overloaded": 1}),
        ("openai", (TOKENS, b'data: {"error":{"code":"rate_limit_exceeded"}}\n\n'), {"rate_limit": 1}),
        (
            "openai",
            (TOKENS * 500, b'data: {"error":{"code":"server_error"}}\n\n', b"data: [DONE]\n\n"),
            {"server_error": 1},
        ),
        (
            "openai",
            (FAILED,),
            {"server_error": 1},
        ),
        ("openai", (TOKENS * 500, b"data: [DONE]\n\n"), {}),
        ("generic", (b": nothing\n\n",), {}),
    ],
    ids=["anthropic", "generic", "openai", "after much", "responses", "no error", "nothing"],
)
def test_an_error_in_a_stream_is_the_verdict(
    read: Ask, upstream: Upstream, dialect: str, pieces: tuple[bytes, ...], categories: dict[str, int]
) -> None:
    """
    A stream comes out as it was sent; an error in it is what its attempt came to, and is not tried again.
    """
    gov = governor(dialect)
    url = upstream.script("/a", stream(*pieces))

    assert read(gov, url) == b"".join(pieces)
    state = gov.status()["api"]
    assert (state["categories"], state["succeeded"]) == (categories, 0 if categories else 1)
    assert (state["in_flight"], state["retried"]) == (0, 0)


def test_a_stream_of_json_is_not_waited_for(read: Ask, upstream: Upstream) -> None:
    """
    Gemini's array comes item by item: the error in it is heard, when all of it has come.
    """
    gov = governor("gemini")
    failed = [{"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}]
    url = upstream.script("/a", chunked(failed))

    assert json.loads(read(gov, url)) == failed
    state = gov.status()["api"]
    assert (state["categories"], len(upstream.received)) == ({"overloaded": 1}, 1)
