"""
What a transport and a single request say about the call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from egressor import ConfigError, Governor, NeverFits, WaitTooLong
from egressor.testing import FakeClock
from egressor.transports.aiohttp import middleware
from egressor.transports.httpx import AsyncTransport, Transport
from egressor.transports.requests import Adapter
from tests.transports.upstream import answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.transports.upstream import Caller, Upstream

    Dial = Callable[..., Caller]

POLICY: dict[str, Any] = {
    "limits": ["1000 tokens/hour"],
    "max_wait": 0,
    "rules": [
        {"match": {"user": "*"}, "limits": ["1/hour"]},
        {"match": {"endpoint": "slow"}, "limits": ["2/hour"]},
    ],
}


def governor() -> Governor:
    """
    Return a governor of one service, ``api``, where nothing may wait.
    """
    return Governor({"api": POLICY}, clock=FakeClock())


@pytest.mark.parametrize(
    "make", [Transport, AsyncTransport, Adapter, middleware], ids=["httpx", "httpx, async", "requests", "aiohttp"]
)
def test_a_transport_takes_a_governor_first(make: Any) -> None:
    """
    A name in its place was an AttributeError.
    """
    with pytest.raises(ConfigError, match="a transport takes a governor first, and then the service's name, not 'gov'"):
        make("gov", "s")


def granted(caller: Caller, url: str, *extensions: dict[str, Any] | None) -> int:
    """
    Return how many requests with these extensions, one after the other, go through.
    """
    count = 0
    for extension in extensions:
        try:
            caller.get(url, extensions={} if extension == {} else {"egressor": extension})
        except WaitTooLong:
            continue
        count += 1
    return count


@pytest.mark.parametrize(
    ("options", "extensions", "expected"),
    [
        ({}, [{}, {}, {}], 3),
        ({"scope": {"user": "u1"}}, [None, None], 1),
        ({"scope": {"user": "u1"}}, [{}, {}], 1),
        ({"scope": {"user": "u1"}}, [{}, {"scope": {"user": "u2"}}], 2),
        ({"scope": {"user": "u1"}}, [{"scope": {"feature": "f"}}, {}], 1),
        ({"scope": lambda request: {"user": request.url.path}}, [{}, {}], 1),
        ({}, [{"scope": {"user": "u1"}}, {"scope": {"user": "u1"}}, {"scope": {"user": "u2"}}], 2),
        ({"endpoint": "slow"}, [{}, {}, {}], 2),
        ({"endpoint": "slow"}, [{}, {}, {"endpoint": "fast"}], 3),
        ({}, [{"endpoint": "slow"}] * 3, 2),
        ({"cost": {"tokens": 500}}, [{}, {}, {}], 2),
        ({"cost": {"tokens": 500}}, [{}, {}, {"cost": {"tokens": 0}}], 3),
        ({"cost": lambda request: {"tokens": 1000}}, [{}, {}], 1),
        ({}, [{"cost": {"tokens": 600}}, {"cost": {"tokens": 600}}], 1),
        ({"priority": "low"}, [{"priority": None, "deadline": None}, {"priority": "high"}], 2),
        ({"deadline": 5.0}, [{}, {"deadline": 9.0}], 2),
    ],
)
def test_options_reach_the_gate(
    dial: Dial, upstream: Upstream, options: dict[str, Any], extensions: list[dict[str, Any]], expected: int
) -> None:
    """
    The transport's options hold for all of its requests; a request's own stand above them, key by key.
    """
    url = upstream.script("/a", answer())

    assert granted(dial(governor(), "api", **options), url, *extensions) == expected


@pytest.mark.parametrize(
    ("extension", "message"),
    [
        ({"prioritty": "high"}, "did you mean 'priority'?"),
        ({"scopes": {}}, "did you mean 'scope'?"),
        ({3: 4}, "unknown key 3"),
        ("high", "expected a mapping"),
        ({"priority": "hihg"}, "did you mean 'high'?"),
        ({"scope": "u1"}, "a scope must be a mapping"),
        ({"scope": dict}, "a scope must be a mapping"),
        ({"scope": {"user": 1}}, "a scope holds texts"),
        ({"cost": 5}, "a cost must be a mapping"),
        ({"cost": {"tokens": float("nan")}}, "tokens"),
        ({"deadline": "soon"}, "a deadline must be a number"),
        ({"endpoint": ""}, "an endpoint is a text"),
    ],
)
def test_a_wrong_extension_is_a_clear_error(dial: Dial, upstream: Upstream, extension: object, message: str) -> None:
    """
    Nothing is sent, and nothing is held.
    """
    gov = governor()

    with pytest.raises(ConfigError) as caught:
        dial(gov, "api").get(upstream.script("/a", answer()), extensions={"egressor": extension})
    assert message in str(caught.value)
    assert (upstream.received, gov.status()["api"]["in_flight"]) == ([], 0)


@pytest.mark.parametrize(
    ("service", "options", "message"),
    [
        ("apii", {}, "did you mean 'api'?"),
        ("api", {"priority": "hihg"}, "did you mean 'high'?"),
        ("api", {"deadline": float("nan")}, "a deadline must be a finite number"),
    ],
)
def test_a_wrong_option_is_an_error_at_once(service: str, options: dict[str, Any], message: str) -> None:
    """
    A transport that could never send is not made.
    """
    with pytest.raises(ConfigError) as caught:
        Transport(governor(), service, **options)
    assert message in str(caught.value)


def test_a_cost_that_never_fits_says_so(dial: Dial, upstream: Upstream) -> None:
    """
    No wait would help.
    """
    with pytest.raises(NeverFits):
        dial(governor(), "api", cost={"tokens": 2000}).get(upstream.script("/a", answer()))


def test_a_request_of_another_library_is_refused() -> None:
    """
    Whatever isn't httpx2's or httpx's can't be served.
    """
    with pytest.raises(ConfigError, match="httpx2 or httpx"):
        Transport(governor(), "api").handle_request(object())
