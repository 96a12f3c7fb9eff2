"""
What the entries about bans come to: one line for each ban, from its beginning to its end.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from . import Pick
from .entry import stamp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .entry import Entry
    from .history import History

__all__ = ["BAN", "bans_of", "read_bans"]

BAN: Final = "ban"
"""
The kind of entries that tell of bans.
"""

_MOST: Final = 100_000
_TOLD: Final = ("scope", "rule", "count", "seconds", "told")


def read_bans(history: History, *, now: int, since: int = 0, service: str = "", limit: int = 100) -> dict[str, Any]:
    """
    Return the bans in *history* that began at *since* or later, the newest first, as plain values.
    """
    (entries,), state = history.look(Pick(service, BAN, limit=_MOST))
    return {**bans_of(entries, now=now, since=since, limit=limit), "ledger": state}


def bans_of(entries: Iterable[Entry], *, now: int, since: int = 0, limit: int = 100) -> dict[str, Any]:
    """
    Return what *entries* of kind ``ban`` come to at *now*; times are in microseconds since 1970.
    """
    found: list[dict[str, Any]] = []
    open_ones: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in sorted(entries, key=lambda each: each.id):
        key = (entry.service, str(entry.data.get("scope", "")))
        ban = open_ones.get(key)
        if entry.what in {"began", "lengthened"}:
            if ban is None or entry.what == "began":
                ban = open_ones[key] = {"service": entry.service, "began": stamp(entry.at), "ended": None}
                ban["lengthened"] = 0
                found.append(ban)
            else:
                ban["lengthened"] += 1
            ban["until"] = entry.data.get("until")
            ban.update({name: entry.data[name] for name in _TOLD if name in entry.data})
        elif entry.what in {"ended", "lifted"} and ban is not None:
            ban |= {"ended": stamp(entry.at), "state": entry.what, "by": entry.who}
            del open_ones[key]
    for ban in found:
        # Nobody need say that a ban is over: its time is.
        ban.setdefault("state", "active" if _instant(ban["until"]) > now else "over")
    shown = [ban for ban in found if _instant(ban["began"]) >= since or ban["state"] == "active"]
    return {
        "active": [ban for ban in shown if ban["state"] == "active"],
        "total": len(shown),
        "by_service": dict(Counter(ban["service"] for ban in shown).most_common()),
        "bans": shown[::-1][:limit],
    }


def _instant(text: object) -> int:
    try:
        moment = datetime.fromisoformat(str(text))
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000_000)
    except (ValueError, OverflowError):
        return 0
