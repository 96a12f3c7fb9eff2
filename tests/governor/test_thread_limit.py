"""
A container that gives no more threads: what goes on beside the calls waits, and no call notices.

The system's refusal can't be had by itself, as the superuser's threads are not bounded; so it is played.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from egressor import Governor
from egressor._host import threads
from egressor.ledger import failures
from egressor.telemetry.taps import Taps

ONCE: dict[str, Any] = {"retry": {"attempts": 1}, "breaker": {"consecutive": 1}}


class Limit:
    """
    How many more threads of ours there may be; None for any number.
    """

    def __init__(self) -> None:
        self.left: int | None = None


@pytest.fixture
def limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Limit]:
    """
    The container's limit, and a process that has no thread of ours yet.
    """
    found, start = Limit(), threading.Thread.start

    def bounded(thread: threading.Thread) -> None:
        if found.left is not None and thread.name.startswith("egressor-"):
            if not found.left:
                message = "can't start new thread"
                raise RuntimeError(message)
            found.left -= 1
        start(thread)

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(threading.Thread, "start", bounded)
    monkeypatch.setattr(failures, "_scribe", failures._Scribe())
    monkeypatch.setattr(threads, "_told", [False])
    yield found
    found.left = None


def fail(gov: Governor) -> None:
    """
    Make a call that fails, and see that the caller gets its own exception.
    """
    wanted = ConnectionError("mine")

    def raises() -> None:
        raise wanted

    with pytest.raises(ConnectionError) as raised:
        gov.call("a", raises)
    assert raised.value is wanted


@pytest.mark.parametrize("ledger", ["memory:", "sqlite"])
def test_a_call_keeps_its_own_exception(
    limit: Limit, tmp_path: Path, ledger: str, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Nothing is lost or leaked; it is said once; and the thread is tried again at the next failure.
    """
    where = ledger if ledger == "memory:" else f"sqlite:///{tmp_path / 'ledger.db'}"
    with Governor({"a": {**ONCE, "breaker": {"consecutive": 1_000}}}, ledger=where) as gov:
        limit.left = 0
        for _ in range(3):
            fail(gov)
        assert (gov.status()["a"]["in_flight"], gov._failures.is_rung, failures._scribe._bell.qsize()) == (0, False, 0)
        limit.left = None
        fail(gov)

        assert (gov._failures.is_rung, gov.errors()["total"]) == (True, 4)
        assert sum("could not be started" in record.getMessage() for record in caplog.records) == 1


def test_a_breaker_opens_without_a_thread_for_its_entry(limit: Limit, tmp_path: Path) -> None:
    """
    The history of what happens is written once there is a thread, or goes to the spool.
    """
    where = f"sqlite:///{tmp_path / 'ledger.db'}"
    gov = Governor({"a": ONCE}, ledger=where)
    limit.left = 0
    fail(gov)
    assert (gov.status()["a"]["in_flight"], gov.status()["a"]["state"]) == (0, "open")
    gov.close()
    limit.left = None

    with Governor({"a": ONCE}, ledger=where) as again:
        assert [entry["what"] for entry in again.history(kind="breaker")] == ["open"]


def test_a_handler_is_told_once_there_is_a_thread(limit: Limit) -> None:
    """
    It may be registered without one, and what fails meanwhile waits.
    """
    told: list[str] = []
    with Governor({"a": {**ONCE, "breaker": {"consecutive": 1_000}}}) as gov:
        limit.left = 0
        gov.on_error()(lambda failure: told.append(failure.service))
        fail(gov)
        assert told == []
        limit.left = None
        fail(gov)
        assert gov.context.handlers.drain(20)

        assert told == ["a", "a"]


def test_an_observer_sees_once_there_is_a_thread(limit: Limit) -> None:
    """
    So is a tap.
    """
    taps = Taps()
    seen: list[object] = []
    limit.left = 0
    taps.add(seen.append)
    event: Any = "first"
    taps.put(event)
    assert seen == []
    limit.left = None
    taps.put(event)

    assert (taps.drain(20), seen) == (True, ["first", "first"])
