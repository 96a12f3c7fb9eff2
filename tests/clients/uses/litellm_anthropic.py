"""
LiteLLM as a client, of Anthropic's API.
"""

from __future__ import annotations

import os
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm

WAYS = ("gateway",)
litellm.suppress_debug_info = True


def plain(way: Any, model: str = "m") -> Any:
    """
    Ask.
    """
    found = litellm.completion(
        model="anthropic/" + model,
        api_base=way.base,
        api_key="k",
        messages=[{"role": "user", "content": "hello"}],
        num_retries=0,
    )
    return {name: value for name, value in found.model_dump().items() if name not in {"id", "created"}}


def error(way: Any) -> Any:
    """
    Ask for what isn't there.
    """
    return plain(way, "bad")


USES = {"plain": plain, "error": error}
