"""
Who may speak to the gateway.
"""

from __future__ import annotations

import pytest

from egressor import ConfigError
from egressor.gateway.guard import Names, check_open, is_loopback, misdirected, page, stranger
from egressor.policies import Config, from_table

NAMES = Names(["gate.lan", "2001:DB8::1", "0.0.0.0"])


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
        ("GATE.lan", True),
        ("[2001:db8::1]:80", True),
        ("10.0.0.5:8787", True),
        ("10.0.0.6:8787", False),
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
    Only loopback names, the configured ones, and the address at which the request has arrived are us.
    """
    problem = misdirected(host, NAMES, lambda: "10.0.0.5")

    assert (problem is None) == expected
    assert problem is None or problem.status == 421


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, True),
        ({"Origin": "http://gate.lan:8787"}, True),
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
    assert (stranger(headers, NAMES) is None) == expected


def test_a_change_takes_no_foreign_scheme() -> None:
    """
    Where something is changed, even a program's own scheme is another origin.
    """
    assert stranger({"Origin": "vscode-webview://x"}, NAMES, is_strict=True) is not None
    assert stranger({"Origin": "http://localhost:1"}, NAMES, is_strict=True) is None


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("127.0.0.1", True), ("::1", True), ("0.0.0.0", False), ("::", False), ("gate.lan", False)],
)
def test_loopback(host: str, expected: bool) -> None:
    """
    What means this machine only may be listened on without keys.
    """
    assert is_loopback(host) == expected


def config(*keys: str) -> Config:
    """
    Build a configuration with clients' *keys*.
    """
    tables = [{"name": name, "sha256": f"{position:064x}"} for position, name in enumerate(keys)]
    return from_table({"gateway": {"keys": tables}})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "gate.lan"])
def test_open_to_others(host: str) -> None:
    """
    An address that other machines can reach takes keys; a loopback one doesn't.
    """
    check_open(host, config("ci"))
    check_open("127.0.0.1", config())
    with pytest.raises(ConfigError, match="open to other machines"):
        check_open(host, config())


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, True),
        ({"Sec-Fetch-Dest": "empty"}, True),
        ({"Sec-Fetch-Dest": "websocket"}, True),
        ({"Sec-Fetch-Dest": "document"}, False),
        ({"Sec-Fetch-Dest": "iframe"}, False),
        ({"Sec-Fetch-Dest": "script"}, False),
        ({"Sec-Fetch-Dest": "serviceworker"}, False),
        ({"Service-Worker": "script"}, False),
    ],
)
def test_no_upstreams_page_is_ours(headers: dict[str, str], expected: bool) -> None:
    """
    A browser may fetch from a service, and shows or runs nothing of it.
    """
    assert (page(headers) is None) == expected
