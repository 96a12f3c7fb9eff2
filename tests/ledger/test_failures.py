"""
Failed attempts on their way into the ledger: taken, grouped, bounded, counted.
"""

from __future__ import annotations

import json
import os
import threading
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor import classify
from egressor._core.model import Outcome
from egressor.ledger import Pick, grouping
from egressor.ledger.entry import Entry, as_line, from_line
from egressor.ledger.failure import READ, Failure, caught
from egressor.ledger.failures import Failures, _at_exit
from egressor.ledger.grouping import ERROR, Groups, said_by
from egressor.ledger.history import History
from egressor.ledger.memory import MemoryLedger
from egressor.policies import redaction
from egressor.policies.hiding import NOT_SHOWN
from tests.ledger.places import DAY, NOW, SECOND

RECORD = 16_384


class Recursive(Exception):
    """
    An exception whose text needs its text.
    """

    def __str__(self) -> str:
        return str(self)


class Raising(Exception):
    """
    An exception that raises whatever it is asked.
    """

    def __getattribute__(self, name: str) -> Any:
        raise KeyError(name)

    def __str__(self) -> str:
        raise ValueError


class Odd(Exception):
    """
    An exception whose text is none.
    """

    __str__: Any = lambda _: 7


def failed(error: BaseException | None = None, *, at: int = NOW, said: bytes = b"", **scope: str) -> Failure:
    """
    An attempt that failed.
    """
    verdict = classify(status=503) if error is None else classify(error)
    return caught(Outcome(error=error), verdict, scope, at=at, said=said)


def kept(*calls: tuple[str, list[Failure]], service: str = "api") -> list[Entry]:
    """
    The entries that *calls*, each with its outcome, leave behind.
    """
    way = Failures(History(MemoryLedger(), wall=lambda: NOW))
    for outcome, failures in calls:
        way.tell(service, outcome, failures)
    way.gather()
    return way.history.read(Pick(kind=ERROR, is_newest=False, limit=100_000))


def test_a_failure_becomes_an_entry() -> None:
    """
    With its time, category, message, scope, place and group.
    """

    def fail() -> None:
        raise ConnectionError(message)

    message = "host 7 refused: password=hunter2"
    with pytest.raises(ConnectionError) as caught:
        fail()
    caught.value.add_note("while warming up")
    (entry,) = kept(("gave_up", [failed(caught.value, endpoint="chat", user="u1")]))

    data = dict(entry.data)
    assert (entry.at, entry.kind, entry.service, entry.what, entry.who) == (NOW, "error", "api", "network", "")
    assert data.pop("place").endswith("test_failures.py:test_a_failure_becomes_an_entry.<locals>.fail")
    assert (len(data.pop("fingerprint")), len(data.pop("call"))) == (14, 19)
    assert data == {
        "severity": "medium",
        "outcome": "gave_up",
        "message": f"host 7 refused: password={NOT_SHOWN}",
        "type": "ConnectionError",
        "rule": "exc.ConnectionError",
        "why": "ConnectionError: the network failed",
        "endpoint": "chat",
        "scope": {"user": "u1"},
        "context": ["while warming up"],
        "count": 1,
        "calls": 1,
        "attempt": 1,
    }
    assert from_line(as_line(entry)) == entry


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (b'{"error": {"message": "Slow Down", "type": "x"}}', "slow down"),
        (b'{"error": {"message": "cut off here", "details": [' + b"1," * 5_000, "cut off here"),
        (b"<html><head><title>502 Bad\n Gateway</title></head>", "502 Bad Gateway"),
        (b"<html><body>nothing", "status 503 (RFC 9110 15.6.4)"),
        (b"upstream connect error", "upstream connect error"),
        (b"\xff\xfe\x00", "\ufffd\ufffd\x00"),
        (b"", "status 503 (RFC 9110 15.6.4)"),
    ],
)
def test_an_answer_says_what_its_body_says(said: bytes, expected: str) -> None:
    """
    The message in JSON, the title of a page, a plain text; else the rule's own words.
    """
    assert said_by(failed(said=said)) == expected


def test_a_cause_is_told() -> None:
    """
    What an SDK wraps is named beside its wrapper.
    """
    try:
        try:
            raise ConnectionRefusedError(111, "refused")
        except OSError as inner:
            raise LookupError from inner
    except LookupError as outer:
        failure = failed(outer)

    assert (failure.kind, failure.cause) == ("LookupError", "ConnectionRefusedError: [Errno 111] refused")


@pytest.mark.parametrize("make", [Recursive, Raising, Odd, lambda: ExceptionGroup("many", [Raising()])])
def test_an_exception_may_do_anything(make: Any) -> None:
    """
    Whatever its methods do, there is one record, and nothing is raised.
    """
    (entry,) = kept(("gave_up", [failed(make())]))

    assert len(as_line(entry)) <= RECORD
    assert entry.data["count"] == 1


