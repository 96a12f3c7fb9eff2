"""
What is shared of a service, as rows of an SQLite file.

Most of it is one text: how many exchanges there were, the standing's number, the cells of limits for everybody, who
holds places, who waits, who is alive. Whoever finds the text that it has written itself need not read it, and writing
it is one page. Cells of which there is one for each user, say, have rows of their own, with the places and waiters
there are at them, and so has the standing, which is long and seldom changes.
"""

from __future__ import annotations

import hashlib
import json
from binascii import crc32
from typing import TYPE_CHECKING, Any, NamedTuple

from egressor._core.fleet import LIFE
from egressor._core.fleet_model import Member, Rank, State, Wait

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from egressor._core.fleet_model import Part, Request
    from egressor._core.limits import Algorithm

__all__ = [
    "Damaged",
    "Hot",
    "Row",
    "as_key",
    "as_name",
    "as_number",
    "as_shared",
    "as_value",
    "end_of",
    "from_shared",
    "is_hot",
    "limits_of",
]

_LONGEST = 200
_SPLIT = "|"
# What SQLite takes as a number.
_SMALL = 1 << 63
_write = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_quoted = json.encoder.encode_basestring_ascii
Table = dict[str, dict[str, Any]]


class Damaged(Exception):
    """
    A row says nothing that anybody has written.
    """


class Row(NamedTuple):
    """
    A cell with a row of its own.

    Attributes:
        value: The cell.
        held: Places, by member.
        waits: The best waiters, by member.
        until: When nothing depends on the value any more.
    """

    value: int = 0
    held: dict[str, int] = {}  # noqa: RUF012 - never changed
    waits: dict[str, Wait] = {}  # noqa: RUF012
    until: int = 0


class Hot:
    """
    The text of one service, and what it says.

    Args:
        number: The service's row.
        text: The text; empty for a new service.

    Attributes:
        count: How many exchanges there were.
        state: What it says.
        ends: When nothing depends on a cell any more, by cell.
        plain: The parts of a want that touch nothing but the text, as was found last, and until when that is so.
    """

    __slots__ = ("_named", "_said", "count", "ends", "number", "plain", "state", "text")

    def __init__(self, number: int, text: str) -> None:
        self.number = number
        self.text = text
        self.state = State({})
        self.count = 0
        self.ends: dict[str, int] = {}
        self.plain: tuple[tuple[Part, ...], int] = ((), 0)
        # What was written of each member, and its unchanging end: most say nothing between two exchanges.
        self._said: dict[str, tuple[Member, str, str]] = {}
        # The names of cells, quoted.
        self._named: dict[str, str] = {}
        if text:
            self._read(text)

    def write(self) -> str:
        """
        Count an exchange, and say everything anew.
        """
        self.count += 1
        state, ends, named = self.state, self.ends, self._named
        cells = ",".join(
            [
                f"{named.get(cell) or self._name(cell)}{_written(value)},{ends.get(cell, 0)}]"
                for cell, value in state.cells.items()
            ]
        )
        members = ",".join([self._member(name, member) for name, member in state.members.items()])
        held = _write(state.held) if state.held else "{}"
        waits = _write(state.waits) if state.waits else "{}"
        return _marked(f"[{self.count},{state.version},{{{cells}}},{held},{waits},{{{members}}}]")

    def _member(self, name: str, member: Member) -> str:
        said = self._said.get(name)
        if said is None:
            end = f",{_quoted(member.address)},{_quoted(member.info)}]"
        else:
            was, text, end = said
            if was is member:
                return text
            if was.address is not member.address or was.info is not member.info:
                end = f",{_quoted(member.address)},{_quoted(member.info)}]"
        text = f"{_quoted(name)}:[{member.until}{end}"
        self._said[name] = member, text, end
        return text

    def _name(self, cell: str) -> str:
        name = self._named[cell] = f"{_quoted(cell)}:["
        return name

    def sweep(self, now: int) -> None:
        """
        Forget cells on which nothing depends any more.
        """
        for cell in [cell for cell, end in self.ends.items() if end <= now]:
            self.ends.pop(cell)
            self.state.cells.pop(cell, None)
        self._said.clear()
        self._named.clear()
        self.plain = (), 0

    def _read(self, text: str) -> None:
        self.count, version, cells, held, waits, members = _unsealed(text)
        state = self.state
        state.version = version
        for cell, (value, end) in cells.items():
            state.cells[cell] = value if type(value) is int else int(value, 16)
            self.ends[cell] = end
        state.held = held
        state.waits = {cell: _waits(row) for cell, row in waits.items()}
        state.members = {name: Member(*member) for name, member in members.items()}


