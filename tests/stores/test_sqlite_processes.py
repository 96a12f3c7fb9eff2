"""
The SQLite store between real processes: those that are killed, and those that fork.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from egressor._core.fleet import Part, Rank, Request, Want
from egressor._core.limits import Concurrency, Sliding
from egressor.stores.sqlite import SqliteStore

SECOND = 1_000_000
RUNS_FOR = 60.0 if os.environ.get("EGRESSOR_SOAK") else 4.0
BOUNDS = {"window": 50, "bucket": 55, "by_user|u1": 50}
# What a process gets it writes down at once, in a line that is written whole: until when it may be used, and the unit.
HAMMERS = """
import os, sys, time
from pathlib import Path
from egressor._core.fleet import Part, Rank, Request, Want
from egressor._core.limits import Concurrency, Gcra, Sliding
from egressor.stores import StoreAway
from egressor.stores.sqlite import SqliteStore
folder, member = Path(sys.argv[1]), sys.argv[2]
store = SqliteStore(folder / "s")
log = os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
limits = {
    "window": Sliding(amount=50, period=1_000_000),
    "bucket": Gcra(amount=50, period=1_000_000, burst=5),
    "by user|u1": Sliding(amount=50, period=1_000_000),
}
places = Part("places", 1, Concurrency(amount=2))
turn = 0
while True:
    turn += 1
    for cell, limit in limits.items():
        want = Want(Rank(1, 0, 1 << 52), (Part(cell, 1, limit), places))
        try:
            reply = store.exchange("api", Request(member, wants=(want,), places=(("places", 0),)))
        except StoreAway as error:
            os.write(log, f"away {member} {error}\\n".encode())
            continue
        if reply.answers[0].times:
            os.write(log, f"{cell.replace(' ', '_')} {reply.now} {reply.answers[0].until}\\n".encode())
