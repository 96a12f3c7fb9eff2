"""
Where the programs' log lines go.
"""

from __future__ import annotations

import logging
import sys

__all__ = ["to_stderr"]


def to_stderr() -> None:
    """
    Write warnings of all, and what the gateway has to say, to stderr.
    """
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s", stream=sys.stderr
    )
    logging.getLogger("egressor").setLevel(logging.INFO)
