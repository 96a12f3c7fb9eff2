"""
Entries: their ids, their lines, and what never gets into them.
"""

from __future__ import annotations

import json
import os
import resource
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor.ledger.entry import as_dict, as_line, from_line, made, new_id, stamp
from egressor.ledger.opening import open_ledger
from egressor.ledger.spool import Spool
from tests.ledger.places import NOW, entries, entry, ids

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from egressor.ledger.entry import Entry

KEY = "sk-" + "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1eF3hJ5"
_TIMES = st.integers(0, 253_402_300_799_999_999)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=20), inner, max_size=3),
)


@given(_TIMES)
def test_an_id_is_a_uuid_of_version_7(at: int) -> None:
    """
    Its first 48 bits are the milliseconds, and version and variant are those of RFC 9562.
    """
    found = UUID(new_id(at))

    assert (found.version, found.variant, found.int >> 80) == (7, "specified in RFC 4122", at // 1000)


@given(st.lists(_TIMES, min_size=2, max_size=20))
def test_ids_sort_by_time(times: list[int]) -> None:
    """
    Later entries have greater ids; in one microsecond those of one process are in their order.
    """
    found = [new_id(at) for at in sorted(times)]

    assert sorted(found) == found
    assert len(set(found)) == len(found)


@given(_TIMES, st.text(), st.text(), st.text(), st.dictionaries(st.text(max_size=20), _JSON, max_size=4))
def test_a_line_is_the_entry(at: int, what: str, service: str, who: str, data: dict[str, Any]) -> None:
    """
    Whatever goes into an entry, its line is one line of ASCII, and reads as the same entry.
    """
    whole = made(at=at, kind="operator", what=what, service=service, who=who, data=data)
    line = as_line(whole)

    assert (line.isascii(), line.isprintable(), from_line(line)) == (True, True, whole)
    assert max(map(len, (whole.what, whole.service, whole.who))) <= 200


def test_times_are_iso_8601() -> None:
    """
    Microseconds survive, and zones are read.
    """
    assert stamp(NOW + 1) == "2026-11-18T11:06:40.000001Z"
    assert as_dict(entry(0))["at"] == "2026-11-18T11:06:40.000000Z"
    line = as_line(entry(0)).replace("11:06:40.000000Z", "12:06:40+01:00")
    assert from_line(line).at == NOW


@pytest.mark.parametrize("field", ["what", "service", "who", "data"])
def test_no_secret_gets_in(field: str) -> None:
    """
    A key in any text, on the way in or from a file, is hidden.
    """
    given_: Any = {"deep": [{"reason": f"it was {KEY}", KEY: 1}]} if field == "data" else f"it was {KEY}"
    whole = made(at=NOW, **{"kind": "operator", "what": "x", field: given_})
    line = json.loads(as_line(entry(0)))
    again = from_line(json.dumps({**line, field: given_}))

    assert [text for text in (as_line(whole), as_line(again)) if KEY in text or "not shown" not in text] == []


def test_data_is_bounded() -> None:
    """
    More than 8 KiB of data is left out, and says so; what is too deep becomes text.
    """
    assert made(at=NOW, kind="a", what="b", data={"n": ["x" * 199] * 50}).data["left_out"].endswith("above 8192")
    deep: Any = "end"
    for _ in range(9):
        deep = [deep]
    assert made(at=NOW, kind="a", what="b", data={"n": deep}).data == {"n": [[[[["<list of 1>"]]]]]}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "no object with at, data"),
        ('{"id": "x"}', "no object with at, data"),
        ({"who": 7}, "the other fields texts"),
        ({"data": []}, "data must be an object"),
        ({"at": "yesterday"}, "no time such as"),
        ({"at": "2026-01-31T12:00:00"}, "no time such as"),
        ({"at": "1969-12-31T12:00:00Z"}, "no time in microseconds"),
        ({"kind": "No Kind"}, "no kind of entry"),
        ({"id": "550e8400-e29b-41d4-a716-446655440000"}, "no id: a UUID of version 7"),
        ({"id": ""}, "no id: a UUID of version 7"),
    ],
)
def test_a_line_that_is_none(line: str | dict[str, Any], message: str) -> None:
    """
    What is no entry is refused, with the reason.
    """
    text = line if isinstance(line, str) else json.dumps({**as_dict(entry(0)), **line})
    with pytest.raises(ValueError, match=message):
        from_line(text)


def test_a_spool_gives_back_what_it_took(tmp_path: Path) -> None:
    """
    Entries come back in order, and the file is gone with them.
    """
    spool, kept, home = Spool(tmp_path / "deep" / "spool"), entries(1_200), list[Any]()
    spool.put(kept[:700])
    spool.put(kept[700:])

    assert (spool.count, spool.is_empty(), ids(spool.waiting())) == (1_200, False, ids(kept))
    assert spool.replay(lambda batch: home.extend(batch) or len(batch)) == 1_200  # type: ignore[func-returns-value]
    assert (ids(home), spool.count, spool.is_empty(), list(spool.folder.iterdir())) == (ids(kept), 0, True, [])
    assert spool.folder.stat().st_mode & 0o777 == 0o700


