"""
Each dialect against answers that its vendor documents; and the same answers where nobody says whose they are.
"""

from __future__ import annotations

import pytest

from egressor.dialects import NAMES, classify, reading
from egressor.policies import Policy
from egressor.policies.values import ALSO
from tests.dialects.cases import CASES, Case

NOW = 1795313500.0


@pytest.mark.parametrize("position", range(len(CASES)))
def test_a_documented_answer(position: int) -> None:
    """
    Category, word on retrying and scope are those of the vendor's page, and the verdict says where it is written.
    """
    case = CASES[position]
    verdict = classify(status=case.status, headers=case.headers, body=case.body, dialect=case.dialect, now=NOW)

    assert (case.category, case.retryable) == (verdict.category, verdict.retryable), verdict.why
    assert case.scope in {"", verdict.scope}
    assert verdict.ok or verdict.source


def test_nobody_has_said_whose() -> None:
    """
    At least 98 % of the same answers are read alike without their dialect's name, by their shape.
    """

    def is_same(case: Case) -> bool:
        verdict = classify(status=case.status, headers=case.headers, body=case.body, now=NOW)
        return (case.category, case.retryable) == (verdict.category, verdict.retryable)

    wrong = [case for case in CASES if not is_same(case)]

    assert len(wrong) <= len(CASES) * 0.02, wrong


def test_every_dialect_has_cases() -> None:
    """
    A dialect that enters the list has its answers here.
    """
    assert set(NAMES) - {"generic", "ietf"} == {case.dialect for case in CASES}


def test_every_name_that_a_policy_may_have_is_read() -> None:
    """
    The configuration accepts those dialects that have a reader, and no other.
    """
    assert {*reading._HOMES, *reading._PLAIN} == set(NAMES)
    assert set(ALSO.values()) <= set(NAMES)
    assert [Policy(dialect=name).dialect for name in (*NAMES, *ALSO)] == [*NAMES, *ALSO.values()]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in {"generic", "ietf"}])
def test_every_rule_has_a_source(name: str) -> None:
    """
    No code is in a table without the page that says what it means.
    """
    dialect = reading.load(name)

    assert dialect.source
    assert [code for code, rule in dialect.codes.items() if not rule.source] == []


