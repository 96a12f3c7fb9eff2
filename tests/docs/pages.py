"""
The pages as tests read them: fenced blocks, sections, tables.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
_FENCE = re.compile(r"^```(?P<language>[a-z]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`]+)`")


class Block(NamedTuple):
    """
    A fenced block.

    Attributes:
        where: Its page and line, for messages.
        language: The word after the fence; empty for none.
        text: What stands in it.
    """

    where: str
    language: str
    text: str


def pages() -> list[Path]:
    """
    List the pages that we write: the README, and all of docs/ but what only includes another file.
    """
    ours = [path for path in sorted(DOCS.rglob("*.md")) if "_build" not in path.parts]
    return [ROOT / "README.md", *(path for path in ours if "```{include}" not in path.read_text(encoding="utf-8"))]


def named(path: Path) -> str:
    """
    Return the name of a page, relative to the tree.
    """
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path) -> list[Block]:
    """
    Return the fenced blocks of a page, in their order.
    """
    text = path.read_text(encoding="utf-8")
    return [
        Block(f"{named(path)}:{text.count(chr(10), 0, found.start()) + 1}", found["language"], found["text"])
        for found in _FENCE.finditer(text)
    ]


def sections(page: str) -> dict[str, str]:
    """
    Return the text of a page in docs/ under each of its ``##`` headings.
    """
    text = (DOCS / page).read_text(encoding="utf-8")
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(text: str) -> list[list[str]]:
    """
    Return the cells of every table row in *text*, without heads and rulers.
    """
    lines = text.splitlines()
    found = []
    for number, line in enumerate(lines):
        is_head = number + 1 < len(lines) and re.fullmatch(r"\|[-|]+\|", lines[number + 1].replace(" ", ""))
        if line.startswith("|") and not is_head and not re.fullmatch(r"\|[-|]+\|", line.replace(" ", "")):
            found.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return found


def codes(text: str) -> list[str]:
    """
    Return what stands between single backticks in *text*.
    """
    return _CODE.findall(text)


def table(text: str) -> dict[str, list[str]]:
    """
    Return the table rows of *text* by the code in their first cell.
    """
    return {codes(cells[0])[0]: cells for cells in rows(text) if codes(cells[0])}
