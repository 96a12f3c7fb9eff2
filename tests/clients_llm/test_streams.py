"""
Streams: pieces as they come, a chain up to the first one, and money for what nobody reads.
"""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from threading import Semaphore
from typing import TYPE_CHECKING

import openai
import pytest

from egressor.clients.llm import LLM, Answer, BadAnswer
from egressor.prices import Usage
from tests.clients_llm.rig import (
    CHATS,
    MESSAGES,
    ONE,
    THIRDS,
    THREE,
    TWO,
    Face,
    asked,
    at_rest,
    chunks,
    events,
    failure,
    governor,
    services,
    spent,
)
from tests.transports.upstream import stream

if TYPE_CHECKING:
    from tests.transports.upstream import Behaviour, Handler, Upstream

WORDS = ("he", "llo ", "wörld")
USAGE = Usage(input=10, output=5)
HELD = 20_000


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (ONE, Answer(text="hello wörld", model=ONE, usage=USAGE, cost_usd=Decimal("0.00002"), attempts=1)),
        (
            TWO,
            Answer(
                text="hello wörld", model=TWO, finish="length", usage=USAGE, cost_usd=Decimal("0.00005"), attempts=1
            ),
        ),
    ],
)
def test_a_stream_has_pieces_and_an_answer(upstream: Upstream, colour: str, model: str, expected: Answer) -> None:
    """
    Usage and cost are there at its end, since OpenAI is asked for them.
    """
    upstream.script(CHATS, stream(*chunks(*WORDS)))
    upstream.script(MESSAGES, stream(*events(*WORDS)))
    with governor(upstream) as gov:
        pieces, found = Face(colour, gov, model).stream("hi", max_tokens=9)

        assert at_rest(gov)
    assert (pieces, found) == (list(WORDS), expected)
    body = asked(upstream)[0][1]
    assert body["stream"] is True
    assert ("stream_options" in body) is (model == ONE)


def test_whoever_may_refuse_the_word_is_not_asked_for_usage(upstream: Upstream, colour: str) -> None:
    """
    Groq's streams say it unasked.
    """
    upstream.script(THIRDS, stream(*chunks(*WORDS)))
    with governor(upstream) as gov:
        _, found = Face(colour, gov, THREE).stream("hi")

    assert found is not None
    assert (found.usage, "stream_options" in asked(upstream)[0][1]) == (USAGE, False)


def test_nothing_is_sent_before_the_first_piece_is_asked_for(upstream: Upstream) -> None:
    """
    A stream that is closed unread was no call.
    """
    with governor(upstream) as gov, LLM(gov, ONE) as llm:
        found = llm.stream("hi")
        found.close()

        assert (upstream.received, found.answer, list(found)) == ([], None, [])


BROKEN = b'data: {"error": {"message": "no", "type": "server_error", "code": "server_is_overloaded"}}\n\n'
SILENT = chunks()[:1]


def odd(handler: Handler) -> None:
    """
    Stream what is no event, and wait for the client to go.
    """
    handler.head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
    for chunk in [*SILENT, b"data: 5\n\n"]:
        handler.chunk(chunk)
    handler.rfile.read(1)
    handler.close_connection = True


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        (failure(503, "server_is_overloaded"), "overloaded"),
        (stream(*SILENT, BROKEN), "overloaded"),
        (stream(*SILENT, breaks=True), "network"),
        (stream(), "bad_response"),
        (odd, "bad_response"),
    ],
    ids=["status", "event", "reset", "empty", "number"],
)
def test_a_chain_goes_on_before_the_first_piece(
    upstream: Upstream, colour: str, behaviour: Behaviour, why: str
) -> None:
    """
    Nobody has seen anything of the first model's.
    """
    upstream.script(CHATS, behaviour)
    upstream.script(MESSAGES, stream(*events(*WORDS)))
    with governor(upstream) as gov:
        pieces, found = Face(colour, gov, ONE, TWO).stream("hi")

        assert at_rest(gov)
    assert pieces == list(WORDS)
    assert found is not None
    assert (found.model, found.passed, found.attempts) == (TWO, (f"{ONE}: {why}",), 2)


@pytest.mark.parametrize(
    "last", [stream(*chunks(*WORDS)[:3], BROKEN), stream(*chunks(*WORDS)[:3], breaks=True)], ids=["event", "reset"]
)
def test_what_breaks_later_is_raised(upstream: Upstream, colour: str, last: Behaviour) -> None:
    """
    Two models' halves are no answer.
    """
    upstream.script(CHATS, last)
    with governor(upstream) as gov:
        with pytest.raises(Exception, match=r".") as caught:
            Face(colour, gov, ONE, TWO).stream("hi")

        assert at_rest(gov)
    assert services(upstream) == ["one"]
    assert not isinstance(caught.value, BadAnswer)


