"""
Headers on their way through, as values.
"""

from __future__ import annotations

import pytest

from egressor.gateway.headers import onward, read
from egressor.gateway.problems import RefusedError

LONG = "x" * 65


def test_hop_by_hop_fields_stay() -> None:
    """
    What is meant for one connection is not forwarded, whatever its spelling.
    """
    raw = [
        (b"Host", b"localhost"),
        (b"Connection", b"close, X-Mine"),
        (b"x-mine", b"1"),
        (b"Keep-Alive", b"timeout=5"),
        (b"TE", b"trailers"),
        (b"Proxy-Authorization", b"Basic x"),
        (b"Content-Length", b"3"),
        (b"Accept", b"a"),
        (b"accept", b"b"),
    ]

    assert read(raw).pairs == [("Accept", "a"), ("accept", "b")]


@pytest.mark.parametrize("name", ["Authorization", "x-api-key", "Cookie"])
def test_connection_cannot_name_credentials_away(name: str) -> None:
    """
    Who the client says it is can't be removed by a ``Connection`` header.
    """
    raw = [(b"Connection", name.encode()), (name.encode(), b"mine")]

    assert read(raw).pairs == [(name, "mine")]


def test_wishes_are_read_and_removed() -> None:
    """
    The ``Egressor-…`` headers are for us.
    """
    raw = [
        (b"Egressor-Priority", b"high"),
        (b"egressor-user", "Zoë".encode()),
        (b"EGRESSOR-FEATURE", b"chat"),
        (b"Egressor-Deadline", b"2.5"),
        (b"Idempotency-Key", b"k"),
        (b"Expect", b"100-continue"),
    ]

    head = read(raw)

    assert head.pairs == [("Idempotency-Key", "k")]
    assert (head.priority, head.scope, head.deadline) == ("high", {"user": "Zoë", "feature": "chat"}, 2.5)
    assert head.is_idempotent
    assert head.expects_continue


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Egressor-Priority", "urgent"),
        ("Egressor-Priority", ""),
        ("Egressor-User", ""),
        ("Egressor-User", "x" * 257),
        ("Egressor-Feature", "a\tb"),
        ("Egressor-Deadline", "0"),
        ("Egressor-Deadline", "-1"),
        ("Egressor-Deadline", "nan"),
        ("Egressor-Deadline", "inf"),
        ("Egressor-Deadline", "1e3"),
        ("Egressor-Deadline", "86401"),
        ("Egressor-Deadline", "soon"),
        ("X_Api_Key", "k"),
        ("Content_Length", "3"),
        ("Egressor_User", "u"),
        ("Egressor_Key", "k"),
        ("Egressor-Prioritty", "high"),
        ("Egressor-Attempts", "9"),
        ("Egressor-" + LONG, "9"),
    ],
)
def test_bad_values(name: str, value: str) -> None:
    """
    A value that can't be meant, or a name that passes for another one, is a 400.
    """
    with pytest.raises(RefusedError) as caught:
        read([(name.encode(), value.encode())])

    assert caught.value.problem.status == 400


@pytest.mark.parametrize(
    "raw",
    [
        [(b"X-A", b"\xff")],
        [(b"Egressor-User", b"a"), (b"Egressor-User", b"b")],
        [(b"Egressor-Key", b"a"), (b"egressor-key", b"b")],
        [(b"Authorization", b"Bearer a"), (b"authorization", b"Bearer b")],
        [(b"X-Api-Key", b"a"), (b"x-api-key", b"a")],
    ],
)
def test_undecodable_or_doubled(raw: list[tuple[bytes, bytes]]) -> None:
    """
    Bytes that are not UTF-8, and a wish or a credential that is there twice, are a 400.
    """
    with pytest.raises(RefusedError):
        read(raw)


def test_the_way_back() -> None:
    """
    An answer's own hop-by-hop fields stay, and what describes its body can't be named away.
    """
    raw = [
        (b"Connection", b"keep-alive, X-Up, Content-Length"),
        (b"X-Up", b"1"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Alt-Svc", b'h3=":443"'),
        (b"Egressor-Attempts", b"99"),
        (b"Content-Length", b"3"),
        (b"Set-Cookie", b"a=1"),
        (b"Set-Cookie", b"b=2"),
        (b"X-Name", "é".encode("latin-1")),
    ]

    assert onward(raw) == [("Content-Length", "3"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Name", "é")]


@pytest.mark.parametrize(
    "raw",
    [
        [(b"Connection", b"idempotency-key"), (b"Idempotency-Key", b"k")],
        [(b"Idempotency-Key", b"k"), (b"Connection", b"close, Idempotency-Key")],
        [(b"Idempotency-Key", b"")],
    ],
)
def test_only_a_key_that_arrives_makes_idempotent(raw: list[tuple[bytes, bytes]]) -> None:
    """
    A request is not sent twice for a key that its upstream doesn't get.
    """
    assert not read(raw).is_idempotent


@pytest.mark.parametrize(
    "name",
    [
        "Forwarded",
        "X-Forwarded-For",
        "x_forwarded_host",
        "X-Forwarded",
        "X-Real-IP",
        "X-Original-URL",
        "X_Rewrite-URL",
        "True-Client-Ip",
        "X-Forwarded-" + LONG,
    ],
)
def test_hearsay_ends_here(name: str) -> None:
    """
    What only a server in front could say truly is not said to an upstream.
    """
    assert read([(name.encode(), b"10.0.0.1"), (b"X-Mine", b"1")]).pairs == [("X-Mine", "1")]


@pytest.mark.parametrize("name", ["X-Mine", "x_mine", LONG, LONG.upper(), f"egress-{LONG}"])
def test_any_other_name_goes_both_ways(name: str) -> None:
    """
    Names too long to be remembered go as short ones do, and Connection takes either away.
    """
    raw = [(name.encode(), b"1"), (name.encode(), b"2")]
    away = [(b"Connection", b"close, " + name.swapcase().encode()), *raw]

    assert read(raw).pairs == onward(raw) == [(name, "1"), (name, "2")]
    assert read(away).pairs == onward(away) == []


def test_hops_are_read() -> None:
    """
    The marks of the gateways that a request has passed come one by one, in their order.
    """
    head = read([(b"Egressor-Hops", b"a, b"), (b"egressor-hops", b"c")])

    assert (head.hops, head.pairs) == (("a", "b", "c"), [])


@pytest.mark.parametrize(
    "name",
    [
        "Service-Worker-Allowed",
        "Access-Control-Allow-Origin",
        "access-control-expose-headers",
        "Clear-Site-Data",
        "Strict-Transport-Security",
        "Egressor-Anything",
        "Access-Control-" + LONG,
    ],
)
def test_no_word_about_our_origin(name: str) -> None:
    """
    What an upstream says about its own origin, or in our name, is not repeated as ours.
    """
    assert onward([(name.encode(), b"x"), (b"X-Its", b"1")]) == [("X-Its", "1")]
