"""
What answers say they used: one row for each provider's form, with the page that states it, and for each way to lie.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor._core.usage import MOST, Usage
from egressor.dialects.usage import NOTHING, Reported, completed, read_usage

CHAT = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}


def chat(**more: Any) -> dict[str, Any]:
    """
    Return a chat completion whose usage has *more* than the three totals.
    """
    return {"model": "m", "choices": [], "usage": {**CHAT, **more}}


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        # https://platform.openai.com/docs/api-reference/chat/object#chat/object-usage
        (chat(), Usage(100, output=50)),
        (
            chat(
                prompt_tokens_details={"cached_tokens": 60, "audio_tokens": 10, "cache_write_tokens": 5},
                completion_tokens_details={"reasoning_tokens": 20, "audio_tokens": 5, "accepted_prediction_tokens": 1},
            ),
            Usage(25, 60, 5, audio_input=10, output=25, reasoning=20, audio_output=5),
        ),
        (chat(prompt_tokens_details=None, completion_tokens_details=None), Usage(100, output=50)),
        # https://platform.openai.com/docs/api-reference/embeddings/create
        (
            {"object": "list", "model": "m", "data": [], "usage": {"prompt_tokens": 8, "total_tokens": 8}},
            Usage(8),
        ),
        # https://platform.openai.com/docs/api-reference/responses/object
        (
            {
                "object": "response",
                "model": "m",
                "output": [
                    {"type": "web_search_call"},
                    {"type": "web_search_call"},
                    {"type": "file_search_call"},
                    {"type": "code_interpreter_call"},
                    {"type": "message"},
                    7,
                ],
                "usage": {
                    "input_tokens": 100,
                    "input_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 10},
                    "output_tokens": 30,
                    "output_tokens_details": {"reasoning_tokens": 12},
                    "total_tokens": 130,
                },
            },
            Usage(50, 40, 10, output=18, reasoning=12, searches=2, lookups=1, executions=1),
        ),
        # https://platform.openai.com/docs/api-reference/images/object
        (
            {
                "model": "m",
                "usage": {
                    "input_tokens": 50,
                    "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
                    "output_tokens": 100,
                    "output_tokens_details": {"text_tokens": 20, "image_tokens": 80},
                },
            },
            Usage(10, image_input=40, output=20, image_output=80),
        ),
        # https://platform.openai.com/docs/api-reference/audio/json-object
        (
            {
                "model": "m",
                "usage": {
                    "type": "tokens",
                    "input_tokens": 14,
                    "input_token_details": {"text_tokens": 4, "audio_tokens": 10},
                    "output_tokens": 45,
                },
            },
            Usage(4, audio_input=10, output=45),
        ),
        ({"model": "m", "usage": {"type": "duration", "seconds": 9.2}}, Usage(seconds=10)),
        # https://platform.openai.com/docs/api-reference/realtime-server-events/response/done
        (
            {
                "type": "response.done",
                "response": {
                    "model": "m",
                    "usage": {
                        "input_tokens": 100,
                        "input_token_details": {
                            "text_tokens": 40,
                            "audio_tokens": 50,
                            "image_tokens": 10,
                            "cached_tokens": 35,
                            "cached_tokens_details": {"text_tokens": 10, "audio_tokens": 20, "image_tokens": 5},
                        },
                        "output_tokens": 30,
                        "output_token_details": {"text_tokens": 10, "audio_tokens": 20},
                    },
                },
            },
            Usage(30, 10, audio_input=30, cached_audio=20, image_input=5, cached_image=5, output=10, audio_output=20),
        ),
        # https://docs.anthropic.com/en/api/messages#response-usage
        (
            {
                "type": "message",
                "model": "m",
                "usage": {
                    "input_tokens": 10,
                    "cache_creation_input_tokens": 30,
                    "cache_read_input_tokens": 1000,
                    "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
                    "output_tokens": 50,
                    "output_tokens_details": {"thinking_tokens": 15},
                    "server_tool_use": {"web_search_requests": 2, "code_execution_requests": 1},
                },
            },
            Usage(10, 1000, 10, 20, output=35, reasoning=15, searches=2, executions=1),
        ),
        ({"type": "message", "model": "m", "usage": {"input_tokens": 10, "output_tokens": 5}}, Usage(10, output=5)),
        # https://ai.google.dev/api/generate-content#UsageMetadata
        (
            {
                "modelVersion": "m",
                "usageMetadata": {
                    "promptTokenCount": 100,
                    "cachedContentTokenCount": 30,
                    "candidatesTokenCount": 40,
                    "thoughtsTokenCount": 25,
                    "toolUsePromptTokenCount": 7,
                    "totalTokenCount": 172,
                    "promptTokensDetails": [
                        {"modality": "TEXT", "tokenCount": 60},
                        {"modality": "AUDIO", "tokenCount": 20},
                        {"modality": "IMAGE", "tokenCount": 10},
                        {"modality": "DOCUMENT", "tokenCount": 4},
                        {"modality": "VIDEO", "tokenCount": 6},
                        {"modality": "AUDIO", "tokenCount": "many"},
                        "?",
                    ],
                    "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 5}],
                    "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 30}],
                },
            },
            Usage(
                42,
                25,
                audio_input=15,
                cached_audio=5,
                image_input=14,
                video_input=6,
                output=10,
                reasoning=25,
                image_output=30,
            ),
        ),
        (
            [
                {"modelVersion": "m", "usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 4}},
                {"usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 2, "totalTokenCount": 6}},
                None,
            ],
            Usage(4, output=2),
        ),
        # https://openrouter.ai/docs/use-cases/usage-accounting
        (
            chat(prompt_tokens_details={"cached_tokens": 20}, completion_tokens_details={"image_tokens": 10}, cost=0.5),
            Usage(80, 20, output=40, image_output=10),
        ),
        # https://console.groq.com/docs/api-reference#chat-create
        ({"model": "m", "choices": [], "x_groq": {"id": "r", "usage": CHAT}}, Usage(100, output=50)),
        # https://docs.mistral.ai/api/endpoint/ocr
        ({"model": "m", "pages": [], "usage_info": {"pages_processed": 3, "doc_size_bytes": 9}}, Usage(pages=3)),
        # https://api-docs.deepseek.com/api/create-chat-completion
        (
            chat(
                prompt_cache_hit_tokens=64,
                prompt_cache_miss_tokens=36,
                completion_tokens_details={"reasoning_tokens": 10},
            ),
            Usage(36, 64, output=40, reasoning=10),
        ),
        # https://docs.x.ai/docs/api-reference: the total says that the reasoning stands beside the completion
        (
            {
                "model": "m",
                "usage": {**CHAT, "total_tokens": 180, "completion_tokens_details": {"reasoning_tokens": 30}},
            },
            Usage(100, output=50, reasoning=30),
        ),
        # Perplexity: https://docs.perplexity.ai/api-reference/chat-completions-post
        (chat(num_search_queries=2), Usage(100, output=50, searches=2)),
    ],
)
def test_each_form_is_taken_apart(body: Any, usage: Usage) -> None:
    """
    No token is in two units, whatever the provider counts inside of what.
    """
    found = read_usage(body)

    assert Reported(usage, (), "m", billed_pico_usd=found.billed_pico_usd) == found


def test_bytes_are_read_as_json_and_blank_lines_before_it_are_no_matter() -> None:
    """
    DeepSeek keeps a connection alive with blank lines before the body.
    """
    assert Usage(100, output=50) == read_usage(b"\n\n\n" + json.dumps(chat()).encode()).usage


@pytest.mark.parametrize(
    ("body", "missing", "flags"),
    [
        (b"", ("input", "output"), ("absent",)),
        (b"<html>", ("input", "output"), ("absent",)),
        (b"[" * 100_000, ("input", "output"), ("absent",)),
        (b"7", ("input", "output"), ("absent",)),
        ({"usage": None}, ("input", "output"), ("absent",)),
        ({"usage": "12"}, ("input", "output"), ("absent",)),
        ({"usage": {}}, ("input", "output"), ("absent",)),
        ({"usage": {"prompt_tokens": 0, "completion_tokens": 0}}, ("input", "output"), ("zero",)),
        ({"usage": {"prompt_tokens": 0, "completion_tokens": 3}}, ("input",), ("zero",)),
        ({"usage": {"prompt_tokens": 5}}, ("output",), ()),
        ({"usage": {"prompt_tokens": 5, "completion_tokens": -1}}, ("output",), ("broken",)),
        ({"usage": {"prompt_tokens": "5", "completion_tokens": 1}}, ("input",), ("broken",)),
        ({"usage": {"prompt_tokens": 10**18, "completion_tokens": 1}}, ("input",), ("broken",)),
        ({"usage": {"prompt_tokens": True, "completion_tokens": 1}}, ("input",), ("broken",)),
        ({"usage": {"prompt_tokens": 1.5, "completion_tokens": 1}}, ("input",), ("broken",)),
        (b'{"usage": {"prompt_tokens": NaN, "completion_tokens": 1e400}}', ("input", "output"), ("broken",)),
        ({"usage": {"seconds": -1}}, ("input", "output"), ("broken",)),
        ({"usage": {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": "x"}}, (), ("broken",)),
        (chat(prompt_tokens_details={"cached_tokens": 101}), (), ("contradiction",)),
        (chat(completion_tokens_details={"reasoning_tokens": 51}), (), ("contradiction",)),
    ],
)
def test_what_is_not_said_or_can_not_be_is_missing_and_flagged(
    body: Any, missing: tuple[str, ...], flags: tuple[str, ...]
) -> None:
    """
    B06: usage of 0, absent, negative, a text, 10^18: an estimate has to stand in, and nothing breaks.
    """
    found = read_usage(body)

    assert (missing, flags, not missing) == (found.missing, found.flags, found.said)


def test_parts_that_are_more_than_their_whole_leave_no_rest_below_zero() -> None:
    """
    The parts are billed as they are, and the rest is 0: no negative number reduces a bill.
    """
    found = read_usage(chat(prompt_tokens_details={"cached_tokens": 300}))

    assert Usage(0, 300, output=50) == found.usage


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({**chat(), "service_tier": "priority"}, ("m", "priority", "")),
        (
            {"type": "message", "model": "c", "usage": {"input_tokens": 1, "service_tier": "batch", "speed": "fast"}},
            ("c", "batch", "fast"),
        ),
        ({"usageMetadata": {"promptTokenCount": 1, "trafficType": "ON_DEMAND_FLEX"}}, ("", "flex", "")),
        ({"usageMetadata": {"promptTokenCount": 1, "trafficType": "ON_DEMAND"}}, ("", "", "")),
        ({"usageMetadata": {"promptTokenCount": 1, "serviceTier": "priority"}}, ("", "priority", "")),
        ({"model": "x" * 1000, "service_tier": 7}, ("x" * 200, "", "")),
    ],
)
def test_model_and_tier_are_those_of_the_answer(body: Any, named: tuple[str, str, str]) -> None:
    """
    The tier that was used may be another one than was asked for.
    """
    found = read_usage(body)

    assert named == (found.model, found.tier, found.speed)


@pytest.mark.parametrize(
    ("cost", "pico"),
    [("0.0000125", 12_500_000), ("1e-13", 1), ("0", 0), ("-1", None), ('"1"', None), ("true", None), ("1e9", None)],
)
def test_what_a_provider_has_billed_is_read_exactly(cost: str, pico: int | None) -> None:
    """
    OpenRouter's ``usage.cost`` is a number of US dollars that no float has touched.
    """
    body = f'{{"model": "m", "usage": {{"prompt_tokens": 1, "completion_tokens": 1, "cost": {cost}}}}}'

    assert pico == read_usage(body.encode()).billed_pico_usd


def test_an_answer_without_usage_still_names_its_model() -> None:
    """
    The price of an estimate goes by the model that answered.
    """
    assert NOTHING._replace(model="m") == read_usage({"model": "m", "choices": []})


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 2}, Usage(7, output=2)),
        ({"prompt_tokens": 7}, Usage(7, output=50)),
        ({"completion_tokens": 2}, Usage(100, output=2)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, Usage(100, output=50)),
        ({"completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 60}}, Usage(40, 60, output=2)),
        ({"prompt_tokens": 7, "completion_tokens_details": {"reasoning_tokens": 70}}, Usage(7, reasoning=70)),
        ({}, Usage(100, output=50)),
    ],
)
def test_what_was_not_said_is_estimated_and_what_was_said_stays(usage: dict[str, Any], expected: Usage) -> None:
    """
    An answer that was left in its middle is never free, and no estimate takes away what was counted.
    """
    assert expected == completed(read_usage({"usage": usage}), sent=100, received=50)


_LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.sampled_from([10**18, -1, "9", 5])
)
_NAMES = st.sampled_from(
    [
        *("usage", "usageMetadata", "model", "type", "response", "message", "output", "x_groq", "usage_info"),
        *("pages_processed", "prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details"),
        *("cached_tokens", "input_tokens", "output_tokens", "promptTokenCount", "cache_creation_input_tokens"),
        *("promptTokensDetails", "modality", "tokenCount", "seconds", "cost", "service_tier"),
    ]
)
_BODIES = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_NAMES, inner, max_size=6)),
    max_leaves=20,
)


@given(_BODIES)
def test_no_body_breaks_the_reader_or_yields_a_count_that_can_not_be(body: Any) -> None:
    """
    Whatever stands where a number should: the reader returns, and every count is from 0 to some thousand millions.
    """
    assert all(0 <= number <= 20 * MOST for number in read_usage(body).usage)
