"""
The way of money into its ledger: order, absence, cancellation, forks and the end.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any, TypeVar

import pytest

from egressor._core.budget import NEVER, Ask, Denied, Held
from egressor.ledger import LedgerAway
from egressor.ledger.entry import new_id
from egressor.ledger.memory import MemoryLedger
from egressor.ledger.money import FREE, SPENT, UNKNOWN, Away, End, Page, Tags, Want
from egressor.ledger.opening import open_till
from egressor.ledger.spool import Spool
from egressor.ledger.till import MemoryTill, Till, _Order
from tests.ledger.places import DAY, NOW, SECOND, Postgres, until

T = TypeVar("T")
ASK = (Ask("k", 1000, 900, 0, NEVER),)


class Moody(MemoryLedger):
    """
    A ledger that is away when the test says so, keeps its caller waiting, or does its work and says that it didn't.
    """

    is_durable = True

    def __init__(self) -> None:
        super().__init__()
        self.is_away = False
        self.answers_no = False
        self.fault: Exception | None = None
        self.may_go = Event()
        self.may_go.set()
        self.count = 0
        self.waited: list[bool] = []
        self.moves = 0

    def moved_at(self) -> float:
        """
        As if another process had just had a turn, as long as there are *moves*.
        """
        self.moves -= 1
        return time.monotonic() if self.moves >= 0 else 0.0

    def money(self, work: Callable[[Page], T], *, at_once: bool = True, patience: float | None = None) -> T:
        """
        Do *work*, or be away.
        """
        self.may_go.wait()
        self.count += 1
        self.waited.append(at_once)
        if self.fault is not None:
            raise self.fault
        if self.is_away:
            message = "it is away"
            raise LedgerAway(message)
        found = super().money(work)
        if self.answers_no:
            message = "no answer"
            raise LedgerAway(message)
        return found


class Place:
    """
    A till on a moody ledger, with a clock that the test moves.
    """

    def __init__(self, folder: Path) -> None:
        self.ledger = Moody()
        self.now = NOW
        self.folder = folder
        self.till = self.another()

    def another(self) -> Till:
        """
        Another process's till on the same ledger.
        """
        spool = Spool(self.folder / "owed")
        return Till(self.ledger, spool=spool, wall=lambda: self.now, keep_for=DAY)

    def want(self, worst: int = 600) -> Want:
        """
        A wish with an id of its own.
        """
        return Want(new_id(NOW), self.till.owner, ASK, worst, Tags("api"))

    def cell(self) -> tuple[int, int, int]:
        """
        What is spent, held and unknown, once the till has done what it was told.
        """
        found = self.ledger._page.budgets()
        cell = found[0].cell
        return cell.spent, cell.held, cell.unknown


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """
    A till, closed at the end.
    """
    found = Place(tmp_path)
    yield found
    found.ledger.may_go.set()
    found.till.close()


def test_what_came_back_is_there_for_the_next(place: Place) -> None:
    """
    An end that was told before a wish is charged before it: nobody is refused for money that has come back.
    """
    answers = []
    for _ in range(20):
        want = place.want()
        answers.append(type(place.till.hold(want)))
        place.till.end(End(want.id, FREE))

    assert answers == [Held] * 20


def test_who_stands_in_line_is_not_refused(place: Place) -> None:
    """
    While other processes have their turns, a call waits for its own beyond its patience; when the line stands still, it
    is refused.
    """
    place.till._patience = 0.02
    place.till.hold(place.want(1))
    place.ledger.may_go.clear()
    place.ledger.moves = 3
    answer = place.till.hold(place.want(1))

    assert isinstance(answer, Away)
    assert place.ledger.moves == -1


def test_only_renewals_wait_for_the_disk(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The first turn and the last one wait, and one of each quarter of a minute, also if nobody wants anything; who is
    strict waits each time.
    """
    # What is forgotten once an hour is a turn of its own, which waits for nothing.
    monkeypatch.setattr(place.till, "_forget_at", time.monotonic() + 1_000)
    for _ in range(3):
        place.till.hold(place.want(1))
    plain = place.ledger.waited.copy()
    place.till.is_strict = True
    place.till.hold(place.want(1))
    strict = place.ledger.waited[3:]
    place.till.is_strict = False
    # All holds are over, so that nothing has to be renewed.
    monkeypatch.setattr(place.till, "_open", {})
    monkeypatch.setattr("egressor.ledger.till._RENEW", 0.05)
    place.till._renew_at = 0.0
    place.till.end(End("none", FREE))
    place.till.end(End("none", FREE))
    until(lambda: place.ledger.waited[4:].count(True) >= 1 and not place.till._is_loose)
    place.till._renew_at = time.monotonic() + 100
    place.till.end(End("none", FREE))
    until(lambda: not place.ledger.waited[-1])
    place.till.close()

    assert (plain, strict) == ([True, False, False], [True])
    assert place.ledger.waited[-1]


