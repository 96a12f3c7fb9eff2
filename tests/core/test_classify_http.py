"""
Reading HTTP answers: statuses, mitigation headers, codes in bodies, broken contracts.
"""

from __future__ import annotations

import json
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor._core.answers import SUCCESS
from egressor._core.classify import classify
from egressor._core.model import ErrorCategory
from egressor._core.statuses import STATUSES

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("status", "category", "retryable", "may_have_run", "counts"),
    [
        (400, "bad_request", False, False, False),
        (401, "authentication", False, False, False),
        (402, "quota_exhausted", False, False, False),
        (403, "permission", False, False, False),
        (404, "not_found", False, False, False),
        (405, "bad_request", False, False, False),
        (406, "bad_request", False, False, False),
        (407, "authentication", False, False, False),
        (408, "timeout", True, False, True),
        (409, "conflict", False, False, False),
        (410, "not_found", False, False, False),
        (411, "bad_request", False, False, False),
        (412, "conflict", False, False, False),
        (413, "bad_request", False, False, False),
        (414, "bad_request", False, False, False),
        (415, "bad_request", False, False, False),
        (416, "bad_request", False, False, False),
        (417, "bad_request", False, False, False),
        (418, "unknown", False, False, False),
        (420, "rate_limit", True, False, False),
        (421, "configuration", False, False, False),
        (422, "bad_request", False, False, False),
        (423, "conflict", False, False, False),
        (424, "bad_request", False, False, False),
        (425, "bad_request", True, False, False),
        (426, "bad_request", False, False, False),
        (428, "bad_request", False, False, False),
        (429, "rate_limit", True, False, False),
        (431, "bad_request", False, False, False),
        (440, "authentication", False, False, False),
        (451, "geo_block", False, False, False),
        (498, "authentication", False, False, False),
        (499, "cancelled", False, True, False),
        (500, "server_error", True, True, True),
        (501, "server_error", False, False, True),
        (502, "server_error", True, True, True),
        (503, "server_error", True, True, True),
        (504, "timeout", True, True, True),
        (505, "server_error", False, False, True),
        (506, "server_error", False, False, True),
        (507, "server_error", False, False, True),
        (508, "server_error", False, False, True),
        (510, "server_error", False, False, True),
        (511, "network", False, False, True),
        (520, "server_error", True, True, True),
        (521, "server_error", True, False, True),
        (522, "timeout", True, True, True),
        (523, "server_error", True, False, True),
        (524, "timeout", True, True, True),
        (525, "server_error", True, False, True),
        (526, "server_error", False, False, True),
        (527, "server_error", True, True, True),
        (529, "overloaded", True, False, True),
        (530, "server_error", True, False, True),
        (598, "timeout", True, True, True),
        (599, "timeout", True, True, True),
        # RFC 9110 15: what isn't known counts as the first of its class, what is no status as a 500.
        (444, "bad_request", False, False, False),
        (555, "server_error", True, True, True),
        (600, "server_error", True, True, True),
        (999, "server_error", True, True, True),
        (10**30, "server_error", True, True, True),
    ],
)
def test_status_alone(status: int, category: str, *, retryable: bool, may_have_run: bool, counts: bool) -> None:
    """
    A bare status decides by the table, and an empty header changes nothing.
    """
    verdict = classify(status=status)

    expected = (category, retryable, may_have_run, counts, None)
    found = (verdict.category, verdict.retryable, verdict.may_have_run, verdict.counts, verdict.retry_after)
    assert expected == found
    assert verdict == classify(status=status, headers={}, body="")


def test_each_row_of_the_table_is_tested() -> None:
    """
    A status that enters the table enters the table above as well.
    """
    rows = test_status_alone.pytestmark[0].args[1]  # type: ignore[attr-defined]

    assert set(STATUSES) <= {row[0] for row in rows}


