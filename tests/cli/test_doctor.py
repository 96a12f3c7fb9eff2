"""
The command ``doctor``, on stores and ledgers that are fit, and on some that are not.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from egressor import Governor
from egressor.cli.main import main
from tests.stores.servers import running

SERVICES = "[services.api]\nmax_concurrency = 3\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """
    A private folder to work in, and no settings from outside.
    """
    tmp_path.chmod(0o700)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("EGRESSOR_CONFIG", "EGRESSOR_TOKEN", "EGRESSOR_REDIS_PASSWORD", "REDISCLI_AUTH"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def write(store: str = "memory:", ledger: str = "memory:") -> None:
    """
    Write a configuration.
    """
    Path("egressor.toml").write_text(f"[egressor]\nstore = '{store}'\nledger = '{ledger}'\n{SERVICES}")


def look(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, list[tuple[str, str]]]]:
    """
    Return the exit code, and what is found: levels and texts by what was looked at.
    """
    code = main(["doctor", "--json"])
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    found: dict[str, list[tuple[str, str]]] = {}
    for each in document["findings"]:
        found.setdefault(each["what"], []).append((each["level"], each["text"]))
    assert document["ok"] == (code == 0)
    return code, found


@pytest.mark.parametrize(("value", "expected"), [("", 1), ("k", 0)])
def test_a_key_that_serve_would_miss(
    value: str, expected: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    It found all fit where the gateway doesn't start.
    """
    Path("egressor.toml").write_text("[services.a]\nbase_url = 'https://a.example'\napi_key = {env = 'ABSENT_KEY'}\n")
    monkeypatch.setenv("ABSENT_KEY", value)
    code, found = look(capsys)

    assert (code, [level for level, _ in found.get("upstream", [])]) == (expected, ["bad"] * expected)


