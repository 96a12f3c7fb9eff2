"""
The run: the services' process, the gateway in this one, the workload, and what happens on the way.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from egressor._core.breaker import BreakerState
from egressor._core.steps import Settle
from egressor.gateway.serving import serve
from egressor.governor import Governor
from egressor.policies import from_table

from . import summary as summaries
from .cast import CYCLE, SCRIPT, configuration
from .journal import read
from .judge import judge
from .workload import Workload

if TYPE_CHECKING:
    from asyncio.subprocess import Process

    from egressor.telemetry import Event

__all__ = ["Outcome", "Stage", "perform"]

_END = 1.5
_REST = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """
    How a run is shown.

    Attributes:
        say: Prints a line of the run.
        paint: Colours a text.
        is_live: Whether a line is renewed each second.
    """

    say: Callable[[str], object]
    paint: summaries.Paint
    is_live: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What a run came to.

    Attributes:
        summary: Its figures.
        held: Whether the promises held.
    """

    summary: dict[str, Any]
    held: bool


async def perform(*, seconds: float | None, port: int, stage: Stage) -> Outcome:
    """
    Run the demo.

    Args:
        seconds: How long; None until Ctrl-C.
        port: The gateway's; 0 takes a free one.
        stage: How it is shown.

    Raises:
        OSError: The port can't be listened on, or the services did not start.
    """
    with tempfile.TemporaryDirectory(prefix="egressor-demo-") as folder:
        journal = Path(folder) / "journal"
        async with _upstreams(journal) as (process, urls):
            gov = Governor(config=from_table(configuration(urls)))
            play = _Play(gov, process, seconds=seconds, stage=stage)
            with _interrupts(play.interrupt):
                await serve(gov, host="127.0.0.1", port=port, ready=play.ready, until=play.run)
        # The journal is complete only now that its writer has ended.
        notes = read(journal)
        findings = judge(notes, play.replies, play.status, charged=play.charged)
        summary = summaries.summarise(notes, play.replies, play.status, closings=play.closings, findings=findings)
    is_held = summaries.held(findings, is_whole=not play.was_stopped and seconds is not None)
    return Outcome({"seconds": seconds, "url": play.url, **summary, "held": is_held}, is_held)


@asynccontextmanager
async def _upstreams(journal: Path) -> AsyncIterator[tuple[Process, dict[str, str]]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "egressor.cli.demos.upstreams",
        str(journal),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        urls = await process.stdout.readline()
        if not urls:
            message = "its services did not start"
            raise OSError(message)
        yield process, json.loads(urls)
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(5.0):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


class _Play:
    """
    One run, from the gateway's first answer to the last.

    Attributes:
        url: The gateway's URL.
        replies: What the workload was answered.
        status: The services' status when all was over.
        charged: What the gateway's ledger has charged, in micro-dollars.
        closings: How often each breaker closed.
        was_stopped: Whether somebody ended it before its time.
    """

    def __init__(self, gov: Governor, process: Process, *, seconds: float | None, stage: Stage) -> None:
        self.url = ""
        self.replies: list[Any] = []
        self.status: dict[str, Any] = {}
        self.charged = 0
        self.closings: Counter[str] = Counter()
        self.was_stopped = False
        self._gov = gov
        self._process = process
        self._seconds = seconds
        self._stage = stage
        self._stop = asyncio.Event()
        gov.tap(self._note)

    def ready(self, url: str) -> None:
        """
        Say where the gateway is.
        """
        self.url = url
        self._stage.say(f"gateway and its page: {url}/-/")
        if self._stage.is_live:
            self._stage.say("each second: the services, with calls served/refused/waiting")
        if self._seconds is None:
            self._stage.say("Ctrl-C ends it with a summary")

    async def run(self) -> None:
        """
        Let the workload run, and the script with it.
        """
        workload = Workload(self.url)
        self.replies = workload.replies
        running = asyncio.create_task(workload.run())
        others = [asyncio.create_task(self._follow_script())]
        if self._stage.is_live:
            others.append(asyncio.create_task(self._keep_showing()))
        with suppress(TimeoutError):
            async with asyncio.timeout(None if self._seconds is None else self._seconds - _END):
                await self._stop.wait()
        workload.stop()
        await running
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        # What was relayed last is settled just after the client has read its end.
        await asyncio.sleep(_REST)
        self.status = await workload.status()
        self.charged = round(Decimal((await workload.costs())["total"]["usd"]) * 1_000_000)
        self._clear()

    def interrupt(self) -> None:
        """
        End the run now, politely.
        """
        self.was_stopped = True
        self._stop.set()

    def _note(self, event: Event) -> None:
        if isinstance(event.step, Settle) and getattr(event.reply, "breaker", None) is BreakerState.CLOSED:
            self.closings[event.service] += 1

    async def _follow_script(self) -> None:
        length = CYCLE if self._seconds is None else self._seconds - _END
        loop = asyncio.get_running_loop()
        started = begin = loop.time()
        while True:
            for share, command, words in SCRIPT:
                await asyncio.sleep(begin + share * length - loop.time())
                self._clear()
                self._stage.say(f"{loop.time() - started:3.0f} s  {words}")
                assert self._process.stdin is not None  # noqa: S101 - it was asked for
                self._process.stdin.write(f"{command}\n".encode())
            if self._seconds is not None:
                return
            begin += length

    async def _keep_showing(self) -> None:
        second = 0
        while True:
            width = shutil.get_terminal_size().columns
            text = summaries.line(self._gov.status(), second=second, width=width, paint=self._stage.paint)
            sys.stdout.write(f"\r\x1b[K{text}")
            sys.stdout.flush()
            await asyncio.sleep(1.0)
            second += 1

    def _clear(self) -> None:
        if self._stage.is_live:
            sys.stdout.write("\r\x1b[K")


@contextmanager
def _interrupts(stop: Callable[[], object]) -> Iterator[None]:
    """
    Call *stop* at the first Ctrl-C or SIGTERM, while the block lasts; a second Ctrl-C ends the program at once.
    """
    if os.name != "posix":
        yield
        return
    loop = asyncio.get_running_loop()

    def first(number: int) -> None:
        loop.remove_signal_handler(number)
        stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, first, number)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
