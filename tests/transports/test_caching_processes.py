"""
Answers that processes of one host or of a fleet share, by real processes: one call for all, and one that is killed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from threading import Event, Semaphore
from typing import TYPE_CHECKING, Any

import pytest

from tests.stores.servers import running
from tests.transports.upstream import Upstream, as_json, stream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHILD = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
import httpx2
from egressor import Governor
from egressor.stores.shelf_redis import AnswerServer
from egressor.transports.httpx import Transport

# Whoever finds no time to look makes the call itself: here, on a busy machine, nobody is to.
AnswerServer.__init__.__kwdefaults__["busy"] = 60.0
store, url, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
services = {"api": {"cache": {}, "retry": {"attempts": 1}, "timeout": 60}}
with Governor(services, store=store) as gov, httpx2.Client(transport=Transport(gov, "api"), timeout=60) as client:
    print("ready", flush=True)
    sys.stdin.readline()
    with ThreadPoolExecutor(count) as pool:
        found = list(pool.map(lambda _: client.get(url).content.decode(), range(count)))
print(json.dumps(found), flush=True)
"""


class Child:
    """
    A process that sends *count* identical requests at once, when it is told to.
    """

    def __init__(self, store: str, url: str, count: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, store, url, str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        """
        Return its next line.
        """
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go(self) -> None:
        """
        Let it send.
        """
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """
    The address of a store that is empty.
    """
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/e.db"
    else:
        with running() as server:
            yield server.address


@contextmanager
def children(store: str, url: str, counts: list[int]) -> Iterator[list[Child]]:
    """
    Run children on one store, each of which is ready to send.
    """
    made = [Child(store, url, count) for count in counts]
    try:
        assert [each.line() for each in made] == ["ready"] * len(made)
        yield made
    finally:
        for each in made:
            each.process.kill()
            each.process.communicate()


def until_received(upstream: Upstream, count: int) -> None:
    """
    Wait until so many requests have come.
    """
    while len(upstream.received) < count:
        Event().wait(0.005)  # real time: other processes are at work


def test_fifty_identical_calls_of_five_processes_make_one(store: str, upstream: Upstream) -> None:
    """
    Whichever process is first makes the call; all others, and a later process, get its answer.
    """
    gate = Semaphore(0)
    url = upstream.script("/a", stream(b'{"n":', b"1}", gate=gate, kind="application/json"), as_json({"n": 2}))

    with children(store, url, [10] * 5) as made:
        for each in made:
            each.go()
        until_received(upstream, 1)
        gate.release(5)
        found = [json.loads(each.line()) for each in made]
    with children(store, url, [1]) as late:
        late[0].go()
        again = json.loads(late[0].line())

    assert found == [['{"n":1}'] * 10] * 5
    assert again == ['{"n":1}']
    assert len(upstream.received) == 1


def test_a_process_that_is_killed_is_replaced(store: str, upstream: Upstream) -> None:
    """
    The first process dies in the midst of the call: after its claim's end another one makes it.
    """
    gate = Semaphore(0)

    def first(handler: Any) -> None:
        gate.acquire()
        handler.close_connection = True

    url = upstream.script("/a", first, as_json({"n": 1}))

    with children(store, url, [1, 3]) as (victim, heir):
        victim.go()
        until_received(upstream, 1)
        heir.go()
        victim.process.kill()
        found = json.loads(heir.line())
        gate.release()

    assert found == ['{"n": 1}'] * 3
    assert len(upstream.received) == 2
