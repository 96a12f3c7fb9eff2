"""
What may stand in front of an upstream, each started in an empty folder, one process each, and what that process uses.

nginx's ``proxy_pass`` with keep-alive both ways, the smallest proxy that aiohttp makes, our gateway, and LiteLLM's
proxy from an environment of its own. Ours has on what a user has on: a limit that is never reached, a limit of
concurrency with its priorities, breaker, retry, counters. A second one has on all that language models need, too: a
client's key, budgets in a ledger on the disk, tokens per minute, and a cache of 8 MiB, whose answers nobody asks for
again. Neither has the extra `tokenizer`, whose vocabulary takes 40 MB and a time that is the text's, not the gateway's.
"""

from __future__ import annotations

import compileall
import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from bench.measure import ROOT
from bench.servers import free_port, nginx

__all__ = [
    "FRONTS",
    "KEY",
    "LITELLM",
    "MODEL",
    "Front",
    "bare",
    "cpu_seconds",
    "gateway",
    "litellm",
    "resident_bytes",
    "upstream",
]

KEY = "sk-bench-0123456789abcdef0123456789abcdef"
"""
What the clients send as their key: LiteLLM wants one, the others pass it on.
"""

MODEL = "gpt-4o-mini"
"""
The model that they ask for, which has a price.
"""

LITELLM = ROOT / ".venv-litellm" / "bin" / "litellm"
"""
Where `scripts/setup litellm` puts LiteLLM.
"""

_PATIENCE = 120.0
_GRACE = 10.0
_POLL = 0.005
_MANY = 1_000_000
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
_NEVER = f'limits = ["{_MANY}/second burst {_MANY}"]\nmax_concurrency = 10000'
_MAIN = "import sys; sys.modules['splintr'] = None; from egressor.cli.main import main; main()"
_MONEY = 1_000_000
_ALL = f"""\
dialect = "openai"
api_key = {{ env = "BENCH_API_KEY" }}
limits = ["{_MANY}/second burst {_MANY}", "1000000000000 tokens/minute"]
max_concurrency = 10000

[services.page.budget]
day = {_MONEY}
month = {_MONEY}

[services.page.cache]
max_bytes = 8_388_608

[[services.page.rules]]
match = {{ user = "*" }}
budget = {{ day = {_MONEY} }}
"""
_ALL_SETTINGS = f"""
[[gateway.keys]]
name = "bench"
user = "bench"
sha256 = "{sha256(KEY.encode()).hexdigest()}"
"""
_PROXY_HTTP = """\
upstream page {{{{
        server {address};
        keepalive 64;
        keepalive_requests 100000000;
    }}}}"""
_PROXY_SERVER = """\
location / {{
            proxy_pass http://page;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}"""
