"""
Measure the classifier on the labelled cases in ``tests/corpora``, and print where it errs.

The cases are split into two halves by a hash of the answer itself (of the exception's class, where there was no
body), so that the same answer through two libraries is in one half. Rules were written with the *training* half in
view; the *measured* half says how well they hold for what they were not written on.

``accuracy.py`` prints the figures of both halves and the measured half's confusions; ``--rows training`` prints that
half's errors one by one.
"""

from __future__ import annotations

import argparse
import builtins
import hashlib
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from egressor.dialects import NAMES, classify

CORPORA = Path(__file__).resolve().parent.parent / "tests" / "corpora"
HALVES = ("training", "measured")
BLOCKS = frozenset({"ban", "challenge", "geo_block"})
Row = dict[str, Any]


def main(argv: list[str] | None = None) -> int:
    """
    Print the figures.

    Returns:
        The exit code, 0.
    """
    parser = argparse.ArgumentParser(description="How well the classifier reads the labelled cases.")
    parser.add_argument("--rows", choices=HALVES, help="print that half's errors one by one")
    wanted = parser.parse_args(argv).rows
    errors, bans = rows("errors.jsonl"), rows("bans.jsonl")
    for half in HALVES:
        print(f"{half} half:")
        print(f"  {figures([row for row in errors if half_of(row) == half])}")
        print(f"  {blocks([row for row in bans if half_of(row) == half])}")
    if wanted is not None:
        for row in errors + bans:
            if half_of(row) == wanted and not is_right(row):
                print(told(row))
        return 0
    confusions([row for row in errors if half_of(row) == "measured"])
    return 0


def rows(name: str) -> list[Row]:
    """
    Read a corpus.
    """
    return [json.loads(line) for line in (CORPORA / name).read_text("utf-8").splitlines()]


def half_of(row: Row) -> str:
    """
    Put a row into its half.
    """
    body = row.get("body_snippet") or row.get("body") or ""
    if body:
        key = [row.get("http_status", row.get("status")), body]
    else:
        key = [row.get("class"), row.get("status"), row.get("id") if "label" in row else None]
    digest = hashlib.sha256(json.dumps(key, ensure_ascii=False).encode()).digest()
    return HALVES[digest[0] % 2]


def rebuilt(row: Row) -> BaseException | None:
    """
    Build the row's exception out of classes of the same names, modules and bases.
    """
    if row.get("class") is None:
        return None
    kind: type = Exception
    for path in [*reversed(row["bases"]), row["class"]]:
        module, _, name = path.rpartition(".")
        known = getattr(builtins, name, None) if module == "builtins" else None
        kind = known or type(name, (kind,), {"__module__": module})
    exc: BaseException = kind(row["message"])
    return exc


def verdict_of(row: Row, *, whole: bool = True) -> tuple[str, bool]:
    """
    Classify a row: as the exception with the answer behind it, or (not *whole*) as the exception alone.
    """
    body = row.get("body_snippet") or row.get("body") or None
    dialect = row.get("dialect", "generic") if row.get("dialect") in NAMES else "generic"
    exc = rebuilt(row)
    if whole or exc is None:
        status = row.get("http_status", row.get("status"))
        verdict = classify(exc, status=status, headers=row["headers"], body=body, dialect=dialect)
    else:
        verdict = classify(exc)
    return str(verdict.category) if verdict.category is not None else "ok", verdict.retryable


def is_right(row: Row) -> bool:
    """
    Whether the verdict is the label.
    """
    kind, retryable = verdict_of(row)
    if "label" in row:
        return bool((kind in BLOCKS) == (row["label"] == "block"))
    return bool((kind, retryable) == (row["category"], row["retryable"]))


def told(row: Row) -> str:
    """
    Describe a row that was read wrongly.
    """
    kind, retryable = verdict_of(row)
    label = row.get("category") or row.get("expect")
    body = (row.get("body_snippet") or row.get("body") or "")[:160]
    name = row.get("class") or row.get("id")
    status = row.get("http_status", row.get("status"))
    message = row.get("message", "")[:120]
    return f"{label} {row.get('retryable', '')} <- {kind} {retryable}: {name} {status} {body!r} {message!r}"


def figures(found: list[Row]) -> str:
    """
    Say how many categories and words on retrying are right, with the answer and by the exception alone.
    """
    parts = []
    for whole in (True, False):
        some = found if whole else [row for row in found if row["class"] is not None]
        verdicts = [verdict_of(row, whole=whole) for row in some]
        kinds = sum(kind == row["category"] for row, (kind, _) in zip(some, verdicts, strict=True))
        retries = sum(retry == row["retryable"] for row, (_, retry) in zip(some, verdicts, strict=True))
        name = "with the answer" if whole else "exception alone"
        parts.append(f"{name}: category {share(kinds, len(some))}, retryable {share(retries, len(some))}")
    return "; ".join(parts)


def blocks(found: list[Row]) -> str:
    """
    Say how many blocks are found, and how many answers are wrongly called one.
    """
    hits = [(row["label"] == "block", verdict_of(row)[0] in BLOCKS) for row in found]
    real = [seen for is_block, seen in hits if is_block]
    fine = [seen for is_block, seen in hits if not is_block]
    return f"blocks: recall {share(sum(real), len(real))}, false positives {share(sum(fine), len(fine))}"


def share(some: int, of: int) -> str:
    """
    Write a share with its numbers.
    """
    return f"{some / of:.3f} ({some}/{of})" if of else "none"


def confusions(found: list[Row]) -> None:
    """
    Print each label with what it was read as, the right ones first.
    """
    table = Counter((row["category"], verdict_of(row)[0]) for row in found)
    print("label -> read as, on the measured half:")
    for (label, kind), count in sorted(table.items(), key=lambda item: (item[0][0], item[0][0] != item[0][1])):
        print(f"  {label:20} {kind:20} {count:3}{'' if label == kind else '  <--'}")


if __name__ == "__main__":
    sys.exit(main())
