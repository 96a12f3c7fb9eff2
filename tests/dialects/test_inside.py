"""
Which good answers are read, and when.
"""

from __future__ import annotations

import pytest

from egressor.dialects import Heed, heed

JSON = {"content-type": "application/json; charset=utf-8"}
PAGE = {"content-type": "text/html"}
EVENTS = {"content-type": "text/event-stream"}


@pytest.mark.parametrize(
    ("dialect", "status", "headers", "wanted"),
    [
        ("kraken", 200, JSON, Heed.AHEAD),
        ("kraken", 299, {**JSON, "content-length": "65536"}, Heed.AHEAD),
        ("kraken", 200, {**JSON, "content-length": "65537"}, Heed.NOT),
        ("kraken", 200, {**JSON, "content-length": "9" * 40}, Heed.AHEAD),
        ("kraken", 200, {**JSON, "content-length": "a lot"}, Heed.AHEAD),
        ("kraken", 200, {}, Heed.AHEAD),
        ("kraken", 200, {"content-type": "application/problem+json"}, Heed.AHEAD),
        ("kraken", 200, {"content-type": "text/csv"}, Heed.NOT),
        ("kraken", 204, JSON, Heed.NOT),
        ("kraken", 206, JSON, Heed.NOT),
        ("kraken", 304, JSON, Heed.NOT),
        ("kraken", 500, JSON, Heed.NOT),
        ("kraken", 200, PAGE, Heed.AHEAD),
        ("discord", 200, JSON, Heed.NOT),
        ("discord", 200, PAGE, Heed.AHEAD),
        ("gemini", 200, JSON, Heed.ALONG),
        # A model that thinks sends its head, then blanks for minutes, and then the document.
        ("openai", 200, JSON, Heed.ALONG),
        ("deepseek", 200, JSON, Heed.ALONG),
        ("openrouter", 200, {**JSON, "content-length": "20"}, Heed.AHEAD),
        ("anthropic", 200, JSON, Heed.ALONG),
        ("gemini", 200, {**JSON, "content-length": "2"}, Heed.AHEAD),
        ("x", 200, PAGE, Heed.AHEAD),
        ("twitter", 200, JSON, Heed.ALONG),
        ("generic", 200, JSON, Heed.NOT),
        ("generic", 200, PAGE, Heed.NOT),
        ("generic", 200, EVENTS, Heed.ALONG),
        ("openai", 200, EVENTS, Heed.ALONG),
        ("openai", 200, {**EVENTS, "content-encoding": "identity"}, Heed.ALONG),
        ("openai", 200, {**EVENTS, "content-encoding": "gzip"}, Heed.NOT),
        ("nobody", 200, JSON, Heed.NOT),
    ],
)
def test_heed(dialect: str, status: int, headers: dict[str, str], wanted: Heed) -> None:
    """
    The dialect, the type and the length decide; a stream is never waited for.
    """
    assert wanted == heed(status, headers, dialect)
