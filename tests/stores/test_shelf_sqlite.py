"""
The file of answers: what several processes keep together, what is wrong with a file, and who makes a call.

Two `AnswerFile` of one path are two processes, as far as the file can tell.
"""

from __future__ import annotations

import os
import pickle
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from egressor._core.cache import entry_of
from egressor.stores.shelf import Kept
from egressor.stores.shelf_shared import SharedShelf, Sought
from egressor.stores.shelf_sqlite import AnswerFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SECOND = 1_000_000
NOW = 1_800_000_000 * SECOND
PLENTY = (100, 1 << 20)


class Wall:
    """
    A wall clock that is moved by hand.
    """

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        """
        Return the time.
        """
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """
    Where the file is.
    """
    return tmp_path / "e.db.answers"


@pytest.fixture
def wall() -> Wall:
    """
    The time.
    """
    return Wall()


@pytest.fixture
def opened(path: Path, wall: Wall) -> Iterator[Callable[[], AnswerFile]]:
    """
    Open the file as one more process.
    """
    files: list[AnswerFile] = []

    def one_more() -> AnswerFile:
        files.append(AnswerFile(path, wall=wall))
        return files[-1]

    yield one_more
    for each in files:
        each.close()


def kept(size: int = 3, at: int = NOW) -> Kept:
    """
    Return an answer with a body of *size* bytes.
    """
    return Kept(entry_of(200, "OK", (("content-type", "text/plain"),), (b"x" * size,)), at, SECOND)


def put(
    file: AnswerFile, key: str, value: Kept | None = None, *, most: tuple[int, int] = PLENTY, until: int = 0
) -> None:
    """
    Keep an answer, and wait until it is written.
    """
    file.put("s", key, value or kept(), until=until or NOW + SECOND, most=most)
    assert file.flush()


def alive() -> bool:
    """
    Be a call under way.
    """
    return True


def never(_: Kept) -> bool:
    """
    Be satisfied with nothing.
    """
    return False


def get(answers: AnswerFile, key: str, service: str = "s") -> Kept | None:
    """
    Return what is kept under *key*.
    """
    return answers.find(Sought(service, lambda _: key, never)).kept


def claim(answers: AnswerFile, key: str, is_alive: Callable[[], bool], service: str = "s") -> bool | None:
    """
    Return whether the call of *key* may be made now.
    """
    return answers.find(Sought(service, lambda _: key, never, is_alive)).is_mine


def secret_of(answers: AnswerFile) -> bytes:
    """
    Return the secret that keys are made with; empty while it isn't known.
    """
    found = b""

    def name(secret: bytes) -> str:
        nonlocal found
        found = secret
        return "k"

    answers.find(Sought("s", name, never))
    return found


def test_what_one_keeps_another_finds(opened: Callable[[], AnswerFile], path: Path) -> None:
    """
    Status, headers, chunks and times come out as they went in; the file is for its owner only.
    """
    one, other = opened(), opened()

    put(one, "k", kept(7))

    assert get(other, "k") == kept(7)
    assert (get(other, "k", "t"), get(other, "j")) == (None, None)
    assert path.stat().st_mode & 0o777 == 0o600


def test_all_have_one_salt(opened: Callable[[], AnswerFile]) -> None:
    """
    Keys of all processes are made with the same secret, which is the file's.
    """
    salts = [secret_of(opened()) for _ in range(3)]

    assert len(salts[0]) == 32
    assert salts == [salts[0]] * 3


def test_the_oldest_go_first(opened: Callable[[], AnswerFile]) -> None:
    """
    P13: there are never more answers, or bytes, of a service than may be; another service has bounds of its own.
    """
    file = opened()
    file.put("t", "k", kept(), until=NOW + SECOND, most=PLENTY)

    for each in range(10):
        put(file, str(each), kept(1_000, at=NOW + each), most=(4, 1 << 20))
    by_count = [get(file, str(each)) is not None for each in range(10)]
    put(file, "x", kept(1_000, at=NOW + 11), most=(100, 2_500))
    by_bytes = [get(file, key) is not None for key in "6789x"]

    assert by_count == [False] * 6 + [True] * 4
    assert by_bytes == [False, False, False, True, True]
    assert get(file, "k", "t") == kept()


