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
    A row for each fleet, with all of its calls; nobody is refused.
    """
    monkeypatch.setattr(money, "_SECONDS", 0.5)
    monkeypatch.setattr(money, "_FLEETS", ((1, 0), (2, 40)))
    (table,) = money.measure(rounds=1)
    found = [dict(zip(table.columns, row, strict=True)) for row in table.rows]

    assert [(row["processes"], row["each makes"], row["refused"]) for row in found] == [
        ("1", "without a rest", "0"),
        ("2", "40 a second", "0"),
    ]
    assert 1 <= int(found[1]["calls/s"]) <= 84
    assert all(float(row["call p50"]) <= float(row["call p99"]) for row in found)
    assert all(0 < float(row["settle p50"]) <= float(row["settle p99.9"]) for row in found)
