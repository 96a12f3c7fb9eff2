"""
Capacity for a block of code: ``with gov.permit("reddit") as permit: ...``.
"""

from __future__ import annotations

from contextlib import contextmanager
from inspect import isawaitable
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from egressor._core.admission import REQUESTS, check_cost
from egressor._core.model import ErrorCategory, Outcome, Verdict
from egressor._core.steps import Done, Stream
from egressor._drivers import aio, sync
from egressor.errors import ConfigError

from .calls import Flight, conclude
from .nesting import CURRENT, Nest, step_out

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from contextvars import Token
    from types import TracebackType

    from egressor._core.admission import Lease

    from .calls import Context
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
    _acquired = False
    _entered: tuple[int, int] | None = None
    _lease: Lease | None = None
    _flight: Flight | None = None
    _run: sync.Run | aio.Run | None = None
    _nest: Nest | None = None
    _token: Token[Nest | None] | None = None

    def __init__(self, context: Context, route: Route) -> None:
        self._context = context
        self._route = route

    @classmethod
    def around(cls, context: Context, route: Route, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Self:
        """
        Return a permit for a generator's body, called with these arguments: it is the innermost call only `inside`.
        """
        permit = cls(context, route)
        permit._args = args
        permit._kwargs = kwargs
        permit._nests = False
        return permit

    # --- taking it ---------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        if self._acquired:
            self._acquired = False
            if self._nests:
                self._token = CURRENT.set(self._nest)
        elif not self._straight():
            flight = self._take_off(_Block(self))
            run = self._run = sync.Run(flight.plan, flight.job)
            try:
                step = run.start()
            except BaseException:
                flight.land(None)
                raise
            self._landed(flight, step)
        return self

    async def __aenter__(self) -> Self:
        if not self._straight():
            flight = self._take_off(_Block(self))
            run = self._run = aio.Run(flight.plan, flight.job)
            try:
                step = await run.start()
            except BaseException:
                flight.land(None)
                raise
            self._landed(flight, step)
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

    def settle(self, *, cost: Mapping[str, float]) -> None:
        """
        Correct what the attempt took of limits to what it really cost.

        Args:
            cost: Amounts by unit, 0 or more, rounded up; units that are not named stay as they were.

        Raises:
            ConfigError: A cost is not a finite number from 0 to 2^53, or the permit is not held.
        """
        units = check_cost(cost)
        if REQUESTS not in cost:
            del units[REQUESTS]
        lease = self._held()
        if lease is None:
            msg = "the permit is not held: settle inside the block"
            raise ConfigError(msg, key="settle")
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
        if error is None and self._lease is None and self._entered is not None and self._run is None:
            entered, self._entered = self._entered, None
            self._leave(entered)
            return
        self.release(error)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._lease is None and self._entered is not None and self._run is None:
            entered, self._entered = self._entered, None
            self._leave(entered)
            return
        await self.arelease(error)

    def __del__(self) -> None:
        if self._entered is None and self._lease is None:
            return
        lease = self._held()
        if lease is not None:
            # A finaliser may run inside the gate's own lock: it only leaves word.
            self._route.gate.drop(lease, _LOST)
            if self._nest is not None:
                self._nest.drop()

    @contextmanager
    def inside(self) -> Generator[None, None, None]:
        """
        Make the permit's call the innermost one here, for a while.
        """
        token = CURRENT.set(self._nest)
        try:
            yield
        finally:
            step_out(token)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _straight(self) -> bool:
        if self._entered is not None or self._lease is not None:
            msg = "the permit is held already; ask the governor for another"
            raise ConfigError(msg, key="permit")
        route = self._route
        if not route.is_straight or self._context.taps.is_on or CURRENT.get() is not None:
            return False
        ask = route.kept or route.ask(self._args, self._kwargs)
        gate = route.gate
        self._entered = gate.enter(ask)
        if self._entered is None:
            return False
        self._nest = Nest(gate, ask)
        if self._nests:
            self._token = CURRENT.set(self._nest)
        return True

    def _leave(self, entered: tuple[int, int]) -> None:
        nest = self._nest
        assert nest is not None and nest.ask is not None  # noqa: S101, PT018 - what has entered has both
        ask = nest.ask
        self._step_out()
        nest.is_over = True
        if nest.lent or nest.frame is not None:
            nest.leave(ok=True)
        self._route.gate.leave(ask, entered[0], entered[1])

    def _step_out(self) -> None:
        token, self._token = self._token, None
        if token is None:
            return
        step_out(token)

    def _take_off(self, block: _Block) -> Flight:
        self._flight = Flight(self._context, self._route, block, args=self._args, kwargs=self._kwargs)
        self._nest = self._flight.nest
        return self._flight

    def _landed(self, flight: Flight, step: Done | Stream) -> None:
        if isinstance(step, Done):
            self._run = self._flight = None
            flight.land(step)
            conclude(self._route, step)
            return
        self._lease = step.lease
        if self._nests:
            self._token = CURRENT.set(flight.nest)

    def _held(self) -> Lease | None:
        if self._lease is None and self._entered is not None and self._nest is not None and self._nest.ask is not None:
            self._lease = self._route.gate.lease(self._nest.ask, *self._entered)
        return self._lease

    def _let_go(self, error: BaseException | None) -> tuple[sync.Run | aio.Run | None, Flight | None, Outcome]:
        lease, run, flight = self._held(), self._run, self._flight
        self._lease = self._entered = self._run = self._flight = None
        self._acquired = False
        outcome = Outcome(self, error)
        if lease is None:
            return None, None, outcome
        self._step_out()
        if run is None:
            if self._nest is not None:
                self._nest.leave(ok=error is None)
            self._route.gate.settle(lease, self._context.judge(outcome))
        return run, flight, outcome


class _Block:
    """
    The wish of a permit's plan: nothing is sent, the block is the attempt.
    """

    __slots__ = ("_permit",)

    def __init__(self, permit: Permit) -> None:
        self._permit = permit

    def send(self, lease: Lease, timeout: float | None) -> Any:  # noqa: ARG002
        return Outcome(None, open=True)

    def discard(self, outcome: Outcome) -> Any:
        """
        Do nothing: a block is never tried twice.
        """
