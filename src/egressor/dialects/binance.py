"""
Binance: spot, margin, futures and ``/sapi``.

A 429 is a warning, and going on makes it a 418: the address is banned for 2 minutes to 3 days, until the moment that
the message names in milliseconds since 1970. A 403 is the firewall's. A 5xx does not mean that an order failed: some
say that its execution is unknown, and such an order is looked up, never sent again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from egressor.dialects.engine import Dialect
from egressor.dialects.forms import epoch
from egressor.dialects.markets import SENTENCES
from egressor.dialects.terms import (
    BAD,
    BAN_ACCOUNT,
    BAN_IP,
    BUSY,
    CLASH,
    DOWN,
    FUNDS,
    GARBLED,
    GEO,
    KEY,
    LIMITED_ACCOUNT,
    LIMITED_IP,
    MAINTENANCE,
    MISSING,
    NOT_NOW,
    RIGHTS,
    SKEW,
    UNSURE,
    phrases,
    sentences,
    table,
)

if TYPE_CHECKING:
    from egressor._core.rule import Rule
    from egressor.dialects.bodies import Answer

__all__ = ["DIALECT"]

_ERRORS: Final = "https://developers.binance.com/docs/binance-spot-api-docs/errors"
_FUTURES_ERRORS: Final = "https://developers.binance.com/docs/derivatives/usds-margined-futures/error-code"
_LIMITS: Final = "https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits"
_GENERAL: Final = "https://developers.binance.com/docs/binance-spot-api-docs/rest-api/general-api-information"

_CODES: Final = table(
    _ERRORS,
    {
        LIMITED_IP: "-1003 -1034 -6009 -12014",
        # Orders are counted by account, over 10 seconds and a day.
        LIMITED_ACCOUNT: "-1015 -4005",
        DOWN: """
            -10015 -10016 -10023 -10025 -2012 -3029 -3037 -4027 -4031 -4038 -4041 -4045 -5010 -5012 -1000
            -1001 -3000 -3044
        """,
        UNSURE: "-1006 -1007",
        NOT_NOW: "-1004",
        BUSY: "-1008",
        MAINTENANCE: "-10001",
        KEY: "-1002 -1022 -2008 -2014 -2015 -1099 -3001 -4004 -4013 -4056 -4057 -1125",
        RIGHTS: """
            -1005 -13003 -13007 -18005 -3036 -4007 -4008 -4010 -4012 -4016 -4017 -4036 -4090 -4194 -4195
            -4200 -4202 -4203 -4205 -4206 -4400 -4411 -1011 -2017 -3043 -3999 -4015 -6003 -6017
        """,
        BAN_ACCOUNT: "-3022 -3014 -3018 -3019",
        GEO: "-4402 -4403 -10047 -4201 -4044",
        SKEW: "-1021 -5028 -4188",
        FUNDS: """
            -9000 -3045
            -10013 -21005 -4024 -4025 -5003 -6018 -2018 -2019 -3041 -4026 -5002 -5013 -6012 -4050 -4051
            -10011 -2028
        """,
        MISSING: "-2013 -6020 -3003 -5009 -6001 -10005",
        CLASH: "-4116 -4115 -4111 -20132",
        BAD: """
            -1013 -1014 -1016 -1020 -1023 -1100 -1101 -1102 -1103 -1104 -1105 -1106 -1108 -1109 -1110 -1111
            -1112 -1114 -1115 -1116 -1117 -1118 -1119 -1120 -1121 -1122 -1127 -1128 -1130 -1131 -1134 -1135
            -1136 -1145 -1151 -2016 -2020 -2021 -2022 -2023 -2024 -2025 -2026 -2027 -2039 -3002 -3027 -3028
            -4003 -4014 -4028 -4046 -4059 -4061 -4131 -4140 -4141 -4164 -5021 -5022
        """,
    },
)
# Numbers that withdrawals and futures use for different things; only futures speak of these.
_FUTURES: Final = (
    *("quantity", "qty", "price", "leverage", "client order id", "step size", "tick size", "working type"),
    *("multiplier", "margin type", "stop order", "symbol", "open orders", "position"),
)
_REJECTED: Final = frozenset({"-1010", "-2010", "-2011"})
_MEANT: Final = phrases(
    _ERRORS,
    ("insufficient balance", FUNDS),
    ("duplicate order sent", CLASH),
    ("unknown order sent", MISSING),
    ("not permitted for this account", RIGHTS),
    ("restricted for this account", RIGHTS),
    ("action is disabled on this account", RIGHTS),
    ("may not place or cancel orders", RIGHTS),
    ("trading is not enabled", RIGHTS),
    ("operation privilege", RIGHTS),
)


def _look(answer: Answer) -> tuple[str, Rule] | None:
    said = answer.said
    if answer.status == 418 or (answer.status >= 400 and "banned until" in said):
        # "from 2 minutes to 3 days": it ends, whether or not the answer says when.
        return "banned_until", BAN_IP._replace(retry=True, source=_LIMITS)
    if answer.status == 403 and answer.parsed is None and (answer.text or answer.headers):
        return "firewall", BAN_IP._replace(source=_GENERAL)
    if answer.status >= 400 and "maintenance" in said:
        return "maintenance", MAINTENANCE._replace(source=_ERRORS)
    if answer.status in {503, 504} and "unknown error" in said:
        return "unknown_error", UNSURE._replace(source=_GENERAL)
    code = answer.codes[0] if answer.codes else ""
    if len(code) == 5 and "-4000" <= code <= "-4049" and any(word in said for word in _FUTURES):
        return code, BAD._replace(source=_FUTURES_ERRORS)
    # An order that was rejected has one code for all reasons, and the reason in words.
    if code in _REJECTED:
        for words, rule in _MEANT:
            if words in said:
                return words.replace(" ", "_"), rule
        return code, (MISSING if code == "-2011" else BAD)._replace(source=_ERRORS)
    return None


def _wait(answer: Answer) -> float | None:
    # "Way too much request weight used; IP banned until 1795313511264."
    _, begun, rest = answer.said.partition("banned until ")
    return epoch(rest[:16].split(".")[0].split(" ")[0], answer, unit=1000) if begun else None


# python-binance's own sentences for an answer that is no JSON.
_CLIENTS: Final = phrases(_GENERAL, ("invalid json error message", DOWN), ("invalid response", GARBLED))

DIALECT: Final = Dialect(
    name="binance",
    source=_GENERAL,
    codes=_CODES,
    places=(("code",),),
    fine=frozenset({"0", "200", "000000"}),
    phrases=sentences(_CLIENTS, SENTENCES),
    # "HTTP 403 return code is used when the WAF Limit has been violated": handled above, as it needs to be no JSON.
    inside=True,
    unknown=BAD._replace(source=_ERRORS),
    look=_look,
    wait=_wait,
    marks=("code=",),
)
