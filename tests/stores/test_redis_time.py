"""
A server whose clock steps: the fleet's time goes on.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from egressor._core.limits import Fixed, Gcra
from egressor.stores import redis
from egressor.stores.redis import RedisStore
from egressor.stores.redis_words import Moment
from tests.stores.redis_scene import SECOND, away, granted, is_back, wanting
from tests.stores.servers import KINDS, Server, eventually, running

HOUR = 3_600 * SECOND


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


class Shim:
    """
    A server's clock that steps, as the script reads it.
    """

    def __init__(self, store: RedisStore) -> None:
        self.store = store
        self._text = store._exchange.text

    def step(self, seconds: float) -> None:
        """
        From now on the script reads a time so much later.
        """
        script = self.store._exchange
        script.text = self._text.replace(
            b"local raw = stamp[1] *", f"local raw = {int(seconds * SECOND)} + stamp[1] *".encode()
        )
        assert script.text != self._text or not seconds
        script.sha = hashlib.sha1(script.text, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("hours", [1, -1])
def test_a_server_whose_clock_steps(hours: int, store: RedisStore, caplog: pytest.LogCaptureFixture) -> None:
    """
    An hour forward frees no limit, an hour back locks nobody out; the fleet's time goes on, and it is logged once.
    """
    bucket = Gcra(amount=1, period=SECOND // 5, burst=1)
    day = Fixed(amount=3, period=86_400 * SECOND)
    granted(store, wanting(10))
    granted(store, wanting(9, day, "3/day fixed"))
    before = store.exchange("api", wanting(0)).now
    with caplog.at_level(logging.WARNING, "egressor"):
        Shim(store).step(hours * 3600)
        after = store.exchange("api", wanting(0))
        taken = [granted(store, wanting(12)), granted(store, wanting(9, day, "3/day fixed"))]
        eventually(lambda: granted(store, wanting(1, bucket, "5/second")), "a bucket fills")
        eventually(lambda: granted(store, wanting(1, bucket, "5/second")), "a bucket fills")
        Shim(store).step(0)
        granted(store)

    assert taken == [0, 0]
    assert 0 <= after.now - before < 60 * SECOND
    assert after.members == 1
    assert sum("clock of the Redis server" in record.message for record in caplog.records) == 1


def test_a_newcomer_after_a_step_is_told_the_fleets_time(server: Server, store: RedisStore) -> None:
    """
    Whoever comes after the step learns the fleet's time from the server, not the server's own.
    """
    granted(store, wanting(10))
    Shim(store).step(3600)
    here = store.exchange("api", wanting(0)).now
    other = RedisStore(server.address)
    Shim(other).step(3600)
    eventually(lambda: is_back(other, "else"), "it answers")

    reply = other.exchange("api", wanting(12, member="b"))
    assert (reply.answers[0].times, 0 <= reply.now - here < 60 * SECOND) == (0, True)
    other.close()


def test_a_member_that_was_asleep_teaches_nobody(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    One whose own clock stood still is behind what the fleet was told already, and follows.
    """
    before = store.exchange("api", wanting(0)).now
    now, wall, at = store._times["api"]
    store._times["api"] = (now - HOUR, wall - HOUR, at)

    after = store.exchange("api", wanting(0))
    assert (0 <= after.now - before < 60 * SECOND, store._times["api"][0] == after.now) == (True, True)


