"""
I: a real server's limit, used up: nginx's ``limit_req``, judged by its own access log.

Forty tasks fetch a page again and again, and everybody is told the server's numbers. nginx's log says what share of
what it allows was served, and what share of the requests it refused. Each run has a server and an interpreter of its
own (``python -m bench.limited NAME URL RATE BURST SECONDS``), and its connections are opened before it is counted: the
first requests of a process take longer than a gap between two, whoever asks.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import httpx2

from bench.measure import Table, fresh
from bench.servers import missing, nginx, nowhere

__all__ = ["CASES", "Case", "measure", "run"]

_TASKS = 40
_SECONDS = 10.0
_TITLE = "I. A real server's limit: nginx `limit_req`, 40 tasks"
_HTTP = """\
limit_req_zone $server_name zone=all:1m rate={rate}r/s;
    limit_req_status 429;
    log_format status '$status';"""
_SERVER = """\
location / {{{{
            access_log {{folder}}/access.log status;
            limit_req zone=all burst={burst}{delay};
        }}}}"""

Fetch = Callable[[float], Awaitable[None]]


class Case(NamedTuple):
    """
    What nginx is told: requests a second, and how many more it takes at once, which it may delay.
    """

    rate: int
    burst: int
    delay: str


CASES = (Case(50, 10, " nodelay"), Case(20, 5, " nodelay"), Case(100, 20, ""))


def measure(*, rounds: int) -> list[Table]:
    """
    Measure everybody, and return the table.
    """
    if packages := missing("nginx"):
        return [nowhere(_TITLE, packages)]
    found: dict[tuple[str, Case], list[tuple[float, float]]] = {}
    for _ in range(rounds):
        for case in CASES:
            for name in CONTENDERS:
                statuses = run(name, case, seconds=_SECONDS)
                allowed = case.rate * _SECONDS + case.burst
                shares = statuses[200] / allowed, statuses[429] / statuses.total()
                found.setdefault((name, case), []).append(shares)
    columns = ["share of the allowance served / share of 429", *(f"{rate}r/s burst={b}{d}" for rate, b, d in CASES)]
    rows = [[label, *(_cell(found[name, case]) for case in CASES)] for name, (label, _) in CONTENDERS.items()]
    notes = [
        f"Each run takes {_SECONDS:.0f} s; the allowance is the rate times that, and the burst.",
        "Everybody is told both; nginx's access log is the judge.",
    ]
    return [Table(_TITLE, columns, rows, notes)]


def _cell(shares: list[tuple[float, float]]) -> str:
    served, refused = (statistics.median(each) for each in zip(*shares, strict=True))
    return f"{served:.3f} / {refused:.2%}"


def run(name: str, case: Case, *, seconds: float) -> Counter[int]:
    """
    Let the contender *name* use up *case* for so many *seconds*, and return how often nginx gave each status.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "nginx"
        http, server = _HTTP.format(rate=case.rate), _SERVER.format(burst=case.burst, delay=case.delay)
        with nginx(folder, http=http, server=server) as url:
            fresh("bench.limited", name, url, str(case.rate), str(case.burst), str(seconds))
        return Counter(int(status) for status in (folder / "access.log").read_text(encoding="ascii").split())


async def _egressor(inner: httpx2.AsyncBaseTransport, url: str, rate: int, burst: int, seconds: float) -> None:
    from egressor import Governor, Rejected
    from egressor.transports.httpx import AsyncTransport

    policy = {"base_url": url, "limits": [f"{rate}/second burst {burst}"], "retry": {"attempts": 1}}
    gov = Governor(services={"nginx": policy})
    async with httpx2.AsyncClient(transport=AsyncTransport(gov, inner=inner)) as client:

        async def fetch(until: float) -> None:  # noqa: ARG001 - a pause ends it
            with suppress(Rejected):
                await client.get(f"{url}/page.txt")

        asyncio.get_running_loop().call_later(seconds, gov.pause, "nginx")
        await _crowd(fetch, seconds)


async def _aiolimiter(inner: httpx2.AsyncBaseTransport, url: str, rate: int, burst: int, seconds: float) -> None:
    from aiolimiter import AsyncLimiter

    limiter = AsyncLimiter(burst, burst / rate)
    await _limited(limiter.acquire, inner, url, seconds)


async def _pyrate(inner: httpx2.AsyncBaseTransport, url: str, rate: int, burst: int, seconds: float) -> None:
    from pyrate_limiter import Limiter, Rate, StateBucket, TokenBucket

    # Its default waits 50 ms longer than it must at each turn.
    limiter = Limiter(StateBucket([Rate(rate, 1_000, burst=burst)], algorithm=TokenBucket()), buffer_ms=0)
    await _limited(limiter.try_acquire_async, inner, url, seconds)


async def _limited(
    acquire: Callable[[], Awaitable[object]], inner: httpx2.AsyncBaseTransport, url: str, seconds: float
) -> None:
    loop = asyncio.get_running_loop()
    async with httpx2.AsyncClient(transport=inner) as client:

        async def fetch(until: float) -> None:
            await acquire()
            if loop.time() < until:
                await client.get(f"{url}/page.txt")

        await _crowd(fetch, seconds)


async def _crowd(fetch: Fetch, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds

    async def one() -> None:
        while loop.time() < until:
            await fetch(until)

    await asyncio.gather(*(one() for _ in range(_TASKS)))


CONTENDERS = {
    "egressor": ("**egressor** httpx transport", _egressor),
    "aiolimiter": ("aiolimiter", _aiolimiter),
    "pyrate": ("pyrate-limiter TokenBucket, `buffer_ms=0`", _pyrate),
}


async def _warm_up(inner: httpx2.AsyncHTTPTransport, url: str) -> None:
    """
    Open the connections, by requests that nginx does not count.
    """

    async def ask() -> None:
        response = await inner.handle_async_request(httpx2.Request("GET", f"{url}/ready"))
        await response.aread()
        await response.aclose()

    await asyncio.gather(*(ask() for _ in range(_TASKS)))


async def _run(name: str, url: str, rate: int, burst: int, seconds: float) -> None:
    inner = httpx2.AsyncHTTPTransport(limits=httpx2.Limits(max_connections=_TASKS, max_keepalive_connections=_TASKS))
    await _warm_up(inner, url)
    _, contend = CONTENDERS[name]
    await contend(inner, url, rate, burst, seconds)


def main(name: str, url: str, rate: str, burst: str, seconds: str) -> None:
    """
    Run one contender; what came of it stands in the server's log.
    """
    asyncio.run(_run(name, url, int(rate), int(burst), float(seconds)))
    print(json.dumps({"name": name}))


if __name__ == "__main__":
    main(*sys.argv[1:])
