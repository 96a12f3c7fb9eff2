"""
Our side of the duels: each comes out right, by the real SDK in a process of its own against the duels' upstream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.duels.__main__ import ROWS, main, play
from bench.duels.cases import DUELS, priority
from bench.duels.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.duels.__main__ import Found

# A process each, which imports an SDK: on a busy machine that takes a while.
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]


def urgent_first(found: Found) -> bool:
    """
    Whether everybody was served, two at a time, and none of the urgent ones waited for any but the first two.
    """
    places = [place for place, index in enumerate(found.order) if priority(index)]
    return (found.ends, found.most) == ({"served": 24}, 2) and max(places) < 10


def paid(found: Found) -> float:
    """
    The micro-dollars that are recorded, if they are no less than what was billed; else 0.
    """
    billed = found.hits * 150 + (found.pieces * 2 + found.served * 1000) * 0.6
    return found.usd * 1e6 if found.usd is not None and found.usd * 1e6 >= billed else 0


RIGHT: dict[str, Callable[[Found], bool]] = {
    "budget": lambda found: found.ends == {"served": 1, "BudgetExceeded": 49},
    "tokens": lambda found: found.ends == {"served": 2, "WaitTooLong": 28},
    "flight": lambda found: (found.ends, found.hits) == ({"served": 50}, 1),
    "priority": urgent_first,
    "credit": lambda found: (found.ends, found.hits) == ({"RateLimitError": 1}, 1),
    "wait": lambda found: (found.ends, found.hits) == ({"RateLimitError": 1, "WaitTooLong": 4}, 1),
    "down": lambda found: found.hits == 5 and found.ends["CircuitOpen"] > 15,
    "stream": lambda found: paid(found) > 150,
    "crowd": lambda found: found.ends == {"served": 50} and 75_000 < paid(found) <= 500_000,
}


STATUSES: dict[str, Callable[[Found], bool]] = {
    "budget": lambda found: found.ends == {"served": 1, "HTTP 402": 49},
    "tokens": lambda found: found.ends == {"served": 2, "HTTP 429": 28},
    "credit": lambda found: (found.ends, found.hits) == ({"HTTP 429": 1}, 1),
    "wait": lambda found: (found.ends, found.hits) == ({"HTTP 429": 5}, 1),
    "down": lambda found: found.hits == 5 and found.ends["HTTP 503"] > 15,
}


@pytest.mark.parametrize("name", DUELS)
async def test_the_gateway_is_right(name: str) -> None:
    """
    What the page says of the gateway holds, before an unmodified SDK.
    """
    upstream = Upstream()
    async with upstream.serve() as url:
        found = await play(upstream, url, name, "gateway")

    assert {**RIGHT, **STATUSES}[name](found), found
    assert ROWS[name][2](found)


@pytest.mark.parametrize("name", DUELS)
async def test_ours_is_right(name: str) -> None:
    """
    What the page says of us holds.
    """
    upstream = Upstream()
    async with upstream.serve() as url:
        found = await play(upstream, url, name, "ours")

    assert RIGHT[name](found), found
    assert ROWS[name][2](found)


@pytest.mark.parametrize("words", [["nothing"], ["budget", "--write"]], ids=["unknown", "a part"])
async def test_what_cannot_be_played_is_said(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """
    As wrong usage.
    """
    with pytest.raises(SystemExit):
        main(words)

    assert "duel" in capsys.readouterr().err
