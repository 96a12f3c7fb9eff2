"""
Requests that don't say how long their answer may be, at the gateway: bounded, told, and no more than is paid for.
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

SENT, RECEIVED = 2, 10
PRICES = {"models": [{"model": "*", "usd_per_mtok": {"input": SENT, "output": RECEIVED}}]}
MESSAGES = [{"role": "user", "content": "hello"}]
CHAT = {"model": "gpt-4o", "messages": MESSAGES}
LONGEST = {"gpt-4o": 16_384, "gpt-5": 128_000, "m": 10**9}
LIKELY = 4_096
# Fewer than any body here has bytes.
PROMPT = 20
HEADER = "Egressor-Max-Tokens"


NAMES = ("max_completion_tokens", "max_tokens", "max_output_tokens")


class Server:
    """
    An upstream that answers with all the tokens that it is allowed, and writes the bill.

    Args:
        names: The bounds that it knows.
    """

    def __init__(self, names: tuple[str, ...] = NAMES) -> None:
        self.names = names
        self.bill = 0
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.reasons = ["stop"]

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """
        Answer whole, or as a stream.
        """
        body = await request.read()
        asked = json.loads(body)
        self.bodies.append(body)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        config = asked.get("generationConfig", {})
        bounds = [asked.get(name) for name in self.names]
        allowed = [each for each in [*bounds, config.get("maxOutputTokens")] if each is not None]
        received = min([LONGEST.get(asked.get("model", ""), 65_536), *allowed]) * asked.get("n", 1)
        self.bill += SENT * PROMPT + RECEIVED * received
        reason = self.reasons.pop(0) if len(self.reasons) > 1 else self.reasons[0]
        used = {"prompt_tokens": PROMPT, "completion_tokens": received}
        said = {"model": asked.get("model"), "choices": [{"finish_reason": reason}], "usage": used}
        if not asked.get("stream"):
            return web.json_response(said)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(f"data: {json.dumps({**said, 'usage': None})}\n\n".encode())
        if asked.get("stream_options"):
            await response.write(f"data: {json.dumps({**said, 'choices': []})}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response


def services(url: str, budget: object, dialect: str = "openai", **more: Any) -> dict[str, Any]:
    """
    One service with a budget.
    """
    return {"t": {"base_url": url, "dialect": dialect, "budget": budget, "retry": {"attempts": 1}, **more}}


def priced(rig: Rig) -> None:
    """
    Give the gateway's governor prices of its own.
    """
    money = rig.gov.context.money
    assert money is not None
    money.prices = from_table({"prices": PRICES}).prices


def cell(rig: Rig) -> tuple[int, int, int]:
    """
    What is spent, held and unknown.
    """
    money = rig.gov.context.money
    assert money is not None
    found = money.till.read(lambda page: page.budgets())[0].cell
    return found.spent, found.held, found.unknown


async def ask(rig: Rig, body: dict[str, Any], path: str = "/v1/chat/completions") -> tuple[int, str | None, str]:
    """
    Ask for an answer; return its status, what its head says of a bound, and its text.
    """
    async with rig.session.post(f"{rig.url}/t{path}", data=json.dumps(body).encode()) as answer:
        return answer.status, answer.headers.get(HEADER), await answer.text()


@pytest.mark.parametrize("budget", [{"day": 1.0}, {"total": 25.0}, {"total": 1.0, "month": 25.0}])
@pytest.mark.parametrize("model", ["gpt-4o", "gpt-5"])
async def test_a_plain_request_is_never_refused_on_a_budget_of_which_nothing_is_spent(
    budget: dict[str, float], model: str
) -> None:
    """
    Regression: it was, as its worst case, all of its model's context, was above the budget.
    """
    server = Server()
    async with upstream(server) as url, gateway_of(services(url, budget)) as rig:
        status, bound, _ = await ask(rig, {**CHAT, "model": model})

    assert status == 200
    assert bound == (None if min(budget.values()) > 1 and model == "gpt-4o" else bound)
    assert json.loads(server.bodies[0]).get("max_completion_tokens") == (None if bound is None else int(bound))


@pytest.mark.parametrize(
    ("dialect", "path", "body", "place"),
    [
        ("openai", "/v1/chat/completions", CHAT, "max_completion_tokens"),
        ("openai", "/v1/chat/completions", {**CHAT, "model": "m"}, "max_tokens"),
        ("openai", "/v1/responses", {"model": "gpt-5", "input": "x"}, "max_output_tokens"),
        ("groq", "/openai/v1/chat/completions", CHAT, "max_tokens"),
        ("deepseek", "/chat/completions", {**CHAT, "max_tokens": None}, "max_tokens"),
        ("mistral", "/v1/chat/completions", CHAT, "max_tokens"),
        ("openrouter", "/api/v1/chat/completions", CHAT, "max_tokens"),
        ("gemini", "/v1beta/models/gemini-2.5-pro:generateContent", {"contents": []}, "generationConfig"),
        (
            "gemini",
            "/v1beta/models/gemini-2.5-pro:generateContent",
            {"generationConfig": {"topK": 1}, "contents": []},
            "generationConfig",
        ),
    ],
)
async def test_each_provider_is_told_in_its_own_words(
    dialect: str, path: str, body: dict[str, Any], place: str
) -> None:
    """
    And the client by a header; nothing else of the request has changed.
    """
    server = Server()
    async with upstream(server) as url, gateway_of(services(url, {"day": 1.0}, dialect)) as rig:
        priced(rig)
        status, bound, _ = await ask(rig, body, path)
        await until(lambda: cell(rig)[1] == 0)
        found = cell(rig)
    asked = json.loads(server.bodies[0])
    told = asked[place]["maxOutputTokens"] if place == "generationConfig" else asked[place]
    if place == "generationConfig":
        del asked[place]["maxOutputTokens"]
    else:
        del asked[place]
    before = {name: value for name, value in body.items() if value is not None}

    assert (status, str(told)) == (200, bound)
    assert {name: value for name, value in asked.items() if value != {}} == before
    assert found == (server.bill, 0, 0)


@pytest.mark.parametrize(("model", "expected"), [("m", "4096"), ("gpt-4o", None)])
async def test_an_answer_of_which_nobody_knows_how_long_it_can_be_is_always_bounded(
    model: str, expected: str | None
) -> None:
    """
    However much money there is: else no hold would be enough, and it would have to be refused.
    """
    server = Server()
    async with upstream(server) as url, gateway_of(services(url, {"day": 10_000.0})) as rig:
        priced(rig)
        found = await ask(rig, {**CHAT, "model": model})

    assert found[:2] == (200, expected)


async def test_a_request_that_says_how_long_its_answer_may_be_is_not_touched() -> None:
    """
    However much that is; and it is refused if it may cost too much.
    """
    server = Server()
    async with upstream(server) as url, gateway_of(services(url, {"day": 1.0})) as rig:
        priced(rig)
        served = await ask(rig, {**CHAT, "max_tokens": 90_000})
        refused = await ask(rig, {**CHAT, "max_tokens": 90_000})

    assert [each[:2] for each in (served, refused)] == [(200, None), (402, None)]
    assert [json.loads(each) for each in server.bodies] == [{**CHAT, "max_tokens": 90_000}]


@pytest.mark.parametrize(("budget", "cost"), [({"unbounded": True}, "0.163880"), (None, None)])
async def test_what_is_only_added_up_is_priced_and_never_bounded(
    budget: dict[str, Any] | None, cost: str | None
) -> None:
    """
    And what isn't added up has no price.
    """
    server = Server()
    tables = services("", budget)
    if budget is None:
        del tables["t"]["budget"]
    async with upstream(server) as url:
        tables["t"]["base_url"] = url
        async with gateway_of(tables) as rig:
            if budget is not None:
                priced(rig)
            async with rig.session.post(f"{rig.url}/t/v1/chat/completions", json=CHAT) as answer:
                found = answer.status, answer.headers.get(HEADER), answer.headers.get("Egressor-Cost-Usd")

    assert found == (200, None, cost)


async def test_a_stream_is_bounded_and_asked_for_its_usage() -> None:
    """
    Two additions to one body, and the chunk with the usage is taken out of the answer again.
    """
    server = Server()
    async with upstream(server) as url, gateway_of(services(url, {"day": 1.0})) as rig:
        priced(rig)
        status, bound, text = await ask(rig, {**CHAT, "stream": True})
        await until(lambda: cell(rig)[1] == 0)
        found = cell(rig)

    assert (status, text.count("data:")) == (200, 2)
    assert bound is not None
    assert json.loads(server.bodies[0]) == {
        **CHAT,
        "stream": True,
        "max_completion_tokens": int(bound),
        "stream_options": {"include_usage": True},
    }
    assert found == (server.bill, 0, 0)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_an_answer_that_was_cut_off_is_kept_for_nobody(stream: bool) -> None:
    """
    The next one gets a whole answer, and that one is kept, under the key of the request as its client sent it.
    """
    server = Server()
    server.reasons = ["length", "stop"]
    body = {**CHAT, "temperature": 0, "stream": stream}
    async with upstream(server) as url, gateway_of(services(url, {"day": 1.0}, cache={"ttl": 60.0})) as rig:
        priced(rig)
        found = [await ask(rig, body) for _ in range(4)]
        await until(lambda: cell(rig)[1] == 0)

    assert ["length" in text for _, _, text in found] == [True, False, False, False]
    assert [bound is None for _, bound, _ in found] == [False, False, True, True]
    assert len(server.bodies) == 2
    # Of a packed answer nobody would see why it ended.
    assert ["accept-encoding" in each for each in server.headers] == [False, False]


@pytest.mark.parametrize("more", [{}, {"n": 3}, {"stream": True}, {"model": "m"}], ids=["one", "three", "stream", "m"])
async def test_fifty_at_once_that_answer_as_long_as_they_may_keep_to_the_budget(more: dict[str, Any]) -> None:
    """
    The upstream's bill is never above the budget, though each answer is as long as it is let be; and at the end too
    little is left for another.
    """
    budget, server = 1_000_000, Server()
    async with upstream(server) as url, gateway_of(services(url, {"total": 1.0}, max_concurrency=50)) as rig:
        priced(rig)
        statuses: list[int] = []
        while True:
            round_of = await asyncio.gather(*(ask(rig, {**CHAT, **more}) for _ in range(50)))
            statuses += [status for status, _, _ in round_of]
            assert server.bill <= budget
            if not any(status == 200 for status, _, _ in round_of):
                break
            await until(lambda: cell(rig)[1] == 0)
        found = cell(rig)

    assert set(statuses) == {200, 402}
    assert (found[0], found[1]) == (server.bill, 0)
    assert budget - found[0] < (RECEIVED * LIKELY + SENT * 150) * more.get("n", 1)


@pytest.mark.parametrize(
    ("dialect", "path", "body", "name"),
    [
        ("deepseek", "/chat/completions", {**CHAT, "max_completion_tokens": 5}, "max_tokens"),
        ("deepseek", "/chat/completions", {**CHAT, "max_output_tokens": 5, "n": 2}, "max_tokens"),
        ("openai", "/v1/responses", {"model": "gpt-5", "input": "x", "max_tokens": 5}, "max_output_tokens"),
        ("gemini", "/v1beta/models/gemini-2.5-pro:generateContent", {"contents": [], "max_tokens": 5}, "-"),
    ],
)
async def test_a_bound_that_a_provider_may_not_know_is_told_in_its_own_word(
    dialect: str, path: str, body: dict[str, Any], name: str
) -> None:
    """
    Regression: it was believed, and an answer of any length passed the budget.
    """
    server = Server((name,))
    async with upstream(server) as url, gateway_of(services(url, {"total": 0.01}, dialect)) as rig:
        priced(rig)
        status, bound, _ = await ask(rig, body, path)
        await until(lambda: cell(rig)[1] == 0)
        found = cell(rig)
    asked = json.loads(server.bodies[0])

    assert (status, bound) == (200, "5")
    assert (asked["generationConfig"]["maxOutputTokens"] if name == "-" else asked[name]) == 5
    assert found == (server.bill, 0, 0)
    assert server.bill <= 10_000


async def test_what_is_estimated_is_bounded_too() -> None:
    """
    Regression: a request of no stated length was held for at an estimate, and could cost eight times as much.
    """
    server = Server()
    async with upstream(server) as url, gateway_of(services(url, {"total": 1.0})) as rig:
        money = rig.gov.context.money
        assert money is not None
        money.prices = from_table({"prices": {**PRICES, "on_unknown_price": "estimate"}}).prices
        status, bound, _ = await ask(rig, {**CHAT, "model": "gpt-5"})
        await until(lambda: cell(rig)[1] == 0)
        found = cell(rig)

    assert (status, bound) == (200, "16384")
    assert found == (server.bill, 0, 0)
