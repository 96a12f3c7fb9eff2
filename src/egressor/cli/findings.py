"""
What `doctor` finds, judged: a fact, how bad it is, and one sentence of what to do.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from egressor._core.tokens import TOKENS
from egressor._host.place import trouble
from egressor.errors import ConfigError
from egressor.governor.money import PRICED

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from egressor.policies import Config

__all__ = [
    "BAD",
    "OK",
    "WARN",
    "Finding",
    "about_files",
    "about_server",
    "about_sqlite",
    "uncounted",
    "unpriced",
]

OK, WARN, BAD = "ok", "warn", "bad"
_WITHDRAWN = (3, 52, 0)
_MENDED = (3, 51, 3)
# The same correction in older lines: https://sqlite.org/wal.html#walresetbug
_BACKPORTS = ((3, 50, 7), (3, 44, 6))
_LITTLE = 64 << 20
_NOTHING = 4 << 20
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
# Below that a script may not read the time and write: its effects are not what is replicated.
_OLDEST_REDIS = 5
_FULL = 0.9
_OFF_MS = 1_000.0


def unpriced(config: Config) -> list[ConfigError]:
    """
    Return what bounds money or models of services whose requests nobody can read: unless each call says what it costs,
    or which model it is for, it is refused, or falls under no rule.
    """
    found = []
    for name, policy in config.services.items():
        if policy.base_url is None or policy.dialect in PRICED:
            continue
        where, dialect = f"services.{name}", policy.dialect
        budgets = {f"{where}.rules[{place}].budget": rule.budget for place, rule in enumerate(policy.rules)}
        text = f"requests of the dialect {dialect} have no price: those that don't state their cost are refused"
        text += '; name the dialect that the service speaks, as dialect = "openai"'
        found += [
            ConfigError(text, key=key)
            for key, budget in {f"{where}.budget": policy.budget, **budgets}.items()
            if budget is not None and budget.is_bound
        ]
        text = f"of requests of the dialect {dialect} nobody reads the model: no request falls under this by itself"
        found += [
            ConfigError(text, key=f"{where}.rules[{place}].match.model")
            for place, rule in enumerate(policy.rules)
            if "model" in rule.match
        ]
    return found


class Finding(NamedTuple):
    """
    One thing that was looked at.

    Attributes:
        what: The thing.
        level: ``ok``, ``warn`` (works, and may disappoint) or ``bad`` (doesn't work, or doesn't hold what it promises).
        text: How it is, and what to do.
    """

    what: str
    level: str
    text: str


def uncounted(config: Config) -> list[str]:
    """
    Return which limits nobody keeps unless calls say what they take of them; the gateway's never do.
    """
    found = []
    for name, policy in config.services.items():
        limits = [*policy.limits, *(limit for rule in policy.rules for limit in rule.limits)]
        found += [
            f"{name}: {str(limit)!r} holds only for calls that state their cost in {limit.unit}; "
            f"the gateway counts requests and tokens"
            for limit in limits
            if limit.unit != "requests" and limit.unit not in TOKENS
        ]
    return found


def about_sqlite(version: tuple[int, ...]) -> Finding:
    """
    Say what the *version* of the SQLite library means.
    """
    said = ".".join(map(str, version))
    if version == _WITHDRAWN:
        return Finding("sqlite", WARN, f"{said} was withdrawn by its authors: install another one")
    if version >= _MENDED or any(version[:2] == each[:2] and version >= each for each in _BACKPORTS):
        return Finding("sqlite", OK, f"{said}; one lock stands before every write all the same")
    text = (
        f"{said} can lose pages that two connections write to a WAL at once (mended in 3.51.3): here one lock stands "
        f"before every write and checkpoint, so let no other program write our files"
    )
    return Finding("sqlite", OK, text)


def about_files(what: str, path: Path) -> list[Finding]:
    """
    Say how *path*, and what lies beside it, is as a file that processes of this user share.
    """
    refusal, doubt = trouble(path)
    if refusal:
        return [Finding(what, BAD, refusal)]
    found = [Finding(what, WARN, doubt)] if doubt else []
    beside = sorted(path.parent.glob(f"{path.name}*"))
    aside = [each for each in beside if re.fullmatch(r".*\.corrupt-[0-9TZ]+", each.name)]
    if aside:
        text = f"{len(aside)} damaged files were set aside ({aside[-1].name}): look after the disk, then remove them"
        found.append(Finding(what, WARN, text))
    open_ones = [each.name for each in beside if each != path and _mode(each) & _OTHERS]
    if open_ones:
        found.append(Finding(what, WARN, f"others may open {', '.join(open_ones)}: chmod 600"))
    found += _about_folder(what, path.parent)
    if found:
        return found
    if not path.exists():
        return [Finding(what, OK, f"{path} is not there yet: whoever needs it first makes it")]
    return [Finding(what, OK, f"{path} has mode {_mode(path):o}, and is on this machine's disk")]


def _about_folder(what: str, folder: Path) -> list[Finding]:
    found = []
    if not os.access(folder, os.W_OK | os.X_OK):
        found.append(Finding(what, BAD, f"{folder} can't be written by this user: name another folder"))
    mode = _mode(folder)
    if mode & stat.S_IWGRP and not mode & stat.S_ISVTX:
        found.append(Finding(what, WARN, f"a group may replace files in {folder}, which has mode {mode:o}: chmod g-w"))
    free = shutil.disk_usage(folder).free
    if free < _LITTLE:
        level = BAD if free < _NOTHING else WARN
        found.append(Finding(what, level, f"the disk of {folder} has {free >> 20} MiB left: make room"))
    return found


def _mode(path: Path) -> int:
    with suppress(OSError):
        return stat.S_IMODE(path.lstat().st_mode)
    return 0


def about_server(facts: Mapping[str, str | int | float]) -> list[Finding]:
    """
    Say what the *facts* of a Redis or Valkey server mean (`egressor.stores.redis.RedisStore.facts`).
    """
    return [_version(facts), _role(facts), _memory(facts), _persistence(facts), _clock(facts), _keys(facts)]


def _version(facts: Mapping[str, str | int | float]) -> Finding:
    version = str(facts["version"])
    major = re.match(r"[0-9]+", version)
    said = f"{facts['kind']} {version}, {facts['mode']}"
    if major is not None and int(major[0]) < _OLDEST_REDIS:
        return Finding("server", BAD, f"{said}: its scripts may not write after they read the time; take 5 or newer")
    return Finding("server", OK, said)


def _role(facts: Mapping[str, str | int | float]) -> Finding:
    role = str(facts["role"])
    if role != "master":
        return Finding("role", BAD, f"it is a {role}, which takes no writes: name the master, or sentinels")
    replicas = facts["replicas"]
    if not replicas:
        return Finding("role", OK, "a master without replicas: if it is away, each process goes on with its share")
    text = f"a master with {replicas} replicas: what a failover loses may be granted once more"
    return Finding("role", OK, text)


def _memory(facts: Mapping[str, str | int | float]) -> Finding:
    most, used, policy = int(facts["maxmemory"]), int(facts["used_memory"]), str(facts["maxmemory_policy"])
    if not most:
        return Finding("memory", OK, f"{used >> 20} MiB used, without a bound, so nothing is evicted")
    said = f"{used >> 20} of {most >> 20} MiB used, {policy}"
    if policy != "noeviction":
        # Every key of ours has an end, so the volatile policies take them first.
        text = f"{said}: a key that is evicted is a limit that begins anew; set maxmemory-policy noeviction"
        return Finding("memory", BAD, text)
    if int(facts["evicted_keys"]):
        return Finding("memory", WARN, f"{said}; {facts['evicted_keys']} keys were evicted since it started")
    if used > _FULL * most:
        return Finding("memory", WARN, f"{said}: when it is full the store counts as away; raise maxmemory")
    return Finding("memory", OK, said)


def _persistence(facts: Mapping[str, str | int | float]) -> Finding:
    if int(facts["appendonly"]):
        return Finding("persistence", OK, "appendonly: a restart goes on with what was counted")
    text = (
        "no append-only file: after a restart limits begin anew, or where a snapshot left them; if a day's limit "
        "must not, set appendonly yes"
    )
    return Finding("persistence", WARN, text)


def _clock(facts: Mapping[str, str | int | float]) -> Finding:
    off = float(facts["clock_offset_ms"])
    said = f"the server's is {off:+.0f} ms off this machine's"
    if abs(off) < _OFF_MS:
        return Finding("clock", OK, said)
    return Finding("clock", WARN, f"{said}: windows of fixed limits go by the server's; keep both by NTP")


def _keys(facts: Mapping[str, str | int | float]) -> Finding:
    lasting = int(facts["keys_without_end"])
    if lasting:
        text = f"{lasting} of our keys would stay for ever: somebody has used PERSIST on them, or another version did"
        return Finding("keys", WARN, text)
    return Finding("keys", OK, "all of ours end by themselves")
