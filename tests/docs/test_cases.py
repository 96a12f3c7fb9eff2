"""
The page of the tests names tests that exist.
"""

from __future__ import annotations

import ast
import re

import pytest

from tests.docs.pages import DOCS, ROOT, codes, rows

CASES = [cells for cells in rows((DOCS / "testing.md").read_text(encoding="utf-8")) if len(cells) == 4]
EXPECTED = [
    *(f"A{number:02}" for number in (*range(1, 7), 9, 12)),
    *("C06", "C07", "D03", "D10"),
    *(f"E{number:02}" for number in range(1, 7)),
    *(f"F{number:02}" for number in range(1, 12)),
    *(f"G{number:02}" for number in range(1, 9)),
    *(f"H{number:02}" for number in range(1, 11)),
    *("C12", "labels", "replay"),
    *(f"I{number:02}" for number in range(1, 13)),
    *("K05", "crowds"),
    *(f"J{number:02}" for number in range(1, 4)),
    *(f"C{number:02}" for number in (*range(1, 6), *range(8, 12))),
    "A11",
    *("K01", "K02", "K04"),
    *(f"B{number:02}" for number in range(1, 15)),
]


def test_each_case_has_a_row() -> None:
    """
    The cases stand there in their order, each once.
    """
    assert [cells[0] for cells in CASES] == EXPECTED


@pytest.mark.parametrize("cells", CASES, ids=lambda cells: cells[0])
def test_a_case_names_tests_that_exist(cells: list[str]) -> None:
    """
    Each has at least one, and each is a function of its file.
    """
    named = [code.split("::") for code in codes(cells[3])]

    assert len(named) > 0
    assert [each for each in named if each[1] not in functions(each[0])] == []


def test_paths_in_the_text_exist() -> None:
    """
    So does each file that the text names.
    """
    found = re.findall(r"`(tests/[\w/]+\.py)`", (DOCS / "testing.md").read_text(encoding="utf-8"))

    assert len(found) > 1
    assert [path for path in found if not (ROOT / path).exists()] == []


def functions(path: str) -> set[str]:
    """
    Return the names of the functions of a file.
    """
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
