"""
The waiting room of one service: lines, time-outs and alarms, over the core's `Queue`.

Everything here runs under the gate's lock. The room never decides about cells: it is handed `Decide`, which takes them
for an ask or says which cell is short and until when.

An alarm is the time at which a line is worth looking at: its cell may have refilled, or somebody's wait is over. The
alarms of all lines stand in one heap, and the earliest is passed on to the home of everybody who waits. Old entries of
the heap are recognised by the line's own `alarm_at`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, NamedTuple

from egressor._core.admission import Ask, Denied, Entry, Lease, Why
from egressor._core.learn import parts_of
from egressor._core.limits import FOREVER
from egressor._core.model import Priority
from egressor._core.queue import Line, Queue, Waiter

if TYPE_CHECKING:
    from . import Home, Parked, Ticking

__all__ = ["AWAY", "Decide", "Short", "WaitingRoom"]

AWAY = ("retry_after", "")
"""
The line of those whom a server's word holds back: a Retry-After, or that nothing is left. Where that concerns an
endpoint or a recipient only, there is a line for it.
"""

_NEWEST = 1 << 62
_SLACK = 64
_SECOND = 1_000_000


class Short(NamedTuple):
    """
    Why an ask that stands first can't go yet.

    Attributes:
        entry: The entry that is short; None where the server's word holds it back.
        ready_at: When it is worth asking again, in microseconds.
        where: The part of the service that the server speaks of; empty for all of it.
    """

    entry: Entry | None
    ready_at: int
    where: str = ""

    @property
    def line(self) -> tuple[str, str]:
        """
        The name of the line to wait in.
        """
        return (AWAY[0], self.where) if self.entry is None else (self.entry.name, self.entry.key)


Decide = Callable[[Ask, int, "Parked"], Lease | Denied | Short]


class WaitingRoom:
    """
    Those that wait for one service.

    Args:
        owner: Whose `tick` is to be called at the alarms.
        age: Microseconds of waiting that raise a call's priority by one level.
        decide: Takes an ask's cells, or says what is short.
    """

    def __init__(self, owner: Ticking, *, age: int, decide: Decide) -> None:
        self._owner = owner
        self._decide = decide
        self._queue: Queue[Parked] = Queue(age=age)
        self._alarms: list[tuple[int, int, Line[Parked]]] = []
        self._seq = 0
        self._homes: dict[Home, int] = {}
        self.waits = [[0, 0, 0] for _ in Priority]

    @property
    def size(self) -> int:
        """
        How many wait.
        """
        return self._queue.size

    @property
    def lines(self) -> Mapping[tuple[str, str], Line[Parked]]:
        """
        Those lines where somebody waits.
        """
        return self._queue.lines

    def sizes(self) -> list[int]:
        """
        Return how many wait, by level.
        """
        return self._queue.sizes()

    def blocker(
        self, ask: Ask, until: int, *, level: int, seq: int = _NEWEST, but: Line[Parked] | None = None
    ) -> Short | None:
        """
        Return the line, other than *but*, where somebody ranks before *ask* at *level*, which must not be overtaken.
        """
        lines = self._queue.lines
        if not lines:
            return None
        # A Retry-After holds back all alike, and when it is over they go in order, too.
        for where in parts_of(ask.scope):
            away = lines.get((AWAY[0], where))
            if away is not None and away is not but and not away.ranks_before(level=level, deadline=until, seq=seq):
                return Short(None, away.ready_at, where)
        for entry in ask.entries:
            line = lines.get((entry.name, entry.key))
            if line is None or line is but or line.ranks_before(level=level, deadline=until, seq=seq):
                continue
            return Short(entry, line.ready_at)
        return None

    def units_before(self, entry: Entry, *, level: int, until: int) -> int:
        """
        Return what those take of *entry*'s cell that surely go first.
        """
        line = self._queue.lines.get((entry.name, entry.key))
        return 0 if line is None else line.units_before(level=level, deadline=until)

    def displace(self, level: int, denied: Denied, now: int) -> bool:
        """
        Refuse the newest of the lowest level below *level*; False where there is none.
        """
        victim = self._queue.last_below(level)
        if victim is None:
            return False
        line = victim.line
        was_first = line is not None and line.first() is victim
        self._leave(victim, denied)
        if was_first and line is not None and line.size:
            # What was too little for it may be enough for the next.
            self._look_again(line, now)
        return True

    def join(self, ask: Ask, parked: Parked, short: Short, *, until: int, now: int) -> None:
        """
        Let *ask* wait until *until*.
        """
        waiter = parked.waiter = Waiter(parked, level=ask.level, deadline=until, now=now)
        parked.ask = ask
        parked.since = now
        parked.room = self
        line = self._queue.line(short.line)
        if not line.size:
            line.ready_at = short.ready_at
        self._queue.join(waiter, line, units=0 if short.entry is None else short.entry.units)
        self._homes[parked.home] = self._homes.get(parked.home, 0) + 1
        # Whoever joins a line with an alarm moves it only if its own wait ends sooner, or if it stands first and wants
        # less than who stood there.
        if line.first() is waiter:
            line.ready_at = min(line.ready_at, short.ready_at)
        if line.alarm_at is None or min(until, line.ready_at) < line.alarm_at:
            self._schedule(line)
        self._arm(parked.home)

    def rejoin(self, parked: Parked, short: Short) -> None:
        """
        Let *parked*, which has lost the turn that it was given, stand where it would stand if it had had none.
        """
        line = self._queue.line(short.line)
        if not line.size:
            line.ready_at = short.ready_at
        self._queue.rejoin(parked.waiter, line, units=0 if short.entry is None else short.entry.units)
        self._homes[parked.home] = self._homes.get(parked.home, 0) + 1
        if line.first() is parked.waiter:
            line.ready_at = min(line.ready_at, short.ready_at)
        self._schedule(line)
        self._arm(parked.home)

    def has_others(self, home: Home) -> bool:
        """
        Whether anybody waits who lives elsewhere than at *home*.
        """
        return len(self._homes) > (home in self._homes)

    def alert_others(self, home: Home, when: int) -> None:
        """
        Have somebody else than *home* look at *when* whether who lives there has come for its lease.
        """
        for each in self._homes:
            if each is not home:
                each.arm(self._owner, when)

    def abandon(self, parked: Parked, now: int) -> bool:
        """
        Let a waiter go that was cancelled; False if it has its reply already.
        """
        waiter = parked.waiter
        if waiter is None or waiter.line is None:
            return False
        line = waiter.line
        was_first = line.first() is waiter
        self._queue.leave(waiter)
        self._leave_home(parked.home)
        if was_first and line.size:
            # What was too little for it may be enough for the next.
            self._promote(now)
            self._serve(line, now)
            for home in self._homes:
                self._arm(home)
        return True

    def promote(self, now: int) -> None:
        """
        Raise those that have waited long enough, before anybody's rank is compared with theirs.

        A newcomer serves nobody: a lease that is granted while its holder's event loop is busy is used later, and many
        of those together look like one clump to the server.
        """
        if self._queue.size:
            self._promote(now)

    def serve_due(self, now: int) -> None:
        """
        Serve every line whose alarm has come.
        """
        self._promote(now)
        while self._alarms and self._alarms[0][0] <= now:
            when, _, line = heappop(self._alarms)
            if line.alarm_at == when:
                line.alarm_at = None
                self._serve(line, now)
        for home in self._homes:
            self._arm(home)

    def freed(self, entries: Sequence[Entry], now: int) -> None:
        """
        Serve the lines of *entries*' cells, of which some has just been given back.
        """
        lines = self._queue.lines
        if not lines or not entries:
            return
        self._promote(now)
        for entry in entries:
            line = lines.get((entry.name, entry.key))
            if line is not None:
                self._serve(line, now)
        for home in self._homes:
            self._arm(home)

    def freed_by_server(self, now: int) -> None:
        """
        Serve those whom the server's word holds back: it may be another one by now.
        """
        if self._queue.lines:
            held = [line for name, line in self._queue.lines.items() if name[0] == AWAY[0]]
            if held:
                self.serve(held, now)

    def serve(self, lines: Iterable[Line[Parked]], now: int) -> None:
        """
        Serve *lines*: something has come for the first of each.
        """
        self._promote(now)
        for line in lines:
            self._serve(line, now)
        for home in self._homes:
            self._arm(home)

    def expire(self, lines: Iterable[Line[Parked]], now: int) -> None:
        """
        Refuse those in *lines* whose wait is over, and serve nobody.
        """
        for line in lines:
            self._expire(line, now, by=now - 1)

    def move(self, waiter: Waiter[Parked], short: Short) -> None:
        """
        Let *waiter* stand in the line of *short* instead.
        """
        self._move(waiter, short)
        for home in self._homes:
            self._arm(home)

    def hasten(self, waiter: Waiter[Parked], deadline: int) -> None:
        """
        Let *waiter* wait until *deadline* only.
        """
        line = waiter.line
        if line is not None:
            line.drop(waiter)
            waiter.deadline = deadline
            line.push(waiter)
            self._schedule(line)
            self._arm(waiter.what.home)

    def refuse(self, waiter: Waiter[Parked], denied: Denied) -> None:
        """
        Let *waiter* go with *denied*.
        """
        self._leave(waiter, denied)

    def serve_all(self, now: int) -> None:
        """
        Serve every line, due or not: something that held all of them back is over.
        """
        self._promote(now)
        for line in list(self._queue.lines.values()):
            self._serve(line, now)
        for home in self._homes:
            self._arm(home)

    def remake(self, remade: Callable[[Ask], Ask], now: int) -> None:
        """
        Let everybody stand again, in the same order, with their asks as *remade* under another policy.
        """
        waiters = []
        for line in list(self._queue.lines.values()):
            while (waiter := line.first()) is not None:
                waiters.append(waiter)
                line.drop(waiter)
        self._queue.lines.clear()
        everybody = self._queue.line(AWAY)
        everybody.ready_at = now
        for waiter in waiters:
            waiter.what.ask = remade(waiter.what.ask)
            waiter.units = 0
            everybody.push(waiter)
        self._serve(everybody, now)
        for home in self._homes:
            self._arm(home)

    def flush(self, denied: Denied) -> None:
        """
        Refuse everybody.
        """
        for line in list(self._queue.lines.values()):
            while (waiter := line.first()) is not None:
                self._leave(waiter, denied)

    def _promote(self, now: int) -> None:
        # Another stands first: perhaps what there is is enough for it.
        for line in self._queue.promote(now):
            self._look_again(line, now)

    def _look_again(self, line: Line[Parked], now: int) -> None:
        line.ready_at = min(line.ready_at, now)
        self._schedule(line)
        for home in self._homes:
            self._arm(home)

    def _serve(self, line: Line[Parked], now: int) -> None:
        # Whose last moment this is may still go now; whoever's is over may not.
        self._expire(line, now, by=now - 1)
        self._grant(line, now)
        if self._expire(line, now, by=now):
            self._grant(line, now)
        if line.size:
            self._schedule(line)

    def _expire(self, line: Line[Parked], now: int, *, by: int) -> bool:
        found = False
        while (waiter := line.overdue(by)) is not None:
            found = True
            wait = line.ready_at - now
            # A turn that is due by now is known, too; the caller is told to come back at once.
            known = max(wait, 1) if wait < FOREVER // 2 else None
            text = f"its turn did not come within {(now - waiter.what.since) / _SECOND:.3f} s"
            self._leave(waiter, Denied(Why.WAIT_TOO_LONG, line.name[0], known, text))
        return found

    def _grant(self, line: Line[Parked], now: int) -> None:
        while (waiter := line.first()) is not None:
            parked = waiter.what
            ask = parked.ask
            if parked.home.is_gone():
                self._queue.leave(waiter)
                self._leave_home(parked.home)
                continue
            blocked = self.blocker(ask, waiter.deadline, level=waiter.level, seq=waiter.seq, but=line)
            decision = blocked or self._decide(ask, now, parked)
            if not isinstance(decision, Short):
                self._leave(waiter, decision)
            elif decision.line == line.name:
                line.ready_at = decision.ready_at
                break
            else:
                self._move(waiter, decision)

    def _move(self, waiter: Waiter[Parked], short: Short) -> None:
        line = self._queue.line(short.line)
        if not line.size:
            line.ready_at = short.ready_at
        self._queue.move(waiter, line, units=0 if short.entry is None else short.entry.units)
        if line.first() is waiter:
            line.ready_at = min(line.ready_at, short.ready_at)
        self._schedule(line)

    def _leave(self, waiter: Waiter[Parked], reply: Lease | Denied) -> None:
        self._queue.leave(waiter)
        self._reply(waiter, reply)

    def _reply(self, waiter: Waiter[Parked], reply: Lease | Denied) -> None:
        parked = waiter.what
        parked.reply = reply
        if isinstance(reply, Lease):
            waited = reply.at - parked.since
            stats = self.waits[reply.ask.level]
            stats[0] += 1
            stats[1] += waited
            stats[2] = max(stats[2], waited)
        self._leave_home(parked.home)
        parked.home.wake(parked)

    def _leave_home(self, home: Home) -> None:
        left = self._homes[home] - 1
        if left:
            self._homes[home] = left
        else:
            del self._homes[home]

    def _schedule(self, line: Line[Parked]) -> None:
        expiry = line.next_expiry()
        when = line.ready_at if expiry is None else min(line.ready_at, expiry)
        if line.alarm_at is None or when < line.alarm_at:
            line.alarm_at = when
            self._seq += 1
            heappush(self._alarms, (when, self._seq, line))
            if len(self._alarms) > 2 * len(self._queue.lines) + _SLACK:
                self._alarms = [alarm for alarm in self._alarms if self._is_due(alarm)]
                heapify(self._alarms)

    def _is_due(self, alarm: tuple[int, int, Line[Parked]]) -> bool:
        when, _, line = alarm
        return line.alarm_at == when and self._queue.lines.get(line.name) is line

    def _arm(self, home: Home) -> None:
        if self._alarms:
            home.arm(self._owner, self._alarms[0][0])
