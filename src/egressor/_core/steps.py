"""
What a plan asks of its driver, one step at a time.

A plan yields a step and is sent ``(reply, now)``: what came of it, and the time in monotonic microseconds. The two
drivers perform the same steps, one blocking and one awaiting. Each class says what its reply is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .admission import Ask, Denied, Lease
    from .model import Outcome, Verdict

__all__ = [
    "MISS",
    "Admit",
    "Charge",
    "Discard",
    "Done",
    "Fall",
    "Hold",
    "Keep",
    "Park",
    "Recall",
    "Send",
    "Settle",
    "Sleep",
    "Step",
    "Stream",
]


class _Miss:
    def __repr__(self) -> str:
        return "MISS"


MISS: Final = _Miss()
"""
The reply to `Recall` when the cache has nothing.
"""


@dataclass(frozen=True, slots=True)
class Recall:
    """
    Look *key* up in the cache; what an identical call under way comes to is waited for, at most until *until*. Reply:
    the value; `MISS`; or `Denied`, if the wait did not fit. With *is_stale* nothing is waited for, and a value that
    is no longer fresh will do.
    """

    key: str
    until: int | None = None
    is_stale: bool = False


@dataclass(frozen=True, slots=True)
class Keep:
    """
    The call with *key*, which was missed, has ended as *done*, None if it was interrupted: keep what it brought, and
    tell those that wait for it. Reply: None.
    """

    key: str
    done: Done | None


@dataclass(frozen=True, slots=True)
class Hold:
    """
    Reserve *micro_usd* of every budget that applies. Reply: the ledger's hold, or `Denied`.
    """

    micro_usd: int


@dataclass(frozen=True, slots=True)
class Admit:
    """
    Ask the store. Reply: `Lease` or `Denied`; nothing is half taken.
    """

    ask: Ask
    until: int


@dataclass(frozen=True, slots=True)
class Park:
    """
    Wait in the queue, at most until *until*. Reply: `Lease` or `Denied`.
    """

    ask: Ask
    until: int


@dataclass(frozen=True, slots=True)
class Send:
    """
    Make attempt number *attempt*, counted from 1, under *lease*. Reply: `Outcome`; what the user's function raises
    is a value here.
    """

    attempt: int
    lease: Lease
    until: int | None


@dataclass(frozen=True, slots=True)
class Stream:
    """
    Give *outcome* to the caller now, and come back when its body ends. Reply: `Outcome` of the body.
    """

    outcome: Outcome
    lease: Lease


@dataclass(frozen=True, slots=True)
class Settle:
    """
    Hand *lease* back with *verdict*; *wants_retry* asks for one retry of the retry budget. Reply: `Settled`.
    """

    lease: Lease
    verdict: Verdict
    attempt: int = 1
    wants_retry: bool = False


@dataclass(frozen=True, slots=True)
class Charge:
    """
    End *hold* in the ledger, for what the call came to so far; *done* is None if the plan was interrupted. Reply: None.
    """

    hold: object
    done: Done | None


@dataclass(frozen=True, slots=True)
class Discard:
    """
    Close *outcome*'s response: the next attempt replaces it. Reply: None.
    """

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Sleep:
    """
    Wait until *until*, monotonic microseconds. Reply: None.
    """

    until: int


@dataclass(frozen=True, slots=True)
class Fall:
    """
    Take the fallback for *done*. Reply: `Outcome`.
    """

    done: Done


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """
    How a call ended: the plan's result.

    Attributes:
        outcome: The last attempt's outcome, or the fallback's; None if nothing was ever sent.
        denied: The refusal that ended it, if one did.
        verdict: The verdict on the last attempt.
        attempts: How many were sent.
        why: Why a failure that might be made good by another attempt got none, though its policy has attempts left;
            empty where that was no question, and where *denied* says it.
        is_fallback: Whether *outcome* is the fallback's.
        cause: What the fallback stands in for: the last attempt's outcome, if one was made.
        is_hit: Whether *outcome* came from the cache.
        is_open: Whether *outcome* was given to the caller while its body streamed.
    """

    outcome: Outcome | None = None
    denied: Denied | None = None
    verdict: Verdict | None = None
    attempts: int = 0
    why: str = ""
    is_fallback: bool = False
    cause: Outcome | None = None
    is_hit: bool = False
    is_open: bool = False


Step = Recall | Keep | Hold | Admit | Park | Send | Stream | Settle | Charge | Discard | Sleep | Fall
"""
Every step there is.
"""
