"""
Error handlers: told of what failed, where they can neither break nor delay a call (K02).
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from collections.abc import Callable, Iterator
from functools import partial
from threading import Event, get_ident
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import pytest

from egressor import ConfigError, ErrorCategory, Governor, ServiceType
from egressor.testing import FakeClock

if TYPE_CHECKING:
    from egressor.governor import Failure

SECRET = "sk-live-" + "0123456789abcdef"
ONCE = {"retry": {"attempts": 1}, "breaker": {"consecutive": 0, "failure_rate": 1.0, "min_calls": 100_000}}


class Answer:
    """
    An HTTP response.
    """

    def __init__(self, status: int) -> None:
        self.status_code = status
        self.headers: dict[str, str] = {}


@pytest.fixture
def gov() -> Iterator[Governor]:
    """
    A governor of two services that are tried once.
    """
    with Governor({"a": ONCE, "b": ONCE}, clock=FakeClock()) as found:
        yield found


def fail(gov: Governor, service: str = "a", error: BaseException | None = None) -> BaseException:
    """
    Make a call that fails, and return what came out.
    """
    wanted = error or ConnectionError("down")

    def raises() -> None:
        raise wanted

    with pytest.raises(type(wanted)) as raised:
        gov.call(service, raises)
    return raised.value


def settled(gov: Governor) -> list[dict[str, Any]]:
    """
    Return how the handlers fare once they have handled everything.
    """
    assert gov.context.handlers.drain(10)
    return gov.error_handlers()


def test_a_handler_is_told(gov: Governor) -> None:
    """
    It gets service, verdict, error and time of what failed, and nothing of what went well.
    """
    told: list[Failure] = []
    gov.on_error()(told.append)
    error = ConnectionResetError("reset")

    gov.call("a", int)
    fail(gov, "b", error)
    assert gov.call("a", Answer, 503).status_code == 503
    settled(gov)

    assert [(each.service, each.verdict.category, each.error) for each in told] == [
        ("b", ErrorCategory.NETWORK, error),
        ("a", ErrorCategory.SERVER_ERROR, None),
    ]
    assert {each.at for each in told} == {gov.clock.wall() / 1e6}


@pytest.mark.parametrize(
    ("service", "category", "wanted"),
    [
        (None, None, ["a network", "b timeout", "b network"]),
        ("b", None, ["b timeout", "b network"]),
        (None, "network", ["a network", "b network"]),
        ("b", ErrorCategory.TIMEOUT, ["b timeout"]),
        (None, "cancelled", ["a cancelled"]),
        (None, "ban", []),
    ],
    ids=["all", "service", "category", "both", "cancelled", "none"],
)
def test_it_may_be_for_a_service_or_a_category(
    gov: Governor, service: str | None, category: str | None, wanted: list[str]
) -> None:
    """
    It is told of what it has asked for; of a cancellation only if it has asked for that.
    """
    told: list[str] = []

    @gov.on_error(service, category=category)
    def handler(failure: Failure) -> None:
        told.append(f"{failure.service} {failure.verdict.category}")

    fail(gov, "a")
    fail(gov, "b", TimeoutError())
    fail(gov, "b")
    fail(gov, "a", KeyboardInterrupt())
    settled(gov)

    assert told == wanted


def test_each_attempt_is_told(gov: Governor) -> None:
    """
    An attempt that is tried again is one that failed.
    """
    told: list[Failure] = []
    gov.reload({"a": {"retry": {"attempts": 3}}})
    gov.on_error("a")(told.append)

    fail(gov)
    settled(gov)

    assert len(told) == 3


@pytest.mark.parametrize("way", ["call", "acall", "handled", "permit", "apermit", "generator"])
def test_every_way_to_call_tells(gov: Governor, way: str) -> None:
    """
    Blocking or awaiting, with limits or without, with a block or a generator.
    """
    told: list[Failure] = []
    gov.on_error("a")(told.append)

    def raises() -> None:
        raise ConnectionError

    async def araises() -> None:
        raise ConnectionError

    def block() -> None:
        with gov.permit("a"):
            raises()

    async def ablock() -> None:
        async with gov.permit("a"):
            raises()

    def parts() -> Iterator[int]:
        yield 1
        raises()

    ways: dict[str, Callable[[], object]] = {
        "call": lambda: gov.call("a", raises),
        "acall": lambda: asyncio.run(gov.acall("a", araises)),
        "handled": gov.handled("a")(raises),
        "permit": block,
        "apermit": lambda: asyncio.run(ablock()),
        "generator": lambda: list(gov.throttled("a")(parts)()),
    }
    with pytest.raises(ConnectionError):
        ways[way]()
    settled(gov)

    assert len(told) == 1


@pytest.mark.parametrize(
    "kind", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError, RecursionError]
)
@pytest.mark.parametrize("colour", ["plain", "coroutine"])
def test_a_handler_that_raises_or_cancels(
    gov: Governor, kind: type[BaseException], colour: str, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Whatever it raises is counted, and told once in the log by its type alone; call and other handlers go on.
    """
    told: list[Failure] = []

    def broken(failure: Failure) -> None:
        raise kind(SECRET)

    async def abroken(failure: Failure) -> None:
        raise kind(SECRET)

    gov.on_error()(broken if colour == "plain" else abroken)
    gov.on_error()(told.append)
    error = ConnectionError("down")
    with caplog.at_level(logging.WARNING, "egressor"):
        assert fail(gov, error=error) is error
        fail(gov)
        state = settled(gov)

    assert (state[0]["failed"], state[0]["handled"], state[1]["failed"], len(told)) == (2, 2, 0, 2)
    messages = [record.getMessage() for record in caplog.records if record.name == "egressor"]
    assert len(messages) == 1
    assert kind.__name__ in messages[0]
    assert SECRET not in caplog.text


