"""
What is learned of calls, to guess the next one's cost before it is sent: a quantile of costs, and tokens for a byte.

Both are values of some integers, take microseconds, forget slowly, and are the caller's to keep, one for each model
and endpoint or feature.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["BYTES", "ONE", "Costs", "guess", "learn_most", "learn_tokens", "observe", "quantile", "tokens"]

# Four steps for each doubling: a quantile is at most a quarter above the truth. 41 doublings are two million dollars.
_STEPS: Final = 160
_MOST: Final = 2**41 - 1
_FULL: Final = 1024
_ENOUGH: Final = 20
_HIGH: Final = 950
_UNLEARNED: Final = 8

ONE: Final = 1_000_000
"""
The factor that nothing has been learned for: a token for four bytes of UTF-8.
"""

BYTES: Final = 4
"""
Bytes of UTF-8 that a token is taken to have.
"""

# Each value below this has a step of its own.
_SMALL: Final = 4
_LOWEST, _HIGHEST = ONE // 10, 8 * ONE
_SHORT: Final = 1000


class Costs(NamedTuple):
    """
    How often calls cost how much.

    Attributes:
        counts: Calls for each step of the scale; empty if there was none yet.
        total: Their sum. Once it is 1,024 all are halved, so that the last thousand weigh most.
    """

    counts: tuple[int, ...] = ()
    total: int = 0


def observe(costs: Costs, micro_usd: int) -> Costs:
    """
    Take in what a call did cost, in micro-dollars.
    """
    counts = list(costs.counts or (0,) * _STEPS)
    counts[_step(micro_usd)] += 1
    if costs.total + 1 < _FULL:
        return Costs(tuple(counts), costs.total + 1)
    counts = [count // 2 for count in counts]
    return Costs(tuple(counts), sum(counts))


def quantile(costs: Costs, per_mille: int) -> int:
    """
    Return micro-dollars that so many of a thousand calls did not exceed, at most a quarter too high; 0 without calls.
    """
    wanted = -(-costs.total * per_mille // 1000)
    seen = 0
    for step, count in enumerate(costs.counts):
        seen += count
        if count and seen >= wanted:
            return _top(step)
    return 0


def guess(costs: Costs, *, worst: int, least: int) -> int:
    """
    Return what a call is likely to cost at most, in micro-dollars.

    Args:
        costs: What was learned. With fewer than twenty calls an eighth of the worst case stands in.
        worst: What it can cost at most; the guess is never above it.
        least: What it costs at least, its input for example; the guess is below it only if the worst case is.
    """
    likely = quantile(costs, _HIGH) if costs.total >= _ENOUGH else -(-worst // _UNLEARNED)
    return min(worst, max(least, likely))


def _step(value: int) -> int:
    value = min(max(value, 0), _MOST)
    if value < _SMALL:
        return value
    shift = value.bit_length() - 3
    return shift * 4 + (value >> shift)


def _top(step: int) -> int:
    """
    Return the largest value of a step.
    """
    if step < _SMALL:
        return step
    shift = step // 4 - 1
    return ((step % 4 + 5) << shift) - 1


def tokens(utf8_bytes: int, factor: int = ONE) -> int:
    """
    Estimate the tokens of a text, rounded up: a quarter of its bytes in UTF-8, times *factor* in millionths.
    """
    return -(-utf8_bytes * factor // (BYTES * ONE))


def learn_tokens(factor: int, *, utf8_bytes: int, truth: int) -> int:
    """
    Return *factor* moved towards what a call of *utf8_bytes* really was, *truth* tokens.

    A step is an eighth of the way, of texts under 1,000 bytes a 64th: of those the frame around the text is most. It
    stays between a tenth and eight, so that a nonsensical count does little.
    """
    if utf8_bytes <= 0 or truth <= 0:
        return factor
    ratio = min(_HIGHEST, max(_LOWEST, truth * BYTES * ONE // utf8_bytes))
    return factor + (ratio - factor) // (64 if utf8_bytes < _SHORT else 8)


def learn_most(factor: int, *, utf8_bytes: int, truth: int) -> int:
    """
    Return *factor*, or what a call of *utf8_bytes*, 1 or more, really was, *truth* tokens, if that is more.
    """
    return max(factor, -(-truth * BYTES * ONE // utf8_bytes))
