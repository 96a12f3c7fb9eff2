"""
One row of a table: what an answer means, and where that is written.

The tables of pages, of codes and of words all hold rules; a verdict is built from a rule and what the answer adds to
it: its status, and how long it asks us to stay away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from egressor._core.grade import failure
from egressor._core.model import ErrorCategory as Kind

if TYPE_CHECKING:
    from egressor._core.model import Verdict

__all__ = ["Rule"]


class Rule(NamedTuple):
    """
    What an answer means.

    Attributes:
        kind: The category.
        retry: Whether the same request may succeed later. A ban that names its end may be retried after it, whatever
            stands here.
        scope: What it is about; empty leaves it to the category.
        ran: Whether the server may have executed the request.
        wait: Seconds to stay away where the answer itself names none; None if its page names none either.
        counts: Whether the breaker counts it; None leaves it to the category.
        source: Document or page that says so.
    """

    kind: Kind
    retry: bool = False
    scope: str = ""
    ran: bool = False
    wait: float | None = None
    counts: bool | None = None
    source: str = ""

    def verdict(self, *, fingerprint: str, why: str, wait: float | None) -> Verdict:
        """
        Build the verdict of an answer that asked for *wait* seconds, or named no time.
        """
        asked = self.wait if wait is None else wait
        return failure(
            self.kind,
            fingerprint=fingerprint,
            why=why,
            retryable=self.retry or (self.kind is Kind.BAN and asked is not None),
            may_have_run=self.ran,
            retry_after=asked,
            counts=self.counts,
            scope=self.scope,
            source=self.source,
        )
