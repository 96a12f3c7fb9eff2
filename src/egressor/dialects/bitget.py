"""
Bitget: a code of five digits in every answer; 00000 is success.
"""

from __future__ import annotations

from typing import Final

from egressor.dialects.engine import Dialect
from egressor.dialects.markets import COMMON
from egressor.dialects.terms import (
    BAD,
    BAN_ACCOUNT,
    BUSY,
    CLASH,
    DOWN,
    FUNDS,
    GEO,
    KEY,
    LATE,
    LIMITED,
    MAINTENANCE,
    MISSING,
    RIGHTS,
    SKEW,
    table,
)

__all__ = ["DIALECT"]

_ERRORS: Final = "https://www.bitget.com/api-doc/common/error-code/restapi"

_CODES: Final = table(
    _ERRORS,
    {
        LIMITED: "429 1001 30007 30014 30026 50009",
        KEY: """
            40001 40002 40003 40006 40009 40011 40012 40037 40506 40507 30001 30002 30004 30006 30010 30012 30013
            30015 30027
        """,
        SKEW: "40004 40005 40008 30003 30005 30008",
        RIGHTS: """
            40014 40018 403 4010 30011 30028 32002 33001 34001 34016 34019 34020 34023 36102 36104 36105 36107 36109
            36201 40016 43111
        """,
        BAN_ACCOUNT: "30022 33002 36106 40013 40031 30029 40023 32001 34017 36103",
        GEO: "40024 32022",
        MAINTENANCE: "40200 40308 41114 43115 30038",
        BUSY: "40604 500",
        DOWN: "1 40015 40725 45001 30009 30019 30030 30037",
        LATE: "50008",
        FUNDS: "33003 35025 35046 36108 40711 40712 40754 40762 43012 50020 33017 34008 35047 35052 35055",
        MISSING: "404 40109 40768 43001 43025 33014 35029 36216 40102 40309",
        CLASH: "40786 43118",
        BAD: """
            40034 400 405 415 40007 40017 40019 40020 40108 40302 40500 40708 40706 45110 45113 41103 43011 40774
            40917
        """,
    },
)

DIALECT: Final = Dialect(
    name="bitget",
    source=_ERRORS,
    codes=_CODES,
    places=(("code",),),
    fine=frozenset({"00000", "0", "200"}),
    phrases=COMMON,
    inside=True,
    unknown=BAD._replace(source=_ERRORS),
)
