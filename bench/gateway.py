"""
Measure the gateway beside nginx, the smallest proxy that aiohttp makes, and LiteLLM's proxy, in one run.

``python -m bench.gateway`` runs every group and prints the tables; ``python -m bench.gateway P O`` only these: P the
proxies side by side, O overload, H clients that are slow on purpose. ``--rounds N`` sets how often each proxy runs,
``--seconds S`` how long each load lasts, ``--crowd SHARE`` how many of the slow clients come. ``--write`` also writes
docs/gateway-benchmarks.md, and needs every group.

In each round every proxy is started, loaded in all ways, and ended. It has a core of its own; the clients and the
upstream share another one.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.fronts import FRONTS, LITELLM, Front, cpu_seconds, resident_bytes, upstream
from bench.loads import hammer, streams
from bench.measure import ROOT, Table
from bench.servers import missing, nowhere, on_cores, program
from bench.strain import Crowd, overloads, slows

if TYPE_CHECKING:
    from bench.relayed import Load

__all__ = ["Visit", "main", "proxies", "visit"]

_ROUNDS = 3
_SECONDS = 4.0
_FRONT, _REST = 0, 1
_LOADS = (("GET", 1), ("GET", 64), ("POST", 1), ("POST", 64))
_STREAMS, _EVENTS = 32, 800
_US, _ALL, _BARE = "**egressor** gateway", "**egressor**, everything on", "bare aiohttp proxy"
_NOBODY, _LITELLM = "nothing in front", "LiteLLM proxy"
# LiteLLM takes chat completions only, and it is for those that everything is on.
_CHATS_ONLY = frozenset({_ALL, _LITELLM})
_SPEED = "requests/s of LiteLLM's, POST, 64 connections (at least)"
_PAGE = """\
# Benchmarks of the gateway

`make bench-gateway` measures the gateway beside other proxies, in one run on one machine.
`.venv/bin/python -m bench.gateway --write` does the same and writes this page.
Rounds alternate, and each figure is the median of its rounds.
Compare the ratios: absolute figures drift from machine to machine.

