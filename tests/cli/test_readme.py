"""
The configuration that the README shows, as a program.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.request import Request, urlopen

import pytest

from egressor.cli.findings import unpriced
from egressor.cli.main import main
from egressor.policies import from_services
from tests.cli.test_surroundings import gateway
from tests.docs.pages import ROOT, blocks

ASKED = {"model": "gpt-5-mini", "max_completion_tokens": 10, "messages": [{"role": "user", "content": "Say hello."}]}
ANSWER = {
    "model": "gpt-5-mini",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
}
URL = "https://api.openai.com/v1"


class _Model(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(ANSWER).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[str]:
    """
    A model on a spare port.
    """
    with ThreadingHTTPServer(("127.0.0.1", 0), _Model) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


def test_the_readmes_configuration_serves(tmp_path: Path, upstream: str) -> None:
    """
    Regression: it named no dialect, so that nothing had a price and each chat was refused, without a word before.
    """
    text = "".join(each.text for each in blocks(ROOT / "README.md") if each.language == "toml")
    assert URL in text
    with gateway(tmp_path / "g", text.replace(URL, upstream), {"OPENAI_API_KEY": "sk-test-1"}) as running:
        request = Request(  # noqa: S310 - our own URL
            running.url + "/openai/chat/completions",
            data=json.dumps(ASKED).encode(),
            headers={"Egressor-User": "u1", "content-type": "application/json"},
        )
        with urlopen(request, timeout=60) as answer:  # noqa: S310 - likewise
            found = answer.status, json.load(answer), float(answer.headers["Egressor-Cost-Usd"]) > 0
        running.end(15)
        errors = running.errors.read_text()

    assert (found, errors) == ((200, ANSWER, True), "")


@pytest.mark.parametrize(
    ("service", "keys"),
    [
        ({"budget": {"day": 1}}, ["services.a.budget"]),
        ({"budget": {"day": 1}, "dialect": "openai"}, []),
        ({"budget": {"unbounded": True}}, []),
        ({"rules": [{"match": {"user": "*"}, "budget": {"day": 1}}]}, ["services.a.rules[0].budget"]),
        ({"rules": [{"match": {"model": "m"}, "limits": ["1/day"]}]}, ["services.a.rules[0].match.model"]),
        ({"rules": [{"match": {"model": "m"}, "limits": ["1/day"]}], "dialect": "gemini"}, []),
        # Only functions are called by it, and they say what they cost.
        ({"budget": {"day": 1}, "base_url": None}, []),
    ],
)
def test_what_nobody_can_price_is_told(service: dict[str, Any], keys: list[str]) -> None:
    """
    A budget, or a rule by model, on a service whose requests nobody can read.
    """
    config = from_services({"a": {"base_url": "http://127.0.0.1:9", **service}})

    assert [each.key for each in unpriced(config)] == keys


def test_check_and_doctor_warn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    It is no mistake: calls may state what they cost.
    """
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    file = tmp_path / "egressor.toml"
    file.write_text('[services.a]\nbase_url = "http://127.0.0.1:9"\nbudget.day = 1.0\n')
    texts = []
    for command in ("check", "doctor"):
        assert main([command, "--config", str(file)]) == 0
        texts.append(capsys.readouterr().out)

    assert all("requests of the dialect generic have no price" in text for text in texts)
    assert "\nwarning: services.a.budget: " in texts[0]
    assert "would not start" not in "".join(texts)
