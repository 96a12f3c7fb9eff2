"""
How an exchange is told to a Redis server, and its reply read.

A request goes over as the keys that it touches, one JSON text with all of its numbers, and the texts that it holds.
Cells that count have a key each; places stand in hashes, so that their cells are only named. Of the members' times only
integers go over, and they come back as integers: `lua/exchange.lua` says why doubles hold them.

*What has another form there.* A sliding window's big integer is a list of counts, a fixed window's cell its end, its
length and its count; `number` makes the integer of them that every other store has. Windows by the calendar are worked
out here: the request says where the next ones end, and until when that holds.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from egressor._core.fleet import LIFE, STAY, Answer, Member, Rank, Reply, State, Wait
from egressor._core.limits import BUCKET_BITS, Concurrency, Fixed, Gcra, Sliding
from egressor._core.model import Priority

from .redis_pack import unpacked

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from egressor._core.fleet import Part, Request
    from egressor._core.limits import Algorithm

__all__ = [
    "KEEP",
    "SCHEMA",
    "Again",
    "Foreign",
    "Moment",
    "Stepped",
    "Tags",
    "Told",
    "Unfit",
    "ask",
    "look",
    "read",
    "refusal",
    "seen",
    "sent",
]

SCHEMA = "1"
"""
The version of what stands in the keys.
"""

KEEP = 3_900_000
"""
How many milliseconds a key outlives what it is needed for: a server's clock that steps by an hour takes nothing away.
"""

_FAR = 1 << 52
_MOST = 1 << 53
_NAME = 200
_SPARE = 2_000_000
_COUNT_BITS = 48
_PARTS = ("main", "alive", "members", "held", "sums", "waits", "index")
_LIMITS = Gcra | Sliding | Fixed


class Again(Exception):
    """
    The request was made for another time than the server's; nothing was done.

    Args:
        wall: The server's wall time, in microseconds.
    """

    def __init__(self, wall: int) -> None:
        super().__init__(wall)
        self.wall = wall


class Stepped(Exception):
    """
    The store's time is not what it should be, or the request was late; nothing was done.

    Args:
        wall: The server's wall time, in microseconds.
        now: The store's time, likewise.
    """

    def __init__(self, wall: int, now: int) -> None:
        super().__init__(wall, now)
        self.wall = wall
        self.now = now


class Foreign(Exception):
    """
    The keys were written by a version that this one doesn't know.
    """


class Moment(NamedTuple):
    """
    What is known of a server's time as a request is made, in microseconds.

    Attributes:
        wall: Its wall time.
        expect: What the store's time should be; -1 where nobody knows.
        within: By how much it may differ from that.
        fixed: The store's time, where it is to be no other; None asks the server.
        at: The server's wall time at which the store's time should be *expect*; -1: as the request is sent.
    """

    wall: int
    expect: int = -1
    within: int = 0
    fixed: int | None = None
    at: int = -1

    def after(self, stepped: Stepped, took: int) -> Moment:
        """
        Return what to say next to a server whose time is not the expected one, *took* microseconds after this moment.
        """
        ahead = stepped.now - self.expect
        if 0 < ahead <= took + self.within:
            # The request may have been on its way for so long.
            return Moment(stepped.wall)
        return self._replace(wall=stepped.wall, at=stepped.wall)


class Tags:
    """
    The names of a service's keys.

    Args:
        namespace: What keeps users of one server apart.
        service: The service.
    """

    __slots__ = ("keys", "prefix", "tag")

    def __init__(self, namespace: str, service: str) -> None:
        self.tag = b"{egressor:" + sent(namespace) + b":" + sent(service) + b"}"
        self.keys = [self.tag + b":" + part.encode() for part in _PARTS]
        self.prefix = self.tag + b":cell:"


def refusal(limit: Algorithm) -> str:
    """
    Say why *limit* can't be kept in Redis, whose scripts count in doubles; empty if it can.
    """
    if type(limit) is Concurrency:
        return "" if limit.amount < _FAR else f"an amount of {limit.amount} is above 2^52"
    if limit.horizon >= _FAR:
        return f"it reaches {limit.horizon // 1_000_000} s, and 2^52 µs (142 years) is the most"
    if limit.amount >= 1 << _COUNT_BITS - 1:
        return f"an amount of {limit.amount} is above 2^47"
    if type(limit) is Sliding and (1 << 51) // limit.width >= 1 << BUCKET_BITS:
        return f"a sliding window of {limit.period} µs is too short"
    return ""


class _Cells:
    """
    The cells of a request by number, as the script counts them: those with a key first.
    """

    def __init__(self, request: Request) -> None:
        counted: dict[str, Algorithm] = {}
        for part in _parts(request):
            if type(part.limit) is not Concurrency:
                counted.setdefault(part.cell, part.limit)
        self.limits = list(counted.values())
        self.numbers = {cell: number for number, cell in enumerate(counted, 1)}
        for cell in _others(request):
            self.numbers.setdefault(cell, len(self.numbers) + 1)
        names = list(self.numbers)
        self.keyed = [_name(cell) for cell in names[: len(counted)]]
        self.texts = [_name(cell) for cell in names[len(counted) :]]


class Unfit(Exception):
    """
    A limit of the request can't be kept there.
    """


class _Limits:
    """
    The limits of a request by number.
    """

    def __init__(self, moment: Moment) -> None:
        self.rows: list[list[int]] = []
        self._numbers: dict[int, int] = {}
        self._wall = moment.wall

    def number(self, limit: Algorithm) -> int:
        found = self._numbers.get(id(limit))
        if found is None:
            reason = refusal(limit)
            if reason:
                raise Unfit(reason)
            self.rows.append(self._row(limit))
            found = self._numbers[id(limit)] = len(self.rows)
        return found

    def _row(self, limit: Algorithm) -> list[int]:
        if type(limit) is Concurrency:
            return [4, limit.amount]
        keep = -(-limit.horizon // 1000) + KEEP
        if type(limit) is Gcra:
            return [1, limit.gap, limit.span, limit.horizon, keep, limit.deep]
        if type(limit) is Sliding:
            return [2, limit.amount, limit.width, limit.mask, keep, limit.mask.bit_length()]
        assert type(limit) is Fixed  # noqa: S101 - the last of four
        start = max(0, self._wall - _SPARE)
        ends = [limit.boundary(start)]
        while ends[-1] <= self._wall + _SPARE:
            ends.append(limit.boundary(ends[-1]))
        return [3, limit.amount, limit.period, limit.shortest, keep, start, *ends]


def ask(tags: Tags, request: Request, moment: Moment, *, is_told: bool) -> tuple[list[bytes], list[bytes], list[str]]:
    """
    Return keys and arguments of *request*, and the names of its cells by number.

    Args:
        tags: The names of the service's keys.
        request: What a member hands in.
        moment: What is known of the server's time.
        is_told: Whether the server has heard of the member's address and info.

    Raises:
        Unfit: One of its limits can't be kept there.
    """
    cells = _Cells(request)
    limits = _Limits(moment)
    numbers = cells.numbers

    def flat(parts: Iterable[Part]) -> list[int]:
        return [value for part in parts for value in (numbers[part.cell], _cut(part.units), limits.number(part.limit))]

    wants = [
        [want.rank.level, _cut(want.rank.since), _cut(want.rank.deadline), _cut(want.most), flat(want.parts)]
        for want in request.wants
    ]
    said = {
        "schema": SCHEMA,
        "expect": moment.expect,
        "within": moment.within,
        "at": moment.at,
        "version": request.version,
        "standing": int(request.standing is not None),
        "told": int(is_told),
        "lone": int(is_told and _is_lone(request)),
        "age": request.age,
        "stay": STAY,
        "life": LIFE,
        "top": len(Priority) - 1,
        "prefix": len(tags.prefix) + 1,
        "places": [value for cell, units in request.places for value in (numbers[cell], _cut(units))],
        "backs": [
            value
            for part, at in request.backs
            if type(part.limit) is not Concurrency
            for value in (*flat([part]), -1 if at is None else _cut(at))
        ],
        "wants": wants,
        "tops": [value for top in request.tops for value in (*flat([top.part]), top.share)],
        "keyed": [limits.number(limit) for limit in cells.limits],
        "left": [numbers[cell] for cell in request.left],
        "limits": limits.rows,
    }
    if moment.fixed is not None:
        said["now"], said["wall"] = moment.fixed, moment.wall
    texts = [sent(each) for each in (request.member, request.address, request.info, request.standing or "")]
    keys = [*tags.keys, *(tags.prefix + name for name in cells.keyed)]
    return keys, [json.dumps(said, separators=(",", ":")).encode(), *texts, *cells.texts], list(numbers)


class Told(NamedTuple):
    """
    A reply, and what it says of the server.

    Attributes:
        reply: The reply.
        wall: The server's wall time, in microseconds.
        step: By how much its clock differed from what was expected, where that was too much; else 0.
        is_new: Whether nothing was shared of the service before.
    """

    reply: Reply
    wall: int
    step: int
    is_new: bool


def read(answer: Sequence[Any], names: Sequence[str], request: Request) -> Told:
    """
    Read what the script said to *request*; *names* are those of its cells by number.

    Raises:
        Again: It was made for another time.
        Stepped: The store's time is not what the request says that it should be.
        Foreign: The keys are of another version.
    """
    if answer[0] == b"again":
        raise Again(int(answer[1]))
    if answer[0] == b"step":
        raise Stepped(int(answer[1]), int(answer[2]))
    if answer[0] == b"schema":
        raise Foreign
    now, wall, step, is_new, version, members, *rest = map(int, answer[1].split())
    if answer[0] == b"old":
        reply = Reply(now, version, standing=seen(answer[2]), members=members)
        return Told(reply, wall, step, bool(is_new))
    end = 4 * len(request.wants)
    answers = tuple(
        Answer(rest[i], rest[i + 1], names[rest[i + 2] - 1] if rest[i + 2] else "", _wait(rest[i + 3]))
        for i in range(0, end, 4)
    )
    last = end + 2 * len(request.tops)
    tops = tuple((rest[i], rest[i + 1]) for i in range(end, last, 2))
    cells = tuple((names[i - 1], number(value)) for i, value in zip(rest[last:], answer[2], strict=True))
    calls = tuple(map(seen, answer[3]))
    return Told(Reply(now, version, None, answers, tops, cells, members, calls), wall, step, bool(is_new))


def look(answer: Sequence[Any]) -> tuple[State, int, int]:
    """
    Read what is shared of a service: the state, the store's time, and how many of its keys would stay for ever.

    Raises:
        Foreign: The keys are of another version.
    """
    if answer[0] == b"schema":
        raise Foreign
    now, _, version, lasting = map(int, answer[1].split())
    state = State({seen(name): number(value) for name, value in _pairs(answer[3])})
    state.version = version
    state.standing = seen(answer[2])
    about = {name: unpacked(value) for name, value in _pairs(answer[5])}
    for name, until in _pairs(answer[4]):
        address, info = about.get(name, (b"", b""))
        state.members[seen(name)] = Member(int(float(until)), seen(address), seen(info))
    for field, units in _pairs(answer[6]):
        size, _, rest = field.partition(b":")
        cell, member = seen(rest[int(size) :]), seen(rest[: int(size)])
        state.held.setdefault(cell, {})[member] = int(units)
    for name, row in _pairs(answer[7]):
        flat = unpacked(row)
        waits = {seen(flat[i]): _waiter(flat[i + 1 : i + 7]) for i in range(0, len(flat), 7)}
        state.waits[seen(name)] = waits
    return state, now, lasting


def number(value: bytes) -> int:
    """
    Return the integer that a cell is in every other store.
    """
    if value[:1] == b"s":
        bits = value[1]
        bucket, total, *counts = unpacked(value[2:])
        packed = 0
        for count in reversed(counts):
            packed = packed << bits | count
        return int((packed << bits | total) << BUCKET_BITS | bucket)
    if value[:1] == b"f":
        end, length, count = unpacked(value[2:])
        return int((end << _COUNT_BITS | length) << _COUNT_BITS | count)
    return int(value)


def sent(text: str) -> bytes:
    """
    Return a text as it goes over, whatever it holds.
    """
    return text.encode("utf-8", "surrogatepass")


def seen(value: bytes) -> str:
    """
    Return a text as it was before it went over.
    """
    return value.decode("utf-8", "surrogatepass")


def _is_lone(request: Request) -> bool:
    """
    Whether all of *request* is a single call that wants units of cells that count by themselves.
    """
    if request.standing is not None or request.places or request.backs or request.tops or request.left:
        return False
    if len(request.wants) != 1 or request.wants[0].most != 1:
        return False
    parts = request.wants[0].parts
    return 0 < len(parts) == len({part.cell for part in parts}) and all(
        type(part.limit) is Gcra or type(part.limit) is Sliding for part in parts
    )


def _parts(request: Request) -> Iterable[Part]:
    for want in request.wants:
        yield from want.parts
    for top in request.tops:
        yield top.part
    for back in request.backs:
        yield back.part


def _others(request: Request) -> Iterable[str]:
    for part in _parts(request):
        yield part.cell
    for cell, _ in request.places:
        yield cell
    yield from request.left


def _name(cell: str) -> bytes:
    # A scope's value may be as long as its user likes, and a key is kept by every replica.
    name = sent(cell)
    return name if len(name) <= _NAME else name[: _NAME - 65] + b"#" + sha256(name).hexdigest().encode()


def _cut(value: int) -> int:
    return min(value, _MOST)


def _wait(value: int) -> int | None:
    return None if value < 0 else value


def _waiter(row: Sequence[int]) -> Wait:
    level, since, deadline, units, at, told = row
    return Wait(Rank(level, since, deadline), units, at, bool(told))


def _pairs(flat: Sequence[bytes]) -> Iterable[tuple[bytes, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)
