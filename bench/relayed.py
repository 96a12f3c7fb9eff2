"""
W: `wrk` against the gateway, beside nginx's `proxy_pass`.

The upstream is an nginx that serves a page of 1 KiB; in front of it stands nobody, an nginx with keep-alive both ways,
or our gateway, with a limit that is never reached, a breaker and a retry. What stands in front has a core of its own;
`wrk` and the upstream share another one.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

from bench.measure import Table
from bench.servers import free_port, listening, missing, nginx, nowhere, on_cores, program

__all__ = ["FRONTS", "Load", "measure", "read", "run"]

_CONNECTIONS = 64
_SECONDS = 6.0
_WARM = 1.0
_MANY = 1_000_000
_PAGE = b"x" * 1024
_TITLE = "W. A 1 KiB GET through the gateway, by `wrk`"
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1_000.0, "m": 60_000.0}
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
_FRONT, _REST = 0, 1
_PROXY_HTTP = """\
upstream page {{{{
        server {address};
        keepalive 64;
        keepalive_requests 100000000;
    }}}}"""
_PROXY_SERVER = """\
location / {{
            proxy_pass http://page;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}"""

Front = Callable[[Path, str], AbstractContextManager[tuple[str, int | None]]]


class Load(NamedTuple):
    """
    What `wrk` has seen.

    Attributes:
        requests: Requests answered in all.
        per_second: Requests answered a second.
        p50_ms: Milliseconds within which half of the answers came.
        p99_ms: Milliseconds within which 99 % of them came.
        failed: Answers that were no success, and connections that broke.
    """

    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float
    failed: int


def measure(*, rounds: int) -> list[Table]:
    """
    Measure everybody, and return the table.
    """
    if packages := missing("nginx", "wrk"):
        return [nowhere(_TITLE, packages)]
    found: dict[str, list[tuple[Load, float]]] = {name: [] for name in FRONTS}
    for _ in range(rounds):
        for name in FRONTS:
            found[name].append(run(name, seconds=_SECONDS))
    speeds = {name: statistics.median(load.per_second for load, _ in each) for name, each in found.items()}
    columns = ["", "requests/s", "of `proxy_pass`", "CPU µs a request", "p50 ms", "p99 ms", "failed"]
    rows = [_cells(name, found[name], speeds[name] / speeds["nginx `proxy_pass`"]) for name in FRONTS]
    notes = [
        f"{_CONNECTIONS} connections for {_SECONDS:.0f} s; one process in front, on a core of its own.",
        "CPU is that of what stands in front; failed is the worst of the rounds.",
    ]
    return [Table(_TITLE, columns, rows, notes)]


def _cells(name: str, runs: list[tuple[Load, float]], share: float) -> list[str]:
    loads = [load for load, _ in runs]
    cpu = statistics.median(each for _, each in runs)
    return [
        name,
        f"{statistics.median(load.per_second for load in loads):,.0f}",
        f"{share:.2f}",
        f"{cpu:.0f}" if cpu else "-",
        f"{statistics.median(load.p50_ms for load in loads):.2f}",
        f"{statistics.median(load.p99_ms for load in loads):.2f}",
        f"{max(load.failed for load in loads)}",
    ]


def run(name: str, *, seconds: float) -> tuple[Load, float]:
    """
    Let `wrk` load the front *name* for so many *seconds*; return what it saw, and the front's CPU µs a request.
    """
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        with on_cores(_REST):
            upstream = stack.enter_context(nginx(folder / "upstream", page=_PAGE))
        with on_cores(_FRONT):
            url, pid = stack.enter_context(FRONTS[name](folder / "front", upstream))
        with on_cores(_REST):
            _wrk(url, _WARM)
            before = _cpu(pid)
            load = _wrk(url, seconds)
        return load, (_cpu(pid) - before) * 1e6 / max(1, load.requests)


def _wrk(url: str, seconds: float) -> Load:
    executable = program("wrk")
    assert executable is not None, "wrk is not installed"
    duration = f"-d{max(1, round(seconds))}s"
    command = [executable, "-t1", f"-c{_CONNECTIONS}", duration, "--latency", f"{url}/page.txt"]
    return read(subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=True).stdout)


def read(text: str) -> Load:
    """
    Return what `wrk` printed.
    """

    def number(pattern: str) -> float:
        found = re.search(pattern, text)
        assert found is not None, f"wrk printed no {pattern!r}:\n{text}"
        return float(found[1])

    def milliseconds(share: int) -> float:
        found = re.search(rf"^\s+{share}%\s+([0-9.]+)(us|ms|s|m) *$", text, re.MULTILINE)
        assert found is not None, f"wrk printed no line for {share} %:\n{text}"
        return float(found[1]) * _UNITS[found[2]]

    failed = re.search(r"Non-2xx or 3xx responses: ([0-9]+)", text)
    broken = re.search(r"Socket errors: connect ([0-9]+), read ([0-9]+), write ([0-9]+), timeout ([0-9]+)", text)
    return Load(
        requests=int(number(r"([0-9]+) requests in ")),
        per_second=number(r"Requests/sec:\s+([0-9.]+)"),
        p50_ms=milliseconds(50),
        p99_ms=milliseconds(99),
        failed=(int(failed[1]) if failed else 0) + (sum(map(int, broken.groups())) if broken else 0),
    )


def _cpu(pid: int | None) -> float:
    """
    Return the seconds of CPU time that the process *pid* has used.
    """
    if pid is None:
        return 0.0
    # The name in the second field may hold blanks: what counts comes after its bracket.
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS


def _direct(folder: Path, upstream: str) -> AbstractContextManager[tuple[str, int | None]]:  # noqa: ARG001 - a front
    return nullcontext((upstream, None))


@contextmanager
def _proxy(folder: Path, upstream: str) -> Iterator[tuple[str, int | None]]:
    http = _PROXY_HTTP.format(address=upstream.removeprefix("http://"))
    with nginx(folder, http=http, server=_PROXY_SERVER) as url:
        yield url, int((folder / "nginx.pid").read_text(encoding="ascii"))


@contextmanager
def _gateway(folder: Path, upstream: str) -> Iterator[tuple[str, int | None]]:
    folder.mkdir()
    file, port = folder / "egressor.toml", free_port()
    limits = json.dumps([f"{_MANY}/second burst {_MANY}"])
    where = '[egressor]\nstore = "memory:"\nledger = "memory:"\n\n'
    service = f"[services.page]\nbase_url = {json.dumps(upstream)}\nlimits = {limits}\n"
    file.write_text(where + service, encoding="utf-8")
    command = [sys.executable, "-m", "egressor.cli.main", "serve", "--config", str(file), "--port", str(port)]
    # It announces itself in the user's state folder: not where a real gateway does.
    environment = {**os.environ, "XDG_STATE_HOME": str(folder)}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as process:
        try:
            yield f"{listening(process, port)}/page", process.pid
        finally:
            process.terminate()


FRONTS: dict[str, Front] = {
    "nothing in front": _direct,
    "nginx `proxy_pass`": _proxy,
    "**egressor** gateway": _gateway,
}
"""
What may stand in front of the upstream: each opens in a folder, and returns its URL and its process.
"""
