"""
Several processes on one port: a parent that listens, and workers that inherit its socket and answer.

They share one socket, not one each (``SO_REUSEPORT``): a connection that nobody has accepted yet is lost with nobody's
death. The parent answers nothing itself. It starts a worker that has died again, passes SIGHUP on, and at SIGTERM or
SIGINT stops listening and lets all of them drain. If it dies itself, the workers notice that their standard input has
ended, and drain as well.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from asyncio.subprocess import PIPE, Process
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from egressor.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from egressor.policies import Config

__all__ = ["check_shareable", "listen", "supervise"]

_LOG = logging.getLogger("egressor.gateway")
_BACKLOG = 1024
# Seconds before a worker that has died is started again; twice as many each time, if it dies young.
_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_YOUNG = 5.0
# Seconds that a worker gets above its grace before it is killed.
_ABOVE = 5.0


def check_shareable(count: int, config: Config) -> None:
    """
    Refuse *count* workers where they would not see each other's counters.

    Raises:
        ConfigError: They can't share the store, or this system can't share a socket.
    """
    if count == 1:
        return
    if config.store == "memory:":
        message = (
            f'{count} workers need a store that they can share, and "memory:" is one process\'s own: '
            f"each of them would grant every limit in full. Name a sqlite:///file or a redis://host, or leave it out"
        )
        raise ConfigError(message, key="gateway.workers")
    if os.name != "posix":
        message = f"{count} workers need one socket for several processes, which this system does not have: use 1"
        raise ConfigError(message, key="gateway.workers")


def listen(host: str, port: int) -> socket.socket:
    """
    Return a socket that listens.

    Raises:
        OSError: The address can't be listened on.
    """
    bare = host.strip("[]")
    family, kind, protocol, _, address = socket.getaddrinfo(bare, port, type=socket.SOCK_STREAM)[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


async def supervise(
    command: Sequence[str],
    sock: socket.socket,
    *,
    count: int,
    grace: float,
    environment: Mapping[str, str] | None = None,
    ready: Callable[[], object] | None = None,
) -> int:
    """
    Keep *count* workers running until a signal comes, and end them.

    Args:
        command: A worker's program: it gets the socket's number as its last word, and prints a line once it is ready.
        sock: Where they listen; it is closed at the end.
        count: How many there are.
        grace: Seconds that a worker may take to end.
        environment: The workers' environment; None is this process's own.
        ready: Called once, when all of them are ready.

    Returns:
        The exit code: 0, or that of a worker which could not even begin.
    """
    crew = _Crew([*command, str(sock.fileno())], sock, environment)
    with crew.signals():
        keepers = [asyncio.create_task(crew.keep()) for _ in range(count)]
        try:
            while crew.ready < count and not crew.is_ending:
                crew.changed.clear()
                await crew.changed.wait()
            if ready is not None and not crew.is_ending:
                ready()
            await crew.ending.wait()
        finally:
            await crew.end(keepers, grace + _ABOVE)
    return crew.code


class _Crew:
    """
    The workers.

    Attributes:
        ready: How many have begun to answer, those that were started again included.
        code: The exit code of a worker that could not begin.
        changed: Is set when one is ready, or all of it ends.
        ending: Is set when no worker is to be started again.
    """

    def __init__(self, command: Sequence[str], sock: socket.socket, environment: Mapping[str, str] | None) -> None:
        self.ready = 0
        self.code = 0
        self.changed = asyncio.Event()
        self.ending = asyncio.Event()
        self._command = command
        self._sock = sock
        self._environment = environment
        self._running: set[Process] = set()
        self._is_up = False

    @property
    def is_ending(self) -> bool:
        """
        Whether no worker is started any more.
        """
        return self.ending.is_set()

    async def keep(self) -> None:
        """
        Run one worker, and another one whenever it has died.
        """
        loop = asyncio.get_running_loop()
        pause = _PAUSE
        while not self.is_ending:
            began = loop.time()
            code = await self._run()
            if self.is_ending:
                return
            _LOG.error("a worker has ended with %d, and is started again", code)
            pause = _PAUSE if loop.time() - began > _YOUNG else min(2 * pause, _LONGEST_PAUSE)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.ending.wait(), pause)

    async def end(self, keepers: Sequence[asyncio.Task[None]], patience: float) -> None:
        """
        Stop listening, let the workers drain, and kill those that are not done after *patience* seconds.
        """
        self.stop()
        done, late = await asyncio.wait(keepers, timeout=patience)
        if late:
            _LOG.error("%d workers did not end within %g s, and are killed", len(late), patience)
            self._send(signal.SIGKILL)
            await asyncio.wait(late)
        for keeper in (*done, *late):
            keeper.result()

    def stop(self) -> None:
        """
        Take no more connections, and tell the workers; a second time, kill them.
        """
        if not self.is_ending:
            self.ending.set()
            self.changed.set()
            self._sock.close()
            self._send(signal.SIGTERM)

    @contextmanager
    def signals(self) -> Iterator[None]:
        """
        Obey signals while the block lasts.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_or_kill)
        loop.add_signal_handler(signal.SIGHUP, self._send, signal.SIGHUP)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.remove_signal_handler(number)

    def _stop_or_kill(self) -> None:
        if self.is_ending:
            self._send(signal.SIGKILL)
        self.stop()

    def _send(self, number: signal.Signals) -> None:
        for process in self._running:
            with suppress(ProcessLookupError):
                process.send_signal(number)

    async def _run(self) -> int:
        """
        Run a worker to its end, and return its exit code.
        """
        process = await asyncio.create_subprocess_exec(
            *self._command,
            # Nothing is ever written there: its end says that this process is gone.
            stdin=PIPE,
            stdout=PIPE,
            env=self._environment,
            pass_fds=[self._sock.fileno()],
            # Ctrl-C is for the parent, which tells the workers once.
            start_new_session=True,
        )
        self._running.add(process)
        try:
            if self.is_ending:
                process.terminate()
            await self._greet(process)
            return await process.wait()
        finally:
            self._running.discard(process)

    async def _greet(self, process: Process) -> None:
        """
        Wait until *process* is ready; if the first ones can't even begin, end it all.
        """
        if process.stdout is not None and await process.stdout.readline():
            self._is_up = True
            self.ready += 1
            self.changed.set()
        elif not self._is_up and not self.is_ending:
            self.code = await process.wait() or 1
            self.stop()
