"""
The gateway as a process: it starts, says where it is, reloads on SIGHUP, and drains on SIGTERM or SIGINT.

A configuration is read in a thread of its own, so that a long one holds up no request, and it replaces the former one
in one step: a request has either the one or the other.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from egressor.errors import ConfigError
from egressor.policies import load

from . import place
from .app import Gateway
from .connections import Listener
from .forward import AiohttpUpstream
from .guard import check_open
from .threads import LooseThreads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from egressor.governor import Governor
    from egressor.policies import Config

__all__ = ["known", "listening", "run", "serve", "url_of"]

_LOG = logging.getLogger("egressor.gateway")
# What aiohttp says of a broken request shows the request's bytes, which may hold a key.
_SILENT = logging.getLogger("egressor.gateway.http")
_SILENT.setLevel(logging.CRITICAL)
_ENDING = (signal.SIGTERM, signal.SIGINT)
_BACKLOG = 1024
# Seconds for what has been cancelled already.
_LAST = 1.0
# Objects between two looks of the garbage collector at the youngest, looks until it takes the next older ones along,
# and until it takes all: with thousands of connections open, each look at all of them holds every request up.
# Not never: what breaks off in the middle of a wait leaves cycles behind that are old by then.
_LOOKS = (5_000, 20, 50)
# What a reload can't change, since it was used when this process began.
_OPENED = ("store", "on_store_loss")
_FIXED = (
    "host",
    "port",
    "workers",
    "max_connections",
    "header_timeout",
    "idle_timeout",
    "upstream_connections",
    "proxy",
)


@asynccontextmanager
async def listening(
    gateway: Gateway, *, port: int, grace: float | None = None, sock: socket.socket | None = None
) -> AsyncIterator[str]:
    """
    Listen, and hand out the URL; at the end of the block, stop accepting and let what is in flight finish.

    Args:
        gateway: Who answers.
        port: Where to listen; 0 takes a free one.
        grace: Seconds for what is in flight; then it is cancelled. None takes the configuration's.
        sock: Listens already, in place of *port*.

    Raises:
        OSError: The address can't be listened on.
    """
    server = Listener(gateway.handle, settings=gateway.gov.config.gateway, logger=_SILENT)
    runner = web.ServerRunner(server, shutdown_timeout=_LAST)
    await runner.setup()
    try:
        site = _site(runner, gateway.host, port, sock)
        await site.start()
        gateway.listens_on(runner.addresses[0][1])
        yield url_of(gateway.host, runner.addresses[0][1])
        gateway.is_draining = True
        settings = gateway.gov.config.gateway
        await site.stop()
        # What was accepted before has its turn to begin.
        await asyncio.sleep(0)
        await server.drain(settings.grace if grace is None else grace)
    finally:
        gateway.is_draining = True
        await runner.cleanup()


def _site(runner: web.ServerRunner, host: str, port: int, sock: socket.socket | None) -> web.BaseSite:
    if sock is not None:
        return web.SockSite(runner, sock, backlog=_BACKLOG)
    return web.TCPSite(runner, host.strip("[]"), port, backlog=_BACKLOG)


async def serve(
    gov: Governor,
    *,
    host: str,
    port: int,
    file: Path | None = None,
    read: Callable[[Path], Config] = load,
    ready: Callable[[str], object] | None = None,
    until: Callable[[], Awaitable[object]] | None = None,
    sock: socket.socket | None = None,
    leash: int | None = None,
) -> None:
    """
    Serve until a signal comes.

    Args:
        gov: The governor.
        host: The name or address to listen on; a loopback one.
        port: The port; 0 takes a free one.
        file: What SIGHUP reads again.
        read: How. Default: as a library does.
        ready: Called with the URL once requests are answered.
        until: Awaited instead of signals.
        sock: Listens already, for several processes: the one that has made it tells the commands where it is.
        leash: A file whose end ends this process as a signal would: the process that has started it is gone.

    Raises:
        ConfigError: The address is open to others, or a key can't be read.
        OSError: The address can't be listened on.
    """
    check_open(host, gov.config)
    token = place.new_token()
    upstream = AiohttpUpstream(gov.config.gateway)
    try:
        gateway = Gateway(gov, upstream, token=token, host=host)
        async with listening(gateway, port=port, sock=sock) as url:
            # Who reads that it is ready may send a signal at once.
            with (
                known(place.Place(url, token, os.getpid())) if sock is None else nullcontext(),
                _hangups(gateway, file, read),
                nullcontext(asyncio.Event()) if until is not None else _signals(leash) as arrived,
                _settled_memory(),
            ):
                if ready is not None:
                    ready(url)
                await (until or arrived.wait)()
    finally:
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
        asyncio.get_running_loop().set_default_executor(LooseThreads())
        await main

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(whole())


@contextmanager
def _settled_memory() -> Iterator[None]:
    """
    Spare the garbage collector what has been made to stay, and let it look at the rest seldom, while the block lasts.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_LOOKS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


