"""
aiohttp itself.
"""

from __future__ import annotations

from typing import Any

import aiohttp

WAYS = ("transport", "gateway")


async def ask(way: Any, path: str, method: str = "GET", **options: Any) -> Any:
    """
    Ask for *path*, and return what there is to see.
    """
    async with (
        aiohttp.ClientSession(
            middlewares=way.middlewares(), timeout=aiohttp.ClientTimeout(total=None), raise_for_status=True
        ) as session,
        session.request(method, way.base + path, **options) as found,
    ):
        lines = [line async for line in found.content] if path.endswith("/stream") else await found.json()
        return [found.status, found.content_type, lines]


async def plain(way: Any) -> Any:
    """
    Get JSON.
    """
    return await ask(way, "/plain?a=%20b")


async def stream(way: Any) -> Any:
    """
    Read line by line.
    """
    return await ask(way, "/plain/stream")


async def post(way: Any) -> Any:
    """
    Post a form.
    """
    return await ask(way, "/plain", "POST", data={"a": "b"})


async def error(way: Any) -> Any:
    """
    Get what isn't there.
    """
    return await ask(way, "/plain/bad")


USES = {"plain": plain, "stream": stream, "post": post, "error": error}
