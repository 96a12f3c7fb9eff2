"""
Files that are wrong: each says where, what, and what was probably meant. A reload keeps the last good configuration
because of exactly this: nothing wrong ever becomes a `Config`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor.errors import ConfigError
from egressor.policies import Config, ConfigErrors, from_table, load

SERVICE = "[services.x]\n"

# Text of the file; then line, key, nearest valid name, and a part of the message.
Row = tuple[str, int | None, str | None, str | None, str]

SYNTAX: list[Row] = [
    ("[services.x\n", 1, None, None, "not valid TOML"),
    ("a = 1\n\nb = = 2\n", 3, None, None, "not valid TOML: invalid value"),
    ('a = """never\nends\n', 2, None, None, "not valid TOML"),
    ("[services.x]\ntimeout = 1\ntimeout = 2\n", 3, "services.x.timeout", None, "there twice, first on line 2"),
    ("[services.x]\ntimeout = 1\n[services.x]\n", 3, "services.x", None, "there twice, first on line 1"),
    ("[egressor]\n[services.x]\n[services.y]\n\n[egressor]\n", 5, "egressor", None, "there twice, first on line 1"),
    ("[services.x]\nretry = { cap = 1, cap = 2 }\n", 2, None, None, "not valid TOML"),
    ("[services.x]\nmax_wait = nul\n", 2, None, None, "not valid TOML"),
    ("services:\n  x:\n", 1, None, None, "not valid TOML"),
    ('{"services": {}}', 1, None, None, "not valid TOML"),
    ("a = " + "[" * 5000, None, None, None, "nested too deeply"),
    ("a = " + "9" * 5000, None, None, None, "too many digits"),
]

SECTIONS: list[Row] = [
    ("[service.x]\n", 1, "service", "services", "unknown section"),
    ("\n[egresor]\n", 2, "egresor", "egressor", "unknown section"),
    ("store = 'memory:'\n", 1, "store", "egressor.store", "unknown section"),
    ("egressor = 5\n", 1, "egressor", None, "expected a table, got the number 5"),
    ("services = []\n", 1, "services", None, "expected a table, got a list"),
    ("[services]\nx = 'llm_api'\n", 2, "services.x", None, 'expected a table, got the text "llm_api"'),
    ("[egressor]\nstor = 'memory:'\n", 2, "egressor.stor", "store", "unknown setting"),
    ("[egressor]\nservices = {}\n", 2, "egressor.services", None, "unknown setting"),
    ("[egressor]\nstore = 'sqlite://x.db'\n", 2, "egressor.store", "sqlite:///", "is no address"),
    ("[egressor]\nstore = 'redis://u:secret@h'\n", 2, "egressor.store", None, "EGRESSOR_REDIS_PASSWORD"),
    ("[egressor]\nstore = 'memry:'\n", 2, "egressor.store", "memory:", "is no address"),
    ("[egressor]\nstore = ''\n", 2, "egressor.store", None, "it is no address"),
    ("[egressor]\nstore = 7\n", 2, "egressor.store", None, "it is no address"),
    ("[egressor]\nledger = 'postgresql://u:secret@h/d'\n", 2, "egressor.ledger", None, "PGPASSWORD"),
    ("[egressor]\nledger = 'postgresql://h/d?password=x'\n", 2, "egressor.ledger", None, "may not stand here"),
    ("[egressor]\nledger = 'postgresql://h/d?slmode=x'\n", 2, "egressor.ledger", "sslmode", "may not stand here"),
    ("[egressor]\nledger = 'sqlite:///'\n", 2, "egressor.ledger", None, "names no file"),
    ("[egressor]\nledger = 'sqlite:///:memory:'\n", 2, "egressor.ledger", None, "names no file"),
    ("[egressor]\nledger = 'sqlite://x.db'\n", 2, "egressor.ledger", "sqlite:///", "is no address"),
    ("[egressor]\nledger = 'host=h password=secret'\n", 2, "egressor.ledger", None, "it is no address"),
    ("[egressor]\nledger = 'redis://h'\n", 2, "egressor.ledger", None, "is no address"),
    ("[egressor]\non_store_loss = 'shared'\n", 2, "egressor.on_store_loss", "share", "is none of share, open, closed"),
    ("[egressor]\nmoney_sync = 'off'\n", 2, "egressor.money_sync", None, "is none of normal, full"),
    ("[egressor]\nunknown_hosts = true\n", 2, "egressor.unknown_hosts", None, "expected one of pass, refuse"),
    ("[gateway]\nprt = 1\n", 2, "gateway.prt", "port", "unknown setting"),
    ("[gateway]\nport = 70_000\n", 2, "gateway.port", None, "70000 is above 65535"),
    ("[gateway]\nport = -1\n", 2, "gateway.port", None, "-1 is below 0"),
    ("[gateway]\nhost = 'a b'\n", 2, "gateway.host", None, "is not a host name"),
    ('[services."A B"]\n', 1, 'services."A B"', "a_b", "beginning with a letter or a digit"),
    ("[services.-x]\n", 1, "services.-x", "x", 'service name "-x"'),
    ('[services.""]\n', 1, 'services.""', None, 'service name ""'),
    (f"[services.{'a' * 65}]\n", 1, f"services.{'a' * 65}", "a" * 64, "1 to 64 of a-z"),
    ('[services."ü"]\n', 1, 'services."ü"', None, "1 to 64 of a-z"),
]  # fmt: skip

