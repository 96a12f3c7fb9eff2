"""
Checks of the values that have a form of their own: limits, money, time zones, URLs, scopes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from egressor.errors import ConfigError
from egressor.policies.checks import SettingError, nearest, show, unlike
from egressor.policies.grammar import Limit
from egressor.policies.hiding import NOT_SHOWN, holds_secret
from egressor.policies.redaction import redact

if TYPE_CHECKING:
    from decimal import Decimal

__all__ = ["ALSO", "DIALECTS", "SCOPE_KEYS", "dialect", "limit", "money", "scope_values", "url", "zone"]

_SCOPE_KEY = r"[a-z][a-z0-9_]{0,31}"
_URL = r"(?s)(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<rest>.*)"
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,253})|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
_LAST_PORT = 65_535
_MICRO = "0.000001"
SCOPE_KEYS = ("user", "feature", "endpoint", "model")
"""
The names in a call's scope that rules match on.
"""

DIALECTS: Final = (
    *("anthropic", "azure", "binance", "bitget", "bybit", "coinbase", "coingecko", "coinmarketcap", "deepseek"),
    *("deribit", "discord", "gate", "gemini", "gemini_exchange", "github", "groq", "htx", "kraken", "kucoin", "mexc"),
    *("mistral", "okx", "openai", "openrouter", "reddit", "stackexchange", "telegram", "x", "generic", "ietf"),
)
"""
All dialects; `egressor.dialects` reads them. ``generic`` and ``ietf`` are plain HTTP.
"""
ALSO: Final = {"gemini-exchange": "gemini_exchange", "huobi": "htx", "twitter": "x"}
"""
Other names of some of them.
"""


def dialect(value: object) -> str:
    """
    Check a dialect's name; returned as `DIALECTS` has it.
    """
    if not isinstance(value, str):
        raise unlike(value, 'a dialect such as "openai"')
    name = ALSO.get(value, value)
    if name not in DIALECTS:
        message = f"{show(value)} is no dialect: egressor.dialects.NAMES lists them"
        raise SettingError(message, nearest=nearest(value, (*DIALECTS, *ALSO)))
    return name


def limit(value: object) -> Limit:
    """
    Check a limit, given as one or as its text.
    """
    if isinstance(value, Limit):
        return value
    if not isinstance(value, str):
        raise unlike(value, 'a limit such as "20/minute"')
    try:
        return Limit(value)
    except ConfigError as error:
        raise SettingError(error.message, nearest=error.nearest) from None


def money(value: object) -> Decimal:
    """
    Check an amount of US dollars: above 0, at most a billion, whole micro-dollars.
    """
    from decimal import Decimal

    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise unlike(value, "an amount of US dollars")
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{1,10}(\.[0-9]{1,6})?", value):
        message = f"{show(value)} is not an amount of US dollars such as 1.50"
        raise SettingError(message)
    # A huge integer is refused before it is turned to digits, of which Python allows 4300.
    amount = Decimal(0 if isinstance(value, int) and abs(value) > 10**9 else str(value))
    if not amount.is_finite() or not 0 < amount <= 10**9:
        message = f"{show(value)} USD is not above 0 and at most 1000000000"
        raise SettingError(message)
    if amount % Decimal(_MICRO):
        message = f"{show(value)} USD is finer than a micro-dollar"
        raise SettingError(message)
    return amount


def zone(value: object) -> str:
    """
    Check the name of a time zone, such as ``UTC`` or ``Europe/Berlin``.
    """
    from zoneinfo import ZoneInfo, available_timezones

    if not isinstance(value, str):
        raise unlike(value, 'a time zone such as "UTC"')
    if value == "UTC":
        return value
    try:
        ZoneInfo(value)
    except (ValueError, OSError, LookupError):
        message = f"{show(value)} is no time zone of this system's database"
        known = {name.lower(): name for name in available_timezones()}
        raise SettingError(message, nearest=known.get(nearest(value, known) or "")) from None
    return value


def url(value: object) -> str:
    """
    Check a base URL: http or https, a host, perhaps a port and a path; returned without a slash at its end.

    Whatever may hold a secret (user, password, query) is refused, and never shown.
    """
    if not isinstance(value, str):
        raise unlike(value, "a URL")
    found = re.fullmatch(_URL, value)
    if found is None or found["scheme"].lower() not in {"http", "https"}:
        _, user, rest = value.rpartition("@")
        shown = NOT_SHOWN if holds_secret(value) else show(redact(f"{NOT_SHOWN}@{rest}" if user else value))
        message = f'{shown} does not begin with "https://" or "http://"'
        raise SettingError(message)
    if "@" in found["authority"]:
        message = "a user or password in a URL would be logged along the way: use api_key"
        raise SettingError(message)
    if found["rest"]:
        message = 'a base URL has no "?" and no "#"'
        raise SettingError(message)
    host = re.fullmatch(_HOST, found["authority"])
    if host is None or int(host["port"] or 1) not in range(1, _LAST_PORT + 1):
        message = f"{_part(found, 'authority')} is no host with an optional port"
        raise SettingError(message)
    if not re.fullmatch(r"[!-~]*", found["path"]) or "\\" in found["path"]:
        message = f"the path {_part(found, 'path')} holds characters that a URL has to escape"
        raise SettingError(message)
    return value.rstrip("/")


def _part(url: re.Match[str], name: str) -> str:
    # A key may go on over the slashes that end this part.
    return NOT_SHOWN if holds_secret(url[0]) else show(url[name])


def scope_values(value: object) -> dict[str, str]:
    """
    Check what a rule matches: scope keys with a value each, or with ``*`` for one cell per value.
    """
    if not isinstance(value, Mapping):
        raise unlike(value, 'a table such as { user = "*" }')
    if not value:
        message = "it is empty: settings for every call belong to the service itself"
        raise SettingError(message)
    for key, wanted in value.items():
        if not isinstance(key, str) or not re.fullmatch(_SCOPE_KEY, key):
            message = f"{show(key)} is not a scope key: lower-case letters, digits and _, at most 32"
            raise SettingError(message, nearest=nearest(key, SCOPE_KEYS), at=(str(key),))
        slip = None if key in SCOPE_KEYS else nearest(key, SCOPE_KEYS, cutoff=0.8)
        if slip is not None:
            # A rule that no call matches is a limit that nobody keeps.
            message = f"{show(key)} looks like a slip of {show(slip)}: the rule would match no call"
            raise SettingError(message, nearest=slip, at=(key,))
        if not isinstance(wanted, str):
            raise unlike(wanted, 'a text, or "*"', at=(key,))
        if not re.fullmatch(r"[^\x00-\x1f\x7f]{1,256}", wanted):
            message = f"{show(wanted)} is not 1 to 256 printable characters"
            raise SettingError(message, at=(key,))
    return dict(sorted(value.items()))
