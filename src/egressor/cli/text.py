"""
Plain text: columns, and words that were meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click import Context, Parameter

__all__ = ["Word", "columns", "meant"]


def meant(word: str, known: Iterable[str]) -> str:
    """
    Return the end of a message about *word*, with the nearest of those that there are; empty where none is near.
    """
    from egressor.policies.checks import nearest

    near = nearest(word, known)
    return f" (did you mean {near!r}?)" if near else ""


class Word(click.Choice[str]):
    """
    One of some words; another one is told which of them is near.
    """

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> str:
        """
        Return *value* if it is one of them.
        """
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            message = f"{error.message}{meant(str(value), map(str, self.choices))}"
            raise click.BadParameter(message, ctx=ctx, param=param) from None


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
