"""
Answers that several processes share: what a file of them and a server of them have in common.

*Nobody waits for it.* What is kept is written by a thread of its own, whose queue is bounded.

*One call for all processes.* Whoever is to make a call claims its key, for 3 seconds, and again each second for as long
as the call is under way. Who finds the key claimed looks again for the answer, and for the claim's end. So a process
that dies holds the others up for 3 seconds at most.
"""

from __future__ import annotations

import time
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import RLock, Thread
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar
from weakref import finalize

from egressor._host.threads import starts

if TYPE_CHECKING:
    from collections.abc import Callable

    from .shelf import Kept

__all__ = ["LEASE", "PATIENT", "Answers", "Clerk", "SharedShelf", "Way"]

LEASE: Final = 3_000_000
"""
How many microseconds a claim holds.
"""
PATIENT: Final = 1.0
"""
How many seconds whoever writes may wait.
"""
_RENEW: Final = 1.0
_MOST_ORDERS: Final = 1_000

_Hand = TypeVar("_Hand")
_Hand_co = TypeVar("_Hand_co", covariant=True)
_Reply = TypeVar("_Reply")
Claim = tuple[str, str]


class Way(Protocol[_Hand_co]):
    """
    The way to where answers are.
    """

    def use(self, work: Callable[[_Hand_co], _Reply], *, away: _Reply, busy: _Reply) -> _Reply:
        """
        Return what *work* makes of it; *busy* if others had it, and *away* if it can't be used.
        """

    def close(self) -> None:
        """
        Let go of it; the next use opens it again.
        """


class Clerk(Generic[_Hand]):
    """
    Does what is ordered, one after the other, on a thread of its own, and claims again what is still under way.

    Args:
        way: Where it does that.
        renew: What makes an order of claims that are to go on.

    Attributes:
        dropped: Answers that were not kept as its queue was full.
    """

    def __init__(self, way: Way[_Hand], renew: Callable[[list[Claim]], Callable[[_Hand], object]]) -> None:
        self.dropped = 0
        self._way = way
        self._renew = renew
        self._orders: SimpleQueue[Callable[[_Hand], object] | None] = SimpleQueue()
        self._claims: dict[Claim, Callable[[], bool]] = {}
        self._thread: Thread | None = None
        self._lock = RLock()
        finalize(self, self._orders.put, None).atexit = False

    def keep(self, order: Callable[[_Hand], object]) -> None:
        """
        Do *order* soon, or never where too many wait already.
        """
        if self._orders.qsize() >= _MOST_ORDERS:
            self.dropped += 1
            return
        self.order(order)

    def order(self, order: Callable[[_Hand], object]) -> None:
        """
        Do *order* soon.
        """
        if self._thread is None:
            self._begin()
        self._orders.put(order)

    def _begin(self) -> None:
        # Two threads would do what was ordered out of its order.
        with self._lock:
            if self._thread is None:
                work = _Work(self._orders, self._way, self._claims, self._renew)
                thread = Thread(target=work.run, name="egressor-answers", daemon=True)
                if starts(thread):
                    self._thread = thread

    def claimed(self, claim: Claim, *, is_alive: Callable[[], bool]) -> None:
        """
        Claim again each second what was claimed, for as long as *is_alive* says so.
        """
        self._claims[claim] = is_alive
        self.order(_nothing)

    def released(self, claim: Claim, order: Callable[[_Hand], object]) -> None:
        """
        Do *order*, which gives up a claim. The collector may do this, so no thread is started for it.
        """
        self._claims.pop(claim, None)
        self._orders.put(order)

    @property
    def claims(self) -> list[Claim]:
        """
        What is claimed.
        """
        return list(self._claims)

    def renew(self) -> None:
        """
        Claim again what is under way.
        """
        _renew(self._way, self._claims, self._renew)

    def flush(self, seconds: float) -> bool:
        """
        Wait until all that was ordered is done; false if that takes longer than *seconds*.
        """
        done: SimpleQueue[None] = SimpleQueue()
        self.order(lambda _: done.put(None))
        with suppress(Empty):
            done.get(timeout=seconds)
            return True
        return False

    def close(self) -> None:
        """
        Do what was ordered, for a second at most.
        """
        thread, self._thread = self._thread, None
        if thread is not None:
            self._orders.put(None)
            thread.join(PATIENT)


