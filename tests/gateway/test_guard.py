"""
Who may speak to the gateway.
"""

from __future__ import annotations

import pytest

from egressor.gateway.guard import is_loopback, misdirected, stranger


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LOCALHOST:8787", True),
        ("127.0.0.1", True),
        ("127.8.8.8:1", True),
        ("[::1]:8787", True),
        ("gate.lan", True),
        ("gate.lan:80", True),
        ("", False),
        ("evil.test", False),
        ("evil.test:8787", False),
        ("localhost.evil.test", False),
        ("localhost/#@evil.test", False),
        ("localhost:8787/#@x", False),
        ("user@localhost", False),
        ("0.0.0.0", False),
        ("169.254.169.254", False),
        ("[::ffff:8.8.8.8]", False),
        ("localhost:", False),
        ("2130706433", False),
    ],
)
def test_host(host: str, expected: bool) -> None:
    """
    Only loopback names and the configured one are us.
    """
    problem = misdirected(host, "gate.lan")

    assert (problem is None) == expected
    assert problem is None or problem.status == 421


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost:8787"}, True),
        ({"Origin": "http://127.0.0.1:8787"}, True),
        ({"Origin": "vscode-webview://x"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Origin": "https://evil.test"}, False),
        ({"Origin": "http://localhost.evil.test"}, False),
        ({"Origin": "null"}, False),
    ],
)
def test_stranger(headers: dict[str, str], expected: bool) -> None:
    """
    Another site's page is refused.
    """
    assert (stranger(headers, "127.0.0.1") is None) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("127.0.0.1", True), ("::1", True), ("0.0.0.0", False), ("::", False), ("gate.lan", False)],
)
def test_loopback(host: str, expected: bool) -> None:
    """
    What means this machine only may be listened on without keys.
    """
    assert is_loopback(host) == expected
