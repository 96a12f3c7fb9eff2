"""
A server that is gone, frozen, slow, full, empty or somebody else: away in bounded time, and back by itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from egressor._core.limits import Sliding
from egressor.stores import PATIENCE, Slept, StoreAway
from egressor.stores.redis import RedisStore
from egressor.stores.redis_line import Line
from tests.stores.redis_scene import SECOND, away, called, granted, is_back, wanting
from tests.stores.servers import KINDS, Network, Server, eventually, network, running


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """
    A server of each kind, for one test.
    """
    with running(kind=request.param) as server:
        yield server


@pytest.fixture
def store(server: Server) -> Iterator[RedisStore]:
    """
    A store in it.
    """
    store = RedisStore(server.address)
    eventually(lambda: is_back(store, "other"), "it answers")
    yield store
    store.close()


@pytest.fixture
def between(server: Server) -> Iterator[Network]:
    """
    A network before it.
    """
    with network(server) as between:
        yield between


@pytest.fixture
def far(between: Network) -> Iterator[RedisStore]:
    """
    A store behind that.
    """
    store = RedisStore(between.address)
    eventually(lambda: is_back(store, "other"), "it answers")
    yield store
    store.close()


def test_a_server_that_stops_and_comes_back_empty(server: Server, store: RedisStore) -> None:
    """
    Killed and started again without its data: away meanwhile, then right again from nothing.
    """
    assert granted(store, wanting(12)) == 10
    server.stop()
    said = [away(store) for _ in range(3)]
    server.start()
    eventually(lambda: is_back(store), "it is back")

    assert {f"Redis at 127.0.0.1:{server.port}: the connection was refused"} >= set(said[1:])
    assert (granted(store, wanting(12)), store.services()) == (9, ["api"])


def test_a_server_that_was_restarted_in_between_is_not_noticed(server: Server, store: RedisStore) -> None:
    """
    A connection that died while nobody used it is found out before it is used.
    """
    for _ in range(3):
        server.stop()
        server.start()
        eventually(lambda: is_back(store), "it is back")
    server.stop()
    server.start()

    assert granted(store, wanting(member="z")) == 1


def test_a_frozen_server(server: Server, store: RedisStore) -> None:
    """
    One that keeps its connections and says nothing: away, each time in bounded time, and back when it goes on.
    """
    with server.frozen():
        said = [away(store) for _ in range(3)]
    eventually(lambda: is_back(store), "it is back")

    assert {f"Redis at 127.0.0.1:{server.port}: it did not answer in time"} == set(said)


def test_many_threads_on_a_frozen_server(server: Server, store: RedisStore) -> None:
    """
    However many ask at once, all are told, and nothing is left behind.
    """
    said: list[str] = []
    with server.frozen():
        threads = [threading.Thread(target=lambda: said.append(away(store))) for _ in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    eventually(lambda: is_back(store), "it is back")

    assert len(said) == 40


def test_a_network_that_resets(between: Network, far: RedisStore) -> None:
    """
    Whatever connections break, what was counted is right: no exchange counts twice that was answered.
    """
    taken = 0
    for _ in range(10):
        between.reset()
        eventually(lambda: is_back(far, "other"), "a line is open")
        taken += granted(far)
    between.reset()
    eventually(lambda: is_back(far, "other"), "a line is open")

    assert (taken, granted(far)) == (10, 0)


def test_a_late_answer_is_nobody_elses(between: Network, far: RedisStore) -> None:
    """
    Who gave up on an answer left its connection, so that the next one reads its own.
    """
    between.delay = 3 * PATIENCE
    away(far)
    between.delay = 0.0
    eventually(lambda: is_back(far, "other"), "it is back")
    other = Sliding(amount=3, period=600 * SECOND)

    reply = far.exchange("api", wanting(5, other, "3/minute", "b"))
    assert (reply.cells[0][0], reply.answers[0].times) == ("3/minute", 3)


def test_an_answer_that_comes_in_drops(between: Network, far: RedisStore) -> None:
    """
    An answer of which each byte is in time, and the whole is not, counts as late.
    """
    between.piece, between.delay = 1, PATIENCE / 8
    said = away(far)
    between.piece, between.delay = 0, 0.0
    eventually(lambda: is_back(far, "other"), "it is back")

    assert said.endswith("it did not answer in time")


def test_an_answer_in_pieces_is_read(between: Network, far: RedisStore) -> None:
    """
    However the network cuts an answer, it is the same.
    """
    between.piece = 7

    assert granted(far, wanting(12)) == 10


def test_a_deaf_network(between: Network, far: RedisStore) -> None:
    """
    One that takes everything and brings nothing back.
    """
    between.is_deaf = True
    said = [away(far) for _ in range(2)]
    between.reset()
    between.is_deaf = False
    eventually(lambda: is_back(far, "other"), "it is back")

    assert all(each.endswith("it did not answer in time") for each in said)


def test_a_line_that_is_slow_to_open_is_there_later(server: Server) -> None:
    """
    Opening that takes longer than an exchange may is gone on with, and the next one finds it open.
    """
    with network(server) as between:
        password = "slow-to-open"
        with server.client() as client:
            client.config_set("requirepass", password)
        between.delay = 1.5 * PATIENCE
        store = RedisStore(between.address.replace("redis://", f"redis://:{password}@"))
        said = away(store)
        eventually(lambda: between.count, "a line is being opened")
        between.delay = 0.0
        eventually(lambda: is_back(store), "it is open")
        store.close()

    assert said.endswith("no connection yet")


def test_scripts_that_are_forgotten_all_the_time(server: Server, store: RedisStore) -> None:
    """
    ``SCRIPT FLUSH`` in a loop shows nowhere.
    """
    done = threading.Event()

    def flush() -> None:
        with server.client() as client:
            while not done.is_set():
                client.script_flush()

    thread = threading.Thread(target=flush)
    thread.start()
    counts: list[int] = []
    try:
        while len(counts) < 200:
            counts.append(granted(store, wanting(limit=Sliding(amount=150, period=600 * SECOND))))
    finally:
        done.set()
        thread.join()

    assert sum(counts) == 150


def test_a_server_that_knows_no_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Where ``EVALSHA`` is not allowed or not known the text is sent, each time.
    """
    for line in ("user default on nopass ~* &* +@all -evalsha", "rename-command EVALSHA ''"):
        with running(line) as server:
            store = RedisStore(server.address)
            eventually(partial(is_back, store, "other"), "it answers")

            assert [granted(store, wanting(12)) for _ in range(2)] == [10, 0]
            assert not store._exchange.is_hashed
            store.close()


