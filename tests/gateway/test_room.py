"""
How many connections there is room for, as a function of what the system says.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from egressor.gateway.room import bytes_for, group_limit, memory_for

MEGABYTE = 1 << 20
# What version 1 says where there is no limit.
NONE = str((1 << 63) - 4096)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (0, 16),
        (100 * MEGABYTE, 16),
        (128 * MEGABYTE, 64),
        (512 * MEGABYTE, 832),
        (2048 * MEGABYTE, 3904),
        (2144 * MEGABYTE, 4096),
        (1 << 62, 4096),
    ],
)
def test_connections_by_memory(limit: int, expected: int) -> None:
    """
    96 MiB are the process's own, and each connection takes half of one; a few are always tried.
    """
    assert expected == memory_for(4096, limit)


def test_fewer_were_wanted() -> None:
    """
    Memory never makes more of them.
    """
    assert memory_for(5, 0) == 5


@pytest.mark.parametrize(
    ("listed", "files", "expected"),
    [
        pytest.param("0::/", {"memory.max": "512"}, 512, id="a container"),
        pytest.param("0::/", {"memory.max": "max"}, None, id="a container without a limit"),
        pytest.param("0::/a/b", {"a/b/memory.max": "700"}, 700, id="a group"),
        pytest.param("0::/a/b", {"a/b/memory.max": "max", "a/memory.max": "600"}, 600, id="the group above"),
        pytest.param("0::/a", {"a/memory.max": "700", "memory.max": "500"}, 500, id="the least of all"),
        pytest.param("0::/a", {"b/memory.max": "700"}, None, id="another group"),
        pytest.param("0::/../..", {"memory.max": "500"}, 500, id="a group seen from a container"),
        pytest.param("4:memory:/a", {"memory/a/memory.limit_in_bytes": "900"}, 900, id="version 1"),
        pytest.param("4:cpu,memory:/", {"memory/memory.limit_in_bytes": "800"}, 800, id="version 1, several kinds"),
        pytest.param("4:memory:/out/side", {"memory/memory.limit_in_bytes": "800"}, 800, id="version 1, a container"),
        pytest.param("4:memory:/", {"memory/memory.limit_in_bytes": NONE}, int(NONE), id="version 1, no limit"),
        pytest.param("4:cpu:/a", {"cpu/a/memory.limit_in_bytes": "900"}, None, id="another kind of group"),
        pytest.param("4:memory:/\n0::/", {"memory/memory.limit_in_bytes": "9", "memory.max": "8"}, 8, id="both"),
        pytest.param("0::/a:b", {"a:b/memory.max": "300"}, 300, id="a colon in the name"),
        pytest.param("", {"memory.max": "9"}, None, id="no groups"),
        pytest.param("0::/", {"memory.max": "nonsense"}, None, id="nonsense"),
        pytest.param("nonsense", {"memory.max": "9"}, None, id="nonsense in the list"),
    ],
)
def test_the_groups_limit(listed: str, files: dict[str, str], expected: int | None, tmp_path: Path) -> None:
    """
    The least of the limits of this process's group and all above it, in the files of either version.
    """
    mine, groups = tmp_path / "mine", tmp_path / "groups"
    mine.write_text(listed)
    for name, text in files.items():
        (groups / name).parent.mkdir(parents=True, exist_ok=True)
        (groups / name).write_text(text + "\n")

    assert expected == group_limit(mine, groups)


def test_a_system_without_groups(tmp_path: Path) -> None:
    """
    Where nothing tells of groups there is no limit.
    """
    assert group_limit(tmp_path / "mine", tmp_path) is None


@pytest.mark.parametrize(
    ("limits", "least", "most"), [("ulimit -d 131072", 16, 64), ("ulimit -n 64", 1, 12), ("", 65, 500)]
)
def test_a_process_and_its_limits(limits: str, least: int, most: int) -> None:
    """
    The limits of the process itself count: that of its data as that of its files.
    """
    code = "from egressor.gateway.room import room_for\nfrom egressor.policies import Gateway\n"
    program = [sys.executable, "-c", code + "print(room_for(Gateway(max_connections=500)))"]
    done = subprocess.run(
        ["sh", "-c", f'{limits or ":"}; exec "$@"', "sh", *program], capture_output=True, text=True, check=True
    )

    assert least <= int(done.stdout) <= most


@pytest.mark.parametrize(("limit", "expected"), [(0, 0), (96 << 20, 0), (128 << 20, (32 << 20) // 5)])
def test_bodies_have_a_fifth_of_what_is_left(limit: int, expected: int) -> None:
    """
    A body is in memory as often for a moment.
    """
    assert bytes_for(limit) == expected
