"""
How a service stands, in all processes: breaker, ban, Retry-After, pause.
"""

from __future__ import annotations

import random
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.fleet import Fleet, eventually, now, run_for

Start = Callable[..., Fleet]

ONCE = {"attempts": 1}
# A 429 that names no time is worth ten minutes of quiet.
SLOW = {**ONCE, "base": 600.0, "cap": 600.0}
PLAIN: dict[str, Any] = {"max_wait": 0.0, "retry": SLOW, "breaker": {"consecutive": 2, "open_for": 60.0}}
LIMITED: dict[str, Any] = {**PLAIN, "limits": ["1000/second"]}
PLACED: dict[str, Any] = {**PLAIN, "max_concurrency": 100}
KINDS = {"limited": LIMITED, "places": PLACED, "neither": PLAIN}
# What somebody does in one process, and what every other then answers.
EVENTS = {
    "breaker": ("[attempt(fail) for _ in range(2)]", "CircuitOpen"),
    "pause": ("gov.pause('s', 'why')", "Paused"),
    "ban": ("attempt(answer(418, Retry_After='600'))", "Banned"),
    "retry-after": ("attempt(answer(429, Retry_After='600'))", "WaitTooLong"),
    "haste": ("attempt(answer(429))", "WaitTooLong"),
}
SOON = 1.0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("event", EVENTS)
def test_what_happens_in_one_process_holds_in_all(start: Start, event: str, kind: str) -> None:
    """
    Within a second all processes refuse, whether they have used the service before or not, and so do later ones.
    """
    fleet = start(3, {"s": KINDS[kind]})
    deed, expected = EVENTS[event]
    acting, using, fresh = fleet.members
    assert using.ask("attempt(str)") == "ok"

    acting.ask(deed)
    run_for(SOON)

    assert [expected] * 3 == [member.ask("attempt(str)") for member in (acting, using, fresh)]
    [later] = fleet.start(1)
    later.ask("attempt(str)")
    run_for(SOON)
    assert expected == later.ask("attempt(str)")


SIGNS = {
    "exchange": "418, Retry_After='600'",
    "edge": "403, '<title>Attention Required! | Cloudflare</title>', Content_Type='text/html'",
    "challenge": "403, cf_mitigated='challenge'",
    "captcha": "200, '<html><head><title>Just a moment...</title></head>', Content_Type='text/html'",
}


@pytest.mark.parametrize("sign", SIGNS)
def test_a_ban_stops_three_busy_processes_within_a_second(start: Start, tmp_path: Path, sign: str) -> None:
    """
    One of four processes under load is banned, or challenged; a second later nothing goes in any, by their log, and the
    ledger that they share has it once.
    """
    policy = {"limits": ["400/second burst 5"], "max_wait": 30.0, "retry": ONCE}
    fleet = start(4, {"s": policy}, ledger=f"sqlite:///{tmp_path}/history.db")
    banned, *busy = fleet.members
    for each in busy[:2]:
        each.ask("threads(4)")
    busy[2].ask("tasks(8)")
    eventually(lambda: len(fleet.lines()) >= 40, "calls go")

    banned.ask(f"attempt(answer({SIGNS[sign]}))")
    at = now()
    run_for(1.5)

    assert [line for line in fleet.lines() if line.at > at + 1_000_000] == []
    assert [each.ask("REFUSED['Banned']") > 0 for each in busy] == [True] * 3
    assert all(left > 200 for left in fleet.all("gov.status()['s']['ban']['until_s']"))
    assert fleet.all("[each['what'] for each in gov.history('s', kind='ban')]") == [["began"]] * 4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("event", EVENTS)
def test_what_happened_outlives_every_process(start: Start, event: str, kind: str) -> None:
    """
    When all processes have ended, new ones on the same store go on with what was known.
    """
    fleet = start(1, {"s": KINDS[kind]})
    deed, expected = EVENTS[event]
    fleet.members[0].ask(deed)
    run_for(0.5)
    fleet.lose(fleet.members[0])

    [later] = fleet.start(1)
    later.ask("attempt(str)")
    run_for(SOON)

    assert expected == later.ask("attempt(str)")


