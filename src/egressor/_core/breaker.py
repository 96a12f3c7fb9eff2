"""
The breaker: stop calling a service that fails, and find out with a few probes when it works again.

::

                  consecutive, failure rate or slow rate
        CLOSED ──────────────────────────────────────────▶ OPEN ◀─┐
           ▲                                                 │    │ too many bad probes
           │ enough good probes                    open_until│    │
           └──────────────────────── HALF_OPEN ◀─────────────┘────┘

    FORCED_OPEN and DISABLED: an operator's word, until `reset`.

A cell and its spec and *now* go in, a decision comes out. The cell is changed in place, as the success path of a
closed breaker runs for every call: there it costs one comparison of times, two of integers, and an addition.
Whoever shares a cell holds the cell's lock around each function here, but for `record_success` on a calm cell, where
a race of threads may lose or double a few successes and does no other harm.

Life of an attempt: `check` (0: it may pass), `take`, remember ``cell.generation``; then exactly one of `settle`,
`record_success` or `release`. While ``cell.calm`` is true, `check` and `take` would say 0 and can be left out.

What took others years to get right:

- Every change of state begins a new *generation*. A result from an older one says nothing about the present one, and
  is dropped (gobreaker). So a slow success from before the trip closes nothing.
- A probe is a lease. If its holder is lost, the permit comes back when the lease ends, and whatever the holder says
  later is dropped (eight projects' trackers know the breaker that stayed half-open for ever). A cancelled probe gives
  its permit back and counts as nothing: Polly counts it as a success, others as a failure; it is neither.
- Permits and results together never exceed *probes*, so half-open sends no more than needed for its verdict.
- Rates are compared as ``failures / calls >= rate``: the quotient of two integers, rounded once, meets the nearest
  double of 0.07 exactly, where ``0.07 * 100 > 7``.
- A success can open the breaker: it may be the call that completes *min_calls*, or it may be slow, or old successes
  were just forgotten. A quick success in a sub-window that was judged already can't: that is the straight path.

Shadow mode judges, and refuses nothing. The state then says what would be: it opens when the breaker would have opened
(and says so once), ignores what follows until it would have been half-open, takes the first *probes* results of calls
that began then as the probes', and goes on from there. An operator's `force_open` is obeyed in shadow mode as well.

A clock that steps back lengthens waits and leases, and keeps the counts' age (see `window`).
"""

from __future__ import annotations

from typing import Final

from egressor._core.breaker_model import BreakerCell, BreakerSpec, BreakerState, Result
from egressor._core.limits import FOREVER
from egressor._core.retry import grow

__all__ = [
    "BreakerCell",
    "BreakerSpec",
    "BreakerState",
    "Result",
    "check",
    "disable",
    "force_open",
    "record_success",
    "release",
    "reset",
    "settle",
    "snapshot",
    "take",
]

_SECOND = 1_000_000
_HALF_OPEN_RATE = 0.5
_CALLS, _FAILURES, _SLOW = range(3)


# A member is looked up by name on every call otherwise, and Python 3.11 is slow at that.
_CLOSED: Final = BreakerState.CLOSED
_OPEN: Final = BreakerState.OPEN
_HALF_OPEN: Final = BreakerState.HALF_OPEN
_SUCCESS: Final = Result.SUCCESS
_FAILURE: Final = Result.FAILURE
_NEUTRAL: Final = Result.NEUTRAL


def check(cell: BreakerCell, spec: BreakerSpec, now: int) -> int:
    """
    Return 0 if an attempt may pass now, else the microseconds until it is worth asking again: 1 or more.

    Open: until the first probe is due, which is exactly at ``open_until``. Half-open with all probes out: until the
    earliest one's lease ends. Forced open: `FOREVER`. Nothing is changed; `take` commits.
    """
    if cell.calm:
        return 0
    if cell.state is _OPEN:
        return max(0, cell.open_until - now)
    if cell.state is not _HALF_OPEN:
        return FOREVER
    out = [end for end in cell.probes.values() if end > now]
    return 0 if cell.results + len(out) < spec.probes else min(out) - now


