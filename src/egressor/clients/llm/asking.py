"""
One try, performed: an SDK is called, and what it came to is a value.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from egressor.dialects.usage import parse, read_usage
from egressor.prices import PriceBook

from .answers import Answer, BadAnswer
from .chain import Came, Reached, Try
from .sending import SENDING, Clients, Sending
from .streams import Heard
from .vendors import speech_of, vendor_of

if TYPE_CHECKING:
    from egressor.dialects.usage import Reported
    from egressor.governor import Governor
    from egressor.policies import Policy
    from egressor.policies.prices import Prices

    from .vendors import Vendor

__all__ = ["Asker", "Open", "adriven", "driven", "hedged"]

Story = Generator[Try, Came, Any]


class Open(NamedTuple):
    """
    A stream whose first text has come, or that has ended without one.
    """

    service: str
    name: str
    first: str
    heard: Heard
    events: Any
    sent: int


class Asker:
    """
    Whoever makes the tries of one governor.
    """

    def __init__(self, gov: Governor) -> None:
        self._gov = gov
        self.clients = Clients(gov)
        self._prices: Prices | None = None
        self._book: PriceBook | None = None

    def policy(self, service: str) -> Policy:
        """
        Return *service*'s policy, as it is now.
        """
        return self._gov.gate(service).compiled.policy

    def _asked(self, each: Try, *, stream: bool) -> tuple[Vendor, dict[str, Any]]:
        policy = self.policy(each.model.service)
        vendor = vendor_of(each.model.service, policy)
        return vendor, vendor.asked(each.model.name, speech_of(policy), each.wish, stream=stream)

    def _read(self, vendor: Vendor, each: Try, response: Any, sent: int) -> Answer:
        if not hasattr(response, "to_json"):
            msg = "the answer is no JSON"
            raise BadAnswer(msg)
        said = parse(response.to_json(indent=None, warnings=False).encode())
        text, finish, calls = vendor.read(said)
        answer = self._answer(each.model.service, each.model.name, text, finish, read_usage(said), sent)
        return replace(answer, tool_calls=calls)

    def _answer(self, service: str, name: str, text: str, finish: str, reported: Reported, sent: int) -> Answer:
        return Answer(
            text=text,
            model=f"{service}/{name}",
            finish=finish,
            usage=reported.usage,
            # What came from the cache is not billed again.
            cost_usd=self._cost(service, name, reported) if sent else Decimal(0),
            attempts=sent,
        )

    def _cost(self, service: str, name: str, reported: Reported) -> Decimal | None:
        if reported.billed_pico_usd is not None:
            return Decimal(reported.billed_pico_usd).scaleb(-12)
        if not reported.said:
            return None
        price = self._prices_now().find(
            reported.model or name,
            at=self._gov.clock.wall(),
            provider=self.policy(service).dialect,
            tier=reported.tier,
            speed=reported.speed,
        )
        return None if price.unknown else price.cost(reported.usage).usd

    def _prices_now(self) -> PriceBook:
        prices = self._gov.config.prices
        book = self._book
        # Two threads that make one at once make the same.
        if book is None or prices is not self._prices:
            book = self._book = PriceBook(prices)
            self._prices = prices
        return book

    def ask(self, each: Try) -> Came:
        """
        Make one try, blocking.
        """
        vendor, asked = self._asked(each, stream=False)
        create = self.clients.blocking(each.model.service)
        sending = Sending(_options(each))
        token = SENDING.set(sending)
        try:
            return Came(self._read(vendor, each, create(**asked), sending.sent), sent=sending.sent)
        except Exception as error:  # noqa: BLE001 - the story raises it, if it is the last
            return Came(error=error, sent=sending.sent)
        finally:
            SENDING.reset(token)

    async def aask(self, each: Try) -> Came:
        """
        Make one try, awaiting.
        """
        vendor, asked = self._asked(each, stream=False)
        create = self.clients.awaiting(each.model.service)
        sending = Sending(_options(each))
        token = SENDING.set(sending)
        try:
            response = await create(**asked)
            return Came(self._read(vendor, each, response, sending.sent), sent=sending.sent)
        except Exception as error:  # noqa: BLE001 - likewise
            return Came(error=error, sent=sending.sent)
        finally:
            SENDING.reset(token)

    def open(self, each: Try) -> Came:
        """
        Make one try to open a stream, up to its first text; blocking.
        """
        vendor, asked = self._asked(each, stream=True)
        create = self.clients.blocking(each.model.service)
        sending = Sending(_options(each))
        token = SENDING.set(sending)
        events = None
        try:
            events = create(**asked)
            heard = Heard(vendor)
            first = next((text for event in events if (text := heard.take(event))), "")
            if not first:
                heard.end()
            opened = Open(each.model.service, each.model.name, first, heard, events, sending.sent)
            return Came(opened, sent=sending.sent)
        except BaseException as error:
            if events is not None:
                events.close()
            if not isinstance(error, Exception):
                raise
            return Came(error=error, sent=sending.sent)
        finally:
            SENDING.reset(token)

    async def aopen(self, each: Try) -> Came:
        """
        As `open`, awaiting.
        """
        vendor, asked = self._asked(each, stream=True)
        create = self.clients.awaiting(each.model.service)
        sending = Sending(_options(each))
        token = SENDING.set(sending)
        events = None
        try:
            events = await create(**asked)
            heard = Heard(vendor)
            first = ""
            async for event in events:
                if first := heard.take(event):
                    break
            if not first:
                heard.end()
            opened = Open(each.model.service, each.model.name, first, heard, events, sending.sent)
            return Came(opened, sent=sending.sent)
        except BaseException as error:
            if events is not None:
                await events.close()
            if not isinstance(error, Exception):
                raise
            return Came(error=error, sent=sending.sent)
        finally:
            SENDING.reset(token)

    def heard(self, opened: Open, reached: Reached) -> Answer:
        """
        Return the answer that a stream, which is over, has been.
        """
        heard = opened.heard
        answer = self._answer(opened.service, opened.name, heard.text, heard.finish, heard.end(), opened.sent)
        return replace(answer, attempts=reached.sent, passed=reached.passed)


def _options(each: Try) -> dict[str, Any]:
    scope = {**each.wish.options["scope"], "model": each.model.name}
    return {**each.wish.options, "scope": scope, "deadline": each.left}


def driven(story: Story, ask: Callable[[Try], Came]) -> Any:
    """
    Perform *story*'s tries, blocking, and return its end.
    """
    each = next(story)
    while True:
        came = ask(each)
        try:
            each = story.send(came)
        except StopIteration as end:
            return end.value


async def adriven(story: Story, ask: Callable[[Try], Awaitable[Came]]) -> Any:
    """
    As `driven`, awaiting.
    """
    each = next(story)
    while True:
        came = await ask(each)
        try:
            each = story.send(came)
        except StopIteration as end:
            return end.value


async def hedged(ask: Callable[[], Coroutine[Any, Any, Answer]], after: float) -> Answer:
    """
    Ask, and once more if there is no answer *after* so many seconds; the first good one wins.
    """
    tasks = [asyncio.create_task(ask())]
    try:
        waiting = (await asyncio.wait(tasks, timeout=after))[1]
        if waiting:
            tasks.append(asyncio.create_task(ask()))
            waiting = set(tasks)
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if not task.cancelled() and task.exception() is None:
                    return task.result()
        return tasks[0].result()
    finally:
        for task in tasks:
            task.cancel()
        # Until the loser's lease and money are back.
        await asyncio.gather(*tasks, return_exceptions=True)
