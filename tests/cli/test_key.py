"""
The command that makes a client's key.
"""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner

from egressor._core.model import Priority
from egressor.cli.group import run
from egressor.cli.key import key
from egressor.gateway.keys import PREFIX, digest
from egressor.policies import BudgetPolicy, ClientKey, load
from egressor.policies.settings import settings_of


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ci"], ("ci", None, None, (), (), None, None)),
        (
            ["a.b@c", "--user", 'zoë "z"', "--feature", "x\\y", "--service", "openai", "--service", "b"],
            ("a.b@c", 'zoë "z"', "x\\y", ("openai", "b"), (), None, None),
        ),
        (
            ["ci", "--model", "gpt-4o-mini", "--model", "claude-*"],
            ("ci", None, None, (), ("gpt-4o-mini", "claude-*"), None, None),
        ),
        # The lowest priority is a bound, too.
        (["ci", "--max-priority", "low"], ("ci", None, None, (), (), Priority.LOW, None)),
        (
            ["ci", "--max-priority", "high", "--max-in-flight", "1000000"],
            ("ci", None, None, (), (), Priority.HIGH, 1_000_000),
        ),
    ],
)
def test_what_is_printed_can_be_pasted(words: list[str], expected: tuple[object, ...], tmp_path: Path) -> None:
    """
    The output as a whole is a configuration that knows the key by its hash only.
    """
    out = CliRunner().invoke(key, words).output
    (tmp_path / "egressor.toml").write_text(out + "[services.openai]\n[services.b]\n", encoding="utf-8")
    (found,) = load(tmp_path / "egressor.toml").gateway.keys
    (secret,) = re.findall(rf"#   ({PREFIX}\S+)\n", out)

    bounds = (found.user, found.feature, found.services, found.models, found.max_priority, found.max_in_flight)
    assert (found.name, *bounds) == expected
    assert found.sha256 == digest(secret)
    assert out.count(secret) == 1


@pytest.mark.parametrize(
    "words",
    [["a b"], [""], ["a" * 65], ["a", "--user", "x\ny"], ["a", "--service", "Open AI"], ["a", "--model", ""]],
    ids=range(6),
)
def test_a_name_that_is_none(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """
    What the configuration would not take is not printed, and no key is made.
    """
    code = run(["key", *words])

    printed = capsys.readouterr()
    assert (code, printed.out) == (2, "")
    assert "ClientKey." in printed.err


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--max-priority", "urgent"], "'low', 'medium', 'high', 'critical'"),
        (["--max-in-flight", "0"], "1<=x<=1000000"),
        (["--max-in-flight", "1000001"], "1<=x<=1000000"),
    ],
    ids=range(3),
)
def test_a_bound_that_is_none(words: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    It is refused with what may be said, and no key is made.
    """
    code = run(["key", "ci", *words])

    printed = capsys.readouterr()
    assert (code, printed.out) == (2, "")
    assert part in printed.err


def test_each_bound_has_its_option() -> None:
    """
    What the configuration knows of a key can be said to the command, but for the hash, which it makes.
    """
    assert [each.name for each in key.params] == [each.name for each in settings_of(ClientKey) if each.name != "sha256"]


@pytest.mark.parametrize(
    ("words", "line", "expected"),
    [
        ([], "", None),
        (["day=5"], "budget = { day = 5 }\n", BudgetPolicy(day=Decimal(5))),
        (
            ["month=50.25", "hour=0.000001"],
            "budget = { hour = 0.000001, month = 50.25 }\n",
            BudgetPolicy(hour=Decimal("0.000001"), month=Decimal("50.25")),
        ),
    ],
)
def test_a_budget_can_be_pasted(words: list[str], line: str, expected: BudgetPolicy | None, tmp_path: Path) -> None:
    """
    Each period has its amount, in the order of the settings.
    """
    out = CliRunner().invoke(key, ["ci", *(part for word in words for part in ("--budget", word))]).output
    (tmp_path / "egressor.toml").write_text(out, encoding="utf-8")
    (found,) = load(tmp_path / "egressor.toml").gateway.keys

    assert found.budget == expected
    assert ("budget" in out, line in out) == (bool(words), True)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["day"], "PERIOD=USD"),
        (["day="], "PERIOD=USD"),
        (["year=5"], "hour, day, week, month, total"),
        (["soft=0.5"], "hour, day, week, month, total"),
        (["day=1", "day=2"], "once for each period"),
        (["day=-1"], "-1"),
    ],
)
def test_a_budget_that_is_none(words: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    It is refused with what may be said, and no key is made.
    """
    code = run(["key", "ci", *(each for word in words for each in ("--budget", word))])

    printed = capsys.readouterr()
    assert (code, printed.out) == (2, "")
    assert part in printed.err
