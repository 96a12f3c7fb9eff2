"""
Calls whose answer streams: the lease ends when the body does.

A transport makes a `Flight` with a wish of its own, whose attempts come to `Outcome` with ``open=True`` where the
status is good. It hands the answer out with `Opened`, which must be finished exactly once: when the body has ended,
has broken or was dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from egressor._core.model import Outcome
from egressor._core.steps import Done, Stream
from egressor._drivers import aio, sync

from .calls import Flight, conclude
from .nesting import CURRENT, step_out

if TYPE_CHECKING:
    from egressor._core.model import Verdict

__all__ = ["Opened", "aopen_call", "open_call"]


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


def open_call(flight: Flight) -> Opened:
    """
    Perform *flight* until its answer is there, blocking.

    Raises:
        Rejected: The call was not sent.
        Exception: What the last attempt raised, as it was raised.
    """
    run = sync.Run(flight.plan, flight.job)
    token = CURRENT.set(flight.nest)
    step: Done | Stream | None = None
    try:
        step = run.start()
    finally:
        step_out(token)
        if not isinstance(step, Stream):
            flight.land(step)
    return Opened(conclude(flight.route, step), flight, run, step if isinstance(step, Stream) else None)


async def aopen_call(flight: Flight) -> Opened:
    """
    Perform *flight* until its answer is there, awaiting. As `open_call` otherwise.
    """
    run = aio.Run(flight.plan, flight.job)
    token = CURRENT.set(flight.nest)
    step: Done | Stream | None = None
    try:
        step = await run.start()
    finally:
        step_out(token)
        if not isinstance(step, Stream):
            flight.land(step)
    return Opened(conclude(flight.route, step), flight, run, step if isinstance(step, Stream) else None)
