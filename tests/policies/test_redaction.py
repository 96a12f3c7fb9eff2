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
    "curl -u alice:hunter https://api.example.com",
    "curl -sualice:x -ualice:hunter https://api.example.com",
    "curl --proxy-user bob:hunter --user=alice:hunter https://api.example.com",
    "curl -U 'bob:a hunter' https://api.example.com",
    "curl -u :hunter https://api.example.com",
    "-u alice:hunter",
    "Command '['curl', '-u', 'alice:a hunter', 'https://a']' returned non-zero exit status 22.",
    '("--user", "alice:hunter")',
    "mysql -u root -phunter db",
    "Command '['mysql', '-uroot', '-phunter']' timed out",
    "sshpass -p hunter ssh host",
    "docker login -p 'a hunter' -u bob registry",
    "['sshpass', '-p', 'hunter', 'ssh']",
    "redis-cli -h a -a hunter ping",
    "wget --http-password hunter http://a",
    "tool --token 'a hunter' run",
    "mnemonic=abandon ability hunter about",
    "mnemonic: hunter, ability, able",
    '{"mnemonic": "abandon hunter"}',
    "{'seedPhrase': ['abandon', 'hunter']}",
    "seed phrase: abandon hunter",
    "the recovery phrase is " + "abandon hunter ability " * 4,
    "backup_words = abandon hunter",
    "Incorrect API key provided: hunter. You can find yours at",
    "private key: hunter",
    "https://hooks.slack.com/services/T00000000/B00000000/hunter failed",
    "https://hooks.slack.com/workflows/T0/A0/1/hunter",
    "url: /services/T0A1/B0A1/hunter (Caused by",
    "https://hooks.zapier.com/hooks/catch/1/hunter/",
    "https://discord.com/api/v10/webhooks/123/hunter?wait=true",
    "Max retries exceeded with url: /api/webhooks/123/hunter/messages/1",
    "https://discord.com/api/interactions/1/hunter/callback",
    "https://api.telegram.org/bot123456:hunter/sendMessage",
    "https://api.telegram.org/file/bot123456%3Ahunter/photos/a.jpg",
    "https://acme.webhook.office.com/webhookb2/a-b@c/IncomingWebhook/hunter/d",
    "postgresql+asyncpg://app:hunter@db/x",
    "host=h user=u password=hunter dbname=d",
    "X-Auth: hunter",
    '{"auths": {"https://example.com": {"auth": "hunter"}}}',
    "//registry.example.com/:_auth=hunter",
    "http --auth alice:hunter GET https://api.example.com",
    "['http', '--auth', 'alice:a hunter']",
    "--auth=alice:hunter",
    "invalid token 'hunter_12'",
    "access token hunter1XYZ expired",
    "API key “hunter-key-1” is wrong",
    "APP_SECRET is hunter8e7r6",
    "bad credentials for user bob:hunter2pass",
    "login=bob:hunter",
    "GET /v1?code=hunter&state=1 failed",
    "https://a.example/cb?state=1&scope=a&code=hunter",
    "grant_type=authorization_code&code=hunter&redirect_uri=x",
    "https://a.example/cb?code=hunter11yy22",
    "Passwort: hunter",
    "mot de passe: hunter",
    "パスワード\uff1ahunter",
    "credentials bob/hunter2pass were refused",
    "login bob/hunter2pass failed",
    "invalid credentials (bob/hunter2pass)",
    "authorization=Bearer hunter2pass",
    "api%5Fkey=hunter2pass",
    "{&quot;password&quot;:&quot;hunter2pass&quot;}",
    "Cookie('session', 'hunter2pass')",
    "reddit_session=hunter2pass; path=/",
    "basic auth bob:hunter2pass",
    "jdbc:oracle:thin:bob/hunter2pass@//db:1521/x",
    "'KC-API-SIGN': 'hunter2pass'",
    "OK-ACCESS-SIGN: hunter2pass",
    "API-Sign: hunter2pass",
    "X-BAPI-SIGN: hunter2pass",
    "('X-BAPI-SIGN', 'hunter2pass')",
    "CB-ACCESS-SIGN: hunter2pass",
    "ACCESS-SIGN: hunter2pass",
    "SIGN: hunter2pass",
    "{'Key': 'k', 'SIGN': 'hunter2pass'}",
    "listenKey=hunter2pass",
    '{"listenKey": "hunter2pass"}',
    "proxy bob:hunter2pass@proxy.example:3128",
    "HTTPS_PROXY=bob:hunter2pass@p:1",
    "api_hash='hunter2pass'",
    "api_hash: hunter2pass",
    "phone_code_hash='hunter2pass'",
    "client_assertion=hunter2pass",
    "my password is: hunter2pass",
    "the secret (hunter2pass) is wrong",
    "SMTP AUTH PLAIN hunter2pass",
    "AUTH LOGIN hunterPass==",
    "token for bob: hunter2pass",
    "key for account bob: hunter2pass",
    "[('auth', 'hunterpass'), ('a', 'b')]",
    '["session", "hunter2pass"]',
    "Cookie('session', 'hunter2pass', path='/')",
    "Password for bob: hunter2pass",
    "password for user bob is hunter2pass",
    "SecretStr('hunter2pass')",
    'multipart name="password"\r\n\r\nhunter2pass\r\n--x',
    'Content-Disposition: form-data; name="api_key"\r\n\r\nhunter2pass',
    "| password | hunter2pass |",
    "password | hunter2pass",
    "password -> hunter2pass",
    "password := hunter2pass",
    "yaml: password: >-\n  hunter2pass",
    "<CIMultiDict('X-API-KEY': 'hunter2pass')>",
    "%22api_key%22%3A%22hunter2pass%22",
    "%7B%22password%22%3A%20%22hunter2pass%22%7D",
    "password%253Dhunter2pass",
    "\\u0022password\\u0022:\\u0022hunter2pass\\u0022",
    "<RequestsCookieJar[<Cookie sid=hunter2pass for x/>]>",
    (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261130/us-east-1/s3/aws4_request,"
        " SignedHeaders=host, Signature=hunter2pass"
    ),
    "jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.hunter2pass_sig-xyz",
    "Server=db;User Id=bob;Password=hunter2pass;",
    "Server=db;Uid=bob;Pwd=hunter2pass;",
    "AccountName=x;AccountKey=hunter2pass==;EndpointSuffix=core",
    "SharedAccessKey=hunter2pass",
    "SharedAccessSignature sr=x&sig=hunter2pass&se=1",
    "DefaultEndpointsProtocol=https;SharedAccessSignature=hunter2pass",
    "proxies={'https': 'http://bob:hunter2pass@p:1'}",
    "StringSession('1BVtsOK8Bhunter2pass')",
    'oauth_token="hunter2pass", oauth_signature="hunter2pass"',
    'OAuth oauth_consumer_key="x", oauth_token="hunter2pass"',
    "bytearray(b'password=hunter2pass')",
    "app_key=hunter",
    "appKey: hunter",
    "https://api.example.com/v1?appkey=hunter&a=1",
    "application_key=hunter",
    "consumer_key=hunter",
    'oauth_consumer_key="hunter"',
    "license_key=hunter",
    "{'licenceKey': 'hunter'}",
    "serviceKey=hunter",
    '{"userKey":"hunter"}',
    "partner_key=hunter",
    "webhook_key=hunter",
    "X-Functions-Key: hunter",
    "DD-APPLICATION-KEY: hunter",
    "OPENAI_KEY=hunter",
    "export GROQ2_KEY='hunter'",
    "{'MISTRAL_KEY': 'hunter'}",
    "access_code=hunter",
    "access-code: hunter",
    "authCode=hunter",
    "PHPSESSID=hunter",
    "creds=hunter",
    "{'creds': 'bob hunter'}",
    '{"access_tokens": ["hunter"]}',
    "{'api_keys': ['a', 'hunter']}",
    "refreshTokens=['a', b'hunter']",
    '{"tokens": ["hunter2pass", "b"]}',
    "{'keys': ['hunter2pass']}",
    "https://api.example.com/?apiToken[]=hunter",
    "https://api.example.com/?api_key%5B%5D=hunter",
    "https://api.example.com/?api_key[0]=hunter&a=1",
    "bad request, your key was hunter2pass and it is wrong",
    "my secret key: hunter2pass",
]
SHOWN = [
    "start_new_session=True",
    "ClientKey | None",
    "| a cookie of 4 KB | 0.28 | 0.16 |",
    "assigned: 5 of 7",
    "_signed = 3",
    "the sign is wrong",
    "credentials are read from a/file",
    "a hash of it: 12",
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
    "ssh -p 22 host",
    "docker run -p 8080:80 -u 1000:1000 image",
    "option -p: the port is missing",
    "-p PORT is required",
    "mkdir -p data",
    "cp -p a b",
    "curl -u needs a name",
    "--user alice: no such user",
    "python -u main.py",
    "the seed phrase is missing",
    "the mnemonic must have 12 words",
    "in other words",
    "invalid API key: please check",
    "the api key: not set",
    "https://slack.com/services/about",
    "/api/webhooks/123 is not found",
    "https://api.telegram.org/bots/faq",
    "robot/arm is off",
    "hooks.example.com is down",
    "the git option -p, or --patch",
    "docker run -p 127.0.0.1:8080:80 image",
    "GET https://api.example.com/services/Tools/list",
    "POST /services/translate/v1 failed",
    "option --auth: no such method",
    "error code: 404",
    "status code 500",
    "code=rate_limited",
    "https://api.example.com/e?code=rate_limited&x=1",
    "https://api.example.com/e?code=ERR_42901",
    "code=-2015&msg=x",
    "Unexpected token 'abc123def' in JSON at position 5",
    "unexpected token x12345y",
    "token limit 8192 reached",
    "missing key 'price_24h'",
    "the access token expired 3600 s ago",
    "user bob: not found",
    "user 1000:1000",
    "login=localhost:8080",
    "login=https://example.com/a",
    "account arn:aws:iam::123456789012:user/a1",
    "pin 13 is low",
    "pinned to 20260101",
    "the security policy 20",
    "verification of 123456 rows",
    "das Passwort fehlt",
    "gcloud auth login to obtain credentials",
    "gh auth login failed",
    "az auth login unsuccessful",
    "no key for model: gpt-4o-2024-08-06",
    "the key of the order: A1234567",
    "cost per token for gpt-4o: 0.0000025usd",
    "INSTALLED_APPS=['auth', 'sites']",
    '["auth", "users", "sites2"]',
    "('auth', 'users', 'sites')",
    "re-sign = no",
    'name="token_count"\r\n\r\n500 tokens',
    "max_tokens=5",
    "tokens: 5",
    "primary_key: 12",
    "PRIMARY_KEY=12",
    "PUBLIC_KEY=a",
    "cache_key=a",
    "idempotency_key=a",
    "partition_key: a",
    "foreign_key=user_id",
    "hotkey=x",
    '{"tokens": [1, 2]}',
    '{"keys": ["price", "volume"]}',
    "missing keys: ['price_24h']",
    "access code: 4",
    "auth_code_invalid: x",
    "screeds: 5",
    "your key was revoked",
    "our key metric_2024 is up",
    "the key is price_24h",
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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"pin":"471199"}', f'{{"pin":{NOT_SHOWN}}}'),
        ("{'pin': 471199, 'n': 1}", f"{{'pin': {NOT_SHOWN}, 'n': 1}}"),
        ("otp code 123456 is wrong", f"otp code {NOT_SHOWN} is wrong"),
        ("your verification code is 123456.", f"your verification code is {NOT_SHOWN}."),
        ("OTP: 1234", f"OTP: {NOT_SHOWN}"),
    ],
)
def test_a_code_of_digits_is_hidden_where_it_is_said_what_it_is(text: str, expected: str) -> None:
    """
    Digits alone look like nothing.
    """
    assert redact(text) == expected


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


