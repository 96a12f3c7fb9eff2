"""
Many callers and a service that is down, or that tells all of them to come back at the same moment, in virtual time.

The judge is the service: it notes when each attempt arrives, and knows nothing of the governor.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from egressor import Governor, Rejected
from egressor.testing import FakeClock

CALLERS = 100
SECOND = 1_000_000


class Answer:
    """
    An HTTP response.
    """

    def __init__(self, status: int, **headers: str) -> None:
        self.status_code = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Service:
    """
    A service that is down until a moment, and well from then on.
    """

    def __init__(self, clock: FakeClock, *, down_until: int) -> None:
        self.clock = clock
        self.down_until = down_until
        self.arrived: list[int] = []
        self.served: list[int] = []

    async def ask(self) -> str:
        """
        Be asked.
        """
        now = self.clock.now()
        self.arrived.append(now)
        await self.clock.asleep(now + 20_000)
        if now < self.down_until:
            message = "down"
            raise ConnectionError(message)
        self.served.append(self.clock.now())
        return "fine"


def storm(policy: dict[str, Any], *, down_for: int, seconds: int) -> tuple[Service, list[int], int]:
    """
    Let 100 callers ask once a second each, of a service that is down for a while.

    Returns:
        The service, the moments at which calls were made, and the first moment.
    """
    clock = FakeClock()
    start = clock.now()
    service = Service(clock, down_until=start + down_for * SECOND)
    gov = Governor({"api": policy}, clock=clock, dice=Random(11).random)
    made: list[int] = []

    async def caller(offset: int) -> None:
        await clock.asleep(start + offset)
        while clock.now() < start + seconds * SECOND:
            began = clock.now()
            made.append(began)
            with suppress(ConnectionError, Rejected):
                await gov.acall("api", service.ask)
            await clock.asleep(max(clock.now(), began + SECOND))

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(CALLERS):
                group.create_task(caller(number * SECOND // CALLERS))

    asyncio.run(main())
    gov.close()
    return service, made, start


def test_retries_of_all_callers_add_a_tenth() -> None:
    """
    Without any breaker, and every call failing for a minute: a tenth more arrives than was asked for, and the reserve.
    """
    retry = {"attempts": 4, "base": 0.1, "cap": 0.2}
    service, made, _ = storm({"retry": retry, "breaker": {"enabled": False}}, down_for=60, seconds=60)

    assert len(made) > 3_000
    # Ten retries in ten seconds are free; the window may begin anew once more.
    assert len(service.arrived) <= 1.1 * len(made) + 10 * 7
    assert len(service.arrived) > 1.05 * len(made)


@pytest.mark.parametrize("probes", [1, 3])
def test_a_service_that_is_down_gets_probes_only(probes: int) -> None:
    """
    With a breaker, what arrives in a minute's outage is what opened it, what was under way then, and the probes.
    """
    breaker = {"consecutive": 5, "open_for": 5, "max_open_for": 5, "probes": probes}
    service, made, start = storm({"breaker": breaker, "retry": {"attempts": 3}}, down_for=60, seconds=60)

    assert len(made) > 3_000
    # While an attempt takes 20 ms, two more begin at this rate.
    assert len(service.arrived) <= 5 + 2 + 2 + probes * (60 // 5 + 1)
    assert max(service.arrived) > start + 50 * SECOND


def test_the_service_is_back_within_a_probes_interval_and_a_second() -> None:
    """
    From its recovery to its first success passes one interval between probes at most; a second later all are served.
    """
    breaker = {"consecutive": 5, "open_for": 5, "max_open_for": 5}
    service, _, start = storm({"breaker": breaker, "retry": {"attempts": 3}}, down_for=60, seconds=90)
    well = start + 60 * SECOND
    first = min(service.served)
    by_second = Counter((each - first) // SECOND for each in service.served)

    assert first - well <= (5 + 1) * SECOND
    assert [by_second[second] >= 0.95 * CALLERS for second in range(1, 20)] == [True] * 19


class Hidden:
    """
    A service that serves 20 calls a minute by the clock, and says of others only that they are too many.
    """

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.served: Counter[int] = Counter()
        self.refused: list[int] = []

    async def ask(self) -> Answer:
        """
        Be asked.
        """
        now = self.clock.now()
        await self.clock.asleep(now + 20_000)
        minute = now // (60 * SECOND)
        if self.served[minute] >= 20:
            self.refused.append(now)
            return Answer(429)
        self.served[minute] += 1
        return Answer(200)


@pytest.mark.parametrize(("pauses", "minutes"), [(True, 10), (False, 3)])
def test_a_429_that_names_no_time_slows_everybody(pauses: bool, minutes: int) -> None:
    """
    Five callers without retries ask as fast as they may, for some minutes: a few in each minute are one too many, where
    without pauses each of ten thousand would be; and all that the service allows is used.
    """
    clock = FakeClock()
    retry = {"attempts": 1, "base": 1.0 if pauses else 0.0}
    gov = Governor({"api": {"retry": retry}}, clock=clock, dice=Random(11).random)
    start = clock.now()
    service = Hidden(clock)

    async def caller() -> None:
        while clock.now() < start + minutes * 60 * SECOND:
            await gov.acall("api", service.ask)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(caller())

    asyncio.run(main())
    gov.close()
    assert (len(service.refused) < minutes * 5 * 8) is pauses
    whole = sorted(service.served)[1:-1]
    assert [service.served[minute] for minute in whole] == [20] * len(whole)
    assert len(whole) >= minutes - 1


def test_calls_that_were_under_way_are_slowed_once() -> None:
    """
    Twenty answers to one burst are one pause; it is shown, and an operator ends it.
    """
    clock = FakeClock()
    gov = Governor({"api": {"retry": {"attempts": 1}}}, clock=clock, dice=lambda: 0.0)

    async def ask() -> Answer:
        await clock.asleep(clock.now() + SECOND)
        return Answer(429)

    async def main() -> None:
        await asyncio.gather(*(gov.acall("api", ask) for _ in range(20)))

    asyncio.run(main())
    assert gov.status()["api"]["slowed_s"] == 1
    clock.advance(1)
    asyncio.run(main())
    assert gov.status()["api"]["slowed_s"] == 2
    gov.lift_ban("api")
    assert gov.status()["api"]["slowed_s"] == 0
    before = clock.now()
    gov.call("api", str)
    assert clock.now() == before
    gov.close()


@pytest.mark.parametrize("seed", range(10))
def test_fifty_that_are_told_to_wait_come_back_spread(seed: int) -> None:
    """
    Fifty in flight are told ``Retry-After: 2``: none comes before, and they don't come together.
    """
    clock = FakeClock()
    policy = {"retry": {"attempts": 2, "base": 0.1, "budget": False}, "breaker": {"consecutive": 1_000}}
    gov = Governor({"api": policy}, clock=clock, dice=Random(seed).random)
    told: list[int] = []
    back: list[int] = []

    async def main() -> None:
        all_there = asyncio.Barrier(50)

        async def call() -> None:
            answers = iter([Answer(429, retry_after="2"), Answer(200)])

            async def ask() -> Answer:
                answer = next(answers)
                if answer.status_code == 200:
                    back.append(clock.now())
                    return answer
                await all_there.wait()
                told.append(clock.now())
                return answer

            assert (await gov.acall("api", ask)).status_code == 200

        await asyncio.gather(*(call() for _ in range(50)))

    asyncio.run(main())
    gov.close()
    waits = [(each - told[0]) / SECOND for each in back]
    buckets = Counter(int(wait * 10) for wait in waits)

    assert (len(told), len(back)) == (50, 50)
    assert min(waits) >= 2.0
    assert max(waits) - min(waits) >= 0.1 * 2.0
    assert max(buckets.values()) <= 0.2 * 50


def test_a_newcomer_waits_too() -> None:
    """
    Whoever calls after somebody was told to wait is held back by the same word.
    """
    clock = FakeClock()
    gov = Governor({"api": {"retry": {"attempts": 1}}}, clock=clock, dice=Random(1).random)
    arrived: list[int] = []

    async def told() -> Answer:
        arrived.append(clock.now())
        return Answer(429, retry_after="2")

    async def main() -> None:
        for _ in range(3):
            await gov.acall("api", told)

    asyncio.run(main())
    gov.close()

    assert all(later - earlier >= 2 * SECOND for earlier, later in pairwise(arrived))


@pytest.mark.parametrize(("told", "waits"), [("20", True), ("14400", False)])
def test_nobody_waits_for_hours_because_another_was_told_to(told: str, waits: bool) -> None:
    """
    A call with a 429 of its own that names no time waits for what another was told up to ``cap``, beyond ``max_wait``.
    """
    clock = FakeClock()
    policy = {"max_wait": 5, "retry": {"attempts": 2, "cap": 30}, "breaker": {"enabled": False}}
    gov = Governor({"api": policy}, clock=clock, dice=lambda: 0.5)
    start = clock.now()
    came: list[float] = []

    async def hasty() -> Answer:
        came.append((clock.now() - start) / SECOND)
        await clock.asleep(clock.now() + SECOND)
        return Answer(429)

    async def patient() -> Answer:
        return Answer(429, retry_after=told)

    async def main() -> float:
        call = asyncio.create_task(gov.acall("api", hasty))
        other = asyncio.create_task(gov.acall("api", patient))
        with suppress(Rejected):
            await call
        passed = (clock.now() - start) / SECOND
        other.cancel()
        return passed

    passed = asyncio.run(main())
    gov.close()

    assert (len(came) == 2, passed < 60) == (waits, True)
