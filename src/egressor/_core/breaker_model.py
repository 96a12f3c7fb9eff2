"""
What a breaker is made of: its states, the results that it takes, its spec, its cell. What it does is in `breaker`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from math import isfinite

from egressor._core.window import SubWindows, width_of
from egressor.errors import ConfigError

__all__ = ["BreakerCell", "BreakerSpec", "BreakerState", "Result"]


class BreakerState(StrEnum):
    """
    What a breaker does with calls.
    """

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    DISABLED = "disabled"


class Result(IntEnum):
    """
    What an attempt says about the service's health.

    NEUTRAL says nothing: it was cancelled, or the request was bad. It gives a probe's permit back.
    """

    SUCCESS = 0
    FAILURE = 1
    NEUTRAL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSpec:
    """
    What a service's breaker policy compiles to. A cell belongs to one spec: a changed policy begins a new cell.

    Attributes:
        consecutive: So many failures in a row open; 0 is off.
        failure_rate: This share of failures in the window opens, from (0, 1]; None is off.
        slow_rate: This share of slow calls in the window opens, from (0, 1]; None is off.
        slow_call: A call that takes more microseconds than this is slow, whether it fails or not.
        window: Microseconds over which the rates are counted.
        min_calls: The rates say nothing about fewer calls than this in the window.
        open_for: Microseconds for which the first opening refuses.
        max_open_for: Microseconds for which no opening refuses longer, unless the server asked for more.
        growth: What the next opening's time is multiplied by, 1 or more; closing begins anew.
        probes: How many calls half-open lets out, and after how many results it judges: *failure_rate* (0.5 without
            one) or *slow_rate* among them opens again. With 1, one success closes and one failure opens.
        probe_lease: Microseconds after which a probe that did not settle is lost. It must be longer than a call's
            time-out, as a result that comes later counts for nothing.
        shadow: Judge and report, and refuse nothing.
        shed_k: How many low calls may be sent for each that is accepted before some are shed, 1 or more (see `shed`);
            None is off.
        width: Microseconds of one sub-window; follows from *window*.

    Raises:
        ConfigError: A value is outside of its range.
    """

    consecutive: int
    failure_rate: float | None
    slow_rate: float | None
    slow_call: int
    window: int
    min_calls: int
    open_for: int
    max_open_for: int
    growth: float
    probes: int
    probe_lease: int
    shadow: bool = False
    shed_k: float | None = None
    width: int = field(init=False)

    def __post_init__(self) -> None:
        for name, value, least in (
            ("consecutive", self.consecutive, 0),
            ("slow_call", self.slow_call, 1),
            ("window", self.window, 1),
            ("min_calls", self.min_calls, 1),
            ("open_for", self.open_for, 1),
            ("max_open_for", self.max_open_for, self.open_for),
            ("probes", self.probes, 1),
            ("probe_lease", self.probe_lease, 1),
        ):
            if value < least:
                msg = f"{name} is {value}, and must be at least {least}"
                raise ConfigError(msg)
        for name, rate in (("failure_rate", self.failure_rate), ("slow_rate", self.slow_rate)):
            if rate is not None and not 0 < rate <= 1:
                msg = f"{name} is {rate}, and must be above 0 and at most 1"
                raise ConfigError(msg)
        if not (isfinite(self.growth) and self.growth >= 1):
            msg = f"growth is {self.growth}, and must be at least 1"
            raise ConfigError(msg)
        if self.shed_k is not None and not (isfinite(self.shed_k) and self.shed_k >= 1):
            msg = f"shed_k is {self.shed_k}, and must be at least 1"
            raise ConfigError(msg)
        object.__setattr__(self, "width", width_of(self.window))


class BreakerCell:
    """
    The state of one breaker; only this module writes to it.

    Attributes:
        calm: Whether calls may pass without `check` and `take`: closed, disabled, or shadow mode.
        state: The state; in shadow mode, what it would be.
        generation: Changes with each change of state.
        why: What opened it last: ``consecutive``, ``failure_rate``, ``slow_rate``, ``probe``, ``operator``; "" before.
        opened_at: When it opened last, in microseconds.
        open_until: When it lets out the first probe, in microseconds; it says nothing unless it is open.
        openings: Openings in a row, without a close between them.
        streak: Failures in a row.
        probes: Probes that are out: number → end of the lease, in microseconds.
        results: Probes that have come back in this half-open phase; so many of them were *bad*, so many *late*.
    """

    __slots__ = (
        "bad",
        "calm",
        "fresh",
        "generation",
        "last_probe",
        "late",
        "open_until",
        "opened_at",
        "openings",
        "probes",
        "quiet_from",
        "quiet_until",
        "results",
        "state",
        "streak",
        "why",
        "window",
    )

    def __init__(self) -> None:
        self.calm = True
        self.state = BreakerState.CLOSED
        self.generation = 1
        self.why = ""
        self.opened_at = 0
        self.open_until = 0
        self.openings = 0
        self.streak = 0
        self.probes: dict[int, int] = {}
        self.results = 0
        self.bad = 0
        self.late = 0
        self.last_probe = 0
        self.window = SubWindows(3)
        # Quick successes of [_quiet_from, _quiet_until) can't open anything and need only be counted in _fresh.
        self.fresh = 0
        self.quiet_from = 0
        self.quiet_until = 0
