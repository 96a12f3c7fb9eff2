"""
Taps: they see every step, and can't change, break or delay a call.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from egressor import Governor
from egressor._core.steps import Admit, Send, Settle
from egressor.telemetry import Event, Taps
from egressor.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def gov() -> Governor:
    """
    Return a governor with a service ``s`` of one place.
    """
    return Governor({"s": {"max_concurrency": 1}}, clock=FakeClock())


def test_a_tap_sees_the_steps_in_their_order(gov: Governor) -> None:
    """
    Each call is told as it was performed, with its service and the time.
    """
    seen: list[Event] = []
    gov.tap(seen.append)

    gov.call("s", lambda: 1)
    gov.taps.drain()

    assert [type(event.step) for event in seen] == [Admit, Send, Settle]
    assert {event.service for event in seen} == {"s"}
    assert {event.now for event in seen} == {gov.clock.now()}


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_tap_that_raises_is_counted_and_breaks_nothing(
    gov: Governor, kind: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """
    Whatever a tap raises is counted, told once in the log, and neither a call nor another tap notices.
    """

    def broken(event: Event) -> None:
        raise kind

    seen: list[Event] = []
    gov.tap(broken)
    gov.tap(seen.append)
    with caplog.at_level(logging.WARNING, logger="egressor"):
        assert [gov.call("s", lambda: 7) for _ in range(3)] == [7, 7, 7]
        assert gov.taps.drain(10)

    assert gov.taps.failed == 9
    assert len(seen) == 9
    assert len(caplog.records) == 1


def test_a_tap_that_blocks_delays_no_call_and_loses_what_does_not_fit(gov: Governor) -> None:
    """
    While a tap blocks, events queue up to ten thousand; the rest is dropped, and counted.
    """
    release = threading.Event()
    gov.tap(lambda event: release.wait())

    began = time.monotonic()
    for _ in range(4_000):
        gov.call("s", lambda: 7)
    took = time.monotonic() - began

    # The tap holds one event, or none yet.
    assert gov.taps.dropped in (2_000, 1_999)
    assert took < 10
    assert not gov.taps.drain(0.01)
    release.set()
    assert gov.taps.drain(10)


def test_a_tap_may_make_calls_which_no_tap_is_told_of() -> None:
    """
    Regression: a tap that made a call was told of that call, made another, and never came to an end.
    """
    # It is told while the call that it is told of still has its place: its own one does not wait for that.
    gov = Governor({"s": {"max_concurrency": 2}}, clock=FakeClock())
    seen: list[Event] = []

    def recurse(event: Event) -> None:
        seen.append(event)
        gov.call("s", lambda: "from the tap")

    gov.tap(recurse)
    gov.call("s", lambda: 7)

    assert gov.taps.drain(10)
    assert len(seen) == 3
    assert gov.status()["s"]["admitted"] == 4
    assert gov.taps.failed == 0


def test_a_tap_that_was_removed_is_told_no_more(gov: Governor) -> None:
    """
    Without a tap calls take the straight path again.
    """
    seen: list[Event] = []
    gov.tap(seen.append)
    gov.call("s", lambda: 1)
    gov.taps.drain()

    gov.taps.remove(seen.append)
    assert len(seen) == 3
    assert gov.taps
    for tap in gov.taps._taps:
        gov.taps.remove(tap)
    gov.call("s", lambda: 1)
    gov.taps.drain()

    assert not gov.taps
    assert len(seen) == 3


def test_a_tap_can_add_another() -> None:
    """
    A tap that is added while another runs is told from the next event on.
    """
    taps = Taps()
    seen: list[Any] = []

    def first(event: Any) -> None:
        if len(taps._taps) == 1:
            taps.add(second)

    second: Callable[[Any], object] = seen.append
    taps.add(first)
    for now in range(3):
        taps.put(Event("s", None, None, now))  # type: ignore[arg-type]
        taps.drain()

    assert [event.now for event in seen] == [1, 2]