@pytest.mark.parametrize(
    ("event", "end"),
    [
        ("breaker", "reset_breaker"),
        ("pause", "resume"),
        ("ban", "lift_ban"),
        ("retry-after", "lift_ban"),
        ("haste", "lift_ban"),
    ],
)
def test_an_operator_ends_it_for_all(start: Start, event: str, end: str) -> None:
    """
    What an operator ends in one process is over in all within a second.
    """
    fleet = start(2, {"s": LIMITED})
    deed, expected = EVENTS[event]
    acting, other = fleet.members
    acting.ask(deed)
    eventually(lambda: other.ask("attempt(str)") == expected, "the other one refuses")

    other.ask(f"gov.{end}('s')")
    run_for(SOON)

    assert fleet.all("attempt(str)") == ["ok", "ok"]


def test_too_much_haste_of_two_processes_adds_up(start: Start) -> None:
    """
    Calls that were under way in both when the first 429 came, which names no time, count once; after the pause the next
    one, in the other process, makes a pause of twice the length in both, and a success ends the row.
    """
    fleet = start(2, {"s": {"max_wait": 30.0, "retry": {**ONCE, "base": 1.5, "cap": 60.0}}})
    one, other = fleet.members
    fleet.all("attempt(str)")
    one.tell("[later(str(i), lambda: time.sleep(0.3) or answer(429)()) for i in range(5)] and time.sleep(0.5)")
    other.ask("attempt(lambda: time.sleep(0.5) or answer(429)())")
    one.hear()
    eventually(lambda: all(0 < left < 1.6 for left in fleet.all(_SLOWED)), "both pause")

    assert other.ask("attempt(answer(429))") == "ok"
    eventually(lambda: all(1.6 < left < 3.1 for left in fleet.all(_SLOWED)), "both pause for twice as long")
    assert one.ask("attempt(str)") == "ok"
    eventually(lambda: other.ask("attempt(str)") == "ok", "the pause is over in both")
    run_for(2.5)  # Successes are told within two seconds.
    other.ask("attempt(answer(429))")
    eventually(lambda: all(0 < left < 1.6 for left in fleet.all(_SLOWED)), "the row begins anew")


_SLOWED = "gov.status()['s']['slowed_s']"


def test_a_pause_stops_calls_that_wait_and_those_that_come(start: Start) -> None:
    """
    A second after a pause in another process nothing goes any more, under load.
    """
    fleet = start(3, {"s": {"limits": ["200/second burst 5"], "max_wait": 30.0}})
    *busy, operator = fleet.members
    busy[0].ask("threads(4)")
    busy[1].ask("tasks(8)")
    eventually(lambda: len(fleet.lines()) >= 20, "calls go")

    operator.ask("gov.pause('s', 'why')")
    paused = now()
    run_for(1.5)

    assert [line for line in fleet.lines() if line.at > paused + 1_000_000] == []
    assert all(each.ask("REFUSED['Paused']") > 0 for each in busy)


def test_failures_of_different_processes_count_together(start: Start) -> None:
    """
    Four processes that fail once each open a breaker that four failures in a row open.
    """
    fleet = start(4, {"s": {**LIMITED, "breaker": {"consecutive": 4, "open_for": 60.0}}})
    fleet.all("attempt(str)")

    assert fleet.all("attempt(fail)") == ["ConnectionError"] * 4
    run_for(SOON)  # A success that came in between would end the row.

    assert fleet.all("attempt(str)") == ["CircuitOpen"] * 4


# What is done in a member, and how often beside the others.
DEEDS = {
    "attempt(str)": 16,
    "attempt(fail)": 12,
    "attempt(answer(429, Retry_After='2'))": 2,
    "attempt(answer(418, Retry_After='30'))": 1,
    "gov.pause('s', 'why')": 2,
    "gov.resume('s')": 3,
    "gov.reset_breaker('s')": 2,
    "gov.force_open('s')": 1,
    "gov.lift_ban('s')": 2,
}
# Successes are told of later than anything else, so what only they change is left out.
STANDING = (
    "(lambda s: [s['state'], s['paused'], s['breaker']['state'], s['breaker']['failures'], s['ban']['until_s'] > 0,"
    " s['ban']['count'], s['ban']['scope']])(gov.status()['s'])"
)


