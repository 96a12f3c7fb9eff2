"""
Several servers: a cluster of three, and a master that sentinels watch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from egressor.stores import StoreAway
from egressor.stores.redis import RedisStore
from tests.stores.redis_scene import away, called, granted, is_back, wanting
from tests.stores.servers import KINDS, Fleet, Server, eventually, running_cluster, running_fleet


@pytest.fixture(scope="module", params=KINDS)
def nodes(request: pytest.FixtureRequest) -> Iterator[list[Server]]:
    """
    A cluster of each kind.
    """
    with running_cluster(request.param) as nodes:
        yield nodes


def test_a_cluster_holds_each_service_on_its_node(nodes: list[Server]) -> None:
    """
    Services are spread over the nodes, and each is exact; any node leads to all of them.
    """
    store = RedisStore(f"redis+cluster://127.0.0.1:{nodes[0].port}", patience=10.0)
    other = RedisStore(f"redis+cluster://127.0.0.1:{nodes[2].port},127.0.0.1:{nodes[1].port}", patience=10.0)
    services = [f"service-{number}" for number in range(12)]
    counts = [(granted(store, wanting(7), each), granted(other, wanting(7, member="b"), each)) for each in services]

    assert counts == [(7, 3)] * 12
    assert services.sort() or services == store.services() == other.services()
    assert {"a": 1}.keys() == store.look("service-3")[0].members.keys() - {"b"}
    assert tuple(store.facts()[name] for name in ("mode", "server_mode", "keys_without_end")) == (
        "cluster",
        "cluster",
        0,
    )
    sizes = []
    for node in nodes:
        with node.client() as client:
            sizes.append(client.dbsize())
    assert all(sizes), sizes
    heard: list[str] = []
    other.listen(heard.append)
    eventually(lambda: called(store, "service-1", other, heard), "a call crosses the nodes")
    store.close()
    other.close()


def test_a_slot_that_moves_takes_its_service_along(nodes: list[Server]) -> None:
    """
    While a service's keys move to another node the store is away for it, and exact after that.
    """
    store = RedisStore(f"redis+cluster://127.0.0.1:{nodes[0].port}", patience=10.0)
    first = granted(store, wanting(4), "moving")
    clients: list[Any] = [node.client(decode_responses=True) for node in nodes]
    slot = clients[0].execute_command("CLUSTER", "KEYSLOT", "{egressor:default:moving}:main")
    names = [client.execute_command("CLUSTER", "MYID") for client in clients]
    owner = next(
        number for number, client in enumerate(clients) if client.execute_command("CLUSTER", "COUNTKEYSINSLOT", slot)
    )
    target = (owner + 1) % 3
    clients[target].execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", names[owner])
    clients[owner].execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", names[target])
    keys = clients[owner].execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100)
    clients[owner].execute_command("MIGRATE", "127.0.0.1", nodes[target].port, "", 0, 5000, "KEYS", *keys)
    with pytest.raises(StoreAway, match="its cluster is moving keys"):
        granted(store, wanting(2), "moving")
    for number in (target, owner, 3 - owner - target):
        clients[number].execute_command("CLUSTER", "SETSLOT", slot, "NODE", names[target])
    after = granted(store, wanting(12), "moving")
    for client in clients:
        client.close()
    store.close()

    assert (first, after) == (4, 6)


def test_a_single_address_of_a_cluster_says_what_to_do(nodes: list[Server]) -> None:
    """
    ``redis://`` follows a cluster's nodes as well, since they say where to go.
    """
    store = RedisStore(nodes[1].address, patience=10.0)

    assert [granted(store, wanting(12), "by-one") for _ in range(2)] == [10, 0]
    store.close()


@pytest.mark.parametrize("kind", KINDS)
def test_sentinels_name_another_master(kind: str) -> None:
    """
    The master dies: away until the sentinels have made the replica master, then right again by itself, with its data.
    """
    with running_fleet(kind) as fleet:
        store = RedisStore(fleet.address)
        eventually(lambda: is_back(store, "other"), "it answers")
        taken = granted(store, wanting(7))
        heard: list[str] = []
        store.listen(heard.append)
        eventually(lambda: called(store, "one", store, heard), "it is called")
        with fleet.replica.client() as client:
            eventually(lambda: client.info("replication")["slave_read_repl_offset"] >= _offset(fleet), "it follows")
        fleet.master.stop()
        away(store)
        eventually(lambda: is_back(store, "other"), "a replica is master")

        assert (taken, granted(store, wanting(12))) == (7, 3)
        eventually(lambda: called(store, "two", store, heard), "it is called by the new master")
        assert store.facts()["mode"] == "sentinel"
        store.close()


def _offset(fleet: Fleet) -> int:
    with fleet.master.client() as client:
        return int(client.info("replication")["master_repl_offset"])


def test_a_sentinel_that_is_frozen_is_passed_by() -> None:
    """
    One of three says nothing: the others are asked, and what is known lasts meanwhile.
    """
    with running_fleet() as fleet, fleet.sentinels[0].frozen():
        store = RedisStore(fleet.address)
        eventually(lambda: is_back(store), "it answers")
        store._way._asked_at = -1e9

        assert granted(store, wanting(12)) == 9
        store.close()


def test_sentinels_that_know_no_such_master() -> None:
    """
    A name that sentinels don't know, and sentinels that are not there, are told apart.
    """
    with running_fleet() as fleet:
        unknown = RedisStore(fleet.address.replace("/main/", "/mine/"), patience=5.0)
        assert away(unknown).endswith("the sentinels know no master of that name")
        for each in fleet.sentinels:
            each.stop()
        assert away(RedisStore(fleet.address, patience=5.0)).endswith("none of the sentinels answers")
        unknown.close()
