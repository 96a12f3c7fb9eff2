"""
The corpus of requests that could end at different bytes, with real web servers behind the gateway: the judge is what
each server has noted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.rig import gateway
from tests.gateway.servers import KINDS, Server
from tests.gateway.test_framing import ROWS, expand
from tests.security.judge import answers, ask

pytestmark = pytest.mark.anyio
TOGETHER = 16


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """
    One of the servers, with an empty log.
    """
    folder: Path = tmp_path_factory.mktemp(request.param)
    with KINDS[request.param](folder) as running:
        yield running


def marked(number: int, row: dict[str, str]) -> bytes:
    """
    Return the row's request, with its number where the log shows it.
    """
    return expand(row["request"]).replace(b"/t/x", b"/t/page.txt?row=%d" % number, 1)


async def test_what_is_refused_reaches_no_server(server: Server) -> None:
    """
    After the whole corpus the server has noted nothing but the good request that came last.
    """
    rows = [row for row in ROWS if row["verdict"] == "refuse"]
    wrong = []
    async with gateway(server.url, max_concurrency=None) as rig:
        gate = asyncio.Semaphore(TOGETHER)

        async def judge(number: int, row: dict[str, str]) -> None:
            async with gate:
                statuses, _, hung_up = await ask(rig.port, marked(number, row))
            if not set(statuses) <= {400, 405, 421} or len(statuses) > 1 or not hung_up:
                wrong.append((row["name"], statuses, hung_up))

        await asyncio.gather(*(judge(number, row) for number, row in enumerate(rows)))
        await ask(rig.port, b"GET /t/page.txt?last HTTP/1.1\r\nHost: localhost\r\n\r\n", enough=answers(1))
        noted = await lines(server, 1)

    assert wrong == []
    assert len(rows) > 100
    assert [line.split()[1] for line in noted] == ["/page.txt?last"]


async def test_what_is_forwarded_is_one_request(server: Server) -> None:
    """
    Each row is one answer and one line of the server's log, whatever stands in the body.
    """
    rows = [row for row in ROWS if row["verdict"] == "one"]
    found = []
    async with gateway(server.url, max_concurrency=None) as rig:
        for number, row in enumerate(rows):
            statuses, _, _ = await ask(rig.port, marked(number, row), enough=answers(1))
            found.append((row["name"], len([status for status in statuses if status >= 200])))
        noted = await lines(server, len(rows))

    assert found == [(row["name"], 1) for row in rows]
    assert len(rows) > 15
    assert sorted(line.split()[1] for line in noted) == sorted(f"/page.txt?row={each}" for each in range(len(rows)))


async def lines(server: Server, number: int) -> list[str]:
    """
    Return the server's log once it has *number* lines, or 5 s have passed: it writes when it has answered.
    """
    for _ in range(500):
        if len(server.log()) >= number:
            break
        await asyncio.sleep(0.01)  # real time: another process writes
    return server.log()
