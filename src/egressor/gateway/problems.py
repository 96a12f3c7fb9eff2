"""
What the gateway answers where no upstream did: RFC 9457 problems, that a provider's own SDK can read too.

A problem says in ``reason``, a stable word, why; ``retry_after`` says when the same request may succeed. Where asking
again is pointless, or has to wait for longer than an SDK should sleep, it carries ``x-should-retry: false``, which the
OpenAI and Anthropic SDKs obey; a budget whose money calls under way hold, and may give back, says ``true``.
"""

from __future__ import annotations

import json
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from egressor.governor.money import STATE_IT
from egressor.policies.checks import nearest

from .shapes import NAMELESS, shaped, spoken

if TYPE_CHECKING:
    from collections.abc import Iterable

    from egressor.errors import Rejected

__all__ = ["MEDIA_TYPE", "Problem", "RefusedError", "is_unpriced", "meant", "of_rejection"]

MEDIA_TYPE = "application/problem+json"
_STATUSES = {
    "wait_too_long": 429,
    "queue_full": 429,
    "never_fits": 413,
    "budget": 402,
    "circuit_open": 503,
    "shed": 503,
    "banned": 503,
    "paused": 503,
    "store": 503,
}
_TITLES = {
    "wait_too_long": "The wait does not fit",
    "queue_full": "The queue is full",
    "never_fits": "The cost can never fit the limit",
    "budget": "The budget has too little left",
    "circuit_open": "The circuit breaker is open",
    "shed": "The service limps, and more urgent calls go first",
    "banned": "The service has banned us",
    "paused": "The service is paused",
    "store": "The store is away",
}
_NO_PRICE = "What the request may cost is not known"
# Asking again some seconds later changes nothing about these.
_POINTLESS = frozenset({"never_fits", "budget"})
_MOMENT = 1.0
# Seconds. The longest Retry-After that all of these SDKs keep (`_calculate_retry_timeout` in their `_base_client.py`):
# above it groq 1.7, as older versions of the others, comes again within 8 seconds, which is in vain; openai 3.54 gives
# up above 120; anthropic 2.12 has no bound but that of the platform, and would sleep for an hour in its user's call.
_LONGEST_SLEEP = 60


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
        too_long = self._seconds is not None and self._seconds > _LONGEST_SLEEP
        return self.is_final or too_long or (400 <= self.status < 500 and self.status not in {402, 408, 429})

    def headers(self) -> dict[str, str]:
        """
        Return the headers that say when, or that never, to try again.
        """
        headers = {"Content-Type": MEDIA_TYPE, "Cache-Control": "no-store"}
        if self._seconds is not None:
            headers["Retry-After"] = str(self._seconds)
        if self.says_stop:
            headers["x-should-retry"] = "false"
        elif self.status == 402:
            # No SDK comes again by itself after that status.
            headers["x-should-retry"] = "true"
        return headers

    def document(self, dialect: str = "generic") -> dict[str, object]:
        """
        Return the body, with the members that the SDKs of *dialect* look for.
        """
        own = shaped(dialect, self.status, reason=self.reason, detail=self.detail, seconds=self._seconds)
        document: dict[str, object] = {
            "type": f"urn:egressor:problem:{self.reason}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "reason": self.reason,
            "retry_after": self.retry_after,
        }
        # Twice: theirs stand first, and theirs win.
        return own | document | own

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
        name = "" if spoken(dialect) in NAMELESS else "event: error\n"
        return f"{name}data: {data}\n\n".encode()

    def line(self, dialect: str = "generic") -> bytes:
        """
        Return the problem as a line of JSON, for a stream of such lines that has begun already.
        """
        return self.body(dialect) + b"\n"

    @property
    def _seconds(self) -> int | None:
        return None if self.retry_after is None else ceil(self.retry_after)


class RefusedError(Exception):
    """
    A request that ends in *problem*, with *headers* of its own, before it has come to the governor.
    """

    def __init__(self, problem: Problem, headers: dict[str, str] | None = None) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.headers = headers or {}


def meant(word: str, known: Iterable[str]) -> str:
    """
    Return the end of a detail about *word*, with the nearest of those that there are; empty where none is near.
    """
    near = nearest(word, known)
    return f" (did you mean {near!r}?)" if near else ""


def is_unpriced(error: Rejected) -> bool:
    """
    Whether *error* says that nobody knows what the request may cost.
    """
    return (error.reason, error.key) == ("budget", "price")


def of_rejection(error: Rejected) -> Problem:
    """
    Return the governor's refusal as a problem.
    """
    reason = error.reason
    if error.key == "only-if-cached":
        # RFC 9111 section 5.2.1.7.
        return Problem(504, "not_cached", "No kept answer", str(error), is_final=True)
    is_final = reason in _POINTLESS or (reason == "paused" and error.retry_after is None)
    if reason == "budget" and error.retry_after is not None and error.retry_after <= _MOMENT:
        # Calls under way hold the money, and may give some of it back.
        is_final = False
    # Nothing need be spent where nobody knows what the request may cost.
    title = _NO_PRICE if is_unpriced(error) else _TITLES.get(reason, "Refused")
    return Problem(
        _STATUSES.get(reason, 503),
        reason,
        title,
        str(error).removesuffix(STATE_IT),
        retry_after=error.retry_after,
        is_final=is_final,
    )
