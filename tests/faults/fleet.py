"""
A fleet of real processes on one store, and judges that know nothing of the limiter: they read the log.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from egressor.stores.opening import open_store
from tests.stores.servers import running

if TYPE_CHECKING:
    from egressor._core.fleet import State

CHILD = Path(__file__).with_name("child.py")
SECOND = 1_000_000
SLIP = 100_000
"""
How much later than at its admission a call may write its line, in microseconds: many processes share few cores.
"""
_PATIENCE = 20.0


def eventually(is_so: Callable[[], object], what: str, patience: float = _PATIENCE) -> None:
    """
    Wait until *is_so*: other processes take their time.
    """
    until = time.monotonic() + patience
    while not is_so():
        assert time.monotonic() < until, f"not within {patience:g} s: {what}"
        time.sleep(0.01)  # real time: another process goes on


class Line(NamedTuple):
    """
    A line of the log.
    """

    at: int
    word: str
    units: int


class Member:
    """
    A process with a governor of its own.
    """

    def __init__(self, log: Path, store: str, services: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        surroundings = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
        self.process = subprocess.Popen(
            [sys.executable, str(CHILD), str(log), store, json.dumps(services), json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=surroundings,
        )
        # What it has logged, once it has ended.
        self.said = ""
        self.is_ended = False

    def tell(self, line: str) -> None:
        """
        Have *line* done; `hear` has the answer.
        """
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> Any:
        """
        Return the answer to the oldest line that has had none.
        """
        assert self.process.stdout is not None
        answer = self.process.stdout.readline()
        if not answer:
            assert self.process.stderr is not None
            message = f"a member is gone: {self.process.stderr.read()}"
            raise AssertionError(message)
        return json.loads(answer)

    def ask(self, line: str) -> Any:
        """
        Return what *line* comes to.
        """
        self.tell(line)
        return self.hear()

    def signal(self, number: int) -> None:
        """
        Send a signal.
        """
        self.process.send_signal(number)

    def kill(self) -> None:
        """
        End it at once, in the middle of whatever it does.
        """
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """
        End it, stopped or not, and close what leads to it.
        """
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        if not self.is_ended:
            self.is_ended = True
            self.said = self.process.communicate()[1]


def now() -> int:
    """
    Return the time of the log, in microseconds.
    """
    return time.monotonic_ns() // 1000


def run_for(seconds: float) -> None:
    """
    Let the processes go on for so long.
    """
    time.sleep(seconds)  # real time: what is judged is what happens in it


class Fleet:
    """
    Processes that share a store.

    Args:
        folder: Where the log is.
        store: The store's address.
        services: What all of them are governed by.
        **settings: Further settings of theirs.
    """

    def __init__(self, folder: Path, store: str, services: Mapping[str, Any], **settings: Any) -> None:
        self.log = folder / "log"
        self.store = store
        self.members: list[Member] = []
        self._all: list[Member] = []
        self._services = services
        self._settings = settings

    def start(self, number: int) -> list[Member]:
        """
        Start so many more; they are ready.
        """
        new = [Member(self.log, self.store, self._services, self._settings) for _ in range(number)]
        self._all += new
        self.members += new
        for each in new:
            each.tell("0")
        for each in new:
            each.hear()
        return new

    def lose(self, member: Member) -> None:
        """
        Kill *member*.
        """
        self.members.remove(member)
        member.kill()

    def all(self, line: str) -> list[Any]:
        """
        Have *line* done by all of them at once.
        """
        for each in self.members:
            each.tell(line)
        return [each.hear() for each in self.members]

    def end(self) -> None:
        """
        End all of them.
        """
        for each in self._all:
            each.end()

    def has_lost(self) -> bool:
        """
        End all of them, and tell whether one has ever taken the store for away.
        """
        self.end()
        return any("the store is away" in each.said for each in self._all)

    def lines(self, *words: str) -> list[Line]:
        """
        Return what was logged, by its time: of these words, or of all.
        """
        return [line for line in read_log(self.log) if not words or line.word in words]


def read_log(path: Path) -> list[Line]:
    """
    Return the lines of the log at *path*, by their time; each is whole, as it is one write.
    """
    text = path.read_text() if path.exists() else ""
    return sorted(Line(int(at), word, int(units)) for at, word, units in map(str.split, text.splitlines()))


class Place(NamedTuple):
    """
    A store, and a way to take it from everybody.

    Attributes:
        address: Its address.
        away: A block in which nobody can use it.
    """

    address: str
    away: Callable[[], AbstractContextManager[object]]


@contextmanager
def sqlite_place(folder: Path) -> Iterator[Place]:
    """
    A store in a file of *folder*.
    """
    path = folder / "store.db"
    yield Place(f"sqlite:///{path}", partial(_locked, path.with_name("store.db.cells.lock")))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def redis_place(folder: Path) -> Iterator[Place]:
    """
    A server with nothing in it.
    """
    with running() as server:
        yield Place(server.address, server.frozen)


def look(store: str, service: str = "s") -> State:
    """
    Return what is shared of *service*, as the store has it.
    """
    opened = open_store(store)
    assert opened is not None
    try:
        return opened.look(service)[0]
    finally:
        opened.close()


def held(store: str, service: str = "s") -> int:
    """
    Return how many places the store says are held, by whomever.
    """
    return sum(sum(row.values()) for row in look(store, service).held.values())


# Where some have lost the store and others haven't, or not yet, the shares of those come on top of what the others use:
# docs/stores.md says by how much at most. So a test in which that happens judges a window by twice its limit, and
# beside it the same is tried with ``on_store_loss = "closed"``, or by the pure function, where nothing comes on top.
ON_TOP = 2


def comes_back(lines: Callable[[], Sequence[Line]], since: int, units: int) -> None:
    """
    Wait until so many *units* are let through in a second that begins at *since* or later.
    """
    eventually(lambda: most([line for line in lines() if line.at >= since], SECOND) >= units, f"{units} in a second")


def uses(lines: Callable[[], Sequence[Line]], units: float, window: int) -> None:
    """
    Wait until a stretch of *window* microseconds has had so many *units*: a busy machine gets there later.
    """
    eventually(lambda: most(lines(), window) >= units, f"{units} in {window / SECOND} s")


def most(lines: Sequence[Line], window: int) -> int:
    """
    Return the most units in any half-open window of that length, by looking at every one that begins with a line.
    """
    times = [line.at for line in lines]
    sums = [0]
    for line in lines:
        sums.append(sums[-1] + line.units)
    return max((sums[bisect_left(times, at + window)] - sums[first] for first, at in enumerate(times)), default=0)


def most_aligned(lines: Sequence[Line], window: int, *, slip: int = SLIP) -> int:
    """
    Return the most units that a window must have had which begins with a multiple of *window* of the wall clock.

    A line in the first *slip* of a window may have been admitted in the one before: so it counts there as long as that
    one has room.
    """
    shift = time.time_ns() // 1000 - time.monotonic_ns() // 1000
    sure: Counter[int] = Counter()
    early: Counter[int] = Counter()
    for line in lines:
        number, rest = divmod(line.at + shift, window)
        (sure if rest >= slip else early)[number] += line.units
    if not lines:
        return 0
    numbers = range(min(sure | early), max(sure | early) + 1)

    def is_enough(most: int) -> bool:
        room = 0
        for number in numbers:
            units = sure[number] + max(0, early[number] - room)
            if units > most:
                return False
            room = most - units
        return True

    return next(most for most in range(max(sure.values(), default=0), 1 << 30) if is_enough(most))


class Stop(NamedTuple):
    """
    A time in which processes were suspended, in microseconds of the log's clock.

    Attributes:
        since: When the first of them was stopped.
        until: When all of them go on.
        calls: How many calls they may have had in hand: one for each of their threads.
    """

    since: int
    until: int
    calls: int


def least(
    judge: Callable[[Sequence[Line], int], int], lines: Sequence[Line], window: int, stops: Sequence[Stop]
) -> int:
    """
    Return what *judge* finds at least where each call in hand at a stop may have been admitted just before it.

    Whoever is stopped between a call's admission and its line writes that as it goes on. Such a line counts at the
    stop, where there has to be room for it as well; so this lets through nothing that no admission explains.
    """
    lines = list(lines)
    for stop, following in zip(stops, [*stops[1:], None], strict=True):
        late = [n for n, line in enumerate(lines) if stop.until <= line.at < stop.until + SLIP][: stop.calls]
        ways = []
        for number in range(len(late) + 1):
            early = set(late[:number])
            ways.append(sorted(line._replace(at=stop.since) if n in early else line for n, line in enumerate(lines)))
        # What comes after the next stop says nothing of this one.
        end = len(lines) if following is None else bisect_left([line.at for line in lines], following.since)
        lines = min(ways, key=lambda way, end=end: judge(way[:end], window))  # type: ignore[misc]
    return judge(lines, window)
