"""
The way of money into its ledger: whoever wants some held waits for the answer, whoever tells an end doesn't.

One thread does a process's business with a durable ledger. What comes while it is at work is its next transaction, so
that fifty calls at once cost no more commits than one. An end that was told before a wish is charged before it, so
nobody is refused for money that has come back.

*At hand.* To have a thread do it costs more than what it does, where the ledger is a file of this host. So what an
event loop's calls want in one of its rounds is held by the loop itself, in one transaction for five hundred, if that
waits for no other process or thread, and for the disk only where SQLite begins its log anew: one sync in some thousand
turns. Else the thread does it, as it does all that waits: renewals, each five-hundredth turn (in which SQLite may bring
its log to the disk), and whatever comes while the ledger is away.

*Away.* Whoever wants money waits on as long as the ledger answers anybody, another process on the same file too, and
is refused when it has answered nobody for a quarter of a second; while it is known to be away, at once. Ends are kept
on the disk, in a spool, and brought home when it is back, each once. An end that is lost all the same leaves a hold
that becomes unknown: nothing is ever charged too little.

*Power.* A process that is killed loses nothing, whatever it was about. A power cut takes what the system has not yet
brought to the disk: what was held and charged since the last renewal, which waits for the disk, as all does if it is
*strict*.

*Alive.* What this process holds lasts for a minute, and is renewed four times in it; on that occasion it also charges
what dead processes have held.

A ledger in memory needs no thread. An end may be told by a finaliser, in the midst of anything: it is put down, and
charged at once if nobody is at work, else before the next hold.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import secrets
import time
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from threading import Lock, RLock, Thread
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from weakref import WeakSet

from egressor._core.budget import NEVER, Denied, Held
from egressor._host.threads import starts

from . import LedgerAway
from .entry import Entry, made
from .money import FREE, Away, End, Page, Tags, Want, finish, forget, lose, take

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from . import Ledger
    from .spool import Spool

__all__ = ["MemoryTill", "Till"]

LASTS: Final = 60_000_000
"""
How long a hold of a process that is never heard of again stays a hold, in microseconds.
"""

_RENEW: Final = 15.0
_PATIENCE: Final = 0.25
_FIRST_RETRY: Final = 0.1
_LAST_RETRY: Final = 1.0
_BATCH: Final = 500
# How long a charge waits for company.
_TOGETHER: Final = 0.005
# How often it is looked after while event loops charge what is told: each look interrupts one of them.
_SELDOM: Final = 0.02
# After so many turns of event loops the thread has one.
_IN_A_ROW: Final = 500
_OWED: Final = 10_000
_GRACE: Final = 2.0
_FORGET: Final = 3_600.0
_KIND: Final = "money"
_LOG = logging.getLogger("egressor")
_EVERY: WeakSet[Till | MemoryTill] = WeakSet()
_T = TypeVar("_T")


class _Order(NamedTuple):
    want: Want
    answer: Future[Held | Denied | Away]


class _Look(NamedTuple):
    """
    Wakes the thread, which looks what there is to do.
    """


class _Round(NamedTuple):
    """
    What is wanted in one round of an event loop; the answer None is that the thread has to be asked.
    """

    loop: asyncio.AbstractEventLoop
    wishes: list[tuple[Want, asyncio.Future[Held | Denied | Away | None]]]


class MemoryTill:
    """
    Money of this process only.

    Args:
        ledger: A ledger in memory.
        wall: The time, in microseconds since 1970.
        keep_for: How long sums are kept, in microseconds.
    """

    is_durable = False
    is_strict = False

    def __init__(self, ledger: Ledger, *, wall: Callable[[], int], keep_for: int) -> None:
        self._ledger = ledger
        self._wall = wall
        self._keep_for = keep_for
        self._lock = RLock()
        self._is_busy = False
        self._ends: deque[End] = deque()
        self._forget_at = 0.0
        self.owner = secrets.token_hex(8)
        _EVERY.add(self)

    def hold(self, want: Want) -> Held | Denied | Away:
        """
        Hold what is wanted, or say no.
        """
        now = self._wall()
        # Nothing is lost here: what this process forgets, it forgets whole.
        return self._alone(partial(take, want=want, now=now, lasts=NEVER - now))

    async def ahold(self, want: Want) -> Held | Denied | Away:
        """
        As `hold`: there is nothing to wait for.
        """
        return self.hold(want)

    def end(self, end: End) -> None:
        """
        Charge what became of a hold; from anywhere, a finaliser too.
        """
        self._ends.append(end)
        if self._lock.acquire(blocking=False):
            try:
                self._alone(lambda _: None)
            finally:
                self._lock.release()

    def read(self, work: Callable[[Page], _T], *, patience: float | None = None) -> _T:  # noqa: ARG002 - nobody keeps it
        """
        Return what *work* reads.

        Raises:
            LedgerAway: A signal handler looks in the midst of a hold.
        """
        found = self._alone(work)
        if isinstance(found, Away):
            raise LedgerAway(found.text)
        return found

    def state(self) -> dict[str, Any]:
        """
        Return how it is, as plain values.
        """
        return {"away": "", "owed": len(self._ends), "dropped": 0}

    def close(self, timeout: float = 0.0) -> None:
        """
        Nothing is open.
        """

    def _alone(self, work: Callable[[Page], _T]) -> _T | Away:
        with self._lock:
            if self._is_busy:
                return Away("a call was made in the midst of another's hold")
            self._is_busy = True
            try:
                return self._ledger.money(partial(self._do, work=work))
            finally:
                self._is_busy = False

    def _do(self, page: Page, work: Callable[[Page], _T]) -> _T:
        while self._ends:
            _tell_over(finish(page, self._ends.popleft()))
        if time.monotonic() >= self._forget_at:
            self._forget_at = time.monotonic() + _FORGET
            forget(page, self._ledger.proven(self._wall()), self._keep_for)
        return work(page)

    def begin_in_child(self) -> None:
        """
        In a forked child: the threads that would end the holds stayed in the parent.
        """
        self._lock = RLock()
        self._is_busy = False
        self._ends.clear()
        self._ledger.money(partial(lose, now=NEVER))


class Till:
    """
    Money that all processes on a ledger share.

    Args:
        ledger: The ledger, which nobody else uses.
        spool: Where ends wait while it is away.
        wall: The time, in microseconds since 1970.
        keep_for: How long sums are kept, in microseconds.

    Attributes:
        is_strict: Whether each hold and each charge waits until it is on the disk. Else they do four times a minute.
        owner: Whose its holds are: this process's.
        dropped: Ends that found neither ledger nor spool; what they were about becomes unknown.
    """

    is_durable = True

    def __init__(
        self,
        ledger: Ledger,
        *,
        spool: Spool,
        wall: Callable[[], int],
        keep_for: int,
    ) -> None:
        self._ledger = ledger
        self._spool = spool
        self._wall = wall
        self._keep_for = keep_for
        self.is_strict = False
        # Whether something was kept that may not be on the disk yet.
        self._is_loose = False
        self._patience = _PATIENCE
        self.owner = secrets.token_hex(8)
        self.dropped = 0
        self._away = ""
        self._is_told = False
        # How often the ledger has answered.
        self._turns = 0
        self._queue: SimpleQueue[_Order | _Look | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._starting = RLock()
        self._is_closed = False
        # What was told and is not charged yet; how much was told, about; and whether the thread will look of its own.
        self._told: deque[End] = deque()
        self._tellings = 0
        # Whether the thread has taken some of that, and not charged it yet.
        self._has_taken = False
        self._taking = Lock()
        self._is_watched = False
        self._seen = (0, 0)
        self._round: _Round | None = None
        self._in_a_row = 0
        self._owed: list[End] = []
        # What it holds, and in which budgets.
        self._open: dict[str, tuple[str, ...]] = {}
        self._renew_at = 0.0
        self._forget_at = 0.0
        _EVERY.add(self)

    def hold(self, want: Want) -> Held | Denied | Away:
        """
        Hold what is wanted, or say no; it takes a quarter of a second at most.
        """
        order = self._ordered(want)
        if isinstance(order, Away):
            return order
        while True:
            turns = self._turns
            try:
                return order.answer.result(self._patience)
            except TimeoutError:
                answer = self._late(order, turns)
                if answer is not None:
                    return answer
            except BaseException:
                self._forsake(order)
                raise

    async def ahold(self, want: Want) -> Held | Denied | Away:
        """
        As `hold`, awaiting.
        """
        if self._is_at_hand():
            answer = await self._of_this_round(want)
            if answer is not None:
                return answer
        order = self._ordered(want)
        if isinstance(order, Away):
            return order
        answered = asyncio.wrap_future(order.answer)
        while True:
            turns = self._turns
            try:
                async with asyncio.timeout(self._patience):
                    return await asyncio.shield(answered)
            except TimeoutError:
                answer = self._late(order, turns)
                if answer is not None:
                    return answer
            except BaseException:
                self._forsake(order)
                raise

    def end(self, end: End) -> None:
        """
        Tell what became of a hold; this waits for nothing, and may be done by a finaliser.
        """
        if self._is_closed:
            self.dropped += 1
            return
        self._told.append(end)
        self._tellings += 1
        self._watch()

    def _watch(self) -> None:
        """
        Have the thread look soon what there is to do.
        """
        if not self._is_watched:
            self._is_watched = True
            self._queue.put(_Look())

    def read(self, work: Callable[[Page], _T], *, patience: float | None = None) -> _T:
        """
        Return what *work* reads, with all charged that this process has told and that dead ones have held.

        Args:
            work: Reads the page.
            patience: How many seconds others' locks may hold it up, after a quarter of one for what this process has
                told. Default: as long as anything else.

        Raises:
            LedgerAway: It was not possible.
        """
        self._flush()
        now = self._wall()

        def look(page: Page) -> _T:
            lose(page, now)
            return work(page)

        return self._ledger.money(look, at_once=False, patience=patience)

    def _flush(self) -> None:
        """
        Wait until what was told so far is charged, a quarter of a second at most.
        """
        # A wish for nothing, with no id: the thread answers it in its turn.
        if self._thread is not None:
            order = self._ordered(Want("", self.owner, (), 0, Tags("")))
            if isinstance(order, _Order):
                with suppress(TimeoutError):
                    order.answer.result(self._patience)

    def state(self) -> dict[str, Any]:
        """
        Return how it is, as plain values: why the ledger is ``away``, how many ends are ``owed`` and ``dropped``.
        """
        return {"away": self._away, "owed": len(self._owed) + self._spool.count, "dropped": self.dropped}

    def close(self, timeout: float = _GRACE) -> None:
        """
        Bring what ends there are to the ledger, or else to the spool, in *timeout* seconds at most.
        """
        if self._is_closed:
            return
        self._is_closed = True
        thread = self._thread
        if thread is not None:
            self._queue.put(None)
            thread.join(timeout)

    def _ordered(self, want: Want) -> _Order | Away:
        if self._is_closed:
            return Away("the governor is closed")
        if self._away:
            return Away(self._away)
        if self._thread is None and not self._start():
            return Away("there is no thread to be had")
        order = _Order(want, Future())
        self._queue.put(order)
        return order

    def _is_at_hand(self) -> bool:
        """
        Whether an event loop may do its calls' business itself.
        """
        return (
            self._ledger.is_at_hand
            and self._thread is not None
            and self._in_a_row < _IN_A_ROW
            and not (self._is_closed or self._away or self._owed or self.is_strict)
            and time.monotonic() < self._renew_at
        )

    async def _of_this_round(self, want: Want) -> Held | Denied | Away | None:
        loop = asyncio.get_running_loop()
        together = self._round
        if together is None or together.loop is not loop:
            together = self._round = _Round(loop, [])
            loop.call_soon(self._hold_all, together)
        answer: asyncio.Future[Held | Denied | Away | None] = loop.create_future()
        together.wishes.append((want, answer))
        try:
            return await answer
        except BaseException:
            # It may have been held in the same moment.
            self.end(End(want.id, FREE))
            raise

    def _hold_all(self, together: _Round) -> None:
        """
        Hold what is wanted in a round, and charge what was told before, if nothing has to be waited for.
        """
        wishes = self._first_of(together)
        if not wishes or not self._is_at_hand():
            for _, answer in wishes:
                answer.set_result(None)
            return
        told = self._taken()
        batch: list[Want | End] = [*told, *(want for want, _ in wishes)]
        now, is_begun = self._wall(), False

        def work(page: Page) -> list[Any]:
            nonlocal is_begun
            self._let_thread_charge()
            is_begun = True
            return self._do(page, batch, now, is_due=False)

        try:
            answers = self._ledger.money_nowait(work)
        except BaseException as error:
            # What has failed may have been held all the same. The thread finds out, and whether the ledger is away.
            undone = [End(want.id, FREE) for want, _ in wishes] if is_begun else []
            self._told.extendleft(reversed([*told, *undone]))
            self._watch()
            if not isinstance(error, Exception):
                # The program is being ended.
                raise
            # A fault of ours must not leave those waiting.
            why = Away(str(error) if isinstance(error, LedgerAway) else f"a fault: {type(error).__name__}")
            for _, answer in wishes:
                answer.set_result(why if is_begun else None)
            return
        self._turns += 1
        self._in_a_row += 1
        self._is_loose = True
        for end, over in zip(told, answers, strict=False):
            self._is_over(end, over)
        for (want, answer), held in zip(wishes, answers[len(told) :], strict=True):
            self._is_answered(want, held)
            answer.set_result(held)
        # It renews what is held from now on.
        self._watch()

    def _first_of(self, together: _Round) -> list[tuple[Want, asyncio.Future[Held | Denied | Away | None]]]:
        """
        Return the first wishes of a round that still wait; the others have a turn of their own, between which others
        have the file, and the loop its other business.
        """
        if self._round is together:
            self._round = None
        wishes = [(want, answer) for want, answer in together.wishes if not answer.done()]
        if len(wishes) > _BATCH:
            together.loop.call_soon(self._hold_all, _Round(together.loop, wishes[_BATCH:]))
        return wishes[:_BATCH]

    def _let_thread_charge(self) -> None:
        """
        Raise `LedgerAway` if the thread has taken ends that it has not charged yet: they were told first.
        """
        with self._taking:
            if self._has_taken:
                msg = "its thread is about to charge"
                raise LedgerAway(msg)

    def _taken(self) -> list[End]:
        """
        Take what was told so far.
        """
        found: list[End] = []
        with suppress(IndexError):
            while len(found) < _BATCH:
                found.append(self._told.popleft())
        return found

    def _late(self, order: _Order, turns: int) -> Held | Denied | Away | None:
        """
        Return the answer to *order* after all, or that there is none; None to wait on, as others were answered.
        """
        # A loop that was busy meanwhile looks late: the answer may have been there long ago.
        if order.answer.done():
            return order.answer.result()
        # Other processes' turns are answers, too: they are behind the same lock.
        if self._turns != turns or time.monotonic() - self._ledger.moved_at() < self._patience:
            return None
        # Before the release is told, after which the thread says that it is back.
        self._away = self._away or f"no answer within {self._patience:g} s"
        self._forsake(order)
        return Away(self._away)

    def _forsake(self, order: _Order) -> None:
        # If it is too late to call it off, it is held and then given back.
        order.answer.cancel()
        self.end(End(order.want.id, FREE))

    def _start(self) -> bool:
        with self._starting:
            if self._thread is None:
                thread = self._thread = Thread(
                    target=self._run, args=(self._queue,), name="egressor-money", daemon=True
                )
                if not starts(thread):
                    self._thread = None
                    return False
            return True

    # --- the thread --------------------------------------------------------------------------------------------------

    def _run(self, queue: SimpleQueue[_Order | _Look | None]) -> None:
        retry, is_over, turns = _FIRST_RETRY, False, self._turns
        while not (is_over and not self._told):
            orders, is_last = self._gather(queue, retry) if not is_over else ([], True)
            is_over = is_over or is_last
            if is_over:
                self._renew_at = 0.0
            # As long as event loops do their business themselves, they charge what was told a moment ago, too.
            is_left = not (orders or is_over) and self._turns != turns
            with self._taking:
                told = [] if is_left else self._taken()
                self._has_taken = bool(told)
            try:
                is_well = self._turn(orders, told)
            except Exception as error:  # noqa: BLE001 - a fault of ours must not end the thread
                is_well = self._refuse(orders, told, f"a fault: {type(error).__name__}")
            self._has_taken = False
            turns = self._turns
            retry = _FIRST_RETRY if is_well else min(2 * retry, _LAST_RETRY)
        self._ledger.close()
        with suppress(OSError):
            self._spool.close()

    def _gather(self, queue: SimpleQueue[_Order | _Look | None], retry: float) -> tuple[list[_Order], bool]:
        """
        Wait for something to do, and return the orders that are there; and whether it is the end.
        """
        orders: list[_Order] = []
        with suppress(Empty):
            one = queue.get(timeout=self._pause(retry))
            together_until = time.monotonic() + _TOGETHER
            while one is not None:
                # For a charge nobody waits; the next call's wish is often right behind it.
                if isinstance(one, _Order):
                    orders.append(one)
                    together_until = 0.0
                if len(orders) >= _BATCH:
                    return orders, False
                left = together_until - time.monotonic()
                one = queue.get(timeout=left) if left > 0 else queue.get_nowait()
            return orders, True
        return orders, False

    def _pause(self, retry: float) -> float | None:
        """
        Return in how many seconds there may be something to do that nobody wakes the thread for; None for never.
        """
        if self._away or self._owed or self._spool.count:
            return retry
        if self._is_watched:
            # As long as ends are told again and again, nobody has to wake it for each of them.
            before, self._seen = self._seen, (self._tellings, self._in_a_row)
            if self._seen != before:
                return _TOGETHER if self._in_a_row in {0, before[1]} else _SELDOM
            self._is_watched = False
            if self._told:
                return 0.0
        return max(0.0, self._renew_at - time.monotonic()) if self._open or self._is_loose else None

    def _turn(self, orders: list[_Order], told: list[End]) -> bool:
        """
        Do what is there to do in one transaction; False if the ledger is away.
        """
        orders[:] = [each for each in orders if each.answer.set_running_or_notify_cancel()]
        ends = [*self._owed, *told]
        now, is_due = self._wall(), time.monotonic() >= self._renew_at
        if not (ends or orders or is_due or self._away or self._spool.count):
            return True
        try:
            batch: list[Want | End] = [*ends, *(each.want for each in orders)]
            work = partial(self._do, batch=batch, now=now, is_due=is_due)
            answers = self._ledger.money(work, at_once=is_due or self.is_strict)
            self._turns += 1
            self._in_a_row = 0
            for end, over in zip(ends, answers, strict=False):
                self._is_over(end, over)
            for order, answer in zip(orders, answers[len(ends) :], strict=True):
                self._is_answered(order.want, answer)
                order.answer.set_result(answer)
            self._owed = []
            # Nobody waits for that any more.
            if is_due and time.monotonic() >= self._forget_at:
                until = self._ledger.proven(now)
                self._ledger.money(lambda page: forget(page, until, self._keep_for), at_once=False)
                self._forget_at = time.monotonic() + _FORGET
            self._is_loose = not (is_due or self.is_strict)
            if is_due:
                self._renew_at = time.monotonic() + _RENEW
            if not self._spool.is_empty():
                self._spool.replay(self._bring)
        except LedgerAway as error:
            return self._refuse(orders, told, str(error))
        if self._is_told:
            _LOG.warning("the ledger is back, and budgets are kept again: %s", self._ledger.name)
        self._is_told = False
        self._away = ""
        return True

    def _do(self, page: Page, batch: Sequence[Want | End], now: int, *, is_due: bool) -> list[Any]:
        if is_due:
            page.extend(self.owner, now + LASTS)
            lose(page, now)
        ends = [each.id for each in batch if isinstance(each, End)]
        wanted = [ask.cell for each in batch if isinstance(each, Want) for ask in each.asks]
        page.expect(ends, sorted({*wanted, *(key for end in ends for key in self._open.get(end, ()))}))
        return [finish(page, each) if isinstance(each, End) else self._take(page, each, now) for each in batch]

    @staticmethod
    def _take(page: Page, want: Want, now: int) -> Held | Denied | Away:
        return take(page, want, now=now, lasts=LASTS) if want.id else Away("nothing is wanted")

    def _is_over(self, end: End, over: Sequence[str]) -> None:
        self._open.pop(end.id, None)
        _tell_over(over)

    def _is_answered(self, want: Want, answer: Held | Denied | Away) -> None:
        if isinstance(answer, Held):
            self._open[want.id] = tuple(place.cell for place in answer.hold.places)

    def _refuse(self, orders: list[_Order], told: list[End], why: str) -> bool:
        """
        Refuse who waits, and keep the ends, now that the ledger is away.
        """
        if not self._is_told:
            _LOG.warning("the ledger is away, and calls with a budget are refused: %s", why)
        self._is_told = True
        self._away = why
        self._owed += told
        for each in orders:
            if not each.answer.done():
                each.answer.set_result(Away(why))
                # It may have been held all the same: the last word of a connection that broke is not known.
                if each.want.id:
                    self._owed.append(End(each.want.id, FREE))
        if self._owed:
            try:
                self._spool.put([_entry(end, self._wall()) for end in self._owed])
            except OSError:
                excess = max(0, len(self._owed) - _OWED)
                self.dropped += excess
                self._owed = self._owed[excess:]
            else:
                self._owed = []
        return False

    def _bring(self, entries: Sequence[Entry]) -> int:
        ends = [End(each.id, each.what, int(each.data.get("micro_usd", 0))) for each in entries]

        def work(page: Page) -> None:
            for end in ends:
                _tell_over(finish(page, end))

        self._ledger.money(work)
        for end in ends:
            self._open.pop(end.id, None)
        return len(ends)

    def begin_in_child(self) -> None:
        """
        In a forked child: the thread, and the holds that it renews, stayed in the parent.
        """
        self.owner = secrets.token_hex(8)
        self._queue = SimpleQueue()
        self._thread = None
        self._starting = RLock()
        self._told = deque()
        self._is_watched = False
        self._has_taken = False
        self._taking = Lock()
        self._round = None
        self._owed = []
        self._open = {}
        self._away = ""
        self._spool.leave()


def _entry(end: End, at: int) -> Entry:
    # Its id is the hold's: in the data, where anything may stand, what looks so random is hidden.
    return made(at=at, kind=_KIND, what=end.how, key=end.id, data={"micro_usd": end.micro_usd})


def _tell_over(keys: Sequence[str]) -> None:
    for key in keys:
        _LOG.warning("more than the budget is spent, as a call has cost more than was held for it: %s", key)


def _after_fork() -> None:
    for each in list(_EVERY):
        each.begin_in_child()


def _at_exit() -> None:
    end = time.monotonic() + _GRACE
    for each in list(_EVERY):
        each.close(max(0.0, end - time.monotonic()))


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
