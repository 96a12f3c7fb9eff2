"""
One call, from the caller's side: the straight path, the plan, and the edge where values become exceptions again.

`through` and `athrough` are the two colours of the same few lines: admit, call, settle. Whatever is not a plain success
(denied, nested, deadline, a failure, a response with a status) goes to `_surprised`, which runs the plan from there.
"""

from __future__ import annotations

import asyncio
from asyncio import current_task, get_running_loop
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from egressor._core.admission import MICRO_USD, Denied, Why
from egressor._core.model import ErrorCategory, Outcome
from egressor._core.plan import Call, plan
from egressor._core.steps import Done, Stream
from egressor._drivers import aio, sync
from egressor._drivers.job import Job
from egressor._drivers.watch import Watches
from egressor.errors import (
    Banned,
    BudgetExceeded,
    CircuitOpen,
    ConfigError,
    NeverFits,
    Paused,
    QueueFull,
    Rejected,
    StoreUnavailable,
    WaitTooLong,
)
from egressor.ledger.failure import caught
from egressor.telemetry import Event

from .caching import Caches
from .handlers import Handlers
from .nesting import CURRENT, Nest, step_out
from .route import CARRIES, UNSET, carries_status, judge

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence

    from egressor._core.admission import Ask, Lease
    from egressor._core.model import Verdict
    from egressor._core.steps import Step
    from egressor._core.tokens import Habits
    from egressor._drivers.clock import Clock
    from egressor._drivers.job import Wish
    from egressor._drivers.watch import Watch
    from egressor.ledger.failure import Failure
    from egressor.ledger.failures import Failures
    from egressor.stores.gate import Gate
    from egressor.telemetry import Taps

    from .caching import Memory
    from .money import Money, Purse
    from .route import Route
    from .tokens import Tally

__all__ = [
    "Context",
    "Flight",
    "Here",
    "Where",
    "athrough",
    "conclude",
    "cut_short",
    "purse_of",
    "rejection",
    "through",
    "timed_out",
]

_SECOND = 1_000_000
# A success is nothing to remember, and a cancelled call is nobody's error.
_UNTOLD = frozenset({None, ErrorCategory.CANCELLED})
_NOTE = "egressor: "
_SHED = Why.SHED.value
_CROWDED = frozenset({Why.LIMIT, Why.QUEUE_FULL, Why.WAIT_TOO_LONG})
_KINDS: dict[Why, type[Rejected]] = {
    Why.LIMIT: WaitTooLong,
    Why.WAIT_TOO_LONG: WaitTooLong,
    Why.QUEUE_FULL: QueueFull,
    Why.NEVER_FITS: NeverFits,
    Why.CIRCUIT_OPEN: CircuitOpen,
    Why.SHED: CircuitOpen,
    Why.BANNED: Banned,
    Why.PAUSED: Paused,
    Why.BUDGET: BudgetExceeded,
    Why.STORE: StoreUnavailable,
}


class Context:
    """
    What all calls of one governor share.

    Attributes:
        clock: The time.
        dice: Draws from 0 up to, not including, 1.
        taps: The observers.
        failures: Where failed attempts are remembered.
        watches: The time-outs of the straight path.
        handlers: The error handlers.
        fallbacks: What calls that state no fallback fall back on, by service.
        money: The ledger's money; None as long as no service has a budget.
        caches: The services' caches.
        habits: What was learned of requests to language models, by service.
        told: Services of whose first call it was looked whether it states what it takes of their limits.
    """

    __slots__ = (
        *("caches", "clock", "dice", "failures", "fallbacks", "habits", "handlers", "money", "taps", "told", "watches"),
    )

    def __init__(
        self, *, clock: Clock, dice: Callable[[], float], taps: Taps, failures: Failures, store: str = "memory:"
    ) -> None:
        self.clock = clock
        self.dice = dice
        self.taps = taps
        self.failures = failures
        self.watches = Watches()
        self.handlers = Handlers()
        self.fallbacks: dict[str, object] = {}
        self.money: Money | None = None
        self.caches = Caches(clock, store)
        self.habits: dict[str, Habits] = {}
        self.told: set[str] = set()

    def judge(self, outcome: Outcome, gate: Gate) -> Verdict:
        """
        Read *outcome*, as the policy of *gate*'s service says, and tell the error handlers of a failure.
        """
        wall = self.clock.wall()
        verdict = judge(outcome, wall, gate.compiled.policy)
        if self.handlers and not verdict.ok:
            self.handlers.put(gate.compiled.name, verdict, outcome.error, wall / _SECOND)
        return verdict

    def judge_last(self, outcome: Outcome, lease: Lease, gate: Gate) -> Verdict:
        """
        Read *outcome*, as `judge` does, of a call's only attempt, which is remembered if it failed.
        """
        verdict = self.judge(outcome, gate)
        if verdict.category not in _UNTOLD:
            failure = caught(outcome, verdict, lease.ask.scope, at=self.clock.wall())
            self.failures.tell(gate.compiled.name, "gave_up", [failure])
        return verdict


