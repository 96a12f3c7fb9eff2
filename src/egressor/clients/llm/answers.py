"""
What comes back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from egressor.errors import EgressorError
from egressor.prices import Usage

if TYPE_CHECKING:
    from decimal import Decimal

__all__ = ["NOTHING", "Answer", "BadAnswer", "Sentiment", "ToolCall"]

NOTHING: Final = Usage(requests=0)
"""
No call, and no token.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """
    A tool that a model wants called.

    Attributes:
        id: What its result is told by, as the ``tool_call_id`` of a message of the role ``tool``.
        name: The tool's name.
        arguments: What it is to be called with, empty if nothing; None if the model wrote what is no JSON object.
    """

    id: str
    name: str
    arguments: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """
    A model's answer.

    Attributes:
        text: What it wrote; empty if it wrote nothing.
        model: Who answered, ``service/model`` as in the chain.
        finish: Why it ended: ``stop``, ``length`` (cut at *max_tokens*), ``tool_calls``, ``refused`` (by the model or
            the provider's content policy), or what else the provider says.
        usage: Tokens by kind, none of them counted twice; zeros where the provider did not say.
        cost_usd: US dollars that it cost by dated prices, exactly; 0 from the cache; None if no price or no usage is
            known. What an attempt before it may have cost is not in it, but in ``gov.costs()``.
        parsed: The checked value, if a schema was given: plain JSON, or the pydantic model's instance.
        attempts: Requests that were sent for it, over all models and retries; 0 if it came from the cache.
        tool_calls: The tools that it wants called, in its order.
        passed: The models before *model* in the chain that failed, each with why: ``openai/gpt-5-mini: circuit_open``.
    """

    text: str
    model: str
    finish: str = "stop"
    usage: Usage = NOTHING
    cost_usd: Decimal | None = None
    parsed: Any = None
    attempts: int = 0
    tool_calls: tuple[ToolCall, ...] = ()
    passed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentiment:
    """
    What a text feels like, by a model's judgement.

    Attributes:
        label: ``positive``, ``neutral`` or ``negative``, by *score* alone: from 0.05 on, between, up to -0.05.
        score: From -1, as negative as can be, to 1.
        confidence: How sure the model says that it is, from 0 to 1. It is no probability: nobody has calibrated it.
        answer: The answer that says so, with its model, usage and cost.
    """

    label: str
    score: float
    confidence: float
    answer: Answer


class BadAnswer(EgressorError):
    """
    A model has answered, but not what was asked for: no completion, no JSON, or one that does not fit the schema.

    Its message never repeats what the model wrote.

    Args:
        message: What is wrong with it, and where.
        answer: The answer, with its text and cost; None if it could not be read at all.
    """

    def __init__(self, message: str, *, answer: Answer | None = None) -> None:
        super().__init__(message)
        self.answer = answer
