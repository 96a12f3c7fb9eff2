"""
A request on its way out, made of aiohttp's parts without its session.

A session follows redirects, keeps cookies, repeats requests, adds headers, and starts a task for each body. All of that
is wrong in a gateway, and switching it off still costs a fifth of what a request does. What is left takes a connection
from the pool, writes, and waits for the answer's head.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from aiohttp import ClientRequest, ClientTimeout, hdrs
from aiohttp.http import StreamWriter
from multidict import CIMultiDict

if TYPE_CHECKING:
    from aiohttp import BaseConnector, ClientResponse
    from aiohttp.connector import Connection

__all__ = ["Outgoing", "begin"]

_BUFFER = 1 << 16
_FIELD = 1 << 16
# Longer bodies are written as their upstream takes them, and not copied into a buffer whole.
_LONG = 1 << 17
_FIELDS = 256
# How long a request may take is the caller's to bound.
_PATIENT = ClientTimeout(total=None)
_SILENT: CIMultiDict[None] = CIMultiDict(
    (name, None) for name in (hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE)
)


class Outgoing(ClientRequest):
    """
    A request that goes out as it is given, its body at once with its head where all of it is there.
    """

    # What the client has not said is not said.
    _skip_auto_headers = _SILENT
    _whole = b""

    def update_headers(self, headers: Any) -> None:
        """
        Take *headers*, pairs without a ``Host``.
        """
        self.headers = CIMultiDict([(hdrs.HOST, self.url.host_port_subcomponent or ""), *headers])

    def update_auto_headers(self, skip_auto_headers: Any) -> None:
        """
        Add none.
        """

    def update_body_from_data(self, body: Any, _stacklevel: int = 3) -> None:
        """
        Take *body*: bytes, what yields bytes, or None.
        """
        if isinstance(body, bytes) and len(body) > _LONG:
            self.headers.setdefault(hdrs.CONTENT_LENGTH, str(len(body)))
            super().update_body_from_data(_pieces(body))
        elif isinstance(body, bytes):
            self._whole = body
            self.headers.setdefault(hdrs.CONTENT_LENGTH, str(len(body)))
        else:
            super().update_body_from_data(body, _stacklevel)

    async def send(self, conn: Connection) -> ClientResponse:
        """
        Write it, and return what will be its answer.
        """
        protocol = conn.protocol
        if self._body is not None or protocol is None:
            return await super().send(conn)
        # What is short and there needs no task that writes it.
        writer = StreamWriter(protocol, self.loop)
        path = str(self.url) if self.proxy and not self.is_ssl() else self.url.raw_path_qs
        await writer.write_headers(f"{self.method} {path} HTTP/1.1", self.headers)
        if self._whole:
            await writer.write(self._whole, drain=False)
        writer.set_eof()
        return self.response_class(
            self.method,
            self.url,
            writer=None,
            continue100=None,
            timer=self._timer,
            request_info=self.request_info,
            traces=[],
            loop=self.loop,
            session=None,  # type: ignore[arg-type] # only its guess of an encoding would be asked for
            stream_writer=writer,
        )


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for begin_at in range(0, len(body), _BUFFER):
        yield body[begin_at : begin_at + _BUFFER]


async def begin(request: Outgoing, connector: BaseConnector) -> ClientResponse:
    """
    Send *request* over one of *connector*'s connections, and return its answer when the head is there.

    Raises:
        Exception: There is no answer.
    """
    connection = await connector.connect(request, traces=[], timeout=_PATIENT)
    response = None
    try:
        assert connection.protocol is not None  # noqa: S101 - it comes from the pool
        connection.protocol.set_response_params(
            skip_payload=request.method == hdrs.METH_HEAD,
            read_until_eof=True,
            auto_decompress=False,
            read_bufsize=_BUFFER,
            max_line_size=_FIELD,
            max_field_size=_FIELD,
            max_headers=_FIELDS,
        )
        response = await request.send(connection)
        return await response.start(connection)
    except BaseException:
        if response is not None:
            # Whoever still writes the body stops.
            response.close()
        connection.close()
        raise
