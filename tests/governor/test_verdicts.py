"""
Which verdict does what, end to end: each row of the table in docs/policies/verdicts.md, through a governor.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from egressor import ErrorCategory, Governor, Rejected
from egressor.testing import FakeClock

PAGE = Path(__file__).parents[2] / "docs" / "policies" / "verdicts.md"


class Row(NamedTuple):
    """
    A row of the page: what the server said, whether it is tried again, whether the breaker counts it, and what becomes
    of the next call on that key.
    """

    verdict: str
    status: int
    retried: str = "no"
    breaker: str = "no"
    others: str = "go on"
    body: str = "{}"
    headers: Mapping[str, str] = {}
    dialect: str = "generic"

    def __str__(self) -> str:
        return f"| {self.verdict} | {self.retried} | {self.breaker} | {self.others} |"


WAIT = {"Retry-After": "600"}
HELD = "wait until then, or are refused with the seconds that are left"
SLOWED = "wait for a moment that grows, or are refused with the seconds that are left"
ROWS = (
    Row("`rate_limit` that names a time", 429, "after that time", "no", HELD, headers=WAIT),
    Row("`rate_limit` that names none", 429, "yes", "no", SLOWED),
    Row("`quota_exhausted` that says until when", 429, "no", "no", HELD, '{"code":"insufficient_quota"}', WAIT),
    Row("`quota_exhausted` that doesn't", 429, body='{"code":"insufficient_quota"}'),
    Row("`authentication`", 401),
    Row("`permission`", 403),
    Row("`ban`", 418, "no", "no", "are refused for the server's time, or 4 hours", headers=WAIT),
    Row("`challenge`", 403, "no", "no", "are refused for 5 minutes", headers={"cf-mitigated": "challenge"}),
    Row("`geo_block`", 451),
    Row("`network`", 0, "if idempotent", "yes"),
    Row("`timeout`", 504, "if idempotent", "yes"),
    Row("`server_error`", 500, "if idempotent", "yes"),
    Row("`overloaded`", 529, "yes", "yes"),
    Row("`maintenance`", 503, "yes", "yes", body='{"error":"maintenance"}'),
    Row("`bad_response`", 200, "if idempotent", "yes", body="<p>", headers={"Content-Type": "application/json"}),
    Row("`outcome_unknown`", 503, "no", "yes", body='{"code":-1007}', dialect="binance"),
    Row("`bad_request`", 400),
    Row("`not_found`", 404),
    Row("`conflict`", 409),
    Row("`clock_skew`", 400, "yes", body='{"code":-1021}', dialect="binance"),
    Row("`insufficient_funds`", 400, body='{"code":-2019}', dialect="binance"),
    Row("`content_policy`", 400, body='{"error":{"code":"content_policy_violation"}}', dialect="openai"),
    Row("`configuration`", 421),
    Row("`cancelled`", 499),
    Row("`unknown`", 418),
)


class Upstream:
    """
    A server that always answers as *row* says, and counts.
    """

    def __init__(self, row: Row) -> None:
        self.row = row
        self.calls = 0
        self._content = row.body.encode()  # Where clients keep a body that they have read.

    def __call__(self) -> Any:
        """
        Answer.
        """
        self.calls += 1
        if not self.row.status:
            raise ConnectionResetError
        return self

    @property
    def status_code(self) -> int:
        """
        The status of its answers.
        """
        return self.row.status

    @property
    def headers(self) -> Mapping[str, str]:
        """
        Their headers.
        """
        return self.row.headers


def made(row: Row, **policy: Any) -> tuple[Governor, FakeClock, Upstream]:
    """
    Return a governor whose service answers as *row* says.
    """
    clock = FakeClock()
    settings = {"dialect": row.dialect, "max_wait": 0.0, "retry": {"attempts": 2}, **policy}
    return Governor({"api": settings}, clock=clock, dice=lambda: 0.0), clock, Upstream(row)


def called(gov: Governor, upstream: Upstream, **options: Any) -> None:
    """
    Make a call that meets the row's answer.
    """
    try:
        gov.call("api", upstream, **options)
    except ConnectionResetError:
        return


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.verdict.strip("`"))
def test_each_verdict_does_what_the_page_says(row: Row) -> None:
    """
    Tried again or not, sent again only if that is safe, counted by the breaker or not, and what the next call meets.
    """
    assert str(row) in PAGE.read_text().splitlines()
    gov, clock, upstream = made(row, breaker={"consecutive": 100})
    begun = clock.now()
    # Whoever states none doesn't wait for as long as the server asks here.
    called(gov, upstream, deadline=3_600.0)
    [category] = gov.status()["api"]["categories"]
    expected = {"no": 1}.get(row.retried, 2)

    assert row.verdict.split("`")[1] == category
    assert upstream.calls == expected
    if row.retried == "after that time":
        assert clock.now() - begun >= 600_000_000
    gov, _, upstream = made(row, breaker={"consecutive": 100})
    called(gov, upstream, idempotent=False, deadline=3_600.0)
    assert upstream.calls == (1 if row.retried == "if idempotent" else expected)

    gov, _, upstream = made(row, retry={"attempts": 1}, breaker={"consecutive": 1})
    called(gov, upstream)
    assert gov.status()["api"]["breaker"]["state"] == ("open" if row.breaker == "yes" else "closed")

    gov, _, upstream = made(row, retry={"attempts": 1}, breaker={"consecutive": 100})
    called(gov, upstream)
    assert next_call(gov) == NEXT[row.others]


NEXT = {
    "go on": "ok",
    HELD: ("WaitTooLong", 600.0),
    SLOWED: ("WaitTooLong", 1.0),
    "are refused for the server's time, or 4 hours": ("Banned", 600.0),
    "are refused for 5 minutes": ("Banned", 300.0),
}


def next_call(gov: Governor) -> object:
    """
    Return what somebody else's next call on the key meets.
    """
    try:
        gov.call("api", str, priority="critical", scope={"user": "another"})
    except Rejected as refusal:
        return type(refusal).__name__, refusal.retry_after
    return "ok"


def test_the_page_has_no_other_rows() -> None:
    """
    Every category is on the page, and nothing stands there that isn't tried here.
    """
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]

    assert sorted(lines) == sorted(str(row) for row in ROWS)
    assert {row.verdict.split("`")[1] for row in ROWS} == set(ErrorCategory)
