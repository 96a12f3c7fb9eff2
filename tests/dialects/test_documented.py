"""
The labelled cases of ``tests/corpora`` as a floor: what is read rightly stays so.
"""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest

from egressor.dialects import NAMES, classify

CORPORA = Path(__file__).parent.parent / "corpora"
Row = dict[str, Any]


def rows(name: str) -> list[Row]:
    """
    Read a corpus.
    """
    return [json.loads(line) for line in (CORPORA / name).read_text("utf-8").splitlines()]


def raised(row: Row) -> BaseException | None:
    """
    Build the row's exception out of classes of the same names, modules and bases.
    """
    if row["class"] is None:
        return None
    kind: type = Exception
    for path in [*reversed(row["bases"]), row["class"]]:
        module, _, name = path.rpartition(".")
        known = getattr(builtins, name, None) if module == "builtins" else None
        kind = known or type(name, (kind,), {"__module__": module})
    exc: BaseException = kind(row["message"])
    return exc


def read(row: Row, *, whole: bool) -> tuple[str, bool]:
    """
    Classify a row: as the exception with the answer behind it, or (not *whole*) as the exception alone.
    """
    exc = raised(row)
    dialect = row["dialect"] if row["dialect"] in NAMES else "generic"
    body = row["body_snippet"] or None
    if whole or exc is None:
        verdict = classify(exc, status=row["http_status"], headers=row["headers"], body=body, dialect=dialect)
    else:
        verdict = classify(exc)
    return str(verdict.category) if verdict.category is not None else "ok", verdict.retryable


@pytest.mark.parametrize(
    ("name", "whole", "kinds", "retries"),
    [
        ("errors.jsonl", True, 0.97, 0.99),
        ("errors.jsonl", False, 0.90, 0.95),
        ("documented.jsonl", True, 0.98, 0.99),
        ("documented.jsonl", False, 0.94, 0.97),
    ],
)
def test_the_labelled_cases(name: str, kinds: float, retries: float, *, whole: bool) -> None:
    """
    At least these shares of a corpus get the label's category, and its word on retrying.
    """
    found = [row for row in rows(name) if whole or row["class"] is not None]
    wrong = [(row, read(row, whole=whole)) for row in found]
    kind = [(row["class"], row["category"], got) for row, got in wrong if got[0] != row["category"]]
    retry = [(row["class"], row["retryable"], got) for row, got in wrong if got[1] != row["retryable"]]

    assert len(kind) <= len(found) * (1 - kinds), kind
    assert len(retry) <= len(found) * (1 - retries), retry


@pytest.mark.parametrize("name", ["bans.jsonl", "blocks.jsonl"])
def test_blocks_and_what_only_looks_like_one(name: str) -> None:
    """
    Of the labelled answers at least 95 % of the blocks are found, and at most 2 % of the others are called one.
    """
    found = rows(name)
    blocks = {"ban", "challenge", "geo_block"}

    def is_block(row: Row) -> bool:
        return classify(status=row["status"], headers=row["headers"], body=row["body"] or None).category in blocks

    missed = [row["id"] for row in found if row["label"] == "block" and not is_block(row)]
    accused = [row["id"] for row in found if row["label"] != "block" and is_block(row)]

    assert len(missed) <= 0.05 * sum(row["label"] == "block" for row in found), missed
    assert len(accused) <= 0.02 * sum(row["label"] != "block" for row in found), accused
