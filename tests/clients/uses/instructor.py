"""
Instructor, on the OpenAI SDK.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import instructor
import openai
from pydantic import BaseModel

WAYS = ("transport", "gateway")
HTTP: Any = import_module(openai.DefaultHttpxClient.__base__.__module__.partition(".")[0])


class Person(BaseModel):
    """
    What is asked for.
    """

    name: str
    age: int


def plain(way: Any, model: str = "m") -> Any:
    """
    Ask for an object.
    """
    hooked = {"http_client": HTTP.Client(transport=way.transport())} if way.gov else {}
    sdk = openai.OpenAI(base_url=way.base + "/v1", api_key="k", max_retries=0, **hooked)
    ask: Any = [{"role": "user", "content": "who?"}]
    return instructor.from_openai(sdk).chat.completions.create(
        model=model, response_model=Person, messages=ask, max_retries=0
    )


async def async_plain(way: Any) -> Any:
    """
    Ask for an object.
    """
    hooked = {"http_client": HTTP.AsyncClient(transport=way.async_transport())} if way.gov else {}
    sdk = openai.AsyncOpenAI(base_url=way.base + "/v1", api_key="k", max_retries=0, **hooked)
    ask: Any = [{"role": "user", "content": "who?"}]
    return await instructor.from_openai(sdk).chat.completions.create(
        model="m", response_model=Person, messages=ask, max_retries=0
    )


def error(way: Any) -> Any:
    """
    Ask for what isn't there.
    """
    return plain(way, "bad")


USES = {"plain": plain, "async_plain": async_plain, "error": error}
