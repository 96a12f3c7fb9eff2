"""
What a request to a language model is expected to take of limits of tokens, and what is learned from its answer.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor._core.learned import ONE
from egressor._core.tokens import MOST_HABITS, Habit, Habits, Prompt, amounts, charged, expected, fitted
from egressor._core.usage import Usage

COUNTS = st.integers(0, 10**9)


def habits(calls: int, *, received: int = 10, sent: int = 1000, size: int = 4000) -> Habits:
    """
    What so many equal calls teach.
    """
    found = Habits()
    for _ in range(calls):
        found.learn("m", Prompt(size), sent=sent, received=received)
    return found


@pytest.mark.parametrize(
    ("prompt", "calls", "sent", "received"),
    [
        (Prompt(4000, most_output=500), 0, 1000, 500),
        (Prompt(4001, most_output=500, answers=3), 0, 1001, 1500),
        (Prompt(4000, beside=2000, most_output=0), 0, 3000, 0),
        (Prompt(4000), 0, 1000, 1500),
        (Prompt(4000, most_output=500), 19, 1000, 500),
        (Prompt(4000), 19, 1000, 1500),
        (Prompt(4000, most_output=500), 20, 1000, 11),
        (Prompt(4000, most_output=5), 20, 1000, 5),
        (Prompt(4000, answers=2), 20, 1000, 22),
    ],
)
def test_a_call_is_expected_to_be_as_most_were(prompt: Prompt, calls: int, sent: int, received: int) -> None:
    """
    A token for four bytes; an answer as long as it may be, and once twenty are known no longer than nearly all were.
    """
    assert (sent, received) == expected(habits(calls).of("m"), prompt)


def test_the_expected_prompt_learns() -> None:
    """
    Text of two bytes a token is expected within 2 % after forty calls; what stands beside it is not held against it.
    """
    found = Habits()
    for _ in range(40):
        found.learn("m", Prompt(10_000, beside=700), sent=5700, received=1)

    assert 5600 <= expected(found.of("m"), Prompt(10_000, beside=700, most_output=0))[0] <= 5700


def test_several_answers_are_learned_as_one_each() -> None:
    """
    Three answers of ten tokens together are four each, rounded up.
    """
    found = Habits()
    for _ in range(20):
        found.learn("m", Prompt(4, answers=3), sent=1, received=10)

    assert expected(found.of("m"), Prompt(4)) == (1, 4)


def test_models_are_told_apart() -> None:
    """
    What one model's answers teach says nothing of another's.
    """
    assert habits(30).of("another") == Habit()


def test_memory_is_bounded() -> None:
    """
    Models that come when there is no room share one habit; those that are known go on learning by themselves.
    """
    found = Habits()
    for number in range(MOST_HABITS + 50):
        found.learn(number, Prompt(4000), sent=2000, received=5)
    found.learn(0, Prompt(4000), sent=2000, received=5)

    assert len(found) == MOST_HABITS + 1
    assert found.of(0).answers.total == 2
    assert found.of(MOST_HABITS + 7).answers.total == found.of("never seen").answers.total == 50


@pytest.mark.parametrize(
    ("sent", "received", "rooms", "taken"),
    [
        (100, 50, {"tokens": 4000}, {"tokens": 150}),
        (100, 50, {"input_tokens": 4000, "output_tokens": 4000}, {"input_tokens": 100, "output_tokens": 50}),
        (100, 10**18, {"tokens": 4000, "output_tokens": 300}, {"tokens": 4000, "output_tokens": 300}),
        (4001, 50, {"tokens": 4000}, {"tokens": 4001}),
        (4001, 0, {"input_tokens": 4000}, {"input_tokens": 4001}),
        (100, 50, {}, {}),
    ],
)
def test_an_answer_is_bounded_to_what_a_limit_holds(
    sent: int, received: int, rooms: dict[str, int], taken: dict[str, int]
) -> None:
    """
    A prompt is not: one that is too long never fits.
    """
    assert taken == fitted(sent, received, rooms)


def test_what_was_not_read_is_bounded_too() -> None:
    """
    Of a body whose length alone is known nobody knows that it is too long: most of it may be a picture.
    """
    rooms = {"tokens": 4_000, "input_tokens": 300, "output_tokens": 300}

    taken = fitted(4_001, 50, rooms, is_read=False)

    assert taken == {"tokens": 4_000, "input_tokens": 300, "output_tokens": 50}


@given(COUNTS, COUNTS, st.dictionaries(st.sampled_from(["tokens", "input_tokens", "output_tokens"]), COUNTS))
def test_a_prompt_that_fits_is_never_refused_for_its_answer(sent: int, received: int, rooms: dict[str, int]) -> None:
    """
    What is taken is within every limit if the prompt is, and never more than was expected.
    """
    whole = amounts(sent, received)
    for unit, units in fitted(sent, received, rooms).items():
        assert units <= max(rooms[unit], amounts(sent, 0)[unit])
        assert units <= whole[unit]


@pytest.mark.parametrize(("dialect", "sent"), [("openai", 1110), ("anthropic", 110)])
def test_what_anthropic_reads_from_its_cache_is_not_counted(dialect: str, sent: int) -> None:
    """
    Everybody else counts it.
    """
    used = Usage(input=10, cached=1000, written=100, output=5, reasoning=7)

    assert (sent, 12) == charged(used, dialect)


def test_nothing_learned_is_four_bytes_a_token() -> None:
    """
    The factor begins at one.
    """
    assert (Habit().factor, Habit().answers.total) == (ONE, 0)
