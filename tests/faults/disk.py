"""
A disk that fails when it is told to, for processes that are started with it: no rights are needed.

A small library stands in front of the C library in those processes (``disk.c``). It counts the calls of the system's
that concern files of one folder, and lets some of them fail with an errno, or kills the process at one.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

WRITE, SYNC, CHANGE = 1, 2, 4
"""
Kinds of calls: data is written; it is brought to the disk; a file is opened for writing, made, cut, removed, renamed.
"""
ALL = WRITE | SYNC | CHANGE
KILLS = -1
_EVER = 1 << 30
_SOURCE = Path(__file__).with_name("disk.c")


class _Plan(ctypes.Structure):
    _fields_ = (
        ("error", ctypes.c_int),
        ("calls", ctypes.c_int),
        ("first", ctypes.c_int),
        ("last", ctypes.c_int),
        ("seen", ctypes.c_int),
        ("under", ctypes.c_char * 1024),
    )


@cache
def _library() -> Path:
    """
    Build the library, once for this process.
    """
    built = Path(mkdtemp(prefix="disk-")) / "disk.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(built), str(_SOURCE), "-ldl"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stderr}: scripts/debian-packages names what is needed"
    return built


class Disk:
    """
    What stands between processes and the files of *folder*.

    Args:
        folder: The files.
        plan: Where what is to fail is written down; outside of *folder*.
    """

    def __init__(self, folder: Path, plan: Path) -> None:
        plan.write_bytes(bytes(ctypes.sizeof(_Plan)))
        with plan.open("r+b") as file:
            self._plan = _Plan.from_buffer(mmap.mmap(file.fileno(), 0))
        self._plan.under = os.fsencode(folder.resolve())
        self.surroundings = {"LD_PRELOAD": str(_library()), "DISK_PLAN": str(plan)}
        """
        What a process must have in its environment.
        """

    @property
    def seen(self) -> int:
        """
        How many calls were counted since `fail`.
        """
        return int(self._plan.seen)

    def fail(self, error: int, calls: int = ALL, *, first: int = 1, last: int = _EVER) -> None:
        """
        From the *first* of these *calls* on, to the *last*, let each fail by *error*; `KILLS` kills instead.
        """
        plan = self._plan
        plan.error = 0
        plan.calls, plan.first, plan.last, plan.seen = calls, first, last, 0
        plan.error = error

    def heal(self) -> None:
        """
        Let nothing fail any more.
        """
        self._plan.error = 0


_LOOP = """
import json, os, sys
def forked(work):
    pid = os.fork()
    if not pid:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
exec(sys.argv[1])
for line in sys.stdin:
    print(json.dumps(eval(line)), flush=True)
"""


class Program:
    """
    A process on a disk that fails, which does what it is told, expression by expression.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def ask(self, line: str) -> Any:
        """
        Return what *line* comes to there.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, self.process.stderr.read() if self.process.stderr else ""
        return json.loads(answer)


@contextmanager
def program(disk: Disk, begin: str) -> Iterator[Program]:
    """
    Start a process that has executed *begin*; `forked(work)` there does something in a child, and is its exit code.
    """
    # Without coverage, whose own database would be on such a disk, too.
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _LOOP, begin],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**surroundings, **disk.surroundings},
    ) as process:
        yield Program(process)
        process.kill()
