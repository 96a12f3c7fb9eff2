"""
Text counted in a model's own tokens, by the extra ``tokenizer``; for others, and without it, by bytes.

The vocabularies are in the package, so nothing is fetched.
"""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final

from egressor._core.learned import BYTES
from egressor.dialects.prompts import in_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["measure_of"]

# https://github.com/openai/tiktoken/blob/main/tiktoken/model.py: the first beginning that fits; Azure writes gpt-35.
_VOCABULARIES: Final = (
    (
        ("gpt-5", "gpt-4o", "gpt-4.1", "gpt-4.5", "chatgpt-4o", "gpt-oss", "o1", "o3", "o4-mini"),
        "o200k_base",
    ),
    (("gpt-4", "gpt-3.5", "gpt-35", "text-embedding-3", "text-embedding-ada-002"), "cl100k_base"),
)
# Without a blank for long, a text takes much more time at once than in pieces; each cut costs a token at most.
_PIECE: Final = 2_000


def measure_of(model: str) -> Callable[[str], int]:
    """
    Return what says how long a text for *model* is, in quarters of a token: its bytes, if nobody counts them better.
    """
    # OpenRouter's name for it, and a fine-tuned one's.
    name = model.removeprefix("openai/").removeprefix("ft:")
    for beginnings, vocabulary in _VOCABULARIES:
        if name.startswith(beginnings):
            tokenizer = _loaded(vocabulary)
            return in_bytes if tokenizer is None else partial(_counted, tokenizer)
    return in_bytes


@cache
def _loaded(vocabulary: str) -> Any:
    """
    Return the tokenizer, which takes a tenth of a second and 40 MB once; None where it isn't installed.
    """
    try:
        from splintr import Tokenizer
    except ImportError:
        return None
    return Tokenizer.from_pretrained(vocabulary)


def _counted(tokenizer: Any, text: str) -> int:
    pieces = [text[at : at + _PIECE] for at in range(0, len(text), _PIECE)]
    try:
        return BYTES * sum(len(tokenizer.encode_ordinary(piece)) for piece in pieces)
    except UnicodeEncodeError:
        # Half a surrogate, which JSON has and no text.
        return in_bytes(text)
