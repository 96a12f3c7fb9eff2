"""
Answers on a server: what processes of a fleet keep together, how much of it, and who makes a call.

Two `AnswerServer` of one address are two processes, as far as the server can tell.
"""

from __future__ import annotations

import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from math import inf
from threading import Barrier, Event
from typing import TYPE_CHECKING, Any

import pytest

from egressor._core.cache import entry_of
from egressor.stores.shelf import Kept
from egressor.stores.shelf_redis import AnswerServer
from egressor.stores.shelf_shared import Sought
from tests.stores.servers import KINDS, Server, eventually, running, running_cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

SECOND = 1_000_000
NOW = 1_800_000_000 * SECOND
PLENTY = (100, 1 << 20)
TAG = "{egressor:default:s}"


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """
    A server for all tests here.
    """
    with running(kind=request.param) as found:
        yield found


@pytest.fixture
def client(server: Server) -> Iterator[redis.Redis]:
    """
    Whoever looks; the server is empty.
    """
    with server.client() as found:
        found.flushall()
        yield found


@pytest.fixture
def opened(server: Server, client: redis.Redis) -> Iterator[Callable[[], AnswerServer]]:
    """
    Be one more process, at a wall clock that stands still.
    """
    made: list[AnswerServer] = []

    def one_more() -> AnswerServer:
        made.append(AnswerServer(server.address, wall=lambda: NOW, busy=5.0))
        return made[-1]

    assert client.dbsize() == 0
    yield one_more
    for each in made:
        each.close()


def kept(size: int = 3, at: int = NOW) -> Kept:
    """
    Return an answer with a body of *size* bytes.
    """
    return Kept(entry_of(200, "OK", (("content-type", "text/plain"),), (b"x" * size,)), at, SECOND)


def put(
    answers: AnswerServer,
    key: str,
    value: Kept | None = None,
    *,
    most: tuple[int, int] = PLENTY,
    until: int = NOW + 60 * SECOND,
) -> None:
    """
    Keep an answer, and wait until it is there.
    """
    answers.put("s", key, value or kept(), until=until, most=most)
    assert answers.flush()


def alive() -> bool:
    """
    Be a call under way.
    """
    return True


def never(_: Kept) -> bool:
    """
    Be satisfied with nothing.
    """
    return False


def get(answers: AnswerServer, key: str, service: str = "s") -> Kept | None:
    """
    Return what is kept under *key*.
    """
    return answers.find(Sought(service, lambda _: key, never)).kept


def claim(answers: AnswerServer, key: str, is_alive: Callable[[], bool], service: str = "s") -> bool | None:
    """
    Return whether the call of *key* may be made now.
    """
    return answers.find(Sought(service, lambda _: key, never, is_alive)).is_mine


def secret_of(answers: AnswerServer) -> bytes:
    """
    Return the secret that keys are made with; empty while it isn't known.
    """
    found = b""

    def name(secret: bytes) -> str:
        nonlocal found
        found = secret
        return "k"

    answers.find(Sought("s", name, never))
    return found


def test_what_one_keeps_another_finds(opened: Callable[[], AnswerServer]) -> None:
    """
    Status, headers and chunks come out as they went in, and the age by the server's clock, whatever the hosts' are.
    """
    one, other = opened(), opened()

    put(one, "k", kept(7, at=NOW - SECOND))
    found = get(other, "k")

    assert found is not None
    assert (found.entry, found.fresh_for) == (kept(7).entry, SECOND)
    # It came a second ago, and has got older since.
    assert NOW - 60 * SECOND < found.at <= NOW - SECOND
    assert (get(other, "k", "t"), get(other, "j")) == (None, None)


def test_all_have_one_salt(opened: Callable[[], AnswerServer], client: redis.Redis) -> None:
    """
    Keys of all processes are made with the same secret; a server that was emptied has another one.
    """
    salts = [secret_of(opened()) for _ in range(3)]
    client.flushall()

    assert len(salts[0]) == 32
    assert salts == [salts[0]] * 3
    assert secret_of(opened()) not in {salts[0], b""}


