"""
B: what a decorated call costs beyond the bare one, with everything on, when it succeeds.

Ours has two limits, a bound on concurrency, a breaker by failure rate, retries with a budget, classification and
counters. A stack of peers has a retry, a breaker and one limiter, decorated in the order that each recommends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Literal

import backoff
import circuitbreaker  # type: ignore[import-untyped]
import purgatory
import stamina
import tenacity

from bench import peers
from bench.measure import Subject, Table, coroutine, interleave
from egressor import Governor

__all__ = ["measure"]

_SLOW = 1_000
_ATTEMPTS = 3
_US = 1_000

Wrapper = Callable[[Callable[[], Any]], Callable[[], Any]]


def measure(*, rounds: int) -> list[Table]:
    """
    Measure everybody, and return the table.
    """
    subjects = [Subject(f"sync {name}", _calls(wrap(_bare))) for name, wrap in _sync().items()]
    subjects += [Subject(f"async {name}", coroutine(_awaits(wrap(_abare)))) for name, wrap in _async().items()]
    times = interleave(
        [each._replace(number=5_000 if _is_quick(each.name) else _SLOW) for each in subjects], rounds=rounds
    )
    over = {name: (value - times[f"{name.split()[0]} bare"]) / _US for name, value in times.items()}
    rows = [["bare call", *(f"{times[f'{colour} bare'] / _US:.2f} in all" for colour in ("async", "sync"))]]
    for name in list(dict.fromkeys([*_async(), *_sync()]))[1:]:
        cells = [over.get(f"{colour} {name}") for colour in ("async", "sync")]
        label = f"**{name}**" if name.startswith("egressor") else name
        rows.append([label, *("" if each is None else f"{each:.2f}" for each in cells)])
    for kind, stacks in (("cheapest", _CHEAPEST), ("best known", _KNOWN)):
        ratios = [f"{over[f'{colour} {stacks[colour]}'] / over[f'{colour} egressor']:.1f}" for colour in stacks]
        rows.append([f"the {kind} stack of peers over egressor", *ratios])
    notes = [
        "On in Egressor: two limits, max_concurrency, breaker by failure rate, retry with budget, classification,",
        "counters; in async the attempt's time-out, too. A stack of peers has one retry, one breaker and one limit.",
    ]
    columns = ["CPU µs over the bare call", "async", "sync"]
    return [Table("B. A decorated call that succeeds", columns, rows, notes)]


_CHEAPEST: dict[Literal["async", "sync"], str] = {
    "async": "backoff + circuitbreaker + aiolimiter",
    "sync": "backoff + circuitbreaker + throttled-py",
}
_KNOWN: dict[Literal["async", "sync"], str] = {
    "async": "stamina + purgatory + aiolimiter",
    "sync": "stamina + purgatory + pyrate-limiter",
}


def _is_quick(name: str) -> bool:
    return not any(slow in name for slow in ("stamina", "tenacity", "throttled-py", "pyrate"))


def _bare() -> int:
    return 1


async def _abare() -> int:
    return 1


def _calls(operation: Callable[[], Any]) -> Callable[[int], float]:
    def run(number: int) -> float:
        started = time.process_time_ns()
        for _ in range(number):
            operation()
        return (time.process_time_ns() - started) / number

    return run


def _awaits(operation: Callable[[], Any]) -> Callable[[int], Coroutine[Any, Any, float]]:
    async def run(number: int) -> float:
        started = time.process_time_ns()
        for _ in range(number):
            await operation()
        return (time.process_time_ns() - started) / number

    return run


def governor() -> Governor:
    """
    Return a governor with everything on, and one whose only limit is a token bucket.
    """
    second, minute = f"{peers.MANY}/second burst {peers.MANY}", f"{60 * peers.MANY}/minute"
    full = {
        "max_concurrency": 32,
        "breaker": {"failure_rate": 0.5, "min_calls": 20},
        "retry": {"attempts": _ATTEMPTS},
    }
    return Governor(
        services={
            "full": {"limits": [second, f"{minute} burst {60 * peers.MANY}"], **full},
            "sliding": {"limits": [second, minute], **full},
            "plain": {"limits": [second]},
        }
    )


_GOVERNOR = governor()
_OURS: dict[str, Wrapper] = {
    "egressor": _GOVERNOR.throttled("full"),
    "egressor, one of the limits a sliding window": _GOVERNOR.throttled("sliding"),
    "egressor, one limit and the defaults": _GOVERNOR.throttled("plain"),
}


def _sync() -> dict[str, Wrapper]:
    backs = backoff.on_exception(backoff.expo, ConnectionError, max_tries=_ATTEMPTS)
    stamps = stamina.retry(on=ConnectionError, attempts=_ATTEMPTS)
    tries = tenacity.retry(stop=tenacity.stop_after_attempt(_ATTEMPTS), wait=tenacity.wait_exponential_jitter())
    breaks = circuitbreaker.CircuitBreaker()
    purges = purgatory.SyncCircuitBreakerFactory()("upstream")
    gcra, pyrate = _throttled(), _pyrate()
    return {
        "bare": lambda target: target,
        **_OURS,
        "backoff": backs,
        "stamina": stamps,
        "tenacity": tries,
        "circuitbreaker": breaks,
        "purgatory": purges,
        "throttled-py": gcra,
        "pyrate-limiter": pyrate,
        "backoff + circuitbreaker + throttled-py": _stack(backs, breaks, gcra),
        "stamina + purgatory + pyrate-limiter": _stack(stamps, purges, pyrate),
        "tenacity + purgatory + throttled-py": _stack(tries, purges, gcra),
    }


def _async() -> dict[str, Wrapper]:
    backs = backoff.on_exception(backoff.expo, ConnectionError, max_tries=_ATTEMPTS)
    stamps = stamina.retry(on=ConnectionError, attempts=_ATTEMPTS)
    tries = tenacity.retry(stop=tenacity.stop_after_attempt(_ATTEMPTS), wait=tenacity.wait_exponential_jitter())
    breaks = circuitbreaker.CircuitBreaker()
    purges = purgatory.AsyncCircuitBreakerFactory()("upstream")
    limits = _aiolimiter()
    return {
        "bare": lambda target: target,
        **_OURS,
        "backoff": backs,
        "stamina": stamps,
        "tenacity": tries,
        "circuitbreaker": breaks,
        "purgatory": purges,
        "aiolimiter": limits,
        "backoff + circuitbreaker + aiolimiter": _stack(backs, breaks, limits),
        "stamina + purgatory + aiolimiter": _stack(stamps, purges, limits),
        "tenacity + purgatory + aiolimiter": _stack(tries, purges, limits),
    }


def _stack(*wrappers: Wrapper) -> Wrapper:
    def wrap(target: Callable[[], Any]) -> Callable[[], Any]:
        for wrapper in reversed(wrappers):
            target = wrapper(target)
        return target

    return wrap


def _aiolimiter() -> Wrapper:
    limiter, _ = peers.aiolimiters()

    def wrap(target: Callable[[], Any]) -> Callable[[], Any]:
        @wraps(target)
        async def limited(*args: Any, **kwargs: Any) -> Any:
            async with limiter:
                return await target(*args, **kwargs)

        return limited

    return wrap


def _throttled() -> Wrapper:
    limiter, _ = peers.throttled_sync()
    return limiter


def _pyrate() -> Wrapper:
    wrapper: Wrapper = peers.pyrate_log(1).as_decorator()  # type: ignore[no-untyped-call]
    return wrapper
