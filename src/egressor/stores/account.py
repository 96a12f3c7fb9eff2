"""
What one process has of the cells that a store keeps, and what it owes them.

Units that were granted lie in the gate's own cells, as stocks, until a call takes them or they go back; places are
lent to the process for as long as its calls last. Of each real cell the process knows what the store said last: enough
to refuse a wait that can't fit, and to go on alone with its share. Whoever calls holds the gate's lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from egressor._core.admission import Entry
from egressor._core.fleet import FIRST, Back, Part, Top
from egressor._core.limits import FOREVER, Concurrency, Gcra

from .cells import Allotted, Bank
from .stock import Stock, packed, units_of, until_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from egressor._core.limits import Algorithm

    from .compiled import Cells, Compiled
    from .handed import Handed

__all__ = ["IDLE", "Account", "cell_name", "part_of"]

IDLE = 200_000
"""
After how long units that nobody came for go back, in microseconds.
"""

# For how long what the store said of a cell is good enough to refuse a wait by.
_FRESH = 1_000_000
# And to tell whether somebody waits for a place.
_MOMENT = 10_000
# How many of the store's cells are remembered.
_KNOWN = 4_096
# A cell that is asked for again so soon is under load: the next time more is taken, twice as much each time.
_HOT = 20_000
_FIRST = 4
_SLOWEST = 10_000
# Of limits with a longer period nothing is charged ahead: should nobody hear whether it was, it stays so for that long.
_QUICK = 60_000_000


class _Lot:
    """
    What this process has of one cell.

    Attributes:
        entry: The local cell.
        since: When it got the last of it.
        more: How many units beyond what was wanted it took last.
    """

    __slots__ = ("entry", "more", "since")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.since = 0
        self.more = 0

    @property
    def cell(self) -> int:
        return self.entry.cells[self.entry.key]

    @cell.setter
    def cell(self, value: int) -> None:
        self.entry.cells[self.entry.key] = value


class _Place:
    """
    The places of one cell that the store has lent to this process.

    Attributes:
        entry: The local cell.
        cells: Its container.
        lent: How many.
    """

    __slots__ = ("cells", "entry", "lent")

    def __init__(self, entry: Entry, lent: int = 0) -> None:
        self.entry = entry
        self.cells: Allotted = entry.cells  # type: ignore[assignment]
        self.lent = lent

    def take(self, places: int) -> None:
        self.lent += places
        self.cells.use(self.entry.key, -places)

    def spare(self) -> int:
        """
        Take note of those that came free; return how many were never taken.
        """
        key = self.entry.key
        self.lent -= self.cells.returned(key)
        used = self.cells.used(key)
        if used > 0:  # More are in use than were lent: a call that had lent its own goes on.
            self.take(used)
        return max(0, -used)


class Account:
    """
    One gate's account with the store.

    Attributes:
        shift: Microseconds that make the store's time of ours.
        backs: Units to be given back, or charged, with the next request.
    """

    __slots__ = ("_ahead", "_alone_at", "_before", "_lots", "_paid", "_places", "_seen", "backs", "shift")

    def __init__(self) -> None:
        self.shift = 0
        self.backs: list[Back] = []
        # In the order of when they were got.
        self._lots: dict[str, _Lot] = {}
        self._places: dict[str, _Place] = {}
        # What the store's cells held when it last spoke of them, and when that was.
        self._seen: dict[str, tuple[int, int]] = {}
        # The local cells as they were when the process had to go on alone.
        self._before: dict[str, int] = {}
        self._alone_at = 0
        # What the request under way charges ahead, and what was by the last one, and when.
        self._ahead: list[Part] = []
        self._paid: list[Back] = []

    # --- what it has -------------------------------------------------------------------------------------------------

    @property
    def has_places(self) -> bool:
        """
        Whether any place is lent to this process.
        """
        return bool(self._places)

    def put(self, entry: Entry, units: int, until: int, now: int) -> None:
        """
        Take in *units* for *entry*'s cell, which may be used until *until*.
        """
        name = cell_name(entry.limit, entry.name, entry.key)
        if type(entry.limit) is Concurrency:
            place = self._places.get(name)
            if place is None:
                place = self._places[name] = _Place(entry)
            place.take(units)
            return
        lot = self._lot(name, entry)
        units_now, until_now = units_of(lot.cell), until_of(lot.cell)
        lot.cell = packed(units_now + units, min(until, until_now) if units_now else until)
        lot.since = now

    def spend(self, entry: Entry, now: int) -> None:
        """
        Note that what *entry* wants was had of the store, and is used at once.
        """
        name = cell_name(entry.limit, entry.name, entry.key)
        if type(entry.limit) is Concurrency:
            self._places.setdefault(name, _Place(entry)).lent += entry.units
            return
        self._lot(name, entry).since = now

    def _lot(self, name: str, entry: Entry) -> _Lot:
        lot = self._lots.pop(name, None)
        if lot is None or lot.entry.cells is not entry.cells:  # A reload may have given the limit another cell.
            lot = _Lot(entry)
        self._lots[name] = lot
        return lot

    def expect(self, entries: Iterable[Entry]) -> None:
        """
        Have places of *entries*' cells told with each request, from the one on that may be granted some unheard.
        """
        for entry in entries:
            if type(entry.limit) is Concurrency:
                self._places.setdefault(cell_name(entry.limit, entry.name, entry.key), _Place(entry))

    def next_idle(self) -> int:
        """
        Return when something of it will have lain idle for too long.
        """
        return next(iter(self._lots.values())).since + IDLE if self._lots else FOREVER

    def tops(self, entries: Iterable[Entry], members: int, now: int) -> list[tuple[Entry, Top]]:
        """
        Return what to take beyond what is wanted of *entries*' cells: of those that were empty again soon.
        """
        found = []
        for entry in entries:
            lot = self._lots.get(cell_name(entry.limit, entry.name, entry.key))
            if lot is None or now - lot.since >= _HOT or not _is_fast(entry.limit):
                continue
            lot.more = min(max(_FIRST, 2 * lot.more), entry.limit.most)
            found.append((entry, Top(part_of(entry, lot.more), 2 * members)))
        return found

    # --- what goes back ----------------------------------------------------------------------------------------------

    def give_back(self, wanted: Iterable[Part], handed: Handed, now: int) -> None:
        """
        Give back what is at hand of cells that are *wanted*, which are asked for anew, and what nobody came for.
        """
        for part in wanted:
            lot = self._lots.get(part.cell)
            if lot is not None and units_of(lot.cell):
                self._return(part.cell, lot, handed, now)
        while self._lots:
            cell, lot = next(iter(self._lots.items()))
            if now - lot.since < IDLE:
                break
            self._return(cell, lot, handed, now)
            del self._lots[cell]
            if units_of(lot.cell):
                lot.since = now
                self._lots[cell] = lot

    def all_idle(self) -> None:
        """
        Have everything given back that nobody has in hand.
        """
        for lot in self._lots.values():
            lot.since = -FOREVER

    def _return(self, cell: str, lot: _Lot, handed: Handed, now: int) -> None:
        value = lot.cell
        units, until = units_of(value), until_of(value)
        free = units - (handed.units(lot.entry) if now < until else 0)
        if free > 0:
            part = part_of(lot.entry, 0)
            # A window knows the units again by the last time at which they might have been used.
            at = lot.since if isinstance(part.limit, Gcra) else until - 1
            self.backs.append(Back(Part(cell, free, part.limit), at + self.shift))
            lot.cell = value - free

    def give_back_places(self, handed: Handed) -> list[tuple[str, str]]:
        """
        Give back the places that nobody holds; return the lines of their cells.
        """
        found: list[tuple[str, str]] = []
        for cell, place in self._places.items():
            before = place.lent
            place.take(-max(0, place.spare() - handed.units(place.entry)))
            if place.lent != before:
                found.append((place.entry.name, place.entry.key))
                # The store says how many are in use along with a grant only, and not when some come back.
                value, at = self._seen.get(cell, (0, 0))
                self._seen[cell] = max(0, value + place.lent - before), at
        return found

    def has_spare(self, entry: Entry, now: int) -> bool:
        """
        Whether the store had places of *entry*'s cell to spare a moment ago, so that nobody waits for one.
        """
        value, at = self._seen.get(cell_name(entry.limit, entry.name, entry.key), (entry.limit.most, 0))
        return value < entry.limit.most and now - at < _MOMENT

    def places(self) -> tuple[tuple[str, int], ...]:
        """
        Return how many places this process holds, by cell.
        """
        return tuple([(cell, place.lent) for cell, place in self._places.items()]) if self._places else ()

    def held(self) -> tuple[tuple[str, int], ...]:
        """
        Return how many places calls of this process hold while it goes on alone, by cell.
        """
        return tuple([(cell, place.cells.used(place.entry.key)) for cell, place in self._places.items()])

    def told(self, backs: Sequence[Back], places: Iterable[tuple[str, int]], at: int) -> None:
        """
        Take note that the store has known of *backs* and *places* since *at*, by its own time.
        """
        if self._ahead or self._paid:
            self._paid, self._ahead = [Back(part, at) for part in self._ahead], []
        if backs:
            known = set(map(id, backs))
            self.backs = [back for back in self.backs if id(back) not in known]
        for cell, units in places:
            place = self._places.get(cell)
            if place is not None and not units and not place.lent and not place.cells.is_alone:
                del self._places[cell]

    def unheard(self) -> None:
        """
        Take note that nobody knows whether the store has heard: what was to be given back may have been, and is gone.
        """
        self.backs = [back for back in self.backs if back.at is None or back.at == FIRST]
        self._ahead, self._paid = [], []

    # --- what it knows -----------------------------------------------------------------------------------------------

    def note(self, cells: Iterable[tuple[str, int]], now: int) -> None:
        """
        Take note of what the store's *cells* hold.
        """
        for cell, value in cells:
            self._seen.pop(cell, None)
            self._seen[cell] = value, now
        while len(self._seen) > _KNOWN:
            del self._seen[next(iter(self._seen))]

    def wait(self, entry: Entry, units: int, now: int, wall: int) -> int:
        """
        Return the microseconds until *units* of *entry*'s cell could be had, at least; 0 where nobody knows.
        """
        seen = self._seen.get(cell_name(entry.limit, entry.name, entry.key))
        if seen is None or now - seen[1] > _FRESH or not isinstance(entry.limit, Stock):
            return 0
        then = now + self.shift
        return entry.limit.real.wait(seen[0], then, units, wall - then)

    def left(self, part: Cells, now: int, wall: int) -> int:
        """
        Return what is left of the unkeyed cell of *part*, by what the store said last, and what is at hand.
        """
        name = cell_name(part.limit, part.name, "")
        value, _ = self._seen.get(name, (0, 0))
        then = now + self.shift
        at_hand = part.limit.left(part.cells[""], now)
        return _real(part.limit).left(value, then, wall - then) + at_hand

    def forget(self) -> None:
        """
        Know nothing of the store's cells any more.
        """
        self._seen.clear()

    def carry_on(self, compiled: Compiled, old: Compiled, now: int, wall: int) -> None:
        """
        Have limits that a reload has changed begin with as much used as was of those before, whoever says so first.
        """
        then = now + self.shift
        names = {part.name for part in compiled.service_cells}
        before = [part for part in old.service_cells if part.name not in names and isinstance(part.limit, Stock)]
        kept = {part.name for part in old.service_cells}
        for part in compiled.service_cells:
            found = next((each for each in before if each.unit == part.unit), None)
            if part.name in kept or found is None or not isinstance(part.limit, Stock):
                continue
            before.remove(found)
            real = _real(found.limit)
            value, _ = self._seen.get(found.name, (0, 0))
            taken = real.most - real.left(value, then, wall - then)
            if taken > 0:
                self.backs.append(Back(Part(part.name, taken, part.limit.real), FIRST))

    # --- without the store -------------------------------------------------------------------------------------------

    def carry_over(self, compiled: Compiled, home: Compiled, members: int, now: int, wall: int) -> None:
        """
        Let the real cells of *compiled*, a share of *home*, hold as much as was known to be used of the store's.
        """
        for place in self._places.values():
            place.spare()
            place.cells.use(place.entry.key, place.lent)
        _set_alone(home, is_alone=True)
        self._before = {}
        self._alone_at = now
        self.unheard()
        then = now + self.shift
        for part, old in zip(compiled.parts, home.parts, strict=True):
            if not isinstance(old.limit, Stock):
                continue
            prefix = f"{part.name}|"
            for cell, (value, _) in self._seen.items():
                if cell == part.name or cell.startswith(prefix):
                    left = (old.limit.most - old.limit.real.taken(value, then, wall - then)) // members
                    taken = max(0, part.limit.most - left)
                    self._before[cell] = part.limit.charge(0, now, taken, wall - now)
                    part.cells[cell[len(prefix) :]] = self._before[cell]
        self._lots.clear()

    def charge_back(self, compiled: Compiled, home: Compiled, now: int, wall: int) -> None:
        """
        Charge the store with what was used of the shares that are *compiled* since the last time.
        """
        for part, old in zip(compiled.parts, home.parts, strict=True):
            if not isinstance(old.limit, Stock):
                continue
            for key, value in list(part.cells.items()):
                cell = cell_name(part.limit, part.name, key)
                # What it would hold if nothing had been used since; the rest is ours.
                then = part.limit.taken(self._before.get(cell, 0), now, wall - now)
                used = part.limit.taken(value, now, wall - now) - then
                self._before[cell] = value
                if used > 0:
                    self.backs.append(Back(Part(cell, used, old.limit.real), None))
                    # Should it be lost again before it has told of the cell.
                    at = now + self.shift
                    seen = old.limit.real.charge(self._seen.get(cell, (0, 0))[0], at, used, wall - at)
                    self._seen[cell] = seen, 0

    def charge_ahead(self, compiled: Compiled, home: Compiled, now: int, wall: int) -> tuple[Back, ...]:
        """
        Return what charges the store with what may yet be used of the shares that are *compiled*, in place of what was
        charged ahead before.

        Whoever has returned already goes by the store, and would use up what others still have in their shares. Keys
        are too many for that, and a bucket can't tell what it has given back since.
        """
        self._ahead = []
        for part, old in zip(compiled.parts, home.parts, strict=True):
            if not isinstance(old.limit, Stock) or isinstance(part.limit, Gcra) or old.limit.real.period > _QUICK:
                continue
            # What others had used before the loss counts in a share as if it had been used then, and in the store at
            # its own time. So it is over there earlier than here, and what that leaves is the share's.
            then = max(now, self._alone_at + part.limit.horizon)
            left = 0 if isinstance(part.cells, Bank) else part.limit.left(part.cells[""], then, wall - now)
            if left:
                self._ahead.append(Part(part.name, left, old.limit.real))
        return (*self._paid, *[Back(part, None) for part in self._ahead])

    def pay_out(self) -> None:
        """
        Have given back what was charged ahead; of a standing that was outdated, the last request has charged nothing.
        """
        self.backs += self._paid
        self._ahead, self._paid = [], []

    def come_home(self, compiled: Compiled, home: Compiled) -> None:
        """
        Hold places of the store again, and nothing else.
        """
        # Those that the store thinks are held here have to be told, too, where none is held any more.
        self._places = {cell: _Place(place.entry) for cell, place in self._places.items()}
        _set_alone(home, is_alone=False)
        for part, old in zip(compiled.parts, home.parts, strict=True):
            for key, value in list(part.cells.items()):
                if isinstance(old.limit, Stock):
                    old.cells[key] = 0
                    continue
                entry = Entry(old.cells, key, 0, old.limit, old.name, old.unit)  # type: ignore[arg-type]
                place = self._places[cell_name(part.limit, part.name, key)] = _Place(entry)
                place.take(value)
        self._lots.clear()


def part_of(entry: Entry, units: int) -> Part:
    """
    Return what the store is to be told of *units* of *entry*'s cell.
    """
    return Part(cell_name(entry.limit, entry.name, entry.key), units, _real(entry.limit))


def cell_name(limit: Algorithm, name: str, key: str) -> str:
    """
    Return what the store calls a cell: the same however many places there are.
    """
    name = name.rpartition(" ")[0] if type(limit) is Concurrency else name
    return f"{name}|{key}" if key else name


def _is_fast(limit: Algorithm) -> bool:
    # Of a slow limit nothing is taken that nobody wants yet: others would see less of it than there is, and for long.
    return isinstance(limit, Stock) and limit.real.period <= limit.amount * _SLOWEST


def _real(limit: Algorithm) -> Algorithm:
    return limit.real if isinstance(limit, Stock) else Concurrency(amount=limit.most)


def _set_alone(compiled: Compiled, *, is_alone: bool) -> None:
    for part in compiled.parts:
        if isinstance(part.cells, Allotted):
            part.cells.is_alone = is_alone
