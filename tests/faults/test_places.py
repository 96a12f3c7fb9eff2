"""
Places of *max_concurrency*: so many over all processes, and none is lost with the one that held it.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable

import pytest

from tests.faults.fleet import Fleet, Line, eventually, held, run_for

Start = Callable[..., Fleet]
SOAK = os.environ.get("EGRESSOR_SOAK") == "1"
KILLS = 30 if SOAK else 3
BETWEEN_KILLS = 2.0 if SOAK else 0.3

pytestmark = pytest.mark.timeout(600 if SOAK else 300)

WORK = "[later('{0}%d' % i, noted('in', lambda: (time.sleep({1}), note('out')))) for i in range({2})] and 0"


def most_at_once(lines: list[Line]) -> int:
    """
    Return the most that were in and not yet out.
    """
    inside = found = 0
    for line in lines:
        inside += 1 if line.word == "in" else -1
        found = max(found, inside)
    return found


def test_so_many_at_once_and_all_of_them(start: Start, store: str) -> None:
    """
    Calls of four processes are in flight together as often as there are places, never more, and at rest none is held.
    """
    fleet = start(4, {"s": {"max_concurrency": 5, "max_wait": 30.0}})

    for member in fleet.members:
        member.tell(WORK.format("w", 0.02, 20))
    for member in fleet.members:
        member.hear()
    eventually(lambda: len(fleet.lines("out")) == 80, "all are done")

    assert most_at_once(fleet.lines()) == 5
    eventually(lambda: held(store) == 0, "all places are back")


def test_the_places_of_a_killed_process_come_back(start: Start, store: str) -> None:
    """
    Whoever waits for places that a killed process held gets them when its life is over.
    """
    fleet = start(2, {"s": {"max_concurrency": 3, "max_wait": 30.0}})
    holder, waiter = fleet.members
    holder.ask("[later('h%d' % i, noted('held', forever)) for i in range(3)] and 0")
    eventually(lambda: len(fleet.lines("held")) == 3, "it holds all")
    assert held(store) == 3
    waiter.ask("[later('w%d' % i, noted('won')) for i in range(3)] and 0")
    eventually(lambda: waiter.ask("waiting()") == 3, "others wait")

    fleet.lose(holder)

    eventually(lambda: len(fleet.lines("won")) == 3, "the places have come back")
    eventually(lambda: held(store) == 0, "all places are back")
    assert waiter.ask("gov.status()['s']['in_flight']") == 0


def test_at_rest_nothing_is_held_whoever_was_killed(start: Start, store: str) -> None:
    """
    After kills and cancels in the middle of everything all places are there again.
    """
    fleet = start(4, {"s": {"max_concurrency": 5, "max_wait": 30.0}})
    dice = random.Random(7)

    fleet.all("tasks(8, hold=0.005, cancel=0.3)")
    for _ in range(KILLS):
        run_for(BETWEEN_KILLS)
        fleet.lose(dice.choice(fleet.members))
        fleet.start(1)[0].ask("threads(4, hold=0.005)")
    fleet.all("OVER.set()")
    eventually(lambda: sum(fleet.all("gov.status()['s']['in_flight'] + waiting()")) == 0, "nobody is in or waits")

    # Somebody has to come by for the dead to be found.
    eventually(lambda: fleet.all("attempt(str)") == ["ok"] * 4 and held(store) == 0, "all places are back")


def test_a_process_that_goes_on_after_its_life_does_not_double_its_places(start: Start, store: str) -> None:
    """
    Places that a stopped process held are given to others after its life; then it says that it holds them still.
    """
    fleet = start(2, {"s": {"max_concurrency": 1, "max_wait": 30.0}})
    holder, waiter = fleet.members
    holder.ask("later('h', noted('held', OVER.wait))")
    eventually(lambda: len(fleet.lines("held")) == 1, "it holds the place")
    holder.signal(signal.SIGSTOP)
    waiter.ask("later('w', noted('won', OVER.wait))")
    eventually(lambda: len(fleet.lines("won")) == 1, "the other one has it")

    holder.signal(signal.SIGCONT)
    holder.ask("OVER.set()")
    eventually(lambda: holder.ask("ANSWERS") == {"h": "ok"}, "its call is over")
    holder.ask("later('again', noted('again'))")
    run_for(0.5)
    assert fleet.lines("again") == []
    waiter.ask("OVER.set()")

    eventually(lambda: len(fleet.lines("again")) == 1, "it is its turn")
    eventually(lambda: held(store) == 0, "all places are back")


def test_a_process_that_ends_gives_back_what_it_has(start: Start, store: str) -> None:
    """
    After `close` nothing is held by a process that is no more.
    """
    fleet = start(2, {"s": {"max_concurrency": 2, "limits": ["100/second"], "max_wait": 30.0}})
    leaving, staying = fleet.members
    leaving.ask("threads(2, hold=0.01)")
    eventually(lambda: len(fleet.lines()) >= 10, "it works")

    leaving.ask("OVER.set()")
    # Not that none is in flight: one may wait, and have its place by the time of the close.
    working = "sum(each.name.startswith('Thread-') for each in threading.enumerate())"
    eventually(lambda: leaving.ask(working) == 0, "its calls are over")
    leaving.ask("gov.close()")

    assert staying.ask("attempt(str, deadline=2.0)") == "ok"
    eventually(lambda: held(store) == 0, "all places are back")
