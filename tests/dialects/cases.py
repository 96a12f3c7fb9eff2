"""
Labelled answers, written from vendors' documentation and not from the tables that read them.

Each row of ``answers.jsonl``: dialect, status, headers, body, category (or null for a success), retryable, scope or ""
where it is not stated, and the page that says so.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

__all__ = ["CASES", "Case"]


class Case(NamedTuple):
    """
    One answer and what it means.
    """

    dialect: str
    status: int
    body: str
    category: str | None
    retryable: bool
    source: str
    headers: dict[str, str]
    scope: str


CASES = [Case(**json.loads(line)) for line in Path(__file__).with_name("answers.jsonl").read_text("utf-8").splitlines()]
