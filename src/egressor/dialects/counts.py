"""
Where providers put what a call used, as tables, and how their numbers are taken apart.

Four forms serve all of them: OpenAI's chat (and embeddings, and all that copy it), OpenAI's responses (and images, and
transcriptions), Anthropic's, Gemini's. The form is told by its words, not by the service's dialect, since one service
may speak several. The differences that cost money:

- OpenAI and Gemini count cached tokens inside of the input, Anthropic beside it (both classes, read and written).
- OpenAI counts reasoning inside of the output, Gemini beside it; xAI speaks OpenAI's words and counts it beside.
- Audio and images are inside of the totals everywhere.

Totals are kept as they came until the end, so that a stream's later numbers replace earlier ones total by total.
"""

from __future__ import annotations

from decimal import Decimal
from math import ceil
from typing import Final, NamedTuple

from egressor._core.usage import MOST, Usage
from egressor.dialects.bodies import Path, dig

__all__ = ["ANTHROPIC", "CHAT", "GEMINI", "RESPONSES", "Form", "count", "counted", "form_of", "raw"]


class Form(NamedTuple):
    """
    One way of writing usage.

    Attributes:
        name: Its name.
        places: For each total, the places where it may stand, from the usage object on; the first good number counts.
        cache_inside: Whether the input includes what was read from and written to the cache.
        modalities: For lists of ``{modality, tokenCount}``: the list's name, the modality, the total.
    """

    name: str
    places: tuple[tuple[str, tuple[Path, ...]], ...]
    cache_inside: bool = True
    modalities: tuple[tuple[str, str, str], ...] = ()


# https://platform.openai.com/docs/api-reference/chat/object#chat/object-usage
# DeepSeek: https://api-docs.deepseek.com/api/create-chat-completion (prompt_cache_hit_tokens)
# OpenRouter: https://openrouter.ai/docs/use-cases/usage-accounting (cost, in credits that are US dollars)
# xAI: https://docs.x.ai/docs/api-reference (reasoning beside the completion)
CHAT: Final = Form(
    "chat",
    (
        ("input", (("prompt_tokens",),)),
        ("output", (("completion_tokens",),)),
        ("total", (("total_tokens",),)),
        (
            "cached",
            (
                ("prompt_tokens_details", "cached_tokens"),
                ("prompt_cache_hit_tokens",),
                ("cached_prompt_text_tokens",),
                ("num_cached_tokens",),
            ),
        ),
        ("written", (("prompt_tokens_details", "cache_write_tokens"),)),
        ("audio_input", (("prompt_tokens_details", "audio_tokens"),)),
        ("reasoning", (("completion_tokens_details", "reasoning_tokens"), ("reasoning_tokens",))),
        ("audio_output", (("completion_tokens_details", "audio_tokens"),)),
        ("image_output", (("completion_tokens_details", "image_tokens"),)),
        ("searches", (("server_tool_use", "web_search_requests"), ("num_search_queries",))),
    ),
)

# https://platform.openai.com/docs/api-reference/responses/object#responses/object-usage
# Images: https://platform.openai.com/docs/api-reference/images/object
# Transcriptions (`input_token_details`, `seconds`): https://platform.openai.com/docs/api-reference/audio/json-object
RESPONSES: Final = Form(
    "responses",
    (
        ("input", (("input_tokens",),)),
        ("output", (("output_tokens",),)),
        ("total", (("total_tokens",),)),
        ("cached", (("input_tokens_details", "cached_tokens"), ("input_token_details", "cached_tokens"))),
        ("written", (("input_tokens_details", "cache_write_tokens"),)),
        ("audio_input", (("input_tokens_details", "audio_tokens"), ("input_token_details", "audio_tokens"))),
        ("image_input", (("input_tokens_details", "image_tokens"), ("input_token_details", "image_tokens"))),
        ("cached_audio", (("input_token_details", "cached_tokens_details", "audio_tokens"),)),
        ("cached_image", (("input_token_details", "cached_tokens_details", "image_tokens"),)),
        ("reasoning", (("output_tokens_details", "reasoning_tokens"),)),
        ("audio_output", (("output_token_details", "audio_tokens"), ("output_tokens_details", "audio_tokens"))),
        ("image_output", (("output_tokens_details", "image_tokens"),)),
        ("seconds", (("seconds",),)),
    ),
)

# https://docs.anthropic.com/en/api/messages#response-usage
ANTHROPIC: Final = Form(
    "anthropic",
    (
        ("input", (("input_tokens",),)),
        ("output", (("output_tokens",),)),
        ("cached", (("cache_read_input_tokens",),)),
        ("written", (("cache_creation_input_tokens",),)),
        ("written_1h", (("cache_creation", "ephemeral_1h_input_tokens"),)),
        ("reasoning", (("output_tokens_details", "thinking_tokens"),)),
        ("searches", (("server_tool_use", "web_search_requests"),)),
        ("executions", (("server_tool_use", "code_execution_requests"),)),
    ),
    cache_inside=False,
)

