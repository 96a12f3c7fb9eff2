"""
The gateway under strain: more requests than its service takes, and thousands of clients that are slow on purpose.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import uvloop

from bench.fronts import Front, gateway, resident_bytes, upstream
from bench.loads import Answer, hammer, offer, share_of
from bench.measure import ROOT, Table
from bench.servers import on_cores

if TYPE_CHECKING:
    from bench.relayed import Load

__all__ = ["Crowd", "Slowed", "overloaded", "overloads", "recovery", "slowed", "slows"]

_FRONT, _REST = 0, 1
# A service that takes 40 requests at a time, each for 40 ms: 1,000 a second.
_PLACES, _TAKES_MS = 40, 40
_CAPACITY = _PLACES / (_TAKES_MS / 1000)
_SHARES = (0.5, 0.9, 1.5, 0.5)
_SETTINGS = "max_wait = 0.25", "queue_size = 100"
_SERVICE = "\n".join((f"max_concurrency = {_PLACES}", *_SETTINGS))
# Answers in a row that have to be good again.
_STEADY = 100
_OTHERS = 8
# What the slow ones get at once fills the buffers on the way first: until the gateway's memory grows by less than a
# hundredth from one look to the next, or so many seconds have passed.
_SETTLING = 40.0
_LOOK = 3.0
_GROWTH = 1.01
_ROOM = "max_connections = 9900\nupstream_connections = 9900"


class Crowd(NamedTuple):
    """
    Clients that are slow on purpose.

    Attributes:
        heads: How many send their head byte by byte.
        bodies: How many send their body so.
        readers: How many don't read their answer.
    """

    heads: int = 2_000
    bodies: int = 2_000
    readers: int = 500

    def scaled(self, scale: float) -> Crowd:
        """
        Return a crowd of *scale* times the size, at least one of each.
        """
        return Crowd(*(max(1, round(number * scale)) for number in self))


class Slowed(NamedTuple):
    """
    What others saw of a crowd.

    Attributes:
        before: What they saw without it.
        during: What they saw with it.
        lean: The gateway's memory without it, in bytes.
        full: The gateway's memory with it.
    """

    before: Load
    during: Load
    lean: int
    full: int


def overloads(*, seconds: float) -> list[Table]:
    """
    Offer a service half, nine tenths and one and a half of what it takes, then half again; return the table.
    """
    answers = overloaded(seconds=seconds)
    rows = []
    goodputs: list[float] = []
    for number, share in enumerate(_SHARES):
        # What the phase before has left in the queue is not this one's.
        phase = [each for each in answers if number * seconds + 0.2 * seconds <= each.at < (number + 1) * seconds]
        good = [each for each in phase if each.status == 200]
        refused = [each for each in phase if each.status in {429, 503}]
        goodput = len(good) / (0.8 * seconds)
        goodputs.append(goodput)
        rows.append(
            [
                f"{share:.0%}",
                f"{share * _CAPACITY:,.0f}",
                f"{goodput:,.0f}",
                f"{goodput / _CAPACITY:.0%}",
                _ms(good, 0.5),
                _ms(good, 0.99),
                f"{len(refused):,}",
                _ms(refused, 0.5),
                _ms(refused, 0.99),
                f"{len(phase) - len(good) - len(refused)}",
            ]
        )
    columns = ["offered", "requests/s", "goodput/s", "of the capacity", "p50 ms", "p99 ms", "refused", "p50 ms refused"]
    after = recovery(answers, since=3 * seconds)
    most = max(zip(_SHARES, goodputs, strict=True))
    notes = [
        f"The service takes {_PLACES} requests at a time, each for {_TAKES_MS} ms: {_CAPACITY:,.0f} a second.",
        f"Requests come at their rate whatever becomes of the former ones; `{'`, `'.join(_SETTINGS)}`.",
        f"Goodput at {most[0]:.0%} is {most[1] / max(1.0, *goodputs):.0%} of the best phase's.",
        f"Recovery: {after:.2f} s after the overload, {_STEADY} answers in a row are good and all later ones, too."
        if after is not None
        else "Recovery: not within the run.",
    ]
    title = "O. More requests than the service takes"
    return [Table(title, [*columns, "p99 ms refused", "failed otherwise"], rows, notes)]


def _ms(answers: list[Answer], share: float) -> str:
    return f"{share_of([each.took for each in answers], share) * 1000:.1f}" if answers else "-"


def overloaded(*, seconds: float) -> list[Answer]:
    """
    Offer each share of the capacity for so many *seconds*, and return what became of the requests.
    """
    with _front(service=_SERVICE) as (front, _), on_cores(_REST):
        rates = [(share * _CAPACITY, seconds) for share in _SHARES]
        return uvloop.run(offer(f"{front.url}/wait/{_TAKES_MS}", rates=rates))


def recovery(answers: list[Answer], *, since: float) -> float | None:
    """
    Return the seconds from *since* until every answer is good again; None if that is not seen.
    """
    later = [each for each in answers if each.at >= since]
    last = max((number for number, each in enumerate(later) if each.status != 200), default=-1)
    if len(later) - last - 1 < _STEADY:
        return None
    return later[last + 1].at - since


def slows(*, rounds: int, seconds: float, crowd: Crowd) -> list[Table]:
    """
    Measure how long others wait without and with the *crowd*, in alternating *rounds*, and return the table.
    """
    runs = [slowed(seconds=seconds, crowd=crowd) for _ in range(rounds)]
    rows = [
        _others("nobody slow", [run.before for run in runs], [run.lean for run in runs]),
        _others("slow clients, too", [run.during for run in runs], [run.full for run in runs]),
    ]
    ratio = statistics.median(run.during.p99_ms / run.before.p99_ms for run in runs)
    notes = [
        f"{crowd.heads:,} slow heads, {crowd.bodies:,} slow bodies and {crowd.readers:,} answers that nobody reads;",
        f"the others are {_OTHERS} connections of `wrk`. Their p99 with the slow ones is {ratio:.2f} times the former.",
    ]
    return [Table("H. Clients that are slow on purpose", ["", "p50 ms", "p99 ms", "failed", "RSS MB"], rows, notes)]


def _others(name: str, loads: list[Load], resident: list[int]) -> list[str]:
    p50 = statistics.median(load.p50_ms for load in loads)
    p99 = statistics.median(load.p99_ms for load in loads)
    return [name, f"{p50:.2f}", f"{p99:.2f}", f"{max(load.failed for load in loads)}", f"{max(resident) / 1e6:.0f}"]


def slowed(*, seconds: float, crowd: Crowd) -> Slowed:
    """
    Return what others saw without and with the *crowd*.
    """
    with _front(settings=_ROOM) as (front, folder), on_cores(_REST):
        hammer(front.url, folder, method="GET", connections=_OTHERS, seconds=1)
        before = hammer(front.url, folder, method="GET", connections=_OTHERS, seconds=seconds)
        lean = resident_bytes(front.pid)
        with _crowd(front, crowd):
            during = hammer(front.url, folder, method="GET", connections=_OTHERS, seconds=seconds)
            assert before.requests, "nobody was answered"
            assert during.requests, "nobody was answered beside the slow clients"
            return Slowed(before, during, lean, resident_bytes(front.pid))


@contextmanager
def _front(*, service: str = "", settings: str = "") -> Iterator[tuple[Front, Path]]:
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        with on_cores(_REST):
            behind = stack.enter_context(upstream())
        with on_cores(_FRONT):
            front = stack.enter_context(gateway(folder / "front", behind, service=service, settings=settings))
        yield front, folder


@contextmanager
def _crowd(front: Front, crowd: Crowd) -> Iterator[None]:
    # They are somebody else's machines: what they themselves take of this one is taken from nobody's answer.
    command = ["nice", "-n", "19", sys.executable, "-m", "bench.slow", front.url, *map(str, crowd)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"all are there\n", "the slow clients have not come"
            _settle(front.pid)
            yield
        finally:
            process.terminate()


def _settle(pid: int | None) -> None:
    until = time.monotonic() + _SETTLING
    size = 0
    while (now := resident_bytes(pid)) > _GROWTH * size and time.monotonic() < until:
        size = now
        time.sleep(_LOOK)
