"""
A policy, compiled: seconds to microseconds, limits to algorithms with their cells, rules to banks.

`Compiled.ask` turns a call's scope and cost into the entries that admission decides on. Whatever does not depend on
the call is made once; the governor keeps asks that have no scope, so the usual call makes none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from egressor._core.admission import ONE_REQUEST, PLACES, REQUESTS, Ask, Entry, Laid, lay
from egressor._core.ban import BanSpec
from egressor._core.breaker import BreakerCell, BreakerSpec, disable
from egressor._core.limits import Algorithm, Concurrency, Fixed, Gcra, Sliding
from egressor._core.tokens import TOKENS
from egressor.errors import ConfigError
from egressor.policies.parts import microseconds

from .cells import Allotted, Bank, Places

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from egressor.policies import Limit, Policy

__all__ = ["Cells", "Compiled", "algorithm"]

_MICRO = 1_000_000


class Cells(NamedTuple):
    """
    A limit, and its cells.

    Attributes:
        limit: The algorithm.
        cells: The cells, by key.
        name: The limit as users write it.
        unit: What it counts.
    """

    limit: Algorithm
    cells: Allotted | Bank | Places | dict[str, int]
    name: str
    unit: str


class _Ruled(NamedTuple):
    name: str
    match: Mapping[str, str]
    parts: list[Cells]
    wild: tuple[str, ...]
    # The key of the only thing that it matches, if that may be anything: most rules are for each user, say.
    each: str | None


class Compiled:
    """
    One service's policy, ready to decide with.

    Args:
        name: The service.
        policy: Its policy.
        alter: Makes of each limit what stands for it here; None leaves it.

    Attributes:
        tokens: Units of its limits in which a language model's tokens are counted.
    """

    def __init__(self, name: str, policy: Policy, *, alter: Callable[[Algorithm], Algorithm] | None = None) -> None:
        self.name = name
        self.policy = policy
        self.alter = alter
        self.queue_size = policy.queue_size
        self.age = microseconds(policy.age_after)
        self.max_wait = microseconds(policy.max_wait)
        self.timeout = microseconds(policy.timeout)
        self.learns = policy.learn != "off"
        self.amounts = {(limit.unit, limit.period_us): limit.amount for limit in policy.limits}
        self.retry = policy.retry.spec()
        self.retry_budget = policy.retry.budget_spec()
        self.breaker = policy.breaker.spec(lease_for=policy.lease_for) or _NO_BREAKER
        self.ban = BanSpec(
            suspend_for=microseconds(policy.ban.suspend_for),
            challenge_for=microseconds(policy.ban.challenge_for),
            max_suspend_for=microseconds(policy.ban.max_suspend_for),
            growth=policy.ban.growth,
            probe_lease=microseconds(policy.lease_for),
        )
        zone = None if policy.timezone == "UTC" else ZoneInfo(policy.timezone)
        self.service_cells = _parts(policy.limits, policy.max_concurrency, zone, alter, prefix="", is_wild=False)
        self._rules = tuple(
            _Ruled(
                rule.name,
                rule.match,
                _parts(
                    rule.limits,
                    rule.max_concurrency,
                    zone,
                    alter,
                    prefix=f"{rule.name} ",
                    is_wild="*" in rule.match.values(),
                ),
                tuple(key for key, value in rule.match.items() if value == "*"),
                next(iter(rule.match)) if list(rule.match.values()) == ["*"] else None,
            )
            for rule in policy.rules
        )
        self.has_budgets = policy.has_budgets
        self.has_priorities = any(rule.priority is not None for rule in policy.rules)
        every = [*self.service_cells, *(part for rule in self._rules for part in rule.parts)]
        self._units = frozenset(part.unit for part in every)
        self.tokens = self._units & TOKENS
        self.has_fixed = any(type(part.limit) is Fixed for part in every)
        self.is_exact = any(part.limit.is_exact for part in every)
        self._lay_out()

    def _lay_out(self) -> None:
        # For calls of one request, which most are.
        self._laid = lay(_wanted([_entry(part, "", ONE_REQUEST) for part in self.service_cells]))
        self._laid_rules = [
            lay(_wanted([_entry(part, "", ONE_REQUEST) for part in rule.parts])) for rule in self._rules
        ]

    @property
    def parts(self) -> list[Cells]:
        """
        All limits, in the order of the policy.
        """
        return [*self.service_cells, *(part for rule in self._rules for part in rule.parts)]

    def share_places(self, old: Compiled) -> None:
        """
        Let places be counted in the very cells of *old*, which is of the same policy.
        """
        _share_places(self.service_cells, old.service_cells)
        for rule, before in zip(self._rules, old._rules, strict=True):
            _share_places(rule.parts, before.parts)
        self._lay_out()

    @property
    def banks(self) -> list[Bank]:
        """
        The cells that are kept by key, and forgotten when idle.
        """
        return [part.cells for rule in self._rules for part in rule.parts if isinstance(part.cells, Bank)]

    def breaker_cell(self) -> BreakerCell:
        """
        Return a fresh breaker.
        """
        cell = BreakerCell()
        if self.breaker is _NO_BREAKER:
            disable(cell)
        return cell

    def ask(self, *, scope: Mapping[str, str], cost: Mapping[str, int], level: int, limited: bool = True) -> Ask:
        """
        Return what a call of *scope* and *cost* asks for; nothing if it is not *limited*.

        Entries of no units are left out, except those that count requests: a call of no requests peeks.
        """
        if limited and (cost is ONE_REQUEST or cost == ONE_REQUEST):
            return Ask.laid(self._one_request(scope), self._spelled, level, self, scope, cost)
        if not self._units.issuperset(cost):
            self.check_units(cost)
        return self._ask(scope, cost, level, limited=limited)

    def _one_request(self, scope: Mapping[str, str]) -> Laid:
        """
        Return what a call of *scope* and one request asks for, laid out.
        """
        laid = self._laid
        if not self._rules:
            return laid
        buckets, slides, holds, others = laid
        for rule, (some, more, few, rest) in zip(self._rules, self._laid_rules, strict=True):
            if rule.each is not None:
                key = scope.get(rule.each)
                if key is None:
                    continue
            elif _matches(rule.match, scope):
                key = _key([scope[name] for name in rule.wild])
            else:
                continue
            # Every step begins with its cells and their key, and the rest of it does not depend on the key.
            # One by one: a comprehension costs more than the one or two that there are.
            for cells, _, cost, span in some:
                buckets += ((cells, key, cost, span),)
            for step in more:
                slides += ((step[0], key, *step[2:]),)
            for cells, _, units, most in few:
                holds += ((cells, key, units, most),)
            for cells, _, units, decide in rest:
                others += ((cells, key, units, decide),)
        return buckets, slides, holds, others

    def rooms(self, scope: Mapping[str, str], units: frozenset[str]) -> dict[str, int]:
        """
        Return what limits hold at once that apply to a call of *scope*, the least for each of *units* that has any.
        """
        rooms: dict[str, int] = {}
        for entry in self._all_entries(scope, {}):
            if entry.unit in units:
                rooms[entry.unit] = min(rooms.get(entry.unit, entry.limit.most), entry.limit.most)
        return rooms

    def every(self, ask: Ask) -> list[Entry]:
        """
        Return the entries of *ask*, and those of limits that apply to it and of which it takes nothing yet.
        """
        entries = list(ask.entries)
        if ask.limited:
            known = {(entry.name, entry.key) for entry in entries}
            nothing = self._all_entries(ask.scope, {REQUESTS: 0})
            entries += [entry for entry in nothing if (entry.name, entry.key) not in known]
        return entries

    def _spelled(self, ask: Ask) -> tuple[Entry, ...]:
        return self._entries(ask.scope, ask.cost)

    def _entries(self, scope: Mapping[str, str], cost: Mapping[str, int]) -> tuple[Entry, ...]:
        return _wanted(self._all_entries(scope, cost))

    def _all_entries(self, scope: Mapping[str, str], cost: Mapping[str, int]) -> list[Entry]:
        entries = [_entry(part, "", cost) for part in self.service_cells]
        for rule in self._rules:
            if _matches(rule.match, scope):
                key = _key([scope[name] for name in rule.wild])
                entries += [_entry(part, key, cost) for part in rule.parts]
        return entries

    def _ask(self, scope: Mapping[str, str], cost: Mapping[str, int], level: int, *, limited: bool) -> Ask:
        entries = self._entries(scope, cost) if limited else ()
        return Ask(entries, level=level, compiled=self, scope=scope, cost=cost, limited=limited)

    def check_units(self, cost: Mapping[str, int]) -> None:
        """
        Refuse a unit that looks like a slip of one that a limit counts: nothing would count it.

        A unit that nothing is like passes: a call may state its tokens where no limit counts any.

        Raises:
            ConfigError: There is such a unit.
        """
        for unit in sorted(set(cost) - self._units - {REQUESTS}):
            from difflib import get_close_matches

            nearest = next(iter(get_close_matches(unit, self._units, n=1)), None)
            if nearest is not None:
                msg = f"{self.name} has no limit of {unit!r}"
                raise ConfigError(msg, key="cost", nearest=nearest)

    def remake(self, ask: Ask) -> Ask:
        """
        Return *ask*, which was made from another policy, as this one has it.
        """
        # Its units were checked when it was made: a call that waits is not refused for a name that has changed since.
        return self._ask(ask.scope, ask.cost, ask.level, limited=ask.limited)

    def adopt(self, old: Compiled, now: int, skew: int) -> None:
        """
        Take over the cells of *old*: by name, then by place for limits of the same unit.

        Places held are carried over as they are. Of a limit that has changed, as much counts as taken as was.
        """
        _adopt(self.service_cells, old.service_cells, now, skew)
        before = {rule.name: rule for rule in old._rules}
        for rule in self._rules:
            if rule.name in before:
                _adopt(rule.parts, before[rule.name].parts, now, skew)
        self._lay_out()

    def in_child(self) -> Compiled:
        """
        Return this policy for a forked child: with the same cells, but nothing held by threads that it does not have.
        """
        child = Compiled(self.name, self.policy, alter=self.alter)
        _share(child.service_cells, self.service_cells)
        for rule, own in zip(child._rules, self._rules, strict=True):
            _share(rule.parts, own.parts)
        child._lay_out()
        return child


_NO_BREAKER = BreakerSpec(
    consecutive=0,
    failure_rate=None,
    slow_rate=None,
    slow_call=1 << 62,
    window=10 * _MICRO,
    min_calls=1,
    open_for=_MICRO,
    max_open_for=_MICRO,
    growth=1.0,
    probes=1,
    probe_lease=_MICRO,
    shadow=False,
)


def algorithm(limit: Limit, zone: ZoneInfo | None) -> Algorithm:
    """
    Return the algorithm that *limit* reads as.
    """
    if limit.fixed:
        is_month = limit.period_name == "month"
        return Fixed(amount=limit.amount, period=limit.period_us, month=is_month, count=limit.count, zone=zone)
    if limit.burst is not None:
        return Gcra(amount=limit.amount, period=limit.period_us, burst=limit.burst)
    return Sliding(amount=limit.amount, period=limit.period_us)


def _parts(
    limits: tuple[Limit, ...],
    max_concurrency: int | None,
    zone: ZoneInfo | None,
    alter: Callable[[Algorithm], Algorithm] | None,
    *,
    prefix: str,
    is_wild: bool,
) -> list[Cells]:
    parts = []
    alter = alter or _as_it_is
    for limit in limits:
        rate = alter(algorithm(limit, zone))
        cells: Bank | dict[str, int] = Bank(horizon=rate.horizon) if is_wild else {"": 0}
        parts.append(Cells(rate, cells, f"{prefix}{limit}", limit.unit))
    if max_concurrency is not None:
        held = alter(Concurrency(amount=max_concurrency))
        places: Allotted | Places | dict[str, int] = Places() if is_wild else {"": 0}
        if held.most < held.amount:
            places = Allotted()
        parts.append(Cells(held, places, f"{prefix}max_concurrency {max_concurrency}", PLACES))
    return parts


def _as_it_is(limit: Algorithm) -> Algorithm:
    return limit


def _wanted(entries: list[Entry]) -> tuple[Entry, ...]:
    return tuple([entry for entry in entries if entry.units or entry.unit == REQUESTS])


def _matches(match: Mapping[str, str], scope: Mapping[str, str]) -> bool:
    for key, wanted in match.items():
        value = scope.get(key)
        if value is None or wanted not in ("*", value):
            return False
    return True


def _key(values: list[str]) -> str:
    # One value is its own key, so that a million users' names are not copied; several are told apart by their lengths.
    return values[0] if len(values) == 1 else "".join([f"{len(value)}:{value}" for value in values])


def _entry(part: Cells, key: str, cost: Mapping[str, int]) -> Entry:
    units = 1 if type(part.limit) is Concurrency else cost.get(part.unit, 0)
    return Entry(part.cells, key, units, part.limit, part.name, part.unit)  # type: ignore[arg-type]


def _adopt(parts: list[Cells], old: list[Cells], now: int, skew: int) -> None:
    left = list(old)
    changed = []
    for index, part in enumerate(parts):
        same = next((each for each in left if _is_same(each, part)), None)
        if same is None:
            changed.append(part)
            continue
        left.remove(same)
        # The very container, so that leases granted under the old policy give their places back to the new one.
        parts[index] = part._replace(cells=same.cells)
    for part in changed:
        found = next((each for each in left if each.unit == part.unit and type(each.limit) is not Concurrency), None)
        if found is None or type(part.limit) is Concurrency:
            continue
        left.remove(found)
        for key, cell in found.cells.items():
            taken = max(0, found.limit.most - found.limit.left(cell, now, skew))
            part.cells[key] = part.limit.charge(0, now, taken, skew)


def _share(parts: list[Cells], old: list[Cells]) -> None:
    for index, (part, own) in enumerate(zip(parts, old, strict=True)):
        if type(part.limit) is not Concurrency:
            parts[index] = part._replace(cells=own.cells)


def _share_places(parts: list[Cells], old: list[Cells]) -> None:
    for index, (part, own) in enumerate(zip(parts, old, strict=True)):
        if type(part.limit) is Concurrency:
            parts[index] = part._replace(cells=own.cells)


def _is_same(old: Cells, new: Cells) -> bool:
    # However many places there are now, those that are held stay held.
    return old.name == new.name or (type(old.limit) is Concurrency and type(new.limit) is Concurrency)
