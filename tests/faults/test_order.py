"""
Whose turn it is, over all processes.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pytest

from tests.faults.fleet import SECOND, SLIP, Fleet, Line, eventually, most, now, run_for

Start = Callable[..., Fleet]

HIGH = "[(note('wish'), attempt(noted('high'), priority='high'), time.sleep(0.02)) for _ in range({})] and 0"


def overtaken(lines: list[Line]) -> list[int]:
    """
    How many others went between each wish and its call.
    """
    found: list[int] = []
    others = -1
    for line in lines:
        if line.word == "wish":
            others = 0
        elif line.word == "high":
            found.append(others)
            others = -1
        elif others >= 0:
            others += 1
    return found


@pytest.mark.parametrize(
    ("limit", "times", "most_others"),
    [
        # One at a time: who has the one unit that is out goes first.
        ("50/second burst 1", 20, 2),
        ("40/second burst 5", 20, 5),
    ],
)
def test_a_high_call_waits_behind_one_lease_at_most(start: Start, limit: str, times: int, most_others: int) -> None:
    """
    Two processes full of low calls let a third one's high calls pass, but for what was given out already.
    """
    fleet = start(3, {"s": {"limits": [limit], "max_wait": 30.0, "age_after": 1000.0}})
    *low, high = fleet.members
    for each in low:
        each.ask("threads(10, word='low', options={'priority': 'low'})")
    eventually(lambda: all(each.ask("waiting()") >= 9 for each in low), "low calls wait")

    assert high.ask(HIGH.format(times)) == 0

    found = overtaken(fleet.lines())
    assert len(found) == times
    assert max(found) <= most_others


@pytest.mark.parametrize("limit", ["40/4 second", "40/4 second fixed"])
def test_high_calls_that_wait_are_first_in_the_next_window(start: Start, limit: str) -> None:
    """
    Where all units come at once, those that waited with a higher priority get them first, whoever came before them.
    """
    fleet = start(3, {"s": {"limits": [limit], "max_wait": 30.0, "age_after": 1000.0}})
    *low, high = fleet.members
    # All is used up early in a window, so that everybody waits for the same moment.
    eventually(lambda: time.time() % 4 < 1, "a window has just begun")
    for each in low:
        each.ask("threads(10, word='low', options={'priority': 'low'})")
    eventually(lambda: len(fleet.lines()) >= 40, "the window is used up")
    high.ask("threads(10, word='high', times=1, options={'priority': 'high'})")
    eventually(lambda: all(each.ask("waiting()") >= 10 for each in fleet.members), "all wait")
    assert not fleet.lines("high")
    eventually(lambda: len(fleet.lines("high")) == 10, "the next window")

    words = [line.word for line in fleet.lines()][40:]
    last = max(place for place, word in enumerate(words) if word == "high")
    # One process's lease at most may be written down before its calls.
    assert words[:last].count("low") <= 10


def test_levels_are_served_in_order_over_processes(start: Start) -> None:
    """
    Calls that wait in different processes go by their levels, whoever came first.
    """
    fleet = start(4, {"s": {"limits": ["20/second burst 1"], "max_wait": 30.0, "age_after": 1000.0}})
    levels = ("low", "medium", "high", "critical")
    fleet.members[0].ask("[attempt(str) for _ in range(2)]")
    fleet.members[0].ask("gov.pause('s')")
    eventually(lambda: all(state == "Paused" for state in fleet.all("attempt(str)")), "paused")
    fleet.members[0].ask("gov.resume('s')")
    eventually(lambda: all(state == "ok" for state in fleet.all("attempt(str)")), "resumed")

    for level, member in zip(levels, fleet.members, strict=True):
        member.ask(f"threads(6, word='{level}', times=1, options={{'priority': '{level}'}})")
    eventually(lambda: len(fleet.lines()) == 24, "all have gone")

    order = [levels.index(line.word) for line in fleet.lines()]
    # While they came, some of the lower ones went.
    late = order[-18:]
    assert sum(first < second for first, second in pairwise(late)) <= 2


def test_a_low_call_is_raised_by_waiting_in_another_process(start: Start) -> None:
    """
    A low call gets its turn though another process has critical ones without an end: after three times *age_after*.
    """
    policy = {"limits": ["40/second burst 1"], "max_wait": 30.0, "age_after": 0.5, "lease_for": 120.0}
    busy, other = start(2, {"s": policy}).members
    busy.ask("threads(6, word='critical', options={'priority': 'critical'})")
    eventually(lambda: busy.ask("waiting()") >= 5, "critical calls wait")

    assert other.ask("attempt(noted('low'), priority='low', deadline=4.0)") == "ok"


def test_no_process_is_left_behind(start: Start) -> None:
    """
    Four processes that want the same get about the same.
    """
    fleet = start(4, {"s": {"limits": ["100/second burst 1"], "max_wait": 30.0}})

    for number, member in enumerate(fleet.members):
        member.tell(f"threads(4, word='m{number}')")
    for member in fleet.members:
        member.hear()
    run_for(2.0)

    found = Counter(line.word for line in fleet.lines())
    assert len(found) == 4
    assert min(found.values()) >= 0.7 * max(found.values())


def test_a_process_that_is_stopped_passes_its_turn_on(start: Start) -> None:
    """
    While the first in line is stopped, others go on after a second; when it goes on itself, the limit holds.
    """
    fleet = start(3, {"s": {"limits": ["20/second burst 1"], "max_wait": 30.0, "age_after": 1000.0}})
    first, *others = fleet.members
    for each in others:
        each.ask("threads(3, word='low', options={'priority': 'low'})")
    first.ask("threads(3, word='critical', options={'priority': 'critical'})")
    eventually(lambda: len(fleet.lines("critical")) >= 5, "critical ones go")

    first.signal(signal.SIGSTOP)
    stopped = now()
    eventually(lambda: len([line for line in fleet.lines("low") if line.at > stopped]) >= 10, "low ones go on")
    low = [line.at for line in fleet.lines("low") if line.at > stopped]
    first.signal(signal.SIGCONT)
    went_on = now()
    eventually(lambda: len([line for line in fleet.lines("critical") if line.at > went_on]) >= 5, "it is first again")

    # It keeps its turn for one second, and may have spoken just before; half a second is for a busy machine.
    assert low[0] - stopped <= 1.5 * SECOND
    assert most(fleet.lines(), SECOND - SLIP) <= 21
