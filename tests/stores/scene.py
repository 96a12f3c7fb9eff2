"""
A gate with a clock that a test moves.
"""

from __future__ import annotations

from typing import Any

from egressor._core.admission import Denied, Lease
from egressor.policies import Policy, RetryPolicy
from egressor.stores import Parked
from egressor.stores.compiled import Compiled
from egressor.stores.gate import Gate
from egressor.testing import FakeClock

SECOND = 1_000_000


class Scene:
    """
    A gate with a clock that a test moves.
    """

    def __init__(self, **settings: Any) -> None:
        self.clock = FakeClock(jumps=False)
        self.start = self.clock.now()
        self.settings = settings
        self.gate = Gate(self.compiled(), clock=self.clock, dice=lambda: 0.0, keeper=self.clock.threads)
        self.told: list[str] = []

    def compiled(self, **changes: Any) -> Compiled:
        """
        Return the scene's policy, with *changes*.
        """
        settings: dict[str, Any] = {"retry": RetryPolicy(budget=False), "age_after": 1000.0} | self.settings | changes
        return Compiled("s", Policy(**settings))

    def admit(self, level: int = 1, *, seconds: float = 500, **cost: int) -> Lease | Denied:
        """
        Ask once.
        """
        ask = self.gate.compiled.ask(scope={}, cost={"requests": 1} | cost, level=level)
        return self.gate.admit(ask, self.clock.now() + round(seconds * SECOND))

    def lease(self, level: int = 1, **cost: int) -> Lease:
        """
        Ask once, and get it.
        """
        reply = self.admit(level, **cost)
        assert isinstance(reply, Lease)
        return reply

    def park(
        self, name: str, level: int = 1, *, seconds: float = 500, scope: dict[str, str] | None = None, **cost: int
    ) -> Parked:
        """
        Wait; what comes of it is told as ``name@second`` or ``name:why@second``.
        """
        parked = Parked(self.clock.threads, None)

        def tell() -> None:
            why = f":{parked.reply.why}" if isinstance(parked.reply, Denied) else ""
            self.told.append(f"{name}{why}@{(self.clock.now() - self.start) / SECOND:g}")

        parked.signal = tell
        ask = self.gate.compiled.ask(scope=scope or {}, cost={"requests": 1} | cost, level=level)
        reply = self.gate.park(ask, self.clock.now() + round(seconds * SECOND), parked)
        if reply is not None:
            parked.reply = reply
            tell()
        return parked

    def places_left(self) -> object:
        """
        Return what is left of the first limit.
        """
        return self.gate.snapshot()["limits"][0]["left"]  # type: ignore[index]
