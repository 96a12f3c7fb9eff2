"""
What a gate says to a store that others use as well.

`prepare` collects what there is to say: what the first of each line wants, what goes back, what has happened to the
service's standing. Whoever carries it to the store holds no lock meanwhile. What becomes of the answer is said in
`hearing`.
"""

from __future__ import annotations

import json
import os
import socket
from threading import RLock
from typing import TYPE_CHECKING, Protocol
from weakref import ref

from egressor._core.admission import Denied, Lease, Why
from egressor._core.fleet import Rank, Request, Want
from egressor._core.limits import FOREVER

from .account import Account, part_of
from .agreed import Agreed
from .exclusive import step
from .gate import Gate, never
from .stock import Stock
from .waiting import AWAY, Short

if TYPE_CHECKING:
    from collections.abc import Callable

    from egressor._core.admission import Ask, Entry
    from egressor._core.fleet import Back, Reply, Top
    from egressor._core.queue import Line, Waiter

    from . import Clock, Home, Parked
    from .compiled import Compiled
    from .straight import Errand

__all__ = ["BEAT", "NEWS", "QUIET", "Asking", "Link"]

NEWS = 400_000
"""
How often a process asks how a service stands that stands badly: others may know that it is over; in microseconds.
"""

BEAT = 1_000_000
"""
How often a process that holds something says so, in microseconds.
"""

QUIET = 2_000_000
"""
How long successes may wait until others hear of them, in microseconds.
"""

# Lines that one request speaks for, and calls of one line.
_LINES = 64
_MOST = 1_000
# Calls that may wait for their first answer, beyond queue_size.
_UNHEARD = 1_024
_HERE = {"host": socket.gethostname()}


class Link(Protocol):
    """
    The way to the store.
    """

    @property
    def member(self) -> str:
        """
        What this process is called there.
        """

    @property
    def address(self) -> str:
        """
        Where this process is called.
        """

    def soon(self, gate: Asking, when: int = 0) -> None:
        """
        See to it that *gate*'s next request is made at *when* (monotonic microseconds), or now; this never waits.
        """

    def now(self, gate: Asking) -> None:
        """
        Make *gate*'s next request now, if that takes no longer than leaving it to somebody else.
        """

    def sync(self, gate: Asking) -> None:
        """
        Make *gate*'s next request now, however long it takes.
        """

    def fetch(self, gate: Asking, ask: Ask) -> int | None:
        """
        Ask for *ask* alone, now, where nobody else is at it: since when its call goes; None where it has to wait.
        """


