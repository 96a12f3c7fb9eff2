"""
What one process's answers teach holds in all.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.fleet import Fleet, eventually, now, run_for

Start = Callable[..., Fleet]

POLICY = {"limits": ["100000/minute"], "max_wait": 0.0, "retry": {"attempts": 1}}
NOTHING = "attempt(answer(200, RateLimit_Remaining='0', RateLimit_Limit='100', RateLimit_Reset='600'))"
SOON = 1.0


def test_nothing_left_holds_all_within_a_second(start: Start) -> None:
    """
    One of four processes is told that nothing is left: a second later nobody goes, by the log, nor a newcomer.
    """
    fleet = start(4, {"s": POLICY})
    told, *others = fleet.members
    for each in others:
        each.ask("threads(2, rest=0.005)")
    eventually(lambda: len(fleet.lines()) >= 40, "calls go")

    told.ask(NOTHING)
    at = now()
    run_for(1.5)

    assert [line for line in fleet.lines() if line.at > at + 1_000_000] == []
    assert all(each.ask("REFUSED['WaitTooLong']") > 0 for each in others)
    [later] = fleet.start(1)
    later.ask("attempt(str)")
    run_for(SOON)
    assert later.ask("attempt(str)") == "WaitTooLong"


def test_what_a_sole_process_has_learned_outlives_it(start: Start) -> None:
    """
    Killed, it has told the store that nothing is left: the very first call of the one that follows is refused, for no
    longer than was left.
    """
    fleet = start(1, {"s": POLICY})
    fleet.members[0].ask(NOTHING)
    run_for(0.5)
    fleet.lose(fleet.members[0])
    [later] = fleet.start(1)

    assert later.ask("attempt(str)") == "WaitTooLong"
    told = later.ask("gov.status()['s']['learned']")
    assert [(each["left"], each["limit"]) for each in told] == [(0, 100)]
    assert 500 < told[0]["resets_s"] <= 631


def test_discord_s_invalid_requests_add_up(start: Start) -> None:
    """
    What each of three processes has to answer for counts against the one address that they share.
    """
    fleet = start(3, {"s": {**POLICY, "dialect": "discord"}})
    fleet.all("[attempt(answer(status)) for status in (401, 403, 404, 401)]")

    eventually(lambda: fleet.all("gov.status()['s']['learned'][0]['left']") == [9_991] * 3, "all know the sum")


@pytest.mark.parametrize("priority", ["critical", "low"])
def test_a_server_s_last_units_are_shared(start: Start, priority: str) -> None:
    """
    Four processes use one server that counts for itself and says what is left: what they send beyond that is no more
    than one call each, besides those that were under way before the first answer.
    """
    fleet = start(4, {"s": POLICY})

    for each in fleet.members:
        each.ask(f"busy(2, limited(60, 600, {str(fleet.log)!r}), priority={priority!r})")
    run_for(3.0)

    sent = len(fleet.lines("x"))
    assert sent <= 60 + 3 + 8
    assert sent >= (60 if priority == "critical" else 40)
