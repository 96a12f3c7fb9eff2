"""
From a request's target to a service and the path that is forwarded.

One reading decides the route and is what is forwarded, byte for byte. Where two programs could read a path in two ways
(dot segments, encoded separators, ``;``, backslashes, control characters, bytes that are not UTF-8) it is refused:
an upstream that decodes once more than we do must not arrive elsewhere. What needs no escape may have one, as all
decode that, and what goes by the path here reads it so (`egressor.dialects.paths`); but not an escape of an escape.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from .problems import Problem, RefusedError

__all__ = ["Target", "split"]

_ODD = r"[^!-~]|[\\;#]"
_CUT_SHORT = r"%(?![0-9a-f]{2})"
# Encoded, and encoded twice: control characters, and . / \ ; # ? which mean something once they are decoded.
_ENCODED = r"%(?:25)*(?:[01][0-9a-f]|7f|2e|2f|5c|3b|23|3f)"
# Encoded twice: letters, digits, and - _ ~ : which are themselves once they are decoded.
_NESTED = r"%(?:25)+(?:2d|3[0-9a]|4[1-9a-f]|5[0-9af]|6[1-9a-f]|7[0-9ae])"
_AMBIGUOUS = re.compile(f"(?i){_ODD}|{_CUT_SHORT}|{_ENCODED}|{_NESTED}")
# Also with blanks around the dots, which some file systems drop.
_DOTS = re.compile(r"/(?:%(?:25)*20)*\.\.?(?:%(?:25)*20)*(?:/|\Z)")
_BAD_QUERY = re.compile(r"[^!-~]|#")


class Target(NamedTuple):
    """
    Where a request goes.

    Attributes:
        service: The first segment of the path; ``-`` for the gateway's own pages.
        path: The rest, beginning with a slash, or empty.
        query: What follows the question mark, with it; or empty, also where nothing follows it.
    """

    service: str
    path: str
    query: str


def split(raw: str) -> Target:
    """
    Read *raw*, a request's target as it was received.

    Raises:
        RefusedError: It is not in origin form, or could be read in two ways.
    """
    path, mark, query = raw.partition("?")
    if not path.startswith("/"):
        raise RefusedError(_bad("the request's target must begin with a slash"))
    odd = _AMBIGUOUS.search(path)
    if odd is not None:
        raise RefusedError(_bad(f"the path holds {odd[0]!r} at position {odd.start()}, which can be read in two ways"))
    if ("/." in path or "%" in path) and _DOTS.search(path):
        raise RefusedError(_bad("the path holds a dot segment"))
    if "%" in path and not _is_utf8(path):
        raise RefusedError(_bad("the path's escapes are not UTF-8"))
    if query and _BAD_QUERY.search(query):
        raise RefusedError(_bad("the query holds characters that a URL has to escape"))
    service, slash, rest = path[1:].partition("/")
    return Target(service, slash + rest, mark + query if query else "")


def _is_utf8(path: str) -> bool:
    try:
        unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        return False
    return True


def _bad(detail: str) -> Problem:
    return Problem(400, "bad_path", "Ambiguous path", detail)
