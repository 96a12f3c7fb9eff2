"""
Budgets over processes that are killed at any instant. The judge is the server: it writes down what each call that it
has served costs, and its list is held against the budget and against what the ledger says.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from egressor._core.budget import NEVER
from egressor.ledger.money import Page, lose
from egressor.ledger.opening import open_ledger
from tests.faults.disk import ALL, Disk, program
from tests.faults.disk import KILLS as KILLED
from tests.ledger.places import running_postgres

SOAK = os.environ.get("EGRESSOR_SOAK") == "1"
WORKERS = 4
KILLS = 1_000 if SOAK else 6
# Micro-dollars for each kill: in soak so many that the budget is not used up while there is somebody to kill.
SHARE = 300_000 if SOAK else 20_000
MICRO = 1_000_000

pytestmark = pytest.mark.timeout(1_800)

# What a worker does: calls, one after the other from three threads, each taken to cost 0.00075 and costing less, until
# the budget is spent. Its server is a file that gets a line for each call that is served, in one write.
WORKER = """
import os, random, sys, threading
from egressor import BudgetExceeded, Governor, StoreUnavailable
ledger, path, budget = sys.argv[1:]
server = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
gov = Governor({"api": {"budget": {"total": budget}, "retry": {"attempts": 1}}}, ledger=ledger)
def calls():
    while True:
        try:
            with gov.permit("api", cost={"usd": 0.00075}) as permit:
                cost = random.randint(1, 750)
                os.write(server, f"{cost}\\n".encode())
                permit.settle(cost={"usd": cost / 1e6})
        except StoreUnavailable:
            pass
        except BudgetExceeded as error:
            if "calls under way" not in str(error):
                return
threads = [threading.Thread(target=calls) for _ in range(3)]
for thread in threads: thread.start()
print("up", flush=True)
for thread in threads: thread.join()
gov.close()
print("spent", flush=True)
"""


# A worker that asks for answers without saying how long they may be. Its server answers with all that it is allowed.
ASKING = """
import json, os, sys, threading
import httpx2
from egressor import BudgetExceeded, Governor, StoreUnavailable
from egressor.policies.loader import from_table
from egressor.transports.httpx import Transport
ledger, path, budget = sys.argv[1:]
server = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
prices = {"models": [{"model": "*", "usd_per_mtok": {"input": 2, "output": 10}}]}
api = {"dialect": "openai", "budget": {"total": float(budget)}, "retry": {"attempts": 1}}
gov = Governor(config=from_table({"egressor": {"ledger": ledger}, "services": {"api": api}, "prices": prices}))
def serve(request):
    asked = json.loads(request.content)
    received = asked.get("max_completion_tokens", 16384)
    os.write(server, f"{2 * 20 + 10 * received}\\n".encode())
    used = {"prompt_tokens": 20, "completion_tokens": received}
    return httpx2.Response(200, json={"model": "gpt-4o", "choices": [], "usage": used})
client = httpx2.Client(transport=Transport(gov, "api", inner=httpx2.MockTransport(serve)))
def calls():
    while True:
        try:
            client.post("http://api/v1/chat/completions", json={"model": "gpt-4o", "messages": []})
        except StoreUnavailable:
            pass
        except BudgetExceeded as error:
            if "calls under way" not in str(error):
                return
threads = [threading.Thread(target=calls) for _ in range(3)]
for thread in threads: thread.start()
print("up", flush=True)
for thread in threads: thread.join()
gov.close()
print("spent", flush=True)
"""

# One call that is paid for: what it cost is written down by its server when it is served.
PAID = """
import os
from egressor import Governor
def paid(server, *, full):
    tables = {{"api": {{"budget": {{"total": 1.0}}, "retry": {{"attempts": 1}}}}}}
    gov = Governor(tables, ledger="sqlite:///{folder}/ledger.db", money_sync="full" if full else "normal")
    with gov.permit("api", cost={{"usd": 0.00075}}) as permit:
        with open(server, "a") as file:
            file.write("400\\n")
        permit.settle(cost={{"usd": 0.0004}})
    gov.close()
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """
    The address of an empty ledger.
    """
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/ledger.db"
        return
    with running_postgres() as server:
        yield server.new_database()


def start(ledger: str, served: Path, budget: str, *, program: str = WORKER) -> subprocess.Popen[str]:
    """
    Start a worker, and wait until it is at work.
    """
    surroundings = {key: value for key, value in os.environ.items() if key != "COVERAGE_PROCESS_CONFIG"}
    surroundings["XDG_STATE_HOME"] = str(served.parent / "state")
    command = [sys.executable, "-c", program, ledger, str(served), budget]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=surroundings)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "up\n"
    return worker


def kill(worker: subprocess.Popen[str]) -> None:
    """
    Kill a worker, wherever it is.
    """
    worker.send_signal(signal.SIGKILL)
    worker.communicate()


