"""
Prices out of the package ``genai-prices``, if it is installed.

The package itself is not imported as long as the program hasn't done so, and its prices are read as they lie there
(`egressor.prices.listed` says why). A program that updates them has imported it, and then it is asked.

Its arithmetic takes Decimals and 140 microseconds a call, so it is asked once for each model, variant and day, and what
it says becomes integers. Where a price depends on the time of day it is asked once a minute, which is as fine as it is.

Its contexts are exact words, and one it doesn't know is the full price without a warning: ``processing: batch`` is the
one for a batch, ``service_tier`` the tier that the answer names, ``speed`` Anthropic's fast mode.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from egressor.prices import listed
from egressor.prices.price import Price, band

if TYPE_CHECKING:
    from decimal import Decimal

    from egressor.prices.listed import Listed
    from egressor.prices.terms import Terms

__all__ = ["PROVIDERS", "GenaiPrices"]

PROVIDERS: Final = {"gemini": "google", "claude": "anthropic", "vertex": "google", "azure_openai": "azure"}
"""
Our dialects that have another name there; the others have the same.
"""

# Our unit, and the names that its price may have there, the first that is set. `per` is how many units they are for.
_PER_MILLION: Final = 10**6
_KEYS: Final = (
    ("input", ("input_mtok",), _PER_MILLION),
    ("cached", ("cache_read_mtok",), _PER_MILLION),
    ("written", ("cache_write_5m_mtok", "cache_write_mtok"), _PER_MILLION),
    ("written_1h", ("cache_write_1h_mtok", "cache_write_mtok"), _PER_MILLION),
    ("audio_input", ("input_audio_mtok",), _PER_MILLION),
    ("cached_audio", ("cache_audio_read_mtok",), _PER_MILLION),
    ("image_input", ("input_image_mtok",), _PER_MILLION),
    ("cached_image", ("cache_image_read_mtok",), _PER_MILLION),
    ("video_input", ("input_video_mtok",), _PER_MILLION),
    ("output", ("output_mtok",), _PER_MILLION),
    ("reasoning", ("output_reasoning_mtok",), _PER_MILLION),
    ("audio_output", ("output_audio_mtok",), _PER_MILLION),
    ("image_output", ("output_image_mtok",), _PER_MILLION),
    ("video_output", ("output_video_mtok",), _PER_MILLION),
    ("seconds", ("input_audio_hours", "audio_hours"), 3600),
    ("characters", ("input_mchars",), _PER_MILLION),
    ("pages", ("input_document_kpages",), 1000),
    ("searches", ("web_searches_kcount",), 1000),
    ("lookups", ("storage_searches_kcount",), 1000),
    ("executions", ("code_executions_kcount",), 1000),
    ("requests", ("requests_kcount",), 1000),
)
_PICO: Final = 10**12
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY: Final = 86_400
_MINUTE: Final = 60
_FIRST: Final = -1
_PACKAGE: Final = "genai_prices.data_snapshot"
# Whose prices we read by its rules; another one may have other rules, which only it knows.
_KNOWN: Final = "0.2."


class GenaiPrices:
    """
    The source, which remembers nothing but the package; `PriceBook` remembers what it says.
    """

    def __init__(self) -> None:
        edition = version("genai-prices")
        self.name = f"genai-prices {edition}"
        self._listed = _listed() if edition.startswith(_KNOWN) else None
        if self._listed is None:
            # If there is none that can be imported, that is said here.
            for name in ("genai_prices", _PACKAGE):
                import_module(name)

    @property
    def edition(self) -> Any:
        """
        The data in use: another object once the program has updated the package's prices.
        """
        # Half imported it has no such function yet.
        theirs = getattr(sys.modules.get(_PACKAGE), "get_snapshot", None)
        if theirs is None and self._listed is None:
            theirs = import_module(_PACKAGE).get_snapshot
        return self._listed if theirs is None else theirs()

    def find(self, terms: Terms, at: int) -> tuple[Price, int] | None:
        """
        Find a price.

        Args:
            terms: The model, and how it was called.
            at: Seconds since 1970.

        Returns:
            The price, and the second until which it holds; None if the model is not known there.
        """
        provider = PROVIDERS.get(terms.provider, terms.provider) or None
        try:
            home, model = self.edition.find_provider_model(terms.model, None, provider, None)
        except LookupError:
            return None
        slot = _MINUTE if _is_timed(model) else _DAY
        begin = at // slot * slot
        # Another provider's model sold by this one has no variants: the package says so, too.
        context = terms.context if any(model is each for each in home.models) else {}
        prices = model.get_prices(_EPOCH + timedelta(seconds=begin), context or None)
        bands = _bands(prices)
        return None if bands is None else (Price(model.id, self.name, bands, window=model.context_window), begin + slot)


def _listed() -> Listed | None:
    try:
        return listed.read()
    except Exception:  # noqa: BLE001 - what is written otherwise can fail in any way, and its package can read it
        return None


def _is_timed(model: Any) -> bool:
    entries = [*(model.prices if isinstance(model.prices, list) else ()), *(model.price_variants or ())]
    return any(hasattr(entry.constraint, "start_time") for entry in entries)


def _bands(prices: Any) -> Any:
    said = prices if isinstance(prices, dict) else vars(prices)
    found: dict[str, tuple[Any, int]] = {}
    for unit, names, per in _KEYS:
        value = next((value for name in names if (value := said.get(name)) is not None), None)
        if value is not None:
            found[unit] = (value, per)
    if not found:
        # Listed without a price: it may be free, or nobody has looked. Not a reason to bill nothing.
        return None
    starts = {_FIRST, *(tier.start for value, _ in found.values() for tier in getattr(value, "tiers", ()))}
    return tuple(
        band(start, {unit: _pico(_at(value, start), per) for unit, (value, per) in found.items()})
        for start in sorted(starts, reverse=True)
    )


def _at(value: Any, start: int) -> Decimal:
    """
    Return what *value*, a price or one by tiers, is in the band that begins above *start*.
    """
    if not hasattr(value, "tiers"):
        return value  # type: ignore[no-any-return]
    passed = [tier for tier in value.tiers if tier.start <= start]
    return max(passed, key=lambda tier: tier.start).price if passed else value.base  # type: ignore[no-any-return]


def _pico(usd: Decimal, per: int) -> int:
    """
    Return pico-dollars for one unit, of US dollars for *per* of them; rounded up where they are finer.
    """
    numerator, denominator = usd.as_integer_ratio()
    return -(-numerator * _PICO // (denominator * per))