SETTINGS: list[Row] = [
    (SERVICE + "max_wiat = 3\n", 2, "services.x.max_wiat", "max_wait", "unknown setting"),
    (SERVICE + "Timeout = 3\n", 2, "services.x.Timeout", "timeout", "unknown setting"),
    (SERVICE + "endpoint = {}\n", 2, "services.x.endpoint", "endpoints", "unknown setting"),
    (SERVICE + "rps = 5\n", 2, "services.x.rps", "limits", "unknown setting"),
    (SERVICE + "max_retries = 5\n", 2, "services.x.max_retries", "retry", "unknown setting"),
    (SERVICE + "retry = { ttl = 5 }\n", 2, "services.x.retry.ttl", None, "unknown setting"),
    (SERVICE + "zzz = 3\n", 2, "services.x.zzz", None, "unknown setting"),
    (SERVICE + "sources = {}\n", 2, "services.x.sources", None, "unknown setting"),
    (SERVICE + "type = 'llm'\n", 2, "services.x.type", "llm_api", '"llm" is none of llm_api'),
    (SERVICE + "type = 3\n", 2, "services.x.type", None, "expected one of llm_api"),
    (SERVICE + "max_wait = -1\n", 2, "services.x.max_wait", None, "-1 s is below 0 s"),
    (SERVICE + "max_wait = nan\n", 2, "services.x.max_wait", None, "nan is not a finite number"),
    (SERVICE + "max_wait = inf\n", 2, "services.x.max_wait", None, "inf is not a finite number"),
    (SERVICE + "max_wait = true\n", 2, "services.x.max_wait", None, "expected a number of seconds, got the truth"),
    (SERVICE + "max_wait = '60'\n", 2, "services.x.max_wait", None, 'expected a number of seconds, got the text "60"'),
    (SERVICE + "max_wait = [60]\n", 2, "services.x.max_wait", None, "got a list"),
    (SERVICE + "max_wait = 1979-05-27\n", 2, "services.x.max_wait", None, "got a date or time"),
    (SERVICE + "max_wait = 1e300\n", 2, "services.x.max_wait", None, "1e+300 s is above 3.16224e+07 s"),
    (SERVICE + f"max_wait = {'9' * 400}\n", 2, "services.x.max_wait", None, "an integer of 1329 bits s is above"),
    (SERVICE + "timeout = 0\n", 2, "services.x.timeout", None, "0 s is not above 0 s"),
    (SERVICE + "timeout = 60\nlease_for = 59\n", 3, "services.x.lease_for", None, "59 s is below timeout (60 s)"),
    (SERVICE + "age_after = 0\n", 2, "services.x.age_after", None, "0 s is not above 0 s"),
    (SERVICE + "queue_size = 1.5\n", 2, "services.x.queue_size", None, "expected a whole number, got the number 1.5"),
    (SERVICE + "queue_size = 10_000_001\n", 2, "services.x.queue_size", None, "10000001 is above 10000000"),
    (SERVICE + "max_concurrency = 0\n", 2, "services.x.max_concurrency", None, "0 is below 1"),
    (SERVICE + "max_concurrency = true\n", 2, "services.x.max_concurrency", None, "expected a whole number"),
    (SERVICE + "dialect = 'opnai'\n", 2, "services.x.dialect", "openai", '"opnai" is no dialect: egressor'),
    (SERVICE + "dialect = 'twiter'\n", 2, "services.x.dialect", "twitter", '"twiter" is no dialect'),
    (SERVICE + "dialect = 3\n", 2, "services.x.dialect", None, 'expected a dialect such as "openai"'),
    (SERVICE + "learn = 'adaptive'\n", 2, "services.x.learn", None, 'learn = "adaptive" is not supported'),
    (SERVICE + "learn = 'header'\n", 2, "services.x.learn", "headers", "is none of off, headers, adaptive"),
    (SERVICE + "priority = 'urgent'\n", 2, "services.x.priority", None, "is none of low, medium, high, critical"),
    (SERVICE + "priority = 'HIGH'\n", 2, "services.x.priority", "high", '"HIGH" is none of'),
    (SERVICE + "priority = 2\n", 2, "services.x.priority", None, "expected one of low"),
    (SERVICE + "timezone = 'Europe/Berln'\n", 2, "services.x.timezone", "Europe/Berlin", "is no time zone"),
    (SERVICE + "timezone = '../etc/passwd'\n", 2, "services.x.timezone", None, "is no time zone"),
    (SERVICE + "timezone = 1\n", 2, "services.x.timezone", None, "expected a time zone"),
    (SERVICE + "limits = '20/minute'\n", 2, "services.x.limits", None, 'expected a list, got the text "20/minute"'),
    (SERVICE + "limits = 20\n", 2, "services.x.limits", None, "expected a list"),
    (SERVICE + "limits = [\n'1/day',\n20]\n", 4, "services.x.limits[1]", None, "expected a limit such as"),
    (SERVICE + "limits = ['20/mn']\n", 2, "services.x.limits[0]", None, "unknown period 'mn'"),
    (SERVICE + "limits = [\n'20/minute',\n'20/minte']\n", 4, "services.x.limits[1]", "minute", "period 'minte'"),
    (SERVICE + "limits = ['2/day', '2 / day']\n", 2, "services.x.limits[1]", None, '"2/day" is there twice'),
    (SERVICE + "base_url = 'api.x.com'\n", 2, "services.x.base_url", None, "does not begin with"),
    (SERVICE + "base_url = 'ftp://x.com'\n", 2, "services.x.base_url", None, '"ftp://x.com" does not begin with'),
    (SERVICE + "base_url = 'htp://u:secret@x.com'\n", 2, "services.x.base_url", None, '@x.com" does not begin with'),
    (SERVICE + "base_url = 'u:secret@x.com'\n", 2, "services.x.base_url", None, '@x.com" does not begin with'),
    (SERVICE + "base_url = 'https://u:secret@x.com'\n", 2, "services.x.base_url", None, "a user or password"),
    (SERVICE + "base_url = 'https://x.com/?key=secret'\n", 2, "services.x.base_url", None, 'no "?"'),
    (SERVICE + "base_url = 'https:///path'\n", 2, "services.x.base_url", None, "is no host"),
    (SERVICE + "base_url = 'https://x.com:99999'\n", 2, "services.x.base_url", None, "is no host"),
    (SERVICE + "base_url = 'https://x.com/a b'\n", 2, "services.x.base_url", None, "has to escape"),
    (SERVICE + 'base_url = "https://x.com\\nHost: y"\n', 2, "services.x.base_url", None, "is no host"),
    (SERVICE + "base_url = 3\n", 2, "services.x.base_url", None, "expected a URL"),
    (SERVICE + "api_key = 'sk-secret'\n", 2, "services.x.api_key", None, "a key never stands in the configuration"),
    (SERVICE + "api_key = ['sk-secret']\n", 2, "services.x.api_key", None, "a key never stands in the configuration"),
    (SERVICE + "api_key = { env = 'sk-secret' }\n", 2, "services.x.api_key.env", None, "the value (not shown) is not"),
    (SERVICE + "api_key = { env = 1234 }\n", 2, "services.x.api_key.env", None, "expected the name of an environment"),
    (SERVICE + "api_key = { value = 'sk-secret' }\n", 2, "services.x.api_key.value", None, "unknown setting"),
    (SERVICE + "api_key = {}\n", 2, "services.x.api_key", None, "it names exactly one place"),
    (SERVICE + "api_key = { env = 'A', file = '/b' }\n", 2, "services.x.api_key", None, "it names exactly one place"),
]  # fmt: skip

