"""
Bans in the ledger: how they get there, and how an episode is taken up again after a restart.

The ledger has the timeline: ``began``, ``lengthened``, ``ended``, ``lifted``. The newest entry of a service says
whether an episode is open; where the cells are in memory only, that is what a new process has to go by.
"""

from __future__ import annotations

from datetime import datetime
from math import isfinite
from typing import TYPE_CHECKING, Any

from egressor._core.ban import OPENS, BanNews
from egressor.ledger import Pick
from egressor.ledger.entry import stamp

if TYPE_CHECKING:
    from egressor.ledger.entry import Entry
    from egressor.ledger.history import History

__all__ = ["newest", "note", "open_one"]

# More bans than that in a row of other services hide one.
_LOOKED_AT = 1_000


def note(history: History, service: str, news: BanNews, seconds: float, *, who: str = "") -> None:
    """
    Write down what has become of *service*'s ban, which has *seconds* left; this never waits.
    """
    data = {
        "until": stamp(news.until),
        "seconds": round(seconds, 3),
        "count": news.times,
        "scope": news.scope,
        "rule": news.why,
        "told": news.told,
    }
    history.note("ban", news.what, service=service, who=who, data=data)


def newest(history: History) -> dict[str, tuple[BanNews, float]]:
    """
    Return the newest word on each service's ban, its end in microseconds since 1970, as far as it outlived its process;
    with the seconds that were left when it was written.
    """
    found: dict[str, tuple[BanNews, float]] = {}
    if history.is_durable:
        for entry in reversed(history.read(Pick(kind="ban", limit=_LOOKED_AT))):
            word = _read(entry)
            if word is not None:
                found[entry.service] = word
    return found


def open_one(history: History, service: str) -> BanNews | None:
    """
    Return *service*'s ban, as lifted, if the ledger's newest word on it is that it goes on.
    """
    found = history.read(Pick(kind="ban", service=service, limit=1)) if history.is_durable else []
    word = _read(found[0]) if found else None
    return word[0]._replace(what="lifted", told=False) if word is not None and word[0].what in OPENS else None


def _read(entry: Entry) -> tuple[BanNews, float] | None:
    data: Any = entry.data
    try:
        until = int(datetime.fromisoformat(data["until"]).timestamp() * 1_000_000)
        times, seconds = int(data["count"]), float(data["seconds"])
        news = BanNews(entry.what, until, times, str(data["scope"]), str(data["rule"]), bool(data["told"]))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None  # Somebody has imported what we have not written.
    return (news, seconds) if isfinite(seconds) else None