def test_what_has_the_least_time_left_goes_first(opened: Callable[[], AnswerServer], client: redis.Redis) -> None:
    """
    P13: there are never more answers, or bytes, of a service than may be; another service has bounds of its own.
    """
    answers = opened()
    answers.put("t", "k", kept(), until=NOW + 60 * SECOND, most=PLENTY)

    for each in range(10):
        put(answers, str(each), kept(1_000), most=(4, 1 << 20), until=NOW + (100 + each) * SECOND)
    by_count = [get(answers, str(each)) is not None for each in range(10)]
    put(answers, "x", kept(1_000), most=(100, 2_500), until=NOW + 200 * SECOND)
    by_bytes = [get(answers, key) is not None for key in "6789x"]
    put(answers, "x", kept(500), most=(100, 2_500), until=NOW + 200 * SECOND)
    put(answers, "huge", kept(9_000), most=(100, 2_500), until=NOW + 200 * SECOND)

    assert by_count == [False] * 6 + [True] * 4
    assert by_bytes == [False, False, False, True, True]
    assert get(answers, "huge") is None
    assert get(answers, "k", "t") is not None
    held = {key: len(value) for key, value in client.hgetall(f"{TAG}:answers").items()}
    sizes = {key: int(value) for key, value in client.hgetall(f"{TAG}:answer-sizes").items()}
    assert sizes.pop(b"") == sum(held.values())
    assert sizes == held
    assert set(client.zrange(f"{TAG}:answer-ends", 0, -1)) == set(held)


def test_what_is_too_old_is_dropped(opened: Callable[[], AnswerServer], client: redis.Redis) -> None:
    """
    With the next answer that is kept, those go whose time is over; and nothing is kept whose time is over already.
    """
    answers = opened()
    put(answers, "late", until=NOW)
    put(answers, "a")
    client.zadd(f"{TAG}:answer-ends", {"a": 1})

    put(answers, "b")

    assert client.hkeys(f"{TAG}:answers") == [b"b"]


def test_each_key_has_an_end(opened: Callable[[], AnswerServer], client: redis.Redis) -> None:
    """
    P13: what nobody uses any more goes by itself: answers with the last of them, a claim after 3 s.
    """
    answers = opened()
    secret_of(answers)
    put(answers, "long", until=NOW + 3_600 * SECOND)
    put(answers, "short", until=NOW + SECOND)
    claim(answers, "k", alive)

    ends = {key: client.pttl(key) for key in client.scan_iter()}
    claims = {end for key, end in ends.items() if b":call:" in key}
    answers_end = {end for key, end in ends.items() if b":answer" in key}
    assert len(claims) == 1
    assert 0 < max(claims) <= 3_000
    assert len(answers_end) > 0
    assert min(answers_end) > 3_000_000
    assert all(end > 0 for end in ends.values())


def test_what_is_left_of_answers_that_have_ended_counts_for_nothing(
    opened: Callable[[], AnswerServer], client: redis.Redis
) -> None:
    """
    Regression: sizes outlived the answers that they were of, and no more were kept then.
    """
    answers = opened()
    put(answers, "k", kept(4_000), most=(100, 5_000))
    client.pexpire(f"{TAG}:answers", 0)
    client.pexpire(f"{TAG}:answer-ends", 0)

    put(answers, "j", kept(4_000), most=(100, 5_000))

    assert get(answers, "j") is not None
    assert set(client.hkeys(f"{TAG}:answer-sizes")) == {b"j", b""}


@pytest.mark.parametrize("value", [b"", b"x", b"x" * 100, bytes(16) + b'{"pickle": 1}\n'])
def test_what_is_no_answer_is_none(value: bytes, opened: Callable[[], AnswerServer], client: redis.Redis) -> None:
    """
    K05: whatever somebody puts in an answer's place is none, and is never executed.
    """
    answers = opened()
    put(answers, "k")
    client.hset(f"{TAG}:answers", "k", value)

    assert get(answers, "k") is None
    put(answers, "k")
    assert get(answers, "k") is not None


def test_one_makes_the_call(opened: Callable[[], AnswerServer], client: redis.Redis) -> None:
    """
    Who claims a key first makes the call; the others when it has let go of it, or is seen no more.
    """
    one, other, third = opened(), opened(), opened()

    first = [claim(each, "k", alive) for each in (one, other, third)]
    other.release("s", "k")
    assert other.flush()
    foreign = claim(third, "k", alive)
    one.release("s", "k")
    assert one.flush()
    second = [claim(each, "k", alive) for each in (other, third)]

    assert (first, foreign, second) == ([True, False, False], False, [True, False])
    assert client.pexpire(f"{TAG}:call:k", 0)
    assert claim(third, "k", alive) is True


