"""
Notice an SDK, or an adapter, that tries again by itself, on top of the policy's retries.

An adapter of requests says so: its ``max_retries`` is there to be read. An SDK doesn't, but some requests do: the SDKs
that Stainless generates (openai, anthropic, groq, coingecko, …) number their tries in a header. The first has 0, also
where they never retry, so that only a number above 0 proves anything.

Inside of a governed call (a decorated function, a permit) an SDK's own retry is one of that call's attempts. Once those
are used up, nothing is sent: the SDK gets the answer again that the last of them got.
"""

from __future__ import annotations

import warnings
from contextlib import suppress
from copy import copy
from hashlib import blake2b
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

from egressor.governor.nesting import CURRENT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from egressor.governor import Governor
    from egressor.governor.nesting import Nest

    from .family import Family

__all__ = ["NestedRetryWarning", "keep", "keep_error", "notice", "notice_adapter", "repeated"]

_HEADER = "x-stainless-retry-count"
_MOST_KEPT = 16
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
    if _is_again(headers):
        _warn(gov, "an SDK retries by itself, on top of its policy's retries: construct it with max_retries=0")


class _Kept(NamedTuple):
    """
    A failing answer that an SDK has got, whole, inside of a governed call.
    """

    status: int
    headers: Any
    chunks: Sequence[bytes]
    version: Any


def keep(request: Any, response: Any) -> None:
    """
    Keep *response*, a failing one that was read whole, for the SDK's own retries inside of the call around it.
    """
    nest = CURRENT.get()
    chunks = getattr(response.stream, "whole", None)
    if nest is not None and chunks is not None and _HEADER in request.headers:
        version = {name: value for name, value in response.extensions.items() if name == "http_version"}
        _remember(nest, request, _Kept(response.status_code, response.headers, chunks, version))


def keep_error(request: Any, error: BaseException) -> None:
    """
    Keep *error*, which a request came to, for the SDK's own retries inside of the call around it.
    """
    nest = CURRENT.get()
    if nest is not None and isinstance(error, Exception) and _HEADER in request.headers:
        with suppress(Exception):  # What can't be copied is not kept, and sent again.
            # A copy: the error itself refers to every frame that it has passed.
            _remember(nest, request, copy(error))


def repeated(family: Family, request: Any, body: Any) -> Any:
    """
    Return what an SDK's own retry gets, once the call around it has no attempt left; None for it to be sent.

    Args:
        family: Whose request it is.
        request: The request.
        body: The class of a response's body, in the client's colour.

    Raises:
        Exception: What the last of the attempts came to, if that was no answer.
    """
    if not _is_again(request.headers):
        return None
    nest = CURRENT.get()
    if nest is None or nest.enter().retry():
        return None
    known, key = nest.kept, _key(request)
    kept = known.get(key) if isinstance(known, dict) and key is not None else None
    if isinstance(kept, Exception):
        raise kept
    if kept is None:
        return None
    stream = body(None, chunks=kept.chunks)
    return family.library.Response(kept.status, headers=kept.headers, stream=stream, extensions=kept.version)


def _remember(nest: Nest, request: Any, kept: object) -> None:
    key = _key(request)
    if key is None:
        return
    with _LOCK:
        known = nest.kept if isinstance(nest.kept, dict) else {}
        known.pop(key, None)
        while len(known) >= _MOST_KEPT:
            del known[next(iter(known))]
        nest.kept = {**known, key: kept}


def _key(request: Any) -> tuple[str, ...] | None:
    """
    Return what a request and its repetition have in common, and no other has; None if its body can't be looked at.
    """
    told = request.headers.get("idempotency-key", "")
    if not told:
        content = None
        with suppress(Exception):  # A body that is a stream was not read, and is not kept.
            content = request.content
        if not isinstance(content, bytes):
            return None
        told = blake2b(content, digest_size=16).hexdigest()
    return request.method, str(request.url), told


def _is_again(headers: Mapping[str, str]) -> bool:
    count = headers.get(_HEADER, "")
    return count not in {"", "0"} and count.isdecimal()


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
