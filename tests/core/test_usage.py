"""
The units of a call: each token in one of them.
"""

from __future__ import annotations

from egressor._core.usage import INPUTS, UNITS, Usage


def test_what_was_sent_and_received_are_the_tokens_alone() -> None:
    """
    Every unit of tokens is in one of the two sums, and seconds, pages and fees in neither.
    """
    usage = Usage(*(2**position for position in range(len(UNITS))))
    tokens = UNITS.index("seconds")

    assert (2**INPUTS - 1, 2**tokens - 2**INPUTS) == (usage.sent, usage.received)
    assert (UNITS[INPUTS - 1], UNITS[INPUTS], UNITS[tokens - 1]) == ("video_input", "output", "video_output")
