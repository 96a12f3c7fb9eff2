"""
Errors that are told by their form: JSON-RPC 2.0, GraphQL, OAuth 2.0, Slack's, VK's, Google Maps', Etherscan's,
apilayer's, Alpha Vantage's, and a lone ``error`` where data is due.
"""

from __future__ import annotations

from typing import Final

from egressor.dialects.bodies import dig
from egressor.dialects.engine import Dialect
from egressor.dialects.http_codes import STATUS_CODES
from egressor.dialects.markets import SENTENCES
from egressor.dialects.terms import (
    BAD,
    BAN_ACCOUNT,
    BUSY,
    DOWN,
    HUMAN,
    KEY,
    LATE,
    LIMITED,
    MISSING,
    NOT_NOW,
    QUOTA,
    RIGHTS,
    phrases,
    sentences,
    table,
)

__all__ = ["DIALECT", "is_error"]

_RPC: Final = "https://www.jsonrpc.org/specification#error_object"
_SLACK: Final = "https://docs.slack.dev/reference/methods/chat.postMessage#errors"
_VK: Final = "https://dev.vk.com/reference/errors"
_GRAPHQL: Final = "https://spec.graphql.org/October2021/#sec-Errors"
_MAPS: Final = "https://developers.google.com/maps/documentation/geocoding/requests-geocoding#StatusCodes"
_APILAYER: Final = "https://docs.apilayer.com/fixer/docs/getting-started#errors"
# Etherscan's are on https://docs.etherscan.io/resources/common-error-messages.
_ALPHA: Final = "https://www.alphavantage.co/support/"
# What may stand beside an error that is data: a job that has failed, a partial result.
_DATA: Final = ("choices", "data", "id", "items", "object", "output", "result", "results")

_OAUTH: Final = table(
    "RFC 6749 5.2",
    {
        KEY: "invalid_grant invalid_client unauthorized_client invalid_token",
        RIGHTS: "invalid_scope insufficient_scope access_denied",
        BAD: "unsupported_grant_type invalid_request",
        BUSY: "temporarily_unavailable",
    },
)
_CODES: Final = {
    **STATUS_CODES,
    **_OAUTH,
    **table(
        _SLACK,
        {
            LIMITED: "ratelimited rate_limited",
            KEY: "invalid_auth not_authed token_expired token_revoked",
            BAN_ACCOUNT: "account_inactive",
            RIGHTS: "missing_scope not_allowed_token_type no_permission not_in_channel restricted_action",
            MISSING: "channel_not_found user_not_found message_not_found thread_not_found unknown_method",
            BAD: "invalid_arguments invalid_arg_name msg_too_long no_text is_archived too_many_attachments",
            DOWN: "internal_error fatal_error",
            NOT_NOW: "service_unavailable",
            LATE: "request_timeout",
        },
    ),
    **table(_RPC, {BAD: "-32700 -32600 -32602", MISSING: "-32601", DOWN: "-32603", LIMITED: "-32005 -32029"}),
    **table(
        _VK,
        {
            LIMITED: "vk.6 vk.9 vk.29",
            HUMAN: "vk.14 vk.17",
            KEY: "vk.4 vk.5 vk.28",
            RIGHTS: "vk.7 vk.15 vk.20 vk.24 vk.27 vk.30 vk.200 vk.201 vk.203",
            BAN_ACCOUNT: "vk.3610",
            MISSING: "vk.3 vk.18 vk.104",
            BAD: "vk.8 vk.100 vk.101 vk.113 vk.150",
            DOWN: "vk.1 vk.10",
        },
    ),
    **table(
        _MAPS,
        {
            LIMITED: "OVER_QUERY_LIMIT",
            QUOTA: "OVER_DAILY_LIMIT",
            KEY: "REQUEST_DENIED",
            BAD: "INVALID_REQUEST MAX_ELEMENTS_EXCEEDED MAX_WAYPOINTS_EXCEEDED MAX_ROUTE_LENGTH_EXCEEDED",
            DOWN: "UNKNOWN_ERROR",
        },
    ),
    **table(
        _APILAYER,
        {
            KEY: "missing_access_key invalid_access_key inactive_user",
            QUOTA: "usage_limit_reached",
            LIMITED: "rate_limit_reached",
            RIGHTS: "function_access_restricted https_access_restricted",
            BAD: "invalid_base_currency invalid_currency_codes invalid_date",
        },
    ),
    **table(
        _GRAPHQL,
        {
            KEY: "UNAUTHENTICATED",
            RIGHTS: "FORBIDDEN",
            BAD: "BAD_USER_INPUT GRAPHQL_PARSE_FAILED GRAPHQL_VALIDATION_FAILED",
            DOWN: "INTERNAL_SERVER_ERROR",
            LIMITED: "THROTTLED RATE_LIMITED COMPLEXITY_BUDGET_EXHAUSTED",
        },
    ),
}

