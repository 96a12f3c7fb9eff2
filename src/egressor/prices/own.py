"""
The user's own prices and discounts, compiled to integers.

Of several that fit, the one that says most wins: a named provider before any, a tier or batch before any, a whole name
before one with ``*``, a longer one before a shorter, a later day before an earlier.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Final, NamedTuple

from egressor.prices.price import WHOLE, Price, band

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from decimal import Decimal

    from egressor.policies.prices import Discount, OwnPrice
    from egressor.prices.price import Band
    from egressor.prices.terms import Terms

__all__ = ["SOURCE", "Discounts", "OwnPrices", "bands_of"]

SOURCE: Final = "own"
_ALWAYS: Final = -(2**62)
_NEVER: Final = 2**62
_PER_MTOK: Final = 10**6
_EACH: Final = 10**12

# The words of a fee in the file, for one of each.
_FEES: Final = {
    "request": "requests",
    "search": "searches",
    "lookup": "lookups",
    "execution": "executions",
    "character": "characters",
    "page": "pages",
    "second": "seconds",
}


class _Entry(NamedTuple):
    """
    One price or discount: whom it is for, from which second on, and its value.
    """

    model: str
    provider: str | None
    tier: str | None
    batch: bool | None
    since: int
    bands: tuple[Band, ...]
    keep: int

    def rank(self, terms: Terms) -> tuple[int, ...] | None:
        """
        Say how much of *terms* it names; None if it is for something else.
        """
        for wanted, is_so in ((self.provider, terms.provider), (self.tier, terms.tier), (self.batch, terms.batch)):
            if wanted is not None and wanted != is_so:
                return None
        is_open = self.model.endswith("*")
        if not (terms.model.startswith(self.model[:-1]) if is_open else terms.model == self.model):
            return None
        said = (self.tier is not None) + (self.batch is not None)
        return (self.provider is not None, said, not is_open, len(self.model), self.since)


class OwnPrices:
    """
    The user's prices; immutable.
    """

    def __init__(self, prices: Iterable[OwnPrice]) -> None:
        self._entries = tuple(
            _Entry(each.model.lower(), each.provider, each.tier, each.batch, _second(each.since), bands_of(each), WHOLE)
            for each in prices
        )

    def find(self, terms: Terms, at: int) -> tuple[Price | None, int]:
        """
        Return the price for *terms* at second *at*, or None, and the second until which this is so.
        """
        entry, until = _best(self._entries, terms, at)
        return (None if entry is None else Price(entry.model, SOURCE, entry.bands)), until


class Discounts:
    """
    The user's discounts on other sources' prices; immutable.
    """

    def __init__(self, discounts: Iterable[Discount]) -> None:
        self._entries = tuple(
            _Entry(each.model.lower(), each.provider, None, None, _second(each.since), (), WHOLE - _parts(each.percent))
            for each in discounts
        )

    def find(self, terms: Terms, at: int) -> tuple[int, int]:
        """
        Return the ten-thousandths of a price that are paid at second *at*, and the second until which this is so.
        """
        entry, until = _best(self._entries, terms, at)
        return (WHOLE if entry is None else entry.keep), until


def _best(entries: tuple[_Entry, ...], terms: Terms, at: int) -> tuple[_Entry | None, int]:
    fitting = [(rank, entry) for entry in entries if (rank := entry.rank(terms)) is not None]
    begun = [(rank, entry) for rank, entry in fitting if entry.since <= at]
    until = min((entry.since for _, entry in fitting if entry.since > at), default=_NEVER)
    return (max(begun, key=lambda each: each[0])[1] if begun else None), until


def bands_of(own: OwnPrice) -> tuple[Band, ...]:
    """
    Compile a price's bands, the longest context first.
    """
    fees = {_FEES[name]: int(usd * _EACH) for name, usd in own.usd_each.items()}
    found = [band(-1, {**fees, **_rates(own.usd_per_mtok)})]
    for tier in sorted(own.tiers, key=lambda tier: tier.above):
        found.insert(0, band(tier.above, {**fees, **_rates({**own.usd_per_mtok, **tier.usd_per_mtok})}))
    return tuple(found)


def _rates(usd_per_mtok: Mapping[str, Decimal]) -> dict[str, int]:
    return {unit: int(usd * _PER_MTOK) for unit, usd in usd_per_mtok.items()}


def _parts(percent: Decimal) -> int:
    return int(percent * (WHOLE // 100))


def _second(day: date | None) -> int:
    return _ALWAYS if day is None else int(datetime.combine(day, time(), UTC).timestamp())
