"""
Through the wrappers that SDKs put around an exception, to what really happened.

Python itself keeps three links (``__cause__``, ``__context__``, the members of a group); libraries add their own:
``original_exception`` (prawcore), ``reason`` (urllib, urllib3), ``os_error`` (aiohttp), or the inner exception as an
argument of the outer one (requests). Chains may be cyclic, very long, or raise when they are looked at: every walk here
visits each exception once, and at most 64 of them.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from egressor._core.evidence import attribute, is_a, is_without
from egressor.errors import Rejected

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DEPTH", "inner", "members", "unwrap", "walk", "walked"]

DEPTH: Final = 64
_LINKS: Final = ("original_exception", "original_error", "reason", "os_error")
_NAMES: Final = frozenset(_LINKS)


def unwrap(exc: BaseException) -> BaseException:
    """
    Find Egressor's own refusal inside *exc*; else its root cause; else *exc* itself.

    The root cause is found through the first link of each exception. A group of several has no single root: it ends
    there. So does a cancellation, which is how an attempt was stopped, not why.

    Returns:
        The ``Rejected`` nearest to the surface, or the innermost cause. Never raises.
    """
    if not inner(exc):
        return exc
    found = next((each for each in walk(exc) if is_a(each, Rejected)), None)
    if found is not None:
        return found
    seen = {id(exc)}
    while len(seen) < DEPTH:
        if len(members(exc)) > 1:
            break
        deeper = next((cause for cause in inner(exc) if is_a(cause, Exception)), None)
        if deeper is None or id(deeper) in seen:
            break
        seen.add(id(deeper))
        exc = deeper
    return exc


def walk(exc: BaseException) -> Iterator[BaseException]:
    """
    Yield *exc* and everything inside it, nearest first, each once, at most 64.
    """
    seen = {id(exc)}
    waiting = deque([exc])
    while waiting:
        current = waiting.popleft()
        yield current
        for cause in inner(current):
            if id(cause) not in seen and len(seen) < DEPTH:
                seen.add(id(cause))
                waiting.append(cause)


def walked(exc: BaseException) -> list[BaseException]:
    """
    List what `walk` yields; most exceptions have nothing inside.
    """
    return list(walk(exc)) if inner(exc) else [exc]


def inner(exc: BaseException) -> list[BaseException]:
    """
    List the exceptions directly inside *exc*: its cause, its context unless suppressed, a library's own links, its
    arguments, its members.
    """
    cause = attribute(exc, "__cause__")
    if cause is None and not attribute(exc, "__suppress_context__"):
        cause = attribute(exc, "__context__")
    arguments = attribute(exc, "args")
    links: list[object] = [*members(exc), cause]
    if type(arguments) is tuple:
        plain = is_without(exc, _NAMES, _NAMES)
        if plain and cause is None and len(arguments) == 1 and type(arguments[0]) is str and len(links) == 1:
            # A message and nothing else, as most exceptions have it.
            return []
        links += [] if plain else [attribute(exc, name) for name in _LINKS]
        links += arguments[:4]
    return [link for link in links if is_a(link, BaseException)]


def members(exc: BaseException) -> tuple[BaseException, ...]:
    """
    Return the first 64 members of an exception group; of any other exception, nothing.
    """
    if not is_a(exc, BaseExceptionGroup):
        return ()
    found = attribute(exc, "exceptions")
    return found[:DEPTH] if type(found) is tuple else ()
