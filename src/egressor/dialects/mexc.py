"""
MEXC: Binance's shape with codes of its own; Akamai's page where an address is turned away.
"""

from __future__ import annotations

from typing import Final

from egressor.dialects.engine import Dialect
from egressor.dialects.markets import COMMON
from egressor.dialects.terms import (
    BAD,
    BAN_ACCOUNT,
    BAN_IP,
    DOWN,
    FUNDS,
    KEY,
    LIMITED_IP,
    MAINTENANCE,
    MISSING,
    RIGHTS,
    SKEW,
    phrases,
    sentences,
    table,
)

__all__ = ["DIALECT"]

_ERRORS: Final = "https://mexcdevelop.github.io/apidocs/spot_v3_en/#error-code"

_CODES: Final = table(
    _ERRORS,
    {
        LIMITED_IP: "429 510",
        KEY: "602 10001 10072 700001 700002 401 402 700013",
        RIGHTS: "403 700006 700007 30020 70011 140002 730702",
        SKEW: "700003 10073",
        BAN_ACCOUNT: "60005 730100",
        FUNDS: "2005 10101 30004 30005 88004 88015",
        MISSING: "10232 22222 730001 -2011 2009 730706 88009",
        DOWN: "500 20002 730000 10219",
        BAD: """
            10007 -1121 -1128 400 600 1002 2003 2011 33333 44444 10015 10095 10096 10097 10102 10222 30001 30002
            30003 30010 30014 30016 30018 30019 30021 30025 30026 30029 30032 30041 30087 700004 700005 700008
            730002 88013
        """,
    },
)

DIALECT: Final = Dialect(
    name="mexc",
    source=_ERRORS,
    codes=_CODES,
    places=(("code",),),
    fine=frozenset({"0", "200"}),
    early=sentences(phrases(_ERRORS, ("maintenance", MAINTENANCE))),
    phrases=COMMON,
    statuses={418: BAN_IP._replace(source=_ERRORS)},
    inside=True,
    unknown=BAD._replace(source=_ERRORS),
)