def found(ledger: str) -> tuple[Any, int]:
    """
    Return the cell, with the holds of the dead charged, and how many calls the ledger has counted.
    """
    place = open_ledger(ledger)

    def look(page: Page) -> tuple[Any, int]:
        while lose(page, NEVER):
            pass
        budgets = page.budgets()
        return budgets[0].cell if budgets else None, sum(each.calls for each in page.sums(0))

    cell = place.money(look)
    place.close()
    return cell


def costs(served: Path) -> list[int]:
    """
    Return what the calls that were served cost.
    """
    return [int(line) for line in served.read_text().splitlines()]


def test_killed_at_any_instant_no_budget_is_passed(ledger: str, tmp_path: Path) -> None:
    """
    Four processes, one of which is killed each few milliseconds: what was served is within the budget; each call stands
    in the ledger once, by its truth or, if its process was killed, as unknown at what was held for it.
    """
    served, dice = tmp_path / "served", random.Random(7)
    budget = KILLS * SHARE
    workers = [start(ledger, served, f"{budget / MICRO:.6f}") for _ in range(WORKERS)]
    for _ in range(KILLS):
        time.sleep(dice.uniform(0.0, 0.1))  # real time: the workers are at work
        kill(workers.pop(dice.randrange(WORKERS)))
        workers.append(start(ledger, served, f"{budget / MICRO:.6f}"))
        assert sum(costs(served)) <= budget
    for worker in workers:
        kill(worker)
    cell, calls = found(ledger)
    truth = costs(served)
    left_open = cell.unknown // 750

    print(f"{len(truth)} calls of {sum(truth)}, {cell.spent} charged, {cell.unknown} of it unknown")  # noqa: T201
    assert cell.spent <= budget
    assert cell.held == 0
    # What the killed were about is charged at no less than it has cost, and nothing else is charged but the truth.
    assert sum(truth) <= cell.spent
    assert cell.spent - cell.unknown <= sum(truth)
    assert len(truth) <= calls <= len(truth) + left_open
    assert (KILLS // 2 if SOAK else 0) <= left_open <= (KILLS + WORKERS) * 3


def test_nearly_all_of_a_budget_can_be_spent(ledger: str, tmp_path: Path) -> None:
    """
    Many at once on a budget of some hundred calls: they spend it to the last call that fits, and no further.
    """
    served, budget = tmp_path / "served", 75_000
    workers = [start(ledger, served, f"{budget / MICRO:.6f}") for _ in range(WORKERS)]
    for worker in workers:
        worker.communicate(timeout=300)
    cell, calls = found(ledger)

    assert (cell.held, cell.unknown) == (0, 0)
    assert (sum(costs(served)), len(costs(served))) == (cell.spent, calls)
    assert budget - 750 < cell.spent <= budget


def test_requests_that_are_bounded_keep_to_the_budget_over_processes(ledger: str, tmp_path: Path) -> None:
    """
    Each answer is as long as it is let be, and one process is killed in the midst of it: what was served is within the
    budget, and in the end too little is left for another answer.
    """
    served, budget = tmp_path / "served", 2 * MICRO
    workers = [start(ledger, served, f"{budget / MICRO:.6f}", program=ASKING) for _ in range(WORKERS)]
    kill(workers.pop())
    for worker in workers:
        worker.communicate(timeout=300)
    cell, _ = found(ledger)

    assert cell.held == 0
    assert sum(costs(served)) <= cell.spent <= budget
    assert cell.spent - cell.unknown <= sum(costs(served))
    assert budget - cell.spent < 10 * 4_096 + 1_000


@pytest.mark.parametrize("full", [False, True], ids=["normal", "full"])
def test_killed_at_each_call_to_the_disk_a_call_is_charged_once(full: bool, tmp_path: Path) -> None:
    """
    Killed at the first write or sync of a paid call, at the second, at each: the file is sound, nothing stays held, and
    what was served is charged, by its truth or at what was held; what was not served at most at that, as unknown.
    """
    folder, served = tmp_path / "disk", tmp_path / "served"
    folder.mkdir()
    served.touch()
    disk, seen, before = Disk(folder, tmp_path / "plan"), set(), (0, 0, 0)
    with program(disk, PAID.format(folder=folder)) as payer:
        for step in range(1, 400):
            lines = len(costs(served))
            disk.fail(KILLED, ALL, first=step)
            code = payer.ask(f"forked(lambda: paid({str(served)!r}, full={full}))")
            disk.heal()
            with closing(sqlite3.connect(folder / "ledger.db")) as db:
                assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            cell, calls = found(f"sqlite:///{folder}/ledger.db")
            after = (cell.spent, cell.unknown, calls) if cell else (0, 0, 0)
            seen.add((code, len(costs(served)) - lines, *(new - old for new, old in zip(after, before, strict=True))))
            before = after
            if code == 0:
                break

    assert seen <= {(-9, 0, 0, 0, 0), (-9, 0, 750, 750, 1), (-9, 1, 750, 750, 1), (-9, 1, 400, 0, 1), (0, 1, 400, 0, 1)}
    assert {(-9, 0, 0, 0, 0), (-9, 1, 750, 750, 1), (-9, 1, 400, 0, 1), (0, 1, 400, 0, 1)} <= seen