@pytest.mark.parametrize(
    ("value", "category"),
    [
        ("MissingAuthenticationTokenException", "authentication"),
        ("ExpiredTokenException:http://internal.amazon.com/coral/", "authentication"),
        ("ThrottlingException", "rate_limit"),
        ("ForbiddenException", "permission"),
    ],
)
def test_a_code_in_a_header(value: str, category: str) -> None:
    """
    AWS's API Gateway has its code in a header, and a sentence in the body.
    """
    verdict = classify(status=403, headers={"x-amzn-errortype": value}, body=b'{"message":"Forbidden"}')

    assert category == verdict.category


@pytest.mark.parametrize("status", [None, 100, 101, 200, 201, 204, 206, 299, 301, 302, 304, 399])
def test_success(status: int | None) -> None:
    """
    Everything below 400 is a success, and so is nothing at all; all of them are one shared value.
    """
    verdict = classify(status=status)

    assert SUCCESS is verdict
    assert verdict.ok


@pytest.mark.parametrize("status", ["200", "200 OK", b"200 OK now", 200.0])
def test_success_with_headers_is_the_shared_value(status: object) -> None:
    """
    Headers that assert nothing, and other ways to write 200, don't cost a new verdict.
    """
    verdict = classify(status=status, headers={"Content-Type": "text/html", "Server": "cloudflare"})  # type: ignore[arg-type]

    assert SUCCESS is verdict


@pytest.mark.parametrize("status", ["", "soon", -5, 0, 99, True, 200.5, float("nan"), float("inf"), b"\xff", [], "٥٠٣"])
def test_no_status(status: object) -> None:
    """
    What is said to be a status and is none is neither a success nor held against the service.
    """
    verdict = classify(status=status)  # type: ignore[arg-type]

    assert (verdict.category, verdict.retryable, verdict.counts) == ("unknown", False, False)


@pytest.mark.parametrize("status", ["503", "503 Service Unavailable", b"503 x", 503.0])
def test_written_statuses(status: object) -> None:
    """
    A status may come as text, with or without its phrase.
    """
    verdict = classify(status=status)  # type: ignore[arg-type]

    assert verdict.fingerprint == "http.503"


@pytest.mark.parametrize(
    ("status", "headers", "category", "retryable", "retry_after"),
    [
        (403, {"Retry-After": "60"}, "rate_limit", True, 60.0),
        (403, {"Retry-After": "0"}, "permission", False, 0.0),
        (413, {"Retry-After": "60"}, "bad_request", True, 60.0),
        (418, {"Retry-After": "120"}, "ban", True, 120.0),
        (429, {"retry-after-ms": "1500"}, "rate_limit", True, 1.5),
        (429, {"RateLimit": '"default";r=0;t=30'}, "rate_limit", True, 30.0),
        (429, {"X-Should-Retry": "false"}, "rate_limit", False, None),
        (500, {"x-should-retry": "FALSE"}, "server_error", False, None),
        (400, {"x-should-retry": "true"}, "bad_request", True, None),
        (400, {"x-should-retry": "maybe"}, "bad_request", False, None),
        (401, {"cf-ray": "8f-LHR", "server": "cloudflare", "x-datadome": "protected"}, "authentication", False, None),
        (403, {"CF-Mitigated": "challenge"}, "challenge", False, None),
        (429, {"cf-mitigated": "challenge", "retry-after": "9"}, "challenge", False, 9.0),
        (202, {"x-amzn-waf-action": "challenge"}, "challenge", False, None),
        (405, {"x-amzn-waf-action": "captcha"}, "challenge", False, None),
        (429, {"x-vercel-mitigated": "challenge"}, "challenge", False, None),
        (403, {"x-sucuri-block": "BNP005"}, "ban", False, None),
        (200, {"cf-mitigated": "none"}, None, False, None),
    ],
)
def test_headers(
    status: int, headers: dict[str, str], category: str | None, *, retryable: bool, retry_after: float | None
) -> None:
    """
    Headers that assert something overrule the status; headers that are merely there don't.
    """
    verdict = classify(status=status, headers=headers)

    assert (category, retryable, retry_after) == (verdict.category, verdict.retryable, verdict.retry_after)


