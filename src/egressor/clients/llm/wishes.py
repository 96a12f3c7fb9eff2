"""
What is asked, and of whom: checked once, before anything is sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

from egressor._core.admission import shown
from egressor.errors import ConfigError

from .messages import Message, read_message
from .vendors import vendor_of

if TYPE_CHECKING:
    from egressor.governor import Governor

    from .schemas import Schema

__all__ = ["Model", "Wish", "check_hedge", "read_messages", "read_models", "read_temperature", "read_tokens"]

_MOST_TOKENS = 10_000_000
_CHEAP = 1024
_LONGEST_HEDGE = 3600


class Model(NamedTuple):
    """
    One link of a chain.

    Attributes:
        service: The service that it is asked of.
        name: The model's name there.
    """

    service: str
    name: str

    def __str__(self) -> str:
        return f"{self.service}/{self.name}"


class Wish(NamedTuple):
    """
    What is asked.

    Attributes:
        messages: The conversation so far, as `read_message` returns each.
        max_tokens: Tokens that the answer may have at most.
        temperature: As the provider reads it; None leaves it out.
        options: What the transport is told: priority, scope, cost.
        until: When all of it must be over, in the clock's microseconds; None if nobody has said so.
        schema: What the answer's JSON must fit; None for plain text.
        repair: Whether a bad answer is sent back once.
        tools: What the model may want called.
        choice: Which of them: ``auto``, ``none``, ``required``, or the name of one; empty if nobody says.
    """

    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float | None
    options: Mapping[str, Any]
    until: int | None
    schema: Schema | None = None
    repair: bool = False
    tools: tuple[dict[str, Any], ...] = ()
    choice: str = ""


def read_models(gov: Governor, models: object) -> tuple[Model, ...]:
    """
    Return a chain of *models*: ``service/model`` each, or one of them.

    Raises:
        ConfigError: There is none, a service does not exist, or is not one that can be asked.
    """
    given = [models] if isinstance(models, str) else models
    if not isinstance(given, Sequence) or not given:
        msg = f"a chain of models is needed, such as ['openai/gpt-5-mini'], not {shown(models)}"
        raise ConfigError(msg, key="models")
    return tuple([_model(gov, each) for each in given])


def _model(gov: Governor, given: object) -> Model:
    service, _, name = given.partition("/") if isinstance(given, str) else ("", "", "")
    if not service or not name or not name.isprintable() or len(name) > 200:
        msg = f"a model is written service/model, such as openai/gpt-5-mini, not {shown(given)}"
        raise ConfigError(msg, key="models")
    vendor_of(service, gov.gate(service).compiled.policy)
    return Model(service, name)


def read_messages(given: object, system: str | None = None) -> tuple[Message, ...]:
    """
    Return the conversation that *given* is: a text, or messages with ``role`` and ``content``; *system* comes first.

    Raises:
        ConfigError: It is neither, or has nothing that a model could answer.
    """
    found = [] if system is None else [read_message({"role": "system", "content": system})]
    if isinstance(given, str):
        found.append(read_message({"role": "user", "content": given}))
    elif isinstance(given, Sequence):
        found += [read_message(each) for each in given]
    else:
        msg = f"messages are a text, or a list of them with role and content, not {type(given).__name__}"
        raise ConfigError(msg, key="messages")
    if all(each["role"] == "system" for each in found):
        msg = "there is no message of the user's to answer"
        raise ConfigError(msg, key="messages")
    return tuple(found)


def read_tokens(given: object) -> int:
    """
    Return *given* as a bound on an answer's tokens.

    Raises:
        ConfigError: It is no whole number from 1 to 10,000,000.
    """
    if type(given) is not int or not 1 <= given <= _MOST_TOKENS:
        msg = f"max_tokens is a whole number from 1 to {_MOST_TOKENS}, not {shown(given)}"
        raise ConfigError(msg, key="max_tokens")
    return given


def read_temperature(given: object) -> float | None:
    """
    Return *given* as a temperature.

    Raises:
        ConfigError: It is no number from 0 to 2.
    """
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 <= given <= 2:
        msg = f"a temperature is a number from 0 to 2, not {shown(given)}"
        raise ConfigError(msg, key="temperature")
    return float(given)


def check_hedge(after: object, max_tokens: int) -> float:
    """
    Return *after* as the seconds after which a cheap call is hedged.

    Raises:
        ConfigError: It is no number of seconds, or the call is not a cheap one.
    """
    if isinstance(after, bool) or not isinstance(after, (int, float)) or not isfinite(after):
        msg = f"hedge_after is a number of seconds, not {shown(after)}"
        raise ConfigError(msg, key="hedge_after")
    if not 0 < after <= _LONGEST_HEDGE:
        msg = f"hedge_after is above 0 and at most {_LONGEST_HEDGE} seconds, not {shown(after)}"
        raise ConfigError(msg, key="hedge_after")
    if max_tokens > _CHEAP:
        msg = f"only a cheap call is hedged: max_tokens of {_CHEAP} at most, not {max_tokens}"
        raise ConfigError(msg, key="hedge_after")
    return float(after)
