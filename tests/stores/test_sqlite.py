"""
The SQLite store by itself: its time, its rows, its file, its calls.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from egressor._core.fleet import LIFE, Back, Part, Rank, Request, Top, Want
from egressor._core.limits import Algorithm, Concurrency, Fixed, Gcra, Sliding
from egressor._host.lock import Latch
from egressor.stores import Slept, StoreAway
from egressor.stores import sqlite_file as files
from egressor.stores.sqlite import SqliteStore

SECOND = 1_000_000
HOUR = 3_600 * SECOND
RANK = Rank(1, 0, 1 << 52)
WINDOW = Sliding(amount=5, period=10 * SECOND)


class Machine:
    """
    A machine's clocks, which the test moves.
    """

    def __init__(self) -> None:
        self.up = 100 * SECOND
        self.wall = 1_795_000_000 * SECOND
        self.boot = "first"

    def passes(self, time: int) -> None:
        """
        Both clocks go on.
        """
        self.up += time
        self.wall += time

    def reboots(self, *, off: int, up: int) -> None:
        """
        It was off for a while, and has been up again for another.
        """
        self.wall += off + up
        self.up, self.boot = up, f"after {self.boot}"

    def store(self, path: Path) -> SqliteStore:
        """
        A process's store.
        """
        return SqliteStore(path, now=lambda: self.up, clock_wall=lambda: self.wall, boot=self.boot)


@pytest.fixture
def machine() -> Machine:
    """
    A machine.
    """
    return Machine()


def wants(*parts: Part, member: str = "a", most: int = 1, **options: Any) -> Request:
    """
    A member that wants this, so many times.
    """
    return Request(member, wants=(Want(RANK, parts, most),), **options)


def taken(store: SqliteStore, limit: Algorithm = WINDOW, cell: str = "cell", most: int = 100) -> int:
    """
    How many it gets.
    """
    return store.exchange("api", wants(Part(cell, 1, limit), most=most)).answers[0].times


@pytest.mark.parametrize("period", [20 * SECOND, HOUR])
def test_who_asks_for_the_same_again_and_again_notices_a_death_and_keeps_its_cell(
    machine: Machine, tmp_path: Path, period: int
) -> None:
    """
    A request that is as the last one is looked at less closely, but not past a member's end, nor that of a cell.
    """
    store = machine.store(tmp_path / "s")
    limit = Sliding(amount=1_000, period=period)
    seat = Part("seat|user", 1, Concurrency(amount=1))
    request = wants(Part("cell", 1, limit))
    assert store.exchange("api", wants(seat, member="b")).answers[0].times == 1
    freed, kept = [], []
    for step in range(30):
        machine.passes(SECOND // 2)
        if step == 5:
            # Something else, so that it is looked at closely once more.
            store.exchange("api", wants(Part("cell", 1, limit)))
        store.exchange("api", request)
        kept.append(store._hots["api"].ends["cell"] >= machine.up + limit.horizon)
        freed.append("seat|user" not in store.look("api")[0].held)

    assert all(kept)
    assert freed.index(True) == 2 * LIFE // SECOND - 1
    store.close()


# --- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "limit",
    [WINDOW, Gcra(amount=5, period=10 * SECOND, burst=5), Fixed(amount=5, period=10 * SECOND)],
)
def test_a_reboot_is_time_that_passes(limit: Algorithm, machine: Machine, tmp_path: Path) -> None:
    """
    After a reboot a limit goes on where it was: what was taken counts, also before the new clock's zero, and ends.
    """
    assert taken(machine.store(tmp_path / "s"), limit) == 5
    machine.reboots(off=SECOND, up=SECOND)
    after = machine.store(tmp_path / "s")
    soon = taken(after, limit, most=1)
    machine.passes(21 * SECOND)

    assert (soon, taken(after, limit)) == (1 if isinstance(limit, Gcra) else 0, 5)


def test_the_time_goes_on_after_a_reboot(machine: Machine, tmp_path: Path) -> None:
    """
    The store's time never goes back, and `shift` makes it of the new boot's clock.
    """
    before = machine.store(tmp_path / "s").exchange("api", Request("a")).now
    machine.reboots(off=HOUR, up=3 * SECOND)
    store = machine.store(tmp_path / "s")
    reply = store.exchange("api", Request("a"))

    assert (reply.now - before, store.shift) == (HOUR + 3 * SECOND, reply.now - machine.up)


def test_a_wall_clock_that_was_lost_frees_nothing_early(machine: Machine, tmp_path: Path) -> None:
    """
    Where the wall clock stands before the last exchange, no more has passed than the machine has been up.
    """
    before = machine.store(tmp_path / "s").exchange("api", Request("a")).now
    machine.reboots(off=-10 * HOUR, up=3 * SECOND)

    assert machine.store(tmp_path / "s").exchange("api", Request("a")).now - before == 3 * SECOND


def test_a_reboot_that_no_system_tells_of(machine: Machine, tmp_path: Path) -> None:
    """
    A clock that stands before the last exchange is another boot's, whatever it is called.
    """
    machine.boot = ""
    before = machine.store(tmp_path / "s").exchange("api", Request("a")).now
    machine.reboots(off=HOUR, up=3 * SECOND)
    machine.boot = ""

    assert machine.store(tmp_path / "s").exchange("api", Request("a")).now - before == HOUR + 3 * SECOND


def test_two_clocks_on_one_machine_tell_one_time(machine: Machine, tmp_path: Path) -> None:
    """
    A container with a monotonic clock of its own sees the same time as the others, whoever comes after whom.
    """
    inside = Machine()
    inside.boot, inside.up = "container", 5 * SECOND
    here, there = machine.store(tmp_path / "s"), inside.store(tmp_path / "s")
    times = []
    for _ in range(3):
        for each in (here, there):
            machine.passes(SECOND)
            inside.passes(SECOND)
            times.append(each.exchange("api", Request("a")).now)

    steps = [two - one for one, two in pairwise(times)]
    assert steps == [SECOND] * 5


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_wall_clock_that_jumps_changes_nothing(jump: int, machine: Machine, tmp_path: Path) -> None:
    """
    While the machine runs only its monotonic clock counts, for windows by the calendar, too.
    """
    store = machine.store(tmp_path / "s")
    fixed = Fixed(amount=5, period=10 * SECOND)
    first = taken(store, cell="a"), taken(store, fixed, cell="b")
    machine.wall += jump
    machine.passes(SECOND)

    assert (first, taken(store, cell="a"), taken(store, fixed, cell="b")) == ((5, 5), 0, 0)


# --- rows ------------------------------------------------------------------------------------------------------------


def rows(store: SqliteStore) -> int:
    """
    How many cells have a row of their own.
    """
    with closing(sqlite3.connect(store.path)) as db:
        return int(db.execute("SELECT COUNT(*) FROM cells").fetchone()[0])


def test_idle_keys_are_dropped(machine: Machine, tmp_path: Path) -> None:
    """
    Rows of keys that nobody has used for a window go away while others are made, and the file takes their room.
    """
    store = machine.store(tmp_path / "s")
    most, sizes = 0, []
    for number in range(3_000):
        taken(store, cell=f"by user|{number}", most=1)
        machine.passes(SECOND // 10)
        if not number % 100:
            most = max(most, rows(store))
            sizes.append(store.path.stat().st_size)

    assert most < 1_000
    assert sizes[-1] == sizes[len(sizes) // 2]


def test_a_pause_drops_idle_cells(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Now and then what nobody uses any more is dropped, also where nothing new is made.
    """
    monkeypatch.setattr("egressor.stores.sqlite._PAUSE_EACH", 5)
    store = machine.store(tmp_path / "s")
    for number in range(20):
        taken(store, cell=f"by user|{number}", most=1)
    taken(store, cell="for all", most=1)
    machine.passes(60 * SECOND)
    for _ in range(5):
        store.exchange("api", Request("a"))

    assert (store.look("api")[0].cells, rows(store)) == ({}, 0)


