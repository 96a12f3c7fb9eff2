"""
Tools and pictures: said once, told to each SDK in its own words, and given back in one form.
"""

from __future__ import annotations

import json
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import pytest

from egressor import ConfigError
from egressor.clients.llm import LLM, ToolCall
from tests.clients_llm.rig import CHATS, MESSAGES, ONE, THREE, TWO, Face, asked, completion, governor, message, scripted
from tests.transports.upstream import as_json

if TYPE_CHECKING:
    from tests.transports.upstream import Upstream

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"name": "weather", "description": "In a city.", "parameters": SCHEMA}
CALL = ToolCall(id="t-1", name="weather", arguments={"city": "Oslo"})
SPOKEN = {"id": "t-1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
USED = {"type": "tool_use", "id": "t-1", "name": "weather", "input": {"city": "Oslo"}}


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize(
    ("model", "given", "offered"),
    [
        (
            ONE,
            completion(None, finish="tool_calls", tool_calls=[SPOKEN]),
            {"tools": [{"type": "function", "function": TOOL}], "tool_choice": "required"},
        ),
        (
            TWO,
            {**message(finish="tool_use"), "content": [USED]},
            {
                "tools": [{"name": "weather", "description": "In a city.", "input_schema": SCHEMA}],
                "tool_choice": {"type": "any"},
            },
        ),
    ],
)
def test_tools_are_offered_and_their_calls_come_back(
    upstream: Upstream, colour: str, model: str, given: dict[str, Any], offered: dict[str, Any]
) -> None:
    """
    In one form, whoever was asked; also where they were stated as OpenAI does.
    """
    upstream.script(CHATS, as_json(given))
    upstream.script(MESSAGES, as_json(given))
    with governor(upstream) as gov:
        face = Face(colour, gov, model, max_tokens=9)
        found = face.chat("hi", tools=[{"type": "function", "function": TOOL}], tool_choice="required")

    body = asked(upstream)[0][1]
    assert (found.tool_calls, found.finish, found.text) == ((CALL,), "tool_calls", "")
    assert {name: body[name] for name in offered} == offered


@pytest.mark.parametrize(
    ("model", "choice", "said"),
    [
        (ONE, "none", "none"),
        (ONE, "weather", {"type": "function", "function": {"name": "weather"}}),
        (TWO, "none", {"type": "none"}),
        (TWO, "weather", {"type": "tool", "name": "weather"}),
    ],
)
def test_one_tool_may_be_chosen(upstream: Upstream, model: str, choice: str, said: object) -> None:
    """
    By its name, or none at all; without parameters of its own it takes none.
    """
    scripted(upstream)
    with governor(upstream) as gov:
        Face("sync", gov, model).chat("hi", tools=[{"name": "weather"}], tool_choice=choice)

    body = asked(upstream)[0][1]
    assert body["tool_choice"] == said
    assert "properties" in json.dumps(body["tools"])


@pytest.mark.parametrize("arguments", ["", "{}", None])
def test_a_call_without_arguments_has_none_to_be_unpacked(upstream: Upstream, arguments: str | None) -> None:
    """
    Regression: an empty text was taken for arguments that can't be read.
    """
    call = {**SPOKEN, "function": {"name": "weather", "arguments": arguments}}
    upstream.script(CHATS, as_json(completion(None, finish="tool_calls", tool_calls=[call])))
    with governor(upstream) as gov:
        found = Face("sync", gov, ONE).chat("hi", tools=[TOOL])

    assert found.tool_calls == (ToolCall(id="t-1", name="weather", arguments={}),)


@pytest.mark.parametrize(
    ("model", "given", "offered"),
    [
        (ONE, {"strict": True}, {"type": "function", "function": {**TOOL, "strict": True}}),
        (ONE, {"strict": False}, {"type": "function", "function": {**TOOL, "strict": False}}),
        (ONE, {"strict": None}, {"type": "function", "function": TOOL}),
        (THREE, {"strict": True}, {"type": "function", "function": TOOL}),
        (TWO, {"strict": True}, {"name": "weather", "description": "In a city.", "input_schema": SCHEMA}),
    ],
)
def test_a_tool_may_be_strict(upstream: Upstream, model: str, given: dict[str, Any], offered: object) -> None:
    """
    Regression: OpenAI's own form with its `strict` was refused; where it is not known it is left out.
    """
    scripted(upstream)
    with governor(upstream) as gov:
        Face("sync", gov, model).chat("hi", tools=[{"type": "function", "function": {**TOOL, **given}}])

    assert asked(upstream)[0][1]["tools"] == [offered]


@pytest.mark.parametrize("arguments", ["{", "[1]", '"x"', {"city": "Oslo"}])
def test_arguments_that_are_no_object_are_none(upstream: Upstream, arguments: object) -> None:
    """
    What a model makes up may be anything.
    """
    call = {**SPOKEN, "function": {"name": "weather", "arguments": arguments}}
    upstream.script(CHATS, as_json(completion(None, finish="tool_calls", tool_calls=[call])))
    with governor(upstream) as gov:
        found = Face("sync", gov, ONE).chat("hi", tools=[TOOL])

    assert found.tool_calls == (ToolCall(id="t-1", name="weather", arguments=None),)


SAID = [
    {"role": "user", "content": "weather?"},
    {"role": "assistant", "content": "", "tool_calls": (CALL, CALL)},
    {"role": "tool", "tool_call_id": "t-1", "content": "rain"},
    {"role": "tool", "tool_call_id": "t-1", "content": "snow"},
    {"role": "assistant", "content": "wet", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "t-1", "content": ""},
    {"role": "user", "content": "and now?"},
]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (
            ONE,
            [
                SAID[0],
                {"role": "assistant", "content": None, "tool_calls": [SPOKEN, SPOKEN]},
                *SAID[2:4],
                {"role": "assistant", "content": "wet", "tool_calls": [SPOKEN]},
                *SAID[5:],
            ],
        ),
        (
            TWO,
            [
                SAID[0],
                {"role": "assistant", "content": [USED, USED]},
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "t-1", "content": "rain"},
                        {"type": "tool_result", "tool_use_id": "t-1", "content": "snow"},
                    ],
                },
                {"role": "assistant", "content": [{"type": "text", "text": "wet"}, USED]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t-1", "content": ""}]},
                SAID[6],
            ],
        ),
    ],
)
def test_results_go_back_in_each_apis_words(upstream: Upstream, model: str, expected: list[Any]) -> None:
    """
    Anthropic wants all results of one answer in one message.
    """
    scripted(upstream)
    with governor(upstream) as gov:
        Face("sync", gov, model).chat(SAID, tools=[TOOL])

    assert asked(upstream)[0][1]["messages"] == expected


