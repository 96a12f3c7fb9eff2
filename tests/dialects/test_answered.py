"""
Reading what an answer has used, however it comes.
"""

from __future__ import annotations

import gzip
import json
import zlib

import pytest

from egressor.dialects.answered import AnswerReader

USED = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
BODY = json.dumps({"model": "m", "usage": USED}).encode()
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
