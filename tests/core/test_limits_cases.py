"""
Cases of limits that other projects' tests pin, each named by its origin.

Where their limiter hands out reservations, ours hands out none: whoever has to wait stands in the queue, takes nothing
before its turn, and has nothing to give back when it is cancelled. `Served` plays that queue.

One of their cases has no counterpart: a limiter that races for its cell must give up after some compare-and-swaps
(throttled ``rate.go``); here a lock is held, so there is no race to lose.
"""

from __future__ import annotations

import pytest

from egressor._core.limits import Fixed, Gcra, Sliding

SECOND = 1_000_000
TENTH = SECOND // 10


class Served:
    """
    A queue of single units before one cell, served as soon as the limit says.
    """

    def __init__(self, limit: Gcra | Fixed | Sliding) -> None:
        self.limit = limit
        self.cell = 0
        self.now = 0
        self.waiting = 0
        self.granted: list[int] = []

    def run(self, until: int) -> None:
        """
        Serve those that wait, up to and with *until*.
        """
        while self.waiting:
            after = self.limit.ask(self.cell, self.now, 1)
            if after < 0 and self.now - after > until:
                break
            if after < 0:
                self.now -= after
                continue
            self.cell = after
            self.waiting -= 1
            self.granted.append(self.now)
        self.now = until

    def join(self, units: int) -> int:
        """
        Let *units* more wait, and return how long the last of them will.
        """
        self.waiting += units
        wait = self.limit.wait(self.cell, self.now, self.waiting)
        self.run(self.now)
        return wait


def test_bucket_of_three() -> None:
    """
    golang.org/x/time ``TestLimiterBurst3``: what is asked, whether it is granted, and what was there before.
    """
    table = [
        (0, 2, True, 3), (0, 2, False, 1), (0, 1, True, 1), (0, 1, False, 0), (1, 4, False, 1), (2, 1, True, 2),
        (3, 1, True, 2), (4, 1, True, 2), (4, 1, True, 1), (4, 1, False, 0), (4, 1, False, 0), (9, 3, True, 3),
        (9, 0, True, 0),
    ]  # fmt: skip
    limit, cell, seen = Gcra(amount=10, period=SECOND, burst=3), 0, []

    for tick, units, _, _ in table:
        now = SECOND + tick * TENTH
        after = limit.ask(cell, now, units)
        seen.append((tick, units, after >= 0, limit.left(cell, now)))
        cell = cell if after < 0 else after

    assert seen == table


def test_bucket_when_time_jumps_back() -> None:
    """
    golang.org/x/time ``TestLimiterJumpBackwards``: theirs grants two at t0, ours one: a step back lengthens waits.
    """
    table = [
        (1, True), (0, True), (0, False), (0, False), (0, False), (1, True), (1, False), (2, True), (2, False),
    ]  # fmt: skip
    limit, cell, seen = Gcra(amount=10, period=SECOND, burst=3), 0, []

    for tick, _ in table:
        after = limit.ask(cell, SECOND + tick * TENTH, 1)
        seen.append((tick, after >= 0))
        cell = cell if after < 0 else after

    assert seen == table


@pytest.mark.parametrize(("asked_at", "granted_at"), [(0, 2), (1, 2), (2, 2), (3, 3)])
def test_a_refused_ask_reserves_nothing(asked_at: int, granted_at: int) -> None:
    """
    golang.org/x/time ``TestSimpleReserve`` and ``TestCancel``: a burst of 2 is taken at t0. A second ask that gives up
    has taken nothing, so the next one goes when it would have gone.
    """
    limit = Gcra(amount=10, period=SECOND, burst=2)
    cell = limit.ask(0, SECOND, 2)
    refused = limit.ask(cell, SECOND, 2)
    now = SECOND + asked_at * TENTH

    assert refused == -2 * TENTH
    assert now + limit.wait(cell, now, 2) == SECOND + granted_at * TENTH


def test_giving_back_late_gives_back_less() -> None:
    """
    golang.org/x/time ``TestCancelLate`` gives nothing back once the time to act is over. Ours gives back what the time
    since has not given back already: 2 units taken at t0 are 2 at t0, 1 at t1 and none at t2.
    """
    limit = Gcra(amount=10, period=SECOND, burst=2)
    full = limit.ask(0, SECOND, 2)
    taken_again = {tick: limit.ask(full, SECOND + tick * TENTH, tick) for tick in (0, 1, 2)}

    left = {
        tick: limit.left(limit.refund(cell, SECOND + tick * TENTH, 2, SECOND), SECOND + tick * TENTH)
        for tick, cell in taken_again.items()
    }

    assert left == {0: 2, 1: 1, 2: 0}


