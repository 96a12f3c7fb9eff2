"""
The user's own prices: ``[prices]``, ``[[prices.models]]``, ``[[prices.discounts]]``.

Amounts are US dollars, for a million tokens or for one of something, and the setting's name says which. They are kept
as `Decimal`; what is finer than a price can be (a pico-dollar for one unit) is refused, so none is ever rounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Final, TypeVar

from egressor.errors import ConfigError
from egressor.policies.checks import Check, SettingError, many, nearest, one_of, optional, show, text, unlike, whole
from egressor.policies.settings import Settings, cause_of, setting, settings_of
from egressor.policies.values import dialect

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from egressor.policies.checks import Path

__all__ = ["Discount", "OwnPrice", "PriceTier", "Prices", "read_prices"]

_TOKENS: Final = (
    *("input", "cached", "written", "written_1h", "audio_input", "cached_audio", "image_input", "cached_image"),
    *("video_input", "output", "reasoning", "audio_output", "image_output", "video_output"),
)
_FEES: Final = ("request", "search", "lookup", "execution", "character", "page", "second")
_MOST: Final = 1_000_000
_Kind = TypeVar("_Kind", bound=Settings)

_name = text(r"(?s)[!-~]{1,200}", what="a name of 1 to 200 printable characters without spaces")


def _amount(*, most: int, places: int, what: str) -> Check:
    """
    Return the check of an amount from 0 to *most* with at most so many decimal *places*.
    """

    def check(value: object) -> Decimal:
        if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
            raise unlike(value, what)
        try:
            # A huge integer is refused before it is turned to digits, of which Python allows 4300.
            amount = Decimal(-1 if isinstance(value, int) and abs(value) > most else str(value)[:64])
        except InvalidOperation:
            raise unlike(value, what) from None
        if not amount.is_finite() or not 0 <= amount <= most:
            message = f"{show(value)} is not from 0 to {most}"
            raise SettingError(message)
        if amount.as_tuple().exponent < -places and amount != round(amount, places):  # type: ignore[operator]
            message = f"{show(value)} has more than {places} decimal places"
            raise SettingError(message)
        return amount

    return check


def _amounts(units: tuple[str, ...], check: Check) -> Check:
    """
    Return the check of a table of amounts by unit.
    """

    def check_each(value: object) -> dict[str, Decimal]:
        if not isinstance(value, Mapping):
            raise unlike(value, "a table such as { input = 2.5 }")
        found = {}
        for unit, amount in value.items():
            if unit not in units:
                message = f"unknown unit {show(unit)}: one of {', '.join(units)}"
                raise SettingError(message, nearest=nearest(unit, units), at=(str(unit),))
            try:
                found[unit] = check(amount)
            except SettingError as error:
                raise error.inside(unit) from None
        return found

    return check_each


# Six places of a dollar for a million tokens are pico-dollars for one; twelve of a dollar for one are the same.
_mtok = _amounts(_TOKENS, _amount(most=_MOST, places=6, what="US dollars for a million tokens"))
_each = _amounts(_FEES, _amount(most=_MOST, places=12, what="US dollars for one"))
_percent = _amount(most=100, places=2, what="a discount in percent")


def _day(value: object) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise unlike(value, "a date such as 2026-11-29")


def _either(value: object) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    raise unlike(value, "true or false")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class PriceTier(Settings):
    """
    Other prices for a call that sends more than so many tokens, all of its tokens included.

    Attributes:
        above: Tokens sent, 0 to 1,000,000,000: the prices hold for calls with more.
        usd_per_mtok: US dollars for a million tokens, by unit. What it leaves out is as below that length.
    """

    above: int = field(metadata={"check": whole(at_least=0, at_most=10**9)})
    usd_per_mtok: Mapping[str, Decimal] = field(metadata={"check": _mtok})


def _tier(value: object) -> PriceTier:
    return value if isinstance(value, PriceTier) else _built(PriceTier, value)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class OwnPrice(Settings):
    """
    What a model costs you; it goes before every other source, and no discount applies to it.

    Attributes:
        model: The model's name, or how it begins with ``*`` at the end.
        provider: The dialect of the services that it holds for. Default: any.
        since: The day, in UTC, from which on it holds. Calls before it are not touched. Default: always.
        tier: The service tier that it holds for, as answers name it. Default: any.
        batch: Whether it holds for batches only, or only outside of them. Default: both.
        usd_per_mtok: US dollars for a million tokens, by unit, six decimal places at most. A unit that is left out
            costs what its plainer kind costs: ``cached`` as ``input``, ``reasoning`` as ``output``.
        usd_each: US dollars for one request, search, lookup, execution, character, page or second. Default: none.
        tiers: Other prices above a length of context. Default: none.
    """

    model: str = field(metadata={"check": _name})
    provider: str | None = setting(None, optional(dialect))
    since: date | None = setting(None, optional(_day))
    tier: str | None = setting(None, optional(_name))
    batch: bool | None = setting(None, _either)
    usd_per_mtok: Mapping[str, Decimal] = setting(dict, _mtok)
    usd_each: Mapping[str, Decimal] = setting(dict, _each)
    tiers: tuple[PriceTier, ...] = setting((), many(_tier))

    def _agree(self, given: AbstractSet[str]) -> None:  # noqa: ARG002
        if not self.usd_per_mtok and not self.usd_each:
            message = "it states no price: a model that is free says so, with usd_per_mtok = { input = 0, output = 0 }"
            raise SettingError(message, at=("usd_per_mtok",))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Discount(Settings):
    """
    A discount on public prices.

    Attributes:
        percent: How much less you pay, 0 to 100, two decimal places at most.
        model: The models that it holds for, as in `OwnPrice`. Default: ``*``, all.
        provider: The dialect of the services that it holds for. Default: any.
        since: The day, in UTC, from which on it holds. Default: always.
    """

    percent: Decimal = field(metadata={"check": _percent})
    model: str = setting("*", _name)
    provider: str | None = setting(None, optional(dialect))
    since: date | None = setting(None, optional(_day))


def _own(value: object) -> OwnPrice:
    return value if isinstance(value, OwnPrice) else _built(OwnPrice, value)


def _discount(value: object) -> Discount:
    return value if isinstance(value, Discount) else _built(Discount, value)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Prices(Settings):
    """
    Where prices come from, before the public ones.

    Attributes:
        models: Your own prices. Default: none.
        discounts: Your discounts on public prices; the one that says most of a model holds. Default: none.
        on_unknown_price: ``refuse`` requests that nobody can price where a budget applies, or ``estimate`` them: those
            for a model without a price at the ceiling, those that don't say how long their answer may be at 16,384
            tokens (``refuse`` holds as many as the model's context has, where that is known). Default: ``refuse``, as a
            budget that doesn't know what it spends keeps nothing.
        ceiling: What such a model is taken to cost, as an `OwnPrice`. Default: the dearest of the bundled table.
    """

    models: tuple[OwnPrice, ...] = setting((), many(_own))
    discounts: tuple[Discount, ...] = setting((), many(_discount))
    on_unknown_price: str = setting("refuse", one_of("refuse", "estimate"))
    ceiling: OwnPrice | None = setting(None, optional(_own))


def read_prices(table: object, *, file: str | None = None, lines: Mapping[Path, int] | None = None) -> Prices:
    """
    Read the table ``[prices]`` of a file.

    Args:
        table: The table.
        file: Named in errors. Default: none.
        lines: The line of each key, by `egressor.policies.lines.find_lines`. Default: none.

    Raises:
        ConfigError: A setting is wrong: with file, line, key and the nearest valid name.
    """
    try:
        return _built(Prices, table)
    except SettingError as error:
        path: Path = ("prices", *error.at)
        known = lines or {}
        line = next((known[path[:length]] for length in range(len(path), 0, -1) if path[:length] in known), None)
        raise error.config_error(key=("prices",), file=file, line=line) from None


def _built(kind: type[_Kind], table: object) -> _Kind:
    """
    Build *kind* from a table of its settings.
    """
    if not isinstance(table, Mapping):
        raise unlike(table, "a table")
    settings = {each.name: each for each in settings_of(kind)}
    for key in table:
        if key not in settings:
            message = "unknown setting"
            raise SettingError(message, nearest=nearest(key, settings), at=(str(key),))
    for name, each in settings.items():
        if "default" not in each.metadata and name not in table:
            message = f"it needs {name}"
            raise SettingError(message)
    try:
        return kind(**table)
    except ConfigError as error:
        raise cause_of(error) from None
