"""
The straight way to a store: one call that finds nothing at hand, while nobody waits here and nothing stands in its way.

Such a call needs no place in a line, and nobody has to wake it: whoever makes it asks the store for it then and there,
and goes. `prepare_one` says what it wants, with what there is to give back; `take_one` takes the answer. At the first
surprise (another request is under way, somebody waits, there is news to tell, the answer is no) the long way takes
over, which decides by the same functions; a call that was refused joins its line with what the store has said already.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from egressor._core.fleet import Part, Rank, Request, Want

from .account import cell_name, part_of
from .asking import BEAT, QUIET
from .hearing import Hearing

if TYPE_CHECKING:
    from egressor._core.admission import Ask, Entry
    from egressor._core.fleet import Answer, Reply

    from . import Parked

__all__ = ["Errand", "Straight"]

# For how long an answer of no is good for whoever joins the line because of it.
_SOON = 10_000


class Errand(NamedTuple):
    """
    What one call has to say to the store.

    Attributes:
        ask: What it asks for.
        request: What the store is told.
        topped: Cells of which more is taken than it wants.
    """

    ask: Ask
    request: Request
    topped: list[Entry]


class Straight(Hearing):
    """
    A gate of which a single call may ask the store for itself.
    """

    def _forget_store(self) -> None:
        super()._forget_store()
        # The last ask of its kind, with what the store is told of it: most calls want the same.
        self._kept: tuple[Ask | None, tuple[Part, ...]] = (None, ())
        # To whom the store has said no, how, and when.
        self._refused: tuple[Ask, Answer, int] | None = None

    def _prepare(self) -> Request | None:
        # Nobody stands in the line yet: what is said now takes back what the store knows of whoever was refused.
        self._refused = None
        return super()._prepare()

    def prepare_one(self, ask: Ask) -> Errand | None:
        """
        Return what *ask*'s call has to say to the store; None where it has to go the long way.
        """
        return self.alone.run(partial(self._prepare_one, ask), instead=None, leaves_word=False)

    def _prepare_one(self, ask: Ask) -> Errand | None:
        if not self.calm or self.away or not self._is_timed or ask.compiled is not self.compiled:
            return None
        now, account, standing = self._now(), self._account, self._standing
        is_time = now - self._agreed_at >= QUIET
        if self._shown or self._is_called or standing.is_urgent or (is_time and (standing.log or standing.fresh)):
            return None
        entries = ask.entries
        parts = self._parts_of(ask)
        account.give_back_places(self._handed)
        account.pay_out()
        if ask.holds:
            account.expect(entries)
        account.give_back(parts, self._handed, now)
        found = account.tops(entries, self.members, now)
        then = now + account.shift
        self._spoke_at = now
        self._is_used = False
        request = Request(
            self._link.member,
            self._link.address,
            self._version,
            None,
            account.places(),
            tuple(account.backs),
            (Want(Rank(ask.level, then, then + self.compiled.max_wait), parts),),
            tuple([top for _, top in found]),
            (),
            self.compiled.age,
            self._told_of_us(now),
        )
        return Errand(ask, request, [entry for entry, _ in found])

    def _parts_of(self, ask: Ask) -> tuple[Part, ...]:
        known, parts = self._kept
        if known is not ask:
            parts = tuple([part_of(entry, entry.units) for entry in ask.entries])
            self._kept = ask, parts
        return parts

    def take_one(self, errand: Errand, reply: Reply, shift: int) -> int | None:
        """
        Take the store's *reply*: since when the call goes; None where it has to go the long way.
        """
        return self.alone.run(partial(self._take_one, errand, reply, shift), instead=None, leaves_word=False)

    def _take_one(self, errand: Errand, reply: Reply, shift: int) -> int | None:
        now, account = self._now(), self._account
        account.shift = shift
        self.members = max(1, reply.members)
        if reply.standing is not None:
            self._catch_up(reply, now)
            self._link.soon(self)
            return None
        ask, request, topped = errand
        self._version = reply.version
        account.told(request.backs, request.places, reply.now)
        account.note(reply.cells, now)
        for entry, (units, until) in zip(topped, reply.tops, strict=True):
            if units:
                account.put(entry, units, until - shift, now)
        [answer] = reply.answers
        if not answer.times:
            self._refuse_one(ask, answer, now)
            return None
        until = answer.until - shift
        # While the store was asked, a result may have opened the breaker, a reload may have come.
        if now >= until or ask.compiled is not self.compiled or self._bars(now):
            for entry in ask.entries:
                account.put(entry, entry.units, until, now)
            self._link.soon(self)
            return None
        for entry in ask.entries:
            account.spend(entry, now)
        self.counts.admitted += 1
        self._forget(now)
        self._see_to_it(now)
        return now

    def _bars(self, now: int) -> bool:
        # What `calm` says, but for those that have come meanwhile: the store has let this call go before them.
        standing = self._standing
        is_calm = standing.is_calm(now) and not standing.limps(now) and not self._is_tight(now)
        return not is_calm or self._closed is not None or self._barred is not None

    def _see_to_it(self, now: int) -> None:
        """
        See to it that the store is asked in time; mostly somebody does already.
        """
        if now < self._next_at <= min(self._account.next_idle(), now + BEAT):
            return
        if self._plan_next(now):
            self._link.soon(self)

    # --- the answer is no --------------------------------------------------------------------------------------------

    def _refuse_one(self, ask: Ask, answer: Answer, now: int) -> None:
        for entry in ask.entries:
            if cell_name(entry.limit, entry.name, entry.key) == answer.cell:
                self._shown[answer.cell] = entry.name, entry.key
        self._refused = ask, answer, now
        # Whoever does not wait after all is to stand in nobody's way.
        self._look_at(now + _SOON, now)

    def _hear_refusal(self, parked: Parked) -> bool:
        """
        Let *parked*, which has joined its line, wait as the store has said already; False where it has to be asked.
        """
        refused, self._refused = self._refused, None
        now, waiter = self._now(), parked.waiter
        if refused is None or waiter is None or waiter.line is None or self._room.size != 1:
            return False
        ask, answer, at = refused
        if now - at > _SOON or not _are_alike(ask, parked.ask) or self.away:
            return False
        self._wait_for(waiter, self._as_now(parked.ask), answer, now)
        self._tell_new(now)
        self._recalm()
        # Whoever was refused at once stands in nobody's way: the store hears of that now.
        is_gone = any(name not in self._room.lines for name in self._shown.values())
        return not is_gone and not self._plan_next(now)


def _are_alike(ask: Ask, other: Ask) -> bool:
    return (
        ask.compiled is other.compiled
        and ask.level == other.level
        and ask.cost == other.cost
        and ask.scope == other.scope
        and ask.limited == other.limited
    )