def is_hot(cell: str) -> bool:
    """
    Whether *cell* stands in the text.
    """
    return _SPLIT not in cell and len(cell) <= _LONGEST


def limits_of(request: Request) -> Iterator[tuple[str, Algorithm | None]]:
    """
    Yield each cell that *request* names, with its limit if it says so.
    """
    for cell, _ in request.places:
        yield cell, None
    for back in request.backs:
        yield back.part.cell, back.part.limit
    for want in request.wants:
        for part in want.parts:
            yield part.cell, part.limit
    for top in request.tops:
        yield top.part.cell, top.part.limit
    for cell in request.left:
        yield cell, None


def end_of(limit: Algorithm, now: int) -> int:
    """
    Return when nothing depends any more on what *limit* counts now: rounded, so that it seldom changes.
    """
    grain = max(limit.horizon // 4, LIFE)
    return min((now + limit.horizon) // grain * grain + 2 * grain, _SMALL - 1)


def as_key(name: str) -> bytes:
    """
    Return what stands for *name* in the file: itself, or its beginning and a hash if it is long.
    """
    key = name.encode("utf-8", "surrogatepass")
    if len(key) <= _LONGEST:
        return key
    return key[: _LONGEST - 65] + b"#" + hashlib.sha256(key).hexdigest().encode()


def as_name(key: bytes) -> str:
    """
    Return the name that *key* stands for; of a long one its beginning.
    """
    try:
        return key.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return key.decode("utf-8", "replace")


def as_value(value: int) -> int | str:
    """
    Return what SQLite takes for a cell.
    """
    return value if value < _SMALL else f"{value:x}"


def as_number(value: object) -> int:
    """
    Return the cell again.

    Raises:
        Damaged: It is none.
    """
    if isinstance(value, int):
        return value
    try:
        return int(value, 16)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError):
        msg = "a cell is no number"
        raise Damaged(msg) from None


def as_shared(held: dict[str, int], waits: dict[str, Wait]) -> str | None:
    """
    Return the text of places and waiters; None if there are none.
    """
    return _sealed((held, waits)) if held or waits else None


def from_shared(text: str | None) -> tuple[dict[str, int], dict[str, Wait]]:
    """
    Return places and waiters again.

    Raises:
        Damaged: The text is not as it was written.
    """
    if text is None:
        return {}, {}
    held, waits = _unsealed(text)
    return held, _waits(waits)


def _waits(row: Mapping[str, Any]) -> dict[str, Wait]:
    return {name: Wait(Rank(*rank), units, seen, is_told) for name, (rank, units, seen, is_told) in row.items()}


def _written(value: int) -> int | str:
    return value if value < _SMALL else f'"{value:x}"'


def _sealed(value: object) -> str:
    return _marked(_write(value))


def _marked(text: str) -> str:
    return f"{crc32(text.encode()):08x}{text}"


def _unsealed(text: object) -> Any:
    # SQLite notices a damaged tree, not a damaged text.
    if not isinstance(text, str) or text[:8] != f"{crc32(text[8:].encode('utf-8', 'replace')):08x}":
        msg = "a row is not as it was written"
        raise Damaged(msg)
    return json.loads(text[8:])