class _Function:
    """
    A user's function with its arguments, as a wish.
    """

    __slots__ = ("_args", "_function", "_kwargs")

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._function = function
        self._args = args
        self._kwargs = kwargs

    def send(self, lease: Lease, timeout: float | None) -> Any:  # noqa: ARG002 - a function bounds its own time
        return self._function(*self._args, **self._kwargs)

    def discard(self, outcome: Outcome) -> None:
        """
        Leave a value that nobody gets to the garbage collector.
        """


class _Coroutine(_Function):
    __slots__ = ()

    async def discard(self, outcome: Outcome) -> None:  # type: ignore[override]
        """
        Leave a value that nobody gets to the garbage collector.
        """


class Flight:
    """
    A call on the plan's way: its nest, its plan and its driver's job.

    Args:
        context: What the governor's calls share.
        route: Where it goes.
        wish: What it sends.
        args: The call's arguments, for a scope or a cost that depends on them.
        kwargs: Likewise.
        nest: Its place among the calls around it, if the straight path has made one.
        first: The lease, outcome and time of an attempt that the straight path has made.
        idempotent: Whether a request that may have run may be sent again; None leaves it to the route.
        memory: Its part in the service's cache, if it has one.
    """

    __slots__ = (
        *("_attempts", "_call", "_failures", "_scope", "is_idempotent", "job", "lenders", "nest", "plan", "purse"),
        *("_tally", "route"),
    )

    def __init__(
        self,
        context: Context,
        route: Route,
        wish: Wish,
        *,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        nest: Nest | None = None,
        first: tuple[Lease, Outcome, int] | None = None,
        idempotent: bool | None = None,
        memory: Memory | None = None,
    ) -> None:
        gate = route.gate
        options = route.options
        compiled = gate.compiled
        ask = first[0].ask if first is not None else route.ask(args, kwargs or {})
        self.route = route
        self._attempts = 0
        self._failures: list[Failure] = []
        self._tally: Tally | None = getattr(wish, "tally", None)
        self._scope = ask.scope
        self.nest = nest or Nest.of(gate, CURRENT.get())
        self.purse: Purse | None = None
        # The straight path takes no call that a budget applies to; the first attempt may be from before a reload.
        if (compiled.has_budgets or options.payer is not None) and first is None:
            payers = self.nest.payers()
            self.purse = self.nest.purse = purse_of(route, ask, wish, payers)
            if self.purse is not None:
                self.purse.nest(payers)
        self.is_idempotent = options.idempotent if idempotent is None else idempotent
        started = context.clock.now() if first is None else first[0].at
        taps = context.taps
        fallback = options.fallback
        if fallback is UNSET and context.fallbacks and isinstance(wish, _Function):
            fallback = context.fallbacks.get(route.service, UNSET)

        def tap(step: Step, reply: object, now: int) -> None:
            taps.put(Event(route.service, step, reply, now))

        self.job = Job(
            clock=context.clock,
            gate=gate,
            wish=wish,
            timeout=compiled.timeout,
            nest=self.nest,
            fallback=fallback,
            tap=tap if taps else None,
            money=self.purse,
            cache=memory,
        )
        self._call = Call(
            ask,
            wait_until=started + compiled.max_wait,
            until=None if options.deadline is None else started + options.deadline,
            retry=compiled.retry,
            frame=self.nest.enter(),
            judge=self._judge,
            dice=context.dice,
            is_idempotent=self.is_idempotent,
            # Where nobody knows, the purse says no to any amount.
            micro_usd=0 if self.purse is None else self.purse.estimate or 1,
            cache_key=None if memory is None else memory.key,
            has_fallback=fallback is not UNSET,
            is_late=options.deadline is not None and options.deadline <= 0,
            # Who has not said how long he waits is told of hours at once, as whoever comes meanwhile is.
            patience=max(compiled.max_wait, compiled.retry.cap) if options.deadline is None else None,
        )
        self.plan = plan(self._call, first=first)
        self.lenders = self.nest.borrow() if self.nest.parent is not None else []

    def land(self, step: Done | Stream | None) -> None:
        """
        End the call, which came to *step*; None if it was interrupted.
        """
        # It knows who judges for it: without this, each request would wait for the garbage collector with all it has.
        del self._call
        done = step if isinstance(step, Done) else None
        if self.purse is not None:
            self.purse.close()
        # The garbage collector may end a call, anywhere: then this waits for nobody.
        waits = done is not None and (done.verdict is None or done.verdict.category is not ErrorCategory.CANCELLED)
        self.nest.leave(ok=done is not None and _is_good(done), waits=waits)
        if self.lenders:
            self.nest.give_back(self.lenders, waits=waits)
        if done is None and self.job.cache is not None:
            self.job.cache.drop()
        if done is not None and done.denied is not None:
            self.job.gate.count_denied(done.denied.why)
        if self._failures:
            self.tell("gave_up" if done is None else _ending(done), waits=waits)

    def tell(self, outcome: str, *, waits: bool = True) -> None:
        """
        Hand the call's failed attempts over, now that its *outcome* is known; a finaliser *waits* for nobody.
        """
        failures, self._failures = self._failures, []
        if failures:
            self.route.context.failures.tell(self.route.service, outcome, failures, rings=waits)

    def _judge(self, outcome: Outcome) -> Verdict:
        context = self.route.context
        verdict = context.judge(outcome, self.route.gate)
        is_spent = getattr(self.job.wish, "is_spent", None)
        if verdict.retryable and is_spent is not None and is_spent():
            # A time-out, too, which is ours and which the wish doesn't see, leaves nothing to send.
            verdict = replace(verdict, retryable=False)
        if self.purse is not None:
            self.purse.judge(verdict)
        if self._tally is not None:
            self._tally.judge(verdict)
        self._attempts += 1
        if verdict.category is ErrorCategory.RATE_LIMIT:
            self._wait_for(verdict)
        if verdict.category not in _UNTOLD:
            said = getattr(self.job.wish, "said", b"")
            failure = caught(outcome, verdict, self._scope, at=context.clock.wall(), attempt=self._attempts, said=said)
            self._failures.append(failure)
        return verdict

    def _wait_for(self, verdict: Verdict) -> None:
        # What the server has all callers wait for is part of the retry's pause, and no wait for a turn.
        call = self._call
        until = max(call.wait_until, self.route.gate.patience(verdict))
        call.wait_until = until if call.until is None else min(call.until - 1, until)

    def run(self) -> Done | Stream:
        """
        Perform the plan, blocking.
        """
        token = CURRENT.set(self.nest)
        step: Done | Stream | None = None
        try:
            step = sync.Run(self.plan, self.job).start()
        finally:
            step_out(token)
            self.land(step)
        return step

    async def arun(self) -> Done | Stream:
        """
        Perform the plan, awaiting.
        """
        token = CURRENT.set(self.nest)
        step: Done | Stream | None = None
        try:
            step = await aio.Run(self.plan, self.job).start()
        finally:
            step_out(token)
            self.land(step)
        return step


