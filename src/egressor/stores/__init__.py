"""
Where cells live.

A store runs the core's decisions on its cells, each in one step that nobody can come between, and keeps those that
wait in order. It knows policies and the core; it does not know who waits (a thread, a task): it wakes through the
`Home` that the waiter named. Cells are coordination and may be lost; facts belong to a ledger.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from egressor._core.admission import Ask, Denied, Lease
    from egressor._core.fleet import Reply, Request, State

__all__ = ["LATE", "PATIENCE", "Clock", "Home", "Parked", "Slept", "Store", "StoreAway", "Ticking"]


class Clock(Protocol):
    """
    Where a store gets the time from, in microseconds.
    """

    def ns(self) -> int:
        """
        Monotonic time, in nanoseconds: what every call reads, so it should be no more than a system call.
        """

    def now(self) -> int:
        """
        Monotonic time.
        """

    def wall(self) -> int:
        """
        Time since 1970 UTC.
        """


class Ticking(Protocol):
    """
    What wants to be looked at when its time comes.

    Attributes:
        is_exact: Whether a look that comes a little late is a loss.
    """

    is_exact: bool

    def tick(self) -> None:
        """
        Serve whoever's turn it is.
        """


class Home(Protocol):
    """
    Where a waiter lives: an event loop, or the threads together.

    All methods are called with the store's lock held, and return at once.

    Attributes:
        is_prompt: Whether no time passes between `wake` and the waiter's going on: under a fake clock.
    """

    is_prompt: bool

    def is_gone(self) -> bool:
        """
        Whether nobody who lived here can be woken any more: a closed loop.
        """

    def arm(self, ticking: Ticking, when: int) -> None:
        """
        See to it that *ticking* is looked at, at *when* (monotonic microseconds) or soon after.
        """

    def wake(self, parked: Parked) -> None:
        """
        Let whoever waits for *parked* go on; its reply is set.
        """


class Parked:
    """
    One wait in the queue, as the waiter holds it.

    Attributes:
        home: Where the waiter lives.
        reply: What came of the wait; None while it lasts.
        signal: Whatever *home* needs to wake the waiter.
        ask: What it waits for, set when it joins the queue.
        since: When it did, in microseconds.
        waiter: Its place in the queue; the store's business.
        room: The queue that it joined; likewise.
    """

    __slots__ = ("ask", "home", "reply", "room", "signal", "since", "waiter")

    ask: Ask
    since: int

    def __init__(self, home: Home, signal: object) -> None:
        self.home = home
        self.signal: Any = signal
        self.reply: Lease | Denied | None = None
        self.waiter: Any = None
        self.room: object = None


class StoreAway(Exception):
    """
    The store can't be asked now: its server is gone, its disk is full, somebody holds its lock.
    """


class Slept(StoreAway):
    """
    No answer came in time, but this process was suspended meanwhile, or a busy machine had no turn for it.
    """


class Store(Protocol):
    """
    What several processes share. Any thread may call it, and nothing here waits for longer than `PATIENCE`.

    Attributes:
        address: Where this process is called by others; see `call`.
        is_near: Whether an exchange usually takes no longer than a wake-up of a thread, so that whoever wants something
            may as well ask for it itself.
        shift: Microseconds that make the store's time of this process's monotonic time, where they go by one clock.
    """

    is_near: bool

    @property
    def address(self) -> str:
        """
        Where this process is called by others; see `call`.
        """

    @property
    def shift(self) -> int:
        """
        Microseconds that make the store's time of this process's monotonic time, where they go by one clock.
        """

    def exchange(self, service: str, request: Request) -> Reply:
        """
        Do `egressor._core.fleet.exchange` with what is shared of *service*, as one step that nobody can come between.

        Raises:
            StoreAway: It can't be asked; whether the request was done is not known.
        """

    def look(self, service: str) -> tuple[State, int]:
        """
        Return what is shared of *service*, and the store's time; nothing is changed.

        Raises:
            StoreAway: It can't be asked.
        """

    def services(self) -> list[str]:
        """
        Return the names of all services of which something is shared.

        Raises:
            StoreAway: It can't be asked.
        """

    def call(self, service: str, addresses: Sequence[str]) -> None:
        """
        Tell others that they should ask for *service*. A call may get lost: it only saves them time.
        """

    def listen(self, called: Callable[[str], object]) -> None:
        """
        From now on hand the name of each service for which this process is called to *called*, on another thread.
        """

    def close(self) -> None:
        """
        Let go of everything; nothing can be asked any more.
        """


PATIENCE = 0.25
"""
How many seconds an exchange may take before the store counts as away.
"""
LATE = 0.1
"""
A wait that ends so many seconds after its time was not held up by the store: this process did not run.
"""
