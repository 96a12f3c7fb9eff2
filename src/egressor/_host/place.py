"""
Whether a place on the disk is one for a file of ours.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

__all__ = ["file_system", "is_remote", "trouble"]

# File systems that several hosts mount: locks and shared memory don't reach from one to the other.
_REMOTE = frozenset({"9p", "afs", "ceph", "cifs", "coda", "gfs2", "glusterfs", "lustre", "ncpfs"})
_NETWORK = _REMOTE | {"nfs", "nfs4", "ocfs2", "smb3", "smbfs"}


def trouble(path: Path, *, mounts: Path = Path("/proc/self/mountinfo")) -> tuple[str, str]:
    """
    Say what is wrong with *path* as a place for a file that processes of one host share.

    Args:
        path: The file; it need not be there.
        mounts: Where the system tells what is mounted.

    Returns:
        Why it must not be used, and why it had better not be; each empty if there is nothing to say.
    """
    refusal = _refusal(path, mounts)
    return refusal, "" if refusal else _doubt(path, mounts)


def is_remote(path: Path, *, mounts: Path = Path("/proc/self/mountinfo")) -> bool:
    """
    Tell whether several hosts may have mounted the file system that *path* is on.
    """
    return file_system(path, mounts) in _NETWORK


def file_system(path: Path, mounts: Path) -> str:
    """
    Return the kind of file system that *path* is on; empty where the system tells none.
    """
    with suppress(OSError):
        real = os.path.realpath(path.parent)
        best, kind = "", ""
        for line in mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            before, _, after = line.partition(" - ")
            point = before.split(" ")[4].replace("\\040", " ")
            inside = real == point or real.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= len(best):
                best, kind = point, after.split(" ")[0]
        return kind
    return ""


def _refusal(path: Path, mounts: Path) -> str:
    try:
        folder = path.parent.stat()
    except OSError:
        return f"the folder of {path.name} is not there, or may not be looked into"
    if folder.st_mode & stat.S_IWOTH and not folder.st_mode & stat.S_ISVTX:
        return f"anybody may replace {path.name}: its folder has mode {stat.S_IMODE(folder.st_mode):o}"
    kind = file_system(path, mounts)
    if kind in _NETWORK:
        return f"{path.name} is on a network's file system ({kind}), where locks don't hold: name a local folder"
    try:
        found = path.lstat()
    except OSError:
        return ""
    if not stat.S_ISREG(found.st_mode):
        what = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "no file"
        return f"{path.name} is {what}: name a file"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others may write {path.name}, which has mode {stat.S_IMODE(found.st_mode):o}: make it 600"
    return ""


def _doubt(path: Path, mounts: Path) -> str:
    kind = file_system(path, mounts)
    if kind.startswith("fuse") or kind == "virtiofs":
        return f"{path.name} is on {kind}, whose locks may not hold"
    with suppress(OSError):
        mode = stat.S_IMODE(path.lstat().st_mode)
        if mode & (stat.S_IRGRP | stat.S_IROTH):
            return f"others may read {path.name}, which has mode {mode:o}"
    return ""
