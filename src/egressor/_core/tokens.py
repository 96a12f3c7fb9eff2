"""
What requests to language models take of limits of tokens: expected before they are sent, known once they are answered.

A prompt is taken to have a token for each four bytes of its text, times a factor; an answer as many as its request
allows at most, but no more than nearly all answers had before. Both are learned, for each model and endpoint, from what
answers say that they used. Whatever was expected wrongly is settled afterwards: the rest given back, or more charged.

An answer that is allowed more tokens than a limit ever holds at once takes all that its prompt leaves of it: it may
well be short. A prompt that is too long by itself never fits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from .learned import ONE, Costs, learn_tokens, observe, quantile, tokens

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from .usage import Usage

__all__ = ["MOST_HABITS", "TOKENS", "Habit", "Habits", "Prompt", "amounts", "charged", "expected", "fitted"]

TOKENS: Final = frozenset({"tokens", "input_tokens", "output_tokens"})
"""
The units that are counted so: both directions together, what is sent, what is received.
"""

MOST_HABITS: Final = 256
"""
How many models and endpoints of a service are told apart; all that come later share one habit.
"""

# What an answer is taken to have at most where its request says nothing and no answers are known yet: few have more.
_USUAL: Final = 1_500
_ENOUGH: Final = 20
_HIGH: Final = 950
_OTHERS: Final = "others"


class Prompt(NamedTuple):
    """
    What a request sends, and what it allows.

    Attributes:
        size: Bytes of its text in UTF-8.
        beside: Tokens that pictures, files and sounds beside the text are taken to have.
        most_output: Tokens that one answer may have at most; None if it does not say.
        answers: How many answers it asks for: 1 or more.
        is_read: Whether the text was read. Else *size* is the whole body's, pictures and all.
    """

    size: int
    beside: int = 0
    most_output: int | None = None
    answers: int = 1
    is_read: bool = True


class Habit(NamedTuple):
    """
    What was learned of one model at one endpoint.

    Attributes:
        factor: Tokens for each four bytes of text, in millionths.
        answers: How many tokens its answers had.
    """

    factor: int = ONE
    answers: Costs = Costs()


_NEW: Final = Habit()


class Habits:
    """
    What was learned at one service. Memory is bounded: what no longer fits is learned together.

    It needs no lock: each change is one assignment, and of two at once one may be lost, which the next makes good.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[Hashable, Habit] = {}

    def __len__(self) -> int:
        return len(self._known)

    def of(self, key: Hashable) -> Habit:
        """
        Return what is known of *key*, a model at an endpoint; else of those that share a habit.
        """
        known = self._known
        return known.get(key) or known.get(_OTHERS, _NEW)

    def learn(self, key: Hashable, prompt: Prompt, *, sent: int, received: int) -> None:
        """
        Take in what a call with *prompt* really was, in tokens.
        """
        if key not in self._known and len(self._known) >= MOST_HABITS:
            key = _OTHERS
        factor, answers = self.of(key)
        self._known[key] = Habit(
            learn_tokens(factor, utf8_bytes=prompt.size, truth=sent - prompt.beside),
            observe(answers, -(-received // prompt.answers)),
        )


def expected(habit: Habit, prompt: Prompt) -> tuple[int, int]:
    """
    Return the tokens that a call with *prompt* is expected to send, and to receive at most.
    """
    most = prompt.most_output
    if habit.answers.total >= _ENOUGH:
        likely = quantile(habit.answers, _HIGH)
        most = likely if most is None else min(most, likely)
    elif most is None:
        most = _USUAL
    return tokens(prompt.size, habit.factor) + prompt.beside, most * prompt.answers


def fitted(sent: int, received: int, rooms: Mapping[str, int], *, is_read: bool = True) -> dict[str, int]:
    """
    Return what to take of each unit.

    Args:
        sent: Tokens expected to be sent.
        received: Tokens expected to be received at most.
        rooms: By unit, what its limits hold at once. An answer is bounded to that, a prompt is not.
        is_read: Whether the prompt was read; one of which only the body's length is known is bounded, too.
    """
    whole = amounts(sent, received)
    firm = {**amounts(sent if is_read else 0, 0), "output_tokens": 0}
    return {unit: max(firm[unit], min(whole[unit], room)) for unit, room in rooms.items()}


def amounts(sent: int, received: int) -> dict[str, int]:
    """
    Return tokens *sent* and *received* by unit.
    """
    return {"tokens": sent + received, "input_tokens": sent, "output_tokens": received}


def charged(usage: Usage, dialect: str) -> tuple[int, int]:
    """
    Return the tokens sent and received that a provider holds against its limits.

    Anthropic's don't count what is read from the cache: https://docs.claude.com/en/api/rate-limits.
    """
    return usage.sent - (usage.cached if dialect == "anthropic" else 0), usage.received