@pytest.mark.parametrize("junk", [None, 7, "stop", object(), Exception, [1], lambda: 1])
def test_a_handler_that_returns_junk(gov: Governor, junk: object) -> None:
    """
    What it returns counts for nothing.
    """
    gov.on_error()(lambda _: junk)
    error = ConnectionError("down")

    assert fail(gov, error=error) is error
    assert settled(gov)[0]["failed"] == 0


def test_a_handler_that_blocks_delays_nobody(gov: Governor) -> None:
    """
    While one blocks for good, calls end, another handler is told, and what it can't take is dropped and counted.
    """
    released, begun = Event(), Event()
    told: list[Failure] = []

    def blocks(failure: Failure) -> None:
        begun.set()
        released.wait()

    gov.on_error()(blocks)
    gov.on_error()(told.append)
    fail(gov)
    assert begun.wait(10)
    for _ in range(1_004):
        fail(gov)
    other = gov.context.handlers._handlers[1]
    assert other.mark().wait(10)
    blocked, quick = gov.error_handlers()

    assert (blocked["handled"], blocked["waiting"], blocked["dropped"]) == (0, 1_000, 4)
    assert blocked["busy_s"] > 0
    assert (quick["handled"], quick["dropped"], len(told)) == (1_005, 0, 1_005)
    released.set()
    assert settled(gov)[0]["handled"] == 1_001


class Uncopied(Exception):
    """
    An exception that can't be copied.
    """

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)


class Same(Exception):
    """
    An exception that is its own copy.
    """

    def __copy__(self) -> Same:
        return self


class Large:
    """
    A variable of a call.
    """


def test_what_waits_for_a_handler_keeps_no_call_alive(gov: Governor) -> None:
    """
    The first hundred are whole; those behind are copies without frames, and what can't be copied is dropped.
    """
    released, begun = Event(), Event()
    told: list[BaseException | None] = []
    alive: WeakSet[Large] = WeakSet()

    def blocks(failure: Failure) -> None:
        begun.set()
        released.wait()
        told.append(failure.error)

    def raises() -> None:
        large = Large()
        alive.add(large)
        msg = "price"
        raise KeyError(msg)

    gov.on_error()(blocks)
    fail(gov)
    assert begun.wait(10)
    for _ in range(300):
        with pytest.raises(KeyError):
            gov.call("a", raises)
    gc.collect()
    assert len(alive) == 100
    fail(gov, error=Uncopied("a", "b"))
    fail(gov, error=Same())
    released.set()

    assert settled(gov)[0]["dropped"] == 2
    assert [(type(error), error.args) for error in told[1:] if error] == [(KeyError, ("price",))] * 300


