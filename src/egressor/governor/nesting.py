"""
Calls inside calls.

A context variable holds the innermost call under way here. Through it a nested call finds the calls around it: they
share their attempts (a retry at one level is one fewer at the others), and a nested call never waits for a place
that a call around it holds, because that call lends its places while nested ones run. Its money it holds by itself.
"""

from __future__ import annotations

import os
from contextvars import ContextVar, Token
from functools import partial
from typing import TYPE_CHECKING, Self

from egressor._core.retry import AttemptTree
from egressor.stores.exclusive import Exclusive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from egressor._core.admission import Ask
    from egressor._core.retry import Frame
    from egressor.stores.gate import Gate

    from .money import Purse

__all__ = ["CURRENT", "Nest", "soon", "step_out"]

_ALONE = Exclusive()


class Nest:
    """
    One call under way.

    Its places are lent exactly while an attempt holds them *and* calls nested inside of it run: whichever of the two
    changes, `_balance` lends them or takes them back. So they are given back once, also when a nested call (a task
    that was started and not awaited) outlives the call around it, and are not lent while a fallback runs.

    Attributes:
        gate: Its service's gate; whoever makes a nest sets it.
        ask: What its attempt was granted; None while none is under way.
        parent: The call around it.
        lent: How many calls inside it run that may use its places.
        is_over: Whether it has ended.
        frame: Its share of the attempts, once anybody has asked for it.
        kept: What a transport inside of it keeps for the next request.
        purse: Its money; None if no budget applies to it.
    """

    # Neither slots nor an __init__: one is made for every call, and most calls touch two of these.
    gate: Gate
    ask: Ask | None = None
    parent: Nest | None = None
    tree: AttemptTree | None = None
    frame: Frame | None = None
    lent = 0
    is_over = False
    kept: object = None
    purse: Purse | None = None
    _away: Ask | None = None

    @classmethod
    def of(cls, gate: Gate, parent: Nest | None = None) -> Self:
        """
        Return the nest of a call to *gate*'s service, inside of *parent*'s call if there is one.
        """
        nest = cls()
        nest.gate = gate
        nest.parent = parent
        return nest

    def payers(self) -> list[Purse]:
        """
        Return the purses of the calls to the same service around it that hold money now, the innermost first.
        """
        found = []
        around = self.parent
        while around is not None:
            purse = around.purse
            if purse is not None and purse.is_held and not around.is_over and around.gate is self.gate:
                found.append(purse)
            around = around.parent
        return found

    def enter(self) -> Frame:
        """
        Return this call's share of the attempts, made at the first need.
        """
        return _ALONE.at_once(self._enter)

    def _enter(self) -> Frame:
        if self.frame is None:
            if self.parent is not None and not self.parent.is_over:
                self.parent._enter()  # noqa: SLF001 - the same class
                self.tree = self.parent.tree
            self.tree = self.tree or AttemptTree()
            self.frame = self.tree.enter(self.gate.compiled.retry.attempts)
        return self.frame

    def hold(self, ask: Ask) -> None:
        """
        Begin an attempt, which holds the places of *ask*.
        """
        _ALONE.run(partial(self._set, ask), instead=None)

    def let_go(self, *, waits: bool = True) -> None:
        """
        End an attempt: whoever calls this gives its places back next. A finaliser *waits* for nobody.
        """
        _do(partial(self._set, None), waits=waits)

    def leave(self, *, ok: bool, waits: bool = True) -> None:
        """
        End the call. A finaliser *waits* for nobody.
        """
        self.is_over = True
        if self.lent or self.frame is not None:
            _do(partial(self._end, [], ok=ok), waits=waits)

    def drop(self, lenders: list[Nest]) -> None:
        """
        End the call from a finaliser, whatever it lends, and what it has borrowed from *lenders*.
        """
        self.is_over = True
        if self.lent or lenders or self.frame is not None:
            _do(partial(self._end, lenders, ok=True), waits=False)

    def _set(self, ask: Ask | None) -> None:
        self.ask = ask
        self._balance()

    def _end(self, lenders: list[Nest], *, ok: bool) -> None:
        self._set(None)
        if self.frame is not None:
            self.frame.leave(ok)
        _give_back(lenders)

    def borrow(self) -> list[Nest]:
        """
        Let the calls around this one lend their places of the same gate; return those that did.
        """
        return _ALONE.run(self._borrow, instead=[], leaves_word=False)

    def _borrow(self) -> list[Nest]:
        lenders = []
        for nest in self._around():
            if nest.gate is not self.gate:
                continue
            # First the count, then the look: `leave` does it the other way round, without the lock.
            nest.lent += 1
            if nest.is_over:
                nest.lent -= 1
                continue
            nest._balance()  # noqa: SLF001 - the same class
            lenders.append(nest)
        return lenders

    @staticmethod
    def give_back(lenders: list[Nest], *, waits: bool = True) -> None:
        """
        Undo `borrow`. A finaliser *waits* for nobody.
        """
        if lenders:
            _do(partial(_give_back, lenders), waits=waits)

    def _balance(self) -> None:
        if self.ask is not None and self.ask.holds and self.lent:
            if self._away is None:
                self._away = self.ask
                self.gate.lend(self.ask)
        elif self._away is not None:
            away, self._away = self._away, None
            self.gate.reclaim(away)

    def _around(self) -> Iterator[Nest]:
        nest = self
        while True:
            # Calls that are over are cut out, or a chain of tasks that start each other would never end.
            while nest.parent is not None and nest.parent.is_over:
                nest.parent = nest.parent.parent
            if nest.parent is None:
                return
            nest = nest.parent
            yield nest


def _do(work: Callable[[], None], *, waits: bool) -> None:
    if waits:
        _ALONE.run(work, instead=None)
    else:
        _ALONE.soon(work)


def _give_back(lenders: list[Nest]) -> None:
    for nest in lenders:
        nest.lent -= 1
        nest._balance()  # noqa: SLF001 - the same module


CURRENT: ContextVar[Nest | None] = ContextVar("egressor_call", default=None)
"""
The innermost call under way in this context.
"""


def soon(work: Callable[[], None]) -> None:
    """
    Do *work*, a step that no other is in the midst of; from anywhere, a finaliser too, so this waits for nobody.
    """
    _ALONE.soon(work)


def step_out(token: Token[Nest | None]) -> None:
    """
    Undo the ``CURRENT.set`` that gave *token*.
    """
    try:
        CURRENT.reset(token)
    except ValueError:
        # A task that outlived its event loop is ended by the garbage collector, wherever that runs; a permit may be
        # given back by another thread. What was set there is no concern of this context.
        return


def _after_fork() -> None:
    # A thread that is not in the child may have held the lock at the fork; nobody would ever give it back.
    global _ALONE  # noqa: PLW0603 - there is one
    _ALONE = Exclusive()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
