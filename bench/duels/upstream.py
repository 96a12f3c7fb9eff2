"""
An API like OpenAI's that behaves as each duel needs it, and counts what it was asked.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiohttp import web

__all__ = ["CHUNKS", "Upstream"]

CHUNKS = 500
"""
Pieces of an answer that streams, each of two tokens.
"""

_THINKS = 0.3
_PAUSE = 0.01
_USED = {"prompt_tokens": 1000, "completion_tokens": 1000, "total_tokens": 2000}


class Upstream:
    """
    The API; each duel and contender has paths of its own, ``/DUEL/WHO/v1``.

    Attributes:
        hits: Requests, by duel and contender.
        most: Requests that were under way at once, at most, likewise.
        pieces: Pieces of streams that were sent, likewise.
    """

    def __init__(self) -> None:
        self.hits: Counter[tuple[str, str]] = Counter()
        self.most: Counter[tuple[str, str]] = Counter()
        self.pieces: Counter[tuple[str, str]] = Counter()
        self._now: Counter[tuple[str, str]] = Counter()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """
        Serve on a free port, and hand out the URL.
        """
        app = web.Application()
        app.router.add_post("/{duel}/{who}/v1/chat/completions", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        key = (request.match_info["duel"], request.match_info["who"])
        self.hits[key] += 1
        self._now[key] += 1
        self.most[key] = max(self.most[key], self._now[key])
        try:
            asked = await request.json()
            if asked.get("stream"):
                return await self._stream(request, key)
            return await _reply(key[0])
        finally:
            self._now[key] -= 1

    async def _stream(self, request: web.Request, key: tuple[str, str]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        with suppress(ConnectionError):
            for number in range(CHUNKS):
                choice = {"index": 0, "delta": {"content": f"word {number} "}, "finish_reason": None}
                await response.write(_event([choice]))
                self.pieces[key] += 1
                await asyncio.sleep(_PAUSE)
            await response.write(_event([{"index": 0, "delta": {}, "finish_reason": "stop"}]))
            await response.write(_event([], usage=_USED) + b"data: [DONE]\n\n")
        return response


async def _reply(duel: str) -> web.Response:
    if duel == "credit":
        return _failure(429, "insufficient_quota", "credit_balance_exhausted")
    if duel == "wait":
        return _failure(429, "rate_limit_error", "rate_limit_exceeded", {"Retry-After": "3600"})
    if duel == "down":
        return _failure(529, "overloaded_error", "overloaded_error")
    await asyncio.sleep(_THINKS)
    message = {"role": "assistant", "content": "hello"}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return web.json_response({**_head("chat.completion"), "choices": [choice], "usage": _USED})


def _failure(status: int, kind: str, code: str, headers: dict[str, str] | None = None) -> web.Response:
    error = {"message": "no", "type": kind, "param": None, "code": code}
    return web.json_response({"error": error}, status=status, headers=headers)


def _head(kind: str) -> dict[str, Any]:
    return {"id": "c-1", "object": kind, "created": 1, "model": "gpt-4o-mini"}


def _event(choices: list[dict[str, Any]], **more: Any) -> bytes:
    return f"data: {json.dumps({**_head('chat.completion.chunk'), 'choices': choices, **more})}\n\n".encode()
