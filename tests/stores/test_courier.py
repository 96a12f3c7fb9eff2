"""
The way to the store, where its end and a request come at the same time.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from egressor import Governor, Paused
from egressor.stores import Slept, StoreAway
from tests.stores.servers import eventually


class Closing:
    """
    Between a governor and its store: while the next request is under way, the governor is closed.
    """

    def __init__(self, gov: Governor) -> None:
        courier: Any = gov._courier
        self._store = courier.store
        self._closer = threading.Thread(target=gov.close)
        courier.store = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def exchange(self, service: str, request: Any) -> Any:
        """
        Ask the store, while somebody closes it.
        """
        if threading.current_thread() is not self._closer and not self._closer.ident:
            self._closer.start()
            self._closer.join(0.1)  # real time: what must not happen now is waited for
        return self._store.exchange(service, request)

    def over(self) -> None:
        """
        Wait until it is closed.
        """
        self._closer.join()


def test_a_request_that_is_under_way_is_ended_before_the_store_is_closed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Whoever closes a governor closes its store under nobody, and nothing is said of a store that is away.
    """
    gov = Governor({"s": {"limits": ["10/second"]}}, store=f"sqlite:///{tmp_path / 'store.db'}")
    store = Closing(gov)

    with caplog.at_level(logging.WARNING, "egressor"):
        with suppress(Paused):
            gov.call("s", str)
        store.over()

    assert caplog.messages == []
    assert gov.status()["s"]["store_away"] == ""


class Hanging:
    """
    Between a governor and its store, which answers nobody any more; somebody else wants a request made meanwhile.
    """

    def __init__(self, gov: Governor) -> None:
        courier: Any = gov._courier
        self._courier, self._store = courier, courier.store
        courier.store = self
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def exchange(self, service: str, request: Any) -> Any:
        """
        Give up, as after all the time that there is.
        """
        if threading.current_thread().name != "egressor-courier":
            self.asked += 1
            [gate] = self._courier._gates
            other = threading.Thread(target=self._courier.run, args=(gate,))
            other.start()
            other.join()
        message = "it did not answer in time"
        raise StoreAway(message)


@pytest.mark.parametrize("before", [0, 2])
def test_a_call_waits_once_for_a_store_that_hangs(before: int, tmp_path: Path) -> None:
    """
    A call whose request came to nothing made it again at once where another request had been wanted meanwhile.
    """
    gov = Governor({"s": {"limits": ["1/second burst 3"]}}, store=f"sqlite:///{tmp_path / 'store.db'}")
    for _ in range(before):
        gov.call("s", str)
    store = Hanging(gov)
    gov.call("s", str)

    assert (store.asked, bool(gov.status()["s"]["store_away"])) == (1, True)
    gov.close()


class Failing:
    """
    Between a governor and its store: so many requests come to nothing, one after the other.
    """

    def __init__(self, gov: Governor, *errors: type[StoreAway]) -> None:
        courier: Any = gov._courier
        self._store = courier.store
        courier.store = self
        self.errors = list(errors)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def exchange(self, service: str, request: Any) -> Any:
        """
        Find the time over, or ask.
        """
        if not self.errors:
            return self._store.exchange(service, request)
        message = "it did not answer in time"
        raise self.errors.pop(0)(message)


@pytest.mark.parametrize(
    ("errors", "is_away"),
    [
        ([Slept], False),
        ([StoreAway], True),
        ([Slept, Slept], True),  # Whoever asks again and fails again has had no answer for a while.
    ],
)
def test_a_process_that_slept_in_the_middle_of_a_request_asks_again(
    errors: list[type[StoreAway]], is_away: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Suspended while it asked, it took the store for away, and used a share of the limit on top of what others used.
    """
    gov = Governor({"s": {"limits": ["1/second burst 9"], "max_wait": 5.0}}, store=f"sqlite:///{tmp_path / 'store.db'}")
    gov.call("s", str)
    with caplog.at_level(logging.WARNING, "egressor"):
        store = Failing(gov, *errors)
        gov.call("s", str, cost={"requests": 3})
        eventually(lambda: not store.errors, "it has failed")
        if is_away:
            eventually(lambda: any("is away" in each for each in caplog.messages), "it is said")

    assert any("is away" in each for each in caplog.messages) is is_away
    gov.close()


def test_each_answer_earns_one_excuse(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """
    A machine that is suspended over and over never takes its store for away.
    """
    gov = Governor({"s": {"limits": ["1/second burst 9"], "max_wait": 5.0}}, store=f"sqlite:///{tmp_path / 'store.db'}")
    gov.call("s", str)
    store = Failing(gov)
    with caplog.at_level(logging.WARNING, "egressor"):
        for _ in range(2):
            store.errors = [Slept]
            gov.call("s", str, cost={"requests": 3})

    assert caplog.messages == []
    gov.close()
