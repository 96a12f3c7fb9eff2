"""
Egressor in each duel: ``python -m bench.duels.ours DUEL URL`` prints what came of it as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Awaitable
from typing import Any

from bench.duels.cases import AFTER, CALLS, CROWD, DUELS, MAX_TOKENS, PROMPT, READ, priority
from egressor import EgressorError, Governor
from egressor.clients.llm import LLM

_POLICIES: dict[str, dict[str, Any]] = {
    "budget": {"budget": {"total": 0.001}},
    # What a call's tokens will be is said by hand.
    "tokens": {"limits": ["4000 tokens/minute"], "max_wait": 5.0},
    "flight": {"cache": {}},
    "priority": {"max_concurrency": 2, "max_wait": 60.0},
    "stream": {"budget": {"total": 1.0}},
    # What the streams and the calls may cost at most fits, and so do all places.
    "crowd": {"budget": {"total": 0.5}, "max_concurrency": CROWD, "max_wait": 60.0},
}
_RETRY = {"attempts": 3, "base": 0.1}


async def duel(name: str, url: str) -> dict[str, Any]:
    """
    Play the duel *name* against the upstream at *url*.
    """
    policy = {"dialect": "openai", "base_url": f"{url}/{name}/ours/v1", "retry": _RETRY, **_POLICIES.get(name, {})}
    gov = Governor({"openai": policy})
    async with gov, LLM(gov, "openai/gpt-4o-mini", max_tokens=MAX_TOKENS) as llm:
        if name in {"stream", "crowd"}:
            await asyncio.gather(*[_left(llm) for _ in range(CROWD if name == "crowd" else 1)])
            ends = await asyncio.gather(*[_call(llm, name, index, []) for index in range(AFTER * (name == "crowd"))])
            return {"ends": dict(Counter(ends)), "usd": float(gov.costs()["total"]["usd"])}
        number, at_once = CALLS[name]
        order: list[int] = []
        calls = [_call(llm, name, index, order) for index in range(number)]
        ends = await asyncio.gather(*calls) if at_once else [await call for call in calls]
    return {"ends": dict(Counter(ends)), "order": order}


async def _call(llm: LLM, name: str, index: int, order: list[int]) -> str:
    options: dict[str, Any] = {}
    if name == "tokens":
        options = {"cost": {"tokens": 2000}}
    elif name == "flight":
        options = {"temperature": 0}
    elif name == "priority":
        options = {"priority": "high" if priority(index) else "low"}
    return await _end(llm.chat_async(PROMPT, **options), index, order)


async def _end(call: Awaitable[object], index: int, order: list[int]) -> str:
    try:
        await call
    except EgressorError as error:
        return type(error).__name__
    except Exception as error:  # noqa: BLE001 - an SDK's own, of which only the name counts
        return type(error).__name__
    order.append(index)
    return "served"


async def _left(llm: LLM) -> None:
    async with llm.stream_async(PROMPT) as stream:
        read = 0
        async for _ in stream:
            read += 1
            if read == READ:
                break


if __name__ == "__main__":
    assert sys.argv[1] in DUELS
    os.environ["OPENAI_API_KEY"] = "x"
    print(json.dumps(asyncio.run(duel(sys.argv[1], sys.argv[2]))))
