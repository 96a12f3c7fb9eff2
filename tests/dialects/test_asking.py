"""
What requests to language models ask for, the wish that is added to them, and the chunk that is taken out again.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor.dialects.asking import LONGEST, Asking, UsageHider, model_of, read_request, with_bound, with_usage

CHAT = {"model": "m", "messages": [{"role": "user", "content": "usage?"}]}
USED = {"prompt_tokens": 7, "completion_tokens": 2}


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/v1/chat/completions", CHAT, ("chat", "m", False, None, 1, False)),
        ("", {**CHAT, "stream": True, "max_tokens": 9, "n": 3}, ("chat", "m", True, 9, 3, False)),
        (
            "/openai/deployments/d/chat/completions?api-version=1",
            {**CHAT, "max_completion_tokens": 8, "max_tokens": 9, "stream_options": {"include_usage": True}},
            ("chat", "d", False, 9, 1, True),
        ),
        ("/v1/messages", {**CHAT, "max_tokens": 5, "stream": True}, ("messages", "m", True, 5, 1, False)),
        ("", {**CHAT, "max_tokens": 5, "system": "s"}, ("messages", "m", False, 5, 1, False)),
        ("/v1/responses/", {"model": "m", "input": "x"}, ("responses", "m", False, None, 1, False)),
        ("", {"model": "m", "input": "x", "max_output_tokens": 4}, ("responses", "m", False, 4, 1, False)),
        ("/v1/embeddings", {"model": "m", "input": ["x"]}, ("embeddings", "m", False, None, 1, False)),
        ("", {"model": "m", "prompt": "x", "best_of": 2}, ("completions", "m", False, None, 2, False)),
        ("", {"model": "m", "prompt": "x", "n": 1, "best_of": 20}, ("completions", "m", False, None, 20, False)),
        ("", {"model": "m", "prompt": ["x", "y", "z"], "n": 2}, ("completions", "m", False, None, 6, False)),
        ("", {"model": "m", "prompt": [[1, 2], [3]]}, ("completions", "m", False, None, 2, False)),
        ("", {"model": "m", "prompt": [1, 2, 3]}, ("completions", "m", False, None, 1, False)),
        (
            "/v1/models/g:generateContent",
            {"contents": [], "generation_config": {"max_output_tokens": 3, "candidate_count": 2}},
            ("gemini", "g", False, 3, 2, False),
        ),
        (
            "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
            {"contents": [], "generationConfig": {"maxOutputTokens": 3, "candidateCount": 2}},
            ("gemini", "gemini-2.5-pro", True, 3, 2, False),
        ),
        (
            "/v1/models/g:generateContent",
            {"contents": [], "generationConfig": 1},
            ("gemini", "g", False, None, 1, False),
        ),
        ("", {"contents": []}, ("gemini", "", False, None, 1, False)),
        ("", {**CHAT, "stream": 1, "max_tokens": "9", "n": -1}, ("chat", "m", False, None, 1, False)),
        ("", {**CHAT, "max_tokens": True, "n": 0, "stream_options": []}, ("chat", "m", False, None, 1, False)),
    ],
)
def test_a_request_tells_what_it_asks_for(path: str, body: dict[str, Any], expected: tuple[Any, ...]) -> None:
    """
    Model, stream, bound on the output, answers: by the path, or by the body's own words.
    """
    data = json.dumps(body).encode()

    found = read_request(data, path)

    assert found is not None
    assert found._replace(bounds=frozenset(), said="") == Asking._make(
        (*expected, len(data), True, "", "", (), False, frozenset(), "")
    )


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/chat/completions", {"max_tokens": 1, "max_output_tokens": 2}, {"max_tokens", "max_output_tokens"}),
        ("/chat/completions", {"max_tokens": "1", "max_completion_tokens": None}, set()),
        ("/chat/completions", {"generationConfig": {"maxOutputTokens": 1}}, set()),
        (
            "/models/g:generateContent",
            {"max_tokens": 1, "generationConfig": {"maxOutputTokens": 1}},
            {"maxOutputTokens"},
        ),
        ("/models/g:generateContent", {"max_tokens": 1}, set()),
    ],
)
def test_a_bound_counts_where_it_has_its_place(path: str, body: dict[str, Any], expected: set[str]) -> None:
    """
    A number of tokens, in Gemini's options for Gemini, and beside the model for all others.
    """
    found = read_request(json.dumps({"model": "m", **body}).encode(), path)

    assert found is not None
    assert found.bounds == expected


@pytest.mark.parametrize(("prompt", "kind"), [({"id": "pmpt_1"}, "responses"), ("x", "completions")])
def test_a_stored_prompt_is_one_of_responses(prompt: object, kind: str) -> None:
    """
    Completions have texts there.
    """
    found = read_request(json.dumps({"model": "m", "prompt": prompt}).encode())

    assert found is not None
    assert found.kind == kind


def test_a_request_tells_what_makes_it_dearer() -> None:
    """
    A tier, a speed, and models that may answer instead; what is none of these is left out.
    """
    dear = {**CHAT, "service_tier": "priority", "speed": "fast", "models": ["a", 1, "b"]}
    odd = {**CHAT, "service_tier": 1, "speed": None, "models": "a"}

    found = [read_request(json.dumps(each).encode()) for each in (dear, odd)]

    assert [each and (each.tier, each.speed, each.others) for each in found] == [
        ("priority", "fast", ("a", "b")),
        ("", "", ()),
    ]


@pytest.mark.parametrize(
    ("more", "is_text"),
    [
        ({}, True),
        ({"messages": [{"role": "user", "content": '{"image_url": "file_id"}'}]}, True),
        ({"messages": [{"content": [{"type": "image_url", "image_url": {"url": "https://x/y"}}]}]}, False),
        ({"messages": [{"content": [{"type": "document", "source": {"type": "url"}}]}]}, False),
        ({"previous_response_id": "r"}, False),
        ({"tools": [{"type": "web_search_20250305"}]}, False),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, True),
        ({"modalities": ["text", "audio"]}, False),
    ],
)
def test_only_a_text_is_bounded_by_its_bytes(more: dict[str, Any], is_text: bool) -> None:
    """
    A picture by its address, a conversation by its name, a tool that reads the web: few bytes, many tokens.
    """
    found = read_request(json.dumps({**CHAT, **more}).encode())

    assert found is not None
    assert is_text == found.text


OWN = {"type": "object", "properties": {"container": {"type": "string"}, "file_id": {"type": "string"}}}


@pytest.mark.parametrize(
    ("more", "fetches"),
    [
        ({"tools": [{"type": "function", "function": {"name": "web_search", "parameters": OWN}}]}, False),
        ({"tools": [{"type": "function", "name": "file_search", "parameters": OWN}]}, False),
        ({"tools": [{"name": "web_search", "input_schema": OWN}]}, False),
        ({"tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": OWN}]}]}, False),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "container", "schema": OWN}}}, False),
        ({"messages": [{"role": "user", "content": "conversation"}]}, False),
        ({"messages": [{"content": [{"type": "tool_use", "name": "f", "input": {"container": "c"}}]}]}, False),
        ({"contents": [{"parts": [{"functionCall": {"name": "f", "args": {"file_id": "c"}}}]}]}, False),
        ({"contents": [{"parts": [{"functionResponse": {"name": "f", "response": {"file_id": "c"}}}]}]}, False),
        ({"metadata": {"conversation": "7"}}, False),
        ({"previous_response_id": None}, False),
        ({"previous_response_id": "r"}, True),
        ({"conversation": {"id": "c"}}, True),
        ({"prompt": {"id": "pmpt_1", "variables": {"city": "Rome"}}}, True),
        ({"prompt": "pmpt_1"}, False),
        ({"messages": [{"content": [{"type": "file", "file": {"file_id": "f"}}]}]}, True),
        ({"input": [{"type": "message", "content": [{"type": "input_file", "file_id": "f"}]}]}, True),
        ({"input": [{"type": "item_reference", "id": "i"}]}, True),
        ({"contents": [{"parts": [{"file_data": {"file_uri": "u"}}]}]}, True),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, True),
        ({"tools": [{"type": "mcp", "server_url": "u"}]}, True),
        ({"tools": [{"google_search": {}}]}, True),
        ({"web_search_options": {}}, True),
    ],
)
def test_what_is_fetched_is_told_by_fields_and_kinds_alone(more: dict[str, Any], fetches: bool) -> None:
    """
    Regression: a property called ``container``, or a message "conversation", was taken for a context full of text.
    """
    found = read_request(json.dumps({**CHAT, **more}).encode())

    assert found is not None
    assert (found.text, found.fetches) == (not fetches, fetches)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"\xff", b'{"model": 7, "messages": []}', b'{"model": "m"}', b'{"messages": []}']
)
def test_what_is_no_such_request_is_none(body: bytes) -> None:
    """
    Another API's body, or one that can't be read, is not taken for one.
    """
    assert read_request(body) is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            '{"model":"m","messages":[],"stream":true}',
            '{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}}',
        ),
        (
            ' { "stream" : true, "x" : 1.50e2, "messages" : [ "é" ] }\n',
            ' { "stream" : true, "x" : 1.50e2, "messages" : [ "é" ] ,"stream_options":{"include_usage":true}}\n',
        ),
        (
            '{"stream_options": { }, "prompt":"p", "stream":true}',
            '{"stream_options": { "include_usage":true}, "prompt":"p", "stream":true}',
        ),
        (
            '{"messages":[{"stream_options":1}],"stream_options":{"a":1.0},"stream":true}',
            '{"messages":[{"stream_options":1}],"stream_options":{"a":1.0,"include_usage":true},"stream":true}',
        ),
        (
            '{"stream_options":{"include_usage":false, "a" : "é}" } , "messages":[],"stream":true}',
            '{"stream_options":{"include_usage":true, "a" : "é}" } , "messages":[],"stream":true}',
        ),
        (
            '{"messages":[],"stream":true,"stream_options":null}',
            '{"messages":[],"stream":true,"stream_options":{"include_usage":true}}',
        ),
        (
            '{"stream_options":{"include_usage":true},"messages":[],"stream":true,"stream_options":{}}',
            '{"stream_options":{"include_usage":true},"messages":[],"stream":true,"stream_options":{"include_usage":true}}',
        ),
    ],
)
def test_the_wish_is_added_and_nothing_else_is_touched(body: str, expected: str) -> None:
    """
    Spaces, order, numbers as they were written, doubled keys: all stay, and the wish is there once it is read.
    """
    found = with_usage(body.encode())

    assert expected.encode() == found
    assert json.loads(expected)["stream_options"]["include_usage"] is True
    assert with_usage(expected.encode()) is None


def test_half_a_surrogate_is_no_obstacle() -> None:
    """
    What Python's JSON reads goes through, although it is no UTF-8.
    """
    body = b'{"messages":["\xed\xa0\x80"],"stream":true,"stream_options":{}}'

    assert body.replace(b"{}", b'{"include_usage":true}') == with_usage(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"messages":[]}',
        b'{"messages":[],"stream":false}',
        b'{"input":"x","stream":true}',
        b'[{"messages":[],"stream":true}]',
        b'{"messages":[],"stream":true',
        b'{"messages":[],"stream":true,"stream_options":{"include_usage":true}}',
        '{"messages":[],"stream":true}'.encode("utf-16-le"),
    ],
)
def test_no_wish_is_added_where_none_is_needed_or_understood(body: bytes) -> None:
    """
    A request that is no stream of a chat, or has the wish, goes as it is.
    """
    assert with_usage(body) is None


_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    max_leaves=6,
)


@given(
    body=st.dictionaries(st.one_of(st.text(max_size=4), st.just("stream_options")), _VALUES, max_size=5),
    options=st.one_of(st.none(), st.dictionaries(st.sampled_from(["a", "include_usage"]), _VALUES, max_size=2)),
    indent=st.sampled_from([None, 1]),
    ascii_only=st.booleans(),
)
def test_the_wish_is_all_that_differs(
    body: dict[str, Any], options: object, indent: int | None, *, ascii_only: bool
) -> None:
    """
    Parsed, the new body is the old one with the wish; its keys keep their order.
    """
    body = {**body, "messages": ["x"], "stream": True}
    if options is not None:
        body["stream_options"] = options
    found = with_usage(json.dumps(body, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass"))
    before = body.get("stream_options")
    expected = {**body, "stream_options": {**(before if isinstance(before, dict) else {}), "include_usage": True}}

    assert (None if expected == body and _has(before) else expected) == (None if found is None else json.loads(found))
    assert found is None or list(expected) == list(json.loads(found))


def _has(options: object) -> bool:
    return isinstance(options, dict) and options.get("include_usage") is True


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"m"}', b'{"model":"m","max_tokens":9}'),
        (b' { "x" : 1.0 }\n', b' { "x" : 1.0 ,"max_tokens":9}\n'),
        (b'{"max_tokens": null, "x":"\xc3\xa9"}', b'{"max_tokens": 9, "x":"\xc3\xa9"}'),
        (b'{"max_tokens":7}', None),
        (b"{}", None),
        (b"[]", None),
        ('{"x":1}'.encode("utf-16-le"), None),
    ],
)
def test_a_bound_is_added_where_there_is_none(body: bytes, expected: bytes | None) -> None:
    """
    A client's own bound stays; where it has none, one stands at the end, and no other byte differs.
    """
    found = with_bound(body, "max_tokens", 9)

    assert expected == found
    assert found is None or json.loads(found)["max_tokens"] == 9


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"contents":[]}', b'{"contents":[],"generationConfig":{"maxOutputTokens":9}}'),
        (b'{"generationConfig": null, "x": 1}', b'{"generationConfig": {"maxOutputTokens":9}, "x": 1}'),
        (b'{"generationConfig": { }, "x": 1}', b'{"generationConfig": { "maxOutputTokens":9}, "x": 1}'),
        (
            b'{"generation_config": {"topK":1.0} , "x":1}',
            b'{"generation_config": {"topK":1.0,"maxOutputTokens":9} , "x":1}',
        ),
        (b'{"generationConfig":{"maxOutputTokens":null}}', b'{"generationConfig":{"maxOutputTokens":9}}'),
        (b'{"generationConfig":{"maxOutputTokens":7}}', None),
        (b'{"generationConfig":{"max_output_tokens":"7"}}', None),
        (b'{"generationConfig":{},"generation_config":{}}', None),
        (b'{"generationConfig":[]}', None),
    ],
)
def test_gemini_has_its_bound_in_a_place_of_its_own(body: bytes, expected: bytes | None) -> None:
    """
    In either spelling of it; where both stand, nobody knows which one counts.
    """
    assert with_bound(body, "maxOutputTokens", 9) == expected


def frame(piece: Any, end: str = "\n") -> bytes:
    """
    Write a piece as a server-sent event.
    """
    return f"data: {piece if isinstance(piece, str) else json.dumps(piece)}{end}{end}".encode()


def chunk(choices: list[Any], **more: Any) -> bytes:
    """
    Write a chunk of a chat completion.
    """
    return frame({"id": "c", "choices": choices, **more})


CHOICE = {"index": 0, "delta": {"content": 'the "choices": [], "usage"'}}
LAST = chunk([], usage=USED)
KEPT = [
    chunk([], prompt_filter_results=[{"index": 0}]),
    chunk([CHOICE], usage=None),
    chunk([CHOICE], usage=USED),
    chunk([], usage=None),
    chunk([], usage=USED, error={"message": "late"}),
    b": comment\n\n",
    b"\n\n",
    b'event: x\ndata: {"usage": \n\n',
    chunk([], usage={**USED, "padding": "x" * LONGEST}),
    frame("[DONE]"),
]


def hide(data: bytes, *cuts: int) -> bytes:
    """
    Run a stream, cut at these places, through the filter.
    """
    hider = UsageHider()
    out = [hider.feed(data[begin:end]) for begin, end in zip((0, *cuts), (*cuts, len(data)), strict=True)]
    return b"".join([*out, hider.finish()])


@given(
    pieces=st.lists(st.sampled_from([*KEPT, LAST]), max_size=8),
    end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    data=st.data(),
)
def test_only_the_chunk_with_the_usage_goes(pieces: list[bytes], end: bytes, data: st.DataObject) -> None:
    """
    However the stream is cut and its lines end: all bytes but that chunk's arrive, in their order.
    """
    whole = b"".join(pieces).replace(b"\n", end)
    expected = b"".join(piece for piece in pieces if piece != LAST).replace(b"\n", end)
    near = st.integers(0, min(len(whole), 600))
    cuts = sorted(data.draw(st.lists(st.one_of(near, st.integers(0, len(whole))), max_size=20)))

    assert expected == hide(whole, *cuts)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_byte_by_byte_it_is_the_same(end: bytes) -> None:
    """
    A stream that comes in single bytes loses the chunk, and nothing else.
    """
    whole = b"".join([KEPT[0], KEPT[1], LAST, KEPT[5], KEPT[9]]).replace(b"\n", end)
    expected = b"".join([KEPT[0], KEPT[1], KEPT[5], KEPT[9]]).replace(b"\n", end)

    assert expected == hide(whole, *range(1, len(whole)))


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_no_part_of_the_chunk_stays_behind(end: bytes) -> None:
    """
    Wherever it is cut, also inside of its blank line, nothing of it is left, and nothing of the next frame goes.
    """
    whole = (LAST + KEPT[5]).replace(b"\n", end)
    every = [*(hide(whole, cut) for cut in range(1, len(whole))), hide(whole, *range(1, len(whole)))]

    assert {KEPT[5].replace(b"\n", end)} == set(every)


def test_a_frame_goes_as_soon_as_it_has_a_choice() -> None:
    """
    Nothing is held back that can't be the chunk: text that comes in parts arrives in parts.
    """
    hider = UsageHider()
    piece = chunk([CHOICE])
    at = piece.index(b'{"index"') + 1

    assert [piece[:at], piece[at:-2], piece[-2:]] == [
        hider.feed(piece[:at]),
        hider.feed(piece[at:-1]),
        hider.feed(piece[-1:]),
    ]


@pytest.mark.parametrize(
    "piece",
    [chunk([CHOICE]), chunk([CHOICE]) * 3, chunk([CHOICE], usage=None), chunk([CHOICE], usage=USED), b": hi\n\n"],
)
def test_whole_frames_pass_as_they_are(piece: bytes) -> None:
    """
    What ends with its frame and can't be the chunk goes on as the very bytes that came.
    """
    assert UsageHider().feed(piece) is piece
    assert UsageHider().feed(piece + LAST) == piece


def test_what_never_ends_is_not_held_back() -> None:
    """
    A frame without an end goes on once it is longer than the chunk can be, so memory is bounded.
    """
    hider = UsageHider()
    out = b"".join(hider.feed(b"x" * 1000) for _ in range(100))

    assert len(out) > 100_000 - LONGEST - 1000
    assert out + hider.finish() == b"x" * 100_000


def test_an_unfinished_last_frame_is_the_clients_but_for_the_chunk() -> None:
    """
    A stream that is cut off ends for the client as it ended; the chunk is known without its blank line too.
    """
    assert (hide(b'data: {"cho'), hide(LAST.rstrip())) == (b'data: {"cho', b"")


@pytest.mark.parametrize(
    ("parsed", "path", "expected"),
    [
        ({"model": "gpt-a"}, "/v1/chat/completions", "gpt-a"),
        ({"model": 5}, "/v1/chat/completions", ""),
        ({}, "/v1beta/models/gemini-2.5-pro:streamGenerateContent", "gemini-2.5-pro"),
        ({}, "/openai/deployments/mine/chat/completions", "mine"),
        ({"model": "gpt-a"}, "/openai/deployments/mine/chat/completions", "mine"),
        (["model"], "/v1/chat/completions", ""),
        (None, "/openai/deployments/mine/images/edits", "mine"),
    ],
)
def test_the_model_of_a_request(parsed: object, path: str, expected: str) -> None:
    """
    It is in the body, or in the path: Gemini's always, at Azure the deployment's name.
    """
    assert model_of(parsed, path) == expected
