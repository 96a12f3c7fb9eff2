"""
How much of a unit may be taken, and when: four algorithms over one integer.

A *cell* is one non-negative integer; 0 is the cell that nobody has touched. Every algorithm answers one question::

    ask(cell, now, cost, skew) -> the new cell, or minus the microseconds to wait

so an answer below zero is a refusal, the cell stays as it was, and waiting exactly that long is enough as long as
nobody else takes. *now* is monotonic, *skew* is wall time minus *now*; both are integer microseconds, and only
`Fixed` looks at *skew*. Time that steps back never mints anything: it only lengthens waits.

`Gcra` (``20/minute burst 5``)
    The generic cell rate algorithm: the cell is the theoretical arrival time, at which the bucket is full again
    (ITU-T I.371; github.com/throttled/throttled ``rate.go``). A unit moves it by one gap, and it may lie at most
    *burst* gaps ahead. The gap rounds up, so the rate errs towards fewer. In any period at most amount + burst.

`Sliding` (``20/minute``)
    Never more than the amount in any period. The period is cut in 64; the cell packs the newest sub-bucket's
    number, the total and 65 counts into one integer, newest lowest, so that a key that was used once stays small.
    A unit is given back when its whole sub-bucket has left the window: at the earliest after one period, at the
    latest 1/64 of a period after that.

`Fixed` (``20/minute fixed``)
    Windows aligned to the wall clock, as exchanges and daily quotas count. The cell packs the window's end, in
    monotonic time, its length, and the count: a wall clock that jumps moves no open window, and the window after a
    jump is lengthened, never cut short (but for 1/64 of it, as clocks are slewed all the time).

`Concurrency` (``max_concurrency = 8``)
    The cell is the number held. There is no time to wait for: `FOREVER` says "until somebody settles".

An algorithm *tells* if a refusal says when to come again; places come free when somebody is done. *slack* is how much
later than its time a line of waiters may be looked at without loss, in microseconds. A limit *is_exact* where even
the lateness of an event loop's timers, half a millisecond or so, is a loss that can be seen: its units come that
fast, and there is no burst to make up for it.

All of them answer the same five questions, so whatever holds cells needs no case distinction: `ask`; `wait` (how
long until so many units could have been taken: a lower bound, used to refuse waits that can't fit); `charge` (take
after the fact, even beyond the limit, when the truth cost more than the estimate); `refund`; `left`.

What is charged beyond the limit is a debt, and whoever gives something back later pays it first, whosever it was. A
debt is kept to the unit up to about the limit once more. Deeper ones are cut, so that a cost stated wrongly doesn't
close a limit for ever; and nobody can say any more what a refund would free then, so until all of that has left the
window, nothing is given back.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

__all__ = ["BUCKET", "BUCKET_BITS", "FOREVER", "Algorithm", "Concurrency", "Fixed", "Gcra", "Sliding"]

FOREVER = 1 << 62
"""
A wait that no clock ends, in microseconds.
"""

_SLICES = 64
_FAST = 1_000
_HOLD = 100_000
_TICK = 2_500
_SLOW = 10_000
BUCKET_BITS = 40
BUCKET = (1 << BUCKET_BITS) - 1
"""
Where a sliding window's cell keeps the number of its newest sub-bucket; the total stands above it.
"""
_COUNT_BITS = 48
_COUNT = (1 << _COUNT_BITS) - 1
_END = 2 * _COUNT_BITS
_HOUR = 3_600_000_000
_DAY = 24 * _HOUR
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MONTHS = 12


class Gcra:
    """
    Token bucket as one timestamp.

    Args:
        amount: Units per period, 1 or more.
        period: Microseconds.
        burst: Units that may be taken at once, 1 or more.

    Attributes:
        late: By how many microseconds what `fleet` lends may be used later than it was taken: half of what the bucket
            holds beyond its first unit, and one gap, which is free.
        kept: What comes back meanwhile, in microseconds, and is held back of the burst there.
        deep: How far ahead the cell may lie and still tell every unit, in microseconds: two periods, or the time that
            the whole burst takes where that is longer than one. At half of that more a debt is cut.
    """

    tells = True
    __slots__ = (
        "amount",
        "deep",
        "gap",
        "horizon",
        "is_exact",
        "kept",
        "late",
        "most",
        "period",
        "slack",
        "span",
    )

    def __init__(self, *, amount: int, period: int, burst: int) -> None:
        self.amount = amount
        self.period = period
        self.most = burst
        self.gap = -(-period // amount)
        self.span = burst * self.gap
        # Where units come faster than timers tick, a few at a time cost less than each by itself. Nothing is lost: the
        # bucket holds what comes meanwhile.
        room = self.span - self.gap
        self.slack = min(_TICK, room // 2) if self.gap < _FAST else 0
        self.is_exact = room < _TICK and self.gap < _SLOW
        self.deep = 2 * max(self.span, period)
        self.horizon = self.deep + self.deep // 2
        self.late = min(_HOLD, self.gap + room // 2) - 1
        self.kept = max(0, self.late + 1 - self.gap)

    def ask(self, cell: int, now: int, cost: int, skew: int = 0) -> int:  # noqa: ARG002 - one signature for all
        """
        Take *cost* units: the new cell, or minus the wait.
        """
        after = (cell if cell > now else now) + cost * self.gap
        latest = now + self.span
        return after if after <= latest else latest - after

    def wait(self, cell: int, now: int, units: int, skew: int = 0) -> int:  # noqa: ARG002
        """
        Return the microseconds until *units* more could have been taken, one after the other.
        """
        after = max(cell, now) + units * self.gap
        return max(0, after - now - self.span)

    def charge(self, cell: int, now: int, units: int, skew: int = 0) -> int:  # noqa: ARG002
        """
        Take *units* whether or not they fit; a debt beyond the horizon is cut.
        """
        return max(cell, min(max(cell, now) + units * self.gap, now + self.horizon))

    def refund(self, cell: int, now: int, units: int, at: int) -> int:
        """
        Give back *units* that were taken at *at* and never used, less what the time since then may have given back.

        A bucket that was full in the meantime has given them back already, and one timestamp can't tell whether it
        was: what is given back is what would have come back at the latest by now.

        Nothing is given back of what a debt that was cut may have held: while the cell lies so deep that one may have
        been cut within a period, and of what was taken before that period.
        """
        age = max(0, now - at)
        back = units * self.gap - age
        if back <= 0 or age >= self.horizon - self.deep or cell > now + self.deep:
            return cell
        return max(0, cell - back)

    def left(self, cell: int, now: int, skew: int = 0) -> int:  # noqa: ARG002
        """
        Return how many units could be taken at once.
        """
        return max(0, (self.span - max(0, cell - now)) // self.gap)

    def taken(self, cell: int, now: int, skew: int = 0) -> int:  # noqa: ARG002
        """
        Return how many units count as taken, a debt included; a part of one is a whole one.
        """
        return max(0, -((now - cell) // self.gap))


class Sliding:
    """
    Sliding window of 64 sub-buckets, and one for the edge.

    Args:
        amount: Units per period, 1 or more.
        period: Microseconds.
    """

    slack = 0
    is_exact = False
    tells = True
    __slots__ = ("_all", "_bits", "_first", "amount", "horizon", "mask", "most", "period", "unit", "width")

    def __init__(self, *, amount: int, period: int) -> None:
        self.amount = amount
        self.period = period
        self.most = amount
        self.width = -(-period // _SLICES)
        self.horizon = self.width * (_SLICES + 1)
        self._bits = (2 * amount).bit_length()
        self.mask = (1 << self._bits) - 1
        self._first = BUCKET_BITS + self._bits
        self.unit = (1 << BUCKET_BITS) | (1 << self._first)
        self._all = (1 << (self._bits * (_SLICES + 1))) - 1

    def ask(self, cell: int, now: int, cost: int, skew: int = 0) -> int:  # noqa: ARG002
        """
        Take *cost* units: the new cell, or minus the wait.
        """
        bucket = now // self.width
        if cell & BUCKET < bucket:
            cell = self._advance(cell, bucket)
        if ((cell >> BUCKET_BITS) & self.mask) + cost <= self.amount:
            return cell + cost * self.unit
        return -self._until(cell, now, cost)

    def wait(self, cell: int, now: int, units: int, skew: int = 0) -> int:  # noqa: ARG002
        """
        Return the microseconds until *units* more could have been taken, one after the other.
        """
        rounds = max(0, units - 1) // self.amount
        rest = units - rounds * self.amount
        cell = self._advance(cell, max(now // self.width, cell & BUCKET))
        return rounds * self.period + self._until(cell, now, rest)

    def charge(self, cell: int, now: int, units: int, skew: int = 0) -> int:  # noqa: ARG002
        """
        Take *units* whether or not they fit. Where that is more than twice the amount, the window is full.

        Of a full window nobody knows how much it holds, so all of it counts as taken now.
        """
        cell = self._advance(cell, max(now // self.width, cell & BUCKET))
        if self._total(cell) + units < self.mask:
            return cell + units * self.unit
        return (self.mask << self._first) | (self.mask << BUCKET_BITS) | (cell & BUCKET)

    def refund(self, cell: int, now: int, units: int, at: int) -> int:
        """
        Give back *units* that were taken at *at* and never used; nothing if they have left the window already, or if
        it is full.
        """
        cell = self._advance(cell, max(now // self.width, cell & BUCKET))
        age = (cell & BUCKET) - at // self.width
        if not 0 <= age <= _SLICES or self._total(cell) == self.mask:
            return cell
        shift = self._first + self._bits * age
        back = min(units, (cell >> shift) & self.mask)
        return cell - (back << shift) - (back << BUCKET_BITS)

    def left(self, cell: int, now: int, skew: int = 0) -> int:  # noqa: ARG002
        """
        Return how many units could be taken at once.
        """
        cell = self._advance(cell, max(now // self.width, cell & BUCKET))
        return max(0, self.amount - self._total(cell))

    def taken(self, cell: int, now: int, skew: int = 0) -> int:  # noqa: ARG002
        """
        Return how many units count as taken, a debt included; a part of one is a whole one.
        """
        return self._total(self._advance(cell, max(now // self.width, cell & BUCKET)))

    def _total(self, cell: int) -> int:
        return (cell >> BUCKET_BITS) & self.mask

    def _advance(self, cell: int, bucket: int) -> int:
        steps = bucket - (cell & BUCKET)
        total = self._total(cell)
        if not total or steps > _SLICES:
            return bucket
        counts = cell >> self._first
        gone = counts >> (self._bits * (_SLICES + 1 - steps))
        while gone:
            total -= gone & self.mask
            gone >>= self._bits
        counts = (counts << (self._bits * steps)) & self._all
        return (counts << self._first) | (total << BUCKET_BITS) | bucket

    def _until(self, cell: int, now: int, cost: int) -> int:
        missing = self._total(cell) + cost - self.amount
        counts = cell >> self._first
        for age in range(_SLICES, -1, -1):
            if missing <= 0:
                return 0
            missing -= (counts >> (self._bits * age)) & self.mask
            if missing <= 0:
                return ((cell & BUCKET) - age + _SLICES + 1) * self.width - now
        return 0 if missing <= 0 else FOREVER


class Fixed:
    """
    Clock-aligned windows.

    Args:
        amount: Units per window, 1 or more.
        period: Microseconds; ignored where *month* is set.
        month: Whether windows are *count* calendar months.
        count: How many months make one window, from 1 to 12.
        zone: Time zone of days, weeks and months; None is UTC.
    """

    slack = 0
    is_exact = False
    tells = True
    __slots__ = ("_apart", "amount", "count", "horizon", "month", "most", "period", "shortest", "zone")

    def __init__(
        self, *, amount: int, period: int, month: bool = False, count: int = 1, zone: tzinfo | None = None
    ) -> None:
        self.amount = amount
        self.most = amount
        self.period = 28 * count * _DAY if month else period
        self.month = month
        self.count = count
        self.zone = zone
        # A lengthened window lasts two periods, and after one more nothing depends on it.
        self.horizon = 3 * (31 * count * _DAY if month else period)
        # Clocks are slewed a little all the time, and a day may lose two hours to daylight saving.
        calendar = month or (zone is not None and self.period % _DAY == 0)
        self.shortest = self.period - (2 * _HOUR if calendar else period // _SLICES)
        self._apart = self.shortest if calendar else period

    def ask(self, cell: int, now: int, cost: int, skew: int = 0) -> int:
        """
        Take *cost* units: the new cell, or minus the wait.
        """
        cell = self._current(cell, now, skew)
        if (cell & _COUNT) + cost <= self.amount:
            return cell + cost
        return now - (cell >> _END)

    def wait(self, cell: int, now: int, units: int, skew: int = 0) -> int:
        """
        Return the microseconds until *units* more could have been taken, one after the other.
        """
        cell = self._current(cell, now, skew)
        later = units - max(0, self.amount - (cell & _COUNT))
        if later <= 0:
            return 0
        # Days and months differ in length: the shortest there are keep this a lower bound.
        return (cell >> _END) - now + (later - 1) // self.amount * self._apart

    def charge(self, cell: int, now: int, units: int, skew: int = 0) -> int:
        """
        Take *units* whether or not they fit; more than 2^48 - 1 are not told apart.
        """
        cell = self._current(cell, now, skew)
        return cell + min(units, _COUNT - (cell & _COUNT))

    def refund(self, cell: int, now: int, units: int, at: int) -> int:
        """
        Give back *units* that were taken at *at* and never used; nothing if that window is over, or can't be counted.
        """
        end = cell >> _END
        if now >= end or at < end - ((cell >> _COUNT_BITS) & _COUNT) or cell & _COUNT == _COUNT:
            return cell
        return cell - min(units, cell & _COUNT)

    def left(self, cell: int, now: int, skew: int = 0) -> int:
        """
        Return how many units could be taken at once.
        """
        return max(0, self.amount - (self._current(cell, now, skew) & _COUNT))

    def taken(self, cell: int, now: int, skew: int = 0) -> int:
        """
        Return how many units count as taken, a debt included; a part of one is a whole one.
        """
        return self._current(cell, now, skew) & _COUNT

    @staticmethod
    def end(cell: int) -> int:
        """
        Return when the window that *cell* counts ends, in microseconds; 0 for one that nobody has touched.
        """
        return cell >> _END

    def _current(self, cell: int, now: int, skew: int) -> int:
        end = cell >> _END
        if now < end:
            return cell
        following = self.boundary(now + skew) - skew
        # The wall clock was moved: a window that began too early would lend this one's allowance twice.
        if end and following - end < self.shortest:
            following += self.period
        return (following << _END) | ((following - now) << _COUNT_BITS)

    def boundary(self, wall: int) -> int:
        """
        Return when the window ends in which *wall* lies; both are wall time.
        """
        if not self.month and (self.period % _DAY or self.zone is None):
            # Weeks begin on Mondays; the epoch was a Thursday.
            origin = 4 * _DAY if self.period % (7 * _DAY) == 0 else 0
            return wall - (wall - origin) % self.period + self.period
        return self._calendar(wall)

    def _calendar(self, wall: int) -> int:
        local = (_EPOCH + timedelta(microseconds=wall)).astimezone(self.zone or UTC)
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        if self.month:
            months = midnight.year * _MONTHS + midnight.month - 1
            months += self.count - months % self.count
            after = midnight.replace(year=months // _MONTHS, month=months % _MONTHS + 1, day=1)
        else:
            days = self.period // _DAY
            origin = 1 if days % 7 == 0 else 0
            after = midnight + timedelta(days=days - (midnight.toordinal() - origin) % days)
        return (after.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)


class Concurrency:
    """
    So many at once.

    Args:
        amount: What the cell may come to, which is how many may be held where it counts those.
        most: How many may be held. Default: *amount*.
    """

    slack = 0
    is_exact = False
    tells = False
    __slots__ = ("amount", "horizon", "most")

    def __init__(self, *, amount: int, most: int | None = None) -> None:
        self.amount = amount
        self.most = amount if most is None else most
        self.horizon = FOREVER

    def ask(self, cell: int, now: int, cost: int, skew: int = 0) -> int:  # noqa: ARG002
        """
        Take *cost* places: the new cell, or minus `FOREVER`.
        """
        return cell + cost if cell + cost <= self.amount else -FOREVER

    def wait(self, cell: int, now: int, units: int, skew: int = 0) -> int:  # noqa: ARG002
        """
        Return 0: nobody knows when a place comes free.
        """
        return 0

    def charge(self, cell: int, now: int, units: int, skew: int = 0) -> int:  # noqa: ARG002
        """
        Take *units* places whether or not they fit.
        """
        return cell + units

    def refund(self, cell: int, now: int, units: int, at: int) -> int:  # noqa: ARG002
        """
        Give back *units* places.
        """
        return cell - units

    def left(self, cell: int, now: int, skew: int = 0) -> int:  # noqa: ARG002
        """
        Return how many places are free.
        """
        return max(0, self.amount - cell)

    def taken(self, cell: int, now: int, skew: int = 0) -> int:  # noqa: ARG002
        """
        Return how many units count as taken, a debt included; a part of one is a whole one.
        """
        return cell


Algorithm = Gcra | Sliding | Fixed | Concurrency
"""
What a limit compiles to.
"""
