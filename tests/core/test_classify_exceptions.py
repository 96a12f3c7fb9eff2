"""
Reading exceptions: by the names of their types, by what they wrap, by their words.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import json
import socket
import ssl

import pytest

from egressor import errors
from egressor._core.classify import classify
from egressor._core.model import ErrorSeverity
from tests.core.strangers import carrying, caused, foreign


@pytest.mark.parametrize(
    ("exc", "category", "retryable", "may_have_run", "counts"),
    [
        (TimeoutError(), "timeout", True, True, True),
        (ConnectionRefusedError(), "network", True, False, True),
        (ConnectionResetError(), "network", True, True, True),
        (BrokenPipeError(), "network", True, True, True),
        (ConnectionError(), "network", True, True, True),
        (socket.gaierror(-2, "Name or service not known"), "network", True, False, True),
        (ssl.SSLError(), "network", False, False, True),
        (ssl.SSLCertVerificationError(), "network", False, False, True),
        (ssl.SSLEOFError(), "network", True, True, True),
        (OSError(errno.ENETUNREACH, "x"), "network", True, False, True),
        (OSError(errno.EPIPE, "x"), "network", True, True, True),
        (OSError(errno.EMFILE, "x"), "unknown", False, False, False),
        (OSError("x"), "unknown", True, False, True),
        (TimeoutError(errno.ECONNREFUSED, "x"), "timeout", True, True, True),
        (json.JSONDecodeError("x", "y", 0), "bad_response", True, True, True),
        (FileNotFoundError(), "unknown", False, False, False),
        (PermissionError(), "unknown", False, False, False),
        (MemoryError(), "unknown", False, False, False),
        (ValueError("x"), "unknown", False, False, False),
        (KeyError("x"), "unknown", False, False, False),
        (IndexError(), "unknown", False, False, False),
        (TypeError(), "unknown", False, False, False),
        (AttributeError(), "unknown", False, False, False),
        (NameError(), "unknown", False, False, False),
        (SyntaxError(), "unknown", False, False, False),
        (AssertionError(), "unknown", False, False, False),
        (NotImplementedError(), "unknown", False, False, False),
        (ModuleNotFoundError(), "unknown", False, False, False),
        (UnicodeDecodeError("utf-8", b"", 0, 1, "x"), "unknown", False, False, False),
        (ZeroDivisionError(), "unknown", False, False, False),
        (RecursionError(), "unknown", False, False, False),
        (DeprecationWarning(), "unknown", False, False, False),
        (RuntimeError("boom"), "unknown", True, False, True),
        (Exception("boom"), "unknown", True, False, True),
        (foreign("ServiceDown")("boom"), "unknown", True, False, True),
        (foreign("Refusal", bases=(ValueError,))("boom"), "unknown", False, False, False),
        (KeyboardInterrupt(), "cancelled", False, False, False),
        (SystemExit(503), "cancelled", False, False, False),
        (GeneratorExit(), "cancelled", False, False, False),
        (asyncio.CancelledError(), "cancelled", False, False, False),
        (concurrent.futures.CancelledError(), "cancelled", False, False, False),
        (foreign("Cancelled", bases=(BaseException,), module="trio")(), "cancelled", False, False, False),
        (foreign("Stop", bases=(BaseException,))(), "cancelled", False, False, False),
    ],
)
def test_types(exc: BaseException, category: str, *, retryable: bool, may_have_run: bool, counts: bool) -> None:
    """
    Built-in types tell the wire's trouble, an error of the program, and a cancellation apart.
    """
    verdict = classify(exc)

    expected = (category, retryable, may_have_run, counts)
    assert expected == (verdict.category, verdict.retryable, verdict.may_have_run, verdict.counts)


@pytest.mark.parametrize(
    "exc",
    [
        foreign("ProxyError", module="httpx")("407 Proxy Authentication Required"),
        foreign("ProxyError", module="requests.exceptions")("Tunnel connection failed: 503 Service Unavailable"),
        carrying("429, message='x', url='http://proxy'", name="ClientHttpProxyError", status=429, headers={}),
    ],
)
def test_a_proxy_that_gives_no_way_is_not_the_service(exc: Exception) -> None:
    """
    What it answers to CONNECT says nothing of the service, which has seen nothing.
    """
    verdict = classify(exc)
    assert (verdict.category, verdict.retryable, verdict.may_have_run) == ("network", True, False)
    assert "the proxy gave no way" in verdict.why


@pytest.mark.parametrize(
    ("module", "name"), [("openai", "LengthFinishReasonError"), ("instructor.core", "IncompleteOutputException")]
)
def test_a_cut_answer_is_not_asked_for_again(module: str, name: str) -> None:
    """
    The same request would be cut, and paid, again; and nothing is wrong with the service.
    """
    verdict = classify(foreign(name, module=module)("Could not parse response content as the length limit was reached"))
    assert (verdict.category, verdict.retryable, verdict.counts) == ("bad_response", False, False)


@pytest.mark.parametrize(
    ("name", "category", "retryable", "may_have_run"),
    [
        ("PoolTimeout", "timeout", True, False),
        ("ConnectTimeout", "timeout", True, False),
        ("ConnectionTimeoutError", "timeout", True, False),
        ("ReadTimeout", "timeout", True, True),
        ("WriteTimeout", "timeout", True, True),
        ("ServerTimeoutError", "timeout", True, True),
        ("APITimeoutError", "timeout", True, True),
        ("TimedOut", "timeout", True, True),
        ("ConnectError", "network", True, False),
        ("NewConnectionError", "network", True, False),
        ("EndpointConnectionError", "network", True, False),
        ("NameResolutionError", "network", True, False),
        ("DNSError", "network", True, False),
        ("DNSLookupError", "network", True, False),
        ("ServerNotFoundError", "network", True, False),
        ("ClientSSLError", "network", False, False),
        ("CertificateError", "network", False, False),
        ("ReadError", "network", True, True),
        ("RemoteProtocolError", "network", True, True),
        ("ChunkedEncodingError", "network", True, True),
        ("APIConnectionError", "network", True, True),
        ("SomeNetworkError", "network", True, True),
        ("TooManyRedirects", "bad_response", False, False),
        ("ContentTypeError", "bad_response", True, True),
        ("ClientDecodeError", "bad_response", True, True),
        ("UnsupportedProtocol", "bad_request", False, False),
        ("InvalidURL", "bad_request", False, False),
        ("RateLimitError", "rate_limit", True, False),
        ("TooManyRequests", "rate_limit", True, False),
        ("ThrottlingException", "rate_limit", True, False),
        ("FloodWaitError", "rate_limit", True, False),
        ("QuotaExceeded", "quota_exhausted", False, False),
        ("InsufficientFunds", "insufficient_funds", False, False),
        ("AuthenticationError", "authentication", False, False),
        ("Unauthorized", "authentication", False, False),
        ("NoCredentialsError", "authentication", False, False),
        ("PermissionDenied", "permission", False, False),
        ("Forbidden", "permission", False, False),
        ("OrderNotFound", "not_found", False, False),
        ("ConflictError", "conflict", False, False),
        ("BadRequest", "bad_request", False, False),
        ("AccountSuspended", "ban", False, False),
        ("CaptchaRequired", "challenge", False, False),
        ("InsufficientBalance", "insufficient_funds", False, False),
        ("DuplicateKeyError", "conflict", False, False),
        ("ContentPolicyViolationError", "content_policy", False, False),
        ("OnMaintenance", "maintenance", True, False),
        ("OverloadedError", "overloaded", True, False),
        ("InternalServerError", "server_error", True, True),
    ],
)
def test_names(name: str, category: str, *, retryable: bool, may_have_run: bool) -> None:
    """
    A client's type is read by its name, and a subclass that nobody knows by its base's.
    """
    kind = foreign(name)
    derived = foreign("Special", bases=(kind,))
    expected = (category, retryable, may_have_run)

    for verdict in (classify(kind()), classify(derived())):
        assert expected == (verdict.category, verdict.retryable, verdict.may_have_run)


@pytest.mark.parametrize(
    ("reply", "category", "retryable"),
    [
        (
            "MISCONF Redis is configured to save RDB snapshots, but it's unable to persist to disk.",
            "server_error",
            True,
        ),
        ("NOREPLICAS Not enough good replicas to write.", "server_error", True),
        ("CLUSTERDOWN The cluster is down", "server_error", True),
        ("READONLY You can't write against a read only replica.", "server_error", True),
        ("BUSY Redis is busy running a script.", "overloaded", True),
        ("OOM command not allowed when used memory > 'maxmemory'.", "overloaded", True),
        ("NOAUTH Authentication required.", "authentication", False),
        ("WRONGPASS invalid username-password pair or user is disabled.", "authentication", False),
        ("NOPERM this user has no permissions to run the 'get' command", "permission", False),
        ("NOGROUP No such key 'a' or consumer group 'b'", "not_found", False),
        ("BUSYGROUP Consumer Group name already exists", "conflict", False),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", "bad_request", False),
        ("unknown command 'BUSY'", "bad_request", False),
        ("", "bad_request", False),
    ],
)
def test_what_redis_replies(reply: str, category: str, *, retryable: bool) -> None:
    """
    The first word of Redis's reply says what it is; none of them was executed.
    """
    verdict = classify(foreign("ResponseError", module="redis.exceptions")(reply))

    assert (category, retryable, False) == (verdict.category, verdict.retryable, verdict.may_have_run)


def test_pool_timeout_is_our_own_crowding() -> None:
    """
    No free connection in our pool is not held against the service.
    """
    assert not classify(foreign("PoolTimeout")()).counts


class SpeechlessError(Exception):
    """
    An exception that can't be printed.
    """

    def __str__(self) -> str:
        raise ValueError


def test_a_librarys_own_permission_error() -> None:
    """
    Python's PermissionError without a number was raised for want of a key, if it says so; the host's has a number.
    """
    assert classify(PermissionError("Authenticated endpoints require keys.")).category == "authentication"
    assert classify(PermissionError("x")).category == "unknown"
    assert classify(PermissionError(13, "Permission denied: key.pem")).category == "unknown"
    assert classify(PermissionError(SpeechlessError())).category == "unknown"


def test_builtin_names_are_not_fragments() -> None:
    """
    Python's own PermissionError is a file's; a client's is an API's.
    """
    assert classify(PermissionError()).category == "unknown"
    assert classify(foreign("PermissionError")()).category == "permission"


@pytest.mark.parametrize(
    ("exc", "category", "retryable", "may_have_run", "fingerprint"),
    [
        (
            caused(foreign("ConnectError")(), ssl.SSLError()),
            "network",
            False,
            False,
            "exc.ssl.SSLError",
        ),
        (
            caused(foreign("APIConnectionError")(), caused(foreign("ConnectError")(), OSError())),
            "network",
            True,
            False,
            "exc.client.ConnectError",
        ),
        (
            caused(foreign("APITimeoutError")(), foreign("ConnectTimeout")()),
            "timeout",
            True,
            False,
            "exc.client.ConnectTimeout",
        ),
        (
            foreign("RequestException")(foreign("MaxRetryError")(foreign("BrokenError")("x", ConnectionResetError()))),
            "network",
            True,
            True,
            "exc.ConnectionResetError",
        ),
        (caused(ValueError("x"), foreign("ReadTimeout")()), "timeout", True, True, "exc.client.ReadTimeout"),
        (caused(RuntimeError("x"), KeyError("y")), "unknown", True, False, "exc.RuntimeError"),
        (caused(ValueError("x"), RuntimeError("y")), "unknown", False, False, "exc.ValueError"),
        (caused(TimeoutError(), asyncio.CancelledError()), "timeout", True, True, "exc.TimeoutError"),
        (caused(RuntimeError("x"), asyncio.CancelledError()), "unknown", True, False, "exc.RuntimeError"),
        (caused(KeyboardInterrupt(), ConnectionResetError()), "cancelled", False, False, "exc.KeyboardInterrupt"),
    ],
)
def test_what_is_inside(
    exc: BaseException, category: str, *, retryable: bool, may_have_run: bool, fingerprint: str
) -> None:
    """
    A vague exception is read by what it wraps; a clear one isn't.
    """
    verdict = classify(exc)

    expected = (category, retryable, may_have_run, fingerprint)
    assert expected == (verdict.category, verdict.retryable, verdict.may_have_run, verdict.fingerprint)


@pytest.mark.parametrize(
    ("exc", "category", "may_have_run"),
    [
        (carrying("HTTP said: [Errno 111] Connection refused"), "network", False),
        (carrying("Connection reset by peer"), "network", True),
        (carrying("Temporary failure in name resolution"), "network", False),
        (carrying("the request timed out"), "timeout", True),
        (carrying("connection refused", name="RequestException"), "network", False),
        (carrying("x" * 600 + "timed out"), "unknown", False),
        (RuntimeError("timed out"), "unknown", False),
        (ValueError("timed out"), "unknown", False),
        (foreign("Refusal", bases=(ValueError,))("timed out"), "unknown", False),
    ],
)
def test_messages(exc: BaseException, category: str, *, may_have_run: bool) -> None:
    """
    Where a client leaves nothing but words, the words of the wire's errors are known; a bare RuntimeError's aren't.
    """
    verdict = classify(exc)

    assert (category, may_have_run) == (verdict.category, verdict.may_have_run)


@pytest.mark.parametrize(
    ("message", "category"),
    [
        ("Max retries exceeded (Caused by ResponseError('too many 429 error responses'))", "rate_limit"),
        ("Max retries exceeded (Caused by ResponseError('too many 503 error responses'))", "server_error"),
        ("too many cooks", "unknown"),
        ("too many 429 cooks", "unknown"),
    ],
)
def test_status_in_urllib3s_message(message: str, category: str) -> None:
    """
    After its own retries, urllib3 leaves the status only in its message.
    """
    verdict = classify(carrying(message, name="RetryError"))

    assert category == verdict.category


@pytest.mark.parametrize(
    ("refusal", "category"),
    [
        (errors.WaitTooLong("x"), "rate_limit"),
        (errors.QueueFull("x"), "rate_limit"),
        (errors.NeverFits("x"), "configuration"),
        (errors.CircuitOpen("x"), "overloaded"),
        (errors.Banned("x"), "ban"),
        (errors.BudgetExceeded("x"), "quota_exhausted"),
        (errors.Paused("x"), "maintenance"),
        (errors.StoreUnavailable("x"), "unknown"),
        (errors.Rejected("x", reason="of my own"), "unknown"),
    ],
)
def test_our_own_refusals(refusal: errors.Rejected, category: str) -> None:
    """
    A refusal of ours was never sent: not retried here, not counted, whatever is wrapped around it.
    """
    refusal.retry_after = 3.0

    for verdict in (classify(refusal), classify(caused(foreign("APIConnectionError")(), refusal))):
        assert (category, False, False, False, 3.0) == (
            verdict.category,
            verdict.retryable,
            verdict.counts,
            verdict.may_have_run,
            verdict.retry_after,
        )


def test_our_other_exceptions() -> None:
    """
    A wrong setting is a setting's; a broken stream is the wire's, and is not sent again.
    """
    broken = classify(errors.PartialResponse("x"))

    assert classify(errors.ConfigError("x")).category == "configuration"
    assert classify(errors.EgressorError("x")).category == "unknown"
    assert (broken.category, broken.retryable, broken.may_have_run, broken.counts) == ("network", False, True, True)


@pytest.mark.parametrize(
    ("members", "category", "retryable", "may_have_run", "counts"),
    [
        ([TimeoutError(), ConnectionRefusedError()], "timeout", True, True, True),
        ([ValueError(), ConnectionRefusedError()], "network", False, False, True),
        ([carrying(status_code=401), ConnectionResetError()], "authentication", False, True, True),
        ([asyncio.CancelledError(), carrying(status_code=404)], "not_found", False, False, False),
        ([KeyboardInterrupt(), SystemExit()], "cancelled", False, False, False),
        ([ExceptionGroup("in", [RuntimeError("x")]), RuntimeError("y")], "unknown", True, False, True),
        ([errors.QueueFull("x"), carrying(status_code=503)], "server_error", False, True, True),
    ],
)
def test_groups(
    members: list[BaseException], category: str, *, retryable: bool, may_have_run: bool, counts: bool
) -> None:
    """
    A group is as bad as its worst member, and is sent again only if each of them may be.
    """
    verdict = classify(BaseExceptionGroup("several", members))

    expected = (category, retryable, may_have_run, counts)
    assert expected == (verdict.category, verdict.retryable, verdict.may_have_run, verdict.counts)


def test_wait_of_a_group() -> None:
    """
    A group waits as long as the most patient of its members.
    """
    members = [carrying(status_code=429, retry_after=3), carrying(status_code=429, retry_after=9), TimeoutError()]

    assert classify(ExceptionGroup("several", members)).retry_after == 9.0


def test_group_of_one() -> None:
    """
    A group of one reads like its member.
    """
    assert classify(ExceptionGroup("one", [carrying(status_code=503)])) == classify(status=503)


def test_words_of_a_verdict() -> None:
    """
    The verdict names the type that decided and the one around it, and never their messages.
    """
    verdict = classify(caused(carrying("key=SECRET", name="ConnectError"), ssl.SSLError("SECRET")))

    assert verdict.why == "client.ConnectError around ssl.SSLError: no TLS connection, nothing was sent"
    assert verdict.severity is ErrorSeverity.MEDIUM
