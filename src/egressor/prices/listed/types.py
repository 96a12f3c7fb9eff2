"""
What genai-prices' list of prices is made of: its own names, with what a price needs and nothing else.

Each takes exactly the arguments that the package's own one takes: what is written otherwise fails to be read, and isn't
misunderstood.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from decimal import Decimal

__all__ = [
    "ArrayMatch",
    "ClauseAnd",
    "ClauseContains",
    "ClauseEndsWith",
    "ClauseEquals",
    "ClauseOr",
    "ClauseRegex",
    "ClauseStartsWith",
    "ConditionalPrice",
    "ModelInfo",
    "ModelPrice",
    "PriceVariant",
    "Provider",
    "StartDateConstraint",
    "Tier",
    "TieredPrices",
    "TimeOfDateConstraint",
    "UsageExtractor",
    "UsageExtractorMapping",
]

_COMPACT_DATE: Final = re.compile(r"(-)(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")


class Clause(Protocol):
    """
    Whether a name is meant.
    """

    def is_match(self, text: str) -> bool:
        """
        Return whether *text* is.
        """


class ClauseEquals(NamedTuple):
    """
    It is this.
    """

    equals: str

    def is_match(self, text: str) -> bool:
        """
        Return whether *text* is.
        """
        return text.lower() == self.equals.lower()


class ClauseStartsWith(NamedTuple):
    """
    It begins so.
    """

    starts_with: str

    def is_match(self, text: str) -> bool:
        """
        Return whether *text* does.
        """
        return text.lower().startswith(self.starts_with.lower())


class ClauseEndsWith(NamedTuple):
    """
    It ends so.
    """

    ends_with: str

    def is_match(self, text: str) -> bool:
        """
        Return whether *text* does.
        """
        return text.lower().endswith(self.ends_with.lower())


class ClauseContains(NamedTuple):
    """
    It has this in it.
    """

    contains: str

    def is_match(self, text: str) -> bool:
        """
        Return whether *text* has.
        """
        return self.contains.lower() in text.lower()


class ClauseRegex(NamedTuple):
    """
    It fits a pattern, anywhere.
    """

    regex: str

    def is_match(self, text: str) -> bool:
        """
        Return whether *text* does.
        """
        return re.search(self.regex, text) is not None


class ClauseOr(NamedTuple):
    """
    One of these is right.
    """

    or_: Sequence[Clause]

    def is_match(self, text: str) -> bool:
        """
        Return whether one is, of *text*.
        """
        return any(each.is_match(text) for each in self.or_)


class ClauseAnd(NamedTuple):
    """
    All of these are right.
    """

    and_: Sequence[Clause]

    def is_match(self, text: str) -> bool:
        """
        Return whether all are, of *text*.
        """
        return all(each.is_match(text) for each in self.and_)


class StartDateConstraint(NamedTuple):
    """
    From the beginning of a day on, in UTC.
    """

    start_date: date

    def active(self, when: datetime) -> bool:
        """
        Return whether it holds at *when*.
        """
        return when.astimezone(UTC).date() >= self.start_date


class TimeOfDateConstraint(NamedTuple):
    """
    At a time of each day.
    """

    start_time: time
    end_time: time

    def active(self, when: datetime) -> bool:
        """
        Return whether it holds at *when*.
        """
        now, start, end = when.astimezone(UTC).timetz(), _utc(self.start_time), _utc(self.end_time)
        return start <= now < end if start <= end else now >= start or now < end


class Tier(NamedTuple):
    """
    A price from a length of context on.
    """

    start: int
    price: Decimal


class TieredPrices(NamedTuple):
    """
    A price by the length of the context.
    """

    base: Decimal
    tiers: Sequence[Tier]


class ModelPrice(dict[str, "Decimal | TieredPrices"]):
    """
    The prices of a model, by the names of their units.
    """


class ConditionalPrice(NamedTuple):
    """
    Prices that hold from a day on, or at a time.
    """

    constraint: StartDateConstraint | TimeOfDateConstraint | None = None
    prices: ModelPrice = ModelPrice()


class PriceVariant(NamedTuple):
    """
    Prices for those who ask in a certain way.
    """

    when: Mapping[str, str]
    prices: ModelPrice
    constraint: StartDateConstraint | TimeOfDateConstraint | None = None


class ModelInfo:
    """
    A model.
    """

    __slots__ = ("context_window", "id", "match", "price_variants", "prices")

    def __init__(
        self,
        id: str,  # noqa: A002 - the package's
        match: Clause,
        name: str | None = None,
        description: str | None = None,
        context_window: int | None = None,
        price_comments: str | None = None,
        deprecated: bool | None = None,  # noqa: FBT001
        prices: ModelPrice | Sequence[ConditionalPrice] = (),
        price_variants: Sequence[PriceVariant] | None = None,
    ) -> None:
        del name, description, price_comments, deprecated
        self.id, self.match, self.context_window = id, match, context_window
        self.prices, self.price_variants = prices, price_variants

    def get_prices(self, when: datetime, context: Mapping[str, str] | None) -> ModelPrice:
        """
        Return what it costs at *when*, asked for in the way that *context* says.
        """
        if isinstance(self.prices, ModelPrice):
            standard = self.prices
        else:
            held = (each for each in reversed(self.prices) if each.constraint is None or each.constraint.active(when))
            standard = next(held, self.prices[0]).prices
        if not context:
            return standard
        prices = ModelPrice(standard)
        # The first that says something of a unit has the word.
        for variant in reversed(self.price_variants or ()):
            if (variant.constraint is None or variant.constraint.active(when)) and all(
                context.get(key) == value for key, value in variant.when.items()
            ):
                prices.update(variant.prices)
        return prices


class Provider:
    """
    Who sells models.
    """

    __slots__ = ("fallback_model_providers", "id", "model_match", "models", "provider_match")

    def __init__(  # noqa: PLR0913, PLR0917 - the package's
        self,
        id: str,  # noqa: A002 - the package's
        name: str,
        api_pattern: str,
        pricing_urls: object = None,
        description: str | None = None,
        price_comments: str | None = None,
        model_match: Clause | None = None,
        provider_match: Clause | None = None,
        extractors: object = None,
        fallback_model_providers: Sequence[str] | None = None,
        models: Sequence[ModelInfo] = (),
    ) -> None:
        del name, api_pattern, pricing_urls, description, price_comments, extractors
        self.id, self.model_match, self.provider_match = id, model_match, provider_match
        self.fallback_model_providers, self.models = fallback_model_providers, models

    def find_model(self, model_ref: str, *, all_providers: Sequence[Provider] = ()) -> ModelInfo | None:
        """
        Find a model by its name; among those of *all_providers*, too, if it sells theirs.
        """
        model_ref = model_ref.lower()
        dashed = _COMPACT_DATE.sub(_dashed, model_ref)
        for name in dict.fromkeys((model_ref, dashed)):
            for home in (self, *self._others(all_providers)):
                if (found := next((each for each in home.models if each.match.is_match(name)), None)) is not None:
                    return found
        return None

    def _others(self, all_providers: Sequence[Provider]) -> list[Provider]:
        wanted = self.fallback_model_providers or ()
        named = {each.id: each for each in reversed(all_providers)} if wanted else {}
        return [named[name] for name in wanted if name in named]


def _nothing(*_args: object, **_kwargs: object) -> None:
    """
    Leave out what has nothing to do with a price: how the package reads answers, which we do ourselves.
    """


ArrayMatch = UsageExtractor = UsageExtractorMapping = _nothing


def _dashed(found: re.Match[str]) -> str:
    try:
        return f"-{date(*map(int, found.group(2, 3, 4)))}"
    except ValueError:
        return found[0]


def _utc(value: time) -> time:
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return datetime.combine(date(1970, 1, 1), value).astimezone(UTC).timetz()
