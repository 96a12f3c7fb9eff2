"""
Where entries wait while the ledger is away: files of JSON lines, each line on the disk before anybody counts on it.

Each process writes a file of its own and holds its lock; whoever finds a file that nobody holds (its writer has died or
ended) brings it home and removes it. A line is written whole or cut off again; half a line at the end of a dead
process's file was never counted on, and is passed over. Since entries have ids, it does no harm that a file is replayed
by two, or again after a crash between the ledger's yes and the file's end: each entry stands in the ledger once.

*Bounded.* All files of a folder together take no more than a number of bytes; what doesn't fit is refused, and whoever
asked counts it.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from egressor._host.lock import hold

from .entry import Entry, as_line, from_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["Spool"]

_MOST = 64 * 1024 * 1024
_CHUNK = 500
_SUFFIX = ".jsonl"


class Spool:
    """
    The spool of one process. It is used by one thread at a time.

    Args:
        folder: Where the files are; made when it is needed, for this user only.
        most: Bytes of all files together. Default: 64 MiB, some 200,000 entries.

    Attributes:
        count: Entries that wait in this process's file.
        broken: Lines found that are no entries; their files are kept beside, as ``.bad``.
    """

    def __init__(self, folder: Path, *, most: int = _MOST) -> None:
        self.folder = folder
        self.count = 0
        self.broken = 0
        self._most = most
        self._path: Path | None = None
        self._descriptor = -1
        self._good = 0

    def put(self, entries: Sequence[Entry]) -> None:
        """
        Keep *entries*, all or none; they are on the disk when this returns.

        Raises:
            OSError: They can't be kept: the disk or the spool is full.
        """
        data = "".join(as_line(entry) + "\n" for entry in entries).encode()
        size = sum(_size(path) for path in self._files())
        if size + len(data) > self._most:
            msg = f"the spool holds {size} bytes of at most {self._most}"
            raise OSError(msg)
        if self._descriptor < 0:
            self._begin()
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]
            os.fsync(self._descriptor)
        except OSError:
            self._cut()
            raise
        self._good += len(data)
        self.count += len(entries)

    def waiting(self) -> list[Entry]:
        """
        Return the entries of all files, those of other processes, too.
        """
        found: list[Entry] = []
        for path in self._files():
            with suppress(OSError):
                found += _read(path)[0]
        return found

    def is_empty(self) -> bool:
        """
        Whether nothing waits in this process's file, nor in one that nobody holds.
        """
        return not self.count and not self._orphans()

    def replay(self, append: Callable[[Sequence[Entry]], int]) -> int:
        """
        Hand what waits to *append*, remove it, and return how many entries were new.

        Whatever *append* raises ends it; nothing is removed that has not been handed over. A file that can't be read
        now (too many open files, an ill disk) is left for the next time.
        """
        new = 0
        for path in self._orphans():
            # Held meanwhile, so that two don't do the same work.
            descriptor = _opened(path)
            if descriptor is None:
                continue
            try:
                found = self._bring(path, append) if hold(descriptor) else None
                if found is not None:
                    new += found
                    self._remove(path)
            finally:
                os.close(descriptor)
        if self._path is not None:
            found = self._bring(self._path, append)
            if found is not None:
                new += found
                self._end()
        return new

    def close(self) -> None:
        """
        Let go of this process's file; what waits in it is for whoever comes next.
        """
        if self._descriptor >= 0:
            if not self.count and self._path is not None:
                self._remove(self._path)
            self.leave()

    def leave(self) -> None:
        """
        Leave the file as it is, to the parent or to whoever finds it, and begin another when there is need.
        """
        if self._descriptor >= 0:
            # In a child, the lock stays the parent's until that closes the file, too.
            os.close(self._descriptor)
        self._descriptor, self._path, self._good, self.count = -1, None, 0, 0

    def _begin(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.folder / f"{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
        # Under another name until it is locked: nobody may take it for a dead process's.
        fresh = path.with_suffix(".new")
        self._descriptor = os.open(fresh, flags, 0o600)
        hold(self._descriptor)
        fresh.replace(path)
        _sync(self.folder)
        self._path = path

    def _cut(self) -> None:
        """
        Take back half a line; where not even that is possible, nothing is written behind it.
        """
        try:
            os.ftruncate(self._descriptor, self._good)
        except OSError:
            self.leave()

    def _end(self) -> None:
        self.count = 0
        self.close()

    def _bring(self, path: Path, append: Callable[[Sequence[Entry]], int]) -> int | None:
        """
        Hand over what is in *path*, and return how much of it was new; None if it can't be read now.
        """
        try:
            entries, broken = _read(path)
        except OSError:
            return None
        new = sum(append(entries[at : at + _CHUNK]) for at in range(0, len(entries), _CHUNK))
        if broken:
            self.broken += broken
            with suppress(OSError):
                path.with_suffix(".bad").hardlink_to(path)
        return new

    def _files(self) -> list[Path]:
        try:
            return sorted(path for path in self.folder.iterdir() if path.suffix == _SUFFIX)
        except OSError:
            return []

    def _orphans(self) -> list[Path]:
        return [path for path in self._files() if path != self._path and _is_free(path)]

    def _remove(self, path: Path) -> None:
        with suppress(OSError):
            path.unlink()
            _sync(self.folder)


def _read(path: Path) -> tuple[list[Entry], int]:
    """
    Return the entries of *path*, and how many of its lines are none. A file that is gone has no lines.

    Raises:
        OSError: It is there, and can't be read now.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return [], 0
    found, broken = [], 0
    for line in lines[:-1]:  # What follows the last end of line was never counted on.
        try:
            found.append(from_line(line.decode()))
        except ValueError:
            broken += 1
    return found, broken


def _opened(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return None


def _is_free(path: Path) -> bool:
    descriptor = _opened(path)
    if descriptor is None:
        return False
    try:
        return hold(descriptor)
    finally:
        os.close(descriptor)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _sync(folder: Path) -> None:
    """
    See that a file's name is on the disk, too.
    """
    with suppress(OSError):  # Windows has no such thing as an open folder.
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