PARTS: list[Row] = [
    (SERVICE + "breaker = false\n", 2, "services.x.breaker", None, "truth value false: breaker.consecutive = 0"),
    (SERVICE + "breaker = 1\n", 2, "services.x.breaker", None, "expected a table, got the number 1"),
    (SERVICE + "retry = false\n", 2, "services.x.retry", None, "truth value false: retry.attempts = 1"),
    (SERVICE + "ban = false\n", 2, "services.x.ban", None, "truth value false: it always holds"),
    (SERVICE + "cache = true\n", 2, "services.x.cache", None, "truth value true: cache.ttl"),
    (SERVICE + "budget = true\n", 2, "services.x.budget", None, "truth value true: budget.unbounded = true"),
    (SERVICE + "[services.x.breaker]\nopen_fro = 1\n", 3, "services.x.breaker.open_fro", "open_for", "unknown setting"),
    (SERVICE + "breaker.window = 0\n", 2, "services.x.breaker.window", None, "0 s is not above 0 s"),
    (SERVICE + "breaker.failure_rate = 1.1\n", 2, "services.x.breaker.failure_rate", None, "1.1 is above 1"),
    (SERVICE + "breaker.failure_rate = 0\n", 2, "services.x.breaker.failure_rate", None, "0 is not above 0"),
    (SERVICE + "breaker.growth = 0.5\n", 2, "services.x.breaker.growth", None, "0.5 is below 1"),
    (SERVICE + "breaker.probes = 0\n", 2, "services.x.breaker.probes", None, "0 is below 1"),
    (SERVICE + "breaker.shadow = 1\n", 2, "services.x.breaker.shadow", None, "expected true or false, got the number"),
    (SERVICE + "breaker.consecutive = 0\n", 2, "services.x.breaker.consecutive", None, "would never open it"),
    (SERVICE + "[services.x.breaker]\nopen_for = 9\nmax_open_for = 5\n", 3, "services.x.breaker.open_for", None,
     "9 s is above max_open_for (5 s)"),
    (SERVICE + "[services.x.breaker]\nmax_open_for = 5\n", 2, "services.x.breaker.open_for", None,
     "60 s is above max_open_for (5 s)"),
    (SERVICE + "type = 'social_media'\nretry.base = 901\n", 3, "services.x.retry.base", None, "is above cap (900 s)"),
    (SERVICE + "retry.attempts = 0\n", 2, "services.x.retry.attempts", None, "0 is below 1"),
    (SERVICE + "retry.budget = 0\n", 2, "services.x.retry.budget", None, "0 is below 0.001"),
    (SERVICE + "retry.jitter = 'full'\n", 2, "services.x.retry.jitter", None, "expected true or false"),
    (SERVICE + "ban.suspend_for = 604_801\n", 2, "services.x.ban.suspend_for", None, "above max_suspend_for"),
    (SERVICE + "\n[services.x.cache]\nttl = 0\n", 4, "services.x.cache.ttl", None, "0 s is not above 0 s"),
    (SERVICE + "cache.tll = 3\n", 2, "services.x.cache.tll", "ttl", "unknown setting"),
    (SERVICE + "budget = { soft = 0.5 }\n", 2, "services.x.budget", None, "it bounds nothing"),
    (SERVICE + "budget.dya = 1.0\n", 2, "services.x.budget.dya", "day", "unknown setting"),
    (SERVICE + "budget = { day = 1, timezone = 'Europe/Berln' }\n", 2, "services.x.budget.timezone", "Europe/Berlin",
     "no time zone"),
    ("[egressor]\nstore = 'sqlite:///x.db'\nledger = 'memory:'\n" + SERVICE + "budget = { day = 1.0 }\n", 3,
     "egressor.ledger", None, "in memory each process would spend a whole budget of its own"),
    (SERVICE + "budget.day = '1,5'\n", 2, "services.x.budget.day", None, "is not an amount of US dollars"),
    (SERVICE + "budget.day = 0\n", 2, "services.x.budget.day", None, "0 USD is not above 0"),
    (SERVICE + f"budget.day = 1{'0' * 400}\n", 2, "services.x.budget.day", None, "bits USD is not above 0 and at most"),
    (SERVICE + "budget.day = nan\n", 2, "services.x.budget.day", None, "nan USD is not above 0"),
    (SERVICE + "budget.day = 0.0000001\n", 2, "services.x.budget.day", None, "finer than a micro-dollar"),
    (SERVICE + "budget.day = []\n", 2, "services.x.budget.day", None, "expected an amount of US dollars"),
]  # fmt: skip

