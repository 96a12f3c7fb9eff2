"""
What the gateway takes from where it runs: certificates, a proxy that is asked for, and few open files.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

import pytest

from tests.cli.test_serve import SERVICE, Program, upstream
from tests.gateway.servers import NGINX, Server, nginx, program

SECURE = (
    NGINX.replace("$http_host", "$ssl_server_name")
    .replace("listen 127.0.0.1:{port};", "listen 127.0.0.1:{port} ssl;")
    .replace("root {folder}/files;", "root {folder}/files; ssl_certificate {folder}/{name}.pem; "
             "ssl_certificate_key {folder}/{name}.key;", 1)
)  # fmt: skip


def certify(folder: Path, name: str, *names: str, days: int = 1) -> Path:
    """
    Make a certificate that vouches for itself, valid for *names*, and return its file.
    """
    subject = ",".join(f"DNS:{each}" for each in names)
    command = [program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.pem", "-days", str(days)]
    subprocess.run([*command, "-subj", "/CN=test", "-addext", f"subjectAltName={subject}"], check=True, stderr=-3)
    return folder / f"{name}.pem"


@contextmanager
def gateway(
    folder: Path, text: str, environment: dict[str, str] | None = None, before: tuple[str, ...] = ()
) -> Iterator[Program]:
    """
    Run ``egressor serve`` with the configuration *text*.
    """
    folder.mkdir()
    (folder / "egressor.toml").write_text(text)
    plain = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("EGRESSOR_") and "proxy" not in name.lower()
    }
    running = Program(folder, plain | {"XDG_STATE_HOME": str(folder / "state")} | (environment or {}), before)
    try:
        yield running
    finally:
        running.close()


def service(base: str) -> str:
    """
    Return the service ``t`` at *base*, which is tried once.
    """
    return SERVICE.format(name="t", base=base) + "retry = { attempts = 1 }\n"


@pytest.fixture(scope="module", params=["localhost", "other.test"])
def secure(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """
    An nginx with a certificate for one name, and the name.
    """
    folder = tmp_path_factory.mktemp("secure")
    certify(folder, "own", request.param)
    with nginx(folder, SECURE, name="own") as server:
        yield server, request.param


@pytest.mark.parametrize("trusted", [True, False])
def test_tls_is_verified(secure: tuple[Server, str], trusted: bool, tmp_path: Path) -> None:
    """
    A certificate that nobody trusts, or for another name, is a 502 before anything is sent; the name is told (SNI).
    """
    server, name = secure
    port = server.url.rpartition(":")[2]
    environment = {"SSL_CERT_FILE": str(server.folder / "own.pem")} if trusted else {}
    before = len(server.log())
    with gateway(tmp_path / "g", service(f"https://localhost:{port}"), environment) as running:
        status, text = running.get(f"/t/page.txt?{trusted}")

    if trusted and name == "localhost":
        assert (status, text[:5]) == (200, "hello")
        assert server.log()[-1].split()[:4] == ["GET", "/page.txt?True", "200", "localhost"]
    else:
        assert (status, "certificate" in text.lower() or "upstream_failed" in text) == (502, True)
        assert len(server.log()) == before


class Proxy:
    """
    An HTTP proxy that notes what it is asked for, and answers by itself.
    """

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.status = b"200 OK"
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.thread = Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                with connection, connection.makefile("rb") as lines:
                    self.asked.append(lines.readline().strip())
                    while lines.readline().strip():
                        pass
                    connection.sendall(
                        b"HTTP/1.1 " + self.status + b"\r\nContent-Length: 5\r\nConnection: close\r\n\r\nproxy"
                    )

    def close(self) -> None:
        """
        Stop.
        """
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """
    A proxy.
    """
    running = Proxy()
    yield running
    running.close()


@pytest.mark.parametrize(
    ("setting", "environment", "text"),
    [
        ("", "http_proxy", "fine"),
        ('[gateway]\nproxy = "off"\n', "http_proxy", "fine"),
        ('[gateway]\nproxy = "env"\n', "http_proxy", "proxy"),
        ('[gateway]\nproxy = "env"\n', "HTTP_PROXY", "proxy"),
        ('[gateway]\nproxy = "env"\n', "ALL_PROXY", "proxy"),
        ('[gateway]\nproxy = "env"\n', "HTTPS_PROXY", "fine"),
        ('[gateway]\nproxy = "env"\n', "", "fine"),
    ],
)
def test_a_proxy_is_used_where_it_is_asked_for(
    setting: str, environment: str, text: str, proxy: Proxy, tmp_path: Path
) -> None:
    """
    The environment's proxy takes the requests only if the configuration says so.
    """
    variables = {environment: proxy.url} if environment else {}
    with upstream() as base, gateway(tmp_path / "g", setting + service(base), variables) as running:
        found = running.get("/t/x?y=1")

    assert found == (200, text)
    assert proxy.asked == ([f"GET {base}/x?y=1 HTTP/1.1".encode()] if text == "proxy" else [])


def test_a_proxy_that_gives_no_way(proxy: Proxy, tmp_path: Path) -> None:
    """
    What the proxy answers to CONNECT is not taken for the service's: the gateway has no upstream, and says so.
    """
    proxy.status = b"407 Proxy Authentication Required"
    variables = {"HTTPS_PROXY": proxy.url}
    text = '[gateway]\nproxy = "env"\n' + service("https://service.example.test")
    with gateway(tmp_path / "g", text, variables) as running:
        status, said = running.get("/t/x")

    assert (status, "the proxy gave no way to the service" in said) == (502, True)
    assert set(proxy.asked) == {b"CONNECT service.example.test:443 HTTP/1.1"}


def test_no_proxy(proxy: Proxy, tmp_path: Path) -> None:
    """
    Hosts that NO_PROXY names are reached directly.
    """
    setting = '[gateway]\nproxy = "env"\n'
    variables = {"HTTP_PROXY": proxy.url, "NO_PROXY": "example.org,127.0.0.1"}
    with upstream() as base, gateway(tmp_path / "g", setting + service(base), variables) as running:
        found = running.get("/t/x")

    assert found == (200, "fine")
    assert proxy.asked == []


def test_few_open_files(tmp_path: Path) -> None:
    """
    With 64 open files it sheds what it can't bear with 503, goes on with what it has, and accepts again afterwards.
    """
    limited = ("sh", "-c", 'ulimit -n 64; exec "$@"', "sh")
    with upstream() as base, gateway(tmp_path / "g", service(base), before=limited) as running:
        port = int(running.url.rpartition(":")[2])
        crowd = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(60)]
        for each in crowd:
            with suppress(OSError):
                each.sendall(b"GET /t/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        firsts = [_first(each) for each in crowd]
        for each in crowd:
            each.close()
        _until(lambda: running.get("/t/x") == (200, "fine"))
        status = running.end(15)
        errors = running.errors.read_text()

    assert 0 < firsts.count(b"HTTP/1.1 200") <= (64 - 40) // 2
    assert set(firsts) <= {b"HTTP/1.1 200", b"HTTP/1.1 503", b""}
    assert b"HTTP/1.1 503" in firsts
    assert (status, errors) == (0, "")


def _first(connection: socket.socket) -> bytes:
    try:
        return connection.recv(12)
    except OSError:
        return b""


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    found = False
    while not found and time.monotonic() < deadline:
        with suppress(OSError):
            found = condition()
        time.sleep(0.02)  # real time: another process sees its clients go
    assert found
