"""
Requests itself.
"""

from __future__ import annotations

from typing import Any

import requests

WAYS = ("transport", "gateway")


def ask(way: Any, path: str, **options: Any) -> Any:
    """
    Get *path*, and return what there is to see.
    """
    with way.mount(requests.Session()) as session, session.get(way.base + path, **options) as found:
        found.raise_for_status()
        lines = list(found.iter_lines()) if options.get("stream") else found.json()
        return [found.status_code, found.headers["content-type"], lines]


def plain(way: Any) -> Any:
    """
    Get JSON.
    """
    return ask(way, "/plain?a=%20b", params={"c": "d"})


def stream(way: Any) -> Any:
    """
    Read line by line.
    """
    return ask(way, "/plain/stream", stream=True)


def post(way: Any) -> Any:
    """
    Post a form.
    """
    with way.mount(requests.Session()) as session:
        found = session.post(way.base + "/plain", data={"a": "b"})
        found.raise_for_status()
        return found.json()


def error(way: Any) -> Any:
    """
    Get what isn't there.
    """
    return ask(way, "/plain/bad")


USES = {"plain": plain, "stream": stream, "post": post, "error": error}
