"""
The words of the domain: their values are public, in files, metrics and databases.
"""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from egressor import ErrorCategory, ErrorSeverity, Priority, ServiceType, Verdict
from egressor._core.model import Outcome


def test_priorities_are_ordered_from_low_to_critical() -> None:
    """
    Their numbers are the levels of the queue.
    """
    assert [(each.name, each.value) for each in Priority] == [("LOW", 0), ("MEDIUM", 1), ("HIGH", 2), ("CRITICAL", 3)]


def test_severities_are_ordered_from_low_to_critical() -> None:
    """
    So that "at least high" is a comparison.
    """
    assert [(each.name, each.value) for each in ErrorSeverity] == [
        ("LOW", 0), ("MEDIUM", 1), ("HIGH", 2), ("CRITICAL", 3),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [ServiceType, ErrorCategory])
def test_values_are_the_names_in_lower_case(kind: type[ServiceType | ErrorCategory]) -> None:
    """
    What stands in a file or a metric is what the member is called.
    """
    assert [each.value for each in kind] == [each.name.lower() for each in kind]


def test_the_kinds_are_those_of_the_design() -> None:
    """
    None is lost or renamed without notice.
    """
    kinds = (
        "RATE_LIMIT QUOTA_EXHAUSTED AUTHENTICATION PERMISSION BAN CHALLENGE GEO_BLOCK NETWORK TIMEOUT SERVER_ERROR "
        "OVERLOADED MAINTENANCE BAD_REQUEST BAD_RESPONSE NOT_FOUND CONFLICT CLOCK_SKEW INSUFFICIENT_FUNDS "
        "CONTENT_POLICY OUTCOME_UNKNOWN CONFIGURATION CANCELLED UNKNOWN"
    )
    services = "LLM_API SOCIAL_MEDIA EXCHANGE_API WEB_SCRAPER INTERNAL_API"

    assert " ".join(each.name for each in ErrorCategory) == kinds
    assert " ".join(each.name for each in ServiceType) == services


def test_a_verdict_without_a_category_is_a_success() -> None:
    """
    Its defaults harm nobody: not retryable, nothing told, no failure of the service.
    """
    success, failure = Verdict(), Verdict(category=ErrorCategory.UNKNOWN)

    assert (success.ok, failure.ok) == (True, False)
    assert (success.retryable, success.retry_after, success.may_have_run, success.counts) == (False, None, False, False)


def test_a_verdict_can_t_be_changed() -> None:
    """
    Taps, logs and the breaker all see the same one.
    """
    with pytest.raises(FrozenInstanceError):
        Verdict().why = "no"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (Outcome("sk-very-secret"), "Outcome(value)"),
        (Outcome(error=ValueError("sk-very-secret")), "Outcome(error=ValueError)"),
    ],
)
def test_an_outcome_shows_neither_value_nor_message(outcome: Outcome, text: str) -> None:
    """
    Both may hold a secret.
    """
    assert repr(outcome) == text


@pytest.mark.parametrize("kind", [Priority, ErrorSeverity])
def test_ranks_are_numbers_with_names(kind: type[Priority | ErrorSeverity]) -> None:
    """
    They are read and written as their names in lower case, and compared as numbers.
    """
    assert [str(each) for each in kind] == ["low", "medium", "high", "critical"]
    assert [kind(str(each)) for each in kind] == list(kind)  # type: ignore[arg-type] # a name will do
    assert f"{kind.HIGH} {kind.HIGH:02d}" == "high 02"
    assert kind.LOW < kind.MEDIUM < kind.HIGH < kind.CRITICAL == 3
    with pytest.raises(ValueError, match="'urgent' is not a valid"):
        kind("urgent")  # type: ignore[arg-type] # no such name