def take(cell: BreakerCell, spec: BreakerSpec, now: int) -> int:
    """
    Commit an admission that `check` allowed at the same *now*.

    An open breaker that is due becomes half-open here, which shows in ``cell.state`` and ``cell.generation``.

    Returns:
        The probe's number, above 0, or 0 for an ordinary call. Where `check` would refuse, nothing is handed out: 0,
        and the result of such a call will count for nothing.
    """
    if cell.calm or check(cell, spec, now):
        return 0
    if cell.state is _OPEN:
        _half_open(cell, calm=False)
    for probe in [number for number, end in cell.probes.items() if end <= now]:
        del cell.probes[probe]
    cell.last_probe += 1
    cell.probes[cell.last_probe] = now + spec.probe_lease
    return cell.last_probe


def record_success(
    cell: BreakerCell, spec: BreakerSpec, now: int, generation: int, duration: int
) -> BreakerState | None:
    """
    Settle the success of an ordinary call, in any state: as `settle` with a SUCCESS and no probe, only faster.

    Its arguments have no names at the call, as naming them costs half as much again.
    """
    if cell.quiet_from <= now < cell.quiet_until and generation == cell.generation and duration <= spec.slow_call:
        cell.fresh += 1
        return None
    return settle(cell, spec, now, generation=generation, probe=0, result=_SUCCESS, duration=duration)


def settle(
    cell: BreakerCell,
    spec: BreakerSpec,
    now: int,
    *,
    generation: int,
    probe: int,
    result: Result,
    duration: int,
    open_at_least: int = 0,
) -> BreakerState | None:
    """
    Take an attempt's result.

    Args:
        cell: The breaker.
        spec: Its policy.
        now: Microseconds.
        generation: The cell's generation when the attempt was admitted. If it has changed, nothing happens.
        probe: What `take` returned. A probe whose lease is over counts for nothing.
        result: What the attempt says about the service.
        duration: Microseconds that the attempt took.
        open_at_least: Microseconds for which the server asked us to stay away: if this result opens the breaker, it
            stays open at least so long, whatever *max_open_for* says.

    Returns:
        The new state if it changed.
    """
    if generation != cell.generation:
        return None
    if cell.state is _CLOSED:
        return None if result is _NEUTRAL else _count(cell, spec, now, result, duration, open_at_least)
    if cell.state is _OPEN and spec.shadow and now - duration >= cell.open_until:
        _half_open(cell, calm=True)
    if cell.state is _HALF_OPEN and (spec.shadow or cell.probes.pop(probe, now) > now) and result is not _NEUTRAL:
        return _judge(cell, spec, now, result, duration, open_at_least)
    return None


def release(cell: BreakerCell, *, generation: int, probe: int) -> None:
    """
    Undo an admission before anything was sent: the permit returns, nothing is counted. A second time nothing happens.
    """
    if generation == cell.generation:
        cell.probes.pop(probe, None)


def force_open(cell: BreakerCell, now: int) -> None:
    """
    Refuse every call until `reset` or `disable`: an operator's word, obeyed in shadow mode as well.
    """
    _clear(cell)
    _change(cell, BreakerState.FORCED_OPEN, calm=False)
    cell.why = "operator"
    cell.opened_at = now


def disable(cell: BreakerCell) -> None:
    """
    Let every call pass and count nothing, until `reset` or `force_open`.
    """
    _clear(cell)
    _change(cell, BreakerState.DISABLED, calm=True)


def reset(cell: BreakerCell) -> None:
    """
    Close, and forget all counts and openings. Results of calls that are under way will count for nothing.
    """
    _close(cell)


def snapshot(cell: BreakerCell, spec: BreakerSpec, now: int) -> dict[str, str | int | float | None]:
    """
    Return the cell as plain values, and change nothing. Times are seconds.

    ``state`` is what happens to calls, ``would_be`` the breaker's own judgement: they differ in shadow mode only.
    ``calls``, ``failures`` and ``slow`` are those of the window, or of the probes while half-open; the rates are None
    below ``min_calls``. ``retry_after`` is 0 where a call may pass, and None where only an operator can tell.
    """
    if cell.state is _HALF_OPEN:
        calls, failures, slow = cell.results, cell.bad, cell.late
        enough = spec.probes
    else:
        calls, failures, slow = cell.window.peek(now, spec.width, fresh=cell.fresh)
        enough = spec.min_calls
    shadowed = spec.shadow and cell.state in (_OPEN, _HALF_OPEN)
    wait = check(cell, spec, now)
    return {
        "state": str(_CLOSED if shadowed else cell.state),
        "would_be": str(cell.state),
        "why": cell.why,
        "generation": cell.generation,
        "failure_rate": failures / calls if calls >= enough else None,
        "slow_rate": slow / calls if calls >= enough else None,
        "calls": calls,
        "failures": failures,
        "slow": slow,
        "consecutive": cell.streak,
        "opened_at": cell.opened_at / _SECOND if cell.why else None,
        "open_until": cell.open_until / _SECOND if cell.state is _OPEN else None,
        "retry_after": None if wait == FOREVER else wait / _SECOND,
        "probes_out": sum(end > now for end in cell.probes.values()),
        "openings": cell.openings,
    }


