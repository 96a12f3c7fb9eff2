"""
Blocks, challenges and refusals by country against answers that only look like them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from egressor.dialects import classify

ROWS: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parent.parent / "corpora" / "bans.jsonl").read_text("utf-8").splitlines()
]
BLOCKS = {"ban", "challenge", "geo_block"}
INCAPSULA = (
    '<html><head><META NAME="robots" CONTENT="noindex,nofollow"><script src="/_Incapsula_Resource?x"></script>'
    "<body>{}</body></html>"
)


def is_block(row: dict[str, Any]) -> bool:
    """
    Whether the answer is read as a block.
    """
    return classify(status=row["status"], headers=row["headers"], body=row["body"]).category in BLOCKS


def test_recall_and_false_positives() -> None:
    """
    At least 95 % of the blocks are found, and at most 2 % of the others are called one.
    """
    found = [row["id"] for row in ROWS if row["label"] == "block" and is_block(row)]
    false = [row["id"] for row in ROWS if row["label"] == "not_block" and is_block(row)]

    assert len(found) >= 0.95 * sum(row["label"] == "block" for row in ROWS)
    assert len(false) <= 0.02 * sum(row["label"] == "not_block" for row in ROWS), false


@pytest.mark.parametrize(
    ("status", "headers", "body", "expected"),
    [
        (202, {"x-amzn-waf-action": "challenge"}, "", "challenge"),
        (405, {"x-amzn-waf-action": "captcha"}, "<html></html>", "challenge"),
        (429, {"x-vercel-mitigated": "challenge"}, "", "challenge"),
        (302, {"location": "https://www.google.com/sorry/index?continue=x"}, "", "challenge"),
        (302, {"location": "https://example.com/login"}, "", None),
        (200, {}, "<title>Making sure you&#39;re not a bot!</title>", "challenge"),
        (200, {}, '<html><iframe id="main-iframe" src="/_Incapsula_Resource?x"></iframe></html>', "challenge"),
        (200, {}, '<html><script src="/_Incapsula_Resource?x"></script><h1>Bank</h1></html>', None),
        (200, {}, INCAPSULA.format("\n"), "challenge"),
        (200, {}, INCAPSULA.format("<h1>Bank</h1>"), None),
        (200, {}, "<form action='/errors/validateCaptcha'>make sure you're not a robot</form>", "challenge"),
        (200, {}, "<p>How '/errors/validateCaptcha' works</p>", None),
        (429, {}, "<p>Please complete the CAPTCHA to continue.</p>", "challenge"),
        (403, {}, "<form><div class='g-recaptcha'></div></form>", "challenge"),
        (403, {}, "<h1>Your access to this site has been limited by the site owner</h1>", "ban"),
        (429, {}, "<p>Slide to verify that you are not a bot</p>", "challenge"),
        (403, {}, '{"message":"Access denied: your IP is on our blocklist"}', "ban"),
        (403, {}, '{"message":"the blocklist is yours"}', "permission"),
        (403, {}, "<p>Automated requests from your IP address have been detected.</p>", "ban"),
        (403, {}, "error code: 1020", "ban"),
        (403, {}, "error code: 1009", "geo_block"),
        (530, {}, "error code: 1016", "server_error"),
        (403, {}, '{"url":"https://geo.captcha-delivery.com/captcha/?initialCid=x&t=bv"}', "ban"),
        (403, {}, '{"url":"https://geo.captcha-delivery.com/captcha/?initialCid=x&t=fe"}', "challenge"),
        (403, {}, '{"appId":"PXabc","blockScript":"/x/captcha.js"}', "challenge"),
        (403, {}, '{"message":"You have been blocked from the author of this tweet"}', "permission"),
        (403, {}, '{"message":"Forbidden"}', "permission"),
        (403, {}, "<html><body>You have been blocked by this user</body></html>", "permission"),
        (403, {}, "<html><h1>You have been blocked</h1><p>Incident ID: 123-456</p></html>", "ban"),
        (400, {}, "<html><p>The request is blocked by field validation</p></html>", "bad_request"),
        (403, {}, "<html><h2>The request is blocked.</h2></html>", "ban"),
        (200, {}, "<html><p>Sucuri sets sucuri_cloudproxy_js, AWS window.gokuProps from awswaf</p></html>", None),
        (400, {}, '{"errors":[{"code":"missing_captcha_key","field":"captcha_key"}]}', "bad_request"),
        (401, {}, '{"error":"mfa_challenge_required"}', "authentication"),
        (400, {}, '{"message":"challenge_required","status":"fail"}', "challenge"),
        (404, {}, "<title>Your IP has been banned: a song</title>", "not_found"),
        (451, {}, "", "geo_block"),
    ],
)
def test_pages(status: int, headers: dict[str, str], body: str, expected: str | None) -> None:
    """
    A page blocks by its whole title, its element or its sentence to the reader, with a status that such pages have.
    """
    assert expected == classify(status=status, headers=headers, body=body).category
