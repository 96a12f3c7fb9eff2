"""
What an exception's message says, where its type and what it wraps say too little.

Only a library's or a user's own class is read this way: the text of a bare RuntimeError is anybody's. Addresses are
left out before any word counts, since their words are the caller's. No regular expression runs.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from egressor._core.saying import words_of
from egressor._core.type_rules import (
    AUTH,
    BUSY,
    CLASH,
    CONNECT_TIMEOUT,
    DNS,
    DOWN,
    GARBLED,
    LIMITED,
    MALFORMED,
    MISSING,
    POOR,
    REDIRECTS,
    REFUSED,
    RESET,
    RIGHTS,
    SKEWED,
    SPENT,
    TIMEOUT,
    TLS,
    UNFOLLOWED,
    WIRE,
    TypeRule,
)

__all__ = ["by_text", "errno_in_text", "message", "speaks_of_keys", "status_in_text", "unaddressed"]

_MESSAGE: Final = 4096
_SAID: Final = 512
_WORDS: Final = 64
_METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
# What stands before a status in a message.
_BEFORE: Final = frozenset(
    {"code", "error", "gateway", "got", "http", "received", "request", "response", "returned", "status"}
)
_MARKS: Final = "'\"()[],.:;"
_FILLERS: Final = frozenset({"", "=", "a", "an", "is", "was", "of", "unexpected"})
# Messages of libraries that keep no link to what happened; the first that is found decides.
_PHRASES: Final[tuple[tuple[str, TypeRule], ...]] = (
    ("authentication failed", AUTH),
    ("no pg_hba.conf entry", AUTH),
    # The peer hung up in the middle of a handshake or after it: as transient as any other hanging up.
    ("eof occurred in violation", RESET),
    ("unexpected_eof_while_reading", RESET),
    ("[ssl:", TLS),
    ("sslerror(", TLS),
    ("certificate verify failed", TLS),
    ("self-signed certificate", TLS),
    ("certificate has expired", TLS),
    ("wrong version number", TLS),
    # What gRPC's errors say of themselves (https://grpc.io/docs/guides/status-codes/).
    ("statuscode.resource_exhausted", LIMITED),
    ("statuscode.unauthenticated", AUTH),
    ("statuscode.permission_denied", RIGHTS),
    ("statuscode.not_found", MISSING),
    ("statuscode.already_exists", CLASH),
    ("statuscode.invalid_argument", MALFORMED),
    ("statuscode.failed_precondition", MALFORMED),
    ("statuscode.out_of_range", MALFORMED),
    ("statuscode.deadline_exceeded", TIMEOUT),
    ("statuscode.unavailable", DOWN._replace(ran=False)),
    ("statuscode.internal", DOWN),
    ("statuscode.aborted", CLASH._replace(retry=True)),
    # Chromium's and Firefox's names, as browsers that are steered quote them.
    ("err_connection_refused", REFUSED),
    ("err_name_not_resolved", DNS),
    ("err_internet_disconnected", REFUSED),
    ("err_connection_timed_out", CONNECT_TIMEOUT),
    ("err_timed_out", TIMEOUT),
    ("err_cert_", TLS),
    ("err_ssl_", TLS),
    ("err_too_many_redirects", REDIRECTS),
    ("err_connection_", RESET),
    ("err_empty_response", RESET),
    ("err_http2_", RESET),
    ("ns_error_unknown_host", DNS),
    ("ns_error_connection_refused", REFUSED),
    ("ns_error_net_", RESET),
    # A card without money behind it (https://docs.stripe.com/declines/codes).
    ("card has insufficient funds", POOR),
    ("timed out", TIMEOUT),
    ("timeouterror", TIMEOUT),
    ("timeout error", TIMEOUT),
    ("timeout expired", CONNECT_TIMEOUT),
    ("timeout reading", TIMEOUT),
    ("timeout connecting", CONNECT_TIMEOUT),
    ("deadline exceeded", TIMEOUT),
    ("name or service not known", DNS),
    ("domain name not found", DNS),
    ("nodename nor servname", DNS),
    ("no address associated with hostname", DNS),
    ("name resolution", DNS),
    ("getaddrinfo failed", DNS),
    ("dns lookup failed", DNS),
    ("connection refused", REFUSED),
    ("connection was refused", REFUSED),
    ("newconnectionerror", REFUSED),
    ("connect call failed", REFUSED),
    ("all connection attempts failed", REFUSED),
    ("no route to host", REFUSED),
    ("no servers available", REFUSED),
    ("network is unreachable", REFUSED),
    ("cannot connect to proxy", REFUSED),
    ("unable to connect", REFUSED),
    ("failed to connect", REFUSED),
    ("could not connect", REFUSED),
    ("couldn't connect", REFUSED),
    ("can't connect", REFUSED),
    ("lost connection", RESET),
    # SQLite's one writer, MySQL's, PostgreSQL's.
    ("database is locked", CLASH._replace(retry=True)),
    ("deadlock", CLASH._replace(retry=True)),
    ("too many clients", BUSY),
    ("too many connections", BUSY),
    ("max number of clients", BUSY),
    ("system is starting up", BUSY),
    ("connection reset", RESET),
    ("connection aborted", RESET),
    ("connection closed", RESET),
    ("closed the connection", RESET),
    ("connection to the other side was lost", RESET),
    ("server disconnected", RESET),
    ("without sending complete message", RESET),
    ("without sending a response", RESET),
    ("broken pipe", RESET),
    ("internal server error", DOWN),
    ("bad gateway", DOWN),
    ("service unavailable", DOWN),
    ("gateway time", TIMEOUT),
    # httpx's raise_for_status.
    ("redirect response '", UNFOLLOWED),
    ("too many redirects", REDIRECTS),
    ("toomanyredirects", REDIRECTS),
    ("exceeded 30 redirects", REDIRECTS),
    ("maximum allowed redirects", REDIRECTS),
    ("redirect error that would lead to an infinite loop", REDIRECTS),
    # Broken off before its end, rather than unreadable.
    ("not enough data to satisfy", RESET),
    ("incompleteread", RESET),
    ("failed to decode", GARBLED),
    ("not decode", GARBLED),
    ("while decompressing", GARBLED),
    ("parse json", GARBLED),
    ("jsondecodeerror", GARBLED),
    ("unexpected mimetype", GARBLED),
    # What generated SDKs (mistralai) say of a page with a good status.
    ("unexpected response received: status 2", GARBLED),
    ("invalid server response", GARBLED),
)

# Codes of clouds, where an SDK has kept no more than a message: "An error occurred (ThrottlingException) when calling
# …" (botocore), "(ResourceNotFound) …" (azure.core). In lower case, without their endings.
_CODES: Final[dict[str, TypeRule]] = {
    **dict.fromkeys(
        (
            *("limitexceeded", "provisionedthroughputexceeded", "requestlimitexceeded", "slowdown", "throttled"),
            *("throttling", "toomanyrequests"),
        ),
        LIMITED,
    ),
    **dict.fromkeys(("quotaexceeded", "servicequotaexceeded"), SPENT),
    **dict.fromkeys(
        (
            *("authenticationfailed", "authfailure", "expiredtoken", "invalidaccesskeyid", "invalidclienttokenid"),
            *("invalidsignature", "missingauthenticationtoken", "signaturedoesnotmatch", "unrecognizedclient"),
        ),
        AUTH,
    ),
    **dict.fromkeys(("accessdenied", "authorizationfailed", "forbidden", "unauthorizedoperation"), RIGHTS),
    **dict.fromkeys(
        (
            *("404", "blobnotfound", "nosuchbucket", "nosuchentity", "nosuchkey", "resourcegroupnotfound"),
            *("resourcenotfound",),
        ),
        MISSING,
    ),
    **dict.fromkeys(("conditionalcheckfailed", "conflict", "resourcealreadyexists", "resourceinuse"), CLASH),
    **dict.fromkeys(("invalidparametervalue", "validation"), MALFORMED),
    **dict.fromkeys(("internalfailure", "internalserver", "internalservererror", "modelerror"), DOWN),
    **dict.fromkeys(("modelnotready", "serverbusy"), BUSY),
    "requesttimetooskewed": SKEWED,
    **dict.fromkeys(("modeltimeout", "operationtimedout", "requesttimeout"), TIMEOUT),
    "serviceunavailable": DOWN,
}


def by_text(exc: BaseException) -> TypeRule | None:
    """
    Place *exc* by the first 512 characters of its message; None if no phrase is known, or if it is of a built-in type.

    Addresses are left out: their words are the caller's.
    """
    if type(exc).__module__ == "builtins":
        return None
    text = unaddressed(message(exc)[: 2 * _SAID])
    words = text.split(None, 2)
    if len(words) == 2 and words[1] in _METHODS:
        # ccxt's message where there was no answer at all: its own name, the method, the address.
        return WIRE
    low = text[:_SAID].lower()
    coded = _CODES.get(_bracketed(low))
    if coded is not None:
        return coded
    return next((rule for phrase, rule in _PHRASES if phrase in low), None)


def _bracketed(low: str) -> str:
    """
    Find the code in the first brackets of a cloud's message, without its ending; empty if there is none.
    """
    if not low.startswith(("(", "an error occurred (")):
        return ""
    word = low.partition("(")[2].partition(")")[0]
    return word.removesuffix("exception").removesuffix("error") if word.isalnum() else ""


def message(exc: BaseException) -> str:
    """
    Return what *exc* says, at most 4,096 characters; empty where saying it raises.
    """
    try:
        return words_of(exc)[:_MESSAGE]
    except Exception:  # noqa: BLE001 - somebody's __str__ may raise anything
        return ""


def unaddressed(text: str) -> str:
    """
    Leave the addresses out of a message: a path or a query says nothing of what happened.

    "binance GET https://…/account?recvWindow=5000&signature=…" is no word on a clock or a signature.
    """
    if "/" not in text:
        return text
    kept, is_next = [], False
    for word in text.split(" "):
        if not is_next and "://" not in word:
            kept.append(word)
        is_next = word.endswith("url:")
    return " ".join(kept)


def status_in_text(exc: BaseException) -> int | None:
    """
    Read the status that a library leaves only in its message; None if there is none.

    "too many 429 error responses" (urllib3), "Error code: 429 - …" (openai), "received 503 HTTP response" (prawcore),
    "Client error '404 Not Found' for url …" (httpx), "binance GET https://… 502 Bad Gateway" (ccxt), "403 Forbidden"
    (tweepy). A number counts only behind such a word, or as the first word of all.
    """
    if type(exc).__module__ == "builtins":
        return None
    words = message(exc).split(None, _WORDS)
    before = ""
    # "status code = 429", "returned a 403", "is not 200".
    for word, after in pairwise([*words[: _WORDS + 1], ""]):
        if word.isalpha():
            before = word.lower() if word not in _FILLERS else before
            continue
        bare = word.strip(_MARKS)
        # "400, message:" is aiohttp's complaint of what it could not parse, and no answer's status.
        is_status = len(bare) == 3 and bare.isascii() and bare.isdigit() and "400" <= bare <= "599"
        is_status = is_status and after != "message:"
        if is_status and (not before or before in _BEFORE or before.startswith(("http://", "https://"))):
            return int(bare)
        if is_status and before == "many" and after == "error":
            return int(bare)
        if bare not in _FILLERS:
            before = bare.lower()
    return None


def errno_in_text(exc: BaseException) -> int | None:
    """
    Read "[Errno 111] …", which is left of the number where somebody has wrapped only the words.
    """
    _, begun, rest = message(exc)[:_SAID].partition("[Errno ")
    digits = rest[:4].partition("]")[0]
    return int(digits) if begun and digits.isascii() and digits.isdigit() else None


def speaks_of_keys(exc: BaseException) -> bool:
    text = message(exc)[:_SAID].lower()
    return any(word in text for word in ("key", "token", "credential", "authenticat", "log in", "login"))
