"""
What a Redis or Valkey server says of itself, for `egressor doctor`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["facts"]


def facts(info: bytes, stamp: Sequence[bytes], clock: float) -> dict[str, str | int | float]:
    """
    Read the answers to ``INFO`` and ``TIME``; *clock* is this machine's time then, in seconds.

    Returns:
        ``kind`` (redis or valkey), ``version``, ``server_mode``, ``role``, ``replicas``, ``maxmemory`` (bytes, 0 is no
        limit), ``used_memory``, ``maxmemory_policy``, ``evicted_keys``, ``appendonly`` (0 or 1), ``last_save`` (seconds
        since 1970), ``clock_offset_ms`` (its clock less ours).
    """
    said = dict(_lines(info))
    kind = "valkey" if "valkey_version" in said else "redis"
    names = {"server_mode": "redis_mode", "appendonly": "aof_enabled", "last_save": "rdb_last_save_time"}
    found: dict[str, str | int | float] = {
        "kind": kind,
        "version": said.get("valkey_version") or said.get("redis_version", "unknown"),
        "server_mode": said.get("server_mode") or said.get("redis_mode", "unknown"),
        "role": said.get("role", "unknown"),
        "maxmemory_policy": said.get("maxmemory_policy", "unknown"),
    }
    for name in ("maxmemory", "used_memory", "evicted_keys", "appendonly", "last_save"):
        found[name] = int(said.get(names.get(name, name), 0))
    found["replicas"] = int(said.get("connected_slaves", 0))
    found["clock_offset_ms"] = round((int(stamp[0]) + int(stamp[1]) / 1e6 - clock) * 1000, 1)
    return found


def _lines(info: bytes) -> list[tuple[str, str]]:
    lines = info.decode("utf-8", "replace").splitlines()
    return [(name, value) for name, is_there, value in (line.partition(":") for line in lines) if is_there]
