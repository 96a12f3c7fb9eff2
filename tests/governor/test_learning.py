"""
What answers teach: the server's limits hold calls back beside the policy's own.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from egressor import Governor, WaitTooLong
from egressor.testing import FakeClock

RETRY = {"attempts": 1}


class Answer:
    """
    A good answer that says what is left.
    """

    def __init__(self, headers: Mapping[str, str], status: int = 200) -> None:
        self.status_code = status
        self.headers = headers


def left(rest: int, *, of: int = 100, resets: int = 60) -> Answer:
    """
    Return an answer that says so, in the IETF's words.
    """
    return Answer({"RateLimit-Remaining": str(rest), "RateLimit-Limit": str(of), "RateLimit-Reset": str(resets)})


def made(**policy: Any) -> tuple[Governor, FakeClock]:
    """
    Return a governor whose service refuses what would have to wait.
    """
    clock = FakeClock()
    settings = {"limits": ["1000/minute"], "max_wait": 0.0, "retry": RETRY, **policy}
    return Governor({"api": settings}, clock=clock, dice=lambda: 0.0), clock


def refused(gov: Governor, **options: Any) -> float | None:
    """
    Return after how many seconds a call may come again; None if it went.
    """
    try:
        gov.call("api", str, **options)
    except WaitTooLong as refusal:
        return refusal.retry_after
    return None


def learned(gov: Governor) -> list[dict[str, Any]]:
    """
    What the status says.
    """
    found: list[dict[str, Any]] = gov.status()["api"]["learned"]
    return found


def test_nothing_left_holds_everybody_until_the_reset() -> None:
    """
    One answer is enough, for every user and priority; at the reset all is as before.
    """
    gov, clock = made()
    gov.call("api", left, 0)

    assert refused(gov, priority="critical", scope={"user": "another"}) == 60.0
    with pytest.raises(WaitTooLong, match="the server has said that 0 of 100 requests are left"):
        gov.call("api", str)
    clock.advance(60)
    assert refused(gov) is None
    assert learned(gov) == []


def test_calls_under_way_are_taken_to_be_as_calls_usually_are() -> None:
    """
    Regression: of twenty small calls under way each counted as much as the big one that came, which was held back for
    two million tokens where the server had 150,000 left, and everybody behind it.
    """
    gov, _ = made(limits=["200_000 tokens/minute"], dialect="openai")
    headers = {
        "x-ratelimit-limit-tokens": "200000",
        "x-ratelimit-remaining-tokens": "150000",
        "x-ratelimit-reset-tokens": "15s",
    }
    with ExitStack() as under_way:
        for _ in range(20):
            under_way.enter_context(gov.permit("api", cost={"tokens": 1000}))
        for _ in range(2):
            gov.call("api", Answer, headers, cost={"tokens": 1000})

        assert refused(gov, cost={"tokens": 100_000}) is None
        assert refused(gov, cost={"tokens": 1000}) is None
        assert refused(gov, cost={"tokens": 30_000}) is not None


def test_a_good_answer_s_absurd_reset_holds_for_an_hour() -> None:
    """
    A server that sends milliseconds as seconds closes nothing for a month; one that refuses with it is obeyed.
    """
    gov, clock = made()
    gov.call("api", left, 0, resets=2_000_000)
    assert refused(gov) == 3600.0
    clock.advance(3600)
    assert refused(gov) is None
    limited = left(0, resets=2_000_000)
    limited.status_code = 429
    gov.call("api", lambda: limited)
    assert refused(gov) == 2_000_000.0


def test_a_limit_of_nothing_on_a_good_answer_is_none() -> None:
    """
    Whoever answers serves more than none.
    """
    gov, _ = made()
    gov.call("api", left, 0, of=0)

    assert refused(gov) is None


def test_a_refusal_names_no_empty_part() -> None:
    """
    Nothing left of an unknown whole, for everybody.
    """
    gov, _ = made()
    gov.call("api", Answer, {"RateLimit-Remaining": "0", "RateLimit-Reset": "60"})

    with pytest.raises(WaitTooLong, match="the server asked all calls to stay away"):
        gov.call("api", str)


@pytest.mark.parametrize("policies", ['"daily";r=0;t=3000, "burst";r=90;t=1', '"burst";r=90;t=1, "daily";r=0;t=3000'])
def test_policies_of_one_answer_do_not_hide_each_other(policies: str) -> None:
    """
    What is used up holds, wherever it stands in the list.
    """
    gov, _ = made()
    gov.call("api", Answer, {"RateLimit": policies})

    assert refused(gov) == 3000.0


def test_calls_whose_answers_say_nothing_use_up_what_was_learned() -> None:
    """
    Of 500 that are left for half an hour no more than 500 go, though our own limit would let a hundred go each minute.
    """
    gov, clock = made(limits=["100/minute"])
    gov.call("api", left, 500, of=500, resets=1800)
    gone = 0
    for _ in range(15):
        gone += sum(refused(gov, priority="critical") is None for _ in range(100))
        clock.advance(61)

    assert gone == 500
    assert learned(gov)[0]["left"] == 0


def test_an_answer_is_not_charged_with_the_calls_before_it() -> None:
    """
    The server has counted them: what it says is left is left.
    """
    gov, _ = made(limits=["100/minute"])
    gov.call("api", left, 500, of=500)
    for _ in range(20):
        gov.call("api", str)
    gov.call("api", left, 400, of=500)

    assert learned(gov)[0]["left"] == 400


def test_an_operator_may_have_it_forgotten() -> None:
    """
    Lifting a ban ends whatever the server's word holds back.
    """
    gov, _ = made()
    gov.call("api", left, 0)
    gov.lift_ban("api")

    assert refused(gov) is None


def test_the_status_shows_what_was_learned() -> None:
    """
    Unit, what is left, of how much, until when; a call whose answer says nothing takes its own off.
    """
    gov, clock = made()
    gov.call("api", left, 50)
    clock.advance(10)
    gov.call("api", str)
    gov.call("api", Answer, {})

    assert learned(gov) == [
        {"unit": "requests", "scope": "", "window_s": None, "left": 48, "limit": 100, "resets_s": 50.0}
    ]


def test_more_than_the_policy_allows_changes_nothing() -> None:
    """
    Whatever the server says is left, our own limit holds.
    """
    gov, _ = made(limits=["2/minute"])

    gov.call("api", left, 5000, of=5000)
    gov.call("api", left, 5000, of=5000)

    assert refused(gov) is not None


def test_while_the_server_allows_more_than_we_do_nothing_is_in_the_way() -> None:
    """
    The straight path stays: the server's word binds nobody before it is the stricter one.
    """
    gov, _ = made(limits=["50/minute"])
    gate = gov.gate("api")
    gov.call("api", left, 90)
    assert gate.calm
    gov.call("api", left, 10)
    assert not gate.calm


def test_less_at_once_and_more_slowly() -> None:
    """
    A11: from 80 to 20 with one answer, and back by an eighth of the difference with each.
    """
    gov, _ = made()
    seen = []
    for rest in (80, 20, 80, 80, 80):
        gov.call("api", left, rest)
        seen.append(learned(gov)[0]["left"])

    assert seen == [80, 20, 26, 31, 36]


@pytest.mark.parametrize("settings", [{"learn": "off"}, {"learn": "headers"}], ids=["off", "headers"])
def test_learning_may_be_turned_off(settings: dict[str, str]) -> None:
    """
    With ``learn = "off"`` only what the server refuses counts.
    """
    gov, _ = made(**settings)
    gov.call("api", left, 0)

    assert (refused(gov) is None) == (settings["learn"] == "off")


def test_functions_without_limits_are_not_held_back() -> None:
    """
    `handled` takes everything but limits, and these are limits.
    """
    gov, _ = made()
    gov.call("api", left, 0)

    assert gov.handled("api")(lambda: "done")() == "done"


def test_near_the_edge_low_priorities_wait_first() -> None:
    """
    With a fifth left low calls are spread until the reset while medium ones go on.
    """
    gov, _ = made()
    gov.call("api", left, 20)

    assert refused(gov, priority="low") == pytest.approx(60 / 21, abs=1e-3)
    assert refused(gov, priority="medium") is None


def test_whoever_waits_near_the_edge_goes_in_its_time() -> None:
    """
    Ten low calls of which the server has ten left go one by one over the window, and all of them before it ends.
    """
    clock = FakeClock()
    at: list[float] = []

    async def call() -> Answer:
        at.append((clock.now() - begun) / 1e6)
        return left(10 - len(at), resets=60 - int(at[-1]))

    async def main() -> None:
        await gov.acall("api", first)
        await asyncio.gather(*(gov.acall("api", call, priority="low", deadline=100) for _ in range(10)))

    async def first() -> Answer:
        return left(10)

    gov = Governor({"api": {"limits": ["1000/minute"], "max_wait": 100.0}}, clock=clock, dice=lambda: 0.0)
    begun = clock.now()
    asyncio.run(main())

    assert len(at) == 10
    assert at == sorted(at)
    assert min(b - a for a, b in pairwise(at)) > 4
    assert at[-1] < 60


def test_binance_s_used_weight_slows_down_before_the_ban() -> None:
    """
    Of 6,000 a minute 5,900 are used, by whomever: a call of 150 waits for the minute's end, a small low one for less.
    """
    gov, _ = made(dialect="binance", limits=["6000 weight/minute fixed"])
    gov.call("api", Answer, {"X-MBX-USED-WEIGHT-1M": "5900"}, cost={"weight": 1})

    assert refused(gov, cost={"weight": 150}, priority="critical") == 60.0
    assert 0 < (refused(gov, cost={"weight": 1}, priority="low") or 0) < 2
    assert refused(gov, cost={"weight": 1}, priority="critical") is None


def test_discord_s_invalid_requests_slow_down_before_the_ban() -> None:
    """
    After 9,999 refusals in ten minutes low calls are far apart, and with the next one nobody goes.
    """
    gov, clock = made(dialect="discord", limits=[])
    cell = learned(gov)
    assert cell == []
    gov.call("api", Answer, {}, 403)
    gov.gate("api")._standing.learned.cells[("invalid_requests", 600_000_000, "")].left = 1

    assert refused(gov, priority="low") == 300.0
    gov.call("api", Answer, {}, 401, priority="critical")
    assert refused(gov, priority="critical") == 600.0
    clock.advance(600)
    assert refused(gov, priority="low") is None


def test_a_limit_of_an_endpoint_holds_no_other() -> None:
    """
    X counts each endpoint by itself: others go on, also while somebody waits for that one.
    """
    gov, clock = made(dialect="x", max_wait=1000.0)
    reset = str(clock.wall() // 1_000_000 + 600)
    headers = {"x-rate-limit-remaining": "0", "x-rate-limit-limit": "300", "x-rate-limit-reset": reset}
    gov.call("api", Answer, headers, endpoint="search")
    gone: list[str] = []

    async def call(name: str) -> None:
        gone.append(name)

    async def main() -> None:
        waits = asyncio.ensure_future(gov.acall("api", call, "search", endpoint="search", priority="high"))
        await asyncio.sleep(0)
        assert gov.status()["api"]["waiting"]["high"] == 1
        await gov.acall("api", call, "users", endpoint="users", priority="low")
        await gov.acall("api", call, "any", priority="low")
        assert gone == ["users", "any"]
        await waits

    begun = clock.now()
    asyncio.run(main())
    assert gone[-1] == "search"
    assert clock.now() - begun >= 600_000_000


def test_a_limit_of_an_unnamed_endpoint_is_nobody_s() -> None:
    """
    Whoever doesn't name endpoints can't know which of them has nothing left.
    """
    gov, _ = made(dialect="bybit")
    gov.call("api", Answer, {"X-Bapi-Limit-Status": "0", "X-Bapi-Limit": "5", "X-Bapi-Limit-Reset-Timestamp": "9" * 13})

    assert learned(gov) == []


@pytest.mark.parametrize(("scope", "others"), [({"recipient": "chat 5"}, None), ({}, 20.0)], ids=["named", "unnamed"])
def test_a_wait_for_one_recipient_holds_no_other(scope: dict[str, str], others: float | None) -> None:
    """
    Telegram's slow mode of one chat: calls to others go on; where no chat is named, everybody waits.
    """
    gov, clock = made(dialect="telegram", errors=[])
    slow = Answer({"Retry-After": "20"}, 420)
    slow._content = b'{"error_code": 420, "description": "SLOWMODE_WAIT_X"}'  # type: ignore[attr-defined]
    gov.call("api", lambda: slow, scope=scope)

    assert refused(gov, scope={"recipient": "chat 6"}) == others
    assert refused(gov, scope={"recipient": "chat 5"}) == 20.0
    if scope:
        with pytest.raises(WaitTooLong, match="asked calls of recipient=chat 5 to stay away"):
            gov.call("api", str, scope=scope)
        assert [(each["scope"], each["left"]) for each in learned(gov)] == [("recipient=chat 5", 0)]
    clock.advance(20)
    assert refused(gov, scope={"recipient": "chat 5"}) is None


def limited(said: str, headers: Mapping[str, str] | None = None, status: int = 429) -> Answer:
    """
    Return a refusal for a limit, in OpenAI's words.
    """
    answer = Answer(headers or {}, status)
    answer._content = json.dumps({"error": {"message": said, "code": "rate_limit_exceeded"}}).encode()  # type: ignore[attr-defined]
    return answer


ONE_MODEL = "Rate limit reached for gpt-a in organization org-x on tokens per min (TPM)."
ALL_MODELS = "Rate limit reached for requests in organization org-x on requests per min."


@pytest.mark.parametrize(
    ("said", "scope", "others"),
    [
        (ONE_MODEL, {"model": "a"}, None),
        (ONE_MODEL, {"model": "a", "user": "u"}, None),
        (ONE_MODEL, {}, 20.0),
        (ALL_MODELS, {"model": "a"}, 20.0),
    ],
)
def test_a_wait_for_one_model_holds_no_other(said: str, scope: dict[str, str], others: float | None) -> None:
    """
    Calls of other models go on, unless nobody knows which model it was, or the answer doesn't say that it is one's.
    """
    gov, clock = made(dialect="openai", errors=[])
    gov.call("api", lambda: limited(f"{said} Please try again in 20s."), scope=scope)

    assert refused(gov, scope={"model": "b"}) == others
    assert refused(gov) == others
    assert refused(gov, scope={"model": "a"}) == 20.0
    clock.advance(20)
    assert refused(gov, scope={"model": "a"}) is None


def test_a_model_that_is_asked_too_fast_waits_a_moment_and_no_other_does() -> None:
    """
    The answer says whose limit it is, and not until when: the policy's first pause, for that model, and each time.
    """
    gov, clock = made(dialect="openai", errors=[], retry={"attempts": 1, "base": 2.0})
    for _ in range(3):
        gov.call("api", lambda: limited(ONE_MODEL), scope={"model": "a"})

        assert refused(gov, scope={"model": "a"}) == 2.0
        assert refused(gov, scope={"model": "b"}) is None
        assert gov.status()["api"]["slowed_s"] == 0
        clock.advance(2)
    gov.call("api", lambda: limited(ONE_MODEL))
    assert refused(gov, scope={"model": "b"}) == 2.0


SPENT = {"x-ratelimit-limit-tokens": "1000", "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "30s"}


def test_what_is_left_is_left_of_one_model() -> None:
    """
    OpenAI's headers are about the model that was asked; where no call names one they are about all.
    """
    gov, clock = made(dialect="openai", errors=[])
    gov.call("api", Answer, SPENT, scope={"model": "a"})
    assert [(each["scope"], each["left"]) for each in learned(gov)] == [("model=a", 0)]
    assert [refused(gov, scope={"model": name}) for name in "ab"] == [1.89, None]
    clock.advance(30)
    gov.call("api", Answer, SPENT)

    assert [refused(gov, scope={"model": name}) for name in "ab"] == [1.89, 1.89]


BYBIT = {"X-Bapi-Limit-Status": "9", "X-Bapi-Limit": "10", "X-Bapi-Limit-Reset-Timestamp": "1000"}
DISCORD = {"X-RateLimit-Remaining": "4", "X-RateLimit-Limit": "5", "X-RateLimit-Reset-After": "1.0"}


@pytest.mark.parametrize(("dialect", "hints"), [("bybit", BYBIT), ("discord", DISCORD)])
def test_a_wait_is_not_cut_short_by_another_answer(dialect: str, hints: dict[str, str]) -> None:
    """
    An endpoint asked to be left alone; a call that was under way tells of an early reset, or of one that has been.
    """
    gov, clock = made(dialect=dialect)
    slow = Answer({"Retry-After": "60", "X-RateLimit-Scope": "shared"}, 200 if dialect == "bybit" else 429)
    slow._content = b'{"retCode": 20003, "retMsg": "Too frequent"}' if dialect == "bybit" else b"{}"  # type: ignore[attr-defined]

    def earlier() -> Answer:
        gov.call("api", lambda: slow, scope={"endpoint": "e"})
        return Answer(hints)

    gov.call("api", earlier, scope={"endpoint": "e"})
    clock.advance(50)
    assert refused(gov, scope={"endpoint": "e"}) == 10.0
    assert refused(gov, scope={"endpoint": "f"}) is None


def test_one_recipient_more_than_can_be_told_apart_holds_nobody_else() -> None:
    """
    Beyond 64 that are slow at once what ends first is forgotten, and the status counts it.
    """
    gov, _ = made(dialect="discord", limits=[])

    def slow(channel: str, seconds: int) -> None:
        answer = Answer({"Retry-After": str(seconds), "X-RateLimit-Scope": "shared"}, 429)
        gov.call("api", lambda: answer, endpoint=channel)

    for number in range(64):
        slow(f"channel {number}", 20 + number)
    slow("shorter", 10)
    slow("longer", 200)

    assert (len(learned(gov)), gov.status()["api"]["learned_dropped"]) == (64, 2)
    waits = [refused(gov, endpoint=name) for name in ("another", "shorter", "longer", "channel 0", "channel 1")]
    assert waits == [None, None, 200.0, None, 21.0]


def test_no_room_beside_limits_of_the_whole_service_holds_nobody() -> None:
    """
    What holds for everybody is not forgotten for one recipient.
    """
    gov, _ = made(dialect="discord")
    names = range(64)
    for start in range(0, 64, 16):
        some = names[start : start + 16]
        policy = ", ".join(f'"n{name}";q=9000;w={name + 1}' for name in some)
        limits = ", ".join(f'"n{name}";r=9000;t=30' for name in some)
        gov.call("api", Answer, {"RateLimit-Policy": policy, "RateLimit": limits})
    slow = Answer({"Retry-After": "60", "X-RateLimit-Scope": "shared"}, 429)
    gov.call("api", lambda: slow, endpoint="e")

    assert {each["scope"] for each in learned(gov)} == {""}
    assert (len(learned(gov)), gov.status()["api"]["learned_dropped"]) == (64, 1)
    assert refused(gov, endpoint="f") is None


def test_an_exception_that_can_not_be_looked_at_is_raised_as_it_is() -> None:
    """
    Whatever its attributes do when they are read.
    """

    class OddError(Exception):
        @property
        def response(self) -> object:
            raise RuntimeError

    gov, _ = made()
    with pytest.raises(OddError):
        gov.call("api", fail, OddError())


def test_an_sdk_s_exception_teaches_as_well() -> None:
    """
    The headers of the answer that an exception carries are read.
    """

    class SdkError(Exception):
        response = left(0)

    gov, _ = made()
    with pytest.raises(SdkError):
        gov.call("api", fail, SdkError())

    assert refused(gov) == 60.0


def fail(error: Exception) -> None:
    """
    Raise *error*.
    """
    raise error


def test_calls_under_way_count_though_their_answers_have_not_come() -> None:
    """
    Of three that are left three go, whatever order their answers come in; the fourth waits.
    """
    gov, _ = made()

    async def main() -> None:
        done = asyncio.Event()

        async def slow() -> None:
            await done.wait()

        async def first() -> Answer:
            return left(3)

        await gov.acall("api", first)
        running = [asyncio.ensure_future(gov.acall("api", slow, priority="critical")) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(WaitTooLong):
            await gov.acall("api", slow, priority="critical")
        done.set()
        await asyncio.gather(*running)

    asyncio.run(main())


def test_the_cells_are_bounded() -> None:
    """
    A server that speaks of ever new limits fills no memory; what is over makes room.
    """
    gov, clock = made()

    def many(start: int) -> Answer:
        names = range(start, start + 10)
        policy = ", ".join(f'"n{name}";q=9000;w={name + 1}' for name in names)
        return Answer({"RateLimit-Policy": policy, "RateLimit": ", ".join(f'"n{name}";r=9000;t=30' for name in names)})

    for start in range(0, 200, 10):
        gov.call("api", many, start)
    assert len(learned(gov)) == 64
    clock.advance(31)
    gov.call("api", many, 500)
    assert [each["window_s"] for each in learned(gov)] == [float(name + 1) for name in range(500, 510)]


def test_what_was_learned_outlives_a_process_that_ends(tmp_path: Path) -> None:
    """
    Bug: what a server had said within two seconds of the last word to the store, and was near no edge, was forgotten
    with a process that ended in order.
    """
    services = {"api": {"retry": {"attempts": 1}}}
    address = f"sqlite:///{tmp_path}/store.db"
    first = Governor(services, store=address)
    first.call("api", left, 80, resets=600)
    first.resume("api")  # An operator's word is told at once, and all else with it.
    first.call("api", left, 60, resets=600)
    first.close()
    second = Governor(services, store=address)
    second.call("api", str)
    known = learned(second)
    second.close()

    assert [(each["left"], each["limit"]) for each in known] == [(59, 100)]
    assert 590 < known[0]["resets_s"] <= 601


@pytest.mark.parametrize(("between", "state"), [((), "open"), (("b",), "closed")])
def test_one_model_opens_the_breaker_only_where_no_other_is_asked(between: tuple[str, ...], state: str) -> None:
    """
    There is one breaker for all models: a call of another one that goes well ends the row of failures.
    """
    policy = {"breaker": {"consecutive": 3}, "retry": {"attempts": 1}}
    gov = Governor({"api": policy}, clock=FakeClock())
    busy = limited("Overloaded", status=529)
    for _ in range(3):
        gov.call("api", lambda: busy, scope={"model": "a"})
        for model in between:
            gov.call("api", lambda: None, scope={"model": model})

    assert state == gov.status()["api"]["state"]
