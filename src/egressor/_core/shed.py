"""
Shedding: while a service limps, the less urgent calls stay at home, so that the urgent ones get what it still gives.

Google's adaptive throttling (*Site Reliability Engineering*, chapter 21), by priority: a call is refused with the
probability (requests - k · accepts) / (requests + 1). Requests are the calls that had a result, and those that were
refused here; accepts are the results that were no failure of the service. So for each call that the service accepts
about *k* are sent: it is never asked for much more than it can do, and is asked for more as soon as it can do more.

A lower priority has a lower *k*, and its own refusals weigh on nobody above it: with 2, low calls are shed while less
than every second call is accepted, medium ones while less than every fourth is, high ones while less than every eighth
is; critical calls never are. Whatever the numbers, one call in twenty goes, or nobody would see the service recover.

The results are those of the breaker's window, and the breaker judges them too: shedding is for a service that answers
some of its calls, an open breaker for one that answers none. Nothing is shed unless the breaker is closed, nor before
*min_calls* results. The caller hands in the time and the dice, and holds the breaker's lock.
"""

from __future__ import annotations

from typing import Final

from egressor._core.breaker_model import BreakerCell, BreakerSpec, BreakerState
from egressor._core.model import Priority
from egressor._core.window import SubWindows

__all__ = ["ShedCell", "chance", "is_limping", "shed"]

MOST: Final = 0.95
"""
The highest probability with which a call is refused.
"""

_SHEDDABLE: Final = int(Priority.CRITICAL)
_CALLS, _FAILURES = 0, 1


class ShedCell:
    """
    What was shed lately, by priority.
    """

    __slots__ = ("generation", "window")

    def __init__(self) -> None:
        self.window = SubWindows(_SHEDDABLE)
        # Of the breaker: whatever it has counted before is forgotten with it.
        self.generation = 0


def chance(requests: int, accepts: int, k: float) -> float:
    """
    Return the probability with which a call is refused, from 0 to `MOST`.

    Args:
        requests: Calls that had a result or were refused here, in the window.
        accepts: Results that were no failure of the service.
        k: How many calls may be sent for each that is accepted, 1 or more.
    """
    return min(MOST, max(0.0, (requests - k * accepts) / (requests + 1)))


def is_limping(cell: ShedCell, breaker: BreakerCell, spec: BreakerSpec, now: int, *, fresh: int = 0) -> bool:
    """
    Return whether a call of any priority may be shed now; changes nothing.

    Args:
        cell: What was shed.
        breaker: The breaker, whose results count.
        spec: Its policy.
        now: Microseconds.
        fresh: Successes that the breaker has yet to count.
    """
    # A closed breaker without a failure: nearly always.
    if spec.shed_k is None or breaker.state is not BreakerState.CLOSED or not breaker.window.totals[_FAILURES]:
        return False
    return _chance(cell, breaker, spec, now, level=0, fresh=fresh) > 0


def shed(cell: ShedCell, breaker: BreakerCell, spec: BreakerSpec, now: int, *, level: int, dice: float) -> bool:
    """
    Decide whether a call is refused, and count it if so.

    Args:
        cell: What was shed.
        breaker: The breaker, with all results counted.
        spec: Its policy.
        now: Microseconds.
        level: The call's priority, from 0 to 3.
        dice: A random number from [0, 1).
    """
    if level >= _SHEDDABLE or not is_limping(cell, breaker, spec, now):
        return False
    if dice >= _chance(cell, breaker, spec, now, level=level, fresh=0):
        return False
    if cell.generation != breaker.generation:
        cell.generation = breaker.generation
        cell.window.clear()
    cell.window.advance(now, spec.width)
    cell.window.add(level, 1)
    return True


def _chance(cell: ShedCell, breaker: BreakerCell, spec: BreakerSpec, now: int, *, level: int, fresh: int) -> float:
    calls, failures, _ = breaker.window.peek(now, spec.width, fresh=breaker.fresh + fresh)
    if calls < spec.min_calls or spec.shed_k is None:
        return 0.0
    refused = 0
    if cell.generation == breaker.generation:
        refused = sum(cell.window.peek(now, spec.width)[level:])
    return chance(calls + refused, calls - failures, spec.shed_k * 2**level)
