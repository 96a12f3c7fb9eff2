"""
On which line each key of a TOML document stands.

tomllib reads values and forgets where they were, so this walks the same text once more and reads no value: it only
steps over them. The text is known to be valid by then; where it isn't (a key that is there twice is looked for here
too), the walk ends at the first thing that it can't step over. Lines are for messages; no value depends on them.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from egressor.policies.checks import Path

__all__ = ["find_lines", "find_twice"]

_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_KEY = re.compile(r"[A-Za-z0-9_-]+|\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'")
_TEXT = re.compile(
    r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_PLAIN = re.compile(r"[^,\]}#\n=]+")


class _UnexpectedError(Exception):
    """
    The text can't be stepped over.
    """


def find_lines(text: str) -> dict[Path, int]:
    """
    Return the line, counted from 1, of each key, list element and table header of *text*.
    """
    found: dict[Path, int] = {}
    for path, line in _walk(text):
        # A header speaks for the tables that it implies, unless they have one of their own.
        for length in range(1, len(path) + 1):
            found.setdefault(path[:length], line)
    return found


def find_twice(text: str) -> tuple[Path, int, int] | None:
    """
    Return the first key or table that *text* sets a second time, with both lines.
    """
    seen: dict[Path, int] = {}
    for path, line in _walk(text):
        first = seen.setdefault(path, line)
        if first != line:
            return path, first, line
    return None


def _walk(text: str) -> Iterator[tuple[Path, int]]:
    try:
        yield from _Walk(text).document()
    except _UnexpectedError:
        return


class _Walk:
    """
    One pass over a document.
    """

    def __init__(self, text: str) -> None:
        self.text = text.replace("\r\n", "\n")
        self.at = 0
        self.starts = [0, *(match.end() for match in re.finditer("\n", self.text))]
        # How many elements each array of tables has so far.
        self.arrays: dict[Path, int] = {}

    def document(self) -> Iterator[tuple[Path, int]]:
        here: Path = ()
        self.skip(_BLANK)
        while self.at < len(self.text):
            line = self.line()
            if self.take("[["):
                here = self.element(self.keys())
                self.expect("]]")
                yield here, line
            elif self.take("["):
                here = self.resolve(self.keys())
                self.expect("]")
                yield here, line
            else:
                yield from self.pair(here)
            self.skip(_BLANK)

    def pair(self, here: Path) -> Iterator[tuple[Path, int]]:
        line = self.line()
        path = (*here, *self.keys())
        self.expect("=")
        yield path, line
        yield from self.value(path)

    def value(self, path: Path) -> Iterator[tuple[Path, int]]:
        self.skip(_SPACE)
        if self.take("["):
            yield from self.list(path)
        elif self.take("{"):
            yield from self.table(path)
        elif self.skip(_TEXT) == "" and self.skip(_PLAIN) == "":
            raise _UnexpectedError

    def list(self, path: Path) -> Iterator[tuple[Path, int]]:
        self.skip(_BLANK)
        position = 0
        while not self.take("]"):
            yield (*path, position), self.line()
            yield from self.value((*path, position))
            self.skip(_BLANK)
            self.take(",")
            self.skip(_BLANK)
            position += 1

    def table(self, path: Path) -> Iterator[tuple[Path, int]]:
        self.skip(_BLANK)
        while not self.take("}"):
            yield from self.pair(path)
            self.skip(_BLANK)
            self.take(",")
            self.skip(_BLANK)

    def keys(self) -> Path:
        keys: list[str] = []
        while not keys or self.take("."):
            self.skip(_SPACE)
            key = self.skip(_KEY)
            if key == "":
                raise _UnexpectedError
            keys.append(_unquoted(key))
            self.skip(_SPACE)
        return tuple(keys)

    def element(self, keys: Path) -> Path:
        """
        Return the path of the next table of an array of tables.
        """
        path = (*self.resolve(keys[:-1]), keys[-1])
        self.arrays[path] = self.arrays.get(path, -1) + 1
        return (*path, self.arrays[path])

    def resolve(self, keys: Path) -> Path:
        """
        Return *keys* with the latest element of each array of tables on the way.
        """
        path: Path = ()
        for key in keys:
            path = (*path, key)
            if path in self.arrays:
                path = (*path, self.arrays[path])
        return path

    def line(self) -> int:
        return bisect_right(self.starts, self.at)

    def skip(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            return ""
        self.at = found.end()
        return found.group()

    def take(self, literal: str) -> bool:
        if not self.text.startswith(literal, self.at):
            return False
        self.at += len(literal)
        return True

    def expect(self, literal: str) -> None:
        self.skip(_SPACE)
        if not self.take(literal):
            raise _UnexpectedError


def _unquoted(key: str) -> str:
    if key[0] == "'":
        return key[1:-1]
    if key[0] == '"':
        (plain,) = tomllib.loads(f"{key} = 0")
        return str(plain)
    return key
