"""
A PostgreSQL of Debian's on a socket of its own, and what tests of ledgers share.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from egressor.ledger import Pick
from egressor.ledger.entry import Entry, made

if TYPE_CHECKING:
    from egressor.ledger.history import History

NOW = 1_795_000_000_000_000
SECOND = 1_000_000
DAY = 86_400 * SECOND


def entry(number: int = 0, **options: Any) -> Entry:
    """
    An entry that happened *number* seconds after `NOW`.
    """
    values = {"kind": "operator", "what": "pause", "service": "api", "who": "somebody"}
    return made(at=NOW + number * SECOND, **{**values, **options})


def entries(count: int, **options: Any) -> list[Entry]:
    """
    That many entries, a second apart.
    """
    return [entry(number, **options) for number in range(count)]


class Postgres:
    """
    A server that can be stopped, frozen and started again.

    Attributes:
        folder: Its data, its socket and its log.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._user = "postgres" if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        self._names = 0
        if self._user is not None:
            shutil.chown(folder, self._user)
        name = self._user or pwd.getpwuid(os.geteuid()).pw_name
        command = [_program("initdb"), "-D", str(folder / "data"), "-U", name, "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(command, check=True, user=self._user, cwd=folder, capture_output=True)
        self._name = name

    def address(self, database: str = "postgres") -> str:
        """
        Where a ledger finds *database*.
        """
        return f"postgresql://{self._name}@/{database}?host={self.folder}&port=5432"

    def new_database(self) -> str:
        """
        Make an empty database, and return its address.
        """
        self._names += 1
        with psycopg.connect(self.address(), autocommit=True) as db:
            db.execute(f"CREATE DATABASE d{self._names}".encode())
        return self.address(f"d{self._names}")

    def start(self) -> None:
        """
        Start it, and wait until it answers.
        """
        command = [_program("postgres"), "-D", str(self.folder / "data"), "-k", str(self.folder), "-p", "5432"]
        self._process = subprocess.Popen(
            [*command, "-c", "listen_addresses=", "-c", "max_connections=40"],
            user=self._user,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for _ in range(3_000):
            try:
                psycopg.connect(self.address()).close()
            except psycopg.Error:
                time.sleep(0.02)  # real time: the server begins
            else:
                return
        message = "PostgreSQL did not answer within a minute"
        raise RuntimeError(message)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """
        Stop it: SIGINT ends its sessions, SIGQUIT is a crash.
        """
        if self._process is not None:
            self._process.send_signal(how)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                # Its last checkpoint, on a busy disk. Whoever comes next is to find it gone, as it was asked for.
                self._process.send_signal(signal.SIGQUIT)
                self._process.wait(60)
            self._process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """
        Freeze it with all of its sessions for the length of the block.
        """
        assert self._process is not None
        groups = {self._process.pid, *self._children()}
        for pid in groups:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in groups:
                os.kill(pid, signal.SIGCONT)

    def _children(self) -> list[int]:
        assert self._process is not None
        path = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]


def _program(name: str) -> str:
    found = [*sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), *filter(None, [shutil.which(name)])]
    assert found, f"{name} is not installed: scripts/debian-packages"
    return str(found[0])


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """
    A server for the length of the block.
    """
    # Not pytest's folder: PostgreSQL refuses to be root, and another account can't go through that one. Its name is
    # short, as those of sockets have to be.
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        Path(folder).chmod(0o755)
        server = Postgres(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop(signal.SIGQUIT)


def ids(found: Sequence[Entry]) -> list[str]:
    """
    The ids of *found*, in order.
    """
    return [each.id for each in found]


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """
    Wait until *condition* holds.
    """
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds:g} s: {condition}"
        time.sleep(0.01)  # real time: another thread or process is at work


def numbers(history: History) -> list[int]:
    """
    The numbers that notes of *history* carry, oldest first.
    """
    found = history.read(Pick(limit=100_000, is_newest=False))
    return [each.data["n"] for each in found]


def note(history: History, *given: int) -> None:
    """
    Take a note for each number.
    """
    for number in given:
        history.note("operator", "pause", service="api", data={"n": number})
