"""
Strangers' values: whatever they are, one bounded record, and none of their code runs.
"""

from __future__ import annotations

import json
import math
import socket
import threading
from collections import UserDict
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor.ledger.plain import MOST, bounded, clean, fitted, kind_of
from egressor.policies.hiding import NOT_SHOWN

_is_armed = [False]


class Trap:
    """
    A value that raises whatever it is asked.
    """

    def _raise(self, *_: object) -> Any:
        if _is_armed[0]:
            raise RuntimeError
        return type(self).__name__

    __str__ = __repr__ = __len__ = __iter__ = __bool__ = __hash__ = __eq__ = __index__ = __float__ = _raise
    __class__ = property(lambda self: self._raise() and Trap)
    name = property(_raise)


class TrapDict(dict[Any, Any]):
    """
    A dictionary with traps in all of its methods.
    """

    items = keys = values = get = __iter__ = __len__ = __getitem__ = __str__ = __repr__ = Trap._raise


class TrapText(str):
    """
    A text with traps.
    """

    __str__ = __repr__ = __len__ = __iter__ = __hash__ = __eq__ = Trap._raise
    __slots__ = ()


class Colour(Enum):
    """
    A stranger's enumeration.
    """

    RED = 1


def cycle() -> list[Any]:
    """
    A list that holds itself.
    """
    found: list[Any] = []
    found.append(found)
    return found


# Made by whoever needs one: a test runner that shows its parameters would step into the traps.
HOSTILE: list[Any] = [
    Trap,
    lambda: TrapDict(a=Trap()),
    lambda: TrapText("abc"),
    cycle,
    lambda: math.nan,
    lambda: -math.inf,
    lambda: 1 << 80,
    lambda: -(1 << 70_000),
    lambda: "\ud800 lone",
    lambda: "x" * 1_000_000,
    lambda: b"\xff" * 1_000,
    lambda: bytearray(7),
    threading.Lock,
    lambda: object,
    lambda: {Trap: 1, None: 2, 3.5: 4},
    lambda: {1, 2, 3},
    lambda: frozenset({"a"}),
    lambda: UserDict({"a": 1}),
    lambda: Colour.RED,
    lambda: Decimal("1.10"),
    lambda: UUID(int=0),
    lambda: datetime(2026, 1, 31, tzinfo=UTC),
    lambda: ValueError("secret"),
    lambda: (n for n in range(3)),
]
_VALUES = st.recursive(
    st.sampled_from(HOSTILE).map(lambda make: make())
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner),
    max_leaves=40,
)


class Login(NamedTuple):
    """
    A named tuple, as a client's credentials are.
    """

    login: str
    password: str


@given(_VALUES)
def test_anything_becomes_one_bounded_record(value: object) -> None:
    """
    It is JSON of at most 8 KiB, and the same again when it is done again.
    """
    _is_armed[0] = True
    found = bounded({"it": value})
    _is_armed[0] = False  # What shows a counterexample may look at it.
    text = json.dumps(found, allow_nan=False)

    assert len(text) <= MOST
    assert bounded(json.loads(text)) == found


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (Trap, "<tests.ledger.test_plain.Trap>"),
        (lambda: TrapDict(a=1), {"a": 1}),
        (lambda: TrapText("abc"), "abc"),
        (cycle, [[[[["<list of 1>"]]]]]),
        (lambda: math.nan, "nan"),
        (lambda: 1 << 63, "<a number of 64 bits>"),
        (lambda: -(1 << 62), -(1 << 62)),
        (lambda: 1 << 5_000, "<a number of 5001 bits>"),
        (lambda: "\ud800\x1b[2J", "??[2J"),
        (lambda: b"abc", "<3 bytes>"),
        (threading.Lock, "<_thread.lock>"),
        (lambda: ValueError("secret"), "<ValueError>"),
        (lambda: Colour.RED, "<tests.ledger.test_plain.Colour>"),
        (lambda: Decimal("1.10"), "1.10"),
        (
            lambda: {"password": "x", "token": 17, "secret": None},
            {"password": NOT_SHOWN, "token": NOT_SHOWN, "secret": None},
        ),
        (lambda: {b"password": "x", b"n": 1}, {"password": NOT_SHOWN, "n": 1}),
        (lambda: {("a", "password"): "x"}, {"<tuple of 2>": NOT_SHOWN}),
        (lambda: [("X-Api-Key", "x"), (b"cookie", b"x")], [["X-Api-Key", NOT_SHOWN], ["<6 bytes>", NOT_SHOWN]]),
        (lambda: Login("bob", "x"), {"login": "bob", "password": NOT_SHOWN}),
        (lambda: {"name": "password", "value": "x"}, {"name": "password", "value": NOT_SHOWN}),
        (lambda: {"name": "city", "value": "x"}, {"name": "city", "value": "x"}),
        (lambda: ["mysql", "--password", "x", "-h", "y"], ["mysql", "--password", NOT_SHOWN, "-h", "y"]),
        (lambda: ["--password=", "x", "y"], ["--password=", "x", "y"]),
        (lambda: ["password", "user", "x"], ["password", "user", "x"]),
        (lambda: [["token", None], ["user", "x"]], [["token", None], ["user", "x"]]),
        (lambda: {"proxy_auth": ("u", "x"), "pw": "x"}, {"proxy_auth": NOT_SHOWN, "pw": NOT_SHOWN}),
        (lambda: {(1, 2): 3}, {"<tuple of 2>": 3}),
        (lambda: list(range(100)), [*range(63), "… 37 more"]),
        (lambda: {"a": {"b": {"c": {"d": {"e": {"f": 1}}}}}}, {"a": {"b": {"c": {"d": {"e": "<dict of 1>"}}}}}),
    ],
)
def test_what_each_becomes(make: Any, expected: object) -> None:
    """
    Plain values stay; the others are told by their type, and what is left out says so.
    """
    it = make()
    _is_armed[0] = True
    found = fitted(it, MOST)
    _is_armed[0] = False

    assert found == expected


def test_a_huge_dictionary_is_not_walked() -> None:
    """
    Of a million keys 63 are looked at, and the rest is a number.
    """
    asked: list[int] = []

    class Counting(dict[int, int]):
        def items(self) -> Any:
            asked.append(1)
            return super().items()

    found = fitted(Counting.fromkeys(range(1_000_000), 0), MOST)

    assert (len(found), found["…"], asked) == (64, "999937 more", [])


def test_a_wide_and_deep_one_is_bounded_in_all() -> None:
    """
    Where width and depth multiply, the number of values ends it.
    """
    wide: Any = "leaf"
    for _ in range(5):
        wide = [wide] * 50

    assert json.dumps(fitted(wide, 1 << 20)).count("leaf") < 1_000
    assert fitted(wide, 100).startswith("left out: ")
    assert bounded({"it": wide})["left_out"].endswith("above 8192")


def test_a_socket_is_a_name() -> None:
    """
    Nothing is asked of what has a file behind it.
    """
    with socket.socket() as one:
        assert fitted({"socket": one}, MOST) == {"socket": "<socket.socket>"}


@pytest.mark.parametrize("module", [None, 7, "x" * 500])
def test_a_class_may_lie_about_its_name(module: Any) -> None:
    """
    A name is a short text, whatever the class says.
    """
    kind = type("Odd", (), {"__module__": module})

    assert len(kind_of(kind())) <= 200


def test_a_short_text_is_clean() -> None:
    """
    Hidden before it is cut.
    """
    assert clean("password=" + "x" * 500) == f"password={NOT_SHOWN}"
    assert len(clean("word " * 500)) == 200
