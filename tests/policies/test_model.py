"""
Policies built in Python: checks, specs, rules, and how they behave as values.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor._core.breaker import BreakerSpec
from egressor._core.model import Priority, ServiceType
from egressor._core.retry import BudgetSpec, RetrySpec
from egressor.errors import ConfigError
from egressor.policies import (
    BanPolicy,
    BreakerPolicy,
    BudgetPolicy,
    CachePolicy,
    Config,
    Gateway,
    Limit,
    Policy,
    RetryPolicy,
    Rule,
    Secret,
    from_services,
)
from egressor.policies.parts import microseconds
from egressor.policies.settings import UNSET, Settings, settings_of

if TYPE_CHECKING:
    from collections.abc import Callable

MICRO = 1_000_000
RULE = Rule(match={"user": "*"}, limits=(Limit("1/day"),))


@pytest.mark.parametrize(
    ("build", "key", "part"),
    [
        (lambda: Policy(max_wait=-1), "Policy.max_wait", "-1 s is below 0 s"),
        (lambda: Policy(timeout=float("nan")), "Policy.timeout", "nan is not a finite number"),
        (lambda: Policy(limits=["1/day", "1/dy"]), "Policy.limits[1]", "unknown period 'dy'"),  # type: ignore[arg-type]
        (lambda: Policy(limits=b"1/day"), "Policy.limits", "expected a list"),  # type: ignore[arg-type]
        (lambda: Policy(breaker={"window": 3}), "Policy.breaker", "expected a BreakerPolicy, got a table"),  # type: ignore[arg-type]
        (lambda: Policy(breaker=BreakerPolicy(open_for=900)), "Policy.breaker.open_for", "above max_open_for (600 s)"),
        (lambda: Policy(limitz=[]), "Policy.limitz", "unknown setting"),  # type: ignore[call-arg]
        (lambda: Policy(rules=(RULE, RULE)), "Policy.rules[1]", '"user=*" is there twice'),
        (lambda: Policy(type="llm"), "Policy.type", '"llm" is none of'),  # type: ignore[arg-type]
        (lambda: Policy(type=[]), "Policy.type", "expected one of llm_api"),  # type: ignore[arg-type]
        (lambda: Policy(priority=2), "Policy.priority", "expected one of low"),  # type: ignore[arg-type]
        (lambda: Policy(api_key="sk-secret"), "Policy.api_key", "a key never stands in the configuration"),  # type: ignore[arg-type]
        (lambda: Policy(lease_for=1), "Policy.lease_for", "1 s is below timeout (60 s)"),
        (lambda: Policy(rules=(RULE, Rule(match={"user": "*"}, priority=Priority.LOW))), "Policy.rules[1]", "rules[0]"),
        (lambda: Policy(rules=(3,)), "Policy.rules[0]", "expected a Rule, got 3"),  # type: ignore[arg-type]
        (lambda: BreakerPolicy(open_for=9, max_open_for=5), "BreakerPolicy.open_for", "9 s is above max_open_for"),
        (lambda: BreakerPolicy(consecutive=0), "BreakerPolicy.consecutive", "would never open it"),
        (lambda: BreakerPolicy(probes=True), "BreakerPolicy.probes", "expected a whole number"),
        (lambda: RetryPolicy(attempts=101), "RetryPolicy.attempts", "101 is above 100"),
        (lambda: RetryPolicy(base=5, cap=4), "RetryPolicy.base", "5 s is above cap (4 s)"),
        (lambda: BanPolicy(suspend_for=9, max_suspend_for=8), "BanPolicy.suspend_for", "above max_suspend_for (8 s)"),
        (lambda: CachePolicy(ttl=object()), "CachePolicy.ttl", "an object of type object"),  # type: ignore[arg-type]
        (lambda: BudgetPolicy(day="1.5e3"), "BudgetPolicy.day", "not an amount"),  # type: ignore[arg-type]
        (lambda: BudgetPolicy(day=Decimal("Infinity")), "BudgetPolicy.day", "USD is not above 0"),
        (lambda: Rule(match={"user": "*"}), "Rule", "it sets nothing"),
        (lambda: Rule(match={}, priority=Priority.LOW), "Rule.match", "it is empty"),
        (lambda: Rule(match={"user": "*"}, budget=3), "Rule.budget", "expected a BudgetPolicy"),  # type: ignore[arg-type]
        (Secret, "Secret", "exactly one place"),
        (lambda: Gateway(port=-1), "Gateway.port", "-1 is below 0"),
        (lambda: Config(services={"X": Policy()}), "Config.services", 'service name "X"'),
        (lambda: Config(services={"x": 3}), "Config.services", "expected a Policy, got 3"),  # type: ignore[dict-item]
        (lambda: Config(services=3), "Config.services", "expected services by name, got 3"),  # type: ignore[arg-type]
        (lambda: Config(store="sqlite:///"), "Config.store", "it names no file"),
        (lambda: Config(services={"x": Policy(learn="adaptive")}), "Config.services.x.learn", "is not supported"),
        (lambda: CachePolicy(ttl=0), "CachePolicy.ttl", "0 s is not above 0 s"),
        (lambda: CachePolicy(max_entries=0), "CachePolicy.max_entries", "0 is below 1"),
        (BudgetPolicy, "BudgetPolicy", "it bounds nothing"),
        (lambda: BudgetPolicy(day=Decimal(1), unbounded=True), "BudgetPolicy", "it is unbounded, and bounds something"),
        (lambda: BudgetPolicy(soft=0.5), "BudgetPolicy", "it bounds nothing"),
        (lambda: Config(services={"x": Policy(budget=BudgetPolicy(day=Decimal(1)))}, store="sqlite:///x.db"),
         "Config.ledger", "in memory each process would spend a whole budget of its own"),
        (lambda: Config(services={"x": Policy(rules=(Rule(match={"user": "*"}, budget=BudgetPolicy(day=Decimal(1))),))},
                        gateway=Gateway(workers=2)), "Config.ledger", "in memory each process"),
    ],
)  # fmt: skip
def test_python_users_get_the_same_errors(build: Callable[[], object], key: str, part: str) -> None:
    """
    A constructor refuses what a file's reader refuses, and names the setting.
    """
    with pytest.raises(ConfigError) as caught:
        build()

    assert caught.value.key == key
    assert part in caught.value.message
    assert "secret" not in str(caught.value)


def test_breaker_spec() -> None:
    """
    A breaker compiles to microseconds, with the service's lease for its probes.
    """
    policy = BreakerPolicy(failure_rate=0.5, slow_call=0.25, window=30, shadow=True)

    assert policy.spec(lease_for=120.0) == BreakerSpec(
        consecutive=5,
        failure_rate=0.5,
        slow_rate=None,
        slow_call=250_000,
        window=30 * MICRO,
        min_calls=10,
        open_for=60 * MICRO,
        max_open_for=600 * MICRO,
        growth=2.0,
        probes=1,
        probe_lease=120 * MICRO,
        shadow=True,
    )


def test_a_disabled_breaker_has_no_spec() -> None:
    """
    Without a breaker there is nothing to compile, and no threshold is asked for.
    """
    assert BreakerPolicy(enabled=False, consecutive=0).spec(lease_for=1.0) is None


def test_retry_specs() -> None:
    """
    A retry policy compiles to microseconds, and to a budget over ten seconds unless that is off.
    """
    policy = RetryPolicy(base=0.5, cap=10)

    assert policy.spec() == RetrySpec(
        attempts=4, base=500_000, factor=2.0, cap=10 * MICRO, jitter=True, idempotent_only=True
    )
    assert policy.budget_spec() == BudgetSpec(ttl=10 * MICRO, ratio=0.1, reserve=10)
    assert RetryPolicy(budget=None).budget_spec() is None


@given(st.floats(0, 3e7), st.sampled_from([*ServiceType, None]))
def test_every_policy_that_can_be_built_compiles(wait: float, kind: ServiceType | None) -> None:
    """
    What validation lets through, the core accepts: the bounds here are never wider than there.
    """
    policy = Policy(
        type=kind,
        breaker=BreakerPolicy(open_for=wait or 1, max_open_for=3.1e7, slow_rate=1.0, slow_call=wait or 1e-9),
        retry=RetryPolicy(base=wait, cap=3.1e7, budget=0.001),
    )

    assert policy.breaker.spec(lease_for=policy.lease_for) is not None
    assert policy.retry.spec().base == microseconds(wait)
    assert policy.retry.budget_spec() is not None


@pytest.mark.parametrize(
    ("value", "expected"), [(0.0, 0), (1e-9, 1), (0.0000014, 1), (0.1, 100_000), (3600.0, 3_600_000_000)]
)
def test_microseconds(value: float, expected: int) -> None:
    """
    A time above 0 never becomes 0.
    """
    assert microseconds(value) == expected


SCOPED = Policy(
    rules=(
        Rule(match={"user": "*"}, limits=(Limit("1/day"),)),
        Rule(match={"feature": "chat", "user": "*"}, priority=Priority.LOW),
        Rule(match={"user": "u1"}, priority=Priority.HIGH),
        Rule(match={"endpoint": "search"}, max_concurrency=1),
        Rule(match={"endpoint": "*", "tenant": "t"}, max_concurrency=1),
    )
)


@pytest.mark.parametrize(
    ("scope", "expected", "priority"),
    [
        ({}, (), Priority.MEDIUM),
        ({"model": "m"}, (), Priority.MEDIUM),
        ({"user": "u2"}, (0,), Priority.MEDIUM),
        ({"user": "u2", "feature": "chat"}, (0, 1), Priority.LOW),
        ({"user": "u1", "feature": "chat"}, (0, 1, 2), Priority.HIGH),
        ({"user": "*"}, (0,), Priority.MEDIUM),
        ({"endpoint": "search"}, (3,), Priority.MEDIUM),
        ({"endpoint": "search", "tenant": "t"}, (3, 4), Priority.MEDIUM),
        ({"endpoint": "other", "tenant": "u"}, (), Priority.MEDIUM),
        ({"user": ""}, (0,), Priority.MEDIUM),
    ],
)
def test_rules_for(scope: dict[str, str], expected: tuple[int, ...], priority: Priority) -> None:
    """
    All matching rules apply; the last of them that sets a priority decides on it.
    """
    assert SCOPED.rules_for(scope) == tuple(SCOPED.rules[position] for position in expected)
    assert SCOPED.priority_for(scope) is priority


def test_names_of_rules_and_endpoints() -> None:
    """
    A rule's name does not depend on the order of its keys; endpoints are those that rules name.
    """
    assert [rule.name for rule in SCOPED.rules] == [
        "user=*", "feature=chat,user=*", "user=u1", "endpoint=search", "endpoint=*,tenant=t",
    ]  # fmt: skip
    assert SCOPED.endpoints == {"search"}


def test_policies_are_values() -> None:
    """
    Policies compare, hash, copy, pickle and replace by value, and can't be changed.
    """
    policy = Policy(type=ServiceType.LLM_API, rules=(RULE,), base_url="https://x.com/v1/")

    assert pickle.loads(pickle.dumps(policy)) == copy.deepcopy(policy) == policy  # noqa: S301 - our own bytes
    assert len({policy, Policy(type=ServiceType.LLM_API, rules=(RULE,), base_url="https://x.com/v1")}) == 1
    assert policy != dataclasses.replace(policy, max_wait=1)
    assert policy != 1
    assert (
        repr(BanPolicy()) == "BanPolicy(suspend_for=14400.0, challenge_for=300.0, max_suspend_for=604800.0, growth=2.0)"
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.max_wait = 3  # type: ignore[misc]


def test_replacing_keeps_the_rest() -> None:
    """
    A replaced policy keeps its preset's values, and counts everything as given.
    """
    policy = dataclasses.replace(Policy(type=ServiceType.LLM_API), max_wait=1)

    assert (policy.max_wait, policy.breaker.consecutive, policy.sources["max_wait"]) == (1.0, 3, "python")


@pytest.mark.parametrize(
    "kind", [Policy, BreakerPolicy, RetryPolicy, BanPolicy, CachePolicy, BudgetPolicy, Rule, Secret, Gateway, Config]
)
def test_every_setting_is_documented(kind: type[Settings]) -> None:
    """
    Each setting has its line in the class's docstring, and every docstring default is in seconds, shares or words.
    """
    text = inspect.cleandoc(str(kind.__doc__))
    missing = [each.name for each in settings_of(kind) if f"    {each.name}: " not in text]

    assert missing == []


def test_secret_says_where_it_is() -> None:
    """
    A secret prints its place.
    """
    assert [str(Secret(env="KEY")), str(Secret(file="/run/key"))] == ["env KEY", "file /run/key"]


def test_services_may_be_tables_or_policies() -> None:
    """
    A governor takes both in one mapping, with the settings of the [egressor] section beside them.
    """
    policy = Policy(type=ServiceType.LLM_API)
    table = {"type": "llm_api", "breaker": BreakerPolicy(window=5), "rules": [RULE], "cache": False, "limits": []}
    config = from_services({"a": policy, "b": table}, store="memory:", unknown_hosts="refuse")

    assert config.services["a"] is policy
    assert (config.services["b"].breaker.window, config.services["b"].rules, config.services["b"].limits) == (
        5.0, (RULE,), (),
    )  # fmt: skip
    assert (config.unknown_hosts, config.sources["unknown_hosts"], config.on_store_loss) == (
        "refuse", "python", "share",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("build", "key", "nearest"),
    [
        (lambda: from_services({"a": {}}, stor="memory:"), "egressor.stor", "store"),
        (lambda: from_services({"a": {1: 2}}), "services.a.1", None),  # type: ignore[dict-item]
        (lambda: from_services({1: {}}), "services.1", "1"),  # type: ignore[dict-item]
        (lambda: from_services({"a": {"budget": {"dya": 1}}}), "services.a.budget.dya", "day"),
        (lambda: from_services({"a": {"budget": {"day": 1}}}, store="redis://localhost"), "egressor.ledger", None),
        (lambda: from_services({"a": {"breaker": None}}), "services.a.breaker", None),
    ],
)  # fmt: skip
def test_wrong_services_from_python(build: Callable[[], object], key: str, nearest: str | None) -> None:
    """
    Tables from Python are read like a file: with the key and the nearest name, without a line.
    """
    with pytest.raises(ConfigError) as caught:
        build()

    assert (caught.value.key, caught.value.nearest, caught.value.line) == (key, nearest, None)


@pytest.mark.parametrize(
    ("given", "name", "expected"),
    [
        ({"timezone": "Europe/Berlin"}, "timezone", "Europe/Berlin"),
        ({"base_url": "HTTP://x.com:8080/v1//"}, "base_url", "HTTP://x.com:8080/v1"),
        ({"base_url": "http://[::1]:80"}, "base_url", "http://[::1]:80"),
        ({"base_url": None}, "base_url", None),
        ({"priority": "critical"}, "priority", Priority.CRITICAL),
        ({"max_concurrency": False}, "max_concurrency", None),
        ({"type": "internal_api", "max_concurrency": None}, "max_concurrency", None),
        ({"api_key": Secret(env="KEY")}, "api_key", Secret(env="KEY")),
        ({"max_wait": 3}, "max_wait", 3.0),
        ({"limits": ["1 / day", Limit("2/day")]}, "limits", (Limit("1/day"), Limit("2/day"))),
        ({"budget": BudgetPolicy(day="1.50")}, "budget", BudgetPolicy(day=Decimal("1.5"))),  # type: ignore[arg-type]
    ],
)
def test_values_are_kept_in_their_final_form(given: dict[str, Any], name: str, expected: object) -> None:
    """
    What is accepted in several spellings is kept in one.
    """
    assert getattr(Policy(**given), name) == expected


def test_unset_shows_what_it_is() -> None:
    """
    The constructors' default is legible in signatures.
    """
    assert repr(UNSET) == "UNSET"


@pytest.mark.parametrize(
    ("build", "nearest"),
    [
        (lambda: Policy(limitz=[]), "limits"),  # type: ignore[call-arg]
        (lambda: BreakerPolicy(open_fro=1), "open_for"),  # type: ignore[call-arg]
        (lambda: Policy(nothing_like_it=1), None),  # type: ignore[call-arg]
    ],
)
def test_an_unknown_setting_names_the_nearest(build: Callable[[], object], nearest: str | None) -> None:
    """
    It was a TypeError about the constructor's arguments.
    """
    with pytest.raises(ConfigError) as caught:
        build()

    assert caught.value.nearest == nearest


BOT = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
PASTED = "sk-proj-abcdefghijklmnopqrst1234567890ABCD"


@pytest.mark.parametrize(
    "value",
    [
        Policy(base_url=f"https://api.telegram.org/bot{BOT}"),
        Policy(api_key=Secret(file=PASTED)),
        Secret(file=PASTED),
    ],
)
def test_what_is_shown_holds_no_secret(value: Policy | Secret) -> None:
    """
    Regression: a policy's repr held a bot's token in its URL, and a key that was pasted where its file is asked for.
    """
    shown = f"{value!r} {value}"

    assert (BOT in shown, PASTED in shown, "not shown" in shown) == (False, False, True)
