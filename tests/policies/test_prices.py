"""
The table ``[prices]``: what it takes, and how it names what it doesn't.
"""

from __future__ import annotations

import tomllib
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from egressor.errors import ConfigError
from egressor.policies.lines import find_lines
from egressor.policies.prices import Discount, OwnPrice, Prices, PriceTier, read_prices

FILE = """
[prices]
on_unknown_price = "estimate"

[[prices.models]]
model = "gpt-5*"
provider = "azure"
since = 2026-11-01
tier = "flex"
batch = false
usd_per_mtok = { input = 1.25, cached = 0.125, output = 10 }
usd_each = { search = 0.01 }

[[prices.models.tiers]]
above = 272_000
usd_per_mtok = { input = "2.5" }

[[prices.discounts]]
percent = 12.5
"""


def read(text: str) -> Prices:
    """
    Read a file of this text.
    """
    return read_prices(tomllib.loads(text)["prices"], file="egressor.toml", lines=find_lines(text))


def test_a_file_is_read_whole() -> None:
    """
    Every setting arrives as the exact number that was written.
    """
    expected = Prices(
        models=(
            OwnPrice(
                model="gpt-5*",
                provider="azure",
                since=date(2026, 11, 1),
                tier="flex",
                batch=False,
                usd_per_mtok={"input": Decimal("1.25"), "cached": Decimal("0.125"), "output": Decimal(10)},
                usd_each={"search": Decimal("0.01")},
                tiers=(PriceTier(above=272_000, usd_per_mtok={"input": Decimal("2.5")}),),
            ),
        ),
        discounts=(Discount(percent=Decimal("12.5")),),
        on_unknown_price="estimate",
    )

    assert expected == read(FILE)


def test_nothing_given_refuses_unknown_models() -> None:
    """
    Without a table no price is anybody's own, and a model without one is refused.
    """
    assert (
        (found := read_prices({})).models,
        found.discounts,
        found.on_unknown_price,
        found.ceiling,
    ) == ((), (), "refuse", None)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "[prices]\n",
            "[prices]\ndiscount = 1\n",
            "egressor.toml:3: prices.discount: unknown setting (did you mean 'discounts'?)",
        ),
        (
            '"estimate"',
            '"estimat"',
            "prices.on_unknown_price: \"estimat\" is none of refuse, estimate (did you mean 'estimate'?)",
        ),
        (
            'model = "gpt-5*"',
            'modle = "x"',
            "egressor.toml:6: prices.models[0].modle: unknown setting (did you mean 'model'?)",
        ),
        ('model = "gpt-5*"\n', "", "egressor.toml:5: prices.models[0]: it needs model"),
        (
            '"gpt-5*"',
            '""',
            'egressor.toml:6: prices.models[0].model: "" is not a name of 1 to 200 printable characters without spaces',
        ),
        ('"gpt-5*"', "5", "egressor.toml:6: prices.models[0].model: expected a text, got the number 5"),
        (
            "2026-11-01",
            "2026-11-01T00:00:00",
            "egressor.toml:8: prices.models[0].since: expected a date such as 2026-11-29, got a date or time",
        ),
        (
            "2026-11-01",
            '"soon"',
            'egressor.toml:8: prices.models[0].since: expected a date such as 2026-11-29, got the text "soon"',
        ),
        (
            "batch = false",
            "batch = 1",
            "egressor.toml:10: prices.models[0].batch: expected true or false, got the number 1",
        ),
        (
            "input = 1.25",
            "inptu = 1.25",
            'prices.models[0].usd_per_mtok.inptu: unknown unit "inptu": one of input, cached',
        ),
        (
            "input = 1.25",
            "input = 1.2500001",
            "egressor.toml:11: prices.models[0].usd_per_mtok.input: 1.2500001 has more than 6 decimal places",
        ),
        (
            "input = 1.25",
            "input = -1",
            "egressor.toml:11: prices.models[0].usd_per_mtok.input: -1 is not from 0 to 1000000",
        ),
        ("input = 1.25", "input = nan", "prices.models[0].usd_per_mtok.input: nan is not from 0 to 1000000"),
        (
            "input = 1.25",
            "input = true",
            "prices.models[0].usd_per_mtok.input: expected US dollars for a million tokens, got the truth value true",
        ),
        ("input = 1.25", 'input = "much"', 'expected US dollars for a million tokens, got the text "much"'),
        ("input = 1.25", "input = 1" + "0" * 5000, "is not from 0 to 1000000"),
        (
            "{ search = 0.01 }",
            "1",
            "egressor.toml:12: prices.models[0].usd_each: expected a table such as { input = 2.5 }, got the number 1",
        ),
        ("above = 272_000\n", "", "egressor.toml:14: prices.models[0].tiers[0]: it needs above"),
        (
            "above = 272_000",
            "above = 1.5",
            "egressor.toml:15: prices.models[0].tiers[0].above: expected a whole number, got the number 1.5",
        ),
        ("percent = 12.5", "percent = 101", "egressor.toml:19: prices.discounts[0].percent: 101 is not from 0 to 100"),
        (
            "percent = 12.5",
            "percent = 0.125",
            "egressor.toml:19: prices.discounts[0].percent: 0.125 has more than 2 decimal places",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_line(old: str, new: str, message: str) -> None:
    """
    File, line, key, value and limit, and the nearest name where there is one.
    """
    if "0" * 5000 in new:
        # tomllib itself refuses so many digits, so the table comes from Python.
        with pytest.raises(ConfigError, match=message):
            read_prices({"models": [{"model": "m", "usd_per_mtok": {"input": 10**5000}}]})
        return
    with pytest.raises(ConfigError) as caught:
        read(FILE.replace(old, new, 1))

    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (1, "prices: expected a table, got the number 1"),
        ({"models": [1]}, "prices.models[0]: expected a table, got the number 1"),
        ({"models": [{"model": "m"}]}, "prices.models[0].usd_per_mtok: it states no price"),
        ({"ceiling": {"model": "m"}}, "prices.ceiling.usd_per_mtok: it states no price"),
    ],
)
def test_a_table_of_another_shape_is_refused(table: Any, message: str) -> None:
    """
    Without a file the key alone says where.
    """
    with pytest.raises(ConfigError) as caught:
        read_prices(table)

    assert str(caught.value).startswith(message)
