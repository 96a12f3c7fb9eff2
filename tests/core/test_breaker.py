"""
The breaker against the cases of other systems, named after where they come from.

Cases 1 to 23 of the conformance list are here, but for 17: that an exception raised a hundred times doesn't grow is
a promise of the governor, which raises it; here a refusal is a number. Numbers of denied calls are not counted here
either: a tap counts refusals.
"""

from __future__ import annotations

import pytest

from egressor._core.breaker import disable, force_open, record_success, reset
from egressor._core.breaker_model import BreakerState, Result
from egressor._core.limits import FOREVER
from tests.core.breaker_gate import CLOSED, FAILURE, HALF_OPEN, NEUTRAL, OPEN, RESULTS, SUCCESS, Attempt, Gate, us


def half_open(**settings: object) -> Gate:
    """
    Return a gate that tripped at 0 s and is due at 5 s.
    """
    gate = Gate(**settings)
    gate.trip()
    return gate


def test_opens_when_min_calls_are_complete_even_by_a_success() -> None:
    """
    Case 1 (resilience4j): 3 failures and a success say nothing yet; the fifth call, a success, opens at 60 %.
    """
    gate = Gate()

    assert gate.play("FFFS") == [None, None, None, None]
    assert (gate.state, gate.see()["failure_rate"]) == (CLOSED, None)
    assert gate.play("S") == [OPEN]
    assert (gate.see()["failure_rate"], gate.see()["why"]) == (0.6, "failure_rate")
    assert gate.start(0) is None


def test_opens_at_exactly_the_threshold() -> None:
    """
    Case 2 (resilience4j): 2 failures of 5 stay closed, 3 of 6 open, as the threshold itself is too much.
    """
    gate = Gate()

    changes = [gate.play(result, at=at)[0] for at, result in [(0, "S"), (1, "S"), (2, "S"), (3, "F"), (4, "F")]]

    assert changes == [None] * 5
    assert gate.play("F", at=5) == [OPEN]


def test_slow_calls_open_whether_they_fail_or_not() -> None:
    """
    Case 3 (resilience4j): 3 of 5 calls over 4 s open at 60 % slow, while the failures are at 40 %.
    """
    gate = Gate(slow_rate=0.5)
    calls = [(FAILURE, 5.0), (SUCCESS, 5.0), (FAILURE, 0.1), (SUCCESS, 0.1), (SUCCESS, 5.0)]

    changes = [gate.end(gate.start(0), result, at=0, took=took) for result, took in calls]

    assert changes == [None, None, None, None, OPEN]
    seen = gate.see()
    assert (seen["slow_rate"], seen["failure_rate"], seen["why"]) == (0.6, 0.4, "slow_rate")


@pytest.mark.parametrize(("took", "slow"), [(4.0, 0), (4.000001, 1)])
def test_slow_is_more_than_slow_call(took: float, slow: int) -> None:
    """
    A call of exactly *slow_call* is not slow (resilience4j).
    """
    gate = Gate()

    gate.end(gate.start(0), SUCCESS, at=0, took=took)

    assert slow == gate.see()["slow"]


@pytest.mark.parametrize(("at", "wait"), [(0, 5.0), (3, 2.0), (4.999999, 0.000001), (5, 0.0), (6, 0.0)])
def test_open_refuses_until_its_time_is_over(at: float, wait: float) -> None:
    """
    Case 4: the first probe is due at exactly 5 s.

    Polly says so (``>=``), resilience4j doesn't (``isAfter``). We take Polly's side: our intervals are half-open, and
    waiting exactly the returned time must be enough.
    """
    gate = half_open()

    assert wait == gate.wait(at)
    assert OPEN is gate.state


def test_half_open_begins_with_fresh_counts() -> None:
    """
    Case 4, continued: the first admission after the open time makes it half-open, and forgets the failures.
    """
    gate = half_open()
    before = gate.cell.generation

    gate.start(6)

    seen = gate.see(6)
    assert (gate.state, seen["calls"], seen["failures"], seen["consecutive"]) == (HALF_OPEN, 0, 0, 0)
    assert before + 1 == gate.cell.generation


