"""
How much text a request to a language model sends, whose body has been parsed.

Only the fields that a model reads are looked at, whoever's they are. Names inside of them count as text, too: they
stand for the frame that a provider puts around each message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BESIDE", "in_bytes", "measured"]

BESIDE: Final = 1_000
"""
Tokens that a picture, a file or a sound is taken to have: a picture of a million dots has between 250 and 1,600.
"""

_FIELDS: Final = (
    *("messages", "system", "prompt", "input", "instructions", "tools", "functions", "response_format", "suffix"),
    *("contents", "systemInstruction", "system_instruction"),
)
# What stands for more, or less, than its bytes.
_KINDS: Final = frozenset(
    {"image_url", "input_image", "image", "input_audio", "input_file", "file", "document", "audio", "video"}
)
_PARTS: Final = frozenset({"inlineData", "inline_data", "fileData"})
_DATA: Final = frozenset({"data", "file_data"})
_BEGINNING: Final = 500
_TOKEN: Final = 4


def in_bytes(text: str) -> int:
    """
    Return how long *text* is in UTF-8.
    """
    # Half a surrogate is no UTF-8, but JSON has it.
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def measured(parsed: dict[str, object], measure: Callable[[str], int] = in_bytes) -> tuple[int, int]:
    """
    Return the bytes of text in UTF-8 that a request sends, and how many pictures, files and sounds are beside it.

    A token that is sent as its number counts as four bytes.

    Args:
        parsed: The request's body.
        measure: Says how many bytes a text counts for, where somebody knows better than by its length.
    """
    size = beside = 0
    rest: list[tuple[str, object]] = [(name, parsed[name]) for name in _FIELDS if name in parsed]
    while rest:
        name, value = rest.pop()
        if isinstance(value, str):
            size += 0 if _is_packed(name, value) else measure(value)
        elif isinstance(value, dict):
            kind = value.get("type")
            beside += kind in _KINDS if isinstance(kind, str) else not _PARTS.isdisjoint(value)
            size += sum(map(in_bytes, value))
            rest += value.items()
        elif isinstance(value, list):
            rest += [("", each) for each in value]
        elif type(value) is int and not name:
            size += _TOKEN
    return size, beside


def _is_packed(name: str, value: str) -> bool:
    """
    Tell whether *value* is no text but what somebody has packed into base64, which has no blanks.
    """
    return value.startswith("data:") or (name in _DATA and " " not in value[:_BEGINNING])
