"""
Finding a refusal, or the root cause, through what SDKs wrap around it.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor._core.unwrap import DEPTH, inner, unwrap, walk
from egressor.errors import CircuitOpen, QueueFull


class Wrapper(Exception):
    """
    An SDK's exception, with whatever links the SDK gives it.
    """

    def __init__(self, *args: object, **links: object) -> None:
        super().__init__(*args)
        self.__dict__.update(links)


class Hostile(Exception):
    """
    An exception that raises when it is looked at.
    """

    def __getattribute__(self, name: str) -> object:
        raise RuntimeError(name)


class Unhashable(type):
    """
    A type of types that can't be remembered.
    """

    def __hash__(cls) -> int:
        raise RuntimeError


Unremembered = Unhashable("Unremembered", (Exception,), {})


def chained(
    outer: BaseException, *, cause: BaseException | None = None, context: BaseException | None = None
) -> object:
    """
    Link exceptions as ``raise … from`` and a bare ``raise`` in a handler do.
    """
    outer.__context__ = context
    if cause is not None:
        outer.__cause__ = cause
    return outer


REFUSED = CircuitOpen("open", service="s")


@pytest.mark.parametrize(
    "wrapped",
    [
        REFUSED,
        chained(Wrapper(), cause=REFUSED),
        chained(Wrapper(), context=REFUSED),
        Wrapper(original_exception=REFUSED),
        Wrapper(reason=REFUSED),
        Wrapper(os_error=REFUSED),
        Wrapper(REFUSED),
        Wrapper("text", REFUSED),
        Wrapper(Wrapper(Wrapper(REFUSED))),
        ExceptionGroup("two", [ValueError(), REFUSED]),
        ExceptionGroup("nested", [ExceptionGroup("inner", [Wrapper(reason=REFUSED)])]),
        chained(Wrapper(ValueError()), cause=chained(Wrapper(), context=REFUSED)),  # type: ignore[arg-type]
    ],
)
def test_finds_the_refusal(wrapped: BaseException) -> None:
    """
    Egressor's refusal is found through every link that exceptions have.
    """
    found = unwrap(wrapped)

    assert REFUSED is found


def test_nearest_refusal_wins() -> None:
    """
    Of two refusals the one nearer to the surface is what happened to this call.
    """
    near = QueueFull("full")

    found = unwrap(Wrapper(Wrapper(chained(Wrapper(), cause=REFUSED)), near))

    assert near is found


def test_suppressed_context_is_no_cause() -> None:
    """
    After ``raise … from None`` the handled exception is no part of the story.
    """
    outer = Wrapper()
    outer.__context__ = REFUSED
    outer.__suppress_context__ = True

    assert unwrap(outer) is outer


def test_root_cause() -> None:
    """
    Without a refusal, the innermost exception is returned.
    """
    root = ConnectionRefusedError()

    found = unwrap(Wrapper(reason=chained(Wrapper(), cause=root)))

    assert root is found


def test_cancellation_is_no_root() -> None:
    """
    A time-out made of a cancellation stays a time-out.
    """
    outer = TimeoutError()
    outer.__cause__ = KeyboardInterrupt()

    assert unwrap(outer) is outer


def test_group_of_several_has_no_single_root() -> None:
    """
    A group of one is a wrapper; a group of two ends the search.
    """
    root = OSError()
    several = ExceptionGroup("two", [root, ValueError()])

    assert unwrap(several) is several
    assert unwrap(ExceptionGroup("one", [root])) is root


def test_cycles_end() -> None:
    """
    Exceptions that cause each other are walked once each.
    """
    one, two = Wrapper("one"), Wrapper("two")
    one.__cause__, two.__cause__ = two, one

    assert list(walk(one)) == [one, two]
    assert unwrap(one) is two


def test_depth_is_bounded() -> None:
    """
    Of an endless chain the first 64 exceptions are looked at.
    """
    chain = root = Wrapper(0)
    for number in range(1, 1000):
        chain = Wrapper(number, reason=chain)

    assert len(list(walk(chain))) == DEPTH
    assert unwrap(chain) is not root


def test_wide_groups_are_bounded() -> None:
    """
    Of a group of thousands the first 64 members are looked at.
    """
    group = ExceptionGroup("wide", [ValueError(number) for number in range(5000)])

    assert len(list(walk(group))) == DEPTH


def test_hostile_exception() -> None:
    """
    An exception that raises when it is looked at has nothing inside.
    """
    for hostile in (Hostile(), Unremembered()):
        assert inner(hostile) == []
        assert unwrap(hostile) is hostile


class Hollow(ExceptionGroup[Exception]):
    """
    A group that hides its members.
    """

    exceptions = None  # type: ignore[assignment]


def test_hollow_group() -> None:
    """
    A group whose members can't be read has none.
    """
    hollow = Hollow("hollow", [ValueError()])

    assert unwrap(hollow) is hollow


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.sampled_from(["cause", "reason", "args"]))))
def test_any_graph(links: list[tuple[int, int, str]]) -> None:
    """
    However exceptions refer to each other, the search ends inside the graph.
    """
    nodes = [Wrapper() for _ in range(6)]
    for source, target, link in links:
        if link == "cause":
            nodes[source].__cause__ = nodes[target]
        elif link == "args":
            nodes[source].args = (nodes[target],)
        else:
            nodes[source].__dict__["reason"] = nodes[target]

    assert unwrap(nodes[0]) in nodes
    assert len({id(each) for each in walk(nodes[0])}) == len(list(walk(nodes[0])))
