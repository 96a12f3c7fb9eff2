"""
A failed attempt, as its call leaves it behind: a few strings, taken where it failed.

`caught` runs on the call's path, so it is short and never raises; it keeps text, never an exception, whose traceback
would keep every local variable of the call alive. What the strings mean (redaction, grouping) is found out later, by
the thread that writes.
"""

from __future__ import annotations

import os
import sysconfig
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from egressor._core.evidence import attribute, is_a
from egressor._core.exceptions import type_name
from egressor._core.saying import words_of
from egressor._core.unwrap import unwrap
from egressor.policies.redaction import cut

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import CodeType

    from egressor._core.model import Outcome, Verdict

__all__ = ["READ", "Failure", "Told", "caught", "message_of"]

READ: Final = 2_048
"""
Characters of a message, or bytes of an answer, that are taken.
"""

# Past whatever a subclass calls so.
_TRACE: Any = BaseException.__dict__["__traceback__"]
_FRAMES: Final = 64
_NOTES: Final = 4
_OURS: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep  # noqa: PTH100, PTH120 - at import
_LIBRARIES: Final = tuple(
    os.path.join(path, "")  # noqa: PTH118 - likewise
    for path in {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    if path
)
_ELSEWHERE: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_MOST_FILES: Final = 4_096
_files: dict[str, bool] = {}
_process = [os.urandom(4).hex()]


class Failure(NamedTuple):
    """
    One failed attempt, unredacted: it never leaves the process as it is.

    Attributes:
        at: When it ended, in microseconds since 1970.
        attempt: The how-manieth of its call, from 1.
        verdict: What it was.
        kind: The exception's type; empty for an answer.
        message: What the exception said.
        said: The beginning of the answer's body.
        cause: The type and message of the root cause, if that is another one.
        place: File and function of the program's own innermost frame.
        scope: Who and what for.
        context: The notes on the exception, or what was handed over with it.
    """

    at: int
    attempt: int
    verdict: Verdict
    kind: str
    message: str
    said: bytes
    cause: str
    place: str
    scope: Mapping[str, str]
    context: object


class Told(NamedTuple):
    """
    A call that has ended, with its failed attempts.

    Attributes:
        number: Its number among those of this process that have failed.
        service: The service.
        outcome: ``recovered``, ``fell_back`` or ``gave_up``.
        failures: The attempts that failed, in their order; never none.
    """

    number: int
    service: str
    outcome: str
    failures: tuple[Failure, ...]

    @property
    def name(self) -> str:
        """
        Its name among those of all processes: four words of four hexadecimal digits.
        """
        digits = f"{_process[0]}{self.number & 0xFFFF_FFFF:08x}"
        return "-".join(digits[at : at + 4] for at in range(0, 16, 4))


def caught(
    outcome: Outcome, verdict: Verdict, scope: Mapping[str, str], *, at: int, attempt: int = 1, said: object = b""
) -> Failure:
    """
    Return what is to be remembered of an attempt that came to *outcome*; *said* is the answer's body. Never raises.
    """
    body = bytes(said[:READ]) if type(said) is bytes else b""
    error = outcome.error
    if error is None:
        # A transport that must not raise yet hands the exception over beside its verdict.
        error = attribute(outcome.value, "error") if outcome.value is not None else None  # type: ignore[assignment]
    if not is_a(error, BaseException):
        return Failure(at, attempt, verdict, "", "", body, "", "", scope, None)
    root = unwrap(error)
    cause = "" if root is error else f"{type_name(root)}: {message_of(root)}"
    return Failure(
        at, attempt, verdict, type_name(error), message_of(error), body, cause, _place(error), scope, _notes(error)
    )


def message_of(error: BaseException) -> str:
    """
    Return the beginning of what *error* says, with no half of a word; a word about it if saying it fails.
    """
    try:
        return cut(words_of(error), READ)
    except Exception as trouble:  # noqa: BLE001 - somebody's __str__ may raise anything, and recurse
        return f"(its text can't be read: {type_name(trouble)})"


def _notes(error: BaseException) -> object:
    notes = attribute(error, "__notes__")
    if type(notes) is not list:
        return None
    return [cut(str.__str__(note), READ) for note in islice(notes, _NOTES) if is_a(note, str)] or None


def _place(error: BaseException) -> str:
    """
    Return file and function of the innermost frame that is the program's own, not a library's; empty if none is.
    """
    place = None
    with suppress(Exception):
        for code in islice(_codes(error), _FRAMES):
            if _is_own(code.co_filename):
                place = code
    return "" if place is None else f"{os.path.basename(place.co_filename)[:100]}:{place.co_qualname[:100]}"  # noqa: PTH119


def _codes(error: BaseException) -> Iterator[CodeType]:
    trace: Any = _TRACE.__get__(error)
    while trace is not None:
        yield trace.tb_frame.f_code
        trace = trace.tb_next


def _is_own(file: str) -> bool:
    known = _files.get(file)
    if known is None:
        is_library = file.startswith(("<", _OURS, *_LIBRARIES)) or any(each in file for each in _ELSEWHERE)
        known = not is_library
        if len(_files) < _MOST_FILES:
            _files[file] = known
    return known


def _begin_in_child() -> None:
    _process[0] = os.urandom(4).hex()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)