def purse_of(route: Route, ask: Ask, wish: Wish, payers: Sequence[Purse] = ()) -> Purse | None:
    """
    Return the purse of a call; None if no budget applies to it, if it is free, if what it costs is said by one of
    *payers*, the purses of the calls around it, and nowhere else, or if it is only added up what calls cost and this
    one doesn't say.

    Raises:
        ConfigError: A budget applies to a function's call, and neither it nor a call around it says what it may cost.
    """
    money, policy = route.context.money, route.gate.compiled.policy
    request: Any = wish if hasattr(wish, "asked") else None
    is_stated = MICRO_USD in ask.cost
    if money is None or (payers and not is_stated and (request is None or not money.can_price(policy.dialect))):
        return None
    priced = None if is_stated else request
    purse = money.purse(route.service, policy, ask.scope, priced, payer=route.options.payer)
    if purse is None:
        return None
    if request is not None:
        request.purse = purse
    if is_stated:
        purse.estimate = ask.cost[MICRO_USD]
    elif request is None:
        if not purse.is_bound:
            return None
        msg = f'{route.service} has a budget, and the call does not say what it may cost: cost={{"usd": 0.01}}'
        raise ConfigError(msg, key="cost.usd")
    return None if purse.estimate == 0 else purse


class Where(Protocol):
    """
    Where calls go.
    """

    route: Route


class Here:
    """
    Where one call goes.
    """

    __slots__ = ("route",)

    def __init__(self, route: Route) -> None:
        self.route = route


