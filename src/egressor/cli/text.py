"""
Plain text in columns.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["columns"]


def columns(rows: Sequence[Sequence[str]], *, right: frozenset[int] = frozenset()) -> str:
    """
    Return *rows* with their columns aligned, the columns numbered in *right* to the right; control characters are
    shown as ``?``, since a terminal would obey them.
    """
    safe = [["".join(char if char.isprintable() else "?" for char in text) for text in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*safe, strict=True)]
    return "\n".join(
        "  ".join(
            text.rjust(width) if index in right else text.ljust(width)
            for index, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in safe
    )