def test_places_of_the_dead_come_back(machine: Machine, tmp_path: Path) -> None:
    """
    Places and waiters of a dead member vanish, at limits for all and at those with a key.
    """
    store = machine.store(tmp_path / "s")
    limit = Concurrency(amount=1)
    for cell in ("places", "places|u1", "places|u2"):
        store.exchange("api", wants(Part(cell, 1, limit), member="dead"))
        store.exchange("api", wants(Part(cell, 1, limit), member="waits"))
    machine.passes(LIFE)
    store.exchange("api", Request("alive"))
    state = store.look("api")[0]

    assert (state.held, state.waits, list(state.members), rows(store)) == ({}, {}, ["alive"], 0)


def test_names_may_be_anything(machine: Machine, tmp_path: Path) -> None:
    """
    Names with zeros, quotes, halves of characters, or ten thousand letters are cells of their own.
    """
    store = machine.store(tmp_path / "s")
    long = "k" * 10_000
    names = ["|\x00", "|'; DROP TABLE cells --", "|\ud800", "|\udc00", f"|{long}1", f"|{long}2", f"{long}1", "é|", "|"]
    first = [taken(store, cell=name) for name in names]
    second = [taken(store, cell=name) for name in names]

    assert (first, second) == ([5] * len(names), [0] * len(names))
    assert store.path.stat().st_size < 200_000


