"""
What a provider says of its limits: how much is left, of how much, and when it is whole again.

A hint is a plain value, for whoever holds calls back by it (`egressor._core.learn`). Resets are microseconds from the
answer, in the form that the dialect's documentation states and no other: the same header name means seconds left at one
provider and a moment at the next. A reset that can't be read, or a moment without a clock, is None, never a guess.
Fractions round up, so that a hint is never early.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

from egressor._core.learn import INVALID, Hint
from egressor._core.retry_after import LONGEST
from egressor.dialects.forms import clock, iso, number, span

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["NAMES", "START", "Hint", "read_hints"]

_MICRO: Final = 1_000_000
_MINUTE: Final = 60 * _MICRO
_DAY: Final = 86400 * _MICRO
_LONGEST_DELTA: Final = 366 * 86400
_FIELDS: Final = 256
_ITEMS: Final = 16
_LETTERS: Final = {"S": _MICRO, "M": _MINUTE, "H": 60 * _MINUTE, "D": _DAY}


class Form(NamedTuple):
    """
    Where a dialect has one limit.

    Attributes:
        unit: What it counts.
        left: Header of the rest; empty for none.
        limit: Header of the whole.
        reset: Header of the reset.
        form: How the reset is written: ``seconds``, ``millis``, ``epoch``, ``epoch_millis``, ``span``, ``iso``.
        window: Microseconds that it is for, where the documentation says.
        used: Header of what is used.
        refills: Whether the documentation speaks of a bucket that fills all the time, and of the time until it is full.
        per: What has such a limit of its own: each ``endpoint``, each ``model``; empty if it is for all.
    """

    unit: str
    left: str
    limit: str = ""
    reset: str = ""
    form: str = "seconds"
    window: int | None = None
    used: str = ""
    refills: bool = False
    per: str = ""


def _rates(unit: str, form: str, window: int | None = None) -> Form:
    start = "x-ratelimit"
    return Form(
        unit,
        f"{start}-remaining-{unit}",
        f"{start}-limit-{unit}",
        f"{start}-reset-{unit}",
        form,
        window,
        refills=True,
        per="model",
    )


def _claude(unit: str) -> Form:
    start = f"anthropic-ratelimit-{unit.replace('_', '-')}"
    return Form(
        unit, f"{start}-remaining", f"{start}-limit", f"{start}-reset", "iso", _MINUTE, refills=True, per="model"
    )


_FORMS: Final[dict[str, tuple[Form, ...]]] = {
    # https://platform.openai.com/docs/guides/rate-limits
    "openai": (_rates("requests", "span"), _rates("tokens", "span")),
    # https://learn.microsoft.com/azure/ai-services/openai/how-to/quota: whole seconds, which a span may be, too
    "azure": (_rates("requests", "span"), _rates("tokens", "span")),
    # https://console.groq.com/docs/rate-limits: requests by the day, tokens by the minute
    "groq": (_rates("requests", "span", _DAY), _rates("tokens", "span", _MINUTE)),
    # https://docs.mistral.ai/deployment/laplateforme/tier
    "mistral": (
        Form("requests", "x-ratelimit-remaining-req-minute", "x-ratelimit-limit-req-minute", window=_MINUTE),
        Form("tokens", "x-ratelimit-remaining-tokens-minute", "x-ratelimit-limit-tokens-minute", window=_MINUTE),
        Form("tokens", "x-ratelimit-remaining-tokens-month", "x-ratelimit-limit-tokens-month"),
    ),
    # https://openrouter.ai/docs/api-reference/limits
    "openrouter": (
        Form("requests", "x-ratelimit-remaining", "x-ratelimit-limit", "x-ratelimit-reset", "epoch_millis"),
    ),
    # https://docs.anthropic.com/en/api/rate-limits
    "anthropic": tuple(_claude(unit) for unit in ("requests", "tokens", "input_tokens", "output_tokens")),
    # https://github.com/reddit-archive/reddit/wiki/API
    "reddit": (
        Form(
            "requests",
            "x-ratelimit-remaining",
            reset="x-ratelimit-reset",
            window=600 * _MICRO,
            used="x-ratelimit-used",
        ),
    ),
    # https://docs.x.com/x-api/fundamentals/rate-limits
    "x": (
        Form(
            "requests",
            "x-rate-limit-remaining",
            "x-rate-limit-limit",
            "x-rate-limit-reset",
            "epoch",
            900 * _MICRO,
            per="endpoint",
        ),
        Form(
            "requests",
            "x-app-limit-24hour-remaining",
            "x-app-limit-24hour-limit",
            "x-app-limit-24hour-reset",
            "epoch",
            _DAY,
            per="endpoint",
        ),
        Form(
            "requests",
            "x-user-limit-24hour-remaining",
            "x-user-limit-24hour-limit",
            "x-user-limit-24hour-reset",
            "epoch",
            _DAY,
            per="endpoint",
        ),
    ),
    # https://bybit-exchange.github.io/docs/v5/rate-limit: the present moment while nothing is exceeded
    "bybit": (
        Form(
            "requests",
            "x-bapi-limit-status",
            "x-bapi-limit",
            "x-bapi-limit-reset-timestamp",
            "epoch_millis",
            per="endpoint",
        ),
    ),
    # https://www.kucoin.com/docs-new/rate-limit
    "kucoin": (
        Form(
            "weight",
            "gw-ratelimit-remaining",
            "gw-ratelimit-limit",
            "gw-ratelimit-reset",
            "millis",
            30 * _MICRO,
        ),
    ),
    # https://www.gate.com/docs/developers/apiv4/en/#frequency-limit-rule
    "gate": (
        Form(
            "requests",
            "x-gate-ratelimit-requests-remain",
            "x-gate-ratelimit-limit",
            "x-gate-ratelimit-reset-timestamp",
            "epoch",
            per="endpoint",
        ),
    ),
    # https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
    "github": (
        Form(
            "requests",
            "x-ratelimit-remaining",
            "x-ratelimit-limit",
            "x-ratelimit-reset",
            "epoch",
            3600 * _MICRO,
            "x-ratelimit-used",
        ),
    ),
    # https://discord.com/developers/docs/topics/rate-limits
    "discord": (
        Form("requests", "x-ratelimit-remaining", "x-ratelimit-limit", "x-ratelimit-reset-after", per="endpoint"),
    ),
}


# https://discord.com/developers/docs/topics/rate-limits, "Invalid Request Limit": 10,000 of these in ten minutes, and
# the address is banned.
_RUDE: Final = frozenset({401, 403, 429})
_INVALID: Final = Hint(INVALID, limit=10_000, window=600 * _MICRO, adds=1)


NAMES: Final = frozenset(
    {
        *(
            name
            for forms in _FORMS.values()
            for form in forms
            for name in (form.left, form.limit, form.reset, form.used)
        ),
        *("ratelimit", "ratelimit-policy", "ratelimit-remaining", "ratelimit-limit", "ratelimit-reset"),
        *("date", "x-ratelimit-scope", "x-ratelimit-resource"),
    }
)
"""
The headers that are read, in lower case, besides those that begin with `START`.
"""
START: Final = "x-mbx-"


def read_hints(
    dialect: str, headers: Mapping[str, Sequence[str]], now: float | None, status: int | None = None
) -> tuple[Hint, ...]:
    """
    Read what *headers* say of limits.

    Args:
        dialect: Whose headers they are.
        headers: Header values by lower-case name.
        now: Seconds since 1970, for moments in an answer without a ``Date``.
        status: The answer's status, where some count as bad manners.
    """
    found = [_read(form, headers, now) for form in _FORMS.get(dialect, ())]
    if dialect == "binance":
        found += _weights(headers)
    if dialect == "github" and headers.get("x-ratelimit-resource", ["core"])[0] != "core":
        # Searching, say, has a limit of its own.
        found = [hint and hint._replace(per="endpoint") for hint in found]
    if dialect == "discord" and status in _RUDE and "shared" not in headers.get("x-ratelimit-scope", ()):
        found.append(_INVALID)
    hints = [hint for hint in found if hint is not None]
    return tuple(hints or _drafts(headers))


def _read(form: Form, headers: Mapping[str, Sequence[str]], now: float | None) -> Hint | None:
    left, limit, used = (_amount(headers, name) for name in (form.left, form.limit, form.used))
    # Azure's -1 stands for "not known", and so does a limit of -1 for "none".
    if left is None and limit is None and used is None:
        return None
    values = headers.get(form.reset) if form.reset else None
    seconds = _seconds(values[0], form.form, headers, now) if values else None
    return Hint(form.unit, left, limit, micros(seconds), form.window, used, form.refills, form.per)


def _amount(headers: Mapping[str, Sequence[str]], name: str) -> float | None:
    values = headers.get(name) if name else None
    value = number(values[0]) if values else None
    return value if value is not None and value >= 0 else None


def _seconds(text: str, form: str, headers: Mapping[str, Sequence[str]], now: float | None) -> float | None:
    if form == "span":
        return span(text)
    if form == "iso":
        return iso(text, headers, now)
    value = number(text)
    if value is None or value < 0:
        return None
    if form == "millis":
        return value / 1000
    if form == "seconds":
        return value
    here = clock(headers, now)
    return None if here is None else value / (1000 if form == "epoch_millis" else 1) - here


def micros(seconds: float | None) -> int | None:
    """
    Return *seconds* as whole microseconds, rounded up, 0 to 30 days; None for None.
    """
    return None if seconds is None else math.ceil(min(max(seconds, 0.0), LONGEST) * _MICRO)


def _weights(headers: Mapping[str, Sequence[str]]) -> Iterable[Hint]:
    """
    Read Binance's used weights and orders, ``X-MBX-USED-WEIGHT-1M: 5900``: how many of which period are used.

    https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits
    """
    for start, unit in (("x-mbx-used-weight-", "weight"), ("x-mbx-order-count-", "orders")):
        for name, values in headers.items():
            if name.startswith(start):
                many, letter = name[len(start) : -1], name[-1:].upper()
                used = number(values[0]) if values else None
                if many.isdigit() and len(many) <= 3 and letter in _LETTERS and used is not None and used >= 0:
                    yield Hint(unit, window=int(many) * _LETTERS[letter], used=used)


def _drafts(headers: Mapping[str, Sequence[str]]) -> list[Hint]:
    """
    Read the IETF's ``RateLimit`` in its three shapes; a malformed item is ignored, as the drafts ask.

    draft-ietf-httpapi-ratelimit-headers, -06 (three headers), -07 (one list), -08 and later (items with a policy).
    """
    left, limit = _amount(headers, "ratelimit-remaining"), _amount(headers, "ratelimit-limit")
    if left is not None:
        return [Hint("requests", left, limit, micros(_delta(_amount(headers, "ratelimit-reset"))))]
    policies = dict(_items(headers.get("ratelimit-policy", ())))
    found = []
    for name, pairs in _items(headers.get("ratelimit", ())):
        policy = policies.get(name, {})
        rest = number(pairs.get("r", pairs.get("remaining", "")))
        resets = number(pairs.get("t", pairs.get("reset", "")))
        whole, window = number(policy.get("q", pairs.get("limit", ""))), number(policy.get("w", ""))
        if rest is not None and rest >= 0:
            unit = policy.get("qu", "requests").strip('"')
            found.append(Hint(unit, rest, whole, micros(_delta(resets)), micros(window)))
    return found


def _delta(seconds: float | None) -> float | None:
    # The drafts have seconds that are left. Whoever sends a moment instead means something else: that is not guessed.
    return seconds if seconds is not None and seconds <= _LONGEST_DELTA else None


def _items(values: Iterable[str]) -> Iterable[tuple[str, dict[str, str]]]:
    for value in [each[:1024] for each in values][:_ITEMS]:
        # "limit=100, remaining=50, reset=30" is one item, written as a list.
        if ";" not in value and "=" in value:
            yield "", dict(_pair(part) for part in value.split(",")[:_ITEMS])
            continue
        for item in value.split(",")[:_ITEMS]:
            name, *parts = item.split(";")[:_ITEMS]
            yield name.strip().strip('"'), dict(_pair(part) for part in parts)


def _pair(part: str) -> tuple[str, str]:
    name, _, value = part.partition("=")
    return name.strip().lower(), value.strip()