def test_a_fit_file(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Store and ledger in a file: who is alive is counted, and so is what they hold; all of it is fit.
    """
    write("sqlite:///x.db", "sqlite:///x.db")
    with Governor.from_file("egressor.toml") as gov, gov.permit("api"):
        gov.pause("api")
        gov.ledger.flush(10)
        code, found = look(capsys)

    assert code == 0
    assert {level for each in found.values() for level, _ in each} == {"ok"}
    assert "1 members have asked within the last seconds, and hold 1 places" in found["members"][0][1]
    assert found["ledger"][1][1] == (
        "sqlite: it answers, and holds 1 entries of at most 1000000, which are kept for 366 days"
    )
    assert found["python"][0][1].startswith(f"{sys.version_info[0]}.{sys.version_info[1]}.")
    assert sqlite3.sqlite_version in found["sqlite"][0][1]


def test_the_text_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """
    A line for each finding, its level first.
    """
    write("sqlite:///x.db", "sqlite:///x.db")
    _, found = look(capsys)
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()

    assert len(lines) == sum(map(len, found.values()))
    assert {line.split()[0] for line in lines} == {"ok"}


def test_it_makes_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    To look leaves no file behind, whether the configuration names places or the commands' own are looked at.
    """
    write("sqlite:///x.db", "sqlite:///x.db")
    named, _ = look(capsys)
    Path("egressor.toml").unlink()
    unnamed, found = look(capsys)

    assert (named, unnamed, list(here.iterdir())) == (0, 0, [])
    assert "egressor serve makes it" in found["store"][0][1]
    assert found["gateway"] == [("ok", "none of this user's runs")]


def test_memory(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Nothing can be wrong with it, and nothing is shared.
    """
    write()
    code, found = look(capsys)

    assert (code, [found[each][0][1].partition(":")[0] for each in ("store", "ledger")]) == (0, ["memory", "memory"])


def test_a_file_of_somebody_else(capsys: pytest.CaptureFixture[str]) -> None:
    """
    A file that holds other tables is bad, as a store and as a ledger, and stays as it is.
    """
    Path("x.db").write_text("no database " * 1000)
    Path("x.db").chmod(0o600)
    with closing(sqlite3.connect("x.db.cells")) as db, db:
        db.execute("CREATE TABLE theirs (x)")
    Path("x.db.cells").chmod(0o600)
    write("sqlite:///x.db", "sqlite:///x.db")
    code, found = look(capsys)

    assert code == 1
    assert "it can't be asked: x.db.cells holds something else" in found["store"][-1][1]
    assert "on_store_loss = 'share' holds" in found["store"][-1][1]
    assert found["ledger"][-1] == (
        "bad",
        "it can't be read: x.db: file is not a database; what happens meanwhile waits in the spool",
    )


def test_others_may_write(capsys: pytest.CaptureFixture[str]) -> None:
    """
    What others may do to a file is told without asking it.
    """
    write("sqlite:///x.db", "sqlite:///y.db")
    for name in ("x.db.cells", "y.db"):
        Path(name).touch()
        Path(name).chmod(0o622)
    code, found = look(capsys)

    assert code == 1
    assert [found[each] for each in ("store", "ledger")] == [
        [("bad", f"others may write {name}, which has mode 622: make it 600")] for name in ("x.db.cells", "y.db")
    ]


def test_a_state_folder_that_others_may_look_into(capsys: pytest.CaptureFixture[str]) -> None:
    """
    The commands' own folder holds a token.
    """
    write()
    Path("state/egressor").mkdir(parents=True)
    Path("state/egressor").chmod(0o755)
    code, found = look(capsys)

    assert (code, found["state folder"][0][0]) == (0, "warn")
    assert "mode 755: chmod 700" in found["state folder"][0][1]


@pytest.mark.parametrize("ledger", ["postgresql://127.0.0.1:9/none"])
def test_a_ledger_that_is_away(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A database that nobody serves is bad, and says what happens meanwhile.
    """
    write(ledger=ledger)
    code, found = look(capsys)

    assert (code, found["ledger"][0][0], "spool" in found["ledger"][0][1]) == (1, "bad", True)


@pytest.mark.parametrize("kind", ["redis", "valkey"])
def test_a_server(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A real one is told by kind and version; one that evicts is bad, and one that has gone as well.
    """
    with running(kind=kind) as server:
        write(server.address)
        with Governor.from_file("egressor.toml") as gov, gov.permit("api"):
            code, found = look(capsys)
        with server.client() as client:
            client.config_set("maxmemory", "100mb")
            client.config_set("maxmemory-policy", "volatile-lru")
        evicting, told = look(capsys)
    gone, last = look(capsys)

    assert (code, found["server"][0][1].split()[0], found["memory"][0][0]) == (0, kind, "ok")
    assert (found["persistence"][0][0], found["clock"][0][0], found["keys"][0][0]) == ("warn", "ok", "ok")
    assert "1 members have asked within the last seconds, and hold 1 places" in found["members"][0][1]
    assert (evicting, told["memory"][0][0]) == (1, "bad")
    assert (gone, last["store"][-1][0], "it can't be asked" in last["store"][-1][1]) == (1, "bad", True)


def test_a_password_is_never_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Neither where it is right, nor where it is wrong; a server that wants one is told as such.
    """
    with running("requirepass hunter2") as server:
        write(server.address)
        without = main(["doctor"])
        monkeypatch.setenv("EGRESSOR_REDIS_PASSWORD", "hunter3")
        wrong = main(["doctor"])
        monkeypatch.setenv("EGRESSOR_REDIS_PASSWORD", "hunter2")
        right = main(["doctor"])
    said = capsys.readouterr()

    assert (without, wrong, right) == (1, 1, 0)
    assert "hunter" not in said.out + said.err


COMMANDS = (
    "eval evalsha get set hset hget hgetall hkeys hmget hdel pexpire pttl expire time zadd zcard zrange zrangebyscore "
    "zrem zremrangebyscore publish subscribe ping"
)


@pytest.mark.parametrize(("more", "level"), [("", "warn"), ("info", "ok")])
def test_a_user_with_few_commands(
    more: str, level: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    The documented commands are enough for calls; without INFO the server doesn't say how it is.
    """
    rights = [f"+{name}" for name in f"{COMMANDS} {more}".split()]
    monkeypatch.setenv("EGRESSOR_REDIS_PASSWORD", "hunter2")
    with running() as server:
        with server.client() as client:
            client.execute_command(
                "ACL", "SETUSER", "egressor", "on", ">hunter2", "~{egressor:*", "&egressor:*", "-@all", *rights
            )
        write(server.address.replace("redis://", "redis://egressor@"))
        with Governor.from_file("egressor.toml") as gov, gov.permit("api"):
            code, found = look(capsys)
        with server.client() as client:
            refused = {each["object"] for each in client.acl_log()}
    page = (Path(__file__).parents[2] / "docs/stores.md").read_text()

    assert (code, found["server"][0][0], found["members"][0][0]) == (0, level, "ok")
    assert refused == (set() if more else {"info"})
    assert " ".join(f"+{name}" for name in COMMANDS.split()) in page


@pytest.mark.parametrize(
    ("store", "level", "words"),
    [
        ("redis://203.0.113.1:9/0", "warn", "in the clear"),
        ("redis+unix:///nowhere/redis.sock", "ok", "on this machine"),
        ("redis://localhost:9", "ok", "on this machine"),
        ("redis+sentinel://127.0.0.1:9,[::1]:9/main", "ok", "on this machine"),
        ("rediss://127.0.0.1:9", "ok", "TLS"),
    ],
)
def test_the_way_to_a_server(store: str, level: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Plain TCP to another machine is a warning; that nobody answers is bad.
    """
    write(store)
    code, found = look(capsys)

    assert (code, found["store"][0][0], words in found["store"][0][1]) == (1, level, True)
    assert found["store"][-1][0] == "bad"


def test_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """
    A configuration that is wrong, or not there, is the exit code 2.
    """
    assert main(["doctor", "--config", "none.toml"]) == 2
    Path("egressor.toml").write_text("[egressor]\nstor = 'memory:'\n")
    assert main(["doctor"]) == 2
    assert "did you mean 'store'" in capsys.readouterr().err
