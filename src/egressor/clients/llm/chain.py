"""
What happens next: the story of one answer, written once as a generator that yields tries and sends nothing.

A chain is tried in order. What it goes on for is decided by the verdict of the try that failed: where this provider
can't, or may not, serve us now, another may; where the request itself is at fault, the next one would be asked in vain,
or asked for what the first has refused. All of it has one deadline.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from egressor._core.model import ErrorCategory as Kind
from egressor._core.unwrap import walk
from egressor.dialects import classify
from egressor.errors import ConfigError, Rejected
from egressor.policies.patterns import compile_patterns
from egressor.prices import Usage

from .answers import Answer, BadAnswer
from .schemas import Misfit

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from egressor.errors import EgressorError
    from egressor.policies import Policy

    from .schemas import Schema
    from .wishes import Model, Wish

__all__ = ["MOVES_ON", "STAYS", "Came", "Reached", "Try", "answering", "chain", "judged"]

MOVES_ON: Final = frozenset(
    {
        *(Kind.RATE_LIMIT, Kind.QUOTA_EXHAUSTED, Kind.INSUFFICIENT_FUNDS, Kind.BAN, Kind.CHALLENGE, Kind.GEO_BLOCK),
        *(Kind.NETWORK, Kind.TIMEOUT, Kind.SERVER_ERROR, Kind.OVERLOADED, Kind.MAINTENANCE, Kind.BAD_RESPONSE),
        Kind.OUTCOME_UNKNOWN,
    }
)
"""
What another model may do better.
"""

STAYS: Final = frozenset({"never_fits"})
"""
Refusals that are a mistake in the configuration, and would show nowhere if the chain went on.
"""

_MICRO: Final = 1_000_000


class Try(NamedTuple):
    """
    One try of a chain: a call of its own, with the retries of its service.

    Attributes:
        model: Who is asked.
        wish: What for.
        left: Seconds that it has.
    """

    model: Model
    wish: Wish
    left: float


class Came(NamedTuple):
    """
    What a try came to.

    Attributes:
        value: What the driver made of it; None if it failed.
        error: What was raised, or None.
        sent: Requests that were sent for it.
    """

    value: Any = None
    error: Exception | None = None
    sent: int = 0


class Reached(NamedTuple):
    """
    The end of a chain.

    Attributes:
        value: What the try that went well came to.
        place: Which of the models that was.
        sent: Requests that were sent, over all tries.
        passed: The models before it, each with why it failed.
    """

    value: Any
    place: int
    sent: int
    passed: tuple[str, ...]


def judged(error: Exception, policy: Policy) -> tuple[bool, str]:
    """
    Say whether another model is asked after *error*, and in a word why.

    The word repeats nothing that a server or a user has written.
    """
    if isinstance(error, BadAnswer):
        return True, Kind.BAD_RESPONSE.value
    own = _own(error)
    if isinstance(own, Rejected):
        return own.reason not in STAYS, own.reason
    if own is not None:
        return False, Kind.CONFIGURATION.value
    category = _category(error, policy)
    return category in MOVES_ON, category.value


def _own(error: Exception) -> EgressorError | None:
    """
    Return what the gate has raised, inside of what an SDK has made of it; None if it was not the gate.
    """
    return next((each for each in walk(error) if isinstance(each, (Rejected, ConfigError))), None)


def _category(error: Exception, policy: Policy) -> Kind:
    verdict = classify(error, dialect=policy.dialect, patterns=compile_patterns(policy.errors))
    return verdict.category or Kind.UNKNOWN


def chain(
    models: Sequence[Model], wish: Wish, *, now: Callable[[], int], policy: Callable[[str], Policy]
) -> Generator[Try, Came, Reached]:
    """
    Try *models* in order until one has answered.

    Args:
        models: The chain.
        wish: What is asked.
        now: The clock, in microseconds.
        policy: A service's policy, as it is now.

    Raises:
        Rejected: The last try was not sent; as the gate has raised it, without what an SDK wraps around it.
        Exception: What the last try raised, as it was raised; notes name those before it.
    """
    sent = 0
    passed: list[str] = []
    last: Exception | None = None
    for index, model in enumerate(models):
        left = _left(wish, now(), policy(model.service), is_last=index + 1 == len(models))
        if last is not None and left <= 0:
            break
        came = yield Try(model, wish, left)
        sent += came.sent
        if came.error is None:
            return Reached(came.value, index, sent, tuple(passed))
        last = came.error
        goes_on, why = judged(last, policy(model.service))
        passed.append(f"{model}: {why}")
        if not goes_on:
            break
    if last is None:  # pragma: no cover - a chain is never empty
        raise AssertionError
    raised = _own(last) or last
    for each in passed[:-1]:
        raised.add_note(f"tried before: {each}")
    raise raised


def _left(wish: Wish, now: int, policy: Policy, *, is_last: bool) -> float:
    """
    Return the seconds that a try has: a wait for its turn and an attempt, or for the last one all that is left.

    So nobody sits out a server's Retry-After of an hour, with another model there, or a caller who has named no end.
    """
    own = policy.max_wait + policy.timeout
    if wish.until is None:
        return own
    left = (wish.until - now) / _MICRO
    return left if is_last else min(left, own)


def answering(
    models: Sequence[Model], wish: Wish, *, now: Callable[[], int], policy: Callable[[str], Policy]
) -> Generator[Try, Came, Answer]:
    """
    As `chain`, until there is an answer that fits the wish's schema, if it has one.

    Raises:
        BadAnswer: It doesn't fit; nor, if it was sent back, does the second one.
    """
    reached = yield from chain(models, wish, now=now, policy=policy)
    first = _told(reached)
    schema = wish.schema
    if schema is None:
        return first
    try:
        return _fitting(first, schema, wish.max_tokens)
    except BadAnswer as error:
        # To write on costs the same again, and to insist is what a policy is not there for.
        if not wish.repair or first.finish in {"length", "refused"}:
            raise
        problem = str(error)
    again = wish._replace(messages=(*wish.messages, *_correction(first.text, problem)))
    reached = yield from chain(models[reached.place :], again, now=now, policy=policy)
    return _fitting(_both(first, _told(reached)), schema, wish.max_tokens)


def _told(reached: Reached) -> Answer:
    answer: Answer = reached.value
    return replace(answer, attempts=reached.sent, passed=reached.passed)


def _fitting(answer: Answer, schema: Schema, most: int) -> Answer:
    if answer.finish == "refused":
        problem = f"{answer.model} has refused to answer"
        raise BadAnswer(problem, answer=answer)
    try:
        return replace(answer, parsed=schema.read(answer.text))
    except Misfit as misfit:
        cut = f" (it was cut off at max_tokens, {most})" if answer.finish == "length" else ""
        problem = f"the answer of {answer.model} is not what the schema asks for: {misfit}{cut}"
        raise BadAnswer(problem, answer=answer) from None


def _correction(text: str, problem: str) -> list[dict[str, str]]:
    asked = f"{problem}. Answer again, with the JSON value that was asked for and with nothing else."
    # An empty message is refused by most.
    said = [{"role": "assistant", "content": text}] if text.strip() else []
    return [*said, {"role": "user", "content": asked}]


def _both(first: Answer, second: Answer) -> Answer:
    known = first.cost_usd is not None and second.cost_usd is not None
    return replace(
        second,
        usage=Usage(*map(int.__add__, first.usage, second.usage)),
        cost_usd=Decimal(first.cost_usd or 0) + Decimal(second.cost_usd or 0) if known else None,
        attempts=first.attempts + second.attempts,
        passed=first.passed + second.passed,
    )
