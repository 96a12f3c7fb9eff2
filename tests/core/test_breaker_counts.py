"""
What the breaker counts, for how long, and how it shows it; case 23.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor._core.breaker import disable, force_open, record_success, reset
from egressor.errors import ConfigError
from tests.core.breaker_gate import CLOSED, OPEN, RESULTS, Gate, us

if TYPE_CHECKING:
    from collections.abc import Callable

    from egressor._core.breaker_model import BreakerCell


def tripped(**settings: object) -> Gate:
    """
    Return a gate that tripped at 0 s and is due at 5 s.
    """
    gate = Gate(**settings)
    gate.trip()
    return gate


@pytest.mark.parametrize("back", [0.3, 1.0, 5.0, 5.7, 3600.0])
@pytest.mark.parametrize("begun", [0.0, 0.45])
def test_counts_survive_a_clock_that_steps_back(back: float, begun: float) -> None:
    """
    Case 23: at 20 calls/s in a 10 s window, the count stays within one sub-window of the truth all along.

    The truth is 200 calls; a window of ten parts holds nine to ten tenths of that, and one tenth is 20.
    """
    gate = Gate(window=10.0)
    counts = []
    for call in range(800):
        real = 10_000.0 + begun + call / 20
        clock = real - (back if call >= 400 else 0)
        record_success(gate.cell, gate.spec, us(clock), gate.cell.generation, 0)
        counts.append(gate.see(clock)["calls"])

    assert min(counts[200:]) >= 180
    assert max(counts) <= 220
    assert max(counts[620:]) <= 200


@given(
    jumps=st.lists(st.tuples(st.integers(-40_000_000, 40_000_000), st.sampled_from("SFN")), max_size=60),
    consecutive=st.integers(0, 3),
)
def test_no_clock_makes_a_count_negative(jumps: list[tuple[int, str]], consecutive: int) -> None:
    """
    Whatever the clock does, no count is below 0 or above its calls, and a wait is never negative.
    """
    gate = Gate(consecutive=consecutive, min_calls=3)
    at = 100_000_000
    for jump, result in jumps:
        at = max(0, at + jump)
        attempt = gate.start(at / 1_000_000)
        if attempt:
            gate.end(attempt, RESULTS[result], at=at / 1_000_000)
        seen = gate.see(at / 1_000_000)

        assert 0 <= seen["failures"] <= seen["calls"] <= len(jumps)
        assert gate.wait(at / 1_000_000) >= 0


def test_old_successes_that_are_forgotten_let_the_rate_rise() -> None:
    """
    The straight path doesn't hide that a rate rises by forgetting: the next success finds 4 failures in 6 calls.
    """
    gate = Gate(window=10.0)
    gate.play("SSSSSSSSSS", at=0)
    gate.play("FFFFS", at=5)
    assert CLOSED is gate.state

    change = record_success(gate.cell, gate.spec, us(10), gate.cell.generation, 0)

    assert (change, gate.see(10)["failure_rate"]) == (OPEN, 4 / 6)


def test_a_slow_success_opens_on_the_straight_path() -> None:
    """
    `record_success` looks at the duration, even in a calm and quiet cell.
    """
    gate = Gate(slow_rate=0.1, failure_rate=None)
    gate.play("SSSSSSSSS")

    change = record_success(gate.cell, gate.spec, 0, gate.cell.generation, us(4.1))

    assert (change, gate.see()["why"]) == (OPEN, "slow_rate")


@pytest.mark.parametrize(
    ("consecutive", "results", "opens"), [(3, "FFSFF", False), (3, "FFSFFF", True), (0, "FFFF", False)]
)
def test_failures_in_a_row(consecutive: int, results: str, opens: bool) -> None:
    """
    So many failures in a row open, whatever the rate; a success between them begins the row anew; 0 is off.
    """
    gate = Gate(consecutive=consecutive, failure_rate=None)

    gate.play(results)

    assert opens is (gate.state is OPEN)
    assert ("consecutive" if opens else "") == gate.see()["why"]


def test_neutral_results_leave_a_row_of_failures_alone() -> None:
    """
    C10: a cancelled call is no success either: the row goes on.
    """
    gate = Gate(consecutive=3)

    assert gate.play("FFNF") == [None, None, None, OPEN]


def test_a_row_of_failures_is_older_than_the_window() -> None:
    """
    A service that is called once an hour and fails each time opens: the row has no window.
    """
    gate = Gate(consecutive=3, window=20.0)

    changes = [gate.play("F", at=at)[0] for at in (0, 3600, 7200)]

    assert changes == [None, None, OPEN]


def test_calls_outside_of_the_window_are_forgotten() -> None:
    """
    Failures count as long as the window is, less at most a tenth of it.
    """
    gate = Gate(window=10.0, min_calls=50)
    gate.play("FFS", at=0)

    assert [gate.see(at)["calls"] for at in (0, 9.9, 10, 3600)] == [3, 3, 0, 0]


def test_snapshot_of_an_open_breaker() -> None:
    """
    An open breaker shows why, since when, until when, and what it saw.
    """
    expected = {
        "state": "open",
        "would_be": "open",
        "why": "failure_rate",
        "generation": 2,
        "failure_rate": 1.0,
        "slow_rate": 0.0,
        "calls": 5,
        "failures": 5,
        "slow": 0,
        "consecutive": 5,
        "opened_at": 2.0,
        "open_until": 7.0,
        "retry_after": 4.0,
        "probes_out": 0,
        "openings": 1,
    }
    gate = Gate()
    gate.trip(at=2)

    assert gate.see(3) == expected


@pytest.mark.parametrize("act", [lambda cell: force_open(cell, us(1)), disable, reset])
@pytest.mark.parametrize("before", ["SFF", "S"])
def test_an_operator_makes_the_breaker_forget(act: Callable[[BreakerCell], None], before: str) -> None:
    """
    What was counted before an operator's word, on the straight path too, doesn't come back after it.
    """
    gate = Gate()
    gate.play(before, at=1)
    record_success(gate.cell, gate.spec, us(1), gate.cell.generation, 0)
    gate.play("F" if "F" in before else "", at=1)

    act(gate.cell)

    seen = gate.see(1)
    assert (seen["calls"], seen["failures"], seen["consecutive"]) == (0, 0, 0)


def test_quick_successes_take_the_straight_path() -> None:
    """
    Once a success was judged, the next ones of its sub-window are only counted, until a failure comes.
    """
    gate = Gate(min_calls=2)
    generation = gate.cell.generation
    fresh = []
    for result in "SSSFSS":
        if result == "S":
            record_success(gate.cell, gate.spec, us(1), generation, 0)
        else:
            gate.play(result, at=1)
        fresh.append(gate.cell.fresh)

    assert fresh == [0, 1, 2, 0, 0, 1]


@pytest.mark.parametrize("shadow", [True, False])
def test_the_straight_path_ends_with_the_state(shadow: bool) -> None:
    """
    Quick successes of a disabled breaker leave no trace, and those of a shadow breaker that is due close it.
    """
    gate = Gate(consecutive=1, shadow=shadow, open_for=0.1)
    gate.play("S", at=20)
    if shadow:
        gate.play("F", at=20)
    else:
        disable(gate.cell)

    change = record_success(gate.cell, gate.spec, us(20.1), gate.cell.generation, 0)

    assert (change, gate.see(20.1)["calls"]) == (CLOSED if shadow else None, 0)


def test_snapshot_of_a_half_open_breaker() -> None:
    """
    Half-open, the counts are the probes', and the rates wait for the last of them.
    """
    gate = tripped(probes=3)
    gate.play("F", at=5)
    gate.start(5)

    seen = gate.see(5)

    names = ("state", "calls", "failures", "failure_rate", "probes_out", "open_until", "openings")
    assert tuple(seen[name] for name in names) == ("half_open", 1, 1, None, 1, None, 1)


def test_snapshot_of_an_untouched_breaker() -> None:
    """
    A new cell is closed, has no rates and was never open.
    """
    seen = Gate().see(7)

    names = ("state", "why", "failure_rate", "slow_rate", "opened_at", "open_until", "retry_after")
    assert tuple(seen[name] for name in names) == ("closed", "", None, None, None, None, 0.0)


@pytest.mark.parametrize("rate", [0.01, 0.07, 0.1, 0.29, 0.3, 0.55, 0.57, 0.58, 0.99, 1.0])
def test_a_rate_is_reached_exactly(rate: float) -> None:
    """
    ``0.07 * 100 > 7``: 7 failures of 100 must reach 0.07 all the same, and 6 must not.
    """
    needed = round(rate * 100)
    gate = Gate(failure_rate=rate, min_calls=100)
    fewer = Gate(failure_rate=rate, min_calls=100)

    gate.play("F" * needed + "S" * (100 - needed))
    fewer.play("F" * (needed - 1) + "S" * (101 - needed))

    assert (gate.state, fewer.state) == (OPEN, CLOSED)


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("consecutive", -1, "consecutive is -1, and must be at least 0"),
        ("slow_call", 0, "slow_call is 0, and must be at least 1"),
        ("window", 0, "window is 0, and must be at least 1"),
        ("min_calls", 0, "min_calls is 0, and must be at least 1"),
        ("open_for", 0, "open_for is 0, and must be at least 1"),
        ("max_open_for", 4.0, "max_open_for is 4000000, and must be at least 5000000"),
        ("probes", 0, "probes is 0, and must be at least 1"),
        ("probe_lease", 0, "probe_lease is 0, and must be at least 1"),
        ("failure_rate", 0.0, "failure_rate is 0.0, and must be above 0 and at most 1"),
        ("failure_rate", 1.01, "failure_rate is 1.01"),
        ("slow_rate", float("nan"), "slow_rate is nan"),
        ("growth", 0.99, "growth is 0.99, and must be at least 1"),
        ("growth", float("inf"), "growth is inf"),
        ("growth", float("nan"), "growth is nan"),
    ],
)
def test_a_spec_names_what_is_wrong(name: str, value: float, part: str) -> None:
    """
    A value out of range is refused with its name, itself and the limit.
    """
    with pytest.raises(ConfigError) as caught:
        Gate(**{name: value})

    assert part in str(caught.value)
