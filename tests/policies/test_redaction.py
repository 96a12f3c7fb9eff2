"""
Strangers' words without their secrets: by place, by look, and by being known.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor.policies import redaction
from egressor.policies.hiding import NOT_SHOWN
from egressor.policies.redaction import cut, is_secret_name, learn, learn_environment, redact

MARK = "hunter"
HIDDEN = [
    "password=hunter",
    "Password: hunter",
    "db_password = hunter",
    "dbPassword=hunter",
    'the body was {"password":"hunter two"}',
    "{'client_secret': 'hunter two', 'x': 1}",
    '"{\\"password\\":\\"hunter\\"}"',
    "https://api.example.com/v1?api_key=hunter&symbol=BTC",
    "https://api.example.com/v1?key=hunter",
    "https://api.example.com/v1?a=1&sig=hunter&b=2",
    "https://user:hunter@example.com/",
    "redis://:hunter@example.com:6379/0",
    "https://hunter@example.com/",
    "signature=hunter&timestamp=1",
    "X-Amz-Signature=hunter",
    "X-Api-Key: hunter",
    "x-goog-api-key=hunter",
    "Authorization: hunter",
    "Authorization: Basic aHVudGVy hunter",
    "{'Authorization': 'Custom hunter', 'Accept': '*/*'}",
    "Proxy-Authorization: Digest username=a, response=hunter",
    "Cookie: a=b; session=hunter; c=d",
    "Set-Cookie: sid=hunter; Path=/; HttpOnly",
    "access_token=hunter",
    "refresh-token: hunter",
    "tokenValue=hunter",
    "password%3Dhunter&a=b",
    "data[password]=hunter",
    "Bearer hunter",
    "-----BEGIN PRIVATE KEY-----\nhunter\n-----END PRIVATE KEY-----",
    "-----BEGIN RSA PRIVATE KEY-----\nhunter",
    "sessionid=hunter",
    "passphrase => 'hunter'",
    "private_key: hunter",
    "(b'X-Api-Key', b'hunter')",
    "[(b'cookie', b'a=hunter'), (b'accept', b'*/*')]",
    "(b'authorization', b'Token hunter')",
    '["X-Api-Key", "hunter"]',
    "('password', 'hunter')",
    "['mysql', '--password', 'hunter']",
    "mysql --db-password 'hunter two' -h example",
    "mysql --password hunter",
    "postgresql://app:p@hunter@db/x",
    "postgres://u:p/hunter@h/db",
    "amqp://u:a#hunter@h",
    "https://u:a/hunter@example.com/x",
    "passwd hunter2pw",
    "password is hunter2pw",
    "using password 'hunter2pw'",
    '{"password": {"value": "hunter"}, "a": 1}',
    '{"password": {"a": ["b", {"c": "hunter"}',
    '"passwords": ["hunter", "hunter2"]',
    "<password>hunter</password>",
    "<ns:Password type='x'>hunter two</ns:Password>",
    "<password>hunter",
    "auth=('u', 'hunter')",
    "HTTPBasicAuth('u', 'hunter')",
    "proxy_auth=hunter",
    "passphrase=correct horse hunter",
    "'password': b'a hunter'",
]
SHOWN = [
    "",
    "maximum context length is 8192 tokens: you asked for 9000 tokens",
    '{"usage": {"total_tokens": 100, "max_tokens": 7}}',
    "KeyError: 'price'",
    "the key is missing",
    "compass: north",
    "passenger: bob",
    "tokenizer: fast",
    "auth failed: go away",
    "status=503&reason=down",
    "GET https://api.example.com/v1/orders?symbol=BTCUSDT&limit=5",
    "password authentication failed for user bob",
    "signing in took 5 s",
    "keyboard=yes",
    "2026-11-29T14:54:04.123456Z",
    "0a1b-2c3d-4e5f",
    "ed8c-b97b-0000-0007",
    "the option --token is missing",
    "option --password requires an argument",
    "https://example.com:8080/users/@me",
    "https://medium.com/@bob/x",
    "https://api.example.com:443/a?mail=bob@example.com",
    "redis://h:6379/0",
    "password must have 12 characters",
    "passwd file not found",
    "pwd /home/bob",
    "<html><body><p>x</p></body></html>",
    "Usage: tool <token> <host>",
    "expected <token> but found end",
    "missing fields: 'price', 'amount'",
    "'invalid token', 'try again'",
    "author=('bob', 'x')",
    "('token_count', 5)",
    "<class 'ValueError'>",
    "tokens: [1, 2]",
    "the secret, it seems, is gone",
]


@pytest.fixture(autouse=True)
def nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Start without the secrets of this process.
    """
    monkeypatch.setattr(redaction, "_known", set())
    monkeypatch.setattr(redaction, "_pattern", [None])
    redaction._remembered.cache_clear()


