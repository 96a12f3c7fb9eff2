"""
The gate of one service in one of several processes on a store.

It is the gate that it would be if the process were alone (`gate`), but for its cells: those are stocks (`stock`), which
are filled through the store. A call that finds what it needs at hand goes at once, on the straight path. Any other
joins the queue, and the gate hands the store a request: what the first of each line wants, what it has to give back,
what has happened to the service's standing (`agreed`). The answer fills the stocks, and the queue is served from them
as ever; or it says when to ask again. Whoever makes the request (the caller's thread, a courier's) holds no lock while
it is under way: `prepare` and `apply` are the steps around it, and `turn` lets one at a time.

*The store is away.* Then the gate goes on alone: its cells are real ones, of this process's share of each limit, as
much used as was known of the whole. Once the store is back, what was used meanwhile is charged there.
"""

from __future__ import annotations

from functools import partial
from threading import RLock
from typing import TYPE_CHECKING

from egressor._core.admission import Denied, Lease, Settled, Why
from egressor._core.fleet import Back
from egressor._core.limits import Concurrency
from egressor._core.model import ErrorCategory
from egressor._core.plan import answered

from . import PATIENCE
from .account import part_of
from .asking import NEWS
from .compiled import Compiled
from .exclusive import step
from .share import share_of
from .stock import stocked
from .straight import Straight

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from egressor._core.admission import Ask
    from egressor._core.ban import BanNews
    from egressor._core.breaker import BreakerState
    from egressor._core.model import Verdict
    from egressor.policies import Policy

    from . import Parked
    from .compiled import Cells

__all__ = ["SharedGate", "shared"]

# How long a call waits for the store's first answer, whatever its own time.
_ANSWER = int((PATIENCE + 0.05) * 1_000_000)
# How long a process goes on with its share after the store has come back: until all others know.
_RETURN = 600_000
# How long places that nobody waits for stay, in case another call comes.
_LINGER = 1_000
_TELL = 100_000


def shared(name: str, policy: Policy) -> Compiled:
    """
    Return *policy* compiled for one of several processes.
    """
    return Compiled(name, policy, alter=stocked)


