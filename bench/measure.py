"""
How things are measured, and how the figures are shown.

Rounds are interleaved: every subject runs once, then every subject again. A machine that is busy for a while is busy
for all of them, and the median over the rounds forgets it. Time is the CPU time of this process, its threads included,
as far as nothing waits; a wait is measured on the wall clock and says so.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

__all__ = [
    "Subject",
    "Table",
    "coroutine",
    "fresh",
    "function",
    "interleave",
    "machine",
    "peak_bytes",
    "resident_bytes",
]

ROOT = Path(__file__).resolve().parent.parent
PEERS = (
    "aiolimiter",
    "asynciolimiter",
    "backoff",
    "circuitbreaker",
    "purgatory",
    "pyrate-limiter",
    "stamina",
    "tenacity",
    "throttled-py",
)
_WARM = 200


class Subject(NamedTuple):
    """
    One contender.

    Attributes:
        name: What the table calls it.
        run: Does so many operations, and returns the CPU nanoseconds that one took.
        number: Operations in one round: fewer for what is slow.
    """

    name: str
    run: Callable[[int], float]
    number: int = 5_000


class Table(NamedTuple):
    """
    One table of the report.

    Attributes:
        title: Its heading.
        columns: The names of its columns.
        rows: Texts, as many in each row as there are columns.
        notes: Sentences below it.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def markdown(self) -> str:
        """
        Return the table as a section of a Markdown page.
        """
        lines = [f"## {self.title}", "", _row(self.columns), _row(["---", *["---:"] * (len(self.columns) - 1)])]
        lines += [_row(row) for row in self.rows]
        return "\n".join([*lines, "", *self.notes, ""])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def function(operation: Callable[[], object]) -> Callable[[int], float]:
    """
    Return a subject's run that repeats *operation*.
    """

    def run(number: int) -> float:
        repeat = range(number)
        started = time.process_time_ns()
        for _ in repeat:
            operation()
        return (time.process_time_ns() - started) / number

    return run


def coroutine(operation: Callable[[int], Awaitable[float]]) -> Callable[[int], float]:
    """
    Return a subject's run that awaits *operation*, which repeats and measures itself, on an event loop of its own.
    """
    runner = asyncio.Runner()

    async def run(number: int) -> float:
        return await operation(number)

    return lambda number: runner.run(run(number))


def interleave(subjects: Sequence[Subject], *, rounds: int) -> dict[str, float]:
    """
    Run every *subject* in each of *rounds*, and return the median of each by its name, in nanoseconds.
    """
    times: dict[str, list[float]] = {subject.name: [] for subject in subjects}
    assert len(times) == len(subjects), "two subjects of one name"
    for subject in subjects:
        subject.run(min(_WARM, subject.number))
    for _ in range(rounds):
        for subject in subjects:
            gc.collect()
            times[subject.name].append(subject.run(subject.number))
    return {name: statistics.median(each) for name, each in times.items()}


def fresh(module: str, *words: str, timeout: float = 300.0) -> Any:
    """
    Run *module* with *words* in a fresh interpreter, and return the JSON that it prints last.
    """
    command = [sys.executable, "-m", module, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{' '.join(command)} failed:\n{done.stderr}"
    return json.loads(done.stdout.splitlines()[-1])


def peak_bytes() -> int:
    """
    Return the most memory that this process has had so far.
    """
    return _memory("VmHWM")


def resident_bytes() -> int:
    """
    Return the memory that this process has now.
    """
    return _memory("VmRSS")


def _memory(line: str) -> int:
    # Not getrusage: its peak outlives exec, so that a child would begin with its parent's.
    for each in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if each.startswith(f"{line}:"):
            return int(each.split()[1]) * 1024
    message = f"no {line} in /proc/self/status"
    raise OSError(message)


def machine() -> str:
    """
    Say in one paragraph what the figures were measured on, and with which versions.
    """
    python = f"{platform.python_implementation()} {platform.python_version()}"
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    versions = ", ".join(f"{name} {_version(name)}" for name in ("egressor", *PEERS))
    return f"{python}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores, load {load}; {versions}."


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "(missing)"
