"""
One suite for all ledgers: what one keeps, the others keep.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from egressor.ledger import Ledger, Pick, Tally
from egressor.ledger.entry import Entry, made, stamp
from egressor.ledger.memory import MemoryLedger
from egressor.ledger.postgres import PostgresLedger
from egressor.ledger.sqlite import SqliteLedger
from tests.ledger.places import DAY, NOW, SECOND, Postgres, entries, entry, ids

Open = Callable[..., Ledger]
KINDS = ["memory", "sqlite", "postgresql"]


@pytest.fixture(params=KINDS)
def open_one(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """
    Opens an empty ledger; each kind in turn.
    """
    kinds: dict[str, Callable[[], Open]] = {
        "memory": lambda: MemoryLedger,
        "sqlite": lambda: partial(SqliteLedger, tmp_path / "history.db"),
        "postgresql": lambda: partial(PostgresLedger, _server(request).new_database()),
    }
    opened: list[Ledger] = []

    def opener(**options: Any) -> Ledger:
        opened.append(kind(**options))
        return opened[-1]

    kind = kinds[request.param]()
    yield opener
    for each in opened:
        each.close()


def _server(request: pytest.FixtureRequest) -> Postgres:
    server = request.getfixturevalue("postgres")
    assert isinstance(server, Postgres)
    return server


def test_an_empty_ledger_holds_nothing(open_one: Open) -> None:
    """
    A ledger that was never written can be read.
    """
    ledger = open_one()

    assert (ledger.read(Pick()), ledger.tally()) == ([], Tally(0, 0, None))


def test_what_is_kept_comes_back_as_it_was(open_one: Open) -> None:
    """
    Every field survives, also text that no ASCII, SQL or format knows.
    """
    ledger = open_one()
    kept = [
        entry(0, who="O'Brien; DROP TABLE egressor_entries --", what="%s ? {key} $1"),
        entry(1, service="ünïcode-日本", data={"reason": 'a "quote" \\ and a \x00 zero', "n": [1, 2.5, None, True]}),
        entry(2, kind="breaker", what="open", service="", who=""),
    ]

    assert ledger.append(kept) == 3
    assert ledger.read(Pick(is_newest=False)) == kept


def test_an_entry_stands_there_once(open_one: Open) -> None:
    """
    Appending what is there already, in whole or in part, in one batch or two, changes nothing.
    """
    ledger = open_one()
    first = entries(5)
    other = entry(9)

    counts = [ledger.append(first), ledger.append(first), ledger.append([*first[:2], other, other]), ledger.append([])]

    assert counts == [5, 0, 1, 0]
    assert ids(ledger.read(Pick(is_newest=False))) == ids([*first, other])


@pytest.mark.parametrize(
    ("pick", "expected"),
    [
        (Pick(), [5, 4, 3, 2, 1, 0]),
        (Pick(is_newest=False), [0, 1, 2, 3, 4, 5]),
        (Pick(limit=2), [5, 4]),
        (Pick(limit=2, is_newest=False), [0, 1]),
        (Pick(service="a"), [4, 2, 0]),
        (Pick(service="a", kind="breaker"), [4]),
        (Pick(kind="breaker"), [5, 4, 3]),
        (Pick(kind="nothing"), []),
        (Pick(without="breaker"), [2, 1, 0]),
        (Pick(without="operator", service="a"), [4]),
        (Pick(service="\x00"), []),
        (Pick(service="\ud800' OR 1=1 --"), []),
        (Pick(since=NOW + 4 * SECOND), [5, 4]),
        (Pick(since=NOW + 4 * SECOND + 1), [5]),
        (Pick(since=NOW + 2 * SECOND, service="b", limit=1), [5]),
    ],
)
def test_a_pick_is_what_was_asked_for(open_one: Open, pick: Pick, expected: list[int]) -> None:
    """
    Service, kind, time, order and number select.
    """
    ledger = open_one()
    kept = [entry(n, service="ab"[n % 2], kind="operator" if n < 3 else "breaker") for n in range(6)]
    ledger.append(random.Random(1).sample(kept, 6))

    assert ids(ledger.read(pick)) == [kept[number].id for number in expected]


def test_pages_make_the_whole(open_one: Open) -> None:
    """
    Reading on after the last id leaves nothing out, and repeats nothing.
    """
    ledger = open_one()
    kept = entries(10)
    ledger.append(kept)
    found: list[str] = []
    while page := ledger.read(Pick(after=found[-1] if found else "", limit=3, is_newest=False)):
        found += ids(page)

    assert found == ids(kept)


def test_retention_by_age(open_one: Open) -> None:
    """
    What is older than the retention goes, what is exactly as old stays, and the number is told.
    """
    ledger = open_one(keep_for=DAY)
    kept = [entry(0), entry(1), entry(2)]
    ledger.append(kept)

    assert ledger.prune(NOW + DAY + SECOND) == 1
    assert ids(ledger.read(Pick())) == ids([kept[2], kept[1]])
    assert ledger.tally() == Tally(2, 1, NOW + SECOND)
    assert ledger.prune(NOW + DAY + SECOND) == 0


def test_retention_by_number(open_one: Open) -> None:
    """
    Of too many entries the oldest go, and the number is told.
    """
    ledger = open_one(keep_most=3)
    kept = entries(5)
    ledger.append(kept)
    while ledger.prune(NOW):
        pass

    assert ids(ledger.read(Pick(is_newest=False))) == ids(kept[2:])
    assert ledger.tally() == Tally(3, 2, NOW + 2 * SECOND)


def test_retention_in_pieces(open_one: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What is dropped in several transactions is the same, and counted once; none takes others' time for long.
    """
    for room in ("sqlite", "postgres"):
        monkeypatch.setattr(f"egressor.ledger.{room}._PIECE", 2)
    ledger = open_one(keep_for=DAY, keep_most=3)
    kept = entries(12)
    ledger.append(kept)
    pieces = []
    while dropped := ledger.prune(NOW + DAY + 5 * SECOND):
        pieces.append(dropped)

    # A ring has had room for three only.
    assert pieces == ([] if ledger.name == "memory" else [2, 2, 2, 2, 1])
    assert ids(ledger.read(Pick(is_newest=False))) == ids(kept[9:])
    assert ledger.tally() == Tally(3, 9, NOW + 9 * SECOND)


