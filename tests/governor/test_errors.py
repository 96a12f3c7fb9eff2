"""
Failed attempts, from the call to `errors()`.
"""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from egressor import ConfigError, ErrorCategory, Governor
from egressor.testing import FakeClock
from egressor.transports.httpx import Transport
from tests.ledger.places import Postgres, running_postgres
from tests.transports.upstream import Caller, Upstream, answer, stream

QUIET: dict[str, Any] = {"breaker": {"consecutive": 1_000}, "retry": {"attempts": 3, "base": 1.0}}


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """
    A PostgreSQL for the tests of this file.
    """
    with running_postgres() as server:
        yield server


def governor(clock: FakeClock | None = None, **settings: Any) -> Governor:
    """
    A governor of ``api``, whose calls are tried three times.
    """
    return Governor({"api": QUIET, "other": {}}, clock=clock or FakeClock(), dice=lambda: 0.0, **settings)


class Failing:
    """
    A function that fails so many times, and then returns.
    """

    def __init__(self, times: int, error: BaseException | None = None) -> None:
        self.times = times
        self.error = error or ConnectionError("no route")

    def __call__(self) -> str:
        """
        Fail, or return.
        """
        self.times -= 1
        if self.times >= 0:
            raise self.error
        return "fine"


def numbers(found: dict[str, Any]) -> dict[str, int]:
    """
    The sums of *found*.
    """
    return {name: found[name] for name in ("total", "calls", "recovered", "fell_back", "gave_up")}


def test_a_failure_is_remembered_with_its_end() -> None:
    """
    What recovered, what fell back and what gave up: each failed attempt once, each call once.
    """
    with governor() as gov:
        gov.call("api", Failing(0))
        gov.call("api", Failing(1), endpoint="chat", scope={"user": "u1"})
        gov.call("api", Failing(9), fallback="other")
        with pytest.raises(ConnectionError):
            gov.call("api", Failing(9))
        found = gov.errors()

        assert numbers(found) == {"total": 7, "calls": 3, "recovered": 1, "fell_back": 1, "gave_up": 1}
        assert found["by_component"] == {"api": 6, "api/chat": 1}
        assert [(each["outcome"], each["attempt"]) for each in found["recent"]] == [
            *(("gave_up", n) for n in (3, 2, 1)),
            *(("fell_back", n) for n in (3, 2, 1)),
            ("recovered", 1),
        ]
        assert found["recent"][-1]["scope"] == {"user": "u1"}
        assert len({each["call"] for each in found["recent"]}) == 3
        assert (found["dropped"], found["merged"], found["ledger"]["ledger"]) == (0, 0, "memory")


def test_a_fallback_that_fails_is_no_rescue() -> None:
    """
    The call gave up.
    """

    def broken() -> str:
        raise LookupError

    with governor() as gov:
        with pytest.raises(LookupError):
            gov.call("api", Failing(9), fallback=broken)

        assert numbers(gov.errors())["gave_up"] == 1


def test_a_retry_that_is_refused_ends_in_giving_up() -> None:
    """
    A breaker that opens in between refuses the rest; refusals themselves are no failures.
    """
    with Governor({"api": {**QUIET, "breaker": {"consecutive": 1}}}, clock=FakeClock(), dice=lambda: 0.0) as gov:
        with pytest.raises(ConnectionError):
            gov.call("api", Failing(9))
        gov.call("api", Failing(0), fallback="x")

        assert numbers(gov.errors()) == {"total": 1, "calls": 1, "recovered": 0, "fell_back": 0, "gave_up": 1}


@pytest.mark.anyio
async def test_awaited_calls_are_remembered_too() -> None:
    """
    The other colour leaves the same.
    """
    async with governor() as gov:
        failing = Failing(1)

        async def one() -> str:
            return failing()

        assert await gov.acall("api", one) == "fine"
        with pytest.raises(ValueError):  # noqa: PT011 - it is ours
            async with gov.permit("api"):
                raise ValueError

        assert numbers(gov.errors()) == {"total": 2, "calls": 2, "recovered": 1, "fell_back": 0, "gave_up": 1}


