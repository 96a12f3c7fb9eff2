"""
A line to one Redis server.

*Bounded.* redis-py makes the connection and speaks the protocol; its own retries are off, and its time-outs, which
begin anew with each read, are replaced by a moment at which everything ends.

*Never somebody else's answer.* Whatever interrupts the reading of an answer, also an exception that another thread
threw in, ends the line.

*Secrets.* What a server says to a mistake may repeat what was sent, a password included; so its kind is told, and not
its text. Nor does an error hold the one that it came from.
"""

from __future__ import annotations

import os
import re
import select
import socket
import ssl
from time import monotonic
from typing import TYPE_CHECKING, Any

from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.retry import Retry

from . import StoreAway

if TYPE_CHECKING:
    from .redis_place import Place

__all__ = ["Line", "Said"]

_OPENING = 2.0
_KINDS = {
    "WRONGPASS": "the user or the password is wrong",
    "NOAUTH": "it wants a password",
    "NOPERM": "the user may not do what is needed: see the list of commands in the documentation",
    "OOM": "its memory is full",
    "READONLY": "it is a replica",
    "LOADING": "it is loading its data",
    "MASTERDOWN": "it has lost its master",
    "CLUSTERDOWN": "its cluster is down",
    "TRYAGAIN": "its cluster is moving keys",
    "CROSSSLOT": "it is a cluster: use redis+cluster://",
    "MISCONF": "it can't write to its disk",
    "NOREPLICAS": "it has too few replicas to write",
    "BUSY": "a script runs on it and doesn't end",
    "WRONGTYPE": "something else stands in a key of ours",
    "UNKNOWN": "it doesn't know a command that is needed, or hides it",
    "DENIED": "it is in protected mode",
}


