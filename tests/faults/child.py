"""
One process of a fleet, as the tests of faults start it: it does what it is told, line by line, and logs what it holds.

It is run as a program: ``child.py LOG STORE SERVICES SETTINGS``. Each line of its input is an expression in the names
of this module; the answer is one line of JSON. It ends with its input.

A line of the log is written while a permit is held: the monotonic time in microseconds, which is the same clock for all
processes of a host, a word that says whose it is, and units.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import resource
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from egressor import Governor, Rejected

REFUSED: Counter[str] = Counter()
OVER = threading.Event()
LOOPS: list[Loop] = []
ANSWERS: dict[str, str] = {}
_WRONG = [0]
_log = -1
_pid = os.getpid()
gov: Any = None


def note(word: str, units: int = 1) -> None:
    """
    Write down that a permit is held now.
    """
    os.write(_log, f"{time.monotonic_ns() // 1000} {word} {units}\n".encode())


class Load:
    """
    What a worker does over and over: take a permit, write that down, give it back.

    Args:
        service: The service.
        word: What is written.
        options: Those of `Governor.permit`.
        hold: Seconds for which each permit is held.
        truth: What each attempt really cost, which is settled; what is written is *units*.
        units: What is written.
        rest: Seconds between two permits.
        cancel: Share of permits that are given up while they wait; by tasks only.
        times: So many permits in all; 0 for as many as there are.
        after: What is written before a permit is given back; empty for nothing.
    """

    def __init__(
        self,
        service: str = "s",
        word: str = "x",
        *,
        options: Mapping[str, Any] | None = None,
        hold: float = 0.0,
        truth: Mapping[str, int] | None = None,
        units: int = 1,
        rest: float = 0.0,
        cancel: float = 0.0,
        times: int = 0,
        after: str = "",
    ) -> None:
        self.service = service
        self.word = word
        self.options = dict(options or {})
        self.hold = hold
        self.truth = truth
        self.units = units
        self.rest = rest
        self.cancel = cancel
        self.times = times
        self.after = after

    def thread(self) -> None:
        """
        Work as a thread.
        """
        for _ in range(self.times or 1 << 60):
            if OVER.is_set():
                return
            try:
                with gov.permit(self.service, **self.options) as permit:
                    note(self.word, self.units)
                    if self.truth is not None:
                        permit.settle(cost=self.truth)
                    if self.hold:
                        time.sleep(self.hold)  # real time: a call takes its time
                    if self.after:
                        note(self.after)
            except Rejected as error:
                self._refused(error)
            if self.rest:
                time.sleep(self.rest)  # real time: calls come now and then

    async def task(self) -> None:
        """
        Work as a task.
        """
        for _ in range(self.times or 1 << 60):
            if OVER.is_set():
                return
            one = asyncio.ensure_future(self._one())
            if random.random() < self.cancel:
                await asyncio.sleep(random.random() * 0.05)  # real time: whoever waits gives up at some moment
                one.cancel()
            with suppress(asyncio.CancelledError):
                await one
            await asyncio.sleep(self.rest)  # real time: calls come now and then

    async def _one(self) -> None:
        try:
            async with gov.permit(self.service, **self.options) as permit:
                note(self.word, self.units)
                if self.truth is not None:
                    permit.settle(cost=self.truth)
                if self.hold:
                    await asyncio.sleep(self.hold)  # real time: a call takes its time
        except Rejected as error:
            self._refused(error)

    def _refused(self, error: Rejected) -> None:
        REFUSED[type(error).__name__] += 1
        time.sleep(0.002)  # real time: whoever is refused at once must not turn in circles


def threads(number: int, **load: Any) -> int:
    """
    Start so many threads that work.
    """
    for _ in range(number):
        threading.Thread(target=Load(**load).thread, daemon=True).start()
    return number


def tasks(number: int, **load: Any) -> int:
    """
    Start a loop with so many tasks that work.
    """

    async def main() -> None:
        await asyncio.gather(*(Load(**load).task() for _ in range(number)))

    threading.Thread(target=asyncio.run, args=(main(),), daemon=True).start()
    return number


def attempt(work: Callable[[], object], service: str = "s", **options: Any) -> str:
    """
    Call *work* through the gate; the answer is "ok", or the kind of what came out.
    """
    try:
        gov.call(service, work, **options)
    except Exception as error:  # noqa: BLE001 - it is the answer
        return type(error).__name__
    return "ok"


def later(name: str, work: Callable[[], object], service: str = "s", **options: Any) -> str:
    """
    Do `attempt` on a thread; `ANSWERS` has the answer under *name*.
    """

    def run() -> None:
        ANSWERS[name] = attempt(work, service, **options)

    threading.Thread(target=run, daemon=True).start()
    return name


def timed(times: int, rest: float = 0.01, **options: Any) -> list[float]:
    """
    Make calls one after the other; return how many seconds each took, or -1 for one that did not go.
    """
    found = []
    for _ in range(times):
        began = time.monotonic()
        said = attempt(str, **options)
        found.append(time.monotonic() - began if said == "ok" else -1.0)
        time.sleep(rest)  # real time: calls come now and then
    return found


def paced(seconds: float, rate: float, workers: int = 4) -> list[tuple[int, float]]:
    """
    Make so many calls a second on some threads; return when each began, in microseconds, and how many seconds it took,
    or -1 for one that did not go.
    """
    found: list[tuple[int, float]] = []

    def work(number: int) -> None:
        began = time.monotonic() + number / rate
        for turn in range(int(seconds * rate / workers)):
            time.sleep(max(0.0, began + turn * workers / rate - time.monotonic()))  # real time: calls come in time
            at = time.monotonic()
            said = attempt(partial(note, "x"))
            found.append((int(at * 1_000_000), time.monotonic() - at if said == "ok" else -1.0))

    each = [threading.Thread(target=work, args=(number,)) for number in range(workers)]
    for thread in each:
        thread.start()
    for thread in each:
        thread.join()
    return sorted(found)


def users(first: int, number: int, workers: int = 8) -> int:
    """
    Make a call for each of so many users, on some threads; return how many went.
    """
    went: list[str] = []

    def work(start: int) -> None:
        went.extend(attempt(str, scope={"user": f"u{user}"}) for user in range(first + start, first + number, workers))

    each = [threading.Thread(target=work, args=(start,)) for start in range(workers)]
    for thread in each:
        thread.start()
    for thread in each:
        thread.join()
    return went.count("ok")


def resident() -> int:
    """
    Return how many bytes of memory this process has.
    """
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - shorter
        return int(file.read().split()[1]) * resource.getpagesize()


def no_more_than(size: int) -> None:
    """
    Let no file grow beyond *size* bytes, as on a full disk; -1 ends that.
    """
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def jump(seconds: float) -> None:
    """
    Let this process's wall clock be wrong by *seconds*, for the governor and for a store that looks at it.
    """
    _WRONG[:] = [int(seconds * 1_000_000)]
    gov.clock.wall = _wrong_wall
    if hasattr(gov._courier.store, "_wall"):
        gov._courier.store._wall = _wrong_wall


def _wrong_wall() -> int:
    return time.time_ns() // 1000 + _WRONG[0]


def other() -> str:
    """
    Make a call through a second governor of this process, with the same policy and store.
    """
    second = Governor(config=gov.config)
    try:
        second.call("s", str)
    except Exception as error:  # noqa: BLE001 - it is the answer
        return type(error).__name__
    finally:
        second.close()
    return "ok"


def noted(word: str, work: Callable[[], object] | None = None) -> Callable[[], object]:
    """
    Return a function that writes *word* down and does *work*.
    """

    def run() -> object:
        note(word)
        return work() if work is not None else None

    return run


def fail() -> None:
    """
    Fail as an upstream that is down.
    """
    msg = "down"
    raise ConnectionError(msg)


class Answer:
    """
    What an upstream answers.
    """

    def __init__(self, status: int, headers: Mapping[str, str], body: str = "") -> None:
        self.status_code = status
        self.headers = headers
        self._content = body.encode()  # Where clients keep a body that they have read.


def answer(status: int, body: str = "", **headers: str) -> Callable[[], object]:
    """
    Return a function that returns an answer; an underscore in a header's name stands for a hyphen.
    """
    return partial(Answer, status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def limited(limit: int, resets: int, path: str) -> Callable[[], object]:
    """
    Return a function that is a server's: it counts everybody's calls in the log, and says how many of *limit* are left.
    """

    def run() -> object:
        note("x")
        with open(path) as log:  # noqa: PTH123 - the quicker way
            used = sum(1 for line in log if " x " in line)
        headers = {"RateLimit-Limit": limit, "RateLimit-Remaining": max(0, limit - used), "RateLimit-Reset": resets}
        return Answer(200, {name: str(value) for name, value in headers.items()})

    return run


def busy(workers: int, work: Callable[[], object], **options: Any) -> int:
    """
    Start threads that call *work* through the gate over and over; whoever is refused tries again a little later.
    """

    def run() -> None:
        while not OVER.is_set():
            said = attempt(work, **options)
            REFUSED[said] += 1
            time.sleep(0.002)  # real time: whoever is refused at once must not turn in circles

    for _ in range(workers):
        threading.Thread(target=run, daemon=True).start()
    return workers


def forever() -> None:
    """
    Never return.
    """
    threading.Event().wait()


async def endless() -> None:
    """
    Write "probe" down, and never return.
    """
    note("probe")
    await asyncio.Event().wait()


class Loop:
    """
    A loop on a thread, for a task that can be cancelled.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._future: Any = None

    def start(self, service: str = "s") -> None:
        """
        Start `endless` through the gate.
        """
        self._future = asyncio.run_coroutine_threadsafe(gov.acall(service, endless), self._loop)

    def cancel(self) -> bool:
        """
        Cancel it.
        """
        return bool(self._future.cancel())


def waiting(service: str = "s") -> int:
    """
    Return how many wait here.
    """
    return sum(gov.status()[service]["waiting"].values())


def main() -> None:
    """
    Do what the input says.
    """
    global _log, gov  # noqa: PLW0603 - this is a program
    path, store, services, settings = sys.argv[1:]
    _log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    gov = Governor(json.loads(services), store=store, **json.loads(settings))
    for line in sys.stdin:
        try:
            said = eval(line, globals())  # noqa: S307 - the test's own words
        except Exception as error:  # noqa: BLE001 - the test shall see it
            said = f"{type(error).__name__}: {error}"
        print(json.dumps(said, default=str), flush=True)  # noqa: T201 - the answer
    os._exit(0)


if __name__ == "__main__":
    main()
