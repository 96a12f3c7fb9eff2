"""
What `egressor check` and `egressor init` print.
"""

from __future__ import annotations

import json
import re
from dataclasses import astuple
from typing import TYPE_CHECKING

import pytest

from egressor.policies import (
    BanPolicy,
    BreakerPolicy,
    CachePolicy,
    Config,
    Gateway,
    Policy,
    RetryPolicy,
    from_table,
    load,
)
from egressor.policies.hiding import NOT_SHOWN
from egressor.policies.prices import Prices
from egressor.policies.report import Row, effective, template
from egressor.policies.settings import settings_of

if TYPE_CHECKING:
    from pathlib import Path

FILE = """\
[egressor]
unknown_hosts = "refuse"
[gateway]
port = 9000
[services.x]
type = "llm_api"
limits = [
  "5/minute",
]
api_key = { env = "KEY" }
breaker.window = 30
[services.x.retry]
cap = 60
budget = false
[[services.x.rules]]
match = { user = "*" }
limits = ["1/day"]
[services.x.endpoints.search]
priority = "low"
[services.y]
[prices]
on_unknown_price = "estimate"
"""


@pytest.mark.parametrize(
    ("table", "key", "expected"),
    [
        (
            {"base_url": "https://api.telegram.org/bot123456789:AAEhBOweik6ad9r_QXMENQjcrGbqCr4K-bc"},
            "base_url",
            f"https://api.telegram.org/bot{NOT_SHOWN}",
        ),
        (
            {"base_url": "https://a1b2c3d4e5f6g7.example.com/v1"},
            "base_url",
            "https://a1b2c3d4e5f6g7.example.com/v1",
        ),
        ({}, "base_url", None),
        ({"api_key": {"file": "sk-proj-abcdef123456"}}, "api_key", f"file {NOT_SHOWN}"),
        ({"api_key": {"file": "keys/openai"}}, "api_key", "file keys/openai"),
        ({"api_key": {"file": "/run/a1b2c3d4e5f6g7/key"}}, "api_key", "file /run/a1b2c3d4e5f6g7/key"),
    ],
)
def test_a_key_in_the_wrong_place_is_not_printed(table: dict[str, object], key: str, expected: str | None) -> None:
    """
    A token in a URL's path, and a key where a file's path belongs, were printed whole.
    """
    rows = effective(from_table({"services": {"x": table}}))

    assert [row.value for row in rows if row.service == "x" and row.key == key] == [expected]


@pytest.mark.parametrize(
    "row",
    [
        Row("", "egressor.store", "memory:", "default"),
        Row("", "egressor.unknown_hosts", "refuse", "my.toml:2"),
        Row("", "gateway.host", "127.0.0.1", "default"),
        Row("", "gateway.port", 9000, "my.toml:4"),
        Row("", "prices.on_unknown_price", "estimate", "my.toml:22"),
        Row("", "prices.models", (), "default"),
        Row("x", "type", "llm_api", "my.toml:6"),
        Row("x", "limits", ("5/minute",), "my.toml:7"),
        Row("x", "api_key", "env KEY", "my.toml:10"),
        Row("x", "priority", "medium", "default"),
        Row("x", "breaker.window", 30.0, "my.toml:11"),
        Row("x", "breaker.consecutive", 3, "preset llm_api"),
        Row("x", "breaker.open_for", 60.0, "default"),
        Row("x", "breaker.shadow", False, "default"),
        Row("x", "retry.attempts", 3, "preset llm_api"),
        Row("x", "retry.cap", 60.0, "my.toml:13"),
        Row("x", "retry.budget", None, "my.toml:14"),
        Row("x", "rules[user=*].limits", ("1/day",), "my.toml:17"),
        Row("x", "rules[endpoint=search].priority", "low", "my.toml:19"),
        Row("y", "type", None, "default"),
        Row("y", "limits", (), "default"),
        Row("y", "breaker.consecutive", 5, "default"),
    ],
    ids=lambda row: f"{row.service}.{row.key}",
)
def test_every_value_knows_where_it_came_from(tmp_path: Path, row: Row) -> None:
    """
    A row for each value, with the file's line, the preset, or the default that decided it.
    """
    path = tmp_path / "my.toml"
    path.write_text(FILE)

    found = [each for each in effective(load(path)) if (each.service, each.key) == (row.service, row.key)]
    assert found == [row]


