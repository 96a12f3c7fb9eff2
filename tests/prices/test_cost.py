"""
Costs, held to a judge that computes with Decimals and knows nothing of bands or pico-dollars.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from egressor._core.usage import Usage
from egressor.policies.prices import Discount, OwnPrice, Prices, PriceTier
from egressor.prices import PriceBook
from egressor.prices.own import bands_of
from egressor.prices.price import Price

# Who stands in for whom, written down a second time on purpose.
INSTEAD = {
    "input": ["input"],
    "cached": ["cached", "input"],
    "written": ["written", "input"],
    "written_1h": ["written_1h", "written", "input"],
    "audio_input": ["audio_input", "input"],
    "cached_audio": ["cached_audio", "cached", "input"],
    "image_input": ["image_input", "input"],
    "cached_image": ["cached_image", "cached", "input"],
    "video_input": ["video_input", "input"],
    "output": ["output"],
    "reasoning": ["reasoning", "output"],
    "audio_output": ["audio_output", "output"],
    "image_output": ["image_output", "output"],
    "video_output": ["video_output", "output"],
}
SENT = ["input", "cached", "written", "written_1h", "audio_input"]
SENT += ["cached_audio", "image_input", "cached_image", "video_input"]
FEES = {"requests": "request", "searches": "search", "lookups": "lookup", "executions": "execution", "pages": "page"}
FEES |= {"seconds": "second", "characters": "character"}

amounts = st.integers(0, 10**9).map(lambda micro: Decimal(micro).scaleb(-6))
fees = st.integers(0, 10**12).map(lambda pico: Decimal(pico).scaleb(-12))
mtok = st.dictionaries(st.sampled_from(sorted(INSTEAD)), amounts)
counts = st.one_of(st.integers(0, 50), st.integers(0, 10**6), st.integers(0, 10**9))
usages = st.builds(Usage, **dict.fromkeys(Usage._fields, counts))


def _above(tier: Any) -> int:
    return int(tier["above"])


def judge(usage: Usage, own: dict[str, Any]) -> Decimal:
    """
    Add up US dollars, unit by unit, in the order of nothing in particular.
    """
    used = usage._asdict()
    sent = sum(used[unit] for unit in SENT)
    prices = dict(own["usd_per_mtok"])
    for tier in sorted(own["tiers"], key=lambda tier: tier["above"]):
        if sent > tier["above"]:
            prices = {**own["usd_per_mtok"], **tier["usd_per_mtok"]}
    total = Decimal(0)
    for unit, chain in INSTEAD.items():
        rate = next((prices[name] for name in chain if name in prices), Decimal(0))
        total += used[unit] * rate / 1_000_000
    return total + sum(used[unit] * own["usd_each"].get(name, Decimal(0)) for unit, name in FEES.items())


@given(
    usage=usages,
    own=st.fixed_dictionaries(
        {
            "usd_per_mtok": mtok.filter(bool),
            "usd_each": st.dictionaries(st.sampled_from(sorted(FEES.values())), fees),
            "tiers": st.lists(
                st.fixed_dictionaries({"above": st.integers(0, 10**9), "usd_per_mtok": mtok}),
                max_size=3,
                unique_by=_above,
            ),
        }
    ),
)
def test_a_cost_is_the_sum_of_its_parts_to_the_last_digit(usage: Usage, own: dict[str, Any]) -> None:
    """
    Whatever the prices, tiers and counts, the cost equals an independent sum, and micro-dollars round it up once.
    """
    price = Price("m", "own", bands_of(OwnPrice(model="m", **own)))
    cost = price.cost(usage)
    expected = judge(usage, own)

    assert expected == cost.usd
    assert int((expected * 10**6).to_integral_value(ROUND_CEILING)) == cost.micro_usd
    assert cost.pico_usd == sum(part.pico_usd for part in price.parts(usage))


@given(usage=usages, percent=st.integers(0, 10_000).map(lambda parts: Decimal(parts).scaleb(-2)))
def test_a_discount_is_taken_off_the_whole_and_rounded_up_once(usage: Usage, percent: Decimal) -> None:
    """
    A discount of two decimal places costs what the Decimals say, up to the next micro-dollar, and never less.
    """
    at = 1_790_000_000_000_000
    plain = PriceBook(genai=False).find("gpt-5.4", at=at, provider="openai")
    book = PriceBook(Prices(discounts=(Discount(percent=percent),)), genai=False)
    cost = book.find("gpt-5.4", at=at, provider="openai").cost(usage)
    expected = plain.cost(usage).usd * (100 - percent) / 100

    assert int((expected * 10**6).to_integral_value(ROUND_CEILING)) == cost.micro_usd
    assert 0 <= cost.usd - expected < Decimal("1e-12")


@given(
    usage=usages,
    rates=mtok.filter(bool),
    above=st.integers(0, 10**9),
    tier=mtok,
    spare=st.tuples(st.integers(0, 99), st.integers(0, 99)),
)
def test_no_call_costs_more_than_the_most(
    usage: Usage, rates: dict[str, Any], above: int, tier: dict[str, Any], spare: tuple[int, int]
) -> None:
    """
    Whatever kinds its tokens are of, and in whatever band: a call within its bounds costs no more than that.
    """
    own = OwnPrice(model="m", usd_per_mtok=rates, tiers=(PriceTier(above=above, usd_per_mtok=tier),))
    price = Price("m", "own", bands_of(own), 9_999)
    plain = usage._replace(seconds=0, characters=0, pages=0, searches=0, lookups=0, executions=0, requests=1)
    text = Usage(*plain[:4], output=plain.output, reasoning=plain.reasoning)

    assert price.cost(plain).micro_usd <= price.most(plain.sent + spare[0], plain.received + spare[1], text=False)
    assert price.cost(text).micro_usd <= price.most(text.sent + spare[0], text.received + spare[1])


@given(
    rates=mtok.filter(bool),
    above=st.integers(0, 10**6),
    tier=mtok,
    request=fees,
    percent=st.sampled_from([0, 1, 50, 99, 100]),
    micro=st.integers(0, 10**9),
    sent=st.integers(0, 10**6),
)
def test_what_an_amount_affords_is_all_that_it_affords(
    rates: dict[str, Any],
    above: int,
    tier: dict[str, Any],
    request: Decimal,
    percent: int,
    micro: int,
    sent: int,
) -> None:
    """
    A call that is kept to that many tokens costs no more than the amount at most; with one more it could.
    """
    tiers = (PriceTier(above=above, usd_per_mtok=tier),)
    own = OwnPrice(model="m", usd_per_mtok=rates, usd_each={"request": request}, tiers=tiers)
    price = Price("m", "own", bands_of(own), 100 * (100 - percent))
    tokens = price.affords(micro, sent)

    if tokens is None:
        assert price.most(sent, 10**12) == price.most(sent, 0) <= micro
    elif tokens < 0:
        assert price.most(sent, 0) > micro
    else:
        assert price.most(sent, tokens) <= micro < price.most(sent, tokens + 1)


def test_the_most_is_no_more_than_it_has_to_be() -> None:
    """
    A text of 1,000 bytes with 500 tokens of answer at the dearest of the plain prices, audio aside.
    """
    price = PriceBook(genai=False).find("claude-haiku-4-5", at=0, provider="anthropic")

    assert price.most(1000, 500) == 1000 * 2 + 500 * 5


def test_ten_million_tenths_of_a_cent_are_ten_thousand_dollars() -> None:
    """
    A long sum of small amounts is exact, where floats would drift.
    """
    price = Price("m", "own", bands_of(OwnPrice(model="m", usd_each={"request": Decimal("0.001")})))
    total = sum(price.cost(Usage()).pico_usd for _ in range(10_000)) * 1000

    assert Decimal(10_000) == Decimal(total).scaleb(-12)


def test_what_has_no_price_is_named() -> None:
    """
    A search that the price doesn't know is not silently free: the cost says that it is missing.
    """
    price = Price("m", "own", bands_of(OwnPrice(model="m", usd_per_mtok={"input": Decimal(1)})))
    cost = price.cost(Usage(input=10, output=3, searches=2))

    assert cost.unpriced == ("output", "searches")
    assert Decimal("0.00001") == cost.usd
    assert [part.unit for part in price.parts(Usage(input=10, output=3, searches=2))] == [
        "input",
        "output",
        "searches",
        "requests",
    ]