def test_a_text_that_can_not_be_read_says_so() -> None:
    """
    The message names what went wrong with it.
    """
    assert failed(Odd()).message == "(its text can't be read: TypeError)"
    assert failed(Recursive()).message == "(its text can't be read: RecursionError)"


_TEXTS = st.text(max_size=3_000) | st.sampled_from(["\U0001f600" * 3_000, "\ud800" * 3_000, "x" * 100_000])


@given(_TEXTS, _TEXTS, st.dictionaries(st.text(max_size=50), st.text(max_size=1_024), max_size=40), _TEXTS)
def test_a_record_is_bounded(message: str, note: str, scope: dict[str, str], service: str) -> None:
    """
    However long its parts are, it takes at most 16 KiB, has its group, and comes back as it was written.
    """
    error = ValueError(message)
    error.add_note(note)
    verdict = classify(error)
    failure = caught(Outcome(error=error), verdict, scope, at=NOW, said=message.encode(errors="replace"))
    (entry,) = kept(("gave_up", [failure]), service=service)

    assert len(as_line(entry)) <= RECORD
    assert (len(entry.data["fingerprint"]), entry.data["calls"]) == (14, 1)
    assert from_line(as_line(entry)) == entry


def test_no_exception_is_kept() -> None:
    """
    What is remembered holds texts, so no traceback keeps a caller's variables alive.
    """
    failure = failed(ValueError("x"), user="u")

    assert {type(value) for value in failure._replace(verdict=None, scope=None)} <= {  # type: ignore[arg-type]
        int,
        str,
        bytes,
        type(None),
    }


def test_a_message_is_cut_before_a_secret_not_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Half of one would be hidden by nothing: neither in a message nor in a note, nor in an answer's words.
    """
    monkeypatch.setattr(redaction, "_known", {"correcthorse-battery"})
    text = "w" * (READ - 10) + " correcthorse-battery"
    error = ValueError(text)
    error.add_note(text)
    found = failed(error)
    answered = said_by(failed(said=b"." * 190 + b" correcthorse-battery"))

    assert [part.count("correct") for part in (found.message, str(found.context), answered)] == [0, 0, 0]


def test_groups_by_what_matters() -> None:
    """
    Numbers in a message make no other group; rule, type, endpoint, words and service do.
    """
    names = Groups()
    one = names.name("api", failed(ValueError("order 1 of 'bob'")))

    assert one == names.name("api", failed(ValueError("order 22 of 'eve'")))
    others = [
        names.name("api", failed(TypeError("order 1 of 'bob'"))),
        names.name("api", failed(ValueError("order 1 of 'bob'"), endpoint="chat")),
        names.name("api", failed(ValueError("orders"))),
        names.name("other", failed(ValueError("order 1 of 'bob'"))),
        names.name("api", failed()),
    ]
    assert len({one, *others}) == 6


def test_a_flood_is_counted_and_bounded() -> None:
    """
    Of a thousand alike ten stand alone, and the last of them stands for the rest.
    """
    two = [[failed(ValueError(f"order {number}")) for number in (one, one + 1)] for one in range(0, 1_000, 2)]
    found = kept(*[("gave_up", failures) for failures in two])

    assert len(found) == 10
    assert [(each.data["count"], each.data["calls"]) for each in found[:9]] == [(1, 0), (1, 1)] * 4 + [(1, 0)]
    assert (found[-1].data["count"], found[-1].data["calls"], found[-1].at) == (991, 496, NOW)
    assert ("call" in found[-1].data, sum(each.data["count"] for each in found)) == (False, 1_000)


def test_a_flood_of_many_groups_is_bounded() -> None:
    """
    A hundred stand alone in a turn; beyond, each group has one entry.
    """
    words = ["".join(letters) for letters in product("abcdefg", repeat=3)][:300]
    found = kept(*[("gave_up", [failed(ValueError(word))]) for word in words * 3])

    assert (len(found), sum(each.data["count"] for each in found)) == (300, 900)


def test_more_groups_at_once_are_counted_by_category() -> None:
    """
    A turn writes 300 entries, and those of the categories; the next one looks again.
    """
    words = ["".join(letters) for letters in product("abcdefgh", repeat=3)][:400]
    way = Failures(History(MemoryLedger(), wall=lambda: NOW))
    counts = []
    for _ in range(2):
        for word in words:
            way.tell("api", "gave_up", [failed(ValueError(word))], rings=False)
        way.gather()
        found = way.history.read(Pick(kind=ERROR, limit=10_000))
        counts.append((len(found), sum(each.data["count"] for each in found), way.merged))

    assert counts == [(301, 400, 100), (602, 800, 200)]


def test_outcomes_are_kept_apart() -> None:
    """
    What recovered and what gave up are never one entry; a call is counted where it ended.
    """
    calls = [("recovered", [failed(ValueError("x"))] * 3), ("gave_up", [failed(ValueError("x"))])] * 20
    found = kept(*calls)
    sums: dict[str, list[int]] = {}
    for each in found:
        told = sums.setdefault(each.data["outcome"], [0, 0])
        told[0] += each.data["count"]
        told[1] += each.data["calls"]

    assert sums == {"recovered": [60, 20], "gave_up": [20, 20]}


def test_too_many_groups_are_counted_by_category(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What is new beyond them goes by its category, and says so; after a day the forgotten make room.
    """
    monkeypatch.setattr(grouping, "_GROUPS", 3)
    names = Groups()
    words = ["one", "two", "three", "four", "five"]
    found = [names.name("api", failed(ValueError(word))) for word in words]
    again = names.name("api", failed(ValueError("one")))

    assert (len(set(found)), found[3] == found[4], again == found[0], names.merged) == (4, True, True, 2)
    later = names.name("api", failed(ValueError("six"), at=NOW + DAY + SECOND))
    assert (later in found, names.merged) == (False, 2)


