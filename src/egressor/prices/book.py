"""
The sources in their order, and what they said: the user's own prices, genai-prices, the small table, the ceiling.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from egressor.policies.prices import Prices
from egressor.prices import bundled
from egressor.prices.own import Discounts, OwnPrices, bands_of
from egressor.prices.price import WHOLE, Price
from egressor.prices.terms import terms

if TYPE_CHECKING:
    from egressor._core.usage import Usage
    from egressor.prices.genai import GenaiPrices
    from egressor.prices.price import Cost
    from egressor.prices.terms import Terms

__all__ = ["PriceBook", "price_of"]

_MICRO: Final = 10**6

# A model's name may come out of an answer, so anybody's words can be one.
_REMEMBERED: Final = 1024


class PriceBook:
    """
    The prices of all models. It remembers what it found for a day at most, 1,024 answers of it.

    Threads may share it: a lookup that is made twice finds the same.

    Args:
        settings: The user's prices and discounts, and what to do about an unknown model. Default: none, ``refuse``.
        genai: Whether to ask the package ``genai-prices``, if it is installed. Default: True.
    """

    def __init__(self, settings: Prices | None = None, *, genai: bool = True) -> None:
        self.settings = settings or Prices()
        self._own = OwnPrices(self.settings.models)
        self._discounts = Discounts(self.settings.discounts)
        self._genai = _genai() if genai else None
        self._edition: object = None
        self._found: dict[tuple[str, str, str, bool, str], tuple[int, int, Price]] = {}

    def find(
        self, model: str, *, at: int, provider: str = "", tier: str = "", batch: bool = False, speed: str = ""
    ) -> Price:
        """
        Find the price of a model.

        Args:
            model: Its name, as the request or, better, the answer has it.
            at: When it was called, in microseconds since 1970: prices are dated.
            provider: The dialect of its service. Default: whoever's model it is.
            tier: The service tier in the *answer*, which may be another one than was asked for. Default: the standard.
            batch: Whether it was part of a batch. Default: False.
            speed: Anthropic's ``speed``, in its answer. Default: the standard.

        Returns:
            The price. Its ``unknown`` is set if no source has one; it then holds the ceiling.
        """
        key = (model, provider, tier, batch, speed)
        second = at // _MICRO
        known = self._found.get(key)
        if known is not None and known[0] <= second < known[1] and self._is_current():
            return known[2]
        price, since, until = self._ask(terms(model, provider=provider, tier=tier, batch=batch, speed=speed), second)
        self._remember(key, (since, until, price))
        return price

    def _ask(self, wanted: Terms, second: int) -> tuple[Price, int, int]:
        """
        Ask the sources; return the price, and the seconds between which it holds.
        """
        own, until = self._own.find(wanted, second)
        if own is not None:
            return own, second, until
        keep, ends = self._discounts.find(wanted, second)
        until = min(until, ends)
        found = self._genai.find(wanted, second) if self._genai is not None else None
        if found is not None:
            price, ends = found
            return price._replace(keep=keep), second, min(until, ends)
        price_here = bundled.find(wanted)
        if price_here is not None:
            return price_here._replace(keep=keep), second, until
        return self._unknown(wanted), second, until

    def _unknown(self, wanted: Terms) -> Price:
        ceiling = self.settings.ceiling
        bands = bundled.ceiling() if ceiling is None else bands_of(ceiling)
        return Price(wanted.model, "ceiling", bands, WHOLE, self.settings.on_unknown_price)

    def _is_current(self) -> bool:
        return self._genai is None or self._genai.edition is self._edition

    def _remember(self, key: tuple[str, str, str, bool, str], entry: tuple[int, int, Price]) -> None:
        if len(self._found) >= _REMEMBERED or not self._is_current():
            self._found = {}
            self._edition = self._genai.edition if self._genai is not None else None
        self._found[key] = entry


def price_of(
    usage: Usage, model: str, *, at: int, provider: str = "", tier: str = "", batch: bool = False, speed: str = ""
) -> Cost:
    """
    Return what *usage* of *model* cost at *at*, by the public prices; see `PriceBook.find` for the rest.
    """
    return _public().find(model, at=at, provider=provider, tier=tier, batch=batch, speed=speed).cost(usage)


@cache
def _public() -> PriceBook:
    return PriceBook()


@cache
def _genai() -> GenaiPrices | None:
    try:
        from egressor.prices.genai import GenaiPrices

        return GenaiPrices()
    except ImportError:
        return None
