"""
Leases that were put into a waiter's hand and not yet taken up.

Between the moment at which a waiter is woken and the moment at which it runs, a busy event loop may let any time pass,
and then run all of them at once. So their units are only reserved in between, and charged when the waiter goes: what a
server sees in any window is what was charged in it. Who does not come for its lease, in time or ever, loses it to the
next; if it comes after all, it waits again. Whoever calls holds the gate's lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from egressor._core.admission import Ask, Entry, Lease

    from . import Parked

__all__ = ["Handed"]


class Handed:
    """
    The leases that are out to waiters, and what they have reserved of each cell.
    """

    __slots__ = ("_leases", "_units")

    def __init__(self) -> None:
        self._leases: dict[Lease, tuple[Parked, int]] = {}
        self._units: dict[tuple[str, str], int] = {}

    def __len__(self) -> int:
        return len(self._leases)

    def units(self, entry: Entry) -> int:
        """
        Return how many units of *entry*'s cell are reserved.
        """
        return self._units.get((entry.name, entry.key), 0) if self._units else 0

    def unclaimed(self, now: int, patience: int) -> list[tuple[Lease, Parked]]:
        """
        Return the leases of those that will never come, as their loop is closed, or have not within *patience*.
        """
        return [
            (lease, parked)
            for lease, (parked, since) in self._leases.items()
            if now - since >= patience or parked.home.is_gone()
        ]

    def oldest(self) -> tuple[Parked, int] | None:
        """
        Return who has had a lease in its hand for longest, and since when.
        """
        return next(iter(self._leases.values()), None)

    def put(self, lease: Lease, parked: Parked, now: int) -> None:
        """
        Reserve what *lease* is about to take, for *parked*.
        """
        lease.is_taken = False
        self._leases[lease] = parked, now
        for entry in lease.ask.entries:
            name = (entry.name, entry.key)
            self._units[name] = self._units.get(name, 0) + entry.units

    def pull(self, lease: Lease) -> None:
        """
        End the reservation of *lease*.
        """
        if self._leases.pop(lease, None) is None:
            return
        for entry in lease.ask.entries:
            name = (entry.name, entry.key)
            left = self._units[name] - entry.units
            if left:
                self._units[name] = left
            else:
                del self._units[name]

    def remake(self, remade: Callable[[Ask], Ask]) -> None:
        """
        Let every lease that is out be for its ask as *remade* under another policy.
        """
        leases = list(self._leases.items())
        self._leases.clear()
        self._units.clear()
        for lease, (parked, since) in leases:
            lease.ask = remade(lease.ask)
            self.put(lease, parked, since)
