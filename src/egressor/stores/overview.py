"""
The services of a shared store, as they are in all processes together; looked at from outside.

Nothing is written: whoever looks is no member, and takes nobody's share. What is seen is what the members have told the
store: places and waiters at once, counts with the rest. A member that neither waits nor holds anything says nothing,
and after some seconds counts as gone.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from egressor._core.limits import Concurrency
from egressor._core.model import Priority

from . import StoreAway
from .agreed import Agreed
from .compiled import Compiled
from .counts import Counts

if TYPE_CHECKING:
    from egressor._core.fleet_model import Member, State
    from egressor.policies import Config, Policy

    from . import Store
    from .compiled import Cells

__all__ = ["look", "members", "summary"]

_LEVELS = tuple(each.name.lower() for each in Priority)
_NUMBERS = ("in_flight", "admitted", "failed")
# What means something in one process only: its own counts, and times of its own clock.
_LOCAL = ("opened_at", "open_until", "openings_total")


def look(config: Config, store: Store) -> dict[str, dict[str, Any]]:
    """
    Return how each service of *config* is in *store*, as plain values.

    Raises:
        StoreAway: It can't be asked.
    """
    return {name: _service(name, policy, *store.look(name)) for name, policy in sorted(config.services.items())}


def summary(config: Config, store: Store) -> dict[str, Any]:
    """
    Return what all processes together do, in short: ``away``, why it can't be told now, and ``services`` by name, each
    with its ``state``, ``waiting`` by priority, ``in_flight``, and ``members``, how many processes there are.
    """
    try:
        found = look(config, store)
    except StoreAway as error:
        return {"away": str(error), "services": {}}
    names = ("state", "limits", "waiting", *_NUMBERS)
    services = {
        service: {**{name: each[name] for name in names}, "members": len(each["members"])}
        for service, each in found.items()
    }
    return {"away": "", "services": services}


def members(state: State, at: int) -> list[dict[str, Any]]:
    """
    Return who is alive at *at*, the store's time; one that has said that it goes counts no longer.
    """
    return [
        _member(state, name, each, at)
        for name, each in sorted(state.members.items())
        if each.until > at and not _told(each.info).get("gone")
    ]


def _is_alive(state: State, name: str, at: int) -> bool:
    return name in state.members and state.members[name].until > at


def _service(name: str, policy: Policy, state: State, at: int) -> dict[str, Any]:
    compiled = Compiled(name, policy)
    alive = members(state, at)
    return {
        **_standing(compiled, state, at),
        "type": None if policy.type is None else policy.type.value,
        "limits": [_limit(part, state, at) for part in compiled.service_cells],
        "waiting": {level: sum(each["waiting"][level] for each in alive) for level in _LEVELS},
        **{number: sum(each[number] for each in alive) for number in _NUMBERS},
        "members": alive,
    }


def _standing(compiled: Compiled, state: State, at: int) -> dict[str, Any]:
    now = time.monotonic_ns() // 1000
    standing = Agreed(compiled, counts=Counts(), dice=lambda: 0.0)
    if state.standing:
        try:
            standing.load(state.standing, at - now)
        except (ValueError, KeyError, TypeError, IndexError):
            message = f"what it says of {compiled.name} is of another version of Egressor, or damaged"
            raise StoreAway(message) from None
    told: dict[str, Any] = standing.snapshot(now)
    told["breaker"] = {name: value for name, value in told["breaker"].items() if name not in _LOCAL}
    return told


def _limit(part: Cells, state: State, at: int) -> dict[str, Any]:
    limit = part.limit
    if isinstance(limit, Concurrency):
        # The store's name of it doesn't say how many there are: all processes mean the same places.
        held = state.held.get(part.name.rpartition(" ")[0], {})
        left = limit.amount - sum(units for name, units in held.items() if _is_alive(state, name, at))
    else:
        left = limit.left(state.cells.get(part.name, 0), at, time.time_ns() // 1000 - at)
    return {"name": part.name, "unit": part.unit, "limit": limit.most, "left": max(0, left)}


def _member(state: State, name: str, member: Member, at: int) -> dict[str, Any]:
    told = _told(member.info)
    waiting = told.get("waiting")
    waiting = [_count(each) for each in waiting] if isinstance(waiting, list) else []
    if len(waiting) != len(_LEVELS):
        # One that says nothing of itself: the best of each of its lines, and the places that it holds.
        ranks = [row[name].rank.level for row in state.waits.values() if name in row]
        waiting = [ranks.count(level) for level in range(len(_LEVELS))]
        told.setdefault("in_flight", sum(row.get(name, 0) for row in state.held.values()))
    return {
        "name": name,
        "host": str(told.get("host", ""))[:255],
        "pid": _count(told.get("pid")),
        "waiting": dict(zip(_LEVELS, waiting, strict=True)),
        **{number: _count(told.get(number)) for number in _NUMBERS},
        "counts_for_s": (member.until - at) / 1e6,
    }


def _told(info: str) -> dict[str, Any]:
    try:
        told = json.loads(info)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _count(value: object) -> int:
    return value if type(value) is int and value >= 0 else 0
