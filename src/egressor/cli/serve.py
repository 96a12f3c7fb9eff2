"""
The command ``serve``.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

import click

from egressor.gateway.guard import check_open
from egressor.gateway.place import Place, new_token
from egressor.gateway.serving import known, run, url_of
from egressor.gateway.serving import serve as serve_gateway
from egressor.gateway.workers import check_shareable, listen, supervise
from egressor.governor import Governor
from egressor.policies import Config, load

from . import home
from .findings import uncounted, unpriced
from .logs import to_stderr

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["crew", "serve"]


@click.command
@click.option("--config", "file", type=click.Path(), help="Configuration file.")
@click.option("--host", help="Address to listen on; default: the configuration's, 127.0.0.1.")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port; 0 takes a free one; default: the configuration's.")
@click.option("--workers", type=click.IntRange(1, 64), help="Processes that listen; default: the configuration's, 1.")
def serve(file: str | None, host: str | None, port: int | None, workers: int | None) -> int:
    """
    Run the gateway until SIGTERM or Ctrl-C; SIGHUP reads the configuration again.
    """
    to_stderr()
    path = home.config_path(file)
    config = opened(path)
    count = workers or config.gateway.workers
    check_shareable(count, config)
    for warning in [*uncounted(config), *unpriced(config)]:
        sys.stderr.write(f"egressor: {warning}\n")
    host = host or config.gateway.host
    check_open(host, config)
    port = config.gateway.port if port is None else port
    try:
        if count > 1:
            return crew(path, config, host=host, port=port, count=count)
        run(serve_gateway(Governor(config=config), host=host, port=port, file=path, read=home.read, ready=_announce))
    except OSError as error:
        sys.stderr.write(f"egressor: can't listen on {host}:{port}: {error.strerror or type(error).__name__}\n")
        return 2
    return 0


def opened(path: Path) -> Config:
    """
    Return the configuration at *path*, with the user's state folder made where it is needed; if that can't be, stderr
    says what that means.

    Raises:
        ConfigError: It can't be read, or holds a mistake.
    """
    config = home.settled(load(path), anyway=True)
    if home.HOME not in (config.sources["store"], config.sources["ledger"]):
        return config
    why = home.prepare()
    if why:
        sys.stderr.write(f"egressor: {why}: what the configuration gives no place stays in memory\n")
    return home.read(path)


def crew(file: Path, config: Config, *, host: str, port: int, count: int) -> int:
    """
    Run *count* workers, and return the exit code. That they can share the store has been checked.

    Raises:
        OSError: The address can't be listened on.
    """
    with listen(host, port) as sock:
        url = url_of(host, sock.getsockname()[1])
        here = Place(url, new_token(), os.getpid())
        with known(here):
            return asyncio.run(
                supervise(
                    [sys.executable, "-m", "egressor.cli.worker", str(file), host],
                    sock,
                    count=count,
                    grace=config.gateway.grace,
                    # All of them know one token, whoever answers.
                    environment={**os.environ, "EGRESSOR_TOKEN": here.token},
                    ready=lambda: _announce(url),
                )
            )


def _announce(url: str) -> None:
    click.echo(f"egressor gateway: {url} (status page: {url}/-/)")
    sys.stdout.flush()
