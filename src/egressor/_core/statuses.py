"""
What an HTTP status says by itself: the table, and the section that says so.

RFC 9110 is HTTP's semantics, RFC 6585 its additional codes. A status that isn't listed counts as the first of its
class, as RFC 9110 15 asks; one above 599 as a 500. *ran* stands for "the server may have executed the request": a 4xx
is a refusal, so that it is False there; a 5xx tells only that no answer came out, so that it is True unless the code
itself says that the request was not taken.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from egressor._core.model import ErrorCategory as Kind

__all__ = ["STATUSES", "StatusRule", "status_rule"]


class StatusRule(NamedTuple):
    """
    One row: the kind of failure, where it is written, and what it allows.

    Attributes:
        kind: The category.
        source: Document and section.
        retry: Whether the same request may succeed later.
        ran: Whether the server may have executed it.
        told: Whether it may be sent again only where the server names a wait.
    """

    kind: Kind
    source: str
    retry: bool = False
    ran: bool = False
    told: bool = False


STATUSES: Final[dict[int, StatusRule]] = {
    400: StatusRule(Kind.BAD_REQUEST, "RFC 9110 15.5.1"),
    401: StatusRule(Kind.AUTHENTICATION, "RFC 9110 15.5.2"),
    402: StatusRule(Kind.QUOTA_EXHAUSTED, "RFC 9110 15.5.3, as paid APIs use it"),
    403: StatusRule(Kind.PERMISSION, "RFC 9110 15.5.4"),
    404: StatusRule(Kind.NOT_FOUND, "RFC 9110 15.5.5"),
    405: StatusRule(Kind.BAD_REQUEST, "RFC 9110 15.5.6"),
    406: StatusRule(Kind.BAD_REQUEST, "RFC 9110 15.5.7"),
    407: StatusRule(Kind.AUTHENTICATION, "RFC 9110 15.5.8"),
    # The server did not get the whole request in time, so that it ran nothing; it may be repeated.
    408: StatusRule(Kind.TIMEOUT, "RFC 9110 15.5.9", retry=True),
    409: StatusRule(Kind.CONFLICT, "RFC 9110 15.5.10"),
    410: StatusRule(Kind.NOT_FOUND, "RFC 9110 15.5.11"),
    411: StatusRule(Kind.BAD_REQUEST, "RFC 9110 15.5.12"),
    # The resource is not in the state that the request expects: somebody else was there first.
    412: StatusRule(Kind.CONFLICT, "RFC 9110 15.5.13"),
    # A 413 with Retry-After is temporary, and the section says so.
    413: StatusRule(Kind.BAD_REQUEST, "RFC 9110 15.5.14", told=True),
    414: StatusRule(Kind.BAD_REQUEST, "RFC 9110 15.5.15"),
    415: StatusRule(Kind.BAD_REQUEST, "RFC 9110 15.5.16"),
    416: StatusRule(Kind.BAD_REQUEST, "RFC 9110 15.5.17"),
    417: StatusRule(Kind.BAD_REQUEST, "RFC 9110 15.5.18"),
    # Unused by the RFC; with a Retry-After it is a ban in the words of Binance's API (see answers.py).
    418: StatusRule(Kind.UNKNOWN, "RFC 9110 15.5.19, unused", told=True),
    # X's old API and Telegram's FLOOD: "enhance your calm", older than 429.
    420: StatusRule(Kind.RATE_LIMIT, "older than RFC 6585, used by X and Telegram", retry=True),
    # This server doesn't answer for that host: our base URL or our connection pool is wrong.
    421: StatusRule(Kind.CONFIGURATION, "RFC 9110 15.5.20"),
    422: StatusRule(Kind.BAD_REQUEST, "RFC 9110 15.5.21"),
    423: StatusRule(Kind.CONFLICT, "RFC 4918 11.3"),
    424: StatusRule(Kind.BAD_REQUEST, "RFC 4918 11.4"),
    # Refused only because it came as early data: the same request may go again, later.
    425: StatusRule(Kind.BAD_REQUEST, "RFC 8470 5.2", retry=True),
    426: StatusRule(Kind.BAD_REQUEST, "RFC 9110 15.5.22"),
    428: StatusRule(Kind.BAD_REQUEST, "RFC 6585 3"),
    429: StatusRule(Kind.RATE_LIMIT, "RFC 6585 4", retry=True),
    431: StatusRule(Kind.BAD_REQUEST, "RFC 6585 5"),
    440: StatusRule(Kind.AUTHENTICATION, "in no RFC, IIS, the login has expired"),
    451: StatusRule(Kind.GEO_BLOCK, "RFC 7725 3"),
    # In no RFC: an invalid token at Esri; Groq's "no capacity" is told apart by its code (see answers.py).
    498: StatusRule(Kind.AUTHENTICATION, "in no RFC, invalid token"),
    # nginx's "the client closed the connection", seen through a proxy that believes that we left.
    499: StatusRule(Kind.CANCELLED, "in no RFC, nginx", ran=True),
    500: StatusRule(Kind.SERVER_ERROR, "RFC 9110 15.6.1", retry=True, ran=True),
    501: StatusRule(Kind.SERVER_ERROR, "RFC 9110 15.6.2"),
    502: StatusRule(Kind.SERVER_ERROR, "RFC 9110 15.6.3", retry=True, ran=True),
    503: StatusRule(Kind.SERVER_ERROR, "RFC 9110 15.6.4", retry=True, ran=True),
    504: StatusRule(Kind.TIMEOUT, "RFC 9110 15.6.5", retry=True, ran=True),
    505: StatusRule(Kind.SERVER_ERROR, "RFC 9110 15.6.6"),
    506: StatusRule(Kind.SERVER_ERROR, "RFC 2295 8.1"),
    # "MUST NOT be repeated until it is requested by a separate user action".
    507: StatusRule(Kind.SERVER_ERROR, "RFC 4918 11.5"),
    508: StatusRule(Kind.SERVER_ERROR, "RFC 5842 7.2"),
    510: StatusRule(Kind.SERVER_ERROR, "RFC 2774 7"),
    # The network between us and the service wants a login (a captive portal): the service saw nothing.
    511: StatusRule(Kind.NETWORK, "RFC 6585 6"),
    # Cloudflare stands before the origin. 521, 523, 525, 526 and 530 never reached it; 526 needs its owner's hand.
    520: StatusRule(Kind.SERVER_ERROR, "Cloudflare 520, unknown answer", retry=True, ran=True),
    521: StatusRule(Kind.SERVER_ERROR, "Cloudflare 521, origin refused", retry=True),
    522: StatusRule(Kind.TIMEOUT, "Cloudflare 522, origin time-out", retry=True, ran=True),
    523: StatusRule(Kind.SERVER_ERROR, "Cloudflare 523, origin unreachable", retry=True),
    524: StatusRule(Kind.TIMEOUT, "Cloudflare 524, origin time-out", retry=True, ran=True),
    525: StatusRule(Kind.SERVER_ERROR, "Cloudflare 525, origin TLS handshake", retry=True),
    526: StatusRule(Kind.SERVER_ERROR, "Cloudflare 526, origin certificate"),
    527: StatusRule(Kind.SERVER_ERROR, "Cloudflare 527, Railgun", retry=True, ran=True),
    # Refused at the door for lack of capacity (Anthropic).
    529: StatusRule(Kind.OVERLOADED, "in no RFC, Anthropic overloaded", retry=True),
    530: StatusRule(Kind.SERVER_ERROR, "Cloudflare 530, origin DNS", retry=True),
    598: StatusRule(Kind.TIMEOUT, "in no RFC, proxies' read time-out", retry=True, ran=True),
    599: StatusRule(Kind.TIMEOUT, "in no RFC, proxies' time-out", retry=True, ran=True),
}


def status_rule(status: int) -> StatusRule:
    """
    Look up the rule of a *status* of 400 and above.
    """
    rule = STATUSES.get(status)
    if rule is not None:
        return rule
    if status < 500:
        return STATUSES[400]._replace(source="RFC 9110 15, read as a 400")
    return STATUSES[500]._replace(source="RFC 9110 15, read as a 500")
