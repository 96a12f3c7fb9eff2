"""
What `egressor check` and `egressor init` print: the effective policy with its sources, and the template.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TYPE_CHECKING

from egressor.policies.parts import Rule, Secret
from egressor.policies.redaction import redact
from egressor.policies.settings import Settings, settings_of
from egressor.policies.template import TEMPLATE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from egressor.policies.keys import ClientKey
    from egressor.policies.model import Config
    from egressor.policies.prices import Prices

__all__ = ["Plain", "Row", "effective", "template"]

Plain = str | int | float | bool | tuple[str, ...] | None
"""
What a row's value is made of: JSON can hold it.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """
    One value of the effective configuration.

    Attributes:
        service: The service's name; empty for what belongs to no service.
        key: Dotted name of the setting, without the service: ``breaker.open_for``, ``rules[user=*].limits``.
        value: The value, as plain data: limits, priorities and names as texts; never a secret.
        source: Where it came from: ``preset llm_api``, ``default``, ``egressor.toml:12``, ``python``.
    """

    service: str
    key: str
    value: Plain
    source: str


def effective(config: Config) -> list[Row]:
    """
    Return every value that *config* puts into effect, in the order in which the settings are documented.
    """
    rows = [
        Row("", key, value, source) for key, value, source in _rows(config, "egressor") if key != "egressor.services"
    ]
    rows += [Row("", key, value, source) for key, value, source in _rows(config.gateway, "gateway")]
    rows += [Row("", f"prices.{key}", value, source) for key, value, source in _of_prices(config.prices)]
    for name, policy in config.services.items():
        rows += [Row(name, key, value, source) for key, value, source in _rows(policy, "")]
    return rows


def template() -> str:
    """
    Return the commented file that ``egressor init`` writes; it loads as it is.
    """
    return TEMPLATE


def _rows(owner: Settings, prefix: str) -> Iterator[tuple[str, Plain, str]]:
    for each in settings_of(type(owner)):
        key = f"{prefix}.{each.name}" if prefix else each.name
        value = getattr(owner, each.name)
        if isinstance(value, Settings) and not isinstance(value, Secret):
            if each.name not in {"gateway", "prices"}:
                yield from _rows(value, key)
        elif each.name == "rules":
            for rule in value:
                yield from _of_rule(rule)
        elif each.name == "errors":
            for position, pattern in enumerate(value):
                yield from (row for row in _rows(pattern, f"errors[{position}]") if row[2] != "default")
        elif each.name == "keys":
            yield key, _plain(value), owner.sources[each.name]
            for client in value:
                yield from _of_key(client, f"{key}[{client.name}]")
        else:
            yield key, _address(value) if each.name == "base_url" else _plain(value), owner.sources[each.name]


def _of_prices(prices: Prices) -> Iterator[tuple[str, Plain, str]]:
    told: dict[str, Plain] = {
        "models": tuple(each.model for each in prices.models),
        "discounts": tuple(f"{each.percent}% off {each.model}" for each in prices.discounts),
        "on_unknown_price": prices.on_unknown_price,
        "ceiling": None if prices.ceiling is None else prices.ceiling.model,
    }
    for key, value in told.items():
        yield key, value, prices.sources[key]


def _of_rule(rule: Rule) -> Iterator[tuple[str, Plain, str]]:
    """
    Yield what a rule sets; what it leaves alone is the service's.
    """
    for key, value, source in _rows(rule, f"rules[{rule.name}]"):
        if source != "default" and not key.endswith("].match"):
            yield key, value, source


def _of_key(client: ClientKey, prefix: str) -> Iterator[tuple[str, Plain, str]]:
    """
    Yield what a client's key is bound to, and never its hash.
    """
    for key, value, source in _rows(client, prefix):
        if source != "default" and key not in {f"{prefix}.name", f"{prefix}.sha256"}:
            yield key, value, source


def _address(url: str | None) -> str | None:
    """
    Return *url* without the secrets in its path; there some services have them.
    """
    if url is None:
        return None
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host}{redact(slash + path)}"


def _plain(value: object) -> Plain:
    if isinstance(value, Secret):
        return value.shown
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return str(value) if isinstance(value, StrEnum) else value.name.lower()
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, tuple):
        return tuple(str(each) for each in value)
    return str(value)
