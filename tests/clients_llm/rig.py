"""
Two providers on one local server, and one face for both colours of the client.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from egressor import Governor
from egressor.clients.llm import LLM
from egressor.policies.loader import from_table
from tests.transports.upstream import as_json

if TYPE_CHECKING:
    from egressor.clients.llm import Answer, Sentiment
    from egressor.testing import FakeClock
    from tests.transports.upstream import Behaviour, Upstream

ONE, TWO, THREE = "one/m", "two/n", "three/o"
CHATS, MESSAGES, THIRDS = "/one/v1/chat/completions", "/two/v1/messages", "/three/v1/chat/completions"
PRICES = {
    "models": [
        {"model": "m", "usd_per_mtok": {"input": 1, "output": 2}},
        {"model": "n", "usd_per_mtok": {"input": 3, "output": 4}},
        {"model": "o", "usd_per_mtok": {"input": 5, "output": 6}},
    ]
}


class Face:
    """
    A client in one colour: what awaits is run to its end, in a loop of its own.

    Args:
        colour: ``sync`` or ``async``.
        gov: The governor.
        models: The chain.
    """

    def __init__(self, colour: str, gov: Governor, *models: str, **settings: Any) -> None:
        self.colour = colour
        self.llm = LLM(gov, models, **settings)

    def chat(self, *args: Any, **options: Any) -> Answer:
        """
        Return an answer.
        """
        if self.colour == "sync":
            with self.llm:
                return self.llm.chat(*args, **options)

        async def ask() -> Answer:
            async with self.llm:
                return await self.llm.chat_async(*args, **options)

        return asyncio.run(ask())

    def sentiment(self, *args: Any, **options: Any) -> Sentiment:
        """
        Return a judgement.
        """
        if self.colour == "sync":
            with self.llm:
                return self.llm.analyze_sentiment(*args, **options)

        async def ask() -> Sentiment:
            async with self.llm:
                return await self.llm.analyze_sentiment_async(*args, **options)

        return asyncio.run(ask())

    def stream(self, *args: Any, most: int = 1_000, **options: Any) -> tuple[list[str], Answer | None]:
        """
        Return the pieces of a stream, the first *most* of them, and the answer that it was.
        """
        pieces: list[str] = []
        if self.colour == "sync":
            with self.llm, self.llm.stream(*args, **options) as found:
                for piece in found:
                    pieces.append(piece)
                    if len(pieces) == most:
                        break
            return pieces, found.answer

        async def ask() -> Answer | None:
            async with self.llm, self.llm.stream_async(*args, **options) as found:
                async for piece in found:
                    pieces.append(piece)
                    if len(pieces) == most:
                        break
            return found.answer

        return pieces, asyncio.run(ask())


def governor(upstream: Upstream, *, clock: FakeClock | None = None, **services: dict[str, Any]) -> Governor:
    """
    Return a governor of three services, two that speak as OpenAI and one as Anthropic; *services* adds to each.
    """
    base = {"retry": {"attempts": 1}, "timeout": 5.0, "api_key": {"env": "LLM_KEY"}}
    table = {
        "one": {**base, "dialect": "openai", "base_url": upstream.url + "/one/v1", **services.get("one", {})},
        "two": {**base, "dialect": "anthropic", "base_url": upstream.url + "/two", **services.get("two", {})},
        "three": {**base, "dialect": "groq", "base_url": upstream.url + "/three/v1", **services.get("three", {})},
    }
    return Governor(config=from_table({"services": table, "prices": PRICES}), clock=clock)


def completion(text: str | None = "hello", model: str = "m", finish: str = "stop", **message: Any) -> dict[str, Any]:
    """
    Return an answer as OpenAI gives it: ten tokens sent, five received.
    """
    return {
        "id": "c-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [
            {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }


def message(text: str = "hello", finish: str = "end_turn") -> dict[str, Any]:
    """
    Return an answer as Anthropic gives it, likewise.
    """
    return {
        "id": "m-1",
        "type": "message",
        "role": "assistant",
        "model": "n",
        "content": [{"type": "text", "text": text}],
        "stop_reason": finish,
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }


def chunks(*words: str, finish: str | None = "stop") -> list[bytes]:
    """
    Return the frames of a stream of OpenAI's.
    """
    head = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, *({"content": word} for word in words)]
    found = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    found.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    found.append({**head, "choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}})
    return [*(f"data: {json.dumps(each)}\n\n".encode() for each in found), b"data: [DONE]\n\n"]


def events(*words: str) -> list[bytes]:
    """
    Return the frames of a stream of Anthropic's.
    """
    found: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**message(), "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}} for word in words),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "max_tokens", "stop_sequence": None},
            "usage": {"output_tokens": 5},
        },
        {"type": "message_stop"},
    ]
    return [f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in found]


def failure(status: int, code: str = "", headers: dict[str, str] | None = None) -> Behaviour:
    """
    Fail as OpenAI does.
    """
    return as_json({"error": {"message": "no", "type": code, "param": None, "code": code}}, status, headers)


def scripted(upstream: Upstream) -> None:
    """
    Let all three answer well.
    """
    upstream.script(CHATS, as_json(completion()))
    upstream.script(MESSAGES, as_json(message("from two")))
    upstream.script(THIRDS, as_json(completion("from three", "o")))


def asked(upstream: Upstream) -> list[tuple[str, Any]]:
    """
    List the requests that came: the service, and the body.
    """
    return [(each.path.split("/")[1], json.loads(each.body)) for each in upstream.received]


def services(upstream: Upstream) -> list[str]:
    """
    List the services that were asked, request by request.
    """
    return [service for service, _ in asked(upstream)]


def spent(gov: Governor) -> tuple[int, int, int]:
    """
    Return what the first budget has spent, holds, and has as unknown, in micro-dollars.
    """
    money = gov.context.money
    assert money is not None
    cell = money.till.read(lambda page: page.budgets())[0].cell
    return cell.spent, cell.held, cell.unknown


def at_rest(gov: Governor) -> bool:
    """
    Tell whether nothing is in flight.
    """
    return not any(state["in_flight"] for state in gov.status().values())