_LETTERS = "abcdefghijkmnopqrstuvwxyzABCDEFGHIJKLMNPQRSTUVWXYZ0123456789"
_PLACES = [
    "curl -u alice:{} https://api.example.com/",
    "curl -H 'X-Api-Key: {}' https://api.example.com/",
    "['curl', '--user', 'alice:{}']",
    "mysql -p{} db",
    "sshpass -p {} ssh",
    "tool --password {} --verbose",
    "tool --token={} --verbose",
    "PGPASSWORD={} psql",
    "mnemonic={}",
    "seed phrase: {}",
    "postgres://u:{}@h/db",
    "redis://:{}@h:6379/0",
    "https://hooks.slack.com/services/T0/B0/{}",
    "https://discord.com/api/webhooks/1/{}",
    "https://api.telegram.org/bot123:{}/getMe",
    "bad API key provided: {}",
    '{{"password": "{}"}}',
    "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----",
]
_BEGINNINGS = ["sk-", "sk-ant-", "sk-proj-", "ghp_", "github_pat_", "xoxb-", "AKIA", "AIza", "eyJ", "glpat-"]


def _is_plain(secret: str) -> bool:
    # What an option is given and a sentence says: words of the language, numbers and the beginnings of other options.
    return not secret.isdigit() and not secret.isalpha()


