"""
The demo's services: a program of its own that knows nothing of Egressor's limits.

``python -m egressor.cli.demos.upstreams JOURNAL`` listens on four free ports, prints their URLs as one line of JSON,
and obeys lines on its standard input: ``down SERVICE``, ``up SERVICE``, and ``crowd SERVICE``, which lets somebody
else use up what the service allows our address. At the end of its input it ends.

What is imitated, and where it is described: OpenAI's ``x-ratelimit-…`` headers, whose resets are Go durations
(platform.openai.com/docs/guides/rate-limits); Binance's weights, its windows on the wall clock, its 429 and, for those
who go on, its 418 (developers.binance.com, general API information); Reddit's ``X-Ratelimit-…`` with a float
(github.com/reddit-archive/reddit/wiki/API); Cloudflare's ``cf-mitigated: challenge``.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from math import ceil
from pathlib import Path
from typing import Any

from aiohttp import web

from .cast import CAST, PRICE
from .counters import Bucket, Windows
from .journal import Arrival, Journal

__all__ = ["main"]

_ARRIVAL = web.RequestKey("arrival", Arrival)
_TOKENS = 6000
_FAILING = 0.02
_STRIKES = 3
_BAN = 2.0
_KNOCK = 0.3
_WEIGHTS = {"/api/v3/depth": 5, "/api/v3/ticker/price": 2, "/api/v3/order": 1}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Site:
    """
    What all services do: they note each request, and are down when they are told to be.

    Args:
        name: The service.
        journal: Where it notes.
    """

    prefix = ""

    def __init__(self, name: str, journal: Journal) -> None:
        self.name = name
        self.is_down = False
        self.dice = random.Random(name)  # noqa: S311 - the same run each time, no secret
        self._journal = journal

    def app(self) -> web.Application:
        """
        Return the web application.
        """

        @web.middleware
        async def noted(request: web.Request, handler: Handler) -> web.StreamResponse:
            arrival = _arrival(self.name, request)
            request[_ARRIVAL] = arrival
            try:
                response = _unavailable() if self.is_down else await handler(request)
                arrival.status = response.status
                arrival.retry_after = int(response.headers.get("Retry-After", 0))
                return response
            finally:
                arrival.done_ns = time.monotonic_ns()
                self._journal.arrival(arrival)

        app = web.Application(middlewares=[noted])
        app.router.add_route("*", "/{path:.*}", self.answer)
        return app

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """
        Answer *request*.
        """
        raise NotImplementedError

    def crowd(self) -> None:
        """
        Let somebody else use up what our address is allowed.
        """

    def obey(self, word: str) -> None:
        """
        Do what a line of the input says.
        """
        self._journal.event(self.name, word, time.monotonic_ns())
        if word == "crowd":
            self.crowd()
        else:
            self.is_down = word == "down"


class Model(Site):
    """
    A language model: requests and tokens per minute, answers at once or word by word, and a 500 now and then.
    """

    prefix = "/v1"

    def __init__(self, name: str, journal: Journal) -> None:
        super().__init__(name, journal)
        rule = CAST[name]
        self._requests = Bucket(rate=rule.amount / rule.period, size=1 + (rule.burst or 0))
        self._tokens = Bucket(rate=_TOKENS, size=_TOKENS)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """
        Answer ``POST /v1/chat/completions``.
        """
        body = await request.json()
        tokens = sum(len(each["content"]) for each in body["messages"]) // 4 + body["max_tokens"]
        now = time.monotonic()
        kind, wait = "requests", self._requests.take(now)
        if not wait:
            kind, wait = "tokens", self._tokens.take(now, tokens)
        headers = self._headers(now)
        if wait:
            headers["Retry-After"] = str(ceil(wait))
            text = f"Rate limit reached on {kind} per min. Please try again in {_go(wait)}."
            error = {"message": text, "type": kind, "param": None, "code": "rate_limit_exceeded"}
            return web.json_response({"error": error}, status=429, headers=headers)
        if self.dice.random() < _FAILING:
            error = {"message": "The server had an error.", "type": "server_error", "param": None, "code": None}
            return web.json_response({"error": error}, status=500, headers=headers)
        if body.get("stream"):
            return await self._stream(request, headers)
        await asyncio.sleep(0.03 + 0.06 * self.dice.random())
        sent, answered = tokens - body["max_tokens"], self.dice.randint(3, body["max_tokens"])
        usage = {"prompt_tokens": sent, "completion_tokens": answered, "total_tokens": sent + answered}
        request[_ARRIVAL].micro_usd = sent * PRICE[0] + answered * PRICE[1]
        message = {"role": "assistant", "content": "It depends. " * (answered // 3)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        answer = {"id": "chatcmpl-1", "object": "chat.completion", "model": body["model"], "choices": [choice]}
        return web.json_response({**answer, "usage": usage}, headers=headers)

    async def _stream(self, request: web.Request, headers: dict[str, str]) -> web.StreamResponse:
        response = web.StreamResponse(headers={**headers, "Content-Type": "text/event-stream"})
        await response.prepare(request)
        for word in ("It", " depends", " on", " what", " you", " mean", "."):
            await asyncio.sleep(0.02)
            if self.is_down and request.transport is not None:
                request[_ARRIVAL].is_whole = False
                request.transport.abort()
                return response
            choice = {"index": 0, "delta": {"content": word}, "finish_reason": None}
            chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice]}
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response

    def _headers(self, now: float) -> dict[str, str]:
        headers = {}
        for kind, bucket in (("requests", self._requests), ("tokens", self._tokens)):
            left = max(0.0, bucket.left(now))
            headers[f"x-ratelimit-limit-{kind}"] = str(int(bucket.rate * 60))
            headers[f"x-ratelimit-remaining-{kind}"] = str(int(left))
            headers[f"x-ratelimit-reset-{kind}"] = _go((bucket.size - left) / bucket.rate)
        return headers


class Exchange(Site):
    """
    An exchange: weights per window of the wall clock, 429, and a ban of the address for whoever goes on.
    """

    def __init__(self, name: str, journal: Journal) -> None:
        super().__init__(name, journal)
        rule = CAST[name]
        self._weight = Windows(amount=rule.amount, period=rule.period)
        self._strikes = 0
        self._banned_at = 0.0
        self._banned_until = 0.0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """
        Answer the paths that have a weight.
        """
        weight = _WEIGHTS.get(request.path)
        if weight is None:
            return web.json_response({"code": -1100, "msg": "Illegal path."}, status=404)
        request[_ARRIVAL].cost = weight
        await request.read()
        refusal = self._refusal(time.time(), weight)
        if refusal is not None:
            return refusal
        headers = {"X-MBX-USED-WEIGHT-2S": str(self._weight.used)}
        await asyncio.sleep(0.003)
        return web.json_response({"symbol": "BTCUSDT", "price": "64000.10"}, headers=headers)

    def crowd(self) -> None:
        """
        Let a neighbour behind our address run into the limit, and go on until it is banned.
        """
        while self._banned_until <= time.time():
            self._refusal(time.time(), 5)

    def _refusal(self, now: float, weight: int) -> web.Response | None:
        if now < self._banned_until:
            # Who knocks during a ban is banned for longer; what was under way when it began is no knock.
            self._banned_until += now - self._banned_at > _KNOCK
            return self._ban(now)
        wait = self._weight.take(now, weight)
        if not wait:
            return None
        self._strikes += 1
        if self._strikes < _STRIKES:
            body = {"code": -1003, "msg": "Too much request weight used."}
            return web.json_response(body, status=429, headers={"Retry-After": str(ceil(wait))})
        self._strikes = 0
        self._banned_at, self._banned_until = now, now + _BAN
        return self._ban(now)

    def _ban(self, now: float) -> web.Response:
        body = {"code": -1003, "msg": f"Way too many requests; IP banned until {int(self._banned_until * 1000)}."}
        return web.json_response(body, status=418, headers={"Retry-After": str(ceil(self._banned_until - now))})


class Forum(Site):
    """
    Reddit: a window, and headers that say what is left of it.
    """

    def __init__(self, name: str, journal: Journal) -> None:
        super().__init__(name, journal)
        rule = CAST[name]
        self._window = Windows(amount=rule.amount, period=rule.period)

    async def answer(self, request: web.Request) -> web.StreamResponse:  # noqa: ARG002 - all listings are alike
        """
        Answer any path.
        """
        now = time.time()
        wait = self._window.take(now)
        left = self._window.amount - self._window.used
        headers = {
            "X-Ratelimit-Used": str(self._window.used),
            "X-Ratelimit-Remaining": f"{left:.1f}",
            "X-Ratelimit-Reset": str(ceil(self._window.rest(now))),
        }
        if wait:
            headers["Retry-After"] = str(ceil(wait))
            return web.json_response({"message": "Too Many Requests", "error": 429}, status=429, headers=headers)
        await asyncio.sleep(0.02)
        return web.json_response({"kind": "Listing", "data": {"children": []}}, headers=headers)

    def crowd(self) -> None:
        """
        Let another program with our account use up the window.
        """
        while not self._window.take(time.time()):
            pass


class Shop(Site):
    """
    A site behind a wall that challenges whoever is faster than a person.
    """

    def __init__(self, name: str, journal: Journal) -> None:
        super().__init__(name, journal)
        rule = CAST[name]
        self._pace = Bucket(rate=rule.amount / rule.period, size=1 + (rule.burst or 0))

    async def answer(self, request: web.Request) -> web.StreamResponse:  # noqa: ARG002 - all pages are alike
        """
        Answer any path with a page, or with a challenge.
        """
        if self._pace.take(time.monotonic()):
            page = "<!DOCTYPE html><title>Just a moment...</title>"
            headers = {"cf-mitigated": "challenge", "server": "cloudflare"}
            return web.Response(text=page, status=403, content_type="text/html", headers=headers)
        await asyncio.sleep(0.02)
        return web.Response(text="<!DOCTYPE html><title>Tea</title>", content_type="text/html")


_KINDS: dict[str, type[Site]] = {"openai": Model, "binance": Exchange, "reddit": Forum, "shop": Shop}


def _arrival(name: str, request: web.Request) -> Arrival:
    headers = request.headers
    return Arrival(
        service=name,
        call=headers.get("X-Demo-Call", ""),
        priority=headers.get("X-Demo-Priority", ""),
        line=headers.get("X-Demo-Line", ""),
        sent_ns=int(headers.get("X-Demo-Sent", 0)),
        at_ns=time.monotonic_ns(),
        wall=time.time(),
    )


def _unavailable() -> web.Response:
    return web.Response(status=503, text="<html><h1>503 Service Unavailable</h1></html>", content_type="text/html")


def _go(seconds: float) -> str:
    """
    Return *seconds* as Go prints a duration: ``12ms``, ``1.5s``.
    """
    return f"{ceil(seconds * 1000)}ms" if seconds < 1 else f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"


async def _run(path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        journal = Journal(file)
        sites = {name: _KINDS[name](name, journal) for name in CAST}
        async with AsyncExitStack() as stack:
            urls = {name: await _start(stack, site) for name, site in sites.items()}
            sys.stdout.write(json.dumps(urls) + "\n")
            sys.stdout.flush()
            loop = asyncio.get_running_loop()
            while line := await loop.run_in_executor(None, sys.stdin.readline):
                word, name = line.split()
                sites[name].obey(word)


async def _start(stack: AsyncExitStack, site: Site) -> str:
    runner: Any = web.AppRunner(site.app(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}{site.prefix}"


def main() -> None:
    """
    Serve until the input ends.
    """
    # Ctrl-C reaches every process of the terminal; this one ends when the demo has read its journal's end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(_run(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
