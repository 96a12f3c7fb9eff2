"""
What a governor writes into its ledger.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from egressor import ConfigError, Governor, ServiceType
from egressor.policies import from_services
from egressor.testing import FakeClock
from tests.ledger.places import until

if TYPE_CHECKING:
    from collections.abc import Callable

ONE = {"api": {"breaker": {"consecutive": 2, "open_for": 10.0}, "retry": {"attempts": 1}}}


def told(gov: Governor, **pick: Any) -> list[tuple[str, str, str]]:
    """
    Kind, service and what, the oldest first.
    """
    return [(each["kind"], each["service"], each["what"]) for each in reversed(gov.history(**pick))]


def fail() -> None:
    """
    Fail as a service that is down does.
    """
    raise ConnectionError


def open_and_close(gov: Governor, clock: FakeClock) -> None:
    """
    Let the breaker of ``api`` open, and a probe close it.
    """
    for _ in range(2):
        with pytest.raises(ConnectionError):
            gov.call("api", fail)
    clock.advance(11.0)
    gov.call("api", str)


def test_a_breaker_s_changes_are_written() -> None:
    """
    Open, half-open and closed again: three entries of the service, at the clock's time.
    """
    clock = FakeClock()
    with Governor(ONE, clock=clock) as gov:
        open_and_close(gov, clock)

        assert told(gov) == [("breaker", "api", state) for state in ("open", "half_open", "closed")]
        assert len(gov.history(since=clock.wall() / 1e6)) == 2


def test_a_permit_s_failure_opens_a_breaker_in_the_ledger_too() -> None:
    """
    Whatever way a result takes, the change that it brings about is written.
    """
    with Governor(ONE, clock=FakeClock()) as gov:
        for _ in range(2):
            with pytest.raises(ConnectionError), gov.permit("api"):
                fail()

        assert told(gov) == [("breaker", "api", "open")]


def test_operators_actions_are_written_with_who_and_why() -> None:
    """
    Each action is an entry with its service and whoever did it; a reason that holds a key is hidden.
    """
    with Governor(ONE, clock=FakeClock()) as gov:
        gov.pause("api", "leaked sk-abc12defghij", by="dana")
        gov.resume("api", by="dana")
        gov.force_open("api")
        gov.reset_breaker("api")
        gov.lift_ban(ServiceType.LLM_API)
        gov.reload({"api": {}, "other": {}}, by="cron")
        found = list(reversed(gov.history(kind="operator")))

        mine = found[2]["who"]
        assert [(each["what"], each["service"]) for each in found] == [
            ("pause", "api"),
            ("resume", "api"),
            ("force-open", "api"),
            ("reset-breaker", "api"),
            ("lift-ban", "llm_api"),
            ("reload", ""),
        ]
        assert [each["who"] for each in found] == ["dana", "dana", mine, mine, mine, "cron"]
        assert mine.endswith(f"@{socket.gethostname()}, process {os.getpid()}")
        assert found[0]["data"] == {"reason": "leaked (not shown: it may be a key)"}
        assert found[5]["data"] == {"services": 2, "added": ["other"]}


@pytest.mark.parametrize(
    ("look", "nearest"),
    [
        (lambda gov: gov.history("plian"), "plain"),
        (lambda gov: gov.history(kind="opertor"), "operator"),
        (lambda gov: gov.errors("plian"), "plain"),
        (lambda gov: gov.bans("plian"), "plain"),
        (lambda gov: gov.costs("plian"), "plain"),
    ],
    ids=["history", "kind", "errors", "bans", "costs"],
)
@pytest.mark.parametrize("settings", [{}, {"budget": {"day": 1}}], ids=["free", "budget"])
def test_what_nobody_knows_has_no_history(
    look: Callable[[Governor], Any], nearest: str, settings: dict[str, Any]
) -> None:
    """
    A slip raises; nothing found would look as if all were well.
    """
    with Governor({"plain": settings}) as gov, pytest.raises(ConfigError) as caught:
        look(gov)

    assert caught.value.nearest == nearest


def test_what_the_ledger_knows_has_a_history() -> None:
    """
    A service that was taken away, one of another program, a kind that a later version writes, and a preset.
    """
    with Governor({"plain": {}, "old": {}}) as gov:
        gov.reload({"plain": {}})
        gov.ledger.note("ban", "began", service="elsewhere", data={"until": "2999-01-01T00:00:00Z"})
        gov.ledger.note("later", "is", service="elsewhere")
        found = [
            len(gov.history(service, kind=kind))
            for service, kind in [("old", ""), ("elsewhere", "ban"), ("", "later"), (ServiceType.LLM_API, "budget")]
        ]
        total = gov.bans("elsewhere")["total"]

    assert (found, total) == ([0, 1, 1, 0], 1)


def test_what_was_refused_is_not_written() -> None:
    """
    An action on a service that isn't there, or a reload that fails, leaves no entry.
    """
    with Governor(ONE) as gov:
        with pytest.raises(ConfigError):
            gov.pause("nobody")
        with pytest.raises(ConfigError):
            gov.reload({"api": {"max_wiat": 1}})

        assert gov.history() == []


def test_history_outlives_the_governor(tmp_path: Path) -> None:
    """
    A durable ledger is flushed at the end, and read by the next governor.
    """
    address = f"sqlite:///{tmp_path}/history.db"
    with Governor(ONE, ledger=address) as gov:
        gov.pause("api")
    with Governor(ONE, ledger=address) as gov:
        gov.resume("api")

        assert told(gov) == [("operator", "api", "pause"), ("operator", "api", "resume")]


@pytest.mark.anyio
async def test_history_outlives_an_awaited_end(tmp_path: Path) -> None:
    """
    ``async with`` flushes as well.
    """
    address = f"sqlite:///{tmp_path}/history.db"
    async with Governor(ONE, ledger=address) as gov:
        gov.pause("api")
    async with Governor(ONE, ledger=address) as gov:
        assert told(gov) == [("operator", "api", "pause")]


def test_a_reload_may_name_another_ledger(tmp_path: Path) -> None:
    """
    From a reload on entries go where the new file says; the old ledger keeps, and has, what was before.
    """
    file = tmp_path / "egressor.toml"
    text = "[egressor]\nledger = 'sqlite:///{}/{}.db'\n[services.api]\n"
    file.write_text(text.format(tmp_path, "one"))
    with Governor.from_file(file) as gov:
        gov.pause("api")
        file.write_text(text.format(tmp_path, "two"))
        gov.reload()
        gov.resume("api")
        gov.reload({"api": {}})

        assert [what for _, _, what in told(gov)] == ["reload", "resume", "reload"]
    with Governor(ONE, ledger=f"sqlite:///{tmp_path}/one.db") as gov:
        assert [what for _, _, what in told(gov)] == ["pause"]


def test_a_ledger_that_can_not_be_keeps_the_old_policy(tmp_path: Path) -> None:
    """
    A reload whose ledger has no folder is refused as a whole.
    """
    file = tmp_path / "egressor.toml"
    file.write_text("[services.api]\n")
    with Governor.from_file(file) as gov:
        file.write_text("[egressor]\nledger = 'sqlite:////nowhere/at/all/x.db'\n[services.other]\n")
        with pytest.raises(ConfigError, match="folder of the ledger's file"):
            gov.reload()

        assert (list(gov.config.services), gov.config.ledger) == (["api"], "memory:")


def test_calls_go_on_while_the_ledger_is_away(tmp_path: Path) -> None:
    """
    A ledger that is no database costs no call anything; what happened is told from the spool.
    """
    path = tmp_path / "history.db"
    path.write_text("no database, but long enough to be one: " * 200)
    clock = FakeClock()
    with Governor(ONE, clock=clock, ledger=f"sqlite:///{path}") as gov:
        open_and_close(gov, clock)
        assert gov.ledger.flush(20)

        assert [what for _, _, what in told(gov)] == ["open", "half_open", "closed"]
        assert gov.ledger.state()["away"] == "history.db: file is not a database"


def test_the_configuration_says_how_long_history_is_kept(tmp_path: Path) -> None:
    """
    Of more entries than *history_most* the oldest go, a reload changes that at once, and keeps what a memory holds.
    """
    services = {"api": {"type": "internal_api"}}
    gov = Governor(services, ledger=f"sqlite:///{tmp_path}/x.db", history_most=1_000)
    for _ in range(150):
        gov.pause("api")
    assert gov.ledger.flush(10.0)
    gov.reload(from_services(services, ledger=gov.config.ledger, history_most=120, history_for=3_600.0))
    until(lambda: (gov.ledger.state()["entries"], gov.ledger.state()["pruned"]) == (120, 31))
    gov.close()


def test_a_reload_keeps_a_memory_s_history() -> None:
    """
    A reload that changes how much is kept drops the oldest, and nothing else.
    """
    gov = Governor({"api": {"type": "internal_api"}})
    for number in range(150):
        gov.pause("api", f"r{number}")
    gov.reload(from_services(gov.config.services, history_most=100))

    found = gov.history(limit=1_000)
    assert (len(found), found[-1]["data"]) == (100, {"reason": "r51"})
