"""
Egressor: one gate for all calls to other people's APIs.

Names load when they are first used, so that a program that imports Egressor and doesn't call it pays nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._core.model import ErrorCategory, ErrorSeverity, Priority, ServiceType, Verdict
    from ._core.unwrap import unwrap
    from .dialects import classify
    from .errors import (
        Banned,
        BudgetExceeded,
        CircuitOpen,
        ConfigError,
        EgressorError,
        NeverFits,
        PartialResponse,
        Paused,
        QueueFull,
        Rejected,
        StoreUnavailable,
        WaitTooLong,
    )
    from .governor import Governor
    from .governor.defaults import acquire, configure, default, handle_with_retry, handled, throttled
    from .policies import (
        BanPolicy,
        BreakerPolicy,
        BudgetPolicy,
        CachePolicy,
        Config,
        ErrorPattern,
        Limit,
        Policy,
        RetryPolicy,
        Rule,
    )

__all__ = [
    "BanPolicy",
    "Banned",
    "BreakerPolicy",
    "BudgetExceeded",
    "BudgetPolicy",
    "CachePolicy",
    "CircuitOpen",
    "Config",
    "ConfigError",
    "EgressorError",
    "ErrorCategory",
    "ErrorPattern",
    "ErrorSeverity",
    "Governor",
    "Limit",
    "NeverFits",
    "PartialResponse",
    "Paused",
    "Policy",
    "Priority",
    "QueueFull",
    "Rejected",
    "RetryPolicy",
    "Rule",
    "ServiceType",
    "StoreUnavailable",
    "Verdict",
    "WaitTooLong",
    "acquire",
    "classify",
    "configure",
    "default",
    "handle_with_retry",
    "handled",
    "throttled",
    "unwrap",
]

_HOMES = {
    "._core.model": ("ErrorCategory", "ErrorSeverity", "Priority", "ServiceType", "Verdict"),
    "._core.unwrap": ("unwrap",),
    ".dialects": ("classify",),
    ".errors": (
        "Banned",
        "BudgetExceeded",
        "CircuitOpen",
        "ConfigError",
        "EgressorError",
        "NeverFits",
        "PartialResponse",
        "Paused",
        "QueueFull",
        "Rejected",
        "StoreUnavailable",
        "WaitTooLong",
    ),
    ".governor": ("Governor",),
    ".governor.defaults": ("acquire", "configure", "default", "handle_with_retry", "handled", "throttled"),
    ".policies": (
        "BanPolicy",
        "BreakerPolicy",
        "BudgetPolicy",
        "CachePolicy",
        "Config",
        "ErrorPattern",
        "Limit",
        "Policy",
        "RetryPolicy",
        "Rule",
    ),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        value = getattr(import_module(_MODULES[name], __name__), name)
        globals()[name] = value
        return value
    if name == "__version__":
        from importlib.metadata import version

        return version("egressor")
    msg = f"module 'egressor' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
