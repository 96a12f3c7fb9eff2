"""
The command ``serve``.
"""

from __future__ import annotations

import logging
import sys

import click

from egressor.gateway.serving import run
from egressor.gateway.serving import serve as serve_gateway
from egressor.governor import Governor
from egressor.policies import Config, load

from .config import config_path

__all__ = ["serve"]


@click.command
@click.option("--config", "file", type=click.Path(), help="Configuration file.")
@click.option("--host", help="Address to listen on; default: the configuration's, 127.0.0.1.")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port; 0 takes a free one; default: the configuration's.")
def serve(file: str | None, host: str | None, port: int | None) -> int:
    """
    Run the gateway until SIGTERM or Ctrl-C; SIGHUP reads the configuration again.
    """
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s", stream=sys.stderr
    )
    logging.getLogger("egressor").setLevel(logging.INFO)
    path = config_path(file)
    config = load(path)
    for warning in uncounted(config):
        sys.stderr.write(f"egressor: {warning}\n")
    host = host or config.gateway.host
    port = config.gateway.port if port is None else port
    try:
        run(serve_gateway(Governor(config=config), host=host, port=port, file=path, ready=_announce))
    except OSError as error:
        sys.stderr.write(f"egressor: can't listen on {host}:{port}: {error.strerror or type(error).__name__}\n")
        return 2
    return 0


def uncounted(config: Config) -> list[str]:
    """
    Return what the gateway will not count: it takes each call as one request, whatever its tokens or weight.
    """
    found = []
    for name, policy in config.services.items():
        limits = [*policy.limits, *(limit for rule in policy.rules for limit in rule.limits)]
        found += [
            f"{name}: {str(limit)!r} is not counted here: the gateway takes each call as one request"
            for limit in limits
            if limit.unit != "requests"
        ]
    return found


def _announce(url: str) -> None:
    click.echo(f"egressor gateway: {url} (status page: {url}/-/)")
    sys.stdout.flush()
