"""
A server that freezes under load, that holds a key for each of very many users, or that drops keys.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from egressor._core.fleet import Part, Rank, Request, Want
from egressor._core.limits import Sliding
from egressor.stores import StoreAway
from egressor.stores.redis import RedisStore
from tests.faults.fleet import SECOND, SLIP, Fleet, eventually, most, now, run_for
from tests.stores.servers import Server, running

SOAK = os.environ.get("EGRESSOR_SOAK") == "1"
FROZEN_FOR = 20.0 if SOAK else 3.0
KEYS = 1_000_000 if SOAK else 20_000
USERS = 100_000 if SOAK else 2_000
FIRST = 0.3
AFTER = 0.005
BACK = 2 * SECOND
# What a busy machine adds to a wait.
SLACK = 1.5
FEW = Sliding(amount=5, period=2 * SECOND)
RANK = Rank(1, 0, 1 << 52)

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def server() -> Iterator[Server]:
    """
    A server of the test's own.
    """
    with running() as server:
        yield server


def test_a_server_that_freezes_under_load(server: Server, tmp_path: Path) -> None:
    """
    With 200 calls a second from two processes: each call goes, the first after the promised wait at most and later ones
    without, no window holds too much, and both are back before long.
    """
    fleet = Fleet(tmp_path, server.address, {"s": {"limits": ["300/second"], "max_wait": 5.0}})
    try:
        fleet.start(2)
        for member in fleet.members:
            member.tell(f"paced({FROZEN_FOR + 4.5}, 100)")
        run_for(1.0)
        with server.frozen():
            began = now()
            run_for(FROZEN_FOR)
            ended = now()
        calls = [(at, took) for member in fleet.members for at, took in member.hear()]
        states = [member.ask("gov.status()['s']") for member in fleet.members]
    finally:
        fleet.end()

    # Whoever begins in the first half second may be one of those that wait for the server.
    first = [took for at, took in calls if began - FIRST * SECOND <= at < began + SECOND // 2]
    later = [took for at, took in calls if began + SECOND // 2 <= at < ended]
    after = [took for at, took in calls if at >= ended + BACK]
    assert [took for _, took in calls if took < 0] == []
    assert max(first) <= FIRST + SLACK
    assert statistics.median(later) <= AFTER
    assert statistics.median(after) <= 2 * AFTER
    assert most(fleet.lines(), SECOND - SLIP) <= 300
    assert [(state["members"], bool(state["store_away"])) for state in states] == [(2, False)] * 2


def test_a_key_for_each_of_very_many_users_has_an_end(server: Server) -> None:
    """
    Each user has one small key, and each key an end: an hour and some minutes after its period, which is how far a
    clock may step.
    """
    store = RedisStore(server.address)
    with server.client() as client:
        eventually(lambda: _is_granted(store, ["u0"]), "it answers")
        before = client.info("memory")["used_memory"]
        for first in range(0, KEYS, 100):
            users = [f"u{number}" for number in range(first, first + 100)]
            eventually(partial(_is_granted, store, users), "it answers")
        grown = client.info("memory")["used_memory"] - before
        ends = {key: client.pttl(key) for key in client.scan_iter(count=1_000)}
    store.close()

    cells = [end for key, end in ends.items() if b":cell:" in key]
    assert len(cells) == KEYS
    assert len(ends) < KEYS + 10
    assert min(ends.values()) > 0
    assert max(cells) <= (3_600 + 360 + 2) * 1_000
    assert grown < 300 * KEYS


def _is_granted(store: RedisStore, users: list[str]) -> bool:
    wants = tuple(Want(RANK, (Part(f"5/2s|{user}", 1, FEW),)) for user in users)
    try:
        return all(answer.times == 1 for answer in store.exchange("api", Request("a", "a", wants=wants)).answers)
    except StoreAway:
        return False


def test_a_process_forgets_users_that_it_no_longer_sees(server: Server, tmp_path: Path) -> None:
    """
    The memory that a process takes for users does not grow with how many there have ever been.
    """
    rules = [{"match": {"user": "*"}, "limits": ["5/second"]}]
    fleet = Fleet(tmp_path, server.address, {"s": {"rules": rules, "max_wait": 5.0}})
    try:
        [member] = fleet.start(1)
        sizes = []
        for first in range(0, 5 * USERS, USERS):
            # On a busy machine the store may be late for some.
            assert member.ask(f"users({first}, {USERS})") > 0.95 * USERS
            sizes.append(member.ask("resident()"))
        # Somebody has to come by for the last ones to be forgotten.
        eventually(lambda: member.ask("(attempt(str), gov.status()['s']['keys'])[1]") == 0, "all are forgotten")
    finally:
        fleet.end()

    # A store that is late for a while leaves more of them at a time, whose memory Python keeps.
    assert max(sizes) - sizes[0] <= 40 << 20


@pytest.mark.parametrize("policy", ["noeviction", "allkeys-lru", "volatile-lru"])
def test_a_server_without_room(policy: str, server: Server) -> None:
    """
    Where the server has no memory left, an exchange is answered, or the store is away and says why; with room again all
    is well.
    """
    store = RedisStore(server.address)
    said = set()
    with server.client() as client:
        eventually(lambda: _is_granted(store, ["u0"]), "it answers")
        client.config_set("maxmemory-policy", policy)
        client.config_set("maxmemory", client.info("memory")["used_memory"] + (256 << 10))
        for number in range(200):
            wants = tuple(Want(RANK, (Part(f"5/2s|c{number}-{each}", 1, FEW),)) for each in range(20))
            try:
                store.exchange("api", Request("a", "a", wants=wants))
            except StoreAway as error:
                said.add(str(error))
        dropped = client.info("stats")["evicted_keys"]
        client.config_set("maxmemory", 0)
        eventually(lambda: _is_granted(store, ["u1"]), "it answers again")
    store.close()

    assert bool(dropped) == (policy != "noeviction")
    if policy == "noeviction":
        assert [each for each in said if "memory" in each] != []
