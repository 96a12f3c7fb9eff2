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
    ("key", "title"),
    [("price", "What the request may cost is not known"), ("t/day@UTC", "The budget has too little left")],
)
def test_the_title_of_a_402_says_what_is_wrong(key: str, title: str) -> None:
    """
    A request without a price was told that the budget is spent, of which nothing was.
    """
    problem = of_rejection(BudgetExceeded("t: no", service="t", key=key))

    assert (problem.status, problem.reason, problem.title) == (402, "budget", title)


def test_money_that_is_only_held_is_worth_coming_back_for() -> None:
    """
    No SDK comes again by itself after a 402; one is told to where calls under way may give money back in a moment.
    """
    problem = of_rejection(BudgetExceeded("t: no", service="t", key="t/day@UTC", retry_after=1.0))

    assert problem.headers()["x-should-retry"] == "true"
    assert problem.headers()["Retry-After"] == "1"
    assert "x-should-retry" not in of_rejection(QueueFull("t: no", service="t", retry_after=1.0)).headers()


@pytest.mark.parametrize(
    ("kind", "retry_after", "status", "stop"),
    [
        (WaitTooLong, 1.2, 429, False),
        (QueueFull, 3.0, 429, False),
        (NeverFits, None, 413, True),
        (BudgetExceeded, None, 402, True),
        (BudgetExceeded, 1.1, 402, True),
        (CircuitOpen, 60.0, 503, False),
        (CircuitOpen, 60.1, 503, True),
        (WaitTooLong, 61.0, 429, True),
        (Banned, 100.0, 503, True),
        (Paused, None, 503, True),
        (StoreUnavailable, None, 503, False),
    ],
)
def test_mapping(kind: type[Rejected], retry_after: float | None, status: int, stop: bool) -> None:
    """
    Each refusal has its status, says when to come back, and says stop where coming back is pointless or a minute off.
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
        (
            "gemini",
            {
                "type": "urn:egressor:problem:queue_full",
                "status": "RESOURCE_EXHAUSTED",
                "error": {
                    "code": 429,
                    "message": "d",
                    "status": "RESOURCE_EXHAUSTED",
                    "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3s"}],
                },
            },
        ),
        (
            "telegram",
            {
                "type": "urn:egressor:problem:queue_full",
                "ok": False,
                "error_code": 429,
                "description": "d",
                "parameters": {"retry_after": 3},
            },
        ),
        ("binance", {"type": "urn:egressor:problem:queue_full", "code": -1003, "msg": "d"}),
    ],
)
def test_body(dialect: str, expected: dict[str, object]) -> None:
    """
    The body is RFC 9457, with the provider's own members beside.
    """
    common = {"title": "T", "status": 429, "detail": "d", "reason": "queue_full", "retry_after": 2.5}

    assert json.loads(Problem(429, "queue_full", "T", "d", 2.5).body(dialect)) == common | expected


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        ("gemini", {"error": {"code": 418, "message": "d", "status": "UNKNOWN", "details": []}, "status": "UNKNOWN"}),
        ("telegram", {"ok": False, "error_code": 418, "description": "d"}),
        ("binance", {"code": 0, "msg": "d"}),
        ("openai", {"error": {"message": "d", "type": "api_error", "param": None, "code": "r"}}),
        ("anthropic", {"type": "error", "error": {"type": "api_error", "message": "d"}}),
    ],
)
@pytest.mark.parametrize("retry_after", [None, 0.0])
def test_a_shape_without_a_time(dialect: str, expected: dict[str, object], retry_after: float | None) -> None:
    """
    Where nobody knows when to come back, or it is now, nothing says so; a status without a word has the general one.
    """
    document = Problem(418, "r", "T", "d", retry_after).document(dialect)

    assert dict(list(document.items())[: len(expected)]) == expected


@pytest.mark.parametrize(
    ("dialect", "member", "words"),
    [
        ("gemini", "status", ["INVALID_ARGUMENT", "UNAUTHENTICATED", "RESOURCE_EXHAUSTED", "UNAVAILABLE"]),
        ("binance", "code", [-1130, -1002, -1003, 0]),
        ("telegram", "error_code", [400, 401, 429, 503]),
    ],
)
def test_words_of_a_status(dialect: str, member: str, words: list[object]) -> None:
    """
    Each service has its own for a bad request, a missing key, too many calls and a shut gate.
    """
    documents = [Problem(status, "r", "T", "d").document(dialect) for status in (400, 401, 429, 503)]

    assert [document[member] for document in documents] == words
