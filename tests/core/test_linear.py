r"""
The matcher that can't hang: the same answers as Python's own where both can be asked, and a bound where that has none.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor._core.linear import Linear, PatternError

ATOMS = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d", r"\w", "1", r"\.", "(a|b)", "(?:ab)"])
PIECES = st.builds(str.__add__, ATOMS, st.sampled_from(["", "*", "+", "?", "{2}", "{1,3}", "{2,}"]))
PATTERNS = st.builds(
    lambda begin, pieces, more, end: begin + "".join(pieces) + more + end,
    st.sampled_from(["", "^"]),
    st.lists(PIECES, max_size=4),
    st.sampled_from(["", "|b", "|1+"]),
    st.sampled_from(["", "$"]),
)


@given(pattern=PATTERNS, text=st.text(alphabet="abAB1. ", max_size=12))
def test_it_agrees_with_re(pattern: str, text: str) -> None:
    """
    What both can say, they say alike; ``$`` means the very end.
    """
    expected = re.search(pattern.replace("$", r"\Z"), text.lower(), re.ASCII) is not None

    assert expected == Linear(pattern).search(text)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*$", "(a|aa)+$", "(.*a){20}", "([a-z]+)*!", "(x+x+)+y"])
def test_it_can_not_hang(pattern: str) -> None:
    """
    Patterns that take a backtracking engine for ever take one look at each letter.
    """
    machine = Linear(pattern)

    assert machine.search("a" * 1024 + "x" * 1024 + " ") in {True, False}
    assert len(machine._places) <= 512


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a)\1",
        "(?=a)",
        "(?<=a)b",
        "(?P<n>a)",
        r"a\b",
        "a**",
        "*a",
        "(a",
        "a)",
        "[a",
        "a{65}",
        "a{3,2}",
        "a{",
        "a{x}",
        "(a{60}){60}",
        "[z-a]",
        r"[\D]",
        "a" * 257,
        "\\",
    ],
)
def test_what_can_not_be_written(pattern: str) -> None:
    """
    A pattern that would need memory, or more places than there are, is refused when it is compiled.
    """
    with pytest.raises(PatternError):
        Linear(pattern)


def test_the_known_steps_are_bounded() -> None:
    """
    Whatever texts come, the machine keeps a bounded number of steps.
    """
    machine = Linear("(a|b)*c.d")
    for start in range(0x4E00, 0x4E00 + 4000, 100):
        machine.search("".join(map(chr, range(start, start + 100))))

    assert len(machine._known) <= 1024


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        (r"(a\.b)+c", "A.Ba.bC", True),
        (r"(a\.b)+c", "aXbc", False),
        (r"[\d_]+:", "code 7_7:", True),
        (r"([)\]])x", "a]x", True),
        (r"[a-c-]{3}", "-b-", True),
        (r"^\s*$", "", True),
        (r"a\tb|c\nd", "c\nd", True),
        ("(a|)b", "b", True),
    ],
)
def test_what_can_be_written(pattern: str, text: str, *, expected: bool) -> None:
    """
    Escapes and classes mean inside of groups what they mean outside.
    """
    assert expected is Linear(pattern).search(text)
