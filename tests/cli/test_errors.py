"""
The commands ``errors`` and ``bans``, on a ledger.
"""

from __future__ import annotations

import csv
import io
import json
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from egressor import Governor
from egressor.cli.errors import guarded, tell, unseen
from egressor.cli.main import main
from egressor.ledger.entry import stamp

CONFIG = "[egressor]\nledger = 'sqlite:///history.db'\n[services.api]\nretry = {attempts = 1}\n[services.other]\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """
    A folder with a configuration, and no settings from outside.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("EGRESSOR_CONFIG", "EGRESSOR_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "egressor.toml").write_text(CONFIG)
    return tmp_path


def fail(message: str = "=cmd|' /C calc'!A0\x1b[2J") -> None:
    """
    Fail.
    """
    raise ConnectionError(message)


def written(*, gives_up: bool = True) -> str:
    """
    Failures of two groups, by a program that has ended; the name of the greater one.
    """
    with Governor.from_file("egressor.toml") as gov:
        for _ in range(3):
            if gives_up:
                with pytest.raises(ConnectionError):
                    gov.call("api", fail, endpoint="chat")
            else:
                gov.call("api", fail, endpoint="chat", fallback=None)
        gov.call("api", fail, "other words", fallback=None)
        return str(gov.errors()["groups"][0]["fingerprint"])


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """
    What ``egressor errors --json`` says.
    """
    capsys.readouterr()
    main(["errors", "--json", *words])
    return json.loads(capsys.readouterr().out)


def test_errors_shows_the_most_common_first(capsys: pytest.CaptureFixture[str]) -> None:
    """
    As a sentence and a table, nothing in which a terminal would obey; 1 says that calls gave up.
    """
    name = written()
    assert main(["errors"]) == 1
    lines = capsys.readouterr().out.splitlines()

    assert lines[0].startswith("4 failed attempts of 4 calls since ")
    assert lines[0].endswith(": 0 recovered (0%), 1 fell back, 3 gave up")
    assert lines[3].split()[2:] == [
        *("3", "3", "3", "api/chat", "network", "open", name),
        *("=cmd|'", "/C", "calc'!A0?[2J"),
    ]
    assert lines[4].split()[2:5] == ["1", "1", "0"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], (4, 2)),
        (["--service", "api"], (4, 2)),
        (["--service", "other"], (0, 0)),
        (["--since", "1h"], (4, 2)),
        (["--since", "2999-01-31"], (0, 0)),
        (["--limit", "1"], (4, 1)),
    ],
)
def test_errors_as_json(options: list[str], expected: tuple[int, int], capsys: pytest.CaptureFixture[str]) -> None:
    """
    By service, time and number.
    """
    written()
    found = asked(capsys, *options)

    assert (found["total"], len(found["groups"])) == expected


def test_nobody_is_hurt_by_what_fell_back() -> None:
    """
    Errors that no call gave up on are no reason for an exit code.
    """
    written(gives_up=False)

    assert main(["errors"]) == 0


