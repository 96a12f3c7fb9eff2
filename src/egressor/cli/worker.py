"""
One of several processes that answer on one port; `egressor.gateway.workers` starts it, nobody else.

It is given the configuration's file, the host and the number of the socket, and prints a line once it is ready.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from egressor.errors import ConfigError
from egressor.gateway.serving import run, serve
from egressor.governor import Governor

from . import home
from .logs import to_stderr

__all__ = ["main"]


def main() -> int:
    """
    Answer until a signal comes or the parent is gone.
    """
    file, host, number = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    to_stderr()
    with socket.socket(fileno=number) as sock:
        try:
            gov = Governor(config=home.read(file))
            run(
                serve(
                    gov,
                    host=host,
                    port=0,
                    file=file,
                    read=home.read,
                    ready=_announce,
                    sock=sock,
                    leash=sys.stdin.fileno(),
                )
            )
        except ConfigError as error:
            sys.stderr.write(f"egressor: {error}\n")
            return 2
    return 0


def _announce(url: str) -> None:
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
