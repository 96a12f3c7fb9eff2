"""
Notice an SDK that tries again by itself, on top of the policy's retries.

The SDKs that Stainless generates (openai, anthropic, groq, coingecko, …) number their tries in a header: the first has
0, also where they never retry, so that only a number above 0 proves anything.
"""

from __future__ import annotations

import warnings
from threading import Lock
from typing import TYPE_CHECKING
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from egressor.governor import Governor

__all__ = ["NestedRetryWarning", "notice"]

_HEADER = "x-stainless-retry-count"
_LOCK = Lock()
_WARNED: WeakSet[Governor] = WeakSet()


class NestedRetryWarning(UserWarning):
    """
    A wrapped SDK retries by itself: its attempts multiply with the policy's, and escape the retry budget.
    """


def notice(gov: Governor, headers: Mapping[str, str]) -> None:
    """
    Warn, once for each governor, if *headers* are those of an SDK's own retry.
    """
    count = headers.get(_HEADER, "")
    if count in {"", "0"} or not count.isdecimal() or gov in _WARNED:
        return
    with _LOCK:
        if gov in _WARNED:
            return
        _WARNED.add(gov)
    message = "an SDK retries by itself, on top of its policy's retries: construct it with max_retries=0"
    # Nothing is admitted yet, so that nothing leaks where a filter turns the warning into an exception.
    warnings.warn(message, NestedRetryWarning, stacklevel=3)
