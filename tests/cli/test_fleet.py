"""
The operators' commands on a store that several processes share, with no gateway in between.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from egressor import Governor, Paused
from egressor._core.fleet import LIFE, Member, Part, Rank, Request, State, Wait, Want
from egressor._core.limits import Concurrency
from egressor.cli.main import main
from egressor.policies import from_services
from egressor.stores.opening import open_store
from egressor.stores.overview import look, members
from egressor.stores.sqlite import SqliteStore
from tests.stores.servers import running

CONFIG = """
[egressor]
store = "{store}"
ledger = "sqlite:///history.db"
[services.api]
limits = ["20/minute"]
max_concurrency = 3
max_wait = 20
breaker.consecutive = 1
retry.attempts = 1
[services.other]
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """
    The address of a Redis server.
    """
    with running() as found:
        yield found.address


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """
    The address of a store that nobody has used, in a folder with its configuration.
    """
    monkeypatch.chdir(tmp_path)
    for name in ("EGRESSOR_CONFIG", "EGRESSOR_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    address = "sqlite:///x.db" if request.param == "sqlite" else f"{server}?namespace={tmp_path.name}"
    (tmp_path / "egressor.toml").write_text(CONFIG.format(store=address))
    return address


def until(condition: Callable[[], object]) -> None:
    """
    Wait until *condition* holds.
    """
    deadline = time.monotonic() + 60
    while not (holds := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)  # real time: the store tells others, and members tell the store
    assert holds


def ask(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """
    Run a command; return its exit code and what it says.
    """
    code = main(list(words))
    said = capsys.readouterr()
    return code, said.out, said.err


def status(capsys: pytest.CaptureFixture[str], name: str = "api") -> dict[str, Any]:
    """
    Return what ``status`` says of a service; on a busy machine a store may be late once.
    """
    out = ""
    for _ in range(20):
        out = out or ask(capsys, "status", "--json")[1]
    found: dict[str, Any] = json.loads(out)["services"][name]
    return found


def is_refused(gov: Governor) -> bool:
    """
    Whether a call is refused because of a pause.
    """
    try:
        gov.call("api", str, "x")
    except Paused as refusal:
        return "their page" in str(refusal)
    return False


def state_of(address: str) -> State:
    """
    Return what the store holds of the service.
    """
    found = open_store(address)
    assert found is not None
    try:
        return found.look("api")[0]
    finally:
        found.close()


def test_status_sums_over_the_members(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Places, calls in flight and members are those of all governors on the store; units left are less by what they took.
    """
    with ExitStack() as stack:
        one, two = (stack.enter_context(Governor.from_file("egressor.toml")) for _ in range(2))
        for gov in (one, one, two):
            # Not in a block, where one would lend its place to the next.
            permit = gov.permit("api")
            permit.acquire()
            stack.callback(permit.release)
        until(lambda: status(capsys)["in_flight"] == 3)
        found = status(capsys)
        _, table, _ = ask(capsys, "status")

    assert [each["left"] for each in found["limits"]][1] == 0
    assert found["limits"][0]["left"] <= 17
    assert {(each["pid"], each["in_flight"]) for each in found["members"]} == {(os.getpid(), 1), (os.getpid(), 2)}
    assert all(0 < each["counts_for_s"] <= 5 for each in found["members"])
    assert table.splitlines()[0].split() == [
        *("SERVICE", "STATE", "MEMBERS", "WAITING", "IN", "FLIGHT", "ADMITTED", "FAILED", "LIMITS", "LEFT")
    ]
    assert table.splitlines()[1].split()[:5] == ["api", "ok", "2", "0", "3"]


def test_status_of_nobody(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A store that nobody uses holds everything, and whoever looks is no member.
    """
    found = status(capsys)
    code, _, _ = ask(capsys, "status")

    assert (code, found["state"], found["members"]) == (0, "closed", [])
    assert [each["left"] for each in found["limits"]] == [20, 3]
    assert state_of(store).members == {}


def test_what_was_used_stays_used(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    After everybody has gone the limit has left what was not used.
    """
    with Governor.from_file("egressor.toml") as gov:
        for _ in range(5):
            gov.call("api", str, "x")

    assert [each["left"] for each in status(capsys)["limits"]] == [15, 3]


def test_pause_and_resume_from_outside(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A governor that runs obeys, so does one that begins later, and the ledger has who did it.
    """
    with Governor.from_file("egressor.toml") as gov:
        gov.call("api", str, "x")
        paused = ask(capsys, "pause", "api", "--reason", "their page")

        until(lambda: is_refused(gov))
        code = main(["status"])
        capsys.readouterr()
    with Governor.from_file("egressor.toml") as late:
        with pytest.raises(Paused):
            late.call("api", str, "x")
        resumed = ask(capsys, "resume", "api")
        until(lambda: late.status()["api"]["state"] == "closed")
        value = late.call("api", str, "x")
        entries = late.history(kind="operator")

    assert (paused, code) == ((0, "api: paused\n", ""), 1)
    assert (resumed, value) == ((0, "api: closed\n", ""), "x")
    assert [(each["what"], each["service"]) for each in entries] == [("resume", "api"), ("pause", "api")]


def test_a_breaker_is_reset_from_outside(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    One that a process has opened is seen by the commands, and closed by one of them.
    """

    def fail() -> None:
        raise ConnectionError

    with Governor.from_file("egressor.toml") as gov:
        with pytest.raises(ConnectionError):
            gov.call("api", fail)
        until(lambda: status(capsys)["state"] == "open")
        code, _, _ = ask(capsys, "status")
        reset = ask(capsys, "reset-breaker", "api")
        until(lambda: gov.status()["api"]["state"] == "closed")
        lifted = ask(capsys, "lift-ban", "api")

    assert (code, reset, lifted) == (1, (0, "api: closed\n", ""), (0, "api: closed\n", ""))


@pytest.mark.parametrize("command", ["pause", "resume", "reset-breaker", "lift-ban"])
def test_an_unknown_service(store: str, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Only what is configured can be operated.
    """
    assert ask(capsys, command, "nope") == (2, "", "egressor: no service 'nope': api, other\n")


def test_a_url_means_the_gateway(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Whatever the configuration says.
    """
    code, out, err = ask(capsys, "pause", "api", "--url", "http://127.0.0.1:9")

    assert (code, out, "the gateway at http://127.0.0.1:9 does not answer" in err) == (1, "", True)


@pytest.mark.parametrize("words", [("status",), ("status", "--json"), ("pause", "api"), ("lift-ban", "api")])
def test_a_store_that_is_away(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    A command says so in a line, its exit code is 1, and the ledger has nothing of what was not done.
    """
    monkeypatch.chdir(tmp_path)
    Path("egressor.toml").write_text(CONFIG.format(store="sqlite:///x.db"))
    with closing(sqlite3.connect("x.db.cells")) as db, db:
        db.execute("CREATE TABLE theirs (x)")
    code, out, err = ask(capsys, *words)
    assert main(["history"]) == 0

    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("egressor: the store is away: x.db.cells holds something else")
    assert err.endswith(f" ({Path('x.db').absolute()})\n")
    assert capsys.readouterr().out == "no entries\n"


def test_a_first_call_leaves_nobody_waiting(store: str) -> None:
    """
    It has to ask the store, which is no wait; and when it has ended, all places are free, here and in the store.
    """
    with Governor.from_file("egressor.toml") as gov:
        gov.call("api", str)
        found = open_store(store)
        assert found is not None
        with closing(found):
            told = look(gov.config, found)["api"]
        assert sum(told["waiting"].values()) == 0
        until(lambda: gov.status()["api"]["limits"][1]["left"] == 3)


def test_who_has_closed_is_no_member(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Neither a program that has ended, nor an operator's command; one that goes on is.
    """
    with Governor.from_file("egressor.toml") as gov:
        gov.call("api", str)
        with Governor.from_file("egressor.toml") as other:
            other.call("api", str)
            assert len(status(capsys)["members"]) == 2
        ask(capsys, "pause", "api")
        ask(capsys, "resume", "api")
        until(lambda: gov.status() and len(status(capsys)["members"]) == 1)
    assert status(capsys)["members"] == []


def test_a_standing_that_nobody_can_read(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    What another version has written is no traceback.
    """
    found = open_store(store)
    assert found is not None
    found.exchange("api", Request("m", standing='{"form": 99}'))
    found.close()
    code, out, err = ask(capsys, "status")

    assert (code, out) == (1, "")
    assert "what it says of api is of another version of Egressor, or damaged" in err


def test_the_dead_hold_nothing(tmp_path: Path) -> None:
    """
    Places of a member that has said nothing for too long are free, also before anybody has buried it.
    """
    time_now = 1_000_000
    config = from_services({"api": {"max_concurrency": 3}})
    store = SqliteStore(tmp_path / "x.db", now=lambda: time_now)
    part = Part("max_concurrency", 1, Concurrency(amount=3))
    want = Want(Rank(1, time_now, time_now + 1), (part,), 2)
    store.exchange("api", Request("a", wants=(want,)))
    alive = look(config, store)["api"]
    time_now += LIFE
    dead = look(config, store)["api"]
    store.close()

    assert (alive["limits"][0]["left"], len(alive["members"])) == (1, 1)
    assert (dead["limits"][0]["left"], len(dead["members"])) == (3, 0)


def _member(info: str) -> dict[str, Any]:
    state = State()
    state.members["a"] = Member(until=2_000_000, address="", info=info)
    state.members["gone"] = Member(until=1_000_000, address="", info=info)
    state.held["max_concurrency"] = {"a": 2, "gone": 1}
    state.waits["20/minute"] = {"a": Wait(Rank(3, 0, 0), 1, 0, is_told=True)}
    [found] = members(state, 1_000_000)
    return found


@pytest.mark.parametrize("info", ["", "[]", "nonsense", "{}", '{"waiting": 7}', '{"waiting": [1, 2]}', '{"pid": "x"}'])
def test_a_member_that_says_nothing_of_itself(info: str) -> None:
    """
    Then what the store knows is told: its first waiters, and the places that it holds.
    """
    found = _member(info)

    assert (found["waiting"]["critical"], found["in_flight"], found["pid"]) == (1, 2, 0)


def test_a_member_that_tells() -> None:
    """
    Its own numbers are taken, as far as they are numbers.
    """
    info = {"host": "h", "pid": 7, "waiting": [1, 0, -2, "x"], "in_flight": 9, "admitted": 5, "failed": None}
    found = _member(json.dumps(info))

    assert found == {
        "name": "a",
        "host": "h",
        "pid": 7,
        "waiting": {"low": 1, "medium": 0, "high": 0, "critical": 0},
        "in_flight": 9,
        "admitted": 5,
        "failed": 0,
        "counts_for_s": 1.0,
    }
