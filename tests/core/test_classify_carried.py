"""
Finding the answer on exceptions and responses: status, headers, body and wait, wherever clients put them.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from egressor._core.classify import classify
from tests.core.strangers import Locked, Response, carrying, caused


@pytest.mark.parametrize(
    "exc",
    [
        carrying(response=Response(status_code=503, headers={"Retry-After": "7"})),
        carrying(response=Response(status=503, headers={"retry-after": "7"})),
        carrying(response=Response(status=503), headers={"retry-after": "7"}),
        carrying(resp=Response(status="503", headers=[("Retry-After", "7")])),
        carrying(response=None, status=503, headers={"Retry-After": "7"}),
        carrying(status_code=503, response_headers={"Retry-After": "7"}),
        carrying(http_status=503, headers={"Retry-After": "7"}),
        carrying(code=503, hdrs={"Retry-After": "7"}),
        carrying(status_code=503, retry_after=7),
        carrying(status_code=503, retry_after=timedelta(seconds=7)),
        carrying(response={"ResponseMetadata": {"HTTPStatusCode": 503, "HTTPHeaders": {"retry-after": "7"}}}),
        carrying(response=Locked(status_code=503, headers={"Retry-After": "7"})),
        carrying(code="server_error", status_code=503, headers={"Retry-After": "7"}),
        caused(RuntimeError("x"), carrying(status_code=503, headers={"Retry-After": "7"})),
        carrying(carrying(status_code=503, headers={"Retry-After": "7"})),
    ],
)
def test_shapes_of_clients(exc: BaseException) -> None:
    """
    Status and headers are found wherever clients put them.
    """
    verdict = classify(exc)

    assert (verdict.category, verdict.fingerprint, verdict.retry_after) == ("server_error", "http.503", 7.0)


QUOTA = {"error": {"code": "insufficient_quota"}}


@pytest.mark.parametrize(
    "exc",
    [
        carrying(status_code=429, body=QUOTA),
        carrying(status_code=429, body=QUOTA["error"]),
        carrying(response=Response(status_code=429, _content=json.dumps(QUOTA).encode())),
        carrying(response=Response(status=429, _body=json.dumps(QUOTA).encode())),
        carrying(status_code=429, http_body=json.dumps(QUOTA)),
    ],
)
def test_bodies_of_clients(exc: BaseException) -> None:
    """
    A body is read where the client holds it in memory.
    """
    verdict = classify(exc)

    assert verdict.category == "quota_exhausted"


def test_aws_throttling() -> None:
    """
    AWS answers 400 and says in its body that it is a limit.
    """
    response = {"Error": {"Code": "ThrottlingException"}, "ResponseMetadata": {"HTTPStatusCode": 400}}

    assert classify(carrying(response=response)).category == "rate_limit"


@pytest.mark.parametrize(
    ("attributes", "fingerprint"),
    [
        ({"status": 0, "code": 503}, "exc.client.ApiError"),
        ({"status_code": True}, "exc.client.ApiError"),
        ({"code": 28}, "exc.client.ApiError"),
        ({"code": "insufficient_quota"}, "exc.client.ApiError"),
        ({"status": 200}, "exc.client.ApiError"),
        ({"response": "text"}, "exc.client.ApiError"),
    ],
)
def test_numbers_that_are_no_status(attributes: dict[str, Any], fingerprint: str) -> None:
    """
    A zero, a curl code or a word is no HTTP status, and an exception with a 200 is no success.
    """
    verdict = classify(carrying(**attributes))

    assert (verdict.category, verdict.fingerprint) == ("unknown", fingerprint)


def test_argument_overrules_the_exception() -> None:
    """
    What the caller says stands above what the exception carries; what it can't mean doesn't.
    """
    exc = carrying(status_code=503, headers={"retry-after": "7"}, body=QUOTA)

    assert classify(exc, status=404).category == "not_found"
    assert classify(exc, headers={"retry-after": "9"}).retry_after == 9.0
    assert classify(exc, status=429, body="{}").category == "rate_limit"
    assert classify(exc, status=-1).fingerprint == "http.503"
    assert classify(TimeoutError(), headers={"retry-after": "9"}).retry_after == 9.0


def test_redirect_that_was_not_followed() -> None:
    """
    An exception about a redirect doesn't go away by sending it again.
    """
    verdict = classify(carrying(response=Response(status_code=302)))

    assert (verdict.category, verdict.retryable) == ("bad_response", False)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, 5.0),
        (0, 0.0),
        (2.5, 2.5),
        (1e9, 30 * 86400.0),
        (10**400, 30 * 86400.0),
        (-1, None),
        (float("nan"), None),
        (float("inf"), None),
        (True, None),
        ("5", None),
        (timedelta(minutes=1), 60.0),
    ],
)
def test_wait_on_the_exception(value: object, expected: float | None) -> None:
    """
    An exception's own retry_after is obeyed if it is a number of seconds.
    """
    verdict = classify(carrying(retry_after=value))

    assert expected == verdict.retry_after


@pytest.mark.parametrize(
    ("value", "category"),
    [
        (Response(status_code=503), "server_error"),
        (Response(status=503, headers={}), "server_error"),
        (Response(status_code=200), None),
        (Response(status=503), None),
        (Response(code=404, total=3), None),
        ({"status": 500}, None),
        ("502", None),
        (503, None),
        (object(), None),
    ],
)
def test_values(value: object, category: str | None) -> None:
    """
    A response is read; any other value that a function returned is a success, whatever it calls a status.
    """
    verdict = classify(value)

    assert category == verdict.category
