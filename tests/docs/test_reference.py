"""
What there is stands in its page, and what stands there exists.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import inspect
import re
from enum import Enum
from typing import TYPE_CHECKING, Any, get_args

import click
import pytest

import egressor
from egressor import errors
from egressor._core import classify, grade, steps
from egressor._core.admission import Why
from egressor._core.model import ErrorCategory
from egressor.cli.group import cli
from egressor.clients.llm import LLM, Answer, Sentiment, ToolCall, chain
from egressor.clients.llm.vendors import vendor_of
from egressor.dialects import NAMES
from egressor.gateway import admin, headers, problems
from egressor.governor import Governor, calls
from egressor.policies import (
    BanPolicy,
    BreakerPolicy,
    BudgetPolicy,
    CachePolicy,
    ClientKey,
    Config,
    Gateway,
    Policy,
    RetryPolicy,
    Rule,
    Secret,
)
from egressor.policies.patterns import ErrorPattern
from egressor.policies.presets import PRESETS
from egressor.policies.prices import Discount, OwnPrice, Prices
from egressor.policies.settings import UNSET, Settings, settings_of
from egressor.telemetry import Event
from tests.docs.pages import DOCS, ROOT, codes, rows, sections, table

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIGURATION = sections("reference/configuration.md")
ERRORS = sections("reference/errors.md")
EVENTS = sections("reference/events.md")
COMMANDS = sections("reference/cli.md")
POLICY_PARTS = ["About", "Usage", "Defaults", "Status and events", "Diagram", "Patterns", "Anti-patterns"]
_TABLES = [
    ("The whole: `[egressor]`", Config),
    ("The gateway: `[gateway]`", Gateway),
    ("A client's key: `[[gateway.keys]]`", ClientKey),
    ("A service: `[services.NAME]`", Policy),
    ("The key: `api_key`", Secret),
    ("Breaker: `[services.NAME.breaker]`", BreakerPolicy),
    ("Retry: `[services.NAME.retry]`", RetryPolicy),
    ("Ban: `[services.NAME.ban]`", BanPolicy),
    ("Budget: `[services.NAME.budget]`", BudgetPolicy),
    ("Cache: `[services.NAME.cache]`", CachePolicy),
    ("Rules: `[[services.NAME.rules]]`", Rule),
    ("Errors: `[[services.NAME.errors]]`", ErrorPattern),
    ("Prices: `[prices]`", Prices),
    ("A price: `[[prices.models]]`", OwnPrice),
    ("A discount: `[[prices.discounts]]`", Discount),
]


@pytest.mark.parametrize(("heading", "kind"), _TABLES)
def test_the_configuration_page_has_every_setting(heading: str, kind: type[Settings]) -> None:
    """
    A table's rows are the settings of its part, in their order, each with unit, default and reason.
    """
    found = table(CONFIGURATION[heading])

    assert [each.name for each in settings_of(kind)] == list(found)
    assert {4} == {len(cells) for cells in found.values()}


@pytest.mark.parametrize(("heading", "kind"), _TABLES)
def test_the_configuration_page_states_the_defaults(heading: str, kind: type[Settings]) -> None:
    """
    The default in a row is the one in the code, wherever it is a plain value.
    """
    found = table(CONFIGURATION[heading])
    stated = {each.name: found[each.name][2].strip("`") for each in settings_of(kind)}

    plain = {each.name: _plain(each) for each in settings_of(kind)}

    assert {name: text for name, text in plain.items() if text} == {name: stated[name] for name in plain if plain[name]}


def _plain(setting: dataclasses.Field[Any]) -> str:
    default = setting.metadata.get("default", UNSET)
    if default is UNSET or callable(default):
        return ""
    if default is None or default == ():
        return "none"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, Enum):
        return default.name.lower()
    return str(int(default)) if isinstance(default, float) and default.is_integer() else str(default)


def test_the_configuration_page_has_the_presets() -> None:
    """
    The presets' values are those in the code.
    """
    found = {}
    for kind, text in rows(CONFIGURATION["Presets"]):
        pairs = (each.partition("` ") for each in text.split("; ") if each.startswith("`"))
        found[kind.strip("`")] = {name.strip("`"): value for name, _, value in pairs}

    assert {str(kind): dict(_preset(preset)) for kind, preset in PRESETS.items() if kind is not None} == found


def _preset(preset: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in preset.items():
        if isinstance(value, dict):
            yield from _preset(value, f"{name}.")
        elif isinstance(value, tuple):
            yield from [(name, ", ".join(value))] if value else []
        else:
            yield prefix + name, f"{value:g}" if isinstance(value, float) else str(value)


@pytest.mark.parametrize("page", ["limits", "queue", "concurrency", "breaker", "retry", "ban", "caching"])
def test_a_policy_page_has_its_parts_in_order(page: str) -> None:
    """
    Each policy's page has the same parts, in the same order; the limits' page has the grammar as well.
    """
    headings = [heading for heading in sections(f"policies/{page}.md") if heading != "Grammar"]

    assert headings == POLICY_PARTS


@pytest.mark.parametrize(
    ("page", "kind"),
    [("breaker", BreakerPolicy), ("retry", RetryPolicy), ("ban", BanPolicy), ("caching", CachePolicy)],
)
def test_a_policy_page_lists_its_settings(page: str, kind: type[Settings]) -> None:
    """
    The table of defaults has every setting of the policy.
    """
    found = table(sections(f"policies/{page}.md")["Defaults"])

    assert [each.name for each in settings_of(kind)] == list(found)


def test_the_errors_page_has_every_exception() -> None:
    """
    Each exception stands in the tree and in a table.
    """
    text = (DOCS / "reference/errors.md").read_text(encoding="utf-8")
    found = {code for cells in rows(text) for code in codes(cells[0])}

    assert set(errors.__all__) <= found
    assert not [name for name in errors.__all__ if not re.search(rf"^[├└│─ ]*{name}\b", text, re.MULTILINE)]


def test_the_errors_page_has_the_reasons_and_statuses() -> None:
    """
    A refusal's row has the reason of its class, and the status that the gateway answers with.
    """
    found = {codes(cells[0])[0]: (codes(cells[1])[0], cells[3]) for cells in rows(ERRORS["Refusals"])[:-1]}

    assert {
        kind.__name__: (kind.reason, str(problems._STATUSES[kind.reason])) for kind in errors.Rejected.__subclasses__()
    } == found


def test_the_errors_page_has_every_why() -> None:
    """
    Each reason inside is listed with the exception that it becomes.
    """
    found = {cells[0].strip("`"): codes(cells[1])[0] for cells in rows(ERRORS["Why an attempt is not admitted"])}

    assert {str(why): calls._KINDS[why].__name__ for why in Why} == found


def test_the_errors_page_has_every_category() -> None:
    """
    Each category is listed with its severity and the breaker's view.
    """
    found = [cells[:3] for cells in rows(ERRORS["Verdicts"])]

    assert found == [
        [f"`{each}`", grade.SEVERITY[each].name.lower(), "yes" if each in grade.COUNTED else "no"]
        for each in ErrorCategory
    ]


def test_the_events_page_has_every_field_of_the_status() -> None:
    """
    The tables have the keys of a real status, and no others.
    """
    status = Governor({"one": {}}).status()["one"]
    cells = {row[0].strip("`") for row in rows(EVENTS["Status"])}

    assert set(status) | set(status["breaker"]) == cells


def test_the_events_page_has_every_step() -> None:
    """
    The table of steps has every step class, and the event's fields are named.
    """
    assert [kind.__name__ for kind in get_args(steps.Step)] == [row[0].strip("`") for row in rows(EVENTS["Steps"])]
    assert not [name for name in Event._fields if f"`{name}`" not in EVENTS["Steps"]]


def test_the_commands_page_has_every_command_and_option() -> None:
    """
    Under a command's heading stand its options, and no others.
    """
    context = click.Context(cli)
    found: dict[str, set[str]] = {}
    for heading, text in COMMANDS.items():
        for name in heading.removeprefix("egressor ").split(", "):
            found[name] = {codes(cells[0])[0] for cells in rows(text)}
    shared = {"resume", "reset-breaker", "lift-ban"}

    assert {
        name: _options(cli.get_command(context, name)) | ({"--reason"} if name in shared else set())
        for name in cli.list_commands(context)
    } == found


def _options(command: click.Command | None) -> set[str]:
    assert command is not None
    return {each.opts[0] for each in command.params if isinstance(each, click.Option)}


def test_the_gateway_page_has_every_reason_with_its_status() -> None:
    """
    Whatever the gateway answers itself stands in the row of its status.
    """
    found = {cells[0]: set(codes(cells[1])) for cells in rows(sections("reference/gateway.md")["Answers"])}
    said = {(str(status), reason) for reason, status in problems._STATUSES.items()}
    for path in sorted((ROOT / "src/egressor/gateway").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Name("Problem"), args=[ast.Constant(int(status)), ast.Constant(str(reason)), *_]
                ):
                    said.add((str(status), reason))

    assert len(said) > 15
    assert not sorted((status, reason) for status, reason in said if reason not in found.get(status, ()))


def test_the_gateway_page_has_every_header_and_action() -> None:
    """
    The headers that are read, and the operator's actions, are listed.
    """
    text = (DOCS / "reference/gateway.md").read_text(encoding="utf-8").lower()

    assert not [name for name in headers._WISHES if f"`{name}`" not in text]
    assert not [name for name in admin._ACTIONS if f"`post /-/services/<name>/{name}`" not in text]


def test_the_python_page_has_every_public_name() -> None:
    """
    Whatever `egressor` exports is on the page.
    """
    text = (DOCS / "reference/python.md").read_text(encoding="utf-8")

    assert not [name for name in egressor.__all__ if not re.search(rf"(`|egressor\.){name}\b", text)]


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_the_links_of_the_pages_beside_the_docs_lead_somewhere(page: str) -> None:
    """
    A relative link of a page that Sphinx doesn't check is a file.
    """
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text(encoding="utf-8"))

    assert not [link for link in links if "://" not in link and not (ROOT / link).exists()]


def test_contributing_names_files_that_exist() -> None:
    """
    Each path in CONTRIBUTING.md is a file or folder, from the root or from the package.
    """
    named = {code.rstrip("/") for code in codes((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))}
    paths = {each for each in named if re.fullmatch(r"[\w.]+(/[\w.]+)+|\w+\.(py|md|toml)", each)}

    assert len(paths) > 15
    assert not sorted(path for path in paths if not any((home / path).exists() for home in _HOMES))


_HOMES = (ROOT, ROOT / "src/egressor")


def test_the_page_of_language_models_has_every_setting_and_field() -> None:
    """
    A row for each, in their order.
    """
    found = sections("llm.md")
    settings = [codes(cells[0])[0] for cells in rows(found["Settings"])]
    fields = [codes(cells[0])[0] for cells in rows(found["Answers"])]
    names = [*_arguments(LLM), *_arguments(LLM.chat_async)]

    assert settings == names
    assert fields == [each.name for kind in (Answer, ToolCall, Sentiment) for each in dataclasses.fields(kind)]


def _arguments(function: Any) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


def test_the_page_of_language_models_says_what_moves_on() -> None:
    """
    Each category and each reason of a refusal stands in one row, with what the code does.
    """
    table_ = rows(sections("llm.md")["A chain of models"])
    said = {name: cells[1].startswith("yes") for cells in table_ for name in codes(cells[0])}
    reasons = classify._REFUSALS
    done = {each.value: each in chain.MOVES_ON for each in ErrorCategory}

    assert said == done | {reason: reason not in chain.STAYS for reason in reasons}


def test_the_page_of_language_models_has_every_dialect() -> None:
    """
    Those that can be asked, each with its SDK.
    """
    said = {
        name: codes(cells[1])[0]
        for cells in rows(sections("llm.md")["Who is asked, and how"])
        for name in codes(cells[0])
    }
    done = {}
    for name in NAMES:
        with contextlib.suppress(egressor.ConfigError):
            done[name] = vendor_of("s", Policy(dialect=name, base_url="https://example.org")).package

    assert said == done
