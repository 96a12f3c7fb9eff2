"""
Notice an SDK, or an adapter, that tries again by itself, on top of the policy's retries.

An adapter of requests says so: its ``max_retries`` is there to be read. An SDK doesn't, but some requests do: the SDKs
that Stainless generates (openai, anthropic, groq, coingecko, …) number their tries in a header. The first has 0, also
where they never retry, so that only a number above 0 proves anything.
"""

from __future__ import annotations

import warnings
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from egressor.governor import Governor

__all__ = ["NestedRetryWarning", "notice", "notice_adapter"]

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
    if count not in {"", "0"} and count.isdecimal():
        _warn(gov, "an SDK retries by itself, on top of its policy's retries: construct it with max_retries=0")


def notice_adapter(gov: Governor, retries: Any) -> None:
    """
    Warn, once for each governor, if an adapter of requests has *retries*, a ``Retry`` of urllib3, that allow any.
    """
    counts = [getattr(retries, name, None) for name in ("total", "connect", "read", "status", "other")]
    total, *others = counts
    # A total bounds the others; without one each of them stands for itself.
    if total or (total is None and any(others)):
        _warn(gov, "the adapter inside retries by itself, on top of its policy's retries: give it max_retries=0")


def _warn(gov: Governor, message: str) -> None:
    if gov in _WARNED:
        return
    with _LOCK:
        if gov in _WARNED:
            return
        _WARNED.add(gov)
    # Nothing is admitted yet, so that nothing leaks where a filter turns the warning into an exception.
    warnings.warn(message, NestedRetryWarning, stacklevel=4)
