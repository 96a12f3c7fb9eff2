"""
wrk, the load generator, that ends after one answer here.
"""

from __future__ import annotations

import subprocess
import tempfile
from typing import Any

WAYS = ("gateway",)
# It loads for a second whatever the script says, but sends nothing more once its only thread has stopped.
SCRIPT = """
response = function(status, headers, body)
    io.write("<", body, ">")
    wrk.thread:stop()
end
"""


class WrkError(Exception):
    """
    What wrk counts that is no success; its exit code is 0 all the same.
    """


def ask(way: Any, path: str) -> Any:
    """
    Ask for *path* once.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT)
        script.flush()
        command = ["wrk", "-t", "1", "-c", "1", "-d", "1s", "-s", script.name, way.base + path]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        if "Non-2xx" in line or "Socket errors" in line:
            raise WrkError(line.strip())
    return done.stdout.partition("<")[2].rpartition(">")[0]


def plain(way: Any) -> Any:
    """
    Get.
    """
    return ask(way, "/plain?a=%20b")


def error(way: Any) -> Any:
    """
    Get what isn't there.
    """
    return ask(way, "/plain/bad")


USES = {"plain": plain, "error": error}
