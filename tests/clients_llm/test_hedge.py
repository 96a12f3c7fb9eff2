"""
A second call beside a slow first one: one answer, and nothing left behind.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from threading import Semaphore
from typing import TYPE_CHECKING, Any

import pytest

from egressor import ConfigError, Paused
from egressor.clients.llm import LLM
from egressor.clients.llm.asking import hedged
from tests.clients_llm.rig import CHATS, ONE, at_rest, completion, failure, governor, scripted, spent
from tests.transports.upstream import as_json, hang

if TYPE_CHECKING:
    from egressor import Governor
    from egressor.clients.llm import Answer
    from tests.transports.upstream import Upstream

AFTER = 0.01
GOOD = as_json(completion())


def ask(gov: Governor, **options: Any) -> Answer:
    """
    Ask once, hedged.
    """

    async def main() -> Answer:
        async with LLM(gov, ONE) as llm:
            return await llm.chat_async("hi", max_tokens=10, **{"hedge_after": AFTER, **options})

    return asyncio.run(main())


def test_the_second_call_answers_and_the_first_gives_everything_back(upstream: Upstream) -> None:
    """
    The loser's place is free at once; its money is what was held, as unknown: the provider may bill it.
    """
    gate = Semaphore(0)
    upstream.script(CHATS, hang(gate), GOOD)
    with governor(upstream, one={"budget": {"total": 1}, "max_concurrency": 2}) as gov:
        found = ask(gov)
        total, held, unknown = spent(gov)
        gate.release()

        assert at_rest(gov)
    assert (found.text, found.attempts, len(upstream.received)) == ("hello", 1, 2)
    assert (total - unknown, held) == (20, 0)
    assert unknown > 20


def test_a_quick_answer_is_not_hedged(upstream: Upstream) -> None:
    """
    Nor is a quick failure.
    """
    upstream.script(CHATS, GOOD, failure(400, "bad"))
    with governor(upstream) as gov:
        assert ask(gov, hedge_after=600).text == "hello"
        with pytest.raises(Exception, match="400"):
            ask(gov, hedge_after=600)

    assert len(upstream.received) == 2


def test_a_second_call_waits_for_its_turn_like_any_other(upstream: Upstream) -> None:
    """
    It passes the gate; while it waits, the first one answers, and it gives up its place in the line.
    """
    gate = Semaphore(0)

    def slow(handler: Any) -> None:
        gate.acquire()
        GOOD(handler)

    upstream.script(CHATS, slow)
    with governor(upstream, one={"limits": ["1/day fixed"], "max_wait": 100_000.0}) as gov:

        async def main() -> Answer:
            async with LLM(gov, ONE) as llm:
                task = asyncio.create_task(llm.chat_async("hi", max_tokens=10, hedge_after=AFTER))
                while not any(gov.status()["one"]["waiting"].values()):
                    await asyncio.sleep(0)
                gate.release()
                return await task

        found = asyncio.run(main())

        assert (found.text, at_rest(gov)) == ("hello", True)
        assert not any(gov.status()["one"]["waiting"].values())
    assert len(upstream.received) == 1


def played(*ends: str) -> tuple[object, list[str]]:
    """
    Hedge calls that end in this order: each a number, the first call's being 0, and whether it goes well.
    """
    log: list[str] = []

    async def main() -> object:
        turns = [asyncio.Event() for _ in ends]
        asked = itertools.count()

        async def ask() -> Any:
            number = next(asked)
            try:
                if number == 1:
                    turns[0].set()
                place = next(place for place, end in enumerate(ends) if end.startswith(str(number)))
                await turns[place].wait()
                if place + 1 < len(turns) and "never" not in ends[place + 1]:
                    turns[place + 1].set()
                if "bad" in ends[place]:
                    raise ValueError(number)
            except asyncio.CancelledError:
                log.append(f"{number} cancelled")
                raise
            return number

        try:
            return await hedged(ask, AFTER)
        except ValueError as error:
            return error.args

    return asyncio.run(main()), log


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        (("0 good",), (0, ["1 cancelled"])),
        (("1 good",), (1, ["0 cancelled"])),
        (("1 bad", "0 good"), (0, [])),
        (("0 bad", "1 good"), (1, [])),
        (("1 bad", "0 bad"), ((0,), [])),
        (("0 bad", "1 bad"), ((0,), [])),
    ],
)
def test_the_first_good_answer_wins(ends: tuple[str, ...], expected: tuple[object, list[str]]) -> None:
    """
    The other call is cancelled; of two failures the first call's comes out.
    """
    others = tuple(f"{number} never" for number in range(2) if not any(end.startswith(str(number)) for end in ends))

    assert played(*ends, *others) == expected


def test_who_is_cancelled_leaves_nothing(upstream: Upstream) -> None:
    """
    Both calls are cancelled with it.
    """
    gate = Semaphore(0)
    upstream.script(CHATS, hang(gate))
    with governor(upstream) as gov:

        async def main() -> None:
            async with LLM(gov, ONE) as llm:
                task = asyncio.create_task(llm.chat_async("hi", max_tokens=10, hedge_after=AFTER))
                while gov.status()["one"]["in_flight"] < 2:
                    await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

        asyncio.run(main())
        gate.release(2)

        assert at_rest(gov)


@pytest.mark.parametrize("after", [0, -1, 3601, math.nan, math.inf, True, "1"])
def test_what_is_no_time_is_refused(upstream: Upstream, after: Any) -> None:
    """
    Before anything is sent.
    """
    with governor(upstream) as gov, pytest.raises(ConfigError, match="hedge_after"):
        ask(gov, hedge_after=after)

    assert upstream.received == []


def test_only_a_cheap_call_is_hedged(upstream: Upstream) -> None:
    """
    One that may have a long answer costs too much to be asked for twice.
    """
    scripted(upstream)
    with governor(upstream) as gov, pytest.raises(ConfigError, match="only a cheap call is hedged"):
        asyncio.run(LLM(gov, ONE).chat_async("hi", hedge_after=1))

    assert upstream.received == []


def test_a_refusal_is_not_hedged(upstream: Upstream) -> None:
    """
    It comes at once.
    """
    with governor(upstream) as gov, pytest.raises(Paused):
        gov.pause("one")
        ask(gov)

    assert upstream.received == []
