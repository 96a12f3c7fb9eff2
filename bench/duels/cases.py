"""
What both contenders are asked to do.
"""

from __future__ import annotations

__all__ = ["AFTER", "CALLS", "CROWD", "DUELS", "MAX_TOKENS", "PROMPT", "READ", "priority"]

PROMPT = "1 " * 500
"""
A prompt of a thousand bytes, for which the upstream bills a thousand tokens.
"""

MAX_TOKENS = 1000
"""
And as many for its answer: 0.00075 USD in all, at gpt-4o-mini's prices.
"""

READ = 3
"""
Pieces that are read of the stream that its client leaves.
"""

CALLS = {
    "budget": (50, True),
    "tokens": (30, True),
    "flight": (50, True),
    "priority": (24, True),
    "credit": (1, False),
    "wait": (5, False),
    "down": (20, False),
}
"""
How many calls each duel has, and whether they come at once or one after the other.
"""

CROWD, AFTER = 500, 50
"""
How many streams are left at once, and how many calls come after that.
"""

DUELS = (*CALLS, "stream", "crowd")
"""
All duels.
"""


def priority(index: int) -> bool:
    """
    Whether the call of this *index* is an urgent one: each third, spread over all that come.
    """
    return index % 3 == 2
