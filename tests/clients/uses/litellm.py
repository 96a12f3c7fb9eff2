"""
LiteLLM as a client, of an API like OpenAI's.
"""

from __future__ import annotations

import os
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm

WAYS = ("gateway",)
litellm.telemetry = False
litellm.suppress_debug_info = True
ASK: Any = {"messages": [{"role": "user", "content": "hello"}], "api_key": "k"}


def text(found: Any) -> Any:
    """
    Return an answer without what LiteLLM draws and measures itself.
    """
    return {name: value for name, value in found.model_dump().items() if name not in {"id", "created"}}


def plain(way: Any, model: str = "m") -> Any:
    """
    Ask.
    """
    return text(litellm.completion(model="openai/" + model, api_base=way.base + "/v1", max_retries=way.retries, **ASK))


def stream(way: Any) -> Any:
    """
    Ask, and read the answer chunk by chunk.
    """
    chunks = litellm.completion(
        model="openai/m", api_base=way.base + "/v1", stream=True, max_retries=way.retries, **ASK
    )
    return [text(chunk) for chunk in chunks]


def error(way: Any) -> Any:
    """
    Ask for what isn't there.
    """
    return plain(way, "bad")


async def async_stream(way: Any) -> Any:
    """
    Ask, and read the answer chunk by chunk.
    """
    chunks = await litellm.acompletion(
        model="openai/m", api_base=way.base + "/v1", stream=True, max_retries=way.retries, **ASK
    )
    return [text(chunk) async for chunk in chunks]


USES = {"plain": plain, "stream": stream, "error": error, "async_stream": async_stream}