def test_two_that_drop_at_once_drop_it_once(open_one: Open) -> None:
    """
    However many processes look after the retention, what is within it stays.
    """
    ledger = open_one(keep_most=50)
    ledger.retain(DAY, 1_000)
    ledger.append(entries(500))
    ledger.retain(DAY, 50)
    hands = [ledger, *([] if ledger.name == "memory" else [open_one(keep_most=50) for _ in range(3)])]
    threads = [Thread(target=each.prune, args=(NOW,)) for each in hands]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert ledger.tally().entries == 50


def test_retention_may_change(open_one: Open) -> None:
    """
    What is kept goes by the last word.
    """
    ledger = open_one(keep_most=3)
    kept = entries(10)
    ledger.retain(DAY, 1_000)
    ledger.append(kept)

    assert ledger.prune(NOW) == 0
    ledger.retain(DAY, 8)
    assert ledger.prune(NOW) == 2
    ledger.retain(SECOND, 1_000)
    assert ledger.prune(NOW + 5 * SECOND) == 2
    assert ids(ledger.read(Pick(is_newest=False))) == ids(kept[4:])


def failures(count: int, *, group: Callable[[int], str] = lambda _: "0000-0000-0000", apart: int = 60) -> list[Entry]:
    """
    That many failures of ``api``, some seconds apart.
    """
    data = {"severity": "medium", "outcome": "gave_up", "count": 1, "calls": 1, "attempt": 1, "call": "x"}
    return [
        entry(n * apart, kind="error", what="network", data={**data, "fingerprint": group(n)}) for n in range(count)
    ]


def test_failures_are_folded(open_one: Open) -> None:
    """
    Above the bound the older half becomes an entry for each group and hour, and no count is lost; others stay.
    """
    ledger = open_one(keep_errors=100)
    kept = failures(200, group=lambda number: f"000{number % 2}-0000-0000")
    actions = entries(3)
    ledger.append([*actions, *kept])
    dropped = ledger.prune(NOW)
    found = ledger.read(Pick(service="api", kind="error", limit=1_000, is_newest=False))

    assert (dropped, sum(each.data["count"] for each in found), sum(each.data["calls"] for each in found)) == (
        0,
        200,
        200,
    )
    assert ids(found[-50:]) == ids(kept[-50:])
    assert found[-50:] == kept[-50:]
    # 150 minutes of two groups, from six minutes past the hour on.
    assert [each.data["count"] for each in found[:-50]] == [27, 27, 30, 30, 18, 18]
    assert (found[0].at, found[0].data["first"], "call" in found[0].data) == (kept[52].at, stamp(kept[0].at), False)
    assert ids(ledger.read(Pick(kind="operator", is_newest=False))) == ids(actions)
    assert ledger.tally().pruned == 0