def test_a_claim_lasts_as_long_as_its_call(opened: Callable[[], AnswerServer], client: redis.Redis) -> None:
    """
    What is under way is claimed for longer, and what isn't, or is another's by now, is not.
    """
    one = opened()
    for key, is_alive in (("long", alive), ("over", lambda: False), ("lost", alive)):
        claim(one, key, is_alive)
    for key in ("long", "over"):
        client.pexpire(f"{TAG}:call:{key}", 2_000)
    client.set(f"{TAG}:call:lost", "another", px=2_000)

    one.renew()

    left = [client.pttl(f"{TAG}:call:{key}") for key in ("long", "over", "lost")]
    assert left[0] > 2_000
    assert max(left[1:]) <= 2_000


def test_who_closes_lets_go(opened: Callable[[], AnswerServer]) -> None:
    """
    What was ordered is done, and calls that were under way are free for others.
    """
    one, other = opened(), opened()
    claim(one, "k", alive)
    one.put("s", "a", kept(), until=NOW + 60 * SECOND, most=PLENTY)

    one.close()

    assert get(other, "a") is not None
    assert claim(other, "k", alive) is True


def test_many_threads_may_begin_at_once(server: Server, client: redis.Redis) -> None:
    """
    Regression: each opened a connection of its own, there were too many of them, and all went without an answer.
    """
    answers = AnswerServer(server.address, wall=lambda: NOW, busy=5.0)
    assert client.ping()

    together = Barrier(100)

    def come(_: int) -> bool | None:
        together.wait()
        return claim(answers, "k", alive)

    with ThreadPoolExecutor(100) as pool:
        claims = Counter(pool.map(come, range(100)))
    answers.close()

    assert claims == {True: 1, False: 99}


class Trips:
    """
    What a process asks of the server when it looks: each trip, once it may.
    """

    def __init__(self, answers: AnswerServer) -> None:
        self.begun = Event()
        self.go = Event()
        self.commands: list[list[str]] = []
        self._ask = answers._reading._ask

    def __call__(self, tag: bytes, *commands: tuple[Any, ...]) -> list[Any]:
        """
        Ask.
        """
        self.commands.append([str(command[0]) for command in commands])
        self.begun.set()
        assert self.go.wait(20.0)
        return self._ask(tag, *commands)


