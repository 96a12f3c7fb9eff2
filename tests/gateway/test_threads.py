"""
Threads that nobody waits for.
"""

from __future__ import annotations

import asyncio
from threading import Event

import pytest

from egressor.gateway.serving import run
from egressor.gateway.threads import LooseThreads


def test_the_end_waits_for_no_thread() -> None:
    """
    A name server that does not answer holds nothing up.
    """
    never, ended = Event(), []

    async def main() -> None:
        asyncio.get_running_loop().run_in_executor(None, never.wait)

    run(main())
    ended.append(never.is_set())
    never.set()

    assert ended == [False]


def test_what_came_of_it() -> None:
    """
    A value comes back, and an error does.
    """
    threads = LooseThreads()

    assert threads.submit(int, "7").result(10) == 7
    with pytest.raises(ValueError, match="invalid literal"):
        threads.submit(int, "x").result(10)