class Asking(Gate):
    """
    A gate whose cells are filled by a store.

    Args:
        compiled: The service's policy, as `shared.shared` compiles it.
        clock: The time.
        dice: Draws from 0 up to, not including, 1.
        keeper: The home that looks after idle keys.
        link: The way to the store.
        on_loss: ``share``, ``open`` or ``closed``: what holds while the store is away.

    Attributes:
        name: The service.
        turn: Held by whoever makes its request.
        is_asking: Whether a request is under way; with the turn held, that can only be one of this very thread.
        is_wanted: Whether another request was asked for meanwhile.
        reference: A weak reference to itself, always the same.
        away: Why the store is away; empty while it is not.
        on_loss: What holds then.
        members: How many processes the store knew of when it last answered.
    """

    _standing_of = Agreed
    _standing: Agreed

    def __init__(
        self,
        compiled: Compiled,
        *,
        clock: Clock,
        dice: Callable[[], float],
        keeper: Home,
        link: Link,
        on_loss: str,
    ) -> None:
        self.away = ""
        # Whether the store has told how the service stands; before, no call goes.
        self._has_heard = False
        # What refuses every call while the store is away, if that is wanted.
        self._closed: Denied | None = None
        self._home = compiled
        super().__init__(compiled, clock=clock, dice=dice, keeper=keeper)
        self.name = compiled.name
        self.turn = RLock()
        self.is_asking = False
        self.is_wanted = False
        self.reference = ref(self)
        self.members = 1
        self._link = link
        self.on_loss = on_loss
        self._forget_store()

    def _forget_store(self) -> None:
        self._version = 0
        self._is_used = False
        self._is_timed = False
        self._account = Account()
        # Of each line: who stood first when the store was last asked, and when to ask again.
        self._asked: dict[tuple[str, str], tuple[object, int]] = {}
        # Those that wait for the store's first answer, and how long they would wait beyond it.
        self._new: dict[Parked, int] = {}
        # Cells where the store knows of somebody that waits here, and the lines of those.
        self._shown: dict[str, tuple[str, str]] = {}
        # What the request is about that is under way: whose wants, what beyond them, how much of the log.
        self._wanted: list[tuple[Waiter[Parked], Ask]] = []
        self._topped: list[Entry] = []
        self._deeds = -1
        self._is_called = False
        self._next_at = 0
        self._back_at = 0
        self._agreed_at = 0
        self._spoke_at = 0
        self._info = ""
        self._info_at = 0
        self._is_gone = False

    # --- a request ---------------------------------------------------------------------------------------------------

    def prepare(self) -> Request | None:
        """
        Return what this process has to say to the store now; None if that is nothing.
        """
        return self.alone.run(self._prepare, instead=None, leaves_word=False)

    def _prepare(self) -> Request | None:
        now, account = self._now(), self._account
        if self.away:
            # Nothing but: are you there, and what was used without you?
            self._wanted, self._topped, self._deeds = [], [], -1
            ahead: tuple[Back, ...] = ()
            if self._back_at:
                wall = self._clock.wall()
                account.charge_back(self.compiled, self._home, now, wall)
                if self.on_loss == "share":
                    ahead = account.charge_ahead(self.compiled, self._home, now, wall)
            return Request(
                self._link.member,
                self._link.address,
                self._version,
                places=account.held(),
                backs=(*account.backs, *ahead),
                info=self._told_of_us(now),
            )
        account.pay_out()
        self._room.promote(now)
        freed = account.give_back_places(self._handed)
        if self._is_called:
            self._is_called = False
            self._asked.clear()
        for name in freed:
            self._asked.pop(name, None)  # Whoever waits here for such a place asks along with that.
        lines = self._with_others(self._due_lines(now))
        if lines:
            self._standing.reserve(now)
        self._wanted = [(waiter, self._as_now(waiter.what.ask)) for _, waiter in lines]
        wants = [self._want(line, *asker) for (line, _), asker in zip(lines, self._wanted, strict=True)]
        for _, ask in self._wanted:
            account.expect(ask.entries)
        account.give_back([part for want in wants for part in want.parts], self._handed, now)
        left = tuple([cell for cell, name in self._shown.items() if name not in self._room.lines])
        standing = self._said(now)
        is_last = self._is_gone and self._is_timed
        if not (wants or account.backs or left or freed or standing or is_last or self._is_due(now) or self._is_mute()):
            self._plan_next(now)
            return None
        self._spoke_at = now
        self._is_used = False
        return Request(
            self._link.member,
            self._link.address,
            self._version,
            standing,
            account.places(),
            tuple(account.backs),
            tuple(wants),
            self._tops(now),
            left,
            self.compiled.age,
            self._told_of_us(now),
        )

    def _told_of_us(self, now: int) -> str:
        if now - self._info_at >= NEWS or not self._info:
            self._info_at = now
            about = {
                **_HERE,
                "pid": os.getpid(),
                "waiting": self._waiting(),
                "in_flight": self.counts.in_flight,
                "admitted": self.counts.admitted,
                "failed": self.counts.failed,
                **({"gone": True} if self._is_gone else {}),
            }
            self._info = json.dumps(about, separators=(",", ":"))
        return self._info

    def _waiting(self) -> list[int]:
        """
        Return how many wait, by level; not those who have yet to hear from the store whether they have to.
        """
        waiting = self._room.sizes()
        for parked in list(self._new):
            if parked.waiter is not None and parked.waiter.line is not None:
                waiting[parked.waiter.level] -= 1
        return waiting

    def _is_mute(self) -> bool:
        """
        Whether there is something to tell for which the store's time has to be known first.
        """
        return not self._is_timed and bool(self._standing.log)

    def _is_due(self, now: int) -> bool:
        """
        Whether it is time to say that we are alive, or to ask how the service stands.
        """
        quiet = now - self._spoke_at
        if quiet >= NEWS and (self._is_used or self._stands_badly(now)):
            return True
        return quiet >= BEAT and bool(self._account.has_places or self._room.size)

    def _stands_badly(self, now: int) -> bool:
        """
        Whether calls are held back for the service's own sake, and others may know that it is over.
        """
        return not self._standing.is_calm(now) or self._standing.learned.is_near(now)

    def _due_lines(self, now: int) -> list[tuple[Line[Parked], Waiter[Parked]]]:
        """
        Return the lines for which the store is to be asked now, with the first of each, the best first.
        """
        if self._standing.shut(now) is not None:
            return []
        found = {}
        for name, line in self._room.lines.items():
            waiter = line.first()
            if waiter is None or (name[0] == AWAY[0] and self._held_back(waiter.what.ask, now)[0]):
                continue
            asked = self._asked.get(name)
            if asked is None or asked[0] is not waiter or now >= asked[1]:
                found[name] = line, waiter
        # Of each cell the store is to know the best that waits here, whatever line it stands in.
        for _, waiter in list(found.values()):
            for entry in waiter.what.ask.entries:
                name = entry.name, entry.key
                other = self._room.lines.get(name)
                if other is not None and name not in found and (first := other.first()) is not None:
                    found[name] = other, first
        return sorted(found.values(), key=_by_rank)[:_LINES]

    def _with_others(
        self, lines: list[tuple[Line[Parked], Waiter[Parked]]]
    ) -> list[tuple[Line[Parked], Waiter[Parked]]]:
        """
        Add those behind the first of each line who want other cells besides, of a user's own, say; and the first of
        each level below: once the first has gone, nobody worse elsewhere is to be called before them.
        """
        found = list(lines)
        for line, waiter in lines:
            if line.size > 1 and any(entry.key for entry in waiter.what.ask.entries):
                found += [(line, each) for each in line.top(_LINES) if each is not waiter]
            elif self._goes_alone(line):
                continue
            elif line.size > line.sizes()[waiter.level]:
                found += [(line, each) for each in line.heads() if each is not waiter]
        return sorted(found, key=_by_rank)[:_LINES] if len(found) > len(lines) else found

    def _goes_alone(self, line: Line[Parked]) -> bool:
        """
        Whether the first of *line* is a probe.
        """
        return line.name[0] == AWAY[0] or not self._standing.breaker.calm

    def _want(self, line: Line[Parked], waiter: Waiter[Parked], ask: Ask) -> Want:
        shift = self._account.shift
        rank = Rank(ask.level, waiter.what.since + shift, waiter.deadline + shift)
        is_one = self._goes_alone(line) or any(entry.key for entry in ask.entries)
        most = 1 if is_one else min(_MOST, line.sizes()[waiter.level])
        return Want(rank, tuple([part_of(entry, entry.units) for entry in ask.entries]), most)

    def _said(self, now: int) -> str | None:
        standing = self._standing
        self._deeds = -1
        if not self._is_timed:
            return None  # The store's time is not known yet, and the standing is full of times.
        if standing.fresh and now - self._agreed_at >= QUIET:
            standing.fold()
        if not standing.log or not (standing.is_urgent or now - self._agreed_at >= QUIET):
            return None
        self._deeds = len(standing.log)
        return standing.dump(self._account.shift)

    def _tops(self, now: int) -> tuple[Top, ...]:
        self._topped = []
        if len({waiter.line for waiter, _ in self._wanted}) != 1 or not self._standing.is_calm(now):
            return ()
        found = self._account.tops(self._wanted[0][1].entries, self.members, now)
        self._topped = [entry for entry, _ in found]
        return tuple([top for _, top in found])

    # --- the next one ------------------------------------------------------------------------------------------------

    def _plan_next(self, now: int) -> bool:
        """
        See to it that the store is asked in time; return whether that is at once.
        """
        lines = self._room.lines
        # Whoever was refused is to stand in nobody's way.
        if self._due_lines(now) or any(name not in lines for name in self._shown.values()):
            return True
        times = []
        for name, (_, ready_at) in list(self._asked.items()):
            if name in lines:
                times.append(ready_at)
            else:
                del self._asked[name]
        times.append(self._account.next_idle())
        if self._account.has_places or self._room.size:
            times.append(self._spoke_at + BEAT)
        if self._standing.log or self._standing.fresh:
            times.append(max(now, self._agreed_at + QUIET))
        if self._stands_badly(now):
            times.append(now + NEWS)
        if min(times) < FOREVER:
            self._look_at(min(times), now)
        return bool(self._standing.log) and self._standing.is_urgent

    def _look_at(self, when: int, now: int) -> None:
        # An earlier look is due anyway, and plans the next one.
        if not now < self._next_at <= when:
            self._next_at = when
            self._link.soon(self, when)

    @step(instead=None)
    def ask_again(self, delay: int) -> None:
        """
        Ask in *delay* microseconds whether the store is back.
        """
        now = self._now()
        self._look_at(now + delay, now)

    def refresh(self) -> None:
        """
        Ask how the service stands, if that is not known; this may block for as long as the store takes.
        """
        if not self.away and self._now() - self._spoke_at > NEWS:
            self._is_used = True
            self._link.sync(self)

    def called(self) -> None:
        """
        Take note that something has changed at the store: with the next request it is asked for every line.
        """
        # No step: whoever makes a request just now has yet to note what came of it.
        self._is_called = True

    @step(instead=None)
    def failed(self) -> None:
        """
        Take note that a request came to nothing, or that nobody knows to what.
        """
        self._wanted = []
        self._deeds = -1
        self._standing.cancel(self._now())
        self._account.unheard()

    @step(instead=None)
    def retire(self) -> None:
        """
        Have everything given back and told with the next request: it is the last one.
        """
        self._account.all_idle()
        self._standing.retire()
        # What was told of its waiters may be a while ago; and whoever looks at the store counts it no longer.
        self._info = ""
        self._is_gone = True

    def apply(self, request: Request, reply: Reply, shift: int) -> bool:
        """
        Take the store's *reply* to *request*; return whether there is more to say at once.
        """
        raise NotImplementedError

    def prepare_one(self, ask: Ask) -> Errand | None:
        """
        Return what *ask*'s call has to say to the store; None where it has to go the long way.
        """
        raise NotImplementedError

    def take_one(self, errand: Errand, reply: Reply, shift: int) -> int | None:
        """
        Take the store's *reply*: since when the call goes; None where it has to go the long way.
        """
        raise NotImplementedError

    def lose(self, why: str) -> None:
        """
        Go on alone: the store is away.
        """
        raise NotImplementedError

    def regain(self) -> None:
        """
        Have the store, which answers again, charged with what was used meanwhile; and in a while go by it.
        """
        raise NotImplementedError

    # --- inside ------------------------------------------------------------------------------------------------------

    def _recalm(self) -> None:
        super()._recalm()
        self.calm = self.calm and (self._has_heard or bool(self.away)) and self._closed is None

    def _shut(self, now: int) -> Denied | None:
        return self._closed or super()._shut(now)

    def _refusal(self, ask: Ask, now: int, skew: int) -> Denied | Short | None:
        refused = super()._refusal(ask, now, skew)
        if not (self._has_heard or self.away or isinstance(refused, Denied)):
            return Short(None, FOREVER)
        if self.away and isinstance(refused, Denied) and refused.why is Why.NEVER_FITS:
            return refused._replace(why=Why.STORE, text=f"{refused.text} while the store is away")
        if self.away or isinstance(refused, Denied) or self._standing.may_go():
            return refused
        # Only as a probe, on which all have yet to agree.
        return refused if refused is not None and refused.ready_at < FOREVER // 2 else Short(None, FOREVER)

    def _denied(self, ask: Ask, short: Short, until: int, now: int) -> Denied:
        if self.away:
            return super()._denied(ask, short, until, now)
        key = short.line[0]
        held, said, _ = self._held_back(ask, now)
        wait = max(0, held - now)
        for entry in ask.entries:
            if entry.units > entry.limit.most:
                return never(entry)
            before = self._room.units_before(entry, level=ask.level, until=until)
            needed = self._account.wait(entry, entry.units + before, now, self._clock.wall())
            if needed > wait:
                wait, key = needed, entry.name
        text = said if key == AWAY[0] and said else f"{key} is used up"
        return Denied(Why.LIMIT, key, wait or None, text, is_open=not wait)

    def _full(self, denied: Denied) -> Denied | None:
        if not denied.is_open:
            return super()._full(denied)
        return super()._full(denied) if len(self._new) > self.compiled.queue_size + _UNHEARD else None

    def _is_too_late(self, lease: Lease, now: int) -> bool:
        return any(
            isinstance(entry.limit, Stock) and entry.limit.ask(entry.cells[entry.key], now, entry.units) < 0
            for entry in lease.ask.entries
        )

    def _abandon(self, parked: Parked) -> None:
        super()._abandon(parked)
        self._new.pop(parked, None)


def _by_rank(each: tuple[Line[Parked], Waiter[Parked]]) -> tuple[int, int, int]:
    waiter = each[1]
    return -waiter.level, waiter.deadline, waiter.seq
