"""
The gateway as a process: it starts, says where it is, reloads on SIGHUP, and drains on SIGTERM or SIGINT.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from egressor.errors import ConfigError
from egressor.policies import load

from . import place
from .app import Gateway
from .forward import AiohttpUpstream
from .guard import is_loopback

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from egressor.governor import Governor

__all__ = ["GRACE", "listening", "run", "serve"]

GRACE = 10.0
"""
Seconds that requests in flight get to finish.
"""

_LOG = logging.getLogger("egressor.gateway")
# What aiohttp says of a broken request shows the request's bytes, which may hold a key.
_SILENT = logging.getLogger("egressor.gateway.http")
_SILENT.setLevel(logging.CRITICAL)
_ENDING = (signal.SIGTERM, signal.SIGINT)
_LINE = 1 << 16
_FIELDS = 256


@asynccontextmanager
async def listening(gateway: Gateway, *, port: int, grace: float = GRACE) -> AsyncIterator[str]:
    """
    Listen, and hand out the URL; at the end of the block, stop accepting and let what is in flight finish.

    Args:
        gateway: Who answers.
        port: Where to listen; 0 takes a free one.
        grace: Seconds for what is in flight; then it is cancelled.

    Raises:
        OSError: The address can't be listened on.
    """
    server = web.Server(
        gateway.handle,
        # A client that is gone cancels its request, and so its attempt upstream.
        handler_cancellation=True,
        auto_decompress=False,
        access_log=None,
        logger=_SILENT,
        max_line_size=_LINE,
        max_field_size=_LINE,
        max_headers=_FIELDS,
        keepalive_timeout=75.0,
        # Time for a client to notice that its unread body is not wanted.
        lingering_time=2.0,
    )
    runner = web.ServerRunner(server, shutdown_timeout=grace)
    await runner.setup()
    try:
        site = web.TCPSite(runner, gateway.host.strip("[]"), port, backlog=1024)
        await site.start()
        yield _url(gateway.host, runner.addresses[0][1])
    finally:
        gateway.is_draining = True
        await runner.cleanup()


async def serve(
    gov: Governor,
    *,
    host: str,
    port: int,
    file: Path | None = None,
    ready: Callable[[str], object] | None = None,
    until: Callable[[], Awaitable[object]] | None = None,
    grace: float = GRACE,
) -> None:
    """
    Serve until a signal comes.

    Args:
        gov: The governor.
        host: The name or address to listen on; a loopback one.
        port: The port; 0 takes a free one.
        file: What SIGHUP reads again.
        ready: Called with the URL once requests are answered.
        until: Awaited instead of signals.
        grace: Seconds that requests in flight get to finish at the end.

    Raises:
        ConfigError: The address is open to others, or a key can't be read.
        OSError: The address can't be listened on.
    """
    if not is_loopback(host):
        message = f"{host} is open to other machines, and this version knows no client keys: listen on 127.0.0.1"
        raise ConfigError(message, key="gateway.host")
    token = place.new_token()
    upstream = AiohttpUpstream()
    written: Path | None = None
    try:
        gateway = Gateway(gov, upstream, token=token, host=host)
        async with listening(gateway, port=port, grace=grace) as url:
            written = _settled(place.Place(url, token, os.getpid()))
            # Who reads that it is ready may send a signal at once.
            with _hangups(gateway, file), nullcontext(asyncio.Event()) if until is not None else _signals() as arrived:
                if ready is not None:
                    ready(url)
                await (until or arrived.wait)()
    finally:
        if written is not None:
            place.leave(written, os.getpid())
        await upstream.aclose()
        gov.close()


def run(main: Awaitable[None]) -> None:
    """
    Run *main* on uvloop's event loop, where there is one.
    """
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    with suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop

    async def whole() -> None:
        await main

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(whole())


@contextmanager
def _signals() -> Iterator[asyncio.Event]:
    """
    Hand out an event that SIGTERM or SIGINT sets; after the block, a second Ctrl-C ends the process at once.
    """
    arrived = asyncio.Event()
    if os.name != "posix":
        yield arrived
        return
    loop = asyncio.get_running_loop()
    for number in _ENDING:
        loop.add_signal_handler(number, arrived.set)
    try:
        yield arrived
    finally:
        for number in _ENDING:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def _hangups(gateway: Gateway, file: Path | None) -> Iterator[None]:
    """
    Reload at SIGHUP, while the block lasts.
    """
    if os.name != "posix":
        yield
        return
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, _reload, gateway, file)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


def _reload(gateway: Gateway, file: Path | None) -> None:
    if file is None:
        _LOG.warning("SIGHUP: no file to read again")
        return
    before = gateway.gov.config.gateway
    try:
        config = load(file)
        gateway.reload(config)
    except ConfigError as error:
        gateway.last_error = str(error)
        _LOG.error("SIGHUP: not reloaded, the former configuration holds: %s", error)
        return
    moved = "; another host or port takes a restart" if config.gateway != before else ""
    _LOG.info("SIGHUP: reloaded %s, %d services%s", file, len(config.services), moved)


def _settled(where: place.Place) -> Path | None:
    try:
        return place.settle(where)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        _LOG.warning("%s can't be written (%s): commands need EGRESSOR_TOKEN and --url", place.folder(), reason)
        return None


def _url(host: str, port: int) -> str:
    bare = host.strip("[]")
    return f"http://[{bare}]:{port}" if ":" in bare else f"http://{bare}:{port}"
