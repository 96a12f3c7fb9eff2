"""
The table of scenes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from egressor import Priority
from tests.parity.stage import Answer, Call, Scene

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.parity.stage import Stage

__all__ = ["SCENES"]

SHED = "the service fails many of its calls, and more urgent ones go first"
REFUSED = "ConnectionRefusedError | [Errno 111] refused"
GAVE_UP = "egressor: s: gave up after"
NO_MORE = "egressor: s: not tried again"
NO_RETRY = {"attempts": 1}
TWICE = {"attempts": 2, "base": 1.0, "budget": False}
PRICE = {"usd": 0.0005}
ONE_BAD_CALL_OPENS = {"consecutive": 1, "open_for": 5.0}


def fresh(kind: Callable[..., BaseException], *args: Any) -> Any:
    """
    Return an attempt that raises an exception of *kind*, a new one in each run: exceptions keep notes.
    """
    return lambda stage: kind(*args)


refused = fresh(ConnectionRefusedError, 111, "refused")
reset = fresh(ConnectionResetError, 104, "reset")


def after(seconds: float, result: object) -> Any:
    """
    Return an attempt that takes *seconds* and comes to *result*.
    """

    def attempt(stage: Stage) -> object:
        stage.clock.advance(seconds)
        return result(stage) if callable(result) else result

    return attempt


def wait(seconds: float) -> Any:
    """
    Let *seconds* pass between two calls.
    """
    return lambda stage: stage.clock.advance(seconds)


def pause_in(seconds: float) -> Any:
    """
    Let an operator pause the service *seconds* from now.
    """
    return lambda stage: stage.later(seconds, lambda: stage.gov.pause("s", "maintenance"))


def hold(stage: Stage) -> None:
    """
    Let somebody else take a place for good.
    """
    stage.hold()


def give_back_in(seconds: float) -> Any:
    """
    Let somebody else take a place, and give it back *seconds* from now.
    """

    def act(stage: Stage) -> None:
        stage.hold()
        stage.later(seconds, stage.give_back)

    return act


def bystand(priority: Priority) -> Any:
    """
    Let somebody of *priority* wait.
    """
    return lambda stage: stage.bystand(priority)


def nine() -> int:
    """
    Be a fallback.
    """
    return 9


def broken() -> int:
    """
    Be a fallback that fails.
    """
    msg = "the fallback failed too"
    raise LookupError(msg)


def cost_of(text: str) -> dict[str, float]:
    """
    Return the tokens of *text*.
    """
    return {"tokens": len(text)}


def scope_of(user: str) -> dict[str, str]:
    """
    Return whose call it is.
    """
    return {"user": user}


class Odd(BaseException):
    """
    An exception that nobody knows, and that is no `Exception`.
    """


CALL = Call()

SCENES = [
    Scene("success", {}, [CALL, CALL], [1, "two"], ["returned 1", "returned 'two'"], [0, 0]),
    Scene("a success that takes its time", {"max_concurrency": 1}, [CALL], [after(3, 1)], ["returned 1"], [0]),
    Scene("None is a value", {}, [CALL], [None], ["returned None"], [0]),
    Scene(
        "a wait for a token bucket",
        {"limits": ["1/second burst 1"]},
        [CALL, CALL, CALL],
        [1, 2, 3],
        ["returned 1", "returned 2", "returned 3"],
        [0, 1, 2],
    ),
    Scene(
        "a wait for a fixed window, whose end is 60 s after the stage's beginning",
        {"limits": ["1/minute fixed"], "max_wait": 90.0},
        [CALL, CALL],
        [1, 2],
        ["returned 1", "returned 2"],
        [0, 60],
    ),
    Scene(
        "refused by a limit",
        {"limits": ["1/minute burst 1"], "max_wait": 10.0},
        [CALL, CALL],
        [1],
        [
            "returned 1",
            "WaitTooLong | s: 1/minute burst 1 is used up; the wait of 60.000 s does not fit | retry_after 60",
        ],
        [0],
    ),
    Scene(
        "waiting exactly as long as the refusal said is enough",
        {"limits": ["1/minute burst 1"], "max_wait": 10.0},
        [CALL, CALL, wait(60), CALL],
        [1, 2],
        [
            "returned 1",
            "WaitTooLong | s: 1/minute burst 1 is used up; the wait of 60.000 s does not fit | retry_after 60",
            "returned 2",
        ],
        [0, 60],
    ),
    Scene(
        "a deadline that the wait can't meet",
        {"limits": ["1/minute burst 1"]},
        [CALL, Call({"deadline": 5.0})],
        [1],
        [
            "returned 1",
            "WaitTooLong | s: 1/minute burst 1 is used up; the wait of 60.000 s does not fit | retry_after 60",
        ],
        [0],
    ),
    Scene("a deadline that is met", {}, [Call({"deadline": 5.0})], [after(3, 1)], ["returned 1"], [0]),
    Scene(
        "a deadline that passes while a place is taken",
        {"max_concurrency": 1},
        [hold, Call({"deadline": 5.0})],
        [],
        ["WaitTooLong | s: its turn did not come within 5.000 s | retry_after 1"],
        [],
    ),
    Scene(
        "a deadline that passes in the attempt",
        {"retry": TWICE},
        [Call({"deadline": 5.0})],
        [after(6, refused)],
        [f"{REFUSED} | {NO_MORE}: the wait of 0.500 s does not fit its deadline"],
        [0],
    ),
    Scene(
        "a deadline that the backoff can't meet",
        {"retry": {**TWICE, "base": 20.0, "cap": 20.0}},
        [Call({"deadline": 5.0})],
        [refused],
        [f"{REFUSED} | {NO_MORE}: the wait of 10.000 s does not fit its deadline"],
        [0],
    ),
    Scene(
        "a deadline that a retry's wait can't meet",
        {"retry": TWICE, "limits": ["1/minute burst 1"]},
        [Call({"deadline": 5.0})],
        [refused],
        [f"{REFUSED} | egressor: s: not tried again: 1/minute burst 1 is used up"],
        [0],
    ),
    Scene("retry, then success", {"retry": TWICE}, [CALL], [refused, 2], ["returned 2"], [0, 0.5]),
    Scene(
        "retries wait longer and longer",
        {"retry": {"attempts": 4, "base": 1.0, "cap": 3.0}},
        [CALL],
        [refused, refused, refused, 4],
        ["returned 4"],
        [0, 0.5, 1.5, 3.0],
    ),
    Scene("give up", {"retry": TWICE}, [CALL], [refused] * 2, [f"{REFUSED} | {GAVE_UP} 2 attempts"], [0, 0.5]),
    Scene(
        "each retry is admitted anew",
        {"retry": TWICE, "limits": ["1/second burst 1"]},
        [CALL],
        [refused, 2],
        ["returned 2"],
        [0, 1],
    ),
    Scene(
        "a retry that the open breaker refuses",
        {"retry": TWICE, "breaker": ONE_BAD_CALL_OPENS},
        [CALL],
        [refused],
        [f"{REFUSED} | egressor: s: not tried again: the breaker is open, next probe in 4.500 s"],
        [0],
    ),
    Scene(
        "the retry budget is empty after its reserve of ten",
        {"retry": {"attempts": 2, "base": 0.0, "budget": 0.001}, "breaker": {"consecutive": 1000, "shed": False}},
        [CALL] * 12,
        [refused] * 22,
        [f"{REFUSED} | {GAVE_UP} 2 attempts"] * 10 + [f"{REFUSED} | {NO_MORE}: the retry budget is used up"] * 2,
        [0.0] * 22,
    ),
    Scene(
        "a medium call is shed while its service limps, a critical one is not",
        {"retry": NO_RETRY, "breaker": {"consecutive": 1000, "min_calls": 3}},
        [CALL, CALL, CALL, CALL, Call({"priority": "critical"})],
        [refused, refused, refused, 1],
        [*[REFUSED] * 3, f"CircuitOpen | s: {SHED} | retry_after 6", "returned 1"],
        [0.0] * 4,
    ),
    Scene("a fallback that is a value", {"retry": NO_RETRY}, [Call({"fallback": 7})], [refused], ["returned 7"], [0]),
    Scene(
        "a fallback that is None", {"retry": NO_RETRY}, [Call({"fallback": None})], [refused], ["returned None"], [0]
    ),
    Scene("a fallback function", {"retry": TWICE}, [Call({"fallback": nine})], [refused] * 2, ["returned 9"], [0, 0.5]),
    Scene(
        "a fallback that raises",
        {"retry": NO_RETRY},
        [Call({"fallback": broken})],
        [refused],
        ["LookupError | the fallback failed too"],
        [0],
    ),
    Scene(
        "a fallback for a refusal",
        {"limits": ["1/minute burst 1"], "max_wait": 0.0},
        [CALL, Call({"fallback": nine})],
        [1],
        ["returned 1", "returned 9"],
        [0],
    ),
    Scene("no fallback for a success", {}, [Call({"fallback": nine})], [1], ["returned 1"], [0]),
    Scene(
        "an open breaker, and a probe that closes it",
        {"retry": NO_RETRY, "breaker": ONE_BAD_CALL_OPENS},
        [CALL, CALL, wait(5), CALL, CALL],
        [refused, 2, 3],
        [
            REFUSED,
            "CircuitOpen | s: the breaker is open, next probe in 5.000 s | retry_after 5",
            "returned 2",
            "returned 3",
        ],
        [0, 5, 5],
    ),
    Scene(
        "a probe that fails opens the breaker for longer",
        {"retry": NO_RETRY, "breaker": ONE_BAD_CALL_OPENS},
        [CALL, wait(5), CALL, wait(5), CALL, wait(5), CALL],
        [refused, refused, 3],
        [REFUSED, REFUSED, "CircuitOpen | s: the breaker is open, next probe in 5.000 s | retry_after 5", "returned 3"],
        [0, 5, 15],
    ),
    Scene(
        "a breaker that is forced open",
        {},
        [lambda stage: stage.gov.force_open("s"), CALL, lambda stage: stage.gov.reset_breaker("s"), CALL],
        [1],
        ["CircuitOpen | s: the breaker is forced open", "returned 1"],
        [0],
    ),
    Scene(
        "a breaker that was never asked for",
        {"retry": NO_RETRY, "breaker": {"enabled": False}},
        [CALL] * 9,
        [refused] * 9,
        [REFUSED] * 9,
        [0.0] * 9,
    ),
    Scene(
        "a user's mistake says nothing about the service",
        {"retry": TWICE, "breaker": ONE_BAD_CALL_OPENS},
        [CALL, CALL],
        [fresh(ValueError, "not a number"), 2],
        ["ValueError | not a number", "returned 2"],
        [0, 0],
    ),
    Scene(
        "a pause, and its end",
        {},
        [lambda stage: stage.gov.pause("s", "maintenance"), CALL, lambda stage: stage.gov.resume("s"), CALL],
        [1],
        ["Paused | s: maintenance", "returned 1"],
        [0],
    ),
    Scene(
        "a pause while the call waits",
        {"limits": ["1/minute burst 1"], "max_wait": 90.0},
        [CALL, pause_in(3), CALL],
        [1],
        ["returned 1", "Paused | s: maintenance"],
        [0],
    ),
    Scene(
        "a cost that can never fit",
        {"limits": ["10 tokens/second burst 10"]},
        [Call({"cost": {"tokens": 11}}), Call({"cost": {"tokens": 10}})],
        [1],
        [
            "NeverFits | s: a cost of 11 tokens can never fit 10 tokens/second burst 10, which holds 10 at once",
            "returned 1",
        ],
        [0],
    ),
    Scene(
        "a full queue",
        {"limits": ["1/second burst 1"], "queue_size": 1},
        [CALL, bystand(Priority.MEDIUM), CALL],
        [1],
        ["returned 1", "QueueFull | s: 1 calls wait already (queue_size 1) | retry_after 2"],
        [0],
    ),
    Scene(
        "a full queue gives up a lower priority for a higher one",
        {"limits": ["1/second burst 1"], "queue_size": 2},
        [CALL, bystand(Priority.HIGH), bystand(Priority.LOW), Call({"priority": "high"})],
        [1, 2],
        ["returned 1", "returned 2"],
        [0, 2],
    ),
    Scene(
        "a higher priority goes first",
        {"limits": ["1/second burst 1"]},
        [CALL, bystand(Priority.LOW), bystand(Priority.LOW), Call({"priority": Priority.CRITICAL})],
        [1, 2],
        ["returned 1", "returned 2"],
        [0, 1],
    ),
    Scene(
        "a wait for a place",
        {"max_concurrency": 1},
        [give_back_in(4), CALL],
        [1],
        ["returned 1"],
        [4],
    ),
    Scene(
        "a wait for a place that never comes free",
        {"max_concurrency": 1, "max_wait": 6.0},
        [hold, CALL],
        [],
        ["WaitTooLong | s: its turn did not come within 6.000 s | retry_after 1"],
        [],
    ),
    Scene(
        "a cost by function of the arguments",
        {"limits": ["10 tokens/second burst 10"]},
        [
            Call({"cost": cost_of}, ("12345678",)),
            Call({"cost": cost_of}, ("1234",)),
            Call({"cost": cost_of}, ("1" * 11,)),
        ],
        [1, 2],
        [
            "returned 1",
            "returned 2",
            "NeverFits | s: a cost of 11 tokens can never fit 10 tokens/second burst 10, which holds 10 at once",
        ],
        [0, 0.2],
    ),
    Scene(
        "a scope by function of the arguments",
        {"rules": [{"match": {"user": "*"}, "limits": ["1/second burst 1"]}]},
        [Call({"scope": scope_of}, ("ann",)), Call({"scope": scope_of}, ("bob",)), Call({"scope": scope_of}, ("ann",))],
        [1, 2, 3],
        ["returned 1", "returned 2", "returned 3"],
        [0, 0, 1],
    ),
    Scene(
        "a cost function that raises is the caller's mistake, and takes nothing",
        {"limits": ["1/second burst 1"]},
        [Call({"cost": cost_of}, (5,)), CALL],
        [1],
        ["TypeError | object of type 'int' has no len()", "returned 1"],
        [0],
    ),
    Scene(
        "503, then 200",
        {"retry": TWICE},
        [CALL],
        [Answer(503), Answer(200)],
        ["returned Answer 200"],
        [0, 0.5],
    ),
    Scene("503 to the end is a value", {"retry": TWICE}, [CALL], [Answer(503)] * 2, ["returned Answer 503"], [0, 0.5]),
    Scene("404 is a value, and final", {"retry": TWICE}, [CALL], [Answer(404)], ["returned Answer 404"], [0]),
    Scene(
        "503s open the breaker",
        {"retry": NO_RETRY, "breaker": ONE_BAD_CALL_OPENS},
        [CALL, CALL],
        [Answer(503)],
        ["returned Answer 503", "CircuitOpen | s: the breaker is open, next probe in 5.000 s | retry_after 5"],
        [0],
    ),
    Scene(
        "a Retry-After is waited for, with jitter on top",
        {"retry": TWICE},
        [CALL],
        [Answer(429, Retry_After="4"), Answer(200)],
        ["returned Answer 200"],
        [0, 6],
    ),
    Scene(
        "a Retry-After holds everybody back",
        {"retry": NO_RETRY},
        [CALL, CALL],
        [Answer(429, Retry_After="4"), 2],
        ["returned Answer 429", "returned 2"],
        [0, 4.125],
    ),
    Scene(
        "a Retry-After that does not fit",
        {"retry": NO_RETRY, "max_wait": 2.0},
        [CALL, CALL],
        [Answer(429, Retry_After="4")],
        [
            "returned Answer 429",
            (
                "WaitTooLong | s: the server asked every caller to stay away; the wait of 4.125 s does not fit"
                " | retry_after 4.125"
            ),
        ],
        [0],
    ),
    Scene(
        "a 429 that names no time holds everybody back, for longer the second time",
        {"retry": NO_RETRY},
        [CALL, CALL, CALL, CALL, CALL],
        [Answer(429), Answer(429), 3, Answer(429), 5],
        ["returned Answer 429", "returned Answer 429", "returned 3", "returned Answer 429", "returned 5"],
        [0, 1.03125, 3.09375, 3.09375, 4.125],
    ),
    Scene(
        "the retry of a 429 that names no time waits as long as everybody, and no longer, whatever its max_wait",
        {"retry": {**TWICE, "attempts": 3}, "max_wait": 0.0},
        [CALL],
        [Answer(429), Answer(429), Answer(200)],
        ["returned Answer 200"],
        [0, 1.03125, 3.09375],
    ),
    Scene(
        "a 429 that names no time, and a wait that does not fit",
        {"retry": NO_RETRY, "max_wait": 1.0},
        [CALL, CALL, wait(0.5), CALL],
        [Answer(429), 2],
        [
            "returned Answer 429",
            (
                "WaitTooLong | s: the server said that calls come too fast, and not until when; the wait of 1.031 s"
                " does not fit | retry_after 1.03125"
            ),
            "returned 2",
        ],
        [0, 1.03125],
    ),
    Scene(
        "a deadline that a 429's wait can't meet",
        {"retry": TWICE},
        [Call({"deadline": 0.75})],
        [Answer(429)],
        ["returned Answer 429"],
        [0],
    ),
    Scene(
        "what may have run is not sent again if it is not idempotent",
        {"retry": TWICE},
        [Call({"idempotent": False})],
        [reset],
        ["ConnectionResetError | [Errno 104] reset | egressor: s: not tried again: it may have been executed"],
        [0],
    ),
    Scene(
        "what may have run is sent again if it is idempotent",
        {"retry": TWICE},
        [CALL],
        [reset, 2],
        ["returned 2"],
        [0, 0.5],
    ),
    Scene(
        "what can't have run is sent again in any case",
        {"retry": TWICE},
        [Call({"idempotent": False})],
        [refused, 2],
        ["returned 2"],
        [0, 0.5],
    ),
    Scene(
        "an exception group of failures worth another attempt",
        {"retry": TWICE},
        [CALL],
        [lambda stage: ExceptionGroup("both", [refused(stage), refused(stage)]), 2],
        ["returned 2"],
        [0, 0.5],
    ),
    Scene(
        "a budget pays for attempts that may have cost something, and for no more",
        {"retry": TWICE, "budget": {"total": 0.001}},
        [
            Call({"cost": {"usd": 0.0005}}),
            Call({"cost": {"usd": 0.0005}}),
            Call({"cost": {"usd": 0.0005}, "fallback": 7}),
        ],
        [refused, 1, lambda stage: ValueError("x")],
        ["returned 1", "ValueError | x", "returned 7"],
        [0, 0.5, 0.5],
    ),
    *[
        Scene(
            f"{kind.__name__} goes through at once, fallback or not, and says nothing about the service",
            {"retry": TWICE, "breaker": ONE_BAD_CALL_OPENS, "max_concurrency": 1},
            [CALL, Call({"fallback": 7}), CALL],
            [fresh(kind, *args), fresh(kind, *args), 3],
            [ending, ending, "returned 3"],
            [0, 0, 0],
        )
        for kind, args, ending in [
            (GeneratorExit, ("left",), "GeneratorExit | left"),
            (asyncio.CancelledError, ("left",), "CancelledError | left"),
            (Odd, ("left",), "Odd | left"),
            (BaseExceptionGroup, ("left", [GeneratorExit()]), "BaseExceptionGroup | left (1 sub-exception)"),
        ]
    ],
]
"""
Every scene.
"""
