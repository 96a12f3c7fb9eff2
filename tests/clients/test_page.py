"""
The page of the clients says what the matrix runs.
"""

from __future__ import annotations

import re

import pytest

from tests.clients.rows import HERE, NEWEST, ROWS, Row
from tests.docs.pages import codes, rows, sections

PAGE = sections("clients.md")
TABLES = {"transport": "Behind a transport", "gateway": "Through the gateway"}
# A keyword of a call, a key of a dictionary, an attribute.
_SAID = re.compile(r"\b([a-z]\w+)=|\"(\w+)\":|\.([a-zA-Z]\w+)")


def found(way: str) -> dict[str, tuple[str, str]]:
    """
    Return the lines and the refusals of one table, by client and version.
    """
    return {name.replace("`", ""): (line, refusal) for name, line, refusal in rows(PAGE[TABLES[way]])}


def name_of(row: Row) -> str:
    """
    Return what the page calls a row.
    """
    name = row.name.replace("_", "-")
    return name if name != "openai" else f"openai {3 if row.python == NEWEST else 2}"


@pytest.mark.parametrize("way", TABLES)
def test_the_page_has_every_client(way: str) -> None:
    """
    Each client that has this way has a line in its table, and no other has.
    """
    assert {name_of(row) for row in ROWS if getattr(row, way) is not None} == set(found(way))


@pytest.mark.parametrize("way", TABLES)
def test_a_line_says_what_is_run(way: str) -> None:
    """
    Each keyword, key and attribute of a line is in the client's use.
    """
    missing = {
        (row.name, word)
        for row in ROWS
        if getattr(row, way) is not None
        for code in codes(found(way)[name_of(row)][0])
        for words in _SAID.findall(code)
        for word in words
        if word and not re.search(rf"\b{word}\b", (HERE / "uses" / f"{row.name}.py").read_text(encoding="utf-8"))
    }

    assert missing == set()


@pytest.mark.parametrize("way", TABLES)
def test_a_line_says_what_a_refusal_is(way: str) -> None:
    """
    It names the class that the matrix has seen; a program says it in its own way, that its use knows.
    """
    wrong = [
        row
        for row in ROWS
        if (kind := getattr(row, way)) is not None
        and (refusal := found(way)[name_of(row)][1])
        and kind.rpartition(".")[2] not in codes(refusal)
        and not (kind.startswith("use_of_") and "exit code" in refusal)
    ]

    assert wrong == []
