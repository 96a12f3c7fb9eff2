"""
What clients do to a proxy: `wrk` with as many connections as are asked for, streams that are read as they come, and
an offer that keeps its rate whatever becomes of it.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from bench.fronts import KEY, MODEL
from bench.relayed import Load, read
from bench.servers import program
from bench.upstream import SIZE

__all__ = ["CHAT", "Answer", "hammer", "offer", "share_of", "streams"]

CHAT = "/v1/chat/completions"
"""
The path of a chat completion.
"""

_HEADERS = {
    "Authorization": f"Bearer {KEY}",
    "Content-Type": "application/json",
    "Egressor-Priority": "high",
}
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *([0-9]+)")
_NUMBER = "0" * 16
_NUMBERED = """\
local number = {first}
request = function()
    number = number + 1
    return wrk.format(nil, nil, nil, {before} .. string.format("%016.0f", number) .. {behind})
end"""
_PATIENCE = 120.0
_ENOUGH = 4096


class Answer(NamedTuple):
    """
    What became of one request.

    Attributes:
        at: When it was due, in seconds from the beginning.
        status: The status; 0 if there was no answer.
        took: Seconds from then to the end of the answer.
    """

    at: float
    status: int
    took: float


def _chat(*, tokens: int, is_stream: bool) -> str:
    """
    Return a request that may be cached. Where `_NUMBER` stands in it, each has another number, so that none is.
    """
    fields = {
        "model": MODEL,
        "temperature": 0,
        "max_tokens": tokens,
        "stream": is_stream,
        "messages": [{"role": "user", "content": _NUMBER}],
    }
    text = json.dumps(fields, separators=(",", ":"))
    return text.replace(_NUMBER, _NUMBER + "x" * (SIZE - len(text)))


def _first() -> int:
    # Whoever comes later begins with a number that nobody has had.
    return time.time_ns() // 1000


def hammer(url: str, folder: Path, *, method: str, connections: int, seconds: float) -> Load:
    """
    Let `wrk` send requests of *method*, ``GET`` or ``POST``, to *url* over so many *connections*.

    Args:
        url: The proxy's URL.
        folder: Where `wrk`'s script may be written.
        method: ``POST`` sends chat completions of 1 KiB, no two of them the same.
        connections: How many, each with one request at a time.
        seconds: How long.
    """
    executable = program("wrk")
    assert executable is not None, "wrk is not installed"
    script = folder / f"{method}.lua"
    lines = [f"wrk.method = {json.dumps(method)}"]
    lines += [f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in _HEADERS.items()]
    if method == "POST":
        before, _, behind = _chat(tokens=50, is_stream=False).partition(_NUMBER)
        lines.append(_NUMBERED.format(first=_first(), before=json.dumps(before), behind=json.dumps(behind)))
    script.write_text("\n".join(lines), encoding="utf-8")
    length = f"-d{max(1, round(seconds))}s"
    target = f"{url}{CHAT if method == 'POST' else '/page.txt'}"
    command = [executable, "-t1", f"-c{connections}", length, "--latency", "--timeout", "60s", "-s", str(script)]
    return read(
        subprocess.run([*command, target], capture_output=True, text=True, timeout=seconds + 90, check=True).stdout
    )


async def streams(url: str, *, number: int, events: int) -> int:
    """
    Read *number* streams of *events* each, all at once, and return how many pieces they came in.

    Raises:
        AssertionError: A stream had another number of events.
    """
    first = _first()
    return sum(await asyncio.gather(*(_stream(url, events, first + each) for each in range(number))))


async def _stream(url: str, events: int, number: int) -> int:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    body = _chat(tokens=events, is_stream=True).replace(_NUMBER, f"{number:016}").encode()
    writer.write(_request("POST", f"{parts.path}{CHAT}", parts.netloc, body))
    text, pieces = bytearray(), 0
    try:
        async with asyncio.timeout(_PATIENCE):
            while not text.endswith(b"0\r\n\r\n"):
                piece = await reader.read(1 << 16)
                assert piece, f"the stream broke after {len(text)} bytes"
                text += piece
                pieces += 1
    finally:
        writer.close()
    found = text.count(b"data: {")
    # LiteLLM adds a last one of its own.
    assert events <= found <= events + 1, f"{found} events in place of {events}"
    return pieces


def _request(method: str, path: str, host: str, body: bytes = b"") -> bytes:
    fields = {"Host": host, **_HEADERS, "Content-Length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


class _Caller(asyncio.Protocol):
    """
    A connection that sends one request at a time.
    """

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.answered: asyncio.Future[int] | None = None
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment] # uvloop's are no subclass of asyncio's

    def data_received(self, data: bytes) -> None:
        self._held += data
        end = self._held.find(b"\r\n\r\n") + 4
        length = _LENGTH.search(self._held, 0, end) if end >= 4 else None
        if length is not None and len(self._held) >= end + int(length[1]):
            status, self._held = int(self._held[9:12]), b""
            self._end(status)

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: ARG002 - asyncio's word
        self.transport = None
        self._end(0)

    def _end(self, status: int) -> None:
        if self.answered is not None and not self.answered.done():
            self.answered.set_result(status)


async def offer(url: str, *, rates: list[tuple[float, float]]) -> list[Answer]:
    """
    Send requests to *url* at the rates that are given, each with its seconds, however long the answers take.

    Returns:
        What became of each, in the order in which they were due.
    """
    parts = urlsplit(url)
    target = _request("GET", parts.path, parts.netloc)
    idle: list[_Caller] = []
    started = time.perf_counter()

    async def one(at: float) -> Answer:
        try:
            async with asyncio.timeout(_PATIENCE):
                status = await _asked(idle, parts.hostname or "", parts.port or 0, target)
        except OSError:
            status = 0
        return Answer(at, status, time.perf_counter() - started - at)

    tasks: list[asyncio.Task[Answer]] = []
    for at in _times(rates):
        if (ahead := started + at - time.perf_counter()) > 0:
            await asyncio.sleep(ahead)
        tasks.append(asyncio.create_task(one(at)))
    answers = await asyncio.gather(*tasks)
    for caller in idle:
        if caller.transport is not None:
            caller.transport.close()
    return answers


def _times(rates: list[tuple[float, float]]) -> list[float]:
    times: list[float] = []
    begun = 0.0
    for rate, seconds in rates:
        times += [begun + number / rate for number in range(round(rate * seconds))]
        begun += seconds
    return times


async def _asked(idle: list[_Caller], host: str, port: int, request: bytes) -> int:
    loop = asyncio.get_running_loop()
    caller = idle.pop() if idle else None
    if caller is None or caller.transport is None:
        _, caller = await loop.create_connection(_Caller, host, port)
    assert caller.transport is not None
    answered = caller.answered = loop.create_future()
    caller.transport.write(request)
    status = await answered
    if caller.transport is not None and len(idle) < _ENOUGH:
        idle.append(caller)
    return int(status)


def share_of(values: list[float], share: float) -> float:
    """
    Return the value that *share* of *values* don't exceed; 0 for none.
    """
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else 0.0
