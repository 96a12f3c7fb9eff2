"""
What happens at one gate, told in small scenes: who is served, who is not, and what comes back.
"""

from __future__ import annotations

from typing import Any

import pytest

from egressor._core.admission import Denied, Lease, Why
from egressor._core.breaker import BreakerState
from egressor._core.model import ErrorCategory, Verdict
from egressor.policies import BanPolicy, BreakerPolicy, Limit, RetryPolicy, Rule
from tests.stores.scene import SECOND, Scene

OK = Verdict()
DOWN = Verdict(category=ErrorCategory.SERVER_ERROR, retryable=True, counts=True)
BANNED = Verdict(category=ErrorCategory.BAN)


# --- Retry-After, bans, breaker --------------------------------------------------------------------------------------


def test_a_retry_after_holds_everybody_back_and_they_go_in_order() -> None:
    """
    Nobody goes before the time the server named, newcomers do not pass at its end, and the longest word counts.
    """
    scene = Scene(max_concurrency=9)
    late = scene.lease()
    scene.gate.settle(scene.lease(), Verdict(category=ErrorCategory.RATE_LIMIT, retry_after=4.0))
    scene.gate.settle(late, Verdict(category=ErrorCategory.RATE_LIMIT, retry_after=1.0))
    for name, level in [("low", 0), ("high", 2)]:
        scene.park(name, level)
    denied = scene.admit()
    scene.clock.advance(10)

    assert isinstance(denied, Denied)
    assert (denied.key, denied.wait, denied.may_park) == ("retry_after", 4 * SECOND, True)
    assert scene.told == ["high@4", "low@4"]
    assert scene.gate.calm


def test_a_newcomer_does_not_pass_those_whom_a_retry_after_held() -> None:
    """
    Between its end and the moment at which somebody looks, a late home's waiters keep their turn.
    """
    scene = Scene(max_concurrency=9)
    scene.gate.settle(scene.lease(), Verdict(category=ErrorCategory.RATE_LIMIT, retry_after=4.0))
    scene.park("first", 1)
    scene.clock._now += 5 * SECOND

    scene.park("equal", 1, seconds=900)
    scene.park("above", 2)
    scene.gate.tick()

    assert scene.told == ["above@5", "first@5", "equal@5"]


def test_a_ban_refuses_those_that_wait_and_one_probe_ends_it() -> None:
    """
    For as long as it lasts everybody is refused at once, with the time; then one goes, and its success lets all go.
    """
    scene = Scene(max_concurrency=1, ban=BanPolicy(suspend_for=10.0))
    held = scene.lease()
    scene.park("A")
    scene.gate.settle(held, BANNED)
    during = scene.admit()
    scene.clock.advance(10)
    probe = scene.lease()
    beside = scene.admit()
    scene.gate.settle(probe, OK)

    assert scene.told == ["A:banned@0"]
    assert isinstance(during, Denied)
    assert isinstance(beside, Denied)
    assert (during.why, during.wait, beside.why) == (Why.BANNED, 10 * SECOND, Why.BANNED)
    assert (scene.gate.calm, scene.gate.snapshot()["bans_total"]) == (True, 1)


def test_a_probe_that_was_never_sent_frees_its_turn() -> None:
    """
    Undone, a ban's probe and a breaker's probe leave the next call to be the probe; neither closes anything.
    """
    scene = Scene(ban=BanPolicy(suspend_for=10.0), breaker=BreakerPolicy(consecutive=1, open_for=10.0))
    scene.gate.settle(scene.lease(), BANNED)
    scene.gate.set_breaker(BreakerState.CLOSED)
    scene.clock.advance(10)
    scene.gate.settle(scene.lease(), DOWN)
    scene.clock.advance(10)
    scene.gate.undo(scene.lease())
    probe = scene.lease()

    assert (probe.probe, scene.gate.breaker.state) == (2, BreakerState.HALF_OPEN)
    assert scene.gate.settle(probe, OK).breaker == "closed"


def test_an_opening_breaker_refuses_those_that_wait() -> None:
    """
    They are told at once, with the time until the next probe.
    """
    scene = Scene(max_concurrency=1, breaker=BreakerPolicy(consecutive=1, open_for=7.0))
    held = scene.lease()
    parked = scene.park("A")

    settled = scene.gate.settle(held, DOWN)

    assert (settled.breaker, scene.told) == ("open", ["A:circuit_open@0"])
    assert isinstance(parked.reply, Denied)
    assert parked.reply.wait == 7 * SECOND


def test_a_result_of_the_breaker_before_a_reload_is_not_one_of_the_breaker_after_it() -> None:
    """
    A probe of the old policy neither closes nor opens the new policy's breaker, whatever its number.
    """
    scene = Scene(breaker=BreakerPolicy(consecutive=1, open_for=5.0))
    scene.gate.settle(scene.lease(), DOWN)
    scene.clock.advance(5)
    old = scene.lease()
    scene.gate.replace(scene.compiled(breaker=BreakerPolicy(consecutive=1, open_for=6.0)))
    scene.gate.settle(scene.lease(), DOWN)
    scene.clock.advance(6)
    scene.lease()

    assert scene.gate.settle(old, OK).breaker is None
    assert scene.gate.breaker.state is BreakerState.HALF_OPEN


# --- refusals, costs, keys -------------------------------------------------------------------------------------------


def test_what_can_never_fit_is_refused_at_once_even_behind_a_queue() -> None:
    """
    No wait would be enough: the message names the cost, the limit and what it holds.
    """
    scene = Scene(limits=("1 tokens/second burst 2",))
    scene.lease(tokens=2)
    scene.park("A", tokens=1)

    denied = scene.admit(tokens=3)

    assert isinstance(denied, Denied)
    assert (denied.why, denied.wait) == (Why.NEVER_FITS, None)
    assert denied.text == "a cost of 3 tokens can never fit 1 tokens/second burst 2, which holds 2 at once"


