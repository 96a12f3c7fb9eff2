"""
Kraken: a list of errors in HTTP 200, each with its category, ``EOrder:Insufficient funds``.
"""

from __future__ import annotations

from typing import Final

from egressor.dialects.bodies import Answer, dig
from egressor.dialects.engine import Dialect
from egressor.dialects.forms import epoch
from egressor.dialects.markets import SENTENCES
from egressor.dialects.terms import (
    BAD,
    BAN_ACCOUNT,
    BAN_IP,
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
    SKEW,
    phrases,
    sentences,
    table,
)

__all__ = ["DIALECT"]

_ERRORS: Final = "https://support.kraken.com/hc/en-us/articles/360001491786-API-error-messages"
_FUTURES: Final = "https://docs.kraken.com/api/docs/guides/futures-introduction"

_CODES: Final = {
    **table(
        _ERRORS,
        {
            LIMITED: ("EAPI:Rate limit exceeded", "EGeneral:Too many requests", "EService:Throttled"),
            # By account and pair of currencies.
            LIMITED_ACCOUNT: ("EOrder:Rate limit exceeded",),
            # "Temporary lockouts typically last approximately 15 minutes."
            BAN_IP._replace(wait=900.0): ("EGeneral:Temporary lockout",),
            BAN_ACCOUNT: ("ETrade:User Locked", "ETrade:Locked", "EAuth:Account temporary disabled"),
            NOT_NOW: ("EService:Busy", "EService:Unavailable"),
            DOWN: ("EGeneral:Internal error", "EDatabase:Internal error", "EQuery:Internal error"),
            LATE: ("EService:Deadline elapsed", "EService:Timeout"),
            MAINTENANCE: (
                "EService:Market in cancel_only mode",
                "EService:Market in post_only mode",
                "EService:Market in limit_only mode",
            ),
            KEY: (
                "EAPI:Invalid key",
                "EAPI:Invalid signature",
                "ESession:Invalid session",
            ),
            RIGHTS: (
                "EGeneral:Permission denied",
                "EAccount:Invalid permissions",
                "EAPI:Feature disabled",
                "EAuth:Account unconfirmed",
                "EOrder:Trading agreement required",
                "EOrder:Cannot open position",
            ),
            SKEW: ("EAPI:Invalid nonce",),
            FUNDS: (
                "EOrder:Insufficient funds",
                "EOrder:Insufficient margin",
                "EOrder:Insufficient initial margin",
                "EOrder:Margin allowance exceeded",
                "EOrder:Margin level too low",
                "EFunding:Insufficient funds",
                "EFunding:Invalid amount",
            ),
            CLASH: ("EOrder:Cancel pending",),
            MISSING: (
                "EOrder:Unknown order",
                "EOrder:Unknown position",
                "EFunding:Unknown withdraw key",
                "EFunding:Unknown reference id",
            ),
            BAD: (
                "EGeneral:Invalid arguments",
                "EAPI:Bad request",
                # As any exchange's "invalid symbol": a wrong word in the request.
                "EQuery:Unknown asset pair",
                "EQuery:Unknown asset",
                "EFunding:Unknown asset",
                "EGeneral:Unknown method",
                "EGeneral:Unknown Method",
            ),
        },
    ),
    **table(
        _FUTURES,
        {
            LIMITED: "apiLimitExceeded",
            KEY: "authenticationError",
            SKEW: "nonceBelowThreshold nonceDuplicate",
            FUNDS: "insufficientFunds insufficientAvailableFunds",
            NOT_NOW: "unavailable Unavailable marketUnavailable marketSuspended marketInactive",
            CLASH: "clientOrderIdAlreadyExist",
            DOWN: "unknownError",
            RIGHTS: "accountInactive",
            MISSING: "notFound orderForEditNotFound filled",
            BAD: "requiredArgumentMissing invalidAccount invalidAmount invalidUnit invalidArgument",
        },
    ),
}


def _find(parsed: object) -> tuple[str, ...]:
    """
    Name each error whole, then without its details.
    """
    errors = dig(parsed, ("error",))
    listed = errors if isinstance(errors, list) else [errors]
    found: list[str] = []
    for each in listed[:4]:
        if isinstance(each, str) and each[:1] != "W":
            category, colon, rest = each[:160].partition(":")
            words = rest.strip()
            found += [each[:160], f"{category}:{words}", f"{category}:{words.split(':')[0]}"] if colon else [each[:160]]
    return tuple(dict.fromkeys(found))


def _wait(answer: Answer) -> float | None:
    # "EService: Throttled: 1795313511": seconds since 1970 from which on it may be asked again.
    _, begun, rest = answer.said.partition("throttled:")
    return epoch(rest[:16].split("|")[0].split(",")[0].strip(), answer) if begun else None


# What an error is that is in no list, and has no sentence that is known: by its category.
_CATEGORIES: Final = phrases(
    _ERRORS,
    ("eservice:", DOWN),
    ("edatabase:", DOWN),
    ("eauth:", KEY),
    ("esession:", KEY),
    ("eaccount:", RIGHTS),
)

DIALECT: Final = Dialect(
    name="kraken",
    source=_ERRORS,
    codes=_CODES,
    find=_find,
    # "EAccount:Invalid permissions:USDT trading restricted for DE.": its code is that of a lack of rights.
    early=sentences(phrases(_ERRORS, ("trading restricted for", GEO))),
    phrases=sentences(
        phrases(
            _ERRORS,
            ("temporary lockout", BAN_IP._replace(wait=900.0)),
            ("rate limit exceeded", LIMITED),
            ("limit exceeded", BAD),
        ),
        SENTENCES,
        _CATEGORIES,
    ),
    inside=True,
    # ccxt quotes the code without its document where it came by WebSocket: "kraken EService:Unavailable", or alone.
    marks=("kraken ", ""),
    unknown=BAD._replace(source=_ERRORS),
    wait=_wait,
)
