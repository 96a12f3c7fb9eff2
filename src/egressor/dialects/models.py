"""
Whether a limit that an answer tells of is one model's: the other models of the same key may be asked meanwhile.

What counts is what the answer says. Where it leaves the model out, a vendor's page that counts each model by itself
stands in for it, and only for the limits that the page is about.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from egressor.dialects.bodies import Answer, dig

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["at_anthropic", "at_azure", "at_gemini", "at_openai"]

# "Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM)", "for model `llama-3.3-70b` in", "for
# gpt-5 (for limit gpt-5) in"; but "for images per minute", "for requests" (https://platform.openai.com/docs/guides/rate-limits,
# https://console.groq.com/docs/rate-limits).
_NAMED: Final = re.compile(
    r"rate limit (?:reached|exceeded) for (?:model )?[`'\"]?(?!requests |tokens |organization |user )"
    r"[a-z0-9][\w.:/@-]*[`'\"]? (?:\(|in |on )"
)
# GitHub Models names its limits so: "Rate limit of 15 per 60s exceeded for UserByModelByMinute".
_BY_MODEL: Final = ("bymodel", "for this model")
# A part of Anthropic's message, "(org: x, model: claude-sonnet-4-5)", and of Gemini's, "limit: 9, model: gemini-pro".
_MODEL: Final = re.compile(r"\bmodel: ?[a-z0-9]")

# Azure's words for more than a deployment: "the token rate limit of your subscription". Its usual message ends with
# advice "for Free Account customers", which is no word on whose limit it was.
_ABOVE: Final = re.compile(
    r"\b(?:a|an|the|this|your|per|for|of|on|in|current)[ -](?:azure )?(?:openai )?"
    r"(?:billing account|subscription|account|resource|resource group|organization|tenant|region)\b"
)
_SHARED: Final = ("call volume quota", "exceeded your current quota", "subscription quota", "account quota")


def at_openai(answer: Answer) -> bool:
    """
    Whether the message names the model, or OpenRouter the provider upstream that has refused it.

    https://openrouter.ai/docs/api-reference/errors
    """
    said = answer.said
    is_upstream = isinstance(dig(answer.parsed, ("error", "metadata", "provider_name")), str)
    return is_upstream or _NAMED.search(said) is not None or any(words in said for words in _BY_MODEL)


def at_azure(answer: Answer) -> bool:
    """
    Whether nothing wider is named: each deployment has tokens and requests of its own.

    https://learn.microsoft.com/azure/ai-services/openai/how-to/quota
    """
    said = answer.said
    is_wider = _ABOVE.search(said) is not None or any(words in said for words in _SHARED)
    return not is_wider and "insufficient_quota" not in answer.codes


def at_anthropic(answer: Answer) -> bool:
    """
    Whether it is one of the limits by the minute, each of which is a model's (https://docs.anthropic.com/en/api/rate-limits).

    How fast an organisation's usage may grow, and how many connections it has, is no model's.
    """
    said = answer.said
    return _MODEL.search(said) is not None or ("per minute" in said and "increase" not in said)


def at_gemini(answer: Answer) -> bool:
    """
    Whether each quota that was violated is a model's (https://ai.google.dev/gemini-api/docs/rate-limits).
    """
    violations = list(_violations(answer.parsed))
    if violations:
        return all(_is_of_a_model(each) for each in violations)
    return _MODEL.search(answer.said) is not None or "per_base_model" in answer.said


def _violations(parsed: object) -> Iterable[object]:
    top = parsed[0] if isinstance(parsed, list) and parsed else parsed
    details = dig(top, ("error", "details"))
    for detail in details[:8] if isinstance(details, list) else []:
        found = dig(detail, ("violations",))
        yield from found[:8] if isinstance(found, list) else []


def _is_of_a_model(violation: object) -> bool:
    name = dig(violation, ("quotaId",))
    return isinstance(dig(violation, ("quotaDimensions", "model")), str) or (
        isinstance(name, str) and "PerModel" in name
    )
