"""
Google's Gen AI SDK.
"""

from __future__ import annotations

from typing import Any

import httpx2
from google import genai
from google.genai import types

WAYS = ("transport", "gateway")


def client(way: Any) -> Any:
    """
    Return a client, which has both colours.
    """
    hooked: Any = {}
    if way.gov:
        hooked = {
            "httpx_client": httpx2.Client(transport=way.transport()),
            "httpx_async_client": httpx2.AsyncClient(transport=way.async_transport()),
        }
    return genai.Client(api_key="k", http_options=types.HttpOptions(base_url=way.base, **hooked))


def plain(way: Any, model: str = "m") -> Any:
    """
    Ask.
    """
    with client(way) as sdk:
        found = sdk.models.generate_content(model=model, contents="hello")
    return [found.text, found.usage_metadata]


def stream(way: Any) -> Any:
    """
    Ask, and read the answer chunk by chunk.
    """
    with client(way) as sdk:
        return [part.text for part in sdk.models.generate_content_stream(model="m", contents="hello")]


def error(way: Any) -> Any:
    """
    Ask for what isn't there.
    """
    return plain(way, model="bad")


async def async_stream(way: Any) -> Any:
    """
    Ask, and read the answer chunk by chunk.
    """
    async with client(way).aio as sdk:
        parts = await sdk.models.generate_content_stream(model="m", contents="hello")
        return [part.text async for part in parts]


USES = {"plain": plain, "stream": stream, "error": error, "async_stream": async_stream}
