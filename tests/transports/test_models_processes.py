"""
What a server says of one model, known to all processes on a store, by real processes: another model goes at once.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.faults.fleet import eventually
from tests.stores.servers import running
from tests.transports.upstream import Upstream, as_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.transports.upstream import Handler

CHILD = """
import json, sys
import httpx2
from egressor import Governor, WaitTooLong
from egressor.transports.httpx import Transport

store, url = sys.argv[1:]
services = {"llm": {"dialect": "openai", "limits": ["1000/minute"], "max_wait": 0, "retry": {"attempts": 1}}}
with Governor(services, store=store) as gov, httpx2.Client(transport=Transport(gov, "llm")) as client:
    print("ready", flush=True)
    for line in sys.stdin:
        try:
            said = client.post(url, json={"model": line.strip(), "messages": []}).status_code
        except WaitTooLong as refusal:
            said = refusal.retry_after
        print(json.dumps(said), flush=True)
"""
SAID = "Rate limit reached for gpt-a in organization org-x on tokens per min (TPM). Please try again in 60s."


class Child:
    """
    A process that asks whichever model it is told to.
    """

    def __init__(self, store: str, url: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, store, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def line(self) -> str:
        """
        Return its next line.
        """
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ask(self, model: str) -> float:
        """
        Return the status of the answer, or after how many seconds the model may be asked again.
        """
        assert self.process.stdin is not None
        self.process.stdin.write(f"{model}\n")
        self.process.stdin.flush()
        return float(json.loads(self.line()))


@contextmanager
def child(store: str, url: str) -> Iterator[Child]:
    """
    Run a process on *store* that is ready to ask.
    """
    made = Child(store, url)
    try:
        assert made.line() == "ready"
        yield made
    finally:
        made.process.kill()
        made.process.communicate()


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """
    The address of a store that is empty.
    """
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/e.db"
    else:
        with running() as server:
            yield server.address


def model(handler: Handler) -> None:
    """
    Refuse ``gpt-a`` for a minute, and answer for any other.
    """
    if json.loads(handler.server.upstream.received[-1].body)["model"] == "gpt-a":
        as_json({"error": {"message": SAID, "type": "tokens", "code": "rate_limit_exceeded"}}, 429)(handler)
    else:
        as_json({"choices": []})(handler)


def test_one_model_waits_and_another_goes_at_once_in_all_processes(store: str, upstream: Upstream) -> None:
    """
    One process is told that model A has to wait for a minute: nobody asks for A, and everybody may ask for B; a process
    that begins later knows it, too.
    """
    url = upstream.script("/v1/chat/completions", model)

    with child(store, url) as one, child(store, url) as two:
        assert [two.ask("gpt-b"), one.ask("gpt-a")] == [200, 429]
        eventually(lambda: two.ask("gpt-a") <= 66, "the other process hears of it")
        asked = len(upstream.received)
        assert [each.ask("gpt-b") for each in (one, two, one, two)] == [200] * 4
        assert all(40 < each.ask("gpt-a") <= 66 for each in (one, two))
    with child(store, url) as late:
        assert 30 < late.ask("gpt-a") <= 66
        assert late.ask("gpt-b") == 200

    assert len(upstream.received) == asked + 5
