"""
The ledger's page says what there is.
"""

from __future__ import annotations

import re

from egressor._core.breaker import BreakerState
from egressor.governor import Governor
from egressor.ledger.entry import Entry
from egressor.policies import addresses
from tests.docs.pages import DOCS, codes, rows, sections

PAGE = sections("reference/ledger.md")


def test_the_page_has_every_field() -> None:
    """
    The fields of an entry, and of the ledger's state, are those of the code, in order.
    """
    found = [codes(cells[0])[0] for cells in rows(PAGE["An entry"])]
    state = [codes(cells[0])[0] for cells in rows(PAGE["What holds"])]

    assert found[: len(Entry._fields)] == list(Entry._fields)
    assert state == list(Governor({}).ledger.state())


def test_the_page_has_every_action_and_state() -> None:
    """
    What a governor notes stands in the table of kinds.
    """
    said = {
        (codes(cells[0])[0], word) for cells in rows(PAGE["An entry"])[len(Entry._fields) :] for word in codes(cells[1])
    }
    with Governor({"api": {}}) as gov:
        for action in (gov.pause, gov.resume, gov.reset_breaker, gov.force_open, gov.lift_ban):
            action("api")
        gov.record_error("api", ValueError())
        name = gov.errors()["groups"][0]["fingerprint"]
        for mark in (gov.resolve_error, gov.mute_error, gov.unmute_error):
            mark(name)
        gov.reload({"api": {}, "dear": {"budget": {"day": 1}}})
        gov.call("dear", lambda: None, cost={"usd": 1})
        noted = {(each["kind"], each["what"]) for each in gov.history()}
    states = {BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED}

    # Bans are noted by gates, and read by what knows these words.
    bans = {("ban", word) for word in ("began", "lengthened", "ended", "lifted")}
    assert said == noted | bans | {("breaker", state.value) for state in states}


def test_the_page_has_every_field_of_errors() -> None:
    """
    What `errors` returns, and what a group holds, is listed.
    """
    text = (DOCS / "reference/ledger.md").read_text(encoding="utf-8")
    with Governor({"api": {}}) as gov:
        gov.record_error("api", ValueError())
        found = gov.errors()
    listed = [name for cells in rows(PAGE["Failures"]) for name in codes(cells[0])]

    assert sorted({*found, "open", "resolved", "reopened", "muted"}) == sorted(listed)
    assert not [name for name in (*found["groups"][0], *found["recent"][0]) if f"`{name}`" not in text]


def test_the_page_has_every_parameter() -> None:
    """
    What an address may hold is listed.
    """
    text = (DOCS / "reference/ledger.md").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if "libpq's parameters" in line)

    assert sorted(re.findall(r"`(\w+)`", line)) == sorted(addresses._PARAMETERS)
