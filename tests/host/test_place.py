"""
Places for files, boots, and bells.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from egressor._host.bell import Bell, ring
from egressor._host.boot import boot_id
from egressor._host.place import file_system, is_remote, trouble

MOUNTS = """\
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/root rw
30 22 0:40 / {folder}/net rw - nfs4 server:/export rw
31 22 0:41 / {folder}/a\\040b rw - cifs //server/share rw
32 22 0:42 / {folder}/user rw - fuse.sshfs host:/ rw
33 30 0:43 / {folder}/net/local rw - tmpfs none rw
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    """
    What a machine has mounted.
    """
    table = tmp_path / "mountinfo"
    for name in ("net/local", "a b", "user", "network"):
        (tmp_path / name).mkdir(parents=True)
    table.write_text(MOUNTS.format(folder=tmp_path))
    return table


@pytest.mark.parametrize(
    ("place", "kind"),
    [("net", "nfs4"), ("net/local", "tmpfs"), ("a b", "cifs"), ("user", "fuse.sshfs"), ("network", "ext4")],
)
def test_the_file_system_is_that_of_the_nearest_mount(place: str, kind: str, mounts: Path, tmp_path: Path) -> None:
    """
    The longest mount point above the file counts, by whole names.
    """
    assert file_system(tmp_path / place / "file", mounts) == kind


@pytest.mark.parametrize(
    ("place", "refusal", "doubt"),
    [
        ("net", "on a network's file system (nfs4)", ""),
        ("a b", "on a network's file system (cifs)", ""),
        ("user", "", "on fuse.sshfs, whose locks may not hold"),
        ("network", "", ""),
    ],
)
def test_a_network_s_file_system_is_no_place(
    place: str, refusal: str, doubt: str, mounts: Path, tmp_path: Path
) -> None:
    """
    Where locks don't reach from host to host the place is refused; where they may not, it is doubted.
    """
    found = trouble(tmp_path / place / "file", mounts=mounts)
    assert is_remote(tmp_path / place / "file", mounts=mounts) == bool(refusal)

    assert [(text in told, bool(told)) for text, told in zip((refusal, doubt), found, strict=True)] == [
        (True, bool(refusal)),
        (True, bool(doubt)),
    ]


def open_to_all(folder: Path) -> None:
    """
    Anybody may put a file there.
    """
    folder.chmod(0o777)


def sticky(folder: Path) -> None:
    """
    Anybody may, but not replace another's.
    """
    folder.chmod(0o1777)


def pipe(folder: Path) -> None:
    """
    What is there is no file.
    """
    os.mkfifo(folder / "file")


def shared(folder: Path) -> None:
    """
    A group may write it.
    """
    (folder / "file").touch()
    (folder / "file").chmod(0o660)


@pytest.mark.parametrize(
    ("make", "refusal"),
    [
        (open_to_all, "anybody may replace file: its folder has mode 777"),
        (sticky, ""),
        (pipe, "file is no file: name a file"),
        (shared, "others may write file, which has mode 660: make it 600"),
        (Path.rmdir, "the folder of file is not there, or may not be looked into"),
    ],
)
def test_a_place_where_others_may_write_is_refused(
    make: Callable[[Path], object], refusal: str, tmp_path: Path
) -> None:
    """
    Neither the file nor its folder may be anybody's.
    """
    folder = tmp_path / "folder"
    folder.mkdir()
    make(folder)

    assert trouble(folder / "file") == (refusal, "")


def test_a_boot_has_one_name(tmp_path: Path) -> None:
    """
    All processes of a boot call it the same.
    """
    program = "from egressor._host.boot import boot_id; print(boot_id())"
    other = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)

    assert (other.stdout.strip(), bool(boot_id())) == (boot_id(), True)


def test_a_bell_that_was_answered_badly_goes_on() -> None:
    """
    An error in whoever is rung for doesn't make it deaf.
    """
    bell, heard, rung = Bell(), [], threading.Semaphore(0)

    def answer(message: bytes) -> None:
        heard.append(message)
        rung.release()
        if message == b"one":
            raise ValueError

    bell.listen(answer)
    for message in (b"one", b"two"):
        ring(bell.address, message)
        assert rung.acquire(timeout=30)
    bell.close()

    assert heard == [b"one", b"two"]


def test_a_bell_s_end_is_nobody_else_s_to_say() -> None:
    """
    The datagram that ends a bell ends it only if it is its own; then its thread and its port are free.
    """
    bell, rung = Bell(), threading.Semaphore(0)
    bell.listen(lambda _: rung.release())
    ring(bell.address, b"\0")
    assert rung.acquire(timeout=30)
    thread = bell._thread
    assert thread is not None
    bell.close()
    thread.join(30)
    host, port = bell.address.split(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind((host, int(port)))

    assert not thread.is_alive()
