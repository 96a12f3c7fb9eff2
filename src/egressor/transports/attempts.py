"""
One request as a wish: sent by a client's own transport, read as far as its verdict needs.

What an attempt comes to:

- a good status with a body: an open outcome, whose lease the body holds (`bodies`);
- a good status without a body (HEAD, 204, 304): over at once, and the connection free for the next;
- any other status: up to 64 KiB of its body are read for the verdict and given to the caller byte by byte as they came.
  A longer one goes on streaming to whoever gets it, without a lease;
- an exception: the client's own, and raised as such if it is the last.

A body that can be sent only once, an iterator's, is never sent again: once it was begun, no verdict is retryable.
"""

from __future__ import annotations

from asyncio import CancelledError
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from egressor._core.classify import classify
from egressor._core.model import Outcome
from egressor._drivers.job import HURRIED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from egressor._core.admission import Lease
    from egressor._core.model import Verdict
    from egressor.governor import Governor, Route

    from .family import Family

__all__ = ["Answer", "AsyncAttempts", "Attempts", "is_idempotent"]

_MOST = 64 * 1024
_MICRO = 1_000_000
_PHASES = ("connect", "read", "write", "pool")
_BODILESS = frozenset({204, 304})
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})  # RFC 9110 9.2.2


class Answer:
    """
    What an attempt brought.

    Attributes:
        response: The client's response; None once it was handed out.
        error: What was raised, if it must not be tried again whatever it was; else None.
        verdict: The reading of it.
    """

    __slots__ = ("error", "response", "verdict")

    def __init__(self, verdict: Verdict, *, response: Any = None, error: Exception | None = None) -> None:
        self.verdict = verdict
        self.response = response
        self.error = error

    def take(self) -> Any:
        """
        Return the response, and forget it: the lease that its body holds must not hold the response.
        """
        if self.error is not None:
            raise self.error
        response, self.response = self.response, None
        return response


class _Reading:
    """
    What both colours share: all that is neither blocking nor awaiting.

    Args:
        gov: The governor.
        route: Where the request goes.
        family: Whose request it is.
        inner: The client's own transport.
        request: The request.
    """

    is_async = False

    def __init__(self, gov: Governor, route: Route, family: Family, inner: Any, request: Any) -> None:
        self._clock = gov.clock
        self._route = route
        self._dialect = route.gate.compiled.policy.dialect
        self._family = family
        self._inner = inner
        self._request = request
        self._once = family.watch(request.stream, is_async=self.is_async)
        self._left: Any = None

    def _fresh(self, timeout: float | None) -> Any:
        """
        Return the request for one attempt: the caller's own stays as it is.
        """
        request = self._request
        extensions = dict(request.extensions)
        if timeout is not None:
            if timeout <= 0:
                msg = f"{self._route.service}: the deadline was over before the attempt was sent"
                raise self._family.library.PoolTimeout(msg, request=request)
            extensions["timeout"] = _lowered(extensions.get("timeout") or {}, timeout)
        return self._family.library.Request(
            request.method,
            request.url,
            headers=request.headers,
            stream=request.stream if self._once is None else self._once,
            extensions=extensions,
        )

    def _until(self, timeout: float | None) -> int | None:
        return None if timeout is None else self._clock.now() + int(timeout * _MICRO)

    def _verdict(self, response: Any, body: bytes | None = None) -> Verdict:
        verdict = classify(
            status=response.status_code,
            headers=response.headers,
            body=body,
            dialect=self._dialect,
            now=self._clock.wall() / _MICRO,
        )
        return self._final(verdict)

    def _final(self, verdict: Verdict) -> Verdict:
        is_spent = self._once is not None and self._once.is_begun
        return replace(verdict, retryable=False) if is_spent and verdict.retryable else verdict

    def _raised(self, error: Exception) -> Outcome:
        if self._once is None or not self._once.is_begun:
            raise error
        verdict = self._final(classify(error))
        return Outcome(Answer(verdict, error=error), verdict=verdict)

    def _whole(self, response: Any, verdict: Verdict) -> Outcome | None:
        """
        Return the outcome if it needs no reading: a stream that begins, or an answer that was read already.
        """
        if response.is_closed:
            if not verdict.ok:
                verdict = self._verdict(response, response.content[:_MOST])
            return Outcome(Answer(verdict, response=response), verdict=verdict)
        if verdict.ok and self._request.method != "HEAD" and response.status_code not in _BODILESS:
            return Outcome(Answer(verdict, response=response), verdict=verdict, open=True)
        return None

    def _read(self, response: Any, chunks: list[bytes], verdict: Verdict) -> Outcome:
        if not verdict.ok:
            verdict = self._verdict(response, self._family.readable(response.headers, b"".join(chunks)))
        return Outcome(Answer(verdict, response=response), verdict=verdict)

    def _is_enough(self, size: int, until: int | None) -> bool:
        return size > _MOST or (until is not None and self._clock.now() >= until)