def through(where: Where, function: Callable[..., Any]) -> Callable[..., Any]:
    """
    Return *function* with each call through the gate, blocking.
    """

    def governed(*args: Any, **kwargs: Any) -> Any:
        route = where.route
        nest = first = None
        if route.is_straight and not route.context.taps.is_on and CURRENT.get() is None:
            gate = route.gate
            ask = route.kept or route.ask(args, kwargs)
            generation = gate.breaker.generation
            at = gate.enter(ask)
            if at is not None:
                nest = Nest()
                nest.gate = gate
                nest.ask = ask
                token = CURRENT.set(nest)
                outcome = value = None
                try:
                    value = function(*args, **kwargs)
                    if CARRIES.get(type(value), True) and carries_status(value):
                        outcome = Outcome(value)
                except BaseException as error:  # noqa: BLE001 - an outcome is a value; the plan's end raises it
                    outcome = Outcome(error=error)
                CURRENT.reset(token)
                if outcome is None:
                    nest.is_over = True
                    if nest.lent:
                        nest.let_go()
                    gate.leave(ask, at, generation)
                    return value
                first = (gate.lease(ask, at, generation), outcome, route.context.clock.now())
                if is_ended(route, nest, first[0], outcome):
                    if outcome.error is not None:
                        raise outcome.error
                    return value
        wish = _Function(function, args, kwargs)
        flight = Flight(route.context, route, wish, args=args, kwargs=kwargs, nest=nest, first=first)
        return conclude(route, flight.run(), is_idempotent=flight.is_idempotent)

    return governed


def athrough(  # noqa: C901, PLR0915 - in line, as every call comes through here
    where: Where, function: Callable[..., Awaitable[Any]]
) -> Callable[..., Coroutine[Any, Any, Any]]:
    """
    Return *function* with each call through the gate, awaiting.
    """

    async def governed(*args: Any, **kwargs: Any) -> Any:  # noqa: C901, PLR0915 - likewise
        route = where.route
        nest = first = None
        if route.is_straight and not route.context.taps.is_on and CURRENT.get() is None:
            gate = route.gate
            ask = route.kept or route.ask(args, kwargs)
            # Before anything is taken: outside of an event loop this raises.
            loop = get_running_loop()
            generation = gate.breaker.generation
            at = gate.enter(ask)
            if at is not None:
                nest = Nest()
                nest.gate = gate
                nest.ask = ask
                token = CURRENT.set(nest)
                outcome = value = None
                watch = route.watch
                if watch is None or watch.loop is not loop or watch.timeout != gate.compiled.timeout:
                    watch = route.watch_in(loop)
                task = current_task(loop)
                watch.open[task] = at
                if not watch.is_armed:
                    watch.arm(watch.timeout)
                try:
                    value = await function(*args, **kwargs)
                    if CARRIES.get(type(value), True) and carries_status(value):
                        outcome = Outcome(value)
                except BaseException as error:  # noqa: BLE001 - an outcome is a value; the plan's end raises it
                    outcome = Outcome(error=timed_out(error, watch, task))
                finally:
                    if watch.open.pop(task, None) is None:
                        watch.is_over(task)  # It made a value of its cancellation, which counts all the same.
                    try:  # noqa: SIM105 - `suppress` costs ten times as much
                        CURRENT.reset(token)
                    except ValueError:
                        pass  # As in `step_out`.
                if outcome is None:
                    nest.is_over = True
                    if nest.lent:
                        nest.let_go()
                    gate.leave(ask, at, generation)
                    return value
                first = (gate.lease(ask, at, generation), outcome, route.context.clock.now())
                if type(outcome.error) is GeneratorExit:
                    cut_short(route, nest, first[0], outcome)
                    raise outcome.error
                if is_ended(route, nest, first[0], outcome):
                    if outcome.error is not None:
                        raise outcome.error
                    return value
        flight = Flight(
            route.context, route, _Coroutine(function, args, kwargs), args=args, kwargs=kwargs, nest=nest, first=first
        )
        return conclude(route, await flight.arun(), is_idempotent=flight.is_idempotent)

    return governed


def cut_short(route: Route, nest: Nest, lease: Lease, outcome: Outcome) -> None:
    """
    End a call whose task nobody runs any more: the garbage collector does that, anywhere, so this waits for nobody.
    """
    nest.drop([])
    route.gate.drop(lease, route.context.judge(outcome, route.gate))


