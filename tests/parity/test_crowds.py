"""
Identical calls under way at once, in virtual time: threads and tasks come to the same at the same moments.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest

from egressor import Governor, Rejected
from egressor._core.cache import Found
from egressor._core.model import ErrorCategory, Outcome, Verdict
from egressor.governor.route import Options
from egressor.governor.streams import aopen_call, open_call
from egressor.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from egressor._core.admission import Lease
    from egressor.governor import Route
    from egressor.governor.caching import Memory

SECOND = 1_000_000
EARLY = SECOND
URL = "https://api.example/a"
JSON = ("content-type", "application/json")
GOOD = (200, Verdict(), [JSON])
SECRET = (200, Verdict(), [JSON, ("cache-control", "no-store")])
DOWN = (503, Verdict(category=ErrorCategory.SERVER_ERROR), [JSON])
BAD = (400, Verdict(category=ErrorCategory.BAD_REQUEST), [JSON])
STOP = KeyboardInterrupt

Result = Any


@dataclass(frozen=True)
class Scene:
    """
    One row.

    Attributes:
        name: What is tried.
        calls: When each call comes, in seconds, and its deadline; None for none.
        script: How long each attempt takes, and what it comes to; the last goes on.
        endings: What each call came to, and when.
        sent_at: When attempts were sent.
        cache: The cache's settings.
    """

    name: str
    calls: list[tuple[float, float | None]]
    script: list[tuple[float, Result]]
    endings: list[tuple[str, float]]
    sent_at: list[float]
    cache: Mapping[str, Any] = field(default_factory=dict)


SCENES = [
    Scene(
        "all take what the first gets, also who comes later",
        [(0, None), (1, None), (2, None), (6, None)],
        [(5, GOOD)],
        [("200 own", 5), ("200 hit", 5), ("200 hit", 5), ("200 hit", 6)],
        [0],
    ),
    Scene(
        "a failed one is replaced",
        [(0, None), (1, None), (2, None)],
        [(5, DOWN), (3, GOOD)],
        [("503 own", 5), ("200 own", 8), ("200 hit", 8)],
        [0, 5],
    ),
    Scene(
        "an interrupted one is replaced",
        [(0, None), (1, None), (2, None)],
        [(5, STOP), (3, GOOD)],
        [("KeyboardInterrupt", 5), ("200 own", 8), ("200 hit", 8)],
        [0, 5],
    ),
    Scene(
        "whoever has no time left goes, and the others don't notice",
        [(0, None), (1, 2), (2, None)],
        [(5, GOOD)],
        [("200 own", 5), ("wait_too_long", 3), ("200 hit", 5)],
        [0],
    ),
    Scene(
        "a deadline that is met",
        [(0, None), (1, 4.5)],
        [(5, GOOD)],
        [("200 own", 5), ("200 hit", 5)],
        [0],
    ),
    Scene(
        "an answer for one only lets all go",
        [(0, None), (1, None), (2, None)],
        [(5, SECRET)],
        [("200 own", 5), ("200 own", 10), ("200 own", 10)],
        [0, 5, 5],
    ),
    Scene(
        "a failure of the request is everybody's, and is not kept",
        [(0, None), (1, None), (6, None)],
        [(5, BAD), (1, GOOD)],
        [("400 own", 5), ("400 hit", 5), ("200 own", 7)],
        [0, 6],
    ),
    Scene(
        "after three that have failed each goes for itself",
        [(0, None), (0.1, None), (0.2, None), (0.3, None), (0.4, None), (0.5, None)],
        [(1, DOWN)],
        [("503 own", 1), ("503 own", 2), ("503 own", 3), ("503 own", 4), ("503 own", 4), ("503 own", 4)],
        [0, 1, 2, 3, 3, 3],
    ),
    Scene(
        "an old answer serves all who wait",
        [(0, None), (12, None), (13, None)],
        [(1, GOOD), (3, DOWN)],
        [("200 own", 1), ("200 stale", 15), ("200 stale", 15)],
        [0, 12],
        {"ttl": 10, "stale_if_error": 100},
    ),
]


class Stage:
    """
    A governor in virtual time, and an upstream that follows a script.
    """

    def __init__(self, scene: Scene) -> None:
        self.clock = FakeClock()
        policy = {"retry": {"attempts": 1}, "breaker": {"enabled": False}, "cache": scene.cache}
        self.gov = Governor({"s": policy}, clock=self.clock)
        self.start = self.clock.now()
        self.rest, self.arest = self.clock.sleep, self.clock.asleep
        self.script = list(scene.script)
        self.sent_at: list[float] = []

    @property
    def elapsed(self) -> float:
        """
        Seconds since the beginning.
        """
        return round((self.clock.now() - self.start - EARLY) / SECOND, 3)

    def at(self, seconds: float) -> int:
        """
        Return a moment, in seconds from the beginning.
        """
        return self.start + round(seconds * SECOND) + EARLY

    def call(self, deadline: float | None) -> tuple[Route, Memory]:
        """
        Return what a call is made with.
        """
        route = self.gov.route("s", Options(deadline=deadline))
        memory = self.gov.context.caches.memory(route, method="GET", url=URL, headers=[], body=b"")
        assert memory is not None
        return route, memory

    def next(self) -> tuple[float, Result]:
        """
        Return how long the next attempt takes, and what it comes to.
        """
        self.sent_at.append(self.elapsed)
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]

    def come(self, memory: Memory, result: Result) -> Outcome:
        """
        Return an attempt's outcome, as a transport does.
        """
        if result is STOP:
            raise STOP
        status, verdict, headers = result
        tape = memory.listen(status, "", headers, ok=verdict.ok)
        if tape is not None:
            tape.take([b"{}"], is_whole=True)
        return Outcome(f"{status} own", verdict=verdict)


class Wish:
    """
    A call's attempts, blocking.
    """

    def __init__(self, stage: Stage, memory: Memory) -> None:
        self.stage = stage
        self.memory = memory

    def send(self, lease: Lease, timeout: float | None) -> Any:
        """
        Take its time.
        """
        self.memory.sent()
        seconds, result = self.stage.next()
        self.stage.rest(self.stage.clock.now() + round(seconds * SECOND))
        return self.stage.come(self.memory, result)

    def discard(self, outcome: Outcome) -> Any:
        """
        Close nothing.
        """


class AsyncWish(Wish):
    """
    A call's attempts, awaiting.
    """

    async def send(self, lease: Lease, timeout: float | None) -> Outcome:  # noqa: ASYNC109 - the driver's word
        """
        Take its time.
        """
        self.memory.sent()
        seconds, result = self.stage.next()
        await self.stage.arest(self.stage.clock.now() + round(seconds * SECOND))
        return self.stage.come(self.memory, result)

    async def discard(self, outcome: Outcome) -> None:
        """
        Close nothing.
        """


def shown(value: object) -> str:
    """
    Return what a call came to as words.
    """
    if isinstance(value, Found):
        return f"{value.entry.status} {'stale' if value.is_stale else 'hit'}"
    return str(value)


def by_threads(stage: Stage, scene: Scene) -> list[tuple[str, float]]:
    """
    Make the calls by threads.
    """

    def one(call: tuple[float, float | None]) -> tuple[str, float]:
        stage.rest(stage.at(call[0]))
        route, memory = stage.call(call[1])
        try:
            ending = shown(open_call(route, Wish(stage, memory), idempotent=True, memory=memory).value)
        except (Rejected, KeyboardInterrupt) as error:
            ending = error.reason if isinstance(error, Rejected) else type(error).__name__
        return ending, stage.elapsed

    clock = stage.clock
    # The time doesn't know of a thread that hasn't waited yet: this one, which has, is busy until all of them wait.
    stage.rest(clock.now() + 1)
    with ThreadPoolExecutor(len(scene.calls)) as pool:
        found = pool.map(one, scene.calls)
        while len(clock._timers) < len(scene.calls):
            with clock.changing():
                pass
            Event().wait(0.001)  # real time: threads are on their way
        return list(found)


def by_tasks(stage: Stage, scene: Scene) -> list[tuple[str, float]]:
    """
    Make the calls by tasks of one loop.
    """

    async def one(call: tuple[float, float | None]) -> tuple[str, float]:
        await stage.arest(stage.at(call[0]))
        route, memory = stage.call(call[1])
        try:
            opened = await aopen_call(route, AsyncWish(stage, memory), idempotent=True, memory=memory)
            ending = shown(opened.value)
        except (Rejected, KeyboardInterrupt) as error:
            ending = error.reason if isinstance(error, Rejected) else type(error).__name__
        return ending, stage.elapsed

    async def run() -> list[tuple[str, float]]:
        return await asyncio.gather(*map(one, scene.calls))

    return asyncio.run(run())


@pytest.mark.parametrize("by", [by_threads, by_tasks])
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_a_crowd_ends_as_the_table_says(scene: Scene, by: Any) -> None:
    """
    What each call came to, and when, and when something was sent; nothing is left waiting or held.
    """
    stage = Stage(scene)

    endings = by(stage, scene)

    # Of those that are woken at the same moment any may be the next.
    assert sorted(endings) == sorted(scene.endings)
    assert sorted(stage.sent_at) == scene.sent_at
    assert stage.gov.context.caches._known["s"].crowds.known == {}
    assert stage.gov.status()["s"]["in_flight"] == 0
