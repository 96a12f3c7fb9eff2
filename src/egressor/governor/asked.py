"""
What somebody asks of the history: checks of names, times and numbers. A slip must not look like good news.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from egressor._core.admission import shown
from egressor.errors import ConfigError
from egressor.ledger import Pick
from egressor.ledger.entry import KINDS
from egressor.policies.checks import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from egressor.ledger.history import History

__all__ = ["check_count", "check_kind", "check_service", "check_since"]

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


def check_service(
    service: object, known: Collection[str], history: History, *, paid: Callable[[], Collection[str]] = tuple
) -> str:
    """
    Return *service* as a name; an empty one stands for all.

    Args:
        service: The name.
        known: The services of the configuration.
        history: The ledger; what it has entries of may be asked for, whether or not it is still configured.
        paid: Returns the services that have cost something.

    Raises:
        ConfigError: Nobody knows it. While the ledger is away nobody can say so.
    """
    name = str(service)
    if not name or name in known or name in paid() or _has(history, Pick(name, limit=1)):
        return name
    listed = ", ".join(sorted(known)) or "none"
    msg = f"unknown service {shown(name)}: the ledger has no entry of it, and the configuration has {listed}"
    raise ConfigError(msg, key="service", nearest=nearest(name, known))


def check_kind(kind: str, history: History) -> str:
    """
    Return *kind*; an empty one stands for all.

    Raises:
        ConfigError: It is none, nor has *history* an entry of it.
    """
    if not kind or kind in KINDS or _has(history, Pick(kind=kind, limit=1)):
        return kind
    msg = f"unknown kind {shown(kind)}: {', '.join(KINDS)}"
    raise ConfigError(msg, key="kind", nearest=nearest(kind, KINDS))


def _has(history: History, pick: Pick) -> bool:
    (found,), state = history.look(pick)
    return bool(found or state["away"])
