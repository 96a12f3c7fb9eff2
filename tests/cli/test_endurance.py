"""
The gateway as a process under much of everything: large bodies, slow crowds, reloads and dying workers.

``make soak`` runs these whole (``EGRESSOR_SOAK=1``): a gigabyte, thousands of clients, a thousand reloads. What is
judged is the same: the process's own numbers in /proc, and what each client got.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.cli.test_serve import SERVICE, Program
from tests.cli.test_surroundings import gateway
from tests.cli.test_workers import Crew

SOAK = os.environ.get("EGRESSOR_SOAK") == "1"
MEGABYTE = 1 << 20
BODY = 1024 * MEGABYTE if SOAK else 128 * MEGABYTE
STREAMS = 200 if SOAK else 40
CROWD = (2000, 2000, 500) if SOAK else (150, 150, 40)
RELOADS = 1000 if SOAK else 40
KILLS = 24 if SOAK else 2
BETWEEN_KILLS = 5.0 if SOAK else 0.5
PIECE = b"x" * 65_536

pytestmark = [
    pytest.mark.timeout(1800 if SOAK else 300),
    # A gateway's memory and files are read from there.
    pytest.mark.usefixtures("linux"),
]


@pytest.fixture
def linux() -> None:
    """
    See that the kernel tells of its processes.
    """
    assert sys.platform == "linux", "these tests read /proc"


class Upstream:
    """
    An upstream that sends or takes as much as the path says, one thread for each connection.

    ``/send/N`` sends N bytes, ``/take`` reads the whole body, ``/ignore`` reads none of it, ``/x`` says hello.
    """

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.over = Event()
        self.served = 0
        Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """
        Stop.
        """
        self.over.set()
        self.socket.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream, suppress(OSError, ValueError):
            while line := stream.readline():
                path = line.split()[1].decode()
                fields = dict(iter(lambda: _field(stream.readline()), ("", "")))
                length = int(fields.get("content-length", "0"))
                if path == "/ignore":
                    self.over.wait(600)
                    return
                for _ in range(length // len(PIECE)):
                    stream.read(len(PIECE))
                stream.read(length % len(PIECE))
                count = int(path.rpartition("/")[2]) if path.startswith("/send/") else 5
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % count)
                for _ in range(count // len(PIECE)):
                    connection.sendall(PIECE)
                connection.sendall(PIECE[: count % len(PIECE)])
                self.served += 1


def _field(line: bytes) -> tuple[str, str]:
    name, _, value = line.decode("latin-1").strip().partition(": ")
    return name.lower(), value


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """
    An upstream.
    """
    running = Upstream()
    yield running
    running.close()


@pytest.fixture
def program(upstream: Upstream, tmp_path: Path) -> Iterator[Program]:
    """
    A gateway whose clients are given little time.
    """
    bounds = "[gateway]\nheader_timeout = 3\nbody_timeout = 3\nsend_timeout = 3\nmax_connections = 6000\n"
    text = bounds + SERVICE.format(name="t", base=upstream.url) + "max_concurrency = 10000\n"
    with gateway(tmp_path / "g", text) as running:
        assert running.get("/t/x")[0] == 200
        yield running


def resident(program: Program, what: str = "VmRSS") -> int:
    """
    Return the bytes of memory that *program* holds, or has held at most (``VmHWM``), by the kernel's count.
    """
    lines = Path(f"/proc/{program.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what + ":"))


def files(program: Program) -> int:
    """
    Return how many files *program* has open.
    """
    return len(list(Path(f"/proc/{program.process.pid}/fd").iterdir()))


def connect(program: Program, data: bytes, *, buffer: int = 0) -> socket.socket:
    """
    Open a connection, and send *data*.
    """
    connection = socket.socket()
    if buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
    connection.settimeout(60)
    connection.connect(("127.0.0.1", int(program.url.rpartition(":")[2])))
    connection.sendall(data)
    return connection


def unsent(connection: socket.socket) -> int:
    """
    Return the bytes that the kernel keeps for *connection*'s reader, of what the other side has written.
    """
    ends = [f":{connection.getpeername()[1]:04X}", f":{connection.getsockname()[1]:04X}"]
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    (row,) = [row for row in rows if row[1].endswith(ends[0]) and row[2].endswith(ends[1])]
    return int(row[4].partition(":")[0], 16)


def settled(number: Callable[[], int]) -> int:
    """
    Return *number* once it has not grown for half a second.
    """
    last, quiet = number(), 0
    while quiet < 5:
        time.sleep(0.1)  # real time: another process fills its buffers
        now = number()
        quiet = quiet + 1 if now <= last else 0
        last = max(last, now)
    return last


def test_an_answer_that_nobody_reads_fills_no_buffers(program: Program) -> None:
    """
    The kernel holds little more of it than what is on its way: without a bound of ours it takes up to 4 MB.
    """
    connection = connect(program, b"GET /t/send/%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % BODY, buffer=4096)
    connection.recv(1)
    assert 0 < settled(lambda: unsent(connection)) < MEGABYTE // 2
    connection.close()


def test_a_large_body_down_takes_no_memory(program: Program) -> None:
    """
    A body many times as large passes in a few megabytes.
    """
    before = resident(program, "VmHWM")
    connection = connect(program, b"GET /t/send/%d HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % BODY)
    received = 0
    while piece := connection.recv(MEGABYTE):
        received += len(piece)
    connection.close()

    assert BODY < received < BODY + 1000
    assert resident(program, "VmHWM") - before < 8 * MEGABYTE


def test_a_large_body_up_takes_no_memory(program: Program) -> None:
    """
    Likewise in the other direction.
    """
    before = resident(program, "VmHWM")
    head = b"PUT /t/take HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    connection = connect(program, head % BODY)
    for _ in range(BODY // len(PIECE)):
        connection.sendall(PIECE)
    answer = connection.recv(MEGABYTE)
    connection.close()

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert resident(program, "VmHWM") - before < 8 * MEGABYTE


@pytest.mark.parametrize("way", ["down", "up"])
def test_a_stream_takes_at_most_a_megabyte(way: str, program: Program) -> None:
    """
    Streams whose reader has stopped reading take 1 MB each at most.
    """
    head = b"GET /t/send/50000000" if way == "down" else b"PUT /t/ignore"
    head += b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (0 if way == "down" else 50_000_000)
    before = resident(program)
    crowd = [connect(program, head, buffer=4096) for _ in range(STREAMS)]
    uploads = [Thread(target=_push, args=(each,), daemon=True) for each in crowd if way == "up"]
    for each in uploads:
        each.start()
    after = settled(lambda: resident(program, "VmHWM"))
    for connection in crowd:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()

    assert after - before < STREAMS * MEGABYTE


def _push(connection: socket.socket) -> None:
    with suppress(OSError):
        for _ in range(500):
            connection.sendall(PIECE)


def test_a_slow_crowd_costs_the_others_nothing(program: Program) -> None:
    """
    While crowds drip heads, drip bodies and don't read, everybody else is served; the crowds are dropped by their
    deadlines, and their files are given back.
    """
    heads, bodies, readers = CROWD
    before = settled(lambda: files(program))
    crowd = [connect(program, b"GET /t/x HTTP/1.1\r\nHost: lo") for _ in range(heads)]
    drip = b"POST /t/take HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nx"
    crowd += [connect(program, drip) for _ in range(bodies)]
    flood = b"GET /t/send/50000000 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    crowd += [connect(program, flood, buffer=4096) for _ in range(readers)]
    _until(lambda: files(program) >= before + heads)
    most = files(program)
    statuses = [program.get("/t/x")[0] for _ in range(200)]
    # The kernel's buffers hold an answer's beginning for those who do not read; the others read 408 and the end.
    ends = [_drain(connection) for connection in crowd[: heads + bodies]]
    deadline = time.monotonic() + 60
    while files(program) > before + 20 and time.monotonic() < deadline:
        time.sleep(0.1)  # real time: another process gives them up
    for connection in crowd:
        connection.close()

    assert statuses == [200] * 200
    assert {end.split(b"\r\n")[0][:12] for end in ends} == {b"HTTP/1.1 408"}
    assert most <= before + heads + bodies + 2 * readers + 40
    assert files(program) <= before + 20
    assert program.get("/t/x")[0] == 200


def _drain(connection: socket.socket) -> bytes:
    received = b""
    with suppress(OSError):
        while piece := connection.recv(65_536):
            received += piece
    return received


class Load:
    """
    Calls, one after the other on each of some threads, until they are stopped.
    """

    def __init__(self, port: int, path: str = "/t/x", threads: int = 4) -> None:
        self.statuses: list[int] = []
        self._over = Event()
        self._pool = ThreadPoolExecutor(threads)
        self._runs = [self._pool.submit(self._call, port, path) for _ in range(threads)]

    def _call(self, port: int, path: str) -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        while not self._over.is_set():
            try:
                connection.request("GET", path)
                response = connection.getresponse()
                response.read()
                self.statuses.append(response.status)
            except (OSError, HTTPException):
                self.statuses.append(0)
                connection.close()
        connection.close()

    def stop(self) -> list[int]:
        """
        Stop, and return the statuses; 0 is a call without an answer.
        """
        self._over.set()
        for run in self._runs:
            run.result()
        self._pool.shutdown()
        return self.statuses


def test_reloads_under_load_fail_no_call(program: Program, upstream: Upstream) -> None:
    """
    Good, wrong, half-written and huge configurations come one after the other; no call fails, and what holds is known.
    """
    file = program.folder / "egressor.toml"
    good = file.read_text()
    more = good + SERVICE.format(name="u", base=upstream.url)
    huge = good + "".join(f'[services.n{number}]\nbase_url = "{upstream.url}"\n' for number in range(2000))
    load = Load(int(program.url.rpartition(":")[2]))
    try:
        for number in range(RELOADS):
            text = (more, good[: len(good) // 2], "not toml [", huge if number % 100 == 3 else good)[number % 4]
            before = program.errors.read_text().count("reloaded")
            file.write_text(text)
            program.process.send_signal(signal.SIGHUP)
            _until(lambda before=before: program.errors.read_text().count("reloaded") > before)  # type: ignore[misc]
        file.write_text(more)
        program.process.send_signal(signal.SIGHUP)
        _until(lambda: program.get("/u/x")[0] == 200)
    finally:
        statuses = load.stop()

    assert len(statuses) > RELOADS // 4
    assert set(statuses) == {200}
    assert program.errors.read_text().count("not reloaded, the former configuration holds") >= RELOADS // 4


def test_a_worker_that_dies_takes_only_its_own_calls(tmp_path: Path, upstream: Upstream) -> None:
    """
    With a worker killed again and again, a call fails only if it was in flight there.
    """
    (tmp_path / "egressor.toml").write_text(SERVICE.format(name="t", base=upstream.url))
    crew = Crew(tmp_path, 3)
    load = Load(crew.port)
    try:
        for _ in range(KILLS):
            time.sleep(BETWEEN_KILLS)  # real time: so that calls run in between
            os.kill(max(crew.workers()), signal.SIGKILL)
            _until(lambda: len(crew.workers()) == 3)
    finally:
        statuses = load.stop()
        crew.process.send_signal(signal.SIGTERM)
        code = crew.process.wait(30)
        assert crew.process.stdout is not None
        crew.process.stdout.close()

    # Each of the four clients has one call in flight at most.
    assert statuses.count(0) <= 4 * KILLS
    assert set(statuses) <= {0, 200}
    assert statuses.count(200) > 50
    assert code == 0


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)  # real time: another process works
    assert condition()