def test_gcra_of_five() -> None:
    """
    Throttled ``TestRateLimit``: seconds, units, limited, remaining, reset_after, retry_after (-1: never or not needed).
    """
    table = [
        (0, 6, True, 5, 0, -1), (0, 1, False, 4, 1, -1), (0, 1, False, 3, 2, -1), (0, 1, False, 2, 3, -1),
        (0, 1, False, 1, 4, -1), (0, 1, False, 0, 5, -1), (0, 1, True, 0, 5, 1), (3, 1, False, 2, 3, -1),
        (3.1, 1, False, 1, 3.9, -1), (4, 1, False, 1, 4, -1), (8, 1, False, 4, 1, -1), (9.5, 1, False, 4, 1, -1),
        (9.5, 0, False, 4, 1, -1), (9.5, 2, False, 2, 3, -1), (9.5, 5, True, 2, 3, 3), (15, 6, True, 5, 0, -1),
    ]  # fmt: skip
    limit, cell, seen = Gcra(amount=1, period=SECOND, burst=5), 0, []

    for seconds, units, *_ in table:
        now = SECOND + round(seconds * SECOND)
        after = limit.ask(cell, now, units)
        cell = cell if after < 0 else after
        retry = -after / SECOND if after < 0 and units <= limit.most else -1
        seen.append((seconds, units, after < 0, limit.left(cell, now), max(0, cell - now) / SECOND, retry))

    assert seen == table


@pytest.mark.parametrize(
    ("limit", "table"),
    [
        pytest.param(
            Gcra(amount=2, period=SECOND, burst=1),
            # The last wait but one is 900 in failsafe-go, whose intervals are aligned to the clock; ours begin with
            # the first unit after a pause.
            [(0, 7, 3000), (800, 3, 3700), (2300, 1, 2700), (3500, 3, 3000), (9100, 3, 1000), (11_000, 1, 0)],
            id="smooth",
        ),
        pytest.param(
            Fixed(amount=2, period=SECOND),
            [(0, 7, 3000), (800, 3, 3200), (2300, 1, 2700), (3500, 3, 2500), (7000, 1, 0)],
            id="bursty",
        ),
    ],
)
def test_the_last_of_a_queue_waits_as_long_as_was_told(limit: Gcra | Fixed, table: list[tuple[int, int, int]]) -> None:
    """
    failsafe-go's smooth and bursty limiters: at a millisecond, so many units more are asked for, the last one's wait.
    """
    served, told = Served(limit), []

    for millis, units, _ in table:
        served.run(millis * 1000)
        told.append((millis, units, served.join(units) // 1000))

    assert told == table


@pytest.mark.parametrize(
    ("limit", "joined", "counts"),
    [
        pytest.param(
            Gcra(amount=100, period=SECOND, burst=1), [(0, 400)], {1: 100, 2: 200, 3: 300}, id="100/second, at ends"
        ),
        # uber-go counts 8 and 15: it rounds the gap down. Ours rounds up, so the 8th comes 3 µs after the minute.
        pytest.param(Gcra(amount=7, period=60 * SECOND, burst=1), [(0, 40)], {1: 1, 60: 7, 120: 14}, id="7/minute"),
        pytest.param(
            Gcra(amount=1, period=SECOND, burst=2), [(1, 1), (2 * SECOND + 1, 4)], {3: 3, 10: 5}, id="slack of one"
        ),
    ],
)
def test_how_many_have_gone(limit: Gcra, joined: list[tuple[int, int]], counts: dict[int, int]) -> None:
    """
    uber-go/ratelimit: units that are granted before so many seconds.
    """
    served = Served(limit)

    for at, units in joined:
        served.run(at)
        served.join(units)
    served.run(200 * SECOND)

    assert {end: sum(at < end * SECOND for at in served.granted) for end in counts} == counts


@pytest.mark.parametrize(
    "limit",
    [
        Gcra(amount=100, period=60 * SECOND, burst=100),
        Sliding(amount=100, period=60 * SECOND),
        Fixed(amount=100, period=60 * SECOND),
    ],
)
def test_asking_for_too_much_drains_nothing(limit: Gcra | Sliding | Fixed) -> None:
    """
    Gubernator: 1000 of 100 are refused, 100 are left and can be taken; giving back more than was taken mints nothing.
    """
    over = limit.ask(0, SECOND, 1000)
    taken = limit.ask(0, SECOND, 100)
    back = limit.refund(taken, SECOND, 1000, SECOND)

    assert over < 0
    assert (limit.left(0, SECOND), limit.left(taken, SECOND), limit.left(back, SECOND)) == (100, 0, 100)
