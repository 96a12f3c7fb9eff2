"""
Faults of the gateway's own, as lines for the log.

What breaks once breaks for each request, and a broken service may fail thousands of times a second: the first fault of
a kind is told at once, and those that follow are counted until the next line may be written. Kinds are told apart by
service and cause, so that a loud one hides no other. Their number is bounded by what there is: services of the
configuration, places in code.
"""

from __future__ import annotations

from collections import Counter

__all__ = ["Faults"]

_PAUSE_US = 60_000_000


class Faults:
    """
    The faults that were told, and those that are yet to be.
    """

    __slots__ = ("_next", "_untold")

    def __init__(self) -> None:
        self._next: dict[tuple[str, str], int] = {}
        self._untold: Counter[tuple[str, str]] = Counter()

    def line(self, error: Exception, *, service: str, now: int) -> str | None:
        """
        Return what the log shall say of *error*; None if a line of the last minute has said it.

        Args:
            error: What was raised. Neither its text nor its traceback is told, as both may show what the client or an
                upstream has sent.
            service: The service that was asked for, one of the configuration's; empty if there is none.
            now: Monotonic time in microseconds.
        """
        kind = service, f"{type(error).__name__} at {_place(error)}"
        if now < self._next.get(kind, now):
            self._untold[kind] += 1
            return None
        self._next[kind] = now + _PAUSE_US
        left_out = self._untold.pop(kind, 0)
        more = f" ({left_out} more since the last such line)" if left_out else ""
        return f"{service or 'the gateway'}: a request failed by a fault of ours: {kind[1]}{more}"


def _place(error: Exception) -> str:
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    return "nowhere" if step is None else f"{step.tb_frame.f_code.co_filename}:{step.tb_lineno}"
