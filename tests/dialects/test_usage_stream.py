"""
What streams say they used, however their bytes are cut.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor._core.usage import Usage
from egressor.dialects.usage import NOTHING
from egressor.dialects.usage_stream import LONGEST, TAIL, BodyReader, Streamed, StreamReader


def sse(*pieces: Any, end: str = "\n") -> bytes:
    """
    Write pieces as server-sent events: texts as they are, the rest as JSON.
    """
    out = ""
    for piece in pieces:
        out += f"data: {piece if isinstance(piece, str) else json.dumps(piece)}{end}{end}"
    return out.encode()


def read(data: bytes, *cuts: int) -> Streamed:
    """
    Read a stream that is cut at these places.
    """
    reader = StreamReader()
    for begin, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
        reader.feed(data[begin:end])
    return reader.finish()


def openai(text: str | None = None, **more: Any) -> dict[str, Any]:
    """
    Return a chunk of a chat completion.
    """
    choices = [] if text is None else [{"index": 0, "delta": {"content": text}, "finish_reason": None}]
    return {"id": "c", "model": "m", "service_tier": "flex", "choices": choices, "obfuscation": "xyz", **more}


USED = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
OPENAI = sse(openai("Hel", usage=None), openai('l"o', usage=None), openai(usage=USED), "[DONE]")
RESPONSES = sse(
    {"type": "response.created", "response": {"model": "m", "usage": None}},
    {"type": "response.output_text.delta", "delta": "Hel"},
    {"type": "response.output_text.delta", "delta": "lo"},
    {"type": "response.output_text.done", "text": "Hello"},
    {
        "type": "response.completed",
        "response": {
            "model": "m",
            "service_tier": "flex",
            "output": [{"content": [{"text": "Hello"}]}],
            "usage": {"input_tokens": 7, "output_tokens": 2},
        },
    },
)
ANTHROPIC = (
    b'event: message_start\ndata: {"type":"message_start","message":{"type":"message","model":"m","content":[],'
    b'"usage":{"input_tokens":7,"cache_read_input_tokens":90,"output_tokens":1,"service_tier":"priority"}}}\n\n'
    b'event: ping\ndata: {"type": "ping"}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"type":"text_delta","text":"Hello"}}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":null},"usage":{"output_tokens":3}}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},'
    b'"usage":{"input_tokens":7,"output_tokens":5}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
GEMINI = sse(
    {
        "candidates": [{"content": {"parts": [{"text": "Hel"}]}}],
        "modelVersion": "m",
        "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 1, "totalTokenCount": 8},
    },
    {
        "candidates": [{"content": {"parts": [{"text": "lo"}]}, "finishReason": "STOP"}],
        "modelVersion": "m",
        "usageMetadata": {
            "promptTokenCount": 7,
            "candidatesTokenCount": 2,
            "thoughtsTokenCount": 4,
            "totalTokenCount": 13,
        },
    },
    end="\r\n",
)
GROQ = sse(openai("Hello"), openai(x_groq={"id": "r", "usage": USED}, service_tier=None), "[DONE]")
DEEPSEEK = b": keep-alive\n\n: keep-alive\n\n" + sse(openai("Hello"), openai("", usage=USED), "[DONE]")
LINES = b'data: {"model": "m", "choices": [],\ndata:  "usage":\ndata: {"prompt_tokens": 7, "completion_tokens": 2}}\n\n'
STREAMS = {
    "openai": (OPENAI, Usage(7, output=2), "flex", 7),
    "responses": (RESPONSES, Usage(7, output=2), "flex", 5),
    "anthropic": (ANTHROPIC, Usage(7, 90, output=5), "priority", 5),
    "gemini": (GEMINI, Usage(7, output=2, reasoning=4), "", 5),
    "groq": (GROQ, Usage(7, output=2), "flex", 5),
    "deepseek": (DEEPSEEK, Usage(7, output=2), "flex", 5),
}


@pytest.mark.parametrize("name", STREAMS)
def test_each_stream_tells_its_usage_and_its_end(name: str) -> None:
    """
    Usage, model, tier, the end and the length of the text, for each provider's form of a stream.
    """
    data, usage, tier, text = STREAMS[name]
    found = read(data)

    assert (usage, "m", tier) == (found.reported.usage, found.reported.model, found.reported.tier)
    assert (True, True, False, text, len(data)) == (
        found.reported.said,
        found.ended,
        found.failed,
        found.text_bytes,
        found.all_bytes,
    )


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"])
@pytest.mark.parametrize("name", ["openai", "anthropic", "deepseek"])
def test_any_line_ending_will_do(name: str, end: str) -> None:
    """
    The three line endings of the standard read the same, also cut between CR and LF.
    """
    data, usage, _, text = STREAMS[name]
    data = data.replace(b"\n", end.encode())
    found = [read(data), read(data, *range(1, len(data)))]

    assert [(usage, True, text)] * 2 == [(each.reported.usage, each.ended, each.text_bytes) for each in found]


@given(data=st.data(), name=st.sampled_from([*STREAMS, "lines"]), end=st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_cuts_change_nothing(data: st.DataObject, name: str, end: bytes) -> None:
    """
    However a stream is cut, even one that was damaged by leaving out or doubling parts of it, it reads the same.
    """
    whole = (LINES if name == "lines" else STREAMS[name][0]).replace(b"\r\n", b"\n").replace(b"\n", end)
    for _ in range(data.draw(st.integers(0, 3))):
        begin, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(whole))] * 2)))
        noise = data.draw(st.sampled_from([b"", b"\n", b"\r", b"\n\n", b"\r\n", whole[begin:stop] * 2]))
        whole = whole[:begin] + noise + whole[stop:]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=20)))

    assert read(whole) == read(whole, *cuts)


@pytest.mark.parametrize("cut", range(1, len(OPENAI), 23))
def test_a_stream_that_breaks_off_has_not_ended(cut: int) -> None:
    """
    B04: the client or the server goes at any byte: what came is counted, and what was not said is missing.
    """
    found = read(OPENAI[:cut])
    seen = sum(text in OPENAI[:cut] for text in (b"Hel", b'l\\"o'))

    assert not found.ended or OPENAI[:cut].endswith(b"[DONE]")
    assert found.reported.said == (b'"total_tokens": 9}' in OPENAI[:cut] and found.reported.usage.input == 7)
    assert found.text_bytes >= 3 * (seen - 1)


def test_usage_that_comes_twice_counts_once() -> None:
    """
    B06: duplicated usage, and totals that grow, are replaced and never added; a later zero takes nothing back.
    """
    less = {"prompt_tokens": 7, "completion_tokens": 1}
    found = read(sse(openai(usage=less), openai(usage=USED), openai(usage=USED), openai(usage={"prompt_tokens": 0})))

    assert Usage(7, output=2) == found.reported.usage


def test_the_latest_of_geminis_pieces_counts_where_the_stream_breaks_off() -> None:
    """
    The totals so far are those of the last piece that came, although no piece said that it was the last.
    """
    pieces = [
        {"modelVersion": "m", "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": count}}
        for count in range(9)
    ]
    reader = StreamReader()
    reader.feed(sse(*pieces[:5]))
    early = reader.report()
    reader.feed(sse(*pieces[5:]))

    assert [Usage(7, output=4), Usage(7, output=8)] == [early.reported.usage, reader.finish().reported.usage]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_data_over_several_lines_is_one_document(end: bytes) -> None:
    """
    The standard joins the lines of ``data`` with a line feed; a CR LF that is cut in two is one line ending.
    """
    data = LINES.replace(b"\n", end)

    assert [Usage(7, output=2)] * 2 == [each.reported.usage for each in (read(data), read(data, *range(1, len(data))))]


@pytest.mark.parametrize("name", STREAMS)
def test_what_has_come_is_told_at_once(name: str) -> None:
    """
    A stream that came in single bytes tells all it said before anybody says that it is over.
    """
    data = STREAMS[name][0]
    reader = StreamReader()
    for byte in data:
        reader.feed(bytes([byte]))

    assert read(data) == reader.report()


def test_words_in_a_text_are_no_usage() -> None:
    """
    A model that writes about usage and the end of streams says nothing of its own.
    """
    sly = '{"usage": {"prompt_tokens": 999}} [DONE] "message_stop" "error": {} "finishReason"'
    found = read(sse(openai(sly), openai("x")))

    assert (NOTHING.missing, False, False) == (found.reported.missing, found.ended, found.failed)


@pytest.mark.parametrize(
    "piece",
    [
        {"error": {"message": "overloaded", "code": 503}, "choices": []},
        {"type": "error", "error": {"type": "overloaded_error"}},
        {"type": "response.failed", "response": {"error": {"code": "server_error"}}},
    ],
)
def test_an_error_in_the_middle_is_a_failure(piece: dict[str, Any]) -> None:
    """
    OpenAI's, OpenRouter's and Anthropic's errors inside of a good status.
    """
    assert read(sse(openai("Hel"), piece)).failed


def test_what_is_no_json_says_nothing() -> None:
    """
    Broken frames, events without data and lists are passed over.
    """
    data = b'event: x\n\ndata: {"usage": {\n\ndata: [1, "usage"]\n\nid: 7\n\n' + OPENAI

    assert read(OPENAI).reported == read(data).reported


@pytest.mark.parametrize("size", [LONGEST - 200, LONGEST + 1, 2 * LONGEST + TAIL, 5 * LONGEST])
def test_a_very_long_last_frame_still_tells_its_usage(size: int) -> None:
    """
    A response that ends with a repetition of itself, an image in it, is not kept in memory and yet read.
    """
    long = {
        "type": "response.completed",
        "response": {"model": "m", "output": ["x" * size], "usage": {"input_tokens": 7, "output_tokens": 2}},
    }
    first = sse({"type": "response.created", "response": {"model": "m"}})
    data = first + sse(long)
    reader, most = StreamReader(), 0
    for begin in range(0, len(data), 4096):
        reader.feed(data[begin : begin + 4096])
        most = max(most, len(reader._held))
    found = reader.finish()

    assert (Usage(7, output=2), "m", True) == (found.reported.usage, found.reported.model, found.ended)
    assert found == read(data) == read(data, *sorted((len(first) + 1, len(first) + LONGEST, len(data) - 30)))
    spaced = first + b"\n" + data[len(first) :]
    assert found.text_bytes == read(spaced, len(first), len(data) - 30).text_bytes == read(spaced).text_bytes
    assert most <= 2 * LONGEST + 4096


@pytest.mark.parametrize(
    ("tail", "usage"),
    [
        (b'"usage": {"prompt_tokens": 7, "completion_tokens": 2}}', Usage(7, output=2)),
        (b'"usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 2}}', Usage(7, output=2)),
        (b'"usage": {"prompt_tokens": 7, ', Usage()),
        (b'"data": 1}', Usage()),
    ],
)
def test_a_long_body_is_read_at_its_end(tail: bytes, usage: Usage) -> None:
    """
    A thousand embeddings are some megabytes, with the usage last.
    """
    reader = BodyReader()
    for _ in range(100):
        reader.feed(b"x" * 10_000)
    reader.feed(tail)
    found = reader.report(ended=True)

    assert (usage, 1_000_000 + len(tail)) == (found.reported.usage, found.all_bytes)
    assert len(reader._held) <= 2 * LONGEST


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (openai("Hello", usage=USED), (Usage(7, output=2), False, 0)),
        (openai("Hello"), (Usage(), False, 5)),
        ({"error": {"message": "no"}}, (Usage(), True, 0)),
    ],
)
def test_a_body_is_read_whole(body: dict[str, Any], expected: tuple[Usage, bool, int]) -> None:
    """
    A body that is no stream tells its usage, or how much text it holds, and whether it failed.
    """
    reader = BodyReader()
    for byte in json.dumps(body).encode():
        reader.feed(bytes([byte]))
    found = reader.report(ended=False)

    assert (*expected, False) == (found.reported.usage, found.failed, found.text_bytes, found.ended)
