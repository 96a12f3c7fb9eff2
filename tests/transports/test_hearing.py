"""
What is noted of a body that goes by.
"""

from __future__ import annotations

from typing import Any

import pytest

from egressor import ErrorCategory, Verdict
from egressor.dialects.answered import AnswerReader
from egressor.dialects.usage_stream import Streamed, StreamReader
from egressor.transports.hearing import Counted, Heard

FINE = Verdict()
BROKEN = Verdict(category=ErrorCategory.SERVER_ERROR)


def heard(parts: list[bytes], *, is_events: bool, is_whole: bool = True) -> list[bytes]:
    """
    Return what is read of *parts* for the verdict, if anything is.
    """
    read: list[bytes] = []

    def judge(body: bytes) -> Verdict:
        read.append(body)
        return BROKEN

    listener = Heard(judge, is_events=is_events)
    for part in parts:
        listener.feed(part)
    listener.is_whole = is_whole
    assert listener.verdict(FINE) == (BROKEN if read else FINE)
    return read


@pytest.mark.parametrize(
    ("parts", "is_whole", "read"),
    [
        ([b"{", b"}"], True, [b"{}"]),
        ([b"{", b"}"], False, []),
        ([], True, []),
        ([b"x" * 65_536], True, [b"x" * 65_536]),
        ([b"x" * 65_536, b"x", b"x"], True, []),
    ],
    ids=["whole", "left", "empty", "just short enough", "too long"],
)
def test_a_document(parts: list[bytes], is_whole: bool, read: list[bytes]) -> None:
    """
    A document is read if all of it has passed, and it was short.
    """
    assert heard(parts, is_events=False, is_whole=is_whole) == read


@pytest.mark.parametrize(
    ("parts", "read"),
    [
        ([b"data: error\n\n"], [b"data: error\n\n"]),
        ([b"data: fine\n\n"], []),
        ([b"data: error\n\n", *[b"data: fine\n\n"] * 2_000], []),
        (
            [b"data: fine\n\n"] * 2_000 + [b"event: error\n\n"],
            [b"\n" + b"data: fine\n\n" * 681 + b"event: error\n\n"],
        ),
        ([b"x" * 20_000 + b"\nevent: error\n\n"], [b"event: error\n\n"]),
    ],
    ids=["error", "none", "long ago", "after much", "one piece"],
)
def test_events(parts: list[bytes], read: list[bytes]) -> None:
    """
    Of a stream of events the last 8 KiB are read, from the beginning of a line, if they speak of an error.
    """
    assert heard(parts, is_events=True, is_whole=False) == read


def test_a_good_reading_changes_nothing() -> None:
    """
    What the body says counts only if it is an error.
    """
    given = Verdict(why="the status")
    listener = Heard(lambda _: FINE, is_events=False)
    listener.feed(b"{}")
    listener.is_whole = True

    assert listener.verdict(given) is given


class Told:
    """
    Keeps what it is told that an answer has used.
    """

    def __init__(self) -> None:
        self.said: list[Streamed] = []

    def settle(self, said: Streamed) -> None:
        """
        Keep it.
        """
        self.said.append(said)


@pytest.mark.parametrize("size", [1, 7, 300, 5_000, 100_000])
def test_pieces_that_are_read_together_say_the_same(size: int) -> None:
    """
    However small the pieces of a stream are, what it has used, its text and its error are those of all of it.
    """
    text = b"".join(b'data: {"model": "m", "choices": [{"delta": {"content": "word%d"}}]}\n\n' % n for n in range(400))
    used = b'data: {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}\n\ndata: {"error": {}}\n\n'
    body = text + used
    read: list[bytes] = []

    def judge(said: bytes) -> Verdict:
        read.append(said)
        return BROKEN

    told: Any = Told()
    listener = Counted(AnswerReader("text/event-stream"), Heard(judge, is_events=True), None, None, told)
    for begin in range(0, len(body), size):
        listener.feed(body[begin : begin + size])
    verdict = listener.verdict(FINE)
    whole = StreamReader()
    whole.feed(body)

    assert [whole.finish()] == told.said
    assert (told.said[0].reported.usage.input, told.said[0].text_bytes) == (7, sum(len(f"word{n}") for n in range(400)))
    assert verdict is BROKEN
    assert read[0].endswith(used)


def test_what_has_come_is_read_when_somebody_asks() -> None:
    """
    A few bytes of a document are known at once to whoever asks how it begins.
    """
    listener = Counted(AnswerReader("application/json"), None, None, None, None)
    before = listener.beginning
    listener.feed(b'{"a"')

    assert (before, listener.beginning) == (b"", b"{")
