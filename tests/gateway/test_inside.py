"""
Errors inside of good answers, and in the middle of streams, on their way through the gateway.
"""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from aiohttp import web

from tests.gateway.rig import FAST, gateway, until, upstream

FINE = {"error": [], "result": {"unixtime": 1}}
DOWN = {"error": ["EService:Unavailable"]}
EVENT = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'

pytestmark = pytest.mark.anyio


class Script:
    """
    An upstream that answers one request after the other.
    """

    def __init__(
        self, *bodies: bytes, kind: str = "application/json", chunked: bool = False, packed: bool = False
    ) -> None:
        self.asked = 0
        self._bodies = bodies
        self._kind = kind
        self._chunked = chunked
        self._packed = packed

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """
        Answer the next one; the last answer again and again.
        """
        body = self._bodies[min(self.asked, len(self._bodies) - 1)]
        self.asked += 1
        response = web.StreamResponse(headers={"Content-Type": self._kind})
        if self._packed:
            body = gzip.compress(body)
            response.headers["Content-Encoding"] = "gzip"
        if not self._chunked:
            response.content_length = len(body)
        await response.prepare(request)
        if request.method != "HEAD":
            await response.write(body)
        await response.write_eof()
        return response


def encoded(*values: object) -> list[bytes]:
    """
    Return *values* as JSON.
    """
    return [json.dumps(value).encode() for value in values]


@pytest.mark.parametrize("form", [{}, {"chunked": True}, {"packed": True}], ids=["length", "chunks", "packed"])
async def test_an_error_inside_is_retried(form: dict[str, Any]) -> None:
    """
    An exchange that is away says so with 200: another attempt is made before the client has got a byte.
    """
    script = Script(*encoded(DOWN, FINE), **form)
    async with upstream(script) as url, gateway(url, dialect="kraken", retry=FAST) as rig:
        async with rig.session.get(f"{rig.url}/t/x") as response:
            body = await response.read()
            tries = response.headers["Egressor-Attempts"]
        state = await rig.at_rest()

    assert json.loads(gzip.decompress(body) if "packed" in form else body) == FINE
    assert (script.asked, tries, state["failed"], state["succeeded"]) == (2, "2", 1, 1)


async def test_the_last_error_inside_comes_out_as_it_was_sent() -> None:
    """
    What another attempt can't help is relayed as it came, and counted as what it is.
    """
    script = Script(*encoded({"error": ["EOrder:Insufficient funds"]}))
    async with upstream(script) as url, gateway(url, dialect="kraken", retry=FAST) as rig:
        async with rig.session.get(f"{rig.url}/t/x") as response:
            body, status = await response.json(), response.status
        state = await rig.at_rest()

    assert (status, body) == (200, {"error": ["EOrder:Insufficient funds"]})
    assert (script.asked, state["categories"]) == (1, {"insufficient_funds": 1})


async def test_a_ban_inside_suspends() -> None:
    """
    A lockout that is told inside of a 200 closes the service: the next request never reaches it.
    """
    script = Script(*encoded({"error": ["EGeneral:Temporary lockout"]}))
    async with upstream(script) as url, gateway(url, dialect="kraken") as rig:
        async with rig.session.get(f"{rig.url}/t/x") as response:
            await response.read()
        async with rig.session.get(f"{rig.url}/t/x") as response:
            problem = await response.json()

    assert (script.asked, response.status, problem["reason"]) == (1, 503, "banned")


@pytest.mark.parametrize(
    ("dialect", "script"),
    [
        ("generic", Script(*encoded(DOWN))),
        ("kraken", Script(*encoded(DOWN), kind="image/png")),
        ("kraken", Script(*encoded({**DOWN, "padding": "x" * 70_000}))),
        ("kraken", Script(*encoded({"result": "x" * 200_000, **DOWN}), chunked=True)),
        ("kraken", Script(*encoded(FINE))),
    ],
    ids=["plain HTTP", "no document", "long", "long, of unknown length", "good"],
)
async def test_what_is_not_an_error(dialect: str, script: Script) -> None:
    """
    A body is read only where its provider says errors in it, where it may be a document, and where it is short.
    """
    async with upstream(script) as url, gateway(url, dialect=dialect) as rig:
        async with rig.session.get(f"{rig.url}/t/x") as response:
            body = await response.read()
        async with rig.session.head(f"{rig.url}/t/x") as response:
            await response.read()
        state = await rig.at_rest()

    assert len(body) > 0
    assert (state["succeeded"], state["failed"]) == (2, 0)


@pytest.mark.parametrize("dialect", ["generic", "anthropic", "openai"])
async def test_an_error_in_a_stream_is_the_verdict(dialect: str) -> None:
    """
    The stream is relayed as it came; the error in it is what its attempt came to, and is not tried again.
    """
    body = b"event: ping\ndata: {}\n\n" + EVENT
    script = Script(body, kind="text/event-stream", chunked=True)
    async with upstream(script) as url, gateway(url, dialect=dialect, retry=FAST) as rig:
        async with rig.session.get(f"{rig.url}/t/x") as response:
            got = await response.read()
        state = await rig.at_rest()

    assert got == body
    assert (script.asked, state["categories"], state["retried"]) == (1, {"overloaded": 1}, 0)


async def test_a_client_that_hangs_up_on_the_error_has_heard_it() -> None:
    """
    SDKs close their connection when an error comes: the service has failed, and nobody has cancelled.
    """

    async def talk(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(EVENT)
        await until(lambda: request.transport is None or request.transport.is_closing())
        return response

    async with upstream(talk) as url, gateway(url) as rig:
        async with rig.session.get(f"{rig.url}/t/x") as response:
            assert await response.content.readexactly(len(EVENT)) == EVENT
            response.close()
        state = await rig.at_rest()

    assert state["categories"] == {"overloaded": 1}


async def test_a_stream_of_json_is_heard_at_its_end() -> None:
    """
    Gemini's array comes item by item, and is not waited for: its error counts, and is not tried again.
    """
    failed = [{"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}]
    script = Script(*encoded(failed), chunked=True)
    async with upstream(script) as url, gateway(url, dialect="gemini", retry=FAST) as rig:
        async with rig.session.get(f"{rig.url}/t/x") as response:
            body = await response.json()
        state = await rig.at_rest()

    assert (body, script.asked, state["categories"]) == (failed, 1, {"overloaded": 1})
