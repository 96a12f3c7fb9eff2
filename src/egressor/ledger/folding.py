"""
Old failures, made fewer without being forgotten.

Of each service so many entries of kind ``error`` are kept. Above that the older half is folded: entries of the same
group, outcome and hour become one, the newest of them, which says how many it stands for. So counts by the hour stay
exact, and what is lost is which call each was. What is still too much then is dropped, the oldest first.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .entry import stamp
from .grouping import is_whole

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .entry import Entry

__all__ = ["KEEP_ERRORS", "Fewer", "fewer"]

KEEP_ERRORS: Final = 2_000
"""
How many entries of failures are kept of each service, about: the newest 1,000 as they were. Whoever looks reads them
all, so that ten busy services are half a second's work.
"""

_HOUR: Final = 3_600_000_000
_SLICE: Final = 50


class Fewer(NamedTuple):
    """
    What is to be done to entries so that they are fewer.

    Attributes:
        changed: Those that stand for others now, too.
        folded: The ids of those others.
        dropped: The ids of those that are too many even so.
    """

    changed: list[Entry]
    folded: list[str]
    dropped: list[str]


def fewer(entries: Iterable[Entry], room: int) -> Fewer:
    """
    Say how *entries* of one service, the oldest first, become at most *room*.
    """
    kept: dict[tuple[object, ...], Entry] = {}
    folded: list[str] = []
    changed: set[str] = set()
    for number, entry in enumerate(entries):
        if number % _SLICE == 0:
            time.sleep(0)  # Calls that wait for the interpreter go on in between.
        data = entry.data
        key: tuple[object, ...] = (entry.id,)
        if is_whole(entry):
            key = (data["fingerprint"], data["outcome"], entry.at // _HOUR)
        known = kept.pop(key, None)
        kept[key] = entry if known is None else _joined(known, entry)
        if known is not None:
            folded.append(known.id)
            changed.discard(known.id)
            changed.add(entry.id)
    left = list(kept.values())
    dropped = [each.id for each in left[: max(0, len(left) - room)]]
    gone = set(dropped)
    return Fewer([each for each in left if each.id in changed - gone], folded, dropped)


def _joined(old: Entry, new: Entry) -> Entry:
    data: dict[str, Any] = {
        **{name: value for name, value in new.data.items() if name not in {"attempt", "call", "context", "scope"}},
        "count": old.data["count"] + new.data["count"],
        "calls": old.data["calls"] + new.data["calls"],
        "first": old.data.get("first") or stamp(old.at),
    }
    return new._replace(data=data)
