"""
A real web server that limits: nginx's ``limit_req``, judged by its access log.

Configured with the server's numbers, 40 tasks through the transport get what nginx allows, and are not refused.

nginx counts by arrival, and we count by departure. Its bucket holds *burst* requests above the one that it always
takes, and ours holds *burst*: so a request may arrive one gap sooner after the first ones than it left after them. The
first requests of a process take tens of milliseconds longer (imports, connections), which is more than a gap: hence
the connections are opened before.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import httpx2
import pytest

from egressor import Governor, Rejected
from egressor.transports.httpx import AsyncTransport
from tests.ports import spare_port

TASKS = 40
SECONDS = 5.0
ENOUGH = 0.99
TOO_MANY = 0.002
CONFIGURATION = """
daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    log_format times '$msec $status';
    limit_req_zone $server_name zone=all:1m rate={rate}r/s;
    limit_req_status 429;
    keepalive_requests 100000;
    server {{
        listen 127.0.0.1:{port};
        server_name limited;
        root {folder}/files;
        location = /ready {{ return 204; }}
        location / {{
            access_log {folder}/access.log times;
            limit_req zone=all burst={burst}{delay};
        }}
    }}
}}
"""


class Case(NamedTuple):
    """
    What nginx is told.
    """

    rate: int
    burst: int
    delay: str


CASES = (Case(50, 10, " nodelay"), Case(20, 5, " nodelay"), Case(100, 20, ""))


class Line(NamedTuple):
    """
    One line of the access log.
    """

    at: float
    status: int


@contextmanager
def nginx(folder: Path, case: Case) -> Iterator[str]:
    """
    Run nginx with *case*, and return its URL.
    """
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
    assert program is not None, "nginx is not installed: scripts/debian-packages"
    port = spare_port()
    (folder / "files").mkdir()
    (folder / "files" / "page.txt").write_text("hello\n")
    file = folder / "nginx.conf"
    file.write_text(CONFIGURATION.format(folder=folder, port=port, **case._asdict()))
    # A root's nginx drops to an account that can't read pytest's folder; without a master it stays who it is.
    with subprocess.Popen([program, "-p", folder, "-c", file, "-e", folder / "error.log"]) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            _await_ready(url)
            yield url
        finally:
            process.terminate()


def _await_ready(url: str) -> None:
    for _ in range(200):
        try:
            httpx2.get(f"{url}/ready")
        except httpx2.ConnectError:
            time.sleep(0.02)  # real time: nginx binds its port when it is ready to
        else:
            return
    pytest.fail("nginx did not start within 4 s")


async def crowd(url: str, limit: str, seconds: float) -> float:
    """
    Let 40 tasks fetch the page again and again through one governor.

    Args:
        url: The server.
        limit: What the governor is told.
        seconds: How long; what is under way then comes to its end.

    Returns:
        The longest time in seconds for which the machine did not let us run.
    """
    policy = {"base_url": url, "limits": [limit], "retry": {"attempts": 1}}
    limits = httpx2.Limits(max_connections=TASKS, max_keepalive_connections=TASKS)
    inner = httpx2.AsyncHTTPTransport(limits=limits)
    gov = Governor(services={"nginx": policy})
    async with httpx2.AsyncClient(transport=AsyncTransport(gov, inner=inner)) as client:
        await _warm_up(inner, url)

        async def fetch() -> None:
            with suppress(Rejected):
                while True:
                    await client.get(f"{url}/page.txt")

        tasks = [asyncio.create_task(fetch()) for _ in range(TASKS)]
        longest = await _watch(seconds)
        gov.pause("nginx")
        await asyncio.gather(*tasks)
    return longest


async def _warm_up(inner: httpx2.AsyncHTTPTransport, url: str) -> None:
    """
    Open the connections, by requests that nginx does not count: a ``return`` comes before ``limit_req``.
    """

    async def ask() -> None:
        response = await inner.handle_async_request(httpx2.Request("GET", f"{url}/ready"))
        await response.aread()
        await response.aclose()

    await asyncio.gather(*(ask() for _ in range(TASKS)))


async def _watch(seconds: float) -> float:
    """
    Wait, and return the longest time in which nothing here ran.
    """
    loop = asyncio.get_running_loop()
    begin = last = loop.time()
    longest = 0.0
    while last < begin + seconds:
        await asyncio.sleep(0.005)  # real time: so long the server is watched
        longest = max(longest, loop.time() - last)
        last = loop.time()
    return longest


def read_log(folder: Path) -> list[Line]:
    """
    Return what nginx has noted.
    """
    rows = (row.split() for row in (folder / "access.log").read_text().splitlines())
    return [Line(float(at), int(status)) for at, status in rows]


def run(folder: Path, case: Case, *, limit: str, seconds: float) -> Counter[int]:
    """
    Return how often nginx gave each status.

    A run in which the machine stood still for half as long as the burst lasts is made again, three runs at most: what a
    full bucket can't hold is lost, whoever asks.
    """
    statuses: Counter[int] = Counter()
    for attempt in range(3):
        place = folder / str(attempt)
        place.mkdir()
        with nginx(place, case) as url:
            longest = asyncio.run(crowd(url, limit, seconds))
        statuses = Counter(line.status for line in read_log(place))
        if longest < case.burst / case.rate / 2:
            break
    return statuses


@pytest.mark.parametrize("case", CASES, ids=[f"{case.rate}r/s-{case.burst}" for case in CASES])
def test_get_all_that_nginx_allows_and_no_more(case: Case, tmp_path: Path) -> None:
    """
    By nginx's own log: 99 % or more of what it allows, with 0.2 % or less refused.
    """
    statuses = run(tmp_path, case, limit=f"{case.rate}/second burst {case.burst}", seconds=SECONDS)

    assert statuses[200] >= ENOUGH * (case.rate * SECONDS + case.burst), statuses
    assert statuses[429] <= TOO_MANY * statuses.total(), statuses
    assert set(statuses) <= {200, 429}


def test_without_the_right_limit_nginx_refuses(tmp_path: Path) -> None:
    """
    The judge can fail: told twice the server's numbers, the same tasks are refused.
    """
    statuses = run(tmp_path, CASES[0], limit="100/second burst 20", seconds=1.0)

    assert statuses[429] > TOO_MANY * statuses.total()