def test_a_permit_s_failure_is_remembered() -> None:
    """
    A block has no second attempt: it gave up.
    """
    with governor() as gov:
        for _ in range(2):
            with pytest.raises(TimeoutError), gov.permit("api", scope={"feature": "feed"}):
                raise TimeoutError

        found = gov.errors()
        assert (numbers(found)["gave_up"], found["recent"][0]["scope"]) == (2, {"feature": "feed"})


@pytest.mark.anyio
async def test_a_cancelled_call_is_nobody_s_error() -> None:
    """
    Neither a cancelled task nor a generator that nobody reads leaves a failure.
    """
    async with governor() as gov:

        async def forever() -> None:
            await asyncio.Event().wait()

        task = asyncio.create_task(gov.acall("api", forever))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(KeyboardInterrupt), gov.permit("api"):
            raise KeyboardInterrupt

        assert gov.errors()["total"] == 0


def test_an_answer_s_words_are_remembered() -> None:
    """
    Through a transport the message is the server's own, without its secrets.
    """
    body = b'{"error": {"message": "bad key sk-abc12defghij for org", "code": "invalid_api_key"}}'
    with Upstream() as upstream, Governor({"api": {"retry": {"attempts": 1}}}) as gov:
        caller = Caller("httpx2", "sync", Transport(gov, "api"))
        assert (
            caller.get(upstream.script("/a", answer(401, body, {"Content-Type": "application/json"}))).status_code
            == 401
        )
        caller.close()
        (group,) = gov.errors()["groups"]

    assert (group["category"], group["rule"], group["place"]) == ("authentication", "http.401", "")
    assert group["message"] == "bad key (not shown: it may be a key) for org"


def test_a_broken_body_is_remembered() -> None:
    """
    A stream that breaks gave up; one that nobody reads to its end has had its answer, and what failed before recovered.
    """
    with Upstream() as upstream, Governor({"api": {"retry": {"attempts": 2, "base": 0.0}}}) as gov:
        caller = Caller("httpx2", "sync", Transport(gov, "api"))
        response = caller.open(upstream.script("/a", answer(503), stream(b"one", b"two")))
        del response
        gc.collect()
        caller.close()
        found = gov.errors()

    assert numbers(found) == {"total": 1, "calls": 1, "recovered": 1, "fell_back": 0, "gave_up": 0}


def test_history_shows_failures_only_where_it_is_asked() -> None:
    """
    They are many; who looks for what operators did finds that.
    """
    with governor() as gov:
        gov.pause("other", by="dana")
        gov.call("api", Failing(1))

        assert [each["kind"] for each in gov.history()] == ["operator"]
        assert [each["kind"] for each in gov.history(kind="error")] == ["error"]


def test_errors_outlive_the_governor(tmp_path: Path) -> None:
    """
    They are in the ledger, for every process on it.
    """
    address = f"sqlite:///{tmp_path}/history.db"
    with governor(ledger=address) as gov:
        gov.call("api", Failing(2))
        (group,) = gov.errors()["groups"]
        gov.resolve_error(group["fingerprint"], by="dana")
    with governor(ledger=address) as gov:
        first = gov.errors()["groups"][0]["state"]
        gov.clock.advance(1.0)  # type: ignore[attr-defined]
        gov.call("api", Failing(1))
        found = gov.errors("api")

        assert (first, found["groups"][0]["state"], found["total"]) == ("resolved", "reopened", 3)
        assert gov.errors("other")["total"] == 0


@pytest.mark.anyio
async def test_errors_outlive_an_awaited_end(tmp_path: Path) -> None:
    """
    ``async with`` writes what there is as well.
    """
    address = f"sqlite:///{tmp_path}/history.db"
    async with governor(ledger=address) as gov:
        gov.call("api", Failing(1))
    async with governor(ledger=address) as gov:
        assert gov.errors()["total"] == 1


