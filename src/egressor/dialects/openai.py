"""
OpenAI, and those that speak its language: OpenRouter, Groq, Mistral, DeepSeek, Azure.

A 429 may be a minute's limit or a spent account; only the code tells. One table serves all of them, since each keeps
the others' meanings and adds words of its own; a few differ by status, and those have a dialect of their own name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from egressor.dialects.bodies import Answer, dig
from egressor.dialects.engine import Dialect
from egressor.dialects.forms import first, number, prose
from egressor.dialects.http_codes import STATUS_CODES
from egressor.dialects.models import at_azure, at_openai
from egressor.dialects.terms import (
    BAD,
    BAN_ACCOUNT,
    BUSY,
    DOWN,
    GEO,
    KEY,
    LATE,
    LIMITED,
    MISSING,
    NOT_NOW,
    POLICY,
    QUOTA,
    RIGHTS,
    phrases,
    sentences,
    table,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from egressor._core.rule import Rule

__all__ = ["AZURE", "DEEPSEEK", "DIALECT", "GROQ", "MISTRAL", "OPENROUTER"]

_OPENAI: Final = "https://platform.openai.com/docs/guides/error-codes"
_OPENROUTER: Final = "https://openrouter.ai/docs/api-reference/errors"
_GROQ: Final = "https://console.groq.com/docs/errors"
_MISTRAL: Final = "https://docs.mistral.ai/getting-started/glossary"
_DEEPSEEK: Final = "https://api-docs.deepseek.com/quick_start/error_codes"
_AZURE: Final = "https://learn.microsoft.com/azure/ai-services/openai/reference"

_CODES: Final = {
    **STATUS_CODES,
    **table(
        _OPENAI,
        {
            LIMITED: "rate_limit_exceeded rate_limit_error rate_limit_reached tokens requests slow_down",
            QUOTA: """
                insufficient_quota credit_balance_exhausted organization_spend_limit_exceeded
                project_spend_limit_exceeded organization_usage_limit_exceeded billing_hard_limit_reached
                billing_not_active usage_limit_reached
            """,
            BAN_ACCOUNT: "account_deactivated access_terminated organization_restricted",
            BUSY: "server_is_overloaded overloaded_error service_unavailable_error engine_overloaded",
            KEY: """
                invalid_api_key authentication_error invalid_authentication incorrect_api_key token_expired
                invalid_organization mismatched_organization missing_authorization
            """,
            RIGHTS: "permission_error ip_not_authorized permission_denied insufficient_permissions",
            MISSING: "model_not_found not_found_error previous_response_not_found",
            POLICY: """
                content_policy_violation content_filter moderation_blocked invalid_prompt ResponsibleAIPolicyViolation
                policy_violation
            """,
            GEO: "unsupported_country_region_territory",
            DOWN: "server_error api_error internal_error internal_server_error",
            LATE: "timeout request_timeout timeout_error",
            BAD: """
                context_length_exceeded string_above_max_length invalid_value unsupported_parameter unknown_parameter
            """,
        },
    ),
    **table(
        _GROQ,
        {BUSY: "capacity_exceeded", BAD: "model_decommissioned tool_use_failed json_validate_failed request_too_large"},
    ),
    **table(_MISTRAL, {LIMITED: "1300 rate_limited", BUSY: "3505 service_tier_capacity_exceeded"}),
    **table(
        _OPENROUTER,
        {
            QUOTA: "payment_required weight_exceeds_budget insufficient_credits budget_exceeded",
            LIMITED: "in_flight_budget_exhausted",
            POLICY: "moderation content_moderation",
            NOT_NOW: "no_available_providers provider_unavailable",
        },
    ),
    **table(
        _AZURE,
        {
            MISSING: "DeploymentNotFound ResourceNotFound ModelNotFound",
            RIGHTS: "PermissionDenied Forbidden AccessDenied",
            LIMITED: "RateLimitReached TooManyRequests",
            QUOTA: "QuotaExceeded",
            DOWN: "InternalServerError",
            BUSY: "ServiceUnavailable no_capacity",
            BAD: "OperationNotSupported BadRequest unsupported_api_version",
        },
    ),
}

# The most telling place first: a code says more than a type.
_PLACES: Final = (
    ("error", "metadata", "error_type"),
    ("error", "innererror", "code"),
    ("error", "code"),
    ("error", "type"),
    ("response", "error", "code"),
    ("code",),
    ("type",),
    ("detail", "code"),
)

_SENTENCES: Final = phrases(
    _OPENAI,
    ("exceeded your current quota", QUOTA),
    ("credit balance", QUOTA),
    ("insufficient balance", QUOTA),
    ("insufficient credits", QUOTA),
    ("requires more credits", QUOTA),
    ("spending limit", QUOTA),
    # A limit of credits that an OpenRouter key may spend, in all or by the day.
    ("key limit exceeded", QUOTA._replace(source=_OPENROUTER)),
    ("account has been deactivated", BAN_ACCOUNT),
    ("account associated with this api key has been deactivated", BAN_ACCOUNT),
    ("has been restricted", BAN_ACCOUNT),
    ("account is not active", QUOTA),
    ("call volume quota", QUOTA),
    ("incorrect api key", KEY),
    ("invalid api key", KEY),
    ("no auth credentials", KEY),
    ("user not found", KEY),
    ("flagged", POLICY),
    ("content exists risk", POLICY._replace(source=_DEEPSEEK)),
    ("content management policy", POLICY),
    ("safety system", POLICY),
    ("overloaded", BUSY),
)
_BUSY: Final = ("overloaded", "over capacity")
# What an SDK keeps of an error in a stream is often its sentence alone. An answer with a status of its own says more by
# that.
_IN_A_STREAM: Final = (
    ("over capacity", BUSY),
    ("rate limit reached", LIMITED),
    ("rate limit exceeded", LIMITED),
    ("too many requests", LIMITED),
    ("server had an error", DOWN),
    ("while processing your request", DOWN),
)


# These say what was wrong more surely than a type for "we have trouble" beside them, which others' services send, too.
_SURE: Final = {401: KEY, 403: RIGHTS, 404: MISSING, 429: LIMITED}


def _look(answer: Answer) -> tuple[str, Rule] | None:
    status = answer.status
    is_reserved = "in_flight" in answer.said or "in_flight_budget_exhausted" in answer.codes
    if status == 402 and (is_reserved or first(answer.headers, "retry-after")):
        # OpenRouter's reservations for requests in flight: the only 402 that names a time.
        return "in_flight_budget_exhausted", LIMITED._replace(source=_OPENROUTER)
    reasons = dig(answer.parsed, ("error", "metadata", "reasons"))
    if status == 403 and isinstance(reasons, list) and reasons:
        return "moderation", POLICY._replace(source=_OPENROUTER)
    if _is_busy(answer):
        return "overloaded", BUSY._replace(source=_OPENAI)
    if status in _SURE and not answer.streamed:
        known = [_CODES[code] for code in answer.codes if code in _CODES]
        if known and all(rule.kind is DOWN.kind for rule in known):
            return "", _SURE[status]._replace(source=_OPENAI)
    if status == 503 and "slow down" in answer.said:
        return "slow_down", BUSY._replace(source=_OPENAI)
    if status == 413:
        # Groq names its limit of tokens by the minute, but no wait makes the request smaller.
        return "request_too_large", BAD._replace(source=_GROQ)
    if status == 403 and "model_not_found" in answer.codes:
        return "model_not_found", RIGHTS._replace(source=_OPENAI)
    if status == 401:
        # All of its reasons are about the credential, but the one for which an account is closed.
        return ("deactivated", BAN_ACCOUNT._replace(source=_OPENAI)) if "deactivated" in answer.said else None
    # A message of an exception comes without a document.
    if (status == 200 or not answer.parsed) and _CODES.keys().isdisjoint(answer.codes):
        return next(((words, rule) for words, rule in _IN_A_STREAM if words in answer.said), None)
    return None


def _is_busy(answer: Answer) -> bool:
    said = answer.said
    if answer.status == 200:
        # The code in OpenRouter's first choice is its provider's: a 502 for one that is overloaded.
        inside = dig(answer.parsed, ("choices", 0, "error", "message"))
        said = inside.lower() if isinstance(inside, str) else ""
    return answer.status in {200, 429, 498, 500, 503} and any(words in said for words in _BUSY)


def _wait(answer: Answer) -> float | None:
    # OpenRouter has it in the body; OpenAI and Groq in a sentence: "Please try again in 41.724s", "in 6m0s".
    told = number(dig(answer.parsed, ("error", "metadata", "availability", "retry_after")))
    return told if told is not None and told >= 0 else prose(answer.said, "try again in ")


def _find(parsed: object) -> tuple[str, ...]:
    """
    Add the type of an error that has neither an inner nor an outer code: Mistral puts both on top.
    """
    choices = dig(parsed, ("choices", 0, "error", "code"))
    return (str(choices),) if isinstance(choices, (int, str)) and not isinstance(choices, bool) else ()


def _dialect(
    name: str, source: str, statuses: dict[int, Rule], by_model: Callable[[Answer], bool] = at_openai
) -> Dialect:
    return Dialect(
        name=name,
        source=source,
        codes=_CODES,
        places=_PLACES,
        find=_find,
        phrases=sentences(_SENTENCES),
        statuses=statuses,
        inside=True,
        look=_look,
        wait=_wait,
        is_error=_is_failed,
        # While a model thinks, DeepSeek and OpenRouter send blanks in front of the document, for minutes.
        streams=True,
        by_model=by_model,
    )


def _is_failed(parsed: object) -> bool:
    """
    Whether a good status carries an error: on top, in the first choice, or as a response that has failed.
    """
    if isinstance(dig(parsed, ("error",)), dict) or isinstance(dig(parsed, ("choices", 0, "error")), dict):
        return True
    return dig(parsed, ("type",)) in {"error", "response.failed"} or isinstance(
        dig(parsed, ("response", "error")), dict
    )


_OVERLOADED: Final = {503: BUSY._replace(source=_DEEPSEEK), 402: QUOTA._replace(source=_DEEPSEEK)}

DIALECT: Final = _dialect("openai", _OPENAI, {})
AZURE: Final = _dialect("azure", _AZURE, {}, at_azure)
DEEPSEEK: Final = _dialect("deepseek", _DEEPSEEK, _OVERLOADED)
GROQ: Final = _dialect("groq", _GROQ, {498: BUSY._replace(source=_GROQ), 413: BAD._replace(source=_GROQ)})
MISTRAL: Final = _dialect("mistral", _MISTRAL, {})
OPENROUTER: Final = _dialect("openrouter", _OPENROUTER, {502: DOWN._replace(source=_OPENROUTER)})
