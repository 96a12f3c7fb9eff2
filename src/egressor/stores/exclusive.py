"""
One step at a time, also where a step interrupts another in its own thread.

The garbage collector may run at any allocation, and a signal at any bytecode: inside a step, with its lock held. What
they run may well end a call, which is a step again. A plain lock would wait for itself there. So a step that finds
itself inside of another leaves word, and whoever holds the lock sees to it. A finaliser may not even wait for other
threads, one of which may wait for a lock that is held here: it leaves word wherever somebody is in the way.
"""

from __future__ import annotations

import logging
from collections import deque
from functools import partial, wraps
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Exclusive", "step"]

_LOG = logging.getLogger("egressor")
F = TypeVar("F", bound="Callable[..., Any]")
T = TypeVar("T")


class Exclusive:
    """
    A lock for short steps.

    Attributes:
        lock: The lock. Who takes it by hand looks at `is_busy`, sets it, clears it, and sweeps where `words` were left;
            by ``with``, as a signal may raise behind a bare ``acquire``.
        is_busy: Whether a step is under way; with the lock held, that can only be one of this very thread.
        words: Steps that somebody has left to others.
        litter: What a step wants freed after it, with the lock released.
    """

    __slots__ = ("is_busy", "litter", "lock", "words")

    def __init__(self) -> None:
        self.lock = RLock()
        self.is_busy = False
        self.litter: object = None
        self.words: deque[Callable[[], object]] = deque()

    def run(self, work: Callable[[], T], *, instead: T, leaves_word: bool = True) -> T:
        """
        Do *work* now; inside of another step of this thread return *instead*, and leave it to that one.
        """
        # `with`: between its taking the lock and the block no signal can come, which may raise.
        with self.lock:
            if self.is_busy:
                if leaves_word:
                    self.words.append(work)
                return instead
            try:
                self.is_busy = True
                if self.words:
                    self._catch_up()
                result = work()
            finally:
                self.is_busy = False
        self.litter = None
        if self.words:
            self.sweep()
        return result

    def at_once(self, work: Callable[[], T]) -> T:
        """
        Do *work* now, inside of another step of this thread, too: for what does not mind.
        """
        with self.lock:
            if self.is_busy:
                return work()
        return self.run(work, instead=cast("T", None))

    def soon(self, work: Callable[[], object]) -> None:
        """
        Do *work* now if nobody is in the way, or leave it to whoever is; this never waits.
        """
        self.words.append(work)
        self.sweep()

    def sweep(self) -> None:
        """
        Do what was left by others; whoever holds the lock does it otherwise, when it is done.
        """
        while self.words:
            is_mine = False
            try:
                # Inside of the `try`, as a signal may raise behind it.
                if not self.lock.acquire(blocking=False) or self.is_busy:
                    return
                self.is_busy = is_mine = True
                self._catch_up()
            finally:
                if is_mine:
                    self.is_busy = False
                try:  # noqa: SIM105 - `suppress` is called, and a signal may raise there
                    self.lock.release()
                except RuntimeError:
                    pass  # It is another thread's.

    def _catch_up(self) -> None:
        while self.words:
            try:
                self.words.popleft()()
            except Exception as error:  # noqa: BLE001 - it is nobody's here: neither is anybody else's step to end for it
                _LOG.error("a step that was left to others failed: %s: %s", type(error).__name__, error)


def step(*, instead: object, leaves_word: bool = True) -> Callable[[F], F]:
    """
    Make a method one step of the `Exclusive` that its object has as ``alone``, as `Exclusive.run` does.
    """

    def decorate(method: F) -> F:
        @wraps(method)
        def taken(self: Any, *args: Any, **kwargs: Any) -> Any:
            return self.alone.run(partial(method, self, *args, **kwargs), instead=instead, leaves_word=leaves_word)

        return taken  # type: ignore[return-value]

    return decorate
