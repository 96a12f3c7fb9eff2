"""
The gateway as a program: it starts, reloads, is operated, and ends.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from egressor.cli.findings import uncounted
from egressor.policies import from_services

SERVICE = '[services.{name}]\nbase_url = "{base}"\n'


class Slow(BaseHTTPRequestHandler):
    """
    An upstream that answers ``/slow`` when it is told to.
    """

    arrived = Event()
    go_on = Event()

    def do_GET(self) -> None:
        """
        Answer.
        """
        if self.path == "/slow":
            self.arrived.set()
            self.go_on.wait(20)
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"fine")

    def log_message(self, *_: object) -> None:
        """
        Say nothing.
        """


class Program:
    """
    A running ``egressor serve``.
    """

    def __init__(self, folder: Path, environment: dict[str, str], before: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.environment = environment
        self.errors = folder / "stderr"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*before, sys.executable, "-m", "egressor.cli.main", "serve", "--port", "0"],
                cwd=folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        self.url = self.line.split()[2] if self.line else ""

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """
        Run another command of the same user.
        """
        return subprocess.run(
            [sys.executable, "-m", "egressor.cli.main", *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def get(self, path: str) -> tuple[int, str]:
        """
        Ask the gateway.
        """
        try:
            with urlopen(self.url + path, timeout=20) as answer:  # noqa: S310 - our own URL
                return answer.status, answer.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def says(self, text: str) -> str:
        """
        Wait until stderr holds *text*, and return all of it.
        """
        deadline = time.monotonic() + 60
        while text not in (found := self.errors.read_text()) and time.monotonic() < deadline:
            time.sleep(0.01)  # real time: another process writes
        assert text in found
        return found

    def close(self) -> None:
        """
        End it, if it is still there.
        """
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def end(self, number: int) -> int:
        """
        Send a signal, and return the exit code.
        """
        self.process.send_signal(number)
        return self.process.wait(30)


@contextmanager
def upstream() -> Iterator[str]:
    """
    Run a `Slow` upstream.
    """
    Slow.arrived.clear()
    Slow.go_on.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        Slow.go_on.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def base() -> Iterator[str]:
    """
    The URL of an upstream.
    """
    with upstream() as url:
        yield url


@pytest.fixture
def program(tmp_path: Path, base: str) -> Iterator[Program]:
    """
    A gateway with one service, ``t``.
    """
    (tmp_path / "egressor.toml").write_text(SERVICE.format(name="t", base=base))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EGRESSOR_")}
    running = Program(tmp_path, environment | {"XDG_STATE_HOME": str(tmp_path / "state")})
    try:
        yield running
    finally:
        running.close()


def test_start_and_end(program: Program) -> None:
    """
    It says where it is, forwards, and ends by SIGTERM with 0, leaving no file behind.
    """
    home = program.folder / "state" / "egressor"
    place = list(home.glob("*gateway*"))

    assert program.line == f"egressor gateway: {program.url} (status page: {program.url}/-/)\n"
    assert program.get("/t/x") == (200, "fine")
    assert program.end(signal.SIGTERM) == 0
    assert [path.name for path in place] == [f"gateway-{program.url.rpartition(':')[2]}.json"]
    assert list(home.glob("*gateway*")) == []
    # Counters and history stay, and are nobody else's business.
    assert "egressor.db.cells" in {path.name for path in home.iterdir()}
    assert {stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()} == {0o600}
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert program.errors.read_text() == ""


def test_ctrl_c(program: Program) -> None:
    """
    Ctrl-C ends it as quietly.
    """
    assert program.end(signal.SIGINT) == 0
    assert program.errors.read_text() == ""


def test_sigterm_drains(program: Program) -> None:
    """
    What is in flight finishes before the program ends; new connections are refused at once.
    """
    found: list[tuple[int, str]] = []
    asking = Thread(target=lambda: found.append(program.get("/t/slow")))
    asking.start()
    assert Slow.arrived.wait(20)
    program.process.send_signal(signal.SIGTERM)
    port = int(program.url.rpartition(":")[2])
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            break
        time.sleep(0.01)  # real time: another process closes its port
    still_running = program.process.poll() is None
    Slow.go_on.set()
    asking.join(20)

    assert (still_running, program.process.wait(30), found) == (True, 0, [(200, "fine")])


def test_reload(program: Program, base: str) -> None:
    """
    SIGHUP takes a good configuration, and keeps the last good one for a bad one, saying where it is wrong.
    """
    file = program.folder / "egressor.toml"
    first = file.read_text()

    file.write_text(first + SERVICE.format(name="u", base=base))
    program.process.send_signal(signal.SIGHUP)
    program.says("reloaded egressor.toml, 2 services")
    assert program.get("/u/x") == (200, "fine")

    file.write_text(first + "max_wiat = 1\n")
    program.process.send_signal(signal.SIGHUP)
    assert "egressor.toml:3: services.t.max_wiat" in program.says("not reloaded")
    assert program.get("/u/x") == (200, "fine")
    assert "max_wiat" in json.loads(program.get("/-/status.json")[1])["last_reload_error"]

    file.write_text(first)
    program.process.send_signal(signal.SIGHUP)
    program.says("reloaded egressor.toml, 1 services")
    assert program.get("/u/x")[0] == 404
    assert json.loads(program.get("/-/status.json")[1])["last_reload_error"] == ""


def test_operating(program: Program) -> None:
    """
    The commands reach the gateway by its URL, change it, and tell by their exit codes how it is.
    """
    at = ("--url", program.url)
    program.get("/t/x")
    well = program.run("status", *at)
    paused = program.run("pause", "t", "--reason", "maintenance", *at)
    ill = program.run("status", "--json", *at)
    refused = program.get("/t/x")
    resumed = program.run("resume", "t", *at)
    others = [program.run("reset-breaker", "t", *at), program.run("lift-ban", "t", *at)]
    unknown = program.run("pause", "nope", *at)
    audit = program.says("operator: lift-ban t")

    assert well.returncode == 0
    assert [line.split()[:2] for line in well.stdout.splitlines()] == [["SERVICE", "STATE"], ["t", "ok"]]
    assert (paused.returncode, paused.stdout) == (0, "t: paused\n")
    assert ill.returncode == 1
    assert json.loads(ill.stdout)["services"]["t"]["paused"] == "maintenance"
    assert refused[0] == 503
    assert (resumed.returncode, resumed.stdout) == (0, "t: closed\n")
    assert [each.returncode for each in others] == [0, 0]
    assert (unknown.returncode, "unknown" in unknown.stderr or "no service" in unknown.stderr) == (2, True)
    assert "operator: pause t from 127.0.0.1: maintenance" in audit


def test_operating_through_the_store(program: Program) -> None:
    """
    Without a URL the commands go to the store, which the gateway obeys as it would obey itself; the ledger has both.
    """
    program.get("/t/x")
    well = program.run("status")
    paused = program.run("pause", "t", "--reason", "maintenance")
    deadline = time.monotonic() + 60
    while program.get("/t/x")[0] != 503 and time.monotonic() < deadline:
        time.sleep(0.01)  # real time: another process hears of it
    ill = program.run("status", "--json")
    at_the_gateway = program.run("status", "--json", "--url", program.url)
    resumed = program.run("resume", "t", "--url", program.url)
    history = program.run("history", "--json")

    assert [line.split()[:2] for line in well.stdout.splitlines()] == [["SERVICE", "STATE"], ["t", "ok"]]
    assert (paused.returncode, paused.stdout, paused.stderr) == (0, "t: paused\n", "")
    assert (ill.returncode, json.loads(ill.stdout)["services"]["t"]["paused"]) == (1, "maintenance")
    assert json.loads(at_the_gateway.stdout)["services"]["t"]["paused"] == "maintenance"
    assert (resumed.returncode, resumed.stdout) == (0, "t: closed\n")
    assert [each["what"] for each in json.loads(history.stdout)["entries"]] == ["resume", "pause"]


def test_a_wrong_token(program: Program) -> None:
    """
    A token that isn't the gateway's changes nothing.
    """
    program.environment["EGRESSOR_TOKEN"] = "0123456789abcdef-wrong"
    refused = program.run("pause", "t", "--url", program.url)

    assert refused.returncode == 2
    assert "token" in refused.stderr
    assert program.run("status", "--url", program.url).returncode == 0


def test_a_gateway_in_memory_is_asked_itself(tmp_path: Path, base: str) -> None:
    """
    Where the configuration keeps the counters in memory, the commands find the gateway that has them.
    """
    (tmp_path / "egressor.toml").write_text("[egressor]\nstore = 'memory:'\n" + SERVICE.format(name="t", base=base))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EGRESSOR_")}
    running = Program(tmp_path, environment | {"XDG_STATE_HOME": str(tmp_path / "state")})
    try:
        paused = running.run("pause", "t")
        refused = running.get("/t/x")
        status = running.run("status")
    finally:
        running.close()

    assert (paused.returncode, paused.stdout, refused[0]) == (0, "t: paused\n", 503)
    assert (status.returncode, status.stdout.split()[2]) == (1, "WAITING")
    assert list((tmp_path / "state" / "egressor").glob("*.cells*")) == []


def test_a_store_that_is_away(tmp_path: Path, base: str) -> None:
    """
    The gateway begins and goes on with its share; the commands say that the store is away, also if they ask it.
    """
    store = '[egressor]\nstore = "redis://127.0.0.1:9"\n'
    service = 'limits = ["6/day"]\nmax_wait = 0\nretry.attempts = 1\n'
    (tmp_path / "egressor.toml").write_text(store + SERVICE.format(name="t", base=base) + service)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EGRESSOR_")}
    running = Program(tmp_path, environment | {"XDG_STATE_HOME": str(tmp_path / "state")})
    try:
        statuses = [running.get("/t/x")[0] for _ in range(10)]
        asked = [running.run(*words) for words in (("status",), ("pause", "t"), ("status", "--url", running.url))]
        doctor = running.run("doctor")
    finally:
        running.close()

    assert statuses == [200] * 3 + [429] * 7
    assert [each.returncode for each in (*asked, doctor)] == [1, 1, 1, 1]
    assert {each.stderr for each in asked} == {
        "egressor: the store is away: Redis at 127.0.0.1:9: the connection was refused\n"
    }
    assert asked[2].stdout.splitlines()[1].split()[:2] == ["t", "ok"]
    assert "Redis at 127.0.0.1:9: the connection was refused" in doctor.stdout


def test_a_reload_keeps_the_ledger(program: Program, base: str) -> None:
    """
    Regression: a configuration that is read again has the commands' defaults, not the library's.
    """
    file = program.folder / "egressor.toml"
    file.write_text(file.read_text() + SERVICE.format(name="u", base=base))
    program.process.send_signal(signal.SIGHUP)
    said = program.says("reloaded egressor.toml, 2 services")
    found = json.loads(program.get("/-/history.json")[1])

    assert "will change with a restart" not in said
    assert (found["ledger"]["ledger"], [each["what"] for each in found["entries"]]) == ("sqlite", ["reload"])


def test_without_a_state_folder_it_stays_in_memory(tmp_path: Path, base: str) -> None:
    """
    A state folder that can't be made is told once, and the gateway runs; several workers would share nothing.
    """
    (tmp_path / "egressor.toml").write_text(SERVICE.format(name="t", base=base))
    (tmp_path / "state").write_text("no folder")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EGRESSOR_")}
    running = Program(tmp_path, environment | {"XDG_STATE_HOME": str(tmp_path / "state")})
    try:
        found = running.get("/t/x")
        said = running.errors.read_text()
        crew = running.run("serve", "--port", "0", "--workers", "2")
    finally:
        running.close()

    assert found == (200, "fine")
    assert said.startswith("egressor: Not a directory: what the configuration gives no place stays in memory\n")
    assert (crew.returncode, "2 workers need a store that they can share" in crew.stderr) == (2, True)


def test_port_in_use(program: Program) -> None:
    """
    A port that is taken is one line.
    """
    second = program.run("serve", "--port", program.url.rpartition(":")[2])

    assert second.returncode == 2
    assert "can't listen on 127.0.0.1" in second.stderr
    assert len(second.stderr.splitlines()) == 1


def test_serve_says_what_it_does_not_count() -> None:
    """
    A limit of weights is not kept by the gateway, and is not passed over in silence; one of tokens is kept.
    """
    limits = ["5/minute", "100 tokens/minute", "100 input_tokens/minute", "100 weight/minute"]
    config = from_services({"a": {"limits": limits}, "b": {"limits": ["5/minute"]}})

    [said] = uncounted(config)
    assert said == (
        "a: '100 weight/minute' holds only for calls that state their cost in weight; "
        "the gateway counts requests and tokens"
    )