def test_a_limit_may_be_endless(machine: Machine, tmp_path: Path) -> None:
    """
    A burst that would take a million years to come back is a cell like any other, with a key or without.
    """
    store = machine.store(tmp_path / "s")
    limit = Gcra(amount=1, period=10**15, burst=1 << 40)

    assert [taken(store, limit, cell=cell, most=3) for cell in ("all", "all", "by user|u", "by user|u")] == [3] * 4


def test_who_comes_after_another_reads_what_it_wrote_before_it_decides(machine: Machine, tmp_path: Path) -> None:
    """
    After a turn of another process a call takes one look and one write, and after its own the write alone.
    """
    one, two = [machine.store(tmp_path / "a.db") for _ in range(2)]
    part = Part("w", 1, WINDOW)
    for store, member in [(one, "a"), (two, "b"), (one, "a")]:
        store.exchange("s", wants(part, member=member))
    said: list[str] = []
    assert one._file.db is not None
    one._file.db.set_trace_callback(said.append)
    counts = []
    for store, member in [(one, "a"), (two, "b"), (one, "a")]:
        said.clear()
        [answer] = store.exchange("s", wants(part, member=member)).answers
        counts.append(([each.split()[0] for each in said], answer.times))
    one.close()
    two.close()

    assert counts == [(["UPDATE"], 1), ([], 1), (["SELECT", "UPDATE"], 0)]


def test_the_standing_is_one_for_all(machine: Machine, tmp_path: Path) -> None:
    """
    What one writes the others are told, at whichever length; who knows an old one is told and does nothing.
    """
    one, two = machine.store(tmp_path / "s"), machine.store(tmp_path / "s")
    text = '{"é": "' + "x" * 50_000 + '"}'
    one.exchange("api", Request("a", standing=text))
    late = two.exchange("api", wants(Part("cell", 1, WINDOW), member="b", standing="mine"))
    known = two.exchange("api", wants(Part("cell", 1, WINDOW), member="b", version=late.version))

    assert (late.standing, late.answers) == (text, ())
    assert (known.version, known.standing, known.answers[0].times) == (late.version, None, 1)


def test_tops_and_backs(machine: Machine, tmp_path: Path) -> None:
    """
    Units at hand are taken from keyed cells as well, and come back.
    """
    store = machine.store(tmp_path / "s")
    part = Part("by user|u", 4, WINDOW)
    reply = store.exchange("api", Request("a", tops=(Top(part, 1),)))
    store.exchange("api", Request("a", backs=(Back(part, reply.now),)))

    assert (reply.tops[0][0], taken(store, cell="by user|u")) == (4, 5)


# --- the file --------------------------------------------------------------------------------------------------------


def test_nothing_is_opened_before_it_is_used(tmp_path: Path) -> None:
    """
    A store that was never asked has made no file, no lock, no thread; to look makes none either.
    """
    before = threading.active_count()
    store = SqliteStore(tmp_path / "s")
    looked = store.look("api")[0].members, store.services()

    assert (looked, list(tmp_path.iterdir()), threading.active_count()) == (({}, []), [], before)


