"""
One request of httpx2 or httpx as a wish: sent by the client's own transport, read as far as its verdict needs.
"""

from __future__ import annotations

from asyncio import CancelledError
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from egressor._core.model import Outcome
from egressor._drivers.job import HURRIED
from egressor.dialects import Heed

from .hearing import Taped
from .reading import MOST, Answer, Reading

if TYPE_CHECKING:
    from collections.abc import Mapping

    from egressor._core.admission import Lease
    from egressor._core.model import Verdict
    from egressor.governor import Governor, Route
    from egressor.governor.caching import Memory, Tape

    from .family import Family

__all__ = ["AsyncAttempts", "Attempts"]

_PHASES = ("connect", "read", "write", "pool")


class _Reading(Reading):
    """
    What both colours share: all that is neither blocking nor awaiting.

    Args:
        gov: The governor.
        route: Where the request goes.
        family: Whose request it is.
        inner: The client's own transport.
        request: The request.
        memory: Its part in the service's cache, if it has one.
    """

    is_async = False

    def __init__(
        self, gov: Governor, route: Route, family: Family, inner: Any, request: Any, memory: Memory | None = None
    ) -> None:
        super().__init__(gov, route, request, memory)
        self._family = family
        self._inner = inner
        self._once = family.watch(request.stream, is_async=self.is_async)
        self._left: Any = None
        # What broke the body that was read for its verdict.
        self._broke: Exception | None = None
        self._noted: Tape | None = None
        # Whether an answer's body is read for its verdict, and not for the cache alone.
        self._is_ahead = True

    def _fresh(self, timeout: float | None) -> Any:
        """
        Return the request for one attempt: the caller's own stays as it is.
        """
        request = self._request
        extensions = dict(request.extensions)
        if timeout is not None:
            if timeout <= 0:
                raise self._family.library.PoolTimeout(self._late(), request=request)
            extensions["timeout"] = _lowered(extensions.get("timeout") or {}, timeout)
        headers, stream = request.headers, request.stream if self._once is None else self._once
        if self.purse is not None and self._is_capped:
            content = self.purse.bounded(request.content)
            headers, stream = headers.copy(), self._family.library.ByteStream(content)
            headers["content-length"] = str(len(content))
            # A body that came in pieces and was read since has both, which servers take for an attack.
            headers.pop("transfer-encoding", None)
            if self._memory is not None:
                # Of a packed answer nobody sees whether it was cut off.
                headers.pop("accept-encoding", None)
        return self._family.library.Request(
            request.method, request.url, headers=headers, stream=stream, extensions=extensions
        )

    def asked(self) -> tuple[str, str, bytes | None]:
        """
        Return the method, the path, and the body; None for a stream, which can't be read before it is sent.
        """
        request = self._request
        try:
            body: bytes | None = request.content
        except self._family.library.RequestNotRead:
            body = None
        return request.method, request.url.raw_path.decode(), body

    def is_spent(self) -> bool:
        return self._once is not None and self._once.is_begun

    def _judge(self, response: Any, body: bytes | None = None) -> Verdict:
        return self._verdict(response.status_code, response.headers, body)

    def _whole(self, response: Any, verdict: Verdict) -> Outcome | None:
        """
        Return the outcome if it needs no reading: a stream that begins, or an answer that was read already.
        """
        status = response.status_code
        care = self._heed(status, response.headers) if verdict.ok else Heed.AHEAD
        self._is_ahead = care is Heed.AHEAD
        tape = self._noted = self._tape(status, response.reason_phrase, response.headers, ok=verdict.ok)
        if response.is_closed:
            return self._read_before(response, verdict)
        if not verdict.ok or care is Heed.AHEAD or not self._has_body(status):
            return None
        if tape is not None and tape.is_document:
            return None
        heard: Any = None
        if care is Heed.ALONG:
            headers = response.headers
            heard = self._listener(status, headers, partial(self._family.readable, headers))
        heard = self._counted(response.headers, heard)
        if tape is not None:
            heard = Taped(tape, heard)
        return Outcome(Answer(verdict, response=response, heard=heard), verdict=verdict, open=True)

    def _read_before(self, response: Any, verdict: Verdict) -> Outcome:
        """
        Return the outcome of an answer that has come read: one of a `MockTransport`, or that a transport has looked at.
        """
        tape = self._noted
        read = verdict
        if self._is_ahead or (tape is not None and self._has_body(response.status_code)):
            read = self._judge(response, response.content[:MOST])
        if self._is_ahead:
            verdict = read
        if tape is not None:
            raw = self._family.unread(response)
            if raw is None or (tape.fresh_for and not read.ok):
                tape.spoil()
            else:
                tape.take([raw], is_whole=True)
        self._count(response.headers, response.content, verdict)
        return Outcome(Answer(verdict, response=response), verdict=verdict)

    def _read(self, response: Any, chunks: list[bytes], verdict: Verdict) -> Outcome:
        """
        Return the outcome of an answer whose body was read to its end, or as far as it may be.
        """
        has_body = self._has_body(response.status_code)
        if verdict.ok and self._broke is not None:
            return self._raised(self._broke)
        read = verdict
        if has_body or not verdict.ok:
            read = self._judge(response, self._family.readable(response.headers, b"".join(chunks)))
        if self._is_ahead:
            verdict = read
        is_open = verdict.ok and self._left is not None
        if self._noted is not None:
            self._noted.take(chunks, is_whole=self._left is None and self._broke is None)
            if self._noted.fresh_for and not read.ok:
                self._noted.spoil()
        heard = None
        if is_open:
            # What was read ahead goes by once more, in front of the rest.
            heard = self._counted(response.headers, None)
        else:
            self._count(response.headers, b"".join(chunks), verdict)
        return Outcome(Answer(verdict, response=response, heard=heard), verdict=verdict, open=is_open)

    def _most(self) -> int:
        """
        Return how much of an answer is read before it is handed out.
        """
        tape = self._noted
        return MOST if tape is None else max(MOST, tape.ahead)


