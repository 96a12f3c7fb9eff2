"""
The life of one call, as a story that never acts.

`plan` is a generator. It yields steps and is sent ``(reply, now)``; a driver performs the steps, blocking or
awaiting, and this file does not know which. The order is fixed, and every policy's place in it is written here once:

1. ``Recall``: a cached answer, or that of an identical call under way, ends the call before anything is touched.
2. ``Hold``: money for an attempt is reserved before the first one, and charged after the last. A retry after an
   attempt that may have cost something has that charged, and holds anew.
3. ``Admit``: each attempt, a retry too, passes the gate anew: breaker, ban, pause, limits, all or nothing.
4. ``Park``: a refusal that waiting may cure waits, if the wait can fit.
5. ``Send``, the verdict, ``Settle``: whatever happened, the lease goes back exactly once.
6. A retry needs all of: a retryable verdict, an attempt left in this call *and* in the calls around it, idempotence
   if the request may have run, a delay that fits the deadline, and the retry budget's leave.
7. ``Recall`` again, ``Fall``: a refusal or a failure may end in an older answer, or in the fallback.
8. ``Keep``: what a call came to that had missed is kept, and told to those that wait for it.

What a driver must keep: it never drops a plan. An interruption (a cancelled task, Ctrl-C) during ``Send`` is an
outcome; during any other step it is thrown in at that step, and the plan runs on to its end, so that the money of
``Hold`` is settled. ``Settle``, ``Charge`` and ``Keep`` are performed even while the task is being cancelled.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import replace
from typing import Any

from .admission import Ask, Denied, Lease, Why
from .ban import SUSPENDS
from .cache import is_service_down
from .charge import may_be_billed
from .model import ErrorCategory, Outcome, Verdict
from .retry import Frame, RetrySpec, backoff
from .steps import MISS, Admit, Charge, Discard, Done, Fall, Hold, Keep, Park, Recall, Send, Settle, Sleep, Step, Stream

__all__ = ["Call", "Plan", "answered", "plan"]

Plan = Generator[Step, tuple[Any, int], Done]
"""
A story under way.
"""

_MICRO = 1_000_000
_LATE = Denied(Why.WAIT_TOO_LONG, "deadline", None, "its deadline had passed before it began")
_SPENT = "the retry budget is used up"
_INTERRUPTED = Verdict(category=ErrorCategory.CANCELLED, scope="call", why="interrupted before it was sent")


class Call:
    """
    One wish of the user's program.

    Attributes:
        ask: What each attempt wants from the cells.
        wait_until: When its wait for a turn must be over, in monotonic microseconds.
        until: When all of it must be over; None for no deadline.
        retry: The retry policy.
        frame: Its place among the calls around it, which share the attempts.
        judge: Reads an outcome.
        dice: Draws from 0 up to, not including, 1.
        is_idempotent: Whether a request that may have run may be sent again.
        cache_key: Where its answer is kept; None where nothing is cached.
        micro_usd: What an attempt may cost; 0 where no budget applies.
        has_fallback: Whether there is a fallback to take.
        is_late: Whether its deadline had passed before it began.
        patience: The longest time that a server may ask for, in microseconds, and another attempt is still waited for;
            None for any.
    """

    __slots__ = (
        "ask",
        "cache_key",
        "dice",
        "frame",
        "has_fallback",
        "is_idempotent",
        "is_late",
        "judge",
        "micro_usd",
        "patience",
        "retry",
        "until",
        "wait_until",
    )

    def __init__(  # noqa: PLR0913 - a call is all of these
        self,
        ask: Ask,
        *,
        wait_until: int,
        retry: RetrySpec,
        frame: Frame,
        judge: Callable[[Outcome], Verdict],
        dice: Callable[[], float],
        until: int | None = None,
        is_idempotent: bool = True,
        cache_key: str | None = None,
        micro_usd: int = 0,
        has_fallback: bool = False,
        is_late: bool = False,
        patience: int | None = None,
    ) -> None:
        self.ask = ask
        # A turn at the very end of the wait is still one; at the end of the call it is of no use.
        self.wait_until = wait_until if until is None else min(until - 1, wait_until)
        self.until = until
        self.retry = retry
        self.frame = frame
        self.judge = judge
        self.dice = dice
        self.is_idempotent = is_idempotent
        self.cache_key = cache_key
        self.micro_usd = micro_usd
        self.has_fallback = has_fallback
        self.is_late = is_late
        self.patience = patience


def plan(call: Call, *, first: tuple[Lease, Outcome, int] | None = None) -> Plan:
    """
    Tell the life of *call*.

    Args:
        call: The call.
        first: The lease, the outcome and the time of a first attempt that the straight path has made already.
    """
    return _life(call, first) if call.cache_key is None else _remembered(call, call.cache_key, first)


def _remembered(call: Call, key: str, first: tuple[Lease, Outcome, int] | None) -> Plan:
    value, _ = yield Recall(key, call.until)
    if type(value) is Denied:
        return (yield from _fall(call, Done(denied=value)))
    if value is not MISS:
        return Done(outcome=Outcome(value), is_hit=True)
    try:
        done = yield from _life(call, first)
    except GeneratorExit:
        raise  # Nobody performs anything any more: whoever lets go of a plan tells those that wait.
    except BaseException:
        yield Keep(key, None)
        raise
    yield Keep(key, done)
    return done


def _life(call: Call, first: tuple[Lease, Outcome, int] | None) -> Plan:
    if call.is_late:
        return (yield from _fall(call, Done(denied=_LATE)))
    held: list[object] = []
    if call.micro_usd:
        refused = yield from _hold(call, held)
        if refused is not None:
            return (yield from _fall(call, Done(denied=refused)))
    done: Done | None = None
    try:
        done = yield from _attempts(call, first, held)
    except GeneratorExit:
        # Whoever dropped an answer whose body streams has ended its lease and its hold.
        held.clear()
        raise
    finally:
        if held:
            yield Charge(held.pop(), done)
    return (yield from _fall(call, done))


def _hold(call: Call, held: list[object]) -> Generator[Step, tuple[Any, int], Denied | None]:
    hold, _ = yield Hold(call.micro_usd)
    if type(hold) is Denied:
        return hold
    held.append(hold)
    return None


def _attempts(call: Call, first: tuple[Lease, Outcome, int] | None, held: list[object]) -> Plan:
    done = Done()
    lease: Lease
    while True:
        attempt = done.attempts + 1
        if first is not None:
            (lease, outcome, now), first = first, None
        else:
            granted = yield from _admission(call)
            if isinstance(granted, Denied):
                return Done(outcome=done.outcome, denied=granted, verdict=done.verdict, attempts=done.attempts)
            lease = granted
            if done.outcome is not None:
                yield from _discard(done.outcome, lease, attempt)
            outcome, now = yield Send(attempt, lease, call.until)
        is_open = outcome.open
        if is_open:
            outcome, now = yield Stream(outcome, lease)
        verdict = call.judge(outcome)
        delay = "" if is_open else _delay(call, verdict, attempt, now)
        settled, now = yield Settle(lease, verdict, attempt=attempt, wants_retry=not isinstance(delay, str))
        done = Done(outcome=outcome, verdict=verdict, attempts=attempt, is_open=is_open)
        if isinstance(delay, str):
            return replace(done, why=delay) if delay else done
        if not settled.may_retry:
            return replace(done, why=_SPENT)
        if not call.frame.retry():
            return done
        is_paid = bool(held) and may_be_billed(verdict)
        if is_paid:
            yield Charge(held.pop(), done)
        yield Sleep(now + delay)
        if is_paid:
            refused = yield from _hold(call, held)
            if refused is not None:
                return Done(outcome=outcome, denied=refused, verdict=verdict, attempts=attempt)


def _admission(call: Call) -> Generator[Step, tuple[Any, int], Lease | Denied]:
    granted, now = yield Admit(call.ask, call.wait_until)
    answer = answered(granted, now, call.wait_until)
    if answer is None:
        answer, _ = yield Park(call.ask, call.wait_until)
    return answer


def answered(granted: Lease | Denied, now: int, until: int) -> Lease | Denied | None:
    """
    Return what came of asking, or None if waiting until *until* may help.
    """
    if not isinstance(granted, Denied) or not granted.may_park:
        return granted
    if granted.is_open:
        return None
    # A wait of unknown length may always fit; a known one is refused at once if it can't.
    fits = now < until and now + (granted.wait or 0) <= until
    return None if fits else granted._replace(why=Why.WAIT_TOO_LONG)


def _discard(outcome: Outcome, lease: Lease, attempt: int) -> Generator[Step, tuple[Any, int], None]:
    try:
        yield Discard(outcome)
    except Exception:  # noqa: BLE001 - nobody is given that response any more: the call need not end with it
        return
    except BaseException:
        yield Settle(lease, _INTERRUPTED, attempt=attempt)
        raise


def _delay(call: Call, verdict: Verdict, attempt: int, now: int) -> int | str:
    """
    Return how long to wait before the next attempt, or why there is none; nothing, where the verdict or the attempts
    say so by themselves.
    """
    if not verdict.retryable or attempt >= call.retry.attempts or not call.frame.may_retry():
        return ""
    if verdict.category in SUSPENDS:
        # It may go again once the suspension is over, which is hours away: nobody's call waits for that.
        return "no call waits for the end of a suspension"
    if verdict.may_have_run and call.retry.idempotent_only and not call.is_idempotent:
        return "it may have been executed"
    told = None if verdict.retry_after is None else -int(-verdict.retry_after * _MICRO // 1)
    if told is not None and call.patience is not None and told > call.patience:
        asked, most = told / _MICRO, call.patience / _MICRO
        return f"the server asks for {asked:.3f} s, and a call without a deadline waits for {most:.3f} s at most"
    delay = backoff(call.retry, attempt, dice=call.dice(), retry_after=told)
    # A user's pattern may lengthen what a server has asked for, with the jitter on top of it, and not shorten it.
    if verdict.backoff > 1 or told is None:
        delay = int(delay * verdict.backoff)
    if call.until is not None and now + delay >= call.until:
        return f"the wait of {delay / _MICRO:.3f} s does not fit its deadline"
    return delay


def _fall(call: Call, done: Done) -> Plan:
    if done.denied is None and (done.verdict is None or done.verdict.ok):
        return done
    if done.outcome is not None and done.outcome.error is not None and not isinstance(done.outcome.error, Exception):
        return done  # Ctrl-C, an exit or a cancellation is nobody's failure to make good.
    if call.cache_key is not None:
        stale = yield from _stale(call.cache_key, done)
        if stale is not None:
            return stale
    if not call.has_fallback:
        return done
    outcome, _ = yield Fall(done)
    return replace(done, outcome=outcome, is_fallback=True, is_open=False, cause=done.outcome)


def _stale(key: str, done: Done) -> Generator[Step, tuple[Any, int], Done | None]:
    """
    Return what an answer from before makes of a call that was refused or has failed; None if there is none to take.
    """
    if done.is_open or not is_service_down(None if done.denied is not None else done.verdict):
        return None
    value, _ = yield Recall(key, is_stale=True)
    if value is MISS:
        return None
    if done.outcome is not None:
        with suppress(Exception):  # Nobody is given that response any more.
            yield Discard(done.outcome)
    return Done(outcome=Outcome(value), denied=done.denied, verdict=done.verdict, attempts=done.attempts, is_hit=True)
