"""
How many connections the system leaves room for: in open files, and in memory.

A program that opens one file too many gets an error; one that takes a page too many is killed, with every call that is
in flight. A container's limit is such a bound, and nothing tells a program when it comes near. So memory is reckoned
with beforehand: a stream whose reader has stopped fills its buffers, and all of them may stop at once.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from egressor.policies import Gateway as Settings

__all__ = ["bodies_for", "bytes_for", "files_for", "group_limit", "memory_for", "room_for"]

# Files that the process needs for itself: the store, the log, the event loop, a name server.
_OWN_FILES = 40
# Bytes that it needs for itself, the stacks of its threads included, and those that a stuck stream takes.
_OWN_MEMORY = 96 << 20
_STREAM = 1 << 19
# As often a body is in memory for a moment: as it came, in characters, in what they say, and with its bound.
_COPIES = 5
# Where there is no room by this reckoning, a few are tried all the same: few streams are ever stuck.
_FEWEST = 16
_GROUPS = Path("/sys/fs/cgroup")
_MINE = Path("/proc/self/cgroup")


def room_for(settings: Settings) -> int:
    """
    Return how many connections this process can bear: as many as *settings* say, or fewer.
    """
    if os.name != "posix":
        return settings.max_connections
    most = files_for(settings.max_connections)
    for limit in _memory(settings):
        most = memory_for(most, limit)
    return most


def bodies_for(settings: Settings) -> int:
    """
    Return how many bytes of bodies this process can keep: as many as *settings* say, or fewer.
    """
    return min([settings.kept_bodies, *[bytes_for(limit) for limit in _memory(settings)]])


def _memory(settings: Settings) -> Iterator[int]:
    """
    Return each limit of this process's memory, in bytes.
    """
    if os.name != "posix":
        return
    import resource

    data, _ = resource.getrlimit(resource.RLIMIT_DATA)
    if data != resource.RLIM_INFINITY:
        yield data
    if (group := group_limit(_MINE, _GROUPS)) is not None:
        # The workers share it, while a process has the other limits for itself.
        yield group // settings.workers


def files_for(most: int) -> int:
    """
    Return how many connections this process has files for: *most*, or fewer where it may open too few.

    Each may need a second one, to its upstream.
    """
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return most
    wanted = 2 * most + _OWN_FILES
    if soft < wanted:
        # As Go's programs do: the soft limit is low for those who use select().
        with suppress(OSError, ValueError):
            fresh = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, fresh), hard))
            soft = max(soft, fresh)
    return max(1, min(most, (soft - _OWN_FILES) // 2))


def memory_for(most: int, limit: int) -> int:
    """
    Return how many connections *limit* bytes of memory are enough for: *most*, or fewer.
    """
    return min(most, max(_FEWEST, (limit - _OWN_MEMORY) // _STREAM))


def bytes_for(limit: int) -> int:
    """
    Return how many bytes of bodies *limit* bytes of memory are enough for.
    """
    return max(0, (limit - _OWN_MEMORY) // _COPIES)


def group_limit(mine: Path, groups: Path) -> int | None:
    """
    Return how many bytes of memory this process's control groups leave it, or None without a limit.

    Args:
        mine: Lists its groups, as Linux does for each process.
        groups: Where the groups are mounted, in the form of either version.
    """
    found: list[int] = []
    with suppress(OSError, ValueError):
        for file in _limits(mine.read_text(encoding="utf-8"), groups):
            # The word "max" is no limit; of version 1's number for none, nobody has the memory.
            with suppress(OSError, ValueError):
                found.append(int(file.read_text(encoding="ascii")))
    return min(found, default=None)


def _limits(listed: str, groups: Path) -> Iterator[Path]:
    """
    Return the files that may hold a limit: a group's own, and those of all above it. In a container the list may name a
    path that is only to be seen outside, and what is mounted is the group itself.
    """
    for line in listed.splitlines():
        _, kinds, path = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        home, name = (groups / "memory", "memory.limit_in_bytes") if kinds else (groups, "memory.max")
        yield home / name
        folder = home
        for part in path.strip("/").split("/"):
            folder /= part
            yield folder / name
