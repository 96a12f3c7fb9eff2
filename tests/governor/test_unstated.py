"""
Limits that hold only for calls which say what they take of them.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

import egressor
from egressor import Governor
from egressor.governor import defaults
from egressor.testing import FakeClock

LIMITS = ["9/minute", "9 tokens/minute", "9 weight/minute"]
Way = Callable[[Governor], object]


@pytest.fixture
def gov() -> Governor:
    """
    Return a governor with limits in three units.
    """
    return Governor({"a": {"limits": LIMITS}, "b": {"limits": LIMITS[:2]}}, clock=FakeClock())


def by_permit(gov: Governor) -> None:
    """
    Take a permit.
    """
    with gov.permit("a"):
        pass


@pytest.mark.parametrize(
    "way",
    [
        lambda gov: gov.call("a", str),
        lambda gov: gov.call("a", str, scope={"user": "u"}),
        lambda gov: gov.call("a", str, cost={"tokens": 2}),
        lambda gov: gov.throttled("a")(lambda: 1)(),
        by_permit,
    ],
    ids=["call", "scope", "tokens", "throttled", "permit"],
)
def test_the_first_call_that_states_nothing_is_told_of_once(
    gov: Governor, way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Whichever way it goes; a limit of requests or tokens is counted of its own.
    """
    way(gov)
    way(gov)
    gov.call("a", str, endpoint="other")

    [record] = caplog.records
    assert record.getMessage() == (
        'a: the limit 9 weight/minute holds only for calls that say what they take of it, cost={"weight": 1}'
    )


@pytest.mark.parametrize(
    "way",
    [
        lambda gov: gov.call("a", str, cost={"weight": 2}),
        lambda gov: gov.throttled("a", cost=lambda: {"weight": 2})(lambda: 1)(),
        lambda gov: gov.handled("a")(lambda: 1)(),
        lambda gov: gov.throttled("a")(lambda: 1),
        lambda gov: gov.call("b", str),
    ],
    ids=["stated", "by a function", "handled", "decorated", "other units"],
)
def test_who_states_it_or_may_is_told_nothing(gov: Governor, way: Way, caplog: pytest.LogCaptureFixture) -> None:
    """
    Nor is whoever passes limits by, has none of that kind, or has not called yet.
    """
    way(gov)

    assert caplog.records == []


def by_default() -> int:
    """
    Return a number.
    """
    return 1


def test_the_default_governor_tells_it_too(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """
    At the first call of a function that was decorated before it was configured.
    """
    monkeypatch.setattr(defaults, "_DEFAULT", [])
    decorated = egressor.throttled("a")(by_default)
    egressor.configure({"a": {"limits": LIMITS}})
    before = len(caplog.records)
    decorated()

    assert (before, len(caplog.records)) == (0, 1)