class Attempts(_Reading):
    """
    A request's attempts, blocking.
    """

    def send(self, lease: Lease, timeout: float | None) -> Outcome:  # noqa: ARG002 - a wish is told more than we need
        """
        Make one attempt that takes at most about *timeout* seconds for each thing that it waits for.
        """
        until = self._until(timeout)
        request = self._fresh(timeout)
        try:
            response = self._inner.handle_request(request)
        except Exception as error:  # noqa: BLE001 - raised again, or at the end
            if isinstance(error, self._family.library.TimeoutException) and self._is_hurried(timeout):
                return Outcome(error=error, verdict=HURRIED)
            return self._raised(error)
        verdict = self._verdict(response)
        return self._whole(response, verdict) or self._read(response, self._begin(response, until), verdict)

    def _is_hurried(self, timeout: float | None) -> bool:
        # The caller's deadline left less than the policy's time-out: that it passed says nothing about the service.
        return timeout is not None and timeout < self._route.gate.compiled.policy.timeout

    def discard(self, outcome: Outcome) -> None:  # noqa: ARG002 - its unread rest is what `_left` is
        """
        Close an answer that the next attempt replaces.
        """
        self.abandon()

    def abandon(self) -> None:
        """
        Close what is unread of an answer that nobody gets.
        """
        left, self._left = self._left, None
        if left is not None:
            with suppress(Exception):
                left.close()

    def _begin(self, response: Any, until: int | None) -> list[bytes]:
        stream, chunks = response.stream, list[bytes]()
        parts = iter(stream)
        size, error = 0, None
        try:
            for chunk in parts:
                chunks.append(chunk)
                size += len(chunk)
                if self._is_enough(size, until):
                    self._left = response.stream = self._family.body(stream, parts=parts, chunks=chunks)
                    return chunks
        except Exception as caught:  # noqa: BLE001 - raised where the body breaks
            error = caught
        finally:
            if self._left is None:
                stream.close()
        response.stream = self._family.body(None, chunks=chunks, error=error)
        return chunks


class AsyncAttempts(_Reading):
    """
    A request's attempts, awaiting.

    Attributes:
        is_cut: Whether the last attempt was cancelled, by its time-out or by the caller.
    """

    is_async = True
    is_cut = False

    async def send(self, lease: Lease, timeout: float | None) -> Outcome:  # noqa: ARG002, ASYNC109 - the driver bounds it
        """
        Make one attempt; the driver cancels it after *timeout* seconds.
        """
        self.is_cut = False
        until = self._until(timeout)
        request = self._fresh(timeout)
        try:
            response = await self._inner.handle_async_request(request)
            verdict = self._verdict(response)
            whole = self._whole(response, verdict)
            return whole or self._read(response, await self._begin(response, until), verdict)
        except CancelledError:
            self.is_cut = True
            raise
        except Exception as error:  # noqa: BLE001 - raised again, or at the end
            return self._raised(error)

    async def discard(self, outcome: Outcome) -> None:  # noqa: ARG002 - its unread rest is what `_left` is
        """
        Close an answer that the next attempt replaces.
        """
        await self.abandon()

    async def abandon(self) -> None:
        """
        Close what is unread of an answer that nobody gets.
        """
        left, self._left = self._left, None
        if left is not None:
            with suppress(Exception):
                await left.aclose()

    async def _begin(self, response: Any, until: int | None) -> list[bytes]:
        stream, chunks = response.stream, list[bytes]()
        parts = stream.__aiter__()
        size, error = 0, None
        try:
            async for chunk in parts:
                chunks.append(chunk)
                size += len(chunk)
                if self._is_enough(size, until):
                    self._left = response.stream = self._family.async_body(stream, parts=parts, chunks=chunks)
                    return chunks
        except Exception as caught:  # noqa: BLE001 - raised where the body breaks
            error = caught
        finally:
            if self._left is None:
                await stream.aclose()
        response.stream = self._family.async_body(None, chunks=chunks, error=error)
        return chunks


def is_idempotent(request: Any) -> bool:
    """
    Whether *request* may be sent again after it may have been executed: by its method, or by its idempotency key.
    """
    return request.method in _IDEMPOTENT or "idempotency-key" in request.headers


def _lowered(given: Mapping[str, float | None], most: float) -> dict[str, float]:
    """
    Return the client's own time-outs, lowered to *most* seconds where they are longer, or not given.
    """
    return {phase: most if (own := given.get(phase)) is None or own > most else own for phase in _PHASES}
