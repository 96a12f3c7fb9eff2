"""
A store that does what it was asked, and whose answer gets lost: no allowance is given twice, and no place is lost.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from egressor import Governor, Rejected
from egressor.stores import StoreAway
from tests.faults.fleet import eventually, held

CALLERS = 6
SECONDS = 1.5


class Flaky:
    """
    Between a governor and its store; of so many requests in a hundred the answer is lost, of as many the request.
    """

    def __init__(self, store: Any, lost: int, seed: int) -> None:
        self._store = store
        self._lost = lost
        self._dice = random.Random(seed)
        self._count = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def heal(self) -> None:
        """
        Lose nothing any more.
        """
        self._lost = 0

    def asked(self) -> int:
        """
        Return how many requests came in a tenth of a second.
        """
        before = self._count
        time.sleep(0.1)  # real time: the governors are left alone
        return self._count - before

    def exchange(self, service: str, request: Any) -> Any:
        """
        Ask the store, perhaps.
        """
        self._count += 1
        luck = self._dice.randrange(100)
        if luck < self._lost:
            message = "the request was lost"
            raise StoreAway(message)
        reply = self._store.exchange(service, request)
        if luck < 2 * self._lost:
            message = "the answer was lost"
            raise StoreAway(message)
        return reply


@pytest.fixture
def address(tmp_path: Path) -> str:
    """
    A store of the test's own.
    """
    return f"sqlite:///{tmp_path}/store.db"


@pytest.fixture(params=range(4))
def governors(request: pytest.FixtureRequest, address: str) -> Iterator[list[Governor]]:
    """
    Two governors on one store that often fails.
    """
    policy = {
        "limits": ["40/hour", "30 tokens/hour burst 30", "35/day fixed"],
        "max_concurrency": 3,
        "max_wait": 0.3,
    }
    made = [Governor({"s": policy}, store=address, on_store_loss="closed") for _ in range(2)]
    for number, gov in enumerate(made):
        courier: Any = gov._courier
        courier.store = Flaky(courier.store, 10, 2 * request.param + number)
    yield made
    for gov in made:
        gov.close()


def test_nothing_is_given_twice_and_no_place_is_lost(governors: list[Governor], address: str) -> None:
    """
    Threads of two governors get no more than the limits in all, never more places than there are, and give all back.
    """
    guard = threading.Lock()
    counts = {"in": 0, "most": 0, "done": 0}

    def inside() -> None:
        with guard:
            counts["in"] += 1
            counts["most"] = max(counts["most"], counts["in"])
        with guard:
            counts["in"] -= 1
            counts["done"] += 1

    def work(gov: Governor) -> None:
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            with suppress(Rejected):
                gov.call("s", inside, cost={"tokens": 1})
            time.sleep(0.01)  # real time: whoever is refused at once must not turn in circles

    threads = [threading.Thread(target=work, args=(gov,)) for gov in governors for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    # A window of a day may end meanwhile; that of an hour may not.
    assert counts["done"] <= 31
    assert counts["most"] <= 3
    for gov in governors:
        courier: Any = gov._courier
        courier.store.heal()
    eventually(lambda: held(address) == 0, "all places are back")
    eventually(lambda: sum(courier.store.asked() for _ in range(3)) == 0, "nobody asks for nothing")
