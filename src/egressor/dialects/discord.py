"""
Discord: numbers in ranges. Ten thousand 401, 403 and 429 in ten minutes, but for those of scope ``shared``, are a ban.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from egressor.dialects.bodies import Answer, dig
from egressor.dialects.engine import Dialect
from egressor.dialects.forms import first, number
from egressor.dialects.terms import (
    BAD,
    BAN_IP,
    BUSY,
    CLASH,
    HUMAN,
    KEY,
    LIMITED,
    LIMITED_ENDPOINT,
    LIMITED_RECIPIENT,
    MISSING,
    NOT_NOW,
    POLICY,
    RECIPIENT,
    RIGHTS,
    table,
)

if TYPE_CHECKING:
    from egressor._core.rule import Rule

__all__ = ["DIALECT"]

_CODES_PAGE: Final = "https://discord.com/developers/docs/topics/opcodes-and-status-codes#json"
_LIMITS: Final = "https://discord.com/developers/docs/topics/rate-limits"

_CODES: Final = table(
    _CODES_PAGE,
    {
        LIMITED: "20022 20028 20029 31001 40003 40062",
        LIMITED_RECIPIENT: "20016",
        KEY: "40001 50014 50025 50027",
        RIGHTS: """
            20001 20002 20009 20012 20018 20026 40002 40007 50001 50003 50004 50005 50013 50020 50021 50073 50074 50081
            50083 50178 50278 60003 110001
        """,
        RECIPIENT: "50007 50009 50018",
        BUSY: "130000",
        NOT_NOW: "40004 40006",
        CLASH: "40032 40033 40041 40060 160004",
        POLICY: "200000 200001 240000",
        BAD: "40005 50006 50008 50016 50019 50024 50033 50034 50035 50036 50041 50046 50055 50068 50109 50110 160006",
    },
)


def _look(answer: Answer) -> tuple[str, Rule] | None:
    if answer.status == 429:
        if "blocked from accessing our api" in answer.said:
            return "blocked_temporarily", BAN_IP._replace(wait=3600.0, source=_LIMITS)
        if first(answer.headers, "x-ratelimit-scope") == "shared":
            return "shared", LIMITED_ENDPOINT._replace(source=_LIMITS)
        return None
    if isinstance(answer.parsed, dict) and ("captcha_key" in answer.parsed or "captcha_sitekey" in answer.parsed):
        # A list of words beside what a human would be shown.
        return "captcha_key", HUMAN._replace(source=_CODES_PAGE)
    # "Unknown …", all of them.
    code = answer.codes[0] if answer.codes else ""
    if len(code) == 5 and code.startswith("10") and answer.status == 404:
        return code, MISSING._replace(source=_CODES_PAGE)
    return None


def _wait(answer: Answer) -> float | None:
    waits = [number(dig(answer.parsed, ("retry_after",)))]
    if answer.status == 429:
        waits.append(number(first(answer.headers, "x-ratelimit-reset-after")))
    return max((wait for wait in waits if wait is not None and wait >= 0), default=None)


DIALECT: Final = Dialect(
    name="discord",
    source=_CODES_PAGE,
    codes=_CODES,
    places=(("code",),),
    look=_look,
    wait=_wait,
    marks=("error code: ",),
)
