"""
Answers taken apart: codes, messages, the error in a piece of a stream, the JSON in an exception's message.

Everything is bounded: how deep and how wide a document is looked at, how long a code or a message may be, and how
much of a body that is too long to parse.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from egressor._core.evidence import BODY, Headers, document
from egressor._core.phrasebook import plain

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Answer", "Path", "dig", "embedded", "event", "skimmed", "spoken", "word"]

Path = tuple[str | int, ...]

_SKIMMED: Final = 2048
_CODE: Final = 160
_SAID: Final = 512
_MOST_SAID: Final = 1024
_LINES: Final = 64
_STRINGS: Final = 400
# The types of events that end a stream with an error: Anthropic's, OpenAI's in two of its interfaces.
_FAILED: Final = ("error", "response.failed")
_DECODER: Final = json.JSONDecoder()


class Answer:
    """
    An answer, taken apart once.

    Attributes:
        status: The HTTP status.
        headers: Its headers, by lower-case name.
        parsed: The body as JSON, or None.
        text: The body's beginning where it is no JSON; else empty.
        codes: The codes found at the dialect's places.
        now: Seconds since 1970, if the caller has a clock.
        streamed: Whether it came in the middle of a stream.
        is_empty: Whether there was a body, with nothing in it.
    """

    __slots__ = ("_said", "codes", "headers", "is_empty", "now", "parsed", "status", "streamed", "text")

    def __init__(
        self,
        status: int,
        headers: Headers,
        parsed: object = None,
        *,
        text: str = "",
        codes: tuple[str, ...] = (),
        said: str | None = None,
        now: float | None = None,
        streamed: bool = False,
        is_empty: bool = False,
    ) -> None:
        self.status = status
        self.headers = headers
        self.parsed = parsed
        self.text = text
        self.codes = codes
        self.now = now
        self.streamed = streamed
        self.is_empty = is_empty
        self._said = said

    @property
    def said(self) -> str:
        """
        The messages beside the codes, in plain lower case; most answers are told by their code, and never asked.
        """
        if self._said is None:
            self._said = spoken(self.parsed) if self.parsed is not None else ""
        return self._said


def word(value: object) -> str:
    """
    Write a code as text; empty for what is none.
    """
    if type(value) is int:
        return str(value) if -(10**9) < value < 10**9 else ""
    return value[:_CODE] if isinstance(value, str) else ""


def dig(parsed: object, path: Path) -> object:
    """
    Follow *path* into parsed JSON; None where it doesn't lead on.
    """
    for step in path:
        if isinstance(step, int):
            parsed = parsed[step] if isinstance(parsed, list) and len(parsed) > step else None
        else:
            parsed = parsed.get(step) if isinstance(parsed, dict) else None
    return parsed


_MESSAGES: Final = (
    *("message", "msg", "retMsg", "ret_msg", "error_message", "error_description", "err-msg", "err_msg", "errmsg"),
    *("detail", "description", "title", "reason", "error_msg", "sMsg", "explanation", "error", "errors"),
    *("Note", "Information", "Error Message"),
)
_INNER: Final = ("error", "errors", "details", "status", "data", "json", "failure_reason")


def spoken(parsed: object) -> str:
    """
    Join the messages of a parsed body, in plain lower case: the first 1,024 characters of them.
    """
    found: list[str] = []
    level: list[object] = [parsed]
    for _ in range(3):
        nodes = [node for item in level[:6] for node in (item[:3] if isinstance(item, list) else [item])]
        level = []
        for node in nodes:
            if isinstance(node, dict):
                found += [node[name][:_SAID] for name in _MESSAGES if name in node and isinstance(node[name], str)]
                level += [node[name] for name in _INNER if name in node]
            elif isinstance(node, list):
                found += [value[:_SAID] for value in node[:3] if isinstance(value, str)]
            elif isinstance(node, str) and level is not nodes and parsed is not node:
                found.append(node[:_SAID])
    return plain(" | ".join(dict.fromkeys(found[:12]))[:_MOST_SAID])


def event(text: str) -> object:
    """
    Find the error in a piece of an event stream (WHATWG HTML 9.2); None if it holds none.

    Its last 64 lines are looked at, and of those that may be one the last four: an error ends a stream.
    """
    is_error = False
    found: list[tuple[str, bool]] = []
    for line in text.rsplit("\n", _LINES):
        if line.startswith("event:"):
            is_error = line[6:].strip() == "error"
        elif line.startswith("data:") and (is_error or '"error' in line):
            found.append((line[5:].strip(), is_error))
    for data, is_named in found[-4:]:
        parsed, _ = document(data)
        if isinstance(parsed, dict) and (is_named or parsed.get("error") or parsed.get("type") in _FAILED):
            return parsed
    return None


def skimmed(places: Iterable[Path], body: object, text: str) -> object:
    """
    Find the dialect's codes in JSON that is cut or too long, by the names of their fields.
    """
    tail = ""
    if isinstance(body, (bytes, bytearray)) and len(body) > BODY:
        tail = bytes(body[-_SKIMMED:]).decode("utf-8", "replace")
    elif isinstance(body, str) and len(body) > BODY:
        tail = body[-_SKIMMED:]
    found: dict[str, object] = {}
    for piece in (text[:_SKIMMED], tail):
        for path in (*places, ("type",), ("code",), ("message",)):
            name = path[-1]
            if isinstance(name, str) and name not in found:
                value = _value(piece, name)
                if value is not None:
                    found[name] = value
    # Wherever the provider nests it, the fields are found at each of its places.
    nested: dict[str, object] = dict(found)
    nested["error"] = dict(found)
    nested["errors"] = [dict(found)]
    return nested


def _value(piece: str, name: str) -> object:
    _, begun, rest = piece.partition(f'"{name}"')
    rest = rest[: 2 * _CODE].lstrip()
    if not begun or not rest.startswith(":"):
        return None
    rest = rest[1:].lstrip()
    if rest.startswith('"'):
        return rest[1:].partition('"')[0]
    digits = rest[:12].split(",")[0].split("}")[0].strip()
    return int(digits) if digits.removeprefix("-").isdigit() and digits.isascii() else None


def embedded(text: str) -> object:
    """
    Find the JSON that a message quotes; None if there is none. Python's way of writing it counts, too.
    """
    start = text.find("{")
    if start < 0:
        return None
    rest = text[start:BODY]
    # What begins with an apostrophe is Python's.
    for form in (_as_json,) if rest[1:2] == "'" else (str, _as_json):
        try:
            return _DECODER.raw_decode(form(rest))[0]
        except (ValueError, RecursionError):
            continue
    return None


def _as_json(text: str) -> str:
    """
    Write Python's literals as JSON, as far as messages hold them: one step for each string.
    """
    pieces: list[str] = []
    start = 0
    for _ in range(_STRINGS):
        single, double = text.find("'", start), text.find('"', start)
        if single < 0 and double < 0:
            break
        begin = min(place for place in (single, double) if place >= 0)
        end = _closing(text, begin)
        if end < 0:
            break
        words = text[begin + 1 : end].replace("\\'", "'")
        pieces.append(_bare_json(text[start:begin]))
        pieces.append(f'"{words}"' if text[begin] == '"' else '"' + words.replace('"', '\\"') + '"')
        start = end + 1
    return "".join((*pieces, _bare_json(text[start:])))


def _closing(text: str, begin: int) -> int:
    end = text.find(text[begin], begin + 1)
    while end > 0 and text[end - 1] == "\\":
        end = text.find(text[begin], end + 1)
    return end


def _bare_json(text: str) -> str:
    return text.replace("None", "null").replace("True", "true").replace("False", "false")
