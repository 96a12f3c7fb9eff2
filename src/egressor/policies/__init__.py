"""
The configuration.

Frozen values, a preset for every kind of service, the limit grammar, and the loader of ``egressor.toml``. It knows
`_core` and the errors, and nothing above; it opens one file, the configuration. Whatever is misspelt, impossible or
not enforced by this version is an error here, never a limit that nobody keeps. Every value knows where it came from.
"""

from __future__ import annotations

from egressor.policies.grammar import Limit
from egressor.policies.keys import ClientKey
from egressor.policies.loader import from_services, from_table, load
from egressor.policies.model import Config, Gateway, Policy
from egressor.policies.parts import BanPolicy, BreakerPolicy, BudgetPolicy, CachePolicy, RetryPolicy, Rule, Secret
from egressor.policies.patterns import ErrorPattern
from egressor.policies.reading import ConfigErrors

__all__ = [
    "BanPolicy",
    "BreakerPolicy",
    "BudgetPolicy",
    "CachePolicy",
    "ClientKey",
    "Config",
    "ConfigErrors",
    "ErrorPattern",
    "Gateway",
    "Limit",
    "Policy",
    "RetryPolicy",
    "Rule",
    "Secret",
    "from_services",
    "from_table",
    "load",
]
