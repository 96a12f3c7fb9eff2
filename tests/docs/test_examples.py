"""
What the pages show runs, and prints what they say.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from egressor import Limit
from egressor.policies import from_table
from tests.docs.pages import DOCS, ROOT, blocks, codes, named, pages, rows, sections

if TYPE_CHECKING:
    from collections.abc import Iterator

_RUNNER = """
import contextlib, io, json, sys
printed, names = [], {"__name__": "__main__"}
for where, code in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(code, where, "exec"), names)
    printed.append(out.getvalue())
json.dump(printed, sys.stdout)
"""
_COMPLETION: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_800_000_000,
    "model": "gpt-5-mini",
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}
_JUDGEMENT = '{"score": 0.8, "confidence": 0.9}'


def _completion(text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {**_COMPLETION, "choices": [{"index": 0, "finish_reason": "stop", "message": message}]}


def _pieces(text: str) -> bytes:
    head = {**_COMPLETION, "object": "chat.completion.chunk", "usage": None}
    ends: list[tuple[dict[str, str], str | None]] = [({"content": text[:3]}, None), ({"content": text[3:]}, None)]
    ends.append(({}, "stop"))
    chunks = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": end}]} for delta, end in ends]
    chunks.append({**head, "choices": [], "usage": _COMPLETION["usage"]})
    return b"".join([*(f"data: {json.dumps(each)}\n\n".encode() for each in chunks), b"data: [DONE]\n\n"])


class _Model(BaseHTTPRequestHandler):
    """
    As much of an LLM API as the examples ask for.
    """

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """
        Answer every prompt with a greeting, in pieces if a stream is asked for, and with a judgement if JSON is.
        """
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        text = _JUDGEMENT if b"JSON Schema" in asked else "Hello."
        streams = b'"stream":true' in asked
        body = _pieces(text) if streams else json.dumps(_completion(text)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream" if streams else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """
        Stay silent.
        """


@pytest.fixture(scope="module")
def model() -> Iterator[str]:
    """
    Serve an LLM API on this machine; the value is its base URL.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Model)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


def run(code: list[tuple[str, str]], *, folder: Path, base_url: str) -> list[str]:
    """
    Run pieces of code one after the other in a fresh interpreter, and return what each of them prints.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("EGRESSOR_")}
    done = subprocess.run(
        # An example leaves its SDK's client open, as programs do.
        [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", "-c", _RUNNER],
        input=json.dumps(code),
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=60,
        check=False,
        env={**environment, "OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": "an-example"},
    )
    assert (done.stderr, done.returncode) == ("", 0)
    return list(json.loads(done.stdout))


_WITH_PYTHON = [path for path in pages() if any(block.language == "python" for block in blocks(path))]


@pytest.mark.parametrize("path", _WITH_PYTHON, ids=named)
def test_the_examples_of_a_page_run_and_print_what_it_shows(path: Path, model: str, tmp_path: Path) -> None:
    """
    A page's Python blocks run one after the other, and a text block below one is what it prints.
    """
    found = blocks(path)
    for block in found:
        first, _, rest = block.text.partition("\n")
        if block.language == "toml" and first.startswith("# ") and first.endswith(".toml"):
            (tmp_path / first.removeprefix("# ")).write_text(rest, encoding="utf-8")
    code = [(block.where, block.text) for block in found if block.language == "python"]
    shown = [
        (block.where, after.text)
        for block, after in pairwise(found)
        if (block.language, after.language) == ("python", "text")
    ]

    printed = dict(zip([where for where, _ in code], run(code, folder=tmp_path, base_url=model), strict=True))

    assert shown == [(where, printed[where]) for where, _ in shown]


def test_each_line_of_code_of_the_names_in_the_brief_runs(model: str, tmp_path: Path) -> None:
    """
    The table's lines run after the page's first block.
    """
    page = DOCS / "from-the-brief.md"
    lines = [cells[2].strip("`") for cells in rows(page.read_text(encoding="utf-8")) if len(cells) == 3]
    first = next(block for block in blocks(page) if block.language == "python")

    printed = run([(first.where, first.text), *(("a row", line) for line in lines)], folder=tmp_path, base_url=model)

    assert [""] * (len(lines) + 1) == printed
    assert len(lines) > 15


@pytest.mark.parametrize("cells", rows(sections("policies/limits.md")["Grammar"]), ids=lambda cells: cells[0])
def test_the_grammar_table_reads_as_it_says(cells: list[str]) -> None:
    """
    Each text of the table parses, to the canonical form beside it.
    """
    (text,), (canonical,) = codes(cells[0]), codes(cells[2])

    assert canonical == Limit(text).text


_TOML = [block for path in pages() for block in blocks(path) if block.language == "toml"]


@pytest.mark.parametrize("block", _TOML, ids=lambda block: block.where)
def test_each_toml_block_is_a_configuration(block: tuple[str, str, str]) -> None:
    """
    What stands in a toml block loads as it is.
    """
    table = tomllib.loads(block[2])

    assert set(table.get("services", {})) == set(from_table(table).services)


def test_the_gateway_of_the_readme_serves_an_sdk(model: str, tmp_path: Path) -> None:
    """
    The README's file and commands, with a base URL on this machine, answer the official SDK.
    """
    toml = next(block.text for block in blocks(ROOT / "README.md") if block.language == "toml")
    (tmp_path / "egressor.toml").write_text(toml.replace("https://api.openai.com/v1", model), encoding="utf-8")
    ask = 'import openai\nprint(openai.OpenAI(max_retries=0).chat.completions.create(model="m", messages=[]).model)'
    with subprocess.Popen(
        [sys.executable, "-m", "egressor.cli.main", "serve", "--port", "0"],
        cwd=tmp_path,
        env={**os.environ, "OPENAI_API_KEY": "an-example", "XDG_STATE_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as gateway:
        try:
            assert gateway.stdout is not None
            url = gateway.stdout.readline().split()[2]
            printed = run([("openai", ask)], folder=tmp_path, base_url=f"{url}/openai")
        finally:
            gateway.terminate()
            gateway.communicate(timeout=20)

    assert printed == ["gpt-5-mini\n"]
    assert gateway.returncode == 0