@pytest.mark.parametrize(
    ("dialect", "status", "headers", "body", "expected"),
    [
        ("openai", 429, {}, '{"error":{"message":"Please try again in 6m0s.","code":"rate_limit_exceeded"}}', 360.0),
        (
            "openai",
            429,
            {},
            '{"error":{"message":"Please try again in 41.724s.","code":"rate_limit_exceeded"}}',
            41.724,
        ),
        ("openai", 429, {"retry-after": "50"}, '{"error":{"message":"Please try again in 41s."}}', 50.0),
        (
            "gemini",
            429,
            {},
            '{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{"retryDelay":"34s"}]}}',
            34.0,
        ),
        ("binance", 418, {}, '{"code":-1003,"msg":"IP banned until 1795313511264."}', 11.264),
        ("bybit", 200, {"x-bapi-limit-reset-timestamp": "1795313501500"}, '{"retCode":10006}', 1.5),
        ("bybit", 403, {}, "403, access too frequent", 600.0),
        ("kraken", 200, {}, '{"error":["EService: Throttled: 1795313511"]}', 11.0),
        ("kraken", 200, {}, '{"error":["EGeneral:Temporary lockout"]}', 900.0),
        ("kucoin", 429, {"gw-ratelimit-reset": "12000"}, '{"code":"429000","msg":"x"}', 12.0),
        ("gate", 429, {"x-gate-ratelimit-reset-timestamp": "1795313505"}, '{"label":"TOO_MANY_REQUESTS"}', 5.0),
        ("telegram", 429, {}, '{"ok":false,"error_code":429,"parameters":{"retry_after":35}}', 35.0),
        ("telegram", 429, {}, '{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 7"}', 7.0),
        ("reddit", 200, {}, '{"json":{"errors":[["RATELIMIT","Try again in 9 minutes.","r"]]}}', 600.0),
        ("reddit", 429, {"x-ratelimit-remaining": "0.0", "x-ratelimit-reset": "37"}, "{}", 37.0),
        ("reddit", 429, {"x-ratelimit-remaining": "580.0", "x-ratelimit-reset": "599"}, "{}", None),
        ("x", 429, {"x-rate-limit-remaining": "0", "x-rate-limit-reset": "1795313742"}, "{}", 242.0),
        ("github", 403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1795313560"}, "{}", 60.0),
        ("github", 403, {}, '{"message":"You have exceeded a secondary rate limit."}', 60.0),
        ("discord", 429, {}, '{"message":"You are being rate limited.","retry_after":64.57}', 64.57),
        ("stackexchange", 400, {}, '{"error_id":502,"error_message":"more requests available in 38 seconds"}', 38.0),
        ("github", 403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1"}, "{}", 0.0),
    ],
)
def test_the_wait(dialect: str, status: int, headers: dict[str, str], body: str, expected: float | None) -> None:
    """
    A reset is read in its dialect's own form, and never earlier than it was said.
    """
    verdict = classify(status=status, headers=headers, body=body, dialect=dialect, now=NOW)

    assert expected == (None if verdict.retry_after is None else pytest.approx(verdict.retry_after, abs=1e-6))


def test_a_moment_without_a_clock_is_no_wait() -> None:
    """
    Neither the answer nor the caller knows the time, so that nothing is guessed; the answer's own date is enough.
    """
    headers = {"x-rate-limit-remaining": "0", "x-rate-limit-reset": "1795313742"}
    dated = {**headers, "date": "Sun, 22 Nov 2026 02:15:00 GMT"}

    assert classify(status=429, headers=headers, body="{}", dialect="x").retry_after is None
    assert classify(status=429, headers=dated, body="{}", dialect="x").retry_after == 42.0


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, "", "bad_response"),
        (200, "<html><h1>Welcome</h1></html>", "bad_response"),
        (200, "<html><head><title>Just a moment...</title></head>", "challenge"),
        (403, "<html><h1>Forbidden</h1></html>", "ban"),
        (502, "<html><h1>Bad Gateway</h1></html>", "server_error"),
        (502, "", "server_error"),
        (429, "", "rate_limit"),
    ],
)
def test_what_is_no_json_where_json_is_due(status: int, body: str, expected: str) -> None:
    """
    A page, or nothing, is never data: it is an edge's block, a challenge, or an outage.
    """
    assert expected == classify(status=status, headers={}, body=body, dialect="kraken").category


def test_an_error_behind_a_long_prompt() -> None:
    """
    The code of a body that is too long to be parsed is found at its end.
    """
    body = '{"error":{"message":"' + "x" * 60_000 + '","type":"insufficient_quota","code":"insufficient_quota"}}'

    assert classify(status=429, body=body, dialect="openai").category == "quota_exhausted"
    assert classify(status=429, body=body.encode(), dialect="openai").category == "quota_exhausted"


