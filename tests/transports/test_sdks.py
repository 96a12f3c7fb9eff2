"""
SDKs as they are published get through the transport what they get without it.
"""

from __future__ import annotations

import asyncio
import importlib
import json
from typing import TYPE_CHECKING, Any

import anthropic
import httpx2
import openai
import pytest

from egressor import Governor, Paused, unwrap
from egressor.testing import FakeClock
from egressor.transports.httpx import AsyncTransport, Transport
from tests.transports.upstream import FAMILIES, answer, as_json, stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.transports.upstream import Upstream

COMPLETION = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
}
MESSAGE = {
    "id": "m1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 1},
}


def piece(number: int) -> bytes:
    """
    Return one event of OpenAI's stream.
    """
    delta = {"index": 0, "delta": {"content": f"w{number}"}, "finish_reason": None}
    chunk = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [delta]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def event(kind: str, **data: Any) -> bytes:
    """
    Return one event of Anthropic's stream.
    """
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n".encode()


EVENTS = [
    event("message_start", message={**MESSAGE, "content": [], "stop_reason": None}),
    event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    *(event("content_block_delta", index=0, delta={"type": "text_delta", "text": f"w{n}"}) for n in range(5)),
    event("content_block_stop", index=0),
    event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 5}),
    event("message_stop"),
]
ASK: Any = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def governor(upstream: Upstream) -> Governor:
    """
    Return a governor whose service is found by its base URL.
    """
    policy = {"base_url": upstream.url + "/v1", "retry": {"attempts": 3}, "max_concurrency": 1}
    return Governor({"llm": policy}, clock=FakeClock())


def serve(upstream: Upstream, *, streams: bool) -> None:
    """
    Let *upstream* speak both APIs, after one failure that only the governor retries.
    """
    pieces = [*map(piece, range(20)), b"data: [DONE]\n\n"]
    whole, parts = (as_json(COMPLETION), as_json(MESSAGE)), (stream(*pieces), stream(*EVENTS))
    for path, behaviour in zip(("/v1/chat/completions", "/v1/messages"), parts if streams else whole, strict=True):
        upstream.script(path, behaviour, answer(429, headers={"retry-after": "3"}), behaviour)


def openai_results(client: Any, *, streams: bool) -> list[Any]:
    """
    Ask once, and return all that the SDK made of the answer.
    """
    found = client.chat.completions.create(**ASK, stream=streams)
    return [each.model_dump() for each in found] if streams else [found.model_dump()]


async def openai_async_results(client: Any, *, streams: bool) -> list[Any]:
    """
    As `openai_results`, awaiting.
    """
    found = await client.chat.completions.create(**ASK, stream=streams)
    return [each.model_dump() async for each in found] if streams else [found.model_dump()]


def anthropic_results(client: Any, *, streams: bool) -> list[Any]:
    """
    Ask once, and return all that the SDK made of the answer.
    """
    found = client.messages.create(**ASK, max_tokens=5, stream=streams)
    return [each.model_dump() for each in found] if streams else [found.model_dump()]


async def anthropic_async_results(client: Any, *, streams: bool) -> list[Any]:
    """
    As `anthropic_results`, awaiting.
    """
    found = await client.messages.create(**ASK, max_tokens=5, stream=streams)
    return [each.model_dump() async for each in found] if streams else [found.model_dump()]


def idle(gov: Governor) -> bool:
    """
    Whether everything was given back, and all went well.
    """
    state = gov.status()["llm"]
    return (state["in_flight"], state["succeeded"], state["failed"]) == (0, 1, 1)


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_openai_gets_what_it_gets_without_us(upstream: Upstream, family: str, streams: bool) -> None:
    """
    The same parsed objects, the same chunks in the same order.
    """
    library: Any = importlib.import_module(family)
    gov = governor(upstream)
    serve(upstream, streams=streams)
    said: Any = {"base_url": upstream.url + "/v1", "api_key": "k", "max_retries": 0}
    with openai.OpenAI(**said) as sdk:
        bare = openai_results(sdk, streams=streams)
    with openai.OpenAI(**said, http_client=library.Client(transport=Transport(gov))) as sdk:
        governed = openai_results(sdk, streams=streams)

    assert governed == bare
    assert (len(governed), idle(gov), len(upstream.received)) == (20 if streams else 1, True, 3)


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_async_openai_gets_what_it_gets_without_us(upstream: Upstream, family: str, streams: bool) -> None:
    """
    The same, awaiting.
    """
    library: Any = importlib.import_module(family)
    gov = governor(upstream)
    serve(upstream, streams=streams)
    said: Any = {"base_url": upstream.url + "/v1", "api_key": "k", "max_retries": 0}

    async def main() -> tuple[list[Any], list[Any]]:
        async with openai.AsyncOpenAI(**said) as sdk:
            bare = await openai_async_results(sdk, streams=streams)
        async with openai.AsyncOpenAI(**said, http_client=library.AsyncClient(transport=AsyncTransport(gov))) as sdk:
            return bare, await openai_async_results(sdk, streams=streams)

    bare, governed = asyncio.run(main())
    assert governed == bare
    assert (len(governed), idle(gov)) == (20 if streams else 1, True)


