"""
The tree of exceptions: its shape is public, and so are the words it speaks.
"""

from __future__ import annotations

import pickle
import re

import pytest

from egressor import errors
from egressor.errors import ConfigError, EgressorError, PartialResponse, Rejected, WaitTooLong

REASONS = {
    "Rejected": "rejected",
    "WaitTooLong": "wait_too_long",
    "QueueFull": "queue_full",
    "NeverFits": "never_fits",
    "CircuitOpen": "circuit_open",
    "Banned": "banned",
    "BudgetExceeded": "budget",
    "Paused": "paused",
    "StoreUnavailable": "store",
}


def drawn() -> list[tuple[str, str]]:
    """
    Return the tree that the module's docstring draws, as (parent, child).
    """
    parents, pairs = ["EgressorError"], []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^    ([│ ]*)[├└]── (\w+)", line)
        if found:
            depth = len(found[1]) // 4 + 1
            pairs.append((parents[depth - 1], found[2]))
            parents[depth:] = [found[2]]
    return pairs


def test_the_tree_is_as_it_is_drawn() -> None:
    """
    Each class's first base is the parent that the docstring shows, and no class is missing there.
    """
    classes = [getattr(errors, name) for name in errors.__all__ if name != "EgressorError"]

    assert sorted(drawn()) == sorted((each.__mro__[1].__name__, each.__name__) for each in classes)
    assert issubclass(ConfigError, ValueError)


@pytest.mark.parametrize(("name", "reason"), REASONS.items())
def test_each_refusal_has_a_word_of_its_own(name: str, reason: str) -> None:
    """
    Programs branch on the word: it is the class's, and may be given.
    """
    kind: type[Rejected] = getattr(errors, name)

    assert kind("no").reason == reason
    assert kind("no", reason="other").reason == "other"
    assert kind("no").reason == reason


def test_a_refusal_says_who_what_and_when() -> None:
    """
    Its message is the text alone; service, key and wait are attributes.
    """
    error = WaitTooLong("20/minute is used up", service="reddit", key="20/minute", retry_after=2.5)

    assert (str(error), error.service, error.key, error.retry_after) == (
        "20/minute is used up",
        "reddit",
        "20/minute",
        2.5,
    )


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({}, "wrong"),
        ({"file": "e.toml"}, "e.toml: wrong"),
        ({"file": "e.toml", "line": 7}, "e.toml:7: wrong"),
        ({"key": "services.a.limits"}, "services.a.limits: wrong"),
        ({"file": "e.toml", "line": 7, "key": "store"}, "e.toml:7: store: wrong"),
        ({"nearest": "openai"}, "wrong (did you mean 'openai'?)"),
    ],
)
def test_a_configuration_error_says_where(given: dict[str, object], text: str) -> None:
    """
    File, line, key and the nearest valid name, as far as they are known.
    """
    error = ConfigError("wrong", **given)  # type: ignore[arg-type]

    assert (str(error), error.message) == (text, "wrong")


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("a", file="f", line=3, key="k", nearest="n"),
        *(getattr(errors, name)("m", service="s", key="k", retry_after=1.5) for name in REASONS),
        PartialResponse("p", received=7),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_a_process_boundary(error: EgressorError) -> None:
    """
    Pools and task queues pickle what a worker raises.
    """
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own object

    assert (type(copy), str(copy), copy.args, vars(copy)) == (type(error), str(error), error.args, vars(error))


def test_a_partial_response_says_how_much_came() -> None:
    """
    It is no refusal: something was sent and received.
    """
    error = PartialResponse("the stream broke", received=7)

    assert (str(error), error.received, isinstance(error, Rejected)) == ("the stream broke", 7, False)