def test_looks_of_many_share_a_trip(
    opened: Callable[[], AnswerServer], client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Regression: four trips a call, one call after the other, made 40 requests a second out of 800.
    """
    answers = opened()
    put(answers, "kept")
    secret_of(answers)
    assert client.ping()
    trips = Trips(answers)
    monkeypatch.setattr(answers._reading, "_ask", trips)
    monkeypatch.setattr(answers._scout._look, "_salt_until", inf)

    first = answers.seek(Sought("s", lambda _: "first", never, alive))
    assert trips.begun.wait(20.0)
    rest = [answers.seek(Sought(service, lambda _: "kept", never, alive)) for service in "stuv"]
    trips.go.set()
    found = [each.result(20.0) for each in (first, *rest)]

    assert trips.commands == [["SET", "HGET", "TIME"], ["SET", "HGET"] * 4 + ["TIME"]]
    assert [(each.is_mine, each.kept is not None) for each in found] == [
        (True, False),
        (True, True),
        *[(True, False)] * 3,
    ]


def test_who_finds_an_answer_claims_nothing(opened: Callable[[], AnswerServer], client: redis.Redis) -> None:
    """
    What was claimed in the same trip is given back.
    """
    answers = opened()
    put(answers, "k")

    found = answers.find(Sought("s", lambda _: "k", lambda _: True, alive))
    assert answers.flush()

    assert (found.is_mine, found.kept is not None) == (False, True)
    assert client.get(f"{TAG}:call:k") is None


def test_a_secret_that_is_none_shares_nothing(server: Server, client: redis.Redis) -> None:
    """
    Without it no key can be made: each process has its own memory.
    """
    client.set("{egressor:default}:salt", "short")
    answers = AnswerServer(server.address, wall=lambda: NOW, busy=5.0)

    found = answers.find(Sought("s", lambda _: "k", never, alive))
    answers.close()

    assert (found.key, found.kept, found.is_mine) == ("", None, True)


def test_a_server_that_hangs_stops_nobody(server: Server, client: redis.Redis) -> None:
    """
    P11: a look is a miss and a call is free while the server says nothing; both are as before when it is back.
    """
    answers = AnswerServer(server.address, wall=lambda: NOW)
    put(answers, "k")
    eventually(lambda: get(answers, "k") is not None, "it is found")
    assert client.ping()
    assert server.process is not None

    server.process.send_signal(signal.SIGSTOP)
    try:
        found = [get(answers, "k") for _ in range(100)]
        claimed = [claim(answers, str(each), lambda: False) for each in range(100)]
    finally:
        server.process.send_signal(signal.SIGCONT)

    assert (found, claimed) == ([None] * 100, [True] * 100)
    eventually(lambda: get(answers, "k") is not None, "it is found again")
    answers.close()


def test_only_the_first_look_waits_for_a_server_that_hangs(
    server: Server, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Regression: each second a look waited for 50 ms, on an event loop. Now a thread asks until there is an answer.
    """
    answers = AnswerServer(server.address, wall=lambda: NOW)
    put(answers, "k")
    eventually(lambda: get(answers, "k") is not None, "it is found")
    assert client.ping()
    assert server.process is not None
    looks: list[str] = []
    road = answers._reading
    ask = road._ask

    def asked(tag: bytes, *commands: tuple[Any, ...]) -> list[Any]:
        looks.append("asked")
        return ask(tag, *commands)

    monkeypatch.setattr(road, "_ask", asked)

    server.process.send_signal(signal.SIGSTOP)
    try:
        found = []
        for _ in range(5):
            found.append(get(answers, "k"))
            road._away_until = 0.0  # as if half a second had passed
    finally:
        server.process.send_signal(signal.SIGCONT)

    assert (found, looks) == ([None] * 5, ["asked"])
    eventually(lambda: get(answers, "k") is not None, "it is found again")
    answers.close()


def test_a_user_with_the_commands_of_the_store(server: Server, client: redis.Redis) -> None:
    """
    Nothing is used that the documentation doesn't list.
    """
    commands = "eval evalsha get set hset hget hgetall hkeys hmget hdel pexpire pttl expire time zadd zcard zrange"
    more = "zrangebyscore zrem zremrangebyscore publish subscribe ping"
    allowed = [f"+{each}" for each in f"{commands} {more}".split()]
    words = ("SETUSER", "egressor", "on", ">word", "~{egressor:*", "&egressor:*", "-@all", *allowed)
    client.execute_command("ACL", *words)  # type: ignore[no-untyped-call]
    answers = AnswerServer(server.address.replace("//", "//egressor:word@"), wall=lambda: NOW, busy=5.0)

    put(answers, "k")
    claimed = claim(answers, "k", alive)
    answers.renew()
    answers.release("s", "k")
    assert answers.flush()

    assert (claimed, len(secret_of(answers))) == (True, 32)
    assert get(answers, "k") is not None
    assert client.get(f"{TAG}:call:k") is None
    answers.close()


def test_a_cluster() -> None:
    """
    Each service's answers are in one place of the cluster.
    """
    with running_cluster() as nodes:
        address = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)
        answers = AnswerServer(address, wall=lambda: NOW, busy=5.0)
        for service in ("a", "b", "c", "d"):
            answers.put(service, "k", kept(), until=NOW + 60 * SECOND, most=PLENTY)
        assert answers.flush()

        found = [get(answers, "k", service) is not None for service in ("a", "b", "c", "d")]
        claims = [claim(answers, "k", alive, "a") for _ in range(2)]
        answers.close()

    assert (found, claims) == ([True] * 4, [True, False])


def test_a_slot_that_moves_is_asked_where_it_goes() -> None:
    """
    Regression: one ``ASKING`` went before several commands, and the nodes sent the second one back for ever.
    """
    with running_cluster() as nodes, ExitStack() as stack:
        clients = [stack.enter_context(node.client(decode_responses=True)) for node in nodes]
        slot = clients[0].execute_command("CLUSTER", "KEYSLOT", TAG)
        from_node = next(number for number in range(3) if slot < (number + 1) * 16_384 // 3)
        to_node = (from_node + 1) % 3
        ids = [client.execute_command("CLUSTER", "MYID") for client in clients]
        clients[to_node].execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[from_node])
        clients[from_node].execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[to_node])
        answers = AnswerServer(f"redis+cluster://127.0.0.1:{nodes[0].port}", wall=lambda: NOW, busy=5.0)

        found = [answers.find(Sought("s", lambda _: "k", never, alive)) for _ in range(2)]
        answers.close()

    assert [(each.key, each.is_mine) for each in found] == [("k", True), ("k", False)]