def _nothing(hand: object) -> None:
    """
    Wake the thread, which has a claim to renew from now on.
    """


class _Work(Generic[_Hand]):
    """
    What a clerk's thread does. It doesn't hold the clerk, so it ends with it.
    """

    def __init__(
        self,
        orders: SimpleQueue[Callable[[_Hand], object] | None],
        way: Way[_Hand],
        claims: dict[Claim, Callable[[], bool]],
        renew: Callable[[list[Claim]], Callable[[_Hand], object]],
    ) -> None:
        self._orders = orders
        self._way = way
        self._claims = claims
        self._renew = renew

    def run(self) -> None:
        """
        Do what is ordered, and renew claims, until an order is None.
        """
        due = 0.0
        while True:
            waits = _RENEW if self._claims else None
            if waits is not None and time.monotonic() >= due:
                _renew(self._way, self._claims, self._renew)
                due = time.monotonic() + _RENEW
            try:
                order = self._orders.get(timeout=waits)
            except Empty:
                continue
            if order is None:
                self._way.close()
                return
            self._way.use(order, away=None, busy=None)


def _renew(
    way: Way[_Hand], claims: dict[Claim, Callable[[], bool]], order: Callable[[list[Claim]], Callable[[_Hand], object]]
) -> None:
    alive = [each for each, is_alive in list(claims.items()) if is_alive()]
    if alive:
        way.use(order(alive), away=None, busy=None)


class Answers(Protocol):
    """
    The answers of all services, as one process has them.
    """

    def salt(self) -> bytes:
        """
        Return the secret that all processes make keys with; empty while it can't be had.
        """

    def get(self, service: str, key: str) -> Kept | None:
        """
        Return what is kept under *key*; None as well for what is no answer.
        """

    def put(self, service: str, key: str, kept: Kept, *, until: int, most: tuple[int, int]) -> None:
        """
        Keep an answer soon, at most until *until*; of the service *most* answers and bytes.
        """

    def claim(self, service: str, key: str, *, is_alive: Callable[[], bool]) -> bool | None:
        """
        Return whether this process may make the call of *key* now: nobody else makes it, or nobody knows. None if
        there was no time to say.
        """

    def release(self, service: str, key: str) -> None:
        """
        Let others make the call of *key*, as soon as its answer is written.
        """

    def close(self) -> None:
        """
        Write what was ordered, for a second at most, and let go.
        """


class SharedShelf:
    """
    One service's answers among those that are shared.

    Args:
        answers: Those of all services.
        service: The service.
        max_entries: How many at most.
        max_bytes: How many bytes at most.
    """

    def __init__(self, answers: Answers, service: str, *, max_entries: int, max_bytes: int) -> None:
        self._answers = answers
        self._service = service
        self._most = max_entries, max_bytes

    def get(self, key: str) -> Kept | None:
        """
        Return what is kept under *key*.
        """
        return self._answers.get(self._service, key)

    def put(self, key: str, kept: Kept, *, until: int) -> None:
        """
        Keep an answer soon, at most until *until*.
        """
        self._answers.put(self._service, key, kept, until=until, most=self._most)

    def claim(self, key: str, *, is_alive: Callable[[], bool]) -> bool | None:
        """
        Return whether this process may make the call of *key* now; None if nobody could say.
        """
        return self._answers.claim(self._service, key, is_alive=is_alive)

    def release(self, key: str) -> None:
        """
        Let others make it.
        """
        self._answers.release(self._service, key)
