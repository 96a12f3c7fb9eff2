"""
What the type of an exception may say: the rules that ``exceptions.py`` and ``libraries.py`` file under names.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from egressor._core.model import ErrorCategory as Kind

__all__ = [
    "AUTH",
    "BUSY",
    "CANCELLED",
    "CLASH",
    "CONNECT",
    "CONNECT_TIMEOUT",
    "DNS",
    "DOWN",
    "GARBLED",
    "GEO",
    "KEY",
    "LIMITED",
    "LOCAL",
    "LOCKED",
    "MAINTAINED",
    "MALFORMED",
    "MISSING",
    "OURS",
    "POOL",
    "POOR",
    "PROGRAM",
    "PROXY",
    "REDIRECTS",
    "REFUSED",
    "REPLY",
    "RESET",
    "RIGHTS",
    "SETUP",
    "SKEWED",
    "SOME_TIMEOUT",
    "SPENT",
    "TIMEOUT",
    "TLS",
    "UNFOLLOWED",
    "UNPLACED",
    "WIRE",
    "TypeRule",
]


class TypeRule(NamedTuple):
    """
    What a type's name says.

    Attributes:
        kind: The category.
        what: What happened, in words.
        retry: Whether the same attempt may succeed later.
        ran: Whether the server may have executed it.
        counts: Whether the breaker counts it; None leaves it to the category.
        vague: Whether something inside the exception may know better.
        finer: Whether it says more than a bare status of 400: a library has read the body that came with it.
    """

    kind: Kind
    what: str
    retry: bool = False
    ran: bool = False
    counts: bool | None = None
    vague: bool = False
    finer: bool = False


REFUSED = TypeRule(Kind.NETWORK, "no connection, nothing was sent", retry=True)
DNS = TypeRule(Kind.NETWORK, "the name was not resolved, nothing was sent", retry=True)
TLS = TypeRule(Kind.NETWORK, "no TLS connection, nothing was sent")
PROXY = TypeRule(Kind.NETWORK, "the proxy gave no way to the service, nothing was sent", retry=True)
RESET = TypeRule(Kind.NETWORK, "the connection broke after sending", retry=True, ran=True)
CONNECT_TIMEOUT = TypeRule(Kind.TIMEOUT, "connecting took too long, nothing was sent", retry=True)
TIMEOUT = TypeRule(Kind.TIMEOUT, "no answer in time", retry=True, ran=True)
SOME_TIMEOUT = TIMEOUT._replace(vague=True)
# Our own crowding: the service neither saw the call nor is it to blame.
POOL = TypeRule(Kind.TIMEOUT, "no free connection in our pool, nothing was sent", retry=True, counts=False)
GARBLED = TypeRule(Kind.BAD_RESPONSE, "the answer can't be read", retry=True, ran=True)
REDIRECTS = TypeRule(Kind.BAD_RESPONSE, "too many redirects")
UNFOLLOWED = TypeRule(Kind.BAD_RESPONSE, "a redirect that was not followed")
OURS = TypeRule(Kind.BAD_REQUEST, "the request is malformed, nothing was sent")
PROGRAM = TypeRule(Kind.UNKNOWN, "an error of the program", counts=False, vague=True)
LOCAL = TypeRule(Kind.UNKNOWN, "an error of this host, not of the service", counts=False, vague=True)
CONNECT = TypeRule(Kind.NETWORK, "no connection", retry=True, vague=True)
WIRE = TypeRule(Kind.NETWORK, "the network failed", retry=True, ran=True, vague=True)
LIMITED = TypeRule(Kind.RATE_LIMIT, "a rate limit", retry=True)
AUTH = TypeRule(Kind.AUTHENTICATION, "the credentials were refused")

CANCELLED: Final = TypeRule(Kind.CANCELLED, "cancelled by the caller")
UNPLACED: Final = TypeRule(Kind.UNKNOWN, "not known, taken for the service's", retry=True, counts=True, vague=True)
BUSY = TypeRule(Kind.OVERLOADED, "overloaded", retry=True)
CLASH = TypeRule(Kind.CONFLICT, "a conflict", finer=True)
DOWN = TypeRule(Kind.SERVER_ERROR, "a server's error", retry=True, ran=True)
GEO = TypeRule(Kind.GEO_BLOCK, "not offered from here", finer=True)
KEY = TypeRule(Kind.AUTHENTICATION, "the credentials were refused", finer=True)
LOCKED = TypeRule(Kind.BAN, "the account is blocked", finer=True)
MAINTAINED = TypeRule(Kind.MAINTENANCE, "maintenance", retry=True, finer=True)
MALFORMED = TypeRule(Kind.BAD_REQUEST, "a bad request")
MISSING = TypeRule(Kind.NOT_FOUND, "not found", finer=True)
POOR = TypeRule(Kind.INSUFFICIENT_FUNDS, "not enough funds", finer=True)
# Redis's, whose first word says what it is (`exceptions.py`).
REPLY = TypeRule(Kind.BAD_REQUEST, "an error that the server replied")
RIGHTS = TypeRule(Kind.PERMISSION, "not allowed", finer=True)
SETUP = TypeRule(Kind.CONFIGURATION, "a setting is wrong")
SKEWED = TypeRule(Kind.CLOCK_SKEW, "the clocks differ", retry=True, finer=True)
SPENT = TypeRule(Kind.QUOTA_EXHAUSTED, "a quota is spent", finer=True)
