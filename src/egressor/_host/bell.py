"""
A bell at the door of this process, which other processes of the host can ring.

It is a UDP socket at 127.0.0.1: a ring is one datagram, takes one system call, needs no file that somebody would have
to clean up, and wakes a thread that otherwise sleeps in the kernel. Rings may get lost, and anybody on this host may
ring, so a ring is worth a look and no more.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Bell", "ring"]

_LOG = logging.getLogger("egressor")
_HOST = "127.0.0.1"
_LONGEST = 1_024
_END = b"\0"


class Bell:
    """
    A bell; it is hung up at once, and heard from `listen` on.

    Raises:
        OSError: There is no port, or no socket, to be had.

    Attributes:
        address: Where to ring.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((_HOST, 0))
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self.address = f"{_HOST}:{self._socket.getsockname()[1]}"

    def listen(self, rung: Callable[[bytes], object]) -> None:
        """
        Hand what each ring says to *rung* from now on, on a thread.
        """
        if self._thread is None:
            arguments = (self._socket, rung)
            self._thread = threading.Thread(target=_hear, args=arguments, name="egressor-bell", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """
        Take the bell down. In a child of the process that hung it up only the child's copy is let go.
        """
        if self._thread is not None and self._pid == os.getpid():
            # Its thread closes the socket: closing it here would not wake a thread that sleeps in it.
            ring(self.address, _END, by=self._socket)
        else:
            self._socket.close()


def ring(address: str, message: bytes, *, by: socket.socket | None = None) -> None:
    """
    Ring at *address*; nobody is told if that doesn't work.
    """
    host, _, port = address.rpartition(":")
    if host != _HOST or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        return
    with suppress(OSError):
        if by is not None:
            by.sendto(message, (_HOST, int(port)))
            return
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
            own.settimeout(0)
            own.sendto(message, (_HOST, int(port)))


def _hear(door: socket.socket, rung: Callable[[bytes], object]) -> None:
    own = door.getsockname()
    with door:
        while True:
            try:
                message, who = door.recvfrom(_LONGEST)
            except OSError:
                return
            if message == _END and who == own:
                return
            try:
                rung(message)
            except Exception as error:  # noqa: BLE001 - one ring's trouble must not make us deaf
                _LOG.error("a ring was not answered: %s: %s", type(error).__name__, error)