@pytest.mark.parametrize(
    "body",
    [
        '{"error":null,"data":[1]}',
        '{"object":"fine_tuning.job","id":"j","error":{"code":"x","message":"training failed"}}',
        '{"errors":[],"data":{}}',
        '{"ok":true,"error":"invalid_auth"}',
        '{"ok":false,"error":""}',
        '{"code":200,"msg":"ok"}',
        '{"code":-5,"msg":"degrees"}',
        '{"message":"Unknown order sent."}',
        '{"label":"URGENT","message":"x"}',
        '{"jsonrpc":"2.0","id":1,"result":{"code":10028}}',
        '[{"error":"too many requests"}]',
        '{"status":"UNKNOWN_ERROR","job":7}',
        '{"status":"error","code":7,"message":"x"}',
        '{"status":"0","message":"No transactions found","result":[]}',
        '{"status":"OK","results":[]}',
        '{"Note":"buy milk"}',
        "<html><title>Error 1020: a novel</title><p>Access denied, your IP has been banned.</p></html>",
    ],
)
def test_data_is_no_error(body: str) -> None:
    """
    A good status whose body only speaks of errors is a success where nobody has said whose it is.
    """
    assert classify(status=200, body=body).ok


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Invalid params"}}', ("bad_request", False)),
        ('{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"Internal error"}}', ("server_error", True)),
        ('{"errors":[{"message":"x","extensions":{"code":"UNAUTHENTICATED"}}],"data":null}', ("authentication", False)),
        ('{"error":{"message":"rate limit exceeded"}}', ("rate_limit", True)),
        ('{"ok":false,"error":"invalid_auth"}', ("authentication", False)),
        ('{"ok":false,"error":"channel_not_found"}', ("not_found", False)),
        ('{"ok":false,"error":"ratelimited"}', ("rate_limit", True)),
        ('{"error":{"error_code":14,"error_msg":"Captcha needed","captcha_sid":"1"}}', ("challenge", False)),
        ('{"error":{"error_code":9,"error_msg":"Flood control"}}', ("rate_limit", True)),
        ('{"ok":false,"error":"never_seen"}', ("unknown", False)),
        ('{"status":"OVER_QUERY_LIMIT","results":[]}', ("rate_limit", True)),
        ('{"status":"error","code":429,"message":"out of credits for this minute"}', ("rate_limit", True)),
        ('{"errors":[{"message":"x","extensions":{"code":"COMPLEXITY_BUDGET_EXHAUSTED"}}]}', ("rate_limit", True)),
        ('{"status":"REQUEST_DENIED","routes":[],"error_message":"x"}', ("authentication", False)),
        ('{"status":"UNKNOWN_ERROR","predictions":[]}', ("server_error", True)),
        ('{"status":"0","message":"NOTOK","result":"Max daily rate limit reached"}', ("quota_exhausted", False)),
        ('{"status":"0","message":"NOTOK","result":"Max rate limit reached"}', ("rate_limit", True)),
        ('{"status":"0","message":"NOTOK","result":"Missing/Invalid API Key"}', ("authentication", False)),
        ('{"status":"0","message":"NOTOK","result":"Error! Invalid address format"}', ("bad_request", False)),
        ('{"success":false,"error":{"code":104,"type":"usage_limit_reached"}}', ("quota_exhausted", False)),
        ('{"success":false,"error":{"code":101,"type":"invalid_access_key"}}', ("authentication", False)),
        (
            '{"Note":"Thank you for using Alpha Vantage! Our API call frequency is 5 calls per minute."}',
            ("rate_limit", True),
        ),
        (
            '{"Error Message":"Invalid API call. See (https://www.alphavantage.co/documentation/)"}',
            ("bad_request", False),
        ),
    ],
)
def test_an_envelope_in_a_good_status(body: str, expected: tuple[str, bool]) -> None:
    """
    JSON-RPC, GraphQL, Slack and others say in their own form that they have failed.
    """
    verdict = classify(status=200, body=body)

    assert expected == (verdict.category, verdict.retryable)


def test_an_unknown_dialect_is_said() -> None:
    """
    It is read as plain HTTP.
    """
    verdict = classify(status=503, dialect="nobody")

    assert (verdict.category, verdict.why) == (
        "server_error",
        "status 503 (RFC 9110 15.6.4); no dialect nobody, read as generic",
    )


def test_x_should_retry_stands_above_the_table() -> None:
    """
    A server's own word overrules what its code means.
    """
    body = '{"error":{"code":"rate_limit_exceeded","message":"x"}}'

    assert not classify(status=429, headers={"x-should-retry": "false"}, body=body, dialect="openai").retryable
