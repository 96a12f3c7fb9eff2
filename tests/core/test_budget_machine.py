"""
Budgets under any order of events, beside a judge that keeps a list of what happened and adds it up anew each time.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from egressor._core.budget import NEVER, Ask, Cell, Denied, Held, Hold, expire, hold, release, resolve, settle

PERIODS = {"hour": 100, "day": 400, "total": NEVER}
DAY = 400


class Judge:
    """
    Every hold that was granted: the periods that it is in, what it bounds, what it came to, and whether it is over.
    """

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    @staticmethod
    def periods(now: int) -> dict[str, int]:
        """
        Say in which period of each budget a call is: in the one that the clock says.
        """
        return {key: 0 if key == "total" else now // length * length for key, length in PERIODS.items()}

    def sums(self, key: str, period: int) -> tuple[int, int]:
        """
        Add up what was spent and what is held in one period of one budget.
        """
        inside = [call for call in self.calls if call["periods"].get(key) == period]
        return sum(c["truth"] for c in inside if c["over"]), sum(c["bound"] for c in inside if not c["over"])

    def all_periods(self) -> set[tuple[str, int]]:
        """
        List each period of each budget that anything is in.
        """
        return {each for call in self.calls for each in call["periods"].items()}


class Budgets(RuleBasedStateMachine):
    """
    Holds, ends, losses, late truths and clocks that jump both ways.
    """

    # Whether a call may cost more than was held for it.
    overruns = False

    def __init__(self) -> None:
        super().__init__()
        self.cells: dict[str, Cell] = {}
        self.judge = Judge()
        self.now = 1000
        self.live: list[tuple[Hold, dict[str, Any]]] = []
        self.lost: list[tuple[Hold, dict[str, Any]]] = []
        self.limits: dict[str, int] = {}

    @initialize(hour=st.integers(0, 100), day=st.integers(0, 300), total=st.integers(0, 2000))
    def configure(self, hour: int, day: int, total: int) -> None:
        """
        Choose the limits.
        """
        self.limits = {"hour": hour, "day": day, "total": total}

    @rule(
        keys=st.sets(st.sampled_from(sorted(PERIODS)), min_size=1),
        worst=st.integers(0, 150),
        likely=st.one_of(st.none(), st.integers(0, 60)),
    )
    def ask(self, keys: set[str], worst: int, likely: int | None) -> None:
        """
        Hold for a call; a no is right only if the judge finds no room for it, and a yes only if it does.
        """
        periods = self.judge.periods(self.now)
        asks = tuple(Ask(key, self.limits[key], self.limits[key], *self.span(key, self.now)) for key in sorted(keys))
        found = hold(self.cells, asks, worst=worst, likely=likely, now=self.now, lasts=50)
        rooms = {key: self.limits[key] - sum(self.judge.sums(key, periods[key])) for key in keys}
        need = worst if likely is None else min(worst, likely)

        assert isinstance(found, Held) == (need <= min(rooms.values()))
        if isinstance(found, Denied):
            assert max(0, rooms[found.key]) == found.left
            assert need > rooms[found.key]
            return
        assert need <= found.hold.amount <= max(need, min(worst, *rooms.values()))
        self.cells |= found.cells
        call: dict[str, Any] = {
            "periods": {key: periods[key] for key in keys},
            "bound": found.hold.amount,
            "truth": 0,
            "over": False,
        }
        self.judge.calls.append(call)
        self.live.append((found.hold, call))

    @staticmethod
    def span(key: str, now: int) -> tuple[int, int]:
        """
        Return the period that the clock says.
        """
        start = 0 if key == "total" else now // PERIODS[key] * PERIODS[key]
        return start, start + PERIODS[key]

    @precondition(lambda self: self.live)
    @rule(which=st.integers(0, 10**6), share=st.integers(0, 100), how=st.sampled_from(["settle", "release", "expire"]))
    def end(self, which: int, share: int, how: str) -> None:
        """
        End a call: by its truth, unsent, or never heard of again.
        """
        kept, call = self.live.pop(which % len(self.live))
        truth = kept.amount * share // (50 if self.overruns else 100)
        if how == "settle":
            self.cells |= settle(self.cells, kept, truth).cells
        elif how == "release":
            truth = 0
            self.cells |= release(self.cells, kept).cells
        else:
            truth = kept.amount
            self.cells |= expire(self.cells, kept).cells
            self.lost.append((kept, call))
        call |= {"truth": truth, "over": True}

    @precondition(lambda self: self.lost)
    @rule(which=st.integers(0, 10**6), share=st.integers(0, 100))
    def hear(self, which: int, share: int) -> None:
        """
        Learn the truth about a call that was lost.
        """
        kept, call = self.lost.pop(which % len(self.lost))
        call["truth"] = kept.amount * share // 100
        self.cells |= resolve(self.cells, kept, call["truth"]).cells

    @rule(by=st.one_of(st.integers(0, 60), st.integers(-DAY, 2 * DAY)))
    def move(self, by: int) -> None:
        """
        Let time pass, or set the clock, back too.
        """
        self.now = max(0, self.now + by)

    @invariant()
    def cells_are_what_happened(self) -> None:
        """
        Each period has a cell, which holds the sums of that one, and nothing of another.
        """
        assert {f"{key}#{start}" for key, start in self.judge.all_periods()} == self.cells.keys()
        for name, cell in self.cells.items():
            key = name.partition("#")[0]
            assert name == f"{key}#{cell.start}"
            assert self.judge.sums(key, cell.start) == (cell.spent, cell.held)
            lost = [kept.amount for kept, call in self.lost if call["periods"].get(key) == cell.start]
            assert sum(lost) == cell.unknown

    @invariant()
    def no_period_is_over_its_limit(self) -> None:
        """
        P6: spent + held ≤ budget in every period there ever was, old ones with late endings too.
        """
        for key, period in self.judge.all_periods():
            spent, held = self.judge.sums(key, period)
            over = sum(
                max(0, call["truth"] - call["bound"]) for call in self.judge.calls if call["periods"].get(key) == period
            )
            assert spent + held <= self.limits[key] + over
            assert self.overruns or over == 0


class Overruns(Budgets):
    """
    The same with providers that bill up to twice what was held: the limit is passed by what they took, and no more.
    """

    overruns = True


TestBudgets = Budgets.TestCase
TestBudgets.settings = settings(stateful_step_count=40)
TestOverruns = Overruns.TestCase
TestOverruns.settings = settings(stateful_step_count=40)
