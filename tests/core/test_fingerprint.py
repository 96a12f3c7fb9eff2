"""
Groups of errors: what differs between occurrences makes no difference, and everything else does.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor._core.fingerprint import FORM, READ, fingerprint, normalised


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("connection refused", "connection refused"),
        ("  two\n lines ", "two lines"),
        ("order 17 of 2,500.00 failed", "order <n> of <n> failed"),
        ("at 2026-11-29T14:54:04Z", "at <id>:<n>Z"),
        ("user 'bob' unknown", "user <text> unknown"),
        ('no such symbol: "BTC/USDT"', "no such symbol: <text>"),
        ("can't reach what isn't there", "can't reach what isn't there"),
        ("GET https://api.example.com/v1?x=1 failed", "GET <url> failed"),
        ("mail to a.b+c@example.com bounced", "mail to <mail> bounced"),
        ("id 550e8400-e29b-41d4-a716-446655440000", "id <id>"),
        ("object at 0x7f3a2b", "object at <id>"),
        ("digest d41d8cd98f00b204", "digest <id>"),
        ("deadbeef", "deadbeef"),
        ("request req_011CSHoEeqs5C35K2UUqR7Fy", "request <id>"),
        ("rate-limit-exceeded", "rate-limit-exceeded"),
        ("host 10.0.0.1:8080", "host <n>"),
        ("`model-x` is gone", "<text> is gone"),
    ],
)
def test_what_differs_becomes_a_word(text: str, expected: str) -> None:
    """
    Numbers, ids, addresses and quotations are named by their kind; words stay.
    """
    assert normalised(text) == expected


def test_a_long_message_is_cut() -> None:
    """
    Only the beginning counts, so an endless message is one group.
    """
    assert normalised("word " * READ) == ("word " * 40)[:200]
    assert len(normalised("x" * 10_000)) == 200


@given(st.text(max_size=600))
def test_any_text_is_normalised(text: str) -> None:
    """
    Whatever a message holds, the result is short and on one line.
    """
    found = normalised(text)

    assert (len(found) <= 200, len(found.splitlines()) <= 1) == (True, True)


@given(st.lists(st.text(max_size=10), max_size=4), st.lists(st.text(max_size=10), max_size=4))
def test_the_same_parts_have_the_same_name(one: list[str], two: list[str]) -> None:
    """
    A name depends on all parts and their places, and on nothing else.
    """
    alike = "\0".join(one).encode(errors="replace") == "\0".join(two).encode(errors="replace")

    assert re.fullmatch(FORM, fingerprint(*one))
    assert (fingerprint(*one) == fingerprint(*two)) is alike


def test_a_name_stays_what_it_was() -> None:
    """
    A group that was muted last year keeps its name.
    """
    assert fingerprint("api", "http.503", "", "chat", "", "overloaded") == "73fa-76b8-8971"
