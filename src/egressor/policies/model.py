"""
The policy of one service, and the whole configuration.

A `Policy` is complete once it is built: what was given, then its type's preset, then the defaults. `Config` holds one
per service and refuses what this version would not enforce, so that no setting is ever accepted and then ignored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from egressor._core.model import Priority, ServiceType
from egressor.policies import addresses
from egressor.policies.checks import (
    SettingError,
    flag,
    many,
    nearest,
    one_of,
    optional,
    seconds,
    show,
    text,
    whole,
)
from egressor.policies.hiding import holds_secret
from egressor.policies.keys import ClientKey, host_name
from egressor.policies.parts import (
    BanPolicy,
    BreakerPolicy,
    BudgetPolicy,
    CachePolicy,
    RetryPolicy,
    Rule,
    Secret,
    to_priority,
)
from egressor.policies.patterns import ErrorPattern
from egressor.policies.presets import PRESETS
from egressor.policies.prices import Prices
from egressor.policies.settings import UNSET, Settings, setting, with_preset
from egressor.policies.values import dialect as to_dialect
from egressor.policies.values import limit, url, zone

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from collections.abc import Set as AbstractSet

    from egressor.policies.checks import Check
    from egressor.policies.grammar import Limit

__all__ = [
    "LONELY",
    "Config",
    "Gateway",
    "Policy",
    "check_service_name",
    "is_lonely",
    "strangers",
    "to_secret",
    "unsupported",
]

_SERVICE = r"[a-z0-9][a-z0-9_.-]{0,63}"

_PARTS = ("breaker", "retry", "ban")
_LEASES = 2
_SHORTEST_LEASE = 120.0
_AGES = 4
_SHORTEST_AGE = 1.0


def _a(kind: type[Settings]) -> Check:
    def check(value: object) -> Any:
        if isinstance(value, kind):
            return value
        message = f"expected a {kind.__name__}, got {show(value)}"
        raise SettingError(message)

    return check


def _kind_of(value: object) -> ServiceType | None:
    try:
        return ServiceType(value)  # type: ignore[arg-type]
    except ValueError:
        return None


def to_secret(value: object) -> Secret:
    """
    Check where a key is found; what else was given is not shown.
    """
    if isinstance(value, Secret):
        return value
    # The value is not shown: it may be the key.
    message = 'a key never stands in the configuration: write { env = "NAME" } or { file = "/path" }'
    raise SettingError(message)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Policy(Settings):
    """
    The frozen, validated configuration of one service.

    Attributes:
        type: The kind of service, whose preset fills what is left out. Default: none, and so no limit.
        dialect: Whose headers and bodies the service speaks, one of `egressor.dialects.NAMES`. Default: ``generic``,
            plain HTTP.
        base_url: Where the service is: the gateway forwards there, and a transport finds the service by it.
            Default: none, which is enough for decorators.
        private: Whether *base_url*'s name may lead to a private address. Default: false; an address that is written as
            one, and ``localhost``, need no word.
        api_key: Where the gateway finds the key that it adds upstream. Default: none.
        limits: What all calls together may take. Default: the preset's; given limits replace the preset's as a whole.
        max_concurrency: Attempts in flight at once, 1 to 1,000,000; ``false`` for no bound. Default: the preset's, or
            no bound.
        max_wait: Seconds that a call may wait for its turn; 0 means never. Default: 60.
        queue_size: Calls that may wait at once, 0 to 10,000,000. Default: 10,000.
        timeout: Seconds that one attempt may take. Default: 60.
        lease_for: Seconds after which the lease of a holder that has vanished is taken back; at least *timeout*.
            Default: twice *timeout*, at least 120.
        age_after: Seconds of waiting that raise a waiting call's priority by one level. Default: a quarter of
            *max_wait*, at least 1, so that a low call is critical before its wait ends.
        learn: What is learned from answers: ``off``, ``headers`` or ``adaptive``. Default: ``headers``.
        timezone: Where the windows of *fixed* limits begin. Default: UTC.
        priority: Priority of calls that state none. Default: medium.
        breaker: When the service counts as down.
        retry: How failed attempts are tried again.
        ban: How long the service is left alone after a ban.
        cache: Which answers are kept. Default: none.
        budget: What the service may cost. Default: no bound, and what it costs is not added up either.
        rules: Further settings by user, feature, endpoint, model, or any other key of a scope.
        errors: What errors mean here, asked before the dialect; the first that matches decides. Default: none.
    """

    type: ServiceType | None = setting(None, optional(one_of(*ServiceType, kind=ServiceType)))
    dialect: str = setting("generic", to_dialect)
    base_url: str | None = setting(None, optional(url))
    private: bool = setting(default=False, check=flag)
    api_key: Secret | None = setting(None, optional(to_secret))
    limits: tuple[Limit, ...] = setting((), many(limit))
    max_concurrency: int | None = setting(None, optional(whole(at_least=1, at_most=1_000_000)))
    max_wait: float = setting(60.0, seconds(at_least=0))
    queue_size: int = setting(10_000, whole(at_least=0, at_most=10_000_000))
    timeout: float = setting(60.0, seconds())
    lease_for: float = setting(UNSET, seconds())
    age_after: float = setting(UNSET, seconds())
    learn: str = setting("headers", one_of("off", "headers", "adaptive"))
    timezone: str = setting("UTC", zone)
    priority: Priority = setting(Priority.MEDIUM, to_priority)
    breaker: BreakerPolicy = setting(BreakerPolicy, _a(BreakerPolicy))
    retry: RetryPolicy = setting(RetryPolicy, _a(RetryPolicy))
    ban: BanPolicy = setting(BanPolicy, _a(BanPolicy))
    cache: CachePolicy | None = setting(None, optional(_a(CachePolicy)))
    budget: BudgetPolicy | None = setting(None, optional(_a(BudgetPolicy)))
    rules: tuple[Rule, ...] = setting((), many(_a(Rule)))
    errors: tuple[ErrorPattern, ...] = setting((), many(_a(ErrorPattern)))

    def _complete(self) -> None:
        kind = _kind_of(self.type)
        preset, label = PRESETS[kind], f"preset {kind}"
        self._settle({name: value for name, value in preset.items() if name not in _PARTS}, label)
        for name in _PARTS:
            object.__setattr__(self, name, with_preset(getattr(self, name), preset.get(name, {}), label, name))
        self._derive("lease_for", max(_LEASES * self.timeout, _SHORTEST_LEASE))
        self._derive("age_after", max(self.max_wait / _AGES, _SHORTEST_AGE))
        self._agree(self.sources.keys())

    @property
    def endpoints(self) -> frozenset[str]:
        """
        The endpoints that rules name.
        """
        return frozenset(rule.match["endpoint"] for rule in self.rules if "endpoint" in rule.match) - {"*"}

    @property
    def has_budgets(self) -> bool:
        """
        Whether any call may cost no more than so much, or is added up at least.
        """
        return self.budget is not None or any(rule.budget is not None for rule in self.rules)

    def rules_for(self, scope: Mapping[str, str]) -> tuple[Rule, ...]:
        """
        Return the rules that a call of *scope* falls under, in the order of the policy; all of them apply.
        """
        return tuple([rule for rule in self.rules if rule.matches(scope)]) if self.rules and scope else ()

    def priority_for(self, scope: Mapping[str, str]) -> Priority:
        """
        Return the priority of a call of *scope* that states none: the last matching rule's that sets one.
        """
        found = self.priority
        for rule in self.rules_for(scope):
            if rule.priority is not None:
                found = rule.priority
        return found

    def _derive(self, name: str, value: float) -> None:
        if getattr(self, name) is UNSET:
            object.__setattr__(self, name, value)

    def _agree(self, given: AbstractSet[str]) -> None:  # noqa: ARG002
        if self.lease_for < self.timeout:
            message = f"{self.lease_for:g} s is below timeout ({self.timeout:g} s): a slow attempt would lose its lease"
            raise SettingError(message, at=("lease_for",))
        seen: dict[str, int] = {}
        for position, rule in enumerate(self.rules):
            first = seen.setdefault(rule.name, position)
            if first != position:
                message = f"{show(rule.name)} is matched by rules[{first}] already: put both into one rule"
                raise SettingError(message, at=("rules", position))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Gateway(Settings):
    """
    Where ``egressor serve`` listens, and what it bears.

    Attributes:
        host: Address to listen on. Default: 127.0.0.1, this machine only.
        port: Port to listen on, 1 to 65,535; 0 takes a free one. Default: 8787.
        hosts: Names under which clients reach it, besides loopback names and *host*. Default: none.
        keys: Who may use it. Default: none, so that it listens on this machine only.
        workers: Processes that listen, 1 to 64; above 1 they need a store that they can share. Default: 1.
        grace: Seconds that requests in flight get to finish at the end, up to an hour. Default: 10.
        max_connections: Clients' connections at a time, per worker; one more gets 503. Default: 4,096.
        max_body: Bytes that a request's body may have; a longer one gets 413. Default: 1 GiB.
        kept_body: Bytes up to which a request's body is read whole before it is sent, where its price, its tokens, its
            model or a cache need that; at least 65,536. Default: 32 MiB, which providers take at most.
        kept_bodies: Bytes of all such bodies at a time, per worker; one more gets 503. Default: 256 MiB.
        header_timeout: Seconds in which a request's head must be there once it has begun. Default: 10.
        body_timeout: Seconds that a client may send nothing of a body that is waited for. Default: 30.
        body_rate: Bytes a second that a long body must bring on average while it is waited for; 0 is no bound.
            Default: 1,024.
        send_timeout: Seconds that a client may take nothing of an answer. Default: 60.
        idle_timeout: Seconds that a connection may stay open between two requests. Default: 75.
        total_timeout: Seconds that a request may take from its head to the last byte of its answer. Default: no bound.
        upstream_connections: Connections to one upstream at a time, per worker. Default: 1,000.
        proxy: ``off``, or ``env``: upstreams are reached through the HTTP proxy that the environment names.
            Default: ``off``.
    """

    host: str = setting("127.0.0.1", text(r"[A-Za-z0-9.:_%-]{1,253}", what="a host name or an IP address"))
    port: int = setting(8787, whole(at_least=0, at_most=65_535))
    hosts: tuple[str, ...] = setting((), many(host_name))
    keys: tuple[ClientKey, ...] = setting((), many(_a(ClientKey)))
    workers: int = setting(1, whole(at_least=1, at_most=64))
    grace: float = setting(10.0, seconds(at_least=0.0, at_most=3600.0))
    max_connections: int = setting(4096, whole(at_least=1, at_most=1_000_000))
    max_body: int = setting(1 << 30, whole(at_least=1, at_most=1 << 50))
    kept_body: int = setting(32 << 20, whole(at_least=1 << 16, at_most=1 << 30))
    kept_bodies: int = setting(256 << 20, whole(at_least=0, at_most=1 << 50))
    header_timeout: float = setting(10.0, seconds(at_least=0.1, at_most=3600.0))
    body_timeout: float = setting(30.0, seconds(at_least=0.1, at_most=3600.0))
    body_rate: int = setting(1024, whole(at_least=0, at_most=1 << 50))
    send_timeout: float = setting(60.0, seconds(at_least=0.1, at_most=3600.0))
    idle_timeout: float = setting(75.0, seconds(at_least=0.1, at_most=3600.0))
    total_timeout: float | None = setting(None, optional(seconds(at_least=0.1)))
    upstream_connections: int = setting(1000, whole(at_least=1, at_most=100_000))
    proxy: str = setting("off", one_of("off", "env"))

    @property
    def has_budgets(self) -> bool:
        """
        Whether any client's key has a budget.
        """
        return any(key.budget is not None for key in self.keys)

    def _agree(self, given: AbstractSet[str]) -> None:  # noqa: ARG002
        for each in ("name", "sha256"):
            seen: dict[str, int] = {}
            for position, key in enumerate(self.keys):
                first = seen.setdefault(getattr(key, each), position)
                if first != position:
                    message = f"keys[{first}] has the same {each} already"
                    raise SettingError(message, at=("keys", position))


def check_service_name(name: object) -> str:
    """
    Check the name of a service: it is a part of URLs, metrics, keys and commands.
    """
    if not isinstance(name, str) or not re.fullmatch(_SERVICE, name):
        low = re.sub(r"[^a-z0-9_.-]+", "_", str(name).lower())[:64].lstrip("_.-")
        message = f"service name {show(name)}: 1 to 64 of a-z, 0-9, _, . and -, beginning with a letter or a digit"
        raise SettingError(message, nearest=None if holds_secret(str(name)) else low or None)
    return name


def _services(value: object) -> dict[str, Policy]:
    if not hasattr(value, "items"):
        message = f"expected services by name, got {show(value)}"
        raise SettingError(message)
    return {check_service_name(name): _a(Policy)(policy) for name, policy in value.items()}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Config(Settings):
    """
    The whole configuration.

    Attributes:
        store: Where cells live: ``memory:``, ``sqlite:///file`` or ``redis://…``. Default: ``memory:``, this process.
        ledger: Where facts live: ``memory:``, ``sqlite:///file`` or ``postgresql://…``. Default: ``memory:``.
        history_for: Seconds that entries of the ledger are kept: from a minute to ten years. Default: 366 days, so that
            this season can be held beside the last.
        history_most: How many entries are kept, 100 to 1,000,000,000. Default: 1,000,000, some 300 MB. In memory
            10,000 is the most.
        money_sync: When a hold and a charge of a budget are on the disk, with a ledger in SQLite: ``normal``, safe from
            whatever ends the process, and in 15 seconds at most from a power cut; ``full``, before the call goes on,
            which takes the time of the disk. Default: ``normal``.
        on_store_loss: What holds while the store is away: this process's ``share`` of each limit, ``open`` (each
            process takes every limit in full) or ``closed`` (no call). Default: ``share``.
        unknown_hosts: Whether a transport lets calls to hosts that no service names ``pass``, or has to ``refuse``
            them. Default: ``pass``.
        services: Policies by the service's name.
        gateway: Where the gateway listens.
        prices: What requests to language models cost, before the public prices.
    """

    store: str = setting("memory:", addresses.store)
    ledger: str = setting("memory:", addresses.ledger)
    history_for: float = setting(366 * 86_400.0, seconds(at_least=60, at_most=3_660 * 86_400.0))
    history_most: int = setting(1_000_000, whole(at_least=100, at_most=1_000_000_000))
    money_sync: str = setting("normal", one_of("normal", "full"))
    on_store_loss: str = setting("share", one_of("share", "open", "closed"))
    unknown_hosts: str = setting("pass", one_of("pass", "refuse"))
    services: Mapping[str, Policy] = field(default=UNSET, metadata={"default": dict, "check": _services})
    gateway: Gateway = setting(Gateway, _a(Gateway))
    prices: Prices = setting(Prices, _a(Prices))

    @property
    def has_budgets(self) -> bool:
        """
        Whether any call may cost no more than so much, or is added up at least.
        """
        return _has_budgets(self.gateway, self.services)

    def _agree(self, given: AbstractSet[str]) -> None:  # noqa: ARG002
        for name, policy in self.services.items():
            for error in unsupported(policy):
                raise SettingError(error.message, at=("services", name, *error.at))
        for wrong in strangers(self.gateway, self.services):
            raise wrong
        if is_lonely(self.store, self.ledger, self.gateway, self.services):
            raise SettingError(LONELY, at=("ledger",))


LONELY = (
    "in memory each process would spend a whole budget of its own: with budgets, a store or workers that are shared"
    " need a ledger that is, sqlite:///… or postgresql://…"
)
"""
What is wrong where `is_lonely` says so.
"""


def is_lonely(store: str, ledger: str, gateway: Gateway, services: Mapping[str, Policy]) -> bool:
    """
    Whether several processes are meant to share, and have no ledger to keep their budgets in.
    """
    is_shared = store != "memory:" or gateway.workers > 1
    return is_shared and ledger == "memory:" and _has_budgets(gateway, services)


def _has_budgets(gateway: Gateway, services: Mapping[str, Policy]) -> bool:
    return gateway.has_budgets or any(policy.has_budgets for policy in services.values())


def strangers(gateway: Gateway, services: Collection[str]) -> list[SettingError]:
    """
    Return the errors of keys for services that there aren't: a key that opens nothing is a slip.
    """
    return [
        SettingError(
            f"{show(name)} is no service of this configuration",
            nearest=nearest(name, services),
            at=("gateway", "keys", position, "services"),
        )
        for position, key in enumerate(gateway.keys)
        for name in key.services
        if name not in services
    ]


def unsupported(policy: Policy) -> list[SettingError]:
    """
    Return what *policy* asks for and this version would not do.

    An accepted setting that nothing enforces is a promise broken in silence, so each is an error.
    """
    if policy.learn == "adaptive":
        text = 'learn = "adaptive" is not supported by this version: it would not be enforced'
        return [SettingError(text, at=("learn",))]
    return []
