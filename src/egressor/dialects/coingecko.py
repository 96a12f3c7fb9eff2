"""
CoinGecko: a number in ``status``; a key on the wrong host is one of them. Failures count against the limit.
"""

from __future__ import annotations

from typing import Final

from egressor.dialects.engine import Dialect
from egressor.dialects.http_codes import STATUS_CODES
from egressor.dialects.terms import (
    BAN_IP,
    KEY,
    LIMITED,
    QUOTA,
    RIGHTS,
    phrases,
    sentences,
    table,
)

__all__ = ["DIALECT"]

_ERRORS: Final = "https://docs.coingecko.com/docs/common-errors-rate-limit"

DIALECT: Final = Dialect(
    name="coingecko",
    source=_ERRORS,
    codes={
        **STATUS_CODES,
        **table(_ERRORS, {LIMITED: "429", KEY: "10002 10010 10011", RIGHTS: "10005 10012", BAN_IP: "1020"}),
    },
    places=(("status", "error_code"), ("error", "status", "error_code"), ("error_code",)),
    phrases=sentences(
        phrases(
            _ERRORS,
            ("monthly", QUOTA),
            ("exceeded the rate limit", LIMITED),
            ("throttled", LIMITED),
            ("api key", KEY),
        )
    ),
    inside=True,
)