PRICES: list[Row] = [
    ("[[prices.discounts]]\npercent = 9\nprovider = 'opnai'\n", 3, "prices.discounts[0].provider", "openai",
     "is no dialect"),
    ("[prices]\non_unknown_price = 'refuze'\n", 2, "prices.on_unknown_price", "refuse", "is none of refuse"),
    ("[prices]\n[[prices.models]]\nmodel = 'm'\nusd_per_mtok = { inptu = 1 }\n", 4,
     "prices.models[0].usd_per_mtok.inptu", "input", "unknown unit"),
    ("[prices]\nmodel = []\n", 2, "prices.model", "models", "unknown setting"),
    ("prices = 3\n", 1, "prices", None, "expected a table"),
]  # fmt: skip

RULE = SERVICE + "[[services.x.rules]]\n"
RULES: list[Row] = [
    (SERVICE + "rules = 3\n", 2, "services.x.rules", None, "expected a list of tables"),
    (SERVICE + "rules = [3]\n", 2, "services.x.rules[0]", None, "expected a table, got the number 3"),
    (RULE + "limits = ['1/day']\n", 2, "services.x.rules[0]", None, "a rule needs match"),
    (RULE + "match = {}\nlimits = ['1/day']\n", 3, "services.x.rules[0].match", None, "it is empty"),
    (RULE + "match = 'user'\nlimits = ['1/day']\n", 3, "services.x.rules[0].match", None, "expected a table such as"),
    (RULE + "match = { usr = '*' }\nlimits = ['1/day']\n", 3, "services.x.rules[0].match.usr", "user", "match no call"),
    (RULE + "match = { User = '*' }\nlimits = ['1/day']\n", 3, "services.x.rules[0].match.User", "user", "not a scope"),
    (RULE + "match = { user = 3 }\nlimits = ['1/day']\n", 3, "services.x.rules[0].match.user", None, 'a text, or "*"'),
    (RULE + "match = { user = '' }\nlimits = ['1/day']\n", 3, "services.x.rules[0].match.user", None, "1 to 256"),
    (RULE + "match = { user = '*' }\n", 2, "services.x.rules[0]", None, "it sets nothing"),
    (RULE + "match = { user = '*' }\nlimit = ['1/day']\n", 4, "services.x.rules[0].limit", "limits", "unknown setting"),
    (RULE + "match = { user = '*' }\nlimits = ['1/dya']\n", 4, "services.x.rules[0].limits[0]", "day", "period 'dya'"),
    (RULE + "match = { user = '*' }\nmax_concurrency = 0\n", 4, "services.x.rules[0].max_concurrency", None, "below 1"),
    (RULE + "match = { user = '*' }\n\nbudget = { }\n", 5, "services.x.rules[0].budget", None,
     "it bounds nothing"),
    (RULE + "match = { user = 'a', model = 'm' }\npriority = 'low'\n[[services.x.rules]]\n"
     "match = { model = 'm', user = 'a' }\npriority = 'high'\n", 5, "services.x.rules[1]", None,
     "is matched by rules[0] already"),
    (RULE + "match = { endpoint = 'e' }\npriority = 'low'\n[services.x.endpoints.e]\npriority = 'high'\n", 5,
     "services.x.endpoints.e", None, "is matched by rules[0] already"),
    (SERVICE + "[services.x.endpoints.e]\nlimit = ['1/day']\n", 3, "services.x.endpoints.e.limit", "limits", "unknown"),
    (SERVICE + "[services.x.endpoints.e]\nmatch = { user = '*' }\n", 3, "services.x.endpoints.e.match", None,
     "an endpoint's table matches its own name"),
    (SERVICE + "[services.x.endpoints.e]\n", 2, "services.x.endpoints.e", None, "it sets nothing"),
    (SERVICE + "endpoints = 3\n", 2, "services.x.endpoints", None, "expected a table"),
    (SERVICE + "endpoints.e = 3\n", 2, "services.x.endpoints.e", None, "expected a table"),
    (SERVICE + "[services.x.endpoints.e]\nbudget = { day = 0 }\n", 3, "services.x.endpoints.e.budget.day", None,
     "0 USD is not above 0"),
]  # fmt: skip


