"""
Calls whose answer streams: the lease ends when the body does.

A transport has a wish of its own, whose attempts come to `Outcome` with ``open=True`` where the status is good. It
hands the answer out with `Opened`, which must be finished exactly once: when the body has ended, has broken or was
dropped.

As elsewhere, what goes well takes a straight path: admit, send, and settle at the body's end, without a plan. Whatever
else the attempt came to is the first step of one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from egressor._core.model import Outcome
from egressor._core.steps import Done, Recall, Stream
from egressor._drivers import aio, sync
from egressor.telemetry import Event

from .calls import Flight, conclude, cut_short, timed_out
from .nesting import CURRENT, Nest, step_out
from .tokens import counted

if TYPE_CHECKING:
    from egressor._core.admission import Lease
    from egressor._core.model import Verdict
    from egressor._drivers.job import Wish
    from egressor.stores.gate import Gate

    from .caching import Memory
    from .calls import Context
    from .route import Route

__all__ = ["Opened", "aopen_call", "open_call"]

_MICRO = 1_000_000


class Opened:
    """
    An answer, and what is left of its call.

    Attributes:
        value: The answer.
        is_open: Whether its lease is held until `finish` or `afinish`.
        attempts: How many attempts it took; 1 while it is open and nothing was retried.
    """

    __slots__ = ("_flight", "_run", "_stream", "value")

    def __init__(self, value: Any, flight: Flight, run: sync.Run | aio.Run, stream: Stream | None) -> None:
        self.value = value
        self._flight = flight
        self._run: sync.Run | aio.Run | None = run
        self._stream = stream

    @property
    def is_open(self) -> bool:
        """
        Whether the lease is still held.
        """
        return self._stream is not None

    def finish(self, error: BaseException | None = None, verdict: Verdict | None = None) -> None:
        """
        Settle: the body has ended, with *error* if it broke. A second time nothing happens.
        """
        run, stream = self._run, self._stream
        self._run = self._stream = None
        if isinstance(run, sync.Run) and stream is not None:
            self._flight.land(run.resume(Outcome(self.value, error, verdict=verdict)))

    async def afinish(self, error: BaseException | None = None, verdict: Verdict | None = None) -> None:
        """
        Settle, awaiting.
        """
        run, stream = self._run, self._stream
        self._run = self._stream = None
        if isinstance(run, aio.Run) and stream is not None:
            self._flight.land(await run.resume(Outcome(self.value, error, verdict=verdict)))

    def drop(self, verdict: Verdict) -> None:
        """
        Settle soon, from a finaliser: nobody has read the body to its end.
        """
        stream, self._stream = self._stream, None
        if stream is not None:
            self._flight.nest.drop(self._flight.lenders)
            self._flight.job.gate.drop(stream.lease, verdict)
            if self._flight.purse is not None:
                self._flight.purse.judge(verdict)
                self._flight.purse.close()
            if self._flight.job.cache is not None:
                self._flight.job.cache.drop()
            # It had its answer, whatever was made of it.
            self._flight.tell("recovered", waits=False)


class _Straight(Opened):
    """
    An answer that came on the straight path: all that is left of its call is the lease.
    """

    __slots__ = ("_context", "_gate", "_lease")

    def __init__(self, value: Any, context: Context, lease: Lease | None, gate: Gate) -> None:
        self.value = value
        self._context = context
        self._gate = gate
        self._lease = lease

    @property
    def is_open(self) -> bool:
        return self._lease is not None

    def finish(self, error: BaseException | None = None, verdict: Verdict | None = None) -> None:
        lease, self._lease = self._lease, None
        if lease is None:
            return
        if error is None and (verdict is None or verdict.ok) and not lease.is_heard:
            self._gate.leave(lease.ask, lease.at, lease.generation)
            return
        outcome = Outcome(self.value, error, verdict=verdict)
        self._gate.settle(lease, self._context.judge_last(outcome, lease, self._gate))

    async def afinish(self, error: BaseException | None = None, verdict: Verdict | None = None) -> None:
        self.finish(error, verdict)

    def drop(self, verdict: Verdict) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            self._gate.drop(lease, verdict)


def open_call(route: Route, wish: Wish, *, idempotent: bool, memory: Memory | None = None) -> Opened:
    """
    Make a call to *route* until its answer is there, blocking.

    Args:
        route: Where to.
        wish: What is sent.
        idempotent: Whether a request that may have run may be sent again.
        memory: Its part in the service's cache, if it has one. Then the answer's value may be a `Found`.

    Raises:
        Rejected: The call was not sent.
        Exception: What the last attempt raised, as it was raised.
    """
    nest = first = None
    if memory is not None and (hit := _at_once(route, memory)) is not None:
        return hit
    route = counted(route, wish)
    entered = _enter(route) if memory is None else None
    if entered is not None:
        lease, nest = entered
        token = CURRENT.set(nest)
        try:
            outcome = wish.send(lease, route.gate.compiled.timeout / _MICRO)
        except BaseException as error:  # noqa: BLE001 - an outcome is a value; the plan's end raises it
            outcome = Outcome(error=error)
        step_out(token)
        if outcome.open:
            return _opened(route, nest, lease, outcome)
        if outcome.verdict is not None and outcome.verdict.ok:
            return _ended(route, nest, lease, outcome)
        first = (lease, outcome, route.context.clock.now())
    flight = Flight(route.context, route, wish, nest=nest, first=first, idempotent=idempotent, memory=memory)
    run = sync.Run(flight.plan, flight.job)
    token = CURRENT.set(flight.nest)
    step: Done | Stream | None = None
    try:
        step = run.start()
    finally:
        step_out(token)
        if not isinstance(step, Stream):
            flight.land(step)
    if isinstance(step, Stream):
        _listen(route, step.lease, step.outcome)
    value = conclude(flight.route, step, is_idempotent=flight.is_idempotent)
    return Opened(value, flight, run, step if isinstance(step, Stream) else None)


async def aopen_call(  # noqa: PLR0915 - in line, as every call comes through here
    route: Route, wish: Wish, *, idempotent: bool, memory: Memory | None = None
) -> Opened:
    """
    Make a call to *route* until its answer is there, awaiting. As `open_call` otherwise.
    """
    nest = first = None
    loop = asyncio.get_running_loop()
    if memory is not None and (hit := _at_once(route, memory)) is not None:
        return hit
    route = counted(route, wish)
    entered = _enter(route) if memory is None else None
    if entered is not None:
        lease, nest = entered
        token = CURRENT.set(nest)
        watch, task = route.watch_in(loop), asyncio.current_task(loop)
        watch.open[task] = lease.at
        if not watch.is_armed:
            watch.arm(watch.timeout)
        try:
            outcome = await wish.send(lease, watch.timeout / _MICRO)
        except BaseException as error:  # noqa: BLE001 - likewise
            outcome = Outcome(error=timed_out(error, watch, task))
        finally:
            if watch.open.pop(task, None) is None:
                watch.is_over(task)  # It made a value of its cancellation, which counts all the same.
            step_out(token)
        if outcome.open:
            return _opened(route, nest, lease, outcome)
        if outcome.verdict is not None and outcome.verdict.ok:
            return _ended(route, nest, lease, outcome)
        if type(outcome.error) is GeneratorExit:
            cut_short(route, nest, lease, outcome)
            raise outcome.error
        first = (lease, outcome, route.context.clock.now())
    flight = Flight(route.context, route, wish, nest=nest, first=first, idempotent=idempotent, memory=memory)
    run = aio.Run(flight.plan, flight.job)
    token = CURRENT.set(flight.nest)
    step: Done | Stream | None = None
    try:
        step = await run.start()
    finally:
        step_out(token)
        if not isinstance(step, Stream):
            flight.land(step)
    if isinstance(step, Stream):
        _listen(route, step.lease, step.outcome)
    value = conclude(flight.route, step, is_idempotent=flight.is_idempotent)
    return Opened(value, flight, run, step if isinstance(step, Stream) else None)


def _at_once(route: Route, memory: Memory) -> Opened | None:
    found = memory.at_once()
    if found is None:
        return None
    context = route.context
    if context.taps:
        context.taps.put(Event(route.service, Recall(memory.key), found, context.clock.now()))
    return _Straight(found, context, None, route.gate)


def _enter(route: Route) -> tuple[Lease, Nest] | None:
    if not route.is_straight or route.context.taps.is_on or CURRENT.get() is not None:
        return None
    gate = route.gate
    ask = route.ask((), {})
    generation = gate.breaker.generation
    at = gate.enter(ask)
    if at is None:
        return None
    nest = Nest()
    nest.gate = gate
    nest.ask = ask
    return gate.lease(ask, at, generation), nest


def _opened(route: Route, nest: Nest, lease: Lease, outcome: Outcome) -> Opened:
    # Nothing runs inside of the call any more: its body is read elsewhere.
    nest.leave(ok=True)
    _listen(route, lease, outcome)
    return _Straight(outcome.value, route.context, lease, route.gate)


def _ended(route: Route, nest: Nest, lease: Lease, outcome: Outcome) -> Opened:
    # It came whole, and is good: there is nothing left that a plan could do.
    nest.leave(ok=True)
    if outcome.verdict is not None and outcome.verdict.hints:
        route.gate.settle(lease, outcome.verdict)
    else:
        route.gate.leave(lease.ask, lease.at, lease.generation)
    return _Straight(outcome.value, route.context, None, route.gate)


def _listen(route: Route, lease: Lease, outcome: Outcome) -> None:
    # What the headers say of limits is for now, and the body's end may be minutes away.
    if outcome.verdict is not None and outcome.verdict.hints:
        route.gate.hear(lease, outcome.verdict)
