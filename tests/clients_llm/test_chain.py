"""
Chains of models: who is asked next, after what, and what comes out in the end.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest

from egressor import (
    BudgetExceeded,
    CircuitOpen,
    ConfigError,
    ErrorCategory,
    NeverFits,
    Paused,
    Rejected,
    WaitTooLong,
)
from egressor.clients.llm import chain
from egressor.clients.llm.chain import MOVES_ON, Came
from egressor.clients.llm.wishes import Model, Wish
from egressor.policies import Policy
from egressor.testing import FakeClock
from tests.clients_llm.rig import (
    CHATS,
    MESSAGES,
    ONE,
    THREE,
    TWO,
    Face,
    at_rest,
    completion,
    failure,
    governor,
    scripted,
    services,
)
from tests.transports.upstream import answer, as_json, reset

if TYPE_CHECKING:
    from collections.abc import Callable

    from egressor import Governor
    from tests.transports.upstream import Behaviour, Upstream

WISH = Wish(messages=(), max_tokens=1, temperature=None, options={}, until=None)


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        (failure(429, "rate_limit_exceeded"), "rate_limit"),
        (failure(429, "rate_limit_exceeded", {"retry-after": "3600"}), "rate_limit"),
        (failure(429, "credit_balance_exhausted"), "quota_exhausted"),
        (failure(403, "account_deactivated"), "ban"),
        (failure(403, "unsupported_country_region_territory"), "geo_block"),
        (failure(500, "server_error"), "server_error"),
        (failure(503, "server_is_overloaded"), "overloaded"),
        (failure(529, "overloaded_error"), "overloaded"),
        (answer(504), "timeout"),
        (reset, "network"),
    ],
    ids=["rate", "wait", "credit", "ban", "geo", "500", "503", "529", "504", "reset"],
)
def test_another_model_is_asked_where_this_one_cannot(
    upstream: Upstream, colour: str, behaviour: Behaviour, why: str
) -> None:
    """
    The answer says who was passed over, and why.
    """
    scripted(upstream)
    upstream.script(CHATS, behaviour)
    with governor(upstream) as gov:
        found = Face(colour, gov, ONE, TWO).chat("hi")

        assert at_rest(gov)
    assert ("from two", TWO, (f"{ONE}: {why}",), 2) == (found.text, found.model, found.passed, found.attempts)
    assert services(upstream) == ["one", "two"]


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (failure(400, "content_policy_violation"), openai.BadRequestError),
        (failure(400, "context_length_exceeded"), openai.BadRequestError),
        (failure(401, "invalid_api_key"), openai.AuthenticationError),
        (failure(403, "permission_denied"), openai.PermissionDeniedError),
        (failure(404, "model_not_found"), openai.NotFoundError),
        (failure(409, "conflict"), openai.ConflictError),
    ],
    ids=["policy", "length", "key", "rights", "model", "conflict"],
)
def test_the_chain_ends_where_the_request_is_at_fault(
    upstream: Upstream, colour: str, behaviour: Behaviour, kind: type[Exception]
) -> None:
    """
    Nobody else is asked for what one has refused, and the SDK's own exception comes out.
    """
    scripted(upstream)
    upstream.script(CHATS, behaviour)
    with governor(upstream) as gov, pytest.raises(kind) as caught:
        Face(colour, gov, ONE, TWO).chat("hi")

    assert services(upstream) == ["one"]
    assert not [note for note in getattr(caught.value, "__notes__", []) if "tried before" in note]


def spend(gov: Governor) -> None:
    """
    Leave nothing of the first service's budget.
    """
    gov.call("one", str, cost={"usd": 0.01})


def use_up(gov: Governor) -> None:
    """
    Leave nothing of the first service's limit.
    """
    gov.call("one", str)


@pytest.mark.parametrize(
    ("policy", "before", "why"),
    [
        ({}, lambda gov: gov.pause("one"), "paused"),
        ({}, lambda gov: gov.force_open("one"), "circuit_open"),
        ({"budget": {"total": 0.01}}, spend, "budget"),
        ({"limits": ["1/day fixed"], "max_wait": 1.0}, use_up, "wait_too_long"),
    ],
    ids=["paused", "open", "budget", "wait"],
)
def test_another_model_is_asked_after_a_refusal(
    upstream: Upstream, colour: str, policy: dict[str, Any], before: Callable[[Governor], None], why: str
) -> None:
    """
    Nothing was sent to the first one.
    """
    scripted(upstream)
    with governor(upstream, one=policy) as gov:
        before(gov)
        found = Face(colour, gov, ONE, TWO).chat("hi")

    assert ("from two", (f"{ONE}: {why}",), 1) == (found.text, found.passed, found.attempts)
    assert services(upstream) == ["two"]


@pytest.mark.parametrize("reason", ["banned", "queue_full", "store", "shed"])
def test_other_refusals_move_on_too(reason: str) -> None:
    """
    Whatever says that this service won't serve us now.
    """
    assert chain.judged(Rejected("no", reason=reason), Policy()) == (True, reason)


def test_what_never_fits_is_no_reason_to_move_on(upstream: Upstream, colour: str) -> None:
    """
    A limit that no call can pass is a mistake in the configuration, and would show nowhere.
    """
    scripted(upstream)
    with governor(upstream, one={"limits": ["10 tokens/day"]}) as gov, pytest.raises(NeverFits):
        Face(colour, gov, ONE, TWO).chat("hi", cost={"tokens": 11})

    assert services(upstream) == []


def test_a_time_out_moves_on(upstream: Upstream, colour: str) -> None:
    """
    The policy's, which bounds an attempt.
    """
    from threading import Semaphore

    from tests.transports.upstream import hang

    gate = Semaphore(0)
    scripted(upstream)
    upstream.script(CHATS, hang(gate))
    with governor(upstream, one={"timeout": 0.05}) as gov:
        found = Face(colour, gov, ONE, TWO).chat("hi")
    gate.release()

    assert ("from two", (f"{ONE}: timeout",)) == (found.text, found.passed)


def test_the_last_error_comes_out_with_notes_of_the_others(upstream: Upstream, colour: str) -> None:
    """
    As its SDK raised it; the notes say who failed why, and nothing that a server wrote.
    """
    upstream.script(CHATS, failure(429, "credit_balance_exhausted"))
    upstream.script(MESSAGES, as_json({"type": "error", "error": {"type": "overloaded_error", "message": "x"}}, 529))
    with governor(upstream) as gov, pytest.raises(anthropic.APIStatusError) as caught:
        Face(colour, gov, ONE, TWO).chat("hi")

    assert caught.value.status_code == 529
    assert [each for each in caught.value.__notes__ if "tried" in each] == [f"tried before: {ONE}: quota_exhausted"]


@pytest.mark.parametrize("model", [ONE, TWO])
def test_a_refusal_comes_out_as_the_gate_raised_it(upstream: Upstream, colour: str, model: str) -> None:
    """
    Also by Anthropic's SDK, which wraps it in a broken connection.
    """
    with governor(upstream) as gov, pytest.raises(Paused) as caught:
        gov.pause(model.partition("/")[0])
        Face(colour, gov, model).chat("hi")

    assert caught.value.reason == "paused"


def test_one_deadline_holds_for_the_whole_chain() -> None:
    """
    Who is asked later has what is left of it; after it nobody is asked.
    """
    clock = FakeClock()
    models = [Model("a", "x"), Model("b", "y"), Model("c", "z")]
    until = clock.now() + 10_000_000  # below what a try has of its own
    story = chain.chain(models, WISH._replace(until=until), now=clock.now, policy=lambda _: Policy())
    seen = [next(story).left]
    clock.advance(4.0)
    seen.append(story.send(Came(error=TimeoutError())).left)
    clock.advance(6.0)
    with pytest.raises(TimeoutError, match="the second"):
        story.send(Came(error=TimeoutError("the second")))

    assert seen == [10.0, 6.0]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(None, [7.0, 7.0, 7.0]), (5.0, [5.0, 5.0, 5.0]), (10.0, [7.0, 7.0, 10.0])],
)
def test_a_try_has_a_wait_and_an_attempt_and_the_last_one_the_rest(
    seconds: float | None, expected: list[float]
) -> None:
    """
    So that a chain goes on before a server's wait of an hour, and a caller who names no end has one.
    """
    wish = WISH._replace(until=None if seconds is None else int(seconds * 1e6))
    policy = Policy(max_wait=4.0, timeout=3.0)
    story = chain.chain([Model("a", "x")] * 3, wish, now=lambda: 0, policy=lambda _: policy)
    seen = [next(story).left]
    seen += [story.send(Came(error=TimeoutError())).left for _ in range(2)]

    assert seen == expected


def test_a_long_retry_after_is_not_sat_out(upstream: Upstream, colour: str) -> None:
    """
    Regression: with attempts left and no deadline, a call slept for the hour that a server had asked for.
    """
    scripted(upstream)
    upstream.script(CHATS, failure(429, "rate_limit_exceeded", {"retry-after": "3600"}))
    with governor(upstream, one={"retry": {"attempts": 3}}) as gov:
        found = Face(colour, gov, ONE, TWO).chat("hi")
        with pytest.raises(WaitTooLong):
            Face(colour, gov, ONE).chat("hi")

    assert (found.passed, services(upstream)) == ((f"{ONE}: rate_limit",), ["one", "two"])


def test_the_deadline_reaches_the_gate(upstream: Upstream) -> None:
    """
    The first provider took all of it, so that the second isn't asked.
    """
    clock = FakeClock()
    scripted(upstream)

    def late(handler: Any) -> None:
        clock.advance(4.0)
        failure(503)(handler)

    upstream.script(CHATS, late)
    with governor(upstream, clock=clock) as gov:
        assert Face("sync", gov, ONE, TWO).chat("hi", deadline=5.0).text == "from two"
        with pytest.raises(openai.InternalServerError):
            Face("sync", gov, ONE, TWO).chat("hi", deadline=4.0)

    assert services(upstream) == ["one", "two", "one"]


def test_a_wait_that_does_not_fit_the_deadline_moves_on_at_once(upstream: Upstream, colour: str) -> None:
    """
    Nobody waits for a turn that comes too late.
    """
    scripted(upstream)
    with governor(upstream, one={"limits": ["1/day fixed"], "max_wait": 86_400.0}) as gov:
        use_up(gov)
        found = Face(colour, gov, ONE, TWO).chat("hi", deadline=5.0)
        with pytest.raises(WaitTooLong):
            Face(colour, gov, ONE).chat("hi", deadline=5.0)

    assert (f"{ONE}: wait_too_long",) == found.passed


def test_an_open_breaker_is_passed_over_without_asking(upstream: Upstream, colour: str) -> None:
    """
    After three failures the first provider is left alone.
    """
    scripted(upstream)
    upstream.script(CHATS, failure(529, "overloaded_error"))
    with governor(upstream, one={"breaker": {"consecutive": 3}}) as gov:
        found = [Face(colour, gov, ONE, TWO).chat("hi").passed for _ in range(5)]

    assert found == [(f"{ONE}: overloaded",)] * 3 + [(f"{ONE}: circuit_open",)] * 2
    assert services(upstream).count("one") == 3


def test_patterns_of_the_users_own_decide_first(upstream: Upstream, colour: str) -> None:
    """
    What the policy calls an overload moves on, whatever the status.
    """
    scripted(upstream)
    upstream.script(CHATS, failure(404, "model_not_found"))
    errors = [{"statuses": [404], "category": "overloaded"}]
    with governor(upstream, one={"errors": errors}) as gov:
        found = Face(colour, gov, ONE, TWO).chat("hi")

    assert (f"{ONE}: overloaded",) == found.passed


def test_the_categories_that_move_on_are_these() -> None:
    """
    A table that changes on purpose only; of all others none says that another provider would do better.
    """
    stay = {
        *("authentication", "permission", "bad_request", "not_found", "conflict", "clock_skew", "content_policy"),
        *("configuration", "cancelled", "unknown"),
    }

    assert stay == {each.value for each in ErrorCategory if each not in MOVES_ON}


def test_the_story_is_the_same_without_an_sdk() -> None:
    """
    Played by hand: tries go out, outcomes come in, and the sum of what was sent comes out.
    """
    models = [Model("a", "x"), Model("b", "y"), Model("c", "z")]
    story = chain.chain(models, WISH, now=lambda: 0, policy=lambda _: Policy())
    asked = [next(story).model]
    asked.append(story.send(Came(error=CircuitOpen("open"))).model)
    asked.append(story.send(Came(error=TimeoutError(), sent=2)).model)
    with pytest.raises(StopIteration) as end:
        story.send(Came("value", sent=1))

    assert models == asked
    assert end.value.value == chain.Reached("value", 2, 3, ("a/x: circuit_open", "b/y: timeout"))


def test_a_program_error_ends_the_chain() -> None:
    """
    What is no provider's failure is not hidden behind another provider's answer.
    """
    story = chain.chain([Model("a", "x"), Model("b", "y")], WISH, now=lambda: 0, policy=lambda _: Policy())
    next(story)
    error = TypeError("a bug")
    with pytest.raises(TypeError) as caught:
        story.send(Came(error=error))

    assert caught.value is error


def test_a_mistake_of_ours_inside_of_an_sdks_error_ends_the_chain() -> None:
    """
    Anthropic's SDK takes whatever a transport raises for a broken connection.
    """
    story = chain.chain([Model("a", "x"), Model("b", "y")], WISH, now=lambda: 0, policy=lambda _: Policy())
    next(story)
    cause = ConfigError("wrong")
    error = ConnectionError("broken")
    error.__cause__ = cause
    with pytest.raises(ConfigError) as caught:
        story.send(Came(error=error))

    assert caught.value is cause


def test_a_budget_that_is_spent_on_both_is_the_error(upstream: Upstream, colour: str) -> None:
    """
    The last refusal comes out, with a note of the first.
    """
    scripted(upstream)
    budget = {"budget": {"total": 0.000001}}
    with governor(upstream, one=budget, two=budget) as gov, pytest.raises(BudgetExceeded) as caught:
        Face(colour, gov, ONE, TWO).chat("hi")

    assert (caught.value.service, services(upstream)) == ("two", [])
    assert f"tried before: {ONE}: budget" in caught.value.__notes__


def test_costs_of_the_answer_alone_are_its_costs(upstream: Upstream, colour: str) -> None:
    """
    What a failed attempt cost is the ledger's to say.
    """
    scripted(upstream)
    upstream.script(CHATS, failure(500))
    with governor(upstream) as gov:
        found = Face(colour, gov, ONE, THREE).chat("hi")

    assert (Decimal("0.00008"), completion()["usage"]["prompt_tokens"]) == (found.cost_usd, found.usage.input)
