"""
How a service stands, agreed on by several processes.

Every process has the whole standing at hand, and goes by it at once. What it does to it (a result, a pause, a probe
that it takes) it also writes down, in a log. To agree, it hands the standing to the store, which takes it if nobody
else was faster; else it takes over what the store has, does again what its log says, and hands that in. So the same
functions decide everywhere, in one order, and the store need not know what a breaker is.

*Retries* are granted at once, too, by what is known of the budget. So that many who go by the same old figure don't
each spend all of it, each makes its share until the others know of that. What was granted twice all the same is taken
off when it is told: the budget is in debt then, and nobody retries until it is paid.

*Probes* are the exception to "at once": two processes could each let one out. So the gate takes a probe with `reserve`,
agrees on that, and only then lets somebody go under it, by `grant`.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from egressor._core import ban as bans
from egressor._core import breaker as breakers
from egressor._core.admission import Lease
from egressor._core.breaker import BreakerState
from egressor._core.retry import in_share, overdraw

from .counts import Counts
from .standing import Standing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from egressor._core.admission import Ask, Denied
    from egressor._core.learn import Hint
    from egressor._core.model import Verdict
    from egressor._core.retry import BudgetSpec

    from .compiled import Compiled

__all__ = ["Agreed"]

_FORM = 1
_MOST = 4_096


class _Probe(NamedTuple):
    number: int
    generation: int
    is_ban: bool


class Agreed(Standing):
    """
    The state of one service that other processes share.

    Args:
        compiled: The service's policy.
        counts: What happened at the gate.
        dice: Draws from 0 up to, not including, 1.

    Attributes:
        log: What this process has done since all last agreed.
        is_urgent: Whether others should know of it soon: more than successes has come.
        is_alone: Whether there is nobody to agree with: the store is away.
    """

    __slots__ = ("_failed_at", "_is_agreed", "_probe", "_untold", "is_alone", "is_urgent", "log")

    def __init__(self, compiled: Compiled, *, counts: Counts, dice: Callable[[], float]) -> None:
        super().__init__(compiled, counts=counts, dice=dice)
        self.log: list[Callable[[], object]] = []
        self._probe: _Probe | None = None
        self._is_agreed = False
        self.is_urgent = False
        self.is_alone = False
        self._failed_at = 0
        # Where in the log the retries are that this process has granted.
        self._untold: list[int] = []

    # --- probes ------------------------------------------------------------------------------------------------------

    def shut(self, now: int) -> Denied | None:
        """
        Say what refuses every call now; with a probe at hand neither breaker nor ban does.
        """
        if self._probe is None or self.paused:
            return super().shut(now)
        return None

    def needs_probe(self) -> bool:
        """
        Whether a call that nothing refuses could only go as a probe, and none is at hand.
        """
        return self._probe is None and (not self.breaker.calm or bool(self._ban.until))

    def reserve(self, now: int) -> None:
        """
        Take a probe, if there is one to be had now, for whoever goes next.
        """
        if not self.needs_probe() or self.shut(now) is not None:
            return
        self._unquiet()
        number = breakers.take(self.breaker, self._compiled.breaker, now)
        is_ban = bans.take(self._ban, self._compiled.ban, now)
        self._probe = _Probe(number, self.breaker.generation, is_ban)
        self._note(partial(self._reserve_again, now))

    def cancel(self, now: int) -> None:
        """
        Give back a probe that nobody went under.
        """
        probe, self._probe, self._is_agreed = self._probe, None, False
        if probe is not None:
            self._release(probe, now)
            self._note(partial(self._release, probe, now))

    def may_go(self) -> bool:
        """
        Whether a call that nothing refuses may go now: by itself, or as a probe that all have agreed on.
        """
        return self._is_agreed if self._probe is not None else not self.needs_probe()

    def agreed(self, deeds: int) -> None:
        """
        Take note that the first *deeds* of the log are known to all.
        """
        del self.log[:deeds]
        self._untold = [place - deeds for place in self._untold if place >= deeds]
        self.is_urgent = bool(self.log)
        self._is_agreed = self._probe is not None

    def grant(self, ask: Ask, now: int) -> Lease:
        """
        Return the lease of an attempt that nothing here refuses: that of the probe at hand, if it needs one.
        """
        if self.is_alone:
            # There is nobody to agree with.
            self._note(partial(self._take_again, now))
            return super().grant(ask, now)
        probe, self._probe, self._is_agreed = self._probe, None, False
        if probe is None:
            return Lease(ask, at=now, generation=self.breaker.generation, probe=0)
        lease = Lease(ask, at=now, generation=probe.generation, probe=probe.number)
        if probe.is_ban:
            self._ban_probe = lease
            lease.is_plain = False
        return lease

    def _take_again(self, now: int) -> None:
        breakers.take(self.breaker, self._compiled.breaker, now)
        bans.take(self._ban, self._compiled.ban, now)

    def _reserve_again(self, now: int) -> None:
        # Somebody was faster; perhaps there is another one, and perhaps nobody may go any more.
        self._probe, self._is_agreed = None, False
        if self.shut(now) is None and (not self.breaker.calm or self._ban.until):
            number = breakers.take(self.breaker, self._compiled.breaker, now)
            self._probe = _Probe(number, self.breaker.generation, bans.take(self._ban, self._compiled.ban, now))

    def _release(self, probe: _Probe, now: int) -> None:
        breakers.release(self.breaker, generation=probe.generation, probe=probe.number)
        if probe.is_ban:
            bans.settle(self._ban, now, ok=False)

    # --- what is done, and written down ------------------------------------------------------------------------------

    def succeeded(self, now: int, took: int, generation: int) -> BreakerState | None:
        """
        Count the success of an ordinary call.
        """
        changed = super().succeeded(now, took, generation)
        self._note(partial(self._succeeded_again, now, took, generation), is_urgent=changed is not None)
        return changed

    def _succeeded_again(self, now: int, took: int, generation: int) -> None:
        streak = self.breaker.streak
        super().succeeded(now, took, generation)
        self._keep_streak(streak, now, generation)

    def _keep_streak(self, streak: int, at: int, generation: int) -> None:
        # Others have failed since: that we are late to tell of a success ends no row of failures.
        if at < self._failed_at and self.breaker.generation == generation:
            self.breaker.streak = streak

    def hear(self, hints: Iterable[Hint], ask: Ask, now: int, wall: int) -> bool:
        """
        Take in what the answer to *ask* said of the server's limits.
        """
        hints = list(hints)
        is_news = super().hear(hints, ask, now, wall)
        counted = [hint for hint in hints if hint.adds]
        if counted:
            # What we count ourselves is added to what others have counted.
            self._note(partial(super().hear, counted, ask, now, wall), is_urgent=is_news)
        elif is_news:
            # Nothing to do again: what others know is joined with what we do.
            self._note(_nothing)
        return is_news

    def count(self, successes: int) -> None:
        """
        Count *successes* that can't change anything.
        """
        super().count(successes)
        self._note(partial(super().count, successes), is_urgent=False)

    def settle(self, lease: Lease, verdict: Verdict, now: int) -> BreakerState | None:
        """
        Take the result of *lease*.
        """
        changed = super().settle(lease, verdict, now)
        self._mark_failure(verdict, now)
        is_urgent = not verdict.ok or bool(lease.probe) or changed is not None
        self._note(partial(self._settled_again, lease, verdict, now), is_urgent=is_urgent)
        return changed

    def _settled_again(self, lease: Lease, verdict: Verdict, now: int) -> None:
        streak = self.breaker.streak
        super().settle(lease, verdict, now)
        self._mark_failure(verdict, now)
        self._keep_streak(streak, now if verdict.ok else self._failed_at, lease.generation)

    def _mark_failure(self, verdict: Verdict, at: int) -> None:
        if verdict.counts:
            self._failed_at = max(self._failed_at, at)

    def may_retry(self, now: int, *, attempt: int, wants: bool, members: int = 1) -> bool:
        """
        Count a call with its first *attempt*, and say whether the retry that it *wants* is inside the budget, and this
        process's share of it.
        """
        granted = super().may_retry(now, attempt=attempt, wants=wants, members=members)
        if self._compiled.retry_budget is not None:
            if granted and len(self.log) < _MOST:
                self._untold.append(len(self.log))
            deed = partial(self._retried_again, now, is_call=attempt == 1, granted=granted)
            self._note(deed, is_urgent=granted)
        return granted

    def _withdraw(self, budget: BudgetSpec, now: int, members: int) -> bool:
        if self.is_alone:
            return super()._withdraw(budget, now, members)
        # A retry that can't be noted would never be told.
        if len(self.log) >= _MOST or not in_share(
            self._retries, budget, now, untold=len(self._untold), members=members
        ):
            return False
        overdraw(self._retries, budget, self._as_late(budget, now))
        return True

    def _deposit(self, budget: BudgetSpec, now: int) -> None:
        super()._deposit(budget, self._as_late(budget, now))

    def _retried_again(self, now: int, *, is_call: bool, granted: bool) -> None:
        budget = self._compiled.retry_budget
        # What is told too late has been forgotten.
        if budget is None or now <= self._retries.window.start - budget.ttl:
            return
        if is_call:
            self._deposit(budget, now)
        if granted:
            overdraw(self._retries, budget, self._as_late(budget, now))

    def _as_late(self, budget: BudgetSpec, now: int) -> int:
        # Others have counted since. That is no clock that was stepped back, for which all counts would seem older.
        start = self._retries.window.start
        return start if now < start < now + budget.ttl else now

    def undo(self, lease: Lease, now: int) -> None:
        """
        Take back *lease*, under which nothing was sent.
        """
        super().undo(lease, now)
        if lease.probe or lease is self._ban_probe:
            self._note(partial(super().undo, lease, now))

    def pause(self, reason: str) -> None:
        """
        Refuse everybody with *reason*; an empty one ends that.
        """
        super().pause(reason)
        self.log.append(partial(super().pause, reason))
        self.is_urgent = True

    def lift_ban(self, now: int) -> bans.BanNews | None:
        """
        End a suspension, a Retry-After and a pause after haste; return the suspension, if there was one.
        """
        news = super().lift_ban(now)
        self.log.append(partial(super().lift_ban, now))
        self.is_urgent = True
        return news

    def restore_ban(self, news: bans.BanNews, now: int, said: int) -> None:
        """
        Take up the suspension of an earlier life, which the store may have forgotten.
        """
        super().restore_ban(news, now, said)
        self._note(partial(super().restore_ban, news, now, said))

    def set_breaker(self, state: BreakerState, now: int) -> None:
        """
        Set the breaker by hand.
        """
        super().set_breaker(state, now)
        self.log.append(partial(super().set_breaker, state, now))
        self.is_urgent = True

    def _note(self, deed: Callable[[], object], *, is_urgent: bool = True) -> None:
        # While the store is away there is no end to it; successes are missed least, an operator's word is kept.
        if len(self.log) >= (_MOST if is_urgent else _MOST // 4):
            return
        self.log.append(deed)
        self.is_urgent = self.is_urgent or is_urgent

    # --- agreeing ----------------------------------------------------------------------------------------------------

    def dump(self, shift: int) -> str:
        """
        Return the standing as text; *shift* microseconds make the store's time of ours.
        """
        self._unquiet()
        breaker = self.breaker
        return json.dumps(
            {
                "form": _FORM,
                "shift": shift,
                "breaker": {
                    "state": breaker.state.value,
                    "calm": breaker.calm,
                    "generation": breaker.generation,
                    "why": breaker.why,
                    "opened_at": breaker.opened_at,
                    "open_until": breaker.open_until,
                    "openings": breaker.openings,
                    "streak": breaker.streak,
                    "probes": list(breaker.probes.items()),
                    "last_probe": breaker.last_probe,
                    "results": [breaker.results, breaker.bad, breaker.late],
                    "window": [breaker.fresh, *breaker.window.dump()],
                },
                "ban": [
                    self._ban.until,
                    self._ban.count,
                    self._ban.probe_until,
                    self._ban.scope,
                    self._ban.why,
                    self._ban.over_at,
                ],
                "retries": [self._retries.fresh, *self._retries.window.dump()],
                "paused": self.paused,
                "away": [self._away_until, self.away_release],
                "haste": [self._haste.strikes, self._haste.until],
                "failed_at": self._failed_at,
                "learned": self.learned.dump(),
            },
            separators=(",", ":"),
        )

    def fold(self) -> None:
        """
        Write down the successes that were only counted.
        """
        self._unquiet()

    def retire(self) -> None:
        """
        Have all that was done told with the next request, however quiet: it is the last one.
        """
        self._unquiet()
        self.is_urgent = bool(self.log)

    def forget_log(self) -> None:
        """
        Have nothing to say, in a forked child: its parent says it.
        """
        self.log.clear()
        self._untold.clear()
        self._probe, self._is_agreed, self.is_urgent = None, False, False

    def replace(self, compiled: Compiled, now: int) -> None:
        """
        Go by another policy from now on.
        """
        before = self.breaker
        super().replace(compiled, now)
        if self.breaker is not before:
            self._note(_nothing)

    def begin_anew(self, now: int) -> None:
        """
        Have all of it told to a store that knows nothing; should another be faster that knows less, a ban and a pause
        hold all the same.
        """
        ban = self._ban
        if ban.until:
            news = bans.BanNews("began", ban.until, ban.count, ban.scope, ban.why)
            self._note(partial(super().restore_ban, news, now, now))
        if self.paused:
            self._note(partial(super().pause, self.paused))
        self._note(_nothing)

    def load(self, text: str, shift: int, now: int = 0) -> None:
        """
        Take over what the store has, and do again what this process has done since; *shift* is as for `dump`.
        """
        self._unquiet()
        if text:
            self._read(json.loads(text), shift, now)
        log, self.log = self.log, []
        counts, self._counts = self._counts, Counts()  # What happened has been counted.
        urgent = self.is_urgent
        for deed in log:
            deed()
        self._counts, self.log, self.is_urgent = counts, log, urgent
        self.news.clear()  # Likewise: it has been told.

    def _read(self, state: dict[str, Any], shift: int, now: int) -> None:
        # Every time in it is the writer's own, and "shift" makes the store's of it.
        by = state["shift"] - shift
        told, breaker = state["breaker"], self.breaker
        breaker.state = BreakerState(told["state"])
        breaker.calm = told["calm"]
        breaker.generation = told["generation"]
        breaker.why = told["why"]
        breaker.opened_at = _later(told["opened_at"], by)
        breaker.open_until = _later(told["open_until"], by)
        breaker.openings = told["openings"]
        breaker.streak = told["streak"]
        breaker.probes = {number: end + by for number, end in told["probes"]}
        breaker.last_probe = told["last_probe"]
        breaker.results, breaker.bad, breaker.late = told["results"]
        breaker.fresh = told["window"][0]
        breaker.window.load(told["window"][1:], by)
        breaker.quiet_from = breaker.quiet_until = 0
        ban = self._ban
        ban.until, ban.count, ban.probe_until = (
            _later(state["ban"][0], by),
            state["ban"][1],
            _later(state["ban"][2], by),
        )
        # An earlier version has said less.
        more = [*state["ban"][3:], *["", "", 0][len(state["ban"]) - 3 :]]
        ban.scope, ban.why, ban.over_at = more[0], more[1], _later(more[2], by)
        retries = self._retries
        retries.fresh = state["retries"][0]
        retries.window.load(state["retries"][1:], by)
        retries.since = retries.until = 0
        self.paused = state["paused"]
        self._away_until, self.away_release = (_later(each, by) for each in state["away"])
        strikes, until = state.get("haste") or (0, 0)
        self._haste.strikes, self._haste.until = strikes, _later(until, by)
        self._failed_at = _later(state["failed_at"], by)
        self.learned.load(state.get("learned") or (0, ()), by, now)


def _nothing() -> None:
    pass


def _later(when: int, by: int) -> int:
    return when + by if when else 0
