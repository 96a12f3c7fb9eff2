"""
A policy in words.
"""

from __future__ import annotations

from typing import Any

import pytest

from egressor import Governor

EVERYTHING = {
    "limits": ["20/minute", "10/second burst 20"],
    "max_concurrency": 8,
    "max_wait": 30.0,
    "timeout": 5.0,
    "queue_size": 99,
    "breaker": {"consecutive": 3, "failure_rate": 0.5, "slow_rate": 0.8, "shadow": True, "probes": 2},
    "retry": {"attempts": 3, "budget": 0.2},
    "rules": [{"match": {"user": "*"}, "limits": ["5/minute"]}, {"match": {"user": "bob"}, "priority": "low"}],
}


@pytest.mark.parametrize(
    "words",
    [
        "A call to s:",
        "20/minute, 10/second burst 20",
        "at most 8 at once",
        "user=*",
        "5/minute",
        "at most 99 calls, 30 s each",
        "at most 5 s an attempt",
        "3 failures in a row or ",
        "shadow",
        "at most 3 attempts",
        "20%",
    ],
)
def test_everything_that_is_set_is_explained(words: str) -> None:
    """
    The explanation names each limit, bound, rule, breaker rule and retry setting of the policy.
    """
    assert words in Governor({"s": EVERYTHING}).explain("s")


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({}, "5. limits, all or nothing: none"),
        ({"breaker": {"enabled": False}}, "3. breaker: none"),
        ({"cache": {"ttl": 5}}, "0. cache: an answer is given again for 5 s; the same request under way is sent once"),
        ({"cache": {"stale_if_error": 9}}, "for 3600 s, then for 9 s where it fails; the same"),
        ({"retry": {"attempts": 1}}, "9. retry: none"),
        ({"breaker": {"consecutive": 0, "failure_rate": 0.5}}, "50% failures in 60 s"),
    ],
)
def test_what_is_not_set_is_said_not_to_be(policy: dict[str, Any], words: str) -> None:
    """
    What a policy turns off is said to be off.
    """
    assert words in Governor({"s": policy}).explain("s")


def test_the_steps_stand_in_the_order_in_which_they_are_taken() -> None:
    """
    The steps are numbered from 1 to 10, from the pause to the fallback.
    """
    lines = Governor({"s": EVERYTHING}).explain("s").splitlines()
    steps = [line.split(":")[0] for line in lines if line[:1].isdigit()]

    assert steps[:4] == ["1. pause", "2. ban", "3. breaker", "4. Retry-After"]
    assert [int(step.split(".")[0]) for step in steps] == list(range(1, 11))


def test_costs_that_nothing_bounds_are_explained() -> None:
    """
    They are added up.
    """
    lines = Governor({"s": {"budget": {"unbounded": True}}}).explain("s").splitlines()

    assert "0. what calls cost is added up, and nothing bounds it" in lines
    assert not any("BudgetExceeded" in line for line in lines)


def test_budgets_are_explained_first() -> None:
    """
    Each period that is bounded, of the service and of its rules; without any nothing is said.
    """
    budget = {"day": 10, "total": 100, "timezone": "Europe/Berlin"}
    rules = [{"match": {"user": "*"}, "budget": {"hour": 0.5, "soft": 0.5}}]
    lines = Governor({"s": {"budget": budget, "rules": rules}}).explain("s").splitlines()

    assert lines[1:5] == [
        "0. budgets, all or nothing: refused with BudgetExceeded if what it may cost does not fit",
        "   10 USD a day (Europe/Berlin), a warning from 80% on",
        "   100 USD in all (Europe/Berlin), a warning from 80% on",
        "   rule user=*: 0.5 USD an hour (UTC), a warning from 50% on",
    ]
    assert Governor({"s": {}}).explain("s").splitlines()[1].startswith("1. ")
