"""
X: numbers in v1.1, problems (RFC 9457) in v2. Both may stand beside data in HTTP 200.

Its reset is a moment in seconds since 1970. A code 88 with requests left in the window is no limit: accounts that may
only read, or are suspended, get it; unless the day's own count is spent, which is a quota. A number that is in no table
inside of HTTP 200 is nobody's to judge, and isn't tried again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from egressor.dialects.bodies import Answer, dig
from egressor.dialects.engine import Dialect
from egressor.dialects.forms import epoch, first, number
from egressor.dialects.terms import (
    BAD,
    BAN_ACCOUNT,
    BUSY,
    CLASH,
    DOWN,
    KEY,
    LATE,
    LIMITED,
    LIMITED_ACCOUNT,
    MISSING,
    NOT_NOW,
    QUOTA,
    RECIPIENT,
    RIGHTS,
    SKEW,
    phrases,
    sentences,
    table,
)

if TYPE_CHECKING:
    from egressor._core.rule import Rule

__all__ = ["DIALECT"]

_ERRORS: Final = "https://developer.x.com/en/support/x-api/error-troubleshooting"
_LIMITS: Final = "https://docs.x.com/x-api/fundamentals/rate-limits"
_ACCOUNTS: Final = "https://github.com/vladkens/twscrape/issues/274"

_CODES: Final = {
    **table(
        _ERRORS,
        {
            LIMITED: "88",
            LIMITED_ACCOUNT: "185 161 205 226 344",
            KEY: "32 89 99 215 216 231 239 353 467",
            RIGHTS: "87 93 179 200 220 261 453 425",
            RECIPIENT: "136 63 150 151 108 349 162 433",
            BAN_ACCOUNT: "64 326 416",
            MISSING: "8 13 17 34 50 109 144 385 421 422",
            DOWN: "131",
            LATE: "29",
            BUSY: "130",
            SKEW: "135",
            CLASH: "160 187 139 327 355",
            BAD: "3 7 25 36 38 44 46 68 92 120 170 186 188 195 214 251 271 272 323 324 325 354 357 386 407 417",
        },
    ),
    # The ends of a problem's type.
    **table(
        _ERRORS,
        {
            LIMITED: "rate-limit-exceeded streaming-connection",
            QUOTA: "usage-capped credits-depleted creditsdepleted",
            BAD: "invalid-request invalid-rules duplicate-rules rule-cap",
            MISSING: "resource-not-found",
            RIGHTS: """
                not-authorized-for-resource client-forbidden disallowed-resource not-authorized-for-field
                unsupported-authentication oauth1-permissions client-disconnected
            """,
            DOWN: "resource-unavailable",
            NOT_NOW: "operational-disconnect",
            CLASH: "conflict",
        },
    ),
}


def _find(parsed: object) -> tuple[str, ...]:
    """
    Name the codes and the ends of the problems' types, of the whole first, then of each error.
    """
    errors = dig(parsed, ("errors",))
    found = [_end(dig(parsed, ("type",)))]
    for each in errors[:4] if isinstance(errors, list) else []:
        code = dig(each, ("code",))
        found += [str(code) if type(code) is int else "", _end(dig(each, ("type",)))]
    code = dig(parsed, ("code",))
    return tuple(name for name in [*found, str(code) if type(code) is int else ""] if name)


def _end(value: object) -> str:
    return value[-96:].rsplit("/", 1)[-1] if isinstance(value, str) and "problems" in value else ""


def _look(answer: Answer) -> tuple[str, Rule] | None:
    days = [first(answer.headers, f"x-{who}-limit-24hour-remaining") for who in ("app", "user")]
    if answer.status == 429 and "0" in days:
        return "day", QUOTA._replace(source=_LIMITS)
    rest = number(first(answer.headers, "x-rate-limit-remaining"))
    if "88" not in answer.codes or rest is None or rest < 1:
        return None
    return ("88_with_requests_left", BAN_ACCOUNT._replace(source=_ACCOUNTS))


def _wait(answer: Answer) -> float | None:
    if answer.status != 429 and "88" not in answer.codes:
        return None
    stamps = [
        first(answer.headers, f"x-{name}-reset")
        for name in ("rate-limit", "app-limit-24hour", "user-limit-24hour")
        if first(answer.headers, f"x-{name}-remaining") == "0"
    ]
    waits = [wait for wait in (epoch(stamp, answer) for stamp in stamps) if wait is not None]
    return max(waits, default=None)


def _is_error(parsed: object) -> bool:
    """
    Whether there are errors: beside data only those by number, since a problem there tells of a part.
    """
    errors = dig(parsed, ("errors",))
    if not isinstance(errors, list) or not errors:
        return False
    return not dig(parsed, ("data",)) or type(dig(errors[0], ("code",))) is int


DIALECT: Final = Dialect(
    name="x",
    source=_ERRORS,
    codes=_CODES,
    find=_find,
    phrases=sentences(
        phrases(
            _ERRORS,
            ("usage cap exceeded", QUOTA),
            ("monthly product cap", QUOTA),
            ("credits depleted", QUOTA),
            ("does not have any credits", QUOTA),
            ("account is temporarily locked", BAN_ACCOUNT),
            ("account has been locked", BAN_ACCOUNT),
            ("your account is locked", BAN_ACCOUNT),
            ("your account is suspended", BAN_ACCOUNT),
            ("your account has been suspended", BAN_ACCOUNT),
            ("over capacity", BUSY),
            ("duplicate content", CLASH),
        )
    ),
    inside=True,
    is_error=_is_error,
    look=_look,
    wait=_wait,
    # tweepy's message: the status on its first line, then "187 - Status is a duplicate."
    marks=("\n",),
    # Filtered and sampled streams: documents without an end.
    streams=True,
)