@pytest.mark.parametrize("text", HIDDEN)
def test_a_secret_is_hidden_where_it_stands(text: str) -> None:
    """
    Behind its name, in a URL, a header, a cookie, JSON or a PEM file; and a second time nothing changes.
    """
    found = redact(text)

    assert (MARK in found, NOT_SHOWN in found, redact(found)) == (False, True, found)


@pytest.mark.parametrize("text", SHOWN)
def test_words_stay_readable(text: str) -> None:
    """
    What only looks a little like a secret's name hides nothing.
    """
    assert redact(text) == text


def test_brackets_hide_to_their_own_end() -> None:
    """
    A list or a dictionary behind a secret's name goes as a whole, and what follows stays.
    """
    text = """{"passwords": ["a", {"b": "]"}], "n": 1} and auth=('u', ')') n=2"""

    assert redact(text) == f'{{"passwords": {NOT_SHOWN}, "n": 1}} and auth={NOT_SHOWN} n=2'


def test_what_stands_around_stays() -> None:
    """
    Of a URL all is shown but the secret, so that it is of use.
    """
    found = redact("GET https://u:p@api.example.com/v1?symbol=BTC&signature=abc&limit=5: 401 'bad key'")

    assert found == (
        f"GET https://{NOT_SHOWN}@api.example.com/v1?symbol=BTC&signature={NOT_SHOWN}&limit=5: 401 'bad key'"
    )


@given(
    st.text(max_size=300)
    | st.lists(st.sampled_from([*HIDDEN, *SHOWN, " ", "&", '"', "'", "\\"]), max_size=6).map("".join)
)
def test_doing_it_twice_changes_nothing(text: str) -> None:
    """
    An entry that is written, read and written again is the same.
    """
    once = redact(text)

    assert redact(once) == once


def test_a_known_secret_is_hidden_whatever_it_looks_like() -> None:
    """
    What a key file or the environment holds needs no look: the longest first, and short words are no secrets.
    """
    for secret in ("opensesame1", "opensesame1-twice", "short", " ", "opensesame1", "enabled"):
        learn(secret)
    learn_environment(
        {
            "MY_API_KEY": "letmein-please\n",
            "HOME": "/home/somebody",
            "DB_PASSWORD": "trustno1",
            "PASSWORD_FILE": "/run/here",
        }
    )

    assert (
        redact("enabled: it was opensesame1-twice, not opensesame1") == f"enabled: it was {NOT_SHOWN}, not {NOT_SHOWN}"
    )
    assert redact("letmein-please at /home/somebody, /run/here, short, trustno1") == (
        f"{NOT_SHOWN} at /home/somebody, /run/here, short, {NOT_SHOWN}"
    )


def test_known_secrets_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A thousand are remembered, and no more.
    """
    monkeypatch.setattr(redaction, "_MOST_KNOWN", 2)
    for number in range(4):
        learn(f"secretly-{'abcd'[number]}")

    assert [redact(f"secretly-{letter}") == NOT_SHOWN for letter in "abcd"] == [True, True, False, False]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("password", True),
        ("X-Api-Key", True),
        ("clientSecret", True),
        ("sid", True),
        ("auth", True),
        ("key", True),
        ("max_tokens", False),
        ("keys", False),
        ("inside", False),
        ("author", False),
        ("proxy_auth", True),
        ("http_auth", True),
        ("pw", True),
        ("model", False),
    ],
)
def test_names_of_secrets(name: str, expected: bool) -> None:
    """
    A value is hidden for its name, too.
    """
    assert is_secret_name(name) is expected


def test_a_cut_leaves_no_half_word() -> None:
    """
    Half a key would look like none.
    """
    assert (cut("one two three", 9), cut("one two", 9), cut("onetwothree", 5)) == ("one two ", "one two", "onetw")


def test_a_cut_leaves_no_part_of_a_known_secret() -> None:
    """
    Not of one with several words, either, wherever the cut goes through it.
    """
    learn("correct horse battery")
    text = "it was correct horse battery"

    assert {cut(text, most) for most in range(8, len(text))} == {"it was "}
