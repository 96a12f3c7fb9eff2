"""
The gateway as a program that may have 128 MB of memory, which a crowd of clients that read nothing would exceed.

In a control group the kernel kills what takes more, as in a container; with a limit on the process's data, which
anybody may set, its allocations fail.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cli.test_endurance import MEGABYTE, Upstream, connect, resident, settled
from tests.cli.test_serve import SERVICE
from tests.cli.test_surroundings import gateway

LIMIT = 128 * MEGABYTE
CROWD = 300
FLOOD = b"GET /t/send/50000000 HTTP/1.1\r\nHost: localhost\r\n\r\n"
# What counts lines takes memory, too.
PLAIN = ("env", "-u", "COVERAGE_PROCESS_CONFIG")
DATA = ("sh", "-c", f'ulimit -d {LIMIT // 1024}; exec "$@"', "sh")
GROUPS = Path("/sys/fs/cgroup")


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """
    An upstream that sends as much as it is asked for.
    """
    running = Upstream()
    yield running
    running.close()


@pytest.fixture(params=["data", "group"])
def bound(request: pytest.FixtureRequest) -> Iterator[tuple[str, ...]]:
    """
    What starts a program within the limit: by its data, or by a control group where this user may make one.
    """
    group = _group() if request.param == "group" else None
    yield DATA if group is None else ("sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh")
    if group is not None:
        _until(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


def _group() -> Path | None:
    """
    Make a control group with the limit, in the form of either version; None where that may not be.
    """
    for home, limit in ((GROUPS / "memory", "memory.limit_in_bytes"), (GROUPS, "memory.max")):
        group = home / f"egressor-test-{os.getpid()}"
        with suppress(OSError):
            group.mkdir()
            try:
                (group / limit).write_text(str(LIMIT))
            except OSError:
                group.rmdir()
            else:
                return group
    return None


def test_little_memory(bound: tuple[str, ...], upstream: Upstream, tmp_path: Path) -> None:
    """
    What it can't bear is shed with 503, and when the crowd has gone it accepts again: it is the same process, has
    blamed no upstream, and ends as it should.
    """
    with gateway(tmp_path / "g", SERVICE.format(name="t", base=upstream.url), before=(*PLAIN, *bound)) as running:
        crowd = [connect(running, FLOOD, buffer=4096) for _ in range(CROWD)]
        firsts = [_first(each) for each in crowd]
        taken = settled(lambda: resident(running, "VmHWM"))
        for each in crowd:
            each.close()
        _until(lambda: running.get("/t/x") == (200, "xxxxx"))
        status = running.end(15)
        errors = running.errors.read_text()

    assert set(firsts) <= {b"HTTP/1.1 200", b"HTTP/1.1 503", b""}
    assert 16 <= firsts.count(b"HTTP/1.1 200") < CROWD / 2
    assert b"HTTP/1.1 503" in firsts
    assert taken < LIMIT
    assert (status, errors) == (0, "")


def _first(connection: socket.socket) -> bytes:
    try:
        return connection.recv(12)
    except OSError:
        return b""


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    found = False
    while not found and time.monotonic() < deadline:
        with suppress(OSError):
            found = condition()
        time.sleep(0.02)  # real time: another process sees its clients go
    assert found
