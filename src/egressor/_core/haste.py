"""
A server that says "too fast", and not until when: everybody stays away for a moment, and longer each time it says so.

Its limit is one of the key's, so the others would meet it as well, and each of their calls would be another one too
many. The first pause is the retry policy's *base*, each that follows another *factor* times as long, and none longer
than *cap*. A call that began after the pause and went well shows that it was long enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from egressor._core.retry import grow

if TYPE_CHECKING:
    from egressor._core.retry import RetrySpec

__all__ = ["HasteCell", "pause", "too_fast", "went_well"]

_MOST: Final = 64
# Pauses that lie further apart than that, or than the longest pause, have nothing to do with each other.
_QUIET: Final = 60_000_000


class HasteCell:
    """
    How many pauses in a row there were, and until when the last one is, in microseconds; 0 for none.
    """

    __slots__ = ("strikes", "until")

    def __init__(self) -> None:
        self.strikes = self.until = 0


def pause(cell: HasteCell, spec: RetrySpec, now: int, *, began: int, backoff: float = 1.0) -> int:
    """
    Return the microseconds for which all should stay away, now that an attempt which *began* at a time was too fast.

    Of calls that were under way when a pause began, or whose process had not heard of it, none adds to it: 0.
    *backoff* is what a user's pattern multiplies pauses by.
    """
    if began < cell.until:
        return 0
    steps = 0 if _is_over(cell, spec, now) else cell.strikes
    return int(grow(spec.base, factor=spec.factor, steps=steps, cap=spec.cap) * backoff)


def too_fast(cell: HasteCell, spec: RetrySpec, now: int, *, began: int, backoff: float = 1.0) -> int:
    """
    Begin the `pause`, and return it.
    """
    length = pause(cell, spec, now, began=began, backoff=backoff)
    if length:
        cell.strikes = 1 if _is_over(cell, spec, now) else min(_MOST, cell.strikes + 1)
        cell.until = now + length
    return length


def went_well(cell: HasteCell, began: int) -> None:
    """
    Take in that an attempt which *began* at a time has succeeded.
    """
    if began >= cell.until:
        cell.strikes = 0


def _is_over(cell: HasteCell, spec: RetrySpec, now: int) -> bool:
    return now - cell.until > max(spec.cap, _QUIET)
