"""
psycopg's connection, with an end to each of its waits.

It is a file of its own, since it can't be imported without psycopg.
"""

from __future__ import annotations

import selectors
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

import psycopg
from psycopg.waiting import Ready, Wait

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

__all__ = ["Connection"]

_PATIENCE = 2.0


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """
    A connection on which no wait for the server is longer than 2 s.

    The time-outs of server and kernel don't help against a server that is frozen: its kernel goes on acknowledging.
    """

    @classmethod
    def open(cls, address: str, *, patience: float = _PATIENCE) -> Self:
        """
        Connect to *address*, within *patience* seconds (libpq takes no less than 2).

        Raises:
            psycopg.Error: It can't be reached, or refuses us.
        """
        found = cls.connect(
            address,
            autocommit=True,
            connect_timeout=max(2, int(patience)),
            application_name="egressor",
            prepare_threshold=None,  # A pooler in between may hand each transaction to another server process.
        )
        # For the transactions that psycopg begins.
        found.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        return found

    @contextmanager
    def pipeline(self) -> Iterator[psycopg.Pipeline]:
        """
        As psycopg's, which logs what fails at its end after something has failed in its midst: here the first is told.
        """
        first: BaseException | None = None
        try:
            with super().pipeline() as pipeline:
                try:
                    yield pipeline
                except BaseException as error:  # noqa: BLE001 - it is raised below
                    first = error
        except psycopg.Error:
            if first is None:
                raise
        if first is not None:
            raise first

    def wait(self, gen: Generator[Wait, Ready, Any], *_: object, **__: object) -> Any:
        """
        Run *gen*, psycopg's side of the protocol, to its end.

        Raises:
            psycopg.OperationalError: The server was silent for too long; the connection is closed.
        """
        end = time.monotonic() + _PATIENCE
        try:
            wanted = next(gen)
            while True:
                wanted = gen.send(self._ready(wanted, end))
        except StopIteration as stop:
            return stop.value
        except BaseException:
            # A pipeline's has more to say to the server when it is dropped; that the server is gone is told already.
            with suppress(psycopg.Error, RuntimeError):
                gen.close()
            raise

    def _ready(self, wanted: Wait, end: float) -> Ready:
        with selectors.DefaultSelector() as selector:
            # psycopg's numbers for reading and writing are those of the selectors.
            selector.register(self.fileno(), int(wanted))
            found = selector.select(max(0.0, end - time.monotonic()))
        if not found:
            self.pgconn.finish()
            msg = f"no answer within {_PATIENCE:g} s"
            raise psycopg.OperationalError(msg)
        return Ready(found[0][1])