def test_what_is_folded_is_folded_again(open_one: Open) -> None:
    """
    Any number of them stays within the bound, and is counted whole.
    """
    ledger = open_one(keep_errors=100)
    every = failures(1_000, apart=10)
    for start in range(0, 1_000, 90):
        ledger.append(every[start : start + 90])
        ledger.prune(NOW)
    found = ledger.read(Pick(kind="error", limit=1_000))

    assert (len(found) <= 100, sum(each.data["count"] for each in found)) == (True, 1_000)


def test_what_can_not_be_folded_is_dropped(open_one: Open) -> None:
    """
    Of too many groups, and of what only calls itself a failure, the oldest go, and the number is told.
    """
    ledger = open_one(keep_errors=100)
    odd = [entry(n, kind="error", what="x", data={"count": "many"}) for n in range(50)]
    ledger.append([*odd, *failures(150, group=lambda number: f"{number:04x}-0000-0000")])
    ledger.prune(NOW)
    found = ledger.read(Pick(kind="error", limit=1_000))

    assert (len(found), ledger.tally().pruned) == (75, 125)
    assert found[-1].data["fingerprint"] == f"{75:04x}-0000-0000"


def test_services_are_folded_apart(open_one: Open) -> None:
    """
    A service that fails all the time takes no room from another one.
    """
    ledger = open_one(keep_errors=10)
    other = failures(3)[0]._replace(service="other")
    ledger.append([other, *failures(500)[1:]])
    ledger.prune(NOW)

    assert ids(ledger.read(Pick("other"))) == [other.id]


def test_a_closed_ledger_opens_again(open_one: Open) -> None:
    """
    A call after `close` finds what was there.
    """
    ledger = open_one()
    ledger.append(entries(2))
    ledger.close()

    assert ledger.append(entries(1)) == 1
    assert ledger.tally().entries == 3


def test_two_hands_on_one_ledger(open_one: Open) -> None:
    """
    Threads that append, some of them the same, lose nothing and double nothing.
    """
    ledger = open_one()
    shared = entries(20)
    batches = [[[*shared[n : n + 3], entry(100 + n, who=str(who))] for n in range(10)] for who in range(4)]
    counts: list[int] = []
    threads = [Thread(target=lambda b=b: counts.extend(ledger.append(each) for each in b)) for b in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    everything = {each.id for batch in batches for piece in batch for each in piece}
    assert sum(counts) == len(everything)
    assert {each.id for each in ledger.read(Pick(limit=1000))} == everything


_TEXT = st.text(max_size=40)
_ENTRIES = st.lists(
    st.builds(
        made,
        at=st.integers(NOW, NOW + 10),
        kind=st.sampled_from(["operator", "breaker"]),
        what=_TEXT,
        service=st.sampled_from(["", "a", "b"]),
        who=_TEXT,
        data=st.dictionaries(_TEXT, st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _TEXT),
    ),
    max_size=8,
)
_PICKS = st.builds(
    Pick,
    service=st.sampled_from(["", "a"]),
    kind=st.sampled_from(["", "breaker"]),
    since=st.integers(NOW, NOW + 10),
    limit=st.integers(1, 9),
    is_newest=st.booleans(),
)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_every_ledger_is_the_one_in_memory(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """
    Whatever is appended and asked for, a ledger on the disk answers as the one in memory does.
    """
    if kind == "sqlite":
        ledger: Ledger = SqliteLedger(tmp_path / "history.db")
    else:
        ledger = PostgresLedger(_server(request).new_database())
    model = MemoryLedger()

    @settings(max_examples=25, suppress_health_check=list(HealthCheck))
    @given(_ENTRIES, _PICKS)
    def compare(batch: Any, pick: Pick) -> None:
        assert ledger.append(batch) == model.append(batch)
        assert ledger.read(pick) == model.read(pick)

    compare()
    assert ledger.tally() == model.tally()
    ledger.close()


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("tail", ["\0", "\0z", "\ud800", "\U0010ffff"])
def test_every_ledger_goes_on_behind_the_same_place(
    kind: str, tail: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """
    What a database can't hold is before or behind the ids that it has, as Python orders them.
    """
    ledger: Ledger = (
        SqliteLedger(tmp_path / "history.db") if kind == "sqlite" else PostgresLedger(_server(request).new_database())
    )
    model = MemoryLedger()
    batch = [made(at=NOW + n, kind="operator", what="x") for n in range(3)]
    for each in (ledger, model):
        each.append(batch)

    for start in ("", batch[0].id, batch[0].id[:9], batch[2].id):
        pick = Pick(after=start + tail)
        assert ledger.read(pick) == model.read(pick)
    ledger.close()
