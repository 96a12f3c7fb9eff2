"""
curl, for anything that is no Python.
"""

from __future__ import annotations

import subprocess
from typing import Any

WAYS = ("gateway",)


class CurlError(Exception):
    """
    What curl says, with the code that it ends with.
    """


def ask(way: Any, path: str, *options: str) -> Any:
    """
    Ask for *path*.
    """
    command = ["curl", "--silent", "--show-error", "--fail", "--no-buffer", *options, way.base + path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CurlError(done.returncode, done.stderr)
    return done.stdout


def plain(way: Any) -> Any:
    """
    Get.
    """
    return ask(way, "/plain?a=%20b")


def stream(way: Any) -> Any:
    """
    Read as it comes.
    """
    return ask(way, "/plain/stream")


def post(way: Any) -> Any:
    """
    Post.
    """
    return ask(way, "/plain", "--data", "a=b")


def error(way: Any) -> Any:
    """
    Get what isn't there.
    """
    return ask(way, "/plain/bad")


USES = {"plain": plain, "stream": stream, "post": post, "error": error}
