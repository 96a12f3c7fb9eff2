"""
Refusals as answers.
"""

from __future__ import annotations

import json

import pytest

from egressor.errors import (
    Banned,
    BudgetExceeded,
    CircuitOpen,
    NeverFits,
    Paused,
    QueueFull,
    Rejected,
    StoreUnavailable,
    WaitTooLong,
)
from egressor.gateway.problems import Problem, of_rejection


@pytest.mark.parametrize(
    ("kind", "retry_after", "status", "stop"),
    [
        (WaitTooLong, 1.2, 429, False),
        (QueueFull, 3.0, 429, False),
        (NeverFits, None, 413, True),
        (BudgetExceeded, None, 402, True),
        (CircuitOpen, 60.0, 503, False),
        (Banned, 100.0, 503, False),
        (Paused, None, 503, True),
        (StoreUnavailable, None, 503, False),
    ],
)
def test_mapping(kind: type[Rejected], retry_after: float | None, status: int, stop: bool) -> None:
    """
    Each refusal has its status, says when to come back, and says stop where coming back is pointless.
    """
    problem = of_rejection(kind("t: no", service="t", retry_after=retry_after))
    headers = problem.headers()

    assert (problem.status, problem.reason, problem.detail) == (status, kind.reason, "t: no")
    assert headers.get("x-should-retry") == ("false" if stop else None)
    assert headers.get("Retry-After") == (None if retry_after is None else str(int(-(-retry_after // 1))))


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        ("generic", {"type": "urn:egressor:problem:queue_full"}),
        (
            "openai",
            {
                "type": "urn:egressor:problem:queue_full",
                "error": {"message": "d", "type": "rate_limit_error", "param": None, "code": "queue_full"},
            },
        ),
        ("anthropic", {"type": "error", "error": {"type": "rate_limit_error", "message": "d"}}),
    ],
)
def test_body(dialect: str, expected: dict[str, object]) -> None:
    """
    The body is RFC 9457, with the provider's own members beside.
    """
    common = {"title": "T", "status": 429, "detail": "d", "reason": "queue_full", "retry_after": 2.5}

    assert json.loads(Problem(429, "queue_full", "T", "d", 2.5).body(dialect)) == common | expected
