"""
Real web servers that break off: killed in the middle of an answer, or silent on purpose.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.rig import LOOP_NAMES, LOOPS, gateway, until
from tests.gateway.servers import KINDS, Server, haproxy, nginx

pytestmark = pytest.mark.anyio
# More than all the buffers between a server and a client that reads slowly.
HUGE = 100_000_000


@pytest.fixture(params=LOOPS, ids=LOOP_NAMES)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """
    Run each of these on both event loops: they differ in what they say of a connection that ends.
    """
    return request.param


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """
    One of the servers, which the test may kill.
    """
    folder: Path = tmp_path_factory.mktemp(request.param)
    with KINDS[request.param](folder) as running:
        with (folder / "files/huge.bin").open("wb") as file:
            file.truncate(HUGE)
        (folder / "files/huge.bin").chmod(0o644)
        yield running


def kill(server: Server) -> None:
    """
    Kill the process that sends the files: the server, or the one behind it.
    """
    (file,) = server.folder.glob("*.pid")
    os.kill(int(file.read_text()), signal.SIGKILL)


async def test_a_server_that_is_killed_in_its_answer(server: Server) -> None:
    """
    What came goes on, and never looks whole; it is a failure, nothing is held, and the next call is a clear answer.
    """
    async with gateway(server.url, timeout=10, lease_for=20) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port, limit=4096)
        writer.write(b"GET /t/huge.bin HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        length = len(await reader.readexactly(4096))
        kill(server)
        try:
            async with asyncio.timeout(20):
                while piece := await reader.read(1 << 20):
                    length += len(piece)
        except ConnectionResetError:
            pass
        writer.close()
        state = await rig.at_rest()
        async with rig.session.get(rig.url + "/t/huge.bin") as answer:
            again = answer.status

    assert head.startswith(b"HTTP/1.1 200 ")
    assert f"content-length: {HUGE}".encode() in head.lower()
    assert 4096 <= length < HUGE
    assert (state["succeeded"], state["failed"], state["in_flight"]) == (0, 1, 0)
    assert again in {502, 503}


@pytest.mark.parametrize(("kind", "path"), [("nginx", "/hangup"), ("haproxy", "/drop")])
async def test_a_server_that_says_nothing(kind: str, path: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """
    One hangs up, the other drops the connection without a word: 502, or 504 where nothing told that it has gone.
    """
    make = {"nginx": nginx, "haproxy": haproxy}[kind]
    with make(tmp_path_factory.mktemp(kind)) as server:
        async with gateway(server.url, timeout=1, lease_for=2) as rig:
            async with rig.session.get(rig.url + "/t" + path) as answer:
                status, reason = answer.status, (await answer.json())["reason"]
            await until(lambda: not rig.state()["in_flight"])
            state = rig.state()

    assert (status, reason) in {(502, "upstream_failed"), (504, "upstream_timeout")}
    assert (state["succeeded"], state["failed"]) == (0, 1)
