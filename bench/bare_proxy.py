"""
The smallest honest proxy that can be made of aiohttp: its server, one client session, both bodies streamed.

It forwards methods, paths, headers without the hop-by-hop ones, statuses and bodies, and nothing more: no limit, no
check, no time-out, no count. What a gateway of the same parts costs beyond this is what its own work costs.

``python -m bench.bare_proxy PORT UPSTREAM``
"""

from __future__ import annotations

import asyncio
import logging
import sys

import uvloop
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, web
from multidict import CIMultiDict
from yarl import URL

_SILENT = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
# Clients that hang up at the end of a run are no news.
_SILENCE = logging.getLogger("bench.bare_proxy")
_SILENCE.setLevel(logging.CRITICAL)
_HOP = frozenset({"connection", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"})


async def main(port: int, upstream: str) -> None:
    """
    Proxy for *upstream* on *port* of this machine until the process is ended.
    """
    session = ClientSession(
        connector=TCPConnector(limit=0),
        cookie_jar=DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=_SILENT,
        timeout=ClientTimeout(total=None),
    )

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        answer = await session.request(
            request.method,
            URL(upstream + request.raw_path, encoded=True),
            headers=CIMultiDict(pair for pair in request.headers.items() if pair[0].lower() not in _HOP),
            data=request.content if request.body_exists else None,
            allow_redirects=False,
        )
        async with answer:
            back = (pair for pair in answer.headers.items() if pair[0].lower() not in _HOP)
            response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=CIMultiDict(back))
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response

    runner = web.ServerRunner(web.Server(handle, access_log=None, auto_decompress=False, logger=_SILENCE))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2]))
