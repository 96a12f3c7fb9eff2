"""
Errors in the middle of a stream, as SDKs raise them: without a status, or with the good one that the stream began with.
"""

from __future__ import annotations

import json

import anthropic
import httpx2
import openai
import pytest

from egressor.dialects import classify

REQUEST = httpx2.Request("POST", "https://api.example.com/v1/chat/completions")


def in_a_stream(body: object, message: str = "An error occurred during streaming") -> openai.APIError:
    """
    Raise what OpenAI's SDK makes of an event with an error: its inside alone.
    """
    return openai.APIError(message, REQUEST, body=body)


@pytest.mark.parametrize("dialect", ["generic", "openai", "groq", "openrouter"])
@pytest.mark.parametrize(
    ("body", "category", "retryable"),
    [
        ({"type": "server_error", "code": None, "message": "x"}, "server_error", True),
        ({"type": "insufficient_quota", "code": "insufficient_quota", "message": "x"}, "quota_exhausted", False),
        ({"type": "tokens", "code": "rate_limit_exceeded", "message": "x"}, "rate_limit", True),
        ({"type": "overloaded_error", "message": "x"}, "overloaded", True),
        ({"code": 502, "message": "Provider disconnected"}, "server_error", True),
        ({"message": "nobody knows"}, "server_error", True),
        ({"error": {"code": "content_filter", "message": "x"}}, "content_policy", False),
    ],
)
def test_the_inside_of_an_error(body: object, category: str, dialect: str, *, retryable: bool) -> None:
    """
    Regression: an openai.APIError without a status was read as unknown, whatever its body said.
    """
    verdict = classify(in_a_stream(body), dialect=dialect)

    assert (category, retryable, True) == (verdict.category, verdict.retryable, verdict.may_have_run)


@pytest.mark.parametrize(
    ("message", "category"),
    [
        ("An error occurred during streaming", "server_error"),
        ("The server had an error while processing your request.", "server_error"),
        ("Rate limit reached for gpt-5 in organization org-x", "rate_limit"),
        ("You exceeded your current quota, please check your plan and billing details.", "quota_exhausted"),
        ("over capacity, please try again later", "overloaded"),
    ],
)
@pytest.mark.parametrize("body", [None, {}, {"x": object()}], ids=["none", "empty", "no JSON"])
def test_a_sentence_alone(message: str, category: str, body: object) -> None:
    """
    Where the body is lost or can't be read, the sentence decides, and else it is the service's trouble.
    """
    assert category == classify(in_a_stream(body, message)).category


@pytest.mark.parametrize(
    ("kind", "category"),
    [("overloaded_error", "overloaded"), ("api_error", "server_error"), ("rate_limit_error", "rate_limit")],
)
def test_an_event_of_anthropic(kind: str, category: str) -> None:
    """
    Anthropic's SDK puts the whole event on the answer that had begun well.
    """
    body = {"type": "error", "error": {"type": kind, "message": "x"}}
    response = httpx2.Response(200, request=REQUEST)
    raised = anthropic.APIStatusError(str(body), response=response, body=body)

    assert (category, True) == (classify(raised).category, classify(raised).retryable)


def test_a_missing_key_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    OpenAI's plainest class says before any request that it was given no key.
    """
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    with pytest.raises(openai.OpenAIError) as raised:
        openai.OpenAI(api_key=None, http_client=httpx2.Client())

    assert classify(raised.value).category == "configuration"


@pytest.mark.parametrize(
    ("status", "message", "category"),
    [
        (400, "Error while processing your request: tool schema is invalid", "bad_request"),
        (400, "rate limit exceeded must be a number", "bad_request"),
        (404, "The model over capacity-1 does not exist", "not_found"),
    ],
)
def test_a_status_says_more_than_a_sentence_of_a_stream(status: int, message: str, category: str) -> None:
    """
    Regression: what an SDK keeps of a stream was looked for in every answer.
    """
    body = {"error": {"type": "invalid_request_error", "message": message}}

    assert classify(status=status, body=json.dumps(body), dialect="openai").category == category


@pytest.mark.parametrize("body", [{"order": 17}, {"title": "overloaded operators"}, {"message": "rate limit exceeded"}])
def test_a_program_s_own_body_is_no_event(body: dict[str, object]) -> None:
    """
    Regression: any exception with a dictionary for a body was read as an error in the middle of a stream.
    """

    class Own(Exception):
        def __init__(self) -> None:
            super().__init__("x")
            self.body = body

    assert classify(Own()).category == "unknown"


def test_a_class_below_the_plainest_is_none_of_a_stream() -> None:
    """
    Regression: a socket of OpenAI's that had closed was read as a setting that is wrong.
    """
    closed = openai.WebSocketConnectionClosedError.__new__(openai.WebSocketConnectionClosedError)

    assert (classify(closed).category, classify(closed).retryable) == ("network", True)
