"""
Which paths are forwarded, byte for byte, and which are refused.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor.gateway.paths import Target, split
from egressor.gateway.problems import RefusedError

GOOD = [
    ("/t", Target("t", "", "")),
    ("/t/", Target("t", "/", "")),
    ("/t/v1/chat?a=1&b=%2F..%2f", Target("t", "/v1/chat", "?a=1&b=%2F..%2f")),
    ("/t/models/gemini:generate", Target("t", "/models/gemini:generate", "")),
    ("/t/caf%C3%A9/a+b", Target("t", "/caf%C3%A9/a+b", "")),
    ("/t//x", Target("t", "//x", "")),
    ("/t/a..b/.well-known/...", Target("t", "/a..b/.well-known/...", "")),
    ("/t/Mr.%20X/a%20b", Target("t", "/Mr.%20X/a%20b", "")),
    ("/t/100%25", Target("t", "/100%25", "")),
    ("/t/100%2520", Target("t", "/100%2520", "")),
    ("/t/%7Ebob/aud%69o", Target("t", "/%7Ebob/aud%69o", "")),
    ("/t?", Target("t", "", "")),
    ("/-/", Target("-", "/", "")),
]
BAD = [
    "",
    "*",
    "t/x",
    "http://t/x",
    "//evil/..",
    "/t/../x",
    "/t/..",
    "/t/./x",
    "/../t",
    "/t/..%20/x",
    "/t/%20./x",
    "/t/.%2520",
    "/t/%2e%2e/x",
    "/t/.%2E/x",
    "/t/a%2Fb",
    "/t/a%2fb",
    "/t/a%5cb",
    "/t/a\\b",
    "/t/a;b",
    "/t/a%3bb",
    "/t/a#b",
    "/t/a%23b",
    "/t/a%3Fb",
    "/t/a%00b",
    "/t/a%0d%0aX: y",
    "/t/a%7f",
    "/t/%252e%252e/x",
    "/t/%25252fx",
    "/t/aud%2569o",
    "/t/x%25253Ay",
    "/t/%c0%af",
    "/t/%c0%ae%c0%ae/x",
    "/t/%ff",
    "/t/%",
    "/t/%g1",
    "/t/a b",
    "/t/caf\u00e9",
    "/t/x?a#b",
    "/t/x?a b",
    "/t/\x00",
]


@pytest.mark.parametrize(("raw", "expected"), GOOD)
def test_good(raw: str, expected: Target) -> None:
    """
    A path that reads in one way is taken apart and otherwise left as it is.
    """
    assert split(raw) == expected


@pytest.mark.parametrize("raw", BAD)
def test_bad(raw: str) -> None:
    """
    A path that reads in two ways is a 400.
    """
    with pytest.raises(RefusedError) as caught:
        split(raw)

    assert caught.value.problem.status == 400


@given(st.text(st.sampled_from("/.%2eEfF5cC3bB0aA?#;\\t"), max_size=12).map(lambda text: "/" + text))
def test_what_is_accepted_decodes_to_nothing_else(raw: str) -> None:
    """
    However often an accepted path is decoded, no segment, separator or control character appears.
    """
    try:
        target = split(raw)
    except RefusedError:
        return

    path = f"/{target.service}{target.path}".encode()
    decoded = path
    for _ in range(4):
        decoded = unquote_to_bytes(decoded)

    assert decoded.count(b"/") == path.count(b"/")
    assert not {b".", b".."} & {segment.strip(b" ") for segment in decoded.split(b"/")}
    assert not any(byte < 0x20 or byte in b"\\;#?\x7f" for byte in decoded)
    # A question mark with nothing behind it asks for nothing, and is dropped.
    expected = raw.removesuffix("?") if raw.count("?") == 1 else raw
    assert f"/{target.service}{target.path}{target.query}" == expected
