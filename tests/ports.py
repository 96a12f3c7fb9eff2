"""
Ports for servers that tests start.
"""

from __future__ import annotations

import random
import socket

# Below those that systems hand to connections that go out: so no connection takes one before its server listens.
_PORTS = iter(random.SystemRandom().sample(range(12_000, 32_000), 20_000))


def spare_port() -> int:
    """
    Return a port that nobody listens on, never the same twice in one process.
    """
    for port in _PORTS:
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue
    msg = "this machine has no port left"
    raise AssertionError(msg)
