"""
How a service stands with us: its breaker, its ban, its retry budget, a Retry-After, a pause after too much haste, an
operator's pause.

All of it says whether calls may go at all, whatever they ask for; the cells of limits are no business of this module.
Whoever calls holds the gate's lock.

*Lull.* Most results are successes that can't change anything: the breaker and the retry budget both only count them
until their sub-window ends. Until `quiet_until` the gate adds such a success to `fresh` and is done; every other road
first folds what was counted into the two cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from egressor._core import ban as bans
from egressor._core import breaker as breakers
from egressor._core import haste
from egressor._core import shed as shedding
from egressor._core.admission import Denied, Lease, Why
from egressor._core.breaker import BreakerState, Result, record_success
from egressor._core.limits import FOREVER
from egressor._core.model import ErrorCategory
from egressor._core.retry import BudgetCell, deposit, withdraw

from .learned import Learned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from egressor._core.admission import Ask
    from egressor._core.learn import Hint
    from egressor._core.model import Verdict
    from egressor._core.retry import BudgetSpec

    from .compiled import Compiled
    from .counts import Counts

__all__ = ["Standing"]

_SECOND = 1_000_000
# What may pass between the end of an attempt and its settling.
_MOMENT = 100_000
_AWAY: Final = "the server asked every caller to stay away"
_HASTY: Final = "the server said that calls come too fast, and not until when"
# Whose haste it was, where only some calls are meant: those alone are slowed by their own retries.
_APART: Final = frozenset({"endpoint", "recipient", "call"})
_CLOSED: Final = BreakerState.CLOSED
_DISABLED: Final = BreakerState.DISABLED


class Standing:
    """
    The state of one service.

    Args:
        compiled: The service's policy.
        counts: What happened at the gate.
        dice: Draws from 0 up to, not including, 1.

    Attributes:
        breaker: The breaker's cell.
        paused: Why an operator has every call refused; empty where none does.
        away_release: Until when a server's Retry-After, or its word that calls come too fast, holds everybody back, in
            microseconds; 0 for none.
        quiet_until: Until when a quick success need only be counted in *fresh*.
        fresh: Successes that neither breaker nor retry budget has yet.
        slow_call: Microseconds above which a success is not quick.
        learned: What answers have said of the server's limits.
        news: What has become of bans since somebody last took it from here.
        is_limping: What `limps` has found last.
    """

    __slots__ = (
        "_away_until",
        "_ban",
        "_ban_probe",
        "_compiled",
        "_counts",
        "_dice",
        "_haste",
        "_retries",
        "_shed",
        "away_release",
        "breaker",
        "fresh",
        "is_limping",
        "learned",
        "news",
        "paused",
        "quiet_until",
        "slow_call",
    )

    def __init__(self, compiled: Compiled, *, counts: Counts, dice: Callable[[], float]) -> None:
        self._compiled = compiled
        self._counts = counts
        self._dice = dice
        self._retries = BudgetCell()
        self._ban = bans.BanCell()
        self._ban_probe: Lease | None = None
        self.news: list[bans.BanNews] = []
        self.learned = Learned(dice)
        self.paused = ""
        self._haste = haste.HasteCell()
        self._away_until = 0
        self.away_release = 0
        self.breaker = compiled.breaker_cell()
        self.fresh = 0
        self.quiet_until = 0
        self.slow_call = compiled.breaker.slow_call
        self.is_limping = False
        # What this process sheds; other processes on the store shed by the same results, and count for themselves.
        self._shed = shedding.ShedCell()

    # --- before an attempt -------------------------------------------------------------------------------------------

    def is_calm(self, now: int) -> bool:
        """
        Whether nothing here stands in the way of any call.
        """
        if self.away_release and self.away_release <= now:
            self.away_release = 0
        return self.breaker.calm and not self.paused and not self._ban.until and not self.away_release

    def shut(self, now: int) -> Denied | None:
        """
        Say what refuses every call now, whatever it asks for.
        """
        if self.paused:
            return Denied(Why.PAUSED, "pause", None, self.paused)
        wait = bans.check(self._ban, now)
        if wait:
            text = f"suspended for another {wait / _SECOND:.3f} s" + (f" ({self._ban.why})" if self._ban.why else "")
            return Denied(Why.BANNED, "ban", wait, text)
        wait = breakers.check(self.breaker, self._compiled.breaker, now)
        if wait >= FOREVER:
            return Denied(Why.CIRCUIT_OPEN, "breaker", None, "the breaker is forced open")
        if wait:
            text = f"the breaker is {self.breaker.state.value}, next probe in {wait / _SECOND:.3f} s"
            return Denied(Why.CIRCUIT_OPEN, "breaker", wait, text)
        return None

    def limps(self, now: int) -> bool:
        """
        Look whether the service accepts so few calls that some may be shed.
        """
        self.is_limping = shedding.is_limping(self._shed, self.breaker, self._compiled.breaker, now, fresh=self.fresh)
        return self.is_limping

    def shed(self, level: int, now: int) -> Denied | None:
        """
        Refuse a call of *level* if it is its turn to stay at home while the service limps.
        """
        self._fold()
        spec = self._compiled.breaker
        if not shedding.shed(self._shed, self.breaker, spec, now, level=level, dice=self._dice()):
            return None
        text = "the service fails many of its calls, and more urgent ones go first"
        return Denied(Why.SHED, "breaker", spec.width, text)

    def grant(self, ask: Ask, now: int) -> Lease:
        """
        Return the lease of an attempt that nothing here refuses: a probe's, if it is one.
        """
        probe = breakers.take(self.breaker, self._compiled.breaker, now)
        lease = Lease(ask, at=now, generation=self.breaker.generation, probe=probe)
        if bans.take(self._ban, self._compiled.ban, now):
            self._ban_probe = lease
            lease.is_plain = False
        return lease

    # --- after it ----------------------------------------------------------------------------------------------------

    def succeeded(self, now: int, took: int, generation: int) -> BreakerState | None:
        """
        Count the success of an ordinary call; return the breaker's new state if that changed it.
        """
        self._fold()
        until = FOREVER
        budget = self._compiled.retry_budget
        haste.went_well(self._haste, now - took)
        if budget is not None:
            self._deposit(budget, now)
            until = self._retries.until
        breaker = self.breaker
        changed = record_success(breaker, self._compiled.breaker, now, generation, took)
        if breaker.state is _CLOSED:
            until = min(until, breaker.quiet_until)
        # While there was haste, each success is looked at: only one that began afterwards shows that it is over.
        is_quiet = breaker.state in (_CLOSED, _DISABLED) and not self._haste.strikes
        self.quiet_until = until if is_quiet else 0
        return changed

    def count(self, successes: int) -> None:
        """
        Count *successes* that can't change anything.
        """
        self._retries.fresh += successes
        if self.breaker.state is _CLOSED:
            self.breaker.fresh += successes

    def settle(self, lease: Lease, verdict: Verdict, now: int) -> BreakerState | None:
        """
        Take the result of *lease*; return the breaker's new state if that changed it.
        """
        self._unquiet()
        told = 0 if verdict.retry_after is None else -int(-verdict.retry_after * _SECOND // 1)
        self._feed_ban(lease, verdict, now)
        is_hasty = _is_hasty(verdict)
        # Of one model it is always the first pause: how often that one was too fast, nobody counts.
        pause = told or (self._compiled.retry.base if is_hasty and verdict.scope == "model" else 0)
        is_apart = pause > 0 and self.learned.hold(lease.ask, verdict.scope, now, now + self._spread(pause))
        if told and not is_apart:
            self._stay_away(now, told)
        if verdict.ok:
            haste.went_well(self._haste, lease.at)
        elif is_hasty and not is_apart:
            self._slow_down(verdict, lease.at, now)
        changed = breakers.settle(
            self.breaker,
            self._compiled.breaker,
            now,
            generation=lease.generation,
            probe=lease.probe,
            result=Result.SUCCESS if verdict.ok else Result.FAILURE if verdict.counts else Result.NEUTRAL,
            duration=now - lease.at,
            open_at_least=told,
        )
        self._counts.openings += changed is BreakerState.OPEN
        return changed

    def hear(self, hints: Iterable[Hint], ask: Ask, now: int, wall: int) -> bool:
        """
        Take in what the answer to *ask* said of the server's limits; return whether others should know of it soon.
        """
        # What went before is known to the server already.
        self._unquiet()
        return self.learned.hear(hints, ask, self._compiled, now, wall)

    def holds_back(self, ask: Ask, now: int, *, under_way: int, members: int) -> tuple[int, str, str]:
        """
        Return until when the server's word holds *ask* back, what it said, and of which part; 0 if it doesn't.
        """
        until, text, where = 0, "", ""
        if now < self.away_release:
            until, text = self.away_release, _AWAY if self._away_until > self._haste.until else _HASTY
        if self.learned.cells and ask.limited:
            when, cell, part = self.learned.ready_at(ask, now, under_way=under_way, members=members)
            if cell is not None and when > until:
                until, where = when, part
                text = f"the server has said that {max(0, cell.left)} of {cell.limit} {cell.unit} are left"
                if not cell.limit:
                    text = f"the server asked {f'calls of {part}' if part else 'all calls'} to stay away"
        return until, text, where

    def patience(self, verdict: Verdict, now: int) -> int:
        """
        Return until when a call that got *verdict*, which is yet to be settled, may be held back for it at most.
        """
        told = 0 if verdict.retry_after is None else -int(-verdict.retry_after * _SECOND // 1)
        if _is_hasty(verdict):
            told = haste.pause(self._haste, self._compiled.retry, now, began=now, backoff=verdict.backoff)
        # What others were told counts, too, but no longer than a pause of our own may be: that is hours at times.
        longest = max(told, self._compiled.retry.cap, self._haste.until - now)
        return max(now + told + told // 16 + _MOMENT, min(self.away_release, now + longest + longest // 16))

    def may_retry(self, now: int, *, attempt: int, wants: bool, members: int = 1) -> bool:
        """
        Count a call with its first *attempt*, and say whether the retry that it *wants* is inside the budget, which so
        many *members* share.
        """
        self._unquiet()
        budget = self._compiled.retry_budget
        if budget is not None and attempt == 1:
            self._deposit(budget, now)
        granted = wants and (budget is None or self._withdraw(budget, now, members))
        self._counts.retried += granted
        return granted

    def _deposit(self, budget: BudgetSpec, now: int) -> None:
        deposit(self._retries, budget, now)

    def _withdraw(self, budget: BudgetSpec, now: int, members: int) -> bool:  # noqa: ARG002 - others share it in Agreed
        return withdraw(self._retries, budget, now)

    def undo(self, lease: Lease, now: int) -> None:
        """
        Take back *lease*, under which nothing was sent.
        """
        breakers.release(self.breaker, generation=lease.generation, probe=lease.probe)
        if lease is self._ban_probe:
            bans.settle(self._ban, now, ok=False)

    # --- operators ---------------------------------------------------------------------------------------------------

    def pause(self, reason: str) -> None:
        """
        Refuse everybody with *reason*; an empty one ends that.
        """
        self.paused = reason

    def lift_ban(self, now: int) -> bans.BanNews | None:
        """
        End a suspension, a Retry-After and a pause after haste, and forget what the server has said of its limits;
        return the suspension, if there was one.
        """
        self.learned.forget(now)
        self._away_until = self.away_release = 0
        self._haste = haste.HasteCell()
        return bans.lift(self._ban, now)

    def restore_ban(self, news: bans.BanNews, now: int, said: int) -> None:
        """
        Take up the suspension of an earlier life, unless one has ended since *news* was *said*.
        """
        bans.restore(self._ban, now, news, said=said)

    def set_breaker(self, state: BreakerState, now: int) -> None:
        """
        Set the breaker by hand: closed (reset), forced open, or disabled.
        """
        self._unquiet()
        if state is BreakerState.FORCED_OPEN:
            breakers.force_open(self.breaker, now)
        elif state is BreakerState.DISABLED:
            breakers.disable(self.breaker)
        else:
            breakers.reset(self.breaker)

    def replace(self, compiled: Compiled, now: int) -> None:
        """
        Go by another policy from now on. A breaker that an operator has forced open stays so.
        """
        self._unquiet()
        old, self._compiled = self._compiled, compiled
        if compiled.retry_budget != old.retry_budget:
            self._retries = BudgetCell()
        if compiled.breaker is not old.breaker and compiled.breaker != old.breaker:
            before = self.breaker
            self.breaker = compiled.breaker_cell()
            if before.state is BreakerState.FORCED_OPEN:
                breakers.force_open(self.breaker, now)
            # Results of calls that are under way belong to the old breaker: no generation comes twice.
            self.breaker.generation += before.generation
        self.slow_call = compiled.breaker.slow_call

    # --- looking -----------------------------------------------------------------------------------------------------

    def snapshot(self, now: int) -> dict[str, object]:
        """
        Return it as plain values.
        """
        self._unquiet()
        state = breakers.snapshot(self.breaker, self._compiled.breaker, now)
        return {
            "state": self._state(now),
            "paused": self.paused,
            "breaker": {**state, "openings_total": self._counts.openings},
            "ban": {
                "until_s": max(0, self._ban.until - now) / _SECOND,
                "count": self._ban.count,
                "scope": self._ban.scope,
                "rule": self._ban.why,
            },
            "retry_after_s": max(0, self._away_until - now) / _SECOND,
            "slowed_s": max(0, self._haste.until - now) / _SECOND,
            "learned": self.learned.snapshot(now),
            "learned_dropped": self.learned.dropped,
        }

    def _state(self, now: int) -> str:
        if self.paused:
            return "paused"
        if bans.check(self._ban, now):
            return "banned"
        return str(self.breaker.state.value)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _fold(self) -> None:
        fresh, self.fresh = self.fresh, 0
        if fresh:
            if self.learned.cells:
                self.learned.passed(fresh)
            self.count(fresh)

    def _unquiet(self) -> None:
        self._fold()
        self.quiet_until = 0

    def _feed_ban(self, lease: Lease, verdict: Verdict, now: int) -> None:
        before = self._ban.count
        news = bans.suspend(self._ban, self._compiled.ban, now, verdict)
        self._counts.bans += self._ban.count - before
        if news is None and lease is self._ban_probe and verdict.category not in bans.SUSPENDS:
            news = bans.settle(self._ban, now, ok=verdict.ok)
        if news is not None:
            self.news.append(news)

    def _stay_away(self, now: int, told: int) -> None:
        # Every process that was told so would come back at the same moment: this one comes a little later.
        if now + told > self._away_until:
            self._away_until = now + told
            self.away_release = now + self._spread(told)

    def _slow_down(self, verdict: Verdict, began: int, now: int) -> None:
        length = haste.too_fast(self._haste, self._compiled.retry, now, began=began, backoff=verdict.backoff)
        if length:
            self.away_release = max(self.away_release, now + self._spread(length))

    def _spread(self, told: int) -> int:
        # Only a little: those who were told so wait by themselves, and would pile up where this holds them back.
        return told + int(min(told, max(10 * _SECOND, told // 10)) * self._dice() / 16)


def _is_hasty(verdict: Verdict) -> bool:
    is_told = verdict.retry_after is not None
    return verdict.category is ErrorCategory.RATE_LIMIT and not is_told and verdict.scope not in _APART
