"""
Paths, read as whoever serves them may read them: in one form, whatever way they were written in.

Servers decode what needs no escape (RFC 3986 section 6.2.2.2), many take several slashes for one or leave the last one
out, and some don't tell letters' cases apart. Whatever depends on a path (a price, an endpoint's limits) goes by that
form, so that no spelling of a path gets by it. What is left escaped in it has no meaning here.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["deployment_at", "has_no_text", "is_count", "kind_at", "model_at", "plain"]

_PATHS: Final = (
    ("/chat/completions", "chat"),
    ("/responses", "responses"),
    ("/responses/compact", "responses"),
    ("/messages", "messages"),
    ("/embeddings", "embeddings"),
    ("/completions", "completions"),
)
# Parts of paths whose answers are no text, and whose tokens no bound says: their bodies look like a completion's.
_NO_TEXT: Final = ("/images/", "/audio/", "/videos")
# What only counts: https://docs.claude.com/en/api/messages-count-tokens, https://ai.google.dev/api/tokens,
# https://platform.openai.com/docs/api-reference/responses/input-tokens. As it costs nothing, it is known by its very
# letters.
_COUNT: Final = re.compile(r"/messages/count_tokens\Z|/responses/input_tokens\Z|/models/[^/:]{1,200}:countTokens\Z")
# Gemini's: the model, and what it is to do.
_VERB: Final = re.compile(r"(?i)/(tunedModels/|models/)([^/:]{1,200}):([a-z]{1,100})\Z")
_DEPLOYED: Final = re.compile(r"(?i)/openai/deployments/([^/]{1,200})/")
_ESCAPE: Final = re.compile("%([0-7][0-9A-Fa-f])")
# Letters and digits aside, what may stand in a segment as it is (RFC 3986 section 3.3).
_UNESCAPED: Final = frozenset("-._~:@!$&'()*+,=")


def plain(path: str) -> str:
    """
    Return *path*, or a URL, in its one form: without its query, without a slash at its end or two in a row, and with
    nothing escaped that needn't be.
    """
    path = path.partition("?")[0]
    if "%" in path:
        path = _ESCAPE.sub(_decoded, path)
    if "//" in path:
        path = re.sub("//+", "/", path)
    return path.rstrip("/")


def _decoded(found: re.Match[str]) -> str:
    each = chr(int(found[1], 16))
    return each if each.isalnum() or each in _UNESCAPED else found[0]


def kind_at(path: str) -> str:
    """
    Return the kind of request that goes to a `plain` *path*, as `egressor.dialects.asking.Asking` names them; empty if
    that doesn't tell.
    """
    verb = _VERB.search(path)
    if verb:
        return "gemini" if verb[3].lower().removeprefix("stream").startswith("generate") else ""
    low = path.lower()
    return "" if has_no_text(path) else next((kind for end, kind in _PATHS if low.endswith(end)), "")


def model_at(path: str) -> tuple[str, bool]:
    """
    Return the model that a `plain` *path* of Gemini's names, and whether the answer is to be a stream; an empty text
    for any other path.
    """
    verb = _VERB.search(path)
    if verb is None:
        return "", False
    # One that somebody has tuned is none of those that have a price, whatever he calls it.
    tuned = verb[1] if verb[1].lower().startswith("tuned") else ""
    return tuned + verb[2], verb[3].lower().startswith("stream")


def deployment_at(path: str) -> str:
    """
    Return the deployment that a `plain` *path* of Azure's names; an empty text for any other path.
    """
    found = _DEPLOYED.search(path)
    return found[1] if found else ""


def is_count(path: str) -> bool:
    """
    Tell whether what goes to a `plain` *path* only counts tokens.
    """
    return _COUNT.search(path) is not None


def has_no_text(path: str) -> bool:
    """
    Tell whether the answers from a `plain` *path* are pictures, sounds or films.
    """
    low = path.lower()
    return any(part in low for part in _NO_TEXT)
