"""
A policy in words: the order of the steps that a call goes through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from egressor.policies.periods import KINDS

if TYPE_CHECKING:
    from egressor.policies import BreakerPolicy, CachePolicy, Policy
    from egressor.stores.compiled import Compiled

__all__ = ["explain"]

_SPANS = {"hour": "an hour", "day": "a day", "week": "a week", "month": "a month", "total": "in all"}


def explain(service: str, compiled: Compiled) -> str:
    """
    Return the steps of a call to *service*, in order, with what each one may do.
    """
    policy = compiled.policy
    breaker, retry = policy.breaker, policy.retry
    limits = ", ".join(str(limit) for limit in policy.limits) or "none"
    lines = [f"A call to {service}:", *_cache(policy.cache), *_money(policy)]
    lines += [
        "1. pause: refused with Paused while an operator has paused the service",
        f"2. ban: refused with Banned for {policy.ban.suspend_for:g} s after a ban that names no time, then one probe",
        f"3. breaker: {_breaker(breaker) if breaker.enabled else 'none'}",
        "4. Retry-After: nobody goes before the time that the server has named",
        f"5. limits, all or nothing: {limits}{_places(policy.max_concurrency)}",
    ]
    lines += [
        f"   rule {rule.name}: {', '.join(str(limit) for limit in rule.limits) or 'no limit'}" for rule in policy.rules
    ]
    lines += [
        f"6. queue: by priority, deadline, arrival; at most {policy.queue_size} calls, {policy.max_wait:g} s each",
        f"   each {policy.age_after:g} s of waiting raise it by one priority; a wait that can't fit is refused at once",
        f"7. send: at most {policy.timeout:g} s an attempt",
        "8. verdict: one reading of the outcome feeds limits, breaker, ban and retry; the lease is settled",
        f"9. retry: {_retry(retry.attempts, retry.base, retry.factor, retry.cap, retry.budget)}; each one from 1 again",
        "10. fallback, if the call has one; else the value, or the exception as it was raised",
    ]
    return "\n".join(lines)


def _money(policy: Policy) -> list[str]:
    named = [("", policy.budget), *((f"rule {rule.name}: ", rule.budget) for rule in policy.rules)]
    found = [
        f"   {name}{usd} USD {_SPANS[kind]} ({budget.timezone}), a warning from {budget.soft:.0%} on"
        for name, budget in named
        if budget is not None
        for kind in KINDS
        if (usd := getattr(budget, kind)) is not None
    ]
    if not found and policy.has_budgets:
        return ["0. what calls cost is added up, and nothing bounds it"]
    return ["0. budgets, all or nothing: refused with BudgetExceeded if what it may cost does not fit", *found] * bool(
        found
    )


def _cache(policy: CachePolicy | None) -> list[str]:
    if policy is None:
        return []
    stale = f", then for {policy.stale_if_error:g} s where it fails" if policy.stale_if_error else ""
    return [
        f"0. cache: an answer is given again for {policy.ttl:g} s{stale}; the same request under way is sent once",
    ]


def _places(most: int | None) -> str:
    return "" if most is None else f"; at most {most} at once"


def _breaker(policy: BreakerPolicy) -> str:
    parts = [f"{policy.consecutive} failures in a row"] if policy.consecutive else []
    if policy.failure_rate:
        parts.append(f"{policy.failure_rate:.0%} failures in {policy.window:g} s")
    if policy.slow_rate:
        parts.append(f"{policy.slow_rate:.0%} slower than {policy.slow_call:g} s in {policy.window:g} s")
    shadow = " (shadow: it only counts)" if policy.shadow else ""
    return (
        f"opens after {' or '.join(parts)}, for {policy.open_for:g} s at first, then {policy.probes} probe(s){shadow}"
    )


def _retry(attempts: int, base: float, factor: float, cap: float, budget: float | None) -> str:
    if attempts == 1:
        return "none"
    share = "" if budget is None else f", retries at most {budget:.0%} of all calls"
    return f"at most {attempts} attempts in all, {base:g} s * {factor:g}^n up to {cap:g} s with full jitter{share}"
