"""
The network between a fleet and its store fails: loss, resets, half-open connections, a part of the fleet cut off.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.faults.fleet import ON_TOP, SECOND, SLIP, Fleet, comes_back, eventually, held, most, now, run_for
from tests.faults.test_places import most_at_once
from tests.stores.servers import Server, network, running

SOAK = os.environ.get("EGRESSOR_SOAK") == "1"
LOSSY_FOR = 60.0 if SOAK else 4.0
CUT_FOR = 20.0 if SOAK else 3.0
BACK = 2 * SECOND
REGIONS = ("eu", "us", "ap")

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def server() -> Iterator[Server]:
    """
    A server of the test's own.
    """
    with running() as server:
        yield server


class Regions:
    """
    A process in each of three places, each with a network of its own between itself and the server.
    """

    def __init__(self, stack: ExitStack, folder: Path, server: Server, policy: dict, **settings: str) -> None:
        self.store = server.address
        self.networks = [stack.enter_context(network(server, seed)) for seed in range(len(REGIONS))]
        self.fleets = [Fleet(folder, each.address, {"s": policy}, **settings) for each in self.networks]
        for fleet in self.fleets:
            stack.callback(fleet.end)
            fleet.start(1)

    def all(self, line: str) -> list:
        """
        Have *line* done in each place.
        """
        return [fleet.members[0].ask(line) for fleet in self.fleets]

    def work(self, load: str) -> None:
        """
        Set each to work; what it writes down is the name of its place.
        """
        for name, fleet in zip(REGIONS, self.fleets, strict=True):
            fleet.members[0].ask(load.format(name))

    def lines(self, *words: str) -> list:
        """
        Return the log of all.
        """
        return self.fleets[0].lines(*words)


def test_a_lossy_network_grants_nothing_twice(server: Server, tmp_path: Path) -> None:
    """
    A fifth of all pieces is lost, some connections are reset: with ``closed`` no window holds too much, what was
    estimated too high comes back once, and all is used again when the network is well.
    """
    policy = {"limits": ["600 tokens/second"], "max_wait": 30.0}
    with ExitStack() as stack:
        regions = Regions(stack, tmp_path, server, policy, on_store_loss="closed")
        regions.work("threads(4, word='{}', options={{'cost': {{'tokens': 10}}}}, truth={{'tokens': 3}}, units=3)")
        run_for(1.0)
        for each in regions.networks:
            each.loss, each.resets = 0.2, 0.01
        began = now()
        run_for(LOSSY_FOR)
        for each in regions.networks:
            each.loss = each.resets = 0.0
        ended = now()
        comes_back(regions.lines, ended + SECOND, 300)
        lines = regions.lines()

    assert most(lines, SECOND - SLIP) <= 600
    assert sum(line.units for line in lines if began <= line.at < ended) > 0


def test_places_survive_a_lossy_network(server: Server, tmp_path: Path) -> None:
    """
    Whatever answers get lost: of six places no more are held at once, and at rest none.
    """
    with ExitStack() as stack:
        regions = Regions(stack, tmp_path, server, {"max_concurrency": 6, "max_wait": 30.0}, on_store_loss="closed")
        work = "threads(4, hold=0.01, word='in', after='out')"
        regions.work(work)
        for each in regions.networks:
            each.loss, each.resets = 0.2, 0.01
        run_for(LOSSY_FOR)
        regions.all("OVER.set()")
        for each in regions.networks:
            each.loss = each.resets = 0.0
        eventually(lambda: sum(regions.all("gov.status()['s']['in_flight'] + waiting()")) == 0, "nobody is in or waits")
        eventually(lambda: regions.all("attempt(str)") == ["ok"] * 3 and held(regions.store) == 0, "all are back")
        lines = regions.lines("in", "out")

    assert len(lines) > 20
    assert most_at_once(lines) <= 6


def test_half_open_connections_are_noticed(server: Server, tmp_path: Path) -> None:
    """
    Regression: who listened on a connection whose other end was gone missed its calls for ten seconds.
    """
    with ExitStack() as stack:
        client = stack.enter_context(server.client())
        regions = Regions(stack, tmp_path, server, {"limits": ["60/second"], "max_wait": 30.0})
        regions.work("threads(3, word='{}')")
        eventually(lambda: len(client.pubsub_channels()) == 3, "all listen")
        for each in regions.networks:
            each.forget()
        eventually(lambda: len(client.pubsub_channels()) == 0, "the server knows of none")

        eventually(lambda: len(client.pubsub_channels()) == 3, "all listen again", patience=8.0)
        comes_back(regions.lines, now(), 20)
        lines = regions.lines()

    assert most(lines, SECOND - SLIP) <= ON_TOP * 60


@pytest.mark.parametrize(("on_store_loss", "beside"), [("closed", 0), ("share", 20)])
def test_a_region_that_is_cut_off(on_store_loss: str, beside: int, server: Server, tmp_path: Path) -> None:
    """
    Who is cut off uses what it has at hand, and then nothing (``closed``) or its share, a third, beside what the others
    take; the others go on with all of it, and all three share again when it is back.
    """
    policy = {"limits": ["60/second"], "max_wait": 30.0}
    with ExitStack() as stack:
        regions = Regions(stack, tmp_path, server, policy, on_store_loss=on_store_loss)
        regions.work("threads(3, word='{}')")
        run_for(1.5)
        with regions.networks[0].cut():
            began = now()
            run_for(CUT_FOR)
            ended = now()
        # All three have their part again.
        for word in REGIONS:
            comes_back(partial(regions.lines, word), ended + BACK, 10)
        comes_back(regions.lines, ended + BACK, 40)
        lines = regions.lines()

    alone = [line for line in lines if line.word == REGIONS[0] and began + SECOND <= line.at < ended]
    others = [line for line in lines if line.word != REGIONS[0] and began + SECOND <= line.at < ended]
    seconds = (ended - began - SECOND) / SECOND
    assert most(lines, SECOND - SLIP) <= (ON_TOP * 60 if beside else 60)
    assert most(alone, SECOND - SLIP) <= beside
    # Of which a busy machine may take half.
    assert len(alone) >= 0.5 * beside * seconds - 1
    assert len(others) >= 0.5 * 60 * seconds