def write(folder: Path, text: str | bytes) -> Path:
    """
    Return the path of a configuration file of *text* in *folder*.
    """
    path = folder / "egressor.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "line", "key", "nearest", "part"), SYNTAX + SECTIONS + SETTINGS + PARTS + PRICES + RULES
)
def test_bad_file(tmp_path: Path, text: str, line: int | None, key: str | None, nearest: str | None, part: str) -> None:
    """
    A wrong file names the file, the line, the key, the nearest valid name and the limit, and shows no secret.
    """
    path = write(tmp_path, text)

    with pytest.raises(ConfigError) as caught:
        load(path)

    error = caught.value
    assert part in error.message
    assert (error.file, error.line, error.key, error.nearest) == (str(path), line, key, nearest)
    assert "secret" not in str(error)


def test_all_errors_come_at_once(tmp_path: Path) -> None:
    """
    Several errors are one exception, in the order of the file, each on a line of its own.
    """
    path = write(
        tmp_path,
        "[services.b]\nlimits = ['1/dy', '2/mn']\n[services.a.breaker]\nwindw = 3\nprobes = 0\n[egressor]\nstor = 1\n",
    )

    with pytest.raises(ConfigErrors) as caught:
        load(path)

    assert [(error.line, error.key) for error in caught.value.errors] == [
        (2, "services.b.limits[0]"),
        (2, "services.b.limits[1]"),
        (4, "services.a.breaker.windw"),
        (5, "services.a.breaker.probes"),
        (7, "egressor.stor"),
    ]
    assert str(caught.value).splitlines()[1:] == [f"  {error}" for error in caught.value.errors]
    assert (caught.value.file, caught.value.line) == (str(path), 2)


