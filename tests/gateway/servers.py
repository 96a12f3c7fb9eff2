"""
Web servers of Debian's, each on a spare port with a folder of its own: the upstreams that our users have.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.ports import spare_port

PATHS = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin:/sbin:/bin"
LARGE = 10_000_000
NGINX = """
daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections 4096; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    default_type text/plain;
    log_format line '$request_method $request_uri $status $http_host $body_bytes_sent';
    access_log {folder}/access.log line;
    keepalive_requests 100000;
    client_max_body_size 20m;
    gzip on;
    gzip_types text/plain;
    gzip_min_length 100;
    add_header X-Server nginx always;
    server {{
        listen 127.0.0.1:{port};
        root {folder}/files;
        location = /ready {{ access_log off; return 204; }}
        location = /moved {{ return 307 http://127.0.0.1:9/elsewhere; }}
        location = /hangup {{ return 444; }}
        location = /down {{ return 503 "down for a while"; }}
        location /up/ {{ dav_methods PUT DELETE; create_full_put_path on; client_max_body_size 1m; }}
    }}
}}
"""
HAPROXY = """
global
    maxconn 4096
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    timeout http-request 5s
frontend front
    bind 127.0.0.1:{port}
    http-request return status 204 if {{ path /ready }}
    http-request deny deny_status 429 if {{ path /slowly }}
    http-request silent-drop if {{ path /drop }}
    http-response set-header X-Server haproxy
    default_backend files
backend files
    server nginx 127.0.0.1:{behind}
"""
APACHE = """
ServerRoot {folder}
ServerName localhost
Listen 127.0.0.1:{port}
PidFile {folder}/apache.pid
ErrorLog {folder}/error.log
DefaultRuntimeDir {folder}
Mutex pthread
ThreadLimit 256
ThreadsPerChild 256
MaxRequestWorkers 256
MaxKeepAliveRequests 0
KeepAliveTimeout 60
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule mime_module {modules}/mod_mime.so
LoadModule deflate_module {modules}/mod_deflate.so
LoadModule filter_module {modules}/mod_filter.so
LoadModule headers_module {modules}/mod_headers.so
LoadModule alias_module {modules}/mod_alias.so
LoadModule dav_module {modules}/mod_dav.so
LoadModule dav_fs_module {modules}/mod_dav_fs.so
LoadModule env_module {modules}/mod_env.so
TypesConfig /dev/null
DavLockDB {folder}/DavLock
LogFormat "%m %U%q %>s %{{Host}}i %B" line
CustomLog {folder}/access.log line
DocumentRoot {folder}/files
Header always set X-Server apache
AddOutputFilterByType DEFLATE text/plain
AddType text/plain .txt
AddType application/octet-stream .bin
Redirect 307 /moved http://127.0.0.1:9/elsewhere
Redirect 204 /ready
<Directory {folder}/files>
    Require all granted
</Directory>
<Location /up>
    Dav On
    LimitRequestBody 1048576
</Location>
"""


class Server(NamedTuple):
    """
    A web server.

    Attributes:
        url: Where it is.
        folder: Its files, configuration and log.
    """

    url: str
    folder: Path

    def log(self) -> list[str]:
        """
        Return what it has noted, one line for each request.
        """
        path = self.folder / "access.log"
        return path.read_text().splitlines() if path.exists() else []


def program(name: str) -> str:
    """
    Return where the program *name* is.
    """
    found = shutil.which(name, path=PATHS)
    assert found is not None, f"{name} is not installed: scripts/debian-packages"
    return found


def make_files(folder: Path) -> None:
    """
    Make what the servers serve.
    """
    files = folder / "files"
    (files / "up").mkdir(parents=True)
    (files / "page.txt").write_text("hello, this is a page\n" * 50)
    (files / "empty.txt").write_text("")
    (files / "a b&c.txt").write_text("blanks\n")
    (files / "large.bin").write_bytes(bytes(range(256)) * (LARGE // 256))
    # A root's server drops to an account that has to reach the files.
    for path in (folder, files, files / "up", *folder.parents[:3]):
        path.chmod(path.stat().st_mode | 0o055 if path != files / "up" else 0o777)


@contextmanager
def running(command: list[str], port: int) -> Iterator[str]:
    """
    Run *command* until the block ends, and hand out its URL once it answers.
    """
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(250):
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    assert process.poll() is None, f"{command[0]} ended with {process.returncode}"
                    time.sleep(0.02)  # real time: it binds its port when it is ready to
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@contextmanager
def nginx(folder: Path, configuration: str = NGINX, **names: object) -> Iterator[Server]:
    """
    Run nginx.
    """
    make_files(folder)
    port = spare_port()
    file = folder / "nginx.conf"
    file.write_text(configuration.format(folder=folder, port=port, **names))
    command = [program("nginx"), "-p", str(folder), "-c", str(file), "-e", str(folder / "error.log")]
    with running(command, port) as url:
        yield Server(url, folder)


@contextmanager
def haproxy(folder: Path) -> Iterator[Server]:
    """
    Run haproxy in front of nginx.
    """
    with nginx(folder) as behind:
        port = spare_port()
        file = folder / "haproxy.cfg"
        file.write_text(HAPROXY.format(port=port, behind=behind.url.rpartition(":")[2]))
        with running([program("haproxy"), "-db", "-f", str(file)], port) as url:
            yield Server(url, folder)


@contextmanager
def apache(folder: Path) -> Iterator[Server]:
    """
    Run apache.
    """
    make_files(folder)
    port = spare_port()
    file = folder / "apache.conf"
    modules = next(path for path in ("/usr/lib/apache2/modules", "/usr/lib/httpd/modules") if os.path.isdir(path))  # noqa: PTH112
    file.write_text(APACHE.format(folder=folder, port=port, modules=modules))
    with running([program("apache2"), "-X", "-f", str(file)], port) as url:
        yield Server(url, folder)


KINDS = {"nginx": nginx, "haproxy": haproxy, "apache": apache}
