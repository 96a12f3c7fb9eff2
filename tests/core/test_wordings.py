"""
Reading what exceptions say, where their types say too little.
"""

from __future__ import annotations

import pytest

from egressor._core.classify import classify
from egressor._core.wordings import message, unaddressed
from tests.core.strangers import caused, foreign

LOST = "client.errors"


class Mute(Exception):
    """
    It can't say anything.
    """

    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("text", "category", "retryable"),
    [
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)", "network", False),
        ("certificate verify failed: self-signed certificate", "network", False),
        (
            "Max retries exceeded (Caused by SSLError(SSLEOFError(8, 'EOF occurred in violation')))",
            "network",
            True,
        ),
        ("Exceeded 30 redirects.", "bad_response", False),
        ("0, message='', url='http://x/y' TooManyRedirects", "bad_response", False),
        (
            "('Received response with content-encoding: gzip, but failed to decode it.', error(-3))",
            "bad_response",
            True,
        ),
        (
            "Response payload is not completed: <X: 400, message='Not enough data to satisfy'>",
            "network",
            True,
        ),
        ("400, message:\n  Can not decode content-encoding: gzip", "bad_response", True),
        ("HTTP Client says - Request timeout error", "timeout", True),
        ("All connection attempts failed", "network", True),
        ("Internal Server Error", "server_error", True),
        ("binance GET https://api.example/api?recvWindow=5000&signature=abc&timestamp=1", "network", True),
        ("Page.goto: net::ERR_NAME_NOT_RESOLVED at https://x/", "network", True),
        ("Message: unknown error: net::ERR_CERT_DATE_INVALID", "network", False),
        (
            "An error occurred (SlowDown) when calling the PutObject operation: Please reduce your request rate.",
            "rate_limit",
            True,
        ),
        ("An error occurred (ModelNotReadyException) when calling the InvokeModel operation: x", "overloaded", True),
        ("An error occurred (ValidationError) when calling the PutItem operation: x", "bad_request", False),
        ("(ThrottlingException) Too many. Code: ThrottlingException", "rate_limit", True),
        ("(QuotaExceeded) The quota is used up.", "quota_exhausted", False),
        ("(RequestTimeTooSkewed) x", "clock_skew", True),
        ("(some words) connection refused", "network", True),
        ("(never seen", "network", True),
        ("Unable to connect to port 22", "network", True),
        ("database is locked", "conflict", True),
        ("An error occurred (AccessDenied) when calling the GetObject operation: Access Denied", "permission", False),
        ("<AioRpcError: status = StatusCode.ABORTED, details = 'retry'>", "conflict", True),
        ("<AioRpcError: status = StatusCode.UNAVAILABLE, details = 'x'>", "server_error", True),
        ("it failed", "network", True),
    ],
)
def test_a_wire_that_says_more(text: str, category: str, *, retryable: bool) -> None:
    """
    A library's one class for whatever goes wrong on the way is told apart by its message.
    """
    verdict = classify(foreign("NetworkError")(text))

    assert (category, retryable) == (verdict.category, verdict.retryable), verdict.why


@pytest.mark.parametrize(
    ("kind", "text", "category", "retryable"),
    [
        (
            "OperationalError",
            'FATAL:  password authentication failed for user "x"',
            "authentication",
            False,
        ),
        ("OperationalError", "FATAL:  sorry, too many clients already", "overloaded", True),
        ("OperationalError", "server closed the connection unexpectedly", "network", True),
        ("OperationalError", "something", "network", True),
    ],
)
def test_a_database_that_did_not_let_us_in(kind: str, text: str, category: str, *, retryable: bool) -> None:
    """
    Psycopg has one class for all that goes wrong before a session is there.
    """
    verdict = classify(foreign(kind, module="psycopg")(text))

    assert (category, retryable) == (verdict.category, verdict.retryable)


@pytest.mark.parametrize(
    ("state", "category", "retryable"),
    [
        ("53100", "server_error", True),
        ("53300", "overloaded", True),
        ("23505", "conflict", False),
        ("23502", "bad_request", False),
        ("40P01", "conflict", True),
        ("28P01", "authentication", False),
        ("42501", "permission", False),
        ("57014", "timeout", True),
        ("25006", "server_error", True),
        ("0A000", "unknown", True),
    ],
)
def test_states_of_sql(state: str, category: str, *, retryable: bool) -> None:
    """
    A class that carries its SQLSTATE is read by it, whatever its name.
    """
    kind = foreign("SomeError", module="asyncpg")
    kind.sqlstate = state  # type: ignore[attr-defined]
    verdict = classify(kind("x"))

    assert (category, retryable) == (verdict.category, verdict.retryable)


def test_a_number_that_is_left_in_words() -> None:
    """
    Whoever wraps only the words of an OSError leaves its number in them.
    """
    assert classify(OSError("[Errno 113] No route to host")).category == "network"
    assert classify(OSError("[Errno x] No route to host")).category == "unknown"


def test_no_connection_at_all_is_no_outage() -> None:
    """
    Ccxt's asynchronous half has one class for an outage and for a connection that never was.
    """
    outage = foreign("ExchangeNotAvailable", module="ccxt.base.errors")

    assert classify(outage("binance GET https://api.example/x")).category == "network"
    assert classify(outage("binance GET https://api.example/x 503 Service Unavailable ")).category == "server_error"
    assert classify(outage("kraken is in trouble")).category == "server_error"
    assert classify(caused(outage("x"), ConnectionRefusedError())).may_have_run is False


def test_an_answer_that_is_no_json_explains_a_value_error() -> None:
    """
    A client that raises the bytes it could not parse has got something else than JSON; a good answer isn't to blame.
    """
    assert classify(ValueError("b'<html>'"), status=200, body="<html>x</html>").category == "bad_response"
    assert classify(ValueError("b'<html>'"), status=200, body='{"a":1}').category == "unknown"
    assert classify(ValueError("b'<html>'")).category == "unknown"


def test_addresses_are_left_out() -> None:
    """
    The words of a path and of a query are the caller's.
    """
    assert unaddressed("GET https://x.example/account?signature=1 failed") == "GET failed"
    assert unaddressed("with url: /timeout?x=1 (Caused by y)") == "with url: (Caused by y)"
    assert unaddressed("plain words") == "plain words"


def test_what_can_not_speak() -> None:
    """
    An exception whose message raises says nothing.
    """
    assert message(Mute()) == ""
    assert classify(foreign("NetworkError", bases=(Mute,))()).category == "network"


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("Twitter error response: status code = 429", "rate_limit"),
        ("Twitter API returned a 403 (Forbidden), something", "permission"),
        ("HTTP request received unexpected 404 b'x'", "not_found"),
        ("it has 404 pages", "unknown"),
    ],
)
def test_a_status_among_filling_words(text: str, category: str) -> None:
    """
    Between the word that announces a status and the status may stand an article or a sign.
    """
    assert category == classify(foreign("ApiError")(text)).category


def test_the_parsers_code_is_no_status() -> None:
    """
    Regression: aiohttp's parser numbers what it could not parse with 400, which was read as the answer's status.
    """
    parser = foreign("ContentLengthError", module="aiohttp.http_exceptions")("400, message:\n  Not enough data")
    parser.code = 400
    parser.headers = None
    broken = foreign("ClientPayloadError", module="aiohttp.client_exceptions")("Response payload is not completed")

    assert classify(caused(broken, parser)).category == "network"
    assert classify(caused(broken, parser), status=200).retryable
