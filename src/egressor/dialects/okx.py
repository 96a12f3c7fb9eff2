"""
OKX v5: one code for the answer, and one for each order in it; most limits are of 2 seconds.
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
    LIMITED_ACCOUNT,
    LIMITED_ENDPOINT,
    MAINTENANCE,
    MISSING,
    NOT_NOW,
    RIGHTS,
    SKEW,
    table,
)

__all__ = ["DIALECT"]

_ERRORS: Final = "https://www.okx.com/docs-v5/en/#error-code"

_CODES: Final = table(
    _ERRORS,
    {
        LIMITED_ENDPOINT: "50011 60014 60023 58102 51113 429",
        LIMITED_ACCOUNT: "50061 50040 4003 4008",
        MAINTENANCE: "50001",
        # "does not indicate success or failure of order"
        LATE: "50004",
        DOWN: "50005 50026 63999 58007 58112",
        BUSY: "50013 60016 4005",
        NOT_NOW: "4004 60015",
        BAN_ACCOUNT: "50007 50009 51009 51024 58004 59508 50100 51733",
        KEY: """
            50008 50101 50103 50104 50105 50106 50107 50111 50113 50114 50119 60001 60002 60003 60004
            60005 60007 60009 60011 60024 60032 4001 59506
        """,
        RIGHTS: """
            4088 58001 58213 50027 50030 50110 50120 51010 51732 58002 58101 58204 59260 59262 59500 59504
            60021 60029 60030 64003 50035
        """,
        GEO: "51155 51734",
        SKEW: "50102 50112 60006",
        FUNDS: "51008 51119 51127 51131 51502 51736 58229 58350 59103 59108 59200 59201 59411",
        MISSING: "51001 51012 51014 51023 51400 51503 51603 58115 59300 60018 64004 51401 51402",
        CLASH: "51011 51016 51410 59502",
        BAD: """
            50000 50002 50006 50010 50014 50015 50016 50024 50025 50044 50115 51000 51002 51003 51004 51005
            51006 51007 51015 51017 51020 51021 51022 51025 51026 51027 51028 51111 51112 51115 51116 51117
            51118 51120 51121 51122 51201 51202 51203 51204 51205 51403 51404 51405 51407 51409 52000 60012
            60013 60017 60019 60027
        """,
    },
)

DIALECT: Final = Dialect(
    name="okx",
    source=_ERRORS,
    codes=_CODES,
    # The order's code says what the answer's "1" doesn't.
    places=(("data", 0, "sCode"), ("code",), ("error_code",)),
    fine=frozenset({"0", ""}),
    phrases=COMMON,
    inside=True,
    unknown=BAD._replace(source=_ERRORS),
)
