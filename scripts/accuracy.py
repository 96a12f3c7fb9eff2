"""
Measure the classifier on the labelled cases in ``tests/corpora``, and print where it errs, and how long it takes.

``errors.jsonl`` holds what client libraries raised when a local server replayed what services answer, ``bans.jsonl``
answers that block and answers that only look like it, ``documented.jsonl`` and ``blocks.jsonl`` more of each, written
from the vendors' pages. Each is split into two halves by a hash of the answer itself (of the exception's class, where
there was no body), so that the same answer through two libraries is in one half. Rules were written with the
*training* half in view; the *measured* half says how well they hold for what they were not written on; a few kinds of
its misses have been mended since. Of ``documented.jsonl`` both halves have been in view since: only the figure of the
day on which it was written tells of unseen answers.

``accuracy.py`` prints the figures of both halves, common detectors of blocks beside ours, the confusions of the
measured half and the times; ``--rows training`` prints that half's errors one by one.
"""

from __future__ import annotations

import argparse
import builtins
import hashlib
import json
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from egressor.dialects import NAMES, classify

if TYPE_CHECKING:
    from collections.abc import Callable

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
    errors, bans, documented = rows("errors.jsonl"), rows("bans.jsonl"), rows("documented.jsonl")
    for half in HALVES:
        print(f"{half} half:")
        print(f"  {figures([row for row in errors if half_of(row) == half])}")
        print(f"  {blocks([row for row in bans if half_of(row) == half])}")
        print(f"  documented: {figures([row for row in documented if half_of(row) == half])}")
    if wanted is not None:
        for row in errors + bans + documented:
            if half_of(row) == wanted and not is_right(row):
                print(told(row))
        return 0
    print(f"more answers: {blocks(rows('blocks.jsonl'))}")
    detectors(bans + rows("blocks.jsonl"))
    confusions([row for row in errors if half_of(row) == "measured"])
    speed(errors + documented)
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


def question(row: Row, *, whole: bool = True) -> tuple[BaseException | None, dict[str, Any]]:
    """
    Say what `classify` is asked about a row: the exception with the answer behind it, or (not *whole*) alone.
    """
    exc = rebuilt(row)
    if not whole and exc is not None:
        return exc, {}
    dialect = row.get("dialect", "generic") if row.get("dialect") in NAMES else "generic"
    status = row.get("http_status", row.get("status"))
    body = row.get("body_snippet") or row.get("body") or None
    return exc, {"status": status, "headers": row["headers"], "body": body, "dialect": dialect}


def verdict_of(row: Row, *, whole: bool = True) -> tuple[str, bool]:
    """
    Classify a row.
    """
    exc, words = question(row, whole=whole)
    verdict = classify(exc, **words)
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


def blocks(found: list[Row], is_block: Callable[[Row], bool] | None = None) -> str:
    """
    Say how many blocks are found by *is_block* (ours by default), and how many answers are wrongly called one.
    """
    ask = is_block or (lambda row: verdict_of(row)[0] in BLOCKS)
    real = [ask(row) for row in found if row["label"] == "block"]
    fine = [ask(row) for row in found if row["label"] != "block"]
    return f"blocks: recall {share(sum(real), len(real))}, false positives {share(sum(fine), len(fine))}"


def share(some: int, of: int) -> str:
    """
    Write a share with its numbers.
    """
    return f"{some / of:.3f} ({some}/{of})" if of else "none"


WORDS = ("blocked", "rate limit", "forbidden", "banned", "captcha", "access denied", "too many requests")
MARKERS = ("cloudflare", "datadome", "px-captcha", "_pxappid", "incapsula", "akamai", "edgesuite", "challenge-platform")
VENDORS = ("cf-ray", "cf-mitigated", "x-datadome", "x-iinfo", "x-sucuri-id", "x-sucuri-block", "x-amzn-waf-action")
COOKIES = ("_abck", "ak_bmsc", "bm_sz", "visid_incap", "datadome", "_px3", "cf_clearance")
MITIGATIONS = ("cf-mitigated", "x-amzn-waf-action", "x-vercel-mitigated", "x-sucuri-block")


def has_word(row: Row) -> bool:
    """
    Look for seven words in the whole body, as many crawlers do.
    """
    return any(word in row["body"].lower() for word in WORDS)


