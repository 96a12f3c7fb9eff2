"""
What tests of the Redis store share: a limit of ten, and who asks for it.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

import pytest

from egressor._core.fleet import Part, Rank, Request, Want
from egressor._core.limits import Algorithm, Sliding
from egressor.stores import PATIENCE, StoreAway

if TYPE_CHECKING:
    from egressor.stores.redis import RedisStore

SECOND = 1_000_000
TEN = Sliding(amount=10, period=600 * SECOND)
RANK = Rank(1, 0, 1 << 52)
# Half as much again for a machine that is busy with other tests; the bound is asked for, not measured.
GENEROUS = 20 * PATIENCE


def wanting(most: int = 1, limit: Algorithm = TEN, cell: str = "10/minute", member: str = "a") -> Request:
    """
    A request for *most* calls.
    """
    return Request(member, member, wants=(Want(RANK, (Part(cell, 1, limit),), most),))


def granted(store: RedisStore, request: Request | None = None, service: str = "api") -> int:
    """
    How many calls may go.
    """
    return store.exchange(service, request or wanting()).answers[0].times


def away(store: RedisStore) -> str:
    """
    Why the store is away, which it says before long.
    """
    start = monotonic()
    with pytest.raises(StoreAway) as caught:
        granted(store)
    assert monotonic() - start < GENEROUS
    return str(caught.value)


def is_back(store: RedisStore, service: str = "api") -> bool:
    """
    Whether an exchange is done.
    """
    try:
        granted(store, wanting(member="back"), service)
    except StoreAway:
        return False
    return True


def called(store: RedisStore, service: str, other: RedisStore, heard: list[str]) -> bool:
    """
    Call *other*; whether it has *heard*.
    """
    store.call(service, [other.address])
    return service in heard
