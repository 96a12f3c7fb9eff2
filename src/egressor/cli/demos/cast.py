"""
The demo's numbers: what each service allows, what the gateway is told about it, and what happens when.

Periods are scaled down from minutes to seconds, so that a run of some seconds sees many of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = [
    "AGE_AFTER",
    "ATTEMPTS",
    "BOUND",
    "BUDGET",
    "CAST",
    "CONSECUTIVE",
    "CYCLE",
    "MAX_WAIT",
    "OPEN_FOR",
    "PRICE",
    "PRIORITIES",
    "PROBES",
    "SCRIPT",
    "Service",
    "configuration",
    "services",
]

PRIORITIES = ("critical", "high", "medium", "low")
MAX_WAIT = 1.5
AGE_AFTER = 1.0
CONSECUTIVE = 3
OPEN_FOR = 0.5
PROBES = 1
ATTEMPTS = {"openai": 3, "binance": 2, "reddit": 2, "shop": 2}
BOUND = "report"
"""
The feature of openai's calls that has a budget.
"""

BUDGET = 30_000
"""
Micro-dollars that openai's reports may cost in a day: the first few of a run use it up.
"""

PRICE = (1, 10)
"""
Micro-dollars for each token that openai's model is sent, and for each that it answers with.
"""

CYCLE = 20.0
"""
Seconds after which the script begins anew, in a run without an end.
"""

SCRIPT = (
    (0.15, "crowd reddit", "somebody else uses up reddit's window: 429"),
    (0.30, "down openai", "openai is down: 503"),
    (0.42, "crowd binance", "somebody else at our address is banned by binance: 418"),
    (0.50, "up openai", "openai is back"),
)
"""
What happens on the way: the share of the run, the command to the services, and the same in words.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """
    What one service allows, by its own count.

    Attributes:
        name: Its name.
        unit: What it counts.
        amount: So many units per *period*.
        period: Seconds.
        burst: A bucket that takes so many above the one that it always takes, as nginx's ``limit_req`` has it; None
            for windows aligned to the wall clock.
        demand: Calls per second that the workload makes.
        is_ours: Whether nobody else draws on the same limit, so that staying below it is in our hands.
    """

    name: str
    unit: str
    amount: int
    period: float
    burst: int | None
    demand: float
    is_ours: bool = True


CAST = {
    each.name: each
    for each in (
        Service(name="openai", unit="requests", amount=20, period=1.0, burst=10, demand=36.0),
        Service(name="binance", unit="weight", amount=120, period=2.0, burst=None, demand=36.0),
        Service(name="reddit", unit="requests", amount=16, period=2.0, burst=None, demand=14.0, is_ours=False),
        Service(name="shop", unit="requests", amount=5, period=1.0, burst=3, demand=8.0),
    )
}


def configuration(urls: Mapping[str, str]) -> dict[str, Any]:
    """
    Return the gateway's configuration: the services, and what openai's model costs, in the words of a file.
    """
    model = {"model": "gpt-demo", "usd_per_mtok": {"input": PRICE[0], "output": PRICE[1]}}
    return {"services": services(urls), "prices": {"models": [model]}}


def services(urls: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """
    Return the gateway's services: the numbers above, in the words of a configuration file.

    This gateway counts requests and tokens; it does not read weights out of them. So a rule for each endpoint divides
    the exchange's weight (10 depths of 5, 25 prices of 2, 20 orders of 1 make 120), and one for the feature whose
    answers are long keeps the tokens in bounds, and their price, too.
    """
    common = {"max_wait": MAX_WAIT, "age_after": AGE_AFTER, "timeout": 5.0, "lease_for": 5.0}
    breaker = {"consecutive": CONSECUTIVE, "open_for": OPEN_FOR, "max_open_for": 1.0, "growth": 1.5, "probes": PROBES}
    special: dict[str, dict[str, Any]] = {
        "openai": {
            "type": "llm_api",
            "dialect": "openai",
            "limits": ["20/second burst 10"],
            "rules": [
                {
                    "match": {"feature": BOUND},
                    "limits": ["3/second burst 2"],
                    "budget": {"day": BUDGET / 1_000_000, "soft": 1.0},
                }
            ],
        },
        "binance": {
            "type": "exchange_api",
            "limits": [],
            "max_concurrency": 64,
            "rules": [
                {"match": {"endpoint": "depth"}, "limits": ["10/2 seconds fixed"]},
                {"match": {"endpoint": "price"}, "limits": ["25/2 seconds fixed"]},
                {"match": {"endpoint": "order"}, "limits": ["20/2 seconds fixed"]},
            ],
        },
        "reddit": {"type": "social_media", "limits": ["16/2 seconds"]},
        "shop": {"type": "web_scraper", "limits": ["5/second burst 3"], "max_concurrency": 64},
    }
    return {
        name: {
            **common,
            **special[name],
            "base_url": urls[name],
            "breaker": breaker,
            "retry": {"attempts": ATTEMPTS[name], "base": 0.1, "cap": 0.5},
        }
        for name in CAST
    }
