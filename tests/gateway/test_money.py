"""
Budgets at the gateway, for clients that know nothing of them.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from egressor.policies.loader import from_table
from tests.gateway.rig import Rig, gateway_of, until, upstream

pytestmark = pytest.mark.anyio

ASKED = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "hello"}]}
USED = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
PRICES = {"models": [{"model": "m", "usd_per_mtok": {"input": 1, "output": 2}}]}


class Server:
    """
    An upstream that writes down what each call has cost.
    """

    def __init__(self) -> None:
        self.costs: list[int] = []
        self.asked: list[Any] = []
        self.is_hanging = False
        self.says = "hi"
        self.is_chunked = False

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """
        Answer, whole or as a stream.
        """
        asked = await request.json()
        self.asked.append(asked)
        self.costs.append(20)
        body = {"model": "m", "choices": [{"message": {"content": self.says}}], "usage": USED}
        if not asked.get("stream"):
            answer = web.json_response(body)
            if self.is_chunked:
                answer.enable_chunked_encoding()
            return answer
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"model": "m", "choices": [{"delta": {"content": "hi"}}]}\n\n')
        if self.is_hanging:
            await asyncio.sleep(30)  # real time: until its client is gone
        if asked.get("stream_options", {}).get("include_usage"):
            await response.write(b'data: {"choices": [], "usage": ' + json.dumps(USED).encode() + b"}\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response


def services(url: str, budget: float) -> dict[str, Any]:
    """
    One service with a budget in all.
    """
    return {"t": {"base_url": url, "dialect": "openai", "budget": {"total": budget}, "retry": {"attempts": 1}}}


def priced(rig: Rig) -> None:
    """
    Give the gateway's governor prices of its own.
    """
    money = rig.gov.context.money
    assert money is not None
    money.prices = from_table({"prices": PRICES}).prices


async def ask(rig: Rig, **more: Any) -> tuple[int, Any]:
    """
    Ask for an answer, and read it whole.
    """
    async with rig.session.post(f"{rig.url}/t/v1/chat/completions", json={**ASKED, **more}) as answer:
        text = await answer.text()
        return answer.status, json.loads(text) if text.startswith("{") else text


def cell(rig: Rig) -> tuple[int, int, int]:
    """
    What is spent, held and unknown.
    """
    money = rig.gov.context.money
    assert money is not None
    found = money.till.read(lambda page: page.budgets())[0].cell
    return found.spent, found.held, found.unknown


async def test_answers_and_streams_are_charged_at_what_they_say() -> None:
    """
    Ten tokens sent and five received, each time.
    """
    server = Server()
    async with upstream(server) as url, gateway_of(services(url, 1)) as rig:
        priced(rig)
        statuses = [(await ask(rig))[0], (await ask(rig, stream=True))[0]]
        await until(lambda: cell(rig) == (40, 0, 0))

    assert statuses == [200, 200]


@pytest.mark.parametrize("cache", [{}, {"max_bytes": 100_000}], ids=["kept", "too long"])
async def test_a_long_answer_is_charged_at_what_it_says(cache: dict[str, Any]) -> None:
    """
    Regression: one that was begun to be read for the cache, and proved too long for it, was unknown.
    """
    server = Server()
    server.says, server.is_chunked = "x" * 200_000, True
    async with upstream(server) as url:
        tables = services(url, 1)
        tables["t"]["cache"] = cache
        async with gateway_of(tables) as rig:
            priced(rig)
            status, body = await ask(rig, temperature=0)
            await until(lambda: cell(rig)[1] == 0)
            found = cell(rig)

    assert (status, len(body["choices"][0]["message"]["content"])) == (200, 200_000)
    assert found == (20, 0, 0)


async def test_usage_is_asked_for_and_hidden_from_who_did_not_ask() -> None:
    """
    A stream says what it used only to whoever asks: the gateway does, and its client gets the stream that it wanted.
    """
    server = Server()
    async with upstream(server) as url, gateway_of(services(url, 1)) as rig:
        priced(rig)
        _, plain = await ask(rig, stream=True)
        _, told = await ask(rig, stream=True, stream_options={"include_usage": True})
        await until(lambda: cell(rig) == (40, 0, 0))

    assert [each["stream_options"] for each in server.asked] == [{"include_usage": True}] * 2
    assert ("usage" in plain, "usage" in told) == (False, True)
    assert plain == 'data: {"model": "m", "choices": [{"delta": {"content": "hi"}}]}\n\ndata: [DONE]\n\n'


async def test_without_a_budget_a_stream_is_left_alone() -> None:
    """
    Nothing is added to a request that nobody counts.
    """
    server = Server()
    async with upstream(server) as url, gateway_of({"t": {"base_url": url, "dialect": "openai"}}) as rig:
        await ask(rig, stream=True)

    assert "stream_options" not in server.asked[0]


async def test_of_fifty_requests_at_once_as_many_are_served_as_are_paid_for() -> None:
    """
    The others get 402, in the shape that their SDK reads; the list of the server is within the budget.
    """
    server = Server()
    async with upstream(server) as url, gateway_of(services(url, 0.0004)) as rig:
        priced(rig)
        answers = await asyncio.gather(*(ask(rig) for _ in range(50)))
        await until(lambda: cell(rig)[1] == 0)
        spent = cell(rig)[0]
    refused = [body for status, body in answers if status == 402]

    assert sum(server.costs) == spent <= 400
    assert len(server.costs) + len(refused) == 50
    assert len(refused) > 0
    assert {body["reason"] for body in refused} == {"budget"}
    assert all("the budget t/total@UTC of 0.000400 USD" in body["error"]["message"] for body in refused)


async def test_a_client_that_leaves_in_mid_stream_is_charged_as_unknown() -> None:
    """
    Its provider may bill all that it had asked for; the next call finds no phantom hold.
    """
    server = Server()
    server.is_hanging = True
    async with upstream(server) as url, gateway_of(services(url, 1)) as rig:
        priced(rig)
        answer = await rig.session.post(f"{rig.url}/t/v1/chat/completions", json={**ASKED, "stream": True})
        await answer.content.readany()
        during = cell(rig)
        answer.close()
        await until(lambda: cell(rig)[1] == 0)
        after = cell(rig)

    assert during[0] == 0
    assert after == (during[1], 0, during[1])