def test_what_is_remembered_of_messages_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The cache of names is emptied when it is full, and the names stay what they were.
    """
    monkeypatch.setattr(grouping, "_REMEMBERED", 2)
    names = Groups()
    failures = [failed(ValueError(word)) for word in ("one", "two", "three")]
    first = [names.name("api", each) for each in failures]

    assert [names.name("api", each) for each in failures] == first
    assert len(names._names) <= 2


def test_a_full_queue_drops_and_says_so() -> None:
    """
    So does one that is closed; what was there is written.
    """
    way = Failures(History(MemoryLedger(), wall=lambda: NOW), queue=2)
    for _ in range(5):
        way.tell("api", "gave_up", [failed()], rings=False)
    way.close()
    way.tell("api", "gave_up", [failed()])

    assert (way.dropped, len(way.history.read(Pick(kind=ERROR)))) == (4, 2)


def test_the_thread_writes_by_itself() -> None:
    """
    Nobody has to look: a bell wakes the thread, and it wakes again for what comes later.
    """
    told = threading.Event()

    class Watched(MemoryLedger):
        def append(self, entries: Any) -> int:
            told.set()
            return super().append(entries)

    way = Failures(History(Watched(), wall=lambda: NOW))
    for _ in range(2):
        told.clear()
        way.tell("api", "gave_up", [failed()])
        assert told.wait(20)


def test_a_fault_of_the_ledger_does_not_end_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    """
    It is told, without what it was about, and the next ones are written.
    """
    told = threading.Event()
    faults: list[Exception] = [RuntimeError("password=hunter2")]

    class Faulty(MemoryLedger):
        def append(self, entries: Any) -> int:
            if faults:
                raise faults.pop()
            told.set()
            return super().append(entries)

    way = Failures(History(Faulty(), wall=lambda: NOW))
    for _ in range(200):
        way.tell("api", "gave_up", [failed()])
        if told.wait(0.1):
            break

    assert told.is_set()
    assert [record.getMessage() for record in caplog.records] == ["failed attempts could not be written: RuntimeError"]


@pytest.mark.parametrize("scope", [None, {"endpoint": 3}, {"user": Raising()}, {"endpoint": []}])
def test_one_that_is_odd_takes_no_other_along(scope: Any) -> None:
    """
    What can't be an entry is dropped and counted; whatever else was in the queue is written.
    """
    way = Failures(History(MemoryLedger(), wall=lambda: NOW))
    for each in (failed(), failed()._replace(scope=scope), failed(ValueError("x"))):
        way.tell("api", "gave_up", [each], rings=False)
    way.gather()
    written = sum(each.data["count"] for each in way.history.read(Pick(kind=ERROR)))

    assert (written + way.dropped, written >= 2) == (3, True)


def test_what_the_ledger_does_not_take_is_counted() -> None:
    """
    A fault of the ledger is told to who asks, and counted; at the end of the process it stops nobody.
    """

    class Faulty(MemoryLedger):
        def append(self, entries: Any) -> int:
            raise RuntimeError

    way = Failures(History(Faulty(), wall=lambda: NOW))
    way.tell("api", "gave_up", [failed()], rings=False)
    with pytest.raises(RuntimeError):
        way.gather()
    assert way.dropped == 1
    way.tell("api", "gave_up", [failed()], rings=False)
    _at_exit()

    assert way.dropped == 2


def test_a_child_starts_without_its_parent_s_failures() -> None:
    """
    What waits in the parent is the parent's to write; a child has a thread and names of its own.
    """
    way = Failures(History(MemoryLedger(), wall=lambda: NOW))
    way.tell("api", "gave_up", [failed()], rings=False)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        way.tell("api", "gave_up", [failed()])
        way.gather()
        lines = [each.data["call"] for each in way.history.read(Pick(kind=ERROR))]
        os.write(write, json.dumps(lines).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as stream:
        theirs = json.loads(stream.read())
    os.waitpid(child, 0)
    way.gather()
    mine = [each.data["call"] for each in way.history.read(Pick(kind=ERROR))]

    assert (len(theirs), len(mine), theirs[0][:9] == mine[0][:9]) == (1, 1, False)