_SAID: Final = 512
_RESULTS: Final = (
    ("daily rate limit", "usage_limit_reached"),
    ("rate limit", "ratelimited"),
    ("api key", "invalid_auth"),
)


def _find(parsed: object) -> tuple[str, ...]:
    """
    Name VK's code, which is a number that others use for something else, and Etherscan's, which is a sentence.
    """
    said = dig(parsed, ("result",))
    if dig(parsed, ("message",)) == "NOTOK" and isinstance(said, str):
        return (next((code for words, code in _RESULTS if words in said[:_SAID].lower()), "INVALID_REQUEST"),)
    return (f"vk.{dig(parsed, ('error', 'error_code'))}",) if _is_vk(parsed) else ()


def _is_vk(parsed: object) -> bool:
    return isinstance(dig(parsed, ("error", "error_msg")), str) and type(dig(parsed, ("error", "error_code"))) is int


_STATES: Final = frozenset(
    {
        *("INVALID_REQUEST", "MAX_ELEMENTS_EXCEEDED", "MAX_ROUTE_LENGTH_EXCEEDED", "MAX_WAYPOINTS_EXCEEDED"),
        *("OVER_DAILY_LIMIT", "OVER_QUERY_LIMIT", "REQUEST_DENIED", "UNKNOWN_ERROR"),
    }
)
# What Google Maps has beside its status, so that nobody's job is taken for it.
_FOUND: Final = frozenset({"candidates", "error_message", "predictions", "results", "routes", "rows"})


def _is_told_by_itself(parsed: dict[str, object]) -> bool:
    """
    Whether it holds a status of HTTP, or it is Google Maps', Etherscan's or Alpha Vantage's way to say that it failed.
    """
    status, code = parsed.get("status"), parsed.get("code")
    if status == "error" and type(code) is int:
        return 400 <= code <= 599
    if status == "0":
        return parsed.get("message") == "NOTOK" and isinstance(parsed.get("result"), str)
    if isinstance(status, str) and status in _STATES:
        return not _FOUND.isdisjoint(parsed)
    lone = [parsed.get(name) for name in ("Note", "Information", "Error Message")] if len(parsed) == 1 else []
    return any(
        isinstance(each, str) and "alpha" in each[:_SAID].lower() and "vantage" in each[:_SAID].lower() for each in lone
    )


def is_error(parsed: object) -> bool:
    """
    Whether *parsed* is an error in one of these forms.
    """
    if not isinstance(parsed, dict):
        return False
    if _is_told_by_itself(parsed):
        return True
    error, errors = parsed.get("error"), parsed.get("errors")
    if isinstance(error, str) and error in _OAUTH:
        return True
    if isinstance(error, str) and error and parsed.get("ok") is False:
        return True
    if isinstance(error, dict) and error:
        return (
            "jsonrpc" in parsed
            or parsed.get("success") is False
            or _is_vk(parsed)
            or ("message" in error and all(parsed.get(name) is None for name in _DATA))
        )
    if isinstance(errors, list) and errors and isinstance(errors[0], dict) and "message" in errors[0]:
        return not parsed.get("data") and set(parsed) <= {"errors", "data", "extensions"}
    return False


DIALECT: Final = Dialect(
    name="envelope",
    source=_RPC,
    codes=_CODES,
    places=(
        ("error",),
        ("error", "code"),
        ("error", "type"),
        ("errors", 0, "extensions", "code"),
        ("status",),
        ("code",),
    ),
    find=_find,
    early=sentences(
        phrases(_MAPS, ("daily request quota", QUOTA)),
        phrases(_ALPHA, ("call frequency", LIMITED), ("requests per day", QUOTA)),
    ),
    phrases=sentences(
        phrases(_RPC, *((f"no such {what}", BAD) for what in ("column", "field", "property", "parameter"))),
        SENTENCES,
    ),
    inside=True,
    is_error=is_error,
    is_json=False,
)