def test_a_reload_takes_failures_along(tmp_path: Path) -> None:
    """
    What failed before goes to the old ledger, what fails after to the new one.
    """
    file = tmp_path / "egressor.toml"
    text = "[egressor]\nledger = 'sqlite:///{}/{}.db'\n[services.api]\nretry = {{attempts = 1}}\n"
    file.write_text(text.format(tmp_path, "one"))
    with Governor.from_file(file) as gov:
        for name in ("two", ""):
            with pytest.raises(ConnectionError):
                gov.call("api", Failing(1))
            if name:
                file.write_text(text.format(tmp_path, name))
                gov.reload()

        assert gov.errors()["total"] == 1
    with Governor({"api": {}}, ledger=f"sqlite:///{tmp_path}/one.db") as gov:
        assert gov.errors()["total"] == 1


def test_operators_resolve_and_mute() -> None:
    """
    Each is an entry with who did it; what is muted is counted on.
    """
    clock = FakeClock()
    with governor(clock) as gov:
        gov.call("api", Failing(1))
        name = gov.errors()["groups"][0]["fingerprint"]
        states = []
        for act in (
            lambda: gov.resolve_error(name, by="dana"),
            lambda: gov.call("api", Failing(1)),
            lambda: gov.mute_error(name, seconds=60, by="dana"),
            lambda: clock.advance(61.0),
            lambda: gov.mute_error(name),
            lambda: gov.call("api", Failing(1)),
            lambda: gov.unmute_error(name),
        ):
            clock.advance(1.0)
            act()
            (group,) = gov.errors()["groups"]
            states.append((group["state"], group["count"]))

        assert states == [
            ("resolved", 1),
            ("reopened", 2),
            ("muted", 2),
            ("reopened", 2),
            ("muted", 2),
            ("muted", 3),
            ("reopened", 3),
        ]
        told = [(each["what"], each["who"], each["data"]) for each in gov.history(kind="operator")]
        assert told[-1] == ("resolve-error", "dana", {"fingerprint": name})
        assert told[-2][2] == {"fingerprint": name, "seconds": 60}


@pytest.mark.parametrize("name", ["", "x", "0000-0000-0000", None, 7, "0000-0000-0000\n"])
def test_a_group_that_is_none(name: Any) -> None:
    """
    What can't be found can't be resolved, and the message says why.
    """
    with governor() as gov:
        for act in (gov.resolve_error, gov.mute_error, gov.unmute_error):
            with pytest.raises(ConfigError, match=r"fingerprint looks like|no errors of the group"):
                act(name)

        assert gov.history() == []


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "1h", 1e12])
def test_a_muting_that_is_none(seconds: Any) -> None:
    """
    For how long is a number of seconds.
    """
    with governor() as gov, pytest.raises(ConfigError, match="a group is muted for"):
        gov.mute_error("0000-0000-0000", seconds=seconds)