# https://ai.google.dev/api/generate-content#UsageMetadata
GEMINI: Final = Form(
    "gemini",
    (
        ("input", (("promptTokenCount",),)),
        ("output", (("candidatesTokenCount",), ("responseTokenCount",))),
        ("total", (("totalTokenCount",),)),
        ("cached", (("cachedContentTokenCount",),)),
        ("thoughts", (("thoughtsTokenCount",),)),
        ("tools", (("toolUsePromptTokenCount",),)),
    ),
    modalities=(
        ("promptTokensDetails", "AUDIO", "audio_input"),
        ("promptTokensDetails", "IMAGE", "image_input"),
        ("promptTokensDetails", "DOCUMENT", "image_input"),
        ("promptTokensDetails", "VIDEO", "video_input"),
        ("cacheTokensDetails", "AUDIO", "cached_audio"),
        ("cacheTokensDetails", "IMAGE", "cached_image"),
        ("candidatesTokensDetails", "AUDIO", "audio_output"),
        ("candidatesTokensDetails", "IMAGE", "image_output"),
        ("candidatesTokensDetails", "VIDEO", "video_output"),
    ),
)

_MODALITIES: Final = 16
_OF_ANTHROPIC: Final = ("cache_creation_input_tokens", "cache_read_input_tokens", "cache_creation", "server_tool_use")


def form_of(usage: dict[str, object], *, is_anthropic: bool) -> Form:
    """
    Tell which form *usage* has; *is_anthropic* says that the message around it is one of Anthropic's.
    """
    if "promptTokenCount" in usage or "candidatesTokenCount" in usage or "totalTokenCount" in usage:
        return GEMINI
    if "prompt_tokens" in usage or "completion_tokens" in usage:
        return CHAT
    return ANTHROPIC if is_anthropic or any(name in usage for name in _OF_ANTHROPIC) else RESPONSES


def raw(form: Form, usage: dict[str, object]) -> tuple[dict[str, int], set[str]]:
    """
    Read the totals that *usage* states, and what was there and is no count.
    """
    found: dict[str, int] = {}
    wrong: set[str] = set()
    for total, places in form.places:
        for place in places:
            value = dig(usage, place)
            if value is None:
                continue
            number = count(value) if total != "seconds" else _begun(value)
            if number is None:
                wrong.add(total)
                continue
            found[total] = number
            break
    for name, modality, total in form.modalities:
        listed = usage.get(name)
        for each in listed[:_MODALITIES] if isinstance(listed, list) else ():
            number = count(dig(each, ("tokenCount",))) if dig(each, ("modality",)) == modality else None
            if number is not None:
                found[total] = min(MOST, found.get(total, 0) + number)
    return found, wrong


def count(value: object) -> int | None:
    """
    Return *value* as a count; None for what is none: a text, a negative or broken number, one beyond belief.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    # Compared first: infinity can't become an integer, and NaN is on neither side.
    return int(value) if 0 <= value <= MOST and value == int(value) else None


def _begun(value: object) -> int | None:
    """
    Return seconds as a count: one that has begun is billed.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or not 0 <= value <= MOST:
        return None
    return ceil(value)


def counted(form: Form, totals: dict[str, int]) -> tuple[Usage, bool]:
    """
    Take the totals apart, so that no token is in two of them.

    Returns:
        The usage, and whether the totals contradicted each other: parts that are more than their whole. The parts are
        then taken as they are, and the rest as 0.
    """
    get = totals.get
    cached, written, hour = get("cached", 0), get("written", 0), get("written_1h", 0)
    inputs = [get(name, 0) for name in ("audio_input", "image_input", "video_input")]
    cached_audio, cached_image = get("cached_audio", 0), get("cached_image", 0)
    thinking = get("reasoning", 0)
    outputs = [get(name, 0) for name in ("audio_output", "image_output", "video_output")]

    plain = get("input", 0) - sum(inputs) + (cached_audio + cached_image)
    if form.cache_inside:
        plain -= cached + written
    received = get("output", 0) - sum(outputs)
    if form is GEMINI:
        thinking = get("thoughts", 0)
    elif not _is_beside(get("input"), get("output"), get("total"), thinking):
        received -= thinking

    rests = (
        plain,
        inputs[0] - cached_audio,
        inputs[1] - cached_image,
        cached - cached_audio - cached_image,
        written - hour,
        received,
    )
    plain, audio, image, cached, written, received = (max(0, rest) for rest in rests)
    usage = Usage(
        input=plain + get("tools", 0),
        cached=cached,
        written=written,
        written_1h=hour,
        audio_input=audio,
        cached_audio=cached_audio,
        image_input=image,
        cached_image=cached_image,
        video_input=inputs[2],
        output=received,
        reasoning=thinking,
        audio_output=outputs[0],
        image_output=outputs[1],
        video_output=outputs[2],
        seconds=get("seconds", 0),
        pages=get("pages", 0),
        searches=get("searches", 0),
        lookups=get("lookups", 0),
        executions=get("executions", 0),
    )
    return usage, min(rests) < 0


def _is_beside(sent: int | None, received: int | None, total: int | None, thinking: int) -> bool:
    """
    Tell whether the reasoning stands beside the output: the total says so, if there is one.
    """
    return bool(thinking) and None not in (sent, received, total) and total == sent + received + thinking  # type: ignore[operator]
