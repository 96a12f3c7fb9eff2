"""
What was spent, and how budgets stand.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from egressor import ConfigError, Governor
from egressor._core.budget import NEVER, Ask, Cell
from egressor._host.lock import Latch
from egressor.ledger import LedgerAway
from egressor.ledger.costs import read_costs
from egressor.ledger.memory import MemoryLedger
from egressor.ledger.money import Page, Sum, Tags
from egressor.testing import FakeClock

DAY = 86_400_000_000
NOW = 20_000 * DAY + DAY // 2
QUIET = {"away": "", "owed": 0, "dropped": 0}


def ledger(*sums: Sum, **cells: tuple[Cell, int]) -> MemoryLedger:
    """
    A ledger that holds these.
    """
    found = MemoryLedger()

    def put(page: Page) -> None:
        for each in sums:
            page.add(each, 10_000)
        page.put({key: cell for key, (cell, _) in cells.items()}, {key: limit for key, (_, limit) in cells.items()})

    found.money(put)
    return found


def test_costs_are_added_up_by_everything() -> None:
    """
    The dearest first, days in their order; what is older than asked for, or another service's, is left out.
    """
    place = ledger(
        Sum(19_999, Tags("a", "m", "chat", "u1"), 2, 2_000_000, 500),
        Sum(20_000, Tags("a", "n", "chat", "u2"), 1, 3_000_000, 0),
        Sum(20_000, Tags("b"), 1, 9, 0),
        Sum(19_998, Tags("a"), 1, 7_000_000, 0),
    )
    found = read_costs(place.money, (), now=NOW, since=19_999 * DAY + 5, state=QUIET, service="a")

    assert found["since"] == "2024-10-03T00:00:00.000000Z"
    assert found["total"] == {"calls": 3, "usd": "5.000000", "unknown_usd": "0.000500"}
    assert list(found["by_model"]) == ["n", "m"]
    assert found["by_user"]["u1"] == {"calls": 2, "usd": "2.000000", "unknown_usd": "0.000500"}
    assert {key: each["calls"] for key, each in found["by_day"].items()} == {"2024-10-03": 2, "2024-10-04": 1}
    assert (list(found["by_service"]), list(found["by_feature"])) == (["a"], ["chat"])
    assert (found["budgets"], found["ledger"]) == ([], QUIET)


def test_of_too_many_values_the_rest_is_one() -> None:
    """
    A thousand are shown, and all others together.
    """
    place = ledger(*(Sum(20_000, Tags("a", user=f"u{n:04}"), 1, 5_000 - n, 0) for n in range(1_003)))
    found = read_costs(place.money, (), now=NOW, since=0, state=QUIET)["by_user"]

    assert (len(found), list(found)[:2]) == (1_001, ["u0000", "u0001"])
    assert found["3 others"] == {"calls": 3, "usd": "0.011997", "unknown_usd": "0.000000"}


def test_budgets_are_those_of_the_configuration_and_of_single_values() -> None:
    """
    One that was not used yet in its period is whole; of single values those whose period is not over are there.
    """
    begin = NOW // DAY * DAY
    asks = [Ask("a/day@UTC", 1_000_000, 800_000, begin, begin + DAY), Ask("a/total@UTC", 9, 8, 0, NEVER)]
    cells = {
        f"a/day@UTC#{begin - DAY}": (Cell(begin - DAY, begin, 999, 0), 1_000_000),
        "a/total@UTC#0": (Cell(0, NEVER, 5, 3, 2), 9),
        f"a[user=*:u1]/day@UTC#{begin}": (Cell(begin, begin + DAY, 300, 900, 100, warned=True), 1_000),
        f"a[user=*:u2]/day@UTC#{begin - DAY}": (Cell(begin - DAY, begin, 300, 0), 1_000),
        # Of a clock that was ahead.
        f"a[user=*:u1]/day@UTC#{begin + DAY}": (Cell(begin + DAY, begin + 2 * DAY, 700, 0), 1_000),
    }
    found = read_costs(ledger(**cells).money, asks, now=NOW, since=0, state=QUIET)["budgets"]

    assert [each["budget"] for each in found] == ["a/day@UTC", "a/total@UTC", "a[user=*:u1]/day@UTC"]
    assert found[0] == {
        "budget": "a/day@UTC",
        "service": "a",
        "key": "",
        "limit_usd": "1.000000",
        "spent_usd": "0.000000",
        "held_usd": "0.000000",
        "unknown_usd": "0.000000",
        "left_usd": "1.000000",
        "is_soft": False,
        "began": "2024-10-04T00:00:00.000000Z",
        "renews": "2024-10-05T00:00:00.000000Z",
        "forecast_usd": "0.000000",
    }
    assert [(each["left_usd"], each["is_soft"], each["renews"] is None) for each in found[1:]] == [
        ("0.000001", True, True),
        ("0.000000", True, False),
    ]
    assert (found[1]["forecast_usd"], found[2]["forecast_usd"]) == (None, "0.000600")


def test_of_too_many_budgets_the_nearest_to_their_limits_are_shown() -> None:
    """
    After those of the configuration, of which none is left out: a thousand, and how many more there are.
    """
    asks = [Ask("a/total@UTC", 9, 8, 0, NEVER), Ask("b/total@UTC", 9, 8, 0, NEVER)]
    cells = {f"a[user=*:u{n:04}]/total@UTC#0": (Cell(0, NEVER, n, 1), 2_000) for n in range(1_003)}
    place = ledger(**cells, **{"a/total@UTC#0": (Cell(0, NEVER, 0), 9), "b/total@UTC#0": (Cell(0, NEVER, 9), 9)})
    found = read_costs(place.money, asks, now=NOW, since=0, state=QUIET)
    names = [each["budget"] for each in found["budgets"]]
    other = read_costs(place.money, asks, now=NOW, since=0, state=QUIET, service="b")

    assert names[:3] == ["a/total@UTC", "b/total@UTC", "a[user=*:u1002]/total@UTC"]
    assert (names[-1], len(names), found["budgets_left_out"]) == ("a[user=*:u0003]/total@UTC", 1_002, 3)
    assert ([each["budget"] for each in other["budgets"]], other["budgets_left_out"]) == (["b/total@UTC"], 0)


def test_a_locked_ledger_is_not_waited_for_long(tmp_path: Path) -> None:
    """
    While another process keeps its lock, the costs say that it is away, and how long that was waited for.
    """
    with Governor({"a": {"budget": {"total": 1}}}, ledger=f"sqlite:///{tmp_path}/l.db") as gov:
        other = Latch(tmp_path / "l.db.lock")
        other.take(patience=5)
        try:
            kept = gov.costs()["ledger"]["away"]
        finally:
            other.give()
            other.close()
        again = gov.costs()["ledger"]["away"]

    assert re.fullmatch(r"another process has held its lock l\.db\.lock for 0\.[45]\d* s", kept)
    assert again == ""


def test_a_ledger_that_is_away_says_why() -> None:
    """
    Its own word, or what was known before.
    """

    def away(_: object) -> object:
        message = "it is away"
        raise LedgerAway(message)

    asks = [Ask("a/total@UTC", 9, 8, 0, NEVER)]
    found = read_costs(away, asks, now=NOW, since=0, state=QUIET)
    known = read_costs(away, asks, now=NOW, since=0, state={**QUIET, "away": "long ago"})

    assert (found["ledger"]["away"], known["ledger"]["away"]) == ("it is away", "long ago")
    assert found["total"]["calls"] == 0


@pytest.mark.parametrize("is_durable", [False, True])
def test_a_governor_shows_its_costs(tmp_path: Path, is_durable: bool) -> None:
    """
    With what is held now, and the budgets of its rules.
    """
    rules = [{"match": {"user": "*"}, "budget": {"day": 1}}, {"match": {"feature": "x"}, "budget": {"total": 2}}]
    address = f"sqlite:///{tmp_path}/l.db" if is_durable else "memory:"
    with Governor({"a": {"budget": {"day": 3}, "rules": rules}, "b": {}}, ledger=address) as gov:
        gov.call("a", str, scope={"user": "u"}, cost={"usd": 0.5})
        with gov.permit("a", cost={"usd": 0.25}):
            found = gov.costs()
        other = gov.costs("b")

    assert found["total"] == {"calls": 1, "usd": "0.500000", "unknown_usd": "0.000000"}
    assert [(each["budget"], each["left_usd"]) for each in found["budgets"]] == [
        ("a/day@UTC", "2.250000"),
        ("a[feature=x]/total@UTC", "2.000000"),
        ("a[user=*:u]/day@UTC", "0.500000"),
    ]
    assert (other["total"]["calls"], other["budgets"]) == (0, [])


def test_without_budgets_there_are_no_costs() -> None:
    """
    Nothing is kept of calls that no budget applies to; a time that is none is refused.
    """
    gov = Governor({"a": {}}, clock=FakeClock())
    gov.call("a", str, cost={"usd": 1})

    assert (gov.costs()["total"]["calls"], gov.costs(since=0)["budgets"]) == (0, [])
    with pytest.raises(ConfigError, match="since is a time"):
        gov.costs(since=-1)
