"""
Every story that a plan can tell, played by hand: no loop, no clock, no mock.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from egressor._core.admission import Ask, Denied, Lease, Settled, Why
from egressor._core.model import ErrorCategory, Outcome, Verdict
from egressor._core.plan import Call, Plan, plan
from egressor._core.retry import AttemptTree, RetrySpec
from egressor._core.steps import (
    MISS,
    Admit,
    Charge,
    Discard,
    Done,
    Fall,
    Hold,
    Keep,
    Park,
    Recall,
    Send,
    Settle,
    Sleep,
    Step,
    Stream,
)
from egressor.testing import play

NOW = 100
WAIT_UNTIL = 1000
ASK = Ask((), level=1)
LEASE = Lease(ASK, at=NOW, generation=1, probe=0)
AGAIN = Lease(ASK, at=NOW, generation=1, probe=0)
FULL = Denied(Why.LIMIT, "20/minute", 50, "20/minute is used up")
OPEN = Denied(Why.CIRCUIT_OPEN, "breaker", 5, "open")
POOR = Denied(Why.BUDGET, "day", None, "spent")

GOOD = Verdict(why="it returned")
AWAY = Verdict(category=ErrorCategory.OVERLOADED, retryable=True)
DOWN = Verdict(category=ErrorCategory.SERVER_ERROR, retryable=True, counts=True)
AWAY_FOR_LONG = Verdict(category=ErrorCategory.BAN, retryable=True)
BAD = Verdict(category=ErrorCategory.BAD_REQUEST)
UNSURE = Verdict(category=ErrorCategory.TIMEOUT, retryable=True, may_have_run=True)
LATER = Verdict(category=ErrorCategory.RATE_LIMIT, retryable=True, retry_after=0.0003)

VALUE = Outcome("value", verdict=GOOD)
CROWDED = Outcome(error=OSError("crowded"), verdict=AWAY)
FAILED = Outcome(error=OSError("down"), verdict=DOWN)
WRONG = Outcome(error=ValueError("no"), verdict=BAD)
BROKEN = Outcome(error=TimeoutError(), verdict=UNSURE)
STREAM = Outcome("response", verdict=DOWN, open=True)
INSTEAD = Outcome("instead")

MAY = Settled(may_retry=True, breaker=None)
MAY_NOT = Settled(may_retry=False, breaker=None)


def judge(outcome: Outcome) -> Verdict:
    """
    Read the verdict that the test has written on *outcome*.
    """
    return outcome.verdict or GOOD


def call(**settings: Any) -> Call:
    """
    Return a call with three attempts of its own, whose backoff is 10 and then 20 microseconds.
    """
    retry = RetrySpec(
        attempts=settings.pop("attempts", 3), base=10, factor=2.0, cap=1000, jitter=False,
        idempotent_only=settings.pop("idempotent_only", True),
    )  # fmt: skip
    frame = settings.pop("frame", None) or AttemptTree().enter(retry.attempts)
    values: dict[str, Any] = {"wait_until": WAIT_UNTIL, "judge": judge, "dice": lambda: 0.5} | settings
    return Call(ASK, retry=retry, frame=frame, **values)


def settle(verdict: Verdict, attempt: int = 1, *, wants_retry: bool = False, lease: Lease = LEASE) -> Settle:
    """
    Return the step that hands a lease back.
    """
    return Settle(lease, verdict, attempt=attempt, wants_retry=wants_retry)


ADMIT = Admit(ASK, WAIT_UNTIL)
PARK = Park(ASK, WAIT_UNTIL)
SEND = Send(1, LEASE, None)
DONE = Done(outcome=VALUE, verdict=GOOD, attempts=1)
STALE_INSTEAD = Done(outcome=Outcome("old"), denied=OPEN, is_hit=True)
GAVE_UP = Done(outcome=FAILED, verdict=DOWN, attempts=1)
SPENT = "the retry budget is used up"
NO_MORE = replace(GAVE_UP, why=SPENT)
TOO_LONG = "the server asks for 0.000 s, and a call without a deadline waits for 0.000 s at most"
TWICE: list[Step] = [
    ADMIT,
    SEND,
    settle(DOWN, wants_retry=True),
    Sleep(NOW + 10),
    ADMIT,
    Discard(FAILED),
    Send(2, AGAIN, None),
]
TO_SECOND = [LEASE, FAILED, MAY, None, AGAIN, None]

STORIES: dict[str, tuple[dict[str, Any], list[Any], list[Step], Done]] = {
    "a success": ({}, [LEASE, VALUE, MAY_NOT], [ADMIT, SEND, settle(GOOD)], DONE),
    # --- cache
    "a hit ends it before anything is touched": (
        {"cache_key": "k", "micro_usd": 7, "has_fallback": True},
        ["cached"],
        [Recall("k")],
        Done(outcome=Outcome("cached"), is_hit=True),
    ),
    "none may be a hit": (
        {"cache_key": "k"}, [None], [Recall("k")], Done(outcome=Outcome(None), is_hit=True),
    ),
    "a miss goes on": (
        {"cache_key": "k"},
        [MISS, LEASE, VALUE, MAY_NOT, None],
        [Recall("k"), ADMIT, SEND, settle(GOOD), Keep("k", DONE)],
        DONE,
    ),
    "a wait for the answer of another that does not fit": (
        {"cache_key": "k", "until": NOW + 9},
        [FULL, MISS],
        [Recall("k", NOW + 9), Recall("k", is_stale=True)],
        Done(denied=FULL),
    ),
    "a refusal takes an answer from before": (
        {"cache_key": "k", "has_fallback": True},
        [MISS, OPEN, "old", None],
        [Recall("k"), ADMIT, Recall("k", is_stale=True), Keep("k", STALE_INSTEAD)],
        Done(outcome=Outcome("old"), denied=OPEN, is_hit=True),
    ),
    "a failure takes an answer from before, and closes its own": (
        {"cache_key": "k", "attempts": 1},
        [MISS, LEASE, FAILED, MAY, "old", OSError("it can't be closed"), None],
        [
            Recall("k"), ADMIT, SEND, settle(DOWN), Recall("k", is_stale=True), Discard(FAILED),
            Keep("k", Done(outcome=Outcome("old"), verdict=DOWN, attempts=1, is_hit=True)),
        ],
        Done(outcome=Outcome("old"), verdict=DOWN, attempts=1, is_hit=True),
    ),
    "with none from before a failure takes the fallback": (
        {"cache_key": "k", "attempts": 1, "has_fallback": True},
        [MISS, LEASE, FAILED, MAY, MISS, INSTEAD, None],
        [
            Recall("k"), ADMIT, SEND, settle(DOWN), Recall("k", is_stale=True), Fall(GAVE_UP),
            Keep("k", Done(outcome=INSTEAD, verdict=DOWN, attempts=1, is_fallback=True, cause=FAILED)),
        ],
        Done(outcome=INSTEAD, verdict=DOWN, attempts=1, is_fallback=True, cause=FAILED),
    ),
    "a request's own failure is its answer": (
        {"cache_key": "k"},
        [MISS, LEASE, WRONG, MAY, None],
        [
            Recall("k"), ADMIT, SEND, settle(BAD),
            Keep("k", Done(outcome=WRONG, verdict=BAD, attempts=1)),
        ],
        Done(outcome=WRONG, verdict=BAD, attempts=1),
    ),
    "a body that has broken was given to its reader already": (
        {"cache_key": "k"},
        [MISS, LEASE, STREAM, FAILED, MAY, None],
        [
            Recall("k"), ADMIT, SEND, Stream(STREAM, LEASE), settle(DOWN),
            Keep("k", Done(outcome=FAILED, verdict=DOWN, attempts=1, is_open=True)),
        ],
        Done(outcome=FAILED, verdict=DOWN, attempts=1, is_open=True),
    ),
    # --- money
    "money is held for one attempt, and for the next one if the last has cost nothing": (
        {"micro_usd": 7, "cache_key": "k"},
        [MISS, "hold", LEASE, CROWDED, MAY, None, AGAIN, None, VALUE, MAY_NOT, None, None],
        [
            Recall("k"), Hold(7), ADMIT, SEND, settle(AWAY, wants_retry=True), Sleep(NOW + 10), ADMIT,
            Discard(CROWDED), Send(2, AGAIN, None), settle(GOOD, 2, lease=AGAIN),
            Charge("hold", Done(outcome=VALUE, verdict=GOOD, attempts=2)),
            Keep("k", Done(outcome=VALUE, verdict=GOOD, attempts=2)),
        ],
        Done(outcome=VALUE, verdict=GOOD, attempts=2),
    ),
    "an attempt that may have cost something is charged, and the next one held for anew": (
        {"micro_usd": 7},
        ["hold", LEASE, FAILED, MAY, None, None, "another", AGAIN, None, VALUE, MAY_NOT, None],
        [
            Hold(7), ADMIT, SEND, settle(DOWN, wants_retry=True), Charge("hold", GAVE_UP), Sleep(NOW + 10), Hold(7),
            ADMIT, Discard(FAILED), Send(2, AGAIN, None), settle(GOOD, 2, lease=AGAIN),
            Charge("another", Done(outcome=VALUE, verdict=GOOD, attempts=2)),
        ],
        Done(outcome=VALUE, verdict=GOOD, attempts=2),
    ),
    "without money for another attempt there is none": (
        {"micro_usd": 7},
        ["hold", LEASE, FAILED, MAY, None, None, POOR],
        [
            Hold(7), ADMIT, SEND, settle(DOWN, wants_retry=True), Charge("hold", GAVE_UP), Sleep(NOW + 10), Hold(7),
        ],
        Done(outcome=FAILED, denied=POOR, verdict=DOWN, attempts=1),
    ),
    "a spent budget": ({"micro_usd": 7}, [POOR], [Hold(7)], Done(denied=POOR)),
    "a spent budget takes the fallback, and charges nothing": (
        {"micro_usd": 7, "has_fallback": True},
        [POOR, INSTEAD],
        [Hold(7), Fall(Done(denied=POOR))],
        Done(outcome=INSTEAD, denied=POOR, is_fallback=True),
    ),
    "a refusal after the hold gives the money back": (
        {"micro_usd": 7}, ["hold", OPEN, None], [Hold(7), ADMIT, Charge("hold", Done(denied=OPEN))], Done(denied=OPEN),
    ),
    "the money is settled before the fallback": (
        {"micro_usd": 7, "has_fallback": True},
        ["hold", OPEN, None, INSTEAD],
        [Hold(7), ADMIT, Charge("hold", Done(denied=OPEN)), Fall(Done(denied=OPEN))],
        Done(outcome=INSTEAD, denied=OPEN, is_fallback=True),
    ),
    # --- waiting
    "a limit is waited for": (
        {}, [FULL, LEASE, VALUE, MAY_NOT], [ADMIT, PARK, SEND, settle(GOOD)], DONE,
    ),
    "a Retry-After is waited for": (
        {}, [FULL._replace(key="retry_after"), LEASE, VALUE, MAY_NOT], [ADMIT, PARK, SEND, settle(GOOD)], DONE,
    ),
    "what is waited for may be refused in the queue": ({}, [FULL, OPEN], [ADMIT, PARK], Done(denied=OPEN)),
    "an open breaker is not waited for": ({}, [OPEN], [ADMIT], Done(denied=OPEN)),
    "a wait that just fits": (
        {"wait_until": NOW + 50}, [FULL, OPEN], [Admit(ASK, NOW + 50), Park(ASK, NOW + 50)], Done(denied=OPEN),
    ),
    "a wait that can't fit is refused at once": (
        {"wait_until": NOW + 49},
        [FULL],
        [Admit(ASK, NOW + 49)],
        Done(denied=FULL._replace(why=Why.WAIT_TOO_LONG)),
    ),
    "a wait of unknown length may fit": (
        {"wait_until": NOW + 1},
        [FULL._replace(wait=None), OPEN],
        [Admit(ASK, NOW + 1), Park(ASK, NOW + 1)],
        Done(denied=OPEN),
    ),
    "who may not wait at all doesn't": (
        {"wait_until": NOW},
        [FULL._replace(wait=None)],
        [Admit(ASK, NOW)],
        Done(denied=FULL._replace(why=Why.WAIT_TOO_LONG, wait=None)),
    ),
    "a turn at the very deadline is of no use": (
        {"until": NOW + 50},
        [FULL],
        [Admit(ASK, NOW + 49)],
        Done(denied=FULL._replace(why=Why.WAIT_TOO_LONG)),
    ),
    "a turn just before the deadline is taken": (
        {"until": NOW + 51}, [FULL, OPEN], [Admit(ASK, NOW + 50), Park(ASK, NOW + 50)], Done(denied=OPEN),
    ),
    # --- retries
    "a retry that succeeds": (
        {},
        [*TO_SECOND, VALUE, MAY_NOT],
        [*TWICE, settle(GOOD, 2, lease=AGAIN)],
        Done(outcome=VALUE, verdict=GOOD, attempts=2),
    ),
    "all attempts fail": (
        {},
        [*TO_SECOND, FAILED, MAY, None, LEASE, None, FAILED, MAY_NOT],
        [
            *TWICE, settle(DOWN, 2, wants_retry=True, lease=AGAIN), Sleep(NOW + 20), ADMIT, Discard(FAILED),
            Send(3, LEASE, None), settle(DOWN, 3),
        ],
        Done(outcome=FAILED, verdict=DOWN, attempts=3),
    ),
    "a retry is admitted anew, and may be refused": (
        {},
        [LEASE, FAILED, MAY, None, OPEN],
        [ADMIT, SEND, settle(DOWN, wants_retry=True), Sleep(NOW + 10), ADMIT],
        Done(outcome=FAILED, denied=OPEN, verdict=DOWN, attempts=1),
    ),
    "a retry may have to wait": (
        {},
        [LEASE, FAILED, MAY, None, FULL, AGAIN, None, VALUE, MAY_NOT],
        [*TWICE[:5], PARK, *TWICE[5:], settle(GOOD, 2, lease=AGAIN)],
        Done(outcome=VALUE, verdict=GOOD, attempts=2),
    ),
    "the server's time is waited for": (
        {},
        [LEASE, Outcome(verdict=LATER), MAY, None, OPEN],
        [ADMIT, SEND, settle(LATER, wants_retry=True), Sleep(NOW + 300), ADMIT],
        Done(outcome=Outcome(verdict=LATER), denied=OPEN, verdict=LATER, attempts=1),
    ),
    "not retryable": (
        {}, [LEASE, WRONG, MAY], [ADMIT, SEND, settle(BAD)], Done(outcome=WRONG, verdict=BAD, attempts=1),
    ),
    "one attempt is all": ({"attempts": 1}, [LEASE, FAILED, MAY], [ADMIT, SEND, settle(DOWN)], GAVE_UP),
    "what may have run is not sent again": (
        {"is_idempotent": False},
        [LEASE, BROKEN, MAY],
        [ADMIT, SEND, settle(UNSURE)],
        Done(outcome=BROKEN, verdict=UNSURE, attempts=1, why="it may have been executed"),
    ),
    "what may have run is sent again if it is idempotent": (
        {}, [LEASE, BROKEN, MAY_NOT], [ADMIT, SEND, settle(UNSURE, wants_retry=True)],
        Done(outcome=BROKEN, verdict=UNSURE, attempts=1, why=SPENT),
    ),
    "what may have run is sent again if the policy says so": (
        {"is_idempotent": False, "idempotent_only": False},
        [LEASE, BROKEN, MAY_NOT],
        [ADMIT, SEND, settle(UNSURE, wants_retry=True)],
        Done(outcome=BROKEN, verdict=UNSURE, attempts=1, why=SPENT),
    ),
    "what surely has not run is sent again": (
        {"is_idempotent": False}, [LEASE, FAILED, MAY_NOT], [ADMIT, SEND, settle(DOWN, wants_retry=True)], NO_MORE,
    ),
    "a server that asks for longer than a call waits": (
        {"patience": 299},
        [LEASE, Outcome(verdict=LATER), MAY],
        [ADMIT, SEND, settle(LATER)],
        Done(outcome=Outcome(verdict=LATER), verdict=LATER, attempts=1, why=TOO_LONG),
    ),
    "a server that asks for as long as a call waits": (
        {"patience": 300},
        [LEASE, Outcome(verdict=LATER), MAY, None, OPEN],
        [ADMIT, SEND, settle(LATER, wants_retry=True), Sleep(NOW + 300), ADMIT],
        Done(outcome=Outcome(verdict=LATER), denied=OPEN, verdict=LATER, attempts=1),
    ),
    "a backoff that reaches the deadline": (
        {"until": NOW + 10},
        [LEASE, FAILED, MAY],
        [Admit(ASK, NOW + 9), Send(1, LEASE, NOW + 10), settle(DOWN)],
        replace(GAVE_UP, why="the wait of 0.000 s does not fit its deadline"),
    ),
    "a backoff that fits before the deadline": (
        {"until": NOW + 11},
        [LEASE, FAILED, MAY_NOT],
        [Admit(ASK, NOW + 10), Send(1, LEASE, NOW + 11), settle(DOWN, wants_retry=True)],
        NO_MORE,
    ),
    "a suspension is not waited for": (
        {}, [LEASE, Outcome(verdict=AWAY_FOR_LONG), MAY], [ADMIT, SEND, settle(AWAY_FOR_LONG)],
        Done(
            outcome=Outcome(verdict=AWAY_FOR_LONG), verdict=AWAY_FOR_LONG, attempts=1,
            why="no call waits for the end of a suspension",
        ),
    ),
    "the retry budget says no": ({}, [LEASE, FAILED, MAY_NOT], [ADMIT, SEND, settle(DOWN, wants_retry=True)], NO_MORE),
    # --- streams
    "a body that streams holds the lease to its end": (
        {}, [LEASE, STREAM, VALUE, MAY_NOT], [ADMIT, SEND, Stream(STREAM, LEASE), settle(GOOD)],
        Done(outcome=VALUE, verdict=GOOD, attempts=1, is_open=True),
    ),
    "a body that breaks is not sent again": (
        {}, [LEASE, STREAM, FAILED, MAY], [ADMIT, SEND, Stream(STREAM, LEASE), settle(DOWN)],
        Done(outcome=FAILED, verdict=DOWN, attempts=1, is_open=True),
    ),
    # --- fallback
    "a success needs no fallback": (
        {"has_fallback": True}, [LEASE, VALUE, MAY_NOT], [ADMIT, SEND, settle(GOOD)], DONE,
    ),
    "a failure takes the fallback": (
        {"has_fallback": True, "attempts": 1},
        [LEASE, FAILED, MAY, INSTEAD],
        [ADMIT, SEND, settle(DOWN), Fall(GAVE_UP)],
        Done(outcome=INSTEAD, verdict=DOWN, attempts=1, is_fallback=True, cause=FAILED),
    ),
    "a refusal takes the fallback": (
        {"has_fallback": True},
        [OPEN, INSTEAD],
        [ADMIT, Fall(Done(denied=OPEN))],
        Done(outcome=INSTEAD, denied=OPEN, is_fallback=True),
    ),
    "a refused retry takes the fallback": (
        {"has_fallback": True},
        [LEASE, FAILED, MAY, None, OPEN, INSTEAD],
        [*TWICE[:5], Fall(Done(outcome=FAILED, denied=OPEN, verdict=DOWN, attempts=1))],
        Done(outcome=INSTEAD, denied=OPEN, verdict=DOWN, attempts=1, is_fallback=True, cause=FAILED),
    ),
}  # fmt: skip


def told(done: Done | None) -> dict[str, Any] | None:
    """
    Return *done* with the parts of its outcome, which have no equality of their own.
    """
    if done is None:
        return None
    outcome = done.outcome
    parts = None if outcome is None else (outcome.value, outcome.error, outcome.verdict)
    names = ("denied", "verdict", "attempts", "is_fallback", "is_hit", "is_open")
    return {"outcome": parts} | {name: getattr(done, name) for name in names}


def shape(steps: list[Step]) -> list[tuple[Any, ...]]:
    """
    Return *steps* as comparable values.
    """
    return [
        (
            type(step),
            *(told(part) if isinstance(part, Done) else part for part in map(step.__getattribute__, step.__slots__)),
        )
        for step in steps
    ]


@pytest.mark.parametrize("story", STORIES)
def test_a_story_is_told_to_its_end(story: str) -> None:
    """
    The steps, in order, with all they say, and what the call came to.
    """
    settings, replies, steps, done = STORIES[story]

    played, end = play(plan(call(**dict(settings))), replies, now=NOW)

    assert shape(played) == shape(steps)
    assert told(end) == told(done)


def test_a_first_attempt_that_was_made_already_is_settled() -> None:
    """
    The straight path hands its failure over: the plan goes on with the verdict, and the next attempt is the second.
    """
    steps, done = play(plan(call(), first=(LEASE, FAILED, NOW)), [MAY, None, AGAIN, None, VALUE, MAY_NOT], now=NOW)

    assert shape(steps) == shape([*TWICE[2:], settle(GOOD, 2, lease=AGAIN)])
    assert done is not None
    assert done.attempts == 2


def test_a_call_around_this_one_has_used_the_attempts() -> None:
    """
    Nested calls share the attempts of the largest: nothing is left to ask the retry budget for.
    """
    tree = AttemptTree()
    outer, inner = tree.enter(2), tree.enter(2)
    outer.retry()

    steps, _ = play(plan(call(frame=inner, attempts=2)), [LEASE, FAILED, MAY], now=NOW)

    assert shape(steps) == shape([ADMIT, SEND, settle(DOWN)])


def test_a_neighbour_takes_the_last_attempt_meanwhile() -> None:
    """
    Between the asking and the taking somebody beside this call may be faster: then there is no retry.
    """
    tree = AttemptTree()
    here, beside = tree.enter(2), tree.enter(2)
    story = plan(call(frame=here, attempts=2))
    play_until_settle = [next(story), story.send((LEASE, NOW)), story.send((FAILED, NOW))]
    beside.retry()

    with pytest.raises(StopIteration) as stop:
        story.send((MAY, NOW))

    assert shape(play_until_settle) == shape([ADMIT, SEND, settle(DOWN, wants_retry=True)])
    assert told(stop.value.value) == told(GAVE_UP)


@pytest.mark.parametrize(("jitter", "delay"), [(0.0, 300), (0.5, 450)])
def test_jitter_comes_on_top_of_what_the_server_asked_for(jitter: float, delay: int) -> None:
    """
    The dice are thrown by whoever made the call.
    """
    made = call(dice=lambda: jitter)
    made.retry = RetrySpec(attempts=2, base=10, factor=2.0, cap=1000, jitter=True, idempotent_only=True)

    steps, _ = play(plan(made), [LEASE, Outcome(verdict=LATER), MAY], now=NOW)

    assert steps[-1] == Sleep(NOW + delay)


@pytest.mark.parametrize(
    ("factor", "asked", "delay"),
    [(3.0, None, 30), (0.5, None, 5), (3.0, 300, 900), (0.5, 300, 300)],
    ids=["longer", "shorter", "longer than asked", "never earlier than asked"],
)
def test_a_pattern_s_backoff_changes_the_pause(factor: float, asked: int | None, delay: int) -> None:
    """
    A user's pattern lengthens or shortens our own pause, and never shortens a server's.
    """
    made = call(dice=lambda: 0.0)
    made.retry = RetrySpec(attempts=2, base=10, factor=2.0, cap=1000, jitter=False, idempotent_only=True)
    verdict = replace(LATER, backoff=factor, retry_after=None if asked is None else asked / 1_000_000)

    steps, _ = play(plan(made), [LEASE, Outcome(verdict=verdict), MAY], now=NOW)

    assert steps[-1] == Sleep(NOW + delay)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), GeneratorExit()], ids=repr)
def test_an_exit_is_nobody_s_failure_to_make_good(error: BaseException) -> None:
    """
    Ctrl-C, an exit or a cancellation in the user's function takes no fallback.
    """
    outcome = Outcome(error=error, verdict=BAD)

    steps, done = play(plan(call(has_fallback=True)), [LEASE, outcome, MAY], now=NOW)

    assert shape(steps) == shape([ADMIT, SEND, settle(BAD)])
    assert done is not None
    assert done.outcome is outcome


class Interruption(BaseException):
    """
    What a driver throws in: a cancelled task, Ctrl-C.
    """


def run_out(running: Plan, error: BaseException, after: list[Step]) -> None:
    """
    Throw *error* in, and perform in *after* what the plan still wants done.
    """
    after.append(running.throw(error))
    while True:
        after.append(running.send((None, NOW)))


def test_a_dropped_plan_leaves_its_hold_to_whoever_dropped_it() -> None:
    """
    The collector closes it where its body streams: it wants nothing done any more.
    """
    running = plan(call(micro_usd=7))
    seen = [next(running)]
    seen += [running.send((reply, NOW)) for reply in ("hold", LEASE, STREAM)]
    running.close()

    assert [type(step) for step in seen] == [Hold, Admit, Send, Stream]


LONGEST = (
    "money is held for one attempt, and for the next one if the last has cost nothing",
    "an attempt that may have cost something is charged, and the next one held for anew",
    "a limit is waited for",
    "a failure takes the fallback",
    "a body that streams holds the lease to its end",
)


@pytest.mark.parametrize(("story", "at"), [(story, at) for story in LONGEST for at in range(len(STORIES[story][1]))])
def test_an_interruption_at_any_step_settles_what_was_taken(story: str, at: int) -> None:
    """
    Thrown in at any step, it comes out, after each hold is charged and the lease of a discarded attempt is settled.

    A driver throws nothing in at ``Send``, ``Stream`` and ``Settle``: there an interruption is an outcome, or waits.
    """
    settings, replies, steps, _ = STORIES[story]
    running = plan(call(**dict(settings)))
    seen = [next(running)]
    seen += [running.send((reply, NOW)) for reply in replies[:at]]
    error = Interruption()

    after: list[Step] = []
    with pytest.raises(Interruption) as caught:
        run_out(running, error, after)

    held = sum(isinstance(step, Hold) for step in steps[:at])
    charged = sum(isinstance(step, Charge) for step in steps[: at + 1])
    discarding = isinstance(steps[at], Discard)
    assert caught.value is error
    missed = any(isinstance(step, Recall) for step in steps[:at]) and not isinstance(steps[at], Keep)
    ends = [Charge] * (held - charged) + [Keep] * missed
    assert [type(step) for step in after] == [Settle] * discarding + ends
    assert all(step.done is None for step in after if isinstance(step, Charge | Keep) and not charged)
    if discarding:
        assert isinstance(after[0], Settle)
        assert (after[0].lease, after[0].verdict.category) == (AGAIN, ErrorCategory.CANCELLED)


def test_a_response_that_can_t_be_closed_doesn_t_end_the_call() -> None:
    """
    Nobody is given it any more: the retry that replaces it goes on.
    """
    replies: list[Any] = [*TO_SECOND[:5], OSError("closed already"), VALUE, MAY_NOT]

    steps, done = play(plan(call()), replies, now=NOW)

    assert shape(steps) == shape([*TWICE, settle(GOOD, 2, lease=AGAIN)])
    assert done is not None
    assert done.outcome is VALUE


def test_playing_stops_where_the_replies_do() -> None:
    """
    `play` returns the step that waits for its reply, and no end; each reply comes *step* later than the one before.
    """
    steps, done = play(plan(call(wait_until=NOW + 60)), [FULL], now=NOW + 10, step=5)

    assert (shape(steps), done) == (shape([Admit(ASK, NOW + 60), Park(ASK, NOW + 60)]), None)
