"""
The group that measures budgets, run for a moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import money

if TYPE_CHECKING:
    import pytest


def test_calls_and_settles_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    For each kind of ledger a row for each fleet, with all of its calls; nobody is refused.
    """
    monkeypatch.setattr(money, "_SECONDS", 0.5)
    monkeypatch.setattr(money, "_FLEETS", ((1, 1, 0), (2, 2, 20)))
    tables = money.measure(rounds=1)
    found = [dict(zip(table.columns, row, strict=True)) for table in tables for row in table.rows]

    asked = ("processes", "threads", "each makes", "refused")
    assert [tuple(row[key] for key in asked) for row in found] == [
        ("1", "1", "without a rest", "0"),
        ("2", "2", "20 a second", "0"),
    ] * 2
    assert all(1 <= int(row["calls/s"]) <= 88 for row in found[1::2])
    assert all(float(row["call p50"]) <= float(row["call p99"]) for row in found)
    assert all(0 < float(row["settle p50"]) <= float(row["settle p99.9"]) for row in found)
