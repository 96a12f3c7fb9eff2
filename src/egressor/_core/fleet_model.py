"""
What the members of a fleet hand to each other through a store: the records of `fleet`.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .limits import Algorithm

__all__ = ["FIRST", "Answer", "Back", "Member", "Part", "Rank", "Reply", "Request", "State", "Top", "Wait", "Want"]


FIRST = -2
"""
Says of units that only whoever is first charges them: a cell that others have touched has them already.
"""


class Part(NamedTuple):
    """
    What a want takes of one cell.

    Attributes:
        cell: The cell's name, the same in all processes of the same policy.
        units: How much.
        limit: The algorithm.
    """

    cell: str
    units: int
    limit: Algorithm


class Rank(NamedTuple):
    """
    Who goes first.

    Attributes:
        level: The priority that the call came with.
        since: When it came, in microseconds; its level grows from then on.
        deadline: When it gives up.
    """

    level: int
    since: int
    deadline: int


class Want(NamedTuple):
    """
    A call that would go, or several that ask for the same.

    Attributes:
        rank: The first one's rank.
        parts: What each of them takes, all of it or none.
        most: How many there are, 1 or more. Where others wait as well, only the first may go at once: the others have
            ranks of their own.
    """

    rank: Rank
    parts: tuple[Part, ...]
    most: int = 1


class Top(NamedTuple):
    """
    What a member under load would like to have at hand: up to so many units, if nobody waits for them.

    Attributes:
        part: The cell, and how many units.
        share: One part in so many of what the cell has left, at most.
    """

    part: Part
    share: int


class Back(NamedTuple):
    """
    Units that were taken and never used, or used and never taken.

    Attributes:
        part: The cell, and how many units.
        at: When they were taken, in microseconds; None for those that are to be taken, whether they fit or not; `FIRST`
            for those that are to be taken if the cell has counted nothing yet.
    """

    part: Part
    at: int | None


class Request(NamedTuple):
    """
    What a member hands in.

    Attributes:
        member: Its name.
        address: Where it is called.
        version: The standing that it knows.
        standing: What the standing shall be instead; None leaves it.
        places: How many places it holds: every one, by cell.
        backs: Units given back, or charged after the fact.
        wants: Those that would go, the best first.
        tops: What it would like to have at hand.
        left: Cells for which nobody waits here any more.
        age: Microseconds of waiting that raise a call's level; 0 never does.
        info: What others may know of it; the store keeps it as it is.
    """

    member: str
    address: str = ""
    version: int = 0
    standing: str | None = None
    places: tuple[tuple[str, int], ...] = ()
    backs: tuple[Back, ...] = ()
    wants: tuple[Want, ...] = ()
    tops: tuple[Top, ...] = ()
    left: tuple[str, ...] = ()
    age: int = 0
    info: str = ""


class Answer(NamedTuple):
    """
    What came of a want.

    Attributes:
        times: How many of its calls may go.
        until: Until when they may, in microseconds; 0 where none may.
        cell: Which cell is short for the next one; empty where none is.
        wait: Microseconds until it is worth asking again, 0 for at once; None where nobody knows, or somebody else goes
            first.
    """

    times: int
    until: int
    cell: str = ""
    wait: int | None = None


class Reply(NamedTuple):
    """
    What a member is told.

    Attributes:
        now: The store's time, in microseconds.
        version: The standing's number.
        standing: The standing; None where the member knows it. Where it is told, nothing else was done.
        answers: One for each want.
        tops: Units and their end, for each top.
        cells: What the cells of wants and tops hold now.
        members: How many members are alive.
        calls: The addresses of those whose turn it may be now.
    """

    now: int
    version: int
    standing: str | None = None
    answers: tuple[Answer, ...] = ()
    tops: tuple[tuple[int, int], ...] = ()
    cells: tuple[tuple[str, int], ...] = ()
    members: int = 1
    calls: tuple[str, ...] = ()


class Wait(NamedTuple):
    """
    The best waiter of a member in one line.

    Attributes:
        rank: Its rank.
        units: What it wants of the line's cell.
        seen: When its member spoke of it last.
        is_told: Whether it comes by itself when it is time, or once something is given back.
    """

    rank: Rank
    units: int
    seen: int
    is_told: bool


class Member(NamedTuple):
    """
    A gate of the fleet.

    Attributes:
        until: When it counts as dead if it says nothing.
        address: Where it is called.
        info: What it says of itself.
    """

    until: int
    address: str
    info: str


class State:
    """
    What the members of one service share.

    Args:
        cells: What limits have counted, by cell; a missing one reads as 0.

    Attributes:
        version: The standing's number.
        standing: How the service stands, as members write it; empty before the first has.
        held: The places that are held: by cell, by member.
        waits: The best waiters: by cell, by member.
        members: Who is alive.
    """

    __slots__ = ("cells", "held", "members", "standing", "version", "waits")

    def __init__(self, cells: MutableMapping[str, int] | None = None) -> None:
        self.version = 0
        self.standing = ""
        self.cells: MutableMapping[str, int] = {} if cells is None else cells
        self.held: dict[str, dict[str, int]] = {}
        self.waits: dict[str, dict[str, Wait]] = {}
        self.members: dict[str, Member] = {}