def test_the_files_are_this_user_s_alone(tmp_path: Path) -> None:
    """
    All files are made with 0600, whatever the umask.
    """
    before = os.umask(0)
    try:
        SqliteStore(tmp_path / "s").exchange("api", Request("a"))
    finally:
        os.umask(before)

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600}
    assert set(modes) >= {"s.cells", "s.cells-wal", "s.cells.lock", "s.cells.lock.next"}


def test_a_ledger_in_the_same_place_has_its_own_file(tmp_path: Path) -> None:
    """
    What the address names stays as it is: facts and cells share no file.
    """
    path = tmp_path / "egressor.db"
    path.write_bytes(b"somebody else's")
    SqliteStore(path).exchange("api", Request("a"))

    assert path.read_bytes() == b"somebody else's"


def foreign(path: Path) -> None:
    """
    Another program's database.
    """
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (n)")


def text(path: Path) -> None:
    """
    No database.
    """
    path.write_bytes(b"dear diary, " * 100)


def newer(path: Path) -> None:
    """
    A later version's.
    """
    SqliteStore(path.with_suffix("")).exchange("api", Request("a"))
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 2")


def linked(path: Path) -> None:
    """
    A link, behind which anything may be.
    """
    path.symlink_to(path.parent / "elsewhere")


def writable(path: Path) -> None:
    """
    One that others may write.
    """
    path.touch()
    path.chmod(0o622)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (foreign, r"s\.cells holds something else \(application id 0\): name another file"),
        (text, r"s\.cells is no file of ours \(file is not a database\): name another file"),
        (newer, r"s\.cells has schema 2, and this version knows 1: name another file"),
        (linked, r"s\.cells is a symbolic link: name a file"),
        (Path.mkdir, r"s\.cells is no file: name a file"),
        (writable, r"others may write s\.cells, which has mode 622: make it 600"),
    ],
)
def test_what_is_not_ours_is_left_alone(make: Callable[[Path], object], why: str, tmp_path: Path) -> None:
    """
    Somebody else's file, a later version's, and places where anybody may write are refused, and not touched.
    """
    path = tmp_path / "s.cells"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    for _ in range(2):
        with pytest.raises(StoreAway, match=why):
            SqliteStore(tmp_path / "s").exchange("api", Request("a"))

    assert before == (path.read_bytes() if path.is_file() else None)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """
    A folder is not made for it: a place that was misspelt would be a store of its own.
    """
    with pytest.raises(StoreAway, match=r"its lock s\.cells\.lock can't be opened: No such file or directory"):
        SqliteStore(tmp_path / "no" / "s").exchange("api", Request("a"))

    assert list(tmp_path.iterdir()) == []


def test_a_file_that_others_may_read_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """
    A mode that somebody has widened is logged, once.
    """
    SqliteStore(tmp_path / "s").exchange("api", Request("a"))
    (tmp_path / "s.cells").chmod(0o644)
    store = SqliteStore(tmp_path / "s")
    for _ in range(3):
        store.exchange("api", Request("a"))
        store._file.close()

    assert [record.getMessage() for record in caplog.records] == [
        "the store: others may read s.cells, which has mode 644"
    ]


def test_a_closed_store_is_away(tmp_path: Path) -> None:
    """
    After its end a store says so; a second end does nothing.
    """
    store = SqliteStore(tmp_path / "s")
    store.exchange("api", Request("a"))
    store.close()
    store.close()
    with pytest.raises(StoreAway, match=r"s\.cells is closed"):
        store.exchange("api", Request("a"))

    assert (store.services(), store.address) == ([], "")


# --- calls -----------------------------------------------------------------------------------------------------------


def test_a_call_is_heard(tmp_path: Path) -> None:
    """
    Who listens is called by name, by itself or by others; addresses that are none, or nobody's, do no harm.
    """
    store, other = SqliteStore(tmp_path / "s"), SqliteStore(tmp_path / "s")
    heard: list[str] = []
    rung = threading.Semaphore(0)

    def called(service: str) -> None:
        heard.append(service)
        rung.release()

    store.listen(called)
    other.call("api é", ["", "nonsense", "10.0.0.1:80", "127.0.0.1:x", "127.0.0.1:99999", "127.0.0.1:1", store.address])
    assert rung.acquire(timeout=30)
    store.close()

    assert heard == ["api é"]