@contextmanager
def _signals(leash: int | None) -> Iterator[asyncio.Event]:
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
    if leash is not None:
        loop.add_reader(leash, arrived.set)
    try:
        yield arrived
    finally:
        if leash is not None:
            loop.remove_reader(leash)
        for number in _ENDING:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def _hangups(gateway: Gateway, file: Path | None, read: Callable[[Path], Config]) -> Iterator[None]:
    """
    Reload at SIGHUP, while the block lasts.
    """
    if os.name != "posix":
        yield
        return
    loop = asyncio.get_running_loop()
    arrived = asyncio.Event()
    reloads = loop.create_task(_reloads(gateway, file, read, arrived))
    loop.add_signal_handler(signal.SIGHUP, arrived.set)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        reloads.cancel()


async def _reloads(gateway: Gateway, file: Path | None, read: Callable[[Path], Config], arrived: asyncio.Event) -> None:
    while True:
        await arrived.wait()
        # Signals that come while one reload is under way are one more together.
        arrived.clear()
        if file is None:
            _LOG.warning("SIGHUP: no file to read again")
        else:
            await _reload(gateway, file, read)


async def _reload(gateway: Gateway, file: Path, read: Callable[[Path], Config] = load) -> None:
    before = gateway.gov.config
    try:
        config = await asyncio.to_thread(read, file)
        gateway.reload(config)
    except ConfigError as error:
        gateway.last_error = str(error)
        _LOG.error("SIGHUP: not reloaded, the former configuration holds: %s", error)
        return
    except Exception as error:  # noqa: BLE001 - the next signal shall be heard; what it says may hold a secret
        gateway.last_error = f"a fault of ours: {type(error).__name__}"
        _LOG.error("SIGHUP: the reload has failed by a fault of ours: %s", type(error).__name__)
        return
    moved = _moved(before, config)
    _LOG.info("SIGHUP: reloaded %s, %d services%s", file, len(config.services), moved)


def _moved(before: Config, after: Config) -> str:
    old, new = before.gateway, after.gateway
    names = [f"egressor.{name}" for name in _OPENED if getattr(before, name) != getattr(after, name)]
    names += [f"gateway.{name}" for name in _FIXED if getattr(old, name) != getattr(new, name)]
    return f"; {', '.join(names)} will change with a restart" if names else ""


@contextmanager
def known(where: place.Place) -> Iterator[None]:
    """
    Tell the user's commands where the gateway is, while the block lasts.
    """
    written = _settled(where)
    try:
        yield
    finally:
        if written is not None:
            place.leave(written, where.pid)


def _settled(where: place.Place) -> Path | None:
    try:
        return place.settle(where)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        _LOG.warning("%s can't be written (%s): commands need EGRESSOR_TOKEN and --url", place.folder(), reason)
        return None


def url_of(host: str, port: int) -> str:
    """
    Return the URL of a gateway that listens there.
    """
    # Who listens everywhere is found here, too.
    bare = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host.strip("[]"), host.strip("[]"))  # noqa: S104
    return f"http://[{bare}]:{port}" if ":" in bare else f"http://{bare}:{port}"
