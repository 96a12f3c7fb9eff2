"""
Gate v4: a label in every error. Its reset stamp is in seconds since 1970, and the present while nothing is exceeded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from egressor.dialects.engine import Dialect
from egressor.dialects.forms import epoch, first
from egressor.dialects.markets import COMMON
from egressor.dialects.terms import (
    BAD,
    BAN_ACCOUNT,
    BUSY,
    CLASH,
    DOWN,
    FUNDS,
    KEY,
    LIMITED,
    MISSING,
    RIGHTS,
    SKEW,
    table,
)

if TYPE_CHECKING:
    from egressor.dialects.bodies import Answer

__all__ = ["DIALECT"]

_ERRORS: Final = "https://www.gate.com/docs/developers/apiv4/en/#error-handling"

_CODES: Final = table(
    _ERRORS,
    {
        LIMITED: "TOO_FAST TOO_MANY_REQUESTS",
        KEY: "AUTHENTICATION_FAILED INVALID_CREDENTIALS INVALID_KEY INVALID_SIGNATURE MISSING_REQUIRED_HEADER",
        SKEW: "REQUEST_EXPIRED",
        RIGHTS: "IP_FORBIDDEN READ_ONLY FORBIDDEN API_WITHDRAW_DISABLED TRADE_RESTRICTED ORDER_NOT_OWNED",
        BAN_ACCOUNT: "ACCOUNT_LOCKED SUB_ACCOUNT_LOCKED",
        FUNDS: """
            FUTURES_BALANCE_NOT_ENOUGH BALANCE_NOT_ENOUGH MARGIN_BALANCE_NOT_ENOUGH INSUFFICIENT_AVAILABLE
            QUANTITY_NOT_ENOUGH
        """,
        DOWN: "INTERNAL SERVER_ERROR",
        BUSY: "TOO_BUSY",
        MISSING: """
            NOT_FOUND ORDER_NOT_FOUND CLIENT_ID_NOT_FOUND LOAN_NOT_FOUND LOAN_RECORD_NOT_FOUND SUB_ACCOUNT_NOT_FOUND
            CONTRACT_NOT_FOUND USER_NOT_FOUND CROSS_ACCOUNT_NOT_FOUND POSITION_NOT_FOUND
        """,
        # Nothing is left of the order that could be changed or cancelled.
        CLASH: "REPEATED_CREATION ORDER_CLOSED ORDER_CANCELLED ORDER_FINISHED",
        BAD: """
            INVALID_PARAM_VALUE INVALID_PROTOCOL INVALID_ARGUMENT INVALID_REQUEST_BODY BAD_REQUEST
            INVALID_CONTENT_TYPE NOT_ACCEPTABLE METHOD_NOT_ALLOWED RISK_LIMIT_TOO_LOW POSITION_HOLDING
            MISSING_REQUIRED_PARAM INVALID_CURRENCY INVALID_CURRENCY_PAIR INVALID_PRECISION POC_FILL_IMMEDIATELY
            ORDER_POC_IMMEDIATE AMOUNT_TOO_LITTLE AMOUNT_TOO_MUCH TOO_MANY_ORDERS NO_CHANGE LIQUIDATE_IMMEDIATELY
        """,
    },
)


def _wait(answer: Answer) -> float | None:
    stamp = first(answer.headers, "x-gate-ratelimit-reset-timestamp")
    return epoch(stamp, answer) if stamp and answer.status == 429 else None


DIALECT: Final = Dialect(name="gate", source=_ERRORS, codes=_CODES, places=(("label",),), phrases=COMMON, wait=_wait)
