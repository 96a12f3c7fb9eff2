"""
What a call used, in units that a price can be put on.

Providers report the same things in different ways: one counts cached tokens inside its input, another beside it. Here
every token stands in one field only, so a cost is a plain sum of products and nothing is paid for twice.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["INPUTS", "MOST", "UNITS", "Usage"]


class Usage(NamedTuple):
    """
    What one call used; no token is counted in two fields.

    Attributes:
        input: Tokens sent that no other field counts.
        cached: Tokens read from the provider's cache.
        written: Tokens written to its cache, to be kept for some minutes.
        written_1h: Tokens written to its cache, to be kept for an hour.
        audio_input: Tokens of audio sent.
        cached_audio: Tokens of audio read from the cache.
        image_input: Tokens of images sent.
        cached_image: Tokens of images read from the cache.
        video_input: Tokens of video sent.
        output: Tokens received that no other field counts.
        reasoning: Tokens that the model thought and that are billed, shown or not.
        audio_output: Tokens of audio received.
        image_output: Tokens of images received.
        video_output: Tokens of video received.
        seconds: Seconds of audio, where the provider bills those.
        characters: Characters of text to be spoken, where the provider bills those.
        pages: Pages of documents.
        searches: Searches of the web that the provider made.
        lookups: Searches in files kept at the provider.
        executions: Runs of code at the provider.
        requests: Calls, for providers with a fee for each. Default: 1.
    """

    input: int = 0
    cached: int = 0
    written: int = 0
    written_1h: int = 0
    audio_input: int = 0
    cached_audio: int = 0
    image_input: int = 0
    cached_image: int = 0
    video_input: int = 0
    output: int = 0
    reasoning: int = 0
    audio_output: int = 0
    image_output: int = 0
    video_output: int = 0
    seconds: int = 0
    characters: int = 0
    pages: int = 0
    searches: int = 0
    lookups: int = 0
    executions: int = 0
    requests: int = 1

    @property
    def sent(self) -> int:
        """
        All tokens sent: what tiers by length of the context go by.
        """
        return sum(self[:INPUTS])

    @property
    def received(self) -> int:
        """
        All tokens received, thought ones included.
        """
        return sum(self[INPUTS:_TOKENS])


UNITS: Final = Usage._fields
"""
The names of the units, in the order of `Usage`.
"""

INPUTS: Final = UNITS.index("output")
"""
How many of the units, from the first on, are tokens sent.
"""

_TOKENS: Final = UNITS.index("seconds")

MOST: Final = 1_000_000_000
"""
The largest count that is believed: no call has more tokens than a thousand million.
"""
