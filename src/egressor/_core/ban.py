"""
A suspension: nobody calls until its end, then one call tries.

The end is what the server said, or the policy's first suspension, longer with each ban that follows; a call that
succeeds after the end closes the episode. A probe that never comes back is given up when its lease ends.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BanCell", "BanSpec", "check", "lift", "settle", "suspend", "take"]

_DOUBLINGS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class BanSpec:
    """
    How a service's bans are sat out.

    Attributes:
        suspend_for: The first suspension where the server names no time, in microseconds.
        max_suspend_for: The longest suspension of our own making, in microseconds.
        growth: What each ban in a row multiplies it by, 1 or more.
        probe_lease: Microseconds after which a probe that never came back is given up.
    """

    suspend_for: int
    max_suspend_for: int
    growth: float
    probe_lease: int


class BanCell:
    """
    One ban: until when, how many in a row, and until when a probe is out.
    """

    __slots__ = ("count", "probe_until", "until")

    def __init__(self) -> None:
        self.until = 0
        self.count = 0
        self.probe_until = 0


def check(cell: BanCell, now: int) -> int:
    """
    Return the microseconds until it is worth asking again; 0 if a call may pass.
    """
    return max(0, cell.until - now, cell.probe_until - now)


def take(cell: BanCell, spec: BanSpec, now: int) -> bool:
    """
    Count a call that `check` let pass as the probe, if an episode is open; return whether it is.
    """
    if not cell.until:
        return False
    cell.probe_until = now + spec.probe_lease
    return True


def suspend(cell: BanCell, spec: BanSpec, now: int, told: int | None) -> int:
    """
    Begin or lengthen a suspension; *told* is the server's own time in microseconds. Return its end.
    """
    # Calls that were under way when the ban began report it too: one ban, not many.
    if now >= cell.until:
        cell.count += 1
    power = min(cell.count - 1, _DOUBLINGS)
    ours = min(int(spec.suspend_for * spec.growth**power), spec.max_suspend_for)
    cell.until = max(cell.until, now + (ours if told is None else told))
    cell.probe_until = 0
    return cell.until


def settle(cell: BanCell, now: int, *, ok: bool) -> bool:
    """
    Take a result in; return whether it ended the episode.
    """
    if not cell.until or now < cell.until:
        return False
    cell.probe_until = 0
    if ok:
        lift(cell)
    return ok


def lift(cell: BanCell) -> None:
    """
    End the episode.
    """
    cell.until = cell.count = cell.probe_until = 0