def is_ended(route: Route, nest: Nest, lease: Lease, outcome: Outcome) -> bool:
    """
    End a call whose first attempt came to *outcome* on the straight path, as the plan would, if that is all there is
    to it: no other attempt, no fallback, no note. False leaves it to the plan, with the outcome's verdict.
    """
    context, gate = route.context, route.gate
    compiled = gate.compiled
    verdict = outcome.verdict = judge(outcome, context.clock.wall(), compiled.policy)
    if verdict.category is not None and (
        (verdict.retryable and compiled.retry.attempts > 1)
        or route.options.fallback is not UNSET
        or route.service in context.fallbacks
        or (verdict.may_have_run and not route.options.idempotent)
        # It may be the garbage collector that ends it, which waits for nobody: the plan's end sees to that.
        or verdict.category is ErrorCategory.CANCELLED
    ):
        return False
    nest.leave(ok=verdict.ok)
    gate.settle(lease, context.judge_last(outcome, lease, gate))
    return True


def conclude(route: Route, done: Done | Stream, *, is_idempotent: bool = True) -> Any:
    """
    Return what a call came to, or raise it: the user's own exception as it was raised, or our refusal.

    Its note says what the exception can't: how often it was tried, or why it was not tried again. What a fallback has
    raised carries none; what that stood in for, which is its context, does.
    """
    outcome = done.outcome
    denied = None if isinstance(done, Stream) or done.is_fallback or done.is_hit else done.denied
    if denied is not None and outcome is None:
        raise rejection(route, denied)
    if outcome is None:
        msg = "a plan ended with nothing"
        raise AssertionError(msg)
    if outcome.error is None:
        return outcome.value
    if isinstance(done, Done):
        tried = done.cause if done.is_fallback else outcome
        if tried is not None and tried.error is not None and (text := _why_no_more(done, is_idempotent=is_idempotent)):
            _note(tried.error, f"{_NOTE}{route.service}: {text}")
        if done.is_fallback and done.denied is not None and tried is None and outcome.error.__context__ is None:
            # No refusal was raised that could have become its context.
            outcome.error.__context__ = rejection(route, done.denied)
    raise outcome.error


def _why_no_more(done: Done, *, is_idempotent: bool) -> str:
    if done.attempts > 1:
        return f"gave up after {done.attempts} attempts" + (f": {done.why}" if done.why else "")
    why = done.why if done.denied is None else done.denied.text
    if not why and not is_idempotent and done.verdict is not None and done.verdict.may_have_run:
        why = "it may have been executed"
    return f"not tried again: {why}" if why else ""


def rejection(route: Route, denied: Denied) -> Rejected:
    """
    Return *denied* as an exception.
    """
    retry_after = None if denied.wait is None else denied.wait / _SECOND
    if retry_after is None and denied.why in _CROWDED:
        # Nobody knows when a place comes free; as long as half of the attempts take is a fair guess.
        retry_after = route.gate.counts.quantile(0.5) or 1.0
    message = f"{route.service}: {denied.text}"
    if denied.why is Why.WAIT_TOO_LONG and denied.wait is not None:
        message += f"; the wait of {retry_after:.3f} s does not fit"
    reason = _SHED if denied.why is Why.SHED else None
    return _KINDS[denied.why](message, service=route.service, key=denied.key, reason=reason, retry_after=retry_after)


def _note(error: BaseException, text: str) -> None:
    # The same exception object may be raised again and again: it carries one note of ours, the latest.
    with suppress(Exception):  # An exception of the user's own may do anything here, and comes out all the same.
        notes = getattr(error, "__notes__", None)
        if isinstance(notes, list):
            notes[:] = [note for note in notes if not str(note).startswith(_NOTE)]
        error.add_note(text)


def timed_out(error: BaseException, watch: Watch, task: asyncio.Task[Any] | None) -> BaseException:
    """
    Return what an attempt that raised *error* came to: a `TimeoutError` if its *watch* has cut it off.
    """
    if not watch.is_over(task) or not isinstance(error, asyncio.CancelledError):
        return error
    timeout = TimeoutError("the attempt took longer than its policy's timeout")
    timeout.__cause__ = error
    return timeout


def _ending(done: Done) -> str:
    if done.is_fallback:
        return "gave_up" if done.outcome is not None and done.outcome.error is not None else "fell_back"
    if done.is_hit:
        return "fell_back"
    return "recovered" if _is_good(done) else "gave_up"


def _is_good(done: Done) -> bool:
    return done.is_fallback or done.is_hit or (done.denied is None and (done.verdict is None or done.verdict.ok))
