"""
What a setting may be: small checks, each from a raw value to the value that is kept.

The same checks serve the constructors and the loader, so a Python user and a file get the same answer. A check either
returns the value in its final form or raises `SettingError`, which says the value and the limit; whoever called it
knows the setting's name, and the line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time
from enum import Enum, StrEnum
from typing import Any

from egressor.errors import ConfigError
from egressor.policies.hiding import NOT_SHOWN, hide, holds_secret

__all__ = [
    "Check",
    "Path",
    "SettingError",
    "dotted",
    "flag",
    "many",
    "nearest",
    "number",
    "one_of",
    "optional",
    "seconds",
    "share",
    "show",
    "text",
    "unlike",
    "whole",
]

Check = Callable[[object], Any]
Path = tuple[str | int, ...]

YEAR = 366 * 86_400.0
"""
The longest time that any setting takes, in seconds.
"""

_LONGEST_SHOWN = 60
_LONGEST_READ = 10_000
_BARE_KEY = r"[A-Za-z0-9_-]+"


class SettingError(Exception):
    """
    One value that can't be.

    Args:
        message: The value and the limit; the setting's name is put in front of it by whoever knows it.
        nearest: The valid name nearest to the one given, if there is one.
        at: Where inside the setting: ``(2,)`` for the third element of a list.
        more: Further errors of the same setting.
    """

    def __init__(
        self, message: str, *, nearest: str | None = None, at: Path = (), more: tuple[SettingError, ...] = ()
    ) -> None:
        # Whatever was given may be a key that was pasted in the wrong place.
        self.message = hide(message)
        self.nearest = None if nearest is None or holds_secret(nearest) else nearest
        super().__init__(self.message)
        self.at = at
        self.more = more

    def inside(self, *path: str | int) -> SettingError:
        """
        Return it as an error of the setting *path*, of which this one is a part.
        """
        more = tuple(error.inside(*path) for error in self.more)
        return SettingError(self.message, nearest=self.nearest, at=(*path, *self.at), more=more)

    def config_error(self, *, key: Path, file: str | None = None, line: int | None = None) -> ConfigError:
        """
        Return it as the public exception, of the setting *key*.
        """
        return ConfigError(self.message, file=file, line=line, key=dotted((*key, *self.at)), nearest=self.nearest)


def dotted(path: Path) -> str:
    """
    Return *path* the way TOML writes it: ``services."a.b".limits[2]``; what looks like a secret is not shown.
    """
    out = ""
    for part in path:
        if isinstance(part, int):
            out += f"[{part}]"
        elif holds_secret(part):
            out += ("." if out else "") + NOT_SHOWN
        else:
            out += ("." if out else "") + (part if re.fullmatch(_BARE_KEY, part) else show(part))
    return out


def show(value: object) -> str:
    """
    Return a short, printable form of *value*, whatever it is; what looks like a secret is not shown.
    """
    if isinstance(value, str):
        # Hidden before it is cut, as half a secret looks like none; cut before repr, so that escapes stay whole.
        value = hide(value[:_LONGEST_READ])
        head = value[:_LONGEST_SHOWN]
        return '"' + repr(head)[1:-1].replace('"', '\\"') + ('…"' if len(value) > len(head) else '"')
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) >= 10**_LONGEST_SHOWN:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, int | float):
        return str(value)
    return _kind(value)


def nearest(word: object, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """
    Return the known word nearest to *word*, or None if none is as near as *cutoff* (0 to 1).
    """
    import difflib

    found = difflib.get_close_matches(str(word)[:_LONGEST_SHOWN].lower(), [str(name) for name in known], 1, cutoff)
    return found[0] if found else None


def flag(value: object) -> bool:
    """
    Check a true or false.
    """
    if isinstance(value, bool):
        return value
    raise unlike(value, "true or false")


def number(*, at_least: float | None = None, above: float | None = None, at_most: float, unit: str = "") -> Check:
    """
    Return the check of a finite number in a range.
    """
    suffix = f" {unit}" if unit else ""

    def check(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise unlike(value, "a number of seconds" if unit == "s" else "a number")
        if isinstance(value, float) and not math.isfinite(value):
            message = f"{value} is not a finite number"
            raise SettingError(message)
        if above is not None and value <= above:
            message = f"{show(value)}{suffix} is not above {above:g}{suffix}"
            raise SettingError(message)
        if at_least is not None and value < at_least:
            message = f"{show(value)}{suffix} is below {at_least:g}{suffix}"
            raise SettingError(message)
        if value > at_most:
            message = f"{show(value)}{suffix} is above {at_most:g}{suffix}"
            raise SettingError(message)
        return float(value)

    return check


def seconds(*, at_least: float | None = None, at_most: float = YEAR) -> Check:
    """
    Return the check of a time: above 0, or from *at_least* on.
    """
    return number(at_least=at_least, above=0 if at_least is None else None, at_most=at_most, unit="s")


def share(value: object) -> float:
    """
    Check a share: above 0, at most 1.
    """
    return float(number(above=0, at_most=1)(value))


def whole(*, at_least: int, at_most: int) -> Check:
    """
    Return the check of a whole number in a range.
    """

    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise unlike(value, "a whole number")
        if value < at_least:
            message = f"{show(value)} is below {at_least}"
            raise SettingError(message)
        if value > at_most:
            message = f"{show(value)} is above {at_most}"
            raise SettingError(message)
        return value

    return check


def one_of(*words: str, kind: type[Enum] | None = None) -> Check:
    """
    Return the check of a word out of *words*, kept as a member of *kind* if one is given.

    Members of a `StrEnum` have the word as their value; members of any other enum have its upper case as their name.
    """

    def check(value: object) -> Any:
        if kind is not None and isinstance(value, kind):
            return value
        if not isinstance(value, str) or isinstance(value, Enum):
            raise unlike(value, "one of " + ", ".join(words))
        if value not in words:
            message = f"{show(value)} is none of {', '.join(words)}"
            raise SettingError(message, nearest=nearest(value, words))
        if kind is None:
            return value
        return kind(value) if issubclass(kind, StrEnum) else kind[value.upper()]

    return check


def text(pattern: str, *, what: str, hidden: bool = False) -> Check:
    """
    Return the check of a text that matches *pattern* as a whole; *hidden* keeps what was given out of the message.
    """

    def check(value: object) -> str:
        if not isinstance(value, str):
            raise unlike(None if hidden else value, what if hidden else "a text")
        if not re.fullmatch(pattern, value):
            message = f"{'the value (not shown)' if hidden else show(value)} is not {what}"
            raise SettingError(message)
        return value

    return check


def optional(check: Check) -> Check:
    """
    Return *check* for a setting that can be off: ``false`` in a file, None in Python.
    """

    def check_or_off(value: object) -> Any:
        return None if value is None or value is False else check(value)

    return check_or_off


def many(check: Check) -> Check:
    """
    Return the check of a list whose elements pass *check*, none of them twice.
    """

    def check_each(value: object) -> tuple[Any, ...]:
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
            raise unlike(value, "a list")
        kept: list[Any] = []
        errors: list[SettingError] = []
        for position, element in enumerate(value):
            try:
                final = check(element)
                if final in kept:
                    message = f"{show(str(final))} is there twice"
                    raise SettingError(message)  # noqa: TRY301 - an error like the others
                kept.append(final)
            except SettingError as error:
                errors.append(error.inside(position))
        if errors:
            first = errors[0]
            raise SettingError(first.message, nearest=first.nearest, at=first.at, more=tuple(errors[1:]))
        return tuple(kept)

    return check_each


def unlike(value: object, wanted: str, at: Path = ()) -> SettingError:
    """
    Return the error of a *value* of another type than the one *wanted*.
    """
    shown = show(value)
    kind = _kind(value)
    message = f"expected {wanted}, got {kind}" + (f" {shown}" if shown != kind else "")
    return SettingError(message, at=at)


def _kind(value: object) -> str:
    for types, name in _KINDS:
        if isinstance(value, types):
            return name
    return f"an object of type {type(value).__name__}"


_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (type(None), "nothing"),
    (bool, "the truth value"),
    (str, "the text"),
    ((int, float), "the number"),
    (Mapping, "a table"),
    ((list, tuple, set, frozenset), "a list"),
    ((datetime, date, time), "a date or time"),
)
