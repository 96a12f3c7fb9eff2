"""
The breaker against a naive one that keeps every result in a list, under arbitrary histories and clocks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING, Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from egressor._core.breaker import (
    check,
    disable,
    force_open,
    record_success,
    release,
    reset,
    settle,
    snapshot,
    take,
)
from egressor._core.breaker_model import BreakerCell, BreakerSpec, BreakerState, Result
from egressor._core.limits import FOREVER

if TYPE_CHECKING:
    from collections.abc import Iterator

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
FORCED_OPEN, DISABLED = BreakerState.FORCED_OPEN, BreakerState.DISABLED
LEGAL = {
    CLOSED: {OPEN, FORCED_OPEN, DISABLED, CLOSED},
    OPEN: {HALF_OPEN, FORCED_OPEN, DISABLED, CLOSED},
    HALF_OPEN: {OPEN, CLOSED, FORCED_OPEN, DISABLED},
    FORCED_OPEN: {CLOSED, DISABLED, FORCED_OPEN},
    DISABLED: {CLOSED, FORCED_OPEN, DISABLED},
}


@dataclass
class Naive:
    """
    The same rules, written for reading only: every result is kept, every rate is counted anew.
    """

    spec: BreakerSpec
    state: BreakerState = CLOSED
    generation: int = 1
    openings: int = 0
    open_until: int = 0
    streak: int = 0
    part: int = 0
    part_began: int = 0
    results: list[tuple[int, bool, bool]] = field(default_factory=list)
    probes: dict[int, int] = field(default_factory=dict)
    verdicts: list[tuple[bool, bool]] = field(default_factory=list)

    def move(self, state: BreakerState, *, forget: bool = True) -> BreakerState:
        """
        Begin a new generation.
        """
        self.state = state
        self.generation += 1
        self.probes, self.verdicts = {}, []
        if forget:
            self.results, self.streak = [], 0
        if state is CLOSED:
            self.openings = 0
        return state

    def part_at(self, now: int) -> int:
        """
        Return the number of the sub-window that *now* is in.
        """
        return self.part + max(0, (now - self.part_began) // self.spec.width)

    def seen(self, now: int) -> list[tuple[bool, bool]]:
        """
        Return the results that the window holds at *now*.
        """
        return [(bad, slow) for part, bad, slow in self.results if part > self.part_at(now) - 10]

    def live(self, now: int) -> list[int]:
        """
        Return the ends of the leases of the probes that are out.
        """
        return [end for end in self.probes.values() if end > now]

    def wait(self, now: int) -> int:
        """
        Return what `check` should say.
        """
        if self.state is FORCED_OPEN:
            return FOREVER
        if self.spec.shadow or self.state in {CLOSED, DISABLED}:
            return 0
        if self.state is OPEN:
            return max(0, self.open_until - now)
        free = self.spec.probes - len(self.verdicts) - len(self.live(now))
        return 0 if free else min(self.live(now)) - now

    def admit(self, now: int, probe: int) -> None:
        """
        Hand out a probe.
        """
        if self.state is OPEN:
            self.move(HALF_OPEN)
        self.probes = {number: end for number, end in self.probes.items() if end > now}
        self.probes[probe] = now + self.spec.probe_lease

    def open(self, now: int, floor: int) -> BreakerState:
        """
        Open for as long as the formula says.
        """
        period = ceil(min(self.spec.open_for * self.spec.growth**self.openings, self.spec.max_open_for))
        self.openings += 1
        self.open_until = now + max(period, floor)
        return self.move(OPEN, forget=False)

    def too_much(self, results: list[tuple[bool, bool]], rate: float | None) -> Iterator[bool]:
        """
        Say of each rate whether it is reached.
        """
        spec = self.spec
        yield rate is not None and sum(bad for bad, _ in results) / len(results) >= rate
        yield spec.slow_rate is not None and sum(slow for _, slow in results) / len(results) >= spec.slow_rate

    def settle(self, now: int, probe: int, result: Result, duration: int, floor: int) -> BreakerState | None:
        """
        Return what `settle` should say about a result of this generation.
        """
        bad, slow = result is Result.FAILURE, duration > self.spec.slow_call
        shadow = self.spec.shadow
        if self.state is CLOSED and result is not Result.NEUTRAL:
            return self.count(now, floor, bad=bad, slow=slow)
        if self.state is OPEN and shadow and now - duration >= self.open_until:
            self.move(HALF_OPEN)
        in_time = self.probes.pop(probe, now) > now
        if self.state is not HALF_OPEN or result is Result.NEUTRAL or not (in_time or shadow):
            return None
        self.verdicts.append((bad, slow))
        if len(self.verdicts) < self.spec.probes:
            return None
        bad = any(self.too_much(self.verdicts, self.spec.failure_rate or 0.5))
        return self.open(now, floor) if bad else self.move(CLOSED)

    def count(self, now: int, floor: int, *, bad: bool, slow: bool) -> BreakerState | None:
        """
        Count the result of an ordinary call.
        """
        if not self.part_began - self.spec.width <= now < self.part_began + self.spec.width:
            self.part = self.part_at(now)
            self.part_began = now - max(0, now - self.part_began) % self.spec.width
        self.results.append((self.part, bad, slow))
        self.streak = self.streak + 1 if bad else 0
        seen = self.seen(now)
        judged = len(seen) >= self.spec.min_calls and any(self.too_much(seen, self.spec.failure_rate))
        if judged or (self.spec.consecutive and self.streak >= self.spec.consecutive):
            return self.open(now, floor)
        return None


def everything(cell: BreakerCell) -> str:
    """
    Return all that a cell holds, to be compared.
    """
    window = [getattr(cell.window, name) for name in type(cell.window).__slots__]
    return repr([getattr(cell, name) for name in BreakerCell.__slots__ if name != "window"] + window)


rates = st.sampled_from([None, 0.1, 0.5, 1.0])
results = st.sampled_from([*Result, Result.SUCCESS, Result.FAILURE])
durations = st.sampled_from([0, 0, 50, 51])


class Breaker(RuleBasedStateMachine):
    """
    Attempts begin, end in any order or never, operators act, and time does as it likes.
    """

    @initialize(
        spec=st.builds(
            BreakerSpec,
            consecutive=st.integers(0, 3),
            failure_rate=rates,
            slow_rate=rates,
            slow_call=st.just(50),
            window=st.sampled_from([95, 1000]),
            min_calls=st.integers(1, 5),
            open_for=st.sampled_from([1, 300]),
            max_open_for=st.just(1000),
            growth=st.sampled_from([1.0, 1.5]),
            probes=st.integers(1, 3),
            probe_lease=st.sampled_from([1, 200]),
            shadow=st.booleans(),
        )
    )
    def begin(self, spec: BreakerSpec) -> None:
        """
        Begin with an untouched cell.
        """
        self.cell, self.spec, self.naive, self.now = BreakerCell(), spec, Naive(spec), 5_000
        self.out: list[tuple[int, int]] = []
        self.last = CLOSED, 1

    @rule(by=st.sampled_from([1, 9, 10, 99, 100, 101, 300, 1000, 5000]))
    def time_goes_by(self, by: int) -> None:
        """
        Let so many microseconds pass.
        """
        self.now += by

    @rule(by=st.sampled_from([1, 50, 150, 2000]))
    def clock_steps_back(self, by: int) -> None:
        """
        Set the clock back.
        """
        self.now = max(0, self.now - by)

    @rule()
    def waits_as_told(self) -> None:
        """
        After exactly the returned wait a call may pass, as long as nobody else has asked.
        """
        wait = check(self.cell, self.spec, self.now)
        if 0 < wait < FOREVER:
            assert check(self.cell, self.spec, self.now + wait - 1) == 1
            assert check(self.cell, self.spec, self.now + wait) == 0
            self.now += wait

    @rule()
    def starts(self) -> None:
        """
        Begin an attempt if the breaker lets it pass.
        """
        before = everything(self.cell)
        wait = check(self.cell, self.spec, self.now)
        assert everything(self.cell) == before
        assert wait == self.naive.wait(self.now)
        assert self.cell.calm <= (wait == 0)
        probe = take(self.cell, self.spec, self.now)
        if wait or self.cell.calm:
            assert (probe, everything(self.cell)) == (0, before)
        else:
            assert probe > max([0, *(number for _, number in self.out)])
            self.naive.admit(self.now, probe)
        if not wait:
            self.out.append((self.cell.generation, probe))

    @precondition(lambda self: self.out)
    @rule(data=st.data(), result=results, duration=durations, floor=st.sampled_from([0, 0, 5000]))
    def ends(self, data: st.DataObject, result: Result, duration: int, floor: int) -> None:
        """
        End one of the attempts that are under way.
        """
        self.end(data.draw(st.integers(0, len(self.out) - 1)), result, duration, floor)

    @rule(calls=st.lists(st.tuples(results, durations), min_size=1, max_size=6))
    def calls(self, calls: list[tuple[Result, int]]) -> None:
        """
        Make a few calls one after the other, each as soon as the breaker lets it pass.
        """
        for result, duration in calls:
            self.waits_as_told()
            self.starts()
            self.is_legal()
            if self.cell.state is not FORCED_OPEN:
                self.now += duration
                self.end(-1, result, duration, 0)
            self.is_legal()

    def end(self, index: int, result: Result, duration: int, floor: int) -> None:
        """
        Settle an attempt; an ordinary success goes the straight path.
        """
        generation, probe = self.out.pop(index)
        stale = generation != self.naive.generation
        expected = None if stale else self.naive.settle(self.now, probe, result, duration, floor)
        if result is Result.SUCCESS and not probe and not floor:
            change = record_success(self.cell, self.spec, self.now, generation, duration)
        else:
            change = settle(
                self.cell,
                self.spec,
                self.now,
                generation=generation,
                probe=probe,
                result=result,
                duration=duration,
                open_at_least=floor,
            )
        assert change is expected

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def is_given_back(self, data: st.DataObject) -> None:
        """
        Release one of the attempts that are under way.
        """
        generation, probe = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        release(self.cell, generation=generation, probe=probe)
        if generation == self.naive.generation:
            self.naive.probes.pop(probe, None)

    @precondition(lambda self: self.out)
    @rule()
    def is_lost(self) -> None:
        """
        Forget an attempt: its process died.
        """
        self.out.pop()

    @rule(act=st.sampled_from([FORCED_OPEN, DISABLED, CLOSED, CLOSED]))
    def operator_acts(self, act: BreakerState) -> None:
        """
        Force it open, disable it or reset it.
        """
        if act is FORCED_OPEN:
            force_open(self.cell, self.now)
        elif act is DISABLED:
            disable(self.cell)
        else:
            reset(self.cell)
        self.naive.move(act)

    @invariant()
    def agrees(self) -> None:
        """
        State, counts and waits are the naive breaker's, and looking at them changes nothing.
        """
        if not hasattr(self, "cell"):
            return
        naive, before = self.naive, everything(self.cell)
        seen = snapshot(self.cell, self.spec, self.now)
        assert everything(self.cell) == before
        kept = naive.verdicts if naive.state is HALF_OPEN else naive.seen(self.now)
        expected: dict[str, Any] = {
            "would_be": naive.state.value,
            "generation": naive.generation,
            "calls": len(kept),
            "failures": sum(bad for bad, _ in kept),
            "slow": sum(slow for _, slow in kept),
            "consecutive": naive.streak,
            "probes_out": len(naive.live(self.now)),
            "openings": naive.openings,
        }
        assert {name: seen[name] for name in expected} == expected

    @invariant()
    def is_legal(self) -> None:
        """
        At most *probes* are out or back, only legal changes of state happen, and each begins a new generation.
        """
        if not hasattr(self, "cell"):
            return
        assert self.cell.results + len(self.naive.live(self.now)) <= self.spec.probes
        state, generation = self.last
        assert (self.cell.state is state) or (
            self.cell.state in LEGAL[state] or (self.spec.shadow and self.cell.generation - generation > 1)
        )
        assert (self.cell.generation == generation) <= (self.cell.state is state)
        self.last = self.cell.state, self.cell.generation


TestBreaker = Breaker.TestCase
TestBreaker.settings = settings(max_examples=150, stateful_step_count=60)
