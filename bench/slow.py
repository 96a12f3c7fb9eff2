"""
Clients that are slow on purpose: heads and bodies that come byte by byte, and answers that nobody reads.

Each holds a connection, and opens another one when it is cut off. A line on standard output says when all are there.

``python -m bench.slow URL HEADS BODIES READERS``
"""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import suppress
from urllib.parse import urlsplit

import uvloop

# Seconds between two bytes of one client.
_EVERY = 2.0
# More than the buffers between an upstream and its reader hold.
_ANSWER = 4 << 20
_BODY = 1 << 20
_UNREAD = 4096


async def main(url: str, heads: int, bodies: int, readers: int) -> None:
    """
    Hold so many slow connections of each kind to *url* until the process is ended.
    """
    parts = urlsplit(url)
    host = f"HTTP/1.1\r\nHost: {parts.netloc}\r\n"
    head = f"GET {parts.path}/page.txt {host}X-Slow: "
    body = f"POST {parts.path}/page.txt {host}Content-Length: {_BODY}\r\n\r\n"
    unread = f"GET {parts.path}/bytes/{_ANSWER} {host}\r\n"
    beginnings = [head] * heads + [body] * bodies + [unread] * readers
    begun = [asyncio.Event() for _ in beginnings]
    tasks = []
    for beginning, event in zip(beginnings, begun, strict=True):
        tasks.append(
            asyncio.create_task(
                _client(parts.hostname or "", parts.port or 0, beginning, event, writes=beginning != unread)
            )
        )
        # A backlog that is full would show how patient the kernel is.
        await asyncio.sleep(0.001)
    for event in begun:
        await event.wait()
    print("all are there", flush=True)
    await asyncio.gather(*tasks)


async def _client(host: str, port: int, beginning: str, begun: asyncio.Event, *, writes: bool) -> None:
    while True:
        # uvloop says RuntimeError of a connection that has ended a moment ago.
        with suppress(OSError, RuntimeError):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _UNREAD)
            sock.settimeout(0.0)
            await asyncio.get_running_loop().sock_connect(sock, (host, port))
            reader, writer = await asyncio.open_connection(sock=sock, limit=_UNREAD)
            writer.write(beginning.encode())
            begun.set()
            while not reader.at_eof() and not writer.is_closing():
                await asyncio.sleep(_EVERY)
                if writes:
                    writer.write(b"x")
            writer.close()
        await asyncio.sleep(_EVERY)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], *map(int, sys.argv[2:5])))