@pytest.mark.parametrize(("headers", "may_have_run"), [({}, True), ({"retry-after": "5"}, False)])
def test_turned_away_at_the_door(headers: dict[str, str], *, may_have_run: bool) -> None:
    """
    A 503 that names a time has refused the request; a bare one leaves it open what it did.
    """
    verdict = classify(status=503, headers=headers)

    assert may_have_run == verdict.may_have_run


class Raw(dict[str, str]):
    """
    Headers as httpx holds them: the fields as they came, beside a mapping.
    """

    raw: ClassVar = [(b"Retry-After", b"7")]


@pytest.mark.parametrize(
    "headers",
    [
        Raw(),
        {"Retry-After": "7"},
        {"Retry-After": 7},
        {"Retry-After": ["7"]},
        {b"retry-after": b"7"},
        [("RETRY-AFTER", "7")],
        [["retry-after", "7"], "junk", ("one",), (1, 2), None],
        (pair for pair in [("retry-after", "7")]),
        [("retry-after", "3"), ("retry-after", "7")],
        {"retry-after": "7", "x" * 100: "y", b"x" * 100: b"y"},
    ],
)
def test_header_shapes(headers: object) -> None:
    """
    Headers are read from mappings and pairs, of text and bytes, whatever else lies between them.
    """
    verdict = classify(status=429, headers=headers)  # type: ignore[arg-type]

    assert verdict.retry_after == 7.0


@pytest.mark.parametrize("headers", ["retry-after: 7", b"retry-after: 8", 7, object(), {"retry-after": object()}])
def test_headers_of_no_shape(headers: object) -> None:
    """
    What is no header leaves the status alone.
    """
    verdict = classify(status=429, headers=headers)  # type: ignore[arg-type]

    assert (verdict.category, verdict.retry_after) == ("rate_limit", None)


@pytest.mark.parametrize(
    ("status", "body", "category", "retryable", "fingerprint"),
    [
        (429, {"error": {"code": "insufficient_quota"}}, "quota_exhausted", False, "http.429.insufficient_quota"),
        (429, {"error": {"type": "insufficient_quota"}}, "quota_exhausted", False, "http.429.insufficient_quota"),
        (429, {"error": {"code": "rate_limit_exceeded"}}, "rate_limit", True, "http.429"),
        (429, {"type": "https://api.x.com/problems/usage-capped"}, "quota_exhausted", False, "http.429.usage_capped"),
        (
            429,
            {"error": {"type": "rate_limit_error", "details": {"error_code": "enforced_spend_limit_reached"}}},
            "quota_exhausted",
            False,
            "http.429.spend_limit",
        ),
        # Google calls a spent minute RESOURCE_EXHAUSTED, too.
        (429, {"error": {"status": "RESOURCE_EXHAUSTED", "message": "check billing"}}, "rate_limit", True, "http.429"),
        (400, {"error": {"message": "Your credit balance is too low"}}, "quota_exhausted", False, None),
        (400, {"error": {"message": "too_many_requests", "code": 10028}}, "rate_limit", True, None),
        (400, {"__type": "com.amazon#ThrottlingException"}, "rate_limit", True, "http.400.throttl"),
        (400, {"error_name": "throttle_violation"}, "rate_limit", True, "http.400.throttl"),
        (400, {"error": {"message": "a bad field about billing"}}, "bad_request", False, "http.400"),
        (402, {"title": "CreditsDepleted"}, "quota_exhausted", False, "http.402.creditsdepleted"),
        (403, [{"error": {"errors": [{"reason": "rateLimitExceeded"}]}}], "rate_limit", True, "http.403.ratelimit"),
        (403, {"error": "PERMISSION_DENIED"}, "permission", False, "http.403"),
        (
            401,
            {"detail": {"status": "quota_exceeded", "message": "x"}},
            "quota_exhausted",
            False,
            "http.401.quota_exceeded",
        ),
        (401, {"code": "apiKeyExhausted"}, "quota_exhausted", False, "http.401.keyexhausted"),
        (
            402,
            {"error": {"decline_code": "insufficient_funds"}},
            "insufficient_funds",
            False,
            "http.402.insufficient_fund",
        ),
        (403, {"message": "insufficient buying power"}, "insufficient_funds", False, None),
        (403, [{"errorCode": "REQUEST_LIMIT_EXCEEDED"}], "quota_exhausted", False, "http.403.request_limit_exceeded"),
        (429, {"message": "You have reached your monthly limit."}, "quota_exhausted", False, "http.429.daily_limit"),
        (429, {"message": "the limit for the current month"}, "quota_exhausted", False, "http.429.daily_limit"),
        (400, {"error_code": "ITEM_LOGIN_REQUIRED"}, "authentication", False, "http.400.login_required"),
        (429, {"message": "60 requests a minute"}, "rate_limit", True, "http.429"),
        (503, {"error": "Model x is currently loading"}, "overloaded", True, "http.503.model_loading"),
        (404, {"error": {"code": "insufficient_quota"}}, "not_found", False, "http.404"),
        (498, {"error": {"code": "capacity_exceeded"}}, "overloaded", True, "http.498.capacity_exceeded"),
        (503, {"error": {"code": "server_is_overloaded"}}, "overloaded", True, "http.503.overload"),
        (503, {"message": "Scheduled maintenance until noon"}, "maintenance", True, "http.503.maintenance"),
        (503, {"error": {"code": "server_error"}}, "server_error", True, "http.503"),
        (429, {"error": {"code": ["insufficient_quota"]}}, "rate_limit", True, "http.429"),
        (429, {"error": {"error": {"error": {"code": "insufficient_quota"}}}}, "rate_limit", True, "http.429"),
        (429, {}, "rate_limit", True, "http.429"),
        (429, [], "rate_limit", True, "http.429"),
    ],
)
def test_codes_in_bodies(status: int, body: object, category: str, *, retryable: bool, fingerprint: str | None) -> None:
    """
    Where a status is ambiguous, a code in its place in the body tells; in every form that a body has.
    """
    text = json.dumps(body)
    verdicts = {classify(status=status, body=form) for form in (text, text.encode(), bytearray(text, "utf-8"), body)}  # type: ignore[arg-type]

    assert len(verdicts) == 1
    verdict = verdicts.pop()
    assert (category, retryable) == (verdict.category, verdict.retryable)
    assert fingerprint in {None, verdict.fingerprint}


