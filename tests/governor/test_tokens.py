"""
A call's tokens: once for each attempt, whoever tells of it, and only where it is known what to tell.
"""

from __future__ import annotations

from typing import Any

import pytest

from egressor import Governor
from egressor._core.model import ErrorCategory, Verdict
from egressor.dialects.answered import AnswerReader
from egressor.governor.route import Options
from egressor.governor.tokens import Tally, counted
from egressor.testing import FakeClock

BODY = b'{"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "hello"}]}'
ANSWER = b'{"model": "m", "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}}'


class Wish:
    """
    A request that is not sent.
    """

    tally: Tally | None = None

    def asked(self) -> tuple[str, str, bytes | None]:
        """
        Return what it would be.
        """
        return "POST", "/v1/chat/completions", BODY


def governor() -> Governor:
    """
    A governor of one service with a limit of tokens.
    """
    return Governor({"api": {"dialect": "openai", "limits": ["4000 tokens/minute"]}}, clock=FakeClock())


def left(gov: Governor) -> int:
    """
    What is left of it.
    """
    found: int = gov.status()["api"]["limits"][0]["left"]
    return found


def said() -> Any:
    """
    What the answer says.
    """
    reader = AnswerReader("application/json")
    reader.feed(ANSWER)
    return reader.said(is_whole=True)


def test_an_attempt_is_settled_and_learned_from_once() -> None:
    """
    Whoever hears the answer's end a second time changes nothing, and neither does a verdict that comes later.
    """
    gov, wish = governor(), Wish()
    route = counted(gov.route("api", Options()), wish)
    gate, tally = route.gate, wish.tally
    assert tally is not None
    ask = route.ask((), {})
    at = gate.enter(ask)
    assert at is not None
    tally.lease = gate.lease(ask, at, gate.breaker.generation)
    taken = 4000 - left(gov)
    for _ in range(3):
        tally.settle(said())
    tally.judge(Verdict(category=ErrorCategory.RATE_LIMIT))

    assert taken == 5 + 100
    assert left(gov) == 4000 - 15
    assert gov.context.habits["api"].of(("m", "chat", "")).answers.total == 1


@pytest.mark.parametrize(
    "options",
    [
        Options(cost=lambda: {"tokens": 1}),
        Options(scope=lambda: {"user": "u"}),
        Options(limited=False),
    ],
)
def test_a_call_that_says_for_itself_goes_as_it_is(options: Options) -> None:
    """
    It depends on what only its program knows, or no limit applies to it.
    """
    wish = Wish()
    route = governor().route("api", options)

    assert counted(route, wish) is route
    assert wish.tally is None


def test_a_cost_that_is_stated_stays_and_the_model_is_told_all_the_same() -> None:
    """
    Nothing is expected in its place.
    """
    wish = Wish()
    route = counted(governor().route("api", Options(cost={"tokens": 7}, scope={"user": "u"})), wish)
    ask = route.ask((), {})

    assert (ask.cost, ask.scope) == ({"tokens": 7, "requests": 1}, {"user": "u", "model": "m"})
    assert wish.tally is None


def test_what_is_no_request_goes_as_it_is() -> None:
    """
    Nobody can read what it sends.
    """
    route = governor().route("api", Options())

    assert counted(route, object()) is route


def test_the_model_in_a_path_is_known_while_the_body_is_on_its_way() -> None:
    """
    As at Azure, whose paths name the deployment.
    """

    class OnItsWay(Wish):
        size = 4000

        def asked(self) -> tuple[str, str, bytes | None]:
            return "POST", "/openai/deployments/mine/chat/completions", None

    ask = counted(governor().route("api", Options()), OnItsWay()).ask((), {})

    assert (ask.scope, ask.cost["tokens"] > 0) == ({"model": "mine"}, True)
