"""
What `doctor` makes of facts: a table for each.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from egressor.cli.findings import BAD, OK, WARN, about_files, about_server, about_sqlite

FACTS: dict[str, str | int | float] = {
    "mode": "single",
    "kind": "valkey",
    "version": "8.1.0",
    "role": "master",
    "replicas": 0,
    "maxmemory": 0,
    "used_memory": 3 << 20,
    "maxmemory_policy": "noeviction",
    "evicted_keys": 0,
    "appendonly": 1,
    "last_save": 0,
    "clock_offset_ms": -3.0,
    "keys_without_end": 0,
}


@pytest.mark.parametrize(
    ("version", "level", "words"),
    [
        ((3, 40, 1), OK, "can lose pages"),
        ((3, 51, 2), OK, "can lose pages"),
        ((3, 50, 6), OK, "can lose pages"),
        ((3, 50, 7), OK, "3.50.7; one lock stands before every write"),
        ((3, 44, 6), OK, "3.44.6; one lock"),
        ((3, 45, 9), OK, "can lose pages"),
        ((3, 51, 3), OK, "3.51.3; one lock"),
        ((3, 52, 0), WARN, "withdrawn"),
        ((3, 54, 1), OK, "3.54.1; one lock"),
    ],
)
def test_sqlite(version: tuple[int, ...], level: str, words: str) -> None:
    """
    Each version is told with what it means.
    """
    found = about_sqlite(version)

    assert (found.level, words in found.text) == (level, True)


def test_a_server_that_is_fit() -> None:
    """
    Nothing to say against it.
    """
    found = about_server(FACTS)

    assert [each.what for each in found] == ["server", "role", "memory", "persistence", "clock", "keys"]
    assert {each.level for each in found} == {OK}


@pytest.mark.parametrize(
    ("change", "what", "level", "words"),
    [
        ({"kind": "redis", "version": "4.0.14"}, "server", BAD, "take 5 or newer"),
        ({"kind": "redis", "version": "7.0.15"}, "server", OK, "redis 7.0.15, single"),
        ({"version": "unknown"}, "server", OK, "valkey unknown"),
        ({"role": "slave"}, "role", BAD, "takes no writes"),
        ({"replicas": 2}, "role", OK, "2 replicas"),
        ({"maxmemory": 8 << 20, "maxmemory_policy": "allkeys-lru"}, "memory", BAD, "set maxmemory-policy noeviction"),
        ({"maxmemory": 8 << 20, "maxmemory_policy": "volatile-ttl"}, "memory", BAD, "begins anew"),
        ({"maxmemory": 8 << 20}, "memory", OK, "3 of 8 MiB used, noeviction"),
        ({"maxmemory": 3 << 20}, "memory", WARN, "raise maxmemory"),
        ({"maxmemory": 8 << 20, "evicted_keys": 4}, "memory", WARN, "4 keys were evicted"),
        ({"maxmemory_policy": "allkeys-lru"}, "memory", OK, "nothing is evicted"),
        ({"appendonly": 0}, "persistence", WARN, "appendonly yes"),
        ({"clock_offset_ms": 3_600_000.0}, "clock", WARN, "+3600000 ms"),
        ({"clock_offset_ms": -1_000.0}, "clock", WARN, "-1000 ms"),
        ({"keys_without_end": 7}, "keys", WARN, "7 of our keys"),
    ],
)
def test_a_server(change: dict[str, Any], what: str, level: str, words: str) -> None:
    """
    What is wrong has its level and its sentence, and changes no other finding.
    """
    found = {each.what: each for each in about_server(FACTS | change)}

    assert (found[what].level, words in found[what].text) == (level, True)
    assert {each.level for name, each in found.items() if name != what} == {OK}


def _private(folder: Path) -> Path:
    folder.chmod(0o700)
    path = folder / "x.db"
    path.touch(0o600)
    return path


def test_a_file_that_is_fit(tmp_path: Path) -> None:
    """
    A private file on this machine's disk; and one that is not there yet.
    """
    path = _private(tmp_path)

    assert [(each.level, "has mode 600" in each.text) for each in about_files("store", path)] == [(OK, True)]
    path.unlink()
    assert [(each.level, "not there yet" in each.text) for each in about_files("store", path)] == [(OK, True)]
    assert not path.exists()


@pytest.mark.parametrize(
    ("name", "mode", "level", "words"),
    [
        ("x.db", 0o644, WARN, "others may read"),
        ("x.db", 0o666, BAD, "others may write"),
        ("x.db-wal", 0o640, WARN, "others may open x.db-wal: chmod 600"),
        ("x.db.lock", 0o606, WARN, "others may open x.db.lock"),
        ("x.db.corrupt-20260131T120000", 0o600, WARN, "set aside (x.db.corrupt-20260131T120000)"),
        (".", 0o777, BAD, "anybody may replace x.db"),
        (".", 0o770, WARN, "chmod g-w"),
    ],
)
def test_a_file_that_is_not(tmp_path: Path, name: str, mode: int, level: str, words: str) -> None:
    """
    What others may do to it is told, with the mode that ends that.
    """
    path = _private(tmp_path)
    other = tmp_path / name
    if name != ".":
        other.touch()
    other.chmod(mode)
    [found] = about_files("store", path)

    assert (found.level, words in found.text) == (level, True)


def test_a_link_is_no_file(tmp_path: Path) -> None:
    """
    Whoever may change the link may change which file it is.
    """
    path = _private(tmp_path)
    link = tmp_path / "link.db"
    link.symlink_to(path)

    assert [(each.level, "symbolic link" in each.text) for each in about_files("store", link)] == [(BAD, True)]


def test_no_folder(tmp_path: Path) -> None:
    """
    A folder that isn't there is told before anything is looked for in it.
    """
    found = about_files("store", tmp_path / "none" / "x.db")

    assert [(each.level, "is not there" in each.text) for each in found] == [(BAD, True)]