def test_what_is_too_old_is_dropped(opened: Callable[[], AnswerFile], wall: Wall, path: Path) -> None:
    """
    With the next answer that is kept, those go whose time is over.
    """
    file = opened()
    put(file, "a", until=NOW + 5)
    wall.now += 5

    put(file, "b")

    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT key FROM answers").fetchall() == [("b",)]
        assert db.execute("SELECT entries FROM totals").fetchall() == [(1,)]


def spoil(path: Path, statement: str, *values: object) -> None:
    """
    Change the file behind its back.
    """
    with closing(sqlite3.connect(path)) as db:
        db.execute(statement, values)
        db.commit()


class Trap:
    """
    What does something when it is unpickled.
    """

    def __reduce__(self) -> Any:
        return os.mkdir, ("/tmp/egressor-was-here",)  # noqa: S108 - nobody makes it


@pytest.mark.parametrize("data", [b"", b"junk", "text", 7, None, pickle.dumps(Trap())], ids=repr)
def test_a_planted_entry_is_a_miss(opened: Callable[[], AnswerFile], path: Path, data: object) -> None:
    """
    K05: whatever somebody puts in an answer's place is none, is never executed, and is dropped.
    """
    file = opened()
    put(file, "k")
    spoil(path, "UPDATE answers SET data = ?", data)

    assert get(file, "k") is None
    assert file.flush()
    put(file, "k")
    assert get(file, "k") == kept()
    assert not os.path.exists("/tmp/egressor-was-here")  # noqa: PTH110, S108


@pytest.mark.parametrize("column", ["at", "fresh_for"])
def test_a_time_that_is_none_is_a_miss(opened: Callable[[], AnswerFile], path: Path, column: str) -> None:
    """
    SQLite takes any value in any column.
    """
    file = opened()
    put(file, "k")
    spoil(path, f"UPDATE answers SET {column} = 'soon'")  # noqa: S608 - a column of ours

    assert get(file, "k") is None


def test_a_damaged_file_is_set_aside(opened: Callable[[], AnswerFile], path: Path, caplog: Any) -> None:
    """
    It misses, for a second, and then a new one is there.
    """
    path.write_bytes(b"this is no database" * 500)
    path.chmod(0o600)

    first = opened()
    assert (get(first, "k"), secret_of(first)) == (None, b"")
    # Another process, for which no second has to go by.
    put(opened(), "k")

    assert get(opened(), "k") == kept()
    assert path.with_name(f"{path.name}.corrupt").read_bytes().startswith(b"this is no database")
    assert "can't be used" in caplog.text


def test_somebody_else_s_file_is_left_alone(opened: Callable[[], AnswerFile], path: Path) -> None:
    """
    A database of another program is not written to.
    """
    spoil(path, "CREATE TABLE mine (a)")
    path.chmod(0o600)
    before = path.read_bytes()
    file = opened()

    file.put("s", "k", kept(), until=NOW + SECOND, most=PLENTY)

    assert file.flush(0.1) is False
    assert (get(file, "k"), claim(file, "k", alive)) == (None, True)
    assert path.read_bytes() == before


def test_a_folder_that_is_gone_misses(opened: Callable[[], AnswerFile], path: Path) -> None:
    """
    P11: without a place for the file every look is a miss, and every call its own.
    """
    file = opened()
    path.parent.rmdir()

    assert (get(file, "k"), secret_of(file)) == (None, b"")
    assert claim(file, "k", alive) is True


def test_a_file_that_is_removed_is_begun_anew(opened: Callable[[], AnswerFile], path: Path) -> None:
    """
    An operator may delete it at any time.
    """
    file = opened()
    put(file, "k")
    path.unlink()

    assert get(file, "k") is None
    put(file, "k")
    assert get(file, "k") == kept()


