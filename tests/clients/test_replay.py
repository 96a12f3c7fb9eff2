"""
What an answer is at the transport, it is as the exception that a client library makes of it.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.clients.rows import OTHERS, ROOT

# A client's process imports much, and sends each of its answers over a socket.
pytestmark = pytest.mark.timeout(300)

MOST = 40
CORPUS = Path(__file__).parent.parent / "corpora" / "documented.jsonl"
EXCHANGES = ("binance", "bybit", "okx", "kraken", "kucoin", "gate", "deribit", "bitget", "htx", "mexc")
# Which services' answers each client gets.
OF: dict[str, tuple[str, ...]] = {
    "aiogram": ("telegram",),
    "anthropic": ("anthropic",),
    "ccxt": EXCHANGES,
    "google_genai": ("gemini",),
    "groq": ("groq",),
    "httpx": ("generic", "github", "discord"),
    "mistralai": ("mistral",),
    "openai": ("openai", "azure", "openrouter", "deepseek"),
    "praw": ("reddit",),
    "pybit": ("bybit",),
    "python_binance": ("binance",),
    "python_telegram_bot": ("telegram",),
    "requests": ("generic", "coingecko"),
    "tweepy": ("x",),
}
# What a client has lost for good: pybit retries these three times, and then makes up an error of its own.
LOST = (
    *(("pybit", sign) for sign in ('"retCode":10002', '"retCode":10006', "CloudFront")),
    # One class for all of 500 and above, without the status.
    ("aiogram", '"error_code":504'),
)


def answers(client: str) -> list[dict[str, Any]]:
    """
    Pick at most 40 labelled answers of the client's services, evenly.
    """
    rows = [json.loads(line) for line in CORPUS.read_text("utf-8").splitlines()]
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for row in rows:
        is_answer = row["http_status"] is not None and row["http_status"] != 302
        if is_answer and row["dialect"] in OF[client] and not row["source"].startswith("raised"):
            answer = {"status": row["http_status"], "headers": row["headers"], "body": row["body_snippet"]}
            found[row["http_status"], row["body_snippet"]] = {**answer, "dialect": row["dialect"]}
    every = list(found.values())
    return every[:: max(1, -(-len(every) // MOST))]


def is_lost(client: str, row: dict[str, Any]) -> bool:
    """
    Whether the client is known to drop what this answer said.
    """
    body = row["body"].replace(" ", "")
    return any(name == client and sign in body for name, sign in LOST)


@pytest.mark.parametrize("client", OF)
def test_the_exception_says_what_the_answer_said(client: str) -> None:
    """
    Category and word on retrying are the same for an answer and for what the client raises at it.
    """
    rows = [row for row in answers(client) if not is_lost(client, row)]
    asked = {"src": str(ROOT / "src"), "client": client, "rows": rows, "named": True}
    command = [str(OTHERS), str(Path(__file__).with_name("replay.py"))]
    ran = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = json.loads(ran.stdout)
    raised = [(row, *each) for row, each in zip(rows, found, strict=True) if each[1] is not None]
    # A client that hands an error out as data has raised nothing, and a success is none.
    differing = [
        (row["status"], row["body"][:100], at_transport, of_error, error)
        for row, at_transport, of_error, error in raised
        if at_transport[0] is not None and at_transport[:2] != of_error[:2]
    ]

    assert len(raised) >= len(rows) * 0.7
    assert differing == []
