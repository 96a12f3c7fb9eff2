"""
What each category of failure weighs.
"""

from __future__ import annotations

import pytest

from egressor._core.grade import SEVERITY, failure
from egressor._core.model import ErrorCategory, ErrorSeverity


@pytest.mark.parametrize(
    ("category", "severity", "scope", "counts"),
    [
        ("rate_limit", "MEDIUM", "credential", False),
        ("quota_exhausted", "HIGH", "account", False),
        ("authentication", "HIGH", "credential", False),
        ("permission", "MEDIUM", "credential", False),
        ("ban", "CRITICAL", "ip", False),
        ("challenge", "HIGH", "ip", False),
        ("geo_block", "HIGH", "ip", False),
        ("network", "MEDIUM", "service", True),
        ("timeout", "MEDIUM", "service", True),
        ("server_error", "MEDIUM", "service", True),
        ("overloaded", "MEDIUM", "service", True),
        ("maintenance", "LOW", "service", True),
        ("bad_request", "LOW", "call", False),
        ("bad_response", "MEDIUM", "endpoint", True),
        ("not_found", "LOW", "call", False),
        ("conflict", "LOW", "call", False),
        ("clock_skew", "HIGH", "service", False),
        ("insufficient_funds", "HIGH", "account", False),
        ("content_policy", "LOW", "call", False),
        ("outcome_unknown", "CRITICAL", "call", True),
        ("configuration", "HIGH", "service", False),
        ("cancelled", "LOW", "call", False),
        ("unknown", "MEDIUM", "service", False),
    ],
)
def test_weights(category: str, severity: str, scope: str, *, counts: bool) -> None:
    """
    A category decides what the failure is about, how much it matters, and whether the breaker counts it.
    """
    verdict = failure(ErrorCategory(category), fingerprint="f", why="w")

    assert (ErrorSeverity[severity], scope, counts) == (verdict.severity, verdict.scope, verdict.counts)


def test_every_category_is_weighed() -> None:
    """
    A category that enters the model enters the table as well.
    """
    assert set(ErrorCategory) == set(SEVERITY)


def test_the_rule_may_know_better() -> None:
    """
    A rule's own word on counting stands above its category's.
    """
    assert not failure(ErrorCategory.TIMEOUT, fingerprint="f", why="w", counts=False).counts
    assert failure(ErrorCategory.UNKNOWN, fingerprint="f", why="w", counts=True).counts
