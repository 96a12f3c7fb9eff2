"""
What a process has at hand of a limit that it shares with others.

Where several processes share a store, the cells of a process's own gate are small stocks: units that were taken of the
real cell in the store, and that may be used until a given time (see `egressor._core.fleet.grace`). A `Stock` is the
algorithm over such a cell: it gives what is there, and can't tell when there will be more. Places are likewise given
to processes (see `cells.Allotted`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from egressor._core.limits import FOREVER, Concurrency

from .cells import NONE_FREE

if TYPE_CHECKING:
    from egressor._core.limits import Algorithm, Fixed, Gcra, Sliding

__all__ = ["Stock", "packed", "stocked", "units_of", "until_of"]

_BITS = 40
_UNITS = (1 << _BITS) - 1


class Stock:
    """
    A limit whose real cell is elsewhere.

    Args:
        real: The limit.
    """

    slack = 0
    is_exact = False
    tells = False
    __slots__ = ("amount", "horizon", "most", "real")

    def __init__(self, real: Gcra | Sliding | Fixed) -> None:
        self.real = real
        self.amount = real.amount
        self.most = real.most
        self.horizon = real.horizon

    def ask(self, cell: int, now: int, cost: int, skew: int = 0) -> int:  # noqa: ARG002 - one signature for all
        """
        Take *cost* units: the new cell, or minus `FOREVER`.
        """
        if cost <= cell & _UNITS and (now < cell >> _BITS or not cost):
            return cell - cost
        return -FOREVER

    def wait(self, cell: int, now: int, units: int, skew: int = 0) -> int:  # noqa: ARG002
        """
        Return 0: only the store knows.
        """
        return 0

    def charge(self, cell: int, now: int, units: int, skew: int = 0) -> int:  # noqa: ARG002
        """
        Take *units*, or what there is.
        """
        return cell - min(units, cell & _UNITS)

    def refund(self, cell: int, now: int, units: int, at: int) -> int:  # noqa: ARG002
        """
        Give back *units* that were taken and never used.
        """
        return cell + units

    def left(self, cell: int, now: int, skew: int = 0) -> int:  # noqa: ARG002
        """
        Return how many units are at hand.
        """
        return cell & _UNITS if now < cell >> _BITS else 0


def packed(units: int, until: int) -> int:
    """
    Return the cell of *units* that may be used until *until*, in microseconds.
    """
    return max(0, until) << _BITS | units


def units_of(cell: int) -> int:
    """
    Return how many units there are, whether or not they may still be used.
    """
    return cell & _UNITS


def until_of(cell: int) -> int:
    """
    Return until when they may be used.
    """
    return cell >> _BITS


def stocked(limit: Algorithm) -> Algorithm:
    """
    Return what stands for *limit* at the gate of one process of several.
    """
    if isinstance(limit, Concurrency):
        return Concurrency(amount=NONE_FREE, most=limit.amount)
    return Stock(limit)  # type: ignore[return-value]
