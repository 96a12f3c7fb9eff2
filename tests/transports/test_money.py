"""
Requests to language models: held at their worst case, charged at what their answer says, through every client.
"""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from egressor import BudgetExceeded, Governor, unwrap
from egressor.policies.loader import from_table
from tests.transports.every import EVERY
from tests.transports.upstream import answer, as_json, reset, stream

if TYPE_CHECKING:
    from tests.transports.every import Ask
    from tests.transports.upstream import Behaviour, Upstream

PRICES = {
    "models": [{"model": "m", "usd_per_mtok": {"input": 1, "output": 2}}],
    "on_unknown_price": "refuse",
}
USED = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
ANSWER = {"id": "x", "model": "m", "choices": [{"message": {"content": "hi"}}], "usage": USED}
ASKED = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "hello"}]}
FRAMES = (
    b'data: {"model": "m", "choices": [{"delta": {"content": "hi"}}]}\n\n',
    b'data: {"model": "m", "choices": [], "usage": ' + json.dumps(USED).encode() + b"}\n\n",
    b"data: [DONE]\n\n",
)


@pytest.fixture(params=EVERY)
def read(request: pytest.FixtureRequest) -> Ask:
    """
    A client that is asked for an answer and reads it whole.
    """
    return EVERY[request.param]


def governor(
    budget: float = 0.01, *, dialect: str = "openai", cache: dict[str, Any] | None = None, **prices: Any
) -> Governor:
    """
    A governor of one service with a budget in all.
    """
    api: dict[str, Any] = {"dialect": dialect, "budget": {"total": budget}, "retry": {"attempts": 1}, "timeout": 5.0}
    if cache is not None:
        api["cache"] = cache
    return Governor(config=from_table({"services": {"api": api}, "prices": {**PRICES, **prices}}))


def spent(gov: Governor) -> tuple[int, int, int]:
    """
    What is spent, held and unknown.
    """
    money = gov.context.money
    assert money is not None
    cell = money.till.read(lambda page: page.budgets())[0].cell
    return cell.spent, cell.held, cell.unknown


def packed(value: object) -> Behaviour:
    """
    Answer with a packed JSON document.
    """
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    return answer(200, gzip.compress(json.dumps(value).encode()), headers)


@pytest.mark.parametrize("dialect", ["openai", "openrouter"])
@pytest.mark.parametrize(
    "behaviour", [as_json(ANSWER), packed(ANSWER), stream(*FRAMES)], ids=["json", "packed", "events"]
)
def test_an_answer_is_charged_at_what_it_says(
    read: Ask, upstream: Upstream, behaviour: Behaviour, dialect: str
) -> None:
    """
    However it comes: ten tokens sent and five received, by the user's own prices.
    """
    gov = governor(dialect=dialect)
    url = upstream.script("/v1/chat/completions", behaviour)
    read(gov, url, "POST", json=ASKED)

    assert spent(gov) == (20, 0, 0)
    assert list(gov.costs()["by_model"]) == ["m"]


@pytest.mark.parametrize("cache", [None, {}, {"max_bytes": 100_000}], ids=["none", "kept", "too long"])
@pytest.mark.parametrize("dialect", ["openai", "openrouter"])
def test_a_long_answer_is_charged_at_what_it_says(
    read: Ask, upstream: Upstream, dialect: str, cache: dict[str, Any] | None
) -> None:
    """
    Regression: httpx's answers that were begun to be read for the cache, and proved too long for it, were unknown.
    """
    gov = governor(dialect=dialect, cache=cache)
    data = json.dumps({**ANSWER, "choices": [{"message": {"content": "x" * 200_000}}]}).encode()
    parts = [data[at : at + 20_000] for at in range(0, len(data), 20_000)]
    url = upstream.script("/v1/chat/completions", stream(*parts, kind="application/json"))
    read(gov, url, "POST", json={**ASKED, "temperature": 0})

    assert spent(gov) == (20, 0, 0)


@pytest.mark.parametrize(
    "behaviour",
    [
        as_json({**ANSWER, "usage": None}),
        answer(200, b"no JSON", {"content-type": "text/plain"}),
        stream(*FRAMES[:1]),
    ],
    ids=["silent", "text", "cut"],
)
def test_an_answer_that_does_not_say_is_unknown(read: Ask, upstream: Upstream, behaviour: Behaviour) -> None:
    """
    It is charged at the worst case: its bytes as tokens sent, and as many received as it allowed.
    """
    gov = governor()
    url = upstream.script("/v1/chat/completions", behaviour)
    read(gov, url, "POST", json=ASKED)
    worst = len(upstream.received[0].body) + 2 * 100

    assert spent(gov) == (worst, 0, worst)


def test_a_refusal_by_the_server_costs_nothing(read: Ask, upstream: Upstream) -> None:
    """
    A 400 is not billed.
    """
    gov = governor()
    url = upstream.script("/v1/chat/completions", as_json({"error": {"message": "no"}}, 400))
    read(gov, url, "POST", json=ASKED)

    assert spent(gov) == (0, 0, 0)


