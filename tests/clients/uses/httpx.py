"""
httpx itself; httpx2 is the same to its user.
"""

from __future__ import annotations

from typing import Any

import httpx

WAYS = ("transport", "gateway")


def client(way: Any) -> Any:
    """
    Return a blocking client.
    """
    return httpx.Client(transport=way.transport(), base_url=way.base)


def told(found: Any, value: Any) -> Any:
    """
    Return what there is to see.
    """
    found.raise_for_status()
    return [found.status_code, found.headers["content-type"], value]


def plain(way: Any, path: str = "/plain?a=%20b") -> Any:
    """
    Get JSON.
    """
    with client(way) as http:
        found = http.get(path)
        return told(found, found.text)


def stream(way: Any) -> Any:
    """
    Read line by line.
    """
    with client(way) as http, http.stream("GET", "/plain/stream") as found:
        return told(found, list(found.iter_lines()))


def post(way: Any) -> Any:
    """
    Post a form.
    """
    with client(way) as http:
        found = http.post("/plain", data={"a": "b"})
        return told(found, found.json())


def error(way: Any) -> Any:
    """
    Get what isn't there.
    """
    return plain(way, "/plain/bad")


async def async_stream(way: Any) -> Any:
    """
    Read line by line.
    """
    async with (
        httpx.AsyncClient(transport=way.async_transport(), base_url=way.base) as http,
        http.stream("GET", "/plain/stream") as found,
    ):
        return told(found, [line async for line in found.aiter_lines()])


USES = {"plain": plain, "stream": stream, "post": post, "error": error, "async_stream": async_stream}
