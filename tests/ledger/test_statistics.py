"""
What failures and bans come to, by values.
"""

from __future__ import annotations

from typing import Any

import pytest

from egressor.ledger.bans import bans_of
from egressor.ledger.entry import Entry, made, stamp
from egressor.ledger.statistics import HOUR, MARKS, Window, errors_of, states_of
from tests.ledger.places import NOW, SECOND

A, B = "aaaa-0000-0000", "bbbb-0000-0000"
WEEK = Window(NOW - 168 * HOUR, NOW)


def error(ago: int = 0, *, group: str = A, category: str = "network", service: str = "api", **data: Any) -> Entry:
    """
    A failure that happened *ago* microseconds before `NOW`.
    """
    told = {"fingerprint": group, "severity": "medium", "outcome": "gave_up", "count": 1, "calls": 1, "message": "m"}
    return made(at=NOW - ago, kind="error", what=category, service=service, data={**told, **data})


def mark(ago: int, action: str, *, group: str = A, **data: Any) -> Entry:
    """
    What an operator said *ago* microseconds before `NOW`.
    """
    return made(at=NOW - ago, kind="operator", what=MARKS[action], who="dana", data={"fingerprint": group, **data})


def found(*entries: Entry, marks: tuple[Entry, ...] = (), window: Window = WEEK) -> dict[str, Any]:
    """
    What *entries* come to.
    """
    return errors_of(entries, states_of(marks), window)


def test_nothing_is_nothing() -> None:
    """
    Without failures there is no rate, and the timeline is all zeros.
    """
    result = found()

    assert (result["total"], result["calls"], result["recovery_rate"], result["groups"]) == (0, 0, None, [])
    assert (len(result["timeline"]), {each["count"] for each in result["timeline"]}) == (168, {0})


def test_failures_and_calls_are_added_up() -> None:
    """
    Failures are summed, calls where they ended; each count by its name, the most first.
    """
    result = found(
        error(5, calls=0, outcome="recovered", endpoint="chat"),
        error(4, outcome="recovered", endpoint="chat"),
        error(3, group=B, category="timeout", severity="high", outcome="fell_back", service="other"),
        error(2, count=7, calls=4),
    )

    assert {name: result[name] for name in ("total", "calls", "recovered", "fell_back", "gave_up")} == {
        "total": 10,
        "calls": 6,
        "recovered": 1,
        "fell_back": 1,
        "gave_up": 4,
    }
    assert result["recovery_rate"] == pytest.approx(1 / 6)
    assert list(result["by_category"].items()) == [("network", 9), ("timeout", 1)]
    assert list(result["by_severity"].items()) == [("high", 1), ("medium", 9)]
    assert result["by_service"] == {"api": 9, "other": 1}
    assert result["by_component"] == {"api": 7, "api/chat": 2, "other": 1}
    assert [(each["fingerprint"], each["count"], each["calls"]) for each in result["groups"]] == [(A, 9, 5), (B, 1, 1)]
    assert (result["timeline"][-1]["count"], result["timeline"][-1]["gave_up"]) == (10, 4)
    assert [each["count"] for each in result["recent"]] == [7, 1, 1, 1]


def test_hours_and_days() -> None:
    """
    Counts by the hour of a day and of a week, whatever the window; first and last seen of all there is.
    """
    result = found(
        error(200 * HOUR, first=stamp(NOW - 300 * HOUR)),
        error(100 * HOUR),
        error(23 * HOUR),
        error(0, count=5),
        window=Window(NOW - HOUR, NOW),
    )
    (group,) = result["groups"]

    assert (group["count"], group["last_24h"], group["last_7d"]) == (5, 6, 7)
    assert (group["per_hour"][0], group["per_hour"][-1], sum(group["per_hour"])) == (1, 5, 6)
    assert (group["first_seen"], group["last_seen"]) == (stamp(NOW - 300 * HOUR), stamp(NOW))
    assert [each["count"] for each in result["timeline"]] == [0, 5]


def test_a_clock_that_is_ahead_happens_now() -> None:
    """
    What another host has stamped in the future is neither lost nor shown there.
    """
    result = found(error(-5 * HOUR))

    assert (result["total"], result["groups"][0]["last_seen"]) == (1, stamp(NOW))


@pytest.mark.parametrize(
    ("marks", "state"),
    [
        ((), "open"),
        ((mark(5, "resolve"),), "resolved"),
        ((mark(10, "resolve"),), "resolved"),
        ((mark(11, "resolve"),), "reopened"),
        ((mark(5, "mute"),), "muted"),
        ((mark(5, "mute", seconds=1),), "muted"),
        ((mark(5 * SECOND, "mute", seconds=1),), "open"),
        ((mark(5, "mute"), mark(4, "unmute")), "open"),
        ((mark(4, "unmute"), mark(5, "mute")), "open"),
        ((mark(11, "resolve"), mark(5, "mute")), "muted"),
        ((mark(5, "resolve", group=B),), "open"),
    ],
)
def test_the_state_of_a_group(marks: tuple[Entry, ...], state: str) -> None:
    """
    Resolved until it is seen again; muted for a time, or until somebody says otherwise.
    """
    (group,) = found(error(10), marks=marks)["groups"]

    assert group["state"] == state


