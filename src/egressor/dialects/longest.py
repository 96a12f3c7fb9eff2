"""
How many tokens an answer of a model can have at most, those that it thinks included, as its vendor says.

Each is an upper bound, since money is held by it: a model whose vendor's page is not clear has no line here, and nor
has one that others than its vendor sell, as they set bounds of their own. A name counts only whole, with a date or a
version behind it, or as what a model was tuned from: what else begins with it may be another model.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

__all__ = ["bound_name", "kept_bounds", "longest_answer"]

# Tokens, and the models whose answers have no more.
_TABLE: Final = {
    # https://developers.openai.com/api/docs/models, and a page for each of them.
    "openai": """
        128000 gpt-5 gpt-5-mini gpt-5-nano gpt-5.1 gpt-5.2 gpt-5.4 gpt-5.4-mini gpt-5.4-nano gpt-5.5
        100000 o1 o3 o3-mini o4-mini
         32768 gpt-4.1 gpt-4.1-mini gpt-4.1-nano
         16384 gpt-4o gpt-4o-mini chatgpt-4o
          8192 gpt-4
          4096 gpt-4o-2024-05-13 gpt-4-turbo gpt-4-turbo-preview gpt-4-0125-preview gpt-4-1106-preview
          4096 gpt-3.5-turbo gpt-35-turbo
    """,
    # https://ai.google.dev/gemini-api/docs/models, and a page for each of them.
    "gemini": """
         65536 gemini-2.5-pro gemini-2.5-flash gemini-2.5-flash-lite
         65536 gemini-3-pro-preview gemini-3-flash-preview gemini-3.1-pro-preview
          8192 gemini-2.0-flash gemini-2.0-flash-lite gemini-1.5-pro gemini-1.5-flash gemini-1.5-flash-8b
    """,
    # https://console.groq.com/docs/models
    "groq": """
        131072 llama-3.1-8b-instant
         65536 openai/gpt-oss-120b openai/gpt-oss-20b
         32768 llama-3.3-70b-versatile
          8192 meta-llama/llama-4-scout-17b-16e-instruct meta-llama/llama-4-maverick-17b-128e-instruct
    """,
    # https://api-docs.deepseek.com/quick_start/pricing: 384K.
    "deepseek": """
        393216 deepseek-v4-flash deepseek-v4-pro
    """,
}
_SELLERS: Final = {"azure": "openai"}
# What OpenRouter names in front of a model. What it names behind it, as in ``:extended``, is another one.
_VENDORS: Final = {"openai": "openai", "google": "gemini"}
# Whose chats know both names.
_NEWER: Final = frozenset({"openai", "azure", "groq", "openrouter"})
_PLAIN: Final = frozenset({"max_tokens"})
_BOTH: Final = frozenset({"max_tokens", "max_completion_tokens"})
_KEPT: Final = {
    "responses": frozenset({"max_output_tokens"}),
    "gemini": frozenset({"maxOutputTokens", "max_output_tokens"}),
}
_DATED: Final = re.compile(r"[-@](?:20\d\d-?\d\d-?\d\d|\d{3,4}|latest)$")
_OPENAI: Final = re.compile(r"gpt-|o\d|chatgpt-|codex-|ft:")
# They are sold under versions of Azure's API that don't know the newer name, and take both under the others.
_OLDER: Final = re.compile(r"gpt-(?:3|4)")


def longest_answer(model: str, dialect: str) -> int | None:
    """
    Return how many tokens an answer of *model* can have at most at a service of *dialect*; None if nobody knows.
    """
    seller = _SELLERS.get(dialect, dialect)
    if dialect == "openrouter":
        vendor, _, model = model.partition("/")
        seller = _VENDORS.get(vendor, "")
    if model.startswith("ft:"):
        model = model.split(":")[1]
    known = _rows()
    return known.get((seller, model)) or known.get((seller, _DATED.sub("", model)))


def bound_name(kind: str, dialect: str, model: str) -> str:
    """
    Return where a request says how long its answer may be, as `egressor.dialects.asking.with_bound` takes it.

    Args:
        kind: The request's kind, as `egressor.dialects.asking.Asking` names it.
        dialect: What its service speaks.
        model: Its model.

    Returns:
        The name; empty where there is none, where a request must have said so itself (Anthropic), and where one that
        doesn't is answered with few words (completions).
    """
    if kind != "chat":
        return {"responses": "max_output_tokens", "gemini": "maxOutputTokens"}.get(kind, "")
    is_newer = dialect == "azure" and _OLDER.match(model) is None
    is_own = dialect == "openai" and _OPENAI.match(model) is not None
    # OpenAI's models that think refuse the older name; most who speak its language besides don't know the newer.
    return "max_completion_tokens" if is_newer or is_own else "max_tokens"


def kept_bounds(kind: str, dialect: str) -> frozenset[str]:
    """
    Return the names of bounds on an answer that a service of *dialect* keeps to in a request of *kind*.

    Any other may be ignored: DeepSeek's API answers a ``max_completion_tokens`` of 5 with 76 tokens
    (https://github.com/earendil-works/pi/issues/8018), and Mistral's refuses it with a 422
    (https://github.com/BerriAI/litellm/issues/9583).
    """
    if kind == "chat" and dialect in _NEWER:
        return _BOTH
    return _KEPT.get(kind, _PLAIN)


@cache
def _rows() -> dict[tuple[str, str], int]:
    found = {}
    for seller, text in _TABLE.items():
        for line in text.strip().splitlines():
            most, *models = line.split()
            found.update({(seller, model): int(most) for model in models})
    return found
