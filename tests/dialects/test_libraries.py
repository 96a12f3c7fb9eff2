"""
Exceptions of client libraries, rebuilt by module, name and bases, and read without their answer where they hold none.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from egressor.dialects import classify


def raised(path: str, *bases: str, message: str = "", **attributes: object) -> Exception:
    """
    Build an exception of the class *path*, whose bases are *bases*, nearest first.
    """
    kind: type = Exception
    for each in [*reversed(bases), path]:
        module, _, name = each.rpartition(".")
        kind = type(name, (kind,), {"__module__": module})
    exc: Exception = kind(message)
    exc.__dict__.update(attributes)
    return exc


ROWS: list[dict[str, Any]] = [
    json.loads(line) for line in Path(__file__).with_name("raised.jsonl").read_text("utf-8").splitlines()
]


@pytest.mark.parametrize("position", range(len(ROWS)))
def test_an_exception_alone(position: int) -> None:
    """
    The class, the provider's code in its message, and its sentences are enough where nothing else is there.
    """
    row = ROWS[position]
    verdict = classify(raised(row["class"], *row["bases"], message=row["message"], **row["attributes"]))

    assert (row["category"], row["retryable"]) == (verdict.category, verdict.retryable), verdict.why
    assert "the rest of it can't be read" not in verdict.why


def test_a_wrapped_exception_names_its_library() -> None:
    """
    A user's own exception around a library's is read by the library's dialect.
    """
    inner = raised("pybit.exceptions.InvalidRequestError", message="x (ErrCode: 10006) (ErrTime: 1)")
    outer = RuntimeError("it broke")
    outer.__cause__ = inner

    assert classify(outer).category == "rate_limit"


@pytest.mark.parametrize("module", ["aiohttp.client_exceptions", "httpx"])
def test_a_clients_words_are_no_providers(module: str) -> None:
    """
    Regression: "Not enough data" of a body that broke off was read as a word on a balance.
    """
    broken = raised(f"{module}.ReadError", message="Not enough data to satisfy content length header")

    assert classify(broken, dialect="kraken").category == "network"