def test_openings_in_a_row_grow() -> None:
    """
    Case 5 (resilience4j): with 5 s times 1.5 the second opening refuses after 6 s and lets out a probe after 11 s.
    """
    gate = half_open(growth=1.5)
    gate.end(gate.start(5), FAILURE, at=5)

    assert (gate.wait(11), gate.wait(16)) == (1.5, 0.0)
    assert gate.wait(5) == 7.5


def test_half_open_lets_out_so_many_probes() -> None:
    """
    Case 6 (resilience4j): of 6 attempts 4 pass; one that is given back makes room for one; opened again, 4 pass anew.
    """
    gate = half_open(probes=4)

    probes = [gate.start(5) for _ in range(6)]
    gate.give_back(probes[0])
    again = [gate.start(5), gate.start(5)]
    out = gate.see(5)["probes_out"]
    for probe in [*probes[1:4], again[0]]:
        gate.end(probe, FAILURE, at=5)
    fresh = [gate.start(10) for _ in range(5)]

    assert [probe is not None for probe in probes] == [True, True, True, True, False, False]
    assert [probe is not None for probe in again] == [True, False]
    assert out == 4
    assert [probe is not None for probe in fresh] == [True, True, True, True, False]


@pytest.mark.parametrize(
    ("probes", "failure_rate", "results", "expected"),
    [
        # Cases 7 and 8 (resilience4j).
        (4, 0.5, "FFSF", OPEN),
        (4, 0.5, "FSSS", CLOSED),
        # Case 9: an ignored result gives its permit back and isn't counted, so 1 failure of 4 closes. Case 10.
        (4, 0.5, "SSSNF", CLOSED),
        (4, 0.5, "NNNNSSSS", CLOSED),
        # Case 18 (failsafe-go): success ratios 2/3, 3/4 and 2/4. failsafe-go closes at 2 successes of 4, we open at 2
        # failures of 4: a rate means the same half-open as closed, where the threshold itself opens (case 2). Its 2/4
        # is our failure rate of 0.75.
        (3, 0.5, "FSS", CLOSED),
        (3, 0.5, "FSF", OPEN),
        (4, 0.5, "SFSF", OPEN),
        (4, 0.75, "SFF", None),
        (4, 0.75, "SFFF", OPEN),
        (4, 0.75, "SFFS", CLOSED),
        # Without a failure rate one half decides; with one probe, its result.
        (2, None, "SF", OPEN),
        (3, None, "SSF", CLOSED),
        (1, None, "S", CLOSED),
        (1, None, "F", OPEN),
        (1, None, "N", None),
    ],
)
def test_half_open_verdict(
    probes: int, failure_rate: float | None, results: str, expected: BreakerState | None
) -> None:
    """
    The verdict falls with the last of so many results, never before.
    """
    gate = half_open(probes=probes, failure_rate=failure_rate, consecutive=5)

    changes = gate.play(results, at=5)

    assert [None] * (len(results) - 1) + [expected] == changes
    assert (expected or HALF_OPEN) is gate.state


def test_closing_forgets_everything() -> None:
    """
    Case 8, continued: after closing, all counters are zero and the next opening is a first one.
    """
    gate = half_open(probes=4, growth=2.0)
    gate.play("FSSS", at=5)

    seen = gate.see(5)
    assert tuple(seen[name] for name in ("calls", "failures", "slow", "consecutive", "openings")) == (0, 0, 0, 0, 0)
    gate.trip(at=6)
    assert gate.wait(6) == 5.0


def test_slow_probes_open_where_slow_calls_do() -> None:
    """
    A breaker that opened because calls were slow isn't closed by a slow success (resilience4j).
    """
    gate = half_open(slow_rate=0.5)

    assert OPEN is gate.end(gate.start(5), SUCCESS, at=9.5, took=4.5)
    assert CLOSED is gate.end(gate.start(14.5), SUCCESS, at=15, took=0.5)


def test_forced_open_stays_until_reset() -> None:
    """
    Case 11 (resilience4j): an operator's word outlives every open time, and nobody can tell when it ends.
    """
    gate = Gate()

    force_open(gate.cell, us(1))

    assert tuple(gate.see(7)[name] for name in ("retry_after", "open_until", "opened_at")) == (None, None, 1.0)
    assert gate.wait(7) == FOREVER / 1_000_000
    assert gate.start(7) is None
    reset(gate.cell)
    assert (gate.state, gate.wait(7)) == (CLOSED, 0.0)


