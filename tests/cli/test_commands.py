"""
The commands that need no gateway, and what the command line says to mistakes.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from egressor.cli import group
from egressor.cli import main as entry
from egressor.cli.main import main
from egressor.policies import load

GOOD = '[services.t]\ntype = "llm_api"\nmax_wait = 5\n'


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """
    An empty folder to work in, and no settings from outside.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("EGRESSOR_CONFIG", "EGRESSOR_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_init_then_check(capsys: pytest.CaptureFixture[str]) -> None:
    """
    What ``init`` writes passes ``check``; a second ``init`` leaves it alone.
    """
    assert main(["init"]) == 0
    Path("egressor.toml").write_text(Path("egressor.toml").read_text() + "# mine\n")
    assert main(["init"]) == 2
    assert Path("egressor.toml").read_text().endswith("# mine\n")
    assert main(["check"]) == 0
    assert "stays as it is" in capsys.readouterr().err
    assert "openai" in load("egressor.toml").services


def test_check_shows_sources(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    ``check`` prints each value with where it came from, as text and as JSON.
    """
    (here / "my.toml").write_text(GOOD)

    assert main(["check", "my.toml"]) == 0
    text = capsys.readouterr().out
    assert main(["check", "--json", "my.toml"]) == 0
    document = json.loads(capsys.readouterr().out)

    rows = {(row["service"], row["key"]): row for row in document["settings"]}
    assert document["ok"]
    assert rows["t", "max_wait"] == {"service": "t", "key": "max_wait", "value": 5.0, "source": "my.toml:3"}
    assert rows["t", "limits"]["source"] == "preset llm_api"
    assert "max_wait" in text
    assert "my.toml:3" in text


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("host = '0.0.0.0'", "gateway.keys"),
        ("workers = 4\n[egressor]\nstore = 'memory:'", "gateway.workers"),
    ],
)
def test_check_and_doctor_warn_of_an_address_and_workers_that_serve_refuses(
    here: Path, capsys: pytest.CaptureFixture[str], text: str, key: str
) -> None:
    """
    What `serve` exits with 2 for is said beforehand.
    """
    (here / "egressor.toml").write_text(f"[gateway]\n{text}\n[services.a]\nbase_url = 'https://a.example'\n")
    codes = [main(["check", "--json"]), main(["serve", "--port", "0"])]
    out, err = capsys.readouterr()
    main(["doctor"])

    assert (codes, [each["key"] for each in json.loads(out)["warnings"]], key in err) == ([0, 2], [key], True)
    assert key in capsys.readouterr().out


@pytest.mark.parametrize(
    "command", ["status", "errors", "costs", "bans", "history", "pause a", "errors resolve 0000-0000-0001"]
)
def test_what_is_no_gateway_is_said_to_be_none(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Regression: any server that answers with JSON was taken for one, and had "paused".
    """

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"hello": "world"}')

        do_POST = do_GET  # noqa: N815 - likewise

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        code = main([*command.split(), "--url", url])
        server.shutdown()

    assert (code, capsys.readouterr()) == (1, ("", f"egressor: what answers at {url} is no egressor gateway\n"))


def test_check_and_doctor_say_which_limits_only_stated_costs_keep(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    A limit of weights, a rule's too; those of requests and tokens are kept by themselves.
    """
    limits = "['1/minute', '9 tokens/minute', '2 weight/minute']"
    rules = "[{match = {user = '*'}, limits = ['5 orders/day']}]"
    (here / "egressor.toml").write_text(f"[services.a]\nlimits = {limits}\nrules = {rules}\n")
    codes = [main(["check"]), main(["check", "--json"]), main(["doctor"])]
    said, _, rest = capsys.readouterr().out.partition("\n{")
    document, _, found = rest.partition("\n")

    notes = [f"a: '{limit}' holds only for calls that state their cost in {unit}" for limit, unit in NOTES]
    assert codes == [0, 0, 0]
    assert [line.partition(";")[0] for line in said.splitlines() if line.startswith("note")] == [
        f"note: {each}" for each in notes
    ]
    assert [each.partition(";")[0] for each in json.loads("{" + document)["notes"]] == notes
    assert [each in found for each in notes] == [True, True]


NOTES = [("2 weight/minute", "weight"), ("5 orders/day", "orders")]


def test_check_warns_of_what_serve_would_refuse(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    A key's variable that isn't set here is no mistake in the file, and no secret of a good report.
    """
    (here / "egressor.toml").write_text(
        "[services.a]\nbase_url = 'https://a.example'\napi_key = {env = 'ABSENT_KEY'}\n"
    )
    monkeypatch.delenv("ABSENT_KEY", raising=False)
    codes = [main(["check"]), main(["check", "--json"])]
    text, _, document = capsys.readouterr().out.rpartition("\n{")
    monkeypatch.setenv("ABSENT_KEY", "k")
    main(["check"])

    why = "the environment variable ABSENT_KEY is empty or not set"
    assert codes == [0, 0]
    assert text.endswith(f"\nwarning: services.a.api_key: {why}; egressor serve would not start here")
    assert [(each["key"], each["message"]) for each in json.loads("{" + document)["warnings"]] == [
        ("services.a.api_key", why)
    ]
    assert "warning" not in capsys.readouterr().out


def test_check_shows_what_the_commands_take(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Store and ledger that the file doesn't name are those of the commands; one that it names has its line.
    """
    (here / "my.toml").write_text("[egressor]\nledger = 'memory:'\n")

    assert main(["check", "--json", "my.toml"]) == 0
    rows = {row["key"]: row for row in json.loads(capsys.readouterr().out)["settings"]}

    assert rows["egressor.store"]["value"] == f"sqlite:///{here}/state/egressor/egressor.db"
    assert rows["egressor.store"]["source"] == "default of the commands"
    assert (rows["egressor.ledger"]["value"], rows["egressor.ledger"]["source"]) == ("memory:", "my.toml:2")
    assert not (here / "state").exists()


def test_explain_touches_no_store(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A policy is explained wherever its counters are, also where nobody has access to them.
    """
    (here / "egressor.toml").write_text("[egressor]\nstore = 'sqlite:////no/such/folder/x.db'\n" + GOOD)

    assert main(["explain", "t"]) == 0
    assert capsys.readouterr().out.startswith("A call to t:")


def test_check_finds_every_error(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    All mistakes are listed on stderr, with their lines, and the exit code is 2.
    """
    (here / "my.toml").write_text("[services.t]\nmax_wiat = 5\ntimeout = -1\n")
    monkeypatch.setenv("EGRESSOR_CONFIG", "my.toml")

    assert main(["check"]) == 2
    error = capsys.readouterr().err.splitlines()
    assert main(["check", "--json"]) == 2
    document = json.loads(capsys.readouterr().out)

    assert len(error) == 2
    assert error[0].startswith("egressor: my.toml:2: ")
    assert "max_wait" in error[0]
    assert [each["line"] for each in document["errors"]] == [2, 3]


def test_explain(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    ``explain`` lists the steps of one service; an unknown one is an error with the nearest name.
    """
    (here / "egressor.toml").write_text(GOOD.replace("services.t", "services.reddit"))

    assert main(["explain", "reddit"]) == 0
    assert capsys.readouterr().out.startswith("A call to reddit:")
    assert main(["explain", "redit"]) == 2
    assert "did you mean 'reddit'?" in capsys.readouterr().err
    assert main(["explain", "reddit", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["service"] == "reddit"
    assert [step for step in found["steps"] if step.startswith("1. pause")]


def test_check_takes_its_file_either_way(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    The file of ``check`` may be named by an option, as for every other command; two files are wrong usage.
    """
    (here / "mine.toml").write_text(GOOD)

    assert main(["check", "--config", "mine.toml"]) == 0
    named = capsys.readouterr().out
    assert main(["check", "mine.toml"]) == 0
    assert named == capsys.readouterr().out
    assert main(["check", "mine.toml", "--config", "other.toml"]) == 2
    assert "mine.toml" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stats"], "egressor: No such command 'stats' (did you mean 'status'?); see egressor --help\n"),
        (["status", "--bogus"], "egressor: No such option '--bogus'; see egressor status --help\n"),
        (["pause"], "egressor: Missing argument 'SERVICE'; see egressor pause --help\n"),
    ],
)
def test_wrong_usage_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    What is wrong with the words of a command is told in one line, with where to look.
    """
    assert main(words) == 2
    assert capsys.readouterr() == ("", message)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["check"], 2, "egressor init"),
        (["check", "none.toml"], 2, "none.toml"),
        (["serve"], 2, "egressor init"),
        (["explain", "t"], 2, "egressor init"),
        (["explode"], 2, "explode"),
        (["status", "--nope"], 2, "--nope"),
        (["init", "no/such/folder.toml"], 2, "can't be written"),
        (["status"], 1, "no running gateway"),
        (["status", "--url", "http://127.0.0.1:9"], 1, "does not answer"),
        (["status", "--url", "file:///etc/passwd"], 2, "http://"),
        (["pause", "t", "--url", "http://127.0.0.1:9"], 1, "does not answer"),
        (["status", "--url", "http://localhost:abc"], 2, "--url is no URL"),
        (["status", "--url", "http://local host:9"], 2, "no user, password or blank"),
        (["status", "--url", "http://user:SECRET@127.0.0.1:9"], 2, "no user, password or blank"),
    ],
)
def test_mistakes(words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A mistake is one clear line on stderr, never a traceback.
    """
    assert main(words) == code
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert "SECRET" not in error


def test_a_token_with_a_line_end_is_never_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Regression: a carriage return, as from a file with Windows line ends, had the token printed in an error.
    """
    monkeypatch.setenv("EGRESSOR_TOKEN", "SECRETSECRET\rSECRET\r")

    assert main(["pause", "t", "--url", "http://127.0.0.1:9"]) == 2

    told = capsys.readouterr()
    assert "EGRESSOR_TOKEN holds characters" in told.err
    assert "SECRET\r" not in told.err + told.out


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "gate.lan"])
def test_serve_is_for_this_machine(here: Path, host: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    An address that others reach is refused, as nobody has to show a key.
    """
    (here / "egressor.toml").write_text(GOOD)

    assert main(["serve", "--host", host]) == 2
    assert "open to other machines" in capsys.readouterr().err


def test_serve_needs_its_keys(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A key that isn't there is an error at the start, not at the first call.
    """
    monkeypatch.delenv("NO_KEY", raising=False)
    (here / "egressor.toml").write_text(GOOD + 'base_url = "http://127.0.0.1:9"\napi_key = { env = "NO_KEY" }\n')

    assert main(["serve", "--port", "0"]) == 2
    assert "services.t.api_key" in capsys.readouterr().err


@pytest.mark.parametrize(("missing", "code"), [("click", 2), ("aiohttp", 2)])
def test_missing_extra(
    missing: str, code: int, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Without the extra the command says how to get it.
    """
    (here / "egressor.toml").write_text(GOOD)
    for name in [name for name in sys.modules if name.startswith(("egressor.cli.", "egressor.gateway", missing))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)

    assert entry.main(["serve", "--port", "0"]) == code
    assert "pip install 'egressor[gateway]'" in capsys.readouterr().err


def test_start_is_not_held_up_by_the_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It looks at objects seldom while a command is imported and runs, and as before after that.
    """
    before = gc.get_threshold()
    during: list[int] = []
    monkeypatch.setattr(group, "run", lambda _: during.append(gc.get_threshold()[0]))
    main([])

    assert (during, gc.get_threshold()) == ([100_000], before)


def test_serve_loads_what_the_first_request_needs() -> None:
    """
    Stores and ledgers that need a server or a file, prices and providers' tables wait until they are asked for.
    """
    names = "importlib.metadata sqlite3 redis psycopg httpx requests egressor.prices egressor.ledger.sqlite"
    code = "import sys, egressor.cli.serve; print(*sys.modules)"
    # What measures coverage loads modules of its own.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    loaded = done.stdout.split()

    assert "egressor.gateway.relay" in loaded
    assert set(loaded).isdisjoint([*names.split(), "egressor.dialects.openai", "egressor.dialects.kraken"])


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["serve", "--help"], ["status", "-h"]])
def test_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """
    Help and version are answers, not errors.
    """
    assert main(words) == 0
    assert "egressor" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        (["serv"], "serve"),
        (["errors", "shwo"], "show"),
        (["costs", "--by", "usr"], "user"),
        (["key", "a", "--max-priority", "hgih"], "high"),
    ],
)
def test_a_slip_names_the_nearest_word(words: list[str], nearest: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A word that there isn't is wrong usage.
    """
    code = main(words)

    assert (code, capsys.readouterr().err.count(f"(did you mean {nearest!r}?)")) == (2, 1)


def test_an_operator_s_slip_names_the_nearest_service(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Through a store that is shared, as through a gateway.
    """
    (here / "egressor.toml").write_text("[egressor]\nstore = 'sqlite:///x.db'\n[services.plain]\n")

    assert main(["resume", "plian"]) == 2
    assert capsys.readouterr().err == "egressor: no service 'plian': plain (did you mean 'plain'?)\n"
