"""
The coverage gate fails when it should.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.check_coverage import main


def measured(ran: int, missed: int, *, branches: int = 0, missed_branches: int = 0) -> dict[str, Any]:
    """
    Return one file as ``coverage json`` writes it.
    """
    return {
        "missing_lines": list(range(1, missed + 1)),
        "missing_branches": [[line, -1] for line in range(1, missed_branches + 1)],
        "summary": {
            "covered_lines": ran,
            "num_statements": ran + missed,
            "covered_branches": branches,
            "num_branches": branches + missed_branches,
        },
    }


def gate(tmp_path: Path, files: dict[str, Any], *options: str, branch: bool = True) -> int:
    """
    Run the gate over *files* and return its exit code.
    """
    report = tmp_path / "coverage.json"
    report.write_text(json.dumps({"meta": {"branch_coverage": branch}, "files": files}))
    return main([str(report), *options])


CORE = "src/egressor/_core/limits.py"
REST = "src/egressor/governor.py"


@pytest.mark.parametrize(
    ("core", "rest", "expected"),
    [
        pytest.param(measured(50, 0), measured(95, 5), 0, id="exactly-enough"),
        pytest.param(measured(9_999, 1), measured(100, 0), 1, id="one-line-of-the-core"),
        pytest.param(measured(50, 0, branches=9, missed_branches=1), measured(100, 0), 1, id="one-branch-of-the-core"),
        pytest.param(measured(50, 0), measured(949, 51), 1, id="just-too-little-of-the-rest"),
        pytest.param(measured(50, 0), measured(95, 0, missed_branches=6), 1, id="branches-of-the-rest-count"),
    ],
)
def test_threshold(tmp_path: Path, core: dict[str, Any], rest: dict[str, Any], expected: int) -> None:
    """
    The decisions need everything, the rest needs 95 % of lines and branches together.
    """
    assert expected == gate(tmp_path, {CORE: core, REST: rest})


@pytest.mark.parametrize("path", [CORE, REST])
def test_nothing_measured(tmp_path: Path, path: str) -> None:
    """
    A part of which nothing was measured fails, so a moved folder can't empty the gate.
    """
    assert gate(tmp_path, {path: measured(10, 0)}) == 1


def test_windows_paths(tmp_path: Path) -> None:
    """
    A path with backslashes belongs to the same part.
    """
    files = {CORE.replace("/", "\\"): measured(1, 1), REST: measured(100, 0)}

    assert gate(tmp_path, files) == 1


def test_no_branches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A report without branches can't be judged, and says why.
    """
    code = gate(tmp_path, {CORE: measured(1, 0), REST: measured(1, 0)}, branch=False)

    assert code == 2
    assert "branch = true" in capsys.readouterr().err


def test_missing_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A report that isn't there can't be judged, and is named.
    """
    code = main([str(tmp_path / "none.json")])

    assert code == 2
    assert "none.json" in capsys.readouterr().err


def test_names_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    The gate names the file, the lines, and the branches of lines that did run, and never rounds up to 100.
    """
    core = measured(99_999, 4, missed_branches=2)
    core |= {"missing_lines": [1, 2, 3, 7], "missing_branches": [[7, 8], [9, -1], [10, 12]]}
    gate(tmp_path, {CORE: core, REST: measured(100, 0)})

    expected = (
        "_core: 99.99 % of lines and branches, at least 100 required: FAILED\n"
        f"    {CORE}: 1-3, 7, 9->exit, 10->12\n"
        "the rest: 100.00 % of lines and branches, at least 95 required: ok\n"
    )
    assert expected == capsys.readouterr().out


def test_report_only(tmp_path: Path) -> None:
    """
    With ``--report-only`` a part that has too little is shown, not failed.
    """
    assert gate(tmp_path, {CORE: measured(1, 1), REST: measured(1, 1)}, "--report-only") == 0
