"""
The parts of a service's policy: breaker, retry, ban, cache, budget, rules, and where its secret is.

Times are float seconds, money is US dollars; ``spec`` compiles a part to the integers that the core decides with.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from egressor._core.breaker import BreakerSpec
from egressor._core.cache import CacheSpec
from egressor._core.model import Priority
from egressor._core.retry import BudgetSpec, RetrySpec
from egressor.policies.checks import (
    SettingError,
    flag,
    many,
    number,
    one_of,
    optional,
    seconds,
    share,
    text,
    whole,
)
from egressor.policies.hiding import hide
from egressor.policies.settings import Settings, ordered, setting
from egressor.policies.values import limit, money, scope_values, zone

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet
    from decimal import Decimal

    from egressor.policies.grammar import Limit

__all__ = [
    "BanPolicy",
    "BreakerPolicy",
    "BudgetPolicy",
    "CachePolicy",
    "RetryPolicy",
    "Rule",
    "Secret",
    "microseconds",
    "to_budget",
    "to_priority",
]

_MICRO = 1_000_000
_RETRY_WINDOW = 10 * _MICRO
_RETRY_RESERVE = 10

to_priority = one_of("low", "medium", "high", "critical", kind=Priority)
"""
The check of a priority: the enum's member, or its lower-case name.
"""


def microseconds(value: float) -> int:
    """
    Return *value* seconds as whole microseconds; what is above 0 stays above 0.
    """
    return max(round(value * _MICRO), 1 if value > 0 else 0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Secret(Settings):
    """
    Where the service's key is found: never the key itself, so that no configuration, log or traceback can hold it.

    Attributes:
        env: Name of an environment variable: A-Z, 0-9 and _, at most 64, so that a pasted key is noticed.
        file: Path of a file; white space around its content is not part of the key.
    """

    env: str | None = setting(
        None, text(r"[A-Z_][A-Z0-9_]{0,63}", what="the name of an environment variable", hidden=True)
    )
    file: str | None = setting(None, text(r"[^\x00-\x1f\x7f]{1,4096}", what="a path", hidden=True))

    def _agree(self, given: AbstractSet[str]) -> None:
        if len(given) != 1:
            message = 'it names exactly one place: { env = "NAME" } or { file = "/path" }'
            raise SettingError(message)

    def __str__(self) -> str:
        return self.shown

    @property
    def shown(self) -> str:
        """
        Where it is found, for people; what looks like a key that was pasted in a path's place is not shown.
        """
        if self.env is not None:
            return f"env {self.env}"
        file = self.file or ""
        return f"file {file}" if file.startswith("/") else f"file {hide(file)}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class BreakerPolicy(Settings):
    """
    When the service counts as down, and how it is tried again.

    Attributes:
        enabled: Whether there is a breaker. Default: true.
        consecutive: Failures in a row that open it; 0 to 100,000, 0 turns this off. Default: 5, low enough to notice
            an outage at once, high enough that a few unlucky calls don't open it.
        failure_rate: Share of failed calls in the window that opens it, above 0 to 1; ``false`` turns it off.
            Default: off, as *consecutive* suits small services; set 0.5 where calls are many.
        slow_rate: Share of slow calls in the window that opens it, above 0 to 1; ``false`` turns it off. Default: off.
        slow_call: Seconds from which on a call is slow. Default: 10.
        window: Seconds of calls that the rates look at. Default: 60.
        min_calls: Calls in the window below which the rates say nothing, 1 to 1,000,000. Default: 10.
        open_for: Seconds that it stays open the first time. Default: 60.
        max_open_for: Seconds that it stays open at most, however often it opens again. Default: 600.
        growth: What *open_for* is multiplied by each time it opens again without having closed, 1 to 100. Default: 2.
        probes: Calls let through at once, half-open, and results that decide; 1 to 1,000. Default: 1.
        shadow: Whether it only counts and reports, and refuses nothing. Default: false.
        shed: Whether calls of lower priorities are refused while the service accepts only some of its calls. Default:
            true; nothing is shed before *min_calls* calls in the window, nor while *shed_k* times as many are accepted.
        shed_k: Low calls that are sent for each that is accepted, 1 to 100; for medium ones twice, for high ones four
            times as many. Default: 2, as in Google's SRE book: low calls are shed while less than half are accepted.
    """

    enabled: bool = setting(default=True, check=flag)
    consecutive: int = setting(5, whole(at_least=0, at_most=100_000))
    failure_rate: float | None = setting(None, optional(share))
    slow_rate: float | None = setting(None, optional(share))
    slow_call: float = setting(10.0, seconds())
    window: float = setting(60.0, seconds())
    min_calls: int = setting(10, whole(at_least=1, at_most=1_000_000))
    open_for: float = setting(60.0, seconds())
    max_open_for: float = setting(600.0, seconds())
    growth: float = setting(2.0, number(at_least=1, at_most=100))
    probes: int = setting(1, whole(at_least=1, at_most=1_000))
    shadow: bool = setting(default=False, check=flag)
    shed: bool = setting(default=True, check=flag)
    shed_k: float = setting(2.0, number(at_least=1, at_most=100))

    def spec(self, *, lease_for: float) -> BreakerSpec | None:
        """
        Compile to the core's integers; None if it is not enabled.

        Args:
            lease_for: Seconds after which a probe that nobody settled counts as lost: the service's lease.
        """
        if not self.enabled:
            return None
        return BreakerSpec(
            consecutive=self.consecutive,
            failure_rate=self.failure_rate,
            slow_rate=self.slow_rate,
            slow_call=microseconds(self.slow_call),
            window=microseconds(self.window),
            min_calls=self.min_calls,
            open_for=microseconds(self.open_for),
            max_open_for=microseconds(self.max_open_for),
            growth=self.growth,
            probes=self.probes,
            probe_lease=microseconds(lease_for),
            shadow=self.shadow,
            shed_k=self.shed_k if self.shed and not self.shadow else None,
        )

    def _agree(self, given: AbstractSet[str]) -> None:
        ordered(self, given, "open_for", "max_open_for", " s")
        if self.enabled and not (self.consecutive or self.failure_rate or self.slow_rate):
            message = (
                "0 without failure_rate and slow_rate would never open it: to have no breaker, set enabled = false"
            )
            raise SettingError(message, at=("consecutive",))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class RetryPolicy(Settings):
    """
    How often an attempt that failed is tried again, and when.

    Attributes:
        attempts: Attempts in all, the first one included, 1 to 100; 1 means no retry. Default: 4.
        base: Seconds before the second attempt, before jitter. Default: 1.
        factor: What the wait is multiplied by for each further retry, 1 to 100. Default: 2.
        cap: Seconds that a wait is at most, unless the server asks for more. Default: 30.
        jitter: Whether waits are random below their bound, so that callers don't return in step. Default: true.
        budget: Retries allowed over all callers, as a share of calls, 0.001 to 1; a small reserve lets services with
            few calls retry too. ``false`` turns the bound off. Default: 0.1, so that retries add a tenth at most to
            the load of a service that is in trouble.
        idempotent_only: Whether a request that may have been executed is sent again only if it is idempotent.
            Default: true.
    """

    attempts: int = setting(4, whole(at_least=1, at_most=100))
    base: float = setting(1.0, seconds(at_least=0))
    factor: float = setting(2.0, number(at_least=1, at_most=100))
    cap: float = setting(30.0, seconds())
    jitter: bool = setting(default=True, check=flag)
    budget: float | None = setting(0.1, optional(number(at_least=0.001, at_most=1)))
    idempotent_only: bool = setting(default=True, check=flag)

    def spec(self) -> RetrySpec:
        """
        Compile to the core's integers.
        """
        return RetrySpec(
            attempts=self.attempts,
            base=microseconds(self.base),
            factor=self.factor,
            cap=microseconds(self.cap),
            jitter=self.jitter,
            idempotent_only=self.idempotent_only,
        )

    def budget_spec(self) -> BudgetSpec | None:
        """
        Compile the retry budget to the core's integers; None if it is off.
        """
        if self.budget is None:
            return None
        # Ten seconds and one retry a second: Finagle's RetryBudget, https://twitter.github.io/finagle/guide/Clients.html
        return BudgetSpec(ttl=_RETRY_WINDOW, ratio=self.budget, reserve=_RETRY_RESERVE)

    def _agree(self, given: AbstractSet[str]) -> None:
        ordered(self, given, "base", "cap", " s")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class BanPolicy(Settings):
    """
    How long the service is left alone after it banned us.

    Attributes:
        suspend_for: Seconds of the first suspension. Default: 14,400 (4 hours): whoever knocks during a ban is banned
            for longer.
        challenge_for: Seconds of the first suspension after a challenge (a page that wants to see a human), 0 turns it
            off. Default: 300: whoever goes on after a challenge is banned next.
        max_suspend_for: Seconds of the longest suspension. Default: 604,800 (7 days).
        growth: What the suspension is multiplied by for each ban that follows another, 1 to 100. Default: 2.
    """

    suspend_for: float = setting(14_400.0, seconds())
    challenge_for: float = setting(300.0, seconds(at_least=0))
    max_suspend_for: float = setting(604_800.0, seconds())
    growth: float = setting(2.0, number(at_least=1, at_most=100))

    def _agree(self, given: AbstractSet[str]) -> None:
        ordered(self, given, "suspend_for", "max_suspend_for", " s")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class CachePolicy(Settings):
    """
    How long answers are kept, and how many.

    Attributes:
        ttl: Seconds that an answer is fresh, if its server does not say less. Default: 3,600, an hour.
        any_temperature: Whether an LLM's answers are kept too that were drawn by chance: at a temperature above 0, or
            at none stated, which is the model's own. Default: false.
        stale_if_error: Seconds after that in which it still serves when the service fails; 0 turns it off. Default: 0.
        max_entries: Answers kept, 1 to 10,000,000. Default: 10,000.
        max_bytes: Bytes kept, 1 to 2^40; one answer may have an eighth of them. Default: 67,108,864 (64 MiB).
    """

    ttl: float = setting(3600.0, seconds())
    any_temperature: bool = setting(default=False, check=flag)
    stale_if_error: float = setting(0.0, seconds(at_least=0))
    max_entries: int = setting(10_000, whole(at_least=1, at_most=10_000_000))
    max_bytes: int = setting(64 << 20, whole(at_least=1, at_most=1 << 40))

    def spec(self) -> CacheSpec:
        """
        Compile to the core's integers.
        """
        return CacheSpec(
            ttl=microseconds(self.ttl),
            stale=microseconds(self.stale_if_error),
            any_temperature=self.any_temperature,
            most=self.max_bytes // 8,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class BudgetPolicy(Settings):
    """
    How much money may be spent, in US dollars; each period that is given is a bound of its own.

    Attributes:
        hour: US dollars an hour, or None. Default: none.
        day: US dollars a day, or None. Default: none.
        week: US dollars a week, or None. Default: none.
        month: US dollars a month, or None. Default: none.
        total: US dollars in all, or None. Default: none.
        soft: Share of a budget that warns, above 0 to 1. Default: 0.8.
        timezone: Where days, weeks and months begin. Default: UTC.
        unbounded: Whether nothing is bounded, and what calls cost is only added up. Default: False.
    """

    hour: Decimal | None = setting(None, optional(money))
    day: Decimal | None = setting(None, optional(money))
    week: Decimal | None = setting(None, optional(money))
    month: Decimal | None = setting(None, optional(money))
    total: Decimal | None = setting(None, optional(money))
    soft: float = setting(0.8, share)
    timezone: str = setting("UTC", zone)
    unbounded: bool = setting(default=False, check=flag)

    @property
    def is_bound(self) -> bool:
        """
        Whether it bounds anything.
        """
        return any(usd is not None for usd in (self.hour, self.day, self.week, self.month, self.total))

    def _agree(self, given: AbstractSet[str]) -> None:  # noqa: ARG002
        if not self.is_bound and not self.unbounded:
            message = "it bounds nothing: hour, day, week, month or total; or unbounded = true, to add up costs only"
            raise SettingError(message)
        if self.is_bound and self.unbounded:
            message = "it is unbounded, and bounds something: one of both"
            raise SettingError(message)


def to_budget(value: object) -> BudgetPolicy:
    """
    Check that *value* is a budget.
    """
    if isinstance(value, BudgetPolicy):
        return value
    message = "expected a BudgetPolicy"
    raise SettingError(message)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Rule(Settings):
    """
    Further settings for some of a service's calls; it adds to the service's own limits, and never lifts them.

    Attributes:
        match: What a call's scope must hold: a value, or ``*`` for any value, each with cells of its own.
        limits: Limits of the calls that match. Default: none.
        max_concurrency: Calls that match in flight at once, 1 to 1,000,000. Default: no bound.
        priority: Priority of the calls that match and state none. Default: the service's.
        budget: Money that the calls that match may cost. Default: no bound.
    """

    match: Mapping[str, str] = field(metadata={"check": scope_values})
    limits: tuple[Limit, ...] = setting((), many(limit))
    max_concurrency: int | None = setting(None, optional(whole(at_least=1, at_most=1_000_000)))
    priority: Priority | None = setting(None, optional(to_priority))
    budget: BudgetPolicy | None = setting(None, optional(to_budget))

    @property
    def name(self) -> str:
        """
        The rule's stable name, unique in its policy: ``endpoint=chat,user=*``.
        """
        return ",".join(f"{key}={value}" for key, value in self.match.items())

    def __str__(self) -> str:
        return self.name

    def matches(self, scope: Mapping[str, str]) -> bool:
        """
        Say whether a call of *scope* falls under the rule.
        """
        for key, wanted in self.match.items():
            value = scope.get(key)
            if value is None or wanted not in ("*", value):
                return False
        return True

    def _agree(self, given: AbstractSet[str]) -> None:
        if given <= {"match"}:
            message = "it sets nothing: limits, max_concurrency, priority or budget"
            raise SettingError(message)
