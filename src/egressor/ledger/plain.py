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
                return _listed(kind.__iter__(value), size, depth - 1, left)
    for kind in (bytes, bytearray):
        if is_a(value, kind):
            return f"<{kind.__len__(value)} bytes>"
    return kind_of(value) if size is None else f"<{type(value).__name__} of {size}>"


def _named(pairs: Any, size: int, depth: int, left: list[int]) -> dict[str, Any]:
    most = size if size <= _WIDEST else _WIDEST - 1
    found: dict[str, Any] = {}
    for key, each in islice(pairs, most):
        name = clean(str.__str__(key)) if is_a(key, str) else str(_plain(key, 0, left))
        is_secret = each is not None and type(each) is not bool and is_secret_name(name)
        found[name] = NOT_SHOWN if is_secret else _plain(each, depth, left)
    if size > most:
        found[_MORE] = f"{size - most} more"
    return found


def _listed(values: Any, size: int, depth: int, left: list[int]) -> list[Any]:
    most = size if size <= _WIDEST else _WIDEST - 1
    found = [_plain(each, depth, left) for each in islice(values, most)]
    return found if size <= most else [*found, f"{_MORE} {size - most} more"]
