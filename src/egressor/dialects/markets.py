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
    # What is insufficient is money, unless it is one of these.
    *((words, RIGHTS) for words in ("insufficient permission", "insufficient privilege", "insufficient scope")),
    *(
        (words, BAD)
        for words in (
            "insufficient liquidity",
            "insufficient depth",
            "insufficient number of",
            "quantity is not enough",
        )
    ),
    *(
        (words, FUNDS)
        for words in (
            "insufficient",
            "not enough",
            "have enough",
            "no enough",
            "cannot afford",
            "can't afford",
            "cannotafford",
            "balance is low",
            "no account balance",
            "don't have this asset",
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
        for words in (
            "restricted location",
            "restricted country",
            "your country",
            "your location",
            "your region",
            "your ip region",
            "country/region",
            "country restriction",
            "country is not",
            "compliance restriction",
            "local regulation",
            "blacklist country",
        )
    ),
    # No ban of anybody, and no repair of theirs.
    *((f"banned for this {what}", RIGHTS) for what in ("symbol", "pair", "market", "contract", "coin", "currency")),
    *((words, BAD) for words in ("maintenance margin", "maintain margin")),
    *(
        (words, BAN_ACCOUNT)
        for words in (
            "has been banned",
            "had been banned",
            "is banned",
            "banned user",
            "account suspended",
            "account is suspended",
            "account blocked",
            "account has been frozen",
            "account is frozen",
            "account frozen",
            "user locked",
            "user are frozen",
            "user is frozen",
            "account is locked",
            "account locked",
            "has been frozen",
            "under risk control",
        )
    ),
    *(
        (words, LIMITED)
        for words in (
            "rate limit",
            "too many request",
            "too many visits",
            "too frequent",
            "too frequently",
            "frequency limit",
            "access frequency",
            "too many times",
            "request limit",
            "requests limit",
            "throttled",
            "too many new orders",
            "request frequency",
            "too many attempts",
        )
    ),
    *(
        (words, MAINTENANCE)
        for words in (
            "maintenance",
            "maintain",
            "upgrading",
            "being upgraded",
            "system upgrade",
            "server upgrade",
            "service upgrade",
        )
    ),
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
            "difference from server time",
            "timestamp is expired",
            "invalid timestamp",
        )
    ),
    # About rights, although a key is named beside them.
    *(
        (words, RIGHTS)
        for words in (
            "no permission",
            "more permission",
            "have access to",
            "read access",
            "write access",
            "permission denied",
            "operation not allowed",
            "permissions for",
            "ip white",
            "ip is not",
            "unmatched ip",
            "white list",
            "whitelist",
            "bound to an ip",
            "bound ip",
            "api key does not support",
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
            "sign params",
            "error sign",
            "illegal sign",
            "sign not null",
            "invalid access_key",
            "accesskey",
            "api_key",
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
        for words in (
            "permission",
            "privilege",
            "not authorized",
            "not permitted",
            "forbid",
            "prohibited",
            "not allowed to access",
            "not allowed for",
            "not allowed to trade",
            "kyc",
            "identity verification",
            "verification is required",
            "agreement",
            "hasn't yet been enabled",
            "haven't yet enabled",
            "not enabled",
            "is disabled on",
            "is disabled for",
            "restricted for",
            "restricted from",
            "restricted access",
            "been restricted",
            "after account registration",
            "account registration",
        )
    ),
    *((words, CLASH) for words in ("duplicate", "already exist", "already in use", "repeated")),
    *(
        (words, MISSING)
        for words in (
            "not found",
            "does not exist",
            "doesn't exist",
            "doesnt exist",
            "not exist",
            "not exists",
            "not_exist",
            "unknown order",
            "no such",
            "no order found",
            "no orders to cancel",
            "no order to cancel",
        )
    ),
    *((words, LATE) for words in ("timed out", "timeout", "time out", "time-out")),
    *((words, BUSY) for words in ("system busy", "systems are busy", "is busy", "overloaded", "too busy")),
    *(
        (words, DOWN)
        for words in (
            "internal error",
            "internal server error",
            "internal system error",
            "system error",
            "server error",
            "service unavailable",
            "service not available",
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
