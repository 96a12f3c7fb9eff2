"""
Real programs to measure against, from Debian packages: nginx in several parts, and wrk.

A group that needs a program which is not installed names its package instead of its figures.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.measure import Table

__all__ = ["free_port", "listening", "missing", "nginx", "nowhere", "on_cores", "program"]

# Servers live in /usr/sbin, which isn't on an ordinary user's PATH.
_PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
_PACKAGES = {"nginx": "nginx-light", "redis-server": "redis-server", "wrk": "wrk"}
_PATIENCE = 10.0
_FRAME = """\
daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 100000000;
    {http}
    server {{
        listen 127.0.0.1:{port};
        root {folder}/files;
        location = /ready {{ return 204; }}
        {server}
    }}
}}
"""


def program(name: str) -> str | None:
    """
    Return the path of the program *name*; None if it is not installed.
    """
    return shutil.which(name, path=_PATH)


def missing(*names: str) -> list[str]:
    """
    Return the Debian packages of those programs of *names* that are not installed.
    """
    return [_PACKAGES[name] for name in names if program(name) is None]


def nowhere(title: str, packages: Sequence[str]) -> Table:
    """
    Return the table of a group that needs *packages*.
    """
    return Table(title, ["not measured: not installed"], [[f"`apt-get install {package}`"] for package in packages])


def free_port() -> int:
    """
    Return a port of this machine that nobody listens on.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def nginx(folder: Path, *, http: str = "", server: str = "", page: bytes = b"hello\n") -> Iterator[str]:
    """
    Run nginx in *folder*, and return its URL. It serves *page* as ``page.txt``, and ``ready``, which counts nowhere.

    Args:
        folder: An empty folder.
        http: Lines for the configuration's ``http`` block; ``{folder}`` is filled in.
        server: Lines for its ``server`` block, likewise.
        page: What ``page.txt`` holds.
    """
    executable = program("nginx")
    assert executable is not None, "nginx is not installed"
    port = free_port()
    (folder / "files").mkdir(parents=True)
    (folder / "files" / "page.txt").write_bytes(page)
    parts = {"http": http.format(folder=folder), "server": server.format(folder=folder)}
    file = folder / "nginx.conf"
    file.write_text(_FRAME.format(folder=folder, port=port, **parts), encoding="utf-8")
    # A root's nginx drops to an account that can't read the folder; without a master it stays who it is.
    with subprocess.Popen([executable, "-p", folder, "-c", file, "-e", folder / "error.log"]) as process:
        try:
            yield listening(process, port)
        finally:
            process.terminate()


def listening(process: subprocess.Popen[bytes], port: int) -> str:
    """
    Wait until *process* listens on *port* of this machine, and return its URL.
    """
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        assert process.poll() is None, f"{process.args!r} ended with exit code {process.returncode}"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            time.sleep(0.02)
        else:
            return f"http://127.0.0.1:{port}"
    message = f"{process.args!r} did not listen on port {port} within {_PATIENCE:.0f} s"
    raise TimeoutError(message)


@contextmanager
def on_cores(*cores: int) -> Iterator[None]:
    """
    Let what is started inside of the block run on *cores* only, as far as this machine has them.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, before & set(cores) or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