def test_a_full_server(server: Server, store: RedisStore) -> None:
    """
    Out of memory under noeviction: away, nothing half done, and back when there is room.
    """
    assert granted(store, wanting(3)) == 3
    with server.client() as client:
        client.config_set("maxmemory", 1)
        said = [away(store), away(store)]
        client.config_set("maxmemory", 0)

    assert {f"Redis at 127.0.0.1:{server.port}: its memory is full"} == set(said)
    assert granted(store, wanting(12)) == 7


def test_a_replica_is_refused(server: Server, store: RedisStore) -> None:
    """
    A server that became a replica is away, as it may not be written to.
    """
    with server.client() as client:
        client.replicaof("127.0.0.1", 1)
        said = away(store)
        client.replicaof("NO", "ONE")
    eventually(lambda: is_back(store), "it is back")

    assert said.endswith("it is a replica")


def test_whoever_listens_hears_again_after_a_restart(server: Server, store: RedisStore) -> None:
    """
    The line of calls is opened again, for ever.
    """
    heard: list[str] = []
    store.listen(heard.append)
    eventually(lambda: called(store, "one", store, heard), "it is called")
    server.stop()
    store.call("lost", [store.address])
    server.start()
    eventually(lambda: called(store, "two", store, heard), "it is called again")

    assert {"one", "two"} == set(heard)


def test_whoever_listens_notices_a_line_that_is_dead(
    between: Network, far: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A line that nothing comes from any more is asked whether it lives, and opened anew.
    """
    monkeypatch.setattr("egressor.stores.redis_ear._PING", 0.1)
    heard: list[str] = []
    far.listen(heard.append)
    eventually(lambda: called(far, "one", far, heard), "it is called")
    before = between.count
    between.is_deaf = True
    eventually(lambda: between.count > before, "it is opened anew")
    between.is_deaf = False
    between.reset()

    eventually(lambda: called(far, "two", far, heard), "it is called again")


def test_an_exception_thrown_in_ends_the_line(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Ctrl-C between question and answer: that connection is closed, and nobody reads what comes on it.
    """
    asked: list[Line] = []
    read = Line._read

    def interrupted(line: Line) -> object:
        asked.append(line)
        raise KeyboardInterrupt

    monkeypatch.setattr(Line, "_read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        granted(store)
    monkeypatch.setattr(Line, "_read", read)

    assert [line._connection.is_connected for line in asked] == [False]
    assert granted(store, wanting(12)) == 9


@pytest.mark.parametrize(("slept", "kind"), [(0.0, StoreAway), (1.5, Slept)])
def test_who_slept_while_it_asked_says_so(
    slept: float, kind: type[StoreAway], server: Server, store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A process that was suspended while it asked has not found out that the server is away.
    """
    now = [time.monotonic()]
    monkeypatch.setattr("egressor.stores.redis.monotonic", lambda: now[0])
    ask = store._way.ask

    def suspended(*args: Any, **options: Any) -> Any:
        now[0] += slept
        return ask(*args, **options)

    monkeypatch.setattr(store._way, "ask", suspended)
    with server.frozen(), pytest.raises(StoreAway) as caught:
        granted(store)

    assert type(caught.value) is kind