"""


class Visit(NamedTuple):
    """
    What one round has found out about one proxy.

    Attributes:
        loads: What `wrk` saw, by method and connections.
        cpu_us: CPU microseconds of the proxy for one request, likewise.
        chunk_us: CPU microseconds of the proxy for one event of a stream.
        pieces: In how many pieces an event arrived, at most 1.
        resident: Bytes of memory after all of this.
        ready: Seconds from the proxy's start to its first answer.
    """

    loads: dict[tuple[str, int], Load]
    cpu_us: dict[tuple[str, int], float]
    chunk_us: float
    pieces: float
    resident: int
    ready: float


def visit(name: str, *, seconds: float, events: int = _EVENTS, ways: Sequence[tuple[str, int]] = _LOADS) -> Visit:
    """
    Start the proxy *name*, load it in each of *ways* for so many *seconds*, and let streams of so many *events* pass.
    """
    taken = [way for way in ways if name not in _CHATS_ONLY or way[0] == "POST"]
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        with on_cores(_REST):
            behind = stack.enter_context(upstream())
        with on_cores(_FRONT):
            front = stack.enter_context(FRONTS[name](folder / "front", behind))
        with on_cores(_REST):
            return _visited(front, folder, ways=taken, seconds=seconds, events=events)


def _visited(front: Front, folder: Path, *, ways: Sequence[tuple[str, int]], seconds: float, events: int) -> Visit:
    loads: dict[tuple[str, int], Load] = {}
    cpu_us: dict[tuple[str, int], float] = {}
    for method, connections in ways:
        hammer(front.url, folder, method=method, connections=connections, seconds=1)
        before = cpu_seconds(front.pid)
        load = hammer(front.url, folder, method=method, connections=connections, seconds=seconds)
        loads[method, connections] = load
        cpu_us[method, connections] = (cpu_seconds(front.pid) - before) * 1e6 / max(1, load.requests)
    before = cpu_seconds(front.pid)
    pieces = asyncio.run(streams(front.url, number=_STREAMS, events=events))
    chunks = _STREAMS * events
    chunk_us = (cpu_seconds(front.pid) - before) * 1e6 / chunks
    return Visit(loads, cpu_us, chunk_us, min(1.0, pieces / chunks), resident_bytes(front.pid), front.ready)


def proxies(*, rounds: int, seconds: float) -> list[Table]:
    """
    Measure all proxies in alternating *rounds*, and return the tables.
    """
    if packages := missing("nginx", "wrk"):
        return [nowhere("P. Proxies side by side", packages)]
    names = [name for name in FRONTS if name != _LITELLM or LITELLM.exists()]
    visits: dict[str, list[Visit]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            visits[name].append(visit(name, seconds=seconds))
    return [_requests(visits, *load) for load in _LOADS] + [_streams(visits), _footprint(visits), _summary(visits)]


def _median(visits: list[Visit], what: Callable[[Visit], float]) -> float:
    return statistics.median(what(each) for each in visits)


def _cpu(visits: list[Visit], load: tuple[str, int]) -> float:
    return _median(visits, lambda one: one.cpu_us[load])


def _p50(visits: list[Visit], load: tuple[str, int]) -> float:
    return _median(visits, lambda one: one.loads[load].p50_ms)


def _requests(visits: dict[str, list[Visit]], method: str, connections: int) -> Table:
    load = (method, connections)
    takers = {name: each for name, each in visits.items() if load in each[0].loads}
    cpu = {name: _cpu(each, load) for name, each in takers.items()}
    p50 = {name: _p50(each, load) for name, each in takers.items()}
    rows = [
        [
            name,
            f"{cpu[name]:,.0f}" if cpu[name] else "-",
            f"{cpu[name] / cpu[_BARE]:.2f}" if cpu[name] else "-",
            f"{_median(each, lambda one: one.loads[load].per_second):,.0f}",
            f"{p50[name]:.2f}",
            f"{p50[name] - p50[_NOBODY]:.2f}",
            f"{_median(each, lambda one: one.loads[load].p99_ms):.2f}",
            f"{max(one.loads[load].failed for one in each)}",
        ]
        for name, each in takers.items()
    ]
    columns = ["", "CPU µs a request", "of the bare one", "requests/s", "p50 ms", "p50 ms added", "p99 ms", "failed"]
    notes = ["CPU is that of what stands in front, which has one process; failed is the worst of the rounds."]
    return Table(f"P. 1 KiB {method}, {connections} connection{'s' * (connections > 1)}", columns, rows, notes)


def _streams(visits: dict[str, list[Visit]]) -> Table:
    rows = [
        [name, f"{_median(each, lambda one: one.chunk_us):.1f}", f"{_median(each, lambda one: one.pieces):.2f}"]
        for name, each in visits.items()
        if name != _NOBODY
    ]
    notes = [f"{_STREAMS} streams at once of {_EVENTS} events each, one in 5 ms; opening and ending them is included."]
    return Table("P. Streams of events", ["", "CPU µs an event", "pieces an event"], rows, notes)


def _footprint(visits: dict[str, list[Visit]]) -> Table:
    rows = [
        [
            name,
            f"{_median(each, lambda one: one.resident) / 1e6:.0f}",
            f"{_median(each, lambda one: one.ready):.2f}",
        ]
        for name, each in visits.items()
        if name != _NOBODY
    ]
    notes = [
        "Memory is the resident set after all of the loads above; ready is the first answer.",
        "With everything on 8 MiB of it are answers that are kept, and 3 MB the prices of all models.",
        "Python's modules are compiled to bytecode before, as those of an installed package are.",
    ]
    return Table("P. Memory and start", ["", "RSS MB", "seconds until ready"], rows, notes)


def _summary(visits: dict[str, list[Visit]]) -> Table:
    us = visits[_US]
    shares = [_cpu(us, load) / _cpu(visits[_BARE], load) for load in _LOADS]
    added = max(_p50(us, load) - _p50(visits[_NOBODY], load) for load in _LOADS if load[1] == 1)
    rows = [
        ["CPU of the bare aiohttp proxy's, the worst of the four loads", "1.6", f"{max(shares):.2f}"],
        ["ms added to p50, one connection", "0.8", f"{added:.2f}"],
        ["CPU µs an event of a stream", "10", f"{_median(us, lambda one: one.chunk_us):.1f}"],
        ["RSS MB", "80", f"{_median(us, lambda one: one.resident) / 1e6:.0f}"],
        ["seconds until ready", "0.5", f"{_median(us, lambda one: one.ready):.2f}"],
    ]
    if _LITELLM in visits:
        rows.append([_SPEED, "15", f"{_faster(visits, _US):.0f}"])
    rows += _summary_of_all(visits)
    return Table("P. Against the aims", ["", "aim", "found"], rows)


def _faster(visits: dict[str, list[Visit]], name: str) -> float:
    load = ("POST", 64)
    mine, theirs = (_median(visits[each], lambda one: one.loads[load].per_second) for each in (name, _LITELLM))
    return mine / theirs


def _summary_of_all(visits: dict[str, list[Visit]]) -> list[list[str]]:
    every = visits[_ALL]
    posts = [load for load in _LOADS if load[0] == "POST"]
    added = _p50(every, ("POST", 1)) - _p50(visits[_NOBODY], ("POST", 1))
    rows = [
        [
            "everything on: CPU µs a request, the worst of both loads",
            "1000",
            f"{max(_cpu(every, each) for each in posts):,.0f}",
        ],
        ["everything on: ms added to p50, one connection", "1.5", f"{added:.2f}"],
        ["everything on: CPU µs an event of a stream", "10", f"{_median(every, lambda one: one.chunk_us):.1f}"],
        ["everything on: RSS MB", "80", f"{_median(every, lambda one: one.resident) / 1e6:.0f}"],
        ["everything on: seconds until ready", "0.5", f"{_median(every, lambda one: one.ready):.2f}"],
    ]
    if _LITELLM in visits:
        rows.append([f"everything on: {_SPEED}", "10", f"{_faster(visits, _ALL):.0f}"])
    return rows


def _setting() -> str:
    """
    Say in one paragraph what the figures were measured on, and with which versions.
    """
    python = f"{platform.python_implementation()} {platform.python_version()}"
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    versions = [f"{name} {version(name)}" for name in ("egressor", "aiohttp", "uvloop")]
    litellm = re.search(r"==(.+)", (ROOT / "bench" / "requirements-litellm.txt").read_text(encoding="utf-8"))
    if litellm is not None and LITELLM.exists():
        versions.append(f"litellm {litellm[1]}")
    if (nginx := program("nginx")) is not None:
        said = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=True).stderr
        versions.append(said.strip().rpartition(": ")[2].replace("/", " "))
    cores = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return f"{python}, {cores}, load {load}; {', '.join(versions)}."


def main(words: list[str]) -> None:
    """
    Run the groups that *words* name, all by default.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help="some of P O H; default: all")
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help=f"default: {_ROUNDS}")
    parser.add_argument("--seconds", type=float, default=_SECONDS, help=f"of each load; default: {_SECONDS:g}")
    parser.add_argument("--crowd", type=float, default=1.0, help="share of the slow clients that come; default: 1")
    parser.add_argument("--write", action="store_true", help="write docs/gateway-benchmarks.md")
    options = parser.parse_args(words)
    groups: dict[str, Callable[[], list[Table]]] = {
        "P": lambda: proxies(rounds=options.rounds, seconds=options.seconds),
        "O": lambda: overloads(seconds=2 * options.seconds),
        "H": lambda: slows(rounds=options.rounds, seconds=3 * options.seconds, crowd=Crowd().scaled(options.crowd)),
    }
    wanted = [name.upper() for name in options.groups] or list(groups)
    if unknown := set(wanted) - set(groups):
        parser.error(f"unknown group {', '.join(sorted(unknown))}: {' '.join(groups)}")
    if options.write and wanted != list(groups):
        parser.error("--write needs every group")
    parts = [f"Measured on {datetime.now(UTC):%d %B %Y}: {_setting()}\n"]
    print(parts[0], flush=True)
    for name in wanted:
        for table in groups[name]():
            parts.append(table.markdown())
            print(parts[-1], flush=True)
    if options.write:
        (ROOT / "docs" / "gateway-benchmarks.md").write_text(_PAGE + "\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
