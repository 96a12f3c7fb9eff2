"""
One request through the governor, and its answer back to the client.

Where time and blame go, in order:

1. The client's small body is read before anything is asked of the governor: a slow client holds no lease.
2. `Attempts` is the wish that the plan sends. Everything that the upstream does (an answer, a reset, silence) comes
   back as a value with a verdict; what the client did wrong meanwhile is never the service's failure.
3. A good answer leaves the plan open: the lease is settled when the body has been relayed, has broken, or has lost
   its reader. A failing answer is settled at once, and relayed as it came. A good status alone makes no good answer
   where the service's dialect puts errors into the body: a short document is read first, a stream is listened to.
4. Nothing is retried once a byte has gone to the client, or once a piece of a large request body is gone.

How an answer reaches the client is told in `answers`.
"""

from __future__ import annotations

import asyncio
import zlib
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from egressor._core.cache import Found
from egressor._core.model import ErrorCategory, Outcome, Verdict
from egressor.dialects import Heed, classify, heed, with_hints
from egressor.dialects.asking import ASKED, UsageHider, with_usage
from egressor.dialects.inside import EVENTS
from egressor.dialects.paths import kind_at
from egressor.dialects.usage import parse
from egressor.errors import Rejected
from egressor.governor.streams import aopen_call
from egressor.ledger.money import shown_usd
from egressor.policies.patterns import compile_patterns
from egressor.transports.hearing import Heard, Taped, count, counting

from .answers import Arrived, deliver, repeat
from .dialling import ForbiddenAddressError
from .forward import NoRoomError
from .problems import Problem, is_unpriced, of_rejection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from egressor._core.admission import Lease
    from egressor._drivers.clock import Clock
    from egressor.dialects.asking import Asking
    from egressor.governor import Governor, Route
    from egressor.governor.caching import Memory, Tape
    from egressor.governor.money import Purse
    from egressor.governor.tokens import Tally

    from .body import Body
    from .forward import Answer, Upstream
    from .targets import Origin

__all__ = ["Order", "carry"]

Fields = list[tuple[str, str]]

_PEEK = 65_536
# An attempt with a long body ends itself just before its driver would: then it is still known who was slow.
_AHEAD = 0.01
_CANCELLED = classify(asyncio.CancelledError())
_EVENTS = ("content-type", EVENTS)
_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})


class Order(NamedTuple):
    """
    What is to be sent.

    Attributes:
        origin: Where to.
        method: The method.
        url: The whole URL.
        headers: The headers that are forwarded, the key included.
        body: The body.
        is_idempotent: Whether the client says that it may be repeated.
        is_upgrade: Whether the client wants to go on in the WebSocket protocol.
        takes_trailers: Whether the client takes fields behind the answer's body.
    """

    origin: Origin
    method: str
    url: str
    headers: list[tuple[str, str]]
    body: Body
    is_idempotent: bool
    is_upgrade: bool = False
    takes_trailers: bool = False

    def __repr__(self) -> str:
        return f"Order({self.method} to {self.origin.service})"


