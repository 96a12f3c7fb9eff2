"""
What a driver needs to know of one call besides its plan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from egressor._core.admission import Denied, Lease
    from egressor._core.model import Outcome
    from egressor._core.steps import Done, Step
    from egressor.stores.gate import Gate

    from .clock import Clock

__all__ = ["Cache", "Job", "Money", "Wish"]


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


class Cache(Protocol):
    """
    Where `Recall` looks.
    """

    def recall(self, key: str) -> object:
        """
        Return the value at *key*, or `MISS`.
        """


class Money(Protocol):
    """
    Where `Hold` and `Charge` go.
    """

    def hold(self, micro_usd: int) -> object | Denied:
        """
        Reserve *micro_usd*.
        """

    def charge(self, hold: object, done: Done | None) -> None:
        """
        Settle *hold* for a call that ended as *done*.
        """


class Job:
    """
    One call, for its driver.

    Attributes:
        clock: The time.
        gate: The service's gate.
        wish: What is to be sent.
        timeout: Microseconds that one attempt may take.
        fallback: What to call, or to return, when all else failed.
        tap: Told of each step, its reply and its time; None where nobody listens.
        cache: Where answers are kept, if they are.
        money: The ledger, if money is reserved.
    """

    __slots__ = ("cache", "clock", "fallback", "gate", "money", "tap", "timeout", "wish")

    def __init__(
        self,
        *,
        clock: Clock,
        gate: Gate,
        wish: Wish,
        timeout: int,
        fallback: object = None,
        tap: Callable[[Step, object, int], None] | None = None,
        cache: Cache | None = None,
        money: Money | None = None,
    ) -> None:
        self.clock = clock
        self.gate = gate
        self.wish = wish
        self.timeout = timeout
        self.fallback = fallback
        self.tap = tap
        self.cache = cache
        self.money = money

    def seconds(self, until: int | None) -> float:
        """
        Return the seconds that an attempt may take which must be over at *until*.
        """
        left = self.timeout if until is None else min(self.timeout, until - self.clock.now())
        return max(0, left) / 1_000_000
