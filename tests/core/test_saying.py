"""
What an exception says, whatever was put into it.
"""

from __future__ import annotations

from typing import Any

import pytest

from egressor import Governor
from egressor._core.saying import words_of
from egressor.ledger.failure import READ, message_of


class Own(Exception):
    """
    An exception with words of its own.
    """

    def __str__(self) -> str:
        return "own words"


class Counted:
    """
    A value that counts how often it is spelled out.
    """

    def __init__(self) -> None:
        self.asked = 0

    def __repr__(self) -> str:
        self.asked += 1
        return "counted"


@pytest.mark.parametrize(
    "error",
    [
        ValueError(),
        ValueError("x" * 100_000),
        ValueError("a", 1),
        ValueError({"b": [1, {"c"}], "a": b"x"}),
        ValueError(None),
        KeyError("x"),
        OSError(2, "no such thing", "x" * 100_000),
        Own("a" * 100_000, 1),
    ],
)
def test_it_is_what_python_says(error: BaseException) -> None:
    """
    Unless an argument is large, or part of one.
    """
    assert words_of(error) == str(error)


@pytest.mark.parametrize(
    "args",
    [
        ({"a": "x" * 1_000_000}, 1),
        ("failed", b"x" * 1_000_000),
        ([bytearray(1_000_000)],),
        ({"many": list(range(100_000))},),
        ({n: (n, {n}, frozenset({n})) for n in range(400)},),
        ([[[["x" * 1_000_000]]]],),
    ],
)
def test_a_large_argument_is_spelled_out_as_far_as_it_is_read(args: Any) -> None:
    """
    Its beginning is what Python says, too.
    """
    found = words_of(ValueError(*args))

    assert found[:3] == str(ValueError(*args))[:3]
    assert len(found) < 100_000


def test_what_nobody_reads_is_not_spelled_out() -> None:
    """
    A failing call doesn't wait for it, wherever the exception's words are looked at.
    """
    last = Counted()
    error = ValueError([*range(1_000), last])

    def raises() -> None:
        raise error

    with Governor({"a": {"retry": {"attempts": 1}}}) as gov, pytest.raises(ValueError):  # noqa: PT011 - it is that one
        gov.call("a", raises)

    assert (last.asked, message_of(error)[:10], len(message_of(error)) <= READ) == (0, "[0, 1, 2, ", True)
