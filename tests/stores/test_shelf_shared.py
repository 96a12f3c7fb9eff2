"""
The thread that writes what processes share.
"""

from __future__ import annotations

import threading
from threading import Barrier, Thread
from typing import TYPE_CHECKING, TypeVar

from egressor.stores.shelf_shared import AWAY, Clerk, Looked, Scout, Sought

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    import pytest

Reply = TypeVar("Reply")


class Nowhere:
    """
    A way on which nothing is in the way.
    """

    def use(self, work: Callable[[list[int]], Reply], *, away: Reply, busy: Reply) -> Reply:
        """
        Do *work*.
        """
        assert (away, busy) == (None, None)
        return work([])

    def close(self) -> None:
        """
        Do nothing.
        """


def test_there_is_one_thread_whoever_is_first() -> None:
    """
    Regression: threads that ordered at once each started one, and what was ordered was done out of its order.
    """
    before = set(threading.enumerate())
    clerks: list[Clerk[list[int]]] = []
    for _ in range(20):
        clerk: Clerk[list[int]] = Clerk(Nowhere(), lambda _: lambda _: None)
        clerks.append(clerk)
        together = Barrier(8)

        def order(clerk: Clerk[list[int]] = clerk, together: Barrier = together) -> None:
            together.wait()
            clerk.order(lambda _: None)

        threads = [Thread(target=order) for _ in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert clerk.flush(60.0)

    assert len(set(threading.enumerate()) - before) == len(clerks)
    for clerk in clerks:
        clerk.close()


def test_a_look_that_fails_is_a_miss(caplog: pytest.LogCaptureFixture) -> None:
    """
    The thread that looks for all goes on, whatever one of them has met.
    """
    fails = True

    def look(orders: list[tuple[Sought, Future[Looked]]]) -> None:
        if fails:
            msg = "secret"
            raise TypeError(msg)
        for _, future in orders:
            future.set_result(Looked("k", None, is_mine=False))

    scout = Scout(look)
    sought = Sought("s", lambda _: "k", lambda _: False)
    first = scout.seek(sought).result(20.0)
    fails = False
    second = scout.seek(sought).result(20.0)
    scout.close()

    assert (first, second) == (AWAY, Looked("k", None, is_mine=False))
    assert caplog.messages == ["a look for kept answers has failed, and misses: TypeError"]


def test_a_scout_without_a_thread_misses(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A container may give no thread: nobody waits for one.
    """

    def fail(_: Thread) -> None:
        msg = "can't start new thread"
        raise RuntimeError(msg)

    monkeypatch.setattr(Thread, "start", fail)

    scout = Scout(lambda _: None)

    assert scout.seek(Sought("s", lambda _: "k", lambda _: False)).result(0) == AWAY
