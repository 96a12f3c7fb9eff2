"""
Prices that are read without the package that they come with are the package's own.
"""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, time, timedelta, timezone
from importlib.util import spec_from_file_location
from itertools import product
from typing import Any

import pytest
from genai_prices import data_snapshot
from genai_prices import types as theirs

from egressor.prices import listed
from egressor.prices.genai import GenaiPrices
from egressor.prices.listed import types as ours
from egressor.prices.terms import terms

PACKAGE = data_snapshot._bundled_snapshot()
LISTED = listed.read()
NOON = 1_795_953_600
TIMES = [datetime.fromisoformat(f"{at}Z") for at in ("2023-01-01T00:00", "2025-02-08T17:00", "2026-11-29T08:00")]
CONTEXTS: list[dict[str, str]] = [
    *({}, {"processing": "batch"}, {"service_tier": "flex"}, {"service_tier": "priority"}, {"speed": "fast"}),
    {"processing": "batch", "service_tier": "flex"},
]
UNLOADED = """
import sys
from egressor.prices import Usage, price_of
print(price_of(Usage(input=1000), "gpt-4o", at=1_795_953_600_000_000, provider="openai").source)
print(sorted({"genai_prices", "httpx2", "pydantic"} & set(sys.modules)))
"""
# Prices in another form than the one that we know.
OTHERWISE = "from .types import *\nproviders = [Provider(id='openai', name='', api_pattern='', sold_by='nobody')]\n"


def found(source: Any, model: str, provider: str | None) -> tuple[str, str] | None:
    """
    Return whose model *source* takes it for; None if it doesn't know it.
    """
    try:
        home, each = source.find_provider_model(model, None, provider, None)
    except LookupError:
        return None
    return home.id, each.id


def plain(value: Any) -> object:
    """
    Return a price as values that can be compared.
    """
    return (value.base, [tuple(vars(each).values()) for each in value.tiers]) if hasattr(value, "__dict__") else value


def ours_plain(value: Any) -> object:
    """
    Return a price of ours in the same way.
    """
    return (value.base, [tuple(each) for each in value.tiers]) if isinstance(value, ours.TieredPrices) else value


def test_each_model_has_the_price_of_the_package() -> None:
    """
    All models of all providers, at any time and in any variant, cost what the package says.
    """
    pairs = [
        (theirs_of, ours_of)
        for home, mine in zip(PACKAGE.providers, LISTED.providers, strict=True)
        for theirs_of, ours_of in zip(home.models, mine.models, strict=True)
    ]
    expected = [
        (model.id, model.context_window, {key: plain(value) for key, value in vars(prices).items()})
        for model, _ in pairs
        for when, context in product(TIMES, CONTEXTS)
        for prices in [model.get_prices(when, context)]
    ]
    seen = [
        (model.id, model.context_window, {key: ours_plain(value) for key, value in prices.items()})
        for _, model in pairs
        for when, context in product(TIMES, CONTEXTS)
        for prices in [model.get_prices(when, context)]
    ]

    assert len(pairs) > 2000
    assert expected == seen


def test_each_name_is_taken_for_the_model_of_the_package() -> None:
    """
    Names, with dates, capitals and words around them, are found under each provider as the package finds them.
    """
    names = [model.id for home in PACKAGE.providers for model in home.models]
    dated = [f"{name}{end}" for name in names[::7] for end in ("-20251211", "-20251311", "-2026-01-01", ":free", "@1")]
    asked = [*names[::5], *dated[::3], *[f"openai/{name}".upper() for name in names[::31]], "", "nobody/x", "nobody-x"]
    sold = [None, "litellm", "LiteLLM", "openai", "azure", " Google ", "aws", "openrouter", "nobody", "gemini", "groq"]
    pairs = [(model, provider) for model in asked for provider in sold]

    assert [found(PACKAGE, *each) for each in pairs] == [found(LISTED, *each) for each in pairs]


def test_each_provider_has_its_own_models() -> None:
    """
    Each model is found under its own provider, by each of its names, as the package finds it.
    """
    pairs = [(model.id, home.id) for home in PACKAGE.providers for model in home.models]

    assert [found(PACKAGE, *each) for each in pairs] == [found(LISTED, *each) for each in pairs]


@pytest.mark.parametrize("zone", [None, UTC, timezone(timedelta(hours=8)), timezone(timedelta(hours=-5, minutes=-30))])
def test_a_time_of_day_holds_as_in_the_package(zone: timezone | None) -> None:
    """
    Begin and end of each day, over midnight and in any zone, are the package's to the minute.
    """
    hours = [time(0, 0, tzinfo=zone), time(8, 30, tzinfo=zone), time(16, 30, tzinfo=zone), time(23, 59, tzinfo=zone)]
    asked = [datetime(2026, 11, 29, tzinfo=UTC) + timedelta(minutes=each) for each in range(0, 1440, 10)]
    pairs = [
        (theirs.TimeOfDateConstraint(*span), ours.TimeOfDateConstraint(*span)) for span in product(hours, repeat=2)
    ]

    assert [[one.active(at) for at in asked] for one, _ in pairs] == [
        [one.active(at) for at in asked] for _, one in pairs
    ]


def test_a_price_needs_no_import_of_the_package() -> None:
    """
    A program that asks for a price doesn't import the package, nor what reads its updates.
    """
    ended = subprocess.run([sys.executable, "-c", UNLOADED], capture_output=True, text=True, check=True)

    assert ended.stdout.splitlines() == ["genai-prices 0.2.3", "[]"]


@pytest.mark.parametrize(
    ("edition", "data"),
    [("0.2.3", OTHERWISE), ("0.2.9", "from .extra import Thing\nproviders = []\n"), ("0.3.0", "")],
    ids=["another form", "another neighbour", "another version"],
)
def test_what_we_cannot_read_the_package_reads(
    edition: str, data: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """
    Prices in another form, or of another version, are asked of the package itself.
    """
    if data:
        (tmp_path / "data.py").write_text(data, encoding="utf-8")
        spec = spec_from_file_location("genai_prices", tmp_path / "__init__.py")
        monkeypatch.setattr(listed, "find_spec", lambda _: spec)
    monkeypatch.setattr("egressor.prices.genai.version", lambda _: edition)
    # Imported anew, it would stay in its package.
    monkeypatch.setattr("genai_prices.data_snapshot", data_snapshot)
    monkeypatch.delitem(sys.modules, "genai_prices.data_snapshot")
    source = GenaiPrices()
    price = source.find(terms("gpt-4o", provider="openai"), NOON)

    assert source.edition is sys.modules["genai_prices.data_snapshot"].get_snapshot()
    assert price is not None
    assert (price[0].source, price[0].model) == (f"genai-prices {edition}", "gpt-4o")


def test_until_the_package_is_imported_the_list_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The list is in use as long as the program has not imported the package, or is only doing so.
    """
    monkeypatch.delitem(sys.modules, "genai_prices.data_snapshot")
    source = GenaiPrices()
    before = source.edition
    monkeypatch.setitem(sys.modules, "genai_prices.data_snapshot", type(sys)("half"))
    half = source.edition
    monkeypatch.setitem(sys.modules, "genai_prices.data_snapshot", data_snapshot)

    assert isinstance(before, listed.Listed)
    assert half is before
    assert source.edition is data_snapshot.get_snapshot()