def test_who_listens_in_vain_uses_no_time(tmp_path: Path) -> None:
    """
    A process that nobody calls sleeps in the kernel: it is never switched to.
    """
    program = (
        "import resource, sys, time; from pathlib import Path; from egressor.stores.sqlite import SqliteStore;"
        "from egressor._core.fleet import Request; s = SqliteStore(Path(sys.argv[1])); s.listen(print);"
        "s.exchange('api', Request('a')); a = resource.getrusage(resource.RUSAGE_SELF); time.sleep(1);"
        "b = resource.getrusage(resource.RUSAGE_SELF); print(b.ru_nvcsw - a.ru_nvcsw)"
    )
    run = subprocess.run([sys.executable, "-c", program, tmp_path / "s"], check=True, capture_output=True, timeout=60)

    assert int(run.stdout) < 10


def test_a_step_inside_of_a_step_is_refused(tmp_path: Path) -> None:
    """
    A signal's handler that asks the store in the middle of an exchange is told that it is busy, and the exchange ends.
    """
    seen: list[str] = []

    def interrupted() -> int:
        if not seen:
            seen.append("")
            signal.raise_signal(signal.SIGUSR1)
        return time.monotonic_ns() // 1000

    def ask(*_: object) -> None:
        try:
            store.exchange("api", Request("b"))
        except StoreAway as error:
            seen.append(str(error))

    before = signal.signal(signal.SIGUSR1, ask)
    try:
        store = SqliteStore(tmp_path / "s")
        store.exchange("api", Request("a"))
        store = SqliteStore(tmp_path / "s", now=interrupted)
        reply = store.exchange("api", Request("a"))
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert (reply.members, seen[1:]) == (1, ["s.cells is busy with what a signal has interrupted"])
    assert store.exchange("api", Request("b")).members == 2


def test_a_thread_that_is_stuck_is_waited_for_so_long(tmp_path: Path) -> None:
    """
    While another thread is in the middle of an exchange the store is away for this one, and then it is back.
    """
    inside, over = threading.Event(), threading.Event()

    def stuck() -> int:
        if threading.current_thread() is thread:
            inside.set()
            over.wait(60)
        return time.monotonic_ns() // 1000

    store = SqliteStore(tmp_path / "s", now=stuck)
    thread = threading.Thread(target=store.exchange, args=("api", Request("a")))
    thread.start()
    assert inside.wait(60)
    held = r"another thread has held s\.cells for 0\.25 s"
    # The second where a busy machine has no turn for this one.
    with pytest.raises(StoreAway, match=rf"{held}|this process slept while another thread had s\.cells"):
        store.exchange("api", Request("b"))
    over.set()
    thread.join()

    assert store.exchange("api", Request("b")).members == 2


@pytest.mark.parametrize("waits", ["in line", "behind a thread"])
def test_who_slept_while_it_waited_says_so(waits: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A process that was suspended while others had the file has not found out that they keep it; its other threads try
    for themselves.
    """
    store = SqliteStore(tmp_path / "s")
    store.exchange("api", Request("a"))
    other = Latch(tmp_path / "s.cells.lock")
    if waits == "in line":
        other.take(patience=1)
        nap, naps = time.sleep, iter([0.5])
        # real time: a nap of half a second, as in a suspended process
        monkeypatch.setattr("egressor._host.lock.time.sleep", lambda seconds: nap(max(seconds, next(naps, 0.0))))
    else:
        store._patience = 0.0
        monkeypatch.setattr(store, "_alone", Late())
    with pytest.raises(Slept):
        store.exchange("api", Request("a"))
    other.close()
    monkeypatch.undo()

    assert store.exchange("api", Request("a")).members == 1
    store.close()


class Late:
    """
    A lock whose wait ends late, and in vain.
    """

    def acquire(self, *, timeout: float) -> bool:
        """
        Wait for longer.
        """
        time.sleep(timeout + 0.15)  # real time: as in a suspended process
        return False

    def release(self) -> None:
        """
        It is another thread's.
        """
        raise RuntimeError


def test_the_mark_is_ours() -> None:
    """
    The application's id reads EGRC in the file.
    """
    assert files.APPLICATION.to_bytes(4, "big") == b"EGRC"
