"""
A suspension: nobody calls until its end, then one call tries.

The end is what the server said, or the policy's first suspension, longer with each ban that follows; a call that
succeeds after the end closes the episode. A probe that never comes back is given up when its lease ends.

A challenge suspends as a ban does, for a shorter time: whoever goes on after it is banned. It is never solved, and
nobody's identity is changed to get around it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from egressor._core.model import ErrorCategory

if TYPE_CHECKING:
    from egressor._core.model import Verdict

__all__ = [
    "OPENS",
    "SUSPENDS",
    "BanCell",
    "BanNews",
    "BanSpec",
    "check",
    "lift",
    "restore",
    "settle",
    "suspend",
    "take",
]

SUSPENDS: Final = frozenset({ErrorCategory.BAN, ErrorCategory.CHALLENGE})
"""
The categories that suspend a service.
"""

OPENS: Final = frozenset({"began", "lengthened"})
"""
What becomes of a ban that goes on.
"""

_DOUBLINGS = 64
_SECOND = 1_000_000
# No server names a longer time that we would take for true.
_LONGEST = 31 * 86_400 * _SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class BanSpec:
    """
    How a service's bans are sat out.

    Attributes:
        suspend_for: The first suspension where the server names no time, in microseconds.
        challenge_for: The first suspension after a challenge, in microseconds; 0 for none.
        max_suspend_for: The longest suspension of our own making, in microseconds.
        growth: What each ban in a row multiplies it by, 1 or more.
        probe_lease: Microseconds after which a probe that never came back is given up.
    """

    suspend_for: int
    challenge_for: int
    max_suspend_for: int
    growth: float
    probe_lease: int


class BanCell:
    """
    One ban: until when, how many in a row, until when a probe is out; whom it is about, and why. And when the last one
    was over, 0 for never.
    """

    __slots__ = ("count", "over_at", "probe_until", "scope", "until", "why")

    def __init__(self) -> None:
        self.until = self.over_at = 0
        self.count = 0
        self.probe_until = 0
        self.scope = ""
        self.why = ""


class BanNews(NamedTuple):
    """
    What has become of a ban.

    Attributes:
        what: ``began``, ``lengthened``, ``ended`` (a call has gone well) or ``lifted`` (by an operator).
        until: When the suspension ends or would have ended, in microseconds of whichever clock the holder goes by.
        times: How many bans in a row.
        scope: Whom it is about: ``ip``, ``account``, ``credential`` or ``service``.
        why: The rule that decided.
        told: Whether the server named the time.
    """

    what: str
    until: int
    times: int
    scope: str
    why: str
    told: bool = False


def check(cell: BanCell, now: int) -> int:
    """
    Return the microseconds until it is worth asking again; 0 if a call may pass.
    """
    return max(0, cell.until - now, cell.probe_until - now)


def take(cell: BanCell, spec: BanSpec, now: int) -> bool:
    """
    Count a call that `check` let pass as the probe, if an episode is open; return whether it is.
    """
    if not cell.until:
        return False
    cell.probe_until = now + spec.probe_lease
    return True


def suspend(cell: BanCell, spec: BanSpec, now: int, verdict: Verdict) -> BanNews | None:
    """
    Begin or lengthen a suspension if *verdict* asks for one; return what has become of it, None if that is nothing new.
    """
    first = spec.challenge_for if verdict.category is ErrorCategory.CHALLENGE else spec.suspend_for
    if verdict.category not in SUSPENDS or not first:
        return None
    told = None if not verdict.retry_after else -int(-verdict.retry_after * _SECOND // 1)
    before, is_first = cell.until, not cell.count
    # Calls that were under way when the ban began report it too: one ban, not many.
    is_another = now >= before
    cell.count += is_another
    power = min(cell.count - 1, _DOUBLINGS)
    ours = min(int(first * spec.growth**power), max(first, spec.max_suspend_for))
    cell.until = max(before, now + (ours if told is None else told))
    cell.probe_until = 0
    # Each of them names an end that is a little later.
    if not is_another and cell.until - before <= max(_SECOND, (before - now) // 10):
        return None
    cell.scope, cell.why = verdict.scope, verdict.why
    return _news(cell, "began" if is_first else "lengthened", told=told is not None)


def restore(cell: BanCell, now: int, news: BanNews, *, said: int) -> None:
    """
    Take an episode up again that began in an earlier life; one whose time is over by now waits for its probe.

    Of two suspensions the longer one holds; what was over when *news* was *said* says nothing against it, and what has
    ended since stays over.
    """
    until = min(news.until, now + _LONGEST)
    # Before this machine's clock began, *said* is negative.
    is_over = cell.over_at != 0 and said <= cell.over_at
    if news.what not in OPENS or is_over or (cell.until and until <= cell.until):
        return
    cell.until = max(until, cell.until or now, 1)
    cell.count, cell.scope, cell.why = max(1, cell.count, news.times), news.scope, news.why


def settle(cell: BanCell, now: int, *, ok: bool) -> BanNews | None:
    """
    Take a result in; return that it ended the episode, if it did.
    """
    if not cell.until or now < cell.until:
        return None
    cell.probe_until = 0
    return lift(cell, now, "ended") if ok else None


def lift(cell: BanCell, now: int, what: str = "lifted") -> BanNews | None:
    """
    End the episode; return it, as *what* it is, if there was one.
    """
    news = _news(cell, what) if cell.until else None
    cell.over_at = now
    cell.until = cell.count = cell.probe_until = 0
    cell.scope = cell.why = ""
    return news


def _news(cell: BanCell, what: str, *, told: bool = False) -> BanNews:
    return BanNews(what, cell.until, cell.count, cell.scope, cell.why, told)
