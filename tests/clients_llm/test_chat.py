"""
Chat: what is sent, what comes back, and what it costs, by the real SDKs.
"""

from __future__ import annotations

import asyncio
import gc
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from egressor import BudgetExceeded, Priority, WaitTooLong
from egressor.clients.llm import LLM, Answer, BadAnswer
from egressor.policies.loader import from_table
from egressor.prices import Usage
from tests.clients_llm.rig import (
    CHATS,
    MESSAGES,
    ONE,
    THREE,
    TWO,
    Face,
    asked,
    completion,
    failure,
    governor,
    message,
    scripted,
    spent,
)
from tests.transports.upstream import answer, as_json

if TYPE_CHECKING:
    from tests.transports.upstream import Upstream

USAGE = Usage(input=10, output=5)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (ONE, Answer(text="hello", model=ONE, usage=USAGE, cost_usd=Decimal("0.00002"), attempts=1)),
        (TWO, Answer(text="from two", model=TWO, usage=USAGE, cost_usd=Decimal("0.00005"), attempts=1)),
        (THREE, Answer(text="from three", model=THREE, usage=USAGE, cost_usd=Decimal("0.00008"), attempts=1)),
    ],
)
def test_an_answer_has_text_usage_and_cost(upstream: Upstream, colour: str, model: str, expected: Answer) -> None:
    """
    Whoever answers: the same value, by our own prices.
    """
    scripted(upstream)
    with governor(upstream) as gov:
        found = Face(colour, gov, model).chat("hi")

    assert expected == found


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (
            ONE,
            {
                "model": "m",
                "messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}],
                "max_completion_tokens": 7,
                "temperature": 0.5,
            },
        ),
        (
            TWO,
            {
                "model": "n",
                "system": "be kind",
                "messages": [{"role": "user", "content": "hi"}],
                "max_tokens": 7,
                "temperature": 0.5,
            },
        ),
        (
            THREE,
            {
                "model": "o",
                "messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}],
                "max_tokens": 7,
                "temperature": 0.5,
            },
        ),
    ],
)
def test_a_request_says_what_was_asked(upstream: Upstream, colour: str, model: str, body: dict[str, Any]) -> None:
    """
    In each API's own words, with the service's key, and to its own address.
    """
    scripted(upstream)
    with governor(upstream) as gov:
        Face(colour, gov, model, max_tokens=9).chat("hi", system="be kind", max_tokens=7, temperature=0.5, user="u1")

    assert [(model.partition("/")[0], body)] == asked(upstream)
    headers = upstream.received[0].headers
    assert "the-key-of-the-services" in headers.get("authorization", "") + headers.get("x-api-key", "")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (completion(finish="length"), ("hello", "length")),
        (completion(None, finish="stop", refusal="I won't"), ("I won't", "refused")),
        (completion("", finish="content_filter"), ("", "refused")),
        (completion(None, finish="tool_calls"), ("", "tool_calls")),
    ],
)
def test_why_openai_ended_is_told(upstream: Upstream, given: dict[str, Any], expected: tuple[str, str]) -> None:
    """
    Cut off, refused, or in the provider's own word.
    """
    upstream.script(CHATS, as_json(given))
    with governor(upstream) as gov:
        found = Face("sync", gov, ONE, TWO).chat("hi")

    assert expected == (found.text, found.finish)


@pytest.mark.parametrize(
    ("said", "expected"),
    [("end_turn", "stop"), ("stop_sequence", "stop"), ("max_tokens", "length"), ("refusal", "refused")],
)
def test_why_anthropic_ended_is_told(upstream: Upstream, said: str, expected: str) -> None:
    """
    In the same words as OpenAI's.
    """
    upstream.script(MESSAGES, as_json(message(finish=said)))
    with governor(upstream) as gov:
        found = Face("sync", gov, TWO).chat("hi")

    assert expected == found.finish


def test_retries_are_the_policys_and_counted(upstream: Upstream, colour: str) -> None:
    """
    The SDK makes none; each attempt that was sent counts.
    """
    upstream.script(CHATS, failure(503), failure(503), as_json(completion()))
    policy = {"retry": {"attempts": 3, "base": 0.001, "idempotent_only": False}}
    with governor(upstream, one=policy) as gov:
        found = Face(colour, gov, ONE).chat("hi")

    assert (found.text, found.attempts, len(upstream.received)) == ("hello", 3, 3)
    assert {"0"} == {each.headers["x-stainless-retry-count"] for each in upstream.received}


def test_what_the_cache_gives_again_costs_nothing(upstream: Upstream, colour: str) -> None:
    """
    No attempt, no dollar.
    """
    scripted(upstream)
    with governor(upstream, one={"cache": {}}) as gov:
        found = [Face(colour, gov, ONE).chat("hi", temperature=0.0) for _ in range(2)]

    assert [(1, Decimal("0.00002")), (0, 0)] == [(each.attempts, each.cost_usd) for each in found]
    assert found[0].text == found[1].text == "hello"


@pytest.mark.parametrize(
    "given",
    [
        {**completion(), "model": "nobody-knows-it"},
        {key: value for key, value in completion().items() if key != "usage"},
    ],
    ids=["no price", "no usage"],
)
def test_a_cost_that_nobody_knows_is_none(upstream: Upstream, given: dict[str, Any]) -> None:
    """
    A model without a price, an answer without usage.
    """
    upstream.script(CHATS, as_json(given))
    with governor(upstream) as gov:
        found = Face("sync", gov, ONE).chat("hi")

    assert found.cost_usd is None


