"""
What a script packed, read: the part of MessagePack that whole numbers, texts and lists need (msgpack.org, spec.md).
"""

from __future__ import annotations

from typing import Any

__all__ = ["unpacked"]

_INTEGERS = {0xCC: (1, False), 0xCD: (2, False), 0xCE: (4, False), 0xCF: (8, False)}
_SIGNED = {0xD0: (1, True), 0xD1: (2, True), 0xD2: (4, True), 0xD3: (8, True)}
_TEXTS = {0xD9: 1, 0xDA: 2, 0xDB: 4}
_LISTS = {0xDC: 2, 0xDD: 4}


def unpacked(data: bytes) -> Any:
    """
    Read *data*: whole numbers, texts, and lists of them.
    """
    return _unpack(data, 0)[0]


def _unpack(data: bytes, at: int) -> tuple[Any, int]:
    kind = data[at]
    at += 1
    if kind < 0x80:
        return kind, at
    if kind >= 0xE0:
        return kind - 0x100, at
    if kind in _INTEGERS or kind in _SIGNED:
        size, is_signed = _INTEGERS.get(kind) or _SIGNED[kind]
        return int.from_bytes(data[at : at + size], "big", signed=is_signed), at + size
    if kind & 0xE0 == 0xA0 or kind in _TEXTS:
        size, at = (kind & 0x1F, at) if kind not in _TEXTS else _size(data, at, _TEXTS[kind])
        return data[at : at + size], at + size
    size, at = (kind & 0x0F, at) if kind not in _LISTS else _size(data, at, _LISTS[kind])
    items = []
    for _ in range(size):
        item, at = _unpack(data, at)
        items.append(item)
    return items, at


def _size(data: bytes, at: int, length: int) -> tuple[int, int]:
    return int.from_bytes(data[at : at + length], "big"), at + length
