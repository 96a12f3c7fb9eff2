"""
The Groq SDK.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import groq

WAYS = ("transport", "gateway")
ASK: Any = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
# The library that the SDK is built on, httpx2 or httpx: its own default client is one of that library's.
HTTP: Any = import_module(groq.DefaultHttpxClient.__base__.__module__.partition(".")[0])


def client(way: Any) -> Any:
    """
    Return a blocking client.
    """
    hooked = {"http_client": HTTP.Client(transport=way.transport())} if way.gov else {}
    return groq.Groq(base_url=way.base, api_key="k", max_retries=way.retries, **hooked)


def plain(way: Any, **more: Any) -> Any:
    """
    Ask.
    """
    with client(way) as sdk:
        return sdk.chat.completions.create(**{**ASK, **more})


def stream(way: Any) -> Any:
    """
    Ask, and read the answer chunk by chunk.
    """
    with client(way) as sdk:
        return list(sdk.chat.completions.create(**ASK, stream=True))


def error(way: Any) -> Any:
    """
    Ask for what isn't there.
    """
    return plain(way, model="bad")


async def async_stream(way: Any) -> Any:
    """
    Ask, and read the answer chunk by chunk.
    """
    hooked = {"http_client": HTTP.AsyncClient(transport=way.async_transport())} if way.gov else {}
    async with groq.AsyncGroq(base_url=way.base, api_key="k", max_retries=way.retries, **hooked) as sdk:
        return [chunk async for chunk in await sdk.chat.completions.create(**ASK, stream=True)]


USES = {"plain": plain, "stream": stream, "error": error, "async_stream": async_stream}
