"""
Clients' keys and the gateway's names, as the configuration has them.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from egressor import ConfigError
from egressor.policies import BudgetPolicy, ClientKey, Gateway, from_table, load
from egressor.policies.report import effective

HASH = "0123456789abcdef" * 4
GOOD = {"name": "ci", "sha256": HASH}


@pytest.mark.parametrize(
    ("keys", "key", "message"),
    [
        ("x", "gateway.keys", "expected a list of tables"),
        ([1], "gateway.keys[0]", "expected a table"),
        (["egr_secret"], "gateway.keys[0]", "expected a table, .* and no key"),
        ([GOOD, ["egr_secret"]], "gateway.keys[1]", "expected a table, .* and no key"),
        ([{}], "gateway.keys[0].name", "needs both"),
        ([{"name": "ci"}], "gateway.keys[0].sha256", "needs both"),
        ([GOOD | {"sha256": "egr_secret"}], "gateway.keys[0].sha256", "not shown"),
        ([GOOD | {"sha256": HASH.upper()}], "gateway.keys[0].sha256", "64 lower-case"),
        ([GOOD | {"name": "a b"}], "gateway.keys[0].name", "1 to 64"),
        ([GOOD | {"usr": "x"}], "gateway.keys[0].usr", "unknown setting"),
        ([GOOD | {"user": "a\tb"}], "gateway.keys[0].user", "printable"),
        ([GOOD | {"services": ["opnai"]}], "gateway.keys[0].services", "is no service"),
        ([GOOD | {"models": ["gpt 4"]}], "gateway.keys[0].models[0]", "a model's name"),
        ([GOOD | {"models": "gpt-4o"}], "gateway.keys[0].models", "a list"),
        ([GOOD | {"budget": 5}], "gateway.keys[0].budget", "expected a table"),
        ([GOOD | {"budget": {"dya": 5}}], "gateway.keys[0].budget.dya", "did you mean 'day'"),
        ([GOOD | {"budget": {"day": -5}}], "gateway.keys[0].budget.day", "above 0"),
        ([GOOD | {"budget": {"unbounded": True}}], "gateway.keys[0].budget", "bounds something"),
        ([GOOD, GOOD | {"name": "b"}], "gateway.keys[1]", "the same sha256"),
        ([GOOD, GOOD | {"sha256": HASH[::-1]}], "gateway.keys[1]", "the same name"),
    ],
)
def test_bad_keys(keys: object, key: str, message: str) -> None:
    """
    Each mistake is named with its place, and a pasted key is not shown.
    """
    with pytest.raises(ConfigError, match=message) as caught:
        from_table({"gateway": {"keys": keys}, "services": {"openai": {}}})

    assert caught.value.key == key
    assert "egr_secret" not in str(caught.value)


def test_a_misspelt_service_has_its_nearest() -> None:
    """
    A key for a service that there isn't names the one that was meant.
    """
    with pytest.raises(ConfigError, match="did you mean 'openai'"):
        from_table({"gateway": {"keys": [GOOD | {"services": ["opnai"]}]}, "services": {"openai": {}}})


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("gate.example", True),
        ("10.0.0.5", True),
        ("[::1]", True),
        ("gate.example:80", False),
        ("http://gate.example", False),
        ("gate/x", False),
        ("", False),
        ("*", False),
    ],
)
def test_names(name: str, good: bool) -> None:
    """
    A host's name has no scheme, port or path.
    """
    if good:
        assert Gateway(hosts=[name]).hosts == (name,)  # type: ignore[arg-type]
        return
    with pytest.raises(ConfigError):
        Gateway(hosts=[name])  # type: ignore[arg-type]


def test_a_key_shows_its_name_only() -> None:
    """
    Neither its representation nor the effective configuration shows a key's hash.
    """
    config = from_table({"gateway": {"keys": [GOOD]}})

    assert repr(config.gateway.keys) == "(ClientKey(name='ci'),)"
    assert HASH not in repr(config) + repr(effective(config))
    assert [row.value for row in effective(config) if row.key == "gateway.keys"] == [("ci",)]


def test_what_a_key_is_bound_to_is_shown() -> None:
    """
    Each bound that is set has its row, a budget's too; what is left alone has none.
    """
    bounds = {"models": ["gpt-4o-mini", "claude-*"], "max_priority": "low", "budget": {"day": 5}}
    config = from_table({"gateway": {"keys": [GOOD | bounds]}})

    rows = [(row.key, row.value) for row in effective(config) if row.key.startswith("gateway.keys[")]
    assert rows == [
        ("gateway.keys[ci].models", ("gpt-4o-mini", "claude-*")),
        ("gateway.keys[ci].max_priority", "low"),
        ("gateway.keys[ci].budget.day", "5"),
    ]
    assert HASH not in repr(effective(config))


def test_python_takes_objects() -> None:
    """
    In Python a key is an object, and in the file a table.
    """
    config = from_table({"gateway": {"keys": [ClientKey(name="ci", sha256=HASH)]}})

    assert config == from_table({"gateway": {"keys": [GOOD]}})
    with pytest.raises(ConfigError, match="expected a ClientKey"):
        Gateway(keys=[GOOD])  # type: ignore[arg-type]


def test_a_file_that_everybody_may_write(tmp_path: Path) -> None:
    """
    A file with keys to which everybody may write is refused: anybody could add one.
    """
    path = tmp_path / "egressor.toml"
    path.write_text(f'[[gateway.keys]]\nname = "ci"\nsha256 = "{HASH}"\n')
    path.chmod(0o646)
    with pytest.raises(ConfigError, match="chmod o-w"):
        load(path)
    path.chmod(0o644)

    assert len(load(path).gateway.keys) == 1


@pytest.mark.parametrize(
    ("store", "ledger", "is_good"),
    [("memory:", "memory:", True), ("sqlite:///a.db", "memory:", False), ("sqlite:///a.db", "sqlite:///b.db", True)],
)
def test_a_keys_budget_needs_a_ledger_where_processes_share(store: str, ledger: str, *, is_good: bool) -> None:
    """
    Else each of them would spend a whole one of its own.
    """
    table = {
        "egressor": {"store": store, "ledger": ledger},
        "gateway": {"keys": [GOOD | {"budget": {"day": 5, "soft": 0.5, "timezone": "Europe/Berlin"}}]},
    }
    if is_good:
        config = from_table(table)
        assert config.has_budgets
        assert config.gateway.keys[0].budget == BudgetPolicy(day=Decimal(5), soft=0.5, timezone="Europe/Berlin")
    else:
        with pytest.raises(ConfigError, match="a whole budget of its own"):
            from_table(table)
