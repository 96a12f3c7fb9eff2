"""
What broke once, from outside.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from egressor import Banned, ConfigError, Governor, Rejected, WaitTooLong
from egressor.testing import FakeClock

ONCE: dict[str, Any] = {"attempts": 1}


class Teapot:
    """
    The answer of an exchange that has banned us.
    """

    status_code = 418
    headers = {"Retry-After": "600"}  # noqa: RUF012 - a response's, not shared state


@pytest.mark.parametrize("reason", ["ban", "limit", "pause"])
def test_a_nested_refusal_is_no_word_of_the_outer_service(reason: str) -> None:
    """
    Regression: what we refused for one service suspended the service whose function had made the call.
    """
    gov = Governor(
        {"outer": {"retry": ONCE}, "inner": {"retry": ONCE, "limits": ["1/minute"], "max_wait": 1.0}},
        clock=FakeClock(),
    )
    gov.call("inner", Teapot if reason == "ban" else str)
    if reason == "pause":
        gov.pause("inner")

    with pytest.raises(Rejected):
        gov.call("outer", lambda: gov.call("inner", str))

    state = gov.status()["outer"]
    assert gov.call("outer", lambda: "unrelated") == "unrelated"
    assert (state["state"], state["retry_after_s"], state["bans_total"]) == ("closed", 0, 0)
    assert state["categories"] == {"cancelled": 1}


def test_a_ban_still_bans_its_own_service() -> None:
    """
    The service that said so is suspended for as long as it said.
    """
    gov = Governor({"inner": {"retry": ONCE}}, clock=FakeClock())
    gov.call("inner", Teapot)

    with pytest.raises(Banned) as caught:
        gov.call("inner", str)

    assert caught.value.retry_after == 600


def test_a_permit_taken_by_blocking_may_be_given_back_by_awaiting() -> None:
    """
    Regression: its place was lost for good.
    """
    gov = Governor({"s": {"max_concurrency": 1}})
    permit = gov.permit("s", deadline=5.0).acquire()

    asyncio.run(permit.arelease())

    assert gov.status()["s"]["in_flight"] == 0
    assert gov.call("s", lambda: 1) == 1


@pytest.mark.parametrize("deadline", [0, -1, -0.5])
def test_a_deadline_in_the_past_sends_nothing(deadline: float) -> None:
    """
    Regression: the call was made, and charged, as if it had none.
    """
    sent: list[int] = []
    gov = Governor({"s": {"limits": ["5/minute"]}}, clock=FakeClock())

    with pytest.raises(WaitTooLong, match="its deadline had passed"):
        gov.call("s", sent.append, 1, deadline=deadline)
    with pytest.raises(WaitTooLong), gov.permit("s", deadline=deadline):
        sent.append(2)

    assert sent == []
    assert gov.status()["s"]["limits"][0]["left"] == 5


def test_an_exception_that_takes_no_notes_comes_out_as_it_was_raised() -> None:
    """
    Regression: our note replaced the user's exception by whatever ``add_note`` raised.
    """

    class Stubborn(ConnectionError):
        def add_note(self, note: str) -> None:
            raise RuntimeError(note)

    def fail() -> None:
        raise Stubborn

    gov = Governor({"s": {"retry": {"attempts": 2}}}, clock=FakeClock())

    with pytest.raises(Stubborn):
        gov.call("s", fail)


@pytest.mark.parametrize("cost", [[1], 5, "tokens"])
def test_a_cost_that_is_no_mapping_is_an_error(cost: Any) -> None:
    """
    Regression: it was an AttributeError.
    """
    gov = Governor({"s": {}})

    with pytest.raises(ConfigError, match="a cost is a mapping of units to amounts"):
        gov.call("s", str, cost=cost)
