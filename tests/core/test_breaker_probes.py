"""
The breaker's probes, its waits, and results that come too late: cases 14 to 16 and 19 to 22.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from egressor._core.breaker import force_open, record_success, release, reset, take
from tests.core.breaker_gate import CLOSED, FAILURE, HALF_OPEN, NEUTRAL, OPEN, RESULTS, SUCCESS, Attempt, Gate, us

if TYPE_CHECKING:
    from egressor._core.breaker_model import Result


def tripped(**settings: object) -> Gate:
    """
    Return a gate that tripped at 0 s and is due at 5 s.
    """
    gate = Gate(**settings)
    gate.trip()
    return gate


def test_a_second_probe_is_refused_with_a_wait() -> None:
    """
    Case 14 (Polly): with one probe out the next call waits, at the longest until the probe's lease ends.
    """
    gate = tripped(probe_lease=30.0)

    first = gate.start(5)

    assert (gate.start(6), gate.wait(6)) == (None, 29.0)
    assert CLOSED is gate.end(first, SUCCESS, at=7)
    assert gate.wait(7) == 0.0


def test_retry_after_is_what_is_left() -> None:
    """
    Case 14, continued: 1 ms after the opening, the wait is the open time less 1 ms.
    """
    gate = tripped()

    assert (gate.see(0.001)["retry_after"], gate.see(0.001)["open_until"]) == (4.999, 5.0)


def test_closing_begins_the_openings_anew() -> None:
    """
    Case 15 (Polly): five openings in a row grow from the first; after a close they grow from the first again.
    """
    gate = Gate(open_for=1.0, growth=2.0)
    at, waits = 0.0, []
    for results in ("FFFFF", "F", "F", "F", "F", "S", "FFFFF", "F", "F"):
        gate.play(results, at=at)
        waits.append(gate.wait(at))
        at += gate.wait(at)

    assert waits == [1, 2, 4, 8, 16, 0, 1, 2, 4]


@pytest.mark.parametrize("growth", [1.0, 1.5, 1e300])
def test_open_time_is_capped_and_never_overflows(growth: float) -> None:
    """
    Case 16 (Polly): after ten thousand openings the wait is the cap, or the first wait if nothing grows.
    """
    gate = tripped(growth=growth, max_open_for=300.0)
    gate.cell.openings = 10_000

    gate.end(gate.start(5), FAILURE, at=5)

    assert (5.0 if growth == 1.0 else 300.0) == gate.wait(5)


@pytest.mark.parametrize(("asked", "wait"), [(0.0, 5.0), (4.0, 5.0), (90.0, 90.0), (900.0, 900.0)])
@pytest.mark.parametrize("results", ["FFFFF", "FFFFFF"])
def test_the_server_may_lengthen_an_opening(asked: float, wait: float, results: str) -> None:
    """
    What the server asked for is a floor of the open time that no cap lowers, for a trip and for a probe alike.
    """
    gate = Gate()
    gate.play(results[1:])
    at = gate.wait(0)

    gate.end(gate.start(at), FAILURE, at=at, at_least=asked)

    assert wait == gate.wait(at)


def test_a_lost_probe_gives_its_permit_back() -> None:
    """
    Case 19 (OmniRoute #13836, nora #607): when the lease ends a new probe goes out, and the old one's word is too late.
    """
    gate = tripped(probe_lease=30.0)
    lost = gate.start(5)

    assert gate.start(34.999999) is None
    fresh = gate.start(35)
    assert None is gate.end(lost, SUCCESS, at=36)
    assert (gate.state, gate.see(36)["probes_out"]) == (HALF_OPEN, 1)
    assert CLOSED is gate.end(fresh, SUCCESS, at=37)


@pytest.mark.parametrize("result", [SUCCESS, FAILURE, NEUTRAL])
@pytest.mark.parametrize(("at", "in_time"), [(34.999999, True), (35.0, False)])
def test_a_lease_ends_whether_or_not_somebody_looks(result: Result, at: float, in_time: bool) -> None:
    """
    A result at the lease's end or later counts for nothing, even if nobody has asked for the permit in between.
    """
    gate = tripped(probe_lease=30.0)

    change = gate.end(gate.start(5), result, at=at)

    expected = {SUCCESS: CLOSED, FAILURE: OPEN, NEUTRAL: None}[result] if in_time else None
    assert expected is change
    assert gate.see(at)["probes_out"] == 0


def test_the_wait_is_for_the_earliest_lease() -> None:
    """
    With several probes out, the first lease to end decides when it is worth asking again.
    """
    gate = tripped(probes=2, probe_lease=30.0)
    gate.start(5)
    gate.start(15)

    assert gate.wait(20) == 15.0
    assert (gate.start(35) is not None, gate.start(35) is not None) == (True, False)


def test_a_probe_blocked_by_an_inner_layer_is_given_back() -> None:
    """
    Case 20 (Sentinel #1638): the outer breaker lets a probe out, the inner one refuses; the outer one isn't stuck.
    """
    outer, inner = tripped(), tripped()
    probe = outer.start(5)
    inner.start(5)

    assert inner.start(5) is None
    outer.give_back(probe)
    outer.give_back(probe)

    assert (outer.state, outer.see(5)["probes_out"], outer.wait(5)) == (HALF_OPEN, 0, 0.0)


def test_a_cancelled_probe_neither_closes_nor_opens() -> None:
    """
    Case 21: a cancelled probe returns its permit and counts as nothing.

    Polly closes the circuit on it since #1991; Kevlar #187 calls the same a bug. P5 says nothing may close or open.
    """
    gate = tripped()

    change = gate.end(gate.start(5), NEUTRAL, at=6)

    seen = gate.see(6)
    assert (change, gate.state, seen["calls"], seen["probes_out"], gate.wait(6)) == (None, HALF_OPEN, 0, 0, 0.0)


@pytest.mark.parametrize("result", "SFN")
@pytest.mark.parametrize("history", ["", "F", "FS"])
def test_a_stale_result_counts_for_nothing(result: str, history: str) -> None:
    """
    Case 22 (gobreaker, Polly #216): begun closed, it ends after the breaker opened, re-opened or closed anew.
    """
    gate = Gate()
    stale = gate.start(0)
    gate.trip()
    for probe in history:
        gate.play(probe, at=gate.wait(0))
    before = gate.see(60)

    change = gate.end(stale, RESULTS[result], at=60)

    assert (None, before) == (change, gate.see(60))


def test_a_stale_success_is_not_counted_on_the_straight_path() -> None:
    """
    Case 22 for `record_success`: a call of the last generation isn't counted by the breaker that closed since.
    """
    gate = Gate(consecutive=1)
    stale = gate.cell.generation
    gate.trip()
    gate.play("SS", at=5)
    before = gate.see(5)

    assert None is record_success(gate.cell, gate.spec, us(5), stale, 0)
    assert before == gate.see(5)


def test_a_stale_release_gives_nothing_back() -> None:
    """
    A permit of an older half-open phase isn't one of the present phase.
    """
    gate = tripped()
    old = gate.start(5)
    gate.end(old, FAILURE, at=5)
    gate.start(10)
    assert old is not None

    release(gate.cell, generation=old.generation, probe=gate.cell.last_probe)

    assert gate.see(10)["probes_out"] == 1


@pytest.mark.parametrize("at", [0.0, 4.0])
def test_take_without_leave_hands_out_nothing(at: float) -> None:
    """
    Who takes although `check` refused gets no probe, changes nothing, and can't open or close anything.
    """
    gate = tripped()
    if at:
        gate.start(5)
        at = 6
    before = gate.see(at)

    probe = take(gate.cell, gate.spec, us(at))
    change = gate.end(Attempt(gate.cell.generation, probe), SUCCESS, at=at)

    assert (0, None, before) == (probe, change, gate.see(at))


def test_calls_under_way_when_an_operator_acts_count_for_nothing() -> None:
    """
    Each of the operator's actions begins a new generation.
    """
    gate = Gate(consecutive=1)
    before = gate.start(0)
    force_open(gate.cell, 0)
    between = Attempt(gate.cell.generation, 0)
    reset(gate.cell)

    assert [gate.end(attempt, FAILURE, at=1) for attempt in (before, between)] == [None, None]
    assert CLOSED is gate.state
