"""
Reading what an answer has used, however it comes.
"""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from typing import Any

import pytest

from egressor.dialects.answered import AnswerReader

USED = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
BODY = json.dumps({"model": "m", "usage": USED}).encode()
FRAME = b'data: {"choices": [{"delta": {"content": "' + b"a" * 8000 + b'"}}]}\n\n'
EVENTS = b'data: {"choices": [], "usage": ' + json.dumps(USED).encode() + b"}\n\ndata: [DONE]\n\n"


@pytest.mark.parametrize(
    ("media", "body"),
    [
        ("application/json", BODY),
        ("application/json", gzip.compress(BODY)),
        ("application/json", zlib.compress(BODY)),
        ("", BODY),
        ("Text/Event-Stream; charset=utf-8", EVENTS),
        ("text/event-stream", gzip.compress(EVENTS)),
    ],
    ids=["json", "gzip", "zlib", "untyped", "events", "packed events"],
)
@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_it_is_read_as_it_goes_by(media: str, body: bytes, step: int) -> None:
    """
    Plain or packed, a document or events, cut anywhere.
    """
    reader = AnswerReader(media)
    for at in range(0, len(body), step):
        reader.feed(b"")
        reader.feed(body[at : at + step])
    said = reader.said(is_whole=True)

    assert (said.ended, said.reported.said) == (True, True)
    assert (said.reported.usage.sent, said.reported.usage.received) == (10, 5)


@pytest.mark.parametrize(
    ("media", "body", "is_whole"),
    [
        ("application/json", BODY, False),
        ("text/event-stream", EVENTS.partition(b"data: [DONE]")[0], True),
    ],
    ids=["json", "events"],
)
def test_what_was_cut_off_has_not_ended(media: str, body: bytes, is_whole: bool) -> None:
    """
    A document's end its client sees, a stream's it says itself.
    """
    reader = AnswerReader(media)
    reader.feed(body)

    assert not reader.said(is_whole=is_whole).ended


def test_what_is_packed_wrongly_says_nothing() -> None:
    """
    And breaks nothing.
    """
    reader = AnswerReader("application/json")
    reader.feed(gzip.compress(BODY)[:10] + b"\xff" * 50)

    assert not reader.said(is_whole=True).reported.said


def test_a_stream_that_is_packed_wrongly_has_said_nothing_to_go_by() -> None:
    """
    Regression: what had been read before counted as all that had come.
    """
    packer = zlib.compressobj()
    reader = AnswerReader("text/event-stream")
    reader.feed(packer.compress(FRAME) + packer.flush(zlib.Z_SYNC_FLUSH))
    before = reader.said(is_whole=False)
    reader.feed(b"\xff" * 50)
    after = reader.said(is_whole=False)

    assert (before.text_bytes, after.text_bytes, after.reported.said) == (8000, 0, False)


@pytest.mark.parametrize(
    ("pack", "step", "frames", "is_read"),
    [
        (gzip.compress, 1000, 8, True),
        (gzip.compress, 10**9, 8, True),
        (zlib.compress, 10**9, 500, True),
        (gzip.compress, 10**9, 4200, False),
    ],
    ids=["in parts", "at once", "4 MB", "too much"],
)
def test_what_is_packed_is_read_up_to_so_much(pack: Any, step: int, frames: int, is_read: bool) -> None:
    """
    Regression: a part was unpacked whole, so that 200 KB of it took 200 MB.

    What is beyond 32 MiB has said nothing, also not what an estimate could go by.
    """
    packed = pack(FRAME * frames + EVENTS)
    reader = AnswerReader("text/event-stream")
    tracemalloc.start()
    for at in range(0, len(packed), step):
        reader.feed(packed[at : at + step])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    said = reader.said(is_whole=True)

    assert peak < 2 << 20
    assert (said.reported.said, said.text_bytes) == (is_read, 8000 * frames if is_read else 0)
    assert reader.beginning == b"d"


def test_what_comes_after_the_end_of_what_is_packed_is_not_kept() -> None:
    """
    Nor is it read.
    """
    reader = AnswerReader("application/json")
    reader.feed(gzip.compress(BODY))
    tracemalloc.start()
    for _ in range(100):
        reader.feed(bytes(100_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 1 << 20
    assert reader.said(is_whole=True).reported.said