PICTURE = b"\x89PNG"
TEXT = {"type": "text", "text": "what is this?"}
DATA = b64encode(PICTURE).decode()


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (
            ONE,
            [
                TEXT,
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DATA}"}},
                {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
            ],
        ),
        (
            TWO,
            [
                TEXT,
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}},
                {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}},
            ],
        ),
    ],
)
@pytest.mark.parametrize("data", [PICTURE, DATA])
def test_pictures_are_parts_of_a_message(upstream: Upstream, model: str, expected: list[Any], data: object) -> None:
    """
    Sent along, as bytes or base64, or by their address.
    """
    parts = [
        TEXT,
        {"type": "image", "media_type": "image/png", "data": data},
        {"type": "image", "url": "https://x.example/a.png"},
    ]
    scripted(upstream)
    with governor(upstream) as gov:
        Face("sync", gov, model).chat([{"role": "user", "content": parts}])

    assert asked(upstream)[0][1]["messages"] == [{"role": "user", "content": expected}]


USER = {"role": "user", "content": "hi"}


@pytest.mark.parametrize(
    ("messages", "options", "words"),
    [
        ("hi", {"tools": "weather"}, "tools are a list"),
        ("hi", {"tools": [7]}, "a tool has a name"),
        ("hi", {"tools": [{"name": "a", "schema": {}}]}, "a tool has a name"),
        ("hi", {"tools": [{"name": "a b"}]}, "a tool's name is 1 to 64"),
        ("hi", {"tools": [{"name": "a", "parameters": 7}]}, "the tool a needs"),
        ("hi", {"tools": [{**TOOL, "strict": "yes"}]}, "the tool weather is strict or it is not"),
        ("hi", {"tools": [TOOL, TOOL]}, "two tools have one name"),
        ("hi", {"tools": [TOOL], "schema": {}}, "tools, or schema"),
        ("hi", {"tools": [TOOL], "tool_choice": "other"}, "auto, none, required, weather"),
        ("hi", {"tool_choice": "auto"}, "where there are tools"),
        ([USER, {"role": "assistant", "content": "", "tool_calls": [{}]}], {}, "those of an answer"),
        ([USER, {"role": "assistant", "content": 7, "tool_calls": [CALL]}], {}, "content is a text, not int"),
        ([USER, {"role": "tool", "content": "x"}], {}, "tool_call_id is a text"),
        ([USER, {"role": "user", "content": "x", "tool_call_id": "t"}], {}, "a role and a content"),
        ([{"role": "user", "content": []}], {}, "content is a text, not list"),
        ([{"role": "user", "content": [{"type": "image", "data": "x", "media_type": "a/b"}]}], {}, "a part of"),
        ([{"role": "user", "content": ["x"]}], {}, "a part of"),
        ([{"role": "user", "content": [{"type": "text", "text": ""}]}], {}, "content.text is a text"),
        ([{"role": "assistant", "content": [TEXT]}, USER], {}, "content is a text, not list"),
    ],
)
def test_what_no_model_could_read_is_refused(
    upstream: Upstream, messages: Any, options: dict[str, Any], words: str
) -> None:
    """
    Before anything is sent, and without repeating what was said.
    """
    with governor(upstream) as gov, LLM(gov, ONE) as llm, pytest.raises(ConfigError, match=words):
        llm.chat(messages, **options)

    assert upstream.received == []