_LITELLM = {
    "model_list": [{"model_name": MODEL, "litellm_params": {"model": f"openai/{MODEL}", "api_key": "x"}}],
    "general_settings": {"master_key": KEY},
    "litellm_settings": {"num_retries": 0, "callbacks": [], "request_timeout": 30},
}
_LITELLM_FAST = {"LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


class Front(NamedTuple):
    """
    A proxy that runs.

    Attributes:
        url: Where it is, with the part of the path that it takes off.
        pid: Its process; None where there is none.
        ready: Seconds from its start to its first answer.
    """

    url: str
    pid: int | None
    ready: float


Open = Callable[[Path, str], AbstractContextManager[Front]]


@contextmanager
def upstream() -> Iterator[str]:
    """
    Run the upstream, and return its URL.
    """
    with _started([sys.executable, "-m", "bench.upstream", "{port}"], ready="/") as front:
        yield front.url


@contextmanager
def _started(
    command: list[str], *, ready: str, environment: Mapping[str, str] | None = None, error: Path | None = None
) -> Iterator[Front]:
    """
    Run *command*, in which ``{port}`` stands for a free port, and wait until the path *ready* is answered.
    """
    port = free_port()
    words = [word.replace("{port}", str(port)) for word in command]
    since = time.perf_counter()
    with (
        Path(error or os.devnull).open("wb") as log,
        subprocess.Popen(
            words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=log, env={**os.environ, **(environment or {})}
        ) as process,
    ):
        try:
            _wait(process, port, ready)
            yield Front(f"http://127.0.0.1:{port}", process.pid, time.perf_counter() - since)
        finally:
            process.terminate()
            try:
                process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(process: subprocess.Popen[bytes], port: int, path: str) -> None:
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        assert process.poll() is None, f"{process.args!r} ended with exit code {process.returncode}"
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
        try:
            connection.request("GET", path)
            if connection.getresponse().status < 400:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(_POLL)
    message = f"{process.args!r} did not answer {path} on port {port} within {_PATIENCE:.0f} s"
    raise TimeoutError(message)


@cache
def _compile() -> None:
    """
    Compile all modules to bytecode, as those of an installed package are: imports may be kept from doing so.
    """
    for folder in ("src", "bench"):
        compileall.compile_dir(ROOT / folder, quiet=2)


def _direct(folder: Path, behind: str) -> AbstractContextManager[Front]:  # noqa: ARG001 - a front
    return nullcontext(Front(behind, None, 0.0))


@contextmanager
def _nginx(folder: Path, behind: str) -> Iterator[Front]:
    since = time.perf_counter()
    http_lines = _PROXY_HTTP.format(address=behind.removeprefix("http://"))
    with nginx(folder, http=http_lines, server=_PROXY_SERVER) as url:
        ready = time.perf_counter() - since
        yield Front(url, int((folder / "nginx.pid").read_text(encoding="ascii")), ready)


def bare(folder: Path, behind: str) -> AbstractContextManager[Front]:  # noqa: ARG001 - a front
    """
    Run the bare aiohttp proxy.
    """
    _compile()
    return _started([sys.executable, "-m", "bench.bare_proxy", "{port}", behind], ready="/")


@contextmanager
def gateway(
    folder: Path,
    behind: str,
    *,
    service: str = "",
    settings: str = "",
    ledger: str = "memory:",
    tokenizer: bool = False,
) -> Iterator[Front]:
    """
    Run our gateway.

    Args:
        folder: An empty folder.
        behind: The upstream's URL.
        service: Lines for the service, in place of a limit that is never reached.
        settings: Lines for ``[gateway]``.
        ledger: The ledger's address.
        tokenizer: Whether it has the extra of this name.
    """
    _compile()
    folder.mkdir()
    file = folder / "egressor.toml"
    where = f'[egressor]\nstore = "memory:"\nledger = {json.dumps(ledger)}\n\n'
    lines = f"{where}[gateway]\n{settings}\n\n[services.page]\nbase_url = {json.dumps(behind)}\n{service or _NEVER}\n"
    file.write_text(lines, encoding="utf-8")
    # It announces itself in the user's state folder: not where a real gateway does.
    environment = {"XDG_STATE_HOME": str(folder), "BENCH_API_KEY": "sk-of-the-upstream"}
    program = ["-m", "egressor.cli.main"] if tokenizer else ["-c", _MAIN]
    command = [sys.executable, *program, "serve", "--config", str(file), "--port", "{port}"]
    with _started(command, ready="/-/healthz", environment=environment, error=folder / "stderr") as front:
        yield front._replace(url=f"{front.url}/page")


def _everything(folder: Path, behind: str) -> AbstractContextManager[Front]:
    return gateway(folder, behind, service=_ALL, settings=_ALL_SETTINGS, ledger=f"sqlite:///{folder}/ledger.db")


@contextmanager
def litellm(
    folder: Path, behind: str, *, params: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
) -> Iterator[Front]:
    """
    Run LiteLLM's proxy, without a database.

    Args:
        folder: An empty folder.
        behind: The upstream's URL.
        params: More for the deployment's ``litellm_params``.
        settings: More for the file's sections.
    """
    folder.mkdir()
    file = folder / "litellm.yaml"
    setup = json.loads(json.dumps(_LITELLM))
    setup["model_list"][0]["litellm_params"] |= {"api_base": f"{behind}/v1", **(params or {})}
    for section, more in (settings or {}).items():
        setup[section] = {**setup.get(section, {}), **more}
    file.write_text(json.dumps(setup), encoding="utf-8")  # JSON is YAML.
    command = [str(LITELLM), "--config", str(file), "--host", "127.0.0.1", "--port", "{port}", "--num_workers", "1"]
    with _started(command, ready="/health/liveliness", environment=_LITELLM_FAST) as front:
        yield front


FRONTS: dict[str, Open] = {
    "nothing in front": _direct,
    "nginx `proxy_pass`": _nginx,
    "bare aiohttp proxy": bare,
    "**egressor** gateway": gateway,
    "**egressor**, everything on": _everything,
    "LiteLLM proxy": litellm,
}
"""
Each opens in a folder, before an upstream's URL.
"""


def cpu_seconds(pid: int | None) -> float:
    """
    Return the seconds of CPU time that the process *pid* and those that it has started have used; 0 for None.
    """
    if pid is None:
        return 0.0
    # The name in the second field may hold blanks: what counts comes after its bracket.
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    ended_too = sum(map(int, fields[11:15])) / _CLOCK_TICKS
    return ended_too + sum(cpu_seconds(child) for child in _children(pid))


def resident_bytes(pid: int | None) -> int:
    """
    Return the memory that the process *pid* and those that it has started have now; 0 for None.
    """
    if pid is None:
        return 0
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(r"^VmRSS:\s+([0-9]+) kB$", status, re.MULTILINE)
    assert found is not None, f"no VmRSS in /proc/{pid}/status"
    return int(found[1]) * 1024 + sum(resident_bytes(child) for child in _children(pid))


def _children(pid: int) -> list[int]:
    each = (file.read_text(encoding="ascii") for file in Path(f"/proc/{pid}/task").glob("*/children"))
    return [int(child) for text in each for child in text.split()]
