"""
One provider's headers and bodies, read.

Tables where tables will do: a code, what it means, and the vendor's page that says so; code only where they won't. No
SDK is imported, nothing is sent, no clock is read. A table is loaded when its dialect is first met. What is not in a
source is not in a table: such an answer is read as plain HTTP.
"""

from __future__ import annotations

from egressor.dialects.hints import Hint
from egressor.dialects.inside import Heed, heed
from egressor.dialects.reading import NAMES, classify, hints, with_hints

__all__ = ["NAMES", "Heed", "Hint", "classify", "heed", "hints", "with_hints"]