def test_whoever_reads_sees_what_was_told_before(place: Place) -> None:
    """
    The thread may not have come to it yet.
    """
    found = []
    for _ in range(20):
        want = place.want(10)
        place.till.hold(want)
        place.till.end(End(want.id, SPENT, 1))
        cell = place.till.read(lambda page: page.budgets())[0].cell
        found.append((cell.spent, cell.held))

    assert found == [(number, 0) for number in range(1, 21)]


def test_a_refusal_is_the_ledger_s(place: Place) -> None:
    """
    What does not fit is denied, with what is left.
    """
    place.till.hold(place.want())
    answer = place.till.hold(place.want())

    assert answer == Denied("k", 400, None, "in_flight")


def test_many_at_once_are_few_transactions(place: Place) -> None:
    """
    What comes while the till is at work is its next transaction.
    """

    async def crowd() -> list[Held | Denied | Away]:
        return await asyncio.gather(*(place.till.ahold(place.want(1)) for _ in range(300)))

    answers = asyncio.run(crowd())

    assert [type(answer) for answer in answers] == [Held] * 300
    assert place.ledger.count < 100
    assert place.cell() == (0, 300, 0)


def test_while_the_ledger_is_away_holds_are_refused_and_ends_are_kept(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Refused at once; the ends stand on the disk, and are charged once when it is back, which is said once.
    """
    caplog.set_level(logging.WARNING, "egressor")
    wants = [place.want(200) for _ in range(3)]
    for want in wants:
        place.till.hold(want)
    place.ledger.is_away = True
    refused = [place.till.hold(place.want(1)) for _ in range(3)]
    for want in wants:
        place.till.end(End(want.id, SPENT, 100))
    until(lambda: place.till._spool.count == 4)
    spooled = [path.read_text().count('"money"') for path in (place.folder / "owed").iterdir()]
    state = place.till.state()
    place.ledger.is_away = False
    until(lambda: place.cell() == (300, 0, 0))
    until(lambda: not place.till.state()["away"])

    assert refused == [Away("it is away")] * 3
    assert spooled == [4]
    assert state == {"away": "it is away", "owed": 4, "dropped": 0}
    assert isinstance(place.till.hold(place.want(1)), Held)
    assert [record.message for record in caplog.records] == [
        "the ledger is away, and calls with a budget are refused: it is away",
        "the ledger is back, and budgets are kept again: memory",
    ]


def test_a_last_word_that_is_not_heard_holds_nothing(place: Place) -> None:
    """
    A ledger that held the money and broke off before it said so gives it back: its call was refused.
    """
    place.ledger.answers_no = True
    answer = place.till.hold(place.want())
    place.ledger.answers_no = False
    until(lambda: place.cell() == (0, 0, 0))

    assert answer == Away("no answer")


def test_an_end_that_is_told_twice_is_charged_once(place: Place) -> None:
    """
    A ledger that charged and broke off before it said so is told again, and charges nothing again.
    """
    want = place.want()
    place.till.hold(want)
    place.ledger.answers_no = True
    place.till.end(End(want.id, SPENT, 100))
    until(lambda: place.till._spool.count)
    place.ledger.answers_no = False
    until(lambda: not place.till._spool.count)

    assert place.cell() == (100, 0, 0)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_ledger_that_does_not_answer_is_not_waited_for(place: Place, is_async: bool) -> None:
    """
    Who waits is refused after the patience, who comes then at once; what was held all the same is given back.
    """
    place.till.hold(place.want(1))
    place.till._patience = 0.25
    place.ledger.may_go.clear()

    def ask() -> Held | Denied | Away:
        want = place.want()
        return asyncio.run(place.till.ahold(want)) if is_async else place.till.hold(want)

    answers = [ask(), ask()]
    place.ledger.may_go.set()
    # The release follows with one of the next turns.
    until(lambda: not place.till.state()["away"] and place.cell() == (0, 1, 0))

    assert answers == [Away("no answer within 0.25 s")] * 2


def test_an_answer_that_is_there_is_taken_however_late(place: Place) -> None:
    """
    A loop that was busy with something else takes the answer for one.
    """

    async def busy() -> Held | Denied | Away:
        place.till._patience = 0.001
        task = asyncio.create_task(place.till.ahold(place.want()))
        await asyncio.sleep(0)
        # In the loop's own thread, which sees to neither time nor answer meanwhile.
        until(lambda: place.till._open)
        time.sleep(0.01)  # noqa: ASYNC251 # real time: longer than the patience
        return await task

    assert isinstance(asyncio.run(busy()), Held)


def test_as_long_as_others_are_answered_one_waits_on(place: Place) -> None:
    """
    A long line is no absence: only who has seen no answer at all for so long gives up.
    """
    order = _Order(place.want(), Future())
    place.till._turns = 3
    place.till._patience = 0.25
    found = [place.till._late(order, turns) for turns in (2, 3)]
    until(lambda: place.till._queue.qsize() == 1)

    assert found == [None, Away("no answer within 0.25 s")]


def test_who_is_cancelled_holds_nothing(place: Place) -> None:
    """
    A task that is cancelled while it waits for its money gives it back.
    """

    async def cancelled() -> None:
        place.ledger.may_go.clear()
        task = asyncio.create_task(place.till.ahold(place.want()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        place.ledger.may_go.set()

    place.till.hold(place.want(1))
    asyncio.run(cancelled())
    until(place.till._queue.empty)
    place.till.hold(place.want(1))

    assert place.cell() == (0, 2, 0)


def test_what_a_live_process_holds_is_renewed_and_what_a_dead_one_held_is_lost(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The till of a live process moves the time of its holds on; in passing it charges what others left.
    """
    monkeypatch.setattr("egressor.ledger.till._RENEW", 0.02)
    other = place.another()
    mine, its = place.want(100), place.want(200)._replace(owner=other.owner)
    other.hold(its)
    other._open.clear()  # As if it had died: nothing is renewed any more.
    place.till.hold(mine)
    for _ in range(5):
        place.now += 40 * SECOND
        _until_turned(place)
    shown = place.cell()
    other.end(End(its.id, SPENT, 50))
    until(lambda: place.cell() == (50, 100, 0))
    other.close()

    assert shown == (200, 100, 200)


def _until_turned(place: Place) -> None:
    count = place.ledger.count
    until(lambda: place.ledger.count > count + 1)


def test_a_fault_of_ours_refuses_and_goes_on(place: Place) -> None:
    """
    An error that nobody foresaw ends no thread.
    """
    place.ledger.fault = ZeroDivisionError()
    answer = place.till.hold(place.want())
    place.ledger.fault = None
    until(lambda: not place.till.state()["away"])

    assert answer == Away("a fault: ZeroDivisionError")
    assert isinstance(place.till.hold(place.want()), Held)


def test_without_ledger_and_disk_ends_wait_in_memory(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    So many of them; more are dropped and counted, and what they were about becomes unknown in time.
    """
    monkeypatch.setattr("egressor.ledger.till._OWED", 2)
    (place.folder / "owed").write_text("no folder")
    wants = [place.want(200) for _ in range(3)]
    for want in wants:
        place.till.hold(want)
    place.ledger.is_away = True
    for want in wants:
        place.till.end(End(want.id, SPENT, 100))
    until(lambda: place.till.state() == {"away": "it is away", "owed": 2, "dropped": 1})
    place.ledger.is_away = False
    until(lambda: place.cell() == (200, 200, 0))
    place.now += 61 * SECOND
    place.ledger.money(lambda page: page.extend("nobody", 0))
    seen = place.till.read(lambda page: page.budgets())

    assert seen[0].cell.unknown == 200


def test_an_end_brings_all_home(tmp_path: Path) -> None:
    """
    Closing writes what was told, and holds are refused from then on; ends that come later are counted.
    """
    place = Place(tmp_path)
    want = place.want()
    place.till.hold(want)
    place.till.end(End(want.id, SPENT, 7))
    place.till.close()
    place.till.close()
    place.till.end(End(want.id, SPENT, 7))

    assert place.cell() == (7, 0, 0)
    assert place.till.hold(place.want()) == Away("the governor is closed")
    assert place.till.state()["dropped"] == 1


def test_an_end_without_the_ledger_leaves_it_to_the_next(tmp_path: Path) -> None:
    """
    What could not be charged at the end stands in the spool, and another process brings it home.
    """
    place = Place(tmp_path)
    want = place.want()
    place.till.hold(want)
    place.ledger.is_away = True
    place.till.end(End(want.id, SPENT, 7))
    place.till.close()
    place.ledger.is_away = False
    other = place.another()
    other.hold(place.want(1))
    until(lambda: place.cell() == (7, 1, 0))
    other.close()

    assert not list((tmp_path / "owed").iterdir())


def test_without_a_thread_nothing_is_held(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Where the system gives no thread, a call with a budget is refused.
    """
    monkeypatch.setattr("egressor.ledger.till.starts", lambda _: False)

    assert place.till.hold(place.want()) == Away("there is no thread to be had")


def test_a_cost_above_its_hold_is_said(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """
    Money that is gone is gone; that a budget is passed is logged.
    """
    want = place.want()
    place.till.hold(want)
    place.till.end(End(want.id, SPENT, 1200))
    until(lambda: place.cell() == (1200, 0, 0))
    until(lambda: caplog.messages)

    assert caplog.messages == ["more than the budget is spent, as a call has cost more than was held for it: k"]


@pytest.mark.parametrize("kind", ["durable", "memory"])
def test_a_forked_child_holds_by_itself(place: Place, kind: str) -> None:
    """
    It has a thread of its own, and charges nothing that its parent holds; in memory, what is under way is charged.
    """
    till = place.till if kind == "durable" else MemoryTill(MemoryLedger(), wall=lambda: NOW, keep_for=DAY)
    till.hold(place.want(100))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        owner, answer = till.owner, till.hold(place.want(1))
        found = till.read(lambda page: page.budgets())[0].cell
        os.write(writer, f"{type(answer).__name__} {found[2:5]} {owner}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    name, *cell, owner = os.read(reader, 1000).decode().split()

    assert name == "Held"
    assert " ".join(cell) == ("(0, 101, 0)" if kind == "durable" else "(100, 1, 100)")
    assert (owner == till.owner) == (kind == "memory")


class Forks:
    """
    Lets somebody go on when this process is about to fork.
    """

    def __init__(self) -> None:
        self.is_near = Event()
        # What is registered last is told first.
        os.register_at_fork(before=self.is_near.set)


def test_a_child_that_is_forked_in_the_midst_of_a_hold_is_no_prisoner_of_it() -> None:
    """
    Regression: the ledger's lock was a thread's that the child doesn't have, and the child hung in its first step.
    """
    ledger = MemoryLedger()
    till = MemoryTill(ledger, wall=lambda: NOW, keep_for=DAY)
    fork, is_in = Forks(), Event()

    def work(_: Page) -> None:
        is_in.set()
        fork.is_near.wait()
        sum(range(3_000_000))  # Longer than it takes to fork.

    thread = Thread(target=ledger.money, args=(work,))
    thread.start()
    is_in.wait()
    child = os.fork()
    if child == 0:
        os._exit(7 if isinstance(till.hold(Want("a", till.owner, ASK, 1, Tags("api"))), Held) else 1)
    found: list[int] = []

    def is_over() -> bool:
        pid, status = os.waitpid(child, os.WNOHANG)
        found.extend([os.waitstatus_to_exitcode(status)] if pid else [])
        return bool(found)

    try:
        until(is_over)
    finally:
        if not found:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        thread.join()

    assert found == [7]


def test_in_memory_money_is_held_in_line() -> None:
    """
    The same answers, without a thread; and a coroutine is answered as well.
    """
    till = MemoryTill(MemoryLedger(), wall=lambda: NOW, keep_for=DAY)
    want = Want("a", till.owner, ASK, 600, Tags("api"))
    answers = [till.hold(want), till.hold(want._replace(id="b")), asyncio.run(till.ahold(want._replace(id="c")))]
    till.end(End("a", UNKNOWN))
    till.close()

    assert [type(answer) for answer in answers] == [Held, Denied, Denied]
    assert till.read(lambda page: page.budgets())[0].cell[2:5] == (600, 0, 600)
    assert till.state() == {"away": "", "owed": 0, "dropped": 0}


def test_in_memory_an_end_may_come_in_the_midst_of_anything() -> None:
    """
    Told by a finaliser while a hold is under way, it is charged before the next one; a hold there is refused.
    """
    till = MemoryTill(MemoryLedger(), wall=lambda: NOW, keep_for=DAY)
    till.hold(Want("a", till.owner, ASK, 600, Tags("api")))
    inside: list[Any] = []

    class Dropped:
        def __del__(self) -> None:
            till.end(End("a", SPENT, 1))
            inside.append(till.hold(Want("b", till.owner, ASK, 1, Tags("api"))))
            with pytest.raises(LedgerAway):
                till.read(lambda page: page.budgets())

    def midst(_: Page) -> None:
        thing = Dropped()
        thing.itself = thing  # type: ignore[attr-defined]
        del thing
        gc.collect()

    till.read(midst)
    owed = till.state()["owed"]

    assert inside == [Away("a call was made in the midst of another's hold")]
    assert owed == 1
    assert till.read(lambda page: page.budgets())[0].cell[2:5] == (1, 0, 0)


def test_in_memory_an_end_waits_for_nobody() -> None:
    """
    While another thread is at work, an end is put down.
    """
    till = MemoryTill(MemoryLedger(), wall=lambda: NOW, keep_for=DAY)
    till.hold(Want("a", till.owner, ASK, 600, Tags("api")))
    may_go, inside = Event(), Event()

    def work(_: Page) -> None:
        inside.set()
        may_go.wait(10)

    thread = Thread(target=till.read, args=(work,))
    thread.start()
    inside.wait(10)
    till.end(End("a", FREE))
    may_go.set()
    thread.join()

    assert till.read(lambda page: page.budgets())[0].cell[2:5] == (0, 0, 0)


@pytest.mark.parametrize("how", ["stopped", "crashed", "frozen"])
def test_a_server_that_goes_and_comes_back_charges_all_once(
    how: str, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Meanwhile nothing is held; what calls under way came to is charged when it is back.
    """
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    till = open_till(postgres.new_database(), wall=lambda: NOW)

    def want(worst: int) -> Want:
        return Want(new_id(NOW), till.owner, ASK, worst, Tags("api"))

    def spent() -> tuple[int, int, int]:
        cell = till.read(lambda page: page.budgets())[0].cell
        return cell.spent, cell.held, cell.unknown

    wants = [want(200) for _ in range(2)]
    until(lambda: isinstance(till.hold(wants[0]), Held))
    until(lambda: isinstance(till.hold(wants[1]), Held))
    with postgres.frozen() if how == "frozen" else nullcontext():
        if how != "frozen":
            postgres.stop(signal.SIGINT if how == "stopped" else signal.SIGQUIT)
        refused = till.hold(want(300))
        for each in wants:
            till.end(End(each.id, SPENT, 100))
        until(lambda: till.state()["owed"] >= 2)
    if how != "frozen":
        postgres.start()
    until(lambda: till.state() == {"away": "", "owed": 0, "dropped": 0})
    shown = spent()
    till.close()

    assert isinstance(refused, Away)
    assert shown == (200, 0, 0)


def test_what_was_answered_outlives_the_server_s_crash(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The others' turn comes before the disk has a hold, but its answer only afterwards.
    """
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    address = postgres.new_database()
    kept = []
    for number in range(2):
        till = open_till(address, wall=lambda: NOW)
        one = Want(new_id(NOW), till.owner, (Ask(f"k{number}", 1000, 900, 0, NEVER),), 100, Tags("api"))
        until(partial(_is_held, till, one))
        postgres.stop(signal.SIGQUIT)
        postgres.start()
        kept.append(till.read(lambda page: [each.cell.held for each in page.budgets()]))
        till.close()

    assert kept == [[100], [100, 100]]


def _is_held(till: Till | MemoryTill, want: Want) -> bool:
    return isinstance(till.hold(want), Held)


def test_a_till_by_its_ledger_s_address(tmp_path: Path) -> None:
    """
    Each address has its kind of till, and its spool beside its file.
    """
    memory = open_till("memory:", wall=lambda: NOW)
    durable = open_till(f"sqlite:///{tmp_path}/h.db", wall=lambda: NOW)

    assert (memory.is_durable, durable.is_durable) == (False, True)
    assert isinstance(durable, Till)
    assert durable._spool.folder == tmp_path / "h.db.owed"


def test_end_waits_a_moment_for_the_next_wish(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    An end and the wish that comes right after it have one transaction.
    """
    monkeypatch.setattr("egressor.ledger.till._TOGETHER", 60.0)
    first = place.want(100)
    place.till.hold(first)
    before = place.ledger.count
    place.till.end(End(first.id, "spent", 70))
    held = place.till.hold(place.want(100))

    assert isinstance(held, Held)
    assert (place.ledger.count - before, place.cell()) == (1, (70, 100, 0))
