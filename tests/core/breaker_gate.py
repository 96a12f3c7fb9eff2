"""
A breaker with a clock in seconds, so that a test reads like the case that it comes from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from egressor._core.breaker import (
    BreakerCell,
    BreakerSpec,
    BreakerState,
    Result,
    check,
    release,
    settle,
    snapshot,
    take,
)

SUCCESS, FAILURE, NEUTRAL = Result.SUCCESS, Result.FAILURE, Result.NEUTRAL
CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
RESULTS = {"S": SUCCESS, "F": FAILURE, "N": NEUTRAL}


def us(seconds: float) -> int:
    """
    Return *seconds* as integer microseconds.
    """
    return round(seconds * 1_000_000)


def make_spec(**settings: Any) -> BreakerSpec:
    """
    Return a spec with times in seconds: 50 % of 5 or more calls in 20 s open for 5 s, one probe, 30 s its lease.
    """
    values: dict[str, Any] = {
        "consecutive": 0,
        "failure_rate": 0.5,
        "slow_rate": None,
        "slow_call": 4.0,
        "window": 20.0,
        "min_calls": 5,
        "open_for": 5.0,
        "max_open_for": 300.0,
        "growth": 1.0,
        "probes": 1,
        "probe_lease": 30.0,
    } | settings
    for name in ("slow_call", "window", "open_for", "max_open_for", "probe_lease"):
        values[name] = us(values[name])
    return BreakerSpec(**values)


@dataclass(frozen=True)
class Attempt:
    """
    What an attempt must remember until it ends.
    """

    generation: int
    probe: int


class Gate:
    """
    One cell with its spec; *at* is always in seconds.
    """

    def __init__(self, **settings: Any) -> None:
        self.spec = make_spec(**settings)
        self.cell = BreakerCell()

    def wait(self, at: float) -> float:
        """
        Return the seconds until a call may pass: 0 now.
        """
        return check(self.cell, self.spec, us(at)) / 1_000_000

    def start(self, at: float) -> Attempt | None:
        """
        Begin an attempt; None if the breaker refuses.
        """
        if check(self.cell, self.spec, us(at)):
            return None
        probe = take(self.cell, self.spec, us(at))
        return Attempt(self.cell.generation, probe)

    def end(
        self, attempt: Attempt | None, result: Result, *, at: float, took: float = 0.0, at_least: float = 0.0
    ) -> BreakerState | None:
        """
        Settle an attempt, and return the new state if it changed.
        """
        assert attempt is not None, "the breaker refused this attempt"
        return settle(
            self.cell,
            self.spec,
            us(at),
            generation=attempt.generation,
            probe=attempt.probe,
            result=result,
            duration=us(took),
            open_at_least=us(at_least),
        )

    def give_back(self, attempt: Attempt | None) -> None:
        """
        Release an attempt that was never sent.
        """
        assert attempt is not None, "the breaker refused this attempt"
        release(self.cell, generation=attempt.generation, probe=attempt.probe)

    def play(self, results: str, *, at: float = 0.0) -> list[BreakerState | None]:
        """
        Make one call after the other, all at once, with results such as "FFS".
        """
        return [self.end(self.start(at), RESULTS[result], at=at) for result in results]

    def trip(self, *, at: float = 0.0) -> None:
        """
        Open a closed breaker by failures.
        """
        while self.state is not OPEN:
            self.play("F", at=at)

    @property
    def state(self) -> BreakerState:
        """
        The cell's state.
        """
        return self.cell.state

    def see(self, at: float = 0.0) -> dict[str, Any]:
        """
        Return the snapshot.
        """
        return snapshot(self.cell, self.spec, us(at))