def test_a_cost_that_was_billed_is_the_cost(upstream: Upstream) -> None:
    """
    OpenRouter says so itself.
    """
    given = completion()
    upstream.script(CHATS, as_json({**given, "usage": {**given["usage"], "cost": 0.0123}}))
    with governor(upstream, one={"dialect": "openrouter"}) as gov:
        found = Face("sync", gov, ONE).chat("hi")

    assert found.cost_usd == Decimal("0.0123")


def test_a_reload_brings_other_prices(upstream: Upstream) -> None:
    """
    As it does for budgets.
    """
    scripted(upstream)
    with governor(upstream) as gov, LLM(gov, ONE) as llm:
        before = llm.chat("hi").cost_usd
        dear = from_table({"prices": {"models": [{"model": "m", "usd_per_mtok": {"input": 100, "output": 200}}]}})
        gov.reload(replace(gov.config, prices=dear.prices))

        assert (before, llm.chat("hi").cost_usd) == (Decimal("0.00002"), Decimal("0.002"))


def test_a_message_without_content_is_a_bad_answer(upstream: Upstream, colour: str) -> None:
    """
    Anthropic's, too.
    """
    upstream.script(MESSAGES, as_json({"type": "message"}))
    with governor(upstream) as gov, pytest.raises(BadAnswer, match="the answer is no message"):
        Face(colour, gov, TWO).chat("hi")


def test_a_budget_is_held_and_charged(upstream: Upstream, colour: str) -> None:
    """
    Since every request says how long its answer may be; by user, feature and model.
    """
    scripted(upstream)
    with governor(upstream, one={"budget": {"total": 0.01}}) as gov:
        Face(colour, gov, ONE, feature="feed").chat("hi", user="u1", max_tokens=100)
        with pytest.raises(BudgetExceeded):
            Face(colour, gov, ONE).chat("hi", max_tokens=10_000)
        costs = gov.costs()

        assert spent(gov) == (20, 0, 0)
    assert [list(costs[key]) for key in ("by_user", "by_feature", "by_model")] == [["u1"], ["feed"], ["m"]]


def test_scope_and_cost_reach_the_gate(upstream: Upstream, colour: str) -> None:
    """
    Rules match on them, and a unit of the limit's own is charged.
    """
    scripted(upstream)
    rules = [{"match": {"user": "*", "feature": "feed", "model": "m"}, "limits": ["100 tokens/day"]}]
    with governor(upstream, one={"rules": rules, "max_wait": 1.0}) as gov:
        for user, feature in [("u1", "feed"), ("u2", "feed"), ("u1", "chat")]:
            Face(colour, gov, ONE).chat("hi", user=user, feature=feature, cost={"tokens": 60})
        with pytest.raises(WaitTooLong):
            Face(colour, gov, ONE, feature="feed").chat("hi", user="u1", cost={"tokens": 60})

    assert len(upstream.received) == 3


def test_a_priority_reaches_the_gate(upstream: Upstream, colour: str) -> None:
    """
    A denial is of the call's level; the tap sees it.
    """
    scripted(upstream)
    seen: list[Any] = []
    with governor(upstream) as gov:
        gov.tap(lambda event: seen.append(getattr(event.step, "ask", None)))
        Face(colour, gov, ONE).chat("hi", priority="high")
        gov.taps.drain(10.0)

    assert {"HIGH"} == {Priority(ask.level).name for ask in seen if ask is not None}


@pytest.mark.parametrize(
    "behaviour",
    [as_json({"choices": []}), as_json({"object": "list"}), answer(200, b"welcome", {"content-type": "text/html"})],
    ids=["empty", "other", "page"],
)
def test_what_is_no_completion_is_a_bad_answer(upstream: Upstream, colour: str, behaviour: Any) -> None:
    """
    Not an attribute error of the SDK's.
    """
    upstream.script("/plain/chat/completions", behaviour)
    service = {"dialect": "generic", "base_url": upstream.url + "/plain"}
    with governor(upstream, one=service) as gov, pytest.raises(BadAnswer, match="the answer is no") as caught:
        Face(colour, gov, ONE).chat("hi")

    assert caught.value.answer is None


def test_one_client_serves_one_loop_after_the_other(upstream: Upstream) -> None:
    """
    Connections belong to the loop that they were made in.
    """
    scripted(upstream)
    with governor(upstream) as gov:
        llm = LLM(gov, ONE)

        async def ask() -> str:
            async with llm:
                found = await asyncio.gather(llm.chat_async("hi"), llm.chat_async("ho"))
            return "".join(each.text for each in found)

        assert [asyncio.run(ask()), asyncio.run(ask())] == ["hellohello", "hellohello"]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_loops_that_are_over_leave_no_clients(upstream: Upstream) -> None:
    """
    Also of a program that closes none.
    """
    scripted(upstream)
    with governor(upstream) as gov:
        llm = LLM(gov, ONE)
        for _ in range(3):
            asyncio.run(llm.chat_async("hi"))
        kept = len(llm._asker.clients._awaiting)
        del llm
        gc.collect()

    assert kept == 1


def test_a_reload_brings_another_address(upstream: Upstream) -> None:
    """
    The next call goes to it.
    """
    scripted(upstream)
    upstream.script("/other/chat/completions", as_json(completion("elsewhere")))
    with governor(upstream) as gov, LLM(gov, ONE) as llm:
        before = llm.chat("hi").text
        tables = {name: policy for name, policy in gov.config.services.items() if name != "one"}
        moved = {"dialect": "openai", "base_url": upstream.url + "/other", "api_key": {"env": "LLM_KEY"}}
        gov.reload({**tables, "one": moved})

        assert [before, llm.chat("hi").text] == ["hello", "elsewhere"]
