"""
Several workers on one port: they share the work, a dead one is replaced, and all of them end together.

The command refuses more than one with the store of this version, so that the processes are started by what the command
calls behind that check.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from egressor import ConfigError
from egressor.gateway.workers import check_shareable
from egressor.policies import from_services
from tests.cli.test_serve import SERVICE, Slow, upstream

CREW = """
import sys
from pathlib import Path
from egressor.cli.logs import to_stderr
from egressor.cli.serve import crew
from egressor.policies import load
to_stderr()
file = Path("egressor.toml")
sys.exit(crew(file, load(file), host=sys.argv[1], port=0, count=int(sys.argv[2])))
"""


class Crew:
    """
    A parent with its workers.
    """

    def __init__(self, folder: Path, count: int, host: str = "127.0.0.1") -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EGRESSOR_")}
        self.errors = folder / "stderr"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", CREW, host, str(count)],
                cwd=folder,
                env=environment | {"XDG_STATE_HOME": str(folder / "state")},
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.port = int(line.split()[2].rpartition(":")[2]) if line else 0

    def workers(self) -> set[int]:
        """
        Return the processes that are its children, by the kernel's list.
        """
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        try:
            return {int(pid) for pid in listed.read_text().split()}
        except OSError:
            return set()

    def status(self, path: str) -> int:
        """
        Ask on a new connection, and return the status; 0 if there is no answer.
        """
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, HTTPException):
            return 0
        finally:
            connection.close()


def until(condition: Callable[[], bool]) -> None:
    """
    Wait until *condition* holds.
    """
    deadline = time.monotonic() + 20
    # It is asked no second time: of several workers one may drain already while another answers.
    while not (holds := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)  # real time: other processes come and go
    assert holds


def is_alive(pid: int) -> bool:
    """
    Whether there is a process *pid* that is no zombie.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def base() -> Iterator[str]:
    """
    The URL of an upstream.
    """
    with upstream() as url:
        yield url


@pytest.fixture
def crew(tmp_path: Path, base: str) -> Iterator[Crew]:
    """
    Three workers with one service, ``t``.
    """
    (tmp_path / "egressor.toml").write_text(SERVICE.format(name="t", base=base))
    running = Crew(tmp_path, 3)
    try:
        yield running
    finally:
        workers = running.workers()
        running.process.terminate()
        try:
            running.process.wait(5)
        except subprocess.TimeoutExpired:
            running.process.kill()
            running.process.wait()
        for pid in workers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert running.process.stdout is not None
        running.process.stdout.close()


def test_they_start_and_end_together(crew: Crew) -> None:
    """
    All of them are ready when the line comes; SIGTERM ends them with 0, and leaves nothing behind.
    """
    workers = crew.workers()
    place = list((crew.errors.parent / "state" / "egressor").iterdir())
    statuses = {crew.status("/t/x") for _ in range(20)}
    crew.process.send_signal(signal.SIGTERM)

    assert (len(workers), len(place), statuses) == (3, 1, {200})
    assert crew.process.wait(20) == 0
    assert not any(map(is_alive, workers))
    assert list((crew.errors.parent / "state" / "egressor").iterdir()) == []
    assert crew.errors.read_text() == ""


def test_a_dead_worker_is_replaced(crew: Crew) -> None:
    """
    Each worker is killed in its turn: the others go on answering, and there are three again.
    """
    before = crew.workers()
    statuses = set()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
        until(lambda pid=pid: len(crew.workers() - {pid}) == 3)  # type: ignore[misc]
        statuses |= {crew.status("/t/x") for _ in range(10)}

    assert not before & crew.workers()
    # A connection that the dead one has accepted is lost with it, and no other.
    assert statuses == {200}
    assert crew.errors.read_text().count("a worker has ended with -9, and is started again") == 3


def test_in_flight_calls_finish(crew: Crew) -> None:
    """
    At SIGTERM what is in flight finishes, and new connections are refused meanwhile.
    """
    connection = HTTPConnection("127.0.0.1", crew.port, timeout=20)
    connection.request("GET", "/t/slow")
    assert Slow.arrived.wait(20)
    crew.process.send_signal(signal.SIGTERM)
    until(lambda: crew.status("/-/healthz") == 0)
    still_running = crew.process.poll() is None
    Slow.go_on.set()

    assert (still_running, connection.getresponse().status) == (True, 200)
    assert crew.process.wait(20) == 0
    connection.close()


def test_sighup_reaches_all(crew: Crew, base: str) -> None:
    """
    Each worker reads the configuration again.
    """
    file = crew.errors.parent / "egressor.toml"
    file.write_text(file.read_text() + SERVICE.format(name="u", base=base))
    crew.process.send_signal(signal.SIGHUP)
    until(lambda: crew.errors.read_text().count("reloaded egressor.toml, 2 services") == 3)

    assert {crew.status("/u/x") for _ in range(20)} == {200}


def test_workers_do_not_outlive_their_parent(crew: Crew) -> None:
    """
    If the parent is killed, they notice, and end.
    """
    workers = crew.workers()
    crew.process.kill()
    crew.process.wait()

    until(lambda: not any(map(is_alive, workers)))


def test_workers_that_can_not_begin(tmp_path: Path, base: str) -> None:
    """
    What keeps the first workers from beginning ends it all, once, with their code.
    """
    (tmp_path / "egressor.toml").write_text(SERVICE.format(name="t", base=base) + 'api_key = { env = "NO_SUCH_KEY" }\n')
    running = Crew(tmp_path, 2)
    assert running.process.stdout is not None
    running.process.stdout.close()

    assert running.process.wait(20) == 2
    assert "NO_SUCH_KEY" in running.errors.read_text()
    assert "started again" not in running.errors.read_text()


def test_the_store_of_this_version_can_not_be_shared(tmp_path: Path) -> None:
    """
    More than one worker is refused, by the option and by the setting, and the error says why.
    """
    (tmp_path / "egressor.toml").write_text("[gateway]\nworkers = 2\n")
    command = [sys.executable, "-m", "egressor.cli.main", "serve", "--port", "0"]
    results = [
        subprocess.run([*command, *words], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
        for words in ([], ["--workers", "4"])
    ]

    assert [result.returncode for result in results] == [2, 2]
    assert 'gateway.workers: 2 workers need a store that they can share, and "memory:"' in results[0].stderr
    assert "4 workers need" in results[1].stderr
    assert [len(result.stderr.splitlines()) for result in results] == [1, 1]


@pytest.mark.parametrize("count", [1, 2])
def test_one_worker_needs_no_shared_store(count: int) -> None:
    """
    The check lets one worker pass.
    """
    config = from_services({"t": {}})
    refused = False
    try:
        check_shareable(config, count)
    except ConfigError:
        refused = True

    assert refused == (count > 1)
