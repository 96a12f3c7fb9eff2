"""
G: what an exchange with a store takes, by how many members of the fleet wait in the same line.

What members share of a service is one state, and whoever waits is in it. So this says how many members one service may
have on one store, if calls wait in all of them. One process asks for all of them in turn, so it is the whole way there
and back, and nobody gets in another's way.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.fleets import server
from bench.measure import Table
from bench.servers import missing, nowhere

if TYPE_CHECKING:
    from egressor._core.fleet import Request

__all__ = ["measure"]

_CROWDS = (0, 10, 100, 1_000)
_TITLE = "G. An exchange, by members that wait"
_LEAST = 500
_CELL = "1/hour"


def measure(*, rounds: int) -> list[Table]:
    """
    Return the table of group G.
    """
    if packages := missing("redis-server"):
        return [nowhere(_TITLE, packages)]
    rows = []
    for kind in ("sqlite", "redis"):
        for crowd in _CROWDS:
            took = min(_exchange(kind, crowd) for _ in range(max(1, rounds)))
            rows.append([kind, f"{crowd:,}", f"{took:,.0f}", f"{1e6 / took:,.0f}"])
    notes = ("The best of the rounds: on a busy machine the others say how busy it is.",)
    return [Table(_TITLE, ("store", "members that wait", "µs", "a second, at most"), rows, notes)]


def _exchange(kind: str, crowd: int) -> float:
    """
    Return the microseconds that one takes.
    """
    with _store(kind) as store:
        asked = [_request(f"m{number}") for number in range(max(1, crowd))]
        if not crowd:
            # Nobody waits: whoever asks has something to tell, and gets nothing.
            asked = [asked[0]._replace(wants=())]
        for each in asked:
            store.exchange("s", each)
        turns = max(_LEAST, 2 * crowd)
        requests = cycle(asked)
        began = time.perf_counter()
        for _ in range(turns):
            store.exchange("s", next(requests))
        return (time.perf_counter() - began) / turns * 1e6


def _request(name: str) -> Request:
    from egressor._core.fleet import Part, Rank, Request, Want
    from egressor._core.limits import Sliding

    limit = Sliding(amount=1, period=3_600_000_000)
    return Request(name, f"at {name}", wants=(Want(Rank(1, 0, 1 << 52), (Part(_CELL, 1, limit),)),))


@contextmanager
def _store(kind: str) -> Iterator[Any]:
    from egressor.stores.redis import RedisStore
    from egressor.stores.sqlite import SqliteStore

    if kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            found: Any = SqliteStore(Path(folder) / "bench.db")
            yield found
            found.close()
        return
    with server() as address:
        found = RedisStore(address, patience=5.0)
        yield found
        found.close()