class Attempts(_Reading):
    """
    A request's attempts, blocking.
    """

    def send(self, lease: Lease, timeout: float | None) -> Outcome:
        """
        Make one attempt that takes at most about *timeout* seconds for each thing that it waits for.
        """
        until = self._until(lease, timeout)
        request = self._fresh(timeout)
        try:
            response = self._inner.handle_request(request)
            verdict = self._judge(response)
            return self._whole(response, verdict) or self._read(response, self._begin(response, until), verdict)
        except Exception as error:  # noqa: BLE001 - raised again, or at the end
            if isinstance(error, self._family.library.TimeoutException) and self._is_hurried(timeout):
                return Outcome(error=error, verdict=HURRIED)
            return self._raised(error)

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
        self._broke, most = None, self._most()
        parts = iter(stream)
        size, error = 0, None
        try:
            for chunk in parts:
                chunks.append(chunk)
                size += len(chunk)
                if self._is_enough(size, until, most):
                    self._left = response.stream = self._family.body(stream, parts=parts, chunks=chunks)
                    return chunks
        except Exception as caught:  # noqa: BLE001 - raised where the body breaks
            self._broke = error = caught
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

    async def send(self, lease: Lease, timeout: float | None) -> Outcome:  # noqa: ASYNC109 - the driver bounds it
        """
        Make one attempt; the driver cancels it after *timeout* seconds.
        """
        self.is_cut = False
        until = self._until(lease, timeout)
        request = self._fresh(timeout)
        try:
            response = await self._inner.handle_async_request(request)
            verdict = self._judge(response)
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
        self._broke, most = None, self._most()
        parts = stream.__aiter__()
        size, error = 0, None
        try:
            async for chunk in parts:
                chunks.append(chunk)
                size += len(chunk)
                if self._is_enough(size, until, most):
                    self._left = response.stream = self._family.async_body(stream, parts=parts, chunks=chunks)
                    return chunks
        except Exception as caught:  # noqa: BLE001 - raised where the body breaks
            self._broke = error = caught
        finally:
            if self._left is None:
                await stream.aclose()
        response.stream = self._family.async_body(None, chunks=chunks, error=error)
        return chunks


def _lowered(given: Mapping[str, float | None], most: float) -> dict[str, float]:
    """
    Return the client's own time-outs, lowered to *most* seconds where they are longer, or not given.
    """
    return {phase: most if (own := given.get(phase)) is None or own > most else own for phase in _PHASES}
