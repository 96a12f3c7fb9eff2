"""
Who carries requests to the store.

One `Courier` serves all gates of a governor. It has one thread, which makes the requests that are due and those that
were asked for; where the store is near, whoever wants something makes the request itself, if nobody else is at it.
When the store does not answer, every gate is told to go on alone, and the thread asks again until it does.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
from functools import partial
from heapq import heappop, heappush
from itertools import count
from queue import Empty, SimpleQueue
from time import monotonic_ns
from typing import TYPE_CHECKING
from uuid import uuid4
from weakref import WeakSet, finalize, ref

from . import PATIENCE, Slept, StoreAway

if TYPE_CHECKING:
    from egressor._core.admission import Ask
    from egressor._core.fleet import Reply, Request

    from . import Store
    from .asking import Asking

__all__ = ["Courier"]

_COURIERS: WeakSet[Courier] = WeakSet()

_has_loop = asyncio.events._get_running_loop  # noqa: SLF001 - it is in that module's __all__

_LOG = logging.getLogger("egressor")
_MICRO = 1_000_000
# How often the store is asked whether it is back.
_RETRY = 250_000
# How many requests one after the other before others have their turn.
_ROUNDS = 16
_Inbox = SimpleQueue[tuple[int, "ref[Asking] | None"]]


class Courier:
    """
    The way of one governor's gates to their store.

    Args:
        store: The store.

    Attributes:
        away: Why the store is away; empty while it is not.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._gates: WeakSet[Asking] = WeakSet()
        self._begin()
        finalize(self, store.close).atexit = False
        _COURIERS.add(self)

    def _begin(self) -> None:
        self._member = uuid4().hex[:12]
        self._pid = os.getpid()
        self._inbox: _Inbox = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._address: str | None = None
        self._shift: int | None = None
        self._excused_at = 0
        self.away = ""
        self._is_closed = False
        self._guard = threading.Lock()

    @property
    def member(self) -> str:
        """
        What this process is called in the store.
        """
        if self._pid != os.getpid():
            self._begin()
        return self._member

    @property
    def address(self) -> str:
        """
        Where this process is called.
        """
        if self._address is None:
            self._address = self.store.address
        return self._address

    def serve(self, gate: Asking) -> None:
        """
        Carry *gate*'s requests from now on.
        """
        self._gates.add(gate)
        if self.away:
            gate.lose(self.away)

    def soon(self, gate: Asking, when: int = 0) -> None:
        """
        Make *gate*'s next request at *when* (monotonic microseconds), or now, on the courier's thread.
        """
        if self._pid != os.getpid():
            self._begin()
        if self._thread is None:
            self._start()
        self._inbox.put((when, gate.reference))

    def now(self, gate: Asking) -> None:
        """
        Make *gate*'s next request here and now where the store is near, else leave it to the thread.

        In an event loop it is left to the thread, too: another process may have the store's lock for a while.
        """
        if not self.store.is_near or self.away or _has_loop() is not None or not self.run(gate):
            self.soon(gate)

    def sync(self, gate: Asking) -> None:
        """
        Make *gate*'s next request here and now; this may block for as long as the store takes.
        """
        if not self.run(gate):
            self.soon(gate)

    def fetch(self, gate: Asking, ask: Ask) -> int | None:
        """
        Ask for *ask* alone, here and now: since when its call goes; None where it has to join a line.

        Not in an event loop, for which another process may have the store's lock for too long.
        """
        if self.away or self._is_closed or _has_loop() is not None:
            return None
        turn, is_mine = gate.turn, False
        try:
            if not turn.acquire(blocking=False) or gate.is_asking:
                return None
            gate.is_asking = is_mine = True
            gate.is_wanted = False
            errand = gate.prepare_one(ask)
            answer = None if errand is None else self._asked(gate, errand.request)
            at = None if errand is None or answer is None else gate.take_one(errand, *answer)
        except BaseException:
            if is_mine:
                self._broke_off(gate)
            raise
        finally:
            if is_mine:
                gate.is_asking = False
            try:  # noqa: SIM105 - as in `_one`
                turn.release()
            except RuntimeError:
                pass
        try:
            # Somebody came meanwhile: to leave it to the thread would have the two of us wake each other on and on. But
            # who has waited for a store in vain does not wait for it again: whoever came was told along with us.
            if gate.is_wanted and not self.away and not self.run(gate, rounds=1):
                self.soon(gate)
        except BaseException:
            if at is not None:
                # Nobody will hear that this call may go.
                gate.undo(gate.lease(ask, at, gate.breaker.generation))
            raise
        return at

    def run(self, gate: Asking, *, rounds: int = _ROUNDS) -> bool:
        """
        Make what requests *gate* has, or leave them to whoever is at it; False if there is more to say than *rounds*
        requests take.

        One that comes to nothing is the last: the store is asked again when `_asked` has said.
        """
        for _ in range(rounds):
            if self._is_closed:
                return True
            more = self._one(gate)
            if more is None:
                gate.is_wanted = True
                # Whoever is at it may just have looked.
                more = self._one(gate)
            if more is None or self.away or not (more or gate.is_wanted):
                return True
        return False

    def _one(self, gate: Asking) -> bool | None:
        """
        Make one request; return whether there is more to say, or None where somebody is at it already.

        A signal may raise at any call, behind `acquire` too, and must leave no turn taken: so the lock is one that
        knows its owner, all stands inside of the `try`, and nothing is called between its end and `release`.
        """
        is_mine = False
        try:
            # What is under way in this very thread, a signal or a finaliser has interrupted.
            if not gate.turn.acquire(blocking=False) or gate.is_asking:
                return None
            gate.is_asking = is_mine = True
            gate.is_wanted = False
            return self._exchange(gate)
        except BaseException:
            if is_mine:
                self._broke_off(gate)
            raise
        finally:
            if is_mine:
                gate.is_asking = False
            try:  # noqa: SIM105 - `suppress` is called, and a signal may raise there
                gate.turn.release()
            except RuntimeError:
                pass  # It is another thread's.

    def close(self) -> None:
        """
        Give back what the gates have, and let go of the store.
        """
        if self._is_closed or self._pid != os.getpid():
            return
        for gate in list(self._gates):
            gate.retire()
            # Whoever is at its request is left to end it, before the store is closed under it.
            if not self.away and gate.turn.acquire(timeout=PATIENCE):
                gate.turn.release()
                self.run(gate)
        self._is_closed = True
        self._inbox.put((0, None))
        self.store.close()

    def _exchange(self, gate: Asking) -> bool:
        request = gate.prepare()
        answer = None if request is None else self._asked(gate, request)
        return request is not None and answer is not None and gate.apply(request, *answer)

    def _broke_off(self, gate: Asking) -> None:
        """
        Note that Ctrl-C, or a fault of ours, has ended a request: nobody knows what the store did, or who was told.

        What it has to be told anew goes along with the next one; what may have been heard is not said twice.
        """
        gate.failed()
        self.soon(gate)

    def _asked(self, gate: Asking, request: Request) -> tuple[Reply, int] | None:
        """
        Return the store's reply and what makes its time of ours; None where it is away, which *gate* knows then.
        """
        began = monotonic_ns() // 1000
        try:
            reply = self.store.exchange(gate.name, request)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a store, calls go on without it
            gate.failed()
            if isinstance(error, Slept) and self._is_excused(began):
                self.soon(gate)
                return None
            self._lost(gate, str(error) if isinstance(error, StoreAway) else f"{type(error).__name__}: {error}")
            # Whoever has found out asks again, for all.
            gate.ask_again(_RETRY)
            return None
        self._excused_at = 0
        if self.away:
            self._found()
        if gate.away:
            gate.regain()
        if reply.calls:
            self.store.call(gate.name, reply.calls)
        return reply, self._shift_of(reply.now, began)

    def _is_excused(self, began: int) -> bool:
        """
        Whether a request that began then, and in the midst of which this process slept, says nothing of the store.

        Its time is over as it goes on; others that slept as well go by the store, and a share of its own would come on
        top of theirs. It asks again, and is excused once until the store has answered: all its requests that were under
        way then, and none that has begun since.
        """
        if self.away or 0 < self._excused_at <= began:
            return False
        self._excused_at = monotonic_ns() // 1000
        return True

    def _shift_of(self, now: int, began: int) -> int:
        """
        Return what makes the store's time of ours, rounded up: then nothing is used too late.
        """
        if self.store.is_near:
            return self.store.shift
        most, least = now - began, now - monotonic_ns() // 1000
        # The best estimate is that of the quickest exchange so far; clocks that drift end it.
        if self._shift is None or not least <= self._shift <= most:
            self._shift = most
        return self._shift

    def _lost(self, gate: Asking, why: str) -> None:
        with self._guard:
            is_first = not self.away
            self.away = why
        gate.lose(why)
        if is_first:
            if not self._is_closed:
                _LOG.warning("the store is away: %s", why)
            for each in list(self._gates):
                each.lose(why)
        if not self.away:
            # Another request has found it meanwhile.
            for each in list(self._gates):
                self.soon(each)

    def _found(self) -> None:
        with self._guard:
            self.away = ""
        _LOG.warning("the store is back")
        for gate in list(self._gates):
            self.soon(gate)

    def anybody_away(self) -> Asking | None:
        """
        Return one of those that wait for the store's return; None while it is not away.
        """
        return next(iter(list(self._gates)), None) if self.away else None

    def _start(self) -> None:
        with self._guard:
            if self._thread is not None:
                return
            inbox = self._inbox
            thread = threading.Thread(target=_carry, args=(inbox, ref(self)), name="egressor-courier", daemon=True)
            thread.start()
            # Not before: where a signal raises behind it, somebody else starts one.
            self._thread = thread
            finalize(self, inbox.put, (0, None)).atexit = False
        self.store.listen(partial(_called, ref(self)))

    def called(self, service: str) -> None:
        """
        Ask anew for *service*: somebody says that it is worth it.
        """
        for gate in list(self._gates):
            if gate.name == service:
                gate.called()
                self.soon(gate)


