"""
The generic reader on what real clients raise when a real server, or the lack of one, lets them down.

The slow server never answers: it is a socket that listens and that nobody accepts from, so that a client's own time-out
ends the call.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import aiohttp
import anthropic
import httpx
import httpx2
import openai
import pytest
import requests

from egressor._core.classify import classify
from egressor.errors import CircuitOpen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from egressor._core.model import Verdict

PATIENCE = 1.0
QUOTA = json.dumps({"error": {"type": "insufficient_quota", "code": "insufficient_quota", "message": "x"}}).encode()


class Handler(BaseHTTPRequestHandler):
    """
    Answer with the status in the path; reset, truncate and redirect on request.
    """

    def do_GET(self) -> None:
        """
        Serve ``/429``, ``/429/quota``, ``/html``, ``/reset``, ``/loop``.
        """
        self.rfile.read(int(self.headers.get("content-length", 0)))
        word = self.path.split("/")[1]
        if word == "reset":
            # A linger of zero makes close() send RST, as a crashing server's kernel does.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            return
        body = QUOTA if "quota" in self.path else b"<html>"
        self.send_response(302 if word == "loop" else 200 if word == "html" else int(word))
        self.send_header("location", "/loop")
        self.send_header("retry-after", "7")
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - http.server's own way to name a method

    def log_message(self, *args: object) -> None:
        """
        Keep quiet.
        """


class Server(ThreadingHTTPServer):
    """
    A server that expects its clients' accidents.
    """

    def handle_error(self, *args: object) -> None:
        """
        Ignore what the reset leaves behind.
        """


@contextmanager
def silent_socket(*, listening: bool) -> Iterator[str]:
    """
    Hold a port that takes connections and never answers, or one that refuses them.
    """
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        if listening:
            holder.listen(64)
        yield f"http://127.0.0.1:{holder.getsockname()[1]}"


@pytest.fixture(scope="module")
def urls() -> Iterator[dict[str, str]]:
    """
    Start the servers, and name the URL of each accident.
    """
    with Server(("127.0.0.1", 0), Handler) as server, silent_socket(listening=True) as slow:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        with silent_socket(listening=False) as dead:
            paths = {word: f"{base}/{word}" for word in ("429", "503", "429/quota", "html", "reset", "loop")}
            yield {**paths, "slow": slow, "refused": dead, "tls": base.replace("http:", "https:")}
        server.shutdown()


def by_httpx(url: str) -> None:
    """
    Ask with httpx.
    """
    httpx.get(url, timeout=PATIENCE, follow_redirects=True).raise_for_status().json()


def by_httpx2(url: str) -> None:
    """
    Ask with httpx2.
    """
    httpx2.get(url, timeout=PATIENCE, follow_redirects=True).raise_for_status().json()


def by_requests(url: str) -> None:
    """
    Ask with requests.
    """
    response = requests.get(url, timeout=PATIENCE)
    response.raise_for_status()
    response.json()


def by_urllib(url: str) -> None:
    """
    Ask with the standard library.
    """
    with urllib.request.urlopen(url, timeout=PATIENCE) as response:  # noqa: S310 - our own URL
        json.load(response)


def by_aiohttp(url: str) -> None:
    """
    Ask with aiohttp.
    """

    async def ask() -> None:
        timeout = aiohttp.ClientTimeout(total=PATIENCE)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            response.raise_for_status()
            await response.json()

    asyncio.run(ask())


def by_openai(url: str) -> None:
    """
    Ask with OpenAI's SDK.
    """
    with openai.OpenAI(api_key="k", base_url=url, max_retries=0, timeout=PATIENCE) as client:
        client.post("", cast_to=object)


def by_anthropic(url: str) -> None:
    """
    Ask with Anthropic's SDK.
    """
    with anthropic.Anthropic(api_key="k", base_url=url, max_retries=0, timeout=PATIENCE) as client:
        client.post("", cast_to=object)


def verdict_of(ask: Callable[[str], None], url: str) -> Verdict:
    """
    Have the accident, and read it.
    """
    with pytest.raises(Exception) as raised:  # noqa: PT011 - each client has its own
        ask(url)
    verdict = classify(raised.value)
    if isinstance(raised.value, urllib.error.HTTPError):
        # It is the response as well, and keeps its socket.
        raised.value.close()
    return verdict


HTTP = [by_httpx, by_httpx2, by_requests, by_urllib, by_aiohttp]
SDKS = [by_openai, by_anthropic]


@pytest.mark.parametrize("ask", [*HTTP, *SDKS])
@pytest.mark.parametrize(
    ("accident", "category", "retryable", "may_have_run", "retry_after"),
    [
        ("429", "rate_limit", True, False, 7.0),
        ("503", "server_error", True, False, 7.0),
        ("slow", "timeout", True, True, None),
        ("reset", "network", True, True, None),
        ("refused", "network", True, False, None),
        ("tls", "network", False, False, None),
    ],
)
def test_accidents(
    ask: Callable[[str], None],
    urls: dict[str, str],
    accident: str,
    category: str,
    *,
    retryable: bool,
    may_have_run: bool,
    retry_after: float | None,
) -> None:
    """
    The same accident is the same verdict, whichever client had it.
    """
    verdict = verdict_of(ask, urls[accident])

    expected = (category, retryable, may_have_run, retry_after)
    assert expected == (verdict.category, verdict.retryable, verdict.may_have_run, verdict.retry_after)


@pytest.mark.parametrize("ask", HTTP)
@pytest.mark.parametrize(("accident", "retryable"), [("html", True), ("loop", False)])
def test_broken_contracts(ask: Callable[[str], None], urls: dict[str, str], accident: str, *, retryable: bool) -> None:
    """
    A page where JSON was due may be gone next time; a loop of redirects won't.
    """
    verdict = verdict_of(ask, urls[accident])

    assert (verdict.category, verdict.retryable) == ("bad_response", retryable)


@pytest.mark.parametrize("ask", [by_httpx, by_httpx2, by_requests, *SDKS])
def test_spent_quota(ask: Callable[[str], None], urls: dict[str, str]) -> None:
    """
    A 429 whose body says that the money is spent is not waited for, where the client keeps the body.
    """
    verdict = verdict_of(ask, urls["429/quota"])

    assert verdict.fingerprint == "http.429.insufficient_quota"


def test_unread_stream_stays_unread(urls: dict[str, str]) -> None:
    """
    Reading a response that still streams leaves its body to whoever asked for it.
    """
    with requests.get(urls["503"], timeout=5, stream=True) as response:
        verdict = classify(response)

        assert verdict.fingerprint == "http.503"
        assert response.content == b"<html>"


def test_refusal_through_an_sdk() -> None:
    """
    A refusal raised in the transport is found inside what an SDK raises.
    """

    def refuse(request: Any) -> Any:
        message = "open"
        raise CircuitOpen(message)

    http = httpx2.Client(transport=httpx2.MockTransport(refuse))
    with openai.OpenAI(api_key="k", max_retries=0, http_client=http) as client, pytest.raises(Exception) as raised:  # noqa: PT011
        client.models.list()

    assert classify(raised.value).fingerprint == "rejected.circuit_open"
