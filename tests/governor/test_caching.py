"""
A cache that processes share, from one process's side: who else makes the call, a file that can't be used, a fork.

Two governors of one store have a file each, as two processes do.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier, Event
from time import time_ns
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from egressor import Governor, WaitTooLong
from egressor.stores.shelf_shared import Sought
from egressor.stores.shelf_sqlite import AnswerFile
from egressor.transports.httpx import AsyncTransport, Transport
from tests.governor.test_processes import in_child

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from egressor.stores.shelf_sqlite import _Way

URL = "https://api.example/a"
CACHE: dict[str, object] = {"cache": {}, "retry": {"attempts": 1}}


class Api:
    """
    An upstream that counts.
    """

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        """
        Answer with how many there were.
        """
        self.count += 1
        body = b'{"n":%d}' % self.count
        return httpx2.Response(200, headers={"content-type": "application/json"}, stream=httpx2.ByteStream(body))


class Here:
    """
    A governor, its client, and its upstream.
    """

    def __init__(self, folder: Path) -> None:
        self.gov = Governor({"api": CACHE}, store=f"sqlite:///{folder}/e.db")
        self.api = Api()
        self.client = httpx2.Client(transport=Transport(self.gov, "api", inner=httpx2.MockTransport(self.api)))

    def get(self, *, deadline: float | None = None) -> str:
        """
        Send the request.
        """
        said = {"egressor": {} if deadline is None else {"deadline": deadline}}
        return self.client.get(URL, extensions=said).text

    def flush(self) -> None:
        """
        Wait until what is kept is written.
        """
        file = self.gov.context.caches._answers
        assert isinstance(file, AnswerFile)
        assert file.flush()

    def close(self) -> None:
        """
        Close all.
        """
        self.client.close()
        self.gov.close()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    """
    A process.
    """
    made = Here(tmp_path)
    yield made
    made.close()


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Here]:
    """
    Another process on the same store.
    """
    made = Here(tmp_path)
    yield made
    made.close()


def test_processes_share_what_they_keep(here: Here, there: Here) -> None:
    """
    What one has got, the other finds, and has in memory from then on.
    """
    first = here.get()
    here.flush()
    second = there.get()
    path = there.gov.context.caches._answers
    assert isinstance(path, AnswerFile)

    assert (first, second, there.api.count) == ('{"n":1}', '{"n":1}', 0)
    with closing(sqlite3.connect(path._reading.path)) as db:
        db.execute("DELETE FROM answers")
        db.commit()
    assert there.get() == '{"n":1}'


def key_of(here: Here) -> str:
    """
    Return the key of the request, as it was claimed.
    """
    here.get()
    here.flush()
    file = here.gov.context.caches._answers
    assert isinstance(file, AnswerFile)
    with closing(sqlite3.connect(file._reading.path)) as db:
        found = db.execute("SELECT key FROM answers").fetchone()[0]
        db.execute("DELETE FROM answers")
        db.commit()
    return str(found)


def test_a_call_that_another_process_makes_is_waited_for(here: Here, there: Here, tmp_path: Path) -> None:
    """
    As long as the deadline allows; once the other has let go without an answer, it is made here.
    """
    key = key_of(here)
    other = AnswerFile(tmp_path / "e.db.answers", wall=lambda: time_ns() // 1000)
    claimed = other.find(Sought("api", lambda _: key, lambda _: False, lambda: True))
    assert claimed.is_mine is True

    with pytest.raises(WaitTooLong, match="did not come in time"):
        there.get(deadline=0.1)
    other.release("api", key)
    found = there.get(deadline=20.0)
    other.close()

    assert (found, there.api.count) == ('{"n":1}', 1)


def test_a_shorter_ttl_holds_for_what_others_keep(tmp_path: Path) -> None:
    """
    Regression: an answer that was kept for an hour was given again after a restart with a shorter ttl.
    """
    api = Api()

    def once(ttl: float) -> str:
        gov = Governor({"api": {**CACHE, "cache": {"ttl": ttl}}}, store=f"sqlite:///{tmp_path}/e.db")
        with httpx2.Client(transport=Transport(gov, "api", inner=httpx2.MockTransport(api))) as client:
            text = client.get(URL).text
        gov.close()
        return text

    first = once(3600.0)
    with closing(sqlite3.connect(tmp_path / "e.db.answers")) as db:
        db.execute("UPDATE answers SET at = at - 600 * 1000000")
        db.commit()

    assert (first, once(1800.0), once(300.0)) == ('{"n":1}', '{"n":1}', '{"n":2}')


class Slow:
    """
    A way to the file on which each look waits until it may go on.
    """

    def __init__(self, way: _Way) -> None:
        self.way = way
        self.begun = Event()
        self.go = Event()
        self.had_to_wait = False

    @property
    def salt(self) -> bytes:
        """
        The file's secret.
        """
        return self.way.salt

    def use(self, *work: Any, **instead: Any) -> Any:
        """
        Do *work*, once somebody lets it.
        """
        self.begun.set()
        self.had_to_wait |= not self.go.wait(20.0)
        return self.way.use(*work, **instead)


def slowed(here: Here) -> Slow:
    """
    Make looks of this process wait.
    """
    here.gov.context.caches._of(here.gov.gate("api"))
    file = here.gov.context.caches._answers
    assert isinstance(file, AnswerFile)
    slow = Slow(file._looks._way)
    looks: Any = file._looks
    looks._way = slow
    return slow


def test_no_look_holds_an_event_loop(here: Here) -> None:
    """
    Regression: each look of a task held the loop, with all of its tasks, for as long as file or server took.
    """
    slow = slowed(here)

    async def main() -> str:
        inner = httpx2.MockTransport(here.api)
        async with httpx2.AsyncClient(transport=AsyncTransport(here.gov, "api", inner=inner)) as client:
            asked = asyncio.create_task(client.get(URL))
            while not slow.begun.is_set():
                await asyncio.sleep(0)
            slow.go.set()
            return (await asked).text

    assert (asyncio.run(main()), slow.had_to_wait) == ('{"n":1}', False)


def test_whoever_is_cancelled_while_it_looks_claims_nothing(here: Here, tmp_path: Path) -> None:
    """
    A claim that comes for a task that has gone is given back at once, and not after three seconds.
    """
    key = key_of(here)
    here.gov.context.caches._known.clear()
    slow = slowed(here)

    async def main() -> None:
        inner = httpx2.MockTransport(here.api)
        async with httpx2.AsyncClient(transport=AsyncTransport(here.gov, "api", inner=inner)) as client:
            asked = asyncio.create_task(client.get(URL))
            while not slow.begun.is_set():
                await asyncio.sleep(0)
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked

    asyncio.run(main())
    file = here.gov.context.caches._answers
    assert isinstance(file, AnswerFile)
    slow.go.set()
    file._scout.close()
    here.flush()

    with closing(sqlite3.connect(tmp_path / "e.db.answers")) as db:
        assert db.execute("SELECT key FROM claims WHERE key = ?", (key,)).fetchall() == []


def test_a_file_that_somebody_holds_stops_nobody(here: Here, there: Here, tmp_path: Path) -> None:
    """
    P11: while nobody can say who makes a call, each process makes its own.
    """
    here.get()
    here.flush()
    there.gov.context.caches._of(there.gov.gate("api"))

    with closing(sqlite3.connect(tmp_path / "e.db.answers", isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        found = there.get()
        db.execute("ROLLBACK")

    assert (found, there.api.count) == ('{"n":1}', 1)


def test_a_file_that_is_no_file_stops_nobody(here: Here, tmp_path: Path) -> None:
    """
    P11: with a folder in the file's place each process has its own memory.
    """
    (tmp_path / "e.db.answers").mkdir()

    assert [here.get(), here.get()] == ['{"n":1}', '{"n":1}']
    assert here.api.count == 1


def test_a_service_has_one_cache_whoever_is_first(here: Here) -> None:
    """
    Threads that come at the same moment find one cache, and so one crowd, and one file.
    """
    gate = here.gov.gate("api")
    together = Barrier(8, timeout=10)

    def come(_: int) -> int:
        together.wait()
        return id(here.gov.context.caches._of(gate))

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            rounds = []
            for _ in range(50):
                here.gov.context.caches._known.clear()
                rounds.append(len(set(pool.map(come, range(8)))))
    finally:
        sys.setswitchinterval(before)

    assert rounds == [1] * 50


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_finds_what_is_kept(here: Here) -> None:
    """
    A fork takes neither locks nor connections along, but the child finds the file.
    """
    here.get()
    here.flush()

    def child() -> None:
        assert here.get() == '{"n":1}'
        assert here.api.count == 1
        os._exit(0)

    assert in_child(child) == 0
    assert here.get() == '{"n":1}'
