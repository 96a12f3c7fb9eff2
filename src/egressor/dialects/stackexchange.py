"""
Stack Exchange: HTTP 400 for everything, with the real status in ``error_id``.
"""

from __future__ import annotations

from typing import Final

from egressor.dialects.bodies import Answer, dig
from egressor.dialects.engine import Dialect
from egressor.dialects.forms import number, prose
from egressor.dialects.terms import BAD, CLASH, DOWN, KEY, LIMITED_IP, MISSING, NOT_NOW, RIGHTS, table

__all__ = ["DIALECT"]

_ERRORS: Final = "https://api.stackexchange.com/docs/error-handling"

_CODES: Final = table(
    _ERRORS,
    {
        BAD: "400 407 bad_parameter write_failed",
        KEY: "401 402 405 406 access_token_required invalid_access_token key_required access_token_compromised",
        RIGHTS: "403 access_denied",
        MISSING: "404 no_method",
        CLASH: "409 duplicate_request",
        DOWN: "500 internal_error",
        LIMITED_IP: "502 throttle_violation",
        NOT_NOW: "503 temporarily_unavailable",
    },
)


def _wait(answer: Answer) -> float | None:
    # "too many requests from this IP, more requests available in 38 seconds", which may be most of a day.
    said = prose(answer.said, "available in ")
    return number(dig(answer.parsed, ("backoff",))) if said is None else said


DIALECT: Final = Dialect(
    name="stackexchange",
    source=_ERRORS,
    codes=_CODES,
    places=(("error_id",), ("error_name",)),
    inside=True,
    wait=_wait,
)
