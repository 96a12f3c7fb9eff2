"""
A service that limps: low calls stay at home, urgent ones are sent, by every way to call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from egressor import CircuitOpen, ErrorCategory, Governor, Paused, classify
from egressor.testing import FakeClock
from tests.faults.fleet import eventually

if TYPE_CHECKING:
    from pathlib import Path

LIMPING: dict[str, Any] = {
    "retry": {"attempts": 1},
    "breaker": {"consecutive": 100_000, "min_calls": 10, "window": 60},
}


def governor(dice: float = 0.0, **breaker: Any) -> Governor:
    """
    Return a governor of one service, with dice that always show the same.
    """
    policy = {**LIMPING, "breaker": {**LIMPING["breaker"], **breaker}}
    return Governor({"api": policy}, clock=FakeClock(), dice=lambda: dice)


def limp(gov: Governor, successes: int = 4, failures: int = 8) -> None:
    """
    Let the service accept only some critical calls.
    """

    def fails() -> None:
        raise ConnectionError

    for _ in range(successes):
        gov.call("api", int, priority="critical")
    for _ in range(failures):
        with pytest.raises(ConnectionError):
            gov.call("api", fails, priority="critical")


def _call(gov: Governor, priority: str) -> Any:
    return gov.call("api", int, priority=priority)


def _acall(gov: Governor, priority: str) -> Any:
    async def nought() -> int:
        return 0

    return asyncio.run(gov.acall("api", nought, priority=priority))


def _permit(gov: Governor, priority: str) -> Any:
    with gov.permit("api", priority=priority):
        return 0


def _apermit(gov: Governor, priority: str) -> Any:
    async def run() -> int:
        async with gov.permit("api", priority=priority):
            return 0

    return asyncio.run(run())


def _generator(gov: Governor, priority: str) -> Any:
    def parts() -> Iterator[int]:
        yield 0

    return next(iter(gov.throttled("api", priority=priority)(parts)()))


def _tapped(gov: Governor, priority: str) -> Any:
    gov.tap(lambda _: None)
    return _call(gov, priority)


@pytest.mark.parametrize("way", [_call, _acall, _permit, _apermit, _generator, _tapped])
def test_low_calls_stay_at_home(way: Callable[[Governor, str], Any]) -> None:
    """
    The refusal says why, and when to ask again; more urgent calls are sent all the while.
    """
    gov = governor()
    limp(gov)

    with pytest.raises(CircuitOpen) as refused:
        way(gov, "low")
    assert (refused.value.reason, refused.value.key, refused.value.retry_after) == ("shed", "breaker", 6.0)
    assert "more urgent ones go first" in str(refused.value)
    assert [way(gov, priority) for priority in ("medium", "high", "critical")] == [0, 0, 0]
    assert gov.status()["api"]["denied"] == {"shed": 1}
    assert gov.status()["api"]["state"] == "closed"


def test_the_worse_it_gets_the_more_stay_at_home() -> None:
    """
    Only critical calls are sent to a service that accepts nothing.
    """
    gov = governor()
    limp(gov, 0, 20)

    for priority in ("low", "medium", "high"):
        with pytest.raises(CircuitOpen):
            _call(gov, priority)
    assert _call(gov, "critical") == 0


@pytest.mark.parametrize(
    ("breaker", "successes", "failures"),
    [
        ({}, 8, 8),
        ({}, 0, 9),
        ({"shed": False}, 0, 20),
        ({"shadow": True}, 0, 20),
        ({"enabled": False}, 0, 20),
        ({"shed_k": 4}, 4, 8),
    ],
    ids=["sporadic", "few", "off", "shadow", "no breaker", "lenient"],
)
def test_nothing_is_shed(breaker: dict[str, Any], successes: int, failures: int) -> None:
    """
    Not for sporadic failures, nor for a few, nor where nobody wants it.
    """
    gov = governor(**breaker)
    limp(gov, successes, failures)

    assert _call(gov, "low") == 0


def test_the_dice_let_some_go() -> None:
    """
    Whoever is shed is drawn by lot: one in twenty goes at least.
    """
    gov = governor(dice=0.96)
    limp(gov, 0, 1_000)

    assert _call(gov, "low") == 0


def test_it_goes_on_when_the_service_has_recovered() -> None:
    """
    Results count, not time: urgent calls that succeed bring the low ones back; so does a window without any call.
    """
    clock = FakeClock()
    gov = Governor({"api": LIMPING}, clock=clock, dice=lambda: 0.5)
    limp(gov)
    clock.advance(70)
    assert _call(gov, "low") == 0

    limp(gov, 0, 20)
    with pytest.raises(CircuitOpen):
        _call(gov, "low")
    for _ in range(40):
        _call(gov, "critical")
    assert _call(gov, "low") == 0


def test_a_retry_may_be_shed() -> None:
    """
    A call whose service begins to limp under it gives up with its own error, and a note.
    """
    gov = governor()
    gov.reload({"api": {**LIMPING, "retry": {"attempts": 3}}})
    limp(gov, 0, 3)

    def fails() -> None:
        message = "mine"
        raise ConnectionError(message)

    with pytest.raises(ConnectionError, match="mine") as raised:
        gov.call("api", fails, priority="low")

    assert "not tried again: the service fails many of its calls" in raised.value.__notes__[0]


def test_a_fallback_stands_in() -> None:
    """
    A call that was shed falls back like any that is refused.
    """
    gov = governor()
    limp(gov)

    assert gov.call("api", int, priority="low", fallback="kept") == "kept"  # type: ignore[comparison-overlap] # the fallback is of another type


def test_other_refusals_come_first() -> None:
    """
    What refuses every call says so.
    """
    gov = governor()
    limp(gov)
    gov.pause("api")

    with pytest.raises(Paused):
        _call(gov, "low")
    gov.resume("api")
    gov.force_open("api")
    with pytest.raises(CircuitOpen) as refused:
        _call(gov, "low")
    assert refused.value.reason == "circuit_open"


def test_how_such_a_refusal_is_read() -> None:
    """
    To the classifier it is a service that is overloaded.
    """
    error = CircuitOpen("api: shed", service="api", key="breaker", reason="shed", retry_after=6.0)
    verdict = classify(error)

    assert (verdict.category, verdict.retry_after, verdict.counts) == (ErrorCategory.OVERLOADED, 6.0, False)


def test_a_service_that_does_a_tenth_of_what_is_wanted() -> None:
    """
    With real lots, most of the low calls stay at home, all high ones are sent, and the service is used to its limit.
    """
    clock = FakeClock()
    gov = Governor({"api": LIMPING}, clock=clock, dice=Random(3).random)
    sent = {"low": 0, "high": 0}
    able = done = 0

    def serve(priority: str) -> None:
        nonlocal able, done
        sent[priority] += 1
        if able <= 0:
            raise ConnectionError
        able -= 1
        done += 1

    for _ in range(200):
        able = 10
        for turn in range(100):
            clock.advance(0.01)
            priority = "low" if turn % 20 else "high"
            with suppress(ConnectionError, CircuitOpen):
                gov.call("api", serve, priority, priority=priority)

    assert sent["high"] == 200 * 5
    assert sent["low"] < 200 * 95 * 0.3
    assert done > 200 * 10 * 0.9


def test_processes_shed_by_the_same_results(tmp_path: Path) -> None:
    """
    What one governor has seen on a shared store, another goes by.
    """
    store = f"sqlite:///{tmp_path / 'egressor.db'}"
    with (
        Governor({"api": LIMPING}, store=store, dice=lambda: 0.0) as one,
        Governor({"api": LIMPING}, store=store, dice=lambda: 0.0) as other,
    ):
        limp(one)
        eventually(lambda: other.status()["api"]["breaker"]["calls"] == 12, "the other has heard of it")

        with pytest.raises(CircuitOpen) as refused:
            _call(other, "low")
        assert refused.value.reason == "shed"
        assert _call(other, "medium") == 0