def test_disabled_counts_nothing() -> None:
    """
    Case 11 (resilience4j), continued: four failures change nothing and leave no trace.
    """
    gate = Gate(min_calls=1)
    disable(gate.cell)

    assert gate.play("FFFF") == [None] * 4
    record_success(gate.cell, gate.spec, 0, gate.cell.generation, 0)
    assert (gate.state, gate.see()["calls"], gate.see()["consecutive"]) == (BreakerState.DISABLED, 0, 0)


def test_shadow_passes_all_and_reports_once() -> None:
    """
    Case 12 (resilience4j METRICS_ONLY): everything passes, and the opening is reported once.

    resilience4j publishes one event for each threshold; we report each opening that would have been, as an operator
    wants to know how often and for how long the breaker would have refused.
    """
    gate = Gate(shadow=True, slow_rate=0.5)

    assert gate.play("F" * 10) == [None] * 4 + [OPEN] + [None] * 5
    assert (gate.wait(1), gate.see(1)["state"], gate.see(1)["would_be"]) == (0.0, "closed", "open")
    assert gate.cell.calm


@pytest.mark.parametrize(("result", "expected"), [("S", CLOSED), ("F", OPEN), ("N", None)])
def test_shadow_takes_later_calls_as_probes(result: str, expected: BreakerState | None) -> None:
    """
    After its open time, a shadow breaker judges by the first calls that began then; older ones count for nothing.
    """
    gate = Gate(shadow=True)
    gate.trip()
    early = gate.start(4.999999)
    due = gate.start(5)

    assert None is gate.end(early, RESULTS[result], at=6, took=1.000001)
    assert expected is gate.end(due, RESULTS[result], at=6, took=1)


def test_shadow_counts_so_many_probes() -> None:
    """
    In shadow mode too the verdict takes *probes* results.
    """
    gate = Gate(shadow=True, probes=2)
    gate.trip()

    assert gate.play("SS", at=5) == [None, CLOSED]
    assert gate.see(5)["probes_out"] == 0


def test_an_operator_is_obeyed_in_shadow_mode() -> None:
    """
    Shadow mode mutes the breaker's judgement, not the operator's.
    """
    gate = Gate(shadow=True)

    force_open(gate.cell, 0)

    assert (gate.start(0), gate.see()["state"]) == (None, "forced_open")


def operate(gate: Gate, state: BreakerState) -> None:
    """
    Bring a closed gate into *state*, as of 5 s.
    """
    if state is BreakerState.FORCED_OPEN:
        force_open(gate.cell, us(5))
    elif state is BreakerState.DISABLED:
        disable(gate.cell)
    elif state is not CLOSED:
        gate.trip(at=0 if state is HALF_OPEN else 5)


@pytest.mark.parametrize(
    ("state", "result", "expected"),
    [
        (CLOSED, FAILURE, OPEN),
        (HALF_OPEN, FAILURE, OPEN),
        (HALF_OPEN, SUCCESS, CLOSED),
        (CLOSED, SUCCESS, CLOSED),
        (CLOSED, NEUTRAL, CLOSED),
        (HALF_OPEN, NEUTRAL, HALF_OPEN),
        (OPEN, FAILURE, OPEN),
        (OPEN, SUCCESS, OPEN),
        (BreakerState.FORCED_OPEN, FAILURE, BreakerState.FORCED_OPEN),
        (BreakerState.FORCED_OPEN, SUCCESS, BreakerState.FORCED_OPEN),
        (BreakerState.DISABLED, FAILURE, BreakerState.DISABLED),
    ],
)
def test_transitions(state: BreakerState, result: Result, expected: BreakerState) -> None:
    """
    Case 13 (Polly): failures open a closed and a half-open breaker; a success closes a half-open one and nothing else.
    """
    gate = Gate(min_calls=1, failure_rate=1.0)
    operate(gate, state)
    # Where the breaker refuses, an attempt that did not listen: its result must count for nothing.
    attempt = gate.start(5) or Attempt(gate.cell.generation, probe=0)

    gate.end(attempt, result, at=5)

    assert expected is gate.state
