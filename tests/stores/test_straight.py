"""
The straight way to a store: one call, nobody waits, one exchange.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from egressor import Governor, Paused, StoreUnavailable, WaitTooLong
from egressor._core.admission import Denied, Why
from egressor.stores import StoreAway
from tests.faults.fleet import eventually, held


class Away:
    """
    A store that can't be asked.
    """

    is_near = True
    address = ""

    def exchange(self, service: str, request: Any) -> Any:
        """
        Say so.
        """
        message = "the test says so"
        raise StoreAway(message)

    def listen(self, called: Callable[[str], object]) -> None:
        """
        Nobody calls.
        """


class Counting:
    """
    Between a governor and its store: keeps every request, and does something before or after one if told to.
    """

    def __init__(self, store: Any) -> None:
        self._store = store
        self.requests: list[Any] = []
        self.before: Callable[[], object] | None = None
        self.after: Callable[[], object] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def exchange(self, service: str, request: Any) -> Any:
        """
        Ask the store.
        """
        self.requests.append(request)
        before, self.before = self.before, None
        if before is not None:
            before()
        reply = self._store.exchange(service, request)
        after, self.after = self.after, None
        if after is not None:
            after()
        return reply

    def wanted(self) -> int:
        """
        Return how many requests wanted something, and forget them all.
        """
        wanted = sum(bool(request.wants) for request in self.requests)
        self.requests.clear()
        return wanted


@pytest.fixture
def address(tmp_path: Path) -> str:
    """
    A store of the test's own.
    """
    return f"sqlite:///{tmp_path}/store.db"


@pytest.fixture
def made() -> Iterator[list[Governor]]:
    """
    Governors that the test has made, which are closed after it.
    """
    made: list[Governor] = []
    yield made
    for gov in made:
        gov.close()


def opened(made: list[Governor], address: str, **policy: Any) -> tuple[Governor, Counting]:
    """
    Return a governor that has spoken with its store already, and what counts its requests.
    """
    on_loss = policy.pop("on_store_loss", "closed")
    gov = Governor({"s": {"max_wait": 5.0, **policy}}, store=address, on_store_loss=on_loss)
    made.append(gov)
    # The second one tells of the first one's success.
    for _ in range(2):
        take(gov)
    courier: Any = gov._courier
    courier.store = Counting(courier.store)
    return gov, courier.store


def take(gov: Governor) -> None:
    """
    Make one call.
    """
    with gov.permit("s"):
        pass


def waits(gov: Governor) -> int:
    """
    Return how many calls have waited in the line so far.
    """
    gate: Any = gov._gates["s"]
    return sum(row[0] for row in gate.snapshot()["waits"])


def test_a_call_is_one_exchange(made: list[Governor], address: str) -> None:
    """
    A call that finds nothing at hand asks the store once, and joins no line.
    """
    gov, store = opened(made, address, limits=["1000/hour burst 1000"])
    before = waits(gov)
    for _ in range(20):
        take(gov)

    assert (store.wanted(), waits(gov) - before) == (20, 0)


def test_places_go_back_with_the_next_call(made: list[Governor], address: str) -> None:
    """
    Where places are to spare, a call takes its place and gives back that of the call before in one exchange.
    """
    gov, store = opened(made, address, max_concurrency=3)
    for _ in range(20):
        take(gov)
    wanted = store.wanted()

    assert wanted == 20
    eventually(lambda: held(address, "s") == 0, "nothing is held")


def test_a_refusal_is_one_exchange(made: list[Governor], address: str) -> None:
    """
    The store says no once: the call joins its line with that, is refused as its wait can't fit, and the store knows of
    nobody who waits.
    """
    gov, store = opened(made, address, limits=["2/hour burst 2"])
    with pytest.raises(WaitTooLong) as refused:
        take(gov)

    assert store.wanted() == 1
    assert refused.value.retry_after == pytest.approx(1_800, abs=60)
    courier: Any = gov._courier
    eventually(lambda: courier.store.look("s")[0].waits == {}, "nobody waits")


def test_who_waits_has_asked_once(made: list[Governor], address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A call that the store has told to come later asks a second time when it is time, and goes.
    """
    # On a busy machine a thread may sleep for longer than that between two of its lines.
    monkeypatch.setattr("egressor.stores.straight._SOON", 10_000_000)
    gov, store = opened(made, address, limits=["10/second burst 1"])
    before = waits(gov)
    began = time.monotonic()
    take(gov)
    took = time.monotonic() - began

    assert (store.wanted(), waits(gov) - before) == (2, 1)
    assert took > 0.05


def test_what_happens_meanwhile_is_heeded(made: list[Governor], address: str) -> None:
    """
    A service that is shut while the store is asked for a call: it does not go, and what it was granted goes back.
    """
    gov, store = opened(made, address, limits=["10/hour burst 10"], max_concurrency=2)
    gate: Any = gov._gates["s"]
    store.after = partial(gate.bar, Denied(Why.PAUSED, "pause", None, "stop"))
    with pytest.raises(Paused, match="stop"):
        take(gov)
    gate.bar(None)

    eventually(lambda: held(address, "s") == 0, "nothing is held")
    for _ in range(8):
        take(gov)


