"""
LiteLLM's Router in each duel, in its own environment: ``python theirs.py DUEL URL`` prints what came of it as JSON.

It imports nothing of Egressor's: what both need comes by the file beside it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import litellm
from litellm import Router
from litellm.integrations.custom_logger import CustomLogger

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.duels.cases import AFTER, CALLS, CROWD, DUELS, MAX_TOKENS, PROMPT, READ, priority

_SETTINGS: dict[str, dict[str, Any]] = {
    "budget": {"provider_budget_config": {"openai": {"budget_limit": 0.001, "time_period": "1d"}}},
    "tokens": {"routing_strategy": "usage-based-routing-v2"},
    "flight": {"cache_responses": True},
    "crowd": {"provider_budget_config": {"openai": {"budget_limit": 0.5, "time_period": "1d"}}},
}
_DEPLOYMENT: dict[str, dict[str, Any]] = {
    "tokens": {"tpm": 4000},
    "priority": {"max_parallel_requests": 2},
    "crowd": {"max_parallel_requests": CROWD},
}
_SETTLES = 3.0


class Spend(CustomLogger):
    """
    What LiteLLM says that calls did cost.
    """

    usd = 0.0

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:  # noqa: ARG002 - its words
        """
        Add up.
        """
        self.usd += kwargs.get("response_cost") or 0.0


async def duel(name: str, url: str) -> dict[str, Any]:
    """
    Play the duel *name* against the upstream at *url*.
    """
    spend = Spend()
    litellm.callbacks = [spend]
    params = {
        "model": "openai/gpt-4o-mini",
        "api_base": f"{url}/{name}/theirs/v1",
        "api_key": "x",
        **_DEPLOYMENT.get(name, {}),
    }
    router = Router(
        model_list=[{"model_name": "m", "litellm_params": params}], num_retries=2, **_SETTINGS.get(name, {})
    )
    if name in {"stream", "crowd"}:
        await asyncio.gather(*[_left(router) for _ in range(CROWD if name == "crowd" else 1)], return_exceptions=True)
        # Its callbacks run beside the calls.
        await asyncio.sleep(_SETTLES)
        ends = await asyncio.gather(*[_call(router, name, index, []) for index in range(AFTER * (name == "crowd"))])
        await asyncio.sleep(_SETTLES)
        return {"ends": dict(Counter(ends)), "usd": spend.usd}
    number, at_once = CALLS[name]
    order: list[int] = []
    calls = [_call(router, name, index, order) for index in range(number)]
    ends = await asyncio.gather(*calls) if at_once else [await call for call in calls]
    return {"ends": dict(Counter(ends)), "order": order}


async def _call(router: Router, name: str, index: int, order: list[int]) -> str:
    options: dict[str, Any] = {}
    if name == "flight":
        options = {"temperature": 0}
    elif name == "priority":
        options = {"priority": 0 if priority(index) else 100}
    try:
        await router.acompletion("m", messages=_said(), max_tokens=MAX_TOKENS, **options)
    except Exception as error:  # noqa: BLE001 - its name is what counts
        return type(error).__name__
    order.append(index)
    return "served"


async def _left(router: Router) -> None:
    options = {"stream_options": {"include_usage": True}}
    stream = await router.acompletion("m", messages=_said(), max_tokens=MAX_TOKENS, stream=True, **options)
    read = 0
    async for _ in stream:
        read += 1
        if read == READ:
            break
    await stream.aclose()


def _said() -> list[dict[str, str]]:
    return [{"role": "user", "content": PROMPT}]


if __name__ == "__main__":
    assert sys.argv[1] in DUELS
    print(json.dumps(asyncio.run(duel(sys.argv[1], sys.argv[2]))))
