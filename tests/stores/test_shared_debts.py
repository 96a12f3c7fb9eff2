"""
What calls cost beyond their estimates while the store was away.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from egressor import Governor, WaitTooLong
from egressor._core.limits import Fixed, Gcra, Sliding
from egressor.stores import StoreAway
from tests.faults.fleet import eventually

LIMITS = ["1000 tokens/hour", "1000 tokens/hour fixed", "1000 tokens/hour burst 1000"]


class Leaving:
    """
    Between a governor and its store, which may be away.
    """

    def __init__(self, store: Any) -> None:
        self._store = store
        self.is_away = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def exchange(self, service: str, request: Any) -> Any:
        """
        Ask the store, if it is there.
        """
        if self.is_away:
            message = "the test says so"
            raise StoreAway(message)
        return self._store.exchange(service, request)


def call(gov: Governor, estimate: int, actual: int) -> None:
    """
    Make a call that costs something else than was thought.
    """
    with gov.permit("s", cost={"tokens": estimate}) as permit:
        permit.settle(cost={"tokens": actual})


def taken(gov: Governor) -> int:
    """
    Return how many tokens the store has counted.
    """
    courier: Any = gov._courier
    state, now = courier.store.look("s")
    [(_, value)] = [(cell, value) for cell, value in state.cells.items() if "tokens" in cell]
    wall = time.time_ns() // 1000
    return real(gov).taken(value, now, wall - now)


def real(gov: Governor) -> Gcra | Sliding | Fixed:
    """
    Return the limit of tokens as the store knows it.
    """
    gate: Any = gov._gates["s"]
    [limit] = [part.limit.real for part in gate._home.parts if part.unit == "tokens"]
    assert isinstance(limit, Gcra | Sliding | Fixed)
    return limit


@pytest.mark.parametrize("text", LIMITS)
def test_what_was_used_beyond_a_share_is_charged_in_full(tmp_path: Path, text: str) -> None:
    """
    Regression: of a call that cost more than was left in its process's share, the store was charged with what was left.
    """
    gov = Governor({"s": {"limits": [text]}}, store=f"sqlite:///{tmp_path / 'store.db'}")
    call(gov, 10, 10)
    courier: Any = gov._courier
    courier.store = store = Leaving(courier.store)
    store.is_away = True
    call(gov, 10, 10)
    call(gov, 10, 800)
    store.is_away = False

    eventually(lambda: taken(gov) == 820, "all of it is charged")
    gov.close()


@pytest.mark.parametrize("text", LIMITS)
def test_a_debt_counts_in_a_share(tmp_path: Path, text: str) -> None:
    """
    Who goes on alone owes its part of what was owed when it last asked, too.
    """
    gov = Governor({"s": {"limits": [text]}}, store=f"sqlite:///{tmp_path / 'store.db'}")
    call(gov, 10, 1_200)
    eventually(lambda: taken(gov) == 1_200, "it is charged")
    gate: Any = gov._gates["s"]
    with pytest.raises(WaitTooLong):
        call(gov, 10, 10)
    gate.lose("the test says so")
    [part] = [part for part in gate.compiled.parts if part.unit == "tokens"]
    now = gate._now()

    # Half of the limit, and half of the debt.
    assert part.limit.taken(part.cells[""], now, gate._clock.wall() - now) == pytest.approx(600, abs=1)
    gov.close()
