"""
Chains of fallbacks, of a call and of a service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from egressor import ConfigError, Governor, Paused, ServiceType
from egressor.testing import FakeClock

Run = Callable[..., Any]


def down() -> str:
    """
    Fail.
    """
    message = "down"
    raise ConnectionError(message)


def broken() -> str:
    """
    Fail as a fallback.
    """
    message = "no answer kept"
    raise LookupError(message)


async def adown() -> str:
    """
    Fail, awaiting.
    """
    return down()


def _call(gov: Governor, **options: Any) -> Any:
    return gov.call("api", down, **options)


def _acall(gov: Governor, **options: Any) -> Any:
    return asyncio.run(gov.acall("api", adown, **options))


@pytest.fixture(params=[_call, _acall], ids=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Run:
    """
    A call that fails, in either colour.
    """
    found: Run = request.param
    return found


@pytest.fixture
def gov() -> Iterator[Governor]:
    """
    A governor whose service is tried once.
    """
    with Governor({"api": {"retry": {"attempts": 1}}}, clock=FakeClock()) as found:
        yield found


@pytest.mark.parametrize(
    ("fallback", "wanted"),
    [
        ([broken, lambda: "kept", "never"], "kept"),
        ((broken, broken, "a value"), "a value"),
        (["a value", broken], "a value"),
        ([broken, None], None),
        ([], []),
        ([1, 2], [1, 2]),
        ((1, 2), (1, 2)),
        ({"a": broken}, {"a": broken}),
    ],
    ids=["function", "value", "value first", "none", "empty", "list", "tuple", "mapping"],
)
def test_a_chain_is_tried_in_order(gov: Governor, run: Run, fallback: object, wanted: object) -> None:
    """
    The next one is taken where a function raises; a list without a function is a value, as it stands.
    """
    assert run(gov, fallback=fallback) == wanted


def test_a_chain_that_fails_raises_its_last_error(gov: Governor, run: Run) -> None:
    """
    When nothing is left, what the last function has raised comes out as it was raised.
    """
    with pytest.raises(LookupError, match="no answer kept") as raised:
        run(gov, fallback=[down, broken])

    assert type(raised.value) is LookupError


@pytest.mark.parametrize("fallback", [broken, [broken, broken]], ids=["function", "chain"])
def test_what_a_fallback_stood_in_for_is_the_context_of_its_failure(run: Run, fallback: object) -> None:
    """
    A fallback that failed wiped out what the call itself had failed of, and took its note.
    """
    settings = {"retry": {"attempts": 2, "base": 0.0, "budget": False}}
    with Governor({"api": settings}, clock=FakeClock()) as gov, pytest.raises(LookupError) as raised:
        run(gov, fallback=fallback)
    cause = raised.value.__context__

    assert isinstance(cause, ConnectionError)
    assert cause.__notes__ == ["egressor: api: gave up after 2 attempts"]
    assert not hasattr(raised.value, "__notes__")


def test_a_refusal_is_the_context_of_its_fallback_s_failure(gov: Governor, run: Run) -> None:
    """
    Nothing was sent, so that the refusal is what the fallback stood in for.
    """
    gov.pause("api")
    with pytest.raises(LookupError) as raised:
        run(gov, fallback=broken)

    assert isinstance(raised.value.__context__, Paused)


@pytest.mark.parametrize("exit_kind", [KeyboardInterrupt, SystemExit])
def test_an_exit_ends_the_chain(gov: Governor, exit_kind: type[BaseException]) -> None:
    """
    Ctrl-C inside of a fallback is no reason to try the next one.
    """

    def leave() -> None:
        raise exit_kind

    with pytest.raises(exit_kind):
        gov.call("api", down, fallback=[leave, "never"])


def test_a_cancellation_ends_the_chain(gov: Governor) -> None:
    """
    Nor is a cancellation.
    """

    async def leave() -> None:
        raise asyncio.CancelledError

    async def main() -> str:
        with pytest.raises(asyncio.CancelledError):
            await gov.acall("api", adown, fallback=[leave, "never"])
        return "cancelled"

    assert asyncio.run(main()) == "cancelled"


def test_a_refusal_takes_the_chain(gov: Governor, run: Run) -> None:
    """
    A call that was never sent falls back like one that failed.
    """
    gov.pause("api")

    assert run(gov, fallback=[broken, "kept"]) == "kept"


def test_a_chain_may_await(gov: Governor) -> None:
    """
    In an awaiting call, plain functions and coroutine functions stand in one chain.
    """

    async def kept() -> str:
        return "kept"

    assert _acall(gov, fallback=[broken, kept]) == "kept"


def test_what_a_blocking_call_cannot_await_is_refused(gov: Governor) -> None:
    """
    A coroutine function in the chain of a call that blocks is a mistake, and named.
    """
    with pytest.raises(ConfigError, match="can't await its fallback") as raised:
        gov.call("api", down, fallback=[broken, adown])
    assert raised.value.key == "fallback"

    with pytest.raises(ConfigError, match="can't await its fallback"):
        gov.throttled("api", fallback=[adown])(down)


def test_a_services_fallback(gov: Governor, run: Run) -> None:
    """
    It is for calls that state none, until it is taken away.
    """
    gov.set_fallback("api", [broken, "the service's"])

    assert run(gov) == "the service's"
    assert run(gov, fallback="my own") == "my own"
    gov.set_fallback("api")
    with pytest.raises(ConnectionError):
        run(gov)


def test_decorated_functions_have_it(gov: Governor) -> None:
    """
    So have functions that were decorated before, with limits and without.
    """
    throttled, handled = gov.throttled("api")(down), gov.handled("api")(adown)
    gov.set_fallback("api", "kept")

    assert (throttled(), asyncio.run(handled())) == ("kept", "kept")


def test_generators_and_permits_have_none(gov: Governor) -> None:
    """
    Nothing stands in for a part of an answer.
    """
    gov.set_fallback("api", "kept")
    gov.pause("api")

    @gov.throttled("api")
    def parts() -> Iterator[str]:
        yield "one"

    with pytest.raises(Paused):
        list(parts())
    with pytest.raises(Paused), gov.permit("api"):
        pass


def test_a_service_types_fallback() -> None:
    """
    A preset is named by its type.
    """
    with Governor(clock=FakeClock()) as gov:
        gov.set_fallback(ServiceType.INTERNAL_API, "kept")
        gov.pause("internal_api")

        assert gov.call(ServiceType.INTERNAL_API, down) == "kept"


@pytest.mark.parametrize(("service", "fallback"), [("nobody", "x"), ("api", adown), ("api", [broken, adown])])
def test_a_wrong_fallback(gov: Governor, service: str, fallback: object) -> None:
    """
    A service that isn't there, or a function that has to be awaited, is refused.
    """
    with pytest.raises(ConfigError):
        gov.set_fallback(service, fallback)
