"""
How long to wait before the next attempt, and whether there may be one at all.

Three questions, each with its own rule, all of them pure:

`backoff`: when?
    Exponential, with full jitter: a draw from the whole range [0, min(base · factor^n, cap)], as AWS and Finagle have
    it. The cap bounds the *range*, and the draw comes after: whoever caps the jittered wait instead sends nearly
    everybody at exactly the cap (resilience4j: 88 % at the sixth attempt and all of them later), which is the herd
    that jitter is there to prevent. A ``Retry-After`` is a floor that no cap lowers, and the jitter comes on top.

`withdraw`: can the service bear it?
    A retry budget for all callers together, in the form that Finagle and tower use: each call deposits a fraction of
    a retry, each retry withdraws one, and both are forgotten after a while. When everything fails, the load is
    (1 + ratio) times the normal one, whatever the number of attempts. gRPC's form (a bucket of 10, minus one for a
    failure, plus 0.1 for a success, retries above one half) and AWS's (500 tokens, 14 for a retry, given back by
    successes) have no notion of time: an hour-old success pays for today's storm, an idle client stays locked
    out by yesterday's, and neither states a bound of retries per second. This form does.

`AttemptTree`: has somebody above or below me retried already?
    Decorated functions that nest would multiply their attempts: 3 levels of 3 make 27. One tree per outermost call
    adds them up instead.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, isfinite

from egressor._core.window import SubWindows, width_of
from egressor.errors import ConfigError

__all__ = [
    "AttemptTree",
    "BudgetCell",
    "BudgetSpec",
    "Frame",
    "RetrySpec",
    "backoff",
    "balance",
    "deposit",
    "grow",
    "in_share",
    "may_retry",
    "overdraw",
    "withdraw",
]

_SECOND = 1_000_000
_SPREAD_FLOOR = 10 * _SECOND
_TTL_LEAST = _SECOND
_TTL_MOST = 60 * _SECOND
_RETRY = 1000
_RATIO_MOST = 1000.0


def _require(ok: bool, message: str) -> None:  # noqa: FBT001 - reads as an assertion at each use
    if not ok:
        raise ConfigError(message)


def grow(first: int, *, factor: float, steps: int, cap: int) -> int:
    """
    Return min(first · factor^steps, cap) in whole microseconds, rounded up.

    Args:
        first: Microseconds, 0 or more.
        factor: 1 or more, and finite.
        steps: How often to multiply, 0 or more; a huge number is as good as any.
        cap: Microseconds that are never exceeded.
    """
    if not first:
        return 0
    try:
        grown = first * factor**steps
    except OverflowError:
        return cap
    return cap if grown >= cap else ceil(grown)


# --- when? -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySpec:
    """
    What a service's retry policy compiles to.

    Attributes:
        attempts: Attempts in all, the first one included: 1 or more; 1 means no retry.
        base: Microseconds before the second attempt, before jitter; 0 or more.
        factor: What each further wait is multiplied by, 1 or more.
        cap: Microseconds that no wait of our own exceeds, 0 or more. What the server asks for is not capped.
        jitter: Whether waits are drawn from their range. Without it all callers come back at once.
        idempotent_only: Whether an attempt that may have been executed is sent again only if the call is idempotent.

    Raises:
        ConfigError: A value is outside of its range.
    """

    attempts: int
    base: int
    factor: float
    cap: int
    jitter: bool
    idempotent_only: bool

    def __post_init__(self) -> None:
        _require(self.attempts >= 1, f"attempts is {self.attempts}, and must be at least 1")
        _require(self.base >= 0, f"base is {self.base} µs, and must be at least 0")
        _require(self.cap >= 0, f"cap is {self.cap} µs, and must be at least 0")
        _require(isfinite(self.factor) and self.factor >= 1, f"factor is {self.factor}, and must be at least 1")


def backoff(spec: RetrySpec, attempt: int, *, dice: float, retry_after: int | None = None) -> int:
    """
    Return the microseconds to wait after the failure of *attempt*.

    With *retry_after* the wait is never below it, whatever the cap, and up to as much again comes on top: at most 10
    seconds, or a tenth if that is more. It is never below our own backoff either, so that a server that always
    says 0 is not hammered.

    Args:
        spec: The policy.
        attempt: Number of the attempt that failed, counted from 1.
        dice: A random number from [0, 1).
        retry_after: Microseconds that the server asked for, None if it did not say.
    """
    own = grow(spec.base, factor=spec.factor, steps=attempt - 1, cap=spec.cap)
    if not spec.jitter:
        return max(own, retry_after or 0)
    own = ceil(own * dice)
    if retry_after is None:
        return own
    spread = min(retry_after, max(_SPREAD_FLOOR, retry_after // 10))
    return max(own, retry_after + ceil(spread * dice))


# --- can the service bear it? ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSpec:
    """
    How many retries all callers of a service may make together.

    In each window there are at most *reserve* + *ratio* · calls retries; the window is the last *ttl*, of which up to a
    tenth is forgotten early (see `window`).

    Attributes:
        ttl: Microseconds after which calls and retries are forgotten: 1 to 60 seconds. Shorter, and the budget is
            empty after a pause; longer, and good times pay for a storm.
        ratio: Retries per call, 0 to 1000, in steps of 0.001.
        reserve: Retries per *ttl* that need no calls: 0 or more. It lets services that are rarely called retry at all.
        deposit: Thousandths of a retry that one call brings; follows from *ratio*.
        width: Microseconds of one sub-window; follows from *ttl*.

    Raises:
        ConfigError: A value is outside of its range.
    """

    ttl: int
    ratio: float
    reserve: int
    deposit: int = field(init=False)
    width: int = field(init=False)

    def __post_init__(self) -> None:
        _require(_TTL_LEAST <= self.ttl <= _TTL_MOST, f"ttl is {self.ttl} µs, and must be from 1 to 60 seconds")
        _require(0 <= self.ratio <= _RATIO_MOST, f"ratio is {self.ratio}, and must be from 0 to 1000")
        _require(self.reserve >= 0, f"reserve is {self.reserve}, and must be at least 0")
        object.__setattr__(self, "deposit", round(self.ratio * _RETRY))
        object.__setattr__(self, "width", width_of(self.ttl))
        _require(self.deposit > 0 or self.ratio == 0, f"ratio is {self.ratio}, and must be 0 or at least 0.001")


class BudgetCell:
    """
    The state of one retry budget. Whoever shares it between threads guards it with a lock.

    A race of unguarded deposits loses or doubles a few of them and does no other harm; a race of unguarded
    withdrawals may overdraw.
    """

    __slots__ = ("fresh", "since", "until", "window")

    def __init__(self) -> None:
        self.window = SubWindows(1)
        # Calls of the newest sub-window that are not in it yet; they come in from [since, until).
        self.fresh = 0
        self.since = 0
        self.until = 0


def deposit(cell: BudgetCell, spec: BudgetSpec, now: int) -> None:
    """
    Count one call, which pays for *ratio* retries. Retries are not calls.
    """
    # Every call comes through here, so that the usual case is one comparison and one addition.
    if not cell.since <= now < cell.until:
        _roll(cell, spec, now)
    cell.fresh += 1


def balance(cell: BudgetCell, spec: BudgetSpec, now: int) -> int:
    """
    Return what is left, in thousandths of a retry, and change nothing. Below 0 after deposits were forgotten, and while
    more was drawn than there was.
    """
    totals = cell.window.peek(now, spec.width, fresh=cell.fresh * spec.deposit)
    return totals[0] + spec.reserve * _RETRY


def may_retry(cell: BudgetCell, spec: BudgetSpec, now: int) -> bool:
    """
    Return whether `withdraw` would succeed, and change nothing.
    """
    return balance(cell, spec, now) >= _RETRY


def withdraw(cell: BudgetCell, spec: BudgetSpec, now: int) -> bool:
    """
    Take one retry if there is one. A refusal changes nothing.
    """
    if not may_retry(cell, spec, now):
        return False
    overdraw(cell, spec, now)
    return True


def overdraw(cell: BudgetCell, spec: BudgetSpec, now: int) -> None:
    """
    Take one retry that was made already, whether or not there is one; what is missing is a debt.
    """
    _roll(cell, spec, now)
    cell.window.add(0, -_RETRY)


def in_share(cell: BudgetCell, spec: BudgetSpec, now: int, *, untold: int, members: int) -> bool:
    """
    Return whether one of *members* processes on one budget may retry without hearing from the others first.

    Each of them may make its part of what there is, and one in any case if there is one, until all have agreed on them;
    *untold* is how many it has made since.
    """
    left = balance(cell, spec, now)
    return left >= _RETRY and (not untold or (untold + 1) * members * _RETRY <= left + untold * _RETRY)


def _roll(cell: BudgetCell, spec: BudgetSpec, now: int) -> None:
    window = cell.window
    window.add(0, cell.fresh * spec.deposit)
    window.advance(now, spec.width)
    cell.fresh = 0
    cell.since = window.start - spec.width
    cell.until = window.start + spec.width


# --- has somebody above or below me retried already? -----------------------------------------------------------------


class AttemptTree:
    """
    The retries of one outermost call and of all calls that run inside of it.

    The rule: a retry is granted only while the retries charged to the tree are fewer than the largest *attempts* - 1
    of the calls that run, and the call's own are fewer than its own *attempts* - 1. A call that succeeds gives back
    the retries that it used; those of a failed one stay charged until the outermost call has ended, as whoever called
    it may retry for the same reason. So 3 nested levels of 3 attempts, with the innermost always failing, make 3
    attempts on the wire, not 27; and a call with 1 attempt may hold one with 3.

    The driver carries one tree in a context variable, so that calls started side by side (``asyncio.gather``) share
    it. In one event loop nothing else is needed, as nothing here waits. A context that is copied into threads
    (``asyncio.to_thread``) shares the tree with them: then the driver holds one lock around each of `enter`,
    `Frame.retry` and `Frame.leave`. The state is one integer and a count of the calls that run.

    Attributes:
        used: Retries charged to the tree.
        running: How many calls run, by the attempts that they may make; thousands may run side by side.
    """

    __slots__ = ("running", "used")

    def __init__(self) -> None:
        self.used = 0
        self.running: dict[int, int] = {}

    def enter(self, attempts: int) -> Frame:
        """
        Begin a call that may make so many *attempts*, 1 or more. Each frame must `leave`.
        """
        self.running[attempts] = self.running.get(attempts, 0) + 1
        return Frame(self, attempts)

    @property
    def bound(self) -> int:
        """
        The largest number of retries that any of the running calls may make; 0 while none runs.
        """
        return max(self.running, default=1) - 1


class Frame:
    """
    One call in an `AttemptTree`.

    Attributes:
        tree: The tree; None after the call has left it.
        attempts: Attempts in all that its policy allows.
        retries: Retries that it was granted.
    """

    __slots__ = ("attempts", "retries", "tree")

    def __init__(self, tree: AttemptTree, attempts: int) -> None:
        self.tree: AttemptTree | None = tree
        self.attempts = attempts
        self.retries = 0

    def may_retry(self) -> bool:
        """
        Return whether `retry` would be granted now. A neighbour may be faster: only `retry` decides.
        """
        tree = self.tree
        return tree is not None and self.retries < self.attempts - 1 and tree.used < tree.bound

    def retry(self) -> bool:
        """
        Take one retry if the rule grants it: before the backoff's sleep, not after it. A refusal changes nothing.
        """
        tree = self.tree
        if tree is None or not self.may_retry():
            return False
        self.retries += 1
        tree.used += 1
        return True

    def leave(self, ok: bool) -> None:  # noqa: FBT001 - the only argument
        """
        End the call; *ok* says whether it succeeded. A second time nothing happens.
        """
        tree = self.tree
        if tree is None:
            return
        self.tree = None
        alike = tree.running[self.attempts] - 1
        if alike:
            tree.running[self.attempts] = alike
        else:
            del tree.running[self.attempts]
        if not tree.running:
            tree.used = 0
        elif ok:
            tree.used -= self.retries
