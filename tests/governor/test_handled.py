"""
Code without limits: `handled` and `handle_with_retry` classify, remember, retry, break and fall back all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import egressor
from egressor import CircuitOpen, ErrorCategory, Governor, ServiceType
from egressor.governor import defaults
from egressor.testing import FakeClock

POLICY: dict[str, Any] = {
    "limits": ["1/day"],
    "max_concurrency": 1,
    "max_wait": 0.0,
    "retry": {"attempts": 3, "jitter": False},
    "breaker": {"consecutive": 4, "open_for": 30},
}


class Flaky:
    """
    Fails so many times, then returns 7.
    """

    def __init__(self, failures: int, error: type[Exception] = ConnectionError) -> None:
        self.left = failures
        self.error = error
        self.asked = 0

    def __call__(self) -> int:
        """
        Be asked.
        """
        self.asked += 1
        if self.left:
            self.left -= 1
            raise self.error
        return 7


@pytest.fixture
def gov() -> Iterator[Governor]:
    """
    A default governor whose service has next to no limit left.
    """
    with Governor({"api": POLICY}, clock=FakeClock()) as found:
        defaults._DEFAULT[:] = [found]
        yield found
        defaults._DEFAULT.clear()


def _method(gov: Governor, flaky: Flaky, **options: Any) -> int:
    return int(gov.handled("api", **options)(flaky)())


def _module(_: Governor, flaky: Flaky, **options: Any) -> int:
    return int(egressor.handled("api", endpoint="sentiment", **options)(flaky)())


def _awaited(gov: Governor, flaky: Flaky, **options: Any) -> int:
    @gov.handled("api", **options)
    async def ask() -> int:
        return flaky()

    return int(asyncio.run(ask()))


def _with_retry(_: Governor, flaky: Flaky) -> int:
    return int(egressor.handle_with_retry(flaky, "api"))


def _awaited_with_retry(_: Governor, flaky: Flaky) -> int:
    async def ask() -> int:
        return flaky()

    return int(asyncio.run(egressor.handle_with_retry(ask, "api")))


WAYS: list[Callable[..., int]] = [_method, _module, _awaited, _with_retry, _awaited_with_retry]


@pytest.mark.parametrize("way", WAYS)
def test_it_is_classified_retried_and_remembered(gov: Governor, way: Callable[..., int]) -> None:
    """
    Two failures are told apart, remembered and tried again, and no limit is asked: one a day would be used up.
    """
    flaky = Flaky(2)

    assert [way(gov, flaky) for _ in range(3)] == [7, 7, 7]
    state = gov.status()["api"]
    assert (flaky.asked, state["retried"], state["categories"]) == (5, 2, {"network": 2})
    assert (state["limits"][0]["left"], state["in_flight"]) == (1, 0)
    remembered = gov.errors("api")
    assert {each["category"] for each in remembered["recent"]} == {ErrorCategory.NETWORK.value}


@pytest.mark.parametrize("way", WAYS)
def test_the_breaker_counts_and_refuses(gov: Governor, way: Callable[..., int]) -> None:
    """
    Four failures in a row open it, retries among them, and then nothing is called.
    """
    flaky = Flaky(100)
    with pytest.raises(ConnectionError):
        way(gov, flaky)
    with pytest.raises((ConnectionError, CircuitOpen)):
        way(gov, flaky)
    with pytest.raises(CircuitOpen):
        way(gov, flaky)

    assert (flaky.asked, gov.status()["api"]["state"]) == (4, "open")


@pytest.mark.parametrize("way", [_method, _module, _awaited])
def test_it_falls_back(gov: Governor, way: Callable[..., int]) -> None:
    """
    What fails for good ends in the fallback.
    """
    assert way(gov, Flaky(100), fallback=[Flaky(1), 5]) == 5


@pytest.mark.parametrize("way", [_method, _awaited])
def test_what_may_have_run_is_not_repeated(gov: Governor, way: Callable[..., int]) -> None:
    """
    A function that isn't idempotent is called once if its failure leaves that open.
    """
    flaky = Flaky(1, ConnectionResetError)
    with pytest.raises(ConnectionResetError) as raised:
        way(gov, flaky, idempotent=False)

    assert flaky.asked == 1
    assert raised.value.__notes__ == ["egressor: api: not tried again: it may have been executed"]


def test_generators_are_classified_and_not_repeated(gov: Governor) -> None:
    """
    A generator's failure counts for the breaker; what it has yielded can't be taken back.
    """

    @gov.handled("api")
    def parts() -> Iterator[int]:
        yield 1
        raise ConnectionError

    @gov.handled("api")
    async def aparts() -> AsyncIterator[int]:
        yield 1
        raise ConnectionError

    async def read() -> list[int]:
        return [each async for each in aparts()]

    with pytest.raises(ConnectionError):
        list(parts())
    with pytest.raises(ConnectionError):
        asyncio.run(read())

    state = gov.status()["api"]
    assert (state["categories"], state["retried"], state["in_flight"]) == ({"network": 2}, 0, 0)
    assert state["breaker"]["consecutive"] == 2


def test_presets_are_components() -> None:
    """
    Without a configuration the preset of the component's type says how often.
    """
    with Governor(clock=FakeClock()) as gov:
        defaults._DEFAULT[:] = [gov]
        flaky = Flaky(2)

        assert egressor.handle_with_retry(flaky, ServiceType.LLM_API) == 7
        assert flaky.asked == 3
        defaults._DEFAULT.clear()
