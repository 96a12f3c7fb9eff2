"""
What headers say of limits, as plain values.
"""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest

from egressor.dialects import Hint, classify, hints, with_hints

NOW = 1795313500.0
SECOND = 1_000_000
bucket = partial(Hint, refills=True, per="model")
narrow = partial(Hint, per="endpoint")


@pytest.mark.parametrize(
    ("dialect", "headers", "expected"),
    [
        (
            "openai",
            {
                "x-ratelimit-limit-requests": "500",
                "x-ratelimit-remaining-requests": "499",
                "x-ratelimit-reset-requests": "120ms",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "6m0s",
            },
            (bucket("requests", 499.0, 500.0, 120_000), bucket("tokens", 0.0, None, 360 * SECOND)),
        ),
        ("azure", {"x-ratelimit-remaining-requests": "-1", "x-ratelimit-limit-requests": "-1"}, ()),
        (
            "anthropic",
            {
                "anthropic-ratelimit-requests-remaining": "49",
                "anthropic-ratelimit-requests-limit": "50",
                "anthropic-ratelimit-requests-reset": "2026-11-22T02:11:41Z",
            },
            (bucket("requests", 49.0, 50.0, SECOND, 60 * SECOND),),
        ),
        (
            "reddit",
            {"X-Ratelimit-Used": "5", "X-Ratelimit-Remaining": "595.0", "X-Ratelimit-Reset": "300"},
            (Hint("requests", 595.0, None, 300 * SECOND, 600 * SECOND, 5.0),),
        ),
        (
            "x",
            {"x-rate-limit-limit": "900", "x-rate-limit-remaining": "898", "x-rate-limit-reset": "1795313600"},
            (narrow("requests", 898.0, 900.0, 100 * SECOND, 900 * SECOND),),
        ),
        (
            "bybit",
            {"X-Bapi-Limit": "20", "X-Bapi-Limit-Status": "19", "X-Bapi-Limit-Reset-Timestamp": "1795313500500"},
            (narrow("requests", 19.0, 20.0, 500_000),),
        ),
        (
            "kucoin",
            {"gw-ratelimit-limit": "4000", "gw-ratelimit-remaining": "3000", "gw-ratelimit-reset": "12000"},
            (Hint("weight", 3000.0, 4000.0, 12 * SECOND, 30 * SECOND),),
        ),
        (
            "binance",
            {"X-MBX-USED-WEIGHT-1M": "5900", "X-MBX-ORDER-COUNT-10S": "3", "X-MBX-USED-WEIGHT": "5900"},
            (Hint("weight", window=60 * SECOND, used=5900.0), Hint("orders", window=10 * SECOND, used=3.0)),
        ),
        (
            "discord",
            {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset-After": "64.57"},
            (narrow("requests", 0.0, None, 64_570_000),),
        ),
        (
            "ietf",
            {"RateLimit-Limit": "100", "RateLimit-Remaining": "50", "RateLimit-Reset": "30"},
            (Hint("requests", 50.0, 100.0, 30 * SECOND),),
        ),
        ("generic", {"RateLimit": "limit=100, remaining=50, reset=30"}, (Hint("requests", 50.0, 100.0, 30 * SECOND),)),
        (
            "generic",
            {"RateLimit-Policy": '"daily";q=1000;w=86400', "RateLimit": '"daily";r=50;t=30'},
            (Hint("requests", 50.0, 1000.0, 30 * SECOND, 86400 * SECOND),),
        ),
        ("generic", {"RateLimit": '"daily";r=lots;t=30'}, ()),
        # GitLab's is a moment.
        ("generic", {"RateLimit-Remaining": "0", "RateLimit-Reset": "1795313600"}, (Hint("requests", 0.0),)),
        ("x", {"x-rate-limit-remaining": "many", "x-rate-limit-reset": "soon"}, ()),
        (
            "x",
            {"x-rate-limit-remaining": "1", "x-rate-limit-reset": "soon"},
            (narrow("requests", 1.0, None, None, 900 * SECOND),),
        ),
        ("openai", {"x-ratelimit-remaining-tokens": "1", "x-ratelimit-reset-tokens": "6x"}, (bucket("tokens", 1.0),)),
    ],
)
def test_hints(dialect: str, headers: dict[str, str], expected: tuple[Hint, ...]) -> None:
    """
    Each dialect's reset is read in its own form; what can't be read is None.
    """
    assert expected == hints(headers, dialect=dialect, now=NOW)


def test_a_moment_needs_a_clock() -> None:
    """
    Without a date and a caller's clock it isn't guessed.
    """
    headers = {"x-rate-limit-remaining": "1", "x-rate-limit-reset": "1795313600"}

    assert hints(headers, dialect="x")[0].resets is None
    assert hints({**headers, "Date": "Sun, 22 Nov 2026 02:11:40 GMT"}, dialect="x")[0].resets == 100 * SECOND


@pytest.mark.parametrize("headers", [None, 7, [("a",)], {"x": object()}, {b"ratelimit": b"x"}])
def test_broken_headers_are_no_hints(headers: object) -> None:
    """
    A hint is a help: nothing that is handed over raises.
    """
    assert hints(headers, dialect="x") == ()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "scope", "counts"), [(401, "", 1), (403, "user", 1), (429, "", 1), (429, "shared", 0), (404, "", 0)]
)
def test_discord_s_invalid_requests_are_counted(status: int, scope: str, counts: int) -> None:
    """
    Each 401, 403 and 429 brings the address nearer to a ban, but for a limit that is shared with others.
    """
    found = hints({"X-RateLimit-Scope": scope} if scope else {}, dialect="discord", status=status)

    assert found == (Hint("invalid_requests", limit=10_000, window=600 * SECOND, adds=1),) * counts


@pytest.mark.parametrize(("resource", "expected"), [("core", ""), ("search", "endpoint")])
def test_github_s_other_resources_have_limits_of_their_own(resource: str, expected: str) -> None:
    """
    That a search has nothing left says nothing of the rest.
    """
    headers = {"X-RateLimit-Remaining": "5", "X-RateLimit-Limit": "30", "X-RateLimit-Resource": resource}

    assert [hint.per for hint in hints(headers, dialect="github")] == [expected]


def test_a_verdict_carries_hints_and_a_plain_answer_none() -> None:
    """
    Headers in any shape are read, raw ones as well; an answer without such headers leaves the verdict as it is.
    """
    pairs = [(b"RateLimit-Remaining", b"5"), (b"RateLimit-Reset", b"9")]
    verdict, expected = classify(status=200), (Hint("requests", 5.0, None, 9 * SECOND),)

    assert with_hints(verdict, {"Date": "x", "Content-Type": "text/plain"}) is verdict
    assert with_hints(verdict, pairs).hints == expected
    assert with_hints(verdict, SimpleNamespace(raw=pairs)).hints == expected
    assert with_hints(verdict, [(3, None)]) is verdict