@pytest.mark.parametrize(
    ("status", "body", "category"),
    [
        (429, "You have insufficient credits", "quota_exhausted"),
        (429, "Too many errors", "rate_limit"),
        (503, "<h1>Down for maintenance</h1>", "maintenance"),
        (400, "System is under maintenance", "bad_request"),
        (503, "x" * 5000 + "maintenance", "server_error"),
        (429, '{"error": {"code": "insufficient_quota"', "quota_exhausted"),
        (429, "{" * 100_000, "rate_limit"),
        (429, "[" * 8000, "rate_limit"),
        (429, '{"n": ' + "9" * 5000 + "}", "rate_limit"),
        (429, '{"pad": "' + "x" * 9000 + '", "code": "insufficient_quota"}', "rate_limit"),
        (429, b"\xef\xbb\xbf" + b'{"code": "insufficient_quota"}', "quota_exhausted"),
        (429, b"\xff\xfe{}", "rate_limit"),
        (429, "\ud800", "rate_limit"),
    ],
)
def test_words_in_bodies(status: int, body: str | bytes, category: str) -> None:
    """
    A body without structure is read for a few unmistakable words in its first 4 KiB.
    """
    verdict = classify(status=status, body=body)

    assert category == verdict.category


@pytest.mark.parametrize(
    ("kind", "body", "ok"),
    [
        ("application/json", "<html>", False),
        ("application/json; charset=utf-8", b"<html>", False),
        ("application/problem+json", "oops", False),
        ("APPLICATION/JSON", "nope", False),
        ("application/json", "\ufeff \n{}", True),
        ("application/json", b"\xef\xbb\xbf{}", True),
        ("application/json", "null", True),
        ("application/json", "-1", True),
        ("application/json", '"text"', True),
        ("application/json", "", True),
        ("application/json", "\n\n", True),
        ("application/json", {"a": 1}, True),
        ("application/x-ndjson", "oops", True),
        ("text/html", "<html>", True),
        ("", "<html>", True),
    ],
)
def test_declared_json(kind: str, body: object, *, ok: bool) -> None:
    """
    A success that declares JSON and carries something else is no success.
    """
    verdict = classify(status=200, headers={"content-type": kind}, body=body)  # type: ignore[arg-type]

    assert ok == verdict.ok
    if not ok:
        assert (verdict.category, verdict.retryable, verdict.may_have_run) == ("bad_response", True, True)


