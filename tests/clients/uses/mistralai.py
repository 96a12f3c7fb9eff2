"""
The Mistral SDK.
"""

from __future__ import annotations

from typing import Any

import httpx2
from mistralai.client import Mistral

WAYS = ("transport", "gateway")
ASK: Any = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


def client(way: Any) -> Any:
    """
    Return a client, which has both colours.
    """
    hooked = {}
    if way.gov:
        hooked = {
            "client": httpx2.Client(transport=way.transport(), follow_redirects=True),
            "async_client": httpx2.AsyncClient(transport=way.async_transport(), follow_redirects=True),
        }
    return Mistral(api_key="k", server_url=way.base, **hooked)


def plain(way: Any, **more: Any) -> Any:
    """
    Ask.
    """
    with client(way) as sdk:
        return sdk.chat.complete(**{**ASK, **more})


def stream(way: Any) -> Any:
    """
    Ask, and read the answer event by event.
    """
    with client(way) as sdk, sdk.chat.stream(**ASK) as events:
        return list(events)


def error(way: Any) -> Any:
    """
    Ask for what isn't there.
    """
    return plain(way, model="bad")


async def async_stream(way: Any) -> Any:
    """
    Ask, and read the answer event by event.
    """
    async with client(way) as sdk, await sdk.chat.stream_async(**ASK) as events:
        return [event async for event in events]


USES = {"plain": plain, "stream": stream, "error": error, "async_stream": async_stream}
