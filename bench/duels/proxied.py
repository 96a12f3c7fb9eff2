"""
Our gateway, or LiteLLM's proxy, in each duel, before OpenAI's SDK: ``python -m bench.duels.proxied DUEL URL WHO``.

*WHO* is ``gateway`` or ``proxy``. It prints what came of it as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections import Counter
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx2
import openai

from bench.duels.cases import AFTER, CALLS, CROWD, DUELS, MAX_TOKENS, PROMPT, READ, priority
from bench.fronts import KEY, MODEL, Front, gateway, litellm

_SERVICE = 'dialect = "openai"\nretry = { attempts = 3, base = 0.1 }\n'
_OURS = {
    "budget": "budget = { total = 0.001 }",
    "tokens": 'limits = ["4000 tokens/minute"]\nmax_wait = 5.0',
    "flight": "cache = {}",
    "priority": "max_concurrency = 2\nmax_wait = 60.0",
    "stream": "budget = { total = 1.0 }",
    "crowd": f"budget = {{ total = 0.5 }}\nmax_concurrency = {CROWD}\nmax_wait = 60.0",
}
_BUDGET = {"budget_limit": 0.001, "time_period": "1d"}
# What its documentation has for the case, where there is no database.
_THEIRS: dict[str, dict[str, Any]] = {
    "budget": {"router_settings": {"provider_budget_config": {"openai": _BUDGET}}},
    "tokens": {"router_settings": {"routing_strategy": "usage-based-routing-v2"}},
    "flight": {"litellm_settings": {"cache": True, "cache_params": {"type": "local"}, "num_retries": 2}},
    "crowd": {"router_settings": {"provider_budget_config": {"openai": {**_BUDGET, "budget_limit": 0.5}}}},
}
_PARAMS: dict[str, dict[str, Any]] = {
    "tokens": {"tpm": 4000},
    "priority": {"max_parallel_requests": 2},
    "crowd": {"max_parallel_requests": CROWD},
}
_SETTLES = 3.0
_PATIENCE = 120.0


def front(who: str, name: str, folder: Path, url: str) -> AbstractContextManager[Front]:
    """
    Start *who* for the duel *name*, before the upstream at *url*.
    """
    behind = f"{url}/{name}/{who}"
    if who == "gateway":
        return gateway(folder, f"{behind}/v1", service=_SERVICE + _OURS.get(name, ""), tokenizer=True)
    settings = {"litellm_settings": {"num_retries": 2}, **_THEIRS.get(name, {})}
    return litellm(folder, behind, params=_PARAMS.get(name), settings=settings)


async def duel(who: str, name: str, base: str) -> dict[str, Any]:
    """
    Play the duel *name* through *who* at *base*.
    """
    url = base if who == "gateway" else f"{base}/v1"
    # As long as the SDK waits; LiteLLM doesn't read it.
    said = {"Egressor-Deadline": f"{_PATIENCE:.0f}"}
    async with openai.AsyncOpenAI(
        base_url=url, api_key=KEY, max_retries=0, timeout=_PATIENCE, default_headers=said
    ) as sdk:
        order: list[int] = []
        if name in {"stream", "crowd"}:
            await asyncio.gather(*[_left(sdk) for _ in range(CROWD if name == "crowd" else 1)])
            # It notices that its clients are gone.
            await asyncio.sleep(_SETTLES)
            calls = [_call(sdk, name, index, order) for index in range(AFTER * (name == "crowd"))]
            ends = await asyncio.gather(*calls)
            return {"ends": dict(Counter(ends)), "usd": await _spent(who, base)}
        number, at_once = CALLS[name]
        calls = [_call(sdk, name, index, order) for index in range(number)]
        ends = await asyncio.gather(*calls) if at_once else [await call for call in calls]
    return {"ends": dict(Counter(ends)), "order": order}


async def _call(sdk: openai.AsyncOpenAI, name: str, index: int, order: list[int]) -> str:
    options: dict[str, Any] = {}
    if name == "tokens":
        # What a provider puts around a message is expected, too: together that is 2,000.
        options = {"max_tokens": MAX_TOKENS - 50}
    elif name == "flight":
        options = {"temperature": 0}
    elif name == "priority":
        # Each reads its own, and leaves the other's alone.
        options = {
            "extra_headers": {"Egressor-Priority": "high" if priority(index) else "low"},
            "extra_body": {"priority": 0 if priority(index) else 100},
        }
    try:
        await sdk.chat.completions.create(**{"model": MODEL, "messages": _said(), "max_tokens": MAX_TOKENS, **options})
    except openai.APIStatusError as error:
        return f"HTTP {error.status_code}"
    except openai.APIError as error:
        return type(error).__name__
    order.append(index)
    return "served"


async def _left(sdk: openai.AsyncOpenAI) -> None:
    async with await sdk.chat.completions.create(
        model=MODEL, messages=_said(), max_tokens=MAX_TOKENS, stream=True
    ) as stream:
        read = 0
        async for _ in stream:
            read += 1
            if read == READ:
                break


def _said() -> list[Any]:
    return [{"role": "user", "content": PROMPT}]


async def _spent(who: str, base: str) -> float | None:
    """
    Return what *who* says that was spent; None where it can't say.
    """
    if who != "gateway":
        return None
    async with httpx2.AsyncClient() as client:
        answer = await client.get(base.removesuffix("/page") + "/-/costs.json")
        return float(answer.json()["total"]["usd"])


def main(name: str, url: str, who: str) -> None:
    """
    Play, and print what came of it.
    """
    with tempfile.TemporaryDirectory() as folder, front(who, name, Path(folder) / "front", url) as found:
        print(json.dumps(asyncio.run(duel(who, name, found.url))))


if __name__ == "__main__":
    assert sys.argv[1] in DUELS
    main(*sys.argv[1:4])
