"""
The gate of one service, in memory.

One lock, held for a few microseconds, makes each of admit, park, settle and tick one step. Under it nobody's code
runs but ours: no user function, no log, no wake-up that calls back.

*Straight path.* While the gate is `calm` (breaker closed, nobody waits, no pause, ban or Retry-After) `enter` and
`leave` admit and settle a success without building a lease; the caller remembers the time and the breaker's
generation. At the first surprise they say so, and the plan's way (`admit`, `park`, `settle`) takes over, which decides
by the same functions on the same cells.

*Waiting.* A waiter never asks twice. Whoever frees capacity, or whoever's clock says that some is due, serves the
line: reserves the cells on behalf of the first waiter, puts the lease in its hand and wakes it; `take_up` charges them
when it runs. So wake-ups are as many as grants, nobody can slip in between, and a waiter that was cancelled at the
last moment hands its lease back. The gate sets no timer itself: it asks the `Home` of everybody who waits to be looked
at in time, so a blocked event loop delays nobody else's calls.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakSet

from egressor._core.admission import Ask, Denied, Lease, Settled, Why, put_back, take
from egressor._core.ban import SUSPENDS
from egressor._core.breaker import BreakerState
from egressor._core.learn import believed
from egressor._core.limits import FOREVER, Concurrency
from egressor._core.model import ErrorCategory
from egressor._core.plan import answered

from .counts import Counts
from .exclusive import Exclusive, step
from .handed import Handed
from .standing import Standing
from .waiting import AWAY, Short, WaitingRoom

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from egressor._core.admission import Entry
    from egressor._core.ban import BanNews
    from egressor._core.model import Verdict

    from . import Clock, Home, Parked
    from .compiled import Cells, Compiled

__all__ = ["Gate", "never"]

_GATES: WeakSet[Gate] = WeakSet()

_SECOND = 1_000_000
_SOON = 1_000
# How long a lease stays in the hand of somebody who does not come for it, while others wait.
_PATIENCE = 100_000


# What a finaliser or a signal handler is told that asks for more from inside a gate's own step.
_INSIDE = Denied(Why.LIMIT, "gate", None, "asked from inside of the gate's own work, by a finaliser or a signal")
_LIMITED = frozenset({ErrorCategory.RATE_LIMIT, ErrorCategory.QUOTA_EXHAUSTED, ErrorCategory.BAN})
_NOTHING = Settled(may_retry=False, breaker=None)


class Gate:
    """
    Admission to one service.

    Args:
        compiled: The service's policy, compiled to cells and specs.
        clock: The time.
        dice: Draws from 0 up to, not including, 1.
        keeper: The home that looks after idle keys.

    Attributes:
        calm: Whether nothing stands in the way of a call but the limits.
        members: How many processes share what the server allows.
        is_exact: Whether a tick that comes a little late loses what a limit would have let through.
        counts: What happened so far.
        breaker: The breaker's cell; its ``generation`` is read before `enter` and handed to `leave`.
        on_change: Told each new state of the breaker that results have brought about. It is called with the lock held:
            it appends to a queue, and returns.
        on_ban: Told likewise what has become of a ban, with its end in microseconds since 1970, and the seconds left.
    """

    _standing_of = Standing
    members = 1

    def __init__(self, compiled: Compiled, *, clock: Clock, dice: Callable[[], float], keeper: Home) -> None:
        self.compiled = compiled
        self.is_exact = compiled.is_exact
        self.calm = True
        self._barred: Denied | None = None
        self.counts = Counts()
        self._latency = self.counts.latency
        self._standing = self._standing_of(compiled, counts=self.counts, dice=dice)
        self.breaker = self._standing.breaker
        self.alone = Exclusive()
        self._clock = clock
        self._now = clock.now
        self._ns = clock.ns
        self._keeper = keeper
        self._handed = Handed()
        self._room = WaitingRoom(self, age=compiled.age, decide=self._hand)
        self._banks_at = 0 if compiled.banks else FOREVER
        self.on_change: Callable[[BreakerState], object] | None = None
        self.on_ban: Callable[[BanNews, float], object] | None = None
        _GATES.add(self)
        self._recalm()

    # --- the straight path -------------------------------------------------------------------------------------------

    def enter(self, ask: Ask) -> int | None:
        """
        Admit *ask* if nothing stands in its way: the time; None for any surprise.
        """
        # In line, as `Exclusive.run` does it, but for the `with`, which costs half as much as all the rest: every call
        # comes through here. A signal may raise behind `acquire`, so that stands inside of the `try`.
        alone, is_mine = self.alone, False
        try:
            alone.lock.acquire()
            if alone.is_busy:
                return None
            alone.is_busy = is_mine = True
            compiled = self.compiled
            if not self.calm or ask.compiled is not compiled:
                return None
            now = self._ns() // 1000
            if not take(ask, now, self._clock.wall() - now if ask.others else 0):
                return None
            self.counts.admitted += 1
            if now >= self._banks_at:
                _gone = self._turn_banks(now)
            return now
        finally:
            if is_mine:
                alone.is_busy = False
            try:  # noqa: SIM105 - `suppress` is called, and a signal may raise there
                alone.lock.release()
            except RuntimeError:
                pass  # One has raised while this waited for the lock.
            if alone.words:
                alone.sweep()

    def leave(self, ask: Ask, at: int, generation: int) -> None:
        """
        Settle the success of an attempt that `enter` admitted at *at*; *generation* is the breaker's from before.
        """
        alone, is_mine = self.alone, False
        try:
            alone.lock.acquire()
            if alone.is_busy:
                alone.words.append(partial(self._leave, ask, at, generation))
                return
            alone.is_busy = is_mine = True
            self._leave(ask, at, generation)
        finally:
            if is_mine:
                alone.is_busy = False
            try:  # noqa: SIM105 - `suppress` is called, and a signal may raise there
                alone.lock.release()
            except RuntimeError:
                pass  # One has raised while this waited for the lock.
            if alone.words:
                alone.sweep()

    def _leave(self, ask: Ask, at: int, generation: int) -> None:
        now = self._ns() // 1000
        took = now - at
        self._latency[took.bit_length()] += 1
        for cells, key, units, _ in ask.holds:
            cells[key] -= units
        standing = self._standing
        changed = None
        if now < standing.quiet_until and generation == standing.breaker.generation and took <= standing.slow_call:
            standing.fresh += 1
            if self.calm:
                return
        else:
            changed = standing.succeeded(now, took, generation)
            if standing.learned.cells:
                standing.learned.spent(ask)
                self._recalm()
        if changed is not None or not self.calm:
            self._changed(changed)
            self._room.freed(self._as_now(ask).places, now)

    def lease(self, ask: Ask, at: int, generation: int) -> Lease:
        """
        Return the lease for what `enter` admitted, for the plan to go on with.
        """
        return Lease(ask, at=at, generation=generation, probe=0)

    # --- the plan's way ----------------------------------------------------------------------------------------------

    @step(instead=_INSIDE, leaves_word=False)
    def admit(self, ask: Ask, until: int) -> Lease | Denied:
        """
        Admit *ask* now, or say why not; *until* is when its wait would have to be over.
        """
        now = self._now()
        if self._handed:
            self._take_back(now)
        self._room.promote(now)
        decision = self._shed(ask, now) or self._room.blocker(ask, until, level=ask.level) or self._decide(ask, now)
        # Where somebody listens to the steps, no call takes the straight path, which does the same.
        self._forget(now)
        return self._denied(ask, decision, until, now) if isinstance(decision, Short) else decision

    @step(instead=_INSIDE, leaves_word=False)
    def park(self, ask: Ask, until: int, parked: Parked) -> Lease | Denied | None:
        """
        Let *ask* wait in the queue until *until*, unless it can go at once, or waiting can't help.

        None means that `Parked.reply` will tell.
        """
        now = self._now()
        if self._handed:
            self._take_back(now)
        self._room.promote(now)
        decision = self._room.blocker(ask, until, level=ask.level) or self._decide(ask, now)
        self._forget(now)
        if not isinstance(decision, Short):
            return decision
        denied = self._denied(ask, decision, until, now)
        answer = answered(denied, now, until)
        if answer is not None:
            return answer
        full = self._full(denied)
        if full is not None and not self._room.displace(ask.level, full, now):
            return full
        self.calm = False
        if ask.holds:
            self._keeper.arm(self, until)
        self._room.join(ask, parked, decision, until=until, now=now)
        self._alert()
        return None

    @step(instead=None)
    def take_up(self, parked: Parked, signal: Callable[[], object]) -> Lease | Denied | None:
        """
        Return what came of a wait that is over, and charge it (see `handed`).

        None: it came too late for its lease, and waits again, for a new *signal*.
        """
        reply = parked.reply
        if reply is None:
            return self._wait_again(parked, signal)
        if isinstance(reply, Lease):
            now = self._now()
            if not reply.is_taken and (reply.is_plain or reply.generation != self.breaker.generation):
                # What was learned since the grant holds for this one as well.
                denied = self._shut(now)
                if denied is not None or now < self._standing.away_release:
                    self._undo(reply)
                    return denied or self._wait_again(parked, signal)
            if not reply.is_taken and self._is_too_late(reply, now):
                self._undo(reply)
                return self._wait_again(parked, signal)
            self._take_up(reply)
            if not self._handed:
                self._recalm()
        return reply

    def abandon(self, parked: Parked) -> None:
        """
        Take back a wait that was cancelled, without waiting; a lease that was granted meanwhile goes to the next.
        """
        self.alone.soon(partial(self._abandon, parked))

    def drop(self, lease: Lease, verdict: Verdict) -> None:
        """
        Settle *lease* without waiting for anybody: for finalisers, which may run inside this very gate.
        """
        self.alone.soon(partial(self._settle, lease, verdict))

    @step(instead=None)
    def undo(self, lease: Lease) -> None:
        """
        Take back a lease under which nothing was sent: everything it took is given back.
        """
        self._undo(lease)

    def settle(self, lease: Lease, verdict: Verdict, *, attempt: int = 1, wants_retry: bool = False) -> Settled:
        """
        Take *lease* back with *verdict*. A second time nothing happens.
        """
        work = partial(self._settle, lease, verdict, attempt=attempt, wants_retry=wants_retry)
        if verdict.category is ErrorCategory.CANCELLED and not wants_retry:
            # It may be the garbage collector that ends a call: that waits for nobody.
            self.alone.soon(work)
            return _NOTHING
        return self.alone.run(work, instead=_NOTHING)

    @step(instead=0)
    def patience(self, verdict: Verdict) -> int:
        """
        Return until when a call that got *verdict*, which is yet to be settled, may be held back for it at most.
        """
        return self._standing.patience(verdict, self._now())

    @step(instead=None)
    def hear(self, lease: Lease, verdict: Verdict) -> None:
        """
        Learn what *lease*'s answer says of the server's limits while its body has yet to come.
        """
        if lease.is_settled or lease.is_heard or not verdict.hints:
            return
        now = self._now()
        self._account_for(lease, verdict, now)
        lease.is_heard = True
        self._standing.learned.heard += 1
        self._recalm()
        self._room.freed_by_server(now)

    @step(instead=None)
    def adjust(self, lease: Lease, cost: Mapping[str, int]) -> None:
        """
        Correct what *lease* took to what the attempt really cost: *cost* by unit; other units stay as they are.

        A lease from before a reload stays as it is: its cells have changed their form.
        """
        now = self._now()
        if lease.ask.compiled is not self.compiled:
            return
        truth = []
        for entry in self.compiled.every(lease.ask):
            cells, key, units, limit, _, unit = entry
            actual = units if type(limit) is Concurrency else cost.get(unit, units)
            if actual > units:
                cells[key] = limit.charge(cells[key], now, actual - units, self._skew(now))
            elif actual < units:
                cells[key] = limit.refund(cells[key], now, units - actual, lease.at)
            if actual or entry in lease.ask.entries:
                truth.append(entry._replace(units=actual))
        lease.ask = lease.ask.with_entries(tuple(truth))
        self._forget(now)
        self._room.freed(lease.ask.entries, now)

    @step(instead=None)
    def lend(self, ask: Ask) -> None:
        """
        Give *ask*'s places up while calls nested inside its own call run, so that they can't wait for it.
        """
        now = self._now()
        put_back(ask.places, now, now)
        self._room.freed(self._as_now(ask).places, now)

    @step(instead=None)
    def reclaim(self, ask: Ask) -> None:
        """
        Take the places of `lend` back, even if that is one too many for a moment: the call is under way.
        """
        for cells, key, units, limit, _, _ in ask.places:
            cells[key] = limit.charge(cells[key], 0, units, 0)

    @step(instead=None)
    def tick(self) -> None:
        """
        Serve every line whose time has come.
        """
        now = self._now()
        if self._handed:
            self._take_back(now)
        self._room.serve_due(now)
        self._forget(now)
        if now < self._banks_at < FOREVER:
            # A home keeps the earliest alarm only, and that was this one.
            self._keeper.arm(self, self._banks_at)
        self._alert()
        self._recalm()

    @property
    def is_limping(self) -> bool:
        """
        Whether the service accepts so few calls that some may be shed, which `admit` decides.
        """
        return self._standing.is_limping

    # --- operators ---------------------------------------------------------------------------------------------------

    @property
    def paused(self) -> str:
        """
        Why every call is refused; empty where it is not.
        """
        return self._standing.paused

    @step(instead=None)
    def pause(self, reason: str) -> None:
        """
        Refuse every call until `resume`; those that wait are refused now.
        """
        self._standing.pause(reason)
        self._recalm()
        self._flush()

    @step(instead=None)
    def bar(self, denied: Denied | None) -> None:
        """
        Refuse every call with *denied*, in this process only, whatever an operator says; None ends that.
        """
        self._bar(denied)

    def _bar(self, denied: Denied | None) -> None:
        self._barred = denied
        self._recalm()
        self._flush()

    @step(instead=None)
    def resume(self) -> None:
        """
        End a pause.
        """
        self._standing.pause("")
        self._recalm()

    @step(instead=None)
    def lift_ban(self) -> BanNews | None:
        """
        End a suspension, a Retry-After and a pause after haste, now; return the suspension, if there was one, with its
        end in microseconds since 1970.
        """
        now = self._now()
        news = self._standing.lift_ban(now)
        self._recalm()
        self._room.serve_all(now)
        return news and self._on_the_wall(news, now)

    @step(instead=None)
    def restore_ban(self, news: BanNews, seconds: float) -> None:
        """
        Take up a suspension of an earlier life, whose end is in microseconds since 1970, and which had *seconds* left
        when that was written down: a wall clock that was set back meanwhile lengthens nothing.
        """
        now = self._now()
        whole = round(seconds * _SECOND)
        left = min(news.until - self._clock.wall(), whole)
        self._standing.restore_ban(news._replace(until=now + left), now, now + left - whole)
        self._recalm()

    @step(instead=None)
    def set_breaker(self, state: BreakerState) -> None:
        """
        Set the breaker by hand: closed (reset), forced open, or disabled.
        """
        self._standing.set_breaker(state, self._now())
        self._recalm()
        self._flush()

    @step(instead=None)
    def replace(self, compiled: Compiled) -> None:
        """
        Decide by another policy from now on. What is held stays held, and what was taken stays taken: a cell whose
        limit has changed starts with as much taken of the new limit as was taken of the old one.
        """
        now = self._now()
        compiled.adopt(self.compiled, now, self._skew(now))
        self._standing.replace(compiled, now)
        self._install(compiled, now)

    def _install(self, compiled: Compiled, now: int) -> None:
        self.breaker = self._standing.breaker
        self.compiled = compiled
        self.is_exact = compiled.is_exact
        self._banks_at = FOREVER
        self._handed.remake(compiled.remake)
        self._room.remake(compiled.remake, now)
        if compiled.banks:
            self.alone.litter = self._turn_banks(now)
        self._recalm()

    @step(instead=None)
    def count_denied(self, why: Why) -> None:
        """
        Count a refusal as the caller saw it.
        """
        self.counts.denied[why] = self.counts.denied.get(why, 0) + 1

    def snapshot(self) -> dict[str, object]:
        """
        Return the gate's state, as plain values.
        """
        return self.alone.at_once(self._snapshot)

    def _snapshot(self) -> dict[str, object]:
        now = self._now()
        skew = self._skew(now)
        return {
            **self._standing.snapshot(now),
            "limits": [
                {
                    "name": part.name,
                    "unit": part.unit,
                    "limit": part.limit.most,
                    "left": self._left(part, now, skew),
                }
                for part in self.compiled.service_cells
            ],
            "keys": sum(len(bank) for bank in self.compiled.banks),
            "waiting": self._room.sizes(),
            "waits": [list(row) for row in self._room.waits],
            **self.counts.snapshot(),
        }

    def _left(self, part: Cells, now: int, skew: int) -> int:
        return part.limit.left(part.cells[""], now, skew)

    # --- what is decided under the lock ------------------------------------------------------------------------------

    def _decide(self, ask: Ask, now: int) -> Lease | Denied | Short:
        """
        Take *ask*'s cells for a newcomer, who goes at once.
        """
        ask, skew = self._as_now(ask), self._skew(now)
        refused = self._refusal(ask, now, skew) if not self.calm else None
        if refused is not None:
            return refused
        if not take(ask, now, skew):
            return self._refusal(ask, now, skew) or Short(None, now)
        return self._granted(ask, now)

    def _hand(self, ask: Ask, now: int, parked: Parked) -> Lease | Denied | Short:
        """
        Reserve *ask*'s cells for somebody who waits, and who goes when its thread or task has its turn.
        """
        if parked.home.is_prompt:
            return self._decide(ask, now)
        ask = self._as_now(ask)
        refused = self._refusal(ask, now, self._skew(now))
        if refused is not None:
            return refused
        lease = self._granted(ask, now)
        self._handed.put(lease, parked, now)
        self._alert()
        return lease

    def _full(self, denied: Denied) -> Denied | None:
        """
        Return the refusal of one call more than may wait, made of *denied*; None while there is room.
        """
        size, full = self._room.size, self.compiled.queue_size
        if size < full:
            return None
        return denied._replace(why=Why.QUEUE_FULL, text=f"{size} calls wait already (queue_size {full})")

    def _as_now(self, ask: Ask) -> Ask:
        return ask if ask.compiled is self.compiled else self.compiled.remake(ask)

    def _refusal(self, ask: Ask, now: int, skew: int) -> Denied | Short | None:
        """
        Say why *ask* can't go at *now*, counting what is reserved as if it went now as well.
        """
        denied = self._shut(now)
        if denied is not None:
            return denied
        held, _, where = self._held_back(ask, now)
        if held:
            return Short(None, held, where)
        worst: Short | None = None
        for entry in ask.entries:
            limit = entry.limit
            if entry.units > limit.most:
                return never(entry)
            before = self._handed.units(entry)
            wait = -limit.ask(entry.cells[entry.key], now, entry.units + before, skew)
            if wait > 0:
                # Beyond what the limit ever holds at once: those before are about to go, and then it is known.
                if wait >= FOREVER // 2 and before and limit.tells:
                    wait = _SOON
                ready_at = now + wait + limit.slack
                if worst is None or ready_at > worst.ready_at:
                    worst = Short(entry, ready_at)
        return worst

    def _granted(self, ask: Ask, now: int) -> Lease:
        self.counts.admitted += 1
        if self.calm:
            return Lease(ask, at=now, generation=self.breaker.generation, probe=0)
        before = self.breaker.state
        self._standing.learned.granted(ask, now)
        lease = self._standing.grant(ask, now)
        if self.breaker.state is not before:
            self._tell(self.breaker.state)
        return lease

    def _take_up(self, lease: Lease) -> None:
        """
        Charge a lease that was handed to a waiter, now that it goes.
        """
        if lease.is_taken:
            return
        self._handed.pull(lease)
        now = self._now()
        skew = self._skew(now)
        lease.is_taken = True
        lease.at = now
        for entry in lease.ask.entries:
            entry.cells[entry.key] = entry.limit.charge(entry.cells[entry.key], now, entry.units, skew)

    def _take_back(self, now: int) -> None:
        """
        Let others have what was put into a hand that does not close: a loop is blocked, or was closed.
        """
        for lease, parked in self._handed.unclaimed(now, _PATIENCE):
            # Others in the same loop could not come any sooner.
            if parked.home.is_gone() or self._room.has_others(parked.home):
                parked.reply = None
                self._undo(lease)

    def _alert(self) -> None:
        """
        Have somebody look in time whether the oldest lease in a hand was taken up.
        """
        oldest = self._handed.oldest()
        if oldest is not None:
            self._room.alert_others(oldest[0].home, oldest[1] + _PATIENCE)

    def _wait_again(self, parked: Parked, signal: Callable[[], object]) -> Lease | Denied | None:
        now, waiter = self._now(), parked.waiter
        ask = parked.ask
        if waiter.deadline < now:
            text = f"its turn did not come within {(now - parked.since) / _SECOND:.3f} s"
            return Denied(Why.WAIT_TOO_LONG, "queue", 1, text)
        parked.reply = None
        parked.signal = signal()
        self._room.promote(now)
        blocked = self._room.blocker(ask, waiter.deadline, level=waiter.level, seq=waiter.seq)
        decision = blocked or self._decide(ask, now)
        if not isinstance(decision, Short):
            return decision
        self.calm = False
        self._room.rejoin(parked, decision)
        return None

    def _is_too_late(self, lease: Lease, now: int) -> bool:  # noqa: ARG002 - units of other stores may go stale
        """
        Whether what was reserved for *lease* may no longer be used.
        """
        return False

    def _shut(self, now: int) -> Denied | None:
        return None if self.calm else self._barred or self._standing.shut(now)

    def _shed(self, ask: Ask, now: int) -> Denied | None:
        # Here and not in the line: who waits for its turn has been let in.
        if self.calm or not self._standing.is_limping or self._shut(now) is not None:
            return None
        return self._standing.shed(ask.level, now)

    def _denied(self, ask: Ask, short: Short, until: int, now: int) -> Denied:
        """
        Return the refusal of *ask*, with a wait that is never longer than the true one.
        """
        key = short.line[0]
        held, said, _ = self._held_back(ask, now)
        wait = max(0, held - now)
        for entry in ask.entries:
            if entry.units > entry.limit.most:
                return never(entry)
            before = self._room.units_before(entry, level=ask.level, until=until)
            cell = entry.cells[entry.key]
            needed = entry.limit.wait(cell, now, entry.units + before, self._skew(now))
            if needed > wait:
                wait, key = needed, entry.name
        text = said if key == AWAY[0] and said else f"{key} is used up"
        return Denied(Why.LIMIT, key, wait or None, text)

    def _held_back(self, ask: Ask, now: int) -> tuple[int, str, str]:
        return self._standing.holds_back(ask, now, under_way=self.counts.in_flight, members=self.members)

    def _settle(self, lease: Lease, verdict: Verdict, *, attempt: int = 1, wants_retry: bool = False) -> Settled:
        if lease.is_settled:
            return Settled(may_retry=False, breaker=None)
        self._take_up(lease)
        lease.is_settled = True
        now = self._now()
        self.counts.settle(verdict, now - lease.at)
        put_back(lease.ask.places, now, lease.at)
        self._account_for(lease, verdict, now)
        changed = self._standing.settle(lease, verdict, now)
        may_retry = self._standing.may_retry(now, attempt=attempt, wants=wants_retry, members=self.members)
        self._changed(changed, is_shut=verdict.category in SUSPENDS)
        self._room.freed(self._as_now(lease.ask).places, now)
        self._room.freed_by_server(now)
        return Settled(may_retry=may_retry, breaker=changed)

    def _account_for(self, lease: Lease, verdict: Verdict, now: int) -> None:
        """
        Learn what the answer says is left; one that says nothing has used up what its call asked for.
        """
        learned = self._standing.learned
        if lease.is_heard:
            learned.heard -= 1
            return
        if learned.cells:
            learned.spent(lease.ask)
        if verdict.hints:
            hints = believed(verdict.hints, is_refused=verdict.category in _LIMITED)
            self._standing.hear(hints, lease.ask, now, self._clock.wall())

    def _abandon(self, parked: Parked) -> None:
        if parked.room is not None and parked.room is not self._room:
            return  # It waited in the process that forked this one.
        if self._room.abandon(parked, self._now()):
            self._recalm()
        elif isinstance(parked.reply, Lease):
            self._undo(parked.reply)

    def _undo(self, lease: Lease) -> None:
        if lease.is_settled:
            return
        lease.is_settled = True
        now = self._now()
        self.counts.admitted -= 1
        if lease.is_taken:
            put_back(lease.ask.entries, now, lease.at)
        else:
            self._handed.pull(lease)
        self._standing.undo(lease, now)
        self._recalm()
        self._came_back(lease.ask, now)

    def _came_back(self, ask: Ask, now: int) -> None:
        """
        Let whoever is next have what *ask* was granted and did not use.
        """
        self._room.freed(self._as_now(ask).entries, now)

    def _changed(self, breaker: BreakerState | None, *, is_shut: bool = False) -> None:
        self._recalm()
        if self._standing.news:
            self._tell_bans()
        if breaker is not None:
            self._tell(breaker)
        if is_shut or breaker is BreakerState.OPEN:
            self._flush()

    def _tell(self, breaker: BreakerState) -> None:
        if self.on_change is not None:
            self.on_change(breaker)

    def _tell_bans(self) -> None:
        news, now = self._standing.news, self._now()
        for each in news:
            if self.on_ban is not None:
                self.on_ban(self._on_the_wall(each, now), max(0, each.until - now) / _SECOND)
        news.clear()

    def _on_the_wall(self, news: BanNews, now: int) -> BanNews:
        return news._replace(until=self._clock.wall() + news.until - now)

    def _flush(self) -> None:
        denied = self._shut(self._now())
        if denied is not None:
            self._room.flush(denied)

    def _recalm(self) -> None:
        now, standing = self._now(), self._standing
        is_calm = standing.is_calm(now) and not standing.limps(now) and self._barred is None
        is_calm = is_calm and not self._room.size and not self._handed and not self._is_tight(now)
        # Money is held by the plan.
        self.calm = is_calm and not self.compiled.has_budgets

    def _is_tight(self, now: int) -> bool:
        learned = self._standing.learned
        if not learned.cells:
            return False
        skew = self._skew(now)

        def ours(unit: str) -> int:
            lefts = [self._left(part, now, skew) for part in self.compiled.service_cells if part.unit == unit]
            return min(lefts, default=FOREVER)

        return learned.is_tight(now, self.counts.in_flight, ours)

    def _begin_in_child(self) -> None:
        # Threads that are not in the child held the lock, places, turns in the queue; none of them gives anything back.
        self.alone = Exclusive()
        self._handed = Handed()
        self._room = WaitingRoom(self, age=self.compiled.age, decide=self._hand)
        self.counts.forget_flights()
        self._standing.learned.heard = 0
        self.compiled = self.compiled.in_child()
        self._standing.replace(self.compiled, self._now())
        self._banks_at = 0 if self.compiled.banks else FOREVER
        self._recalm()

    def _skew(self, now: int) -> int:
        return self._clock.wall() - now if self.compiled.has_fixed else 0

    def _forget(self, now: int) -> None:
        if now >= self._banks_at:
            self.alone.litter = self._turn_banks(now)

    def _turn_banks(self, now: int) -> list[dict[str, int]]:
        """
        Forget idle keys; whoever calls this keeps what it returns until the lock is free: freeing it takes a while.
        """
        banks = self.compiled.banks
        gone = [each for bank in banks for each in bank.turn(now)]
        # While nothing is kept, nobody need look; the first key that is kept asks for it.
        self._banks_at = 0
        if any(banks):
            self._banks_at = min(bank.turn_at for bank in banks)
            self._keeper.arm(self, self._banks_at)
        return gone


def _after_fork() -> None:
    for gate in list(_GATES):
        gate._begin_in_child()  # noqa: SLF001 - the same module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def never(entry: Entry) -> Denied:
    """
    Return the refusal of a cost that is more than *entry*'s limit ever holds at once.
    """
    text = f"a cost of {entry.units} {entry.unit} can never fit {entry.name}, which holds {entry.limit.most} at once"
    return Denied(Why.NEVER_FITS, entry.name, None, text)
