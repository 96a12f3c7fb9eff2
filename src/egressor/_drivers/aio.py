"""
The awaiting driver, for asyncio.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from egressor._core.model import Outcome
from egressor._core.steps import MISS, Discard, Done, Fall, Hold, Park, Recall, Send, Sleep, Step, Stream

from .job import HURRIED, INSTANT, chain

if TYPE_CHECKING:
    from egressor._core.plan import Plan

    from .job import Job

__all__ = ["Run"]

_SLOW = "the attempt took longer than its policy's timeout"
_LATE = "the attempt was not over at the call's deadline"


class Run:
    """
    A plan under way, performed by awaiting.

    Args:
        plan: The story.
        job: What it is about.
    """

    __slots__ = ("_job", "_plan")

    def __init__(self, plan: Plan, job: Job) -> None:
        self._plan = plan
        self._job = job

    def start(self) -> Coroutine[Any, Any, Done | Stream]:
        """
        Run to the end, or to where a body streams: `resume` goes on from there.

        Raises:
            BaseException: Whatever interrupted a step, after the plan has run to its end.
        """
        return self._go(None)

    def resume(self, outcome: Outcome) -> Coroutine[Any, Any, Done | Stream]:
        """
        Go on after the body of a `Stream` has ended as *outcome*.
        """
        return self._go((outcome, self._job.clock.now()))

    async def _go(self, value: Any) -> Done | Stream:
        job = self._job
        advance: Any = self._plan.send
        while True:
            try:
                step = advance(value)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            if type(step) is Stream:
                return step
            perform = INSTANT.get(type(step))
            try:
                reply = await self._perform(step) if perform is None else perform(job, step)
            except BaseException as error:  # noqa: BLE001 - thrown into the plan, which raises it at its end
                if type(step) is not Send:
                    advance, value = self._plan.throw, error
                    continue
                # A coroutine that is closed, as the collector does, raises here whatever `_send` has made of it.
                reply = Outcome(error=error)
            now = job.clock.now()
            if job.tap is not None:
                job.tap(step, reply, now)
            advance, value = self._plan.send, (reply, now)

    def _perform(self, step: Step) -> Any:
        job = self._job
        match step:
            case Park(ask, until):
                return job.clock.await_turn(job.gate, ask, until)
            case Send():
                return self._send(step)
            case Hold(micro_usd):
                return job.ahold(micro_usd)
            case Recall():
                return self._recall(step)
            case Sleep(until):
                return job.clock.asleep(until)
            case Discard(outcome):
                return job.wish.discard(outcome)
            case Fall(done):
                return self._instead_of(done.outcome)
        msg = f"nobody performs {step!r} here"
        raise AssertionError(msg)

    async def _recall(self, step: Recall) -> object:
        return MISS if self._job.cache is None else await self._job.cache.arecall(step)

    async def _send(self, step: Send) -> Outcome:
        job = self._job
        job.nest.hold(step.lease.ask)
        seconds = job.seconds(step.until)
        bound = asyncio.timeout(seconds)
        try:
            sent = job.wish.send(step.lease, seconds)
            if type(sent) is Outcome:
                return sent  # A block: there is nothing to await, and no time to bound.
            async with bound:
                value = await sent
        except BaseException as error:  # noqa: BLE001 - an outcome is a value
            is_callers = bound.expired() and seconds * 1_000_000 < job.timeout
            if bound.expired() and isinstance(error, TimeoutError) and not error.args:
                # asyncio's own has no text.
                error.args = (_LATE if is_callers else _SLOW,)
            return Outcome(error=error, verdict=HURRIED if is_callers else None)
        return value if type(value) is Outcome else Outcome(value)

    async def _instead_of(self, failed: Outcome | None) -> Outcome:
        if failed is None or failed.error is None:
            return await self._fall()
        trace = failed.error.__traceback__
        try:
            raise failed.error  # noqa: TRY301 - whatever fails while it is being handled has it for its context
        except BaseException:  # noqa: BLE001 - it is no less handled if it is an exit
            return await self._fall()
        finally:
            failed.error.__traceback__ = trace

    async def _fall(self) -> Outcome:
        outcome = Outcome()
        for fallback in chain(self._job.fallback):
            if not callable(fallback):
                return Outcome(fallback)
            try:
                value = fallback()
                return Outcome(await value if isawaitable(value) else value)
            except BaseException as error:  # noqa: BLE001 - an outcome is a value
                outcome = Outcome(error=error)
                if not isinstance(error, Exception):
                    break  # A cancellation, Ctrl-C, or an exit: nothing else is tried.
        return outcome
