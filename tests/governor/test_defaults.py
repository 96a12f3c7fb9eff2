"""
The module level: one governor for programs that need no more.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import egressor
from egressor import ConfigError, Governor, Policy, ServiceType
from egressor.governor import defaults
from egressor.testing import FakeClock


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Begin, and end, without a default governor.
    """
    monkeypatch.delenv("EGRESSOR_CONFIG", raising=False)
    monkeypatch.setattr(defaults, "_DEFAULT", [])


def test_without_configuration_the_presets_apply() -> None:
    """
    The default governor is made at the first use, once, with a service for each type.
    """
    gov = egressor.default()

    assert egressor.default() is gov
    assert sorted(gov.status()) == sorted(kind.value for kind in ServiceType)


def test_a_file_named_by_the_environment_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    ``EGRESSOR_CONFIG`` names the file of the default governor.
    """
    path = tmp_path / "egressor.toml"
    path.write_text("[services.mine]\n", encoding="utf-8")
    monkeypatch.setenv("EGRESSOR_CONFIG", str(path))

    assert list(egressor.default().status()) == ["mine"]
    assert list(egressor.configure().status()) == ["mine"]


@pytest.mark.parametrize(
    "source",
    [{"s": {}}, {"s": Policy()}, egressor.Config(services={"s": Policy()})],
    ids=["tables", "policies", "config"],
)
def test_configure_takes_what_a_governor_takes(source: Any) -> None:
    """
    Tables, policies or a whole config make the default governor.
    """
    gov = egressor.configure(source, clock=FakeClock())

    assert egressor.default() is gov
    assert list(gov.status()) == ["s"]


def test_a_wrong_configuration_leaves_the_default_governor(tmp_path: Path) -> None:
    """
    A mistake in `configure` changes nothing.
    """
    gov = egressor.configure({"s": {}})

    with pytest.raises(ConfigError):
        egressor.configure({"s": {"nope": 1}})
    with pytest.raises(ConfigError):
        egressor.configure(tmp_path / "none.toml")

    assert egressor.default() is gov


def test_functions_decorated_before_configure_go_through_it() -> None:
    """
    Regression: decorators run at import, before `configure`, and bound their functions to the presets for good.
    """
    decorated = egressor.throttled("mine", cost={"tokens": 3})(lambda: 7)

    @egressor.handled("mine")
    async def awaited() -> int:
        return 8

    gov = egressor.configure({"mine": {"limits": ["10 tokens/minute"]}}, clock=FakeClock())

    assert decorated() == 7  # type: ignore[no-untyped-call] # a lambda has no types
    assert inspect.iscoroutinefunction(awaited)
    assert asyncio.run(awaited()) == 8
    assert gov.status()["mine"]["limits"][0]["left"] == 7
    assert gov.status()["mine"]["succeeded"] == 2


def test_a_decorator_says_what_is_wrong_as_soon_as_it_can() -> None:
    """
    A wrong option is refused at decoration, always; an unknown service, once there is a configuration.
    """
    with pytest.raises(ConfigError, match="unknown priority"):
        egressor.throttled("mine", priority="urgent")
    egressor.configure({"mine": {}})

    with pytest.raises(ConfigError, match="unknown service 'mien'"):
        egressor.throttled("mien")
    with pytest.raises(ConfigError, match="a generator has no fallback"):

        @egressor.throttled("mine", fallback=None)
        def generator() -> Iterator[int]:
            yield 1


def test_handled_takes_no_limit() -> None:
    """
    `handled` retries and counts, and is not held back by limits.
    """
    gov = egressor.configure({"s": {"limits": ["1/minute burst 1"], "max_wait": 0.0}}, clock=FakeClock())
    failures = [ConnectionRefusedError(), ConnectionRefusedError()]

    def flaky() -> int:
        if failures:
            raise failures.pop()
        return 7

    decorated = egressor.handled("s")(flaky)

    assert [decorated() for _ in range(5)] == [7] * 5
    assert gov.status()["s"]["retried"] == 2
    assert gov.status()["s"]["limits"][0]["left"] == 1


def test_handle_with_retry_calls_now() -> None:
    """
    `handle_with_retry` calls a function with a component's retries, and makes an awaitable of a coroutine function.
    """
    egressor.configure(clock=FakeClock())
    failures = [ConnectionRefusedError()]

    def flaky() -> int:
        if failures:
            raise failures.pop()
        return 7

    async def awaited() -> int:
        return flaky()

    assert egressor.handle_with_retry(flaky, "llm_api") == 7
    failures.append(ConnectionRefusedError())
    assert asyncio.run(egressor.handle_with_retry(awaited, ServiceType.LLM_API)) == 7


def test_acquire_blocks_outside_of_a_loop_and_never_in_one() -> None:
    """
    `acquire` returns a permit that is held, or, where nothing may block, one that is to be awaited.
    """
    gov = egressor.configure({"s": {"max_concurrency": 1}}, clock=FakeClock())

    permit = egressor.acquire("s", "high")
    assert gov.status()["s"]["in_flight"] == 1
    permit.release()
    with egressor.acquire("s"):
        assert gov.status()["s"]["in_flight"] == 1

    async def main() -> None:
        permit = egressor.acquire("s", cost={"tokens": 5})
        assert gov.status()["s"]["in_flight"] == 0
        async with permit:
            assert gov.status()["s"]["in_flight"] == 1

    asyncio.run(main())

    assert gov.status()["s"]["in_flight"] == 0


def test_every_public_name_is_there() -> None:
    """
    What ``__all__`` names can be imported, the version too; what it does not name can't.
    """
    assert [name for name in egressor.__all__ if not hasattr(egressor, name)] == []
    assert egressor.__version__
    with pytest.raises(AttributeError, match="nope"):
        _ = egressor.nope
    assert egressor.Governor is Governor
