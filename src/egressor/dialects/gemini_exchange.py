"""
Gemini, the exchange: a reason in each error. Google's Gemini is another dialect.
"""

from __future__ import annotations

from typing import Final

from egressor.dialects.engine import Dialect
from egressor.dialects.terms import (
    BAD,
    DOWN,
    FUNDS,
    KEY,
    LIMITED,
    MAINTENANCE,
    MISSING,
    RIGHTS,
    SKEW,
    phrases,
    sentences,
    table,
)

__all__ = ["DIALECT"]

_ERRORS: Final = "https://docs.gemini.com/rest-api/#error-codes"

_CODES: Final = table(
    _ERRORS,
    {
        LIMITED: "RateLimit",
        KEY: "InvalidApiKey InvalidSignature MissingApikeyHeader MissingPayloadHeader MissingSignatureHeader",
        RIGHTS: "MissingRole",
        SKEW: "InvalidNonce",
        FUNDS: "InsufficientFunds",
        MISSING: "OrderNotFound EndpointNotFound",
        # As Kraken's and others' halted markets: it opens again.
        MAINTENANCE: "Maintenance MarketNotOpen",
        DOWN: "System",
        BAD: """
            AuctionNotOpen ClientOrderIdTooLong ClientOrderIdMustBeString ConflictingOptions EndpointMismatch
            IneligibleTiming InvalidJson InvalidSymbol InvalidTimestampInPayload OptionsMustBeArray UnsupportedOption
            InvalidOrderType InvalidPrice InvalidQuantity InvalidSide MissingOrderField NoSSL
        """,
    },
)

DIALECT: Final = Dialect(
    name="gemini_exchange",
    source=_ERRORS,
    codes=_CODES,
    places=(("reason",),),
    phrases=sentences(phrases(_ERRORS, ("undergoing maintenance", MAINTENANCE), ("technical issues", DOWN))),
    statuses={406: FUNDS._replace(source=_ERRORS)},
    inside=True,
)
