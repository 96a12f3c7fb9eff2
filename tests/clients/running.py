"""
Run a client in a process of its own, with the environment that has its version: ``.venv`` for the newest SDKs, and
``.venv-clients``, made by ``scripts/setup clients``, for all others.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

from tests.clients.rows import HERE, Row


async def run(row: Row, said: dict[str, Any]) -> dict[str, Any]:
    """
    Let *row*'s client do what *said* asks for, and return what that came to.
    """
    # What the machine says of proxies and keys is none of the clients' business here.
    clean = {name: value for name, value in os.environ.items() if name in {"PATH", "LANG", "COVERAGE_PROCESS_CONFIG"}}
    process = await asyncio.create_subprocess_exec(
        row.python,
        HERE / "child.py",
        row.name,
        json.dumps(said),
        env=clean,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, trouble = await process.communicate()
    assert process.returncode == 0, trouble.decode()
    # Some clients print lines of their own.
    found: dict[str, Any] = json.loads(next(line for line in output.splitlines() if line.startswith(b'{"')))
    return found
