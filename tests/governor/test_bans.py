"""
Bans: what suspends a service, what the ledger has of it, and what a restart leaves of it.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from egressor import Banned, Governor
from egressor.testing import FakeClock

S = {"retry": {"attempts": 3}, "ban": {"suspend_for": 100.0, "challenge_for": 10.0, "max_suspend_for": 1000.0}}
API = {"api": S}


class Answer:
    """
    What an upstream answers.
    """

    def __init__(self, status: int = 200, **headers: str) -> None:
        self.status_code = status
        self.headers: Mapping[str, str] = {name.replace("_", "-"): value for name, value in headers.items()}


BAN = partial(Answer, 418, Retry_After="60")
CHALLENGE = partial(Answer, 403, cf_mitigated="challenge")


def told(gov: Governor) -> list[tuple[Any, ...]]:
    """
    The ledger's timeline, the oldest first: what, seconds, count, whether the server named the time.
    """
    found = reversed(gov.history("api", kind="ban"))
    return [(each["what"], *(each["data"][name] for name in ("seconds", "count", "told"))) for each in found]


def is_banned(gov: Governor) -> bool:
    """
    Whether a call is refused as banned.
    """
    try:
        gov.call("api", str)
    except Banned:
        return True
    return False


def test_the_timeline_tells_a_whole_episode() -> None:
    """
    It began for the server's time, its probe met the ban again, which doubled ours, and the next probe ended it.
    """
    clock = FakeClock()
    with Governor(API, clock=clock) as gov:
        gov.call("api", BAN)
        assert is_banned(gov)
        clock.advance(60)
        gov.call("api", partial(Answer, 403, x_vercel_mitigated="deny"))
        clock.advance(200)
        gov.call("api", str)

        assert told(gov) == [("began", 60.0, 1, True), ("lengthened", 200.0, 2, False), ("ended", 0.0, 2, False)]
        assert not is_banned(gov)


def test_an_entry_says_until_when_who_and_why() -> None:
    """
    The end is a moment in UTC, with what was banned, the rule that decided, and whether the server named the time.
    """
    clock = FakeClock()
    with Governor(API, clock=clock) as gov:
        gov.call("api", BAN)
        [entry] = gov.history(kind="ban")
        state = gov.status()["api"]["ban"]

        assert (entry["service"], entry["who"]) == ("api", "")
        assert set(entry["data"]) == {"until", "seconds", "count", "scope", "rule", "told"}
        assert entry["data"]["until"] == "2027-01-15T08:01:00.000000Z"
        assert entry["data"]["scope"] == "ip"
        assert "418" in entry["data"]["rule"]
        assert state == {"until_s": 60.0, "count": 1, "scope": "ip", "rule": entry["data"]["rule"]}
        with pytest.raises(Banned, match=r"suspended for another 60\.000 s \(status 418"):
            gov.call("api", str)


def test_an_operator_s_hand_is_in_the_timeline() -> None:
    """
    Lifting says by whom, once; lifting what isn't there is no part of a ban's story.
    """
    with Governor(API, clock=FakeClock()) as gov:
        gov.lift_ban("api", by="dana")
        gov.call("api", BAN)
        gov.lift_ban("api", by="dana")

        assert [(each["what"], each["who"]) for each in gov.history(kind="ban")] == [("lifted", "dana"), ("began", "")]
        assert not is_banned(gov)


def test_a_ban_ends_the_call_that_met_it() -> None:
    """
    A ban that names its end may be tried again then, but no call waits for that: it gets the answer, after one attempt.
    """
    clock, made = FakeClock(), []

    def answer() -> Answer:
        made.append(clock.now())
        return BAN()

    with Governor(API, clock=clock) as gov:
        assert gov.call("api", answer).status_code == 418
        assert len(made) == 1


def test_a_challenge_suspends_for_a_shorter_time() -> None:
    """
    Ten seconds here, told as a ban is; whoever sets 0 goes on.
    """
    with Governor(API, clock=FakeClock()) as gov:
        gov.call("api", CHALLENGE)
        assert told(gov) == [("began", 10.0, 1, False)]
        assert is_banned(gov)
    with Governor({"api": {"ban": {"challenge_for": 0.0}}}, clock=FakeClock()) as gov:
        gov.call("api", CHALLENGE)
        assert not is_banned(gov)


def test_many_reports_of_one_ban_are_one_entry() -> None:
    """
    Calls that were under way when it began add nothing to the timeline.
    """
    made = []

    async def answer() -> Answer:
        made.append(0)
        while len(made) < 20:
            await asyncio.sleep(0)
        return BAN()

    async def main() -> None:
        async with Governor(API) as gov:
            await asyncio.gather(*(gov.acall("api", answer) for _ in range(20)))

            assert [(what, count, was_told) for what, _, count, was_told in told(gov)] == [("began", 1, True)]

    asyncio.run(main())


def test_whoever_waits_is_refused_when_the_challenge_comes() -> None:
    """
    Nobody waits for a turn that will not come.
    """

    async def main() -> None:
        clock, done = FakeClock(jumps=False), asyncio.Event()

        async def challenged() -> Answer:
            await done.wait()
            return CHALLENGE()

        async with Governor({"api": {**S, "limits": ["1/minute"], "max_wait": 100.0}}, clock=clock) as gov:
            first = asyncio.ensure_future(gov.acall("api", challenged))
            await asyncio.sleep(0)
            second = asyncio.ensure_future(gov.acall("api", challenged))
            await asyncio.sleep(0)
            assert gov.status()["api"]["waiting"]["medium"] == 1
            done.set()
            async with asyncio.timeout(10):
                await first
                with pytest.raises(Banned):
                    await second

    asyncio.run(main())


# --- restarts --------------------------------------------------------------------------------------------------------


def address(folder: Path) -> str:
    """
    A ledger that lasts.
    """
    return f"sqlite:///{folder}/history.db"


def test_a_new_governor_takes_the_ban_up(tmp_path: Path) -> None:
    """
    With cells in memory the ledger remembers it: how long, how often, why; and afterwards one probe.
    """
    clock = FakeClock()
    with Governor(API, clock=clock, ledger=address(tmp_path)) as gov:
        gov.call("api", BAN)
        before = gov.status()["api"]["ban"]
    clock.advance(20)
    with Governor(API, clock=clock, ledger=address(tmp_path)) as gov:
        assert is_banned(gov)
        assert gov.status()["api"]["ban"] == {**before, "until_s": 40.0}
        clock.advance(40)
        with gov.permit("api"):
            assert is_banned(gov)
        assert not is_banned(gov)
        assert [what for what, *_ in told(gov)] == ["began", "ended"]


@pytest.mark.parametrize("end", ["lifted", "ended"])
def test_what_is_over_stays_over(tmp_path: Path, end: str) -> None:
    """
    An episode that a probe or an operator has ended is not taken up.
    """
    clock = FakeClock()
    with Governor(API, clock=clock, ledger=address(tmp_path)) as gov:
        gov.call("api", BAN)
        if end == "lifted":
            gov.lift_ban("api")
        else:
            clock.advance(60)
            gov.call("api", str)
    with Governor(API, clock=clock, ledger=address(tmp_path)) as gov:
        assert not is_banned(gov)


@pytest.mark.parametrize(("step", "rest"), [(-864_000, 60.0), (-30, 60.0), (20, 40.0)])
def test_a_wall_clock_that_was_set_back_lengthens_no_ban(tmp_path: Path, step: int, rest: float) -> None:
    """
    A machine that forgets the date while it is off goes on with what was left, and not until that date comes again.
    """
    with Governor(API, clock=FakeClock(), ledger=address(tmp_path)) as gov:
        gov.call("api", BAN)
    with Governor(API, clock=FakeClock(wall=1_800_000_000.0 + step), ledger=address(tmp_path)) as gov:
        assert gov.status()["api"]["ban"]["until_s"] == rest


def test_a_ban_that_only_others_know_of_is_lifted_for_good(tmp_path: Path) -> None:
    """
    Who lifts a ban that another process has met, and of which it has not heard, ends it in the ledger too.
    """
    clock = FakeClock()
    with Governor(API, clock=clock, ledger=address(tmp_path)) as idle:
        with Governor(API, clock=clock, ledger=address(tmp_path)) as other:
            other.call("api", BAN)
        idle.lift_ban("api", by="dana")
        idle.lift_ban("api", by="dana")
        assert told(idle) == [("began", 60.0, 1, True), ("lifted", 0.0, 1, False)]
    with Governor(API, clock=clock, ledger=address(tmp_path)) as gov:
        assert not is_banned(gov)


WORD = {"until": "2030-01-01T00:00:00Z", "count": 1, "scope": "", "rule": "", "told": True}


@pytest.mark.parametrize(
    "data", [{}, WORD, {**WORD, "until": "soon"}, {**WORD, "until": 7}, {**WORD, "seconds": "inf"}], ids=repr
)
def test_an_entry_that_is_not_ours_bans_nobody(tmp_path: Path, data: dict[str, Any]) -> None:
    """
    What somebody has imported, and can't be read, leaves the service as it is.
    """
    with Governor(API, ledger=address(tmp_path)) as gov:
        gov.ledger.note("ban", "began", service="api", data=data)
    with Governor(API, ledger=address(tmp_path)) as gov:
        assert not is_banned(gov)


CHILD = """
import os, signal, sys
from egressor import Banned, Governor

class Answer:
    status_code = 418
    headers = {"Retry-After": "600"}

gov = Governor({"api": {}}, ledger=sys.argv[1])
try:
    print(gov.call("api", Answer).status_code, flush=True)
except Banned as refusal:
    print("banned", refusal.retry_after > 500)
if sys.argv[2] == "kill":
    gov.ledger.flush(10)
    os.kill(os.getpid(), signal.SIGKILL)
gov.close()
"""


@pytest.mark.parametrize("end", ["close", "kill"])
def test_a_restarted_process_is_still_banned(tmp_path: Path, end: str) -> None:
    """
    A program with cells in memory that ends, or is killed in the middle of it, refuses when it is back.
    """
    command = [sys.executable, "-c", CHILD, address(tmp_path)]
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}

    first = subprocess.run([*command, end], capture_output=True, text=True, env=surroundings, check=False)
    second = subprocess.run([*command, "close"], capture_output=True, text=True, env=surroundings, check=True)

    assert (first.stdout, first.returncode) == ("418\n", 0 if end == "close" else -9)
    assert second.stdout == "banned True\n"
