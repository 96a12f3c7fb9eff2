"""
What exchanges say in words.

They have thousands of codes and add some each month, while their messages keep to a few sentences. So each exchange's
table holds the codes that matter, and a code that is in no table is read by the sentence beside it; one without a known
sentence is a refusal of this very order. In this order: what can't be waited for stands above what can.
"""

from __future__ import annotations

from typing import Final

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
    phrases,
    sentences,
)

__all__ = ["COMMON", "SENTENCES"]

SENTENCES: Final = phrases(
    # The sentences of the error lists of Binance, Bybit, OKX, Bitget, KuCoin, Gate, HTX and MEXC.
    "the exchanges' lists of errors",
    *(
        (words, FUNDS)
        for words in (
            "insufficient balance",
            "insufficient fund",
            "insufficient margin",
            "insufficient available",
            "insufficient wallet",
            "insufficient account",
            "not enough balance",
            "not enough fund",
            "not enough margin",
            "balance not enough",
            "balance is not enough",
            "balance insufficient",
            "balance is insufficient",
            "margin is insufficient",
            "available balance",
        )
    ),
    *(
        (words, GEO)
        for words in ("restricted location", "your country", "country/region", "compliance restriction", "your region")
    ),
    *(
        (words, BAN_ACCOUNT)
        for words in (
            "account has been banned",
            "account is banned",
            "has been banned",
            "had been banned",
            "account suspended",
            "account is suspended",
            "account blocked",
            "account has been frozen",
            "account is frozen",
            "user locked",
            "account is locked",
        )
    ),
    *(
        (words, LIMITED)
        for words in (
            "rate limit",
            "too many request",
            "too many visits",
            "too frequent",
            "frequency limit",
            "too many new orders",
            "request frequency",
            "too many attempts",
        )
    ),
    *((words, MAINTENANCE) for words in ("maintenance", "upgrading", "is being upgraded", "system upgrade")),
    *(
        (words, SKEW)
        for words in (
            "recvwindow",
            "recv_window",
            "timestamp for this request",
            "invalid nonce",
            "request timestamp expired",
            "timestamp expired",
            "request expired",
            "nonce must",
            "nonce is",
        )
    ),
    *(
        (words, KEY)
        for words in (
            "api-key",
            "api key",
            "apikey",
            "access key",
            "signature",
            "invalid sign",
            "passphrase",
            "unauthorized",
            "unauthenticated",
            "authentication",
            "not logged in",
            "invalid token",
        )
    ),
    *(
        (words, RIGHTS)
        for words in ("permission", "not authorized", "forbidden", "whitelist", "not allowed to access", "kyc")
    ),
    *((words, CLASH) for words in ("duplicate", "already exist")),
    *(
        (words, MISSING)
        for words in (
            "not found",
            "does not exist",
            "doesn't exist",
            "doesnt exist",
            "not exist",
            "unknown order",
            "no such",
        )
    ),
    *((words, LATE) for words in ("timed out", "timeout", "time out")),
    *((words, BUSY) for words in ("system busy", "system is busy", "server is busy", "overloaded", "service is busy")),
    *(
        (words, DOWN)
        for words in (
            "internal error",
            "internal server error",
            "internal system error",
            "system error",
            "server error",
            "service unavailable",
            "temporarily unavailable",
            "try again later",
        )
    ),
    *((words, BAD) for words in ("invalid", "illegal", "parameter", "required", "not supported", "unsupported")),
)

COMMON: Final = sentences(SENTENCES)
"""
The sentences alone, compiled once for all exchanges.
"""
