"""
Bans that several processes share: who begins, or lifts, knows less than the store does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from egressor._core.admission import Ask, Lease
from egressor._core.ban import BanNews
from egressor._core.learn import Hint
from egressor._core.model import ErrorCategory, Verdict

from .simulated import SECOND, START, Fleet

if TYPE_CHECKING:
    from egressor.stores.shared import SharedGate

BANNED = Verdict(category=ErrorCategory.BAN, retry_after=600.0, scope="ip")


def fleet(members: int) -> Fleet:
    """
    Return some processes on one store.
    """
    return Fleet(1, members=members, limits=["1000/minute"])


def gates(processes: Fleet) -> list[SharedGate]:
    """
    Return the gate of each.
    """
    return [link.gate for link in processes.links.values() if link.gate is not None]


def later(processes: Fleet, seconds: float) -> None:
    """
    Let so much virtual time pass.
    """
    processes.world.run(processes.world.at + int(seconds * SECOND))


def meet(gate: SharedGate, verdict: Verdict) -> None:
    """
    Let a call of *gate* end with *verdict*.
    """
    ask = Ask((), level=1, scope={"endpoint": "orders"})
    gate.settle(Lease(ask, at=0, generation=gate.breaker.generation, probe=0), verdict)


def is_banned(gate: SharedGate) -> bool:
    """
    Whether every call is refused.
    """
    return gate.snapshot()["state"] == "banned"


def until_s(gate: SharedGate) -> float:
    """
    Return the seconds of its suspension that are left.
    """
    told: Any = gate.snapshot()["ban"]
    return float(told["until_s"])


def remembered(processes: Fleet) -> BanNews:
    """
    Return what the ledger has of a ban that goes on for another 500 seconds.
    """
    return BanNews("began", START + processes.world.at + 500 * SECOND, 1, "ip", "status 418")


def test_who_begins_during_a_ban_hears_of_its_lift() -> None:
    """
    A process takes the ban up from the ledger, makes no call, and goes by the store's word when another lifts it.
    """
    processes = fleet(2)
    old, new = gates(processes)
    meet(old, BANNED)
    later(processes, 1)
    new.restore_ban(remembered(processes), 500.0)
    later(processes, 1)
    assert is_banned(new)

    old.lift_ban()
    later(processes, 2)
    assert not is_banned(new)


def test_a_store_that_has_forgotten_a_ban_hears_of_it() -> None:
    """
    What one process takes up from the ledger, all know of, though none calls.
    """
    processes = fleet(2)
    knows, other = gates(processes)
    knows.restore_ban(remembered(processes), 500.0)
    later(processes, 1)
    other.refresh()
    later(processes, 1)

    assert is_banned(other)


def test_a_ban_holds_though_another_has_told_an_empty_store_first() -> None:
    """
    Bug: a process that knew of no ban told a store that was empty how the service stands, and that won over the ban
    which another had taken up from the ledger.
    """
    processes = fleet(2)
    knows, other = gates(processes)
    meet(other, Verdict(category=ErrorCategory.SERVER_ERROR, counts=True))
    later(processes, 1)
    knows.restore_ban(remembered(processes), 600.0)
    later(processes, 2)
    other.refresh()
    later(processes, 1)

    assert [until_s(gate) > 490 for gate in (knows, other)] == [True, True]
    assert "'failures': 1" in str(knows.snapshot()["breaker"])


def test_what_was_lifted_before_the_ledger_is_read_stays_lifted() -> None:
    """
    An operator lifts a ban while a process starts that has read of it in the ledger: the later word holds.
    """
    processes = fleet(2)
    old, new = gates(processes)
    meet(old, BANNED)
    later(processes, 100)
    old.lift_ban()
    later(processes, 1)
    new.restore_ban(remembered(processes), 600.0)
    later(processes, 2)

    assert not is_banned(new)
    assert not is_banned(old)


@pytest.mark.parametrize(("seconds", "wanted"), [(300, 600), (900, 900)])
def test_of_two_suspensions_the_longer_one_holds(seconds: int, wanted: int) -> None:
    """
    The store's, or the ledger's.
    """
    processes = fleet(2)
    old, new = gates(processes)
    meet(old, BANNED)
    later(processes, 1)
    new.restore_ban(BanNews("began", START + processes.world.at + seconds * SECOND, 1, "ip", "b"), float(seconds))
    later(processes, 2)
    old.refresh()
    later(processes, 1)

    left = [until_s(gate) for gate in (old, new)]
    assert left == [pytest.approx(wanted, abs=10)] * 2


@pytest.mark.parametrize(
    "verdict",
    [
        Verdict(hints=(Hint("requests", 0.0, 100.0, 3_600 * SECOND),)),
        Verdict(hints=(Hint("requests", 20.0, 100.0, 3_600 * SECOND),)),
        Verdict(category=ErrorCategory.RATE_LIMIT, retry_after=600.0, scope="endpoint"),
    ],
    ids=["used up", "near", "one endpoint"],
)
def test_who_is_held_back_by_a_server_s_word_hears_that_it_is_lifted(verdict: Verdict) -> None:
    """
    A process that refuses by what another has learned asks on, and forgets it when an operator says so.
    """
    processes = fleet(2)
    learns, other = gates(processes)
    meet(learns, verdict)
    later(processes, 1)
    other.refresh()
    later(processes, 1)
    assert other.snapshot()["learned"] != []

    learns.lift_ban()
    later(processes, 2)
    assert other.snapshot()["learned"] == []
