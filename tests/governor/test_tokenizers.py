"""
Text counted in a model's own tokens.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from egressor.dialects.prompts import in_bytes, measured
from egressor.governor import tokenizers
from egressor.governor.tokenizers import measure_of

LONG = "antidisestablishmentarianism"
JAPANESE = "お誕生日おめでとう"


@pytest.fixture
def _without(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """
    As if the extra were not installed.
    """
    monkeypatch.setitem(sys.modules, "splintr", None)
    tokenizers._loaded.cache_clear()
    yield
    tokenizers._loaded.cache_clear()


# https://github.com/openai/openai-cookbook/blob/main/examples/How_to_count_tokens_with_tiktoken.ipynb, and
# https://github.com/openai/tiktoken/blob/main/tests/test_encoding.py
@pytest.mark.parametrize(
    ("model", "text", "tokens"),
    [
        ("gpt-4o", LONG, 6),
        ("gpt-4o-mini-2024-07-18", "2 + 2 = 4", 7),
        ("openai/gpt-5-mini", JAPANESE, 8),
        ("ft:gpt-4o-mini:acme::x", JAPANESE, 8),
        ("o3", JAPANESE, 8),
        ("gpt-4", LONG, 6),
        ("gpt-35-turbo", "2 + 2 = 4", 7),
        ("text-embedding-3-small", JAPANESE, 9),
        ("gpt-4", "rer", 1),
        ("gpt-4", "'rer", 2),
        ("gpt-4", "today\n ", 3),
        ("gpt-4", "today\n \n", 2),
        ("gpt-4", "", 0),
    ],
)
def test_a_text_has_as_many_tokens_as_its_model_s_vendor_counts(model: str, text: str, tokens: int) -> None:
    """
    By the vendor's own examples.
    """
    assert 4 * tokens == measure_of(model)(text)


def test_a_mark_that_stands_in_a_text_is_text() -> None:
    """
    Whoever writes a vocabulary's special mark into a prompt gets no token for it.
    """
    assert measure_of("gpt-4o")("<|endoftext|>") > 4


@pytest.mark.parametrize("model", ["", "claude-sonnet-5", "gemini-3-pro", "my-gpt-4o"])
def test_other_models_are_counted_by_bytes(model: str) -> None:
    """
    Nobody has their vocabulary.
    """
    assert measure_of(model) is in_bytes


def test_half_a_surrogate_is_counted_by_bytes() -> None:
    """
    JSON has it, and no vocabulary.
    """
    assert measure_of("gpt-4o")("half \ud83d") == 8


def test_a_long_text_is_counted_in_pieces() -> None:
    """
    A text without a blank would hold up everybody else; a piece costs a token more at most.
    """
    size, _ = measured({"input": "a" * 100_000}, measure_of("gpt-4o"))

    assert 4 * 12_500 <= size <= 4 * (12_500 + 50)


@pytest.mark.usefixtures("_without")
def test_without_the_extra_it_is_counted_by_bytes() -> None:
    """
    Nothing else changes.
    """
    assert measure_of("gpt-4o") is in_bytes