def test_a_spool_is_bounded(tmp_path: Path) -> None:
    """
    What doesn't fit with what all processes have there is refused as a whole.
    """
    first, second = Spool(tmp_path), Spool(tmp_path, most=600)
    first.put(entries(1))
    second.put(entries(1))
    with pytest.raises(OSError, match=r"the spool holds \d+ bytes of at most 600"):
        second.put(entries(2))

    assert (first.count, second.count, len(first.waiting())) == (1, 1, 2)
    first.close()
    second.close()


def test_the_living_keep_their_spool(tmp_path: Path) -> None:
    """
    A file whose writer lives is nobody else's; once it has ended, whoever comes next brings it home.
    """
    one, two, home = Spool(tmp_path), Spool(tmp_path), list[Any]()
    one.put(entries(3))

    assert (two.is_empty(), two.replay(lambda batch: len(batch))) == (True, 0)  # noqa: PLW0108 - its type is checked
    one.close()
    assert not two.is_empty()
    assert two.replay(lambda batch: home.extend(batch) or len(batch)) == 3  # type: ignore[func-returns-value]
    assert (len(home), list(tmp_path.iterdir())) == (3, [])


def test_half_a_line_and_a_broken_one(tmp_path: Path) -> None:
    """
    A line without its end is passed over, a broken one is counted, and its file kept beside.
    """
    good = entries(2)
    lines = f"{as_line(good[0])}\nthis is no entry\n\xff\n{as_line(good[1])}\n{as_line(entry(9))[:50]}"
    (tmp_path / "1-dead.jsonl").write_text(lines, encoding="latin-1")
    spool, home = Spool(tmp_path), list[Any]()
    spool.replay(lambda batch: home.extend(batch) or len(batch))  # type: ignore[func-returns-value]

    assert (ids(home), spool.broken) == (ids(good), 2)
    assert [path.name for path in tmp_path.iterdir()] == ["1-dead.bad"]


def test_a_failed_replay_removes_nothing(tmp_path: Path) -> None:
    """
    Whatever the ledger says in the middle, the file stays until all of it is home.
    """
    spool = Spool(tmp_path)
    spool.put(entries(600))
    turns = [500]

    def once(_: object) -> int:
        return turns.pop()

    with pytest.raises(IndexError):
        spool.replay(once)

    assert (spool.count, len(spool.waiting())) == (600, 600)
    spool.close()


@contextmanager
def files_left(number: int) -> Iterator[None]:
    """
    This process may open no more than *number* files meanwhile.
    """
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + number, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize(("number", "new", "left"), [(0, 0, 5), (1, 3, 2)], ids=["its own", "a dead process's"])
def test_a_file_that_cannot_be_read_now_stays(number: int, new: int, left: int, tmp_path: Path) -> None:
    """
    Regression: with no file to open left, a spool's file was taken for an empty one, and removed with all it held.
    """
    dead, spool, kept, home = Spool(tmp_path), Spool(tmp_path), entries(5), list[Any]()
    dead.put(kept[:2])
    dead.close()
    spool.put(kept[2:])

    def append(batch: Sequence[Entry]) -> int:
        home.extend(batch)
        return len(batch)

    with files_left(number):
        found = spool.replay(append)

    assert (found, len(spool.waiting())) == (new, left)
    assert spool.replay(append) == left
    assert (sorted(ids(home)), list(tmp_path.iterdir())) == (sorted(ids(kept)), [])


def test_what_cannot_be_read_hides_nothing_else(tmp_path: Path) -> None:
    """
    One file that can't be read keeps nobody from those that can.
    """
    (tmp_path / "1-away.jsonl").mkdir()
    spool, kept = Spool(tmp_path), entries(2)
    spool.put(kept)

    assert ids(spool.waiting()) == ids(kept)
    assert spool.replay(len) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["1-away.jsonl"]


def test_an_address_opens_its_kind(tmp_path: Path) -> None:
    """
    The scheme says which ledger it is; nothing is made before it is used.
    """
    addresses = ["memory:", f"sqlite:///{tmp_path}/my%20history.db", "postgresql://h/d"]

    assert [open_ledger(each).name for each in addresses] == ["memory", "sqlite", "postgresql"]
    assert list(tmp_path.iterdir()) == []
    open_ledger(addresses[1]).append(entries(1))
    assert (tmp_path / "my history.db").exists()


def test_a_fork_has_ids_of_its_own() -> None:
    """
    Parent and child go on from the same count at the same moment, and never say the same.
    """
    mine, theirs = os.pipe()
    child = os.fork()
    if not child:
        os.write(theirs, " ".join(new_id(1_000_000) for _ in range(5)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    said = os.read(mine, 4096).decode().split()
    os.close(mine)
    os.close(theirs)

    assert len({*said, *(new_id(1_000_000) for _ in range(5))}) == 10
