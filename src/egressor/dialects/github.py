"""
GitHub: limits come as 403 or 429, and only the sentence or the window's rest tells them from a lack of rights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from egressor.dialects.bodies import Answer, dig
from egressor.dialects.engine import Dialect
from egressor.dialects.forms import epoch, first
from egressor.dialects.terms import (
    BAD,
    BAN_ACCOUNT,
    CLASH,
    DOWN,
    KEY,
    LATE,
    LIMITED,
    LIMITED_ACCOUNT,
    MISSING,
    RIGHTS,
    phrases,
    sentences,
    table,
)

if TYPE_CHECKING:
    from egressor._core.rule import Rule

__all__ = ["DIALECT"]

_LIMITS: Final = "https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api"
_ERRORS: Final = "https://docs.github.com/rest/using-the-rest-api/troubleshooting-the-rest-api"
_GRAPHQL: Final = "https://docs.github.com/graphql/overview/rate-limits-and-query-limits-for-the-graphql-api"

_CODES: Final = {
    **table(
        _GRAPHQL,
        {
            LIMITED: "RATE_LIMITED RATE_LIMIT",
            MISSING: "NOT_FOUND",
            RIGHTS: "FORBIDDEN INSUFFICIENT_SCOPES",
            BAD: "MAX_NODE_LIMIT_EXCEEDED RESOURCE_LIMITS_EXCEEDED undefinedField argumentLiteralsIncompatible",
            DOWN: "INTERNAL",
        },
    ),
    **table(_ERRORS, {CLASH: "already_exists"}),
}
# "If the retry-after header is not present … wait for at least one minute before retrying."
_SECONDARY: Final = LIMITED_ACCOUNT._replace(wait=60.0, source=_LIMITS)


def _look(answer: Answer) -> tuple[str, Rule] | None:
    if answer.status not in {403, 429}:
        return None
    said = answer.said
    if "secondary rate limit" in said or "abuse detection" in said:
        return "secondary_rate_limit", _SECONDARY
    if "rate limit exceeded" in said or first(answer.headers, "x-ratelimit-remaining") == "0":
        return "rate_limit", LIMITED._replace(source=_LIMITS)
    return None


def _wait(answer: Answer) -> float | None:
    spent = first(answer.headers, "x-ratelimit-remaining") == "0"
    return epoch(first(answer.headers, "x-ratelimit-reset"), answer) if spent else None


def _is_error(parsed: object) -> bool:
    errors = dig(parsed, ("errors",))
    return isinstance(errors, list) and bool(errors) and not dig(parsed, ("data",))


DIALECT: Final = Dialect(
    name="github",
    source=_ERRORS,
    codes=_CODES,
    places=(("errors", 0, "type"), ("errors", 0, "code"), ("errors", 0, "extensions", "code")),
    phrases=sentences(
        phrases(
            _ERRORS,
            ("account was suspended", BAN_ACCOUNT),
            ("account is suspended", BAN_ACCOUNT),
            ("account has been suspended", BAN_ACCOUNT),
            ("maximum number of login attempts exceeded", LIMITED_ACCOUNT),
            # Of a pull request it is said in words only, beside the code "custom".
            ("already exists", CLASH),
            ("bad credentials", KEY),
            ("requires authentication", KEY),
            ("valid user-agent header", BAD),
            ("request forbidden by administrative rules", BAD),
            ("something went wrong while executing your query", LATE),
        )
    ),
    inside=True,
    is_error=_is_error,
    unknown=None,
    look=_look,
    wait=_wait,
)