def test_an_error_before_the_first_piece_comes_out_as_the_sdks(upstream: Upstream, colour: str) -> None:
    """
    As for chat.
    """
    upstream.script(CHATS, failure(400, "context_length_exceeded"))
    with governor(upstream) as gov, pytest.raises(openai.BadRequestError):
        Face(colour, gov, ONE, TWO).stream("hi")

    assert services(upstream) == ["one"]


def test_a_stream_without_text_is_an_empty_answer(upstream: Upstream, colour: str) -> None:
    """
    If it came to its end.
    """
    upstream.script(CHATS, stream(*chunks(finish="content_filter")))
    with governor(upstream) as gov:
        pieces, found = Face(colour, gov, ONE, TWO).stream("hi")

    assert pieces == []
    assert found is not None
    assert (found.text, found.finish) == ("", "refused")


def test_a_stream_that_says_nothing_of_its_end_has_no_finish(upstream: Upstream, colour: str) -> None:
    """
    It was cut off without an error; what it cost is unknown.
    """
    upstream.script(CHATS, stream(*chunks(*WORDS)[:4]))
    with governor(upstream) as gov:
        _, found = Face(colour, gov, ONE).stream("hi")

    assert found is not None
    assert (found.text, found.finish, found.cost_usd) == ("hello wörld", "", None)


def test_a_stream_that_is_read_is_charged_as_it_says(upstream: Upstream, colour: str) -> None:
    """
    Ten tokens sent, five received.
    """
    upstream.script(CHATS, stream(*chunks(*WORDS)))
    with governor(upstream, one={"budget": {"total": 1}}) as gov:
        Face(colour, gov, ONE).stream("hi", max_tokens=10)

        assert spent(gov) == (20, 0, 0)


def test_a_stream_that_is_left_is_charged_whole(upstream: Upstream, colour: str) -> None:
    """
    Nothing is held any more, neither a place nor money: what it may have cost is unknown, and at most what was held.
    """
    gate = Semaphore(2)
    upstream.script(CHATS, stream(*chunks(*WORDS), gate=gate))
    with governor(upstream, one={"budget": {"total": 1}, "max_concurrency": 1}) as gov:
        pieces, found = Face(colour, gov, ONE).stream("hi", max_tokens=10_000, most=1)
        spent_now, held, unknown = spent(gov)
        gate.release(100)

        assert at_rest(gov)
    size = len(json.dumps(asked(upstream)[0][1], separators=(",", ":")))
    assert (pieces, found, held) == (["he"], None, 0)
    assert unknown == spent_now
    assert HELD < unknown <= HELD + size


def test_a_stream_that_is_dropped_gives_its_place_back(upstream: Upstream) -> None:
    """
    Without a ``with``, and without a word.
    """
    gate = Semaphore(2)
    upstream.script(CHATS, stream(*chunks(*WORDS), gate=gate))
    with governor(upstream, one={"max_concurrency": 1}) as gov, LLM(gov, ONE) as llm:
        found = llm.stream("hi")
        first, held = next(found), not at_rest(gov)
        del found
        gate.release(100)

        assert (first, held, at_rest(gov)) == ("he", True, True)


def test_an_awaiting_stream_that_is_dropped_gives_its_place_back(upstream: Upstream) -> None:
    """
    As soon as its loop has a turn.
    """
    gate = Semaphore(2)
    upstream.script(CHATS, stream(*chunks(*WORDS), gate=gate))
    with governor(upstream, one={"max_concurrency": 1}) as gov:

        async def main() -> bool:
            async with LLM(gov, ONE) as llm:
                found = llm.stream_async("hi")
                await anext(found)
                held = not at_rest(gov)
                del found
                while not at_rest(gov):
                    await asyncio.sleep(0)
                return held

        assert asyncio.run(main())
        gate.release(100)


def test_a_cancelled_reader_gives_its_place_back(upstream: Upstream) -> None:
    """
    Also while it waits for the first piece.
    """
    gate = Semaphore(0)
    upstream.script(CHATS, stream(*chunks(*WORDS), gate=gate))
    with governor(upstream, one={"max_concurrency": 1}) as gov:

        async def read(llm: LLM) -> None:
            async for _ in llm.stream_async("hi"):
                pass

        async def main() -> None:
            async with LLM(gov, ONE) as llm:
                task = asyncio.create_task(read(llm))
                while not gov.status()["one"]["in_flight"]:
                    await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

        asyncio.run(main())
        gate.release(100)

        assert at_rest(gov)
