"""
The strict reading of a connection's bytes, as values: the same for every way in which the bytes may arrive.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor.gateway.framing import LONGEST_EXTENSIONS, LONGEST_HEAD, Framing, FramingError

HEAD = b"POST /t HTTP/1.1\r\nHost: h\r\n"
CORPUS = Path(__file__).parents[1] / "security/smuggling.jsonl"


def expand(text: str) -> bytes:
    """
    Return the bytes of a corpus line, with ``<a*3>`` as ``aaa``.
    """
    return re.sub(r"<(.+?)\*(\d+)>", lambda found: found[1] * int(found[2]), text, flags=re.DOTALL).encode("latin-1")


ROWS = [json.loads(line) for line in CORPUS.read_text().splitlines()]
SMALL = [data for row in ROWS if len(data := expand(row["request"])) < 2000]


def read(pieces: list[bytes]) -> bytes | None:
    """
    Return all that is handed out of *pieces*; None if they are refused.
    """
    framing = Framing()
    out = b""
    try:
        for piece in pieces:
            out += framing.feed(piece)
            while framing.has_stopped:
                out += framing.feed(b"")
    except FramingError:
        return None
    return out


GOOD = [
    b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET / HTTP/1.0\r\nhost:h\r\n\r\n",
    b"\r\n\r\nGET /a?b=%20 HTTP/1.1\r\nHost: h\r\nX: \t a\tb \xff\r\n\r\n",
    HEAD + b"Content-Length: 0\r\n\r\n",
    HEAD + b"Content-Length: 3\r\n\r\nabc" + HEAD + b"\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n00a\r\n0123456789\r\n0\r\n\r\n" + HEAD + b"\r\n",
    HEAD + b"Transfer-Encoding: Chunked \r\n\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + HEAD + b"\r\n",
]


@pytest.mark.parametrize("data", GOOD)
def test_good_bytes_pass_unchanged(data: bytes) -> None:
    """
    What has one reading goes on as it is, in one piece or byte by byte.
    """
    assert read([data]) == data
    assert read([data[at : at + 1] for at in range(len(data))]) == data


# What is refused behind the framing: hosts that are none of ours, headers that can't be forwarded, the parser's bounds.
LATER = {
    "name with underscore TE",
    "name with underscore CL",
    "head: value not UTF-8",
    "head: target long",
    "head: headers many",
    "head: name huge",
    "chunk: blank before the extension",
    "Connection close, then more",
    "head: Host list",
    "head: Host with a path",
    "head: Host with a user",
    "head: Host foreign",
    "head: Host empty",
    "head: Host with a tab inside",
}


@pytest.mark.parametrize("row", [row for row in ROWS if row["name"] not in LATER], ids=lambda row: row["name"])
def test_the_corpus_by_itself(row: dict[str, str]) -> None:
    """
    The framing refuses what has no single reading without the help of the parser behind it.
    """
    assert (read([expand(row["request"])]) is None) == (row["verdict"] == "refuse")


@given(st.sampled_from([*SMALL, *GOOD]), st.data())
def test_pieces_make_no_difference(data: bytes, draw: st.DataObject) -> None:
    """
    However bytes are cut into pieces, the same of them is refused or goes on.
    """
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=8)))
    pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]

    assert read(pieces) == read([data])


@given(st.binary(max_size=60), st.sampled_from(GOOD), st.integers(0, 200), st.integers(0, 20))
def test_nothing_is_added_or_moved(noise: bytes, data: bytes, at: int, gone: int) -> None:
    """
    Whatever is done to good bytes, what goes on is a beginning of them, and no head goes on that isn't one.
    """
    mutated = data[:at] + noise + data[at + gone :]
    out = read([mutated])

    assert out is None or mutated.startswith(out)
    assert out is None or not out.strip(b"\r\n") or re.match(rb"(\r\n)*[A-Z][A-Z0-9_-]* /[!-~]* HTTP/1\.[01]\r\n", out)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nX: " + b"a" * LONGEST_HEAD,
        b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"a" * LONGEST_HEAD + b"\r\n\r\n",
        b"GET /" + b"a" * LONGEST_HEAD,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"a" * LONGEST_EXTENSIONS,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1;aa\r\nx\r\n" * LONGEST_EXTENSIONS,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * LONGEST_EXTENSIONS,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"a" * 20_000,
    ],
)
def test_nothing_is_held_without_end(data: bytes) -> None:
    """
    A head, a size line or a trailer that has no end is refused as soon as it is too long.
    """
    assert read([data]) is None
    assert read([data[at : at + 1000] for at in range(0, len(data), 1000)]) is None


@pytest.mark.parametrize(
    "begun", [b"\x16\x03\x01", b"get / ", b"GET / HTTP/1.1\n", b"GET / HTTP/1.1\r\nX: \x00", b"\n"]
)
def test_a_hopeless_beginning_is_refused_at_once(begun: bytes) -> None:
    """
    Nobody waits for the end of what can't become a request.
    """
    assert read([begun]) is None


def test_a_long_body_is_not_copied() -> None:
    """
    The bytes of a body go on as the object that they came in.
    """
    framing = Framing()
    framing.feed(HEAD + b"Content-Length: 1000000\r\n\r\n")
    piece = b"x" * 1000

    assert framing.feed(piece) is piece


def test_the_rest_of_a_connection_that_leaves_http() -> None:
    """
    What follows a request for another protocol is held back, and can be had.
    """
    framing = Framing()
    head = b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n"

    assert framing.feed(head + b"\x81\x05hello") == head
    assert framing.has_stopped
    assert framing.rest() == b"\x81\x05hello"
    assert not framing.has_stopped
