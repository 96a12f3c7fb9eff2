"""
Calls inside calls.

A context variable holds the innermost call under way here. Through it a nested call finds the calls around it: they
share their attempts (a retry at one level is one fewer at the others), and a nested call never waits for a place
that a call around it holds, because that call lends its places while nested ones run.
"""

from __future__ import annotations

from contextvars import ContextVar
from threading import Lock
from typing import TYPE_CHECKING

from egressor._core.retry import AttemptTree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from egressor._core.admission import Ask
    from egressor._core.retry import Frame
    from egressor.stores.gate import Gate

__all__ = ["CURRENT", "Nest"]

_LOCK = Lock()


class Nest:
    """
    One call under way.

    Args:
        gate: Its service's gate.
        ask: What it was granted; None before that.
        attempts: Attempts that its policy allows.
        parent: The call around it.
    """

    __slots__ = ("ask", "attempts", "frame", "gate", "is_over", "lent", "parent", "tree")

    def __init__(self, gate: Gate, ask: Ask | None, attempts: int, parent: Nest | None = None) -> None:
        self.gate = gate
        self.ask = ask
        self.attempts = attempts
        self.parent = parent
        self.tree: AttemptTree | None = None
        self.frame: Frame | None = None
        self.lent = 0
        self.is_over = False

    def enter(self) -> Frame:
        """
        Return this call's share of the attempts, made at the first need.
        """
        with _LOCK:
            return self._enter()

    def _enter(self) -> Frame:
        if self.frame is None:
            if self.parent is not None and not self.parent.is_over:
                self.parent._enter()  # noqa: SLF001 - the same class
                self.tree = self.parent.tree
            self.tree = self.tree or AttemptTree()
            self.frame = self.tree.enter(self.attempts)
        return self.frame

    def leave(self, *, ok: bool) -> None:
        """
        End the call.
        """
        self.is_over = True
        if self.frame is not None:
            with _LOCK:
                self.frame.leave(ok)

    def borrow(self) -> list[Nest]:
        """
        Let the calls around this one lend their places of the same gate; return those that did.
        """
        lenders = [nest for nest in self._around() if nest.gate is self.gate and nest.ask is not None]
        for nest in lenders:
            with _LOCK:
                nest.lent += 1
                is_first = nest.lent == 1
            if is_first and nest.ask is not None and nest.ask.places:
                nest.gate.lend(nest.ask)
        return lenders

    @staticmethod
    def give_back(lenders: list[Nest]) -> None:
        """
        Undo `borrow`.
        """
        for nest in lenders:
            with _LOCK:
                nest.lent -= 1
                is_last = not nest.lent
            if is_last and nest.ask is not None and nest.ask.places:
                nest.gate.reclaim(nest.ask)

    def _around(self) -> Iterator[Nest]:
        nest = self.parent
        while nest is not None:
            if not nest.is_over:
                yield nest
            nest = nest.parent


CURRENT: ContextVar[Nest | None] = ContextVar("egressor_call", default=None)
"""
The innermost call under way in this context.
"""
