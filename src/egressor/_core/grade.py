"""
From a category to a verdict: how much each kind of failure matters, and whether the breaker counts it.
"""

from __future__ import annotations

from typing import Final

from egressor._core.model import ErrorCategory, ErrorSeverity, Verdict

__all__ = ["COUNTED", "SCOPE", "SEVERITY", "failure"]

SEVERITY: Final[dict[ErrorCategory, ErrorSeverity]] = {
    ErrorCategory.RATE_LIMIT: ErrorSeverity.MEDIUM,
    ErrorCategory.QUOTA_EXHAUSTED: ErrorSeverity.HIGH,
    ErrorCategory.AUTHENTICATION: ErrorSeverity.HIGH,
    ErrorCategory.PERMISSION: ErrorSeverity.MEDIUM,
    ErrorCategory.BAN: ErrorSeverity.CRITICAL,
    ErrorCategory.CHALLENGE: ErrorSeverity.HIGH,
    ErrorCategory.GEO_BLOCK: ErrorSeverity.HIGH,
    ErrorCategory.NETWORK: ErrorSeverity.MEDIUM,
    ErrorCategory.TIMEOUT: ErrorSeverity.MEDIUM,
    ErrorCategory.SERVER_ERROR: ErrorSeverity.MEDIUM,
    ErrorCategory.OVERLOADED: ErrorSeverity.MEDIUM,
    ErrorCategory.MAINTENANCE: ErrorSeverity.LOW,
    ErrorCategory.BAD_REQUEST: ErrorSeverity.LOW,
    ErrorCategory.BAD_RESPONSE: ErrorSeverity.MEDIUM,
    ErrorCategory.NOT_FOUND: ErrorSeverity.LOW,
    ErrorCategory.CONFLICT: ErrorSeverity.LOW,
    ErrorCategory.CLOCK_SKEW: ErrorSeverity.HIGH,
    ErrorCategory.INSUFFICIENT_FUNDS: ErrorSeverity.HIGH,
    ErrorCategory.CONTENT_POLICY: ErrorSeverity.LOW,
    ErrorCategory.OUTCOME_UNKNOWN: ErrorSeverity.CRITICAL,
    ErrorCategory.CONFIGURATION: ErrorSeverity.HIGH,
    ErrorCategory.CANCELLED: ErrorSeverity.LOW,
    ErrorCategory.UNKNOWN: ErrorSeverity.MEDIUM,
}

# These say that the service is unwell. A rate limit is the limiter's business; a bad request, a wrong key, a spent
# quota or a cancelled call says nothing about the service's health.
COUNTED: Final[frozenset[ErrorCategory]] = frozenset(
    {
        ErrorCategory.NETWORK,
        ErrorCategory.TIMEOUT,
        ErrorCategory.SERVER_ERROR,
        ErrorCategory.OVERLOADED,
        ErrorCategory.MAINTENANCE,
        ErrorCategory.BAD_RESPONSE,
        ErrorCategory.OUTCOME_UNKNOWN,
    }
)

# What a failure is about where it isn't the service as a whole.
SCOPE: Final[dict[ErrorCategory, str]] = {
    ErrorCategory.RATE_LIMIT: "credential",
    ErrorCategory.QUOTA_EXHAUSTED: "account",
    ErrorCategory.AUTHENTICATION: "credential",
    ErrorCategory.PERMISSION: "credential",
    ErrorCategory.BAN: "ip",
    ErrorCategory.CHALLENGE: "ip",
    ErrorCategory.GEO_BLOCK: "ip",
    ErrorCategory.BAD_REQUEST: "call",
    ErrorCategory.BAD_RESPONSE: "endpoint",
    ErrorCategory.NOT_FOUND: "call",
    ErrorCategory.CONFLICT: "call",
    ErrorCategory.INSUFFICIENT_FUNDS: "account",
    ErrorCategory.CONTENT_POLICY: "call",
    ErrorCategory.OUTCOME_UNKNOWN: "call",
    ErrorCategory.CANCELLED: "call",
}


def failure(  # noqa: PLR0913 - a verdict's own fields, by name
    category: ErrorCategory,
    *,
    fingerprint: str,
    why: str,
    retryable: bool = False,
    may_have_run: bool = False,
    retry_after: float | None = None,
    counts: bool | None = None,
    scope: str = "",
    source: str = "",
    severity: ErrorSeverity | None = None,
    backoff: float = 1.0,
) -> Verdict:
    """
    Build the verdict of a failure, with the severity, the scope and the breaker's view that its *category* has.

    Args:
        category: The kind of failure.
        fingerprint: The name under which errors of the same cause are grouped.
        why: The rule that decided, in words.
        retryable: Whether the same attempt may succeed later. Default: no.
        may_have_run: Whether the server may have executed the request. Default: no.
        retry_after: Seconds that the server asked for; None if it did not say.
        counts: Whether the breaker counts it; None leaves it to the category.
        scope: What it is about; empty leaves it to the category.
        source: Where the rule is written. Default: nowhere, a name decided.
        severity: How much it matters; None leaves it to the category.
        backoff: What the pause before the next attempt is multiplied by. Default: 1.
    """
    return Verdict(
        category=category,
        severity=SEVERITY[category] if severity is None else severity,
        retryable=retryable,
        retry_after=retry_after,
        scope=scope or SCOPE.get(category, "service"),
        fingerprint=fingerprint,
        why=why,
        may_have_run=may_have_run,
        counts=category in COUNTED if counts is None else counts,
        source=source,
        backoff=backoff,
    )