def test_a_program_s_own_error() -> None:
    """
    What failed outside of the gate is classified and remembered, with a bounded context, and opens no breaker.
    """
    with governor() as gov:
        context = {"symbol": "BTC", "api_key": "hunter", "all": dict.fromkeys(range(1_000_000))}
        verdict = gov.record_error("api", TimeoutError("slow"), endpoint="price", scope={"user": "u"}, context=context)
        gov.record_error("api", ValueError("y"))
        with pytest.raises(ConfigError, match="record_error takes an exception"):
            gov.record_error("api", "no")  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="unknown service"):
            gov.record_error("apj", ValueError())
        second, first = gov.errors()["recent"]

        assert (verdict.category, first["category"], first["endpoint"]) == (ErrorCategory.TIMEOUT, "timeout", "price")
        assert first["context"]["symbol"] == "BTC"
        assert first["context"]["api_key"] == "(not shown: it may be a key)"
        assert (first["context"]["all"]["…"], first["outcome"], first["scope"]) == (
            "999937 more",
            "gave_up",
            {"user": "u"},
        )
        assert "context" not in second
        assert gov.status()["api"]["failed"] == 0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"scope": {"endpoint": 3}}, "a scope holds texts by name, not 'endpoint': 3"),
        ({"scope": {5: "x"}}, "a scope holds texts by name, not 5: 'x'"),
        ({"scope": [1]}, "a scope must be a mapping of names to texts, not \\[1\\]"),
        ({"scope": {"user": "u" * 1_025}}, "a scope's value has at most 1024 characters, not 1025"),
        ({"endpoint": 7}, "an endpoint is a text, not 7"),
    ],
)
def test_a_scope_that_is_none(given: Any, words: str) -> None:
    """
    It is refused as a call's is, and takes nothing of other calls along.
    """
    with governor() as gov:
        gov.call("api", Failing(1))
        with pytest.raises(ConfigError, match=words):
            gov.record_error("api", ValueError("x"), **given)

        assert numbers(gov.errors())["total"] == 1


@pytest.mark.parametrize("since", [float("nan"), float("inf"), -1.0, "yesterday", 1e12])
@pytest.mark.parametrize("method", ["errors", "bans", "history"])
def test_a_time_that_is_none(method: str, since: Any) -> None:
    """
    It is named, with what it may be.
    """
    with governor() as gov, pytest.raises(ConfigError, match="since is a time in seconds since 1970") as raised:
        getattr(gov, method)(since=since)

    assert raised.value.key == "since"


@pytest.mark.parametrize("number", [-1, 1.5, "7", None])
@pytest.mark.parametrize(
    ("method", "key"), [("errors", "groups"), ("errors", "recent"), ("bans", "limit"), ("history", "limit")]
)
def test_a_number_that_is_none(method: str, key: str, number: Any) -> None:
    """
    So is a number of groups, failures, bans or entries; 0 is one.
    """
    with governor() as gov:
        with pytest.raises(ConfigError, match=f"{key} is a whole number of 0 or more, not ") as raised:
            getattr(gov, method)(**{key: number})
        getattr(gov, method)(**{key: 0})

    assert raised.value.key == key


@pytest.mark.parametrize("colour", ["plain", "awaited"])
def test_a_fault_at_the_end_keeps_nobody_from_closing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, colour: str
) -> None:
    """
    The ledger is closed even where the last failures can't be handed over, and the fault is told.
    """
    gov = governor(ledger=f"sqlite:///{tmp_path / 'ledger.db'}")

    def broken() -> None:
        raise OSError

    monkeypatch.setattr(gov._failures, "close", broken)
    with pytest.raises(OSError):  # noqa: PT011 - it has no words
        gov.close() if colour == "plain" else asyncio.run(gov.aclose())

    assert gov.ledger._is_closed


def test_bans_are_told() -> None:
    """
    Whoever writes them, `bans` reads them.
    """
    with governor() as gov:
        gov.ledger.note("ban", "began", service="api", data={"until": "2999-01-01T00:00:00Z", "seconds": 60.0})

        assert [each["service"] for each in gov.bans()["active"]] == ["api"]
        assert gov.bans("other")["bans"] == []


def test_two_governors_on_one_server(postgres: Postgres) -> None:
    """
    What fails in one process, and what an operator says in another, both see.
    """
    address = postgres.new_database()
    settings: dict[str, Any] = {"ledger": address, "services": {"api": QUIET}}
    with Governor(**settings) as one, Governor(**settings) as two:
        one.call("api", Failing(1), fallback=None)
        two.record_error("api", TimeoutError("slow"))
        assert one.ledger.flush(20)
        two.errors()
        assert two.ledger.flush(20)
        groups = one.errors()["groups"]
        two.resolve_error(groups[0]["fingerprint"])
        assert two.ledger.flush(20)

        assert [each["count"] for each in groups] == [1, 1]
        assert sorted(each["state"] for each in one.errors()["groups"]) == ["open", "resolved"]


