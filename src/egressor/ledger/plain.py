"""
Strangers' values as bounded JSON: what an entry may hold.

Rules of this file. Nobody's code runs but Python's own: no ``__str__``, ``__repr__``, property, iterator or key of a
stranger's class is asked, since it may raise, wait, lie, or never end; what isn't one of Python's own plain values is
told by its type's name. Only strings come out, never the objects. Depth, width, the number of values and the length of
each text are bounded, before anything is looked at as a whole. What is left out says so. Doing it twice changes
nothing.
"""

from __future__ import annotations

import json
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from inspect import getattr_static
from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from egressor._core.evidence import attribute, is_a
from egressor.policies.hiding import NOT_SHOWN
from egressor.policies.redaction import cut, is_secret_name, redact

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["bounded", "clean", "fitted", "kind_of"]

MOST: Final = 8_192
"""
Bytes of JSON that an entry's data may take.
"""

_LONGEST: Final = 1_000
_LONGEST_NAME: Final = 200
_DEEPEST: Final = 5
_WIDEST: Final = 64
_VALUES: Final = 1_000
_MORE: Final = "…"
_PAIR: Final = 2
_PARTS: Final = 8
_SAYS_NAME: Final = frozenset({"name", "key", "header", "field"})
_SAYS_VALUE: Final = frozenset({"value", "values", "val", "content", "data"})
# Python's own, whose text runs no stranger's code and is short.
_TOLD: Final = frozenset({datetime, date, time, timedelta, Decimal, UUID})


def clean(text: str, most: int = _LONGEST_NAME) -> str:
    """
    Return *text* short, printable, and without anything that looks like a secret.
    """
    # Hidden before it is cut, as half a secret looks like none.
    text = redact(cut(text, 4 * most))
    if not text.isprintable():
        # What stood on two lines stands on one now, and is looked at again as that.
        text = redact("".join(char if char.isprintable() else " " if char.isspace() else "?" for char in text))
    return text[:most]


def bounded(data: Mapping[str, Any], *, most: int = MOST) -> dict[str, Any]:
    """
    Return *data* as plain values that take at most *most* bytes as JSON; more is left out, and says so.
    """
    kept = _plain(data, _DEEPEST + 1, [_VALUES])
    if type(kept) is not dict:
        return {"left_out": str(kept)}
    size = len(json.dumps(kept))
    return kept if size <= most else {"left_out": f"{size} bytes of data, above {most}"}


def fitted(value: object, most: int) -> Any:
    """
    Return *value* as a plain one that takes at most *most* bytes as JSON; a larger one is left out, and says so.
    """
    kept = _plain(value, _DEEPEST, [_VALUES])
    size = len(json.dumps(kept))
    return kept if size <= most else f"left out: {size} bytes, above {most}"


def kind_of(value: object) -> str:
    """
    Name the type of *value*, whatever its class says of itself.
    """
    kind = type(value)
    module, name = attribute(kind, "__module__"), attribute(kind, "__qualname__")
    known = type(module) is str and type(name) is str
    return clean(f"<{module}.{name}>" if known and module != "builtins" else f"<{name if known else 'something'}>")


def _plain(value: object, depth: int, left: list[int]) -> Any:
    """
    Return *value* as JSON can hold it, *depth* levels of it, and no more values than are *left*.
    """
    left[0] -= 1
    if left[0] < 0:
        return _MORE
    try:
        if value is None or type(value) is bool:
            return value
        if is_a(value, str):
            return clean(str.__str__(value), _LONGEST)
        if is_a(value, int):
            return _whole(int.__index__(value))
        if is_a(value, float):
            number = float.__float__(value)
            return number if abs(number) < float("inf") else float.__repr__(number)
        if type(value) in _TOLD:
            return clean(str(value), _LONGEST)
        return _container(value, depth, left)
    except Exception:  # noqa: BLE001 - another thread changes it, or its class is not what it seems
        return kind_of(value)


def _whole(number: int) -> int | str:
    if abs(number) < 1 << 63:
        return number
    return f"<a number of {number.bit_length()} bits>"


def _container(value: object, depth: int, left: list[int]) -> Any:
    size = None
    if is_a(value, dict):
        size, pairs = dict.__len__(value), iter(dict.items(value))
        if depth:
            return _named(pairs, size, depth - 1, left)
    kind: Any
    for kind in (list, tuple, set, frozenset):
        if is_a(value, kind):
            size = kind.__len__(value)
            if depth:
                values = kind.__iter__(value)
                fields = _fields(value)
                if len(fields) == size > 0:
                    return _named(zip(fields, values, strict=True), size, depth - 1, left)
                return _listed(values, size, depth - 1, left)
    for kind in (bytes, bytearray):
        if is_a(value, kind):
            return f"<{kind.__len__(value)} bytes>"
    return kind_of(value) if size is None else f"<{type(value).__name__} of {size}>"


def _fields(value: object) -> tuple[str, ...]:
    """
    Return the names of a named tuple's values; none for anything else.
    """
    if type(value) is tuple or not is_a(value, tuple):
        return ()
    names = getattr_static(type(value), "_fields", None)
    return names if type(names) is tuple and all(type(name) is str for name in names) else ()


def _named(pairs: Any, size: int, depth: int, left: list[int]) -> dict[str, Any]:
    most = size if size <= _WIDEST else _WIDEST - 1
    known = list(islice(pairs, most))
    # A header, or a form's field, may be a dictionary of its own: {"name": "password", "value": …}.
    is_told = any(_word(key).lower() in _SAYS_NAME and is_secret_name(_word(each)) for key, each in known)
    found: dict[str, Any] = {}
    for key, each in known:
        word = _word(key)
        name = clean(word) if (is_a(key, str) or is_a(key, bytes)) else str(_plain(key, 0, left))
        parts = tuple.__iter__(key) if is_a(key, tuple) else (key,)
        is_secret = is_secret_name(name) or (is_told and word.lower() in _SAYS_VALUE)
        is_secret = is_secret or any(is_secret_name(_word(part)) for part in islice(parts, _PARTS))
        found[name] = NOT_SHOWN if is_secret and _says(each) else _plain(each, depth, left)
    if size > most:
        found[_MORE] = f"{size - most} more"
    return found


def _listed(values: Any, size: int, depth: int, left: list[int]) -> list[Any]:
    most = size if size <= _WIDEST else _WIDEST - 1
    found: list[Any] = []
    is_next_secret = False
    for number, each in enumerate(islice(values, most)):
        found.append(NOT_SHOWN if is_next_secret and _says(each) else _plain(each, depth, left))
        # A pair is a name and its value; a command's option stands before its.
        word = _word(each)
        is_name = (size == _PAIR and not number) or (word.startswith("-") and "=" not in word)
        is_next_secret = is_name and (is_secret_name(word) or is_secret_name(_word(found[-1])))
    return found if size <= most else [*found, f"{_MORE} {size - most} more"]


def _word(value: object) -> str:
    """
    Return the beginning of *value*, if it is a text or bytes, as a text; else nothing.
    """
    if is_a(value, str):
        return str.__str__(value)[:_LONGEST_NAME]
    return bytes.__getitem__(value, slice(_LONGEST_NAME)).decode("latin-1") if is_a(value, bytes) else ""


def _says(value: object) -> bool:
    return value is not None and type(value) is not bool
