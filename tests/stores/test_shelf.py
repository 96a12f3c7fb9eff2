"""
The shelf in memory: what was used last stays.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from egressor._core.cache import entry_of
from egressor.stores.shelf import Kept, MemoryShelf


def kept(size: int) -> Kept:
    """
    Return an answer with a body of *size* bytes.
    """
    return Kept(entry_of(200, "OK", (), (b"x" * size,)), 0, 1)


def test_what_was_not_used_for_the_longest_time_goes_first() -> None:
    """
    Looking at an answer keeps it.
    """
    shelf = MemoryShelf(max_entries=2, max_bytes=10_000)

    shelf.put("a", kept(1), until=1)
    shelf.put("b", kept(2), until=1)
    shelf.get("a")
    shelf.put("c", kept(3), until=1)

    assert [shelf.get(key) for key in "abc"] == [kept(1), None, kept(3)]


def test_what_is_longer_than_the_shelf_is_not_kept() -> None:
    """
    It takes nobody else's place, but the one of the answer that it replaces.
    """
    shelf = MemoryShelf(max_entries=9, max_bytes=2_000)

    shelf.put("a", kept(1), until=1)
    shelf.put("b", kept(1), until=1)
    shelf.put("b", kept(2_000), until=1)

    assert (shelf.get("a"), shelf.get("b"), len(shelf)) == (kept(1), None, 1)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["put", "get", "drop"]), st.integers(0, 400))))
def test_it_never_holds_more_than_it_may(steps: list[tuple[str, str, int]]) -> None:
    """
    P13: after whichever steps, its bytes and answers are within their bounds, and counted right.
    """
    shelf = MemoryShelf(max_entries=4, max_bytes=2_800)

    for key, step, size in steps:
        if step == "put":
            shelf.put(key, kept(size), until=1)
            assert shelf.get(key) == kept(size)
        elif step == "get":
            shelf.get(key)
        else:
            shelf.drop(key)
            assert shelf.get(key) is None

    found = [each for each in map(shelf.get, "abcdef") if each is not None]
    assert len(found) == len(shelf) <= 4
    assert shelf.size == sum(each.entry.size + 1 for each in found) <= 2_800
