"""
Results that say nothing about the service: those from before the breaker opened (C08), and nobody's failures (C10).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from egressor import CircuitOpen, Governor
from egressor.testing import FakeClock

STRICT: dict[str, Any] = {"retry": {"attempts": 3}, "breaker": {"consecutive": 2, "open_for": 30}, "max_concurrency": 2}


class Exit(BaseException):
    """
    Somebody's own way out.
    """


def fail() -> None:
    """
    Fail.
    """
    raise ConnectionError


@pytest.mark.parametrize("way", ["permit", "call", "acall", "generator"])
def test_a_slow_success_from_before_closes_nothing(way: str) -> None:
    """
    It began before the breaker opened and ends well afterwards: the breaker stays open, for as long as it would have.
    """
    clock = FakeClock()
    gov = Governor({"api": {**STRICT, "retry": {"attempts": 1}}}, clock=clock)

    def trip() -> None:
        for _ in range(2):
            with pytest.raises(ConnectionError):
                gov.call("api", fail)
        assert gov.status()["api"]["state"] == "open"

    async def atrip() -> None:
        # As a task of its own: it is no part of the slow call.
        await asyncio.to_thread(trip)

    def permit() -> None:
        with gov.permit("api"):
            trip()

    def parts() -> Iterator[int]:
        yield 1

    def generator() -> None:
        items = gov.throttled("api")(parts)()
        next(items)
        trip()
        assert list(items) == []

    ways: dict[str, Callable[[], object]] = {
        "permit": permit,
        "call": lambda: gov.call("api", trip),
        "acall": lambda: asyncio.run(gov.acall("api", atrip)),
        "generator": generator,
    }
    ways[way]()

    state = gov.status()["api"]
    assert (state["state"], state["succeeded"], state["in_flight"]) == ("open", 1, 0)
    with pytest.raises(CircuitOpen) as refused:
        gov.call("api", int)
    assert refused.value.retry_after == 30.0
    clock.advance(30)
    assert gov.call("api", int) == 0


def _raise(error: BaseException) -> None:
    raise error


def _call(gov: Governor, error: BaseException) -> None:
    gov.call("api", _raise, error)


def _acall(gov: Governor, error: BaseException) -> None:
    async def araise() -> None:
        raise error

    # No event loop: KeyboardInterrupt and SystemExit end asyncio's own.
    call = gov.handled("api")(araise)()
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(call)
    finally:
        loop.close()


def _permit(gov: Governor, error: BaseException) -> None:
    with gov.permit("api"):
        raise error


def _generator(gov: Governor, error: BaseException) -> None:
    def parts() -> Iterator[int]:
        yield 1
        raise error

    list(gov.throttled("api")(parts)())


def _agenerator(gov: Governor, error: BaseException) -> None:
    async def parts() -> AsyncIterator[int]:
        yield 1
        raise error

    async def run() -> None:
        async for _ in gov.throttled("api")(parts)():
            pass

    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(run())
    finally:
        loop.close()


def _nested(gov: Governor, error: BaseException) -> None:
    gov.call("api", _call, gov, error)


NOBODYS: dict[str, Callable[[], BaseException]] = {
    "KeyboardInterrupt": KeyboardInterrupt,
    "SystemExit": lambda: SystemExit(3),
    "GeneratorExit": GeneratorExit,
    "CancelledError": asyncio.CancelledError,
    "own": Exit,
    "group of exits": lambda: BaseExceptionGroup("leaving", [KeyboardInterrupt(), Exit()]),
}


@pytest.mark.parametrize("kind", NOBODYS)
@pytest.mark.parametrize("way", [_call, _acall, _permit, _generator, _agenerator, _nested])
def test_an_exit_is_nobodys_failure(way: Callable[[Governor, BaseException], None], kind: str) -> None:
    """
    It comes out as the object that was raised, at once and with no note; its place is free, and nothing counts it.
    """
    gov = Governor({"api": STRICT}, clock=FakeClock())
    for _ in range(5):
        error = NOBODYS[kind]()
        with pytest.raises(type(error)) as raised:
            way(gov, error)
        assert raised.value is error
        assert not hasattr(error, "__notes__")

    state = gov.status()["api"]
    assert (state["state"], state["in_flight"], state["retried"]) == ("closed", 0, 0)
    assert (state["breaker"]["failures"], state["breaker"]["consecutive"]) == (0, 0)


@pytest.mark.parametrize("way", [_call, _acall, _permit, _generator, _agenerator])
@pytest.mark.parametrize(
    ("members", "failures"),
    [([ValueError("mine"), KeyError("mine")], 0), ([ConnectionError("theirs"), ValueError("mine")], 1)],
    ids=["mine", "theirs"],
)
def test_a_group_comes_out_unchanged(
    way: Callable[[Governor, BaseException], None], members: list[Exception], failures: int
) -> None:
    """
    A group of the program's own errors is no failure of the service; one with a failure in it is one.
    """
    gov = Governor({"api": {**STRICT, "retry": {"attempts": 1}}}, clock=FakeClock())
    error = ExceptionGroup("several", members)
    with pytest.raises(ExceptionGroup) as raised:
        way(gov, error)

    assert raised.value is error
    assert list(error.exceptions) == members
    state = gov.status()["api"]
    assert (state["breaker"]["failures"], state["in_flight"]) == (failures, 0)


@pytest.mark.parametrize(
    ("policy", "options", "error", "note"),
    [
        (
            {"retry": {"base": 0.0, "budget": 0.001}},
            {},
            ConnectionError,
            "not tried again: the retry budget is used up",
        ),
        (
            {"retry": {"base": 60.0, "cap": 60.0, "jitter": False}},
            {"deadline": 1.0},
            ConnectionError,
            "not tried again: the wait of 60.000 s does not fit its deadline",
        ),
        (
            {"retry": {"base": 0.25, "factor": 100.0, "cap": 60.0, "jitter": False, "budget": False}},
            {"deadline": 1.0},
            ConnectionError,
            "gave up after 2 attempts: the wait of 25.000 s does not fit its deadline",
        ),
        ({}, {"idempotent": False}, TimeoutError, "not tried again: it may have been executed"),
        ({"retry": {"attempts": 1}}, {}, ConnectionError, None),
        ({}, {}, ValueError, None),
    ],
    ids=["budget", "deadline", "deadline later", "in doubt", "one attempt", "not retryable"],
)
def test_a_note_says_why_a_failure_was_not_tried_again(
    policy: dict[str, Any], options: dict[str, Any], error: type[Exception], note: str | None
) -> None:
    """
    Where the budget was used up or the wait did not fit, the exception said nothing of it.
    """

    def fail() -> None:
        raise error

    clock = FakeClock()
    breaker = {"enabled": False}
    with Governor({"api": {"breaker": breaker, **policy}}, clock=clock) as gov:
        for _ in range(14):  # As many as the budget's reserve, and more.
            with suppress(error):
                gov.call("api", fail, **options)
        with pytest.raises(error) as raised:
            gov.call("api", fail, **options)

    assert getattr(raised.value, "__notes__", None) == (note and [f"egressor: api: {note}"])


def test_a_result_that_is_awaited_later_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """
    A plain function that only makes what somebody awaits later is governed in its making alone; the log says so once.
    """
    gov = Governor({"api": {}}, clock=FakeClock())

    class Later:
        def __await__(self) -> Any:
            yield

    for _ in range(3):
        gov.call("api", Later)

    assert caplog.text.count("passes ungoverned") == 1
    assert "returned a test_a_result_that_is_awaited_later_is_told.<locals>.Later" in caplog.text
