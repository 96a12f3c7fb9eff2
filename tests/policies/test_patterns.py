"""
The user's own reading of errors.
"""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from egressor.dialects import classify
from egressor.errors import CircuitOpen, ConfigError
from egressor.policies import from_services
from egressor.policies.patterns import ErrorPattern, compile_patterns


def pattern(**settings: Any) -> ErrorPattern:
    """
    Build a pattern of plain values, as a file has them.
    """
    return ErrorPattern(**settings)


def read(mine: ErrorPattern, thing: object = None, **said: Any) -> tuple[str | None, bool]:
    """
    Classify with one pattern.
    """
    verdict = classify(thing, patterns=compile_patterns((mine,)), **said)
    return verdict.category, verdict.retryable


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        ({"messages": ["QUOTA for today"]}, {"status": 429, "body": '{"error":"The quota for today is spent"}'}),
        ({"regex": [r"limit of \d+ calls"]}, {"status": 500, "body": "you are over a limit of 300 calls"}),
        ({"statuses": [418, 420]}, {"status": 420}),
        ({"codes": ["E_SPENT"]}, {"status": 200, "body": '{"result":{"code":"e_spent"}}'}),
        ({"codes": ["-77"]}, {"status": 200, "body": '{"code":-77}'}),
        ({"exceptions": ["LookupError"]}, {"thing": KeyError("x")}),
        ({"exceptions": ["builtins.KeyError"], "messages": ["x"]}, {"thing": KeyError("x")}),
        ({"statuses": [429], "codes": ["spent"]}, {"status": 429, "body": '{"type":"spent"}'}),
    ],
)
def test_a_match_decides(marks: dict[str, Any], said: dict[str, Any]) -> None:
    """
    It stands above the dialect, the status and the type.
    """
    assert read(pattern(category="quota_exhausted", **marks), said.pop("thing", None), **said) == (
        "quota_exhausted",
        False,
    )


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        ({"messages": ["quota"]}, {"status": 500, "body": "broken"}),
        ({"statuses": [429], "messages": ["quota"]}, {"status": 500, "body": "quota"}),
        ({"codes": ["spent"]}, {"status": 500, "body": '{"message":"all is spent"}'}),
        ({"exceptions": ["OSError"], "statuses": [500]}, {"status": 500}),
    ],
)
def test_each_kind_of_mark_must_be_there(marks: dict[str, Any], said: dict[str, Any]) -> None:
    """
    What doesn't match is read as it would be without the pattern.
    """
    assert read(pattern(category="ban", **marks), **said) == ("server_error", True)


def test_what_a_pattern_says() -> None:
    """
    Severity, the word on retrying and the factor of the pause come into the verdict, and the first match decides.
    """
    first = pattern(statuses=[400], category="overloaded", severity="critical", retryable=False, backoff=3)
    second = pattern(statuses=[400], category="ban")
    verdict = classify(status=400, headers={"Retry-After": "7"}, patterns=compile_patterns((first, second)))

    assert (verdict.category, int(verdict.severity), verdict.retryable) == ("overloaded", 3, False)
    assert (verdict.backoff, verdict.retry_after) == (3.0, 7.0)
    assert (verdict.why, verdict.source) == ("errors[0] of the policy", "the policy")


def test_our_own_refusals_are_not_matched() -> None:
    """
    No server has said anything: a pattern for exceptions doesn't reach them.
    """
    mine = pattern(exceptions=["Exception"], category="ban")

    assert read(mine, CircuitOpen("open", service="s")) == ("overloaded", False)


class SpeechlessError(Exception):
    """
    An exception that can't be printed.
    """

    def __str__(self) -> str:
        raise ValueError


def test_an_exception_that_can_not_be_printed() -> None:
    """
    Its message matches nothing, and nothing is raised.
    """
    assert read(pattern(messages=["x"], category="ban"), SpeechlessError()) == ("unknown", True)


def test_no_patterns_cost_nothing() -> None:
    """
    A service without patterns asks nothing.
    """
    assert compile_patterns(()) is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"statuses": [500]}, "name a category"),
        ({"category": "ban"}, "it would match everything"),
        ({"category": "band", "statuses": [500]}, "is none of"),
        ({"category": "ban", "statuses": [5]}, "5 is below 100"),
        ({"category": "ban", "regex": [r"(a)\1"]}, "can't be matched in linear time"),
        ({"category": "ban", "regex": ["(?=a)"]}, "can't be matched in linear time"),
        ({"category": "ban", "regex": [7]}, "expected a regular expression"),
        ({"category": "ban", "statuses": [500], "backoff": 0}, "0.1"),
        ({"category": "ban", "messages": [""]}, "1 to 256 characters"),
    ],
)
def test_what_is_refused(settings: dict[str, Any], words: str) -> None:
    """
    A pattern that can't be meant, or can't be matched in bounded time, is an error when it is built.
    """
    with pytest.raises(ConfigError, match=words.replace("(", r"\(")):
        pattern(**settings)


def test_the_nearest_category_is_named() -> None:
    """
    A misspelt category says which one is meant.
    """
    with pytest.raises(ConfigError) as caught:
        pattern(category="rate_limits", statuses=[500])

    assert caught.value.nearest == "rate_limit"


def test_patterns_in_a_file() -> None:
    """
    A service's table of errors is read with the rest of the file; what is misspelt is named with its nearest key.
    """
    good = {"s": {"errors": [{"messages": ["spent"], "category": "quota_exhausted"}]}}
    config = from_services(good)

    assert [str(each.category) for each in config.services["s"].errors] == ["quota_exhausted"]

    with pytest.raises(ConfigError) as caught:
        from_services({"s": {"errors": [{"message": ["spent"], "category": "ban"}]}})
    assert caught.value.nearest == "messages"
    with pytest.raises(ConfigError, match="a list of tables"):
        from_services({"s": {"errors": {"messages": ["spent"]}}})


class Response:
    """
    A client's response with its body at hand.
    """

    status_code = 200
    headers: ClassVar = {"content-type": "application/json"}

    def __init__(self, body: str) -> None:
        self.text = body


def test_a_response_is_matched() -> None:
    """
    What a client returned is asked as what it raised is.
    """
    assert read(pattern(messages=["spent"], category="ban"), Response("all is spent")) == ("ban", False)
