"""
Measure Egressor beside its peers, in one run.

``python -m bench`` runs every group and prints the tables; ``python -m bench A C`` only these. ``--rounds N`` sets how
often each contender runs. ``--write`` also writes docs/benchmarks.md, and needs every group.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

from bench import admission, contended, crowds, decorated, fleets, keys, limited, money, reading, relayed
from bench.measure import ROOT, Table, machine

_ROUNDS = 15
_PAGE = """\
# Benchmarks

`make bench` measures Egressor beside its peers, in one run on one machine.
`.venv/bin/python -m bench --write` does the same and writes this page.
Rounds are interleaved, and each figure is the median of its rounds.
Compare the ratios: absolute figures drift from machine to machine.
Each peer is in its best honest configuration: in memory where it may be, with the algorithm that does it for the least.

"""

# Runs that take seconds, or start an interpreter each, are repeated less often.
_GROUPS: dict[str, tuple[Callable[..., list[Table]], int]] = {
    "A": (admission.measure, 1),
    "B": (decorated.measure, 1),
    "C": (contended.measure, 5),
    "D": (keys.measure, 5),
    "E": (fleets.through_redis, 5),
    "F": (fleets.through_files, 5),
    "G": (crowds.measure, 5),
    "H": (reading.measure, 1),
    "I": (limited.measure, 5),
    "J": (money.measure, 15),
    "W": (relayed.measure, 5),
}


def main(words: list[str]) -> None:
    """
    Run the groups that *words* name, all by default.
    """
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"some of {' '.join(_GROUPS)}; default: all")
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help=f"default: {_ROUNDS}")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    options = parser.parse_args(words)
    wanted = [name.upper() for name in options.groups] or list(_GROUPS)
    if unknown := set(wanted) - set(_GROUPS):
        parser.error(f"unknown group {', '.join(sorted(unknown))}: {' '.join(_GROUPS)}")
    if options.write and wanted != list(_GROUPS):
        parser.error("--write needs every group")
    parts = [f"Measured on {datetime.now(UTC):%d %B %Y}: {machine()}\n"]
    print(parts[0], flush=True)
    for name in wanted:
        measure, share = _GROUPS[name]
        for table in measure(rounds=max(1, options.rounds // share)):
            parts.append(table.markdown())
            print(parts[-1], flush=True)
    report = "\n".join(parts)
    results = ROOT / "bench" / "results"
    results.mkdir(exist_ok=True)
    (results / f"{time.strftime('%Y%m%d-%H%M%S')}.md").write_text(report, encoding="utf-8")
    if options.write:
        (ROOT / "docs" / "benchmarks.md").write_text(_PAGE + report, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