@pytest.mark.parametrize("action", ["resolve", "mute"])
def test_a_group_is_dealt_with(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Resolved or muted it is no reason any more; the history says who did it.
    """
    name = written()
    assert main(["errors", action, name]) == 0
    assert capsys.readouterr().out == f"{name}: {action}d\n"
    assert main(["errors"]) == 0
    assert asked(capsys)["groups"][0]["state"] == f"{action}d"
    main(["history", "--json"])
    (entry,) = json.loads(capsys.readouterr().out)["entries"]

    assert (entry["what"], entry["service"], entry["data"]) == (f"{action}-error", "api", {"fingerprint": name})


def test_a_group_is_muted_for_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    """
    And may be unmuted before.
    """
    name = written()
    assert main(["errors", "mute", name, "--for", "400d"]) == 0
    assert main(["errors", "mute", name, "--for", "2h"]) == 0
    group = asked(capsys)["groups"][0]
    assert main(["errors", "unmute", name]) == 0

    assert (group["state"], group["muted_until"] > stamp(time.time_ns() // 1000 + 7_000_000_000)) == ("muted", True)
    assert asked(capsys)["groups"][0]["state"] == "open"


# None at all, too long, a date, and an Arabic digit.
SPANS = ("0", "0s", "401d", "2999-01-31", "2020-01-31", "٢h")


def test_show_tells_all_of_a_group(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Its facts, its hours, and its newest failures.
    """
    name = written()
    assert main(["errors", "show", name]) == 1
    lines = capsys.readouterr().out.splitlines()

    assert lines[0].split() == ["fingerprint", name]
    assert [line.split()[:1] for line in lines if line.startswith(("place", "why"))] == [["place"], ["why"]]
    assert [line.split()[2:] for line in lines if line.endswith(" 3")][-1] == ["3"]
    assert sum(" gave_up " in line for line in lines) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show"], "show takes the fingerprint of a group"),
        (["resolve"], "resolve takes the fingerprint of a group"),
        (["list", "0000-0000-0000"], "list takes no fingerprint"),
        (["show", "0000-0000-0000"], "no errors of the group 0000-0000-0000"),
        (["resolve", "0000-0000-0000"], "the ledger holds no errors of the group 0000-0000-0000"),
        (["mute", "nonsense"], "a group's fingerprint looks like 0a1b-2c3d-4e5f"),
        *((["mute", "0000-0000-0000", "--for", span], "--for is a time above 0 such as") for span in SPANS),
        (["resolve", "0000-0000-0000", "--for", "1h"], "--for goes with mute"),
        (["--since", "later"], "'later' is no time"),
        (["burn"], "'burn' is not one of"),
    ],
)
def test_wrong_usage(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    What can't be done ends with 2, and a line that says why.
    """
    assert main(["errors", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_slip_is_no_good_news(capsys: pytest.CaptureFixture[str]) -> None:
    """
    A check of a service that nobody knows got 0 and "no errors"; one that is no longer configured stays readable.
    """
    written()
    codes = [main([command, "--service", "apii"]) for command in ("errors", "bans")]
    said = capsys.readouterr().err
    (Path.cwd() / "egressor.toml").write_text(CONFIG.replace("services.api]", "services.renamed]"))
    codes += [main([command, "--service", "api"]) for command in ("errors", "bans")]

    assert codes == [2, 2, 1, 0]
    assert said.count("(did you mean 'api'?)") == 2


def test_a_service_that_nobody_can_know_now_is_no_slip() -> None:
    """
    While the ledger is away it is not known what it holds.
    """
    Path("history.db").write_text("no database " * 1000)

    assert main(["errors", "--service", "apii"]) == 1


def test_csv_holds_no_formula(capsys: pytest.CaptureFixture[str]) -> None:
    """
    What a spreadsheet would run begins with an apostrophe.
    """
    written()
    main(["errors", "--csv"])
    row = next(csv.DictReader(io.StringIO(capsys.readouterr().out)))

    assert (row["message"], row["count"], row["service"]) == ("'=cmd|' /C calc'!A0?[2J", "3", "api")


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", " =1", "\uff1d1"])
def test_each_beginning_of_a_formula_is_guarded(text: str) -> None:
    """
    The characters that OWASP names, in their wide forms too, also behind blanks.
    """
    assert str(guarded(text)).startswith("'")
    assert (guarded("plain"), guarded(-7)) == ("plain", -7)


def test_an_empty_ledger(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Nothing there is no fault, and looking makes no file.
    """
    assert (main(["errors"]), main(["bans"])) == (0, 0)
    assert capsys.readouterr().out == "no errors\nno bans\n"
    assert not Path("history.db").exists()


def test_a_ledger_that_is_away(capsys: pytest.CaptureFixture[str]) -> None:
    """
    What waits in the spool is shown, with a word, and the exit code is 1.
    """
    Path("history.db").write_text("no database " * 1000)
    written(gives_up=False)
    assert (main(["errors"]), main(["bans"])) == (1, 1)
    said = capsys.readouterr()

    assert said.out.startswith("4 failed attempts")
    assert "the ledger is away: history.db: file is not a database" in said.err


def test_more_groups_than_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """
    How many are left out is said.
    """
    written()
    main(["errors", "--limit", "1"])

    assert capsys.readouterr().out.endswith("and 1 groups more\n")


def test_what_is_new_is_told_once() -> None:
    """
    In its order; what was told long ago is forgotten.
    """
    seen: dict[str, None] = {}
    page = [{"id": "3"}, {"id": "2"}, {"id": "1"}]
    found = [unseen(page[1:], seen), unseen(page, seen), unseen(page, seen)]
    unseen([{"id": str(number)} for number in range(9_000, 0, -1)], seen)

    assert found == [[{"id": "1"}, {"id": "2"}], [{"id": "3"}], []]
    assert len(seen) == 5_000


@pytest.mark.parametrize(("number", "left_out"), [(200, False), (201, True)])
def test_tail_says_that_there_were_more(number: int, left_out: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Regression: of more than 200 failures in a second the older ones were left out in silence.
    """
    tell([{"id": str(each)} for each in range(number)], as_json=True)
    out, err = capsys.readouterr()
    told = [int(json.loads(line)["id"]) for line in out.splitlines()]

    assert (told, "more than 200" in err) == (list(range(number - 200, number)), left_out)


@pytest.mark.parametrize("as_json", [False, True])
def test_tail_follows(as_json: bool) -> None:
    """
    Failures are printed as they come, until Ctrl-C.
    """
    written()
    code = "import sys; from egressor.cli.main import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", code, "errors", "tail", *(["--json"] if as_json else [])]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        with Governor.from_file("egressor.toml") as gov:
            line = ""
            while not line and process.poll() is None:
                # What fails before the first look is no news, and when that is nobody is told: so it goes on failing.
                gov.call("api", fail, "news", fallback=None)
                gov.errors()
                if _is_there(process):
                    line = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.stdout.read()

    assert process.returncode == 130
    told = json.loads(line)["message"] if as_json else line.split()[-1]
    assert told == "news"


def _is_there(process: subprocess.Popen[str]) -> bool:
    assert process.stdout is not None
    return bool(select.select([process.stdout], [], [], 0.2)[0])


def test_bans_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """
    The newest first, with what holds; 1 says that one does.
    """
    with Governor.from_file("egressor.toml") as gov:
        over = {"until": "2020-01-31T12:00:00Z", "seconds": 14_400.0, "count": 1, "scope": "ip", "rule": "http.403.x"}
        gov.ledger.note("ban", "began", service="api", data=over)
        gov.ledger.note("ban", "began", service="other", data={**over, "until": "2999-01-31T12:00:00Z", "told": True})
    assert main(["bans"]) == 1
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert main(["bans", "--service", "api"]) == 0
    capsys.readouterr()
    main(["bans", "--json", "--since", "1h", "--limit", "1"])
    found = json.loads(capsys.readouterr().out)

    assert lines[0] == ["BEGAN", "SERVICE", "STATE", "UNTIL", "LASTED", "THE", "SCOPE", "BECAUSE", "OF"]
    assert lines[1][2:] == [
        *("other", "active", "2999-01-31", "12:00:00", "14400", "s", "1.", "ip"),
        *("http.403.x,", "the", "server", "said", "how", "long"),
    ]
    assert lines[2][2:4] == ["api", "over"]
    assert (len(found["bans"]), found["total"], [each["service"] for each in found["active"]]) == (1, 2, ["other"])


def test_a_ban_with_little_to_say(capsys: pytest.CaptureFixture[str]) -> None:
    """
    What an entry doesn't hold is a dash.
    """
    with Governor.from_file("egressor.toml") as gov:
        gov.ledger.note("ban", "began", service="api")
    main(["bans"])

    assert capsys.readouterr().out.splitlines()[1].split()[3:] == ["over", "-", "-", "-", "-", "-"]
