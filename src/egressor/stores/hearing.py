"""
What a gate makes of a store's answer to what it has said (`asking`).

`apply` fills the stocks, serves the lines from them, notes for whom it is worth asking again and when, and refuses
those whose wait can't fit.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from egressor._core.admission import Denied, Why
from egressor._core.fleet import STAY
from egressor._core.limits import FOREVER
from egressor._core.plan import answered

from .account import cell_name
from .asking import Asking
from .waiting import AWAY, Short

if TYPE_CHECKING:
    from collections.abc import Iterable

    from egressor._core.admission import Ask, Entry
    from egressor._core.fleet import Answer, Reply, Request, Want
    from egressor._core.queue import Waiter

    from . import Parked

__all__ = ["REFRESH", "Hearing"]

REFRESH = STAY * 2 // 5
"""
How often whoever waits says so, in microseconds: twice before the store takes its turn away.
"""

# Who does not know when its turn is, and is to be called by others, looks more often: they may be cut off from the
# store, and it would not hear of that.
_LISTEN = 100_000


class Hearing(Asking):
    """
    A gate that is told what came of its requests.
    """

    def apply(self, request: Request, reply: Reply, shift: int) -> bool:
        """
        Take the store's *reply* to *request*; return whether there is more to say at once.
        """
        return self.alone.run(partial(self._apply, request, reply, shift), instead=False)

    def _apply(self, request: Request, reply: Reply, shift: int) -> bool:
        now, account = self._now(), self._account
        account.shift = shift
        self._is_timed = True
        self.members = max(1, reply.members)
        if reply.standing is not None:
            self._catch_up(reply, now)
            return True
        self._version = reply.version
        self._has_heard = True
        account.told(request.backs, request.places, reply.now)
        if self.away:
            return False
        account.note(reply.cells, now)
        if self._deeds >= 0:
            self._standing.agreed(self._deeds)
            self._agreed_at = now
        for cell in request.left:
            self._shown.pop(cell, None)
        wanted = list(zip(self._wanted, request.wants, reply.answers, strict=True))
        for (_, ask), want, answer in wanted:
            self._get(ask, want, answer, now)
        for entry, (units, until) in zip(self._topped, reply.tops, strict=True):
            if units:
                account.put(entry, units, until - shift, now)
        left = self._serve(wanted, now)
        self._standing.cancel(now)
        for (waiter, ask), _, answer in wanted:
            self._wait_for(waiter, ask, answer, now)
        for name in left:
            self._asked.pop(name, None)  # The store is asked anew, and is given it back along with that.
        self._tell_new(now)
        self._recalm()
        # Whoever wanted to be the probe and is not.
        self._flush()
        return self._plan_next(now)

    def _catch_up(self, reply: Reply, now: int) -> None:
        """
        Take over the standing that others have brought about; nothing else of the request was done.
        """
        self._version = reply.version
        if not reply.standing:
            # It has forgotten everything; what we know of the service holds.
            self._standing.begin_anew(now)
            self._account.forget()
            return
        self._standing.load(reply.standing, self._account.shift, now)
        self._recalm()
        if not self.away:
            self._flush()
            self._room.serve_all(now)
            self._tell_new(now)

    def _get(self, ask: Ask, want: Want, answer: Answer, now: int) -> None:
        for entry, part in zip(ask.entries, want.parts, strict=True):
            if answer.times:
                self._account.put(entry, part.units * answer.times, answer.until - self._account.shift, now)
            if part.cell == answer.cell:
                self._shown[part.cell] = entry.name, entry.key
            else:
                # Nobody is shown there any more: whoever stands first now has to be.
                self._shown.pop(part.cell, None)
                self._asked.pop((entry.name, entry.key), None)

    def _serve(
        self, wanted: Iterable[tuple[tuple[Waiter[Parked], Ask], Want, Answer]], now: int
    ) -> set[tuple[str, str]]:
        """
        Serve the lines of those that were granted something; return those lines that are not, as somebody has left.

        What was granted to who has left is not for the next one here: elsewhere a better one may wait.
        """
        granted = [(waiter, ask) for (waiter, ask), _, answer in wanted if answer.times]
        lines = {waiter.line.name: waiter.line for waiter, _ in granted if waiter.line is not None}
        self._room.expire(lines.values(), now)
        left = {(entry.name, entry.key) for waiter, ask in granted if waiter.line is None for entry in ask.entries}
        self._room.serve([line for name, line in lines.items() if name not in left], now)
        return left

    def _wait_for(self, waiter: Waiter[Parked], ask: Ask, answer: Answer, now: int) -> None:
        """
        Note for which cell *waiter* waits, and for how long at least.
        """
        if waiter.line is None or not answer.cell:
            return
        entry = next(each for each in ask.entries if cell_name(each.limit, each.name, each.key) == answer.cell)
        if waiter.line.name != (entry.name, entry.key):
            self._room.move(waiter, Short(entry, FOREVER))
        line = waiter.line
        self._shown[answer.cell] = line.name
        if line.first() is waiter:
            # Many that listen closely are too many for the store.
            blind = _LISTEN * max(1, self.members // 10) if answer.wait is None else answer.wait
            ready_at = now + min(blind, REFRESH)
            self._asked[line.name] = waiter, ready_at

    def _tell_new(self, now: int) -> None:
        """
        Refuse those whose wait can't fit, now that the store has said how long it is, or for whom there is no room.
        """
        for parked, until in list(self._new.items()):
            waiter = parked.waiter
            if waiter is None:
                continue
            if waiter.line is None:
                self._new.pop(parked, None)
                continue
            line = waiter.line
            is_held = line.name[0] == AWAY[0] and self._held_back(parked.ask, now)[0] > 0
            if line.name not in self._asked and not is_held:
                continue
            self._new.pop(parked, None)
            short = Short(_entry_of(parked.ask, line.name), FOREVER)
            denied = self._denied(parked.ask, short, until, now)._replace(is_open=False)
            answer = answered(denied, now, until) or self._no_room(parked.ask, denied, now)
            if isinstance(answer, Denied):
                self._room.refuse(waiter, answer)
            elif until < waiter.deadline:
                self._room.hasten(waiter, until)

    def _no_room(self, ask: Ask, denied: Denied, now: int) -> Denied | None:
        size, full = self._room.size - len(self._new) - 1, self.compiled.queue_size
        if size < full:
            return None
        denied = denied._replace(why=Why.QUEUE_FULL, text=f"{size} calls wait already (queue_size {full})")
        return None if self._room.displace(ask.level, denied, now) else denied


def _entry_of(ask: Ask, name: tuple[str, str]) -> Entry | None:
    return next((entry for entry in ask.entries if (entry.name, entry.key) == name), None)
