"""
Steps that interrupt each other, in one thread and in several.
"""

from __future__ import annotations

import threading

import pytest

from egressor.stores.exclusive import Exclusive, step


def test_a_step_inside_of_another_is_done_after_it() -> None:
    """
    It waits for nobody, says what it was told to say instead, and is done once the other has ended.
    """
    alone, done = Exclusive(), list[str]()

    def inner() -> str:
        done.append("inner")
        return "inner said"

    def outer() -> str:
        done.append(alone.run(inner, instead="later"))
        alone.soon(lambda: done.append("soon"))
        done.append("outer")
        return "outer said"

    assert alone.run(outer, instead="") == "outer said"
    assert done == ["later", "outer", "inner", "soon"]
    assert (list(alone.words), alone.is_busy) == ([], False)


def test_what_leaves_no_word_is_not_done() -> None:
    """
    A question that comes too early gets its answer instead, and is forgotten.
    """
    alone, done = Exclusive(), list[str]()

    said = alone.run(lambda: alone.run(lambda: done.append("asked"), instead=None, leaves_word=False), instead=None)

    assert (said, done) == (None, [])


def test_a_look_is_had_at_once() -> None:
    """
    What does not mind is done inside of another step as well, and does not end that one.
    """
    alone = Exclusive()

    assert alone.run(lambda: (alone.at_once(lambda: 1), alone.is_busy), instead=(0, False)) == (1, True)
    assert (alone.at_once(lambda: 2), alone.is_busy) == (2, False)


def test_what_is_left_while_another_thread_is_busy_is_done_by_that_one() -> None:
    """
    `Exclusive.soon` never waits: whoever holds the lock does it before anybody else's step begins.
    """
    alone, done = Exclusive(), list[int]()
    inside, go_on = threading.Event(), threading.Event()

    def hold() -> bool:
        inside.set()
        return go_on.wait()

    holder = threading.Thread(target=alone.run, args=(hold,), kwargs={"instead": None})
    holder.start()
    inside.wait()
    alone.soon(lambda: done.append(threading.get_ident()))

    assert done == []
    go_on.set()
    number = holder.ident
    holder.join()

    assert done == [number]


@pytest.mark.parametrize("way", ["run", "at_once"])
def test_words_come_before_the_next_step(way: str) -> None:
    """
    Whoever takes a step sees what was left to others, and an error in a step ends it for good.
    """
    alone, done = Exclusive(), list[str]()

    def fails() -> None:
        alone.words.append(lambda: done.append("word"))
        raise ConnectionError

    with pytest.raises(ConnectionError):
        alone.at_once(fails)
    seen = alone.run(done.copy, instead=["nothing"]) if way == "run" else alone.at_once(done.copy)

    assert (seen, alone.is_busy) == (["word"], False)


def test_a_method_can_be_a_step() -> None:
    """
    The decorator makes it one of its object's `Exclusive`, with its arguments.
    """

    class Counter:
        def __init__(self) -> None:
            self.alone = Exclusive()
            self.total = 0

        @step(instead=-1)
        def add(self, amount: int, *, twice: bool = False) -> int:
            self.total += amount * (1 + twice)
            return self.total

    counter = Counter()

    assert counter.alone.run(lambda: counter.add(1), instead=0) == -1
    assert counter.add(2, twice=True) == 5
