"""
What each kind of service starts from: a preset fills what a service's policy leaves out.

The tables have the shape of a service's table in the file. The llm_api and social_media figures are the project's
brief. The others are chosen so that a service that nobody has configured yet is not the reason for a ban: each is a
fraction of what well-known services of its kind allow. ``limits`` in a policy replaces the preset's as a whole, so
that no limit of the preset stays behind unseen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from egressor._core.model import ServiceType

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PRESETS"]

PRESETS: Mapping[ServiceType | None, Mapping[str, Any]] = {
    # Calls are slow and dear: few at once, few retries, and long waits for a provider that is overloaded.
    ServiceType.LLM_API: {
        "limits": ("0.5/second burst 2", "20/minute"),
        "breaker": {"consecutive": 3},
        "retry": {"attempts": 3, "cap": 120.0},
    },
    # Accounts get banned for haste: one at a time, one retry, and four hours of silence after a ban.
    ServiceType.SOCIAL_MEDIA: {
        "limits": ("0.2/second burst 1", "10/minute"),
        "breaker": {"consecutive": 2},
        "retry": {"attempts": 2, "cap": 900.0},
        "ban": {"suspend_for": 14_400.0},
    },
    # A quarter of Binance's 1200 requests a minute; an order is not idempotent, and a late price is a wrong one:
    # short waits. An exchange bans an address for minutes first, then for up to three days.
    ServiceType.EXCHANGE_API: {
        "limits": ("5/second burst 5", "300/minute"),
        "breaker": {"consecutive": 3, "open_for": 30.0},
        "retry": {"attempts": 3, "cap": 10.0},
        "ban": {"suspend_for": 300.0, "max_suspend_for": 259_200.0},
        "max_wait": 10.0,
        "max_concurrency": 8,
    },
    # A page a second, as polite crawlers fetch, and two at once; a site that challenges us wants us gone for an hour.
    ServiceType.WEB_SCRAPER: {
        "limits": ("1/second burst 1", "30/minute"),
        "breaker": {"consecutive": 3, "open_for": 300.0, "max_open_for": 3600.0},
        "retry": {"attempts": 3, "base": 2.0, "cap": 300.0},
        "ban": {"suspend_for": 3600.0, "challenge_for": 3600.0, "max_suspend_for": 86_400.0},
        "max_concurrency": 2,
        "priority": "low",
    },
    # Our own: it bans nobody, so a bound on concurrency protects it better than a rate that nobody has measured.
    ServiceType.INTERNAL_API: {
        "limits": (),
        "max_concurrency": 64,
        "timeout": 30.0,
        "max_wait": 30.0,
        "retry": {"cap": 10.0},
    },
    # No type: the defaults, and no limit, since nothing is known.
    None: {},
}
"""
Presets by type; None for a service without a type.
"""
