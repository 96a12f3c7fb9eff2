"""
Money that an event loop holds itself, where its ledger is at hand: what waits for nothing, and who does all else.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from egressor._core.budget import NEVER, Ask, Denied, Held
from egressor._host.lock import Latch
from egressor.ledger import LedgerAway
from egressor.ledger.entry import new_id
from egressor.ledger.memory import MemoryLedger
from egressor.ledger.money import FREE, SPENT, Away, End, Page, Tags, Want, finish, take
from egressor.ledger.spool import Spool
from egressor.ledger.sqlite import SqliteLedger
from egressor.ledger.till import Till
from tests.ledger.places import DAY, NOW, until

T = TypeVar("T")
ASK = (Ask("k", 1000, 900, 0, NEVER),)
LOOP, THREAD = "loop", "thread"


class AtHand(MemoryLedger):
    """
    A ledger at hand, which notes whose turns it has had: the loop's, by `money_nowait`, or the thread's.
    """

    is_durable = True
    is_at_hand = True

    def __init__(self) -> None:
        super().__init__()
        self.turns: list[str] = []
        self.is_taken = False
        self.fails: Exception | None = None
        self.forgets: Exception | None = None

    def money(self, work: Callable[[Page], T], *, at_once: bool = True, patience: float | None = None) -> T:
        """
        Do *work*, in the till's thread.
        """
        self.turns.append(THREAD)
        return super().money(work, at_once=at_once)

    def money_nowait(self, work: Callable[[Page], T]) -> T:
        """
        Do *work* unless somebody has the ledger; or begin it, and fail in the midst of it or behind it.
        """
        if self.is_taken:
            message = "somebody has it"
            raise LedgerAway(message)
        self.turns.append(LOOP)
        if self.fails is not None:
            work(MemoryLedger()._page)
            raise self.fails
        found = super().money(work)
        if self.forgets is not None:
            raise self.forgets
        return found


class Place:
    """
    A till on a ledger at hand, whose thread has had its first turn.
    """

    def __init__(self, folder: Path) -> None:
        self.ledger = AtHand()
        self.till = Till(self.ledger, spool=Spool(folder / "owed"), wall=lambda: NOW, keep_for=DAY)
        self.till.hold(self.want(1))
        until(lambda: self.till._renew_at > time.monotonic())
        self.ledger.turns.clear()

    def want(self, worst: int = 600) -> Want:
        """
        A wish with an id of its own.
        """
        return Want(new_id(NOW), self.till.owner, ASK, worst, Tags("api"))

    def cell(self) -> tuple[int, int]:
        """
        What is spent and held.
        """
        cell = self.ledger._page.budgets()[0].cell
        return cell.spent, cell.held


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """
    A till, closed at the end.
    """
    found = Place(tmp_path)
    yield found
    found.till.close()


async def all_of(place: Place, *amounts: int) -> list[Held | Denied | Away]:
    """
    Hold *amounts* in one round of a loop.
    """
    return await asyncio.gather(*[place.till.ahold(place.want(amount)) for amount in amounts])


def test_a_round_has_one_turn_of_the_loop(place: Place) -> None:
    """
    What the calls of a round want is held in one transaction, by the loop; and never more than there is.
    """
    answers = asyncio.run(all_of(place, *[100] * 12))

    assert [type(each) for each in answers] == [Held] * 9 + [Denied] * 3
    assert place.ledger.turns == [LOOP]
    assert place.cell() == (0, 901)


def test_the_thread_looks_seldom_while_loops_charge(tmp_path: Path) -> None:
    """
    Each look interrupts a loop. What is left at its last turn waits no longer than before, from the next look on.
    """
    till = Till(AtHand(), spool=Spool(tmp_path / "owed"), wall=lambda: NOW, keep_for=DAY)
    till._is_watched = True
    found = []
    for till._tellings, till._in_a_row in ((1, 0), (2, 1), (3, 2), (4, 2), (5, 0), (5, 0)):
        found.append(till._pause(1.0))

    assert found == [0.005, 0.02, 0.02, 0.005, 0.005, None]
    till.close()


def test_what_came_back_is_there_for_the_next(place: Place) -> None:
    """
    An end that was told before a wish is charged before it, in the same turn.
    """

    async def one_by_one() -> list[type]:
        found = []
        for _ in range(20):
            want = place.want()
            found.append(type(await place.till.ahold(want)))
            place.till.end(End(want.id, FREE))
        return found

    assert asyncio.run(one_by_one()) == [Held] * 20
    assert place.ledger.turns == [LOOP] * 20


def test_what_the_thread_has_in_its_hands_is_charged_first(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Between taking what was told and charging it the thread has to be waited for: nobody is refused for money that has
    come back.
    """
    has_taken, go_on, turn = threading.Event(), threading.Event(), place.till._turn

    def slowly(orders: list[Any], told: list[End]) -> bool:
        if told:
            has_taken.set()
            assert go_on.wait(30)
        return turn(orders, told)

    async def run() -> Held | Denied | Away:
        want = place.want()
        await place.till.ahold(want)
        monkeypatch.setattr(place.till, "_turn", slowly)
        place.till.end(End(want.id, SPENT, 40))
        assert await asyncio.to_thread(has_taken.wait, 30)
        next_one = asyncio.create_task(place.till.ahold(place.want()))
        while not next_one.done() and place.ledger.turns == [LOOP]:
            await asyncio.sleep(0)
        go_on.set()
        return await next_one

    assert isinstance(asyncio.run(run()), Held)