class SharedGate(Straight):
    """
    Admission to one service, of which other processes use the same store.
    """

    # --- what callers do ---------------------------------------------------------------------------------------------

    def enter(self, ask: Ask) -> int | None:
        """
        Admit *ask* if nothing stands in its way: the time; None for any surprise.
        """
        self._doubt(ask)
        at = super().enter(ask)
        return self._link.fetch(self, ask) if at is None and self.calm and not self.away else at

    def admit(self, ask: Ask, until: int) -> Lease | Denied:
        """
        Admit *ask* now, or say why not; *until* is when its wait would have to be over.
        """
        self._doubt(ask)
        reply = super().admit(ask, until)
        if self._refused is not None and isinstance(reply, Denied) and answered(reply, self._now(), until) is not None:
            # It has asked already and doesn't wait: the store hears at once that it stands in nobody's way.
            self._link.now(self)
        return reply

    def _doubt(self, ask: Ask) -> None:
        # Who takes units or places asks the store for them, and hears how the service stands.
        if not ask.others and not ask.holds and not self.away and self._now() - self._spoke_at > NEWS:
            self._has_heard = self.calm = False

    def park(self, ask: Ask, until: int, parked: Parked) -> Lease | Denied | None:
        """
        Let *ask* wait until *until*, or for the store's answer at least.
        """
        self._doubt(ask)
        if self.away:
            return super().park(ask, until, parked)
        self._new[parked] = until
        reply = super().park(ask, max(until, self._now() + _ANSWER), parked)
        if reply is not None:
            self._new.pop(parked, None)
        elif not self._heard(parked):
            self._link.now(self)
        return reply

    @step(instead=False)
    def _heard(self, parked: Parked) -> bool:
        return self._hear_refusal(parked)

    def take_up(self, parked: Parked, signal: Callable[[], object]) -> Lease | Denied | None:
        """
        Return what came of a wait that is over; None: it came too late for its lease, and waits again.
        """
        reply = super().take_up(parked, signal)
        if reply is None and not self.away:
            self._link.now(self)
        return reply

    def leave(self, ask: Ask, at: int, generation: int) -> None:
        """
        Settle the success of an attempt that `enter` admitted.
        """
        super().leave(ask, at, generation)
        if self._standing.is_urgent or (ask.holds and not self._lingers(ask)):
            self._pass_on()
        elif not ask.holds and at - self._spoke_at > NEWS:
            # Who takes nothing of the store has to ask all the same how the service stands.
            self._is_used = True
            self._speak()

    def hear(self, lease: Lease, verdict: Verdict) -> None:
        """
        Learn what *lease*'s answer says of the server's limits while its body has yet to come.
        """
        super().hear(lease, verdict)
        if self._standing.is_urgent:
            self._pass_on()

    @step(instead=False)
    def _lingers(self, ask: Ask) -> bool:
        """
        Whether the places of *ask* may stay here for a moment, as nobody waits for them: then the next call that asks
        the store gives them back along with that, in one exchange.
        """
        now = self._now()
        if self.away or self._room.size or not all(self._account.has_spare(entry, now) for entry in ask.places):
            return False
        self._look_at(now + _LINGER, now)
        return True

    def settle(self, lease: Lease, verdict: Verdict, *, attempt: int = 1, wants_retry: bool = False) -> Settled:
        """
        Take *lease* back with *verdict*. A second time nothing happens.
        """
        settled = super().settle(lease, verdict, attempt=attempt, wants_retry=wants_retry)
        if lease.ask.holds or self._standing.is_urgent:
            # What is cancelled may be ended by the garbage collector, anywhere: that waits for nobody.
            if verdict.category is ErrorCategory.CANCELLED:
                self._speak()
            else:
                self._pass_on()
        return settled

    def undo(self, lease: Lease) -> None:
        """
        Take back a lease under which nothing was sent.
        """
        super().undo(lease)
        self._speak()

    def abandon(self, parked: Parked) -> None:
        """
        Take back a wait that was cancelled.
        """
        super().abandon(parked)
        self._new.pop(parked, None)
        self._speak()

    def drop(self, lease: Lease, verdict: Verdict) -> None:
        """
        Settle *lease* without waiting for anybody.
        """
        super().drop(lease, verdict)
        self._speak()

    def reclaim(self, ask: Ask) -> None:
        """
        Take the places of `lend` back, even if that is one too many for a moment.
        """
        super().reclaim(ask)
        if ask.holds and not self.away:
            self._expect(ask)
            self._speak()

    def _came_back(self, ask: Ask, now: int) -> None:
        if self.away:
            super()._came_back(ask, now)
            return
        # Not to the next one here: elsewhere a better one may wait. So the store is asked, which is given it back.
        for entry in ask.entries:
            self._asked.pop((entry.name, entry.key), None)
        self._speak()

    @step(instead=None)
    def _expect(self, ask: Ask) -> None:
        self._account.expect(ask.entries)

    def lend(self, ask: Ask) -> None:
        """
        Give *ask*'s places up while calls nested inside its own call run.
        """
        super().lend(ask)
        if ask.holds:
            self._speak()

    def tick(self) -> None:
        """
        Serve every line whose time has come.
        """
        super().tick()
        if not self.away and (self._room.size or self._shown):
            self._speak()

    def adjust(self, lease: Lease, cost: Mapping[str, int]) -> None:
        """
        Correct what *lease* took to what the attempt really cost.
        """
        if self.away:
            super().adjust(lease, cost)
        else:
            self._correct(lease, cost)
            self._speak()

    @step(instead=None)
    def _correct(self, lease: Lease, cost: Mapping[str, int]) -> None:
        if lease.ask.compiled is not self.compiled:
            return
        truth = []
        for entry in self.compiled.every(lease.ask):
            actual = entry.units if type(entry.limit) is Concurrency else cost.get(entry.unit, entry.units)
            if actual != entry.units:
                at = None if actual > entry.units else lease.at + self._account.shift
                self._account.backs.append(Back(part_of(entry, abs(actual - entry.units)), at))
            if actual or entry in lease.ask.entries:
                truth.append(entry._replace(units=actual))
        lease.ask = lease.ask.with_entries(tuple(truth))

    def _pass_on(self) -> None:
        if self.away:
            return
        if self._room.size:
            self._link.now(self)
        else:
            self._link.soon(self)

    def _speak(self) -> None:
        if not self.away:
            self._link.soon(self)

    # --- operators ---------------------------------------------------------------------------------------------------

    def pause(self, reason: str) -> None:
        """
        Refuse every call, in all processes, until `resume`.
        """
        super().pause(reason)
        self._link.sync(self)

    def resume(self) -> None:
        """
        End a pause.
        """
        super().resume()
        self._link.sync(self)

    def lift_ban(self) -> BanNews | None:
        """
        End a suspension, and a Retry-After, now; return the suspension, if there was one.
        """
        news = super().lift_ban()
        self._link.sync(self)
        return news

    def restore_ban(self, news: BanNews, seconds: float) -> None:
        """
        Take up a suspension of an earlier life; the store says what has become of it, or hears of it.
        """
        super().restore_ban(news, seconds)
        # Who refuses every call asks nothing else of the store, and would never hear that the ban was lifted.
        self._speak()

    def set_breaker(self, state: BreakerState) -> None:
        """
        Set the breaker by hand.
        """
        super().set_breaker(state)
        self._link.sync(self)

    def replace(self, compiled: Compiled) -> None:
        """
        Decide by another policy from now on.
        """
        if self.away:
            compiled.adopt(self._home, self._now(), 0)
        else:
            self._carry_on(compiled)
        self._home = compiled
        super().replace(compiled if not self.away else self._compiled_alone(compiled.policy))
        self._speak()

    @step(instead=None)
    def _carry_on(self, compiled: Compiled) -> None:
        self._account.carry_on(compiled, self._home, self._now(), self._clock.wall())

    # --- without the store -------------------------------------------------------------------------------------------

    @step(instead=None)
    def lose(self, why: str) -> None:
        """
        Go on alone: the store is away.
        """
        self._back_at = 0
        if self.away:
            return
        # Together, as windows of the calendar go by their difference.
        now, wall = self._now(), self._clock.wall()
        self._next_at = 0
        self.away = why
        compiled = self._compiled_alone(self._home.policy)
        compiled.share_places(self._home)
        self._account.carry_over(compiled, self._home, self._sharers, now, wall)
        self._forget_lines()
        self._standing.is_alone = True
        if self.on_loss == "closed":
            self._closed = Denied(Why.STORE, "store", None, f"the store is away: {why}")
        self._install(compiled, now)
        self._flush()

    @step(instead=None)
    def regain(self) -> None:
        """
        Have the store, which answers again, charged with what was used meanwhile; and in a while go by it.

        Not at once: others have yet to find out, and to have it charged with what they used.
        """
        if not self.away:
            return
        now = self._now()
        if now < self._back_at or not self._back_at:
            # The first charge at once, and later ones now and then.
            self._look_at(min(now + _TELL, self._back_at) if self._back_at else now + 1, now)
            self._back_at = self._back_at or now + _RETURN
            return
        self._account.charge_back(self.compiled, self._home, now, self._clock.wall())
        self.away = ""
        self._back_at = 0
        self._account.come_home(self.compiled, self._home)
        self._forget_lines()
        self._closed = None
        self._standing.is_alone = False
        self._install(self._home, now)
        self._look_at(now + 1, now)

    def _forget_lines(self) -> None:
        self._asked.clear()
        self._shown.clear()
        self._new.clear()

    @property
    def _sharers(self) -> int:
        # Never the whole of a limit: who has not heard of others has perhaps not heard of anybody.
        return max(2, self.members) if self.on_loss == "share" else 1

    def _compiled_alone(self, policy: Policy) -> Compiled:
        return Compiled(self.name, policy, alter=partial(share_of, members=self._sharers))

    def _snapshot(self) -> dict[str, object]:
        return {**super()._snapshot(), "members": self.members, "store_away": self.away}

    def _left(self, part: Cells, now: int, skew: int) -> int:
        return super()._left(part, now, skew) if self.away else self._account.left(part, now, self._clock.wall())

    def _begin_in_child(self) -> None:
        super()._begin_in_child()
        self.away = ""
        self._has_heard = False
        self._closed = None
        self._standing.is_alone = False
        self.turn = RLock()
        self.is_asking = False
        self._home = self.compiled = shared(self.name, self._home.policy)
        self._standing.forget_log()
        self._forget_store()
        self._recalm()
