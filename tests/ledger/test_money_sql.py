"""
A page of money in tables gathers what one transaction does, and writes the same as if it had not.
"""

from __future__ import annotations

import sqlite3
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from egressor._core.budget import NEVER, Ask, Held
from egressor.ledger.memory import MemoryLedger
from egressor.ledger.money import FREE, SPENT, UNKNOWN, End, Page, Sum, Tags, Want, finish, lose, take
from egressor.ledger.postgres import PostgresLedger
from egressor.ledger.sqlite import SqliteLedger
from egressor.ledger.wire import Connection

if TYPE_CHECKING:
    from tests.ledger.places import Postgres

NOW = 1_790_000_000_000_000
ASKS = tuple(Ask(key, limit, limit, 0, NEVER) for key, limit in (("a", 3_000), ("b", 2_000)))
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["hold", SPENT, FREE, UNKNOWN, "expect", "extend", "lose", "look"]),
        st.integers(0, 5),
        st.integers(1, 900),
    ),
    max_size=25,
)


def play(page: Page, steps: list[tuple[str, int, int]]) -> list[Any]:
    """
    Do *steps* on a page, and return what it says to each.
    """
    said: list[Any] = []
    for what, number, amount in steps:
        key, now = f"call{number}", NOW + amount
        if what == "hold":
            if page.kept(key) is None:
                wish = Want(key, "me", ASKS[: 1 + number % 2], amount, Tags("api", f"m{number % 2}"))
                said.append(isinstance(take(page, wish, now=NOW, lasts=500), Held))
        elif what == "expect":
            page.expect([key, "call0", "nobody"], [ASKS[0].cell, "nothing"])
        elif what == "extend":
            page.extend("me", NOW + 500 + amount)
        elif what == "lose":
            said.append(lose(page, now))
        elif what == "look":
            said.append((page.budgets(), page.sums(0)))
        else:
            said.append(finish(page, End(key, what, amount)))
    return [*said, page.budgets(), page.sums(0), [page.kept(f"call{number}") for number in range(6)]]


def test_gathered_steps_come_to_the_same(tmp_path: Path) -> None:
    """
    Whatever one transaction does, a page in memory says and keeps the same, and so does the next transaction.
    """
    files = iter(range(10**6))

    @settings(max_examples=60, suppress_health_check=list(HealthCheck), deadline=None)
    @example([("hold", 0, 2), ("extend", 0, 1), ("spent", 0, 1), ("hold", 0, 1)], [])
    @given(STEPS, STEPS)
    def compare(first: list[tuple[str, int, int]], second: list[tuple[str, int, int]]) -> None:
        file, memory = SqliteLedger(tmp_path / f"{next(files)}.db"), MemoryLedger()
        for steps in (first, second):
            assert file.money(partial(play, steps=steps)) == memory.money(partial(play, steps=steps))
        file.close()

    compare()


@pytest.mark.parametrize(("calls", "statements"), [(1, 3), (64, 3), (85, 6)])
def test_calls_of_a_transaction_share_their_statements(
    calls: int, statements: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Holds of one transaction read and write their budgets once, and are written 64, 16, 4 and 1 at a time.
    """
    texts: list[str] = []
    ledger = SqliteLedger(tmp_path / "history.db")
    ledger.money(lambda page: page.budgets())
    ledger.close()

    class Recorded(sqlite3.Connection):
        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            texts.append(sql)
            return super().execute(sql, parameters)

    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Recorded))

    def hold(page: Page) -> None:
        texts.clear()
        for number in range(calls):
            take(page, Want(f"call{number}", "me", ASKS, 1, Tags("api")), now=NOW, lasts=500)

    ledger.money(hold, at_once=False)
    ledger.close()
    found = [text for text in texts if text.startswith(("SELECT", "INSERT"))]

    assert len(found) == statements


def test_a_sum_that_was_undone_is_not_there(postgres: Postgres) -> None:
    """
    Regression: after a transaction that failed its new sums counted as there, and were added later without a bound.
    """
    ledger = PostgresLedger(postgres.new_database())
    spent = Sum(20_000, Tags("api", "m"), 1, 5, 0)

    def fail(page: Page) -> None:
        assert page.add(spent, 1)
        msg = "undone"
        raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match="undone"):
        ledger.money(fail)
    added = ledger.money(lambda page: page.add(spent, 0)), ledger.money(lambda page: page.add(spent, 1))
    found = ledger.money(lambda page: page.sums(0))
    ledger.close()

    assert (added, found) == ((False, True), [spent])


@pytest.mark.parametrize("is_overdue", [False, True])
def test_where_there_is_nothing_to_ask_nothing_is_asked(
    is_overdue: bool, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Regression: each renewal asked for no holds and no budgets; the transaction begins all the same, once.
    """
    texts: list[str] = []
    ledger = PostgresLedger(postgres.new_database())
    ledger.money(lambda page: page.expect((), ()))
    execute = Connection.execute

    def recorded(db: Connection, query: Any, *more: Any, **options: Any) -> Any:
        texts.append(query if isinstance(query, str) else query.decode())
        return execute(db, query, *more, **options)

    monkeypatch.setattr(Connection, "execute", recorded)
    ledger.money(lambda page: lose(page, NOW) if is_overdue else page.expect((), ()))
    ledger.close()

    assert [text for text in texts if "ANY" in text] == []
    begin = "BEGIN ISOLATION LEVEL READ COMMITTED"
    assert (texts[0], texts.count(begin), texts.count("COMMIT")) == (begin, 1, 1)


def test_a_period_is_written_only_where_it_is_another(tmp_path: Path) -> None:
    """
    Each write of an end would be one to its index, too; in the next period, and to nobody's surprise, it is written.
    """
    texts: list[str] = []
    ledger = SqliteLedger(tmp_path / "l.db")

    def held(name: str, day: int) -> tuple[bool, int]:
        asks = (Ask("a", 3_000, 3_000, day, day + 1),)
        ledger.money(partial(take, want=Want(name, "me", asks, 1, Tags("api")), now=NOW, lasts=500))
        if ledger._db is not None:
            ledger._db.set_trace_callback(texts.append)
        is_moved = any("end_at = excluded.end_at" in text for text in texts)
        texts.clear()
        ledger._read = None
        return is_moved, ledger.money(lambda page: page.cells([asks[0].cell])[asks[0].cell][1])

    held("one", 5)
    found = [held(f"call{number}", day) for number, day in enumerate((5, 5, 6, 6, 7))]
    ledger.close()

    assert found == [(False, 6), (False, 6), (True, 7), (False, 7), (True, 8)]
