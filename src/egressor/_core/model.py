"""
The words of the domain, as values: priorities, services, errors, verdicts.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from egressor._core.learn import Hint

__all__ = ["ErrorCategory", "ErrorSeverity", "Outcome", "Priority", "ServiceType", "Usage", "Verdict"]

Usage = dict[str, int]


class _Rank(IntEnum):
    """
    Names in an order: compared as numbers, and read and written as their names in lower case.
    """

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        return next((each for each in cls if each.name.lower() == value), None)

    def __str__(self) -> str:
        return self.name.lower()

    def __format__(self, spec: str) -> str:
        return format(int(self), spec) if spec else str(self)


class Priority(_Rank):
    """
    Who goes first among those that wait. A priority never lets anyone past a limit.
    """

    LOW = 0
    MEDIUM = 1
    HIGH = 2
    CRITICAL = 3


class ServiceType(StrEnum):
    """
    The kind of a service; its preset fills what the service's policy leaves out.
    """

    LLM_API = "llm_api"
    SOCIAL_MEDIA = "social_media"
    EXCHANGE_API = "exchange_api"
    WEB_SCRAPER = "web_scraper"
    INTERNAL_API = "internal_api"


class ErrorSeverity(_Rank):
    """
    How much an error matters to whoever looks after the program.
    """

    LOW = 0
    MEDIUM = 1
    HIGH = 2
    CRITICAL = 3


class ErrorCategory(StrEnum):
    """
    What kind of failure an outcome was.
    """

    RATE_LIMIT = "rate_limit"
    QUOTA_EXHAUSTED = "quota_exhausted"
    AUTHENTICATION = "authentication"
    PERMISSION = "permission"
    BAN = "ban"
    CHALLENGE = "challenge"
    GEO_BLOCK = "geo_block"
    NETWORK = "network"
    TIMEOUT = "timeout"
    SERVER_ERROR = "server_error"
    OVERLOADED = "overloaded"
    MAINTENANCE = "maintenance"
    BAD_REQUEST = "bad_request"
    BAD_RESPONSE = "bad_response"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    CLOCK_SKEW = "clock_skew"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    CONTENT_POLICY = "content_policy"
    OUTCOME_UNKNOWN = "outcome_unknown"
    CONFIGURATION = "configuration"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """
    What one attempt's outcome was.

    Attributes:
        category: The kind of failure; None for a success.
        severity: How much it matters.
        retryable: Whether the same attempt, sent again, may succeed, and may be sent again.
        retry_after: Seconds that the server asked us to stay away; None if it did not say.
        scope: What the failure is about: ``service``, ``credential``, ``ip``, ``account``, ``endpoint``, ``model``,
            ``recipient`` or ``call``.
        fingerprint: A short, stable name for errors of the same cause, for grouping.
        why: The rule that decided, in words.
        may_have_run: Whether the server may have executed the request although we hold no answer.
        counts: Whether the breaker counts it as a failure of the service. A bad request or a cancelled call
            says nothing about the service's health.
        source: Where the rule that decided is written: a section of an RFC, or the vendor's page. Empty where the name
            of an exception decided.
        backoff: What the pause before the next attempt is multiplied by; a user's pattern sets it.
        hints: What the answer said of the server's limits.
    """

    category: ErrorCategory | None = None
    severity: ErrorSeverity = ErrorSeverity.LOW
    retryable: bool = False
    retry_after: float | None = None
    scope: str = "service"
    fingerprint: str = ""
    why: str = ""
    may_have_run: bool = False
    counts: bool = False
    source: str = ""
    backoff: float = 1.0
    hints: tuple[Hint, ...] = ()

    @property
    def ok(self) -> bool:
        """
        Whether the outcome was a success.
        """
        return self.category is None


class Outcome:
    """
    What one attempt came to: a value or an exception, never both.

    Attributes:
        value: What the user's function or the transport returned.
        error: What it raised, or None.
        verdict: The reading of a value that carries an HTTP status; None leaves the reading to the classifier.
        open: Whether *value* is a response whose body still streams: the lease ends when the body does.
    """

    __slots__ = ("error", "open", "value", "verdict")

    def __init__(
        self,
        value: object = None,
        error: BaseException | None = None,
        *,
        verdict: Verdict | None = None,
        open: bool = False,  # noqa: A002 - the word of the domain; no file is opened here
    ) -> None:
        self.value = value
        self.error = error
        self.verdict = verdict
        self.open = open

    def __repr__(self) -> str:
        return f"Outcome(error={type(self.error).__name__})" if self.error is not None else "Outcome(value)"