def test_contract_of_a_redirect() -> None:
    """
    The page that comes with a redirect is nobody's data, whatever it declares.
    """
    verdict = classify(status=302, headers=JSON, body="<html>")

    assert verdict.ok


def test_headers_without_a_status() -> None:
    """
    Without a status the headers still tell of a challenge, and the body of a broken contract.
    """
    assert classify(headers={"cf-mitigated": "challenge"}).category == "challenge"
    assert classify(headers=JSON, body="<html>").category == "bad_response"
    assert classify(body="anything").ok


@pytest.mark.parametrize(("dialect", "named"), [("nosuch", "nosuch"), ("a b\n", "?"), ("x" * 99, "?"), ("", "?")])
@pytest.mark.parametrize("status", [200, 503])
def test_unknown_dialect(dialect: str, named: str, status: int) -> None:
    """
    A dialect that nobody wrote reads as the generic one, and the verdict says so.
    """
    verdict = classify(status=status, dialect=dialect)

    assert verdict.category == classify(status=status).category
    assert f"no dialect {named}" in verdict.why


def test_dialect_of_no_type() -> None:
    """
    A dialect that isn't even text reads as the generic one.
    """
    verdict = classify(status=503, dialect=["generic"])  # type: ignore[arg-type]

    assert verdict.category is ErrorCategory.SERVER_ERROR


@given(
    st.integers(400, 599),
    st.text(alphabet="abcdef0123456789", min_size=24, max_size=24),
    st.sampled_from(["code", "type", "message", "title", "status"]),
)
def test_no_secret_is_repeated(status: int, secret: str, place: str) -> None:
    """
    What a server writes into its body or headers never enters the verdict's words.
    """
    body = json.dumps({"error": {place: secret}})
    verdict = classify(status=status, headers={"content-type": secret, "retry-after": secret}, body=body)

    assert secret not in verdict.why + verdict.fingerprint
    assert len(verdict.fingerprint) < 100


@pytest.mark.parametrize(
    ("status", "body", "category", "retryable"),
    [
        (400, {"Error": {"Code": "RequestLimitExceeded", "Message": "x"}}, "rate_limit", True),
        (400, {"__type": "ExpiredTokenException", "message": "x"}, "authentication", False),
        (403, {"message": "Missing Authentication Token"}, "authentication", False),
        (
            400,
            {"error": {"message": "Error validating access token: Session has expired", "code": 190}},
            "authentication",
            False,
        ),
        (400, {"__type": "com.amazon#ConditionalCheckFailedException"}, "conflict", False),
        (403, "<?xml?><Error><Code>RequestTimeTooSkewed</Code></Error>", "clock_skew", True),
        (403, "<Error><Code>SignatureDoesNotMatch</Code><Message>x</Message></Error>", "authentication", False),
        (503, "<Error><Code>SlowDown</Code></Error>", "overloaded", True),
        (400, "<Error><Code>SomethingElse</Code></Error>", "bad_request", False),
        (403, {"error": {"code": 403, "errors": [{"reason": "dailyLimitExceeded"}]}}, "quota_exhausted", False),
        (403, {"error": {"code": 403, "errors": [{"reason": "userRateLimitExceeded"}]}}, "rate_limit", True),
    ],
)
def test_codes_of_clouds(status: int, body: object, category: str, *, retryable: bool) -> None:
    """
    AWS and Google say in a code, in JSON or XML, what their 400 and 403 mean.
    """
    text = body if isinstance(body, str) else json.dumps(body)
    verdict = classify(status=status, body=text)

    assert (category, retryable) == (verdict.category, verdict.retryable)