def _at_exit() -> None:
    # What a program holds when it ends, others need not wait for.
    for courier in list(_COURIERS):
        courier.close()


atexit.register(_at_exit)


def _called(courier: ref[Courier], service: str) -> None:
    owner = courier()
    if owner is not None:
        owner.called(service)


def _carry(inbox: _Inbox, courier: ref[Courier]) -> None:
    """
    Make requests at their times until nobody needs that any more.
    """
    due: list[tuple[int, int, ref[Asking]]] = []
    numbers = count()
    while True:
        left = max(0, due[0][0] + 1 - monotonic_ns() // 1000) / _MICRO if due else None
        try:
            when, key = inbox.get(timeout=left)
        except Empty:
            if due[0][0] > monotonic_ns() // 1000:
                continue  # Queues wake a little early at times.
            _run(courier, heappop(due)[2])
            continue
        if key is None:
            return
        if not when:
            _run(courier, key)
        else:
            # A gate says so only of a time that comes before what it has said already: there are never many.
            heappush(due, (when, next(numbers), key))


def _run(courier: ref[Courier], key: ref[Asking]) -> None:
    owner, gate = courier(), key()
    if owner is None:
        return
    # Who was to look whether the store is back may be gone: then somebody else does.
    gate = gate or owner.anybody_away()
    if gate is None:
        return
    try:
        if not owner.run(gate):
            owner.soon(gate)
    except Exception as error:  # noqa: BLE001 - the requests of all others go on
        _LOG.error("a request to the store failed: %s: %s", type(error).__name__, error)
