"""
What the attempts of every client library share: the reading of an answer, and what may be sent again.

What an attempt comes to:

- a good status with a body: an open outcome, whose lease the body holds. Where the service's dialect puts errors into
  good answers, a short document is read first, as a failure is; a stream of events is listened to as it goes by;
- a good status without a body (HEAD, 204, 304): over at once, and the connection free for the next;
- any other status: up to 64 KiB of its body are read for the verdict and given to the caller as they came. A longer one
  goes on streaming to whoever gets it, without a lease;
- an exception: the client's own, and raised as such if it is the last.

A body that can be sent only once, an iterator's, is never sent again: once it was begun, no verdict is retryable.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from egressor._core.model import ErrorCategory, Outcome, Verdict
from egressor.dialects import Heed, classify, heed, with_hints
from egressor.dialects.inside import EVENTS
from egressor.policies.patterns import compile_patterns

from .hearing import Heard, count, counting

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from egressor._core.admission import Lease
    from egressor._core.cache import Found
    from egressor.dialects.asking import Asking
    from egressor.governor import Governor, Route
    from egressor.governor.caching import Memory, Tape
    from egressor.governor.money import Purse
    from egressor.governor.tokens import Tally

__all__ = ["BODILESS", "DROPPED", "MOST", "Answer", "Reading", "again", "is_idempotent", "lowered"]

MOST = 64 * 1024
"""
Bytes of a failing answer's body that are read for its verdict.
"""
BODILESS = frozenset({204, 304})
"""
Statuses whose answers have no body.
"""
DROPPED = Verdict(
    category=ErrorCategory.CANCELLED, scope="call", why="a response was dropped before its body was closed"
)
"""
How the lease of a response ends that nobody holds any more.
"""

_MICRO = 1_000_000
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})  # RFC 9110 9.2.2


class Answer:
    """
    What an attempt brought.

    Attributes:
        response: The client's response; None once it was handed out.
        error: What was raised, if it must not be tried again whatever it was; else None.
        verdict: The reading of it.
        heard: Listens to the body on its way; None where nobody does.
    """

    __slots__ = ("error", "heard", "response", "verdict")

    def __init__(
        self,
        verdict: Verdict,
        *,
        response: Any = None,
        error: Exception | None = None,
        heard: Heard | None = None,
    ) -> None:
        self.verdict = verdict
        self.response = response
        self.error = error
        self.heard = heard

    def take(self) -> Any:
        """
        Return the response, and forget it: the lease that its body holds must not hold the response.
        """
        if self.error is not None:
            raise self.error
        response, self.response = self.response, None
        return response


class Reading:
    """
    What all attempts share: all that is neither blocking nor awaiting.

    Args:
        gov: The governor.
        route: Where the request goes.
        request: The request.
        memory: Its part in the service's cache, if it has one.

    Attributes:
        said: What a failing answer said.
        purse: The call's money; None if no budget applies to it.
        tally: The call's tokens; None if no limit counts them.
        asking: A body, and what was read in it, once somebody has.
    """

    said = b""
    purse: Purse | None = None
    tally: Tally | None = None
    asking: tuple[bytes, Asking | None] | None = None

    def __init__(self, gov: Governor, route: Route, request: Any, memory: Memory | None = None) -> None:
        self._clock = gov.clock
        self._route = route
        policy = route.gate.compiled.policy
        self._dialect = policy.dialect
        self._learns = policy.learn != "off"
        self._patterns = compile_patterns(policy.errors)
        self._request = request
        self._memory = memory

    def asked(self) -> tuple[str, str, bytes | None]:
        """
        Return the method, the path, and the body; None for one that can't be read now.
        """
        raise NotImplementedError

    @property
    def size(self) -> int:
        """
        How many bytes the body has; 0 if the request does not say.
        """
        length = str(self._request.headers.get("content-length", ""))
        return int(length) if length.isdecimal() and len(length) < 16 else 0

    def is_spent(self) -> bool:
        """
        Whether the request's body has gone, and can't be sent a second time.
        """
        raise NotImplementedError

    def _until(self, lease: Lease, timeout: float | None) -> int | None:
        if self.tally is not None:
            self.tally.lease = lease
        if self._memory is not None:
            self._memory.sent()
        return None if timeout is None else self._clock.now() + int(timeout * _MICRO)

    def _verdict(self, status: int, headers: Mapping[str, str], body: bytes | None = None) -> Verdict:
        wall = self._clock.wall() / _MICRO
        verdict = classify(
            status=status, headers=headers, body=body, dialect=self._dialect, now=wall, patterns=self._patterns
        )
        if self._learns:
            verdict = with_hints(verdict, headers, dialect=self._dialect, now=wall, status=status)
        # What the history is told of a failing answer.
        self.said = b"" if body is None or verdict.ok else body
        return self._final(verdict)

    def _heed(self, status: int, headers: Mapping[str, str]) -> Heed:
        return heed(status, headers, self._dialect) if self._has_body(status) else Heed.NOT

    def _listener(
        self, status: int, headers: Mapping[str, str], unpack: Callable[[bytes], bytes] | None = None
    ) -> Heard:
        """
        Return what listens to a body; it refers to nothing that holds the response.
        """
        clock, dialect, patterns = self._clock, self._dialect, self._patterns

        def judge(body: bytes) -> Verdict:
            return classify(
                status=status,
                headers=headers,
                body=body if unpack is None else unpack(body),
                dialect=dialect,
                now=clock.wall() / _MICRO,
                patterns=patterns,
            )

        return Heard(judge, is_events=headers.get("content-type", "").strip().lower().startswith(EVENTS))

    def _tape(self, status: int, reason: str, headers: Any, *, ok: bool) -> Tape | None:
        """
        Return what notes the answer for the cache; None if it is not for it.
        """
        if self._memory is None:
            return None
        pairs = headers if isinstance(headers, list) else lowered(headers)
        tape = self._memory.listen(status, reason, pairs, ok=ok)
        if tape is not None:
            tape.is_capped = self._is_capped
        return tape

    @property
    def _is_capped(self) -> bool:
        return self.purse is not None and self.purse.max_tokens is not None

    def _count(self, headers: Mapping[str, str], body: bytes, verdict: Verdict) -> None:
        """
        Read the cost and the tokens of a good answer that has come whole.
        """
        if verdict.ok:
            count(headers.get("content-type", ""), body, purse=self.purse, tally=self.tally)

    def _counted(self, headers: Mapping[str, str], heard: Heard | None) -> Heard | None:
        """
        Return what listens to the body of a good answer: to its cost and its tokens, too, where somebody counts them.
        """
        return counting(headers.get("content-type", ""), heard, purse=self.purse, tally=self.tally)

    def _final(self, verdict: Verdict) -> Verdict:
        return replace(verdict, retryable=False) if verdict.retryable and self.is_spent() else verdict

    def _raised(self, error: Exception) -> Outcome:
        if not self.is_spent():
            raise error
        verdict = self._final(classify(error, dialect=self._dialect, patterns=self._patterns))
        return Outcome(Answer(verdict, error=error), verdict=verdict)

    def _is_hurried(self, timeout: float | None) -> bool:
        # The caller's deadline left less than the policy's time-out: that it passed says nothing about the service.
        return timeout is not None and timeout < self._route.gate.compiled.policy.timeout

    def _has_body(self, status: int) -> bool:
        return self._request.method != "HEAD" and status not in BODILESS

    def _is_enough(self, size: int, until: int | None, most: int = MOST) -> bool:
        return size > most or (until is not None and self._clock.now() >= until)

    def _late(self) -> str:
        return f"{self._route.service}: the deadline was over before the attempt was sent"


def lowered(headers: Any) -> list[tuple[str, str]]:
    """
    Return headers as pairs, their names in lower case.
    """
    pairs = headers.multi_items() if hasattr(headers, "multi_items") else headers.items()
    # requests lets a header be bytes.
    texts = [[each.decode("latin-1") if isinstance(each, bytes) else str(each) for each in pair] for pair in pairs]
    return [(name.lower(), value) for name, value in texts]


def again(found: Found) -> list[tuple[str, str]]:
    """
    Return the headers of an answer that is given again: how old it is, and that it is no new one.
    """
    told = [("age", str(found.age // _MICRO)), ("egressor-cache", "stale" if found.is_stale else "hit")]
    return [*found.entry.headers, *told]


def is_idempotent(request: Any) -> bool:
    """
    Whether *request* may be sent again after it may have been executed: by its method, or by its idempotency key.

    A key that is empty, or blank, is none: no service could know the second request by it.
    """
    return request.method in _IDEMPOTENT or bool(request.headers.get("idempotency-key", "").strip())