def test_a_member_that_was_suspended_in_an_exchange_tells_no_wrong_time(
    store: RedisStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Stopped between an answer and the look at its own clock, it took the server's clock for one that had stepped.
    """
    store.exchange("api", wanting(0))
    slept = [0]
    monkeypatch.setattr(redis, "_steady", lambda real=redis._steady: real() + slept[0])
    ask = store._run

    def suspended(*args: Any) -> Any:
        answer = ask(*args)
        slept[0] += 1_500_000
        return answer

    with caplog.at_level(logging.WARNING, "egressor"):
        monkeypatch.setattr(store, "_run", suspended)
        before = store.exchange("api", wanting(0)).now
        monkeypatch.setattr(store, "_run", ask)
        # The server's clock has gone on by as much.
        Shim(store).step(1.5)
        after = store.exchange("api", wanting(0)).now

    assert (caplog.messages, 1.5 * SECOND <= after - before < 2 * SECOND) == ([], True)


def test_a_server_that_takes_over_goes_on_in_the_fleets_time(server: Server, store: RedisStore) -> None:
    """
    An empty server with another clock: members know what time it is.
    """
    before = store.exchange("api", wanting(0)).now
    with server.client() as client:
        client.flushall()
    Shim(store).step(-7200)

    assert 0 <= store.exchange("api", wanting(0)).now - before < 60 * SECOND


def test_windows_of_a_server_whose_calendar_is_another(server: Server) -> None:
    """
    Where the server's day is not ours, the first request is made again for its day; where it never fits, it is away.
    """
    store = RedisStore(server.address, patience=10.0)
    day = Fixed(amount=3, period=86_400 * SECOND)
    Shim(store).step(40 * 86_400)

    assert [granted(store, wanting(9, day, "3/day fixed")) for _ in range(2)] == [3, 0]
    store.close()


@pytest.mark.parametrize(
    ("ahead", "took", "is_step"),
    [
        (5, 5.5, False),
        (5, 4.5, False),  # Clocks may differ by a second.
        (5, 3.5, True),
        (5, 0, True),
        (-5, 5.5, True),  # Nothing that is late comes before its time.
        (-0.5, 0, False),
        (0.5, 0, False),
    ],
)
def test_what_a_long_way_explains_is_no_step(
    ahead: float,
    took: float,
    is_step: bool,
    store: RedisStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """
    A server whose time is ahead of what it should be by no more than the request took has not stepped.
    """
    before = store.exchange("api", wanting(0)).now
    slept, ask, steady = [0], store._way.ask, redis._steady
    monkeypatch.setattr(redis, "_steady", lambda: steady() + slept[0])

    def ask_slowly(*words: Any, until: float) -> list[Any]:
        answers = ask(*words, until=until)
        slept[0] = int(took * SECOND)
        return answers

    monkeypatch.setattr(store._way, "ask", ask_slowly)
    Shim(store).step(ahead)
    with caplog.at_level(logging.WARNING, "egressor"):
        after = store.exchange("api", wanting(0)).now

    assert len(caplog.records) == is_step
    assert 0 <= after - before - (0 if is_step else max(0, int(ahead * SECOND))) < SECOND


def test_requests_that_a_stopped_server_finds_move_no_time(
    server: Server, store: RedisStore, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Once it went on, a server did what was given up while it was stopped, held its time back, and was said to be off.
    """
    before, began = store.exchange("api", wanting(0)).now, redis._steady()
    with caplog.at_level(logging.WARNING, "egressor"):
        with server.frozen():
            for _ in range(6):
                away(store)
        eventually(lambda: is_back(store), "it is back")
        now, ended = store.exchange("api", wanting(0)).now, redis._steady()

    assert [record.message for record in caplog.records] == []
    assert abs((now - before) - (ended - began)) < SECOND // 2


def test_who_is_late_with_what_the_time_should_be_is_right_all_the_same(store: RedisStore) -> None:
    """
    That a clock has stepped is said for a time of that clock, so it holds however long it takes to get there.
    """
    before = store.exchange("api", wanting(0)).now
    shim = Shim(store)
    shim.step(3600)
    store.exchange("other", wanting(0))
    at = store._times["other"][1]
    late = Moment(at, before, SECOND, at=at)
    shim.step(3600 + 30)
    store._moment = lambda service: late  # type: ignore[method-assign]

    assert 30 * SECOND <= store.exchange("api", wanting(0)).now - before < 40 * SECOND
