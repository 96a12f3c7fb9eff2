"""
A store in a real server: what it shares, what it says of itself, and who may use it.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from egressor._core.fleet import Back, Part, Rank, Request, Want
from egressor._core.limits import Algorithm, Concurrency, Fixed, Gcra, Sliding
from egressor.stores import StoreAway
from egressor.stores.redis import RedisStore
from egressor.stores.redis_words import KEEP
from tests.ports import spare_port
from tests.stores.servers import KINDS, Server, eventually, running

SECOND = 1_000_000
MINUTE = 60 * SECOND
RANK = Rank(1, 0, 1 << 52)
TEN = Sliding(amount=10, period=MINUTE)
SECRET = "hunter2-very-secret"
COMMANDS = [
    "evalsha",
    "eval",
    "time",
    "get",
    "set",
    "pttl",
    "pexpire",
    "expire",
    "hmget",
    "hget",
    "hset",
    "hdel",
    "hgetall",
    "hkeys",
    "zadd",
    "zrem",
    "zcard",
    "zrange",
    "zrangebyscore",
    "zremrangebyscore",
    "publish",
    "subscribe",
    "ping",
    "info",
    "select",
]


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """
    A server of each kind.
    """
    with running(kind=request.param) as server:
        yield server


@pytest.fixture
def store(server: Server, request: pytest.FixtureRequest) -> Iterator[RedisStore]:
    """
    A store of the test's own in it.
    """
    store = RedisStore(f"{server.address}?namespace={request.node.originalname[-60:]}", patience=10.0)
    yield store
    store.close()


def wanting(cell: str, limit: Algorithm, *, most: int = 1, member: str = "a", units: int = 1) -> Request:
    """
    A request for *most* calls that take of one cell.
    """
    return Request(member, member, wants=(Want(RANK, (Part(cell, units, limit),), most),))


def granted(store: RedisStore, request: Request, service: str = "api") -> int:
    """
    How many calls may go.
    """
    return store.exchange(service, request).answers[0].times


def test_members_share_a_limit(server: Server, store: RedisStore) -> None:
    """
    What one process takes is gone for another.
    """
    other = RedisStore(f"{server.address}?namespace=test_members_share_a_limit")

    assert (
        granted(store, wanting("10/minute", TEN, most=7)),
        granted(other, wanting("10/minute", TEN, most=7, member="b")),
    ) == (7, 3)
    other.close()


def test_namespaces_share_nothing(server: Server, store: RedisStore) -> None:
    """
    Who names another namespace has limits of its own.
    """
    granted(store, wanting("10/minute", TEN, most=10))
    other = RedisStore(f"{server.address}?namespace=another")

    assert granted(other, wanting("10/minute", TEN, most=10)) == 10
    other.close()


def test_many_threads_take_exactly_the_limit(store: RedisStore) -> None:
    """
    One store serves threads at once, none with another's reply.
    """
    counts: list[int] = []
    limit = Sliding(amount=100, period=MINUTE)

    def work(name: str) -> None:
        counts.extend(granted(store, wanting("100/minute", limit, member=name)) for _ in range(20))

    # The first line is open, so that not all eight are dialling at once.
    store.services()
    threads = [threading.Thread(target=work, args=(f"m{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (len(counts), sum(counts)) == (160, 100)


def test_every_key_has_an_end(server: Server, store: RedisStore) -> None:
    """
    Nothing stays for ever: each key has a time to live, at least as long as its limit needs.
    """
    day = Fixed(amount=10, period=86_400 * SECOND)
    parts = (
        Part("10/minute", 1, TEN),
        Part("10/day fixed", 1, day),
        Part("1/second burst 2|u1", 1, Gcra(amount=1, period=SECOND, burst=2)),
        Part("max_concurrency", 1, Concurrency(amount=1)),
    )
    version = 0
    for member in "ab":
        reply = store.exchange(
            "api",
            Request(
                member,
                member,
                standing="{}" if member == "a" else None,
                wants=(Want(RANK, parts),),
                version=version,
            ),
        )
        version = reply.version
    with server.client() as client:
        keys = [key for key in client.keys("{egressor:*") if b"every_key_has_an_end" in key]
        ends = {key.rpartition(b"}:")[2]: client.pttl(key) for key in keys}

    assert {"main", "alive", "members", "held", "sums", "waits", "index", "services"} == {
        key.decode() for key in ends if not key.startswith(b"cell:")
    }
    assert sum(key.startswith(b"cell:") for key in ends) + 1 == 4
    assert all(end > 0 for end in ends.values()), ends
    assert ends[b"cell:10/day fixed"] > 3 * 86_400_000
    assert KEEP < ends[b"cell:10/minute"] < KEEP + 70_000
    assert store.facts()["keys_without_end"] == 0


def test_hostile_names_are_inert(store: RedisStore) -> None:
    """
    A cell, a member, a service may be called anything, and is told back as it was; long ones go over by their hash.
    """
    names = ["a}b{c", "*?[x]", "\x00\n\r", "'); redis.call('FLUSHALL') --", "é\ud800", "x" * 10_000, "", "1", "|", "{}"]
    for name in names:
        reply = store.exchange(name, Request(name, "", info=name, wants=(Want(RANK, (Part(name, 3, TEN),)),)))
        again = store.exchange(name, wanting(name, TEN, most=9))

        assert (1, ((name, 3),), 7) == (
            reply.answers[0].times,
            tuple((cell, TEN.amount - TEN.left(value, reply.now)) for cell, value in reply.cells),
            again.answers[0].times,
        )
    assert sorted(names) == store.services()
    assert "hostile" not in store.look("1")[0].cells


def test_the_index_of_cells_is_bounded(server: Server, store: RedisStore) -> None:
    """
    Of cells with keys a thousand can be looked at; all of them count.
    """
    for start in range(0, 1200, 100):
        parts = tuple(Part(f"10/minute|u{number}", 1, TEN) for number in range(start, start + 100))
        store.exchange("api", Request("a", wants=(Want(RANK, parts),)))
    store.exchange("api", wanting("10/minute", TEN))

    cells = store.look("api")[0].cells
    assert (len(cells), "10/minute" in cells) == (1001, True)
    assert granted(store, wanting("10/minute|u1199", TEN, most=10)) == 9


def test_cells_that_expired_leave_the_index(server: Server, store: RedisStore) -> None:
    """
    A new cell takes the place of those in the index whose time is over.
    """
    granted(store, wanting("old|1", TEN))
    [index] = [key for key in _keys(server, "leave_the_index") if key.endswith(b":index")]
    with server.client() as client:
        client.zadd(index, {"old|1": 1, "gone|1": 1})
    granted(store, wanting("new|1", TEN))

    with server.client() as client:
        found = dict(client.zrange(index, 0, -1, withscores=True))
    assert {b"old|1", b"new|1"} == set(found)
    assert found[b"old|1"] > 1e15


def _keys(server: Server, part: str) -> list[bytes]:
    with server.client() as client:
        return [key for key in client.keys("*") if part.encode() in key]


def test_another_schema_is_refused_and_left_alone(server: Server, store: RedisStore) -> None:
    """
    Keys of a version that this one doesn't know are refused, and nothing in them changes.
    """
    granted(store, wanting("10/minute", TEN))
    [main] = [key for key in _keys(server, "refused_and_left_alone") if key.endswith(b":main")]
    with server.client() as client:
        client.hset(main, "schema", "2")
        before = {key: client.dump(key) for key in _keys(server, "refused_and_left_alone")}

    with pytest.raises(StoreAway, match="of another version of Egressor"):
        granted(store, wanting("10/minute", TEN))
    with pytest.raises(StoreAway, match="of another version of Egressor"):
        store.look("api")
    with server.client() as client:
        assert before == {key: client.dump(key) for key in _keys(server, "refused_and_left_alone")}


def test_a_foreign_key_is_refused(server: Server, store: RedisStore) -> None:
    """
    Something else in a key of ours is told, not overwritten.
    """
    with server.client() as client:
        client.set("{egressor:test_a_foreign_key_is_refused:api}:main", "mine")

    with pytest.raises(StoreAway, match=r"something else stands in a key of ours"):
        granted(store, wanting("10/minute", TEN))
    with server.client() as client:
        assert client.get("{egressor:test_a_foreign_key_is_refused:api}:main") == b"mine"


def test_a_call_is_heard(server: Server, store: RedisStore) -> None:
    """
    Whoever listens is told the service, on a thread of its own; who raises goes on listening.
    """
    heard: list[str] = []

    def called(service: str) -> None:
        heard.append(service)
        if service == "bad":
            raise RuntimeError(service)

    store.listen(called)
    other = RedisStore(server.address)
    with server.client() as client:
        eventually(lambda: dict(client.pubsub_numsub(store.address))[store.address.encode()], "it listens")
    other.call("bad", [store.address])
    other.call("apié", ["nobody", store.address])

    eventually(lambda: len(heard) == 2, "two calls come")
    assert heard == ["bad", "apié"]
    other.call("api", [])
    other.close()


def test_a_child_has_lines_of_its_own(server: Server, store: RedisStore) -> None:
    """
    After a fork parent and child share no connection and no address, and the child listens anew.
    """
    heard: list[str] = []
    store.listen(heard.append)
    granted(store, wanting("10/minute", TEN))
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            mine = [granted(store, wanting("10/minute", TEN, member="child")) for _ in range(4)]
            with server.client() as client:
                eventually(lambda: dict(client.pubsub_numsub(store.address))[store.address.encode()], "it listens")
            store.call("api", [store.address])
            eventually(lambda: heard == ["api"], "the child is called")
            os.write(there, f"{sum(mine)} {store.address}".encode())
            status = 0
        finally:
            os._exit(status)
    taken = sum(granted(store, wanting("10/minute", TEN)) for _ in range(3))
    status = os.waitpid(child, 0)[1]
    assert (status, taken) == (0, 3)
    count, address = os.read(here, 1000).decode().split()

    assert (count, address != store.address) == ("4", True)
    assert granted(store, wanting("10/minute", TEN, most=10)) == 2
    assert heard == []
    for end in (here, there):
        os.close(end)


def test_the_server_is_described(server: Server, store: RedisStore) -> None:
    """
    `egressor doctor` is told what kind of server it is, what it evicts and keeps, and how its clock differs.
    """
    facts = store.facts()

    assert tuple(
        facts[name] for name in ("mode", "server_mode", "role", "maxmemory_policy", "maxmemory", "appendonly")
    ) == ("single", "standalone", "master", "noeviction", 0, 0)
    assert facts["kind"] in KINDS
    assert abs(float(facts["clock_offset_ms"])) < 1000
    with server.client() as client:
        client.hset("{egressor:test_the_server_is_described:x}:main", "schema", "1")
        client.zadd("{egressor:test_the_server_is_described}:services", {"x": 1})
    # One has no end by our hand; the list has got its own.
    assert store.facts()["keys_without_end"] == 2


def test_a_database_that_is_not_there_is_named(server: Server) -> None:
    """
    Regression: it was said that the server had refused with ERR.
    """
    store = RedisStore(f"redis://{server.address.removeprefix('redis://').partition('/')[0]}/99")
    with pytest.raises(StoreAway) as caught:
        store.services()
    said = str(caught.value)
    store.close()

    assert said.endswith(": it has no database 99: its configuration says how many it has (databases)")


def test_what_a_store_is_after_close(store: RedisStore) -> None:
    """
    A closed store is away, and closing it again does no harm.
    """
    store.close()
    store.close()

    with pytest.raises(StoreAway, match="closed"):
        store.services()
    store.call("api", ["x"])


# --- who may use it ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_user_with_only_our_commands_can_do_all(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The commands that the documentation lists are enough, and each of them is needed by somebody.
    """
    rules = " ".join(f"+{command}" for command in COMMANDS)
    with running(f"user egress on >{SECRET} ~{{egressor:* &egressor:* -@all {rules}", kind=kind) as server:
        monkeypatch.setenv("EGRESSOR_REDIS_PASSWORD", SECRET)
        store = RedisStore(f"redis://egress@127.0.0.1:{server.port}/1")
        heard: list[str] = []
        limits = (Part("10/minute", 1, TEN), Part("day|u", 1, Fixed(amount=3, period=86_400 * SECOND)))
        places = (*limits, Part("places", 1, Concurrency(amount=1)))
        for member in "ab":
            store.exchange("api", Request(member, member, wants=(Want(RANK, places, 2),)))
        store.exchange("api", Request("a", "a", places=(("places", 0),), backs=(Back(limits[0], 0),), left=("places",)))
        store.exchange("api", Request("b", "b", wants=(Want(RANK, places),)))
        store.listen(heard.append)
        with server.client(username="egress", password=SECRET) as client:
            eventually(lambda: client.publish(store.address, "other"), "it listens")
        store.call("api", [store.address])
        eventually(lambda: "api" in heard, "a call is heard")

        assert (store.services(), store.facts()["keys_without_end"]) == (["api"], 0)
        assert (store.look("api")[0].held["places"], len(store.look("api")[0].cells)) == ({"b": 1}, 2)
        store.close()


