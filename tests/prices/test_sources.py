"""
Which source says what a model costs, from when on, and what becomes of a model that none knows.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from genai_prices import data_snapshot
from genai_prices import types as genai
from hypothesis import given
from hypothesis import strategies as st

from egressor._core.usage import Usage
from egressor.policies.prices import read_prices
from egressor.prices import Cost, PriceBook, price_of
from egressor.prices import book as book_module
from egressor.prices.bundled import AS_OF, rows
from egressor.prices.genai import PROVIDERS, GenaiPrices
from egressor.prices.terms import terms

MILLION = Usage(input=10**6)


def moment(text: str) -> int:
    """
    Return microseconds since 1970 of an ISO time in UTC.
    """
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**6


NOON = moment("2026-11-29T12:00")


def usd(text: str) -> Decimal:
    """
    Return an amount.
    """
    return Decimal(text)


def book(**table: Any) -> PriceBook:
    """
    Return the prices for a table of settings.
    """
    return PriceBook(read_prices(table))


def test_own_prices_come_first_then_the_package_then_the_table() -> None:
    """
    The same model costs what its first source says, and the cost names that source.
    """
    own = book(models=[{"model": "gpt-4o", "usd_per_mtok": {"input": 7}}])
    found = [
        own.find("gpt-4o", at=NOON, provider="openai").cost(MILLION),
        book().find("gpt-4o", at=NOON, provider="openai").cost(MILLION),
        PriceBook(genai=False).find("gpt-4o", at=NOON, provider="openai").cost(MILLION),
    ]

    assert [usd("7"), usd("2.5"), usd("2.5")] == [cost.usd for cost in found]
    assert [cost.source for cost in found] == ["own", "genai-prices 0.2.3", "bundled 2026-11-29"]


def test_without_the_package_the_table_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The extra is optional: without it nothing fails, and the price says where it comes from.
    """
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    monkeypatch.delitem(sys.modules, "egressor.prices.genai")
    book_module._genai.cache_clear()
    try:
        found = PriceBook().find("claude-haiku-4-5-20251001", at=NOON, provider="anthropic")
    finally:
        book_module._genai.cache_clear()

    assert found.source == "bundled 2026-11-29"


def test_a_new_price_holds_from_its_day_on_and_not_before() -> None:
    """
    A price that changes at midnight UTC bills the last second of the day before at the old one, in any order of asking.
    """
    dated = book(
        models=[
            {"model": "m", "usd_per_mtok": {"input": 1}},
            {"model": "m", "since": "2026-11-01", "usd_per_mtok": {"input": 2}},
            {"model": "m", "since": "2026-12-01", "usd_per_mtok": {"input": 3}},
        ]
    )
    asked = ["2026-12-01T00:00:00", "2026-11-30T23:59:59", "2026-11-01T00:00:00", "2026-10-31T23:59:59", "2027-01-01"]
    found = [dated.find("m", at=moment(each)).cost(MILLION).usd for each in asked]

    assert [usd("3"), usd("2"), usd("2"), usd("1"), usd("3")] == found


def test_a_discount_holds_from_its_day_on() -> None:
    """
    A discount never reaches back; before its day the public price holds.
    """
    dated = book(discounts=[{"percent": 10, "since": "2026-11-29"}, {"percent": "12.5", "model": "gpt-4o*"}])
    asked = [("gpt-4o", NOON), ("gpt-5", NOON), ("gpt-5", NOON - 86_400 * 10**6)]
    found = [dated.find(model, at=at, provider="openai").cost(MILLION).usd for model, at in asked]

    assert [usd("2.1875"), usd("1.125"), usd("1.25")] == found


def test_the_price_that_says_most_wins() -> None:
    """
    A provider, a tier, a batch, a whole name and a longer beginning each go before what leaves them open.
    """
    own = book(
        models=[
            {"model": "*", "usd_per_mtok": {"input": 1}},
            {"model": "gpt-*", "usd_per_mtok": {"input": 2}},
            {"model": "gpt-5*", "usd_per_mtok": {"input": 3}},
            {"model": "gpt-5", "usd_per_mtok": {"input": 4}},
            {"model": "gpt-5*", "tier": "flex", "usd_per_mtok": {"input": 5}},
            {"model": "gpt-5*", "batch": True, "usd_per_mtok": {"input": 6}},
            {"model": "*", "provider": "azure", "usd_per_mtok": {"input": 7}},
        ]
    )
    asked: list[tuple[str, dict[str, Any]]] = [
        *(("x", {}), ("GPT-4", {}), ("gpt-5-mini", {}), ("gpt-5", {}), ("gpt-5", {"tier": "flex"})),
        *(("gpt-5", {"tier": "Batch"}), ("gpt-5", {"provider": "azure"})),
    ]

    assert [usd(str(n)) for n in range(1, 8)] == [
        own.find(name, at=NOON, **how).cost(MILLION).usd for name, how in asked
    ]


