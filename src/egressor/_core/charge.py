"""
What an attempt that didn't go well may have cost.

A provider bills what it has done. A request that never reached it, or that it has refused, costs nothing. Where nobody
can say whether it was done, it counts as done: a budget that hopes keeps nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .model import ErrorCategory as Kind

if TYPE_CHECKING:
    from .model import Verdict

__all__ = ["may_be_billed"]

_REFUSED: Final = frozenset(
    {
        *(Kind.RATE_LIMIT, Kind.QUOTA_EXHAUSTED, Kind.AUTHENTICATION, Kind.PERMISSION, Kind.BAN, Kind.CHALLENGE),
        *(Kind.GEO_BLOCK, Kind.OVERLOADED, Kind.MAINTENANCE, Kind.BAD_REQUEST, Kind.NOT_FOUND, Kind.CONFLICT),
        *(Kind.CLOCK_SKEW, Kind.INSUFFICIENT_FUNDS, Kind.NETWORK),
    }
)


def may_be_billed(verdict: Verdict) -> bool:
    """
    Tell whether an attempt of this verdict may have cost money.
    """
    return verdict.may_have_run or verdict.category not in _REFUSED