def test_a_crowd_in_one_round_has_several_turns(place: Place) -> None:
    """
    Five hundred at a time: between them the loop does what else there is.
    """
    answers = asyncio.run(all_of(place, *[1] * 1_100))

    assert [type(each) for each in answers] == [Held] * 999 + [Denied] * 101
    assert place.ledger.turns == [LOOP] * 3


def test_who_ends_the_program_in_a_turn_loses_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What was told before an interrupt is charged all the same.
    """

    def interrupted(work: Callable[[Page], T]) -> T:
        raise KeyboardInterrupt

    async def run() -> None:
        want = place.want()
        await place.till.ahold(want)
        monkeypatch.setattr(place.ledger, "money_nowait", interrupted)
        place.till.end(End(want.id, SPENT, 40))
        await place.till.ahold(place.want())

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(run())
    until(lambda: place.cell() == (40, 1))


def test_what_nobody_follows_is_charged_by_the_thread(place: Place) -> None:
    """
    An end that no wish comes after is charged soon all the same.
    """
    want = place.want()
    asyncio.run(place.till.ahold(want))
    place.till.end(End(want.id, SPENT, 70))
    until(lambda: place.cell() == (70, 1))

    assert place.ledger.turns == [LOOP, THREAD]


def test_who_is_in_the_way_is_waited_for_by_the_thread(place: Place) -> None:
    """
    Where the ledger is taken, the loop waits for nobody: the thread does.
    """
    place.ledger.is_taken = True
    answers = asyncio.run(all_of(place, 100, 100))

    assert [type(each) for each in answers] == [Held] * 2
    assert set(place.ledger.turns) == {THREAD}
    assert place.cell() == (0, 201)


@pytest.mark.parametrize("error", [LedgerAway("it broke"), ZeroDivisionError()])
@pytest.mark.parametrize("is_done", [False, True])
def test_a_turn_that_fails_holds_nothing(place: Place, error: Exception, is_done: bool) -> None:
    """
    Whether it was done or not, a turn that has failed refuses its calls, and what it may have held is given back; what
    was told before it is charged once.
    """
    first = place.want(100)
    asyncio.run(place.till.ahold(first))
    if is_done:
        place.ledger.forgets = error
    else:
        place.ledger.fails = error
    place.till._is_watched = True  # The thread is not woken, so that the turn takes what was told.
    place.till.end(End(first.id, SPENT, 70))
    answers = asyncio.run(all_of(place, 100, 100))
    place.ledger.fails = place.ledger.forgets = None
    place.till._flush()

    why = "it broke" if isinstance(error, LedgerAway) else "a fault: ZeroDivisionError"
    assert answers == [Away(why)] * 2
    assert place.cell() == (70, 1)


@pytest.mark.parametrize("is_late", [False, True])
def test_who_is_cancelled_holds_nothing(place: Place, is_late: bool) -> None:
    """
    A task that is cancelled before its round, or in the moment in which its money is there, gives it back.
    """

    async def cancelled() -> None:
        task = asyncio.create_task(place.till.ahold(place.want()))
        await asyncio.sleep(0)
        if is_late:
            until_held = place.till._round
            assert until_held is not None
            place.till._hold_all(until_held)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    place.till._flush()

    assert (LOOP in place.ledger.turns) is is_late
    assert place.cell() == (0, 1)


def test_what_waits_is_the_thread_s(place: Place) -> None:
    """
    Renewals, what is to be on the disk, and each turn after 500 of the loop's are the thread's; then it is the loop's
    again.
    """
    for name, value in [("_renew_at", 0.0), ("is_strict", True), ("_in_a_row", 500)]:
        # Its thread is through with what was before, and sleeps.
        until(lambda: not place.till._is_watched and place.till._renew_at > time.monotonic())
        time.sleep(0.05)  # real time: between its last look and its sleep nothing can be seen
        setattr(place.till, name, value)
        asyncio.run(all_of(place, 1))
        until(lambda: place.till._renew_at > time.monotonic())
        place.till.is_strict = False
        asyncio.run(all_of(place, 1))

    assert place.ledger.turns == [THREAD, LOOP] * 3


def test_the_thread_renews_what_a_loop_has_held(place: Place) -> None:
    """
    A hold of the loop's is renewed like any other, by a thread that had nothing to do until then.
    """
    place.till._open.clear()
    place.till._renew_at = 0.0
    place.till.end(End("none", FREE))
    until(lambda: not (place.till._is_loose or place.till._is_watched) and place.till._renew_at > 0.0)
    place.ledger.turns.clear()
    place.till._renew_at = time.monotonic() + 0.1  # real time: the loop's turn comes before
    asyncio.run(all_of(place, 100))
    until(lambda: THREAD in place.ledger.turns)

    assert place.ledger.turns == [LOOP, THREAD]


def test_a_till_that_is_closed_holds_nothing(place: Place) -> None:
    """
    A till that is closed within the round refuses.
    """

    async def closed() -> Held | Denied | Away:
        task = asyncio.create_task(place.till.ahold(place.want()))
        await asyncio.sleep(0)
        place.till.close()
        return await task

    assert asyncio.run(closed()) == Away("the governor is closed")
    assert LOOP not in place.ledger.turns


def test_a_loop_that_was_left_stops_no_other(place: Place) -> None:
    """
    A round of a loop that ends before it comes is nobody's, and the next loop has its own.
    """
    left = asyncio.new_event_loop()
    task = left.create_task(place.till.ahold(place.want(1)))
    left.call_soon(left.stop)
    left.run_forever()
    answers = asyncio.run(all_of(place, 100))
    left.run_until_complete(task)
    left.close()

    assert [type(each) for each in answers] == [Held]
    assert place.cell() == (0, 102)


def opened(folder: Path) -> SqliteLedger:
    """
    A ledger in a file, with some money held.
    """
    ledger = SqliteLedger(folder / "l.db")
    ledger.money(partial(take, want=Want("first", "me", ASK, 100, Tags("api")), now=NOW, lasts=DAY), at_once=False)
    return ledger


def held(page: Page) -> int:
    """
    Return what is held.
    """
    return page.cells(["k#0"])["k#0"].held


def is_away(ledger: SqliteLedger) -> bool:
    """
    Whether nothing can be done at once.
    """
    try:
        ledger.money_nowait(held)
    except LedgerAway:
        return True
    return False


def test_a_file_that_somebody_has_is_not_waited_for(tmp_path: Path) -> None:
    """
    Another process that has its turn, another thread, and a program that keeps the file for itself are told apart from
    a failure: the work was not begun.
    """
    ledger = opened(tmp_path)
    begun: list[Page] = []
    other = Latch(tmp_path / "l.db.lock")
    other.take(patience=0.0)
    with pytest.raises(LedgerAway, match="held its lock"):
        ledger.money_nowait(begun.append)
    other.give()
    other.close()
    with closing(sqlite3.connect(ledger.path, isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerAway, match="locked"):
            ledger.money_nowait(begun.append)
    # It was closed for that, and is opened by whoever may wait for it.
    with pytest.raises(LedgerAway, match="has to be opened"):
        ledger.money_nowait(begun.append)
    with ledger._alone:
        said: list[bool] = []
        thread = threading.Thread(target=lambda: said.append(is_away(ledger)))
        thread.start()
        thread.join()
    assert said == [True]

    assert begun == []
    assert (ledger.money(held), ledger.money_nowait(held)) == (100, 100)
    ledger.close()


def test_a_schema_that_another_process_has_changed_is_seen(tmp_path: Path) -> None:
    """
    A turn of a loop's own asks for it no more often than somebody writes to the file, and leaves what is new to it to
    whoever may wait: nothing was begun.
    """
    ledger = opened(tmp_path)
    asked: list[str] = []
    ledger.money_nowait(held)
    assert ledger._db is not None
    ledger._db.set_trace_callback(asked.append)
    assert ledger.money_nowait(held) == 100
    assert [each for each in asked if "schema" in each] == []
    with closing(sqlite3.connect(ledger.path, isolation_level=None)) as stranger:
        stranger.execute("CREATE TABLE another (one)")
    begun: list[Page] = []
    with pytest.raises(LedgerAway, match="has to be opened"):
        ledger.money_nowait(begun.append)

    assert begun == []
    assert (ledger.money(held), ledger.money_nowait(held)) == (100, 100)
    ledger.close()


def test_what_another_process_has_changed_is_seen(tmp_path: Path) -> None:
    """
    What a page remembers of the turn before is true only as long as nobody else has written to the file.
    """
    ledger, other = opened(tmp_path), SqliteLedger(tmp_path / "l.db")
    before = ledger.money_nowait(held)
    other.money(partial(take, want=Want("second", "you", ASK, 50, Tags("api")), now=NOW, lasts=DAY))
    between = ledger.money_nowait(held), ledger.money_nowait(lambda page: page.kept("second") is not None)
    other.money(lambda page: finish(page, End("second", FREE)))

    assert (before, between, ledger.money_nowait(held)) == (100, (150, True), 100)
    assert ledger.money_nowait(lambda page: page.kept("second")) is None
    ledger.close()
    other.close()


def test_what_was_undone_is_not_remembered(tmp_path: Path) -> None:
    """
    A turn that fails leaves the page as it was.
    """
    ledger = opened(tmp_path)

    def fail(page: Page) -> None:
        take(page, Want("second", "me", ASK, 50, Tags("api")), now=NOW, lasts=DAY)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ledger.money_nowait(fail)
    found = ledger.money(lambda page: (held(page), page.kept("second")))

    assert found == (100, None)
    ledger.close()


def test_what_a_page_remembers_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Budgets of ever new users are forgotten, and read again when they are asked for.
    """
    monkeypatch.setattr("egressor.ledger.sqlite._REMEMBERED", 10)
    ledger = opened(tmp_path)
    for number in range(40):
        ask = Ask(f"user{number}", 100, 90, 0, NEVER)
        ledger.money_nowait(partial(take, want=Want(f"id{number}", "me", (ask,), 1, Tags("api")), now=NOW, lasts=DAY))
        assert ledger._read is not None
        assert len(ledger._read.cells) + len(ledger._read.holds) <= 12

    assert ledger.money_nowait(lambda page: (held(page), len(page.budgets()))) == (100, 41)
    ledger.close()


def test_a_loop_does_not_bring_the_log_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The log grows as long as nobody but a loop has its turns, and the thread's next turn brings it to the disk.
    """
    ledger = opened(tmp_path)
    pages: list[int] = []
    monkeypatch.setattr("egressor.ledger.sqlite._LONG", 3)
    for turn in (ledger.money_nowait, ledger.money_nowait, partial(ledger.money, at_once=False)):
        for number in range(8):
            ask = Ask(f"{len(pages)}-{number}", 100, 90, 0, NEVER)
            turn(partial(take, want=Want(ask.key, "me", (ask,), 1, Tags("api")), now=NOW, lasts=DAY))
        # How much of the log is new: what was brought to the disk is written over from its beginning.
        pages.append((tmp_path / "l.db-wal").stat().st_size)

    assert pages[0] < pages[1]
    assert pages[2] - pages[1] < pages[1] - pages[0]
    ledger.close()