def test_one_of_all_makes_the_call(opened: Callable[[], AnswerFile]) -> None:
    """
    Whoever claims a key first has it until it is released; other keys and services are others.
    """
    one, other = opened(), opened()

    assert claim(one, "k", alive) is True
    assert claim(other, "k", alive) is False
    assert claim(other, "j", alive) is True
    assert claim(other, "k", alive, "t") is True
    one.release("s", "k")
    assert one.flush()
    assert claim(other, "k", alive) is True


def test_an_answer_is_there_before_the_claim_is_gone(opened: Callable[[], AnswerFile]) -> None:
    """
    So whoever claims a key next finds it.
    """
    one, other = opened(), opened()
    claim(one, "k", alive)

    one.put("s", "k", kept(), until=NOW + SECOND, most=PLENTY)
    one.release("s", "k")
    while claim(other, "k", alive) is not True:
        pass

    assert get(other, "k") == kept()


def test_a_dead_process_s_claim_ends(opened: Callable[[], AnswerFile], wall: Wall) -> None:
    """
    After three seconds without a word another process makes the call.
    """
    one, other = opened(), opened()
    claim(one, "k", lambda: False)

    wall.now += 3 * SECOND - 1
    before = claim(other, "k", alive)
    wall.now += 1

    assert (before, claim(other, "k", alive)) == (False, True)


def test_a_claim_lasts_as_long_as_its_call(opened: Callable[[], AnswerFile], wall: Wall) -> None:
    """
    What is under way is claimed for longer, and what isn't is not.
    """
    one, other = opened(), opened()
    claim(one, "long", alive)
    claim(one, "over", lambda: False)

    wall.now += 2 * SECOND
    one.renew()
    wall.now += 2 * SECOND

    assert [claim(other, key, alive) for key in ("long", "over")] == [False, True]


def test_a_claim_from_the_future_counts_for_nothing(opened: Callable[[], AnswerFile], wall: Wall) -> None:
    """
    A clock that is set back by a day keeps nobody waiting for a day.
    """
    one, other = opened(), opened()
    claim(one, "k", alive)
    wall.now -= 86_400 * SECOND

    assert claim(other, "k", alive) is True


def test_whoever_finds_the_file_busy_does_not_wait(opened: Callable[[], AnswerFile], path: Path) -> None:
    """
    P11: while somebody holds the file for himself, a look is a miss, and nobody can say who makes the call.
    """
    file = opened()
    put(file, "k")

    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        found, claimed = get(file, "k"), claim(file, "k", alive)
        db.execute("ROLLBACK")

    assert (found, claimed) == (None, None)
    assert (get(file, "k"), claim(file, "k", alive)) == (kept(), True)


def test_a_queue_that_is_full_drops(opened: Callable[[], AnswerFile], path: Path) -> None:
    """
    P13: what the writing thread can't keep up with is not kept, and counted.
    """
    file = opened()
    put(file, "k")

    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        for each in range(1_100):
            file.put("s", str(each), kept(), until=NOW + SECOND, most=PLENTY)
        db.execute("ROLLBACK")

    assert file.dropped >= 90


def test_a_shelf_is_one_service_s_part(opened: Callable[[], AnswerFile]) -> None:
    """
    It has its bounds and its claims.
    """
    file = opened()
    shelf = SharedShelf(file, "s", max_entries=1, max_bytes=1 << 20)

    shelf.put("a", kept(), until=NOW + SECOND)
    shelf.put("b", kept(at=NOW + 1), until=NOW + SECOND)
    assert file.flush()

    found = [shelf.find(lambda _: "a", is_enough=never).kept, shelf.find(lambda _: "b", is_enough=never).kept]
    others = SharedShelf(opened(), "s", max_entries=1, max_bytes=1)
    claims = [each.find(lambda _: "k", is_enough=never, is_alive=alive).is_mine for each in (shelf, others)]
    shelf.release("k")
    assert file.flush()

    assert (found, claims) == ([None, kept(at=NOW + 1)], [True, False])
    assert others.seek(lambda _: "k", is_enough=never, is_alive=alive).result().is_mine is True
