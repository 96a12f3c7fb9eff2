"""
What an upstream may send without an end, and aiohttp would keep or wait behind: answers before the answer (RFC 9110
section 15.2), and nonsense in a body's chunks.

aiohttp makes an object of each interim answer and keeps it until somebody has time; as much as the kernel hands over at
once are some thousands. So the bytes are handed on in small pieces until the answer's own head is there, and after some
dozen interim answers there will be none.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from aiohttp import ClientPayloadError

from .trailers import TrailedConnection

__all__ = ["PatientConnection"]

_MOST_INTERIM = 64
_PIECE = 1 << 14


class PatientConnection(TrailedConnection):
    """
    A connection to an upstream whose patience has an end.
    """

    # Interim answers since the request; None once there is another one.
    _interim: int | None = 0
    _has_final = False

    def set_response_params(self, **params: Any) -> None:
        """
        Get ready for the next answer.
        """
        self._interim = 0
        self._has_final = False
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """
        Take *data*.
        """
        while self._interim is not None and len(data) > _PIECE and self.exception() is None:
            piece, data = data[:_PIECE], data[_PIECE:]
            super().data_received(piece)
        body = self._payload
        if self.exception() is None:
            super().data_received(data)
        error = self.exception()
        if error is not None and body is not None and not body.is_eof() and body.exception() is None:
            # aiohttp tells whoever waits for a head, and not who waits for the rest of a body.
            body.set_exception(ClientPayloadError(f"the body turned into nonsense: {type(error).__name__}"))

    def feed_data(self, data: Any, size: int = 0) -> None:
        """
        Take an answer's head, be it an interim one.
        """
        if self.exception() is not None:
            return
        code = data[0].code
        if self._is_second(code):
            # Nobody has asked for another answer; aiohttp would keep all that one read brings.
            self._should_close = True
            if self.transport is not None:
                self.transport.abort()
            return
        if not 100 <= code < 200 or code == 101:
            self._interim = None
            self._has_final = True
        elif self._interim is not None:
            self._interim += 1
            if self._interim > _MOST_INTERIM:
                self._give_up()
                return
        super().feed_data(data, size)

    def _is_second(self, code: int) -> bool:
        return self._has_final and code != HTTPStatus.SWITCHING_PROTOCOLS

    def _give_up(self) -> None:
        self.set_exception(ClientPayloadError(f"more than {_MOST_INTERIM} interim answers"))
        if self.transport is not None:
            self.transport.abort()