class Attempts:
    """
    The wish of a forwarded call.

    Attributes:
        number: How many attempts were made.
        purse: The call's money; None if no budget applies to it.
        tally: The call's tokens; None if no limit counts them.
        asking: A body, and what was read in it, once somebody has.
        said: The beginning of the last failing answer's body, for the history.
        waited: Microseconds that the call was held here, in the queue and between attempts.
    """

    __slots__ = (
        *(
            "_asks_usage",
            "_clock",
            "_idle_since",
            "_memory",
            "_order",
            "_spent",
            "_upstream",
            "asking",
            "number",
            "purse",
            "said",
            "tally",
        ),
        "waited",
    )

    def __init__(self, upstream: Upstream, order: Order, clock: Clock, memory: Memory | None = None) -> None:
        self._memory = memory
        self._upstream = upstream
        self._order = order
        self._clock = clock
        self._idle_since = clock.now()
        self._spent: Outcome | None = None
        self.number = 0
        self._asks_usage = False
        self.purse: Purse | None = None
        self.tally: Tally | None = None
        self.asking: tuple[bytes, Asking | None] | None = None
        self.said = b""
        self.waited = 0

    def asked(self) -> tuple[str, str, bytes | None]:
        """
        Return the method, the URL, and the body; None for one that is still on its way.
        """
        if self._order.is_upgrade:
            # What goes to and fro afterwards has a price, and nobody counts it.
            return "UPGRADE", self._order.url, None
        body = self._order.body
        payload = body.payload() if body.is_kept else None
        return self._order.method, self._order.url, payload if isinstance(payload, bytes) else None

    @property
    def size(self) -> int:
        """
        How many bytes the body has, as far as is known.
        """
        return self._order.body.size

    @property
    def unread(self) -> str:
        """
        Why the body can't be read; empty if it can.
        """
        return self._order.body.unread

    async def send(self, lease: Lease, timeout: float | None) -> Outcome:  # noqa: ASYNC109 - the driver's word
        """
        Make one attempt. Nothing but a cancellation is raised.
        """
        if self._spent is not None:
            return self._spent
        self.number += 1
        if self.tally is not None:
            self.tally.lease = lease
        if self._memory is not None:
            self._memory.sent()
        self.said = b""
        self.waited += self._clock.now() - self._idle_since
        try:
            outcome = await self._sent(timeout)
        finally:
            self._idle_since = self._clock.now()
        if self._order.body.is_spent and outcome.verdict is not None and outcome.verdict.retryable:
            outcome.verdict = replace(outcome.verdict, retryable=False)
            self._spent = outcome
        return outcome

    async def discard(self, outcome: Outcome) -> None:
        """
        Close an answer that nobody gets.
        """
        if isinstance(outcome.value, Arrived):
            outcome.value.answer.close()

    def headers(self, *, is_kept: bool = False) -> dict[str, str]:
        """
        Return what the client is told about the attempts, and about the answer; *is_kept* says it is from the cache.
        """
        told = {"Egressor-Attempts": str(self.number), "Egressor-Wait-Ms": str(self.waited // 1000)}
        if self._memory is not None:
            told["Egressor-Cache"] = "miss"
        purse = self.purse
        cost = purse.cost if purse is not None else 0 if is_kept and not self.number else None
        if cost is not None:
            told["Egressor-Cost-Usd"] = shown_usd(cost) if cost else "0"
        if purse is not None and purse.is_soft:
            told["Egressor-Budget"] = "soft"
        if purse is not None and purse.max_tokens is not None and self.number:
            told["Egressor-Max-Tokens"] = str(purse.max_tokens)
        return told

    def end_of_waiting(self) -> None:
        """
        Count the wait of a call that was refused.
        """
        if not self.number:
            self.waited = self._clock.now() - self._idle_since

    async def _sent(self, timeout: float | None) -> Outcome:  # noqa: ASYNC109
        order = self._order
        body = order.body
        payload = body.payload()
        headers = order.headers
        if (self.purse is not None or self.tally is not None) and isinstance(payload, bytes):
            payload, headers = self._asking(payload, headers)
        if body.length is not None and not body.is_done:
            headers = [*headers, ("Content-Length", str(body.length))]
        if order.is_upgrade:
            headers = [*headers, ("Connection", "Upgrade"), ("Upgrade", "websocket")]
        elif order.takes_trailers:
            headers = [*headers, ("Connection", "TE"), ("TE", "trailers")]
        own = None if timeout is None or body.is_kept else max(0.0, timeout - _AHEAD)
        try:
            async with nullcontext() if own is None else asyncio.timeout(own):
                answer = await self._upstream.send(
                    order.method, order.url, headers, payload, silence=order.origin.timeout
                )
                return await self._read(answer)
        except Exception as error:  # noqa: BLE001 - whatever the upstream half raises is an outcome
            return self._failed(error, timeout)

    def _asking(self, payload: bytes, headers: list[tuple[str, str]]) -> tuple[bytes, list[tuple[str, str]]]:
        """
        Ask for usage in a stream, of which OpenAI's chat says nothing otherwise, and for no longer an answer than the
        budget pays for; nothing else of the body changes.
        """
        payload = payload if self.purse is None else self.purse.bounded(payload)
        wished = with_usage(payload) if self._order.origin.dialect in ASKED else None
        self._asks_usage = wished is not None
        if wished is not None or (self._is_capped and self._memory is not None):
            # Out of a packed stream nothing can be taken again, and of a packed answer nobody sees whether it was cut.
            headers = [pair for pair in headers if pair[0].lower() != "accept-encoding"]
        return wished or payload, headers

    @property
    def _is_capped(self) -> bool:
        return self.purse is not None and self.purse.max_tokens is not None

    async def _read(self, answer: Answer) -> Outcome:
        if answer.status < 200 and not (answer.status == 101 and self._order.is_upgrade):
            answer.close()
            why = f"status {answer.status}, which nobody has asked for"
            verdict = replace(classify(status=502), category=ErrorCategory.BAD_RESPONSE, retryable=False, why=why)
            return Outcome(_no_answer(self._order, verdict), verdict=verdict)
        # Once for all who look at them: an answer may have thirty.
        fields = [_text(pair) for pair in answer.headers]
        media = next((value for name, value in fields if name == "content-type"), "")
        care = self._heed(answer, fields) if answer.status < 300 else Heed.AHEAD
        tape = self._tape(answer, fields)
        if care is not Heed.AHEAD and (tape is None or not tape.is_document):
            verdict = self._taught(classify(status=answer.status), answer)
            heard = self._counting(media, None if care is Heed.NOT else self._listener(answer, fields))
            if self._asks_usage and _is_plain_stream(dict(fields)):
                arrived = Arrived(answer, verdict, heard=heard)
                # Kept is what this client gets: whoever asks for usage has another key.
                arrived.hider, arrived.tape = UsageHider(), tape
            else:
                arrived = Arrived(answer, verdict, heard=heard if tape is None else Taped(tape, heard))
            arrived.may_tell = care is Heed.ALONG and not media.lower().startswith(EVENTS)
            return Outcome(arrived, verdict=verdict, open=True)
        try:
            head, is_whole = await _peek(answer, tape)
        except BaseException:
            answer.close()
            raise
        judged = self._judge(answer.status, fields, head)
        verdict = self._taught(judged if care is Heed.AHEAD else classify(status=answer.status), answer)
        if tape is not None:
            tape.take([head], is_whole=is_whole)
            if tape.fresh_for and not judged.ok and self._order.method != "HEAD":
                tape.spoil()
        heard = None
        if verdict.ok and is_whole:
            count(media, head, purse=self.purse, tally=self.tally)
        elif verdict.ok:
            heard = self._counting(media, None)
            if heard is not None:
                heard.feed(head)
        # What is kept is whole: who waits for it need not wait for this client to have taken it.
        is_open = verdict.ok and (tape is None or tape.entry() is None)
        return Outcome(Arrived(answer, verdict, head, is_whole=is_whole, heard=heard), verdict=verdict, open=is_open)

    def _counting(self, media: str, heard: Heard | None) -> Heard | None:
        """
        Return what listens to a good answer on its way: to its cost and its tokens, too, where somebody counts them.
        """
        return counting(media, heard, purse=self.purse, tally=self.tally)

    def _tape(self, answer: Answer, fields: Fields) -> Tape | None:
        if self._memory is None:
            return None
        tape = self._memory.listen(answer.status, answer.reason, fields, ok=answer.status < 300)
        if tape is not None:
            tape.is_capped = self._is_capped
        return tape

    def _heed(self, answer: Answer, fields: Fields) -> Heed:
        if self._order.method == "HEAD":
            return Heed.NOT
        return heed(answer.status, dict(fields), self._order.origin.dialect)

    def _listener(self, answer: Answer, fields: Fields) -> Heard:
        is_events = any((name, value[: len(EVENTS)].lower()) == _EVENTS for name, value in fields)
        return Heard(partial(self._judge, answer.status, fields), is_events=is_events)

    def _judge(self, status: int, fields: Fields, body: bytes) -> Verdict:
        origin = self._order.origin
        # What the history is told of a failing answer.
        self.said = _plain(body, fields)
        return classify(
            status=status,
            headers=fields,
            body=self.said,
            dialect=origin.dialect,
            now=self._clock.wall() / 1_000_000,
            patterns=compile_patterns(origin.patterns),
        )

    def _taught(self, verdict: Verdict, answer: Answer) -> Verdict:
        """
        Return *verdict* with what *answer*'s headers say of limits.
        """
        origin = self._order.origin
        if not origin.learns:
            return verdict
        now = self._clock.wall() / 1_000_000
        return with_hints(verdict, answer.headers, dialect=origin.dialect, now=now, status=answer.status)

    def _failed(self, error: Exception, timeout: float | None) -> Outcome:
        body = self._order.body
        if body.fault is not None:
            return Outcome(body.fault, verdict=_CANCELLED)
        if isinstance(error, NoRoomError):
            problem = Problem(503, "crowded", "No room for one more connection", str(error), retry_after=1.0)
            return Outcome(problem, verdict=replace(_CANCELLED, why=str(error)))
        verdict = classify(error, patterns=compile_patterns(self._order.origin.patterns))
        if isinstance(error, ForbiddenAddressError):
            detail = f"{self._order.origin.service}: {error}"
            return Outcome(Problem(502, "forbidden_address", "Not dialled", detail, is_final=True), verdict=verdict)
        if isinstance(error, TimeoutError) and body.is_spent and not body.is_done:
            # The upload itself did not end in time; whose fault that is can't be told.
            verdict = replace(_CANCELLED, why="the request's body was not there in time")
        elif isinstance(error, TimeoutError) and timeout is not None and timeout < self._order.origin.timeout - _AHEAD:
            # The caller's own deadline was shorter than what the service is given: it may be as fast as ever.
            verdict = replace(verdict, counts=False, retryable=False, why="the call's deadline has passed")
        return Outcome(_no_answer(self._order, verdict), verdict=verdict)


def _is_plain_stream(fields: Mapping[str, str]) -> bool:
    is_events = fields.get("content-type", "")[: len(EVENTS)].lower() == EVENTS
    return is_events and "content-length" not in fields and fields.get("content-encoding", "identity") == "identity"


def _no_answer(order: Order, verdict: Verdict) -> Problem:
    detail = f"{order.origin.service}: {verdict.why}"
    if verdict.may_have_run and order.method not in _SAFE:
        detail += "; the request may have been executed"
    if verdict.category in {ErrorCategory.TIMEOUT, ErrorCategory.CANCELLED}:
        return Problem(504, "upstream_timeout", "The upstream did not answer in time", detail)
    return Problem(502, "upstream_failed", "The upstream did not answer", detail)


def _no_json(order: Order, asked: tuple[str, str, bytes | None]) -> Problem | None:
    """
    Say of a request to a language model that can't be priced that its body is at fault, if it is no JSON.
    """
    _, url, body = asked
    if body is None or not kind_at(url) or parse(body) is not None:
        return None
    detail = f"{order.origin.service}: the body is no JSON, so nobody knows what the request may cost"
    return Problem(400, "bad_body", "Bad body", detail)


async def carry(
    request: web.BaseRequest, order: Order, route: Route, *, gov: Governor, upstream: Upstream
) -> web.StreamResponse | tuple[Problem, dict[str, str]]:
    """
    Carry *request* out as *order*, and its answer back.

    Returns:
        The response, relayed already; or a problem, and the headers that go with it.
    """
    memory = None if route.gate.compiled.policy.cache is None else _memory(order, route)
    attempts = Attempts(upstream, order, gov.clock, memory)
    repeatable = order.is_idempotent or order.method in _SAFE
    try:
        opened = await aopen_call(route, attempts, idempotent=repeatable and order.body.is_kept, memory=memory)
    except Rejected as error:
        attempts.end_of_waiting()
        problem = _no_json(order, attempts.asked()) if is_unpriced(error) else None
        return problem or of_rejection(error), attempts.headers()
    except TimeoutError as error:
        # The driver has ended the last attempt.
        problem = _no_answer(order, classify(error))
        return problem._replace(is_final=attempts.number > 1), attempts.headers()
    value = opened.value
    if type(value) is Found:
        told = attempts.headers(is_kept=True)
        return await repeat(request, value, told=told, patience=gov.config.gateway.send_timeout)
    if isinstance(value, Problem):
        return value._replace(is_final=value.is_final or attempts.number > 1), attempts.headers()
    return await deliver(
        request,
        opened,
        order.origin,
        told=attempts.headers,
        tries=attempts.number,
        settings=gov.config.gateway,
        takes_trailers=order.takes_trailers,
    )


def _text(pair: tuple[bytes, bytes]) -> tuple[str, str]:
    """
    Return a header with its name in lower case.
    """
    return pair[0].decode("latin-1").lower(), pair[1].decode("latin-1").strip()


def _memory(order: Order, route: Route) -> Memory | None:
    """
    Return an order's part in its service's cache; None if it has none, or its body is too long to be looked at.
    """
    if order.is_upgrade or not order.body.is_kept:
        return None
    body = order.body.payload()
    headers = [(name.lower(), value) for name, value in order.headers]
    content = body if isinstance(body, bytes) else b""
    caches = route.context.caches
    return caches.memory(route, method=order.method, url=order.url, headers=headers, body=content)


async def _peek(answer: Answer, tape: Tape | None = None) -> tuple[bytes, bool]:
    """
    Return the beginning of an answer's body, and whether that is all of it; more of one that may be kept.
    """
    head = bytearray()
    most = _PEEK if tape is None else max(_PEEK, tape.ahead)
    while len(head) < most:
        chunk = await answer.read()
        if not chunk:
            return bytes(head), True
        head += chunk
    return bytes(head), False


def _plain(head: bytes, fields: Fields) -> bytes:
    """
    Return *head* unpacked for reading, at most 64 KiB of it; as it is if it can't be.
    """
    coding = next((value for name, value in fields if name == "content-encoding"), "").lower()
    if coding not in {"gzip", "x-gzip", "deflate"}:
        return head
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(head, _PEEK)
    except zlib.error:
        return head