@pytest.mark.parametrize(
    ("user", "password", "message"),
    [
        ("egress", "wrong-" + SECRET, "the user or the password is wrong"),
        ("nobody", SECRET, "the user or the password is wrong"),
        ("", "", "it wants a password|may not do"),
        ("idle", SECRET, "the user may not do what is needed"),
    ],
)
def test_who_may_not_is_told_so_without_the_password(user: str, password: str, message: str) -> None:
    """
    A wrong password, none, or a user without rights: one clear message that repeats nothing of it.
    """
    with running(f"user egress on >{SECRET} ~* &* +@all", f"user idle on >{SECRET}", "user default off") as server:
        at = f"{user}:{password}@" if user else ""
        store = RedisStore(f"redis://{at}127.0.0.1:{server.port}")
        with pytest.raises(StoreAway, match=message) as caught:
            granted(store, wanting("10/minute", TEN))

        assert (caught.value.__cause__, caught.value.__context__) == (None, None)
        assert SECRET not in repr(caught.value) + repr(store) + repr(vars(store)["_place"])
        store.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    A certificate that signs itself, for localhost, and its key.
    """
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    subprocess.run(
        [*command.split(), "-keyout", "key.pem", "-out", "cert.pem"], check=True, cwd=folder, capture_output=True
    )
    return folder


def test_tls_is_spoken(certificate: Path) -> None:
    """
    A server with a certificate of our own authority is used; with an unknown one, or for another name, it isn't.
    """
    port = spare_port()
    lines = (f"tls-cert-file {certificate}/cert.pem", f"tls-key-file {certificate}/key.pem", "tls-auth-clients no")
    with running("port 0", f"tls-port {port}", *lines):
        known = f"ssl_ca_certs={certificate}/cert.pem"
        store = RedisStore(f"rediss://localhost:{port}/0?{known}")
        assert [granted(store, wanting("10/minute", TEN, units=1, most=5)) for _ in range(3)] == [5, 5, 0]
        store.close()
        for address in (f"rediss://localhost:{port}/0", f"rediss://127.0.0.1:{port}/0?{known}"):
            store = RedisStore(address)
            with pytest.raises(StoreAway, match="TLS could not be agreed on"):
                granted(store, wanting("10/minute", TEN))
            store.close()
        store = RedisStore(f"rediss://127.0.0.1:{port}/0?{known}&ssl_check_hostname=no")
        assert granted(store, wanting("10/minute", TEN)) == 0
        store.close()


def test_a_socket_of_unix_is_used(tmp_path: Path) -> None:
    """
    A server on this machine may listen on a socket only.
    """
    with running(f"unixsocket {tmp_path}/redis.sock"):
        store = RedisStore(f"redis+unix://{tmp_path}/redis.sock?db=3")
        assert granted(store, wanting("10/minute", TEN, most=12)) == 10
        store.close()