def test_a_standing_that_others_have_changed_is_heeded(made: list[Governor], address: str) -> None:
    """
    Another process has paused the service: the next call, which asks the store for itself, hears of it.
    """
    gov, _ = opened(made, address, limits=["1000/hour burst 1000"])
    other, _ = opened(made, address, limits=["1000/hour burst 1000"])
    other.pause("s", reason="maintenance")
    with pytest.raises(Paused):
        take(gov)


def test_a_store_that_is_lost_meanwhile(made: list[Governor], address: str) -> None:
    """
    The store is lost while a call asks it for itself: the call ends as the policy says.
    """
    gov, store = opened(made, address, limits=["1000/hour burst 1000"])

    def lose() -> None:
        message = "the test says so"
        raise StoreAway(message)

    store.before = lose
    with pytest.raises(StoreUnavailable, match="the test says so"):
        take(gov)


def test_somebody_looks_for_the_store_s_return(made: list[Governor], address: str) -> None:
    """
    The service whose call has found that the store is away is gone before it is back: another one looks for it.
    """
    policy = {"limits": ["1000/hour burst 1000"], "max_wait": 5.0}
    gov = Governor({"s": policy, "t": policy}, store=address, on_store_loss="closed")
    made.append(gov)
    courier: Any = gov._courier
    store, courier.store = courier.store, Away()
    with pytest.raises(StoreUnavailable):
        take(gov)
    gov._gates.pop("s")
    gov._routes.clear()
    gov._plain.clear()
    gc.collect()
    courier.store = store
    eventually(lambda: not courier.away, "the store is back")

    assert [gate.name for gate in courier._gates] == ["t"]


def test_an_event_loop_is_not_held_up(made: list[Governor], address: str) -> None:
    """
    In an event loop the store is asked on a thread of its own.
    """
    gov, store = opened(made, address, limits=["1000/hour burst 1000"])
    before = waits(gov)

    async def several() -> None:
        for _ in range(3):
            async with gov.permit("s"):
                pass

    asyncio.run(several())

    assert (store.wanted(), waits(gov) - before) == (3, 3)


def asked(gov: Governor, *words: Callable[[], object] | None) -> list[Any]:
    """
    Do one of *words* behind the answer to each of the next requests of *gov*; return what was asked, as it comes.
    """
    courier: Any = gov._courier
    real, left, found = courier._asked, list(words), list[Any]()

    def wrapped(gate: Any, request: Any) -> object:
        answer = real(gate, request)
        found.append(request)
        word = left.pop(0) if left else None
        if word is not None:
            word()
        return answer

    courier._asked = wrapped
    return found


def interrupt() -> None:
    """
    Be Ctrl-C.
    """
    raise KeyboardInterrupt


def instead(courier: Any, run: Callable[..., object]) -> Callable[..., object]:
    """
    Have *run* called in place of *courier*'s own by this thread, and let its own thread do nothing; return its own.
    """
    own: Callable[..., object] = courier.run
    mine = threading.current_thread()
    courier.run = lambda *words, **more: run(*words, **more) if threading.current_thread() is mine else True
    return own


def test_an_interrupt_behind_the_answer_has_nothing_told_twice(made: list[Governor], address: str) -> None:
    """
    Regression: units that a call had given back were given back again, since Ctrl-C came between answer and account.
    """
    gov, _ = opened(made, address, limits=["1000 tokens/hour burst 1000"])
    courier: Any = gov._courier
    own = instead(courier, courier.run)  # Its thread is busy elsewhere.
    with gov.permit("s", cost={"tokens": 100}) as permit:
        permit.settle(cost={"tokens": 50})
    found = asked(gov, interrupt)

    with pytest.raises(KeyboardInterrupt):
        gov.call("s", str, cost={"tokens": 10})
    for _ in range(2):
        gov.call("s", str, cost={"tokens": 10})
    courier.run = own

    assert [len(request.backs) for request in found][:2] == [1, 0]


def test_an_interrupt_in_somebody_elses_request_gives_the_place_back(made: list[Governor], address: str) -> None:
    """
    Regression: a call that had its place, and made the next one's request along with it, lost the place to Ctrl-C.
    """
    gov, _ = opened(made, address, max_concurrency=1)
    eventually(lambda: held(address) == 0, "nothing is at hand")
    gate: Any = gov.gate("s")
    courier: Any = gov._courier
    # Ctrl-C ends no other thread than this one.
    own = instead(courier, lambda *_, **__: interrupt())
    asked(gov, lambda: setattr(gate, "is_wanted", True))

    with pytest.raises(KeyboardInterrupt):
        take(gov)

    courier.run = own
    assert gate.counts.in_flight == 0
    take(gov)
    eventually(lambda: held(address) == 0, "its place is free")
