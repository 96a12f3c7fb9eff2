"""
What the tests of transports share: a real server, and clients of every kind.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from egressor.transports.httpx import AsyncTransport, Transport
from tests.transports.upstream import KINDS, Caller, Upstream

if TYPE_CHECKING:
    from egressor import Governor

    Dial = Callable[..., Caller]


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """
    A server of its own for each test.
    """
    with Upstream() as server:
        yield server


@pytest.fixture(params=KINDS, ids="-".join)
def dial(request: pytest.FixtureRequest) -> Iterator[Dial]:
    """
    Make a governed client, or one around a given transport; each test runs with httpx2 and httpx, sync and async.
    """
    callers: list[Caller] = []
    family, colour = request.param

    def make(gov: Governor, *args: Any, **options: Any) -> Caller:
        kind = AsyncTransport if colour == "async" else Transport
        callers.append(Caller(family, colour, kind(gov, *args, **options)))
        return callers[-1]

    yield make
    for caller in callers:
        caller.close()


@pytest.fixture
def dropped_sessions() -> Iterator[None]:
    """
    Let a test drop sessions and connections: their sockets are closed here, without a warning, not in the next test.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()
