"""
Real clients, unmodified: curl, wrk, and the OpenAI and Anthropic SDKs see the same as without us.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from aiohttp import web

from tests.gateway.rig import Handler, gateway, upstream

pytestmark = pytest.mark.anyio
MESSAGES: Any = [{"role": "user", "content": "hello"}]


def completion(text: str) -> dict[str, Any]:
    """
    Return a chat completion as OpenAI's API sends it, with a field that no SDK knows.
    """
    message = {"role": "assistant", "content": text, "refusal": None, "unknown_field": [1]}
    return {
        "id": "c-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }


async def openai_like(request: web.BaseRequest) -> web.StreamResponse:
    """
    Answer as OpenAI's chat API does.
    """
    asked = json.loads(await request.read())
    if asked["model"] == "broke":
        error = {"message": "no money", "type": "insufficient_quota", "param": None, "code": "insufficient_quota"}
        return web.json_response({"error": error}, status=429)
    if not asked.get("stream"):
        return web.json_response(completion("hi"), headers={"x-request-id": "r-1"})
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "x-request-id": "r-2"})
    await response.prepare(request)
    for word in ("he", "llo", " wörld"):
        chunk = {
            "id": "c-2",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}],
            "usage": None,
        }
        data = f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n".encode()
        # A frame split in the middle.
        await response.write(data[:25])
        await response.write(data[25:])
    await response.write(b"data: [DONE]\n\n")
    return response


async def anthropic_like(request: web.BaseRequest) -> web.StreamResponse:
    """
    Answer as Anthropic's messages API does.
    """
    asked = json.loads(await request.read())
    message: dict[str, Any] = {
        "id": "m-1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "hi"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 2},
    }
    if not asked.get("stream"):
        return web.json_response(message)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    start = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}}
    for event in (
        {"type": "message_start", "message": {**message, "content": []}},
        start,
        {"type": "ping"},
        delta,
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 2},
        },
        {"type": "message_stop"},
    ):
        await response.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
    return response


async def fine(request: web.BaseRequest) -> web.Response:
    """
    Answer with 1 KiB.
    """
    return web.Response(body=b"x" * 1024)


async def with_openai(base_url: str) -> list[Any]:
    """
    Use the OpenAI SDK in each of its ways, and return everything that came out.
    """
    results: list[Any] = []

    def blocking() -> None:
        with openai.OpenAI(base_url=base_url, api_key="k") as client:
            results.append(client.chat.completions.create(model="m", messages=MESSAGES))
            results.extend(client.chat.completions.create(model="m", messages=MESSAGES, stream=True))

    await asyncio.to_thread(blocking)
    async with openai.AsyncOpenAI(base_url=base_url, api_key="k", max_retries=0) as client:
        results.append(await client.chat.completions.create(model="m", messages=MESSAGES))
        stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        results.extend([chunk async for chunk in stream])
        try:
            await client.chat.completions.create(model="broke", messages=MESSAGES)
        except openai.RateLimitError as error:
            results.append((error.status_code, error.code, error.type, error.body))
    return results


async def with_anthropic(base_url: str) -> list[Any]:
    """
    Use the Anthropic SDK in each of its ways, and return everything that came out.
    """
    results: list[Any] = []

    def blocking() -> None:
        with anthropic.Anthropic(base_url=base_url, api_key="k") as client:
            results.append(client.messages.create(model="m", max_tokens=9, messages=MESSAGES))
            results.extend(client.messages.create(model="m", max_tokens=9, messages=MESSAGES, stream=True))

    await asyncio.to_thread(blocking)
    async with anthropic.AsyncAnthropic(base_url=base_url, api_key="k") as client:
        results.append(await client.messages.create(model="m", max_tokens=9, messages=MESSAGES))
        stream = await client.messages.create(model="m", max_tokens=9, messages=MESSAGES, stream=True)
        results.extend([event async for event in stream])
    return results


@pytest.mark.parametrize(
    ("use", "handler", "prefix", "number"),
    [(with_openai, openai_like, "/v1", 9), (with_anthropic, anthropic_like, "", 14)],
)
async def test_sdk_sees_the_same(use: Any, handler: Handler, prefix: str, number: int) -> None:
    """
    Plain, streaming, blocking, awaiting: the SDK's objects are equal with the gateway and without.
    """
    async with upstream(handler) as base, gateway(base + prefix) as rig:
        direct = await use(base + prefix)
        governed = await use(rig.url + "/t")
        state = await rig.at_rest()

    assert len(direct) == number
    assert governed == direct
    assert state["in_flight"] == 0


async def test_openai_understands_our_refusals() -> None:
    """
    The SDK raises its own class for a refusal, reads our reason, and doesn't retry what is pointless.
    """
    async with gateway(dialect="openai") as rig, openai.AsyncOpenAI(base_url=rig.url + "/t", api_key="k") as client:
        rig.gov.pause("t")
        with pytest.raises(openai.InternalServerError) as caught:
            await client.chat.completions.create(model="m", messages=MESSAGES)
        refused = rig.state()["denied"]

    assert (caught.value.status_code, caught.value.code) == (503, "paused")
    assert refused == {"paused": 1}


async def test_anthropic_understands_our_refusals() -> None:
    """
    So does Anthropic's.
    """
    async with (
        gateway(dialect="anthropic") as rig,
        anthropic.AsyncAnthropic(base_url=rig.url + "/t", api_key="k") as client,
    ):
        rig.gov.pause("t", "maintenance")
        with pytest.raises(anthropic.APIStatusError) as caught:
            await client.messages.create(model="m", max_tokens=9, messages=MESSAGES)
        refused = rig.state()["denied"]

    assert (caught.value.status_code, refused) == (503, {"paused": 1})
    assert "maintenance" in str(caught.value.body)


async def run(*command: str) -> tuple[int, bytes]:
    """
    Run *command*, and return its exit code and output.
    """
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return process.returncode or 0, output


async def test_curl(tmp_path: Path) -> None:
    """
    Curl gets and puts ten megabytes, with its ``Expect: 100-continue``, and compressed answers.
    """
    data = bytes(range(256)) * 40_960
    (tmp_path / "data").write_bytes(data)

    async def store(request: web.BaseRequest) -> web.Response:
        digest = hashlib.sha256()
        async for piece in request.content.iter_any():
            digest.update(piece)
        response = web.Response(text=digest.hexdigest(), headers={"X-Expect": request.headers.get("Expect", "none")})
        response.enable_compression()
        return response

    async with upstream(store) as base, gateway(base) as rig:
        common = ("curl", "-sS", "--fail", "--compressed", "--max-time", "30", "-w", "\n%{http_code} %header{x-expect}")
        for way in (("-T", str(tmp_path / "data")), ("--data-binary", f"@{tmp_path / 'data'}")):
            code, output = await run(*common, *way, rig.url + "/t/x")

            assert code == 0
            assert output.decode().split() == [hashlib.sha256(data).hexdigest(), "200", "none"]


async def test_wrk() -> None:
    """
    Under 64 connections every answer is right, and afterwards nothing is held.
    """
    async with upstream(fine) as base, gateway(base, limits=["1000000/second"]) as rig:
        code, output = await run("wrk", "-t1", "-c64", "-d2s", rig.url + "/t/x")
        state = await rig.at_rest()

    assert code == 0
    assert b"Non-2xx" not in output
    assert b"Socket errors" not in output
    assert state["succeeded"] >= 64
    # wrk leaves in the middle of its last requests.
    assert set(state["categories"]) <= {"cancelled"}
