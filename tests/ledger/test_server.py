"""
A PostgreSQL as others have set it up: rights, isolation, and what it says on our program's standard error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Thread

import psycopg
import pytest

from egressor._core.budget import NEVER, Ask, Held
from egressor.ledger import Ledger, LedgerAway, Pick
from egressor.ledger.money import SPENT, End, Tags, Want, finish, take
from egressor.ledger.postgres import _MONEY, PostgresLedger
from egressor.ledger.spool import Spool
from egressor.ledger.sql import MIGRATIONS
from egressor.ledger.till import Till
from egressor.ledger.wire import Connection
from tests.ledger.places import DAY, NOW, Postgres, entries, until

ASKS = (Ask("a/total@UTC", 10**9, 10**9, 0, NEVER),)


def paid(ledger: Ledger, key: str) -> None:
    """
    Hold for a call and charge it, in two transactions.
    """
    want = Want(key, "me", ASKS, 100, Tags("a"))
    ledger.money(lambda page: take(page, want, now=NOW, lasts=10**6))
    ledger.money(lambda page: finish(page, End(key, SPENT, 50)))


def run(address: str, *texts: str) -> None:
    """
    Say *texts* to the server.
    """
    with psycopg.connect(address, autocommit=True) as db:
        for text in texts:
            db.execute(text.encode())


@pytest.fixture
def address(postgres: Postgres) -> str:
    """
    A database of its own.
    """
    return postgres.new_database()


@pytest.fixture
def narrow(address: str) -> str:
    """
    The same, with the schema there, as a role that may only read and write rows.
    """
    ledger = PostgresLedger(address)
    ledger.append(entries(1))
    ledger.close()
    database = address.partition("?")[0].rpartition("/")[2]
    role = f"app_{database}"
    run(
        address,
        f"CREATE ROLE {role} LOGIN",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
    )
    return f"postgresql://{role}@{address.partition('@')[2]}"


def test_where_the_tables_are_no_right_to_make_any_is_needed(narrow: str) -> None:
    """
    Regression: each connection asked for a table that was there, and was refused.
    """
    ledger = PostgresLedger(narrow)
    ledger.append(entries(3))
    paid(ledger, "one")
    found = len(ledger.read(Pick())), ledger.prune(0), ledger.money(lambda page: page.sums(0)[0].micro_usd)
    ledger.close()

    assert found == (4, 0, 50)


def test_whoever_may_make_nothing_is_told_of_a_newer_schema(address: str, narrow: str) -> None:
    """
    And not of a right that is missing.
    """
    newer = PostgresLedger(address, migrations=(*MIGRATIONS, ("SELECT 1",)))
    newer.tally()
    newer.close()
    ledger = PostgresLedger(narrow)

    with pytest.raises(LedgerAway, match="a newer one wrote it"):
        ledger.tally()
    ledger.close()


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_a_database_whose_transactions_see_no_others_is_told_to(level: str, address: str) -> None:
    """
    Regression: with such a default, most of what several wrote at once failed.
    """
    database = address.partition("?")[0].rpartition("/")[2]
    run(address, f"ALTER DATABASE {database} SET default_transaction_isolation = '{level}'")
    ledgers = [PostgresLedger(address) for _ in range(3)]
    failures: list[LedgerAway] = []
    for ledger in ledgers:
        ledger.tally()

    def work(which: int) -> None:
        for number in range(15):
            try:
                paid(ledgers[which], f"{which} {number}")
                ledgers[which].append(entries(2))
            except LedgerAway as error:
                failures.append(error)

    threads = [Thread(target=work, args=(which,)) for which in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = ledgers[0].money(lambda page: page.budgets()[0].cell.spent)
    for ledger in ledgers:
        ledger.close()

    assert (failures, spent) == ([], 45 * 50)


def test_of_what_fails_twice_nothing_is_said_on_standard_error(address: str, caplog: pytest.LogCaptureFixture) -> None:
    """
    Regression: where a transaction failed, psycopg logged "error ignored terminating", which stands on standard error
    where no logging is set up.
    """
    db = Connection.open(address)

    with pytest.raises(KeyError), db.pipeline():
        db.execute("SELECT 1 / 0")
        raise KeyError
    with pytest.raises(psycopg.errors.DivisionByZero), db.pipeline():
        db.execute("SELECT 1 / 0")
    with db.pipeline():
        found = db.execute("SELECT 1")
    assert found.fetchone() == (1,)
    db.close()

    assert caplog.records == []


@contextmanager
def busy(address: str) -> Iterator[Callable[[], object]]:
    """
    Keep the turn at money for the length of the block, or until what is lent is called.
    """
    with psycopg.connect(address) as db:
        db.execute("SELECT pg_advisory_xact_lock(%s)", (_MONEY,))
        yield db.commit


def _has_moved(ledger: Ledger, since: float) -> bool:
    return ledger.moved_at() > since


def test_a_line_at_a_healthy_server_is_waited_in(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Regression: 0.4 s in which others had their turns counted as a ledger that is away, and calls were refused.
    """
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr("egressor.ledger.postgres._LINE", 60.0)
    ledger = PostgresLedger(address)
    ledger.tally()
    till = Till(ledger, spool=Spool(tmp_path / "owed"), wall=lambda: NOW, keep_for=366 * DAY)
    answers: list[object] = []
    with busy(address) as give:
        caller = Thread(target=lambda: answers.append(till.hold(Want("one", till.owner, ASKS, 100, Tags("a")))))
        caller.start()
        for _ in range(3):
            before = ledger.moved_at()
            until(partial(_has_moved, ledger, before))
        give()
        caller.join()
    till.close(20)

    assert [type(answer) for answer in answers] == [Held]


def test_a_line_without_an_end_is_not_waited_in(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Whoever has the turn may be stopped.
    """
    monkeypatch.setattr("egressor.ledger.postgres._LINE", 0.0)
    ledger = PostgresLedger(address)
    with busy(address), pytest.raises(LedgerAway, match="LockNotAvailable"):
        paid(ledger, "one")
    paid(ledger, "one")
    found = ledger.money(lambda page: page.sums(0)[0].micro_usd)
    ledger.close()

    assert found == 50
