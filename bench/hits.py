"""
What an answer from the cache costs: `python -m bench.hits`.

Each figure is the median over rounds of the CPU time of one hit, on requests as an SDK sends them. A hit is measured
three times: as the call alone (key, lookup, and what the driver gets), as a whole request of an httpx2 client through
its transport, and the same with nothing in memory, so that the file of a store in SQLite is read each time.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2

from bench.measure import machine
from egressor import Governor
from egressor.governor.route import Options
from egressor.governor.streams import open_call
from egressor.transports.httpx import Transport

_ROUNDS = 15
_EACH = 400
_URL = "https://api.example/v1/chat/completions"
_BODY = json.dumps({"model": "m", "temperature": 0, "messages": [{"role": "user", "content": "word " * 200}]}).encode()
_SAID = json.dumps({"id": "1", "choices": [{"index": 0, "message": {"content": "word " * 100}}]}).encode()
_HEADERS = [
    ("accept", "application/json"),
    ("accept-encoding", "gzip, deflate"),
    ("authorization", "Bearer sk-0123456789abcdef0123456789abcdef"),
    ("content-length", str(len(_BODY))),
    ("content-type", "application/json"),
    ("user-agent", "OpenAI/Python 3.5.0"),
    *[(f"x-stainless-{name}", "value") for name in ("arch", "async", "lang", "os", "package-version", "retry-count")],
]


class _Api(httpx2.BaseTransport):
    def handle_request(self, _request: httpx2.Request) -> httpx2.Response:
        headers = {"content-type": "application/json", "content-length": str(len(_SAID))}
        return httpx2.Response(200, headers=headers, stream=httpx2.ByteStream(_SAID))


def _governor(store: str) -> Governor:
    return Governor({"api": {"dialect": "openai", "cache": {}}}, store=store)


def _call(gov: Governor) -> Callable[[], object]:
    route = gov.route("api", Options())

    def hit() -> object:
        memory = gov.context.caches.memory(route, method="POST", url=_URL, headers=_HEADERS, body=_BODY)
        return open_call(route, None, idempotent=False, memory=memory).value  # type: ignore[arg-type]

    return hit


def _request(client: httpx2.Client) -> Callable[[], object]:
    def hit() -> object:
        answer = client.post(_URL, content=_BODY, headers=_HEADERS)
        assert answer.content == _SAID
        return answer

    return hit


def _forgetting(gov: Governor, hit: Callable[[], object]) -> Callable[[], object]:
    caches: Any = gov.context.caches

    def anew() -> object:
        shelf = caches._known["api"].shelf  # noqa: SLF001 - so that the file is read
        for key in list(shelf._kept):  # noqa: SLF001
            shelf.drop(key)
        return hit()

    return anew


def _microseconds(hit: Callable[[], object]) -> float:
    rounds = []
    for _ in range(_ROUNDS):
        began = time.process_time_ns()
        for _ in range(_EACH):
            hit()
        rounds.append((time.process_time_ns() - began) / _EACH / 1000)
    return statistics.median(rounds)


def main() -> None:
    """
    Measure, and print a table.
    """
    print(machine())
    print("| a hit | CPU, microseconds |\n|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for store in ("memory:", f"sqlite:///{Path(folder) / 'e.db'}"):
            with _governor(store) as gov, httpx2.Client(transport=Transport(gov, "api", inner=_Api())) as client:
                request, call = _request(client), _call(gov)
                request()
                if store != "memory:":
                    caches: Any = gov.context.caches
                    assert caches._file.flush()  # noqa: SLF001 - what is measured must be there
                    call, request = _forgetting(gov, call), _forgetting(gov, request)
                shown = store.partition(":")[0]
                print(f"| {shown}, a whole request of httpx2 | {_microseconds(request):.0f} |")
                print(f"| {shown}, the call alone | {_microseconds(call):.0f} |")
    with httpx2.Client(transport=_Api()) as bare:
        print(
            f"| none: a request of httpx2 to a transport that answers at once | {_microseconds(_request(bare)):.0f} |"
        )


if __name__ == "__main__":
    main()