@pytest.mark.parametrize("policy", ["refuse", "estimate"])
def test_an_unknown_model_is_never_free(policy: str) -> None:
    """
    It says what is to be done with it, and costs the dearest of the table all the same, fees included.
    """
    price = book(on_unknown_price=policy).find("nobody-knows-it", at=NOON, provider="openai")
    cost = price.cost(Usage(input=10**6, output=10**6, searches=1000, seconds=3600, pages=1000))

    assert (policy, "ceiling", ()) == (price.unknown, cost.source, cost.unpriced)
    assert usd("20") + usd("75") + usd("35") + usd("3.6") + usd("5") == cost.usd


def test_a_ceiling_of_ones_own_is_what_an_unknown_model_costs() -> None:
    """
    The ceiling can be set, and discounts leave it alone.
    """
    own = book(
        ceiling={"model": "*", "usd_per_mtok": {"input": 3, "output": 9}},
        discounts=[{"percent": 50}],
        on_unknown_price="estimate",
    )

    assert usd("12") == own.find("nobody-knows-it", at=NOON).cost(Usage(10**6, output=10**6)).usd


def test_a_model_that_is_listed_without_a_price_is_unknown() -> None:
    """
    Nothing to pay and nothing known look the same in the data, so it is not taken for free.
    """
    assert book().find("gemma-3-27b-it", at=NOON, provider="gemini").unknown == "refuse"


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, "1.25"),
        ({"tier": "default"}, "1.25"),
        ({"tier": "auto"}, "1.25"),
        ({"tier": "flex"}, "0.625"),
        ({"tier": "priority"}, "2.5"),
        ({"batch": True}, "0.625"),
        ({"tier": "batch"}, "0.625"),
    ],
)
def test_the_tier_of_the_answer_decides(how: dict[str, Any], expected: str) -> None:
    """
    Flex and batch cost half, priority twice; a tier that is called ``batch`` is not billed in full.
    """
    assert usd(expected) == book().find("gpt-5", at=NOON, provider="openai", **how).cost(MILLION).usd


def test_fast_mode_is_dearer() -> None:
    """
    Anthropic's ``speed`` in the usage is part of the price.
    """
    found = [
        book().find("claude-opus-5", at=NOON, provider="anthropic", speed=each).cost(MILLION).usd
        for each in ("", "fast")
    ]

    assert found[0] < found[1]


def test_a_dear_tier_that_the_table_does_not_know_is_unknown() -> None:
    """
    The small table has standard prices only, and doesn't bill a priority call as if it were one.
    """
    small = PriceBook(genai=False)
    found = [small.find("gpt-5", at=NOON, provider="openai", tier=tier).unknown for tier in ("", "flex", "priority")]

    assert found == ["", "", "refuse"]


def test_a_price_by_the_time_of_day_changes_at_its_minute() -> None:
    """
    DeepSeek's dear hours begin at 06:00 UTC; a price that is remembered doesn't outlive its minute.
    """
    prices = book()
    asked = ["2026-11-29T05:59:59", "2026-11-29T06:00:00", "2026-11-29T09:59:59", "2026-11-29T10:00:00"]
    found = [prices.find("deepseek-v4-pro", at=moment(each), provider="deepseek").cost(MILLION).usd for each in asked]

    assert [usd("0.66"), usd("1.32"), usd("1.32"), usd("0.66")] == found


def test_an_update_of_the_package_reaches_the_next_call() -> None:
    """
    Prices that the program has updated are used at once, although the old ones are remembered.
    """
    prices = book()
    before = prices.find("gpt-4o", at=NOON, provider="openai").cost(MILLION).usd
    data_snapshot.set_custom_snapshot(_dearer())
    try:
        after = prices.find("gpt-4o", at=NOON, provider="openai").cost(MILLION).usd
    finally:
        data_snapshot.set_custom_snapshot(None)

    assert (usd("2.5"), usd("99")) == (before, after)


