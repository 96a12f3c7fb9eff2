"""
One suite for all stores: what the pure function decides, each of them decides.

A store joins by one entry in `STORES`: how one is opened whose time is the test's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor._core.fleet import FIRST, Back, Part, Rank, Reply, Request, State, Top, Want, exchange
from egressor._core.limits import Algorithm, Concurrency, Fixed, Gcra, Sliding
from egressor.stores.redis import RedisStore
from egressor.stores.sqlite import SqliteStore

if TYPE_CHECKING:
    from egressor.stores import Store

SECOND = 1_000_000
START = 1_795_000_000 * SECOND
LONG = "k" * 300
LIMITS: dict[str, Algorithm] = {
    "20/minute": Gcra(amount=20, period=60 * SECOND, burst=3),
    "1000/second": Gcra(amount=1000, period=SECOND, burst=50),
    "1/second": Gcra(amount=1, period=SECOND, burst=1),
    "5/10s": Sliding(amount=5, period=10 * SECOND),
    "wide": Sliding(amount=1 << 40, period=SECOND),
    "4/second fixed": Fixed(amount=4, period=SECOND),
    "day": Fixed(amount=6, period=86_400 * SECOND, zone=ZoneInfo("Europe/Berlin")),
    "month": Fixed(amount=6, period=0, month=True, count=3),
    "places": Concurrency(amount=3),
    "by user 5/10s|u1": Sliding(amount=5, period=10 * SECOND),
    "by user 5/10s|\x00\n{é}|\ud800": Sliding(amount=5, period=10 * SECOND),
    f"by user 3/minute|1{LONG}": Gcra(amount=3, period=60 * SECOND, burst=3),
    f"by user 3/minute|2{LONG}": Gcra(amount=3, period=60 * SECOND, burst=3),
    "by user places|u1": Concurrency(amount=2),
    "by user places|u2": Concurrency(amount=2),
}
COUNTED = [cell for cell, limit in LIMITS.items() if not isinstance(limit, Concurrency)]
PLACES = [cell for cell, limit in LIMITS.items() if isinstance(limit, Concurrency)]
STEPS = (0, 0, 1, 700, 20_000, 150_000, 400_000, SECOND, 3 * SECOND, 11 * SECOND, 90 * SECOND, 86_400 * SECOND)


class Times:
    """
    The time of a test.
    """

    def __init__(self) -> None:
        self.now = START
        self.skew = 0

    def wall(self) -> int:
        """
        The wall clock's.
        """
        return self.now + self.skew


class Plain:
    """
    The pure function, and no more: the suite holds for itself.
    """

    address = ""
    is_near = True
    shift = 0

    def __init__(self, times: Times) -> None:
        self._times = times
        self._states: dict[str, State] = {}

    def exchange(self, service: str, request: Request) -> Reply:
        """
        As it says.
        """
        state = self._states.setdefault(service, State())
        return exchange(state, request, self._times.now, self._times.skew)

    def look(self, service: str) -> tuple[State, int]:
        """
        As it is.
        """
        return self._states.get(service, State()), self._times.now

    def services(self) -> list[str]:
        """
        All of them.
        """
        return list(self._states)

    def call(self, service: str, addresses: Sequence[str]) -> None:
        """
        Nobody hears.
        """

    def listen(self, called: Callable[[str], object]) -> None:
        """
        Nobody calls.
        """

    def close(self) -> None:
        """
        Nothing is open.
        """


def sqlite(_: pytest.FixtureRequest, folder: Path, times: Times) -> Store:
    """
    A store in a new file.
    """
    return SqliteStore(folder / "store.db", now=lambda: times.now, clock_wall=times.wall)


def redis(request: pytest.FixtureRequest, _: Path, times: Times) -> Store:
    """
    A store in a Redis or Valkey server, which is called as the store is.
    """
    server = request.getfixturevalue(f"{request.param}_server")
    return RedisStore(server.address, patience=30.0, now=lambda: times.now, wall=times.wall)


STORES: dict[str, Callable[[pytest.FixtureRequest, Path, Times], Store]] = {
    "plain": lambda _, __, times: Plain(times),
    "sqlite": sqlite,
    "redis": redis,
    "valkey": redis,
}


class Scene(NamedTuple):
    """
    A store, and its time.
    """

    store: Store
    times: Times
    numbers: Iterator[int]


@pytest.fixture(scope="module", params=list(STORES))
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """
    Each store in turn.
    """
    times = Times()
    store = STORES[request.param](request, tmp_path_factory.mktemp("store"), times)
    yield Scene(store, times, count())
    store.close()


# --- operations ------------------------------------------------------------------------------------------------------

# The last fits nowhere; a script's doubles hold its gaps. What never fits is refused before it comes to a store.
UNITS = st.sampled_from([1, 1, 1, 2, 3, 7, 40, 1 << 27])
MOMENTS = st.integers(-20, 20).map(lambda steps: START + steps * SECOND)
RANKS = st.builds(Rank, st.integers(0, 3), MOMENTS, st.one_of(MOMENTS, st.just(1 << 52)))


def part(cells: Sequence[str], units: st.SearchStrategy[int] = UNITS) -> st.SearchStrategy[Part]:
    """
    What is taken of one of *cells*.
    """
    return st.builds(lambda cell, size: Part(cell, size, LIMITS[cell]), st.sampled_from(cells), units)


def few(strategy: st.SearchStrategy[Any], most: int, by: Callable[[Any], Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    """
    Some of them, none twice.
    """
    return st.lists(strategy, max_size=most, unique_by=by).map(tuple)


REQUESTS = st.builds(
    Request,
    st.sampled_from(["a", "b", "c", "b\x00"]),
    st.sampled_from(["", "here", "there"]),
    version=st.sampled_from([-1, -1, -1, -1, 1]),
    standing=st.sampled_from([None, None, None, '{"open": "é"}']),
    places=few(st.tuples(st.sampled_from(PLACES), st.integers(0, 3)), 2, by=lambda place: place[0]),
    backs=few(
        st.builds(
            Back, part(COUNTED, st.sampled_from([1, 2, 9, 1 << 41])), st.one_of(st.none(), st.just(FIRST), MOMENTS)
        ),
        2,
        by=lambda back: back,
    ),
    wants=few(
        st.builds(Want, RANKS, few(part(list(LIMITS)), 3, by=lambda each: each.cell), st.integers(1, 4)), 3, by=id
    ),
    tops=few(st.builds(Top, part(list(LIMITS)), st.integers(1, 4)), 2, by=lambda top: top.part.cell),
    left=few(st.sampled_from(list(LIMITS)), 2, by=str),
    age=st.sampled_from([0, 0, SECOND, 7 * SECOND]),
    info=st.sampled_from(["", "pid 1"]),
)
SKEWS = st.sampled_from([0, 0, 0, 0, 3_600 * SECOND, -3_600 * SECOND, 86_400 * SECOND])


@given(st.lists(st.tuples(st.sampled_from(STEPS), SKEWS, REQUESTS), max_size=25))
def test_a_store_decides_as_the_pure_function_does(scene: Scene, steps: list[tuple[int, int, Request]]) -> None:
    """
    Whatever members hand in, at whatever times, replies and state are the same.
    """
    check(scene, steps)


# What most exchanges are, for which stores have a way of their own: one call, by itself.
ALONE = ["20/minute", "1000/second", "5/10s"]
LONE = st.tuples(
    st.sampled_from(["a", "b"]),
    RANKS,
    few(part(ALONE, st.sampled_from([0, 1, 1, 2, 3, 40])), 2, by=lambda each: each.cell),
    st.sampled_from([0, SECOND]),
).map(lambda said: Request(said[0], "here", -1, wants=(Want(said[1], said[2]),), age=said[3], info="pid 1"))
SHORTLY = (0, 0, 0, 1, 700, 20_000, 150_000, 400_000, SECOND, 3 * SECOND, 11 * SECOND)


@given(
    st.lists(st.tuples(st.sampled_from(SHORTLY), st.just(0), st.one_of(*[LONE] * 9, REQUESTS)), min_size=8, max_size=20)
)
def test_single_calls_are_decided_likewise(scene: Scene, steps: list[tuple[int, int, Request]]) -> None:
    """
    Single calls, of which most are granted, and now and then something else: replies and state are the same.
    """
    check(scene, steps)


@pytest.mark.parametrize("cell", COUNTED)
@pytest.mark.parametrize("times", [1, 2, 3, 5, 1 << 46])
@pytest.mark.parametrize("pause", [0, 700, SECOND, 61 * SECOND])
def test_a_debt_and_what_is_given_back_are_told_alike(scene: Scene, cell: str, times: int, pause: int) -> None:
    """
    However often a limit's own amount was charged, and whenever the rest comes back: before it is cut, and after.
    """
    limit, at = LIMITS[cell], START
    taken = Request("a", "here", -1, wants=(Want(Rank(1, START, 1 << 52), (Part(cell, 2, limit),)),))
    debt = Request("b", "there", -1, backs=(Back(Part(cell, limit.amount * times, limit), None),))
    back = Request("b", "there", -1, backs=(Back(Part(cell, limit.amount, limit), at),))
    late = Request("a", "here", -1, backs=(Back(Part(cell, 2, limit), at + pause),))

    check(scene, [(step, 0, made) for step, made in ((0, taken), (0, debt), (pause, back), (pause, late), (1, taken))])


def check(scene: Scene, steps: list[tuple[int, int, Request]]) -> None:
    """
    Check that the store decides and tells what the pure function does.
    """
    store, times, numbers = scene
    service, model, times.now = f"api {next(numbers)}", State(), START
    for step, times.skew, request in steps:
        times.now += step
        made = request._replace(version=model.version if request.version < 0 else request.version)

        expected = exchange(model, made, times.now, times.skew)
        assert expected == store.exchange(service, made)

        found, now = store.look(service)
        forget(model, found, times)
        assert (told(model), times.now) == (told(found), now)


def forget(model: State, found: State, times: Times) -> None:
    """
    Drop what a store has dropped, which has to say the same as nothing.
    """
    there = {short(cell) for cell in found.cells}
    for cell, value in list(model.cells.items()):
        if short(cell) not in there:
            limit = LIMITS[cell]
            assert limit.left(0, times.now, times.skew) == limit.left(value, times.now, times.skew)
            del model.cells[cell]


def told(state: State) -> tuple[object, ...]:
    """
    What a state says; a cell at 0 is one that nobody has touched.
    """
    cells = {short(cell): value for cell, value in state.cells.items() if value}
    held = {short(cell): row for cell, row in state.held.items() if row}
    waits = {short(cell): row for cell, row in state.waits.items() if row}
    return state.version, state.standing, cells, held, waits, state.members


def short(cell: str) -> str:
    """
    What a look tells of a cell's name, of which a store may keep a hash.
    """
    return cell[:60]


# --- what it says of itself ------------------------------------------------------------------------------------------


def test_the_services_are_told(scene: Scene) -> None:
    """
    Whatever was asked for is among them; of what was not, nothing is shared.
    """
    names = [f"seen {next(scene.numbers)}", f"é\n{{}} {next(scene.numbers)}"]
    for name in names:
        scene.store.exchange(name, Request("a"))

    services = scene.store.services()
    assert [name in services for name in names] == [True, True]
    assert told(State()) == told(scene.store.look("never")[0])