@pytest.mark.parametrize(
    ("content", "line", "part"),
    [
        (b"[services.x]\n# caf\xe9\n", 2, "it is not UTF-8: byte 0xe9"),
        (b"\x00", 1, "not valid TOML"),
        (b"#" * 1_000_001, None, "it has 1000001 bytes, more than 1000000"),
    ],
)
def test_bytes_that_are_no_configuration(tmp_path: Path, content: bytes, line: int | None, part: str) -> None:
    """
    A file that is too big or in another encoding says so, instead of failing inside of the decoder.
    """
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, content))

    assert part in caught.value.message
    assert caught.value.line == line


@pytest.mark.parametrize(
    ("name", "part"), [("no.toml", "can't be read: No such file"), (".", "not a regular file"), ("\0", "is no path")]
)
def test_unreadable_paths(tmp_path: Path, name: str, part: str) -> None:
    """
    A missing file, a folder and an impossible path are configuration errors, not tracebacks of the system's.
    """
    with pytest.raises(ConfigError, match=re.escape(part)):
        load(tmp_path / name)


def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    """
    A pipe nobody writes to would hang a reload for ever.
    """
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    with pytest.raises(ConfigError, match="not a regular file"):
        load(pipe)


def test_a_file_that_everybody_may_write_holds_no_key(tmp_path: Path) -> None:
    """
    Whoever may change base_url is sent the key: such a file is refused once it names one, and fine without.
    """
    path = write(tmp_path, SERVICE + "api_key = { env = 'KEY' }\n")
    path.chmod(0o666)
    harmless = write(tmp_path / ".", SERVICE)
    harmless.chmod(0o666)
    assert load(harmless).services["x"].api_key is None

    write(tmp_path, SERVICE + "api_key = { env = 'KEY' }\n")
    with pytest.raises(ConfigError, match=r"services\.x\.api_key: everybody may write"):
        load(path)


def test_half_written_files_never_load_as_something_else(tmp_path: Path) -> None:
    """
    Cut a file anywhere: what loads is what stands there, and the rest is an error with a line.
    """
    text = SERVICE + "limits = ['20/minute burst 5', '100/day']\nretry = { attempts = 3, cap = 10 }\n"
    whole = load(write(tmp_path, text))
    outcomes = set()
    for length in range(len(text)):
        try:
            config = load(write(tmp_path, text[:length]))
        except ConfigError as error:
            assert error.line is not None  # noqa: PT017 - one of two right answers
            outcomes.add("refused")
        else:
            assert config.services.keys() <= whole.services.keys()
            outcomes.add("loaded")

    assert outcomes == {"refused", "loaded"}


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(
    ["type", "limits", "max_wait", "breaker", "retry", "ban", "rules", "endpoints", "api_key", "base_url", "priority"]
)


@given(st.dictionaries(names | st.text(max_size=5), plain, max_size=4), st.dictionaries(st.text(max_size=9), plain))
def test_any_table_is_a_configuration_or_a_config_error(service: dict[str, object], rest: dict[str, object]) -> None:
    """
    Whatever a table holds, the answer is a `Config` or a `ConfigError` with a key, never another exception.
    """
    try:
        config = from_table({"services": {"x": service}, **rest})
    except ConfigErrors as error:
        assert len(error.errors) > 1  # noqa: PT017 - one of three right answers
    except ConfigError as error:
        assert error.key  # noqa: PT017 - one of three right answers
    else:
        assert isinstance(config, Config)