def _dearer() -> data_snapshot.DataSnapshot:
    model = genai.ModelInfo(
        id="gpt-4o", match=genai.ClauseEquals("gpt-4o"), prices=genai.ModelPrice(input_mtok=Decimal(99))
    )
    provider = genai.Provider(id="openai", name="", api_pattern="", models=[model])
    return data_snapshot.DataSnapshot(providers=[provider], from_auto_update=True)


def test_what_it_remembers_is_bounded() -> None:
    """
    Ten thousand made-up names leave at most 1,024 behind, and the prices stay right.
    """
    prices = book()
    for number in range(10_000):
        prices.find(f"made-up-{number}", at=NOON, provider="openai")

    assert len(prices._found) <= 1024
    assert usd("2.5") == prices.find("gpt-4o", at=NOON, provider="openai").cost(MILLION).usd


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini", "groq", "mistral", "deepseek"])
def test_the_table_says_what_the_package_said_on_its_day(provider: str) -> None:
    """
    Each row equals genai-prices on the table's day, tiers included; in DeepSeek's case in its dear hours.
    """
    at = moment(f"{AS_OF}T08:00")
    small, whole = PriceBook(genai=False), PriceBook()
    models = [model for home, model in rows() if home == provider]
    used = [Usage(*(n,) * 4, output=n) for n in (1000, 60_000, 70_000)]
    found = {model: [small.find(model, at=at, provider=provider).cost(each).usd for each in used] for model in models}

    assert found == {
        model: [whole.find(model, at=at, provider=provider).cost(each).usd for each in used] for model in models
    }


_SNAPSHOT = data_snapshot.get_snapshot()
_OURS = {name: ours for ours, name in PROVIDERS.items()}


def _names() -> list[tuple[str, str]]:
    """
    List provider and model of what the package finds by its own name: fine-tuned models it doesn't.
    """
    homes = {"openai", "anthropic", "google", "groq", "mistral", "deepseek", "openrouter", "azure"}
    return [
        (home.id, model.id)
        for home in _SNAPSHOT.providers
        if home.id in homes
        for model in home.models
        if home.find_model(model.id, all_providers=_SNAPSHOT.providers) is not None
    ]


@given(
    which=st.sampled_from(_names()),
    context=st.sampled_from([{}, {"processing": "batch"}, {"service_tier": "flex"}, {"service_tier": "priority"}]),
    at=st.integers(1_700_000_000, 1_800_000_000),
    sent=st.integers(0, 400_000),
    shares=st.tuples(st.integers(0, 100), st.integers(0, 100), st.integers(0, 100)),
    received=st.integers(0, 100_000),
)
def test_costs_agree_with_the_package(
    which: tuple[str, str],
    context: dict[str, str],
    at: int,
    sent: int,
    shares: tuple[int, int, int],
    received: int,
) -> None:
    """
    Any model, time, tier and mixture of cached and written tokens costs what genai-prices' own arithmetic says.
    """
    provider, model = which
    when = datetime.fromtimestamp(at, UTC)
    cached, short, long = (sent * share // (sum(shares) or 1) for share in shares)
    usage = Usage(sent - cached - short - long, cached, short, long, output=received)
    asked = terms(
        model,
        provider=_OURS.get(provider, provider),
        tier=context.get("service_tier", ""),
        batch=bool(context.get("processing")),
    )
    found = GenaiPrices().find(asked, at)
    theirs = genai.Usage(
        input_tokens=sent,
        cache_read_tokens=cached,
        cache_write_tokens=short + long,
        cache_write_5m_tokens=short,
        cache_write_1h_tokens=long,
        output_tokens=received,
    )
    _, info = _SNAPSHOT.find_provider_model(model, None, provider, None)
    home = next(each for each in _SNAPSHOT.providers if each.id == provider)
    if found is None:
        assert set(info.get_prices(when, context).__dict__) <= {"input_text_messages_kcount"}
        return
    price, until = found
    expected = info.calc_price(theirs, home, genai_request_timestamp=when, price_context=context).total_price

    assert at < until
    # Some of OpenRouter's prices have 18 decimal places; ours round up to a pico-dollar a token.
    assert 0 <= price.cost(usage).usd - expected <= Decimal("1e-12") * (sent + received)


def test_price_of_needs_no_configuration() -> None:
    """
    The one line for a notebook.
    """
    cost = price_of(Usage(input=1000, output=500), "gpt-4o", at=NOON, provider="openai")

    assert Cost(7_500_000_000, "genai-prices 0.2.3") == cost
    assert (7_500, usd("0.0075")) == (cost.micro_usd, cost.usd)