@given(st.sampled_from(_PLACES), st.text(_LETTERS + "-_", min_size=6, max_size=40).filter(_is_plain), st.data())
def test_no_secret_shows_wherever_it_stands(place: str, secret: str, data: st.DataObject) -> None:
    """
    In any of these places, with any words before and behind.
    """
    words = st.sampled_from(["", "failed: ", "call of ", "HTTP 401 at ", "it's ", 'say "', "a, b; ", "\n"])
    secret = "Q" + secret
    text = data.draw(words) + place.format(secret) + " " + data.draw(words)

    assert secret not in redact(text)


@given(
    st.sampled_from(_BEGINNINGS), st.text(_LETTERS, min_size=12, max_size=40), st.sampled_from(["", "'", "(", "key "])
)
def test_no_key_of_a_known_shape_shows(beginning: str, rest: str, before: str) -> None:
    """
    Wherever it stands, as its issuer has it.
    """
    rest = rest.upper() if beginning.isupper() else rest
    assert rest not in redact(f"{before}{beginning}{rest} was refused")


@given(st.lists(st.sampled_from(SHOWN), max_size=4).map("; ".join))
def test_prose_stays_readable(text: str) -> None:
    """
    Several such sentences in one message, too.
    """
    assert redact(text) == text


@pytest.mark.parametrize(
    "piece",
    [
        "-u a:",
        "curl -u",
        "mysql -p",
        "api key ",
        "/webhooks/1/",
        "phrase abcd ",
        "hooks.a/",
        "-p ",
        "'-p','",
        "token a1",
        "user a:",
        "&code=",
        "state=&",
        "pin ",
        "A_KEY",
        "api_key[",
        '"keys":["a1bcdef',
        "access_tokens:['",
        "your key was ",
    ],
)
def test_a_text_that_begins_a_secret_over_and_over_is_looked_through(piece: str) -> None:
    """
    Ten thousand beginnings without an end come to an end.
    """
    assert len(redact(piece * 10_000)) > 0
