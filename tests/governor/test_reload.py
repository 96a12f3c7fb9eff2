"""
Another policy while calls are under way: all or nothing, and nothing is lost or doubled.
"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from egressor import BudgetExceeded, Config, ConfigError, Governor, Paused, Policy, ServiceType, WaitTooLong
from egressor.ledger.opening import open_till
from egressor.policies import from_services
from egressor.testing import FakeClock


def concurrent(places: int) -> dict[str, Any]:
    """
    Return services whose ``s`` has so many *places*.
    """
    return {"s": {"max_concurrency": places, "max_wait": 60.0, "queue_size": 1_000}}


def test_places_that_are_held_stay_held_whatever_the_limit_becomes() -> None:
    """
    With 50 places held, a limit of 100, then 10, then 1,000 says how many are left, and each one is given back once.
    """
    gov = Governor(concurrent(100), clock=FakeClock())
    held = [gov.permit("s").acquire() for _ in range(50)]

    left = []
    for places in (100, 10, 1_000):
        gov.reload(concurrent(places))
        left.append(gov.status()["s"]["limits"][0]["left"])
    for permit in held[:25]:
        permit.release()
    left.append(gov.status()["s"]["limits"][0]["left"])
    gov.reload(concurrent(10))
    left.append(gov.status()["s"]["limits"][0]["left"])
    for permit in held[25:]:
        permit.release()
    left.append(gov.status()["s"]["limits"][0]["left"])

    assert left == [50, 0, 950, 975, 0, 10]
    assert gov.status()["s"]["in_flight"] == 0


def test_those_that_wait_go_on_under_the_new_policy_in_their_order() -> None:
    """
    Twenty wait for the only place; with ten places, ten go at once, in the order in which they came.
    """
    gov = Governor(concurrent(1), clock=FakeClock())
    began: list[int] = []

    async def main() -> list[int]:
        release = asyncio.Event()

        async def work(number: int) -> None:
            began.append(number)
            await release.wait()

        tasks = [asyncio.create_task(gov.acall("s", work, number)) for number in range(21)]
        while gov.status()["s"]["waiting"]["medium"] < 20:
            await asyncio.sleep(0)
        gov.reload(concurrent(10))
        for _ in range(5):
            await asyncio.sleep(0)
        after = list(began)
        release.set()
        await asyncio.gather(*tasks)
        return after

    assert asyncio.run(main()) == list(range(10))
    assert began == list(range(21))
    assert gov.status()["s"]["limits"][0]["left"] == 10


def test_reload_under_threads_loses_no_place() -> None:
    """
    Eight threads call while the limit changes from 100 to 2 to 1,000 and back a hundred times; all places come back.
    """
    gov = Governor(concurrent(100))
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            gov.call("s", lambda: None)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for places in (2, 1_000, 100) * 33:
        gov.reload(concurrent(places))
    over.set()
    for thread in threads:
        thread.join()

    status = gov.status()["s"]
    assert (status["in_flight"], sum(status["waiting"].values()), status["limits"][0]["left"]) == (0, 0, 100)
    assert status["succeeded"] == status["admitted"]


def test_what_was_taken_of_a_rate_stays_taken() -> None:
    """
    A reload is no way to get a fresh allowance: what was taken of the old limit counts towards the new one.
    """
    gov = Governor({"s": {"limits": ["10/minute"], "max_wait": 0.0}}, clock=FakeClock())
    for _ in range(8):
        gov.call("s", str)

    gov.reload({"s": {"limits": ["9/minute"], "max_wait": 0.0}})

    assert gov.status()["s"]["limits"][0]["left"] == 1
    gov.call("s", str)
    with pytest.raises(WaitTooLong):
        gov.call("s", str)


def test_a_breaker_stays_open_unless_its_policy_changes() -> None:
    """
    A reload that leaves the breaker's settings alone leaves its state alone; other settings begin with a closed one.
    """
    gov = Governor({"s": {"breaker": {"consecutive": 1}, "retry": {"attempts": 1}}}, clock=FakeClock())
    with pytest.raises(ConnectionError):
        gov.call("s", fails)

    gov.reload({"s": {"max_wait": 5.0, "breaker": {"consecutive": 1}}})
    assert gov.status()["s"]["state"] == "open"
    gov.reload({"s": {"breaker": {"consecutive": 7}}})

    assert gov.status()["s"]["state"] == "closed"


def test_what_an_operator_has_forced_open_stays_so() -> None:
    """
    A reload is no operator's word: whatever it changes, only `reset_breaker` closes what was forced open.
    """
    gov = Governor({"s": {}}, clock=FakeClock())
    gov.force_open("s")

    gov.reload({"s": {"breaker": {"consecutive": 7}}})
    assert gov.status()["s"]["state"] == "forced_open"
    gov.reset_breaker("s")

    assert gov.status()["s"]["state"] == "closed"


def fails() -> None:
    """
    Fail as a network does.

    Raises:
        ConnectionError: Always.
    """
    raise ConnectionError


def test_a_wrong_policy_changes_nothing() -> None:
    """
    A mistake anywhere in the new configuration leaves all of the old one in force.
    """
    gov = Governor({"s": {"limits": ["1/minute"]}, "t": {}}, clock=FakeClock())
    before = gov.config

    with pytest.raises(ConfigError, match="max_wiat"):
        gov.reload({"s": {"limits": ["9/minute"]}, "t": {"max_wiat": 5}})

    assert gov.config is before
    assert gov.status()["s"]["limits"][0]["limit"] == 1


def test_a_pause_outlives_a_service_that_goes_and_returns() -> None:
    """
    Regression: a service that a reload had taken away was no longer paused when another brought it back.
    """
    gov = Governor({"s": {}, "t": {}}, clock=FakeClock())
    gov.pause("s", "maintenance")

    gov.reload({"t": {}})
    gov.reload({"s": {}, "t": {}})

    assert gov.status()["s"]["paused"] == "maintenance"


def test_a_service_that_is_removed_refuses_and_works_again_when_it_returns() -> None:
    """
    Regression: a function decorated before its service was removed refused for ever, also when the service was back.
    """
    gov = Governor({"s": {"limits": ["2/minute"]}}, clock=FakeClock())
    governed = gov.throttled("s")(lambda: 7)
    governed()  # type: ignore[no-untyped-call] # a lambda has no types

    gov.reload({"t": {}})
    with pytest.raises(Paused, match="the service was removed from the configuration"):
        governed()  # type: ignore[no-untyped-call] # a lambda has no types
    with pytest.raises(ConfigError, match="unknown service 's'"):
        gov.call("s", str)
    assert list(gov.status()) == ["t"]
    gov.reload({"s": {"limits": ["2/minute"]}})

    assert governed() == 7  # type: ignore[no-untyped-call] # a lambda has no types
    assert gov.status()["s"]["limits"][0]["left"] == 0


def test_a_preset_that_no_file_names_outlives_a_reload() -> None:
    """
    Regression: a function decorated with a service type refused for ever after the first reload of any file.
    """
    gov = Governor({"s": {}}, clock=FakeClock())
    governed = gov.throttled(ServiceType.INTERNAL_API)(lambda: 7)
    governed()  # type: ignore[no-untyped-call] # a lambda has no types

    gov.reload({"s": {}})

    assert governed() == 7  # type: ignore[no-untyped-call] # a lambda has no types


def test_a_new_service_is_there_at_once() -> None:
    """
    A service that the new configuration adds can be called.
    """
    gov = Governor({"s": {}}, clock=FakeClock())

    gov.reload(Config(services={"s": Policy(), "t": Policy()}))

    assert gov.call("t", lambda: 7) == 7


def test_a_file_is_read_again(tmp_path: Path) -> None:
    """
    Without a source, `reload` reads the governor's own file; a governor without one says so.
    """
    path = tmp_path / "egressor.toml"
    path.write_text('[services.s]\nlimits = ["1/minute"]\n', encoding="utf-8")
    gov = Governor.from_file(path, clock=FakeClock())
    path.write_text('[services.s]\nlimits = ["2/minute"]\n', encoding="utf-8")

    gov.reload()

    assert gov.status()["s"]["limits"][0]["limit"] == 2
    gov.reload(str(path))
    with pytest.raises(ConfigError, match="no file to read again"):
        Governor({"s": {}}).reload()


def test_a_reload_without_services_is_refused() -> None:
    """
    Regression: a file that was cut or empty took all services away, and every call was refused.
    """
    gov = Governor({"s": {}}, clock=FakeClock())
    with pytest.raises(ConfigError, match="there are no services any more") as caught:
        gov.reload({})

    assert (caught.value.key, list(gov.status())) == ("services", ["s"])
    Governor({}, clock=FakeClock()).reload({})


def test_a_permit_from_before_the_reload_settles_without_harm() -> None:
    """
    The true cost of an attempt from before the reload is not charged to cells of another form.
    """
    gov = Governor({"s": {"limits": ["100 tokens/minute"]}}, clock=FakeClock())

    with gov.permit("s", cost={"tokens": 10}) as permit:
        gov.reload({"s": {"limits": ["200 tokens/minute burst 200"]}})
        permit.settle(cost={"tokens": 50})

    assert gov.status()["s"]["limits"][0]["left"] == 190


@pytest.mark.parametrize("way", ["plain", "nested", "failing", "cancelled"])
@pytest.mark.parametrize(("before", "after"), [(3, 1), (3, 2), (2, 3)])
@pytest.mark.parametrize("where", ["service", "rule"])
def test_calls_from_before_the_reload_wake_those_that_wait_for_their_places(
    where: str, before: int, after: int, way: str
) -> None:
    """
    Those under way give back places of a limit that has another name by now; those that wait hung until their time was
    over, with nothing under way.
    """

    def services(places: int) -> dict[str, Any]:
        own: dict[str, Any] = {"max_concurrency": places}
        rule = {"rules": [{"match": {"user": "u"}, **own}]}
        policy = own if where == "service" else rule
        return {"s": {**policy, "max_wait": 600.0, "retry": {"attempts": 1}}, "other": {}}

    async def main() -> dict[str, Any]:
        release = asyncio.Event()

        async def work() -> None:
            await release.wait()
            if way == "nested":
                await gov.acall("other", noop)
            if way == "failing":
                raise ValueError

        async def noop() -> None:
            await asyncio.sleep(0)

        calls = [asyncio.ensure_future(gov.acall("s", work, scope={"user": "u"})) for _ in range(6)]
        await asyncio.sleep(0)
        while gov.status()["s"]["in_flight"] < before:
            await asyncio.sleep(0)
        gov.reload(services(after))
        if way == "cancelled":
            for each in calls[:before]:
                each.cancel()
        release.set()
        async with asyncio.timeout(60):
            await asyncio.gather(*calls, return_exceptions=True)
        return gov.status()["s"]

    gov = Governor(services(before))
    status = asyncio.run(main())

    assert (status["in_flight"], sum(status["waiting"].values()), status["admitted"]) == (0, 0, 6)


def test_no_call_goes_unpaid_while_a_reload_opens_another_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Until the new one is open calls pay into the old one: they went for nothing, and through a spent budget.
    """

    def settings(name: str) -> Config:
        return from_services({"s": {"budget": {"day": 0.01}}}, ledger=f"sqlite:///{tmp_path / name}")

    def pay() -> str:
        try:
            gov.call("s", str, cost={"usd": 0.01})
        except BudgetExceeded:
            return "refused"
        return "paid"

    def opened(*args: Any, **options: Any) -> Any:
        told.append(pay())
        return open_till(*args, **options)

    told: list[str] = []
    gov = Governor(config=settings("one.db"))
    told.append(pay())
    monkeypatch.setattr("egressor.governor.governor.open_till", opened)
    gov.reload(settings("other.db"))
    told += [pay(), pay()]
    gov.close()

    assert told == ["paid", "refused", "paid", "refused"]
