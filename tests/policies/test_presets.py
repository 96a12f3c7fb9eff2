"""
Presets and defaults: which value holds, and who decided on it.
"""

from __future__ import annotations

from typing import Any

import pytest

from egressor._core.model import ServiceType
from egressor.policies import BreakerPolicy, Limit, Policy


@pytest.mark.parametrize(
    ("kind", "limits", "consecutive", "attempts", "cap", "suspend_for", "max_concurrency"),
    [
        (None, (), 5, 4, 30.0, 14_400.0, None),
        (ServiceType.LLM_API, ("0.5/second burst 2", "20/minute"), 3, 3, 120.0, 14_400.0, None),
        (ServiceType.SOCIAL_MEDIA, ("0.2/second burst 1", "10/minute"), 2, 2, 900.0, 14_400.0, None),
        (ServiceType.EXCHANGE_API, ("5/second burst 5", "300/minute"), 3, 3, 10.0, 300.0, 8),
        (ServiceType.WEB_SCRAPER, ("1/second burst 1", "30/minute"), 3, 3, 300.0, 3600.0, 2),
        (ServiceType.INTERNAL_API, (), 5, 4, 10.0, 14_400.0, 64),
    ],
)
def test_presets(
    kind: ServiceType | None,
    limits: tuple[str, ...],
    consecutive: int,
    attempts: int,
    cap: float,
    suspend_for: float,
    max_concurrency: int | None,
) -> None:
    """
    Each type starts from its documented figures; no type starts from the defaults.
    """
    policy = Policy(type=kind)

    assert (
        policy.limits,
        policy.breaker.consecutive,
        policy.retry.attempts,
        policy.retry.cap,
        policy.ban.suspend_for,
        policy.max_concurrency,
    ) == (tuple(Limit(text) for text in limits), consecutive, attempts, cap, suspend_for, max_concurrency)


def test_defaults() -> None:
    """
    Without anything given: the figures of the design.
    """
    policy = Policy()

    assert (policy.max_wait, policy.queue_size, policy.timeout, policy.lease_for, policy.age_after) == (
        60.0, 10_000, 60.0, 120.0, 15.0,
    )  # fmt: skip
    assert (policy.retry.base, policy.retry.factor, policy.retry.jitter) == (1.0, 2.0, True)
    assert (policy.breaker.open_for, policy.breaker.window, policy.breaker.min_calls) == (60.0, 60.0, 10)
    assert set(policy.sources.values()) | set(policy.breaker.sources.values()) == {"default"}


@pytest.mark.parametrize(
    ("given", "lease_for", "age_after"),
    [
        ({}, 120.0, 15.0),
        ({"timeout": 100.0}, 200.0, 15.0),
        ({"timeout": 1.0, "max_wait": 0.0}, 120.0, 1.0),
        ({"lease_for": 60.0, "age_after": 0.5}, 60.0, 0.5),
        ({"type": "exchange_api"}, 120.0, 2.5),
    ],
)
def test_derived_settings(given: dict[str, Any], lease_for: float, age_after: float) -> None:
    """
    A lease outlives its attempt, and waiting makes a low call critical before its wait ends.
    """
    policy = Policy(**given)

    assert (policy.lease_for, policy.age_after) == (lease_for, age_after)


def test_what_is_given_beats_the_preset_and_the_preset_beats_the_default() -> None:
    """
    Each value of a part is decided on its own, and knows who decided.
    """
    policy = Policy(type=ServiceType.LLM_API, breaker=BreakerPolicy(window=30), limits=("1/minute",))  # type: ignore[arg-type]

    assert (policy.breaker.window, policy.breaker.consecutive, policy.breaker.open_for) == (30.0, 3, 60.0)
    assert {name: policy.breaker.sources[name] for name in ("window", "consecutive", "open_for")} == {
        "window": "python", "consecutive": "preset llm_api", "open_for": "default",
    }  # fmt: skip
    assert policy.limits == (Limit("1/minute"),)
    assert policy.sources["limits"] == policy.sources["type"] == "python"


def test_given_defaults_beat_the_preset() -> None:
    """
    A value that equals the default is still given: the preset leaves it alone.
    """
    policy = Policy(type=ServiceType.LLM_API, breaker=BreakerPolicy(consecutive=5), limits=())

    assert (policy.breaker.consecutive, policy.limits) == (5, ())
