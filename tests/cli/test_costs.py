"""
The command ``costs``, on a ledger.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from egressor import Governor
from egressor._core.budget import NEVER, Cell
from egressor.cli.main import main
from egressor.ledger.sqlite import SqliteLedger

CONFIG = """
[egressor]
ledger = 'sqlite:///history.db'
[services.api]
budget = { total = 1 }
[services.other]
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """
    A folder with a configuration, and what its program has spent.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("EGRESSOR_CONFIG", "EGRESSOR_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "egressor.toml").write_text(CONFIG)
    with Governor.from_file("egressor.toml") as gov:
        for user in ("u1", "=cmd"):
            gov.call("api", str, scope={"user": user}, cost={"usd": 0.25})
    return tmp_path


def test_costs_are_shown_by_what_was_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """
    A table of what was spent, and one of the budgets.
    """
    code = main(["costs", "--by", "user"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]

    assert code == 0
    assert lines == [
        ["USER", "CALLS", "USD", "UNKNOWN"],
        ["=cmd", "1", "0.250000", "0.000000"],
        ["u1", "1", "0.250000", "0.000000"],
        ["total", "2", "0.500000", "0.000000"],
        [],
        ["BUDGET", "LIMIT", "SPENT", "HELD", "UNKNOWN", "LEFT", "RENEWS", "FORECAST"],
        ["api/total@UTC", "1.000000", "0.500000", "0.000000", "0.000000", "0.500000", "never", "-"],
    ]


def test_costs_as_csv_run_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """
    A name that a spreadsheet would take for a formula is guarded.
    """
    main(["costs", "--csv", "--by", "user", "--since", "7d"])

    assert capsys.readouterr().out.splitlines() == [
        "user,calls,usd,unknown_usd",
        "'=cmd,1,0.250000,0.000000",
        "u1,1,0.250000,0.000000",
    ]


def test_costs_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """
    What `Governor.costs` returns; of a service that has cost nothing, nothing.
    """
    main(["costs", "--json"])
    found = json.loads(capsys.readouterr().out)
    main(["costs", "--json", "--service", "other"])
    none = json.loads(capsys.readouterr().out)

    assert (found["total"]["usd"], found["budgets"][0]["left_usd"]) == ("0.500000", "0.500000")
    assert (none["total"]["calls"], none["budgets"]) == (0, [])


def test_of_too_many_budgets_the_rest_is_counted(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    """
    A thousand and those of the configuration are shown; a line says how many there are besides.
    """
    ledger = SqliteLedger(here / "history.db")
    cells = {f"api[user=*:u{number}]/total@UTC#0": Cell(0, NEVER, 1) for number in range(1_002)}
    ledger.money(lambda page: page.put(cells, dict.fromkeys(cells, 10)))
    ledger.close()
    main(["costs"])
    said = capsys.readouterr().out.splitlines()

    assert sum(line.startswith("api") for line in said) == 1_001
    assert said[-1] == "2 budgets more are further from their limits."


def test_a_service_is_known_by_its_configuration_or_by_what_it_has_cost(capsys: pytest.CaptureFixture[str]) -> None:
    """
    A slip gets 2 and the nearest name, where it was told that nothing was spent.
    """
    slip = main(["costs", "--service", "apii"])
    said = capsys.readouterr().err
    Path("egressor.toml").write_text(CONFIG.replace("services.api]", "services.renamed]"))
    old = main(["costs", "--service", "api"])

    assert (slip, old) == (2, 0)
    assert said.endswith("the configuration has api, other (did you mean 'api'?)\n")
    assert "0.500000" in capsys.readouterr().out


def test_a_spent_budget_is_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    """
    1 if nothing is left, and if the ledger can't be read, which is said.
    """
    with Governor.from_file("egressor.toml") as gov:
        gov.call("api", str, cost={"usd": 0.5})
    spent = main(["costs"])
    Path("history.db").write_bytes(b"no database" * 100)
    away = main(["costs", "--by", "model"])

    assert (spent, away) == (1, 1)
    assert "the ledger is away: " in capsys.readouterr().err
