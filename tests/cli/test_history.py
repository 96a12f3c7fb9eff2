"""
The command ``history``, on a ledger and at a running gateway.
"""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from egressor import Governor
from egressor.cli.history import moment
from egressor.cli.main import main

CONFIG = "[egressor]\nledger = 'sqlite:///history.db'\n[services.api]\n[services.other]\n"


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


def written() -> None:
    """
    Three entries, by a program that has ended.
    """
    with Governor.from_file("egressor.toml") as gov:
        gov.pause("api", "their page\x1b[2J", by="dana")
        gov.resume("api", by="dana")
        gov.lift_ban("other", by="eve")


def test_history_shows_the_newest_first(capsys: pytest.CaptureFixture[str]) -> None:
    """
    As a table, nothing in which a terminal would obey.
    """
    written()
    assert main(["history"]) == 0
    lines = capsys.readouterr().out.splitlines()

    assert lines[0].split() == ["WHEN", "KIND", "SERVICE", "WHAT", "WHO", "MORE"]
    assert [line.split()[2:] for line in lines[1:]] == [
        ["operator", "other", "lift-ban", "eve", "-"],
        ["operator", "api", "resume", "dana", "-"],
        ["operator", "api", "pause", "dana", "reason=their", "page?[2J"],
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], ["lift-ban", "resume", "pause"]),
        (["--service", "api"], ["resume", "pause"]),
        (["--limit", "1"], ["lift-ban"]),
        (["--kind", "breaker"], []),
        (["--since", "1h"], ["lift-ban", "resume", "pause"]),
        (["--since", "2999-01-31"], []),
    ],
)
def test_history_as_json(options: list[str], expected: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """
    Entries by service, kind, time and number, and how the ledger is.
    """
    written()
    assert main(["history", "--json", *options]) == 0
    document = json.loads(capsys.readouterr().out)

    assert [each["what"] for each in document["entries"]] == expected
    assert (document["ledger"]["ledger"], document["ledger"]["entries"], document["ledger"]["away"]) == (
        "sqlite",
        3,
        "",
    )


def test_an_empty_history(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Nothing there is no fault, and looking makes no file.
    """
    assert main(["history"]) == 0
    assert capsys.readouterr().out == "no entries\n"
    assert not Path("history.db").exists()


def test_a_ledger_that_is_away_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """
    What waits in the spool is shown, with a word about the ledger, and the exit code is 1.
    """
    Path("history.db").write_text("no database " * 1000)
    written()
    assert main(["history"]) == 1
    said = capsys.readouterr()

    assert said.out.count("\n") == 4
    assert said.err == "egressor: the ledger is away: history.db: file is not a database; shown is what waits for it\n"


def test_out_and_in_again(capsys: pytest.CaptureFixture[str]) -> None:
    """
    An export is private and never written over; its import makes the same ledger, once.
    """
    written()
    assert main(["history", "--export", "out.jsonl"]) == 0
    assert main(["history", "--export", "out.jsonl"]) == 2
    Path("history.db").rename("before.db")
    assert main(["history", "--import", "out.jsonl"]) == 0
    assert main(["history", "--import", "out.jsonl"]) == 0
    assert main(["history", "--export", "-"]) == 0
    said = capsys.readouterr()

    lines = Path("out.jsonl").read_text().splitlines(keepends=True)
    assert [json.loads(line)["what"] for line in lines] == ["pause", "resume", "lift-ban"]
    seal = json.loads(lines[-1])["seal"][:16]
    assert said.out == f"3 entries, 3 of them new, sealed {seal}\n3 entries, 0 of them new, sealed {seal}\n" + "".join(
        lines
    )
    assert said.err == f"3 entries, sealed {seal}\negressor: out.jsonl: File exists\n3 entries, sealed {seal}\n"
    assert stat.S_IMODE(Path("out.jsonl").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("change", "number"),
    [
        (lambda lines: [lines[0], lines[1].replace('"who":"', '"who":"x'), lines[2]], 2),
        (lambda lines: [lines[0], lines[2]], 2),
        (lambda lines: lines[1:], 1),
        (lambda lines: [lines[1], lines[0], lines[2]], 1),
        (lambda lines: [lines[0], lines[0], *lines[1:]], 2),
        (lambda lines: [*lines, *lines], 4),
        (lambda lines: [lines[0], lines[1].partition(',"seal"')[0] + "}\n", lines[2]], 2),
        (lambda lines: [lines[0].partition(',"seal"')[0] + "}\n", *lines[1:]], 2),
        (lambda lines: [*lines[:2], lines[2].replace('"seal":"', '"seal":"0').replace('"}\n', "\n")], 3),
    ],
    ids=[
        "changed",
        "taken out",
        "first taken out",
        "moved",
        "twice",
        "two in one",
        "unsealed",
        "first unsealed",
        "no seal",
    ],
)
def test_an_export_that_was_changed_is_noticed(
    change: Callable[[list[str]], list[str]], number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    A line that says something else, is gone, stands elsewhere or twice, or has no seal any more.
    """
    written()
    main(["history", "--export", "out.jsonl"])
    lines = Path("out.jsonl").read_text().splitlines(keepends=True)
    Path("out.jsonl").write_text("".join(change(lines)))
    capsys.readouterr()

    assert main(["history", "--import", "out.jsonl"]) == 2
    assert f"out.jsonl:{number}: " in capsys.readouterr().err


def test_lines_without_seals_are_taken_up(capsys: pytest.CaptureFixture[str]) -> None:
    """
    As other programs, and versions before this one, write them.
    """
    written()
    main(["history", "--export", "out.jsonl"])
    lines = [line.partition(',"seal"')[0] + "}\n" for line in Path("out.jsonl").read_text().splitlines()]
    Path("out.jsonl").write_text("".join(lines))
    capsys.readouterr()

    assert main(["history", "--import", "out.jsonl"]) == 0
    assert capsys.readouterr().out == "3 entries, 0 of them new\n"


def test_an_import_names_the_line_that_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    """
    A line that is no entry ends the import with its number.
    """
    written()
    main(["history", "--export", "out.jsonl"])
    Path("out.jsonl").write_text(Path("out.jsonl").read_text() + "\nnonsense\n")
    capsys.readouterr()

    assert main(["history", "--import", "out.jsonl"]) == 2
    assert capsys.readouterr().err == "egressor: out.jsonl:5: it is no JSON; 0 entries before it are taken up\n"


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--export", "a", "--import", "b"], 2, "--export or --import, not both"),
        (["--import", "nothing.jsonl"], 2, "nothing.jsonl: No such file or directory"),
        (["--since", "soon"], 2, "'soon' is no time"),
        (["--since", "99999-01-01"], 2, "is no time"),
        (["--limit", "0"], 2, "0 is not in the range"),
        (["--config", "none.toml"], 2, "none.toml"),
        (["--kind", "opertor"], 2, "unknown kind 'opertor': operator, breaker, ban, error, budget (did you mean"),
        (["--service", "apii"], 2, "unknown service 'apii': the ledger has no entry of it, and the configuration has"),
        (["--service", "apii", "--export", "-"], 2, "(did you mean 'api'?)"),
    ],
)
def test_wrong_usage(options: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A mistake is told in a line.
    """
    assert main(["history", *options]) == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "[egressor]\nledger = 'memory:'\n"])
def test_without_a_ledger_the_gateway_is_asked(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    With no configuration, or one whose ledger is the gateway's memory, it takes a gateway; moving takes a ledger.
    """
    if text:
        Path("egressor.toml").write_text(text)
    else:
        Path("egressor.toml").unlink()

    assert main(["history"]) == 1
    assert "no running gateway" in capsys.readouterr().err
    assert main(["history", "--export", "-"]) == 2
    assert "must name a ledger that lasts" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1970-01-02", 86_400), ("1970-01-01T00:00:01+00:00", 1), ("1970-01-01T01:00", 3_600), ("", 0), ("99999w", 0)],
)
def test_a_date_is_in_utc(text: str, expected: int) -> None:
    """
    A date without a zone is UTC; a time before 1970 is its beginning.
    """
    assert moment(text) == expected * 1_000_000


def test_ago_counts_from_now() -> None:
    """
    A number and a unit are so long ago.
    """
    before = time.time_ns() // 1000
    found = moment("2h")

    assert 0 <= found + 7_200_000_000 - before < 60_000_000
    with pytest.raises(click.BadParameter):
        moment("2 hours")
