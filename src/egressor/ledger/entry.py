"""
One fact: who did what to which service, and when.

*Identity.* An entry gets its id where it happens, a UUID of version 7 (RFC 9562): 48 bits of milliseconds, 12 bits of
the microsecond inside of it, a count of this process, and chance. So ids sort by time, nobody need ask anybody for the
next one, and a ledger tells an entry that comes a second time from one that is new: a writer that doesn't know whether
its last word was heard says it again.

*Secrets.* Reasons are typed by people, and a key is pasted sooner or later. Whatever looks like one is hidden here, on
the way in: neither spool nor ledger ever has it.
"""

from __future__ import annotations

import os
import random
import re
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from .plain import bounded, clean

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["KINDS", "Entry", "as_dict", "as_line", "from_line", "made", "new_id", "stamp"]

KINDS = ("operator", "breaker", "ban", "error", "budget")
"""
The kinds of entries that this version writes.
"""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_ID = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_KIND = r"[a-z][a-z0-9_]{0,31}"
_LAST = 253_402_300_799_999_999  # The last microsecond of the year 9999, where dates end.
_FIELDS = frozenset({"id", "at", "kind", "service", "what", "who", "data"})
_turn = count()
# Not the system at each id: asking that gives other threads their turn in the middle of a call.
_dice = random.Random()  # noqa: S311 - ids are no secrets
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_dice.seed)


class Entry(NamedTuple):
    """
    One fact.

    Attributes:
        id: A UUID of version 7; entries sort by it.
        at: When it happened, in microseconds since 1970 UTC.
        kind: ``operator`` (somebody stepped in), ``breaker`` (a breaker changed its state), ``error`` (an attempt
            failed), ``ban`` (a service has banned us) or ``budget`` (a soft bound was passed).
        service: The service; empty for what concerns all.
        what: What was done, or the new state.
        who: Who did it; empty where nobody did.
        data: More, as JSON.
    """

    id: str
    at: int
    kind: str
    service: str
    what: str
    who: str
    data: Mapping[str, Any]


def new_id(at: int) -> str:
    """
    Return an id for what happens at *at*, in microseconds since 1970; later ones of this process sort behind it.
    """
    milliseconds, rest = divmod(min(max(at, 0), _LAST), 1000)
    low = (next(_turn) & 0xF_FFFF) << 42 | _dice.getrandbits(42)
    digits = f"{milliseconds:012x}7{rest * 4:03x}{0b10 << 62 | low:016x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def made(
    *,
    at: int,
    kind: str,
    what: str,
    service: str = "",
    who: str = "",
    data: Mapping[str, Any] | None = None,
    key: str = "",
) -> Entry:
    """
    Return an entry whose texts are short, printable and hold nothing that looks like a secret; *key* is its id.

    Raises:
        ValueError: *kind*, *at* or *key* is none.
    """
    if not isinstance(at, int) or not 0 <= at <= _LAST:
        msg = f"{at!r} is no time in microseconds since 1970"
        raise ValueError(msg)
    if not re.fullmatch(_KIND, kind):
        msg = f"{clean(kind)!r} is no kind of entry: a-z, 0-9 and _, at most 32"
        raise ValueError(msg)
    if key and not re.fullmatch(_ID, key):
        msg = f"{clean(key)!r} is no id: a UUID of version 7"
        raise ValueError(msg)
    return Entry(key or new_id(at), at, kind, clean(service), clean(what), clean(who), bounded(data or {}))


def stamp(at: int) -> str:
    """
    Return *at*, in microseconds since 1970, as ISO 8601 in UTC.
    """
    return (_EPOCH + at * _MICROSECOND).isoformat(timespec="microseconds").replace("+00:00", "Z")


def as_dict(entry: Entry) -> dict[str, Any]:
    """
    Return *entry* as plain values, its time as ISO 8601.
    """
    return {**entry._asdict(), "at": stamp(entry.at), "data": dict(entry.data)}


def as_line(entry: Entry) -> str:
    """
    Return *entry* as a line of JSON, in ASCII, without its end.
    """
    import json

    return json.dumps(as_dict(entry), separators=(",", ":"))


def from_line(line: str) -> Entry:
    """
    Return the entry that `as_line` has written.

    Raises:
        ValueError: It is none; the message says what is wrong, and shows no secret.
    """
    import json

    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        msg = "it is no JSON"
        raise ValueError(msg) from None
    if not isinstance(found, dict) or set(found) != _FIELDS:
        msg = f"it is no object with {', '.join(sorted(_FIELDS))}"
        raise ValueError(msg)
    texts = {name: found[name] for name in ("kind", "service", "what", "who")}
    if not all(isinstance(text, str) for text in (*texts.values(), found["id"])) or not isinstance(found["data"], dict):
        msg = "data must be an object, the other fields texts"
        raise ValueError(msg)
    return made(at=_instant(found["at"]), key=found["id"] or "none", data=found["data"], **texts)


def _instant(text: object) -> int:
    try:
        moment = datetime.fromisoformat(str(text))
        return (moment - _EPOCH) // _MICROSECOND
    except (ValueError, TypeError, OverflowError):
        msg = f"at: {clean(str(text))!r} is no time such as 2026-01-31T12:00:00.000000Z"
        raise ValueError(msg) from None
