"""
KuCoin: a code of six digits in every answer; 200000 is success. 429000 is a limit, or the system being busy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from egressor.dialects.engine import Dialect
from egressor.dialects.forms import first, number
from egressor.dialects.markets import COMMON
from egressor.dialects.terms import (
    BAD,
    BAN_ACCOUNT,
    CLASH,
    DOWN,
    FUNDS,
    GEO,
    KEY,
    LATE,
    LIMITED,
    MISSING,
    RIGHTS,
    SKEW,
    table,
)

if TYPE_CHECKING:
    from egressor.dialects.bodies import Answer

__all__ = ["DIALECT"]

_ERRORS: Final = "https://www.kucoin.com/docs-new/error-code/spot"

_CODES: Final = table(
    _ERRORS,
    {
        LIMITED: "429000 429",
        KEY: "401 400001 400003 400004 400005 400401",
        # "The requested ip address is not in the api whitelist."
        RIGHTS: "400007 400006 400303 101030 112010 130201 130302 126005 126047 126048 400200 400700",
        SKEW: "400002",
        GEO: "400302 400500 126037 126046 130315",
        BAN_ACCOUNT: "411100 126002",
        FUNDS: "200004 210021 230003 260100 300003 130105 130203 130301 126013 330008",
        DOWN: "500 503 500000 126038 126039 135005 135018",
        LATE: "408000",
        MISSING: "404 100001 130103 130108 126043 404000 900001 260220",
        CLASH: "126033 126044 260000",
        BAD: """
            415000 400100 400600 400008 400000 400330 400350 400370 400400 400760 401000 600100 600101 300000 300009
            300012 330005 330012 100004 103000 130101 210014 900014
        """,
    },
)


def _wait(answer: Answer) -> float | None:
    # Milliseconds left.
    left = number(first(answer.headers, "gw-ratelimit-reset"))
    return None if left is None or left < 0 or answer.status != 429 else left / 1000


DIALECT: Final = Dialect(
    name="kucoin",
    source=_ERRORS,
    codes={code: rule for code, rule in _CODES.items() if code != "400100"},
    places=(("code",),),
    fine=frozenset({"200000", "200"}),
    # 400100 is any wrong parameter, and the sentence says which; "Balance insufficient" among them.
    phrases=COMMON,
    inside=True,
    unknown=BAD._replace(source=_ERRORS),
    wait=_wait,
)
