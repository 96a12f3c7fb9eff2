"""
The gateway as a program: it starts, reloads, is operated, and ends.
"""

from __future__ import annotations

import json
import os
import signal
import socket
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

from egressor.cli.serve import uncounted
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
        deadline = time.monotonic() + 20
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
    place = list((program.folder / "state" / "egressor").iterdir())

    assert program.line == f"egressor gateway: {program.url} (status page: {program.url}/-/)\n"
    assert program.get("/t/x") == (200, "fine")
    assert program.end(signal.SIGTERM) == 0
    assert [path.name for path in place] == [f"gateway-{program.url.rpartition(':')[2]}.json"]
    assert list((program.folder / "state" / "egressor").iterdir()) == []
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
    deadline = time.monotonic() + 20
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
    The commands find the gateway, change it, and tell by their exit codes how it is.
    """
    program.get("/t/x")
    well = program.run("status")
    paused = program.run("pause", "t", "--reason", "maintenance")
    ill = program.run("status", "--json")
    refused = program.get("/t/x")
    resumed = program.run("resume", "t")
    others = [program.run("reset-breaker", "t"), program.run("lift-ban", "t", "--url", program.url)]
    unknown = program.run("pause", "nope")
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


def test_a_wrong_token(program: Program) -> None:
    """
    A token that isn't the gateway's changes nothing.
    """
    program.environment["EGRESSOR_TOKEN"] = "0123456789abcdef-wrong"
    refused = program.run("pause", "t")

    assert refused.returncode == 2
    assert "token" in refused.stderr
    assert program.run("status").returncode == 0


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
    A limit of tokens or weights is not kept by the gateway, and is not passed over in silence.
    """
    config = from_services({"a": {"limits": ["5/minute", "100 tokens/minute"]}, "b": {"limits": ["5/minute"]}})

    assert uncounted(config) == [
        "a: '100 tokens/minute' is not counted here: the gateway takes each call as one request"
    ]
