"""
The retry budget over several processes, judged by counting retries and calls.
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from math import ceil
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from egressor._core.model import ErrorCategory, Verdict
from egressor.policies import BreakerPolicy
from tests.stores.simulated import SECOND, Fleet, SimLink, Use

if TYPE_CHECKING:
    from pathlib import Path

    from egressor._core.admission import Lease
    from egressor.stores.gate import Gate

_FAILED = Verdict(category=ErrorCategory.SERVER_ERROR, counts=True, retryable=True)
_OK = Verdict()
_FREE = 10
_CALLS = 200


class Failing(Fleet):
    """
    Processes of which most calls fail, each of which wants to retry.
    """

    def __init__(self, seed: int, *, failing: float, **settings: Any) -> None:
        super().__init__(seed, breaker=BreakerPolicy(enabled=False), **settings)
        self.failing = failing
        self.calls: list[int] = []
        self.retries: list[int] = []

    def _end(self, use: Use, link: SimLink, gate: Gate, lease: Lease) -> None:
        use.ended = self.world.at
        self.calls.append(self.world.at)
        failed = self.world.dice.random() < self.failing
        if gate.settle(lease, _FAILED if failed else _OK, wants_retry=failed).may_retry:
            self.retries.append(self.world.at)

    def over(self) -> int:
        """
        Return by how many retries the worst window has passed the budget; what others count may be known 2 s late.
        """
        return max(
            ceil(
                sum(end - 9 * SECOND < at <= end for at in self.retries)
                - sum(end - 12 * SECOND < at <= end for at in self.calls) / 10
                - _FREE
            )
            for end in self.retries
        )


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("failing", [1.0, 0.5])
@pytest.mark.parametrize(
    ("trip", "pause", "calls"), [(500, 5_000, 3_000), (300_000, 5_000, 3_000), (500, 200_000, 400)]
)
def test_all_processes_stay_inside_the_budget(seed: int, failing: float, trip: int, pause: int, calls: int) -> None:
    """
    However long the way to the store is, more than the budget is at most one share for each other process.
    """
    members = 4
    fleet = Failing(seed, failing=failing, members=members, trip=trip)
    for who in range(members):
        fleet.world.later(0, partial(fleet.call, who, level=1))
    fleet.world.run(fleet.world.at + SECOND)
    for _ in range(calls):
        fleet.world.run(fleet.world.at + fleet.world.dice.randrange(2 * pause))
        fleet.call(fleet.world.dice.randrange(members), level=1)
    fleet.world.run(fleet.world.at + 5 * SECOND)

    # There is never more at hand than what is free, and what came in on the way to the store and back.
    at_hand = _FREE + 4 * trip / pause / 10
    assert fleet.over() <= (members - 1) * ceil(at_hand / members)
    assert len(fleet.retries) >= 0.5 * len(fleet.calls) / 10


_PROCESS = """
import sys, time
from egressor import Governor

def fail():
    tries.append(1)
    time.sleep(0.01)  # real time: as long as a near service takes to say so.
    raise ConnectionError

tries = []
policy = {"retry": {"attempts": 2, "base": 0.001}, "breaker": {"enabled": False}}
gov = Governor({"a": policy}, store=sys.argv[1])
gov.call("a", lambda: 1)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[2])):
    try:
        gov.call("a", fail)
    except ConnectionError:
        pass
print(len(tries) - int(sys.argv[2]), flush=True)
gov.close()
"""


def test_four_processes_stay_inside_the_budget(tmp_path: Path) -> None:
    """
    Real processes that retry as fast as they can: a slow machine only gives them more time, which is allowed for.
    """
    members = 4
    store = f"sqlite:///{tmp_path / 'store.db'}"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _PROCESS, store, str(_CALLS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(members)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    began = monotonic()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    retries = sum(int(process.communicate()[0]) for process in processes)
    windows = 1 + int((monotonic() - began) // 9)

    # Until a process has heard of the others, all that is free is its share.
    assert retries <= windows * (members * _FREE + members * (_CALLS + 1) / 10)
    assert retries >= _FREE
