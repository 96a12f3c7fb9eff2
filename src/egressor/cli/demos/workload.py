"""
A program with many users: calls of all priorities, at a pace that the services don't allow.

Calls begin by the clock, whether or not others have ended: so those that wait compete, and the gate has to choose.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from .cast import BOUND, CAST, PRIORITIES
from .judge import Reply

__all__ = ["Workload"]

_Request = tuple[str, str, str, object, dict[str, str]]

_SHARES = (1, 2, 3, 4)
_USERS = ("ada", "grace", "edsger", "barbara")
_PATIENCE = 15.0
_FIRST = 3
_BREATH = 0.6
_PROBLEM = "application/problem+json"


class Workload:
    """
    The calls of the demo.

    Args:
        url: The gateway's.

    Attributes:
        replies: What was answered so far.
    """

    def __init__(self, url: str) -> None:
        self.replies: list[Reply] = []
        self._url = url
        self._dice = random.Random(7)  # noqa: S311 - the same calls each time, no secret
        self._is_over = asyncio.Event()

    def stop(self) -> None:
        """
        Begin no further call.
        """
        self._is_over.set()

    async def run(self) -> None:
        """
        Make calls until `stop`, and return when each has its answer.
        """
        timeout = ClientTimeout(total=_PATIENCE)
        async with (
            ClientSession(connector=TCPConnector(limit=0), timeout=timeout) as session,
            asyncio.TaskGroup() as calls,
        ):
            # The first requests open the connections, and so take longer than all that follow.
            await asyncio.gather(
                *(self._call(session, name, f"{name}-first-{index}", "low") for name in CAST for index in range(_FIRST))
            )
            await asyncio.sleep(_BREATH)
            for name in CAST:
                calls.create_task(self._keep_calling(session, calls, name))

    async def status(self) -> dict[str, Any]:
        """
        Return the services of the gateway's ``status.json``.
        """
        return dict((await self._read("status.json"))["services"])

    async def costs(self) -> dict[str, Any]:
        """
        Return the gateway's ``costs.json``.
        """
        return await self._read("costs.json")

    async def _read(self, page: str) -> dict[str, Any]:
        async with ClientSession() as session, session.get(f"{self._url}/-/{page}") as response:
            return dict(await response.json())

    async def _keep_calling(self, session: ClientSession, calls: asyncio.TaskGroup, service: str) -> None:
        number = 0
        while not await self._over_in(self._dice.expovariate(CAST[service].demand)):
            number += 1
            (priority,) = self._dice.choices(PRIORITIES, _SHARES)
            calls.create_task(self._call(session, service, f"{service}-{number}", priority))

    async def _over_in(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self._is_over.wait()
        except TimeoutError:
            return False

    async def _call(self, session: ClientSession, service: str, call: str, priority: str) -> None:
        line, method, path, body, extra = self._request(service)
        headers = {
            "Egressor-Priority": priority,
            "Egressor-User": self._dice.choice(_USERS),
            "X-Demo-Call": call,
            "X-Demo-Priority": priority,
            "X-Demo-Line": line,
            "X-Demo-Sent": str(time.monotonic_ns()),
            **extra,
        }
        try:
            async with session.request(method, f"{self._url}/{service}{path}", json=body, headers=headers) as response:
                content = await response.read()
                reason = json.loads(content)["reason"] if response.content_type == _PROBLEM else ""
                told = "Retry-After" in response.headers
                reply = Reply(
                    service=service, priority=priority, status=response.status, reason=reason, has_retry_after=told
                )
        except (ClientError, TimeoutError):
            reply = Reply(service=service, priority=priority, status=0)
        self.replies.append(reply)

    def _request(self, service: str) -> _Request:
        dice = self._dice.random()
        if service == "openai":
            return _chat(dice)
        if service == "binance":
            return _trade(dice)
        return "page", "GET", "/r/python/new?limit=25" if service == "reddit" else "/tea?page=2", None, {}


def _trade(dice: float) -> _Request:
    if dice < 0.1:
        return "order", "POST", "/api/v3/order", {"symbol": "BTCUSDT", "side": "BUY"}, {}
    if dice < 0.36:
        return "depth", "GET", "/api/v3/depth?symbol=BTCUSDT", None, {}
    return "price", "GET", "/api/v3/ticker/price", None, {}


def _chat(dice: float) -> _Request:
    feature = BOUND if dice < 0.1 else "chat"
    body: dict[str, object] = {
        "model": "gpt-demo",
        "messages": [{"role": "user", "content": "Is it going to rain? " * 8}],
        "max_tokens": 800 if feature == BOUND else 100,
        "stream": dice > 0.6,
    }
    extra = {"Egressor-Feature": feature}
    if dice <= 0.6:
        # As an SDK does: so that a call whose answer was lost may be made again.
        extra["Idempotency-Key"] = f"key-{dice:.16f}"
    return feature, "POST", "/chat/completions", body, extra
