"""
Several governors on one store: each is a member of its own, and together they are as one.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from egressor import Governor, NeverFits, Paused, QueueFull, WaitTooLong
from tests.faults.fleet import eventually, held

Make = Callable[..., Governor]


@pytest.fixture
def address(tmp_path: Path) -> str:
    """
    A store of the test's own.
    """
    return f"sqlite:///{tmp_path}/store.db"


@pytest.fixture
def make(address: str) -> Iterator[Make]:
    """
    Make governors on it; all are closed at the end.
    """
    made: list[Governor] = []

    def make(policy: dict[str, Any], **settings: Any) -> Governor:
        made.append(Governor({"s": policy}, store=address, **settings))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_what_one_has_taken_is_gone_for_all(make: Make) -> None:
    """
    Of ten a minute, one governor takes seven, and another gets three; a third is told how long it would wait.
    """
    policy = {"limits": ["10/minute"], "max_wait": 1.0}
    one, two, three = (make(policy) for _ in range(3))
    for _ in range(7):
        one.call("s", str)
    for _ in range(3):
        two.call("s", str)

    with pytest.raises(WaitTooLong) as caught:
        three.call("s", str)

    assert caught.value.retry_after is not None
    assert 50 < caught.value.retry_after <= 62
    assert three.status()["s"]["limits"][0]["left"] == 0


def test_a_call_that_can_not_wait_is_refused_and_takes_nothing(make: Make) -> None:
    """
    A refused call of four units leaves the three that there are to whoever wants three.
    """
    policy = {"limits": ["10 tokens/minute"], "max_wait": 0.0}
    one, two = make(policy), make(policy)
    one.call("s", str, cost={"tokens": 7})

    with pytest.raises(WaitTooLong):
        two.call("s", str, cost={"tokens": 4})
    with pytest.raises(NeverFits):
        two.call("s", str, cost={"tokens": 11})

    assert one.call("s", lambda: 7, cost={"tokens": 3}) == 7


def test_a_full_queue_refuses(make: Make) -> None:
    """
    No more than *queue_size* calls wait in one process; the next one is refused at once.
    """
    policy = {"max_concurrency": 1, "queue_size": 2, "max_wait": 30.0}
    holder, waiter = make(policy), make(policy)
    over = threading.Event()
    with ThreadPoolExecutor(3) as pool:
        pool.submit(holder.call, "s", over.wait)
        eventually(lambda: holder.status()["s"]["in_flight"] == 1, "the place is held")
        for _ in range(2):
            pool.submit(waiter.call, "s", str)
        eventually(lambda: sum(waiter.status()["s"]["waiting"].values()) == 2, "two wait")

        with pytest.raises(QueueFull):
            waiter.call("s", str)
        over.set()


HOSTILE = ["a", "a|b", "\0", "\n", "{}", "*", "é", "\ud800", "x" * 1_024, "x" * 1_023 + "y", ""]


def test_users_are_told_apart_whatever_they_are_called(make: Make) -> None:
    """
    Each user's limit is its own in all governors, by the user's whole name.
    """
    policy = {"rules": [{"match": {"user": "*"}, "limits": ["2/minute"]}], "max_wait": 0.0}
    one, two = make(policy), make(policy)

    for user in HOSTILE:
        assert one.call("s", lambda: 1, scope={"user": user}) == 1
        assert two.call("s", lambda: 2, scope={"user": user}) == 2
    for user in HOSTILE:
        with pytest.raises(WaitTooLong):
            one.call("s", str, scope={"user": user})


def test_a_pause_is_known_to_a_governor_that_comes_later(make: Make) -> None:
    """
    Its first call is refused already.
    """
    policy = {"limits": ["10/second"], "max_wait": 0.0}
    make(policy).pause("s", "by hand")

    with pytest.raises(Paused):
        make(policy).call("s", str)


def test_closing_pauses_nobody_else_and_gives_back(make: Make, address: str) -> None:
    """
    A closed governor holds nothing in the store, and another goes on.
    """
    policy = {"limits": ["10/minute"], "max_concurrency": 2, "max_wait": 1.0}
    one, two = make(policy), make(policy)
    for _ in range(3):
        one.call("s", str)

    one.close()

    assert held(address) == 0
    for _ in range(7):
        two.call("s", str)
    with pytest.raises(WaitTooLong):
        two.call("s", str)


def test_tasks_and_threads_of_two_governors_take_turns(make: Make) -> None:
    """
    One place goes from hand to hand, whoever waits and wherever, and is never in two.
    """
    policy = {"max_concurrency": 1, "max_wait": 30.0}
    governors = [make(policy), make(policy)]
    inside: list[int] = []
    found: list[int] = []

    def work() -> None:
        inside.append(1)
        found.append(len(inside))
        inside.pop()

    async def as_task() -> None:
        work()

    async def tasks(gov: Governor) -> None:
        await asyncio.gather(*(gov.acall("s", as_task) for _ in range(10)))

    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(asyncio.run, tasks(gov)) for gov in governors]
        jobs += [pool.submit(gov.call, "s", work) for gov in governors for _ in range(10)]
        for job in jobs:
            job.result()

    assert found == [1] * 40


def test_nothing_of_a_closed_governor_stays(address: str) -> None:
    """
    The threads that carry its requests and hear its calls end with it, closed or dropped.
    """

    def ours() -> set[threading.Thread]:
        return {each for each in threading.enumerate() if each.name in {"egressor-courier", "egressor-bell"}}

    before = ours()
    closed = Governor({"s": {"max_concurrency": 1}}, store=address)
    dropped = Governor({"s": {"max_concurrency": 1}}, store=address)
    for gov in (closed, dropped):
        gov.call("s", str)

    closed.close()
    del dropped, gov

    def is_over() -> bool:
        # Again and again: at the moment of a collection a thread may be at work for it.
        gc.collect()
        return ours() <= before

    eventually(is_over, "the threads have ended")


def test_the_file_is_for_its_owner_only(make: Make, tmp_path: Path) -> None:
    """
    Whatever is made beside the store's address can be read by nobody else.
    """
    make({"limits": ["10/second"]}).call("s", str)

    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
