"""
The stores on which the same faults are tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.fleet import Fleet, Place, redis_place, sqlite_place

STORES: dict[str, Callable[[Path], Any]] = {"sqlite": sqlite_place, "redis": redis_place}
"""
What leads to a new, empty store: a context of its `Place`.
"""


@pytest.fixture(params=STORES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """
    A store of the test's own.
    """
    with STORES[request.param](tmp_path) as found:
        yield found


@pytest.fixture
def store(place: Place) -> str:
    """
    Its address.
    """
    return place.address


@pytest.fixture
def start(store: str, tmp_path: Path) -> Iterator[Callable[..., Fleet]]:
    """
    Start so many processes that share *store*; all of them end with the test.
    """
    fleets: list[Fleet] = []

    def start(number: int, services: dict[str, Any], **settings: Any) -> Fleet:
        found = Fleet(tmp_path, store, services, **settings)
        fleets.append(found)
        found.start(number)
        return found

    yield start
    for each in fleets:
        each.end()
