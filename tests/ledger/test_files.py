"""
Ledgers on the disk and in a server: migrations that are killed, strangers' files, locks, modes.
"""

from __future__ import annotations

import os
import re
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, nullcontext, suppress
from functools import partial
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from egressor._host.lock import Latch
from egressor.errors import ConfigError
from egressor.ledger import Ledger, LedgerAway, Pick
from egressor.ledger.money import Page, Sum, Tags
from egressor.ledger.opening import open_ledger
from egressor.ledger.postgres import PostgresLedger
from egressor.ledger.sql import MIGRATIONS
from egressor.ledger.sqlite import SqliteLedger
from egressor.stores.opening import open_store
from tests.ledger.places import Postgres, entries, entry, ids

LATER = (
    "ALTER TABLE egressor_entries ADD COLUMN more TEXT NOT NULL DEFAULT ''",
    "CREATE INDEX egressor_entries_kind ON egressor_entries (kind)",
    "UPDATE egressor_entries SET more = 'moved'",
)
NEWER = (*MIGRATIONS, LATER)

KILLED = """
import os, signal, sys
from pathlib import Path
from egressor.ledger import sql
from egressor.ledger.entry import made
seen, last = 0, int(sys.argv[2])
def step(*_):
    global seen
    seen += 1
    if seen == last:
        os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[1].startswith("postgresql"):
    from egressor.ledger import wire
    from egressor.ledger.postgres import PostgresLedger as Ledger
    real_wait = wire.Connection.wait
    def wait(self, *args, **options):
        step()
        return real_wait(self, *args, **options)
    wire.Connection.wait = wait
    place = sys.argv[1]
else:
    import sqlite3
    from egressor.ledger.sqlite import SqliteLedger as Ledger
    real = sqlite3.connect
    def connect(*args, **options):
        db = real(*args, **options)
        db.set_trace_callback(step)
        return db
    sqlite3.connect = connect
    place = Path(sys.argv[1])
Ledger(place, migrations=(*sql.MIGRATIONS, eval(sys.argv[3]))).append([made(at=10**15, kind="operator", what="late")])
"""


def versions_of_sqlite(path: Path) -> tuple[int, bool, bool]:
    """
    The schema's number, and whether its first version and the one after ours are there.
    """
    with closing(sqlite3.connect(path)) as db:
        return _versions(
            lambda text: [row[0] for row in db.execute(text)], "SELECT name FROM sqlite_master", "pragma_table_info"
        )


def versions_of_postgres(address: str) -> tuple[int, bool, bool]:
    """
    The same of a database.
    """
    with psycopg.connect(address) as db:
        return _versions(
            lambda text: [row[0] for row in db.execute(text.encode())],
            "SELECT relname FROM pg_class",
            "",
        )


def _versions(ask: Callable[[str], list], names: str, columns: str) -> tuple[int, bool, bool]:
    found = set(ask(names))
    number = ask("SELECT value FROM egressor_ledger WHERE name = 'schema'") if "egressor_ledger" in found else [0]
    if columns:
        have = set(ask(f"SELECT name FROM {columns}('egressor_entries')"))  # noqa: S608 - ours
    else:
        have = set(ask("SELECT column_name FROM information_schema.columns WHERE table_name = 'egressor_entries'"))
    first = {"egressor_entries", "egressor_entries_at", "egressor_entries_service"}
    money = {"egressor_budgets_end_at", "egressor_holds", "egressor_holds_expires_at", "egressor_spend"}
    # The third version gives it another name.
    budgets = {"egressor_budgets", "egressor_periods"}
    named = {1: set(), 2: {"egressor_budgets"}}.get(number[0] or 1, {"egressor_periods"})
    later = {"egressor_entries_kind" in found, "more" in have}
    if "more" in have:
        later.add(not ask("SELECT id FROM egressor_entries WHERE more <> 'moved' AND what <> 'late'"))
    assert len(later) == 1, "a half of the version after ours"
    assert found & first in (first, set()), "a half of the first version"
    assert found & money == (money if number[0] > 1 else set()), "a half of the second version"
    assert found & budgets == named, "a half of the third version"
    return number[0], first <= found, later.pop()


