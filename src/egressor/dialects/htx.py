"""
HTX (Huobi): ``status: error`` in HTTP 200, with words as codes in spot trading and numbers in the others.
"""

from __future__ import annotations

from typing import Final

from egressor.dialects.engine import Dialect
from egressor.dialects.markets import SENTENCES
from egressor.dialects.terms import (
    BAD,
    CLASH,
    DOWN,
    FUNDS,
    KEY,
    LATE,
    LIMITED,
    MAINTENANCE,
    MISSING,
    RIGHTS,
    phrases,
    sentences,
    table,
)

__all__ = ["DIALECT"]

_ERRORS: Final = "https://huobiapi.github.io/docs/spot/v1/en/#error-code"

_CODES: Final = table(
    _ERRORS,
    {
        LIMITED: "base-request-exceed-frequency-limit rate-too-many-requests api-request-too-frequent 1032",
        KEY: "api-signature-not-valid api-signature-check-failed login-required 1003 403",
        RIGHTS: "api-not-support-temp-addr 1220 1010",
        MAINTENANCE: "system-maintenance",
        DOWN: "gateway-internal-error base-system-error order-update-error 1000 1001 1002 1004",
        LATE: "timeout",
        FUNDS: """
            1047 1048 account-frozen-balance-insufficient-error dw-insufficient-balance
            account-balance-insufficient-error order-accountbalance-error
        """,
        MISSING: """
            1013 1014 1017 1061 1051 order-queryorder-invalid base-record-invalid order-orderstate-error
            base-not-found
        """,
        CLASH: "base-record-exist",
        BAD: """
            1030 1034 1036 1039 1041 1066 1067 1094 1303 1461 4007 bad-request base-symbol-error base-currency-error
            base-date-limit-error base-symbol-trade-disabled base-currency-chain-error base-withdraw-fee-error
            validation-format-error validation-constraints-required require-symbol invalid-address invalid-amount
            dw-withdraw-min-limit order-limitorder-amount-min-error order-limitorder-amount-max-error
            order-marketorder-amount-min-error order-limitorder-price-min-error order-limitorder-price-max-error
            order-value-min-error order-invalid-price order-holding-limit-failed order-orderprice-precision-error
        """,
    },
)

DIALECT: Final = Dialect(
    name="htx",
    source=_ERRORS,
    codes=_CODES,
    places=(("err-code",), ("err_code",), ("code",)),
    fine=frozenset({"200", "0"}),
    # "invalid-parameter" and "api-signature-not-valid" both have the reason in words only.
    phrases=sentences(phrases(_ERRORS, ("request limit", LIMITED)), SENTENCES),
    early=sentences(
        phrases(_ERRORS, ("has no permission", RIGHTS), ("no authority", RIGHTS), ("incorrect ip", RIGHTS))
    ),
    inside=True,
    unknown=BAD._replace(source=_ERRORS),
)
