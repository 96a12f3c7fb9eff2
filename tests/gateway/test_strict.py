"""
The parser behind the strict reading: what it is given, and when.
"""

from __future__ import annotations

import pytest
from aiohttp.http_exceptions import BadHttpMessage

from egressor.gateway.strict import _Parser

HEAD = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n"


class Inner:
    """
    Stands behind, and notes what it is given.
    """

    def __init__(self, *, upgrades: bool = False) -> None:
        self.given: list[bytes] = []
        self.upgrades = upgrades

    def feed_data(self, data: bytes) -> tuple[tuple[()], bool, bytes]:
        """
        Note *data*.
        """
        self.given.append(data)
        return (), self.upgrades and b"Upgrade" in data, b""

    def message_consumed(self) -> None:
        """
        Do nothing.
        """

    pause_reading = set_upgraded = message_consumed


def test_a_head_arrives_whole() -> None:
    """
    Nothing of a head goes to the parser before all of it was read strictly.
    """
    inner = Inner()
    parser = _Parser(inner)
    for at in range(len(HEAD)):
        parser.feed_data(HEAD[at : at + 1])

    assert b"".join(inner.given) == HEAD
    assert [data for data in inner.given if data] == [HEAD]


def test_bad_bytes_never_arrive() -> None:
    """
    What is refused is not given to the parser, and nothing is after it.
    """
    inner = Inner()
    parser = _Parser(inner)
    with pytest.raises(BadHttpMessage):
        parser.feed_data(HEAD.replace(b"Host:", b"Host :"))

    assert parser.feed_data(HEAD) == ((), False, b"")
    assert inner.given == []


@pytest.mark.parametrize(
    ("upgrades", "given", "tail"),
    [(True, [UPGRADE], b"\x81\x02hi"), (False, [UPGRADE, HEAD], b"")],
    ids=["taken", "not"],
)
def test_what_follows_a_request_for_another_protocol(upgrades: bool, given: list[bytes], tail: bytes) -> None:
    """
    If the protocol changes, what follows is its own; if not, it is another request.
    """
    inner = Inner(upgrades=upgrades)
    found = _Parser(inner).feed_data(UPGRADE + (b"\x81\x02hi" if upgrades else HEAD))

    assert (inner.given, found[1], found[2]) == (given, upgrades, tail)