@pytest.mark.parametrize("seed", range(3))
def test_all_come_to_one_standing_whatever_is_done_at_the_same_moment(start: Start, seed: int) -> None:
    """
    Three members do things at once, again and again; a second later each says the same of the service.
    """
    dice = random.Random(seed)
    fleet = start(3, {"s": {**LIMITED, "breaker": {"consecutive": 6, "open_for": 60.0}}})

    for _ in range(12):
        for member in fleet.members:
            member.tell(dice.choices(list(DEEDS), list(DEEDS.values()))[0])
        for member in fleet.members:
            member.hear()
    run_for(SOON)

    first, *others = fleet.all(STANDING)
    assert others == [first, first]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("probes", [1, 3])
def test_half_open_lets_so_many_probes_through_over_all(start: Start, probes: int, kind: str) -> None:
    """
    Of 200 calls of four processes at once, no more than *probes* reach an upstream that may be down.
    """
    breaker = {"consecutive": 2, "open_for": 0.5, "growth": 1, "probes": probes}
    fleet = start(4, {"s": {**KINDS[kind], "breaker": breaker}})
    fleet.all("attempt(str)")
    fleet.members[0].ask("[attempt(fail) for _ in range(2)]")
    eventually(lambda: "ok" not in fleet.all("attempt(str)"), "it is open in all")
    run_for(0.6)

    for member in fleet.members:
        member.tell("[later('c%d' % i, noted('probe', forever)) for i in range(50)] and 0")
    for member in fleet.members:
        member.hear()
    eventually(lambda: sum(fleet.all("len(ANSWERS)")) >= 200 - probes, "all others are refused")

    found = Counter(kind for answers in fleet.all("list(ANSWERS.values())") for kind in answers)
    assert len(fleet.lines("probe")) == probes
    assert found == {"CircuitOpen": 200 - probes}


@pytest.mark.parametrize("fate", ["killed", "stopped", "cancelled"])
def test_a_probe_whose_holder_is_gone_wedges_nothing(start: Start, fate: str) -> None:
    """
    When a probe's lease is over others may try, and close the breaker; the late one changes nothing.
    """
    breaker = {"consecutive": 2, "open_for": 0.4, "growth": 1}
    policy = {**LIMITED, "breaker": breaker, "timeout": 1.0, "lease_for": 1.5}
    fleet = start(3, {"s": policy})
    holder, *others = fleet.members
    holder.ask("[attempt(fail) for _ in range(2)]")
    eventually(lambda: others[0].ask("attempt(str)") == "CircuitOpen", "it is open")
    holder.ask("LOOPS.append(Loop())")
    eventually(lambda: holder.ask("LOOPS[0].start()") is None and fleet.lines("probe"), "a probe is out")
    began = now()
    assert others[0].ask("attempt(noted('early'))") == "CircuitOpen"

    if fate == "killed":
        fleet.lose(holder)
    elif fate == "stopped":
        holder.signal(signal.SIGSTOP)
    else:
        holder.ask("LOOPS[0].cancel()")

    eventually(lambda: others[0].ask("attempt(noted('next'))") == "ok", "the next one goes")
    eventually(lambda: others[1].ask("attempt(str)") == "ok", "it is closed in all")
    if fate != "cancelled":
        assert fleet.lines("next")[0].at - began >= 1_000_000
    if fate == "stopped":
        holder.signal(signal.SIGCONT)
        holder.ask("LOOPS[0].cancel()")
        run_for(0.5)
        assert fleet.all("attempt(str)") == ["ok"] * 3


def test_one_probe_after_a_ban_over_all(start: Start) -> None:
    """
    When a suspension is over one call of all processes looks whether it is; a second refusal suspends all again.
    """
    policy = {**LIMITED, "ban": {"suspend_for": 1.0, "growth": 1}}
    fleet = start(3, {"s": policy})
    fleet.all("attempt(str)")
    fleet.members[0].ask("attempt(answer(418, Retry_After='1'))")
    eventually(lambda: "ok" not in fleet.all("attempt(str)"), "all are banned")
    run_for(1.3)

    for member in fleet.members:
        member.tell("[later('c%d' % i, noted('probe', forever)) for i in range(20)] and 0")
    for member in fleet.members:
        member.hear()
    eventually(lambda: sum(fleet.all("len(ANSWERS)")) >= 59, "all others are refused")

    assert len(fleet.lines("probe")) == 1
