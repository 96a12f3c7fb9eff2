"""
Nested calls share their attempts: P7 and C02.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from egressor._core.retry import AttemptTree, Frame


def call(tree: AttemptTree, levels: list[int], fails: int) -> tuple[bool, int]:
    """
    Make a call of so many attempts, which holds a call of the next level, and so on.

    The innermost function fails the first *fails* times. Returns whether it succeeded, and the attempts on the wire.
    """
    frame, wire = tree.enter(levels[0]), 0
    while True:
        if len(levels) == 1:
            ok, sent = wire >= fails, 1
        else:
            ok, sent = call(tree, levels[1:], max(0, fails - wire))
        wire += sent
        if ok or not frame.retry():
            frame.leave(ok)
            return ok, wire


@pytest.mark.parametrize(
    ("levels", "wire"),
    [
        ([3], 3),
        ([1], 1),
        ([3, 3], 3),
        ([3, 3, 3], 3),
        ([1, 3], 3),
        ([3, 1], 3),
        ([1, 1, 3], 3),
        ([3, 1, 1], 3),
        ([2, 4, 3], 4),
        ([5, 2], 5),
        ([2, 5], 5),
        ([1, 1], 1),
    ],
)
def test_nested_levels_add_up_to_the_largest(levels: list[int], wire: int) -> None:
    """
    With an innermost function that always fails, the attempts on the wire are the largest level's, never the product.
    """
    tree = AttemptTree()

    assert call(tree, levels, 1_000) == (False, wire)
    assert (tree.used, tree.running) == (0, {})


@pytest.mark.parametrize("fails", [0, 1, 2])
def test_a_success_within_the_bound_is_found(fails: int) -> None:
    """
    3 levels of 3 attempts find the success that the third attempt would be.
    """
    assert call(AttemptTree(), [3, 3, 3], fails) == (True, fails + 1)


def test_a_success_gives_back_its_retries() -> None:
    """
    One after the other, nested calls that succeed at the third attempt leave the outer call's retries alone.
    """
    tree = AttemptTree()
    outer = tree.enter(3)

    answers = [call(tree, [3], 2) for _ in range(5)]

    assert answers == [(True, 3)] * 5
    assert [outer.retry(), outer.retry(), outer.retry()] == [True, True, False]


def test_a_failure_stays_charged_until_the_outermost_ends() -> None:
    """
    Whatever a failed nested call used, its neighbours and the outer call don't use again; the next outermost call does.
    """
    tree = AttemptTree()
    outer = tree.enter(3)

    assert call(tree, [2], 9) == (False, 2)
    assert call(tree, [3], 9) == (False, 2)
    assert outer.may_retry() is False
    outer.leave(ok=False)
    assert call(tree, [3], 9) == (False, 3)


def test_a_call_never_exceeds_its_own_attempts() -> None:
    """
    A larger call around it doesn't give a nested call more attempts than its policy does.
    """
    tree = AttemptTree()
    tree.enter(10)
    inner = tree.enter(2)

    assert [inner.retry(), inner.retry()] == [True, False]
    assert inner.retries == 1


def test_the_bound_shrinks_when_the_largest_leaves() -> None:
    """
    Retries charged by a large call that failed leave nothing to the smaller one around it.
    """
    tree = AttemptTree()
    outer = tree.enter(2)
    call(tree, [4], 9)

    assert (tree.used, tree.bound, outer.retry()) == (3, 1, False)


def test_neighbours_share_one_bound() -> None:
    """
    Ten calls side by side that all fail get 2 retries between them, however their questions interleave.
    """
    tree = AttemptTree()
    tree.enter(3)
    neighbours = [tree.enter(3) for _ in range(10)]

    asked = [frame.may_retry() for frame in neighbours]
    granted = [frame.retry() for frame in neighbours]

    assert (sum(asked), sum(granted), tree.used) == (10, 2, 2)


def test_leaving_twice_does_nothing() -> None:
    """
    A frame leaves once; afterwards it gets no retry and changes nothing.
    """
    tree = AttemptTree()
    outer, inner = tree.enter(3), tree.enter(3)
    inner.retry()
    inner.leave(ok=True)

    inner.leave(ok=True)

    assert (inner.may_retry(), inner.retry(), tree.used, tree.running) == (False, False, 0, {3: 1})
    assert outer.may_retry()


def test_an_outer_call_may_leave_before_an_inner_one() -> None:
    """
    A task that outlives the call that began it keeps its attempts, and the last one out clears the tree.
    """
    tree = AttemptTree()
    outer, inner = tree.enter(5), tree.enter(2)
    inner.retry()
    outer.leave(ok=False)

    assert (tree.bound, tree.used, inner.retry()) == (1, 1, False)
    inner.leave(ok=False)
    assert (tree.bound, tree.used, tree.running) == (0, 0, {})


class Tree(RuleBasedStateMachine):
    """
    Calls enter, retry and leave in any order, as tasks side by side do.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tree = AttemptTree()
        self.frames: list[Frame] = []
        self.kept = 0

    @rule(attempts=st.integers(1, 5))
    def enters(self, attempts: int) -> None:
        """
        Begin a call.
        """
        self.frames.append(self.tree.enter(attempts))

    @precondition(lambda self: self.frames)
    @rule(data=st.data())
    def retries(self, data: st.DataObject) -> None:
        """
        Ask for a retry: granted exactly if the rule says so.
        """
        frame = data.draw(st.sampled_from(self.frames))
        charged = self.kept + sum(other.retries for other in self.frames)
        largest = max(other.attempts for other in self.frames) - 1
        expected = charged < largest and frame.retries < frame.attempts - 1

        assert (frame.may_retry(), frame.retry()) == (expected, expected)

    @precondition(lambda self: self.frames)
    @rule(data=st.data(), ok=st.booleans())
    def leaves(self, data: st.DataObject, ok: bool) -> None:
        """
        End a call.
        """
        frame = self.frames.pop(data.draw(st.integers(0, len(self.frames) - 1)))
        frame.leave(ok)
        self.kept = 0 if not self.frames else self.kept + (0 if ok else frame.retries)

    @invariant()
    def adds_up(self) -> None:
        """
        What is charged is what the running calls used and the failed ones left.
        """
        assert self.tree.used == self.kept + sum(frame.retries for frame in self.frames)
        assert sum(self.tree.running.values()) == len(self.frames)


TestTree = Tree.TestCase
TestTree.settings = settings(max_examples=100, stateful_step_count=40)
