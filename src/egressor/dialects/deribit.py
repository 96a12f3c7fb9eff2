"""
Deribit: JSON-RPC, whose errors come with HTTP 400; too many requests among them.
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
    LIMITED_ACCOUNT,
    MAINTENANCE,
    MISSING,
    NOT_NOW,
    RIGHTS,
    table,
)

__all__ = ["DIALECT"]

_ERRORS: Final = "https://docs.deribit.com/#rpc-error-codes"

_CODES: Final = table(
    _ERRORS,
    {
        LIMITED: "10028",
        LIMITED_ACCOUNT: "12003 12004 12998",
        BUSY: "10047 10066",
        NOT_NOW: "10040 13503",
        LATE: "13888",
        MAINTENANCE: "10041 11051 13025",
        DOWN: "13028 11094 13008 10001 -32603",
        KEY: "10000 12000 12999 13000 13003 13004 13005 13006 13007 13009",
        RIGHTS: "9999 10013 10014 10015 10016 10017 10018 10029 11042 13001 13012 13021 13668 13901",
        BAN_ACCOUNT: "10019 13002",
        GEO: "12005",
        FUNDS: "10009",
        # The order was filled or closed before.
        CLASH: "11008 11044",
        MISSING: "10004 10010 11053 13020",
        BAD: """
            10002 10003 10005 10006 10007 10008 10011 10012 10020 10021 10022 10023 10024 10025 10026 10027 10030
            10031 10032 10033 10034 10035 10036 10043 10044 10045 10046 11029 11030 11031 11035 11036 11037
            11038 11039 11041 11043 11045 11046 11047 11048 11049 11050 11052 11054 11090 11091 11092 11093
            11095 11096 12001 12002 12100 13010 13011 13013 13014 13015 13016 13017 13018 13019 -32602 -32601 -32600
            -32700 -32000
        """,
    },
)

DIALECT: Final = Dialect(
    name="deribit",
    source=_ERRORS,
    codes=_CODES,
    places=(("error", "code"),),
    phrases=COMMON,
    inside=True,
    unknown=BAD._replace(source=_ERRORS),
)
