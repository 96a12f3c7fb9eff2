"""
The blocking driver.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from egressor._core.model import Outcome
from egressor._core.steps import (
    Admit,
    Charge,
    Discard,
    Done,
    Fall,
    Hold,
    Park,
    Recall,
    Send,
    Settle,
    Sleep,
    Step,
    Stream,
)

if TYPE_CHECKING:
    from egressor._core.plan import Plan

    from .job import Job

__all__ = ["Run"]


class Run:
    """
    A plan under way, performed by blocking.

    Args:
        plan: The story.
        job: What it is about.
    """

    __slots__ = ("_job", "_plan")

    def __init__(self, plan: Plan, job: Job) -> None:
        self._plan = plan
        self._job = job

    def start(self) -> Done | Stream:
        """
        Run to the end, or to where a body streams: `resume` goes on from there.

        Raises:
            BaseException: Whatever interrupted a step, after the plan has run to its end.
        """
        return self._go(self._plan.send, None)

    def resume(self, outcome: Outcome) -> Done | Stream:
        """
        Go on after the body of a `Stream` has ended as *outcome*.
        """
        return self._go(self._plan.send, (outcome, self._job.clock.now()))

    def _go(self, advance: Any, value: Any) -> Done | Stream:
        job = self._job
        while True:
            try:
                step = advance(value)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            if type(step) is Stream:
                return step
            try:
                reply = self._perform(step)
            except BaseException as error:  # noqa: BLE001 - thrown into the plan, which raises it at its end
                advance, value = self._plan.throw, error
                continue
            now = job.clock.now()
            if job.tap is not None:
                job.tap(step, reply, now)
            advance, value = self._plan.send, (reply, now)

    def _perform(self, step: Step) -> object:
        job = self._job
        match step:
            case Admit(ask, until):
                return job.gate.admit(ask, until)
            case Park(ask, until):
                return job.clock.wait(job.gate, ask, until)
            case Send():
                return self._send(step)
            case Settle(lease, verdict, attempt, wants_retry):
                return job.gate.settle(lease, verdict, attempt=attempt, wants_retry=wants_retry)
            case Discard(outcome):
                return job.wish.discard(outcome)
            case Sleep(until):
                job.clock.sleep(until)
                return None
            case Fall():
                return self._fall()
            case Recall(key) if job.cache is not None:
                return job.cache.recall(key)
            case Hold(micro_usd) if job.money is not None:
                return job.money.hold(micro_usd)
            case Charge(hold, done) if job.money is not None:
                job.money.charge(hold, done)
                return None
        msg = f"nobody performs {step!r} here"
        raise AssertionError(msg)

    def _send(self, step: Send) -> Outcome:
        job = self._job
        try:
            value = job.wish.send(step.lease, job.seconds(step.until))
        except BaseException as error:  # noqa: BLE001 - an outcome is a value
            return Outcome(error=error)
        return value if type(value) is Outcome else Outcome(value)

    def _fall(self) -> Outcome:
        fallback = self._job.fallback
        if not callable(fallback):
            return Outcome(fallback)
        try:
            return Outcome(fallback())
        except BaseException as error:  # noqa: BLE001 - an outcome is a value
            return Outcome(error=error)