"""


@contextmanager
def crowd(folder: Path, size: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """
    So many processes that never stop asking.
    """
    members = [hammer(folder, number) for number in range(size)]
    try:
        yield members
    finally:
        for each in members:
            each.kill()
            each.wait()


def hammer(folder: Path, number: int) -> subprocess.Popen[bytes]:
    """
    One of them.
    """
    return subprocess.Popen([sys.executable, "-c", HAMMERS, folder, f"member {number}"])


def most_at_will(grants: list[tuple[int, int]], period: int) -> int:
    """
    The most uses in any window, if each is made when it hurts most: at any time from its grant to its end.
    """
    ends = sorted({until for _, until in grants} | {at + period for at, _ in grants})
    return max((sum(at < end and until > end - period for at, until in grants) for end in ends), default=0)


def test_no_window_holds_too_much_whoever_is_killed(tmp_path: Path) -> None:
    """
    Four processes ask without a pause, one is killed again and again: no window is overdrawn, and nobody is away.
    """
    with crowd(tmp_path, 4) as members:
        end, number = time.monotonic() + RUNS_FOR, 4
        while time.monotonic() < end:
            time.sleep(0.3)  # real time: they take their turns
            members[0].kill()
            members[0].wait()
            members[:] = [*members[1:], hammer(tmp_path, number)]
            number += 1
    lines = [line.split(" ") for line in (tmp_path / "log").read_text().splitlines()]
    by_cell: dict[str, list[tuple[int, int]]] = {}
    for cell, at, until in lines:
        by_cell.setdefault(cell, []).append((int(at), int(until)))
    worst = {cell: most_at_will(grants, SECOND) for cell, grants in by_cell.items()}
    pauses = [two - one for one, two in pairwise(sorted(at for at, _ in by_cell["bucket"]))]

    assert {cell: most for cell, most in worst.items() if most > BOUNDS[cell]} == {}
    assert worst.keys() == BOUNDS.keys()
    assert min(len(grants) for grants in by_cell.values()) > 100
    assert max(pauses) < 10 * SECOND
    with closing(sqlite3.connect(tmp_path / "s.cells")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def in_child(work: Callable[[], object]) -> int:
    """
    Run *work* in a forked child, which ends as a program does that Python ends, and return its pid.
    """
    pid = os.fork()
    if not pid:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def ask(store: SqliteStore, member: str) -> int:
    """
    How many units *member* gets at once of a limit that gives fifty.
    """
    wants = (Want(Rank(1, 0, 1 << 52), (Part("cell", 1, Sliding(amount=50, period=3_600 * SECOND)),)),)
    return store.exchange("api", Request(member, wants=wants)).answers[0].times


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # from 3.12 on Python warns of forks where threads are
def test_eight_children_of_one_that_had_it_open(tmp_path: Path) -> None:
    """
    Preloaded and forked, each child opens the file anew: all count in one cell, and the file stays whole.
    """
    store = SqliteStore(tmp_path / "s")
    store.listen(print)
    first, address = ask(store, "parent"), store.address
    told = os.pipe()

    def child() -> None:
        got = sum(ask(store, f"child {os.getpid()}") for _ in range(10))
        os.write(told[1], f"{got} {store.address}\n".encode())

    children = [in_child(child) for _ in range(8)]
    codes = [os.waitpid(pid, 0)[1] for pid in children]
    os.close(told[1])
    with os.fdopen(told[0]) as pipe:
        lines = [line.split() for line in pipe]
    counts = [int(count) for count, _ in lines]

    assert (codes, first + sum(counts), ask(store, "parent")) == ([0] * 8, 50, 0)
    assert len({address, *(where for _, where in lines)}) == 9
    store.close()
    with closing(sqlite3.connect(tmp_path / "s.cells")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # from 3.12 on Python warns of forks where threads are
def test_a_parent_that_ends_leaves_its_children_the_file(tmp_path: Path) -> None:
    """
    Regression: SQLite believes in a child that it holds the parent's locks; when the parent closed, the WAL went.
    """
    store = SqliteStore(tmp_path / "s")
    ask(store, "parent")
    ready, go = os.pipe(), os.pipe()

    def child() -> None:
        assert ask(store, "child") == 1
        os.write(ready[1], b".")
        os.read(go[0], 1)
        assert ask(store, "child") == 1

    pid = in_child(child)
    os.read(ready[0], 1)
    store.close()
    os.write(go[1], b".")
    assert os.waitpid(pid, 0)[1] == 0
    for end in (*ready, *go):
        os.close(end)
    left = sum(ask(SqliteStore(tmp_path / "s"), "later") for _ in range(60))

    assert left == 47


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # from 3.12 on Python warns of forks where threads are
def test_a_fork_waits_for_an_exchange_of_another_thread(tmp_path: Path) -> None:
    """
    Forks while a thread never stops asking: every child can ask, and the thread goes on.
    """
    store = SqliteStore(tmp_path / "s")
    over = threading.Event()
    turns = 0

    def go_on() -> None:
        nonlocal turns
        while not over.is_set():
            store.exchange("api", Request("thread"))
            turns += 1

    thread = threading.Thread(target=go_on)
    thread.start()
    codes = []
    for _ in range(20):
        pid = in_child(lambda: store.exchange("api", Request("child")))
        codes.append(os.waitpid(pid, 0)[1])
    before = turns
    while turns == before and thread.is_alive():
        time.sleep(0.001)  # real time: the thread has its turn
    over.set()
    thread.join()

    assert (codes, turns > before) == ([0] * 20, True)


def test_a_fork_that_python_knows_nothing_of(tmp_path: Path) -> None:
    """
    Where a C library forks, the child notices by its number, and leaves its copy of the connection alone.
    """
    store = SqliteStore(tmp_path / "s")
    ask(store, "parent")
    pid = ctypes.PyDLL(None).fork()
    if not pid:
        code = 1
        try:
            code = 0 if ask(store, "child") == 1 else 2
        finally:
            os._exit(code)

    assert (os.waitpid(pid, 0)[1], ask(store, "parent")) == (0, 1)
    with closing(sqlite3.connect(tmp_path / "s.cells")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_places_are_never_over_and_come_back(tmp_path: Path) -> None:
    """
    Of those who ask at once as many hold a place as there are; those of a killed process come back by themselves.
    """
    program = (
        "import sys, time; from pathlib import Path; from egressor._core.fleet import *\n"
        "from egressor._core.limits import Concurrency; from egressor.stores.sqlite import SqliteStore\n"
        "want = Want(Rank(1, 0, 1 << 52), (Part('places', 1, Concurrency(amount=2)),))\n"
        "store = SqliteStore(Path(sys.argv[1]))\n"
        "print(store.exchange('api', Request(sys.argv[2], wants=(want,))).answers[0].times, flush=True)\n"
        "time.sleep(600)"
    )
    crowd = [
        subprocess.Popen([sys.executable, "-c", program, tmp_path / "s", str(each)], stdout=subprocess.PIPE)
        for each in range(4)
    ]
    got = []
    for each in crowd:
        assert each.stdout is not None
        got.append(int(each.stdout.readline()))
    for each in crowd:
        each.send_signal(signal.SIGKILL)
        each.communicate()
    store = SqliteStore(tmp_path / "s")
    held: list[int] = []
    want = Want(Rank(1, 0, 1 << 52), (Part("places", 1, Concurrency(amount=2)),))
    while not held or not held[-1]:
        held.append(store.exchange("api", Request("later", wants=(want,))).answers[0].times)
        time.sleep(0.05)  # real time: a member counts as alive for five seconds

    assert (sum(got), held[0], held[-1]) == (2, 0, 1)
