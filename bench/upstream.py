"""
An upstream that costs next to nothing: it answers each request with bytes that are prepared, whatever it asks for.

``GET`` gives a page of 1 KiB, and ``POST`` a chat completion of that size, or as many events as ``max_tokens`` says if
the body has ``"stream":true``. A path that ends in ``/wait/N`` is answered after N milliseconds, and one that ends in
``/bytes/N`` with so many bytes.

``python -m bench.upstream PORT``
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sys
from functools import cache

import uvloop

__all__ = ["PAUSE", "SIZE"]

SIZE = 1024
"""
Bytes of a plain answer's body.
"""

PAUSE = 0.005
"""
Seconds between two events: a proxy that is given several at once passes them on as one.
"""

_UNSENT = 1 << 16
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *([0-9]+)")
_WAIT = re.compile(rb"/wait/([0-9]+) ")
_BYTES = re.compile(rb"/bytes/([0-9]+) ")
_TOKENS = re.compile(rb'"max_tokens":([0-9]+)')
_PLAIN = b"Content-Type: text/plain\r\n"
_JSON = b"Content-Type: application/json\r\n"


def _whole(kind: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s" % (kind, len(body), body)


@cache
def _large(size: int) -> bytes:
    # Hundreds that nobody reads are one and the same.
    return _whole(_PLAIN, bytes(size))


def _completion() -> bytes:
    answer = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "gpt-4o-mini",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "x" * 720}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 180, "total_tokens": 192},
    }
    body = json.dumps(answer).encode()
    return body + b" " * (SIZE - len(body))


def _event(number: int) -> bytes:
    event = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "gpt-4o-mini",
        "choices": [{"index": 0, "delta": {"content": f" word{number}"}, "finish_reason": None}],
    }
    text = json.dumps(event)
    return f"{len(text) + 8:x}\r\ndata: {text}\n\n\r\n".encode()


# Some proxies end a stream that says the same again and again.
_CHUNKS = [_event(number) for number in range(10)]
_GET = _whole(_PLAIN, b"x" * SIZE)
_POST = _whole(_JSON, _completion())
_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Connection(asyncio.Protocol):
    """
    One connection, which answers its requests one after the other.
    """

    def __init__(self) -> None:
        self._held = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """
        Begin.
        """
        self._transport = transport  # type: ignore[assignment] # uvloop's are no subclass of asyncio's

    def data_received(self, data: bytes) -> None:
        """
        Answer each request that is whole.
        """
        self._held += data
        while (end := self._held.find(b"\r\n\r\n") + 4) >= 4:
            head = self._held[:end]
            length = _LENGTH.search(head)
            whole = end + (int(length[1]) if length else 0)
            if len(self._held) < whole:
                return
            body, self._held = self._held[end:whole], self._held[whole:]
            self._answer(head, body)

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: ARG002 - asyncio's word
        """
        Forget the other side.
        """
        self._transport = None

    def _answer(self, head: bytes, body: bytes) -> None:
        if b'"stream":true' in body:
            tokens = _TOKENS.search(body)
            self._send(_STREAM)
            self._stream(int(tokens[1]) if tokens else 1)
            return
        answer = _GET if head.startswith(b"GET ") else _POST
        if (size := _BYTES.search(head)) is not None:
            answer = _large(int(size[1]))
        if (wait := _WAIT.search(head)) is not None:
            asyncio.get_running_loop().call_later(int(wait[1]) / 1000, self._send, answer)
        else:
            self._send(answer)

    def _stream(self, left: int) -> None:
        if left:
            self._send(_CHUNKS[left % len(_CHUNKS)])
            asyncio.get_running_loop().call_later(PAUSE, self._stream, left - 1)
        else:
            self._send(b"0\r\n\r\n")

    def _send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


async def main(port: int) -> None:
    """
    Serve on *port* of this machine until the process is ended.
    """
    sock = socket.create_server(("127.0.0.1", port), backlog=4096)
    # Accepted ones have it, too. What an upstream keeps of answers that nobody reads would be on another machine: here
    # it would bring the kernel's memory for connections to its bound, which slows everyone.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNSENT)
    server = await asyncio.get_running_loop().create_server(Connection, sock=sock, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
