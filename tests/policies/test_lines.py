"""
Where keys stand: the line finder against documents, and against tomllib.
"""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor.policies.lines import find_lines, find_twice

DOCUMENT = (
    '''\
# a comment with [brackets] = and "quotes
top = 1

[services.a]
type = "x" # limits = 3
text = """
[services.fake]
limits = ["no"]
"""
"quoted.key" = 'its'
'''
    """\
dotted . inner."deep er" = 2
limits = [
  "one", # first
  # "not one",
  "two",
]
inline = { env = "E", more = { x = [1, 2] } }
empty = []
none = {}
when = 1979-05-27 07:32:00Z
literal = '''
[no]
''''
'plain.key' = 1
[[services.a.rules]]
match = { user = "*" }
[[services.a.rules]]
match = { user = "x" }
[services.a.rules.budget]
day = 1
"""
)


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("top",), 2),
        (("services",), 4),
        (("services", "a"), 4),
        (("services", "a", "type"), 5),
        (("services", "a", "text"), 6),
        (("services", "a", "quoted.key"), 10),
        (("services", "a", "dotted"), 11),
        (("services", "a", "dotted", "inner", "deep er"), 11),
        (("services", "a", "limits"), 12),
        (("services", "a", "limits", 0), 13),
        (("services", "a", "limits", 1), 15),
        (("services", "a", "inline", "more", "x", 1), 17),
        (("services", "a", "when"), 20),
        (("services", "a", "literal"), 21),
        (("services", "a", "plain.key"), 24),
        (("services", "a", "rules", 0), 25),
        (("services", "a", "rules", 0, "match", "user"), 26),
        (("services", "a", "rules", 1, "match"), 28),
        (("services", "a", "rules", 1, "budget", "day"), 30),
        (("services", "fake"), None),
        (("no",), None),
    ],
)
def test_finds_lines(path: tuple[str | int, ...], line: int | None) -> None:
    """
    Each key, element and header has its line; what stands in texts and comments has none.
    """
    assert find_lines(DOCUMENT).get(path) == line


def test_windows_line_ends_count_once() -> None:
    """
    A file from Windows has the same lines.
    """
    assert find_lines(DOCUMENT.replace("\n", "\r\n")) == find_lines(DOCUMENT)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = 1\nb = 2\n", None),
        ("a = 1\nb = 2\na = 3\n", (("a",), 1, 3)),
        ("[a]\n[b]\n\n[a]\n", (("a",), 1, 4)),
        ("[[a]]\nx = 1\n[[a]]\nx = 1\n", None),
        ("[[a]]\nx = 1\n[[a]]\nx = 1\nx = 2\n", (("a", 1, "x"), 4, 5)),
        ("a = = 1\na = 2\n", None),
        ("a = \n", None),
        ("[a\n", None),
        ("= 1\n", None),
    ],
)
def test_finds_what_is_there_twice(text: str, expected: object) -> None:
    """
    The first key that is set twice is found, with both lines; a broken document ends the search.
    """
    assert find_twice(text) == expected


keys = st.text("ab.\"' ü-_", min_size=1, max_size=4) | st.sampled_from(["a", "b", "c"])
leaves = st.one_of(
    st.integers(-9, 9), st.booleans(), st.floats(allow_nan=False), st.text("a\"'\\\n#[]{}=,\t é", max_size=6)
)
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3))
tables = st.dictionaries(keys, values, max_size=4)


def toml_value(value: object) -> str:
    """
    Write *value* as TOML that fits on one line.
    """
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {toml_value(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(toml_value(each) for each in value) + "]"
    return {"inf": "inf", "-inf": "-inf"}.get(str(value), json.dumps(value))


def paths_of(value: object, path: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """
    Return the paths of *value* and everything in it.
    """
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, each in items for found in paths_of(each, (*path, key)))]


@given(st.lists(st.tuples(keys, tables), max_size=4, unique_by=lambda pair: pair[0]), st.integers(0, 3))
def test_every_path_that_tomllib_reads_has_its_line(sections: list[tuple[str, dict[str, Any]]], gap: int) -> None:
    """
    For any document, the finder knows exactly the paths that tomllib reads, each on the line where it was written.
    """
    lines: list[str] = []
    expected: dict[tuple[Any, ...], int] = {}
    for name, table in sections:
        lines += ["# x = 1", *[""] * gap, f"[{json.dumps(name)}]"]
        expected[name,] = len(lines)
        for key, value in table.items():
            lines.append(f"{json.dumps(key)} = {toml_value(value)}  # end")
            expected |= dict.fromkeys(paths_of(value, (name, key)), len(lines))
    text = "\n".join(lines)

    assert set(paths_of(tomllib.loads(text), ())) - {()} == set(expected)
    assert find_lines(text) == expected
