"""
The gate under anything that callers, clocks and operators do in any order, watched by judges that never ask it.

The judges know the policy, the log of what was let through, and who waits; of the gate's inside they read only what it
holds, to compare it with the leases that are out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from egressor._core.admission import Denied, Lease, Why
from egressor._core.breaker import BreakerState
from egressor._core.limits import Concurrency
from egressor._core.model import ErrorCategory, Verdict
from egressor.policies import BanPolicy, BreakerPolicy, Limit, Policy, RetryPolicy, Rule
from egressor.stores import Parked
from egressor.stores.compiled import Compiled
from egressor.stores.gate import Gate
from egressor.testing import FakeClock
from tests.core.limit_judge import excess_over_bucket, most_in_any_window

SECOND = 1_000_000
AGE = 4 * SECOND
GAP = SECOND // 2
USERS = (None, "u1", "u2")
LAST = Why.WAIT_TOO_LONG, Why.PAUSED, Why.BANNED, Why.CIRCUIT_OPEN, Why.QUEUE_FULL

VERDICTS = {
    "ok": Verdict(),
    "bad": Verdict(category=ErrorCategory.BAD_REQUEST),
    "down": Verdict(category=ErrorCategory.SERVER_ERROR, retryable=True, counts=True),
    "later": Verdict(category=ErrorCategory.RATE_LIMIT, retryable=True, retry_after=1.5),
    "ban": Verdict(category=ErrorCategory.BAN),
    "ban3": Verdict(category=ErrorCategory.BAN, retry_after=3.0),
}


def policy(places: int, queue_size: int) -> Policy:
    """
    Return a policy with one limit of each kind that slides, a bucket, places, and a limit for each user.
    """
    return Policy(
        limits=(Limit("4/second"), Limit("2 tokens/second burst 3")),
        max_concurrency=places,
        queue_size=queue_size,
        age_after=AGE / SECOND,
        breaker=BreakerPolicy(consecutive=3, open_for=2.0),
        ban=BanPolicy(suspend_for=2.0, max_suspend_for=8.0),
        retry=RetryPolicy(budget=False),
        rules=(Rule(match={"user": "*"}, limits=(Limit("2/2 seconds"),)),),
    )


@dataclass(eq=False)
class Caller:
    """
    One call: what it wants, since when it waits, and what it has got.
    """

    user: str | None
    tokens: int
    level: int
    came: int
    deadline: int = 0
    parked: Parked | None = None
    lease: Lease | None = None
    entered: bool = False

    def rank(self, now: int) -> tuple[int, int]:
        """
        Return its place in the order of those that wait: smaller goes first; equal ranks go by arrival.
        """
        return -min(3, self.level + (now - self.came) // AGE), self.deadline

    def needs_no_more_than(self, other: Caller) -> bool:
        """
        Tell whether it could have had what *other* took.
        """
        return self.tokens <= other.tokens and self.user in (None, other.user)


class GateMachine(RuleBasedStateMachine):
    """
    Callers, time and operators.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock(jumps=False)
        self.places, self.queue_size = 2, 4
        compiled = Compiled("s", policy(self.places, self.queue_size))
        self.gate = Gate(compiled, clock=self.clock, dice=lambda: 0.5, keeper=self.clock.threads)
        self.waiting: list[Caller] = []
        self.out: list[Caller] = []
        self.log: list[Caller] = []
        self.paused = False

    # --- what is judged at each grant --------------------------------------------------------------------------------

    def granted(self, caller: Caller, lease: Lease) -> None:
        """
        Note a grant. Nobody that waits, ranks before, and needs no more may have been passed; places must be free.
        """
        now = self.clock.now()
        for other in self.waiting:
            if other is not caller and other.deadline >= now and other.needs_no_more_than(caller):
                assert other.rank(now) >= caller.rank(now), "served out of turn"
                if other.rank(now) == caller.rank(now):
                    assert self.waiting.index(other) > self.index(caller), "not first come, first served"
        caller.lease = lease
        self.out.append(caller)
        self.log.append(caller)
        assert len(self.out) <= self.places
        assert not self.paused

    def index(self, caller: Caller) -> int:
        """
        Return the place of *caller* among those that wait by arrival; a newcomer comes after all.
        """
        return self.waiting.index(caller) if caller in self.waiting else len(self.waiting)

    def woken(self, caller: Caller) -> None:
        """
        Take the reply of one that waited.
        """
        assert caller.parked is not None
        reply = caller.parked.reply
        assert reply is not None
        if isinstance(reply, Lease):
            self.granted(caller, reply)
        else:
            assert reply.why in LAST
            assert reply.why is not Why.WAIT_TOO_LONG or self.clock.now() >= caller.deadline
        self.waiting.remove(caller)

    def refused(self, reply: Denied) -> None:
        """
        Judge a refusal: a pause, which only the operators know, is always named, and the wait is never nonsense.
        """
        assert (reply.why is Why.PAUSED) == self.paused
        assert reply.wait is None or reply.wait > 0

    # --- callers -----------------------------------------------------------------------------------------------------

    callers = st.builds(
        Caller,
        user=st.sampled_from(USERS),
        tokens=st.integers(0, 3),
        level=st.integers(0, 3),
        came=st.just(0),
    )

    def ask(self, caller: Caller) -> Any:
        """
        Return what *caller* asks for, under the policy of this moment.
        """
        caller.came = self.clock.now()
        caller.deadline = caller.deadline or caller.came + 1_000 * SECOND
        scope = {} if caller.user is None else {"user": caller.user}
        return self.gate.compiled.ask(scope=scope, cost={"requests": 1, "tokens": caller.tokens}, level=caller.level)

    @rule(caller=callers)
    def enter(self, caller: Caller) -> None:
        """
        A call comes by the straight path, and by the plan's way if that is closed.
        """
        ask = self.ask(caller)
        generation = self.gate.breaker.generation
        at = self.gate.enter(ask)
        if at is not None:
            caller.entered = True
            self.granted(caller, self.gate.lease(ask, at, generation))
        else:
            self.come(caller)

    @rule(caller=callers)
    def admit(self, caller: Caller) -> None:
        """
        A call comes by the plan's way.
        """
        self.come(caller)

    def come(self, caller: Caller) -> None:
        """
        Ask for *caller*, which doesn't wait.
        """
        reply = self.gate.admit(self.ask(caller), caller.deadline)
        if isinstance(reply, Lease):
            self.granted(caller, reply)
        else:
            self.refused(reply)

    @rule(caller=callers, patience=st.integers(0, 12))
    def park(self, caller: Caller, patience: int) -> None:
        """
        A call waits, from half a second to six.
        """
        caller.deadline = self.clock.now() + patience * SECOND // 2
        caller.parked = Parked(self.clock.threads, lambda: self.woken(caller))
        self.ask(caller)
        full = len(self.waiting) >= self.queue_size
        lower = [other for other in self.waiting if -other.rank(self.clock.now())[0] < caller.level]
        reply = self.gate.park(self.ask(caller), caller.deadline, caller.parked)
        if reply is None:
            assert not full or lower
            self.waiting.append(caller)
        elif isinstance(reply, Lease):
            self.granted(caller, reply)
        else:
            assert reply.why is not Why.QUEUE_FULL or (full and not lower)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def abandon(self, data: st.DataObject) -> None:
        """
        A call that waits is cancelled.
        """
        caller = data.draw(st.sampled_from(self.waiting))
        assert caller.parked is not None
        self.waiting.remove(caller)
        self.gate.abandon(caller.parked)
        assert caller.parked.reply is None

    @precondition(lambda self: self.out)
    @rule(data=st.data(), verdict=st.sampled_from(sorted(VERDICTS)), twice=st.booleans())
    def settle(self, data: st.DataObject, verdict: str, *, twice: bool) -> None:
        """
        An attempt ends; a second time nothing happens.
        """
        caller = data.draw(st.sampled_from(self.out))
        self.out.remove(caller)
        assert caller.lease is not None
        if caller.entered and verdict == "ok":
            self.gate.leave(caller.lease.ask, caller.lease.at, caller.lease.generation)
            return
        for _ in range(1 + twice):
            self.gate.settle(caller.lease, VERDICTS[verdict])

    @precondition(lambda self: self.out)
    @rule(data=st.data(), by=st.sampled_from(["undo", "abandon", "drop"]))
    def give_back(self, data: st.DataObject, by: str) -> None:
        """
        A lease comes back unused: at once, by a waiter that was cancelled too late, or dropped on the floor.
        """
        caller = data.draw(st.sampled_from(self.out))
        assert caller.lease is not None
        if by == "abandon":
            assume(caller.parked is not None and caller.parked.reply is caller.lease)
            assert caller.parked is not None
            self.out.remove(caller)
            self.log.remove(caller)
            self.gate.abandon(caller.parked)
        elif by == "undo":
            self.out.remove(caller)
            self.log.remove(caller)
            self.gate.undo(caller.lease)
        else:
            self.out.remove(caller)
            self.gate.drop(caller.lease, VERDICTS["bad"])
            self.clock.advance(0)

    @precondition(lambda self: self.out)
    @rule(data=st.data(), tokens=st.integers(0, 3))
    def adjust(self, data: st.DataObject, tokens: int) -> None:
        """
        An attempt has cost less than was thought.
        """
        caller = data.draw(st.sampled_from(self.out))
        tokens = min(tokens, caller.tokens)
        assert caller.lease is not None
        if caller.lease.ask.compiled is self.gate.compiled:
            caller.tokens = tokens
            self.gate.adjust(caller.lease, {"tokens": tokens})

    # --- time and operators ------------------------------------------------------------------------------------------

    @rule(millis=st.one_of(st.integers(0, 1500), st.just(500), st.just(20_000)))
    def advance(self, millis: int) -> None:
        """
        Time passes, and whatever is due is done.
        """
        self.clock.advance(millis / 1000)

    @rule()
    def tick(self) -> None:
        """
        Somebody looks for no reason.
        """
        self.gate.tick()

    @rule()
    def pause(self) -> None:
        """
        An operator pauses the service: nobody waits any more.
        """
        self.gate.pause("maintenance")
        self.paused = True
        assert not self.waiting

    @rule()
    def resume(self) -> None:
        """
        And ends it.
        """
        self.gate.resume()
        self.paused = False

    @rule()
    def lift_ban(self) -> None:
        """
        An operator ends a suspension.
        """
        self.gate.lift_ban()

    @rule(
        state=st.sampled_from(
            [BreakerState.CLOSED, BreakerState.CLOSED, BreakerState.FORCED_OPEN, BreakerState.DISABLED]
        )
    )
    def set_breaker(self, state: BreakerState) -> None:
        """
        An operator sets the breaker.
        """
        self.gate.set_breaker(state)
        assert not (state is BreakerState.FORCED_OPEN and self.waiting)

    @rule(places=st.integers(1, 3), queue_size=st.integers(0, 5))
    def reload(self, places: int, queue_size: int) -> None:
        """
        A policy with other places and another queue comes into force.
        """
        self.places, self.queue_size = places, queue_size
        self.gate.replace(Compiled("s", policy(places, queue_size)))

    # --- what always holds -------------------------------------------------------------------------------------------

    @invariant()
    def no_window_is_over_its_limit(self) -> None:
        """
        Judge every limit by the log alone.
        """
        every = [(caller.lease.at, 1) for caller in self.log if caller.lease is not None]
        tokens = [(caller.lease.at, caller.tokens) for caller in self.log if caller.lease is not None]
        assert most_in_any_window(every, SECOND) <= 4
        assert excess_over_bucket(tokens, burst=3, gap=GAP) <= 0
        for user in USERS[1:]:
            own = [(caller.lease.at, 1) for caller in self.log if caller.lease is not None and caller.user == user]
            assert most_in_any_window(own, 2 * SECOND) <= 2

    @invariant()
    def what_is_held_is_what_is_out(self) -> None:
        """
        Places taken, attempts in flight and leases out are the same number.
        """
        held = [part.cells[""] for part in self.gate.compiled.service_cells if type(part.limit) is Concurrency]
        assert (held, self.gate.counts.in_flight) == ([len(self.out)], len(self.out))

    @invariant()
    def who_waits_has_no_reply_and_time_left(self) -> None:
        """
        The gate counts those that wait, and nobody waits beyond its deadline.
        """
        assert sum(self.gate.snapshot()["waiting"]) == len(self.waiting)  # type: ignore[call-overload]
        assert all(caller.parked is not None and caller.parked.reply is None for caller in self.waiting)
        assert all(caller.deadline >= self.clock.now() for caller in self.waiting)
        assert not (self.gate.calm and (self.waiting or self.paused))

    @invariant()
    def one_probe_is_out_at_most(self) -> None:
        """
        Half-open lets one through at a time, and a lost one is given up when its lease ends.
        """
        probes = [
            caller
            for caller in self.out
            if caller.lease is not None
            and caller.lease.probe
            and caller.lease.generation == self.gate.breaker.generation
            and self.clock.now() < caller.lease.at + 120 * SECOND
        ]
        assert len(probes) <= 1

    def teardown(self) -> None:
        """
        Once everybody has given back and nothing is shut, those that wait are served, and nothing is left behind.
        """
        self.gate.resume()
        self.paused = False
        self.gate.lift_ban()
        self.gate.set_breaker(BreakerState.CLOSED)
        while self.out:
            for caller in list(self.out):
                assert caller.lease is not None
                self.out.remove(caller)
                self.gate.settle(caller.lease, VERDICTS["ok"])
            self.clock.advance(0.25)
        self.clock.advance(600)
        for caller in list(self.out):
            assert caller.lease is not None
            self.out.remove(caller)
            self.gate.settle(caller.lease, VERDICTS["ok"])
        self.what_is_held_is_what_is_out()
        assert (self.waiting, self.gate.calm, self.gate.snapshot()["keys"]) == ([], True, 0)


GateMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=50)
TestGate = GateMachine.TestCase
