"""
What an exception says, without making a text of all that was put into it.

Python's own ``str`` of an exception spells its arguments out, a body of 50 MB as well, where a failing call waits for
it. So large arguments are spelled out as far as anybody reads. An exception with a ``__str__`` of its own says what it
likes.
"""

from __future__ import annotations

from itertools import islice
from typing import Any, Final

__all__ = ["words_of"]

# Past whatever a subclass calls so.
_ARGS: Any = BaseException.__dict__["args"]
_LARGE: Final = 65_536
_MANY: Final = 500
# Above whatever is read of it, so that no cut of a text shows.
_LONGEST: Final = 8_192
_WIDEST: Final = 16
_DEEPEST: Final = 3
_TEXTS: Final = frozenset({str, bytes, bytearray})
_LISTS: Final = frozenset({list, tuple, set, frozenset})


def words_of(error: BaseException) -> str:
    """
    Return what *error* says. It may be cut, but above 8,192 characters only.

    Raises:
        Exception: Whatever its ``__str__`` raises.
    """
    if type(error).__str__ is BaseException.__str__:
        args: Any = _ARGS.__get__(error)
        if args and not (len(args) == 1 and type(args[0]) is str) and _is_large(args):
            return _spelled(args[0] if len(args) == 1 else args, _DEEPEST)
    return str.__str__(str(error))


def _is_large(value: object) -> bool:
    left, waiting = _LARGE, [value]
    for _ in range(_MANY):
        if not waiting:
            return False
        each: Any = waiting.pop()
        kind = type(each)
        if kind in _TEXTS:
            left -= len(each)
        elif kind is dict or kind in _LISTS:
            if len(each) > _MANY:
                return True
            waiting += each
            if kind is dict:
                waiting += each.values()
        if left < 0:
            return True
    return True


def _spelled(value: Any, depth: int) -> str:
    kind = type(value)
    if kind in _TEXTS:
        return repr(value[:_LONGEST])
    if kind is not dict and kind not in _LISTS:
        return repr(value)
    if not depth:
        return "…"
    if kind is dict:
        pairs = islice(value.items(), _WIDEST)
        return f"{{{', '.join(f'{_spelled(name, depth - 1)}: {_spelled(each, depth - 1)}' for name, each in pairs)}}}"
    inside = ", ".join(_spelled(each, depth - 1) for each in islice(value, _WIDEST))
    return f"[{inside}]" if kind is list else f"({inside})"
