"""
Identical calls under way at once: the first of them is made, and the others wait for what it comes to.

A crowd is a call that is made and those that wait for it, threads and tasks of any number of event loops. Each of them
waits for itself: whoever is cancelled, or has no time left, goes, and the others don't notice. The crowd ends once, as
one of three:

- with an *answer*, which all of them take;
- *scattered*: its answer is for one only, as it is too long, or its server forbids that it is kept. All go at once;
- else *lost*: the call has failed, was cancelled, or was dropped. The next one is made in its place.

All of it may be done by the garbage collector, which may interrupt anything, itself included: hence a lock that its
own thread may take again, under which nothing is called and nobody is woken.
"""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from egressor._core.cache import Found
    from egressor.stores import Parked

__all__ = ["Crowd", "Crowds"]

_DAWDLES: Final = 10_000_000
_QUEUES: Final = 1_000_000


class Crowds:
    """
    The crowds of one service, by key.

    Args:
        longest: Microseconds from a crowd's beginning, or from an attempt, to the next attempt's end at most.
    """

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self.lock = RLock()
        self.known: dict[str, Crowd] = {}

    def board(self, key: str, now: int) -> tuple[Crowd, bool]:
        """
        Return the crowd of *key*, and whether whoever asks is its first, and so has to end it.
        """
        with self.lock:
            crowd = self.known.get(key)
            if crowd is not None:
                return crowd, False
            crowd = self.known[key] = Crowd(self, key, now)
            return crowd, True


class Crowd:
    """
    One call, and those that wait for it.

    Attributes:
        key: What they have in common.
        answer: What it came to, for all of them; None while it is under way, and if there is none.
        is_over: Whether it has ended.
        is_scattered: Whether each has to go for itself.
        is_sent: Whether the call has had its turn.
        moved_at: When the last piece of its answer came; None while none has.
        began_at: When it began, in monotonic microseconds.
        tried_at: When it began, or when its last attempt did.
    """

    __slots__ = (
        "_crowds",
        "_waiting",
        "answer",
        "began_at",
        "is_over",
        "is_scattered",
        "is_sent",
        "key",
        "moved_at",
        "tried_at",
    )

    def __init__(self, crowds: Crowds, key: str, now: int) -> None:
        self._crowds = crowds
        self._waiting: dict[Parked, None] = {}
        self.key = key
        self.answer: Found | None = None
        self.is_over = False
        self.is_scattered = False
        self.is_sent = False
        self.moved_at: int | None = None
        self.began_at = self.tried_at = now

    def join(self, parked: Parked) -> bool:
        """
        Let *parked* be woken when this ends; false if it has ended.
        """
        with self._crowds.lock:
            if not self.is_over:
                self._waiting[parked] = None
            return not self.is_over

    def leave(self, parked: Parked) -> None:
        """
        Wake *parked* no more.
        """
        with self._crowds.lock:
            self._waiting.pop(parked, None)

    def end(self, answer: Found | None = None, *, scattered: bool = False) -> None:
        """
        End it, and wake all who wait. A second time nothing happens.
        """
        with self._crowds.lock:
            if self.is_over:
                return
            self.is_over = True
            self.answer = answer
            self.is_scattered = scattered
            woken, self._waiting = self._waiting, {}
            self.forget()
        for parked in woken:
            parked.home.wake(parked)

    def sent(self, now: int) -> None:
        """
        Note that the call has had its turn, and makes an attempt.
        """
        self.is_sent = True
        self.tried_at = now

    def forget(self) -> None:
        """
        Let the next one who comes begin anew.
        """
        with self._crowds.lock:
            if self._crowds.known.get(self.key) is self:
                del self._crowds.known[self.key]

    def patience(self, *, is_nested: bool) -> int:
        """
        Return until when it may be waited for without news.

        A stream comes as fast as its reader reads, who may read nothing for now, or wait for us. Whoever waits inside
        of another call may hold the place that the call is waiting for. And a call whose event loop was stopped or
        closed in its midst never ends: it is known by taking longer than a call may.
        """
        if self.moved_at is not None:
            return self.moved_at + _DAWDLES
        if is_nested and not self.is_sent:
            return self.began_at + _QUEUES
        return self.tried_at + self._crowds.longest + _DAWDLES
