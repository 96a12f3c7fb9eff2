"""
LangChain's client for OpenAI.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import openai
from langchain_openai import ChatOpenAI

WAYS = ("transport", "gateway")
HTTP: Any = import_module(openai.DefaultHttpxClient.__base__.__module__.partition(".")[0])


def model(way: Any, name: str = "m") -> Any:
    """
    Return a chat model, which has both colours.
    """
    hooked = {}
    if way.gov:
        hooked = {
            "http_client": HTTP.Client(transport=way.transport()),
            "http_async_client": HTTP.AsyncClient(transport=way.async_transport()),
        }
    return ChatOpenAI(model=name, base_url=way.base + "/v1", api_key="k", max_retries=way.retries, **hooked)


def text(message: Any) -> Any:
    """
    Return a message without the number that LangChain draws for it.
    """
    return {name: value for name, value in message.model_dump().items() if name != "id"}


def plain(way: Any) -> Any:
    """
    Ask.
    """
    return text(model(way).invoke("hello"))


def stream(way: Any) -> Any:
    """
    Ask, and read the answer chunk by chunk.
    """
    return [text(chunk) for chunk in model(way).stream("hello")]


def error(way: Any) -> Any:
    """
    Ask for what isn't there.
    """
    return model(way, "bad").invoke("hello")


async def async_stream(way: Any) -> Any:
    """
    Ask, and read the answer chunk by chunk.
    """
    return [text(chunk) async for chunk in model(way).astream("hello")]


USES = {"plain": plain, "stream": stream, "error": error, "async_stream": async_stream}
