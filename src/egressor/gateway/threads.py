"""
Threads for what blocks, such as asking a name server: nobody waits for them at the end.

The event loop's own ones are waited for, by the loop and once more by the interpreter. A name server that does not
answer would hold the gateway's end up far beyond its grace.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from threading import Thread
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LooseThreads"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


class LooseThreads(ThreadPoolExecutor):
    """
    An executor with a thread for each call; the event loop takes no other class of them for its own.

    There are few at a time: a service's name is asked for once, by all that want it.
    """

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """
        Begin *fn*.
        """
        future: Future[_T] = Future()
        future.set_running_or_notify_cancel()

        def work() -> None:
            try:
                value = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - the one who waits gets it
                future.set_exception(error)
            else:
                future.set_result(value)

        Thread(target=work, name="egressor-blocking", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        """
        Wait for nobody.
        """
        super().shutdown(wait=False, cancel_futures=cancel_futures)
