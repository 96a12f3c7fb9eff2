"""
Coinbase: Exchange (sentences), Advanced Trade (gRPC's words) and the App's API (a list with ids).
"""

from __future__ import annotations

from typing import Final

from egressor.dialects.bodies import dig
from egressor.dialects.engine import Dialect
from egressor.dialects.markets import SENTENCES
from egressor.dialects.terms import (
    BAD,
    BAN_ACCOUNT,
    CLASH,
    DOWN,
    FUNDS,
    KEY,
    LATE,
    LIMITED,
    MAINTENANCE,
    MISSING,
    NOT_NOW,
    RIGHTS,
    SKEW,
    phrases,
    sentences,
    table,
)

__all__ = ["DIALECT"]

_APP: Final = "https://docs.cdp.coinbase.com/coinbase-app/api-architecture/error-messages"
_ADVANCED: Final = "https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/rest-api"
_EXCHANGE: Final = "https://docs.cdp.coinbase.com/exchange/rest-api/requests"

_CODES: Final = {
    **table(
        _ADVANCED,
        {
            LIMITED: "RESOURCE_EXHAUSTED resource_exhausted",
            KEY: "UNAUTHENTICATED unauthenticated UNAUTHORIZED",
            RIGHTS: "PERMISSION_DENIED permission_denied FAILED_PRECONDITION",
            FUNDS: """
                INSUFFICIENT_FUND PREVIEW_INSUFFICIENT_FUND INSUFFICIENT_FUNDS
                PREVIEW_INSUFFICIENT_FUNDS_FOR_FUTURES
            """,
            MISSING: "NOT_FOUND UNKNOWN_CANCEL_ORDER",
            CLASH: "ALREADY_EXISTS DUPLICATE_CANCEL_REQUEST ABORTED",
            DOWN: "INTERNAL UNKNOWN",
            NOT_NOW: "UNAVAILABLE",
            LATE: "DEADLINE_EXCEEDED",
            BAD: """
                INVALID_ARGUMENT INVALID_PRODUCT_ID UNSUPPORTED_ORDER_CONFIGURATION INVALID_LIMIT_PRICE_POST_ONLY
                INVALID_LIMIT_PRICE INVALID_NO_LIQUIDITY INVALID_REQUEST INVALID_SIDE INVALID_SIZE_PRECISION
                INVALID_PRICE_PRECISION PREVIEW_STOP_PRICE_ABOVE_LAST_TRADE_PRICE OUT_OF_RANGE UNIMPLEMENTED
            """,
        },
    ),
    **table(
        _APP,
        {
            LIMITED: "rate_limit_exceeded",
            KEY: """
                authentication_error unauthorized invalid_token revoked_token expired_token two_factor_required
                invalid_authentication_method
            """,
            RIGHTS: """
                invalid_scope unverified_email personal_details_required identity_verification_required
                jumio_verification_required jumio_face_match_verification_required
            """,
            MISSING: "not_found",
            DOWN: "internal_server_error",
            BAD: "param_required validation_error invalid_request",
        },
    ),
}


def _is_error(parsed: object) -> bool:
    return dig(parsed, ("success",)) is False or isinstance(dig(parsed, ("error_response",)), dict)


DIALECT: Final = Dialect(
    name="coinbase",
    source=_APP,
    codes=_CODES,
    places=(
        ("errors", 0, "id"),
        ("error_response", "error"),
        ("error_response", "preview_failure_reason"),
        ("failure_response", "error"),
        ("error",),
        ("code",),
    ),
    phrases=sentences(
        phrases(
            _EXCHANGE,
            ("timestamp expired", SKEW),
            ("invalid timestamp", SKEW),
            ("rate limit exceeded", LIMITED),
            ("insufficient funds", FUNDS),
            ("insufficient balance", FUNDS),
            ("under maintenance", MAINTENANCE),
            ("cancel only mode", MAINTENANCE),
            ("invalid api key", KEY),
            ("invalid signature", KEY),
            ("invalid passphrase", KEY),
            ("missing required scopes", RIGHTS),
            ("trading pair not available", RIGHTS),
            ("account suspended", BAN_ACCOUNT),
            ("order already done", MISSING),
            ("notfound", MISSING),
            ("was not found", MISSING),
            ("order not found", MISSING),
            ("product not found", MISSING),
        ),
        SENTENCES,
    ),
    # Advanced Trade answers 200 to an order that it has not taken, with "success": false.
    inside=True,
    is_error=_is_error,
    unknown=BAD._replace(source=_ADVANCED),
)
