"""
The gate of one service, in memory.

One lock, held for a few microseconds, makes each of admit, park, settle and tick one step. Under it nobody's code
runs but ours: no user function, no log, no wake-up that calls back.

*Straight path.* While the gate is `calm` (breaker closed, nobody waits, no pause, ban or Retry-After) `enter` and
`leave` admit and settle a success without building a lease. At the first surprise they say so, and the plan's way
(`admit`, `park`, `settle`) takes over, which decides by the same functions on the same cells.

*Waiting.* A waiter never asks twice. Whoever frees capacity, or whoever's clock says that some is due, serves the
line: reserves the cells on behalf of the first waiter, puts the lease in its hand and wakes it; `take_up` charges them
when it runs. So wake-ups are as many as grants, nobody can slip in between, and a waiter that was cancelled at the
last moment hands its lease back. The gate sets no timer itself: it asks the `Home` of everybody who waits to be looked
at in time, so a blocked event loop delays nobody else's calls.
"""

from __future__ import annotations

import os
from collections import deque
from threading import Lock
from typing import TYPE_CHECKING
from weakref import WeakSet

from egressor._core import ban as bans
from egressor._core import breaker as breakers
from egressor._core.admission import Ask, Denied, Lease, Settled, Why, never_fits, put_back, take
from egressor._core.breaker import BreakerState, Result, record_success
from egressor._core.limits import FOREVER, Concurrency
from egressor._core.model import ErrorCategory
from egressor._core.retry import BudgetCell, deposit, withdraw

from .counts import Counts
from .waiting import AWAY, Short, WaitingRoom

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from egressor._core.admission import Entry
    from egressor._core.model import Verdict

    from . import Clock, Keeper, Parked
    from .compiled import Compiled

__all__ = ["Gate"]

_GATES: WeakSet[Gate] = WeakSet()

