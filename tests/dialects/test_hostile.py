"""
Whatever comes, there is one verdict: the same each time, and nothing is raised.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from egressor._core.model import ErrorCategory
from egressor.dialects import NAMES, classify, hints

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["error", "errors", "code", "message", "msg", "retCode", "ok", "json", "status", "data", "type"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
BODIES = st.none() | st.text() | st.binary() | JSON.map(json.dumps) | JSON.map(lambda value: json.dumps(value).encode())
WORDS = [
    "retry-after",
    "date",
    "content-type",
    "cf-mitigated",
    "x-rate-limit-remaining",
    "x-rate-limit-reset",
    "location",
]
HEADERS = st.dictionaries(st.sampled_from(WORDS), st.text(max_size=40) | st.integers().map(str), max_size=5)
LIBRARIES = ["ccxt.base.errors", "telethon.errors.rpcerrorlist", "praw.exceptions", "binance.exceptions", "my.own"]
KINDS = st.builds(
    lambda module, name: type(name, (Exception,), {"__module__": module}),
    st.sampled_from(LIBRARIES),
    st.sampled_from(["ApiError", "FloodWaitError", "BadSymbol", "RetryError", "Timeout"]),
)
RAISED = st.none() | st.builds(lambda kind, text: kind(text), KINDS, st.text() | JSON.map(json.dumps))


@given(
    thing=RAISED,
    status=st.none() | st.integers(-5, 1100),
    headers=HEADERS,
    body=BODIES,
    dialect=st.sampled_from(NAMES),
    now=st.none() | st.floats(),
)
@example(thing=None, status=400, headers={}, body="[" * 9000, dialect="openai", now=None)
@example(thing=None, status=200, headers={}, body='data: {"error"\n' * 900, dialect="anthropic", now=None)
def test_one_verdict(
    thing: BaseException | None,
    status: int | None,
    headers: dict[str, str],
    body: str | bytes | None,
    dialect: str,
    now: float | None,
) -> None:
    """
    Any triple of answer, exception and dialect gives one verdict, and gives it again.
    """
    verdict = classify(thing, status=status, headers=headers, body=body, dialect=dialect, now=now)
    again = classify(thing, status=status, headers=headers, body=body, dialect=dialect, now=now)

    assert verdict == again
    assert verdict.category is None or verdict.category in set(ErrorCategory)
    assert verdict.retry_after is None or 0 <= verdict.retry_after <= 30 * 86400
    assert "can't be read" not in verdict.why or "the answer can't be read" in verdict.why
    assert len(verdict.fingerprint) <= 200
    assert verdict.fingerprint.isascii()


@given(headers=st.dictionaries(st.text(max_size=30), st.text(max_size=40), max_size=6), dialect=st.sampled_from(NAMES))
def test_hints_never_raise(headers: dict[str, str], dialect: str) -> None:
    """
    A reset is a whole number of microseconds of at most 30 days, or none.
    """
    for hint in hints(headers, dialect=dialect, now=1e9):
        assert hint.resets is None or 0 <= hint.resets <= 30 * 86400 * 1_000_000


@pytest.mark.parametrize("dialect", NAMES)
def test_a_secret_is_never_repeated(dialect: str) -> None:
    """
    What a server wrote is in no verdict: its fingerprint and its reason are our own words.
    """
    secret = "sk-SECRETSECRETSECRET"
    body = json.dumps(
        {"error": {"message": f"bad key {secret}", "code": secret, "type": secret}, "msg": secret, "code": secret}
    )

    for status in (200, 400, 401, 403, 429, 500):
        assert secret not in repr(classify(status=status, body=body, dialect=dialect))