def test_rows_cover_every_setting_once() -> None:
    """
    Nothing that takes effect is left out of the report.
    """
    rows = effective(Config(services={"x": Policy()}))
    parts = {"breaker": BreakerPolicy, "retry": RetryPolicy, "ban": BanPolicy}
    apart = {"services", "gateway", "prices"}
    expected = [f"egressor.{each.name}" for each in settings_of(Config) if each.name not in apart]
    expected += [f"gateway.{each.name}" for each in settings_of(Gateway)]
    expected += [f"prices.{each.name}" for each in settings_of(Prices)]
    for each in settings_of(Policy):
        inside = settings_of(parts[each.name]) if each.name in parts else None
        names = [each.name] if inside is None else [f"{each.name}.{part.name}" for part in inside]
        expected += names if each.name not in {"rules", "errors"} else []

    assert [row.key for row in rows] == expected


def test_a_rule_reports_only_what_it_sets(tmp_path: Path) -> None:
    """
    What a rule leaves alone is the service's, and has no row of its own.
    """
    path = tmp_path / "my.toml"
    path.write_text(FILE)

    assert [row.key for row in effective(load(path)) if row.key.startswith("rules")] == [
        "rules[user=*].limits",
        "rules[endpoint=search].priority",
    ]


def test_rows_are_plain_data() -> None:
    """
    Rows go to JSON as they are, and hold no key.
    """
    config = from_table({"services": {"x": {"api_key": {"file": "/run/key"}, "type": "web_scraper"}}})
    text = json.dumps([astuple(row) for row in effective(config)])

    assert '["x", "api_key", "file /run/key", "python"]' in text
    assert '["x", "priority", "low", "preset web_scraper"]' in text


def test_template_loads_as_it_is(tmp_path: Path) -> None:
    """
    What `init` writes is a configuration.
    """
    path = tmp_path / "egressor.toml"
    path.write_text(template())

    assert list(load(path).services) == ["openai"]


def test_template_holds_with_every_line_taken(tmp_path: Path) -> None:
    """
    Each commented setting may be taken as it stands, and shows the value that holds without it where it says so.
    """
    path = tmp_path / "egressor.toml"
    path.write_text(re.sub(r"(?m)^#(?! |$)", "", template()))
    taken = load(path)
    path.write_text(template())
    plain = load(path)

    assert [rule.name for rule in taken.services["openai"].rules] == ["feature=chat,user=*", "endpoint=embeddings"]
    examples = {"api_key", "max_concurrency", "breaker.failure_rate", "breaker.slow_rate", "gateway.total_timeout"}
    examples |= {"gateway.hosts", "gateway.keys"}
    effects = {
        row.key: row.value for row in effective(taken) if not row.key.startswith(("rules[", "errors[", "gateway.keys["))
    }
    examples |= {"prices.models", "budget.day", "budget.month", "budget.soft", "budget.timezone", "budget.unbounded"}
    without = {row.key: row.value for row in effective(plain)}
    # Without its table there is no cache, and so no value of its settings.
    examples |= {f"cache.{each.name}" for each in settings_of(CachePolicy)}
    assert {key for key, value in effects.items() if value != without.get(key)} - {"cache"} == examples


def test_template_teaches_every_setting() -> None:
    """
    Each setting that this version enforces stands in the template.
    """
    kinds = (Config, Gateway, Policy, BreakerPolicy, RetryPolicy, BanPolicy, CachePolicy)
    names = {each.name for kind in kinds for each in settings_of(kind)}

    assert {name for name in names if name not in template()} == set()
