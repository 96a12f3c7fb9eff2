"""
The Anthropic SDK.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import anthropic

WAYS = ("transport", "gateway")
ASK: Any = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
# The library that the SDK is built on, httpx2 or httpx: its own default client is one of that library's.
HTTP: Any = import_module(anthropic.DefaultHttpxClient.__base__.__module__.partition(".")[0])


def client(way: Any) -> Any:
    """
    Return a blocking client.
    """
    hooked = {"http_client": HTTP.Client(transport=way.transport())} if way.gov else {}
    return anthropic.Anthropic(base_url=way.base, api_key="k", max_retries=way.retries, **hooked)


def async_client(way: Any) -> Any:
    """
    Return an awaiting client.
    """
    hooked = {"http_client": HTTP.AsyncClient(transport=way.async_transport())} if way.gov else {}
    return anthropic.AsyncAnthropic(base_url=way.base, api_key="k", max_retries=way.retries, **hooked)


def plain(way: Any, **more: Any) -> Any:
    """
    Ask.
    """
    with client(way) as sdk:
        return sdk.messages.create(**{**ASK, **more})


def stream(way: Any) -> Any:
    """
    Ask, and read the answer event by event.
    """
    with client(way) as sdk:
        return list(sdk.messages.create(**ASK, stream=True))


def error(way: Any) -> Any:
    """
    Ask for what isn't there.
    """
    return plain(way, model="bad")


async def async_plain(way: Any, **more: Any) -> Any:
    """
    Ask.
    """
    async with async_client(way) as sdk:
        return await sdk.messages.create(**{**ASK, **more})


async def async_stream(way: Any) -> Any:
    """
    Ask, by the SDK's own reader of streams.
    """
    async with async_client(way) as sdk, sdk.messages.stream(**ASK) as reader:
        return [await reader.get_final_message(), await reader.get_final_text()]


async def async_error(way: Any) -> Any:
    """
    Ask for what isn't there.
    """
    return await async_plain(way, model="bad")


USES = {
    "plain": plain,
    "stream": stream,
    "error": error,
    "async_plain": async_plain,
    "async_stream": async_stream,
    "async_error": async_error,
}
