"""
Judges that know nothing of the gateway: an upstream that notes every byte, and a listener that nobody may reach.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


class Seen(NamedTuple):
    """
    One request, as its bytes say it.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """
        The value of a header; None if it isn't there once.
        """
        found = [value for each, value in self.headers if each.lower() == name]
        return found[0] if len(found) == 1 else None


@dataclass
class Notes:
    """
    What an upstream has got.

    Attributes:
        url: Where it is.
        requests: What it could read.
        odd: Bytes that are no request by the letter.
        connections: How often it was dialled.
    """

    url: str = ""
    requests: list[Seen] = field(default_factory=list)
    odd: list[bytes] = field(default_factory=list)
    connections: int = 0

    @property
    def port(self) -> int:
        """
        Where it listens.
        """
        return int(self.url.rpartition(":")[2])


_LINE = re.compile(rb"([A-Z][A-Z0-9_-]*) ([!-~]+) HTTP/1\.[01]")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*((?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)[ \t]*")


@asynccontextmanager
async def upstream(answer: bytes = b"ok") -> AsyncIterator[Notes]:
    """
    Answer each request with *answer*, and hand out the notes.
    """
    notes = Notes()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        notes.connections += 1
        try:
            while (seen := await _request(reader, notes)) is not None:
                notes.requests.append(seen)
                body = b"" if seen.method == "HEAD" else answer
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), body))
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, limit=1 << 22)
    notes.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield notes
    finally:
        server.close()


async def _request(reader: asyncio.StreamReader, notes: Notes) -> Seen | None:
    """
    Read one request by the letter; what is none is noted, and ends the connection.
    """
    head = b""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        line, *lines = head[:-4].split(b"\r\n")
        words = _LINE.fullmatch(line)
        fields = [_FIELD.fullmatch(each) for each in lines]
        pairs = tuple((each[1].decode(), each[2].decode("latin-1")) for each in fields if each is not None)
        if words is None or len(pairs) < len(fields):
            notes.odd.append(head)
            return None
        lengths = [value for name, value in pairs if name.lower() == "content-length"]
        codings = [value for name, value in pairs if name.lower() == "transfer-encoding"]
        if len(lengths) + len(codings) > 1 or any(each != "chunked" for each in codings):
            notes.odd.append(head)
            return None
        body = await _chunks(reader) if codings else await reader.readexactly(int(lengths[0]) if lengths else 0)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
        rest = getattr(error, "partial", b"?")
        if head or rest:
            notes.odd.append(head + rest)
        return None
    return Seen(words[1].decode(), words[2].decode(), pairs, body)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readuntil(b"\r\n"))[:-2], 16):
        body += await reader.readexactly(size)
        if await reader.readexactly(2) != b"\r\n":
            raise ValueError
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass
    return body


async def ask(
    place: int | Path, data: bytes, *, enough: Callable[[bytes], bool] = lambda _: False, patience: float = 20.0
) -> tuple[list[int], bytes, bool]:
    """
    Send *data* to a port or socket; return the statuses that come back, all bytes, and whether the other side hung up.

    Args:
        place: The port, or the socket.
        data: What is sent.
        enough: Whether what has come back is all that is waited for.
        patience: Seconds in which nothing comes, after which the connection is left.
    """
    if isinstance(place, int):
        reader, writer = await asyncio.open_connection("127.0.0.1", place)
    else:
        reader, writer = await asyncio.open_unix_connection(place)
    out = b""
    hung_up = False
    try:
        writer.write(data)
        while not hung_up and not enough(out):
            async with asyncio.timeout(patience):
                piece = await reader.read(1 << 16)
            out += piece
            hung_up = not piece
    except TimeoutError:
        pass
    except ConnectionError:
        hung_up = True
    finally:
        writer.transport.abort()
    return [int(each) for each in re.findall(rb"HTTP/1\.[01] (\d{3}) ", out)], out, hung_up


def answers(count: int) -> Callable[[bytes], bool]:
    """
    Return the test whether *count* answers have come, to the end of their heads.
    """
    return lambda out: len(re.findall(rb"HTTP/1\.[01] [2-5]\d\d [^\n]*\n(?:[^\r\n][^\n]*\n)*\r\n", out)) >= count
