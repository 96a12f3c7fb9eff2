"""
Egressor: one gate for all calls to other people's APIs.
"""

from __future__ import annotations

from ._core.classify import classify
from ._core.model import ErrorCategory, ErrorSeverity, Priority, ServiceType, Verdict
from ._core.unwrap import unwrap
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
from .policies import BanPolicy, BreakerPolicy, BudgetPolicy, CachePolicy, Config, Limit, Policy, RetryPolicy, Rule

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


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version

        return version("egressor")
    msg = f"module 'egressor' has no attribute {name!r}"
    raise AttributeError(msg)
