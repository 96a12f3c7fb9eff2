"""
The benchmark of the gateway, run for a moment: each proxy answers, each stream is whole, each strain is judged.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest
import uvloop

from bench import gateway, strain
from bench.fronts import FRONTS, LITELLM, cpu_seconds, resident_bytes, upstream
from bench.loads import Answer, offer, share_of, streams
from bench.relayed import read
from bench.strain import Crowd, recovery

HERE = [name for name in FRONTS if name != "LiteLLM proxy"]
SLOW = """\
  Latency Distribution
     50%  476.83ms
     99%    1.94s{blank}
  165 requests in 2.00s, 358.84KB read
Requests/sec:     82.39
"""


@pytest.mark.parametrize("name", HERE)
def test_each_proxy_answers_in_each_way(name: str) -> None:
    """
    No request fails, each stream has all of its events, and what stands in front uses CPU and memory.
    """
    visit = gateway.visit(name, seconds=1.0, events=5, ways=[("GET", 1), ("POST", 64)])

    assert {load: seen.failed for load, seen in visit.loads.items()} == dict.fromkeys(visit.cpu_us, 0)
    assert all(seen.requests > 0 for seen in visit.loads.values())
    assert (visit.resident > 0) == (name != "nothing in front")
    assert all((each > 0) == (name != "nothing in front") for each in visit.cpu_us.values())


@pytest.mark.parametrize(
    ("answer", "fault"), [(b"data: {}\n\n0\r\n\r\n", "1 events in place of 5"), (b"data: {}\n\n", "the stream broke")]
)
def test_stream_that_lacks_an_event_stops_the_run(answer: bytes, fault: str) -> None:
    """
    A proxy that cut streams short would look fast.
    """

    async def short(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + answer)
        writer.close()

    async def read_from_it() -> int:
        async with await asyncio.start_server(short, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            return await streams(f"http://127.0.0.1:{port}", number=1, events=5)

    with pytest.raises(AssertionError, match=fault):
        asyncio.run(read_from_it())


@pytest.mark.parametrize("blank", ["", " "])
def test_what_wrk_prints_is_read_with_blanks_behind_it(blank: str) -> None:
    """
    A blank may stand behind a unit.
    """
    assert read(SLOW.format(blank=blank)).p99_ms == 1_940.0


def test_each_request_of_an_offer_has_an_answer() -> None:
    """
    Requests are due at their rates, one phase after the other.
    """
    with upstream() as url:
        answers = uvloop.run(offer(f"{url}/wait/1", rates=[(100, 0.1), (200, 0.1)]))

    assert [each.status for each in answers] == [200] * 30
    assert [round(each.at, 4) for each in answers[8:13]] == [0.08, 0.09, 0.1, 0.105, 0.11]


def test_overload_is_refused_or_served() -> None:
    """
    At one and a half of what a service takes, some are refused, and all others are served.
    """
    answers = strain.overloaded(seconds=1.0)

    assert {each.status for each in answers} == {200, 429}


@pytest.mark.parametrize(
    ("statuses", "after"),
    [
        ([200] * 300, 0.0),
        ([200] * 100 + [429] + [200] * 199, 1.0),
        ([200] * 200 + [429] + [200] * 99, None),
        ([429] * 300, None),
    ],
)
def test_recovery_is_when_all_is_good_from_there_on(statuses: list[int], after: float | None) -> None:
    """
    Only answers from the end of the overload on count, and a hundred good ones have to be seen.
    """
    early = [Answer(number / 100, 429, 0.0) for number in range(100)]
    late = [Answer(1 + number / 100, status, 0.0) for number, status in enumerate(statuses)]
    found = recovery(early + late, since=1.0)

    assert found == (None if after is None else pytest.approx(after + (0.01 if after else 0.0)))


def test_others_are_answered_beside_slow_clients() -> None:
    """
    A few slow clients of each kind are there, and nobody else fails.
    """
    seen = strain.slowed(seconds=1.0, crowd=Crowd(5, 5, 5))

    assert (seen.before.failed, seen.during.failed) == (0, 0)


def test_crowd_is_scaled() -> None:
    """
    One of each kind is the least.
    """
    assert Crowd(2_000, 2_000, 500).scaled(0.001) == Crowd(2, 2, 1)


@pytest.mark.parametrize(
    ("values", "share", "found"), [([], 0.5, 0.0), ([3.0, 1.0, 2.0], 0.5, 2.0), ([1.0], 0.99, 1.0)]
)
def test_share_of_values(values: list[float], share: float, found: float) -> None:
    """
    The order in which the values come doesn't matter.
    """
    assert share_of(values, share) == found


def test_process_and_its_children_are_counted() -> None:
    """
    What a process has started uses CPU and memory on its account.
    """
    own = (cpu_seconds(os.getpid()), resident_bytes(os.getpid()))
    program = "import sys; print(sum(range(5_000_000)), flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        both = (cpu_seconds(os.getpid()), resident_bytes(os.getpid()))
        child.communicate()

    assert both[0] - own[0] >= 0.02
    assert both[1] - own[1] > 5_000_000
    assert (cpu_seconds(None), resident_bytes(None)) == (0.0, 0)


def test_missing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Where a program is not installed, the group names its package, and ends well.
    """
    monkeypatch.setattr("bench.servers._PATH", "/nowhere")
    (table,) = gateway.proxies(rounds=1, seconds=1.0)

    assert table.rows == [["`apt-get install nginx-light`"], ["`apt-get install wrk`"]]


def test_litellm_has_an_environment_of_its_own() -> None:
    """
    What LiteLLM needs is never installed beside us.
    """
    assert LITELLM.parts[-3:] == (".venv-litellm", "bin", "litellm")
