"""
Where facts live.

A ledger keeps typed entries (who did what to which service, and when) until their retention ends. Each entry has an
id, so that it may be handed over any number of times and stands there once. Nothing here is on a call's way: `History`
takes a note without waiting, and one thread writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from egressor.errors import EgressorError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .entry import Entry
    from .money import Page

__all__ = ["KEEP_FOR", "KEEP_MOST", "Ledger", "LedgerAway", "Pick", "Tally"]

_T = TypeVar("_T")

KEEP_FOR = 366 * 86_400 * 1_000_000
"""
How long an entry is kept, in microseconds: a year, so that this season can be held beside the last.
"""

KEEP_MOST = 1_000_000
"""
How many entries are kept: some hundred megabytes.
"""


class LedgerAway(EgressorError):
    """
    The ledger can't be read or written now; the message holds no secret. Nothing is half-written.
    """


class Pick(NamedTuple):
    """
    Which entries are asked for.

    Attributes:
        service: Of this service only; empty for all.
        kind: Of this kind only; empty for all.
        since: From this time on, in microseconds since 1970.
        after: Only those whose id is above this one.
        limit: So many at most.
        is_newest: Whether the newest come first; else the oldest do.
        without: Those of this kind left out; empty for none.
    """

    service: str = ""
    kind: str = ""
    since: int = 0
    after: str = ""
    limit: int = 100
    is_newest: bool = True
    without: str = ""

    def fits(self, entry: Entry) -> bool:
        """
        Whether *entry* is one of those asked for.
        """
        return (
            self.service in ("", entry.service)
            and self.kind in ("", entry.kind)
            and entry.at >= self.since
            and entry.id > self.after
            and (not self.without or entry.kind != self.without)
        )

    def of(self, entries: Sequence[Entry]) -> list[Entry]:
        """
        Return those of *entries* that are asked for, in order, each id once.
        """
        found = {entry.id: entry for entry in entries if self.fits(entry)}
        return [found[key] for key in sorted(found, reverse=self.is_newest)[: self.limit]]


class Tally(NamedTuple):
    """
    What a ledger holds.

    Attributes:
        entries: How many entries.
        pruned: How many have been dropped, as their retention was over or as there were too many.
        oldest: When the oldest happened, in microseconds since 1970; None if there is none.
    """

    entries: int
    pruned: int
    oldest: int | None


class Ledger(Protocol):
    """
    What every ledger does. A method may be called by any thread, in any process, also after a fork.

    Attributes:
        name: The kind of ledger: ``memory``, ``sqlite``, ``postgresql``.
        is_durable: Whether entries outlive the process.
        is_at_hand: Whether `money_nowait` may do something.
    """

    name: str
    is_durable: bool
    is_at_hand: bool

    def append(self, entries: Sequence[Entry]) -> int:
        """
        Keep *entries*, all or none, and return how many were new; those whose id is there already change nothing.

        What a durable ledger has returned for is on the disk.

        Raises:
            LedgerAway: It was not possible; whether they are there is then unknown, and to append them again is safe.
        """

    def read(self, pick: Pick, *, patience: float | None = None) -> list[Entry]:
        """
        Return the entries that are asked for.

        Args:
            pick: Which.
            patience: How many seconds others' locks may hold it up. Default: as long as anything else.

        Raises:
            LedgerAway: It was not possible.
        """

    def retain(self, keep_for: int, keep_most: int) -> None:
        """
        From now on keep entries for *keep_for* microseconds, and *keep_most* of them.
        """

    def proven(self, now: int) -> int:
        """
        Return up to when it may forget, as a clock says *now*: no later than that, and earlier where that is not to be
        believed at once.

        Raises:
            LedgerAway: It was not possible.
        """

    def prune(self, now: int) -> int:
        """
        Drop the oldest of what is beyond the retention at *now*, a thousand entries or so, as others wait meanwhile.

        Return how many entries that were: while there are any, there may be more.

        Raises:
            LedgerAway: It was not possible; nothing is gone.
        """

    def tally(self, *, patience: float | None = None) -> Tally:
        """
        Return what it holds, after *patience* seconds at most in which others' locks hold it up.

        Raises:
            LedgerAway: It was not possible.
        """

    def money(self, work: Callable[[Page], _T], *, at_once: bool = True, patience: float | None = None) -> _T:
        """
        Do *work* on the page of money, all of it or nothing, and return what it returns.

        Args:
            work: Reads and writes the page.
            at_once: Whether it has to survive a power cut from now on. Else, if that would take long, it may do so only
                with the next that has to. The end of a process takes nothing of either.
            patience: How many seconds others' locks may hold it up. Default: as long as anything else.

        Raises:
            LedgerAway: It was not possible; whether it was done all the same is then unknown.
        """

    def money_nowait(self, work: Callable[[Page], _T]) -> _T:
        """
        Do *work* as `money` does without *at_once*, if that waits for nobody: no other process or thread and no
        server, and for the disk only where its log begins anew. An event loop may do it.

        Raises:
            LedgerAway: It would have to wait, and *work* was not begun; or it failed, as `money` does.
        """

    def moved_at(self) -> float:
        """
        Return when another process was last seen at work, in seconds of monotonic time; 0 if none was.
        """

    def close(self) -> None:
        """
        Let go of files and connections; a later call opens them again.
        """
