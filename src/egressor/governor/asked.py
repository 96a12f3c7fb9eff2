"""
What somebody asks of the history: checks of times and numbers.
"""

from __future__ import annotations

from egressor._core.admission import shown
from egressor.errors import ConfigError

__all__ = ["check_count", "check_since"]

_LAST = 253_402_300_799


def check_since(since: object) -> int:
    """
    Return *since*, seconds since 1970, in microseconds.

    Raises:
        ConfigError: It is no number, or none from 0 to the end of the year 9999.
    """
    if not (isinstance(since, (int, float)) and 0 <= since <= _LAST):
        msg = f"since is a time in seconds since 1970, from 0 to {_LAST}, not {shown(since)}"
        raise ConfigError(msg, key="since")
    return int(since * 1e6)


def check_count(number: object, key: str) -> int:
    """
    Return *number*, which says how many at most.

    Raises:
        ConfigError: It is no whole number, or below 0.
    """
    if not isinstance(number, int) or number < 0:
        msg = f"{key} is a whole number of 0 or more, not {shown(number)}"
        raise ConfigError(msg, key=key)
    return number
