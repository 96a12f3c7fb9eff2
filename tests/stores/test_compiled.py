"""
What a policy compiles to, and what a changed policy takes over from the one before.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor._core.breaker import BreakerState
from egressor._core.limits import Concurrency, Fixed, Gcra, Sliding
from egressor.errors import ConfigError
from egressor.policies import BanPolicy, BreakerPolicy, Limit, Policy, RetryPolicy, Rule
from egressor.stores.cells import Bank, Places
from egressor.stores.compiled import Compiled, algorithm

SECOND = 1_000_000
NOW = 1_000 * SECOND


def compiled(**settings: Any) -> Compiled:
    """
    Return a compiled policy.
    """
    return Compiled("s", Policy(**settings))


def asked(made: Compiled, cost: dict[str, int] | None = None, **scope: str) -> list[tuple[str, str, int]]:
    """
    Return name, key and units of each entry that a call asks for.
    """
    ask = made.ask(scope=scope, cost={"requests": 1} | (cost or {}), level=1)
    return [(entry.name, entry.key, entry.units) for entry in ask.entries]


@pytest.mark.parametrize(
    ("text", "kind", "numbers"),
    [
        ("20/minute", Sliding, (20, 60 * SECOND, 20)),
        ("20/minute burst 5", Gcra, (20, 60 * SECOND, 5)),
        ("20/minute fixed", Fixed, (20, 60 * SECOND, 20)),
        ("5/3 months fixed", Fixed, (5, 84 * 86_400 * SECOND, 5)),
        ("0.5/second burst 2", Gcra, (1, 2 * SECOND, 2)),
    ],
)
def test_a_limit_reads_as_an_algorithm(text: str, kind: type, numbers: tuple[int, int, int]) -> None:
    """
    A burst makes a bucket, *fixed* windows of the clock, and neither a sliding window.
    """
    made = algorithm(Limit(text), None)

    assert isinstance(made, Gcra | Sliding | Fixed)
    assert (type(made), (made.amount, made.period, made.most)) == (kind, numbers)


def test_seconds_become_microseconds() -> None:
    """
    What is above 0 stays above 0, and probes are lost when their lease ends, not when their time-out does.
    """
    made = compiled(
        timeout=1e-9, max_wait=2.5, age_after=0.25, lease_for=7.0, breaker=BreakerPolicy(), ban=BanPolicy(growth=3.0)
    )

    assert (made.timeout, made.max_wait, made.age) == (1, 2_500_000, 250_000)
    assert (made.breaker.probe_lease, made.ban.probe_lease, made.ban.growth) == (7 * SECOND, 7 * SECOND, 3.0)
    assert made.breaker_cell().state is BreakerState.CLOSED


def test_a_breaker_that_is_not_enabled_never_opens() -> None:
    """
    Its cell is disabled, so that every call passes it in a straight line.
    """
    made = compiled(breaker=BreakerPolicy(enabled=False), retry=RetryPolicy(budget=False))

    assert (made.breaker_cell().state, made.breaker_cell().calm, made.retry_budget) == (
        BreakerState.DISABLED,
        True,
        None,
    )


RULES = (
    Rule(match={"user": "*"}, limits=(Limit("2/minute"),), max_concurrency=1),
    Rule(match={"user": "*", "feature": "*"}, limits=(Limit("3/minute"),)),
    Rule(match={"endpoint": "chat"}, limits=(Limit("9 tokens/minute"),)),
)
SERVICE = [("10/minute", "", 1), ("max_concurrency 4", "", 1)]
OF_U1 = [("user=* 2/minute", "u1", 1), ("user=* max_concurrency 1", "u1", 1)]


@pytest.mark.parametrize(
    ("scope", "cost", "entries"),
    [
        ({}, {}, SERVICE),
        ({"user": "u1"}, {}, SERVICE + OF_U1),
        ({"user": "u1", "feature": "f"}, {}, [*SERVICE, *OF_U1, ("feature=*,user=* 3/minute", "1:f2:u1", 1)]),
        ({"endpoint": "chat"}, {}, SERVICE),
        ({"endpoint": "chat"}, {"tokens": 7}, [*SERVICE, ("endpoint=chat 9 tokens/minute", "", 7)]),
        ({"endpoint": "image"}, {"tokens": 7}, SERVICE),
        ({}, {"requests": 0}, [("10/minute", "", 0), ("max_concurrency 4", "", 1)]),
    ],
)
def test_a_call_asks_what_its_scope_and_cost_say(
    scope: dict[str, str], cost: dict[str, int], entries: list[tuple[str, str, int]]
) -> None:
    """
    Every rule that matches adds its limits; units of nothing are left out, but for requests, which peek.
    """
    assert asked(compiled(limits=("10/minute",), max_concurrency=4, rules=RULES), cost, **scope) == entries


def test_a_call_that_is_not_limited_asks_for_nothing() -> None:
    """
    It keeps its scope and its cost, and asks for nothing after a reload either.
    """
    made = compiled(limits=("10/minute",))
    ask = made.ask(scope={"user": "u"}, cost={"requests": 1}, level=2, limited=False)

    assert (ask.entries, ask.level, ask.scope) == ((), 2, {"user": "u"})
    assert made.remake(ask).entries == ()


@given(
    st.lists(st.text("ab:12", max_size=6), min_size=2, max_size=2),
    st.lists(st.text("ab:12", max_size=6), min_size=2, max_size=2),
)
def test_different_scopes_have_different_cells(one: list[str], two: list[str]) -> None:
    """
    No two pairs of values share a cell, whatever is in them.
    """
    made = compiled(rules=RULES[1:2])
    keys = [asked(made, user=user, feature=feature)[0][1] for user, feature in (one, two)]

    assert (keys[0] == keys[1]) == (one == two)


def test_only_what_is_kept_by_key_has_a_bank() -> None:
    """
    Everybody's limits have one cell, a rule's for each value have many, and places take no room when they are free.
    """
    made = compiled(limits=("10/minute",), rules=RULES)

    kinds = [type(entry.cells) for entry in made.ask(scope={"user": "u"}, cost={"requests": 1}, level=0).entries]
    assert kinds == [dict, Bank, Places]
    assert len(made.banks) == 2


@pytest.mark.parametrize(("limits", "has"), [(("5/minute",), False), (("5/day fixed",), True)])
def test_only_fixed_windows_need_the_wall_clock(limits: tuple[str, ...], *, has: bool) -> None:
    """
    Reading it costs a little on every call.
    """
    assert compiled(limits=limits).has_fixed is has


def test_a_unit_that_nearly_is_one_is_refused() -> None:
    """
    Nothing would count it; one that is like nothing passes.
    """
    made = compiled(limits=("9 tokens/minute",))

    with pytest.raises(ConfigError, match=r"s has no limit of 'token' \(did you mean 'tokens'\?\)"):
        asked(made, {"token": 3})
    assert asked(made, {"images": 3}) == []


# --- reload ----------------------------------------------------------------------------------------------------------


def left_after(old: dict[str, Any], new: dict[str, Any], taken: int, unit: str = "requests") -> list[int]:
    """
    Take *taken* of *unit* under the *old* policy, and return what is left of each limit of the *new* one.
    """
    before, after = compiled(**old), compiled(**new)
    for entry in before.ask(scope={}, cost={unit: taken}, level=0).entries:
        units = 1 if type(entry.limit) is Concurrency else taken
        entry.cells[entry.key] = entry.limit.charge(entry.cells[entry.key], NOW, units)
    after.adopt(before, NOW, 0)
    return [part.limit.left(part.cells[""], NOW) for part in after.service_cells]


@pytest.mark.parametrize(
    ("old", "new", "taken", "left"),
    [
        (["100/minute"], ["150/minute"], 30, [120]),
        (["100/minute"], ["20/minute"], 30, [0]),
        (["100/minute"], ["100/minute"], 30, [70]),
        (["100/minute burst 5"], ["200/minute burst 5"], 0, [5]),
        (["100/minute burst 5"], ["200/minute burst 5"], 3, [2]),
        (["100/minute burst 100"], ["100/minute"], 30, [70]),
        (["100/minute"], ["100/minute fixed"], 30, [70]),
        (["10/minute", "100/hour"], ["20/hour", "10/minute"], 8, [12, 2]),
        (["10/minute", "100/hour"], ["10/minute"], 8, [2]),
        (["10/minute"], ["10/minute", "50/hour"], 8, [2, 50]),
        (["10 tokens/minute"], ["10/minute"], 0, [10]),
    ],
)
def test_what_was_taken_stays_taken(old: list[str], new: list[str], taken: int, left: list[int]) -> None:
    """
    Gubernator's live change of a limit (100 → 150 leaves 50 more, 100 → 20 leaves none), for every kind: first by
    name, then by unit; what is new starts full.
    """
    assert left_after({"limits": old}, {"limits": new}, taken) == left


def test_places_stay_held_however_many_there_are() -> None:
    """
    They are given back to the new policy by leases of the old one, as both share the cell.
    """
    before, after = compiled(max_concurrency=5), compiled(max_concurrency=2)
    cells = before.service_cells[0].cells
    after.adopt(before, NOW, 0)

    assert after.service_cells[0].cells is cells
    assert after.service_cells[0].limit.amount == 2


def test_a_unit_called_places_is_no_place() -> None:
    """
    A limit of a unit that is named like ours lends its cell to no concurrency, nor the other way round.
    """
    assert left_after({"limits": ["5 places/minute"]}, {"max_concurrency": 3}, 2, "places") == [3]
    assert left_after({"max_concurrency": 3}, {"limits": ["5 places/minute"]}, 1, "places") == [5]


def test_cells_of_a_rule_are_taken_over_by_key() -> None:
    """
    Each user's count goes on; a rule that is new begins with none.
    """
    before = compiled(rules=RULES[:1])
    after = compiled(rules=(Rule(match={"user": "*"}, limits=(Limit("5/minute"),)), RULES[1]))
    entry = before.ask(scope={"user": "u1"}, cost={"requests": 1}, level=0).entries[0]
    entry.cells["u1"] = entry.limit.charge(0, NOW, 2)
    after.adopt(before, NOW, 0)

    left = {
        (entry.name, user): entry.limit.left(entry.cells[entry.key], NOW)
        for user in ("u1", "u2")
        for entry in after.ask(scope={"user": user, "feature": "f"}, cost={"requests": 1}, level=0).entries
    }

    new = "feature=*,user=* 3/minute"
    assert left == {("user=* 5/minute", "u1"): 3, ("user=* 5/minute", "u2"): 5, (new, "u1"): 3, (new, "u2"): 3}


def test_a_waiting_call_is_remade_whatever_the_units_are_called_now() -> None:
    """
    A reload that renames a unit refuses nobody: what no limit counts any more is not counted.
    """
    before, after = compiled(limits=("9 tokens/minute",)), compiled(limits=("9 output_tokens/minute",))
    ask = before.ask(scope={}, cost={"requests": 1, "tokens": 3}, level=0)

    assert (after.remake(ask).entries, after.remake(ask).cost) == ((), {"requests": 1, "tokens": 3})
