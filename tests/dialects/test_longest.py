"""
How long answers can be, by the model's name, and what the bound on them is called.
"""

from __future__ import annotations

import pytest

from egressor.dialects.longest import bound_name, kept_bounds, longest_answer


@pytest.mark.parametrize(
    ("model", "dialect", "expected"),
    [
        ("gpt-4o", "openai", 16_384),
        ("gpt-4o-2024-08-06", "openai", 16_384),
        ("gpt-4o-2024-05-13", "openai", 4_096),
        ("chatgpt-4o-latest", "openai", 16_384),
        ("gpt-4o", "azure", 16_384),
        ("gpt-4-0613", "openai", 8_192),
        ("gpt-4-turbo-2024-04-09", "openai", 4_096),
        ("gpt-4-0125-preview", "openai", 4_096),
        ("gpt-3.5-turbo-0125", "openai", 4_096),
        ("gpt-35-turbo", "azure", 4_096),
        ("gpt-4.1-nano", "openai", 32_768),
        ("gpt-5-2025-08-07", "openai", 128_000),
        ("o4-mini", "openai", 100_000),
        ("ft:gpt-4o-mini-2024-07-18:acme::abc", "openai", 16_384),
        ("openai/gpt-4o", "openrouter", 16_384),
        ("google/gemini-2.5-pro", "openrouter", 65_536),
        ("gemini-2.0-flash-001", "gemini", 8_192),
        ("llama-3.3-70b-versatile", "groq", 32_768),
        ("deepseek-v4-pro", "deepseek", 393_216),
    ],
)
def test_a_name_tells_how_long_an_answer_can_be(model: str, dialect: str, expected: int) -> None:
    """
    With a date, a version or a vendor around it, too.
    """
    assert longest_answer(model, dialect) == expected


@pytest.mark.parametrize(
    ("model", "dialect"),
    [
        ("", "openai"),
        ("ft:", "openai"),
        ("gpt-3.5-turbo-16k", "openai"),
        ("gpt-4-32k", "openai"),
        ("gpt-4o-realtime-preview", "openai"),
        ("gpt-5-chat-latest", "openai"),
        ("gpt-5-pro", "openai"),
        ("gemini-2.5-pro", "openai"),
        ("gpt-4o", "openrouter"),
        ("openai/gpt-4o:extended", "openrouter"),
        ("meta/llama-3.3-70b-versatile", "openrouter"),
        ("llama-3.3-70b-versatile", "openai"),
        ("our-own", "mistral"),
    ],
)
def test_a_name_that_only_begins_so_tells_nothing(model: str, dialect: str) -> None:
    """
    Money is held by it: a longer answer than that would pass the budget.
    """
    assert longest_answer(model, dialect) is None


@pytest.mark.parametrize("dialect", ["openai", "azure", "groq", "openrouter", "deepseek", "mistral", "gemini"])
def test_what_is_written_is_kept(dialect: str) -> None:
    """
    A bound is never written under a name that its service may not know; and DeepSeek's knows one only.
    """
    for kind, model in [("chat", "gpt-4o"), ("chat", "m"), ("responses", "gpt-5"), ("gemini", "gemini-2.5-pro")]:
        assert bound_name(kind, dialect, model) in kept_bounds(kind, dialect)
    assert ("max_completion_tokens" in kept_bounds("chat", dialect)) is (
        dialect in {"openai", "azure", "groq", "openrouter"}
    )
    assert kept_bounds("messages", dialect) == kept_bounds("completions", dialect) == {"max_tokens"}


@pytest.mark.parametrize(
    ("kind", "dialect", "model", "expected"),
    [
        ("chat", "openai", "gpt-4o", "max_completion_tokens"),
        ("chat", "openai", "o3", "max_completion_tokens"),
        ("chat", "openai", "ft:gpt-4o:x", "max_completion_tokens"),
        ("chat", "openai", "our-own-llama", "max_tokens"),
        ("chat", "azure", "our-deployment", "max_completion_tokens"),
        ("chat", "azure", "gpt-4o", "max_tokens"),
        ("chat", "azure", "gpt-35-turbo", "max_tokens"),
        ("chat", "groq", "openai/gpt-oss-20b", "max_tokens"),
        ("chat", "openrouter", "openai/gpt-5", "max_tokens"),
        ("chat", "gemini", "gemini-2.5-pro", "max_tokens"),
        ("responses", "openai", "gpt-5", "max_output_tokens"),
        ("gemini", "gemini", "gemini-2.5-pro", "maxOutputTokens"),
        ("messages", "anthropic", "claude-sonnet-5", ""),
        ("completions", "openai", "gpt-3.5-turbo-instruct", ""),
        ("embeddings", "openai", "text-embedding-3-small", ""),
    ],
)
def test_each_api_has_its_own_name_for_the_bound(kind: str, dialect: str, model: str, expected: str) -> None:
    """
    Where there is none, or where another one holds if nothing is said, nothing is written.
    """
    assert bound_name(kind, dialect, model) == expected
