"""
Capacity for a block of code: ``with gov.permit("reddit") as permit: ...``.

Three ways lead to a permit. The straight one takes what is there, in line. Where that is not enough, a permit with
nothing around it asks and waits without a plan: a permit makes one attempt, so all that a plan would add is its room,
and thousands may wait at once. Inside of other calls, under a deadline, or where somebody listens to the steps, the
plan tells the story, with nothing sent: the block is the attempt.
"""

from __future__ import annotations

from contextlib import contextmanager
from inspect import isawaitable
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from egressor._core.admission import MICRO_USD, REQUESTS, Denied, check_cost
from egressor._core.model import ErrorCategory, Outcome, Verdict
from egressor._core.steps import Done, Stream
from egressor._drivers import aio, sync
from egressor.errors import ConfigError

from .calls import Flight, conclude, rejection
from .nesting import CURRENT, Nest, step_out

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from contextvars import Token
    from decimal import Decimal
    from types import TracebackType

    from egressor._core.admission import Lease

    from .route import Route

__all__ = ["Permit"]

_LOST = Verdict(category=ErrorCategory.CANCELLED, scope="call", why="a permit was dropped without being settled")
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Permit:
    """
    Leave to make one attempt, from its start to its end.

    Use it with ``with`` or ``async with``; or take it by `acquire` and give it back by `release`, or by ``await
    permit`` and ``await permit.arelease()``. An exception that leaves the block is the attempt's outcome, and comes
    out as it was raised. Calls inside of a block may use its place; a permit without a block lends nothing. A permit
    may be taken again after it was given back.
    """

    # Not slots: one is made for each block, and most blocks never touch most of these.
    _args: tuple[Any, ...] = ()
    _kwargs: Mapping[str, Any] = _NOTHING
    _nests = True
    _is_free = True
    _acquired = False
    # What the straight path took: when, in which generation of the breaker, for which call, and how to step out of it.
    _straight: tuple[int, int, Nest, Token[Nest | None] | None] | None = None
    _lease: Lease | None = None
    _nest: Nest | None = None
    _token: Token[Nest | None] | None = None
    _flight: Flight | None = None
    _run: sync.Run | aio.Run | None = None

    def __init__(self, route: Route) -> None:
        self._route = route

    @classmethod
    def around(cls, route: Route, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Self:
        """
        Return a permit for a generator's body, called with these arguments: it is the innermost call only `inside`.
        """
        permit = cls(route)
        permit._args = args
        permit._kwargs = kwargs
        permit._nests = False
        return permit

    # --- taking it ---------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        route = self._route
        if self._is_free and route.is_straight and not route.context.taps.is_on and CURRENT.get() is None:
            # In line, here and in the other colour: one call more would cost as much as a limit.
            gate = route.gate
            ask = route.kept or route.ask(self._args, self._kwargs)
            generation = gate.breaker.generation
            nest = Nest()
            nest.gate = gate
            nest.ask = ask
            self._is_free = False
            at = gate.enter(ask)
            if at is not None:
                self._straight = at, generation, nest, CURRENT.set(nest) if self._nests else None
                return self
            self._is_free = True
        if self._acquired and self._nests:
            self._acquired = False
            self._nest_inside()
            return self
        is_alone = self._claim()
        try:
            if is_alone:
                clock = route.context.clock
                ask = route.ask(self._args, self._kwargs)
                self._granted(clock.wait(route.gate, ask, clock.now() + route.gate.compiled.max_wait))
            else:
                flight = self._take_off()
                run = self._run = sync.Run(flight.plan, flight.job)
                step: Done | Stream | None = None
                try:
                    step = run.start()
                finally:
                    self._landed(flight, step)
        except BaseException:
            self._is_free = True
            raise
        return self

    async def __aenter__(self) -> Self:
        route = self._route
        if self._is_free and route.is_straight and not route.context.taps.is_on and CURRENT.get() is None:
            gate = route.gate
            ask = route.kept or route.ask(self._args, self._kwargs)
            generation = gate.breaker.generation
            nest = Nest()
            nest.gate = gate
            nest.ask = ask
            self._is_free = False
            at = gate.enter(ask)
            if at is not None:
                self._straight = at, generation, nest, CURRENT.set(nest) if self._nests else None
                return self
            self._is_free = True
        is_alone = self._claim()
        try:
            if is_alone:
                # `Clock.await_turn`, in line: one coroutine fewer for each of the thousands that may wait.
                clock, gate = route.context.clock, route.gate
                ask = route.ask(self._args, self._kwargs)
                parked = clock.stand()
                try:
                    reply = gate.park(ask, clock.now() + gate.compiled.max_wait, parked)
                    while reply is None:
                        await clock.woken(parked)
                        reply = gate.take_up(parked, clock.signal)
                except BaseException:
                    gate.abandon(parked)
                    raise
                self._granted(reply)
            else:
                flight = self._take_off()
                run = self._run = aio.Run(flight.plan, flight.job)
                step: Done | Stream | None = None
                try:
                    step = await run.start()
                finally:
                    self._landed(flight, step)
        except BaseException:
            self._is_free = True
            raise
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        return self._take().__await__()

    async def _take(self) -> Self:
        nests, self._nests = self._nests, False
        try:
            return await self.__aenter__()
        finally:
            self._nests = nests

    def acquire(self) -> Self:
        """
        Take it, blocking; `release` gives it back, and so does a ``with`` block.
        """
        # Nothing says what runs inside of a permit without a block: whoever takes ten holds ten, not one ten times.
        nests, self._nests = self._nests, False
        try:
            self.__enter__()
        finally:
            self._nests = nests
        self._acquired = True
        return self

    # --- giving it back ----------------------------------------------------------------------------------------------

    def settle(self, *, cost: Mapping[str, float | Decimal]) -> None:
        """
        Correct what the attempt took of limits and budgets to what it really cost.

        Args:
            cost: Amounts by unit, 0 or more, rounded up; units that are not named stay as they were. ``usd`` is what
                the attempt is charged at the end, less what calls inside of it were charged; not said, that is what it
                was taken to cost.

        Raises:
            ConfigError: A cost is not a finite number from 0 to 2^53, a unit is a slip of one that a limit counts, or
                the permit is not held. Nothing has changed then.
        """
        units = check_cost(cost)
        if REQUESTS not in cost:
            del units[REQUESTS]
        lease = self._held()
        if lease is None:
            msg = "the permit is not held: settle inside the block"
            raise ConfigError(msg, key="settle")
        self._route.gate.compiled.check_units(units)
        truth = units.pop(MICRO_USD, None)
        if truth is not None and self._flight is not None and self._flight.purse is not None:
            self._flight.purse.truth = truth
        if units:
            self._route.gate.adjust(lease, units)

    def release(self, error: BaseException | None = None) -> None:
        """
        Give it back; *error* is the attempt's, if it failed. A second time nothing happens.

        Raises:
            ConfigError: It was taken by ``await``.
        """
        if isinstance(self._run, aio.Run):
            msg = "a permit that was taken by await is given back by: await permit.arelease()"
            raise ConfigError(msg, key="release")
        run, flight, outcome = self._let_go(error)
        if isinstance(run, sync.Run) and flight is not None:
            flight.land(run.resume(outcome))

    async def arelease(self, error: BaseException | None = None) -> None:
        """
        Give it back; *error* is the attempt's, if it failed. A second time nothing happens.

        A permit that was taken by blocking is given back by blocking, which is as short.
        """
        run, flight, outcome = self._let_go(error)
        if flight is not None and run is not None:
            step = run.resume(outcome)
            flight.land(await step if isawaitable(step) else step)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        straight = self._straight
        if straight is None or error is not None:
            self.release(error)
            return
        at, generation, nest, token = straight
        self._straight = None
        self._is_free = True
        if token is not None:
            step_out(token)
        ask = nest.ask
        assert ask is not None  # noqa: S101 - it is until the nest is over
        nest.is_over = True
        if nest.lent or nest.frame is not None:
            nest.leave(ok=True)
        nest.gate.leave(ask, at, generation)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._straight is None or error is not None:
            await self.arelease(error)
        else:
            self.__exit__(kind, error, trace)

    def __del__(self) -> None:
        if self._is_free:
            return
        lease = self._held()
        if lease is not None:
            # A finaliser may run inside the gate's own lock: it only leaves word.
            if self._nest is not None:
                self._nest.drop(self._flight.lenders if self._flight is not None else [])
            self._route.gate.drop(lease, _LOST)
            if self._flight is not None and self._flight.purse is not None:
                self._flight.purse.judge(_LOST)
                self._flight.purse.close()

    @contextmanager
    def inside(self) -> Generator[None, None, None]:
        """
        Make the permit's call the innermost one here, for a while.
        """
        token = CURRENT.set(self._nest if self._straight is None else self._straight[2])
        try:
            yield
        finally:
            step_out(token)

    # --- without a plan ----------------------------------------------------------------------------------------------

    def _claim(self) -> bool:
        """
        Begin to take it, which nobody else may meanwhile; return whether it needs no plan.
        """
        if not self._is_free:
            msg = "the permit is held already, or about to be; ask the governor for another"
            raise ConfigError(msg, key="permit")
        self._is_free = False
        route = self._route
        is_plain = route.is_straight and not route.context.taps.is_on and CURRENT.get() is None
        return is_plain and not route.gate.is_limping and not route.gate.compiled.has_budgets

    def _granted(self, granted: Lease | Denied) -> None:
        gate = self._route.gate
        if isinstance(granted, Denied):
            gate.count_denied(granted.why)
            raise rejection(self._route, granted)
        nest = Nest()
        nest.gate = gate
        nest.ask = granted.ask
        token = CURRENT.set(nest) if self._nests else None
        if granted.is_plain:
            self._straight = granted.at, granted.generation, nest, token
        else:
            self._lease, self._nest, self._token = granted, nest, token

    # --- with one ----------------------------------------------------------------------------------------------------

    def _take_off(self) -> Flight:
        route = self._route
        flight = self._flight = Flight(route.context, route, _BLOCK, args=self._args, kwargs=self._kwargs)
        return flight

    def _landed(self, flight: Flight, step: Done | Stream | None) -> None:
        if isinstance(step, Stream):
            self._lease = step.lease
            self._nest = flight.nest
            self._nest_inside()
            return
        self._run = self._flight = None
        flight.land(step)
        if step is not None:
            conclude(self._route, step)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _nest_inside(self) -> None:
        if self._nests:
            self._held()
            self._token = CURRENT.set(self._nest)

    def _held(self) -> Lease | None:
        if self._straight is not None:
            at, generation, nest, token = self._straight
            self._straight = None
            self._nest = nest
            self._token = token
            assert nest.ask is not None  # noqa: S101 - it is until the nest is over
            self._lease = nest.gate.lease(nest.ask, at, generation)
        return self._lease

    def _let_go(self, error: BaseException | None) -> tuple[sync.Run | aio.Run | None, Flight | None, Outcome]:
        lease, run, flight, token = self._held(), self._run, self._flight, self._token
        outcome = Outcome(self, error)
        if lease is None:
            return None, None, outcome  # Somebody may be about to take it.
        self._lease = self._run = self._flight = self._token = None
        self._is_free = True
        self._acquired = False
        if token is not None:
            step_out(token)
        if run is None:
            if self._nest is not None:
                self._nest.leave(ok=error is None, waits=not isinstance(error, GeneratorExit))
            gate = self._route.gate
            gate.settle(lease, self._route.context.judge_last(outcome, lease, gate))
        return run, flight, outcome


class _Block:
    """
    The wish of a permit's plan: nothing is sent, the block is the attempt.
    """

    __slots__ = ()

    def send(self, lease: Lease, timeout: float | None) -> Any:  # noqa: ARG002
        return Outcome(None, open=True)

    def discard(self, outcome: Outcome) -> Any:
        """
        Do nothing: a block is never tried twice.
        """


_BLOCK = _Block()