def _count(
    cell: BreakerCell, spec: BreakerSpec, now: int, result: Result, duration: int, open_at_least: int
) -> BreakerState | None:
    """
    Count a result of a closed breaker, and open it if that is too much.
    """
    window = cell.window
    if cell.fresh:
        window.add(_CALLS, cell.fresh)
        cell.fresh = 0
    window.advance(now, spec.width)
    window.add(_CALLS, 1)
    if duration > spec.slow_call:
        window.add(_SLOW, 1)
    if result is _FAILURE:
        window.add(_FAILURES, 1)
        cell.streak += 1
    else:
        cell.streak = 0
    why = _too_much(cell, spec)
    if why:
        return _open(cell, spec, now, why=why, open_at_least=open_at_least)
    _quieten(cell, spec)
    return None


def _too_much(cell: BreakerCell, spec: BreakerSpec) -> str:
    """
    Return which threshold is reached, "" if none.
    """
    if 0 < spec.consecutive <= cell.streak:
        return "consecutive"
    calls, failures, slow = cell.window.totals
    if calls < spec.min_calls:
        return ""
    if spec.failure_rate is not None and failures / calls >= spec.failure_rate:
        return "failure_rate"
    return "slow_rate" if spec.slow_rate is not None and slow / calls >= spec.slow_rate else ""


def _quieten(cell: BreakerCell, spec: BreakerSpec) -> None:
    """
    Say until when quick successes need only be counted.

    Until the sub-window ends nothing is forgotten, so that each of them lowers both rates. Only where the rates
    are still to be judged, at *min_calls*, must somebody look.
    """
    calls, failures, slow = cell.window.totals
    if cell.streak == 0 and (calls >= spec.min_calls or failures == slow == 0):
        cell.quiet_from = cell.window.start - spec.width
        cell.quiet_until = cell.window.start + spec.width
    else:
        cell.quiet_from = cell.quiet_until = 0


def _judge(
    cell: BreakerCell, spec: BreakerSpec, now: int, result: Result, duration: int, open_at_least: int
) -> BreakerState | None:
    """
    Count a probe's result; the last one that is needed closes or opens.
    """
    cell.results += 1
    cell.bad += result is _FAILURE
    cell.late += duration > spec.slow_call
    if cell.results < spec.probes:
        return None
    bad = cell.bad / cell.results >= (spec.failure_rate or _HALF_OPEN_RATE)
    if bad or (spec.slow_rate is not None and cell.late / cell.results >= spec.slow_rate):
        return _open(cell, spec, now, why="probe", open_at_least=open_at_least)
    return _close(cell)


def _open(cell: BreakerCell, spec: BreakerSpec, now: int, *, why: str, open_at_least: int) -> BreakerState:
    period = grow(spec.open_for, factor=spec.growth, steps=cell.openings, cap=spec.max_open_for)
    cell.openings += 1
    cell.why = why
    cell.opened_at = now
    cell.open_until = now + max(period, open_at_least)
    # The counts stay until half-open: they are what an operator wants to see.
    return _change(cell, _OPEN, calm=spec.shadow)


def _half_open(cell: BreakerCell, *, calm: bool) -> None:
    _clear(cell)
    _change(cell, _HALF_OPEN, calm=calm)


def _close(cell: BreakerCell) -> BreakerState:
    _clear(cell)
    cell.openings = 0
    return _change(cell, _CLOSED, calm=True)


def _clear(cell: BreakerCell) -> None:
    cell.window.clear()
    cell.fresh = 0
    cell.streak = 0


def _change(cell: BreakerCell, state: BreakerState, *, calm: bool) -> BreakerState:
    cell.state = state
    cell.calm = calm
    cell.generation += 1
    cell.probes.clear()
    cell.results = cell.bad = cell.late = 0
    cell.quiet_from = cell.quiet_until = 0
    return state
