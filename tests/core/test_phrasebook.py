"""
Many phrases in one text: the first row decides, and a word that isn't there dismisses its row.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor._core.pages import _REFUSED, _SILENT
from egressor._core.phrasebook import Phrasebook, plain, words_of

BOOK = Phrasebook(
    [
        (("too many request",), "many"),
        (("error 1020",), "1020"),
        (("error 10201",), "never"),
        (("title:just a moment...",), "title"),
        (("access denied", "reference"), "both"),
        (("signature",), "one"),
    ]
)


@pytest.mark.parametrize(
    ("text", "title", "expected"),
    [
        ("Too many requests", "", "many"),
        ("Error 1020", "", "1020"),
        ("access denied", "", None),
        ("Access Denied, reference 7", "", "both"),
        ("bad signatures", "", "one"),
        ("<title>x</title>", "just a moment...", "title"),
        ("<title>x</title>", "just a moment of your time", None),
        ("bad signature: access denied, reference 7", "", "both"),
        ("reference 7, access denied; error 1020, too many requests", "", "many"),
        ("", "", None),
    ],
)
def test_find(text: str, title: str, expected: str | None) -> None:
    """
    A last word may go on, a first one begins a word; of several phrases all must be there, and the first row decides.
    """
    low = plain(text)

    assert expected == BOOK.find(low, words_of(low), title)


@given(text=st.text())
def test_plain_is_ascii(text: str) -> None:
    """
    Typographic signs become plain ones, and what has no plain form is dropped.
    """
    assert plain(text).isascii()
    assert plain("You\u2019re\u2026") == "you're..."


@pytest.mark.parametrize("page", [*_SILENT, *_REFUSED], ids=lambda page: f"{page.name} {page.words}")
def test_every_page_finds_itself(page: object) -> None:
    """
    The gate of words never hides a row from a text that holds all of its phrases.
    """
    words = page.words  # type: ignore[attr-defined]
    title = next((word[6:] for word in words if word.startswith("title:")), "")
    low = plain(f"<title>{title}</title> " + " \n ".join(word for word in words if not word.startswith("title:")))

    assert Phrasebook([(words, 1)]).find(low, words_of(low), title) == 1
