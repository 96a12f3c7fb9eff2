"""
Forks, and the end of the interpreter.
"""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from textwrap import dedent

import pytest

from egressor import Governor, WaitTooLong
from egressor._core.admission import Ask, Lease
from egressor._core.learn import Hint
from egressor._core.model import Verdict

DEADLINE = 20


def in_child(work: Callable[[], object]) -> int:
    """
    Run *work* in a forked child and return its exit code: 0 if all was well, 99 if it did not end in time.
    """
    pid = os.fork()
    if not pid:
        try:
            work()
        except BaseException:  # noqa: BLE001 - a child must not go on as a second test run
            os._exit(1)
        os._exit(0)
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)  # real time: a child process ends when it ends
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return 99


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_can_wait_and_be_woken() -> None:
    """
    The alarms' thread does not follow a fork; the child starts its own, by threads and by a loop, and is in time.
    """
    gov = Governor({"s": {"limits": ["50/second burst 1"], "max_wait": 10.0}})
    for _ in range(3):
        gov.call("s", str)

    def child() -> None:
        began = time.monotonic()
        for _ in range(10):
            gov.call("s", str)
        asyncio.run(gov.acall("s", asyncio.sleep, 0))
        assert time.monotonic() - began < 2

    assert in_child(child) == 0
    gov.call("s", str)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_holds_nothing_for_threads_that_it_does_not_have() -> None:
    """
    Regression: a place that another thread held at the fork stayed taken in the child for ever, and so did turns.
    """
    gov = Governor({"s": {"max_concurrency": 1, "max_wait": 5.0}})
    over = threading.Event()
    threads = [threading.Thread(target=gov.call, args=("s", over.wait)) for _ in range(3)]
    for thread in threads:
        thread.start()
    while gov.status()["s"]["waiting"]["medium"] < 2:
        time.sleep(0.001)  # real time: the threads have to get there

    def child() -> None:
        status = gov.status()["s"]
        assert (status["limits"][0]["left"], status["in_flight"], status["waiting"]["medium"]) == (1, 0, 0)
        assert gov.call("s", lambda: gov.status()["s"]["in_flight"]) == 1

    code = in_child(child)
    over.set()
    for thread in threads:
        thread.join()

    assert code == 0
    assert (gov.status()["s"]["in_flight"], gov.status()["s"]["succeeded"]) == (0, 3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_streams_of_the_parent_hide_no_call_of_the_child() -> None:
    """
    Regression: a child took as many of its own calls for known to the server as streams were open in its parent.
    """
    gov = Governor({"s": {"limits": ["1000/second"], "max_wait": 0.0}})
    gate = gov.gate("s")
    for _ in range(3):
        lease = gate.admit(Ask((), level=3), 0)
        assert isinstance(lease, Lease)
        gate.hear(lease, Verdict(hints=(Hint("requests", 2.0, 100.0, 60_000_000),)))

    def child() -> None:
        first, second, third = (gov.permit("s", priority="critical") for _ in range(3))
        with first, second, pytest.raises(WaitTooLong):
            third.acquire()

    assert in_child(child) == 0


FORKS = """
import os, sys, threading, time
from egressor import Governor

gov = Governor({"s": {"max_concurrency": 50, "max_wait": 10.0}, "t": {}})
seen = []
gov.tap(seen.append)
over = threading.Event()

def load():
    while not over.is_set():
        gov.call("s", str)
        gov.call("t", lambda: gov.call("t", str))
        seen.clear()

def child():
    seen.clear()
    for _ in range(5):
        assert gov.call("s", lambda: 7) == 7
        assert gov.call("t", lambda: gov.call("t", lambda: 8)) == 8
    assert gov.taps.drain(20)
    assert seen

def in_child():
    pid = os.fork()
    if not pid:
        try:
            child()
        except BaseException:  # noqa: BLE001 - a child must not go on as a second test run
            os._exit(1)
        os._exit(0)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return 99

threads = [threading.Thread(target=load) for _ in range(4)]
sys.setswitchinterval(1e-5)
for thread in threads:
    thread.start()
codes = []
while len(codes) < 25 and not any(codes):
    codes.append(in_child())
over.set()
sys.exit(max(codes))
"""


def test_a_fork_in_the_middle_of_everything_leaves_a_child_that_works() -> None:
    """
    Regression: a lock that another thread held at the fork was held for ever in the child.
    """
    assert run(FORKS) == (0, "", "")


HEAD = """
    import asyncio, threading, time
    from egressor import Governor
    gov = Governor({"s": {"max_concurrency": 1, "max_wait": 60.0}})
"""
TAIL = """
    print(time.monotonic(), flush=True)
"""
PROGRAMS = {
    "threads that wait": """
        permit = gov.permit("s").acquire()
        for _ in range(5):
            threading.Thread(target=gov.call, args=("s", str), daemon=True).start()
        while gov.status()["s"]["waiting"]["medium"] < 5:
            time.sleep(0.01)
    """,
    "a loop with tasks that wait": """
        async def main():
            permit = await gov.permit("s")
            tasks = [asyncio.create_task(gov.acall("s", asyncio.sleep, 0)) for _ in range(5)]
            while gov.status()["s"]["waiting"]["medium"] < 5:
                await asyncio.sleep(0)
            await permit.arelease()
        asyncio.run(main())
    """,
    "a permit in a global": """
        permit = gov.permit("s").acquire()
    """,
    "a generator that was never ended": """
        @gov.throttled("s")
        def numbers():
            yield 1
            yield 2
        generator = numbers()
        next(generator)
    """,
    "a tap with a full queue": """
        gov.tap(lambda event: time.sleep(60))
        for _ in range(5):
            gov.call("s", str)
    """,
    "a loop thread that is a daemon": """
        async def forever():
            await gov.acall("s", asyncio.Event().wait)
        threading.Thread(target=asyncio.run, args=(forever(),), daemon=True).start()
        while not gov.status()["s"]["in_flight"]:
            time.sleep(0.01)
    """,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_ends_with_queued_work_in_time_and_in_silence(name: str) -> None:
    """
    An interpreter that ends while calls wait, or permits are held, ends within two seconds and prints nothing.
    """
    code, out, error = run("\n".join(dedent(part) for part in (HEAD, PROGRAMS[name], TAIL)))
    ended = time.monotonic()

    assert (code, error) == (0, "")
    assert ended - float(out) < 2


def run(program: str) -> tuple[int, str, str]:
    """
    Run *program* in an interpreter of its own, which is not measured: a tracer has locks, too, and takes time.
    """
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=surroundings,
    )
    return done.returncode, done.stdout, done.stderr


COLLECTED = """
import gc
from egressor import Governor

gov = Governor({"s": {"max_concurrency": 9, "max_wait": 0.0}})

@gov.throttled("s")
def stream():
    yield 1
    yield 2

async def wait(future):
    async with gov.permit("s"):
        await future

class Node:
    pass

def waste():
    node = Node()
    node.me, node.stream = node, stream()
    next(node.stream)
    task = Node()
    task.me, task.wait = task, wait(Forever())
    task.wait.send(None)

class Forever:
    def __await__(self):
        yield self

gc.disable()
gate = gov.gate("s")
for _ in range(3):
    waste()
    assert gov.status()["s"]["in_flight"] == 2
    gate.alone.run(gc.collect, instead=None)
    assert gov.status()["s"]["in_flight"] == 0
print(gov.status()["s"]["limits"][0]["left"])
"""


def test_the_collector_may_end_calls_inside_of_the_gate() -> None:
    """
    Regression: a generator or a task that was collected while its gate worked waited for that gate for ever.
    """
    assert run(COLLECTED) == (0, "9\n", "")


def test_the_alarms_thread_ends_with_its_governor() -> None:
    """
    Regression: each governor that had ever waited left a thread behind.
    """
    before = {thread for thread in threading.enumerate() if thread.name == "egressor-alarms"}
    gov = Governor({"s": {"limits": ["200/second burst 1"]}})
    for _ in range(3):
        gov.call("s", str)
    (alarms,) = {thread for thread in threading.enumerate() if thread.name == "egressor-alarms"} - before

    del gov
    gc.collect()
    alarms.join(10)

    assert not alarms.is_alive()
