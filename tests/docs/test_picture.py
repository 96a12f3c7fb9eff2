"""
The picture of the demo.
"""

from __future__ import annotations

from xml.etree import ElementTree as ET

from scripts.demo_picture import picture
from tests.docs.pages import DOCS

_TEXT = "{http://www.w3.org/2000/svg}text"


def _lines(document: str) -> list[str]:
    return ["".join(each.itertext()) for each in ET.fromstring(document).iter(_TEXT)]  # noqa: S314 - our own file


def test_a_picture_shows_each_line_as_it_was_printed() -> None:
    """
    Markup is escaped, runs of spaces stay, and the port is the usual one.
    """
    shown = _lines(picture("page: http://127.0.0.1:37653/-/\n\nPASS  P1  a < b & c\n  <text>\n"))

    assert shown[1:] == ["page: http://127.0.0.1:8787/-/", "PASS  P1  a < b & c", "  <text>"]


def test_the_readmes_picture_shows_a_whole_run_in_which_all_held() -> None:
    """
    The picture is of a run with its promises, and none of them failed.
    """
    shown = _lines((DOCS / "images/demo.svg").read_text(encoding="utf-8"))
    promises = [line.split()[:2] for line in shown if line.startswith(("PASS", "FAIL"))]

    assert promises == [["PASS", name] for name in ("P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8")]