def test_a_handler_that_calls_what_fails(gov: Governor) -> None:
    """
    Calls that a handler makes are calls like others, but no handler is told how they fail: each would make the next.
    """
    told: list[str] = []

    def recurses(failure: Failure) -> None:
        told.append(failure.service)
        fail(gov, "b")

    gov.on_error()(recurses)
    gov.on_error("b")(lambda failure: told.append(failure.service))
    fail(gov)
    settled(gov)

    assert told == ["a"]
    assert gov.status()["b"]["failed"] == 1


def test_a_handler_runs_beside_the_call(gov: Governor) -> None:
    """
    It never runs on a caller's thread, and a coroutine function runs to its end.
    """
    threads: list[int] = []

    async def handler(failure: Failure) -> None:
        await asyncio.sleep(0)
        threads.append(get_ident())

    assert gov.on_error()(handler) is handler
    fail(gov)
    settled(gov)

    assert len(threads) == 1
    assert get_ident() not in threads


def test_a_slow_handler_is_counted(gov: Governor, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    One that takes more than a second is slow.
    """
    times = iter([0.0, 0.5, 1.0, 3.0])
    monkeypatch.setattr("egressor.governor.handlers.monotonic", lambda: next(times, 3.0))
    gov.on_error()(lambda _: None)
    fail(gov)
    fail(gov)
    (state,) = settled(gov)

    assert (state["slow"], state["longest_s"], state["handled"]) == (1, 2.0, 2)


def test_a_refusal_is_no_failure(gov: Governor) -> None:
    """
    Nothing was sent, and no handler is told.
    """
    told: list[Failure] = []
    gov.on_error()(told.append)
    gov.pause("a")

    assert gov.call("a", int, fallback="kept") == "kept"  # type: ignore[comparison-overlap] # the fallback is of another type
    settled(gov)

    assert told == []


def test_how_handlers_are_shown(gov: Governor) -> None:
    """
    Each is named, with what it has asked for.
    """

    class Callable_:  # noqa: N801 - only its name matters
        def __call__(self, failure: Failure) -> None:
            pass

    gov.on_error("a", category="network")(partial(print, end=""))
    gov.on_error()(Callable_())
    shown = gov.error_handlers()

    assert [(each["name"], each["service"], each["category"]) for each in shown] == [
        ("print", "a", "network"),
        ("Callable_", None, None),
    ]


def test_a_closed_governor_tells_nobody_any_more(gov: Governor) -> None:
    """
    What was told before is handled; nothing comes after.
    """
    seen = Event()

    def handler(failure: Failure) -> None:
        seen.set()

    gov.on_error()(handler)
    fail(gov)
    gov.close()

    assert seen.wait(10)
    assert gov.error_handlers() == []


def test_a_forked_child_tells_its_own() -> None:
    """
    What was waiting at the fork is the parent's to handle; the child's failures are told in the child.
    """
    gov = Governor({"a": ONCE}, clock=FakeClock())
    told: list[Failure] = []
    gov.on_error()(told.append)
    fail(gov)
    settled(gov)
    child = os.fork()
    if child == 0:
        told.clear()
        fail(gov)
        os._exit(0 if gov.context.handlers.drain(10) and len(told) == 1 else 1)
    _, status = os.waitpid(child, 0)
    fail(gov)
    settled(gov)

    assert os.waitstatus_to_exitcode(status) == 0
    assert len(told) == 2


@pytest.mark.parametrize(
    ("service", "category", "handler", "key"),
    [
        ("nobody", None, print, "service"),
        (None, "netwrok", print, "category"),
        (None, 7, print, "category"),
        (None, None, "print", "on_error"),
        (print, None, print, "on_error"),
    ],
)
def test_a_wrong_handler(gov: Governor, service: Any, category: Any, handler: Any, key: str) -> None:
    """
    What is wrong is named.
    """
    with pytest.raises(ConfigError) as raised:
        gov.on_error(service, category=category)(handler)

    assert raised.value.key == key
    assert gov.error_handlers() == []


def test_a_service_type_and_a_bound() -> None:
    """
    A preset may be named by its type; there are 64 handlers at most.
    """
    with Governor(clock=FakeClock()) as gov:
        for _ in range(64):
            gov.on_error(ServiceType.LLM_API)(print)
        with pytest.raises(ConfigError, match="64 error handlers"):
            gov.on_error()(print)

        assert {each["service"] for each in gov.error_handlers()} == {"llm_api"}
