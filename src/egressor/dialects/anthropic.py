"""
Anthropic: a type in every error, and a finer code in its details.

The code decides before the type, and the type before the status: a ``rate_limit_error`` may be a spent budget, and an
``invalid_request_error`` an empty balance. In a stream the same body comes behind ``event: error``.
"""

from __future__ import annotations

from typing import Final

from egressor.dialects.bodies import dig
from egressor.dialects.engine import Dialect
from egressor.dialects.models import at_anthropic
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
    POLICY,
    QUOTA,
    RIGHTS,
    phrases,
    sentences,
    table,
)

__all__ = ["DIALECT"]

_ERRORS: Final = "https://docs.anthropic.com/en/api/errors"

_FINER: Final = table(
    _ERRORS,
    {
        QUOTA: """
            enforced_spend_limit_reached contract_spend_limit_reached linked_organization_spend_limit_reached
            linked_organization_billing_unavailable
        """,
        LIMITED: "ramp_limit_exceeded",
        BAN_ACCOUNT: "organization_on_hold",
        RIGHTS: "organization_type_not_supported sandbox_egress_restricted api_key_scope_missing",
        CLASH_RETRY: "concurrent_membership_change",
        BAD: """
            request_body_too_large_after_decoding request_body_encoding_invalid request_body_encoding_unsupported
            claude_code_version_too_old
        """,
    },
)
_CODES: Final = {
    **_FINER,
    **table(
        _ERRORS,
        {
            BAD: "invalid_request_error request_too_large",
            KEY: "authentication_error",
            QUOTA: "billing_error",
            RIGHTS: "permission_error",
            MISSING: "not_found_error",
            LIMITED: "rate_limit_error",
            LATE: "timeout_error",
            DOWN: "api_error",
            BUSY: "overloaded_error",
            CLASH: "conflict_error memory_path_conflict_error memory_precondition_failed_error",
        },
    ),
}
_SENTENCES: Final = phrases(
    _ERRORS,
    ("credit balance is too low", QUOTA),
    ("api usage limits", QUOTA),
    ("organization has been disabled", BAN_ACCOUNT),
    ("account has been disabled", BAN_ACCOUNT),
    ("content filtering policy", POLICY),
    ("not available in your", GEO),
    ("unsupported region", GEO),
    # In the beginning an overload came as a 500.
    ("overloaded", BUSY),
)


def _is_error(parsed: object) -> bool:
    return dig(parsed, ("type",)) == "error"


DIALECT: Final = Dialect(
    name="anthropic",
    source=_ERRORS,
    codes=_CODES,
    places=(("error", "details", "error_code"), ("error", "type")),
    inside=True,
    streams=True,  # a long answer is no reason to wait for its end: who reads it hears it come
    is_error=_is_error,
    early=sentences(_SENTENCES),
    by_model=at_anthropic,
)
