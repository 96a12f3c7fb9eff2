"""
What a driver needs to know of one call besides its plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from egressor._core.admission import Denied, Why
from egressor._core.model import ErrorCategory, ErrorSeverity, Verdict
from egressor._core.steps import Admit, Charge, Keep, Settle

if TYPE_CHECKING:
    from egressor._core.admission import Ask, Lease
    from egressor._core.model import Outcome
    from egressor._core.steps import Done, Recall, Step
    from egressor.stores.gate import Gate

    from .clock import Clock

__all__ = ["HURRIED", "INSTANT", "Cache", "Holder", "Job", "Money", "Wish", "chain"]


HURRIED = Verdict(
    category=ErrorCategory.TIMEOUT,
    severity=ErrorSeverity.MEDIUM,
    scope="call",
    fingerprint="deadline",
    why="the caller's own deadline came before the attempt's timeout",
    may_have_run=True,
)
"""
The verdict on an attempt that the caller's own deadline cut short: it says nothing about the service.
"""


_POOR = Denied(Why.BUDGET, "budget", None, "there is no ledger to hold the money")


class Wish(Protocol):
    """
    What a call wants sent: the user's function with its arguments, or a transport's request.
    """

    def send(self, lease: Lease, timeout: float | None) -> Any:
        """
        Make one attempt; a coroutine function's counterpart returns an awaitable.

        Args:
            lease: What the attempt was admitted under.
            timeout: Seconds that it may take; None for no bound.
        """

    def discard(self, outcome: Outcome) -> Any:
        """
        Close what an attempt came to that nobody is given.
        """


class Holder(Protocol):
    """
    Who is told what an attempt holds: the call, whose nested calls may borrow its places.
    """

    def hold(self, ask: Ask) -> None:
        """
        An attempt begins, and holds the places of *ask*.
        """

    def let_go(self, *, waits: bool = True) -> None:
        """
        The attempt has ended; its places are given back next. A finaliser *waits* for nobody.
        """


class Cache(Protocol):
    """
    Where `Recall` looks, and `Keep` puts.
    """

    def recall(self, step: Recall) -> object:
        """
        Return the value that *step* asks for, `MISS` or `Denied`; it may block.
        """

    async def arecall(self, step: Recall) -> object:
        """
        As `recall`, awaiting.
        """

    def keep(self, done: Done | None) -> None:
        """
        Keep what the call came to, and tell those that wait for it.
        """

    def drop(self) -> None:
        """
        Tell those that wait that nothing comes; a finaliser may do that.
        """


class Money(Protocol):
    """
    Where `Hold` and `Charge` go.
    """

    def hold(self, micro_usd: int) -> object | Denied:
        """
        Reserve *micro_usd*, blocking.
        """

    async def ahold(self, micro_usd: int) -> object | Denied:
        """
        Reserve *micro_usd*, awaiting.
        """

    def charge(self, hold: object, done: Done | None) -> object:
        """
        End *hold* for a call that came to *done*; this waits for nothing.
        """


class Job:
    """
    One call, for its driver.

    Attributes:
        clock: The time.
        gate: The service's gate.
        wish: What is to be sent.
        timeout: Microseconds that one attempt may take.
        nest: Told what an attempt holds, from its `Send` to its `Settle`.
        fallback: What to call, or to return, when all else failed; or a chain of these (see `chain`).
        tap: Told of each step, its reply and its time; None where nobody listens.
        cache: Where answers are kept, if they are.
        money: The ledger, if money is reserved.
    """

    __slots__ = ("cache", "clock", "fallback", "gate", "money", "nest", "tap", "timeout", "wish")

    def __init__(
        self,
        *,
        clock: Clock,
        gate: Gate,
        wish: Wish,
        timeout: int,
        nest: Holder,
        fallback: object = None,
        tap: Callable[[Step, object, int], None] | None = None,
        cache: Cache | None = None,
        money: Money | None = None,
    ) -> None:
        self.clock = clock
        self.gate = gate
        self.wish = wish
        self.timeout = timeout
        self.nest = nest
        self.fallback = fallback
        self.tap = tap
        self.cache = cache
        self.money = money

    def hold(self, micro_usd: int) -> object | Denied:
        """
        Reserve money, blocking.
        """
        return _POOR if self.money is None else self.money.hold(micro_usd)

    async def ahold(self, micro_usd: int) -> object | Denied:
        """
        Reserve money, awaiting.
        """
        return _POOR if self.money is None else await self.money.ahold(micro_usd)

    def seconds(self, until: int | None) -> float:
        """
        Return the seconds that an attempt may take which must be over at *until*.
        """
        left = self.timeout if until is None else min(self.timeout, until - self.clock.now())
        return max(0, left) / 1_000_000


def chain(fallback: object) -> tuple[object, ...]:
    """
    Return what a fallback tries, in order: a list or tuple in which a function stands is a chain; all else is one.
    """
    if isinstance(fallback, (list, tuple)) and any(map(callable, fallback)):
        return tuple(fallback)
    return (fallback,)


def _admit(job: Job, step: Admit) -> object:
    return job.gate.admit(step.ask, step.until)


def _settle(job: Job, step: Settle) -> object:
    job.nest.let_go(waits=step.verdict.category is not ErrorCategory.CANCELLED)
    return job.gate.settle(step.lease, step.verdict, attempt=step.attempt, wants_retry=step.wants_retry)


def _keep(job: Job, step: Keep) -> object:
    if job.cache is not None:
        job.cache.keep(step.done)
    return None


def _charge(job: Job, step: Charge) -> object:
    return None if job.money is None else job.money.charge(step.hold, step.done)


INSTANT: Mapping[type, Callable[[Job, Any], object]] = {
    Admit: _admit,
    Settle: _settle,
    Keep: _keep,
    Charge: _charge,
}
"""
The steps that no driver waits for, with how they are performed.
"""