@pytest.mark.parametrize("streams", [False, True])
def test_anthropic_gets_what_it_gets_without_us(upstream: Upstream, streams: bool) -> None:
    """
    The same parsed message, the same events in the same order.
    """
    gov = governor(upstream)
    serve(upstream, streams=streams)
    said: Any = {"base_url": upstream.url, "api_key": "k", "max_retries": 0}
    with anthropic.Anthropic(**said) as sdk:
        bare = anthropic_results(sdk, streams=streams)
    with anthropic.Anthropic(**said, http_client=httpx2.Client(transport=Transport(gov))) as sdk:
        governed = anthropic_results(sdk, streams=streams)

    assert governed == bare
    assert (len(governed), idle(gov)) == (len(EVENTS) if streams else 1, True)


@pytest.mark.parametrize("streams", [False, True])
def test_async_anthropic_gets_what_it_gets_without_us(upstream: Upstream, streams: bool) -> None:
    """
    The same, awaiting.
    """
    gov = governor(upstream)
    serve(upstream, streams=streams)
    said: Any = {"base_url": upstream.url, "api_key": "k", "max_retries": 0}

    async def main() -> tuple[list[Any], list[Any]]:
        async with anthropic.AsyncAnthropic(**said) as sdk:
            bare = await anthropic_async_results(sdk, streams=streams)
        client = httpx2.AsyncClient(transport=AsyncTransport(gov))
        async with anthropic.AsyncAnthropic(**said, http_client=client) as sdk:
            return bare, await anthropic_async_results(sdk, streams=streams)

    bare, governed = asyncio.run(main())
    assert governed == bare
    assert (len(governed), idle(gov)) == (len(EVENTS) if streams else 1, True)


def read_some(sdk: Any) -> list[Any]:
    """
    Stop reading a stream after three chunks, as a user does with ``break``.
    """
    with sdk.chat.completions.create(**ASK, stream=True) as chunks:
        parts: Iterator[Any] = iter(chunks)
        return [next(parts).choices[0].delta.content for _ in range(3)]


async def read_some_async(sdk: Any) -> list[Any]:
    """
    As `read_some`, awaiting.
    """
    async with await sdk.chat.completions.create(**ASK, stream=True) as chunks:
        parts: AsyncIterator[Any] = aiter(chunks)
        return [(await anext(parts)).choices[0].delta.content for _ in range(3)]


def test_a_stream_that_is_left_early_gives_its_place_back(upstream: Upstream) -> None:
    """
    One place in all: the second stream gets it when the first was left, in either colour.
    """
    gov = governor(upstream)
    upstream.script("/v1/chat/completions", stream(*map(piece, range(20)), b"data: [DONE]\n\n"))
    said: Any = {"base_url": upstream.url + "/v1", "api_key": "k", "max_retries": 0}
    with openai.OpenAI(**said, http_client=httpx2.Client(transport=Transport(gov))) as sdk:
        read = [read_some(sdk), read_some(sdk)]

    async def main() -> list[Any]:
        client = httpx2.AsyncClient(transport=AsyncTransport(gov))
        async with openai.AsyncOpenAI(**said, http_client=client) as sdk:
            return [await read_some_async(sdk), await read_some_async(sdk)]

    assert read + asyncio.run(main()) == [["w0", "w1", "w2"]] * 4
    assert gov.status()["llm"]["in_flight"] == 0


def test_the_sdk_raises_its_own_errors_for_statuses(upstream: Upstream) -> None:
    """
    An answer that is final reaches the SDK as the server sent it.
    """
    gov = governor(upstream)
    error = {"error": {"message": "no money", "type": "insufficient_quota", "code": "insufficient_quota"}}
    upstream.script("/v1/chat/completions", as_json(error, 429))
    said: Any = {"base_url": upstream.url + "/v1", "api_key": "k", "max_retries": 0}

    with (
        openai.OpenAI(**said, http_client=httpx2.Client(transport=Transport(gov))) as sdk,
        pytest.raises(openai.RateLimitError) as caught,
    ):
        openai_results(sdk, streams=False)
    assert (caught.value.code, len(upstream.received)) == ("insufficient_quota", 1)


def test_a_refusal_comes_out_of_openai_as_it_is(upstream: Upstream) -> None:
    """
    It is no error of the HTTP library, so that openai neither wraps nor retries it.
    """
    gov = governor(upstream)
    gov.pause("llm")
    said: Any = {"base_url": upstream.url + "/v1", "api_key": "k", "max_retries": 2}

    with (
        openai.OpenAI(**said, http_client=httpx2.Client(transport=Transport(gov))) as sdk,
        pytest.raises(Paused) as caught,
    ):
        openai_results(sdk, streams=False)
    assert (caught.value.service, upstream.received) == ("llm", [])


def test_a_refusal_is_found_inside_the_sdks_error(upstream: Upstream) -> None:
    """
    Anthropic wraps whatever a transport raises; `unwrap` finds our refusal in it.
    """
    gov = governor(upstream)
    gov.pause("llm")
    said: Any = {"base_url": upstream.url, "api_key": "k", "max_retries": 0}

    with (
        anthropic.Anthropic(**said, http_client=httpx2.Client(transport=Transport(gov))) as sdk,
        pytest.raises(anthropic.APIConnectionError) as caught,
    ):
        anthropic_results(sdk, streams=False)
    assert (type(unwrap(caught.value)), gov.status()["llm"]["denied"]) == (Paused, {"paused": 1})
