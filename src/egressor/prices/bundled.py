"""
A small table of prices that comes along, for those who don't install ``genai-prices``.

The numbers are those of genai-prices 0.2.3 as they held on the day below, each group beside the page of the vendor that
genai-prices names as its source; a test compares them. They are the standard prices: a batch and a cheaper tier are
billed in full, and a dearer tier (priority, fast) has no price here, as a guess would be too low. DeepSeek's are those
of its dear hours. What was billed by an older table stays as it was billed: a cost is kept, never computed again.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Final

from egressor._core.usage import UNITS
from egressor.prices.price import Price, band

if TYPE_CHECKING:
    from egressor.prices.price import Band
    from egressor.prices.terms import Terms

__all__ = ["AS_OF", "NAME", "ceiling", "find", "rows"]

AS_OF: Final = "2026-11-29"
NAME: Final = f"bundled {AS_OF}"

# US dollars for a million tokens: model, input, cached, written, written for an hour, output; the same above a length.
_TABLE: Final = {
    # https://developers.openai.com/api/docs/pricing
    "openai": """
        gpt-6.1-sol            2     0.1     2.5    -   10    >272000 4   0.2  5    - 15
        gpt-6.1-terra          1     0.05    1.25   -   5     >272000 2   0.1  2.5  - 7.5
        gpt-6-sol              2     0.2     2.5    -   10    >272000 4   0.4  5    - 15
        gpt-6-luna             0.1   0.01    0.125  -   0.5   >272000 0.2 0.02 0.25 - 0.75
        gpt-6-astra            10    1       12.5   -   50    >272000 20  2    25   - 75
        gpt-5.6-sol            4     0.4     5      -   20    >272000 8   0.8  10   - 30
        gpt-5.6-terra          2     0.2     2.5    -   12    >272000 4   0.4  5    - 18
        gpt-5.6-luna           0.2   0.02    0.25   -   1.2   >272000 0.4 0.04 0.5  - 1.8
        gpt-5.5                5     0.5     -      -   30    >272000 10  1    -    - 45
        gpt-5.4                2.5   0.25    -      -   15    >272000 5   0.5  -    - 22.5
        gpt-5.4-mini           0.75  0.075   -      -   4.5
        gpt-5.4-nano           0.2   0.02    -      -   1.25
        gpt-5.2                1.75  0.175   -      -   14
        gpt-5.1                1.25  0.125   -      -   10
        gpt-5                  1.25  0.125   -      -   10
        gpt-5-mini             0.25  0.025   -      -   2
        gpt-5-nano             0.05  0.005   -      -   0.4
        gpt-4.1                2     0.5     -      -   8
        gpt-4.1-mini           0.4   0.1     -      -   1.6
        gpt-4.1-nano           0.1   0.025   -      -   0.4
        gpt-4o                 2.5   1.25    -      -   10
        gpt-4o-2024-05-13      5     -       -      -   15
        gpt-4o-mini            0.15  0.075   -      -   0.6
        o3                     2     0.5     -      -   8
        o3-mini                1.1   0.55    -      -   4.4
        o4-mini                1.1   0.275   -      -   4.4
        text-embedding-3-large 0.13  -       -      -   -
        text-embedding-3-small 0.02  -       -      -   -
    """,
    # https://www.anthropic.com/pricing#api
    "anthropic": """
        claude-fable-5-2       8     0.2     10     16  40
        claude-opus-5-5        4     0.2     5      8   20
        claude-opus-5          5     0.5     6.25   10  25
        claude-opus-4-8        5     0.5     6.25   10  25
        claude-opus-4-5        5     0.5     6.25   10  25
        claude-sonnet-5-5      2     0.1     2.5    4   10
        claude-sonnet-5        2     0.2     2.5    4   10
        claude-sonnet-4-6      3     0.3     3.75   6   15
        claude-sonnet-4-5      3     0.3     3.75   6   15    >200000 6   0.6  7.5  12 22.5
        claude-haiku-5-5       0.1   0.01    0.125  0.2 0.5   >100000 0.5 0.05 0.625 1 2.5
        claude-haiku-4-5       1     0.1     1.25   2   5
    """,
    # https://ai.google.dev/gemini-api/docs/pricing
    "gemini": """
        gemini-4-argon         2     0.1     -      -   10
        gemini-3.8-flash       0.75  0.075   -      -   3.75
        gemini-3.6-flash       0.75  0.075   -      -   3.75
        gemini-3.5-flash       1.5   0.15    -      -   9
        gemini-3.5-flash-lite  0.3   0.03    -      -   2.5
        gemini-3.1-pro-preview 2     0.2     -      -   12    >200000 4   0.4  -    - 18
        gemini-2.5-pro         1.25  0.125   -      -   10    >200000 2.5 0.25 -    - 15
        gemini-embedding-001   0.15  -       -      -   -
    """,
    # https://console.groq.com/docs/models
    "groq": """
        openai/gpt-oss-120b                           0.15  0.075   - - 0.6
        openai/gpt-oss-20b                            0.075 0.0375  - - 0.3
        llama-3.3-70b-versatile                       0.59  -       - - 0.79
        llama-3.1-8b-instant                          0.05  -       - - 0.08
        meta-llama/llama-4-maverick-17b-128e-instruct 0.2   -       - - 0.6
        meta-llama/llama-4-scout-17b-16e-instruct     0.11  -       - - 0.34
        moonshotai/kimi-k2-instruct                   1     0.5     - - 3
        qwen/qwen3-32b                                0.29  -       - - 0.59
    """,
    # https://mistral.ai/pricing/api
    "mistral": """
        mistral-large-4        0.7   0.07    -      -   2.1
        mistral-large-2512     0.5   0.05    -      -   1.5
        mistral-medium-latest  1.5   0.15    -      -   7.5
        mistral-medium-3-1     0.4   0.04    -      -   2
        mistral-small-latest   0.15  0.015   -      -   0.6
        mistral-small-2603     0.15  0.015   -      -   0.6
        ministral-8b-2512      0.15  0.015   -      -   0.15
        codestral-2508         0.3   0.03    -      -   0.9
        mistral-embed          0.1   -       -      -   0.1
    """,
    # https://api-docs.deepseek.com/quick_start/pricing
    "deepseek": """
        deepseek-flash         0.3   0.006   -      -   1.2
        deepseek-v4-flash      0.3   0.006   -      -   1.2
        deepseek-v4-pro        1.32  0.044   -      -   3.96
    """,
}
_COLUMNS: Final = ("input", "cached", "written", "written_1h", "output")
_PICO: Final = 10**6

# A model's dated name has the price of the model, unless it has a row of its own.
_DATED: Final = re.compile(r"[-@](?:20\d\d-?\d\d-?\d\d|latest)")

# What is sold under another name than the vendor's.
_SELLERS: Final = {"azure": "openai", "azure_openai": "openai", "vertex": "gemini"}

_DEARER: Final = frozenset({"priority", "fast"})
# Of fees the dearest that genai-prices knows of: 35 USD for 1,000 searches, 40 for a million characters, 5 for 1,000
# pages, 3 for an hour of audio.
_FEES: Final = {
    "searches": 35 * 10**9,
    "lookups": 25 * 10**8,
    "executions": 35 * 10**9,
    "characters": 4 * 10**7,
    "pages": 5 * 10**9,
    "seconds": 10**9,
}


def find(terms: Terms) -> Price | None:
    """
    Return the table's price for *terms*; None if it has none.
    """
    if terms.tier in _DEARER or terms.speed:
        return None
    seller = _SELLERS.get(terms.provider, terms.provider)
    known = rows()
    for provider in (seller,) if seller else _TABLE:
        for name in _names(terms.model):
            bands = known.get((provider, name))
            if bands is not None:
                return Price(name, NAME, bands)
    return None


def _names(model: str) -> tuple[str, ...]:
    plain = _DATED.sub("", model)
    return (model,) if plain == model else (model, plain)


@cache
def rows() -> dict[tuple[str, str], tuple[Band, ...]]:
    """
    Return the table: bands by provider and model.
    """
    found = {}
    for provider, text in _TABLE.items():
        for line in text.strip().splitlines():
            name, *columns = line.split()
            found[provider, name] = _bands(columns)
    return found


def _bands(columns: list[str]) -> tuple[Band, ...]:
    """
    Read a row: its first band, and one for each length that it names.
    """
    width = len(_COLUMNS)
    bands = [band(-1, _rates(columns[:width]))]
    for at in range(width, len(columns), width + 1):
        bands.insert(0, band(int(columns[at].removeprefix(">")), _rates(columns[at + 1 : at + 1 + width])))
    return tuple(bands)


def _rates(columns: list[str]) -> dict[str, int]:
    return {unit: int(Decimal(usd) * _PICO) for unit, usd in zip(_COLUMNS, columns, strict=True) if usd != "-"}


@cache
def ceiling() -> tuple[Band, ...]:
    """
    Return what a model without a price is taken to cost: the dearest of the table, unit by unit, and for fees as well.
    """
    most = [max(each) for each in zip(*(each.pico_usd for bands in rows().values() for each in bands), strict=True)]
    return (band(-1, {**dict(zip(UNITS, most, strict=True)), **_FEES}),)