def test_who_resolved_it_and_which_failures() -> None:
    """
    A failure is resolved if its group was after it.
    """
    result = found(error(10), error(2), marks=(mark(5, "resolve"),))
    (group,) = result["groups"]

    assert (group["resolved_at"], group["resolved_by"], group["muted_until"]) == (stamp(NOW - 5), "dana", None)
    assert [each["resolved"] for each in result["recent"]] == [False, True]


def test_until_when_it_is_muted() -> None:
    """
    A muting for a time says when it ends.
    """
    (group,) = found(error(10), marks=(mark(0, "mute", seconds=60),))["groups"]

    assert group["muted_until"] == stamp(NOW + 60 * SECOND)


def test_one_group_and_few() -> None:
    """
    A fingerprint, and numbers of groups and failures, select.
    """
    entries = (error(3), error(2, group=B), error(1, group=B))
    one = found(*entries, window=WEEK._replace(fingerprint=A))
    few = found(*entries, window=WEEK._replace(groups=1, recent=0))

    assert (one["total"], [each["fingerprint"] for each in one["recent"]]) == (1, [A])
    assert ([each["fingerprint"] for each in few["groups"]], few["groups_total"], few["recent"]) == ([B], 2, [])


@pytest.mark.parametrize("data", [{}, {"count": "1"}, {"count": -1}, {"fingerprint": 7}, {"calls": True}])
def test_what_is_no_failure_is_passed_over(data: dict[str, Any]) -> None:
    """
    An entry that was taken up from a file may be anything.
    """
    odd = made(at=NOW, kind="error", what="x", data=data and {**error().data, **data})

    assert found(odd, error())["total"] == 1


def ban(ago: int, what: str, *, service: str = "reddit", scope: str = "ip", lasts: int = 100, **data: Any) -> Entry:
    """
    An entry about a ban, *ago* seconds before `NOW`.
    """
    told = {"until": stamp(NOW + (lasts - ago) * SECOND), "seconds": float(lasts), "count": 1, "scope": scope}
    return made(at=NOW - ago * SECOND, kind="ban", what=what, service=service, data={**told, "told": True, **data})


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ((), []),
        ((ban(5, "began"),), [("active", 0, None)]),
        ((ban(500, "began"),), [("over", 0, None)]),
        ((ban(500, "began"), ban(450, "lengthened", lasts=600)), [("active", 1, None)]),
        ((ban(500, "began"), ban(400, "ended")), [("ended", 0, stamp(NOW - 400 * SECOND))]),
        ((ban(50, "began"), ban(40, "lifted")), [("lifted", 0, stamp(NOW - 40 * SECOND))]),
        (
            (ban(50, "began"), ban(40, "lifted"), ban(30, "began")),
            [("active", 0, None), ("lifted", 0, stamp(NOW - 40 * SECOND))],
        ),
        ((ban(50, "began"), ban(40, "ended", scope="account")), [("active", 0, None)]),
        ((ban(50, "lengthened"),), [("active", 0, None)]),
        ((ban(50, "ended"),), []),
        ((ban(50, "began", until="soon"),), [("over", 0, None)]),
        ((ban(50, "began", until="2099-01-01T00:00:00"),), [("active", 0, None)]),
    ],
)
def test_the_life_of_a_ban(entries: tuple[Entry, ...], expected: list[Any]) -> None:
    """
    It begins, grows, and ends by itself, by an answer or by an operator; each scope has its own.
    """
    result = bans_of(reversed(entries), now=NOW)

    assert [(each["state"], each["lengthened"], each["ended"]) for each in result["bans"]] == expected
    assert [each["state"] for each in result["active"]] == [state for state, _, _ in expected if state == "active"]


def test_bans_are_counted_and_cut() -> None:
    """
    The newest first, so many at most, by service; an active one is shown however long ago it began.
    """
    entries = (
        ban(900, "began", lasts=10_000),
        ban(800, "began", service="x"),
        ban(5, "began", service="x", scope="all"),
    )
    result = bans_of(entries, now=NOW, since=NOW - 10 * SECOND, limit=1)

    assert (result["total"], result["by_service"], len(result["bans"])) == (2, {"reddit": 1, "x": 1}, 1)
    assert {name: result["bans"][0][name] for name in ("service", "scope", "count", "told")} == {
        "service": "x",
        "scope": "all",
        "count": 1,
        "told": True,
    }