def test_a_refusal_s_wait_counts_those_that_go_first() -> None:
    """
    Behind two that wait for a second each, a third waits three; a more important one waits one.
    """
    scene = Scene(limits=("1/second burst 1",))
    scene.lease()
    scene.park("A", seconds=10)
    scene.park("B", seconds=10)

    waits = [denied.wait for denied in (scene.admit(1), scene.admit(3)) if isinstance(denied, Denied)]

    assert waits == [3 * SECOND, 1 * SECOND]


def test_a_cost_that_was_too_high_serves_those_that_wait() -> None:
    """
    What an attempt turned out not to cost is given back at once; what it cost beyond is taken, even if it is not there.
    """
    scene = Scene(limits=("4 tokens/minute",))
    lease = scene.lease(tokens=4)
    scene.park("A", tokens=3)

    scene.gate.adjust(lease, {"tokens": 1})
    scene.gate.adjust(lease, {"tokens": 3})

    assert (scene.told, scene.places_left()) == (["A@0"], 0)
    scene.gate.replace(scene.compiled(limits=("9 tokens/minute",)))
    scene.gate.adjust(lease, {"tokens": 0})
    assert scene.places_left() == 5


def test_places_that_are_lent_are_used_meanwhile() -> None:
    """
    While calls run inside of a call its place is another's, and it is taken back in any case.
    """
    scene = Scene(max_concurrency=1)
    outer = scene.lease()
    scene.gate.lend(outer.ask)
    inner = scene.lease()
    scene.gate.reclaim(outer.ask)
    scene.park("A")

    scene.gate.settle(inner, OK)
    assert (scene.told, scene.places_left()) == ([], 0)
    scene.gate.settle(outer, OK)
    assert scene.told == ["A@0"]


@pytest.mark.parametrize("way", ["enter", "admit"])
def test_keys_are_forgotten_when_they_say_nothing_any_more(way: str) -> None:
    """
    Whichever way calls take, ten thousand users' cells are given back two horizons after their last call, unasked.
    """
    scene = Scene(rules=(Rule(match={"user": "*"}, limits=(Limit("5/second"),)),))
    scene.lease()
    scene.clock.advance(60)
    for number in range(10_000):
        ask = scene.gate.compiled.ask(scope={"user": f"u{number}"}, cost={"requests": 1}, level=1)
        if way == "enter":
            assert scene.gate.enter(ask) is not None
        else:
            assert isinstance(scene.gate.admit(ask, 0), Lease)
    before = scene.gate.snapshot()["keys"]
    scene.clock.advance(2.1)

    assert (before, scene.gate.snapshot()["keys"]) == (10_000, 0)


def test_the_first_call_of_a_user_after_a_silence_counts() -> None:
    """
    The generations that turn late take no cell along that was touched just now.
    """
    scene = Scene(rules=(Rule(match={"user": "*"}, limits=(Limit("1/minute"),)),))
    ask = scene.gate.compiled.ask(scope={"user": "u"}, cost={"requests": 1}, level=1)
    scene.lease()
    scene.clock._now += 1000 * SECOND

    granted = [scene.gate.enter(ask) is not None for _ in range(3)]

    assert granted == [True, False, False]


def test_a_reload_keeps_the_order_of_those_that_wait() -> None:
    """
    They stand again in the same order, under the new policy's limits, and keep their deadlines.
    """
    scene = Scene(limits=("1/hour burst 1",))
    scene.lease()
    for name, level in [("low", 0), ("high", 2), ("mid", 1)]:
        scene.park(name, level, seconds=12_000)
    scene.gate.replace(scene.compiled(limits=("1/second burst 1",)))
    scene.clock.advance(10)

    assert scene.told == ["high@1", "mid@2", "low@3"]


def test_the_retry_budget_is_asked_once_for_each_retry() -> None:
    """
    A lease that was settled already grants no retry, nor does an empty budget: 10 in reserve.
    """
    scene = Scene(retry=RetryPolicy(budget=0.001), breaker=BreakerPolicy(enabled=False))
    leases = [scene.lease() for _ in range(12)]

    may = [scene.gate.settle(lease, DOWN, wants_retry=True).may_retry for lease in leases]

    assert (sum(may), scene.gate.counts.retried) == (10, 10)
    assert not scene.gate.settle(leases[0], DOWN, wants_retry=True).may_retry


@pytest.mark.parametrize(
    ("prepare", "state"),
    [
        (lambda gate: None, "closed"),
        (lambda gate: gate.pause("maintenance"), "paused"),
        (lambda gate: gate.set_breaker(BreakerState.FORCED_OPEN), "forced_open"),
        (lambda gate: gate.set_breaker(BreakerState.DISABLED), "disabled"),
        (lambda gate: gate.settle(gate.admit(gate.compiled.ask(scope={}, cost={}, level=0), 0), BANNED), "banned"),
    ],
)
def test_the_snapshot_says_what_stands_in_the_way(prepare: Any, state: str) -> None:
    """
    One word for the state, and plain values for all the rest.
    """
    scene = Scene(limits=("5/minute",))
    prepare(scene.gate)
    scene.gate.count_denied(Why.PAUSED)

    snapshot = scene.gate.snapshot()

    assert (snapshot["state"], snapshot["denied"]) == (state, {"paused": 1})
    assert snapshot["limits"] == [{"name": "5/minute", "unit": "requests", "limit": 5, "left": 5}]