_SECOND = 1_000_000
_SOON = 1_000


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
        counts: What happened so far.
        breaker: The breaker's cell.
    """

    def __init__(self, compiled: Compiled, *, clock: Clock, dice: Callable[[], float], keeper: Keeper) -> None:
        self.compiled = compiled
        self._slow_call = compiled.breaker.slow_call
        self.calm = True
        self.counts = Counts()
        self.breaker = compiled.breaker_cell()
        self._lock = Lock()
        self._clock = clock
        self._now = clock.now
        self._ns = clock.ns
        self._dice = dice
        self._keeper = keeper
        self._retries = BudgetCell()
        self._ban = bans.BanCell()
        self._ban_probe: Lease | None = None
        self._paused = ""
        self._away_until = 0
        self._away_release = 0
        self._handed: dict[Lease, None] = {}
        self._reserved: dict[tuple[str, str], int] = {}
        self._room = WaitingRoom(self, age=compiled.age, decide=self._hand)
        self._banks_at = 0 if compiled.banks else FOREVER
        _GATES.add(self)
        self._dropped: deque[tuple[Lease, Verdict]] = deque()
        self._recalm()

    # --- the straight path -------------------------------------------------------------------------------------------

    def enter(self, ask: Ask) -> tuple[int, int] | None:
        """
        Admit *ask* if nothing stands in its way: the time and the breaker's generation; None for any surprise.
        """
        lock = self._lock
        lock.acquire()  # `with` costs twice as much.
        try:
            compiled = self.compiled
            if not self.calm or ask.compiled is not compiled:
                return None
            now = self._ns() // 1000
            if not take(ask, now, self._clock.wall() - now if compiled.has_fixed else 0):
                return None
            self.counts.admitted += 1
            if now >= self._banks_at:
                self._turn_banks(now)
            return now, self.breaker.generation
        finally:
            lock.release()

    def leave(self, ask: Ask, at: int, generation: int) -> None:
        """
        Settle the success of an attempt that `enter` admitted.
        """
        lock = self._lock
        lock.acquire()
        try:
            now = self._ns() // 1000
            took = now - at
            self.counts.latency[took.bit_length()] += 1
            # `deposit` and `record_success`, in line for the time in which either only counts.
            retries = self._retries
            if retries.since <= now < retries.until:
                retries.fresh += 1
            elif self.compiled.retry_budget is not None:
                deposit(retries, self.compiled.retry_budget, now)
            for cells, key, units, _, _, _ in ask.places:
                cells[key] -= units
            breaker = self.breaker
            changed = None
            if (
                breaker.quiet_from <= now < breaker.quiet_until
                and generation == breaker.generation
                and took <= self._slow_call
            ):
                breaker.fresh += 1
            else:
                changed = record_success(breaker, self.compiled.breaker, now, generation, took)
            if changed is not None or not self.calm:
                self._changed(changed, now, 0)
                self._room.freed(ask.places, now)
        finally:
            lock.release()

    def lease(self, ask: Ask, at: int, generation: int) -> Lease:
        """
        Return the lease for what `enter` admitted, for the plan to go on with.
        """
        return Lease(ask, at=at, generation=generation, probe=0)

    # --- the plan's way ----------------------------------------------------------------------------------------------

    def admit(self, ask: Ask, until: int) -> Lease | Denied:
        """
        Admit *ask* now, or say why not; *until* is when its wait would have to be over.
        """
        with self._lock:
            self._collect()
            now = self._now()
            self._room.promote(now)
            decision = self._room.blocker(ask, until, level=ask.level) or self._decide(ask, now)
            # Where somebody listens to the steps, no call takes the straight path, which does the same.
            if now >= self._banks_at:
                self._turn_banks(now)
            return self._denied(ask, decision, until, now) if isinstance(decision, Short) else decision

    def park(self, ask: Ask, until: int, parked: Parked) -> Lease | Denied | None:
        """
        Let *ask* wait in the queue until *until*; None means that `Parked.reply` will tell.
        """
        with self._lock:
            self._collect()
            now = self._now()
            self._room.promote(now)
            decision = self._room.blocker(ask, until, level=ask.level) or self._decide(ask, now)
            if now >= self._banks_at:
                self._turn_banks(now)
            if not isinstance(decision, Short):
                return decision
            full = self.compiled.queue_size
            if self._room.size >= full:
                text = f"{self._room.size} calls wait already (queue_size {full})"
                denied = self._denied(ask, decision, until, now)._replace(why=Why.QUEUE_FULL, text=text)
                if not self._room.displace(ask.level, denied):
                    return denied
            self.calm = False
            if ask.places:
                self._keeper.arm(self, until)
            self._room.join(ask, parked, decision, until=until, now=now)
            return None

    def take_up(self, parked: Parked) -> Lease | Denied:
        """
        Return what came of a wait that is over, and charge it.

        Between the moment at which a lease is put into a waiter's hand and the moment at which the waiter runs, a busy
        event loop may let any time pass, and then run all of them at once. So their units are only reserved until
        here, and counted from here: what a server sees in any window is what was charged in it.
        """
        with self._lock:
            reply = parked.reply
            assert reply is not None  # noqa: S101 - nobody is woken without one
            if isinstance(reply, Lease):
                self._take_up(reply)
                if not self._handed:
                    self._recalm()
            return reply

    def abandon(self, parked: Parked) -> None:
        """
        Take back a wait that was cancelled; a lease that was granted meanwhile goes to the next.
        """
        with self._lock:
            if self._room.abandon(parked, self._now()):
                self._recalm()
            elif isinstance(parked.reply, Lease):
                self._undo(parked.reply)

    def drop(self, lease: Lease, verdict: Verdict) -> None:
        """
        Settle *lease* soon, from where no lock may be waited for: a finaliser, which may run inside this very gate.
        """
        self._dropped.append((lease, verdict))
        self._keeper.nudge(self)

    def undo(self, lease: Lease) -> None:
        """
        Take back a lease under which nothing was sent: everything it took is given back.
        """
        with self._lock:
            self._undo(lease)

    def settle(self, lease: Lease, verdict: Verdict, *, attempt: int = 1, wants_retry: bool = False) -> Settled:
        """
        Take *lease* back with *verdict*. A second time nothing happens.
        """
        with self._lock:
            return self._settle(lease, verdict, attempt=attempt, wants_retry=wants_retry)

    def adjust(self, lease: Lease, cost: Mapping[str, int]) -> None:
        """
        Correct what *lease* took to what the attempt really cost: *cost* by unit; other units stay as they are.

        A lease from before a reload stays as it is: its cells have changed their form.
        """
        with self._lock:
            now = self._now()
            if lease.ask.compiled is not self.compiled:
                return
            truth = []
            for entry in lease.ask.entries:
                cells, key, units, limit, _, unit = entry
                actual = cost.get(unit, units)
                if actual > units:
                    cells[key] = limit.charge(cells[key], now, actual - units, self._skew(now))
                elif actual < units:
                    cells[key] = limit.refund(cells[key], now, units - actual, lease.at)
                truth.append(entry._replace(units=actual))
            lease.ask = lease.ask.with_entries(tuple(truth))
            if now >= self._banks_at:
                self._turn_banks(now)
            self._room.freed(lease.ask.entries, now)

    def lend(self, ask: Ask) -> None:
        """
        Give *ask*'s places up while calls nested inside its own call run, so that they can't wait for it.
        """
        with self._lock:
            now = self._now()
            put_back(ask.places, now, now)
            self._room.freed(ask.places, now)

    def reclaim(self, ask: Ask) -> None:
        """
        Take the places of `lend` back, even if that is one too many for a moment: the call is under way.
        """
        with self._lock:
            for cells, key, units, limit, _, _ in ask.places:
                cells[key] = limit.charge(cells[key], 0, units, 0)

    def tick(self) -> None:
        """
        Serve every line whose time has come.
        """
        with self._lock:
            self._collect()
            now = self._now()
            self._room.serve_due(now)
            if now >= self._banks_at:
                self._turn_banks(now)
            elif 0 < self._banks_at < FOREVER:
                # A home keeps the earliest alarm only, and that was this one.
                self._keeper.arm(self, self._banks_at)
            self._recalm()

    # --- operators ---------------------------------------------------------------------------------------------------

    def pause(self, reason: str) -> None:
        """
        Refuse every call until `resume`; those that wait are refused now.
        """
        with self._lock:
            self._paused = reason
            self._recalm()
            self._flush()

    def resume(self) -> None:
        """
        End a pause.
        """
        with self._lock:
            self._paused = ""
            self._recalm()

    def lift_ban(self) -> None:
        """
        End a suspension, and a Retry-After, now.
        """
        with self._lock:
            bans.lift(self._ban)
            self._away_until = self._away_release = 0
            self._recalm()
            self._room.serve_all(self._now())

    def set_breaker(self, state: BreakerState) -> None:
        """
        Set the breaker by hand: closed (reset), forced open, or disabled.
        """
        with self._lock:
            if state is BreakerState.FORCED_OPEN:
                breakers.force_open(self.breaker, self._now())
            elif state is BreakerState.DISABLED:
                breakers.disable(self.breaker)
            else:
                breakers.reset(self.breaker)
            self._recalm()
            self._flush()

    def replace(self, compiled: Compiled) -> None:
        """
        Decide by another policy from now on. What is held stays held, and what was taken stays taken: a cell whose
        limit has changed starts with as much taken of the new limit as was taken of the old one.
        """
        with self._lock:
            now = self._now()
            compiled.adopt(self.compiled, now, self._skew(now))
            if compiled.breaker is not self.compiled.breaker and compiled.breaker != self.compiled.breaker:
                # Results of calls that are under way belong to the old breaker: no generation comes twice.
                generation = self.breaker.generation
                self.breaker = compiled.breaker_cell()
                self.breaker.generation += generation
                self._retries = BudgetCell()
            self.compiled = compiled
            self._slow_call = compiled.breaker.slow_call
            self._banks_at = FOREVER
            self._reserved.clear()
            for lease in self._handed:
                lease.ask = compiled.remake(lease.ask)
                for entry in lease.ask.entries:
                    name = (entry.name, entry.key)
                    self._reserved[name] = self._reserved.get(name, 0) + entry.units
            self._room.remake(compiled.remake, now)
            if compiled.banks:
                self._turn_banks(now)
            self._recalm()

    def count_denied(self, why: Why) -> None:
        """
        Count a refusal as the caller saw it.
        """
        with self._lock:
            self.counts.denied[why] = self.counts.denied.get(why, 0) + 1

    def snapshot(self) -> dict[str, object]:
        """
        Return the gate's state, as plain values.
        """
        with self._lock:
            self._collect()
            now = self._now()
            skew = self._skew(now)
            state = breakers.snapshot(self.breaker, self.compiled.breaker, now)
            ban = {"until_s": max(0, self._ban.until - now) / _SECOND, "count": self._ban.count}
            return {
                "state": self._state(now),
                "paused": self._paused,
                "breaker": {**state, "openings_total": self.counts.openings},
                "ban": ban,
                "retry_after_s": max(0, self._away_until - now) / _SECOND,
                "limits": [
                    {
                        "name": part.name,
                        "unit": part.unit,
                        "limit": part.limit.most,
                        "left": part.limit.left(part.cells[""], now, skew),
                    }
                    for part in self.compiled.service_cells
                ],
                "keys": sum(len(bank) for bank in self.compiled.banks),
                "waiting": self._room.sizes(),
                "waits": [list(row) for row in self._room.waits],
                **self.counts.snapshot(),
            }

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

    def _hand(self, ask: Ask, now: int, is_prompt: bool) -> Lease | Denied | Short:  # noqa: FBT001 - a callback
        """
        Reserve *ask*'s cells for somebody who waits, and who goes when its thread or task has its turn.
        """
        if is_prompt:
            return self._decide(ask, now)
        ask = self._as_now(ask)
        refused = self._refusal(ask, now, self._skew(now))
        if refused is not None:
            return refused
        lease = self._granted(ask, now)
        lease.is_taken = False
        self._handed[lease] = None
        for entry in ask.entries:
            name = (entry.name, entry.key)
            self._reserved[name] = self._reserved.get(name, 0) + entry.units
        return lease

    def _as_now(self, ask: Ask) -> Ask:
        return ask if ask.compiled is self.compiled else self.compiled.remake(ask)

    def _refusal(self, ask: Ask, now: int, skew: int) -> Denied | Short | None:
        """
        Say why *ask* can't go at *now*, counting what is reserved as if it went now as well.
        """
        denied = self._shut(now)
        if denied is not None:
            return denied
        if now < self._away_release:
            return Short(None, self._away_release)
        worst: Short | None = None
        for entry in ask.entries:
            limit = entry.limit
            if entry.units > limit.most:
                return _never(entry)
            before = self._reserved.get((entry.name, entry.key), 0) if self._reserved else 0
            wait = -limit.ask(entry.cells[entry.key], now, entry.units + before, skew)
            if wait > 0:
                # Beyond what the limit ever holds at once: those before are about to go, and then it is known.
                if wait >= FOREVER // 2 and before and not isinstance(limit, Concurrency):
                    wait = _SOON
                ready_at = now + wait + limit.slack
                if worst is None or ready_at > worst.ready_at:
                    worst = Short(entry, ready_at)
        return worst

    def _granted(self, ask: Ask, now: int) -> Lease:
        self.counts.admitted += 1
        if self.calm:
            return Lease(ask, at=now, generation=self.breaker.generation, probe=0)
        probe = breakers.take(self.breaker, self.compiled.breaker, now)
        lease = Lease(ask, at=now, generation=self.breaker.generation, probe=probe)
        if bans.take(self._ban, self.compiled.ban, now):
            self._ban_probe = lease
        return lease

    def _take_up(self, lease: Lease) -> None:
        """
        Charge a lease that was handed to a waiter, now that it goes.
        """
        if lease.is_taken:
            return
        self._unreserve(lease)
        now = self._now()
        skew = self._skew(now)
        lease.is_taken = True
        lease.at = now
        for entry in lease.ask.entries:
            entry.cells[entry.key] = entry.limit.charge(entry.cells[entry.key], now, entry.units, skew)

    def _unreserve(self, lease: Lease) -> None:
        del self._handed[lease]
        for entry in lease.ask.entries:
            name = (entry.name, entry.key)
            left = self._reserved[name] - entry.units
            if left:
                self._reserved[name] = left
            else:
                del self._reserved[name]

    def _shut(self, now: int) -> Denied | None:
        """
        Say what refuses every call now, whatever it asks for.
        """
        if self.calm:
            return None
        if self._paused:
            return Denied(Why.PAUSED, "pause", None, self._paused)
        wait = bans.check(self._ban, now)
        if wait:
            return Denied(Why.BANNED, "ban", wait, f"suspended for another {wait / _SECOND:.3f} s")
        wait = breakers.check(self.breaker, self.compiled.breaker, now)
        if wait >= FOREVER:
            return Denied(Why.CIRCUIT_OPEN, "breaker", None, "the breaker is forced open")
        if wait:
            text = f"the breaker is {self.breaker.state.value}, next probe in {wait / _SECOND:.3f} s"
            return Denied(Why.CIRCUIT_OPEN, "breaker", wait, text)
        return None

    def _denied(self, ask: Ask, short: Short, until: int, now: int) -> Denied:
        """
        Return the refusal of *ask*, with a wait that is never longer than the true one.
        """
        never = never_fits(ask.entries)
        if never is not None:
            return _never(never)
        key = short.line[0]
        wait = max(0, self._away_release - now)
        for entry in ask.entries:
            before = self._room.units_before(entry, level=ask.level, until=until)
            cell = entry.cells[entry.key]
            needed = entry.limit.wait(cell, now, entry.units + before, self._skew(now))
            if needed > wait:
                wait, key = needed, entry.name
        text = "the server asked every caller to stay away" if key == AWAY[0] else f"{key} is used up"
        return Denied(Why.LIMIT, key, wait or None, text)

    def _settle(self, lease: Lease, verdict: Verdict, *, attempt: int = 1, wants_retry: bool = False) -> Settled:
        if lease.is_settled:
            return Settled(may_retry=False, breaker=None)
        self._take_up(lease)
        lease.is_settled = True
        now = self._now()
        self.counts.settle(verdict, now - lease.at)
        put_back(lease.ask.places, now, lease.at)
        told = 0 if verdict.retry_after is None else -int(-verdict.retry_after * _SECOND // 1)
        self._feed_ban(lease, verdict, now, told)
        if told:
            self._stay_away(now, told)
        changed = self._feed_breaker(lease, verdict, now, told)
        budget = self.compiled.retry_budget
        if budget is not None and attempt == 1:
            deposit(self._retries, budget, now)
        may_retry = wants_retry and (budget is None or withdraw(self._retries, budget, now))
        self.counts.retried += may_retry
        self._changed(changed, now, told)
        self._room.freed(lease.ask.places, now)
        return Settled(may_retry=may_retry, breaker=changed)

    def _collect(self) -> None:
        while self._dropped:
            self._settle(*self._dropped.popleft())

    def _undo(self, lease: Lease) -> None:
        if lease.is_settled:
            return
        lease.is_settled = True
        now = self._now()
        self.counts.admitted -= 1
        if lease.is_taken:
            put_back(lease.ask.entries, now, lease.at)
        else:
            self._unreserve(lease)
        breakers.release(self.breaker, generation=lease.generation, probe=lease.probe)
        if lease is self._ban_probe:
            bans.settle(self._ban, now, ok=False)
        self._recalm()
        self._room.freed(lease.ask.entries, now)

    def _feed_breaker(self, lease: Lease, verdict: Verdict, now: int, told: int) -> BreakerState | None:
        return breakers.settle(
            self.breaker,
            self.compiled.breaker,
            now,
            generation=lease.generation,
            probe=lease.probe,
            result=Result.SUCCESS if verdict.ok else Result.FAILURE if verdict.counts else Result.NEUTRAL,
            duration=now - lease.at,
            open_at_least=told,
        )

    def _feed_ban(self, lease: Lease, verdict: Verdict, now: int, told: int) -> None:
        if verdict.category is ErrorCategory.BAN:
            before = self._ban.count
            bans.suspend(self._ban, self.compiled.ban, now, told or None)
            # Calls that were under way when the ban began report it too: one ban, not many.
            self.counts.bans += self._ban.count - before
            self._recalm()
            self._flush()
        elif lease is self._ban_probe:
            bans.settle(self._ban, now, ok=verdict.ok)

    def _stay_away(self, now: int, told: int) -> None:
        # Every process that was told so would come back at the same moment: this one comes a little later.
        if now + told > self._away_until:
            spread = min(told, max(10 * _SECOND, told // 10))
            self._away_until = now + told
            self._away_release = now + told + int(spread * self._dice() / 4)

    def _changed(self, breaker: BreakerState | None, now: int, told: int) -> None:  # noqa: ARG002
        if breaker is BreakerState.OPEN:
            self.counts.openings += 1
        self._recalm()
        if breaker is BreakerState.OPEN:
            self._flush()

    def _flush(self) -> None:
        denied = self._shut(self._now())
        if denied is not None:
            self._room.flush(denied)

    def _recalm(self) -> None:
        if self._away_release and self._away_release <= self._now():
            self._away_release = 0
        self.calm = (
            self.breaker.calm
            and not self._room.size
            and not self._handed
            and not self._paused
            and not self._ban.until
            and not self._away_release
        )

    def _state(self, now: int) -> str:
        if self._paused:
            return "paused"
        if bans.check(self._ban, now):
            return "banned"
        return str(self.breaker.state.value)

    def _skew(self, now: int) -> int:
        return self._clock.wall() - now if self.compiled.has_fixed else 0

    def _turn_banks(self, now: int) -> None:
        banks = self.compiled.banks
        for bank in banks:
            bank.turn(now)
        # While nothing is kept, nobody need look; the first key that is kept asks for it.
        self._banks_at = 0
        if any(banks):
            self._banks_at = min(bank.turn_at for bank in banks)
            self._keeper.arm(self, self._banks_at)


def _after_fork() -> None:
    # A thread that is not in the child may have held a gate's lock at the fork; nobody would ever give it back.
    for gate in list(_GATES):
        gate._lock = Lock()  # noqa: SLF001 - the same module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _never(entry: Entry) -> Denied:
    text = f"a cost of {entry.units} {entry.unit} can never fit {entry.name}, which holds {entry.limit.most} at once"
    return Denied(Why.NEVER_FITS, entry.name, None, text)