def test_a_connection_that_breaks_is_unknown(read: Ask, upstream: Upstream) -> None:
    """
    Nobody knows what was done.
    """
    gov = governor()
    url = upstream.script("/v1/chat/completions", reset)
    with pytest.raises(Exception):  # noqa: B017, PT011 - each library has its own
        read(gov, url, "POST", json=ASKED)
    charged, held, unknown = spent(gov)

    assert (charged, held) == (unknown, 0)
    assert charged > 200


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({**ASKED, "model": "nobody-knows"}, "the model nobody-knows has no price"),
        ({**ASKED, "max_tokens": "some"}, "it does not say how long its answer may"),
        ([1, 2], "its body can't be read as a request to a language model"),
        ({**ASKED, "max_tokens": 10**8}, "can never fit the budget api/total@UTC"),
    ],
)
def test_what_nobody_can_price_is_not_sent(read: Ask, upstream: Upstream, body: object, why: str) -> None:
    """
    A budget that doesn't know what it spends keeps nothing.
    """
    gov = governor()
    url = upstream.script("/v1/chat/completions", as_json(ANSWER))
    with pytest.raises(BudgetExceeded) as caught:
        read(gov, url, "POST", json=body)

    assert why in str(unwrap(caught.value))
    assert upstream.received == []


def test_what_is_only_looked_at_is_free(read: Ask, upstream: Upstream) -> None:
    """
    A list of models costs nothing, and says nothing of what it costs.
    """
    gov = governor()
    url = upstream.script("/v1/models", as_json({"data": []}))
    read(gov, url)

    assert gov.costs()["total"]["calls"] == 0


def test_an_unknown_model_may_be_estimated(read: Ask, upstream: Upstream) -> None:
    """
    At the ceiling: it is never free.
    """
    gov = governor(1, on_unknown_price="estimate", ceiling={"model": "x", "usd_per_mtok": {"input": 7, "output": 9}})
    url = upstream.script("/v1/chat/completions", as_json({**ANSWER, "model": "nobody-knows"}))
    read(gov, url, "POST", json={**ASKED, "model": "nobody-knows"})

    assert spent(gov) == (70 + 45, 0, 0)


@pytest.mark.parametrize("way", ["call", "permit"])
def test_requests_inside_of_a_call_are_charged_by_themselves(read: Ask, upstream: Upstream, way: str) -> None:
    """
    All requests inside of a function of a small stated cost went, and only that one was charged.
    """
    gov = governor(0.001)
    url = upstream.script("/v1/chat/completions", as_json(ANSWER))
    read(gov, url, "POST", json=ASKED)
    alone = spent(gov)[0]

    def agent() -> None:
        for _ in range(3):
            read(gov, url, "POST", json=ASKED)

    if way == "call":
        gov.call("api", agent, cost={"usd": 0.000001})
    else:
        with gov.permit("api", cost={"usd": 0.000001}):
            agent()

    assert spent(gov) == (alone * 4, 0, 0)


def test_a_request_inside_of_a_call_is_refused_if_nobody_can_price_it(read: Ask, upstream: Upstream) -> None:
    """
    What may come to more than the call around it has said isn't sent; where nothing has a price, that one's word holds.
    """
    url = upstream.script("/v1/chat/completions", as_json(ANSWER))
    unbounded = {"model": "m", "messages": [], "max_tokens": "some"}
    gov = governor()
    with pytest.raises(BudgetExceeded, match="how long its answer may be"), gov.permit("api", cost={"usd": 0.001}):
        read(gov, url, "POST", json=unbounded)
    other = governor(dialect="kraken")
    with other.permit("api", cost={"usd": 0.001}):
        read(other, url, "POST", json=unbounded)

    assert (len(upstream.received), spent(other)) == (1, (1_000, 0, 0))


def test_a_service_without_prices_needs_a_stated_cost(read: Ask, upstream: Upstream) -> None:
    """
    Requests of other dialects say what they may cost, or are refused.
    """
    gov = governor(dialect="kraken")
    url = upstream.script("/x", as_json({}))

    with pytest.raises(BudgetExceeded, match="requests of the dialect kraken have no price"):
        read(gov, url, "POST", json={})


@pytest.mark.parametrize("behaviour", [as_json(ANSWER), stream(*FRAMES)], ids=["json", "events"])
def test_an_answer_that_was_kept_costs_nothing(read: Ask, upstream: Upstream, behaviour: Behaviour) -> None:
    """
    What is given again is not held for, and the answer that was kept was charged once.
    """
    api = {"dialect": "openai", "budget": {"total": 0.001}, "cache": {"ttl": 60}, "retry": {"attempts": 1}}
    gov = Governor(config=from_table({"services": {"api": api}, "prices": PRICES}))
    url = upstream.script("/v1/chat/completions", behaviour)
    bodies = {read(gov, url, "POST", json={**ASKED, "temperature": 0}) for _ in range(3)}

    assert (len(bodies), len(upstream.received)) == (1, 1)
    assert spent(gov) == (20, 0, 0)


def test_a_model_s_budget_is_found_by_the_request(read: Ask, upstream: Upstream) -> None:
    """
    A rule for each model matches what the body names.
    """
    rules = [{"match": {"model": "*"}, "budget": {"total": 0.01}}]
    api = {"dialect": "openai", "rules": rules, "retry": {"attempts": 1}}
    gov = Governor(config=from_table({"services": {"api": api}, "prices": PRICES}))
    read(gov, upstream.script("/v1/chat/completions", as_json(ANSWER)), "POST", json=ASKED)

    assert [(each["budget"], each["spent_usd"]) for each in gov.costs()["budgets"]] == [
        ("api[model=*:m]/total@UTC", "0.000020")
    ]
