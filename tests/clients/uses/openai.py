"""
The OpenAI SDK.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import openai

WAYS = ("transport", "gateway")
ASK: Any = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
# The library that the SDK is built on, httpx2 or httpx: its own default client is one of that library's.
HTTP: Any = import_module(openai.DefaultHttpxClient.__base__.__module__.partition(".")[0])


def client(way: Any) -> Any:
    """
    Return a blocking client.
    """
    hooked = {"http_client": HTTP.Client(transport=way.transport())} if way.gov else {}
    return openai.OpenAI(base_url=way.base + "/v1", api_key="k", max_retries=way.retries, **hooked)


def async_client(way: Any) -> Any:
    """
    Return an awaiting client.
    """
    hooked = {"http_client": HTTP.AsyncClient(transport=way.async_transport())} if way.gov else {}
    return openai.AsyncOpenAI(base_url=way.base + "/v1", api_key="k", max_retries=way.retries, **hooked)


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


def error_of_quota(way: Any) -> Any:
    """
    Ask without money: a 429 that is final.
    """
    return plain(way, model="broke")


async def async_plain(way: Any, **more: Any) -> Any:
    """
    Ask.
    """
    async with async_client(way) as sdk:
        return await sdk.chat.completions.create(**{**ASK, **more})


async def async_stream(way: Any) -> Any:
    """
    Ask, and read the answer chunk by chunk.
    """
    async with async_client(way) as sdk:
        return [chunk async for chunk in await sdk.chat.completions.create(**ASK, stream=True)]


async def async_error(way: Any) -> Any:
    """
    Ask for what isn't there.
    """
    return await async_plain(way, model="bad")


USES = {
    "plain": plain,
    "stream": stream,
    "error": error,
    "error_of_quota": error_of_quota,
    "async_plain": async_plain,
    "async_stream": async_stream,
    "async_error": async_error,
}
