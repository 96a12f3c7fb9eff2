"""
What the tests of the adapter and of the middleware share: governors, governed sessions, and how they are asked.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import requests

from egressor import Governor
from egressor.testing import FakeClock
from egressor.transports.aiohttp import middleware
from egressor.transports.requests import Adapter

if TYPE_CHECKING:
    from collections.abc import Callable

EASY: dict[str, Any] = {"retry": {"attempts": 3, "jitter": False}, "breaker": {"consecutive": 50}, "timeout": 5.0}
PLAIN: dict[str, Any] = {"retry": {"attempts": 1}, "breaker": {"consecutive": 1}, "timeout": 20.0}
ENDLESS = aiohttp.ClientTimeout(total=None)
LOST = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)


def governor(**policy: Any) -> Governor:
    """
    Return a governor of one service, ``api``, on a clock that jumps over every wait.
    """
    return Governor({"api": {**EASY, **policy}}, clock=FakeClock())


def strict(**policy: Any) -> Governor:
    """
    Return a governor of one service, ``api``, on the real clock, without retries.
    """
    return Governor({"api": {**PLAIN, **policy}})


def state(gov: Governor) -> dict[str, Any]:
    """
    Return the service's status.
    """
    return gov.status()["api"]


def blocking(gov: Governor, service: str | None = "api", *args: Any, **options: Any) -> requests.Session:
    """
    Return a governed session of requests.
    """
    made = requests.Session()
    made.mount("http://", Adapter(gov, service, *args, **options))
    return made


def awaiting(gov: Governor, service: str | None = "api", *, said: Any = None, **options: Any) -> aiohttp.ClientSession:
    """
    Return a governed session of aiohttp; *said* is for the session itself.
    """
    hooks = (middleware(gov, service, **options),)
    return aiohttp.ClientSession(middlewares=hooks, **{"timeout": ENDLESS, **(said or {})})


async def fetch(client: aiohttp.ClientSession, method: str, url: str, **options: Any) -> tuple[int, bytes]:
    """
    Send a request, and return its status and body.
    """
    async with client.request(method, url, **options) as found:
        return found.status, await found.read()


async def until(condition: Callable[[], bool]) -> None:
    """
    Let the loop run until *condition* holds.
    """
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)
