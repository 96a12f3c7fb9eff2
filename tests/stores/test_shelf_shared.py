"""
The thread that writes what processes share.
"""

from __future__ import annotations

import threading
from threading import Barrier, Thread
from typing import TYPE_CHECKING, TypeVar

from egressor.stores.shelf_shared import Clerk

if TYPE_CHECKING:
    from collections.abc import Callable

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