class Said(Exception):
    """
    The server said no.

    Args:
        code: The first word of it: ``NOSCRIPT``, ``MOVED``, ``ERR``.
        rest: What follows, for a redirection or an error of ours; else empty. It is never shown as it is.
    """

    def __init__(self, code: str, rest: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.rest = rest

    def reason(self) -> str:
        """
        Return what that means.
        """
        line = re.search(r"user_script:([0-9]{1,4})", self.rest)
        if line is not None:
            return f"our script failed in its line {line[1]}, which is a defect; please report it"
        return _KINDS.get(self.code, f"it refused with {self.code}")


class Line:
    """
    A connection, in the hands of one thread.

    Args:
        place: How to prove who we are, and whether TLS is spoken.
        host: The server's name; the path of a socket where *port* is 0.
        port: Its port.
        is_sentinel: Whether it is a sentinel, which has no databases and a password of its own.

    Raises:
        StoreAway: It can't be opened.
    """

    def __init__(self, place: Place, host: str, port: int, *, is_sentinel: bool = False) -> None:
        self.host, self.port = host, port
        self.pid = os.getpid()
        text = ""
        try:
            self._connection = _connection(place, host, port, is_sentinel=is_sentinel)
            self._connection.connect()
        except (RedisError, OSError, ValueError) as error:
            # The error itself is left behind: its traceback's frames hold what was sent.
            text = _opening(error, place)
        if text:
            msg = f"{self.name}: {text}"
            raise StoreAway(msg)
        self._socket: _Timed = self._connection._sock  # noqa: SLF001 - ours, see `_connect` below
        self._poll = select.poll() if hasattr(select, "poll") else None
        if self._poll is not None:
            self._poll.register(self._socket.fileno(), select.POLLIN)

    @property
    def name(self) -> str:
        """
        The server, for people.
        """
        return f"Redis at {self.host}:{self.port}" if self.port else f"Redis at {self.host}"

    def is_fresh(self) -> bool:
        """
        Whether nothing has come that nobody asked for: the end, as the server was stopped.
        """
        if self._poll is not None:
            return not self._poll.poll(0)
        return not select.select([self._socket.fileno()], [], [], 0)[0]

    def ask(self, *commands: tuple[Any, ...], until: float) -> list[Any]:
        """
        Send *commands* in one go and return the answers; a `Said` among them is one.

        Raises:
            StoreAway: The line broke, or it is *until*. It is closed then.
        """
        text = ""
        try:
            self._socket.until = until
            self._connection.send_packed_command(self._connection.pack_commands(commands), check_health=False)
            return [self._read() for _ in commands]
        except (RedisError, OSError, ValueError) as error:
            text = _broken(error)
        except BaseException:
            self.close()
            raise
        self.close()
        msg = f"{self.name}: {text}"
        raise StoreAway(msg)

    def send(self, *command: Any, until: float) -> None:
        """
        Send *command*, whose answers are read by `read`.

        Raises:
            OSError: Nothing can be sent.
        """
        self._socket.until = until
        self._connection.send_packed_command(self._connection.pack_command(*command), check_health=False)

    def read(self, *, until: float) -> Any:
        """
        Return the next that comes; None where nothing has come *until* then.

        Raises:
            RedisError: The line broke.
        """
        self._socket.until = until
        if not self._connection.can_read(max(0.0, until - monotonic())):
            return None
        self._socket.until = monotonic() + _OPENING
        return self._connection.read_response()

    def close(self) -> None:
        """
        End it.
        """
        self._connection.disconnect()

    def _read(self) -> Any:
        try:
            return self._connection.read_response(disable_decoding=True, disconnect_on_error=False)
        except RedisError as error:
            # Some refusals count as broken lines to redis-py.
            code = getattr(error, "status_code", None)
            if code is None:
                if not isinstance(error, ResponseError):
                    raise
                code = str(error).partition(" ")[0]
            if "unauthenticated" in str(error):
                # Before it knows who we are it reads no long commands, and says that first.
                code = "NOAUTH"
            elif "unknown command" in str(error).lower():
                code = "UNKNOWN"
            return Said(code, str(error) if code in {"MOVED", "ASK", "ERR"} else "")


class _Timed:
    """
    A socket whose reads and writes end at a moment, however little each of them brings.
    """

    def __init__(self, inner: socket.socket) -> None:
        self.inner = inner
        self.until = monotonic() + _OPENING

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def settimeout(self, seconds: float | None) -> None:
        # The parser sets one and takes it back; what counts is `until`.
        if seconds is not None:
            self.until = min(self.until, monotonic() + seconds)

    def recv(self, size: int) -> bytes:
        self._limit()
        return self.inner.recv(size)

    def recv_into(self, buffer: bytearray) -> int:
        self._limit()
        return self.inner.recv_into(buffer)

    def sendall(self, data: bytes) -> None:
        self._limit()
        self.inner.sendall(data)

    def _limit(self) -> None:
        rest = self.until - monotonic()
        if rest <= 0:
            raise TimeoutError
        self.inner.settimeout(rest)


class _Tcp(Connection):
    def _connect(self) -> Any:
        return _Timed(super()._connect())  # type: ignore[no-untyped-call]


class _Tls(SSLConnection):
    def _connect(self) -> Any:
        return _Timed(super()._connect())  # type: ignore[no-untyped-call]


class _Unix(UnixDomainSocketConnection):
    def _connect(self) -> Any:
        return _Timed(super()._connect())  # type: ignore[no-untyped-call]


# Their constructors are not typed through and through.
_TCP: Any = _Tcp
_TLS: Any = _Tls
_UNIX: Any = _Unix


def _connection(place: Place, host: str, port: int, *, is_sentinel: bool) -> Any:
    options: dict[str, Any] = {
        "db": 0 if is_sentinel else place.db,
        "username": None if is_sentinel else place.username,
        "password": place.sentinel_password if is_sentinel else place.password,
        "socket_timeout": _OPENING,
        "socket_connect_timeout": _OPENING,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "driver_info": None,
    }
    if not port:
        return _UNIX(path=host, **options)
    if place.tls is None:
        return _TCP(host=host, port=port, socket_keepalive=True, **options)
    return _TLS(host=host, port=port, socket_keepalive=True, ssl_cert_reqs="required", **place.tls, **options)


def _opening(error: Exception, place: Place) -> str:
    if isinstance(error, AuthenticationError):
        return _KINDS["WRONGPASS"] if getattr(error, "status_code", "") != "NOAUTH" else _KINDS["NOAUTH"]
    if "db index" in str(error).lower():
        return f"it has no database {place.db}: its configuration says how many it has (databases)"
    if isinstance(error, ResponseError):
        return Said(getattr(error, "status_code", None) or "an error").reason()
    return _broken(error)


def _broken(error: Exception) -> str:
    text = str(error).lower()
    if isinstance(error, ssl.SSLError) or "certificate" in text or "ssl" in text:
        return "TLS could not be agreed on: its certificate is not signed by a known authority, or not for this name"
    if isinstance(error, TimeoutError) or "timeout" in text or "timed out" in text:
        return "it did not answer in time"
    if "refused" in text:
        return "the connection was refused"
    if isinstance(error, ResponseError):
        return Said(getattr(error, "status_code", None) or "an error").reason()
    return "the connection broke"
