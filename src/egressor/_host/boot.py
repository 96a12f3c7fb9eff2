"""
Which boot of this machine it is: what its monotonic clock counts from.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

__all__ = ["boot_id"]


def boot_id() -> str:
    """
    Return a name that no other boot has, or an empty one where the system tells none.

    On Linux a container may have a monotonic clock of its own (a time namespace), and counts as a machine of its own.
    """
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        space = ""
        with suppress(OSError):
            space = str(Path("/proc/self/ns/time").readlink())
        return f"{boot} {space}".strip()
    return ""
