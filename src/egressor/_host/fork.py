"""
What a fork must not copy, or end twice.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Forking", "heed", "leak"]


class Forking(Protocol):
    """
    What wants to be told of forks.
    """

    def before_fork(self) -> None:
        """
        A fork is about to happen, in this thread.
        """

    def after_fork(self) -> None:
        """
        It has happened, and this is the parent.
        """

    def after_fork_in_child(self) -> None:
        """
        It has happened, and this is the child.
        """


_every: WeakSet[Forking] = WeakSet()
_leaked: list[object] = []


def heed(one: Forking) -> None:
    """
    Tell *one* of every fork from now on, for as long as it lives.
    """
    _every.add(one)


def leak(what: object) -> None:
    """
    See to it that nobody ever ends *what*, not even the interpreter's end.
    """
    _leaked.append(what)
    with suppress(ImportError):
        import ctypes

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(what))


def _all_of_them(step: Callable[[Forking], object]) -> Callable[[], None]:
    def run() -> None:
        for each in list(_every):
            step(each)

    return run


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_all_of_them(lambda one: one.before_fork()),
        after_in_parent=_all_of_them(lambda one: one.after_fork()),
        after_in_child=_all_of_them(lambda one: one.after_fork_in_child()),
    )
