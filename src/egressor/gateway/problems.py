"""
What the gateway answers where no upstream did: RFC 9457 problems, that a provider's own SDK can read too.

A problem says in ``reason``, a stable word, why; ``retry_after`` says when the same request may succeed. Where asking
again is pointless it carries ``x-should-retry: false``, which the OpenAI and Anthropic SDKs obey.
"""

from __future__ import annotations

import json
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from egressor.errors import Rejected

__all__ = ["MEDIA_TYPE", "Problem", "RefusedError", "of_rejection"]

MEDIA_TYPE = "application/problem+json"
_STATUSES = {
    "wait_too_long": 429,
    "queue_full": 429,
    "never_fits": 413,
    "budget": 402,
    "circuit_open": 503,
    "banned": 503,
    "paused": 503,
    "store": 503,
}
_TITLES = {
    "wait_too_long": "The wait does not fit",
    "queue_full": "The queue is full",
    "never_fits": "The cost can never fit the limit",
    "budget": "The budget is spent",
    "circuit_open": "The circuit breaker is open",
    "banned": "The service has banned us",
    "paused": "The service is paused",
    "store": "The store is away",
}
# Words of the OpenAI and Anthropic APIs for the same statuses.
_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "request_too_large",
    421: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
# Asking again some seconds later changes nothing about these.
_POINTLESS = frozenset({"never_fits", "budget"})


class Problem(NamedTuple):
    """
    A refusal or failure, as a value.

    Attributes:
        status: The HTTP status.
        reason: A stable, lower-case word for programs.
        title: The kind of problem in words.
        detail: This one in words: the thing, the value, the limit. Never a secret.
        retry_after: Seconds after which the same request may succeed; None where nobody knows.
        is_final: Whether sending the same request again soon is pointless.
    """

    status: int
    reason: str
    title: str
    detail: str
    retry_after: float | None = None
    is_final: bool = False

    @property
    def says_stop(self) -> bool:
        """
        Whether an SDK is told not to retry.
        """
        return self.is_final or (400 <= self.status < 500 and self.status not in {408, 429})

    def headers(self) -> dict[str, str]:
        """
        Return the headers that say when, or that never, to try again.
        """
        headers = {"Content-Type": MEDIA_TYPE, "Cache-Control": "no-store"}
        if self.retry_after is not None:
            headers["Retry-After"] = str(ceil(self.retry_after))
        if self.says_stop:
            headers["x-should-retry"] = "false"
        return headers

    def document(self, dialect: str = "generic") -> dict[str, object]:
        """
        Return the body, with the members that the SDKs of *dialect* look for.
        """
        document: dict[str, object] = {
            "type": f"urn:egressor:problem:{self.reason}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "reason": self.reason,
            "retry_after": self.retry_after,
        }
        if dialect == "openai":
            document["error"] = {"message": self.detail, "type": self._kind, "param": None, "code": self.reason}
        elif dialect == "anthropic":
            # Its SDK knows an error by this type; as a relative reference it is a type in RFC 9457's sense still.
            document["type"] = "error"
            document["error"] = {"type": self._kind, "message": self.detail}
        return document

    def body(self, dialect: str = "generic") -> bytes:
        """
        Return the body as JSON.
        """
        return json.dumps(self.document(dialect), ensure_ascii=False).encode()

    def event(self, dialect: str = "generic") -> bytes:
        """
        Return the problem as a server-sent event, for a stream that has begun already.
        """
        data = json.dumps(self.document(dialect))
        # OpenAI's streams have no event names: its SDK looks for the error in the data.
        return f"data: {data}\n\n".encode() if dialect == "openai" else f"event: error\ndata: {data}\n\n".encode()

    def line(self, dialect: str = "generic") -> bytes:
        """
        Return the problem as a line of JSON, for a stream of such lines that has begun already.
        """
        return self.body(dialect) + b"\n"

    @property
    def _kind(self) -> str:
        return _KINDS.get(self.status, "api_error")


class RefusedError(Exception):
    """
    A request that ends in *problem*, with *headers* of its own, before it has come to the governor.
    """

    def __init__(self, problem: Problem, headers: dict[str, str] | None = None) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.headers = headers or {}


def of_rejection(error: Rejected) -> Problem:
    """
    Return the governor's refusal as a problem.
    """
    reason = error.reason
    is_final = reason in _POINTLESS or (reason == "paused" and error.retry_after is None)
    return Problem(
        _STATUSES.get(reason, 503),
        reason,
        _TITLES.get(reason, "Refused"),
        str(error),
        retry_after=error.retry_after,
        is_final=is_final,
    )
