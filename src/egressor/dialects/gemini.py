"""
Google's Gemini: gRPC's words in ``error.status``, and the details behind them.

``RESOURCE_EXHAUSTED`` is a spent minute or a spent day, and the names of the violated quotas tell which. It sends no
headers; its ``RetryInfo`` and its sentence ("Please retry in 51.4s") say how long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from egressor.dialects.bodies import Answer, dig
from egressor.dialects.engine import Dialect
from egressor.dialects.forms import prose, span
from egressor.dialects.models import at_gemini
from egressor.dialects.terms import (
    BAD,
    BAN_ACCOUNT,
    BUSY,
    CLASH,
    CLASH_RETRY,
    DOWN,
    GEO,
    KEY,
    LATE,
    LIMITED,
    MISSING,
    NOT_NOW,
    NOT_OFFERED,
    POLICY,
    QUOTA,
    RIGHTS,
    phrases,
    sentences,
    table,
)

if TYPE_CHECKING:
    from egressor._core.rule import Rule

__all__ = ["DIALECT"]

_ERRORS: Final = "https://ai.google.dev/gemini-api/docs/troubleshooting"
_REASONS: Final = "https://cloud.google.com/apis/design/errors"

_CODES: Final = {
    **table(
        _REASONS,
        {
            KEY: """
                API_KEY_INVALID ACCESS_TOKEN_EXPIRED ACCESS_TOKEN_TYPE_UNSUPPORTED CREDENTIALS_MISSING UNAUTHENTICATED
            """,
            RIGHTS: """
                SERVICE_DISABLED API_KEY_SERVICE_BLOCKED API_KEY_HTTP_REFERRER_BLOCKED API_KEY_IP_ADDRESS_BLOCKED
                ACCESS_TOKEN_SCOPE_INSUFFICIENT IAM_PERMISSION_DENIED USER_PROJECT_DENIED PERMISSION_DENIED
            """,
            BAN_ACCOUNT: "CONSUMER_SUSPENDED",
            QUOTA: "BILLING_DISABLED payment_required",
            LIMITED: "RATE_LIMIT_EXCEEDED RESOURCE_EXHAUSTED",
            BAD: "INVALID_ARGUMENT FAILED_PRECONDITION OUT_OF_RANGE",
            NOT_OFFERED: "UNIMPLEMENTED",
            MISSING: "NOT_FOUND",
            CLASH: "ALREADY_EXISTS",
            CLASH_RETRY: "ABORTED",
            DOWN: "INTERNAL UNKNOWN DATA_LOSS",
            NOT_NOW: "UNAVAILABLE",
            LATE: "DEADLINE_EXCEEDED",
        },
    ),
    **table(_ERRORS, {POLICY: "SAFETY PROHIBITED_CONTENT BLOCKLIST"}),
}
_SENTENCES: Final = phrases(
    _ERRORS,
    ("location is not supported", GEO),
    ("not available in your country", GEO),
    ("not available in your region", GEO),
    ("unregistered callers", KEY),
    ("api key not valid", KEY),
    ("api key expired", KEY),
    ("reported as leaked", KEY),
    ("overloaded", BUSY),
    ("high demand", BUSY),
    ("prepayment credits are depleted", QUOTA),
    ("has been suspended", BAN_ACCOUNT),
    ("consumer_suspended", BAN_ACCOUNT),
)


def _top(parsed: object) -> object:
    # A stream that fails before its first chunk answers with a list of one.
    return parsed[0] if isinstance(parsed, list) and parsed else parsed


def _details(answer: Answer) -> list[object]:
    details = dig(_top(answer.parsed), ("error", "details"))
    return details[:8] if isinstance(details, list) else []


def _look(answer: Answer) -> tuple[str, Rule] | None:
    if answer.status == 402:
        return "payment_required", QUOTA._replace(source=_ERRORS)
    for detail in _details(answer):
        violations = dig(detail, ("violations",))
        for violation in violations[:8] if isinstance(violations, list) else []:
            name = dig(violation, ("quotaId",))
            if isinstance(name, str) and "PerDay" in name:
                return "per_day", QUOTA._replace(source="https://ai.google.dev/gemini-api/docs/rate-limits")
    return None


def _find(parsed: object) -> tuple[str, ...]:
    """
    Name the reasons in the details, then the status.
    """
    top = _top(parsed)
    error = dig(top, ("error",))
    details = dig(error, ("details",))
    listed = details[:8] if isinstance(details, list) else []
    values = [dig(detail, ("reason",)) for detail in listed]
    values += [dig(error, ("status",)), dig(error, ("code",)), dig(top, ("promptFeedback", "blockReason"))]
    return tuple(value[:64] for value in values if isinstance(value, str))


def _wait(answer: Answer) -> float | None:
    for detail in _details(answer):
        delay = dig(detail, ("retryDelay",))
        if isinstance(delay, str):
            return span(delay)
    return prose(answer.said, "please retry in ")


def _is_error(parsed: object) -> bool:
    top = _top(parsed)
    return isinstance(dig(top, ("error",)), dict) or isinstance(dig(top, ("promptFeedback", "blockReason")), str)


DIALECT: Final = Dialect(
    name="gemini",
    source=_ERRORS,
    codes=_CODES,
    find=_find,
    early=sentences(_SENTENCES),
    inside=True,
    is_error=_is_error,
    look=_look,
    wait=_wait,
    # streamGenerateContent without alt=sse: one array, an item at a time.
    streams=True,
    by_model=at_gemini,
)
