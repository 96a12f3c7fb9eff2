"""
The queue beside a naive one: a plain list that is sorted whenever somebody asks.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from egressor._core.queue import Line, Queue, Waiter

AGE = 10
TOP = 3
LINES = [("a", ""), ("b", ""), ("b", "u1")]


@dataclass
class Naive:
    """
    What the naive queue knows of one waiter: its level is computed from its arrival, never kept.
    """

    waiter: Waiter[int]
    level: int
    deadline: int
    came: int
    seq: int
    line: tuple[str, str]
    units: int

    def level_at(self, promoted: int) -> int:
        """
        Return its level after a promotion at *promoted*.
        """
        return min(TOP, self.level + max(0, promoted - self.came) // AGE)

    def since_at(self, promoted: int) -> int:
        """
        Return when it came to that level.
        """
        return self.came + (self.level_at(promoted) - self.level) * AGE


class QueueMachine(RuleBasedStateMachine):
    """
    Joins, moves, leaves and promotions in any order.
    """

    waiters: Bundle[Waiter[int]] = Bundle("waiters")

    def __init__(self) -> None:
        super().__init__()
        self.queue: Queue[int] = Queue(age=AGE)
        self.now = 0
        self.promoted = 0
        self.seq = 0
        self.naive: list[Naive] = []

    def find(self, waiter: Waiter[int]) -> Naive | None:
        """
        Return what the naive queue knows of *waiter*.
        """
        return next((each for each in self.naive if each.waiter is waiter), None)

    def order(self, name: tuple[str, str]) -> list[Naive]:
        """
        Return who stands in the line called *name*, first to last.
        """
        standing = [each for each in self.naive if each.line == name]
        return sorted(standing, key=lambda each: (-each.level_at(self.promoted), each.deadline, each.seq))

    @rule(
        target=waiters,
        level=st.integers(0, TOP),
        left=st.integers(0, 40),
        line=st.sampled_from(LINES),
        units=st.integers(0, 3),
    )
    def join(self, level: int, left: int, line: tuple[str, str], units: int) -> Waiter[int]:
        """
        Somebody comes.
        """
        self.promote()
        self.seq += 1
        waiter = Waiter(self.seq, level=level, deadline=self.now + left, now=self.now)
        self.queue.join(waiter, self.queue.line(line), units=units)
        self.naive.append(Naive(waiter, level, self.now + left, self.now, self.seq, line, units))
        return waiter

    @rule(waiter=waiters, line=st.sampled_from(LINES), units=st.integers(0, 3))
    def move(self, waiter: Waiter[int], line: tuple[str, str], units: int) -> None:
        """
        Somebody is held back by another cell now.
        """
        naive = self.find(waiter)
        if naive is not None:
            self.queue.move(waiter, self.queue.line(line), units=units)
            naive.line, naive.units = line, units

    @rule(waiter=consumes(waiters), twice=st.booleans())
    def leave(self, waiter: Waiter[int], *, twice: bool) -> None:
        """
        Somebody is served, or gives up; a second time nothing happens.
        """
        for _ in range(1 + twice):
            self.queue.leave(waiter)
        self.naive = [each for each in self.naive if each.waiter is not waiter]

    @rule(pause=st.integers(0, 25))
    def wait(self, pause: int) -> None:
        """
        Time passes, and nobody looks.
        """
        self.now += pause

    @rule()
    def promote(self) -> None:
        """
        Somebody looks, however late.
        """
        self.queue.promote(self.now)
        self.promoted = self.now

    @rule(level=st.integers(0, TOP))
    def last_below(self, level: int) -> None:
        """
        Whom a full queue gives up: of the lowest level below, one that came there last.
        """
        below = [each for each in self.naive if each.level_at(self.promoted) < level]
        found = self.queue.last_below(level)
        if found is None:
            assert below == []
            return
        lowest = min(each.level_at(self.promoted) for each in below)
        latest = max(each.since_at(self.promoted) for each in below if each.level_at(self.promoted) == lowest)
        assert (found.level, found.since) == (lowest, latest)

    @rule(name=st.sampled_from(LINES), level=st.integers(0, TOP), left=st.integers(0, 40))
    def a_newcomer_would_rank(self, name: tuple[str, str], level: int, left: int) -> None:
        """
        A newcomer goes before those that it ranks before, and after all whose units are counted.
        """
        line = self.queue.line(name)
        order = self.order(name)
        rank = (-level, self.now + left, self.seq + 1)
        before = [each for each in order if (-each.level_at(self.promoted), each.deadline, each.seq) < rank]

        assert line.ranks_before(level=level, deadline=self.now + left, seq=self.seq + 1) == (not before)
        counted = line.units_before(level=level, deadline=self.now + left)
        assert counted <= sum(each.units for each in before)
        assert counted >= sum(each.units for each in before if each.level_at(self.promoted) > level)
        if not order:
            self.queue.lines.pop(name, None)

    @rule(name=st.sampled_from(LINES))
    def overdue(self, name: tuple[str, str]) -> None:
        """
        Somebody whose deadline has come is found if there is one.
        """
        line = self.queue.lines.get(name)
        if line is not None:
            late = [each.waiter for each in self.order(name) if each.deadline <= self.now]
            found = line.overdue(self.now)
            assert (found in late) if late else found is None

    @invariant()
    def first_and_sizes_agree(self) -> None:
        """
        Each line has the naive queue's first, earliest deadline and numbers; nothing else stands anywhere.
        """
        assert self.queue.size == len(self.naive)
        totals = [0] * (TOP + 1)
        for name in LINES:
            order = self.order(name)
            line = self.queue.lines.get(name)
            if line is None:
                assert order == []
                continue
            assert line.first() is (order[0].waiter if order else None)
            assert line.next_expiry() == min((each.deadline for each in order), default=None)
            assert line.size == len(order)
            sizes = [sum(each.level_at(self.promoted) == level for each in order) for level in range(TOP + 1)]
            assert line.sizes() == sizes
            totals = [one + two for one, two in zip(totals, sizes, strict=True)]
        assert self.queue.sizes() == totals

    @invariant()
    def memory_follows_the_living(self) -> None:
        """
        No row or heap holds more than a small multiple of those that wait.
        """
        assert held(self.queue) <= 12 * len(self.naive) + 12 * 64


def held(queue: Queue[int]) -> int:
    """
    Return how many entries the queue keeps in all, of living and dead.
    """
    heaps = sum(len(heap) for line in queue.lines.values() for heap in line._heaps)
    return heaps + sum(map(len, (*queue._arrivals, *queue._raised)))


QueueMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=60)
TestQueue = QueueMachine.TestCase


def waiting(queue: Queue[str], *whos: tuple[str, int, int, int]) -> Line[str]:
    """
    Let each (name, level, deadline, now) join one line.
    """
    line = queue.line(("limit", ""))
    for who, level, deadline, now in whos:
        queue.join(Waiter(who, level=level, deadline=deadline, now=now), line, units=1)
    return line


def served(queue: Queue[str], line: Line[str]) -> str:
    """
    Serve everybody, and return their names in that order.
    """
    order = ""
    while (first := line.first()) is not None:
        order += first.what
        queue.leave(first)
    return order


@pytest.mark.parametrize(
    ("whos", "order"),
    [
        ([("2", 0, 99, 0), ("3", 0, 99, 0), ("4", 0, 99, 0), ("5", 2, 99, 0)], "5234"),
        ([("a", 1, 50, 0), ("b", 1, 40, 1), ("c", 1, 60, 2)], "bac"),
        ([("a", 0, 1, 0), ("b", 3, 99, 0), ("c", 1, 98, 0), ("d", 2, 97, 0)], "bdca"),
    ],
    ids=["Bottleneck priority.js: 1 runs, 5 passes 2, 3, 4", "earlier deadline first", "a deadline passes no priority"],
)
def test_who_is_served_when(whos: list[tuple[str, int, int, int]], order: str) -> None:
    """
    Priority, then deadline, then arrival.
    """
    queue: Queue[str] = Queue(age=0)

    assert served(queue, waiting(queue, *whos)) == order


def test_nobody_starves() -> None:
    """
    A low call stands among the critical ones after three ages, before all whose deadline is later.
    """
    queue: Queue[str] = Queue(age=AGE)
    line = waiting(queue, ("L", 0, 60, 0))
    for now in range(1, 31):
        queue.promote(now)
        waiting(queue, ("C", 3, now + 60, now))

    assert served(queue, line)[0] == "L"


def test_a_raised_waiter_rises_on_behind_one_that_came_later() -> None:
    """
    Whoever was raised to a level before somebody came there is raised again before it, however late anybody looks.
    """
    queue: Queue[str] = Queue(age=AGE)
    waiting(queue, ("old", 0, 99, 0))
    line = waiting(queue, ("new", 1, 99, 19))

    queue.promote(20)

    first = line.first()
    assert first is not None
    assert (first.what, first.level) == ("old", 2)


def test_without_ageing_nobody_rises() -> None:
    """
    An age of 0 turns it off.
    """
    queue: Queue[str] = Queue(age=0)
    line = waiting(queue, ("L", 0, 99, 0))
    queue.promote(10**12)

    assert line.sizes() == [1, 0, 0, 0]


def test_one_that_waits_on_keeps_no_dead_behind_it() -> None:
    """
    Ten thousand come and go while one waits: what is kept stays small.
    """
    queue: Queue[int] = Queue(age=10**9)
    line = queue.line(("limit", ""))
    queue.join(Waiter(0, level=3, deadline=10**9, now=0), line, units=1)
    for now in range(10_000):
        waiter = Waiter(now, level=now % 4, deadline=10**8, now=now)
        queue.join(waiter, line, units=1)
        queue.leave(waiter)

    assert held(queue) < 1000


class Counted(int):
    """
    A deadline that counts how often it is compared.
    """

    compared = 0

    def __lt__(self, other: int) -> bool:
        Counted.compared += 1
        return int(self) < int(other)


@pytest.mark.parametrize("size", [1000, 16_000])
def test_a_join_and_a_leave_cost_the_logarithm_of_those_that_wait(size: int) -> None:
    """
    A thousand rounds among *size* waiters compare deadlines at most some forty times each.
    """
    queue: Queue[int] = Queue(age=0)
    line = queue.line(("limit", ""))
    for number in range(size):
        queue.join(Waiter(number, level=1, deadline=Counted(number * 7919 % size), now=0), line, units=1)
    Counted.compared = 0

    for number in range(1000):
        first = line.first()
        assert first is not None
        queue.leave(first)
        queue.join(Waiter(number, level=1, deadline=Counted(number * 104_729 % size), now=0), line, units=1)

    assert Counted.compared / 1000 <= 40


def test_who_comes_back_is_raised_when_its_own_time_has_come() -> None:
    """
    Those that lost a turn stand again with the rank and the time that they had, in whatever order they come back.
    """
    queue: Queue[str] = Queue(age=10)
    line = queue.line(("c", ""))
    waiters = [Waiter(name, level=0, deadline=1_000, now=since) for name, since in [("old", 0), ("mid", 3), ("new", 6)]]
    for waiter in waiters:
        queue.join(waiter, line, units=1)
    for waiter in waiters:
        queue.leave(waiter)
    line = queue.line(("c", ""))
    for waiter in reversed(waiters):
        queue.rejoin(waiter, line, units=1)

    raised = []
    for now in (9, 10, 13, 16):
        queue.promote(now)
        raised.append([waiter.what for waiter in waiters if waiter.level == 1])

    assert raised == [[], ["old"], ["old", "mid"], ["old", "mid", "new"]]
    assert queue.size == 3


@pytest.mark.parametrize(("number", "names"), [(1, "c"), (2, "ca"), (3, "cab"), (4, "cabd"), (9, "cabd")])
def test_the_first_few_of_a_line(number: int, names: str) -> None:
    """
    The first few stand in the order in which they would go, by level and then by deadline; those that left don't.
    """
    queue: Queue[str] = Queue(age=10)
    line = queue.line(("c", ""))
    ranks = [("a", 1, 20), ("b", 1, 30), ("c", 2, 90), ("d", 0, 10), ("e", 3, 0)]
    waiters = [Waiter(name, level=level, deadline=deadline, now=0) for name, level, deadline in ranks]
    for waiter in waiters:
        queue.join(waiter, line, units=1)
    queue.leave(waiters[-1])

    assert "".join(waiter.what for waiter in line.top(number)) == names
    assert "".join(waiter.what for waiter in line.heads()) == "cad"
