"""
Answers that several processes share: what a file of them and a server of them have in common.

*Nobody waits for it.* What is kept is written by a thread of its own, whose queue is bounded. Another one looks for
event loops, which never wait themselves: all that was asked for while it looked is in its next look.

*One call for all processes.* Whoever is to make a call claims its key, for 3 seconds, and again each second for as long
as the call is under way. Who finds the key claimed looks again for the answer, and for the claim's end. So a process
that dies holds the others up for 3 seconds at most.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import RLock, Thread
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, Protocol, TypeVar
from weakref import finalize

from egressor._host.threads import starts

if TYPE_CHECKING:
    from .shelf import Kept

__all__ = ["AWAY", "LEASE", "PATIENT", "Answers", "Clerk", "Looked", "Name", "Scout", "SharedShelf", "Sought", "Way"]

_LOG = logging.getLogger("egressor")

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
_MOST_LOOKS: Final = 100

_Hand = TypeVar("_Hand")
_Hand_co = TypeVar("_Hand_co", covariant=True)
_Reply = TypeVar("_Reply")
Claim = tuple[str, str]
Name = Callable[[bytes], str]
"""
The key of a request, given the secret of those that share it.
"""


class Looked(NamedTuple):
    """
    What a look has found.

    Attributes:
        key: The request's key; empty where the secret isn't known.
        kept: What is kept under it; None as well for what is no answer.
        is_mine: Whether this process may make the call now: nobody else makes it, or nobody knows. None if there was
            no time to say. False also where what is kept is enough, or nobody has asked.
    """

    key: str
    kept: Kept | None
    is_mine: bool | None


AWAY: Final = Looked("", None, is_mine=True)


class Sought(NamedTuple):
    """
    What is looked for.

    Attributes:
        service: The service.
        name: The request's key.
        is_enough: Whether something that is kept is the answer. It may be asked on any thread.
        is_alive: Whether the call is under way, asked each second: it is claimed for as long. None claims nothing.
    """

    service: str
    name: Name
    is_enough: Callable[[Kept], bool]
    is_alive: Callable[[], bool] | None = None


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


class Scout:
    """
    Looks on a thread of its own, for many at once.

    Args:
        look: Finds what is sought, and tells each. It must not hold this scout, so that the thread ends with it.
    """

    def __init__(self, look: Callable[[list[tuple[Sought, Future[Looked]]]], object]) -> None:
        self._look = look
        self._orders: SimpleQueue[tuple[Sought, Future[Looked]] | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._lock = RLock()
        finalize(self, self._orders.put, None).atexit = False

    def seek(self, sought: Sought) -> Future[Looked]:
        """
        Look for *sought* soon.
        """
        future = Future[Looked]()
        if self._thread is None and not self._begins():
            future.set_result(AWAY)
        else:
            self._orders.put((sought, future))
        return future

    def _begins(self) -> bool:
        with self._lock:
            if self._thread is None:
                thread = Thread(target=_scout, args=(self._orders, self._look), name="egressor-looks", daemon=True)
                if starts(thread):
                    self._thread = thread
            return self._thread is not None

    def close(self) -> None:
        """
        Look for what is sought still, for a second at most.
        """
        thread, self._thread = self._thread, None
        if thread is not None:
            self._orders.put(None)
            thread.join(PATIENT)


def _scout(
    orders: SimpleQueue[tuple[Sought, Future[Looked]] | None],
    look: Callable[[list[tuple[Sought, Future[Looked]]]], object],
) -> None:
    while True:
        come = [orders.get()]
        with suppress(Empty):
            while len(come) < _MOST_LOOKS:
                come.append(orders.get_nowait())
        wanted = [each for each in come if each is not None]
        try:
            look(wanted)
        except Exception as error:  # noqa: BLE001 - without this thread nobody would find anything any more
            _LOG.warning("a look for kept answers has failed, and misses: %s", type(error).__name__)
        for _, future in wanted:
            if not future.done():
                future.set_result(AWAY)
        if len(wanted) < len(come):
            return
        come, wanted = [], []  # Nobody's answer is held while nobody looks.


class Answers(Protocol):
    """
    The answers of all services, as one process has them.
    """

    def find(self, sought: Sought) -> Looked:
        """
        Look for *sought*, blocking.
        """

    def seek(self, sought: Sought) -> Future[Looked]:
        """
        Look for *sought* on another thread.
        """

    def put(self, service: str, key: str | Name, kept: Kept, *, until: int, most: tuple[int, int]) -> None:
        """
        Keep an answer soon, at most until *until*; of the service *most* answers and bytes.
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

    def find(
        self, name: Name, *, is_enough: Callable[[Kept], bool], is_alive: Callable[[], bool] | None = None
    ) -> Looked:
        """
        Look for a request's answer, blocking; claim its call if there is none and *is_alive* is given.
        """
        return self._answers.find(Sought(self._service, name, is_enough, is_alive))

    def seek(
        self, name: Name, *, is_enough: Callable[[Kept], bool], is_alive: Callable[[], bool] | None = None
    ) -> Future[Looked]:
        """
        Do what `find` does on another thread.
        """
        return self._answers.seek(Sought(self._service, name, is_enough, is_alive))

    def put(self, key: str | Name, kept: Kept, *, until: int) -> None:
        """
        Keep an answer soon, at most until *until*.
        """
        self._answers.put(self._service, key, kept, until=until, most=self._most)

    def release(self, key: str) -> None:
        """
        Let others make it.
        """
        self._answers.release(self._service, key)
