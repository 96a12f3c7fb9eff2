"""
What is noted of a body that goes by.
"""

from __future__ import annotations

import pytest

from egressor import ErrorCategory, Verdict
from egressor.transports.hearing import Heard

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
