"""
A standing that several processes agree on: whatever the order of their deeds, all of them end with the same one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor._core.admission import Ask, Lease
from egressor._core.ban import BanNews
from egressor._core.breaker import BreakerState
from egressor._core.learn import INVALID, Hint
from egressor._core.model import ErrorCategory, Verdict
from egressor.policies import BanPolicy, BreakerPolicy, Policy, RetryPolicy
from egressor.stores.agreed import Agreed
from egressor.stores.compiled import Compiled
from egressor.stores.counts import Counts

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECOND = 1_000_000
_OK = Verdict()
_FAILED = Verdict(category=ErrorCategory.SERVER_ERROR, counts=True, retryable=True)
_BANNED = Verdict(category=ErrorCategory.BAN, retry_after=30.0)
_HASTY = Verdict(category=ErrorCategory.RATE_LIMIT, scope="credential")
_ASK = Ask((), level=1)


class Fleet:
    """
    Some processes, and what the store has of the standing.
    """

    def __init__(self, members: int, **policy: object) -> None:
        self.compiled = Compiled("a", Policy(**policy))  # type: ignore[arg-type]
        self.now = 1_000 * _SECOND
        self.text = ""
        self.version = 0
        self.members = [Agreed(self.compiled, counts=Counts(), dice=lambda: 0.5) for _ in range(members)]
        self.versions = [0] * members

    def agree(self, who: int) -> None:
        """
        Let one process hand its deeds in, until the store takes them.
        """
        member = self.members[who]
        while self.versions[who] != self.version or member.log:
            if self.versions[who] != self.version:
                member.load(self.text, who)
                self.versions[who] = self.version
            if member.log:
                deeds = len(member.log)
                self.text = member.dump(who)
                self.version += 1
                self.versions[who] = self.version
                member.agreed(deeds)

    def agree_all(self) -> None:
        """
        Let everybody hand everything in, and know of it.
        """
        for _ in range(2):
            for who in range(len(self.members)):
                self.agree(who)

    def attempt(self, who: int, verdict: Verdict) -> None:
        """
        Let an attempt of one process end.
        """
        member = self.members[who]
        generation = member.breaker.generation
        lease = Lease(_ASK, at=self.now, generation=generation, probe=0)
        self.now += 1_000
        if verdict.ok:
            member.succeeded(self.now, 1_000, generation)
        else:
            member.settle(lease, verdict, self.now)

    def told(self) -> list[Mapping[str, object]]:
        """
        Return what everybody holds the standing to be, in the store's time.
        """
        found = []
        for who, member in enumerate(self.members):
            reader = Agreed(self.compiled, counts=Counts(), dice=lambda: 0.5)
            reader.load(member.dump(who), 0)
            found.append(json.loads(reader.dump(0)))
        return found


_DEEDS = st.lists(
    st.tuples(
        st.integers(0, 2), st.sampled_from(["ok", "failed", "banned", "hasty", "retry", "pause", "resume", "agree"])
    ),
    max_size=40,
)


@given(_DEEDS)
def test_all_end_with_the_same_standing(deeds: list[tuple[int, str]]) -> None:
    """
    Once everybody has agreed, everybody holds the same.
    """
    fleet = Fleet(3, breaker=BreakerPolicy(consecutive=4, failure_rate=0.5, min_calls=10))
    for who, deed in deeds:
        _do(fleet, who, deed)
    fleet.agree_all()
    first, *others = fleet.told()
    assert others == [first, first]


def _do(fleet: Fleet, who: int, deed: str) -> None:
    member = fleet.members[who]
    verdicts = {"ok": _OK, "failed": _FAILED, "banned": _BANNED, "hasty": _HASTY}
    if deed in verdicts:
        fleet.attempt(who, verdicts[deed])
    elif deed == "retry":
        member.may_retry(fleet.now, attempt=1, wants=True)
    elif deed == "agree":
        fleet.agree(who)
    else:
        member.pause("maintenance" if deed == "pause" else "")


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.booleans()), max_size=60))
def test_no_result_is_lost_or_counted_twice(results: list[tuple[int, bool, bool]]) -> None:
    """
    However results and agreements interleave, the window holds each of them once.
    """
    fleet = Fleet(3, breaker=BreakerPolicy(consecutive=0, failure_rate=1.0, min_calls=1_000, window=3_600))
    for who, is_ok, agrees in results:
        fleet.attempt(who, _OK if is_ok else _FAILED)
        if agrees:
            fleet.agree(who)
    fleet.agree_all()
    snapshot = fleet.members[0].snapshot(fleet.now)["breaker"]
    assert isinstance(snapshot, dict)
    assert (snapshot["calls"], snapshot["failures"]) == (len(results), sum(not is_ok for _, is_ok, _ in results))


def test_failures_in_a_row_are_counted_over_all() -> None:
    """
    Each of three processes fails once; the third failure opens the breaker of all.
    """
    fleet = Fleet(3, breaker=BreakerPolicy(consecutive=3))
    for who in range(3):
        fleet.attempt(who, _FAILED)
        fleet.agree(who)
    fleet.agree_all()
    assert [member.breaker.state for member in fleet.members] == [BreakerState.OPEN] * 3


def test_a_success_that_is_told_late_ends_no_row() -> None:
    """
    A success from before the failures, which its process tells of after them, does not end their row.
    """
    fleet = Fleet(2, breaker=BreakerPolicy(consecutive=3))
    fleet.attempt(1, _OK)
    fleet.attempt(0, _FAILED)
    fleet.attempt(0, _FAILED)
    fleet.agree(0)
    fleet.agree(1)
    fleet.attempt(0, _FAILED)
    fleet.agree(0)
    assert fleet.members[0].breaker.state is BreakerState.OPEN


def test_successes_that_all_tell_late_end_no_row() -> None:
    """
    Processes that have had a success before their failure, and tell of both at once, have failed in a row all the same.
    """
    fleet = Fleet(4, breaker=BreakerPolicy(consecutive=4))
    for who in range(4):
        fleet.attempt(who, _OK)
    fleet.agree(0)
    for who in range(4):
        fleet.attempt(who, _FAILED)
    for who in (1, 2, 3, 0, 1, 2, 3):
        fleet.agree(who)
    assert [member.breaker.state for member in fleet.members] == [BreakerState.OPEN] * 4


@pytest.mark.parametrize("probes", [1, 3])
def test_probes_are_bounded_over_all(probes: int) -> None:
    """
    Of six processes that all want to be the probe, as many may go as the policy says.
    """
    fleet = Fleet(6, breaker=BreakerPolicy(consecutive=1, open_for=5.0, probes=probes))
    fleet.attempt(0, _FAILED)
    fleet.agree_all()
    fleet.now += 6 * _SECOND
    for member in fleet.members:
        member.reserve(fleet.now)
    for who in range(6):
        fleet.agree(who)
    assert sum(member.may_go() for member in fleet.members) == probes


def test_a_probe_that_nobody_used_comes_back() -> None:
    """
    A probe that was agreed on and then given back is there for another process.
    """
    fleet = Fleet(2, breaker=BreakerPolicy(consecutive=1, open_for=5.0, probes=1))
    fleet.attempt(0, _FAILED)
    fleet.agree_all()
    fleet.now += 6 * _SECOND
    fleet.members[0].reserve(fleet.now)
    fleet.agree(0)
    fleet.members[0].cancel(fleet.now)
    fleet.agree_all()
    fleet.members[1].reserve(fleet.now)
    fleet.agree(1)
    assert fleet.members[1].may_go()


def test_the_probe_of_a_ban_goes_alone() -> None:
    """
    After a ban one call of one process tries; its success ends the ban for all.
    """
    fleet = Fleet(2, ban=BanPolicy(suspend_for=10.0))
    fleet.attempt(0, Verdict(category=ErrorCategory.BAN))
    fleet.agree_all()
    fleet.now += 11 * _SECOND
    for member in fleet.members:
        member.reserve(fleet.now)
    for who in range(2):
        fleet.agree(who)
    assert [member.may_go() for member in fleet.members] == [True, False]
    fleet.members[0].settle(fleet.members[0].grant(_ASK, fleet.now), _OK, fleet.now)
    fleet.agree_all()
    assert not any(member.needs_probe() for member in fleet.members)


def test_what_servers_say_is_known_to_all() -> None:
    """
    Near the edge it is told at once; whoever knows less to be left is believed; what is over is nobody's.
    """
    fleet = Fleet(3)
    first, second, third = fleet.members
    assert not first.hear([_left(90)], _ASK, fleet.now, 0)
    assert not first.log
    assert first.hear([_left(9)], _ASK, fleet.now, 0)
    second.hear([_left(5, resets=50)], _ASK, fleet.now, 0)
    third.hear([_left(20, resets=70)], _ASK, fleet.now, 0)
    fleet.agree_all()

    known = [member.learned.snapshot(fleet.now) for member in fleet.members]
    assert [(each[0]["left"], each[0]["limit"]) for each in known] == [(5, 100)] * 3
    lasts = [member.learned.snapshot(fleet.now + 40 * _SECOND)[0]["resets_s"] for member in fleet.members]
    assert all(9 < float(str(each)) < 13 for each in lasts)
    assert not any(member.learned.snapshot(fleet.now + 60 * _SECOND) for member in fleet.members)


def test_of_two_waits_for_one_endpoint_the_longer_one_holds() -> None:
    """
    Each process was told another time; what is left is nothing for both.
    """
    fleet = Fleet(3)
    ask = Ask((), level=1, scope={"endpoint": "e"})
    for member, seconds in zip(fleet.members, (30, 60, 10), strict=True):
        member.settle(Lease(ask, at=fleet.now, generation=0, probe=0), _slow(seconds), fleet.now)
    fleet.agree_all()

    known = [member.learned.snapshot(fleet.now) for member in fleet.members]
    assert [len(each) for each in known] == [1] * 3
    assert all(60 <= float(str(each[0]["resets_s"])) < 66 for each in known)


def test_too_much_haste_counts_once_for_calls_that_were_under_way() -> None:
    """
    Three processes hear "too fast" before they hear of each other: one pause for all; the next is twice as long.
    """
    fleet = Fleet(3)
    for who in range(3):
        fleet.attempt(who, _HASTY)
    fleet.agree_all()
    assert [member.snapshot(fleet.now)["slowed_s"] for member in fleet.members] == [pytest.approx(1, abs=0.01)] * 3

    fleet.now += 2 * _SECOND
    for who in (2, 1):
        fleet.attempt(who, _HASTY)
    fleet.agree_all()
    assert [member.snapshot(fleet.now)["slowed_s"] for member in fleet.members] == [pytest.approx(2, abs=0.01)] * 3
    held = {member.holds_back(_ASK, fleet.now, under_way=0, members=3)[0] > fleet.now for member in fleet.members}
    assert held == {True}


@pytest.mark.parametrize("end", ["success", "operator"])
def test_what_ends_a_row_of_pauses_ends_it_for_all(end: str) -> None:
    """
    A success that began after the pause, or an operator's word, which ends the pause as well.
    """
    fleet = Fleet(2)
    for who in (0, 1):
        fleet.attempt(who, _HASTY)
        fleet.agree_all()
        fleet.now += 2 * _SECOND
    if end == "success":
        fleet.attempt(1, _OK)
    else:
        fleet.members[1].lift_ban(fleet.now)
        assert fleet.members[1].is_calm(fleet.now)
    fleet.agree_all()
    fleet.attempt(0, _HASTY)
    fleet.agree_all()

    assert [member.snapshot(fleet.now)["slowed_s"] for member in fleet.members] == [pytest.approx(1, abs=0.01)] * 2


@pytest.mark.parametrize("scope", ["endpoint", "recipient", "call"])
def test_haste_at_one_part_of_a_service_slows_nobody_else(scope: str) -> None:
    """
    A limit of one endpoint says nothing of the others, whether the call names its own or not.
    """
    fleet = Fleet(1)
    fleet.attempt(0, Verdict(category=ErrorCategory.RATE_LIMIT, scope=scope))

    assert fleet.members[0].is_calm(fleet.now)


@pytest.mark.parametrize("known", [3, 5, 6])
def test_a_standing_of_an_earlier_version_is_read(known: int) -> None:
    """
    It says nothing of pauses, and less of bans.
    """
    fleet = Fleet(1)
    fleet.attempt(0, _BANNED)
    told = json.loads(fleet.members[0].dump(0))
    del told["haste"]
    told["ban"] = told["ban"][:known]
    fleet.members[0].load(json.dumps(told), 0)

    state = fleet.members[0].snapshot(fleet.now)
    assert (state["slowed_s"], state["state"]) == (0, "banned")


_INVALID = Hint(INVALID, limit=10_000, window=600 * _SECOND, adds=1)


def calls(fleet: Fleet, who: int, count: int) -> int:
    """
    Let *count* calls of one process fail, each of which wants to retry, before it speaks; return how many may.
    """
    member = fleet.members[who]
    return sum(member.may_retry(fleet.now, attempt=1, wants=True, members=len(fleet.members)) for _ in range(count))


def test_each_process_retries_within_its_share_until_all_have_agreed() -> None:
    """
    100 retries are free, and each call brings half of one: of four that speak to nobody each makes its quarter.
    """
    fleet = Fleet(4, retry=RetryPolicy(budget=0.5))
    for _ in range(180):
        fleet.members[0].may_retry(fleet.now, attempt=1, wants=False)
    fleet.agree_all()

    assert [calls(fleet, who, 100) for who in range(4)] == [37] * 4


def test_what_several_have_granted_at_once_is_a_debt_of_all() -> None:
    """
    Four make the one free retry that each of them knows of; until calls have paid for all four there is no other.
    """
    fleet = Fleet(4, retry=RetryPolicy(budget=0.5))
    while calls(fleet, 0, 1):
        fleet.agree_all()
    fleet.members[0].may_retry(fleet.now, attempt=1, wants=False)
    fleet.agree_all()

    at_once = [calls(fleet, who, 1) for who in range(4)]
    afterwards = []
    for who in range(4):
        fleet.agree_all()
        afterwards.append(calls(fleet, who, 1))

    assert (at_once, afterwards) == ([1, 1, 1, 1], [0, 0, 0, 1])


def test_what_is_told_late_makes_nothing_older() -> None:
    """
    Retries are remembered for as long, whoever tells later of a call from before them.
    """
    fleet = Fleet(2, retry=RetryPolicy(budget=0.1))
    fleet.members[0].may_retry(fleet.now, attempt=1, wants=False)
    fleet.members[0].succeeded(fleet.now, 0, 0)
    fleet.now += 5 * _SECOND
    while calls(fleet, 1, 1):
        fleet.agree(1)
    fleet.agree_all()
    fleet.now += 6 * _SECOND

    assert [calls(fleet, who, 1) for who in range(2)] == [0, 0]


def test_a_retry_that_is_told_when_it_would_be_forgotten_changes_nothing() -> None:
    """
    A process that was cut off for long neither brings the others into debt, nor makes them forget theirs.
    """
    fleet = Fleet(2)
    made = calls(fleet, 0, 3)
    fleet.now += 20 * _SECOND
    before = 0
    while calls(fleet, 1, 1):
        before += 1
        fleet.agree(1)
    fleet.agree_all()
    after = [calls(fleet, who, 1) for who in range(2)]
    fleet.agree_all()
    fleet.now += 11 * _SECOND
    free = calls(fleet, 1, 1)

    assert (made, before, after, free) == (3, 11, [0, 0], 1)


def test_a_retry_that_nobody_could_be_told_of_is_not_made() -> None:
    """
    A log that is full takes no more.
    """
    fleet = Fleet(2)
    for _ in range(4_096):
        fleet.members[0].pause("")

    assert calls(fleet, 0, 1) == 0


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.booleans(), st.booleans()), max_size=30))
def test_what_is_counted_here_adds_up(answers: list[tuple[int, int, bool, bool]]) -> None:
    """
    Whoever counts how many invalid requests, and tells when: all know the sum, each counted once.
    """
    fleet = Fleet(3)
    for who, times, agrees, is_all in answers:
        for _ in range(times):
            fleet.now += 1_000
            fleet.members[who].hear([_INVALID, _left(90)], _ASK, fleet.now, 0)
        if agrees:
            fleet.agree(who)
        if is_all:
            fleet.agree_all()
    fleet.agree_all()

    found = [_counted(member.learned.snapshot(fleet.now)) for member in fleet.members]
    assert found == [10_000 - sum(times for _, times, _, _ in answers)] * 3


def test_a_window_of_counting_ends_for_all() -> None:
    """
    After ten minutes the count begins anew, with whoever counts first; one that is near its end is told at once.
    """
    fleet = Fleet(2)
    for who in (0, 1):
        fleet.members[who].hear([_INVALID._replace(adds=4_000)], _ASK, fleet.now, 0)
        fleet.agree(who)
    fleet.agree_all()
    assert [_counted(member.learned.snapshot(fleet.now)) for member in fleet.members] == [2_000] * 2

    fleet.now += 601 * _SECOND
    fleet.members[1].hear([_INVALID], _ASK, fleet.now, 0)
    fleet.agree_all()
    assert [_counted(member.learned.snapshot(fleet.now)) for member in fleet.members] == [9_999] * 2
    fleet.members[0].hear([_INVALID._replace(adds=9_000)], _ASK, fleet.now, 0)
    assert fleet.members[0].is_urgent


def _counted(learned: list[dict[str, object]]) -> object:
    return next((each["left"] for each in learned if each["unit"] == INVALID), 10_000)


def _slow(seconds: int) -> Verdict:
    return Verdict(category=ErrorCategory.RATE_LIMIT, retry_after=float(seconds), scope="endpoint")


def test_what_an_operator_wants_forgotten_is_forgotten_by_all() -> None:
    """
    Whoever knew it forgets it; what is said afterwards holds.
    """
    fleet = Fleet(2)
    for member in fleet.members:
        member.hear([_left(0)], _ASK, fleet.now, 0)
    fleet.agree_all()
    fleet.now += _SECOND
    fleet.members[0].lift_ban(fleet.now)
    fleet.agree_all()
    assert [member.learned.snapshot(fleet.now) for member in fleet.members] == [[], []]
    fleet.now += _SECOND
    fleet.members[1].hear([_left(7)], _ASK, fleet.now, 0)
    fleet.agree_all()
    assert [member.learned.snapshot(fleet.now)[0]["left"] for member in fleet.members] == [7, 7]


def _left(rest: int, *, resets: int = 50) -> Hint:
    return Hint("requests", rest, 100, resets * _SECOND)


def test_a_store_that_forgot_is_told_again() -> None:
    """
    A pause outlives a store that has lost everything.
    """
    fleet = Fleet(2)
    fleet.members[0].pause("maintenance")
    fleet.agree_all()
    fleet.text, fleet.version, fleet.versions = "", 0, [0, 0]
    fleet.members[1].begin_anew(fleet.now)
    fleet.agree(1)
    assert json.loads(fleet.text)["paused"] == "maintenance"


def test_a_ban_and_a_pause_outlive_a_store_that_forgot_though_another_tells_it_first() -> None:
    """
    A process that has just started tells the empty store that nothing is wrong, while the one that knows better is on
    its way; what another has lifted is over all the same.
    """
    fleet = Fleet(2)
    fleet.attempt(0, _BANNED)
    fleet.members[0].pause("maintenance")
    fleet.agree(0)
    fleet.text, fleet.version, fleet.versions = "", 0, [0, 0]
    fleet.members[0].begin_anew(fleet.now)
    fleet.attempt(1, _FAILED)
    fleet.agree(1)
    fleet.agree_all()
    state = [member.snapshot(fleet.now) for member in fleet.members]
    assert [(each["paused"], each["ban"]["until_s"] > 29) for each in state] == [("maintenance", True)] * 2  # type: ignore[index]

    fleet.members[1].lift_ban(fleet.now)
    fleet.agree_all()
    state = [member.snapshot(fleet.now) for member in fleet.members]
    assert [each["ban"]["until_s"] for each in state] == [0, 0]  # type: ignore[index]


@given(st.permutations(["restored", "lifted", "agree", "agree other", "banned"]), st.integers(0, 60))
def test_a_restored_ban_ends_alike_for_all(deeds: list[str], seconds: int) -> None:
    """
    In whatever order one takes a ban up from the ledger, another meets it or lifts it: all hold the same in the end.
    """
    fleet = Fleet(2)
    first, second = fleet.members
    for deed in deeds:
        fleet.now += _SECOND
        if deed == "restored":
            news = BanNews("began", fleet.now + seconds * _SECOND, 1, "ip", "a rule")
            first.restore_ban(news, fleet.now, fleet.now - 2 * _SECOND)
        elif deed == "lifted":
            second.lift_ban(fleet.now)
        elif deed == "banned":
            fleet.attempt(1, _BANNED)
        else:
            fleet.agree(deed == "agree other")
    fleet.agree_all()
    one, other = fleet.told()
    assert one == other


def test_what_is_retried_alone_for_long_is_bounded() -> None:
    """
    P13: while the store is away for hours, what is to be told of retries stays within a bound.
    """
    fleet = Fleet(1)
    member = fleet.members[0]
    member.is_alone = True
    granted = 0
    for _ in range(6_000):
        fleet.now += 2 * _SECOND
        granted += member.may_retry(fleet.now, attempt=1, wants=True)

    assert granted > 4_200
    assert len(member._untold) <= 4_096


def test_the_log_is_bounded() -> None:
    """
    While the store is away for long, what is noted stays within a bound, and failures are the last to be missed.
    """
    fleet = Fleet(1, breaker=BreakerPolicy(consecutive=0, failure_rate=1.0, min_calls=1_000_000))
    for _ in range(6_000):
        fleet.attempt(0, _OK)
    fleet.attempt(0, _FAILED)
    log = fleet.members[0].log
    assert len(log) <= 4_096
    assert fleet.members[0].is_urgent
