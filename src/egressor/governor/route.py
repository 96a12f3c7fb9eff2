"""
Where a call goes: one service, with what the caller said about the call.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from decimal import Decimal
from math import isfinite
from typing import TYPE_CHECKING, Any

from egressor._core.admission import ONE_REQUEST, REQUESTS, Ask, check_cost, shown
from egressor._core.model import ErrorCategory, Outcome, Priority, Verdict
from egressor._core.tokens import TOKENS
from egressor.dialects import classify, with_hints
from egressor.errors import ConfigError
from egressor.policies.checks import nearest
from egressor.policies.patterns import compile_patterns
from egressor.policies.values import SCOPE_KEYS

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from egressor._drivers.watch import Watch
    from egressor.policies import BudgetPolicy, Policy
    from egressor.stores.gate import Gate

    from .calls import Context

__all__ = [
    "CARRIES",
    "UNSET",
    "Costs",
    "Options",
    "Route",
    "Scope",
    "carries_status",
    "judge",
    "tell_unstated",
    "to_priority",
]

Scope = Mapping[str, str] | Callable[..., Mapping[str, str]]
Costs = Mapping[str, float | Decimal] | Callable[..., Mapping[str, float | Decimal]]

_MICRO = 1_000_000
_LONGEST = 400 * 86_400
_REFUSED = Verdict(
    category=ErrorCategory.CANCELLED,
    scope="call",
    fingerprint="refused",
    why="a call inside it was refused before it was sent",
)
_LONGEST_VALUE = 1024
_MATCHED = frozenset(SCOPE_KEYS)
_SUCCESS = Verdict(why="the call returned")
_STATUSES = range(100, 600)


class _Unset:
    def __repr__(self) -> str:
        return "UNSET"


UNSET: Any = _Unset()
"""
The default of options whose None means something.
"""


class Options:
    """
    What a caller says about its calls.

    Args:
        endpoint: A name for what is called, for rules and statistics.
        priority: Who goes first among those that wait; None takes the policy's.
        scope: Who and what for, by key; or a function of the call's arguments that returns it.
        cost: What an attempt takes of limits, by unit; or a function of the call's arguments that returns it.
        deadline: Seconds from the call's start in which all of it must be over; None for no bound.
        fallback: A value, or a function of no arguments, for when the call is refused or fails; a list or tuple in
            which a function stands is a chain of these, tried in order.
        idempotent: Whether a request that may have run may be sent again.
        limited: Whether limits apply; without, only breaker, ban, pause and retry do.
        ceiling: The highest priority that its calls have, whoever gives them one; None for no bound.
        payer: Whose budget pays for its calls besides the service's, and the budget; None for nobody's.
    """

    __slots__ = (
        *("ceiling", "cost", "deadline", "endpoint", "fallback", "idempotent", "limited", "payer", "priority"),
        "scope",
    )

    def __init__(
        self,
        *,
        endpoint: str | None = None,
        priority: Priority | str | None = None,
        scope: Scope | None = None,
        cost: Costs | None = None,
        deadline: float | None = None,
        fallback: object = UNSET,
        idempotent: bool = True,
        limited: bool = True,
        ceiling: Priority | None = None,
        payer: tuple[str, BudgetPolicy] | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.priority = None if priority is None else to_priority(priority)
        self.scope = scope
        self.cost = cost
        self.deadline = None if deadline is None else _deadline(deadline)
        self.fallback = fallback
        if type(idempotent) is not bool:
            msg = f"idempotent is true or false, not {shown(idempotent)}"
            raise ConfigError(msg, key="idempotent")
        self.idempotent = idempotent
        self.limited = limited
        self.ceiling = ceiling
        self.payer = payer


class Route:
    """
    One service, with one set of options.

    Args:
        service: The service's name.
        gate: Its gate.
        options: What the caller said.
        context: What all calls of the governor share.

    Attributes:
        is_straight: Whether a success may take the straight path: no bound but the timeout, nobody else who pays.
        kept: What every call asks for, where that does not depend on its arguments; made anew after a reload.
        watch: The time-outs of the event loop that it was last used in.

    Raises:
        ConfigError: The endpoint, the scope or the cost is not valid.
    """

    __slots__ = ("context", "gate", "is_straight", "kept", "options", "service", "watch")

    def __init__(self, service: str, gate: Gate, options: Options, context: Context) -> None:
        self.service = service
        self.context = context
        self.gate = gate
        self.options = options
        self.is_straight = options.deadline is None and options.payer is None
        self.watch: Watch | None = None
        self.kept: Ask | None = None
        if not callable(options.scope) and not callable(options.cost):
            self.kept = self.ask((), {})

    def ask(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Ask:
        """
        Return what one attempt of a call with these arguments asks for.
        """
        ask = self.kept
        compiled = self.gate.compiled
        if ask is not None and ask.compiled is compiled:
            return ask
        options = self.options
        scope = options.scope(*args, **kwargs) if callable(options.scope) else options.scope
        cost = options.cost(*args, **kwargs) if callable(options.cost) else options.cost
        checked = check_scope(scope or {}, options.endpoint)
        units = check_cost(cost) if cost else ONE_REQUEST
        level = options.priority
        if level is None:
            level = compiled.policy.priority_for(checked) if compiled.has_priorities else compiled.policy.priority
        if options.ceiling is not None:
            level = min(level, options.ceiling)
        fresh = compiled.ask(scope=checked, cost=units, level=level, limited=options.limited)
        if ask is not None:
            self.kept = fresh
        return fresh

    def watch_in(self, loop: AbstractEventLoop) -> Watch:
        """
        Return the watch over attempts that are made in *loop*.
        """
        timeout = self.gate.compiled.timeout
        watch = self.watch
        if watch is None or watch.loop is not loop or watch.timeout != timeout:
            watch = self.watch = self.context.watches.of(loop, timeout)
        return watch


def tell_unstated(route: Route) -> Route:
    """
    Return *route*; of a service's first one, tell the log which of its limits a function's call takes nothing of, as it
    does not say how much: such a limit holds for nobody.

    Tokens are left out: a transport inside of the function may count them.
    """
    options, told = route.options, route.context.told
    if route.service in told or callable(options.cost) or not options.limited:
        return route
    told.add(route.service)
    for limit in route.gate.compiled.policy.limits:
        unit = limit.unit
        if unit not in _COUNTED and unit not in (options.cost or {}):
            _LOG.warning(
                '%s: the limit %s holds only for calls that say what they take of it, cost={"%s": 1}',
                route.service,
                limit,
                unit,
            )
    return route


def check_scope(scope: object, endpoint: str | None = None) -> dict[str, str]:
    """
    Return *scope* as a call has it, together with its *endpoint*.

    Raises:
        ConfigError: It is no mapping of names to texts, or a text has more than 1,024 characters.
    """
    if type(scope) is not dict and not isinstance(scope, Mapping):
        msg = f"a scope must be a mapping of names to texts, not {shown(scope)}"
        raise ConfigError(msg, key="scope")
    checked: dict[str, str] = {} if endpoint is None else {"endpoint": endpoint}
    if not scope.keys() <= _MATCHED:
        _check_slips(scope)
    for key, value in scope.items():
        if type(key) is type(value) is str and len(value) <= _LONGEST_VALUE:
            checked[key] = value
            continue
        if not isinstance(key, str) or not isinstance(value, str):
            msg = f"a scope holds texts by name, not {shown(key)}: {shown(value)}"
            raise ConfigError(msg, key="scope")
        if len(value) > _LONGEST_VALUE:
            msg = f"a scope's value has at most {_LONGEST_VALUE} characters, not {len(value)}"
            raise ConfigError(msg, key=f"scope.{key[:40]}")
        checked[key] = value
    return checked


def _check_slips(scope: Mapping[Any, object]) -> None:
    """
    Refuse a name that is nearly one of those that rules are written for: their limits would not hold for the call.
    """
    for key in scope:
        slip = nearest(key, SCOPE_KEYS, cutoff=0.8) if isinstance(key, str) and key not in _MATCHED else None
        if slip is not None:
            msg = f"{shown(key)} looks like a slip of {shown(slip)}: no rule would match the call"
            raise ConfigError(msg, key="scope", nearest=slip)


def to_priority(value: object) -> Priority:
    """
    Return the `Priority` that *value*, the enum's member or its lower-case name, means.

    Raises:
        ConfigError: It is neither.
    """
    if isinstance(value, Priority):
        return value
    if isinstance(value, str) and value.upper() in Priority.__members__:
        return Priority[value.upper()]
    from difflib import get_close_matches

    names = [each.name.lower() for each in Priority]
    nearest = next(iter(get_close_matches(shown(value).strip("'").lower(), names, n=1)), None)
    msg = f"unknown priority {shown(value)}: {', '.join(names)}"
    raise ConfigError(msg, key="priority", nearest=nearest)


def _deadline(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        msg = f"a deadline must be a number of seconds, not {shown(value)}"
        raise ConfigError(msg, key="deadline")
    # The comparison first: an integer may be too long for isfinite.
    if not -_LONGEST <= value <= _LONGEST or not isfinite(value):
        msg = f"a deadline must be a finite number of seconds, at most {_LONGEST}, not {shown(value)}"
        raise ConfigError(msg, key="deadline")
    return int(value * _MICRO)


_LOG = logging.getLogger("egressor")
# What is counted of its own.
_COUNTED = TOKENS | {REQUESTS}
# Types of results that were warned of.
_TOLD: set[type] = set()

CARRIES: dict[type, bool] = {}
"""
What `carries_status` has found, by type.
"""


def carries_status(value: object) -> bool:
    """
    Whether *value* looks like an HTTP response: it has headers, and a whole-numbered status.
    """
    kind = type(value)
    known = CARRIES.get(kind)
    if known is None:
        try:
            status = getattr(value, "status_code", getattr(value, "status", None))
            known = isinstance(status, int) and status in _STATUSES and hasattr(value, "headers")
            # Objects of one type that carry what they like, as SimpleNamespace does, are looked at one by one.
            is_fixed = known or not hasattr(value, "__dict__")
        except Exception:  # noqa: BLE001 - a user's object may raise anything here
            known = is_fixed = False
        if is_fixed and len(CARRIES) < 10_000:
            CARRIES[kind] = known
        # A permit of ours is no result.
        if hasattr(kind, "__await__") and kind not in _TOLD and not kind.__module__.startswith("egressor."):
            _TOLD.add(kind)
            _LOG.warning(
                "a governed call returned a %s, and what it does later passes ungoverned: await it inside of the call,"
                " by a coroutine function and gov.acall",
                kind.__qualname__,
            )
    return known


def judge(outcome: Outcome, wall: int, policy: Policy) -> Verdict:
    """
    Read *outcome* as *policy* says; *wall* is microseconds since 1970, for a Retry-After that names a date.
    """
    if outcome.verdict is not None and (outcome.error is None or not outcome.verdict.ok):
        return outcome.verdict
    if outcome.error is None and not carries_status(outcome.value):
        return _SUCCESS
    verdict = classify(
        outcome.error if outcome.error is not None else outcome.value,
        dialect=policy.dialect,
        now=wall / _MICRO,
        patterns=compile_patterns(policy.errors),
    )
    # A call inside this one was refused by us: no server has said anything, of this service least of all.
    if verdict.fingerprint.startswith("rejected."):
        return _REFUSED
    headers = _headers_of(outcome) if policy.learn != "off" else None
    if headers is None:
        return verdict
    return with_hints(verdict, headers, dialect=policy.dialect, now=wall / _MICRO, status=_status_of(outcome))


def _headers_of(outcome: Outcome) -> object:
    """
    Return the headers of the answer that *outcome* is, or that its exception carries; None if there are none.
    """
    try:
        holder = outcome.value if outcome.error is None else getattr(outcome.error, "response", None)
        return getattr(holder, "headers", None)
    except Exception:  # noqa: BLE001 - somebody's exception may raise anything when it is looked at
        return None


def _status_of(outcome: Outcome) -> int | None:
    try:
        holder: Any = outcome.value if outcome.error is None else getattr(outcome.error, "response", None)
        status = getattr(holder, "status_code", getattr(holder, "status", None))
    except Exception:  # noqa: BLE001 - as above
        return None
    return status if isinstance(status, int) else None
