"""
Bybit v5: errors in HTTP 200, by ``retCode``; an address that asks too often gets a 403 for at least 10 minutes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from egressor._core.wordings import message
from egressor.dialects.engine import Dialect
from egressor.dialects.forms import epoch, first
from egressor.dialects.markets import SENTENCES
from egressor.dialects.terms import (
    BAD,
    BAN_ACCOUNT,
    BAN_IP,
    CLASH,
    CLASH_RETRY,
    DOWN,
    FUNDS,
    GARBLED,
    GEO,
    KEY,
    LATE,
    LIMITED_ACCOUNT,
    LIMITED_ENDPOINT,
    LIMITED_IP,
    MAINTENANCE,
    MISSING,
    NOT_NOW,
    RIGHTS,
    SKEW,
    phrases,
    sentences,
    table,
)

if TYPE_CHECKING:
    from egressor._core.rule import Rule
    from egressor.dialects.bodies import Answer

__all__ = ["DIALECT"]

_ERRORS: Final = "https://bybit-exchange.github.io/docs/v5/error"
_LIMITS: Final = "https://bybit-exchange.github.io/docs/v5/rate-limit"

_CODES: Final = table(
    _ERRORS,
    {
        LIMITED_ACCOUNT: "10006 10429 170005 170222 30035",
        LIMITED_ENDPOINT: "20003",
        LIMITED_IP: "10018 429",
        DOWN: "500 502 503 3400214 10016 131003 131200 131201 170001 170032 170234 340099 131206 181017",
        NOT_NOW: "10019",
        LATE: "10000 170007 5004 170146 170147",
        MAINTENANCE: "110071 131084",
        KEY: "401 10003 10004 10007 33004 -2015 131004",
        RIGHTS: """
            140065 140067 140068 140069 175010 176035 176036 30011 30012 30013 403 10005 10010 10020 10027
            10028 100028 110023 110065 110067 110068 110069 131091 131092 131093 170201 170224 170241
            176037
        """,
        BAN_ACCOUNT: "10008 131090",
        BAN_IP: "10009",
        GEO: "10024 170209",
        SKEW: "10002 -1021",
        FUNDS: """
            110004 110006 110007 110012 110014 110044 110045 110051 110052 110053 131001 131085 131212
            170033 170131 130021 140006 140047 170034 170223 170226 175003 175006 176015 30010 30031 30042
            30049 30067 3200300
        """,
        MISSING: "10017 110001 170213 170221 20001 30034 140001 175007 176010 131207",
        CLASH_RETRY: "110079",
        # The order was filled or cancelled before.
        CLASH: "10014 175000 110030 110072 170141 12141 30001 131214 110008 110010 170139 170142",
        BAD: """
            10001 10029 110003 110005 110009 110011 110013 110015 110016 110017 110018 110019
            110020 110021 110022 110024 110025 110026 110027 110028 110043 110092 110093 110094 12137 12201
            131002 131203 170115 170116 170117 170121 170124 170130 170132 170133 170134 170135 170136
            170137 170140 170210 7001
        """,
    },
)


def _look(answer: Answer) -> tuple[str, Rule] | None:
    if answer.status == 403 and "access too frequent" in (answer.said or answer.text[:256].lower()):
        return "access_too_frequent", BAN_IP._replace(wait=600.0, source=_LIMITS)
    return None


def _raised(exc: BaseException) -> tuple[str, Rule] | None:
    # pybit puts numbers of HTTP's, and a sentence of its own, on what it makes of an answer.
    said = message(exc)[:256].lower()
    if "breached the ip rate limit" in said:
        return "access_too_frequent", BAN_IP._replace(wait=600.0, source=_LIMITS)
    return ("not_json", GARBLED._replace(source=_ERRORS)) if "could not decode json" in said else None


def _wait(answer: Answer) -> float | None:
    # A moment in milliseconds; it is the present one while the limit isn't exceeded.
    stamp = first(answer.headers, "x-bapi-limit-reset-timestamp")
    return (
        epoch(stamp, answer, unit=1000) if stamp and (answer.codes[:1] == ("10006",) or answer.status == 429) else None
    )


DIALECT: Final = Dialect(
    name="bybit",
    source=_ERRORS,
    codes=_CODES,
    places=(("retCode",), ("ret_code",)),
    fine=frozenset({"0"}),
    # pybit's own sentence, where no key was given.
    phrases=sentences(phrases(_ERRORS, ("authenticated endpoints require", KEY)), SENTENCES),
    inside=True,
    unknown=BAD._replace(source=_ERRORS),
    look=_look,
    wait=_wait,
    raised=_raised,
    marks=("ErrCode: ",),
)
