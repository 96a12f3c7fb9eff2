"""
CoinMarketCap: one status, 429, for a minute, a day, a month and an address; only the number tells them apart.
"""

from __future__ import annotations

from typing import Final

from egressor.dialects.engine import Dialect
from egressor.dialects.http_codes import STATUS_CODES
from egressor.dialects.terms import KEY, LIMITED, LIMITED_IP, QUOTA, RIGHTS, table

__all__ = ["DIALECT"]

_ERRORS: Final = "https://coinmarketcap.com/api/documentation/v1/#section/Errors-and-Rate-Limits"

DIALECT: Final = Dialect(
    name="coinmarketcap",
    source=_ERRORS,
    codes={
        **STATUS_CODES,
        **table(
            _ERRORS,
            {
                KEY: "1001 1002 1005 1007",
                QUOTA: "1003 1004 1009 1010",
                RIGHTS: "1006",
                LIMITED: "1008",
                LIMITED_IP: "1011",
            },
        ),
    },
    places=(("status", "error_code"),),
    fine=frozenset({"0"}),
    inside=True,
)