@pytest.mark.timeout(600)  # Each kill is a program, and a server's answer.
@pytest.mark.parametrize("begun", [0, 1, 2, 3])
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_killed_migration_is_old_or_new(
    kind: str, begun: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """
    Killed at each of its steps, a migration leaves the old schema or the new one, and the next opening finishes it.
    """
    kept = entries(3)
    seen = set()
    for step in range(1, 100):
        if kind == "sqlite":
            place = str(tmp_path / f"{step}.db")
            opener: Callable[..., Ledger] = partial(SqliteLedger, Path(place))
        else:
            place = request.getfixturevalue("postgres").new_database()
            opener = partial(PostgresLedger, place)
        if begun:
            before = opener(migrations=MIGRATIONS[:begun])
            before.append(kept)
            before.close()
        command = [sys.executable, "-c", KILLED, place, str(step), repr(LATER)]
        # Without coverage, whose own database would be killed at each of its steps, too.
        surroundings = {key: value for key, value in os.environ.items() if key != "COVERAGE_PROCESS_CONFIG"}
        child = subprocess.run(command, check=False, capture_output=True, timeout=60, env=surroundings)
        assert child.returncode in (0, -9), child.stderr
        state = versions_of_sqlite(Path(place)) if kind == "sqlite" else versions_of_postgres(place)
        seen.add(state)
        after = opener(migrations=NEWER)
        found = after.read(Pick(service="api", is_newest=False))
        assert ids(found) == (ids(kept) if begun else [])
        after.append([entry(50)])
        assert after.tally().entries - (3 if begun else 0) in (1, 2)
        after.close()
        if child.returncode == 0:
            break
    else:
        pytest.fail("it was killed to the end")

    assert seen <= {(0, False, False), (1, True, False), (2, True, False), (3, True, False), (4, True, True)}
    assert len(seen) == 5 - begun


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_newer_schema_is_left_alone(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """
    A ledger that a newer version has written is neither read nor written, and the message says why.
    """
    path = tmp_path / "history.db"
    address = "" if kind == "sqlite" else request.getfixturevalue("postgres").new_database()

    def opener(**options: object) -> Ledger:
        return PostgresLedger(address, **options) if address else SqliteLedger(path, **options)  # type: ignore[arg-type]

    newer = opener(migrations=NEWER)
    newer.append(entries(1))
    newer.close()
    ledger = opener()
    for work in (lambda: ledger.append(entries(1)), ledger.tally, lambda: ledger.read(Pick()), lambda: ledger.prune(0)):
        with pytest.raises(LedgerAway, match=r"schema is 4, .* knows 3"):
            work()
    ledger.close()


def test_the_files_are_this_user_s_alone(tmp_path: Path) -> None:
    """
    Ledger and lock are made with 0600, whatever the umask; a file that is there keeps its mode.
    """
    before = os.umask(0)
    try:
        ledger = SqliteLedger(tmp_path / "history.db")
        ledger.append(entries(1))
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    ledger.close()

    names = ["history.db", "history.db-shm", "history.db-wal", "history.db.lock", "history.db.lock.next"]
    assert modes == dict.fromkeys(names, 0o600)
    assert {path.name for path in tmp_path.iterdir()} == {"history.db", "history.db.lock", "history.db.lock.next"}


@pytest.mark.parametrize(("is_remote", "mode"), [(False, "wal"), (True, "delete")])
def test_the_journal_is_a_wal_where_memory_is_shared(
    is_remote: bool, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    On a network's file system it is a rollback journal, and works as well.
    """
    monkeypatch.setattr("egressor.ledger.sqlite.is_remote", lambda path: is_remote)
    ledger = SqliteLedger(tmp_path / "history.db")
    ledger.append(entries(1))
    with closing(sqlite3.connect(ledger.path)) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == (mode,)
    ledger.append(entries(1))

    assert ledger.tally().entries == 2
    ledger.close()


def test_who_keeps_the_file_in_another_mode_is_no_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    An older version that has it open keeps it from becoming a WAL; both write.
    """
    monkeypatch.setattr("egressor.ledger.sqlite._BUSY", 0.05)
    path = tmp_path / "history.db"
    monkeypatch.setattr("egressor.ledger.sqlite.is_remote", lambda path: True)
    older = SqliteLedger(path)
    older.append(entries(1))
    with older._turn() as db:
        db.execute("BEGIN")
        db.execute("SELECT COUNT(*) FROM egressor_entries").fetchone()
    monkeypatch.setattr("egressor.ledger.sqlite.is_remote", lambda path: False)
    newer = SqliteLedger(path)
    assert newer.read(Pick()) != []
    with older._turn() as db:
        db.execute("COMMIT")
    newer.append(entries(1))
    older.append(entries(1))

    assert newer.tally().entries == 3
    newer.close()
    older.close()


def test_a_file_that_was_moved_away_is_whole(tmp_path: Path) -> None:
    """
    It has got what its WAL held; two that had it open go on in one new file, and nothing of the old one is in that.
    """
    path, moved = tmp_path / "history.db", tmp_path / "moved.db"
    first, second = SqliteLedger(path), SqliteLedger(path)
    first.append(entries(2))
    second.append(entries(2))
    path.rename(moved)
    for ledger in (first, second, first):
        ledger.append(entries(1))

    assert first.tally().entries == second.tally().entries == 3
    with closing(sqlite3.connect(moved)) as db:
        assert db.execute("SELECT COUNT(*) FROM egressor_entries").fetchone() == (4,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    first.close()
    second.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT COUNT(*) FROM egressor_entries").fetchone() == (3,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_schema_that_changes_meanwhile_is_noticed(tmp_path: Path) -> None:
    """
    By whoever has the file open since before; a stranger's table is none of its business.
    """
    path = tmp_path / "history.db"
    ledger, newer = SqliteLedger(path), SqliteLedger(path, migrations=NEWER)
    ledger.append(entries(1))
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE mine (n)")
    ledger.append(entries(1))
    newer.append(entries(1))

    with pytest.raises(LedgerAway, match=r"schema is 4, .* knows 3"):
        ledger.append(entries(1))
    newer.close()
    ledger.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # from 3.12 on Python warns of forks where threads are
@pytest.mark.parametrize("is_busy", [False, True], ids=["at rest", "in a turn"])
def test_a_child_opens_the_file_anew(is_busy: bool, tmp_path: Path) -> None:
    """
    A fork finds it closed, unless it happens in the midst of a turn; then parent and child write, and both are kept.
    """
    ledger = SqliteLedger(tmp_path / "history.db")
    ledger.append(entries(1))
    with ledger._turn() if is_busy else nullcontext():
        pid = os.fork()
    if pid == 0:
        code = 1
        with suppress(LedgerAway):
            ledger.append(entries(1))
            ledger.close()
            code = 0
        os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    ledger.append(entries(1))

    assert ledger.tally().entries == 3
    ledger.close()
    with closing(sqlite3.connect(ledger.path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_signal_in_a_turn_finds_the_ledger_busy(tmp_path: Path) -> None:
    """
    A handler that looks in the midst of its own thread's turn is told so; the turn goes on.
    """
    ledger = SqliteLedger(tmp_path / "history.db")
    with ledger._turn() as db:
        ledger.close()
        with pytest.raises(LedgerAway, match=r"history\.db is busy with what a signal has interrupted"):
            ledger.append(entries(1))
        assert db.execute("SELECT COUNT(*) FROM egressor_entries").fetchone() == (0,)

    assert ledger.append(entries(1)) == 1
    ledger.close()


def test_money_that_need_not_wait_is_there_at_once_for_all(tmp_path: Path) -> None:
    """
    Whoever has the file open sees it, and so does whoever opens it later, with and without waiting.
    """
    path = tmp_path / "history.db"
    ledger, other = SqliteLedger(path), SqliteLedger(path)

    def add(page: Page) -> bool:
        return page.add(Sum(1, Tags("s"), 1, 5, 0), 9)

    found = []
    for at_once in (True, False, True, False):
        ledger.money(add, at_once=at_once)
        found.append(other.money(lambda page: page.sums(0), at_once=not at_once)[0].calls)
    ledger.close()
    other.close()

    assert found == [1, 2, 3, 4]
    assert SqliteLedger(path).money(lambda page: page.sums(0))[0].micro_usd == 20


def test_other_tables_of_the_file_stay(tmp_path: Path) -> None:
    """
    A ledger shares its file with whoever is there.
    """
    path = tmp_path / "shared.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE mine (n)")
        db.execute("PRAGMA user_version = 7")
    SqliteLedger(path).append(entries(1))
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT COUNT(*) FROM mine").fetchone() == (0,)
        assert db.execute("PRAGMA user_version").fetchone() == (7,)


def test_what_is_no_database_stays_as_it_is(tmp_path: Path) -> None:
    """
    A foreign or damaged file is not touched; the ledger is away, and says so.
    """
    path = tmp_path / "history.db"
    path.write_bytes(b"my precious text, which is no database at all" * 100)
    before = path.read_bytes()
    with pytest.raises(LedgerAway, match=r"history\.db: file is not a database"):
        SqliteLedger(path).append(entries(1))

    assert path.read_bytes() == before


def test_who_has_the_file_for_itself_is_waited_for_so_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A stranger's exclusive transaction makes the ledger away after a bounded time; then it is back.
    """
    monkeypatch.setattr("egressor.ledger.sqlite._BUSY", 0.05)
    path = tmp_path / "history.db"
    ledger = SqliteLedger(path)
    ledger.append(entries(1))
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LedgerAway, match="database is locked"):
            ledger.append(entries(1))

    assert ledger.append(entries(1)) == 1


def test_who_has_the_lock_is_waited_for_so_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A process that stands still in its turn makes the ledger away for the others after a bounded time; then it is back.
    """
    monkeypatch.setattr("egressor.ledger.sqlite._PATIENCE", 0.02)
    first, second = SqliteLedger(tmp_path / "history.db"), SqliteLedger(tmp_path / "history.db")
    with first._turn(), pytest.raises(LedgerAway, match=r"has held its lock history\.db\.lock for 0\.02 s"):
        second.tally()

    assert second.moved_at() == 0.0
    assert second.append(entries(1)) == 1
    first.close()
    second.close()


def test_many_processes_append_at_once(tmp_path: Path) -> None:
    """
    Eight processes that write one new file lose nothing, the making of its tables included.
    """
    path = tmp_path / "history.db"
    program = (
        "import sys; from pathlib import Path; from egressor.ledger.sqlite import SqliteLedger;"
        "from egressor.ledger.entry import made; ledger = SqliteLedger(Path(sys.argv[1]))\n"
        "for n in range(20): ledger.append([made(at=10**15 + n, kind='operator', what=sys.argv[2])])"
    )
    crowd = [subprocess.Popen([sys.executable, "-c", program, path, str(who)]) for who in range(8)]

    assert [each.wait(60) for each in crowd] == [0] * 8
    assert SqliteLedger(path).tally().entries == 160
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # from 3.12 on Python warns of forks where threads are
def test_a_child_leaves_the_parent_s_connection_alone(postgres: Postgres) -> None:
    """
    After a fork both write, each over a connection of its own.
    """
    ledger = PostgresLedger(postgres.new_database())
    ledger.append([entry(1)])
    pid = os.fork()
    if pid == 0:
        ledger.append([entry(2)])
        ledger.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    ledger.append([entry(3)])

    assert ledger.tally().entries == 3
    ledger.close()


def test_a_broken_session_is_opened_again(postgres: Postgres) -> None:
    """
    A session that the server has ended makes the ledger away once; the next call opens another.
    """
    address = postgres.new_database()
    ledger = PostgresLedger(address)
    ledger.append([entry(1)])
    with psycopg.connect(postgres.address(), autocommit=True) as db:
        db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'egressor'")
    with pytest.raises(LedgerAway, match="PostgreSQL: "):
        ledger.append([entry(2)])

    assert ledger.append([entry(2)]) == 1
    ledger.close()


def test_errors_of_the_server_show_no_value(postgres: Postgres) -> None:
    """
    What a server says may repeat an address or a row: only its kind and its code are told.
    """
    ledger = PostgresLedger(postgres.address("there_is_no_such_database"))
    with pytest.raises(LedgerAway) as caught:
        ledger.append([entry(1)])

    assert str(caught.value) == "PostgreSQL: OperationalError"


def test_threads_share_a_connection(postgres: Postgres) -> None:
    """
    A ledger that many threads use opens one session.
    """
    ledger = PostgresLedger(postgres.new_database())
    threads = [Thread(target=ledger.append, args=([entry(n)],)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with psycopg.connect(postgres.address()) as db:
        count = db.execute("SELECT COUNT(*) FROM pg_stat_activity WHERE application_name = 'egressor'").fetchone()

    assert (count, ledger.tally().entries) == ((1,), 8)
    ledger.close()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("sqlite:///{}/no/history.db", "the folder of the ledger's file is not there, or is none: {}/no$"),
        ("sqlite:///{}", "the ledger's file is a folder: {}$"),
    ],
)
def test_an_address_that_leads_nowhere(address: str, message: str, tmp_path: Path) -> None:
    """
    A file that can't be there is a mistake of the configuration.
    """
    with pytest.raises(ConfigError, match=message.format(re.escape(str(tmp_path)))):
        open_ledger(address.format(tmp_path))
    with pytest.raises(ConfigError, match=message.replace("ledger", "store").format(re.escape(str(tmp_path)))):
        open_store(address.format(tmp_path))


def test_without_psycopg_the_message_says_what_to_install() -> None:
    """
    Where psycopg is missing, a PostgreSQL ledger is a mistake of the configuration.
    """
    program = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from egressor import Governor\n"
        "from egressor.errors import ConfigError\n"
        "try: Governor({}, ledger='postgresql://h/d')\n"
        "except ConfigError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == (
        "egressor.ledger: a PostgreSQL ledger needs psycopg and libpq: pip install 'egressor[postgres]'\n"
    )


def test_an_interpreter_that_ends_leaves_the_file_in_peace(tmp_path: Path) -> None:
    """
    Regression: a ledger that nobody had closed said at the end that it could not import any more.
    """
    program = (
        "import sys; from pathlib import Path; from egressor.ledger.sqlite import SqliteLedger\n"
        "ledger = SqliteLedger(Path(sys.argv[1])); ledger.tally(); ledger.append([])\n"
        "sys.modules['keeps'] = ledger"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "x.db")], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert SqliteLedger(tmp_path / "x.db").tally().entries == 0


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_who_has_no_patience_does_not_wait_for_this_process(kind: str, tmp_path: Path, postgres: Postgres) -> None:
    """
    A reader that may not wait is told at once that another thread has the ledger.
    """
    ledger: SqliteLedger | PostgresLedger = SqliteLedger(tmp_path / "a.db")
    if kind == "postgresql":
        ledger = PostgresLedger(postgres.new_database())
    ledger.append(entries(1))
    lock = ledger._alone if isinstance(ledger, SqliteLedger) else ledger._lock
    said: list[str] = []

    def look() -> None:
        for ask in (ledger.tally, partial(ledger.read, Pick())):
            try:
                ask(patience=0.0)
            except LedgerAway as error:
                said.append(str(error))

    with lock:
        thread = Thread(target=look)
        thread.start()
        thread.join()

    assert ["has kept this process waiting for 0 s" in each for each in said] == [True, True]
    assert ledger.read(Pick(), patience=0.0)
    ledger.close()


def test_who_has_no_patience_does_not_wait_for_another_process(tmp_path: Path) -> None:
    """
    A reader that may not wait is told at once that another process has the lock.
    """
    ledger = SqliteLedger(tmp_path / "a.db")
    ledger.append(entries(1))
    other = Latch(tmp_path / "a.db.lock")
    other.take(patience=2.0)

    with pytest.raises(LedgerAway, match="held its lock"):
        ledger.read(Pick(), patience=0.0)
    other.give()
    assert ledger.read(Pick(), patience=0.0)
    ledger.close()
    other.close()


def test_who_has_little_patience_lets_sqlite_wait_no_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Regression: each look at a file that a stranger kept for itself waited a second, whatever its patience.
    """
    ledger = SqliteLedger(tmp_path / "a.db")
    ledger.append(entries(1))
    ledger.close()
    lent: list[object] = []
    connect = sqlite3.connect

    def watched(*args: Any, **options: Any) -> sqlite3.Connection:
        lent.append(options["timeout"])
        return connect(*args, **options)

    # Time stands still, so that all of the patience is left.
    monkeypatch.setattr("egressor.ledger.sqlite.time", SimpleNamespace(monotonic=lambda: 100.0))
    monkeypatch.setattr(sqlite3, "connect", watched)
    with closing(connect(ledger.path, isolation_level=None)) as db:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("BEGIN EXCLUSIVE")
        for ask in (ledger.tally, partial(ledger.read, Pick())):
            with pytest.raises(LedgerAway, match="database is locked"):
                ask(patience=0.25)

    assert lent == [0.25, 0.25]


def test_sqlite_waits_in_each_turn_as_long_as_that_one_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    An open file hears, before anything that may need a lock, how much patience is left; the next turn has its own.
    """
    monkeypatch.setattr("egressor.ledger.sqlite.time", SimpleNamespace(monotonic=lambda: 100.0))
    ledger = SqliteLedger(tmp_path / "a.db")
    ledger.append(entries(1))
    said: list[str] = []
    stand: list[int] = []
    for patience in (0.25, 0.0, None):
        assert ledger._db is not None
        ledger._db.set_trace_callback(said.append)
        with ledger._turn(patience=patience) as db:
            stand += db.execute("PRAGMA busy_timeout").fetchone()
    ledger.close()

    first = ["PRAGMA busy_timeout = 250", "PRAGMA busy_timeout = 0", "PRAGMA busy_timeout = 1000"]
    assert (said[::3], stand) == (first, [250, 0, 1_000])
