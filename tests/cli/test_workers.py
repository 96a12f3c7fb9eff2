"""
Several workers on one port: they share the work and the limits, a dead one is replaced, and all of them end together.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from egressor import ConfigError
from egressor.gateway.workers import check_shareable
from egressor.policies import from_services
from tests.cli.test_serve import SERVICE, Slow, upstream
from tests.stores.servers import running as redis_server

SERVE = [sys.executable, "-m", "egressor.cli.main", "serve", "--port", "0"]


class Crew:
    """
    A parent with its workers.
    """

    def __init__(self, folder: Path, count: int, host: str = "127.0.0.1") -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EGRESSOR_")}
        self.errors = folder / "stderr"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*SERVE, "--host", host, "--workers", str(count)],
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
    deadline = time.monotonic() + 60
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


def places(crew: Crew) -> list[Path]:
    """
    Return the files that tell commands where a gateway is.
    """
    return list((crew.errors.parent / "state" / "egressor").glob("*gateway*"))


def test_they_start_and_end_together(crew: Crew) -> None:
    """
    All of them are ready when the line comes; SIGTERM ends them with 0, and leaves nothing behind.
    """
    workers = crew.workers()
    place = places(crew)
    statuses = {crew.status("/t/x") for _ in range(20)}
    crew.process.send_signal(signal.SIGTERM)

    assert (len(workers), len(place), statuses) == (3, 1, {200})
    assert crew.process.wait(20) == 0
    assert not any(map(is_alive, workers))
    assert places(crew) == []
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


def test_a_store_in_memory_can_not_be_shared(tmp_path: Path) -> None:
    """
    More than one worker is refused there, by the option and by the setting, and the error says why.
    """
    (tmp_path / "egressor.toml").write_text("[egressor]\nstore = 'memory:'\n[gateway]\nworkers = 2\n")
    results = [
        subprocess.run([*SERVE, *words], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
        for words in ([], ["--workers", "4"])
    ]

    assert [result.returncode for result in results] == [2, 2]
    assert 'gateway.workers: 2 workers need a store that they can share, and "memory:"' in results[0].stderr
    assert "4 workers need" in results[1].stderr
    assert [len(result.stderr.splitlines()) for result in results] == [1, 1]


@pytest.mark.parametrize("store", ["memory:", "sqlite:///x.db", "redis://host"])
@pytest.mark.parametrize("count", [1, 2])
def test_what_workers_can_share(count: int, store: str) -> None:
    """
    One worker needs nothing; more need a store that isn't one process's own.
    """
    config = from_services({"t": {}}, store=store)
    refused = False
    try:
        check_shareable(count, config)
    except ConfigError:
        refused = True

    assert refused == (count > 1 and store == "memory:")


LIMIT = 25


@pytest.fixture
def logged() -> Iterator[tuple[str, list[str]]]:
    """
    An upstream that writes down what reaches it: its URL, and the list.
    """
    arrived: list[str] = []

    class Logging(Slow):
        """
        An upstream that answers at once.
        """

        def do_GET(self) -> None:  # noqa: N802 - the name that the server calls
            """
            Write it down, and answer.
            """
            arrived.append(self.path)
            super().do_GET()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Logging)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", arrived
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest) -> Iterator[str]:
    """
    The lines that name a store: none for the file that is the default, or a Redis server.
    """
    if request.param == "sqlite":
        yield ""
        return
    with redis_server() as server:
        yield f'[egressor]\nstore = "{server.address}"\n'


@pytest.mark.parametrize("kills", [0, 3])
def test_workers_share_a_limit(tmp_path: Path, logged: tuple[str, list[str]], store: str, kills: int) -> None:
    """
    What reaches the upstream through two workers is what one limit allows, however often one of them is killed; and no
    kill takes away more than what the dead one had at hand.
    """
    base, arrived = logged
    service = f'limits = ["{LIMIT}/day"]\nmax_wait = 0\nretry.attempts = 1\nbreaker.enabled = false\n'
    (tmp_path / "egressor.toml").write_text(store + SERVICE.format(name="t", base=base) + service)
    running = Crew(tmp_path, 2)
    asked: list[int] = []

    def is_used_up() -> bool:
        """
        Whether four calls in a row are refused.
        """
        asked.extend(running.status("/t/x") for _ in range(4))
        return asked[-4:] == [429] * 4

    try:
        with ThreadPoolExecutor(8) as pool:
            for number in range(kills + 1):
                asked += pool.map(lambda _: running.status("/t/x"), range(8))
                if number < kills:
                    victim = min(running.workers())
                    os.kill(victim, signal.SIGKILL)
                    until(lambda victim=victim: len(running.workers() - {victim}) == 2)  # type: ignore[misc]
            # What a worker has at hand goes back in a moment; then it is the other one's.
            until(is_used_up)
            asked += pool.map(lambda _: running.status("/t/x"), range(60))
    finally:
        running.process.terminate()
        running.process.wait(20)
        assert running.process.stdout is not None
        running.process.stdout.close()

    assert len(arrived) <= LIMIT
    assert asked.count(200) <= len(arrived)
    assert len(arrived) >= (LIMIT if not kills else LIMIT // 2)
