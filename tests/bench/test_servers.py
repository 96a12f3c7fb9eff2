"""
The groups that measure against real servers, run for a moment, and what they say where a server is missing.
"""

from __future__ import annotations

from types import ModuleType

import pytest

from bench import crowds, limited, relayed, servers
from bench.relayed import FRONTS, Load, read

WRK = """\
Running 6s test @ http://127.0.0.1:8000/page.txt
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     3.36ms    2.74ms  43.02ms   95.25%
    Req/Sec    18.78k     1.61k   21.21k    90.00%
  Latency Distribution
     50%  850.00us
     75%    3.17ms
     90%    4.05ms
     99%    1.32s
  37336 requests in 2.01s, 44.61MB read
{trouble}Requests/sec:  18583.33
Transfer/sec:     22.20MB
"""
SOCKETS = "  Socket errors: connect 1, read 2, write 3, timeout 4\n"
STATUSES = "  Non-2xx or 3xx responses: 17\n"


@pytest.mark.parametrize(("trouble", "failed"), [("", 0), (SOCKETS, 10), (STATUSES, 17), (SOCKETS + STATUSES, 27)])
def test_what_wrk_prints_is_read(trouble: str, failed: int) -> None:
    """
    Requests, latencies in any unit, and everything that went wrong are taken from wrk's text.
    """
    load = read(WRK.format(trouble=trouble))

    assert load == Load(requests=37_336, per_second=18_583.33, p50_ms=0.85, p99_ms=1_320.0, failed=failed)


def test_what_is_not_from_wrk_is_no_figure() -> None:
    """
    A text without the figures stops the run instead of counting as zero.
    """
    with pytest.raises(AssertionError, match="wrk printed no"):
        read("unable to connect to 127.0.0.1:1 Connection refused\n")


@pytest.mark.parametrize(
    ("group", "rows"),
    [
        (crowds, [["`apt-get install redis-server`"]]),
        (limited, [["`apt-get install nginx-light`"]]),
        (relayed, [["`apt-get install nginx-light`"], ["`apt-get install wrk`"]]),
    ],
)
def test_missing_program_is_named(group: ModuleType, rows: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Where a program is not installed, its group names the package, and ends well.
    """
    monkeypatch.setattr(servers, "_PATH", "/nowhere")

    (table,) = group.measure(rounds=1)

    assert table.rows == rows


@pytest.mark.parametrize("front", FRONTS)
def test_load_comes_through_every_front(front: str) -> None:
    """
    Each front answers all of wrk's requests with success.
    """
    load, cpu_us = relayed.run(front, seconds=1.0)

    assert (load.failed, load.requests > 0) == (0, True)
    assert (cpu_us > 0) == (front != "nothing in front")


def test_allowance_of_a_real_server_is_counted_by_its_log() -> None:
    """
    The log holds every request of the tasks, and none of those that only open the connections.
    """
    case = limited.Case(rate=20, burst=5, delay=" nodelay")
    statuses = limited.run("egressor", case, seconds=1.0)

    assert set(statuses) <= {200, 429}
    assert statuses[200] > case.burst