def has_vendor(row: Row) -> bool:
    """
    Look for a vendor's header or cookie.
    """
    headers = {name.lower(): value.lower() for name, value in row["headers"].items()}
    server = headers.get("server", "") + headers.get("x-cdn", "")
    cookies = headers.get("set-cookie", "")
    return (
        any(name in headers for name in VENDORS)
        or any(word in server for word in ("cloudflare", "akamai", "imperva"))
        or any(name in cookies for name in COOKIES)
    )


DETECTORS: dict[str, Callable[[Row], bool]] = {
    "7 words in the body": has_word,
    "7 words, status >= 400": lambda row: row["status"] >= 400 and has_word(row),
    "status 401, 403, 429": lambda row: row["status"] in {401, 403, 429},
    "status 403, 418, 429, 451, 503": lambda row: row["status"] in {403, 418, 429, 451, 503},
    "a vendor's header or cookie": has_vendor,
    "a vendor's mark in the body": lambda row: any(mark in row["body"].lower() for mark in MARKERS),
    "mitigation headers": lambda row: any(name.lower() in MITIGATIONS for name in row["headers"]),
}


def detectors(found: list[Row]) -> None:
    """
    Print what common detectors of blocks find on the same answers.
    """
    print("blocks, by common detectors and by ours, on all answers:")
    for name, ask in DETECTORS.items():
        print(f"  {name:32} {blocks(found, ask)}")
    print(f"  {'egressor':32} {blocks(found)}")


def confusions(found: list[Row]) -> None:
    """
    Print each label with what it was read as, the right ones first.
    """
    table = Counter((row["category"], verdict_of(row)[0]) for row in found)
    print("label -> read as, on the measured half:")
    for (label, kind), count in sorted(table.items(), key=lambda item: (item[0][0], item[0][0] != item[0][1])):
        print(f"  {label:20} {kind:20} {count:3}{'' if label == kind else '  <--'}")


def speed(found: list[Row]) -> None:
    """
    Print how long a verdict takes: the median and the longest of the cases, and of bodies of 64 KB.
    """
    answers = [({**row, "class": None}, True) for row in found if row["http_status"] is not None]
    raised = [(row, False) for row in found if row["class"] is not None]
    for name, some in (("answers", answers), ("exceptions alone", raised)):
        times = [micros(*question(row, whole=whole)) for row, whole in some]
        print(f"{name}: median {statistics.median(times):.0f} µs, longest {max(times):.0f} µs, of {len(times)}")
    big = [
        (micros(None, {"status": status, "headers": headers, "body": body, "dialect": dialect}), name, dialect)
        for dialect in NAMES
        for status in (200, 403, 429, 500)
        for name, headers, body in large()
    ]
    most, name, dialect = max(big)
    middle = statistics.median(each[0] for each in big)
    print(f"bodies of 64 KB: median {middle:.0f} µs, longest {most:.0f} µs ({name}, {dialect})")


def large() -> list[tuple[str, dict[str, str], str | bytes]]:
    """
    Make bodies of 64 KB: JSON with its code behind a long prompt, a page, words, a stream, nesting.
    """
    size = 65_536
    json_type, html_type = {"content-type": "application/json"}, {"content-type": "text/html"}
    text = "the request was denied, and so it goes on. " * (size // 43)
    behind = '{"error":{"message":"' + text + '","type":"x","code":"y"},"code":-1,"msg":"z"}'
    return [
        ("json", json_type, behind),
        ("json bytes", json_type, behind.encode()),
        ("page", html_type, "<html><head><title>A page</title></head><body>" + "<p>some words</p>" * (size // 17)),
        ("words", {"content-type": "text/plain"}, text),
        ("stream", {"content-type": "text/event-stream"}, 'data: {"error": {"message": "x"}}\n\n' * (size // 35)),
        ("nested", json_type, "[" * size),
        ("a page without words", html_type, "<" * size),
    ]


def micros(exc: BaseException | None, words: dict[str, Any]) -> float:
    """
    Return the microseconds of a verdict: the shortest of a hundred, since what is longer is the machine's other work.
    """
    times = []
    for _ in range(100):
        begin = time.perf_counter_ns()
        classify(exc, **words)
        times.append(time.perf_counter_ns() - begin)
    return min(times) / 1000


if __name__ == "__main__":
    sys.exit(main())
