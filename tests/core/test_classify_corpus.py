"""
The generic reader against exceptions that 21 client libraries really raised.

Only the rows that HTTP itself decides have a floor here: failures of the wire, and plain statuses of services without a
dialect of their own. What a provider means by its codes is its dialect's to tell.
"""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

from egressor._core.classify import classify

ROWS: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parent.parent / "corpora" / "errors.jsonl").read_text("utf-8").splitlines()
]
# Clients of HTTP itself. Their exceptions mean what HTTP means.
CLIENTS = {"httpx", "httpx2", "requests", "aiohttp", "curl_cffi"}


def rebuilt(row: dict[str, Any]) -> BaseException:
    """
    Build the row's exception out of classes of the same names, modules and bases.
    """
    kind: type = Exception
    for path in [*reversed(row["bases"]), row["class"]]:
        module, _, name = path.rpartition(".")
        known = getattr(builtins, name, None) if module == "builtins" else None
        kind = known or type(name, (kind,), {"__module__": module})
    exc = kind(row["message"])
    assert isinstance(exc, BaseException)
    return exc


def is_decided_by_http(row: dict[str, Any]) -> bool:
    """
    Whether the row needs no knowledge of its provider.
    """
    if row["class"] is None:
        return False
    root = row["class"].split(".")[0]
    return row["dialect"] == "generic" or (root in CLIENTS and row["http_status"] is None)


def test_accuracy_on_http_itself() -> None:
    """
    At least 95 % of the rows that HTTP decides get the label's category, and the label's word on retrying.
    """
    rows = [row for row in ROWS if is_decided_by_http(row)]
    verdicts = [
        classify(rebuilt(row), status=row["http_status"], headers=row["headers"], body=row["body_snippet"] or None)
        for row in rows
    ]
    wrong = [
        (row["class"], row["category"], verdict.why)
        for row, verdict in zip(rows, verdicts, strict=True)
        if (row["category"], row["retryable"]) != (verdict.category, verdict.retryable)
    ]

    assert len(rows) >= 40
    assert len(wrong) <= len(rows) * 0.05, wrong


def test_no_failure_is_read_as_a_success() -> None:
    """
    An exception is a failure, whatever status the answer behind it had.
    """
    silent = [row["class"] for row in ROWS if row["class"] and classify(rebuilt(row), status=row["http_status"]).ok]

    assert silent == []
