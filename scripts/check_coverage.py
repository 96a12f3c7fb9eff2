"""
The coverage gate: every line and branch of the decisions, 95 % of everything else.

Coverage has one threshold for all; a decision that no test takes is a different thing from an error page that no test
shows, so this reads the JSON report and judges the two apart. In ``_core`` a line that never ran fails as well, since a
function without a branch has no branch to miss.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

CORE = "_core"
CORE_PERCENT = 100
REST_PERCENT = 95


@dataclass(frozen=True, slots=True)
class Part:
    """
    How much of one part of the code ran.

    Attributes:
        name: What the part is called in the report.
        required: Percent of lines and branches together that must have run.
        ran: Lines and branches that ran.
        total: Lines and branches that there are.
        gaps: For each incomplete file, its path and what never ran.
    """

    name: str
    required: int
    ran: int
    total: int
    gaps: tuple[tuple[str, str], ...]

    @property
    def passes(self) -> bool:
        """
        Tell whether enough ran. A part of which nothing was measured does not pass.
        """
        return self.total > 0 and self.ran * 100 >= self.required * self.total

    def __str__(self) -> str:
        """
        Return one line, rounded down, so that 99.99 is never shown as 100.
        """
        percent = self.ran * 10_000 // self.total / 100 if self.total else 0.0
        sign = "ok" if self.passes else "FAILED"
        return f"{self.name}: {percent:.2f} % of lines and branches, at least {self.required} required: {sign}"


def main(arguments: list[str] | None = None) -> int:
    """
    Judge a report that ``coverage json`` wrote.

    Returns:
        The exit code: 1 if a part has too little, 2 if the report can't be judged.
    """
    parser = argparse.ArgumentParser(description="Fail if too little of the code ran under the tests.")
    parser.add_argument("report", type=Path, help="what `coverage json` wrote")
    parser.add_argument("--report-only", action="store_true", help="print, but never fail")
    options = parser.parse_args(arguments)

    try:
        parts = judge(json.loads(options.report.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        print(f"{options.report}: {error}", file=sys.stderr)
        return 2

    for part in parts:
        show(part)
    return 0 if options.report_only or all(part.passes for part in parts) else 1


def judge(report: dict[str, Any]) -> list[Part]:
    """
    Split *report*, the parsed JSON, in the decisions and the rest.

    Raises:
        ValueError: The report was made without branches, so that it says nothing about them.
    """
    if not report.get("meta", {}).get("branch_coverage"):
        msg = "the report holds no branches: nothing of ours ran, or coverage ran without branch = true"
        raise ValueError(msg)

    core: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for path, file in report["files"].items():
        parts = PurePosixPath(path.replace("\\", "/")).parts
        (core if CORE in parts else rest)[path] = file
    return [part_of(CORE, CORE_PERCENT, core), part_of("the rest", REST_PERCENT, rest)]


def part_of(name: str, required: int, files: dict[str, Any]) -> Part:
    """
    Add up *files*, as they stand in the report.
    """
    summaries = [file["summary"] for file in files.values()]
    return Part(
        name=name,
        required=required,
        ran=sum(summary["covered_lines"] + summary["covered_branches"] for summary in summaries),
        total=sum(summary["num_statements"] + summary["num_branches"] for summary in summaries),
        gaps=tuple((path, missing(file)) for path, file in sorted(files.items()) if missing(file)),
    )


def missing(file: dict[str, Any]) -> str:
    """
    Name the lines that never ran and the branches that were never taken; empty if there are none.
    """
    lines = file["missing_lines"]
    # A branch of a line that never ran is no news. One that leaves the function has a negative end.
    branches = [(start, end) for start, end in file["missing_branches"] if start not in lines]
    return ", ".join([*runs(lines), *(f"{start}->{end if end > 0 else 'exit'}" for start, end in branches)])


def runs(lines: list[int]) -> list[str]:
    """
    Write ascending line numbers with neighbours joined: 1, 2, 3, 7 as ``1-3`` and ``7``.
    """
    found: list[list[int]] = []
    for line in lines:
        if found and line == found[-1][-1] + 1:
            found[-1].append(line)
        else:
            found.append([line])
    return [f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in found]


def show(part: Part) -> None:
    """
    Print one part, and what it lacks if it fails.
    """
    print(part)
    if not part.passes:
        for path, gap in part.gaps:
            print(f"    {path}: {gap}")


if __name__ == "__main__":
    sys.exit(main())
