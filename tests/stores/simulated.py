"""
A fleet in virtual time: several processes' gates, a store between them, and everything that can go wrong in between.

Nothing here sleeps, and no thread is started: what happens next is taken from a heap of times. Whoever is woken runs a
moment later, a request takes a moment, a call to another process may get lost, processes die. The judge knows nothing
of cells: it is told when calls came, went, and ended.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any

from egressor._core.admission import Denied, Lease
from egressor._core.fleet import LIFE, State, exchange
from egressor._core.model import ErrorCategory, Verdict
from egressor.policies import Policy
from egressor.stores import Parked, StoreAway
from egressor.stores.shared import SharedGate, shared

if TYPE_CHECKING:
    from egressor._core.admission import Ask
    from egressor.stores.asking import Asking
    from egressor.stores.gate import Gate
    from egressor.stores.straight import Errand

SECOND = 1_000_000
START = 1_700_000_000 * SECOND
_OK = Verdict()
_CANCELLED = Verdict(category=ErrorCategory.CANCELLED)


class World:
    """
    Virtual time, chance, and what is to happen.
    """

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.at = 1_000 * SECOND
        self._events: list[tuple[int, int, Callable[[], object]]] = []
        self._numbers = count()

    def later(self, delay: int, act: Callable[[], object]) -> None:
        """
        Let *act* happen in *delay* microseconds.
        """
        heappush(self._events, (self.at + max(0, delay), next(self._numbers), act))

    def run(self, until: int) -> None:
        """
        Let everything happen that is to happen by *until*.
        """
        while self._events and self._events[0][0] <= until:
            self.at, _, act = heappop(self._events)
            act()
        self.at = until

    # What a gate wants of a clock.
    def now(self) -> int:
        """
        Virtual time.
        """
        return self.at

    def ns(self) -> int:
        """
        Virtual time, in nanoseconds.
        """
        return self.at * 1_000

    def wall(self) -> int:
        """
        Virtual time since 1970.
        """
        return START + self.at


class SimHome:
    """
    Where the waiters of one process live.
    """

    is_prompt = False

    def __init__(self, world: World, *, lag: int) -> None:
        self._world = world
        self._lag = lag
        self._armed = 0
        self.is_dead = False

    def is_gone(self) -> bool:
        """
        Never: a process that died takes its gate along.
        """
        return False

    def arm(self, ticking: Any, when: int) -> None:
        """
        Look at *ticking* at *when*, or a moment later; who is to be looked at before is so only then, as in real homes.
        """
        if 0 < self._armed <= when:
            return
        self._armed = when
        late = self._world.dice.randrange(self._lag)
        self._world.later(when - self._world.at + late, partial(self._ring, ticking, when))

    def _ring(self, ticking: Any, when: int) -> None:
        if self._armed == when:
            self._armed = 0
        if not self.is_dead:
            ticking.tick()

    def wake(self, parked: Parked) -> None:
        """
        Let whoever waits run in a moment.
        """
        self._world.later(self._world.dice.randrange(self._lag), parked.signal)


class SimStore:
    """
    The store: a state, and whether it can be asked.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.state = State()
        self.is_away = False
        self.trips = 0
        # What each member was told last of each cell, and the limits of these.
        self._told: dict[str, dict[str, int]] = {}
        self._limits: dict[str, Any] = {}

    def exchange(self, request: Any) -> Any:
        """
        One step of all.
        """
        self.trips += 1
        if self.is_away:
            raise StoreAway
        reply = exchange(self.state, request, self.world.at, START)
        self._told.setdefault(request.member, {}).update(reply.cells)
        for part in [part for want in request.wants for part in want.parts]:
            self._limits[part.cell] = part.limit
        return reply

    def unknown(self, members: list[str], cell: str) -> int:
        """
        Return how many units of *cell* are used of which not all *members* know: so many too many are in their shares.
        """
        limit, others = self._limits[cell], len(self.state.members)
        true = limit.left(self.state.cells.get(cell, 0), self.world.at, START) // others
        lefts = [limit.left(self._told.get(each, {}).get(cell, 0), self.world.at, START) // others for each in members]
        return sum(max(0, left - true) for left in lefts)


class SimLink:
    """
    One process's way to the store, as its courier is: one request at a time.
    """

    def __init__(self, world: World, store: SimStore, members: dict[str, SimLink], *, trip: int) -> None:
        self._world = world
        self._store = store
        self._members = members
        self._trip = trip
        self.member = self.address = f"m{len(members)}"
        members[self.address] = self
        self.gate: SharedGate | None = None
        self.is_dead = False

    def soon(self, gate: Asking, when: int = 0) -> None:
        """
        Run at *when*, or now.
        """
        self._world.later(when - self._world.at if when else self._world.dice.randrange(200), partial(self._run, gate))

    def now(self, gate: Asking) -> None:
        """
        Run soon.
        """
        self._run(gate)

    def sync(self, gate: Asking) -> None:
        """
        Run soon.
        """
        self._run(gate)

    def _run(self, gate: Asking) -> None:
        if self.is_dead:
            return
        if gate.is_asking:
            gate.is_wanted = True
            return
        gate.is_asking, gate.is_wanted = True, False
        request = gate.prepare()
        if request is None:
            self._done(gate, more=False)
            return
        self._world.later(self._world.dice.randrange(1, self._trip), partial(self._ask, gate, request))

    def _ask(self, gate: Asking, request: Any) -> None:
        if self.is_dead:
            return
        reply = self._reply(gate, request)
        if reply is None:
            self._done(gate, more=False)
        else:
            self._world.later(self._world.dice.randrange(1, self._trip), partial(self._apply, gate, request, reply))

    def _reply(self, gate: Asking, request: Any) -> Any:
        try:
            reply = self._store.exchange(request)
        except StoreAway:
            gate.failed()
            gate.lose("the simulation says so")
            gate.ask_again(250_000)
            return None
        gate.regain()
        for address in reply.calls:
            other = self._members[address]
            if self._world.dice.random() > 0.01:  # Calls may get lost.
                self._world.later(self._world.dice.randrange(1, self._trip), other.called)
        return reply

    def _apply(self, gate: Asking, request: Any, reply: Any) -> None:
        if not self.is_dead:
            self._done(gate, more=gate.apply(request, reply, 0))

    def _done(self, gate: Asking, *, more: bool) -> None:
        gate.is_asking = False
        if more or gate.is_wanted:
            self._run(gate)

    def fetch(self, gate: Asking, ask: Ask) -> int | None:
        """
        Leave it to the line: nothing is asked at once here, see `straight`.
        """
        return None

    def straight(self, gate: Asking, ask: Ask, done: Callable[[int | None], object]) -> bool:
        """
        Ask for *ask* alone, and hand *done* what came of it; False where it has to join a line.
        """
        if self.is_dead or gate.is_asking:
            return False
        gate.is_asking, gate.is_wanted = True, False
        errand = gate.prepare_one(ask)
        if errand is None:
            self._done(gate, more=False)
            return False
        self._world.later(self._world.dice.randrange(1, self._trip), partial(self._ask_one, gate, errand, done))
        return True

    def _ask_one(self, gate: Asking, errand: Errand, done: Callable[[int | None], object]) -> None:
        if self.is_dead:
            return
        reply = self._reply(gate, errand.request)
        if reply is None:
            self._done(gate, more=False)
            done(None)
        else:
            self._world.later(
                self._world.dice.randrange(1, self._trip), partial(self._take_one, gate, errand, reply, done)
            )

    def _take_one(self, gate: Asking, errand: Errand, reply: Any, done: Callable[[int | None], object]) -> None:
        if not self.is_dead:
            at = gate.take_one(errand, reply, 0)
            self._done(gate, more=False)
            done(at)

    def called(self) -> None:
        """
        Somebody says that it is worth asking.
        """
        if not self.is_dead and self.gate is not None:
            self.gate.called()
            self._run(self.gate)


class Use:
    """
    One call, as the judge is told of it.
    """

    __slots__ = ("came", "cost", "deadline", "ended", "level", "member", "parked", "went", "why")

    def __init__(self, member: str, level: int, cost: int, came: int, deadline: int) -> None:
        self.member = member
        self.level = level
        self.cost = cost
        self.came = came
        self.deadline = deadline
        self.went: int | None = None
        self.ended: int | None = None
        self.why = ""
        self.parked: Parked | None = None


class Fleet:
    """
    Some processes of one policy, on one store, or one process alone.
    """

    def __init__(self, seed: int, *, members: int, lag: int = 500, trip: int = 500, **policy: Any) -> None:
        self.world = World(seed)
        self.store = SimStore(self.world)
        self.links: dict[str, SimLink] = {}
        self.policy = Policy(**policy)
        self.lag = lag
        self.trip = trip
        self.uses: list[Use] = []
        # When the store went away, and how much of what was used then was not known to all.
        self.losses: list[tuple[int, int]] = []
        self.living: list[tuple[SimLink, SimHome, Gate]] = [self._member() for _ in range(members)]

    def _member(self) -> tuple[SimLink, SimHome, Gate]:
        link = SimLink(self.world, self.store, self.links, trip=self.trip)
        home = SimHome(self.world, lag=self.lag)
        link.gate = SharedGate(
            shared("s", self.policy),
            clock=self.world,
            dice=self.world.dice.random,
            keeper=home,
            link=link,
            on_loss="share",
        )
        return link, home, link.gate

    def lose(self) -> None:
        """
        Let the store be away.
        """
        # Whoever goes by its share yet goes on with it: that is charged already.
        members = [link.member for link, _, _ in self.living if link.gate is not None and not link.gate.away]
        unknown = max([self.store.unknown(members, str(limit)) for limit in self.policy.limits])
        self.losses.append((self.world.at, unknown))
        self.store.is_away = True

    def kill(self, index: int) -> None:
        """
        Let a process die, with all that it holds, and another begin.
        """
        link, home, _ = self.living[index]
        link.is_dead = home.is_dead = True
        for use in self.uses:
            if use.member == link.member and use.ended is None:
                use.ended, use.why = self.world.at, use.why or "killed"
        self.living[index] = self._member()

    def call(self, index: int, *, level: int, cost: int = 1, wait: int = 30 * SECOND, hold: int = 1_000) -> Use:
        """
        Let a process make a call, which takes *hold* if it goes.
        """
        link, home, gate = self.living[index]
        use = Use(link.member, level, cost, self.world.at, self.world.at + wait)
        self.uses.append(use)
        ask = gate.compiled.ask(scope={}, cost={"requests": cost}, level=level)
        parked = use.parked = Parked(home, None)
        parked.signal = partial(self._woken, use, link, gate, parked, hold)

        def join(at: int | None) -> None:
            reply = gate.lease(ask, at, generation) if at is not None else gate.park(ask, use.deadline, parked)
            self._take(use, link, gate, parked, hold, reply)

        generation = gate.breaker.generation
        # Every other call is one of a thread that has nothing else to do meanwhile, and asks the store itself.
        if self.world.dice.random() < 0.5 or link.gate is None or not link.straight(link.gate, ask, join):
            join(None)
        return use

    def cancel(self, use: Use, parked: Parked, gate: Gate) -> None:
        """
        Let a call that waits give up.
        """
        gate.abandon(parked)
        use.ended, use.why = self.world.at, "cancelled"

    def _woken(self, use: Use, link: SimLink, gate: Gate, parked: Parked, hold: int) -> None:
        if link.is_dead or use.ended is not None:
            return
        self._take(use, link, gate, parked, hold, gate.take_up(parked, lambda: parked.signal))

    def _take(
        self, use: Use, link: SimLink, gate: Gate, parked: Parked, hold: int, reply: Lease | Denied | None
    ) -> None:
        if isinstance(reply, Lease):
            use.went = self.world.at
            self.world.later(hold, partial(self._end, use, link, gate, reply))
        elif isinstance(reply, Denied):
            use.ended, use.why = self.world.at, str(reply.why)
        elif self.world.dice.random() < 0.02:
            self.world.later(self.world.dice.randrange(SECOND), partial(self._give_up, use, link, gate, parked))

    def _give_up(self, use: Use, link: SimLink, gate: Gate, parked: Parked) -> None:
        if use.went is None and use.ended is None and not link.is_dead:
            self.cancel(use, parked, gate)

    def _end(self, use: Use, link: SimLink, gate: Gate, lease: Lease) -> None:
        if not link.is_dead:
            use.ended, use.why = self.world.at, "done"
            gate.settle(lease, _OK if self.world.dice.random() < 0.95 else _CANCELLED)


def worst_window(uses: list[Use], period: int) -> int:
    """
    Return the most units that went in any *period*.
    """
    went = sorted((use.went, use.cost) for use in uses if use.went is not None)
    worst = total = first = 0
    for when, cost in went:
        total += cost
        while went[first][0] <= when - period:
            total -= went[first][1]
            first += 1
        worst = max(worst, total)
    return worst


def most_at_once(uses: list[Use]) -> int:
    """
    Return the most calls that were under way at a time; those of a process that died are until its end.
    """
    changes = [(use.went, 1) for use in uses if use.went is not None]
    changes += [(use.ended, -1) for use in uses if use.went is not None and use.ended is not None]
    worst = total = 0
    for _, change in sorted(changes):
        total += change
        worst = max(worst, total)
    return worst


def overtaken(uses: list[Use], *, grace: int, moment: int) -> list[tuple[Use, Use]]:
    """
    Return the pairs of which one went although a better one had waited for longer than *grace*, and could have gone.

    Which of two goes first that were granted at the same *moment* is chance: each has its way from the store, and is
    woken.
    """
    found = []
    waiting = sorted((use for use in uses if use.went is not None), key=lambda use: use.came)
    for late in (use for use in uses if use.went is not None and use.level < 3):
        assert late.went is not None
        for good in waiting:
            if good.came + grace >= late.went:
                break
            assert good.went is not None
            if good.went > late.went + moment and good.level > late.level and good.cost <= late.cost:
                found.append((good, late))
    return found


__all__ = ["LIFE", "SECOND", "Fleet", "Use", "most_at_once", "overtaken", "worst_window"]