CHILD = """
import sys, time
from egressor import Governor
gov = Governor({"api": {"breaker": {"enabled": False}, "retry": {"attempts": 1}}}, ledger=sys.argv[1])

def fail():
    raise ConnectionError("no route")

while True:
    gov.call("api", fail, fallback=None)
    gov.errors()
    gov.ledger.flush(20)
    print("written", flush=True)
"""


def test_processes_share_a_file_and_survive_a_kill(tmp_path: Path) -> None:
    """
    Failures of several processes are added up; what a killed one had written is there, once.
    """
    address = f"sqlite:///{tmp_path}/history.db"
    words = [sys.executable, "-c", CHILD, address]
    children = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    counts = []
    for child in children:
        assert child.stdout is not None
        for _ in range(3):
            assert child.stdout.readline() == "written\n"
        child.kill()
        counts.append(3 + len(child.stdout.readlines()))
        child.wait()
        child.stdout.close()
    with Governor({"api": {}}, ledger=address) as gov:
        found = gov.errors()

        # The one that a child was about to tell of may be there as well.
        assert sum(counts) <= found["total"] <= sum(counts) + 2
        assert [each["count"] for each in found["groups"]] == [found["total"]]


class Response:
    """
    An answer with its status.
    """

    def __init__(self, status: int) -> None:
        self.status_code = status
        self.headers = {"ratelimit-limit": "9", "ratelimit-remaining": "8", "ratelimit-reset": "60"}


class Odd(BaseException):
    """
    No `Exception`.
    """


@pytest.mark.parametrize("attempts", [1, 2])
@pytest.mark.parametrize("idempotent", [True, False])
@pytest.mark.parametrize("fallback", ["none", "own", "service"])
@pytest.mark.parametrize(
    "outcome",
    [
        ValueError("bad"),
        ConnectionResetError("cut"),
        TimeoutError("late"),
        KeyboardInterrupt(),
        Odd("odd"),
        200,
        400,
        503,
    ],
    ids=repr,
)
def test_what_ends_at_once_ends_as_the_plan_ends_it(
    outcome: BaseException | int, fallback: str, attempts: int, *, idempotent: bool
) -> None:
    """
    A call that is observed takes the plan's way, another one ends where its first attempt came to all there is: both
    come to the same, with the same notes, entries and cells, and tell the same handlers.
    """

    def ended(*, tapped: bool) -> object:
        told: list[str] = []
        clock = FakeClock()
        policy = {"retry": {"attempts": attempts, "base": 1.0, "jitter": False}, "limits": ["9/minute"]}
        gov = Governor({"api": policy}, clock=clock, dice=lambda: 0.0)
        gov.on_error()(lambda failure: told.append(str(failure.verdict.category)))
        if tapped:
            gov.taps.add(lambda _: None)
        if fallback == "service":
            gov.set_fallback("api", "instead")
        error = type(outcome)(*outcome.args) if isinstance(outcome, BaseException) else None

        def attempt() -> Response:
            if error is not None:
                raise error
            return Response(int(str(outcome)))

        more: dict[str, Any] = {"fallback": "own"} if fallback == "own" else {}
        try:
            value: Any = gov.call("api", attempt, idempotent=idempotent, **more)
            value = getattr(value, "status_code", value)
        except BaseException as raised:  # noqa: BLE001 - whatever comes is compared
            value = [repr(raised), getattr(raised, "__notes__", [])]
        status = gov.status()["api"]
        entries = [{**each, "call": "", "id": ""} for each in gov.errors()["recent"]]
        assert gov.context.handlers.drain(10)
        gov.close()
        return value, status, entries, told

    assert ended(tapped=False) == ended(tapped=True)
