"""
Fleets in virtual time, over the pure step that they share: as lean as may be, for millions of requests.

A play has members with lines of calls, random limits, priorities, costs, cancels, refunds, lost members, and late uses:
what is granted is used at any moment until its end, often the last one. The judge stands in it and knows nothing of
cells: it is told when units were used, who waited with which rank, and who holds places.
"""

from __future__ import annotations

import random
from collections import deque
from heapq import heappop, heappush

from egressor._core.fleet import LIFE, STAY, Back, Part, Rank, Request, State, Want, exchange
from egressor._core.limits import Algorithm, Concurrency, Fixed, Gcra, Sliding

SECOND = 1_000_000
SKEW = 1_700_000_000 * SECOND
_LINE = 16
# So many questions without a grant: a minute's limit with eight members that look each 0.3 s takes fewer.
_PATIENCE = 5_000


class Judge:
    """
    What was let through of one limit, window by window.
    """

    def __init__(self, limit: Algorithm) -> None:
        self.limit = limit
        self.bound = limit.amount + (limit.most if isinstance(limit, Gcra) else 0)
        self.worst = 0
        self.uses = 0
        self._later: list[tuple[int, int]] = []
        self._window: deque[tuple[int, int]] = deque()
        self._sum = 0
        self._number = -1

    def use(self, at: int, units: int) -> None:
        """
        Hear that *units* will have been used at *at*.
        """
        heappush(self._later, (at, units))

    def look(self, now: int) -> None:
        """
        Count what was used before *now*.
        """
        later, window = self._later, self._window
        limit = self.limit
        while later and later[0][0] < now:
            at, units = heappop(later)
            self.uses += 1
            if isinstance(limit, Fixed):
                number = (at + SKEW) // limit.period
                if number != self._number:
                    self._number, self._sum = number, 0
            elif isinstance(limit, Gcra | Sliding):
                while window and window[0][0] <= at - limit.period:
                    self._sum -= window.popleft()[1]
                window.append((at, units))
            self._sum += units
            self.worst = max(self.worst, self._sum)


class Player:
    """
    A member: its calls that wait, the places that it holds, and what it has to give back.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.line: list[tuple[Rank, int]] = []
        self.busy: list[int] = []
        self.backs: list[Back] = []
        self.told: Rank | None = None
        self.told_at = 0
        self.next = 0


class Play:
    """
    One fleet, from its first call until all is over.

    Args:
        seed: Of everything.
        requests: How many calls there are.

    Attributes:
        wrong: What the judge has to say; empty if nothing.
        ends: How many calls went, were refused, gave up or were lost.
    """

    def __init__(self, seed: int, requests: int) -> None:
        self.dice = dice = random.Random(seed)
        self.now = 1_000 * SECOND + dice.randrange(SECOND)
        self.state = State()
        self.requests = requests
        self.wrong: list[str] = []
        self.ends = dict.fromkeys(("went", "refused", "gave up", "lost"), 0)
        self.age = dice.choice([0, 0, SECOND, 20 * SECOND])
        self.limits = self._limits()
        self.cells = [f"c{number}" for number in range(len(self.limits))]
        self.judges = [Judge(limit) for limit in self.limits]
        self.places = Concurrency(amount=dice.choice([1, 2, 10])) if dice.random() < 0.3 else None
        self.members = dice.randrange(1, 9)
        self.names = 0
        self.players = [self._player() for _ in range(self.members)]
        self.costs = [1, 1, 1, dice.randrange(1, self._most() + 1)]
        # The mean pause between two events: from far too much to less than there is.
        slowest = max(self._gap(limit) for limit in self.limits)
        self.pause = max(1, round(slowest * dice.choice([0.3, 0.8, 1.2, 3.0])))

    def run(self) -> Play:
        """
        Let it happen.
        """
        dice, players = self.dice, self.players
        number = 0
        while number < self.requests:
            player = players[int(dice.random() * len(players))]
            # They come one by one, or many at once.
            crowd = dice.choice((1, 1, 1, 9))
            self.now += int(dice.expovariate(1.0) * self.pause * crowd)
            for _ in range(crowd):
                self._come(player)
            number += crowd
            chance = dice.random()
            if chance < 0.03:
                self._give_up(player)
            elif chance < 0.0305 and number > 20:
                self._lose(player)
            self._ask(player)
            other = players[int(dice.random() * len(players))]
            if other.next <= self.now and other.line:
                self._ask(other)
            self._look()
        self._finish()
        return self

    # --- what happens ------------------------------------------------------------------------------------------------

    def _come(self, player: Player) -> None:
        if len(player.line) >= _LINE:
            self.ends["refused"] += 1
            return
        dice = self.dice
        wait = dice.choice((SECOND, 30 * SECOND, 1 << 50))
        rank = Rank(dice.randrange(4), self.now, self.now + wait)
        player.line.append((rank, dice.choice(self.costs)))

    def _give_up(self, player: Player) -> None:
        if player.line:
            player.line.pop(self.dice.randrange(len(player.line)))
            self.ends["gave up"] += 1

    def _lose(self, player: Player) -> None:
        """
        A process dies with all it has; another begins.
        """
        self.ends["lost"] += len(player.line)
        self.players[self.players.index(player)] = self._player()

    def _ask(self, player: Player) -> None:
        now, line = self.now, player.line
        player.busy = [end for end in player.busy if end > now]
        line[:] = [each for each in line if each[0].deadline > now or self._is_late()]
        wants: tuple[Want, ...] = ()
        left: tuple[str, ...] = ()
        best = None
        if line:
            best = min(line, key=self._key)
            wants = (Want(best[0], self._parts(best[1]), 1 + self._alike(line, best)),)
        elif player.told is not None:
            left = (*self.cells, "places")
        places = () if self.places is None else (("places", len(player.busy)),)
        backs, player.backs = tuple(player.backs), []
        request = Request(player.name, "", self.state.version, None, places, backs, wants, (), left, self.age)
        reply = exchange(self.state, request, now, SKEW)
        if best is None:
            player.told = None
            return
        answer = reply.answers[0]
        if answer.times:
            self._check_order(player, best[0])
            self._go(player, best, answer.times, answer.until)
        player.told, player.told_at = (best[0], now) if not answer.times else (None, 0)
        player.next = now + (answer.wait if answer.wait is not None else STAY // 2)

    def _go(self, player: Player, best: tuple[Rank, int], times: int, until: int) -> None:
        dice, now, cost = self.dice, self.now, best[1]
        going = [best, *[each for each in player.line if each is not best and each[1] == cost]][:times]
        for call in going:
            player.line.remove(call)
            self.ends["went"] += 1
            if self.places is not None:
                # Whoever holds longer would speak of it meanwhile.
                player.busy.append(now + dice.randrange(1, min(4 * self.pause + 2, LIFE // 2)))
            used = cost if dice.random() > 0.1 else dice.randrange(cost + 1)
            if used < cost:
                player.backs += [
                    Back(Part(cell, cost - used, limit), now)
                    for cell, limit in zip(self.cells, self.limits, strict=True)
                ]
            if used:
                # At the last moment, at once, or in between.
                at = dice.choice((until - 1, now, dice.randrange(now, max(now + 1, until))))
                for judge in self.judges:
                    judge.use(at, used)

    def _finish(self) -> None:
        """
        Nobody comes any more: all who wait go, or their time is over, and nothing is held.
        """
        idle, before = 0, 0
        while idle < _PATIENCE and (waiting := [player for player in self.players if player.line]):
            self.now = max(self.now, min(player.next for player in waiting))
            for player in waiting:
                if player.next <= self.now:
                    self._ask(player)
            self._look()
            idle = idle + 1 if self.ends["went"] == before else 0
            before = self.ends["went"]
        if idle == _PATIENCE:
            self.wrong.append(f"{sum(len(player.line) for player in self.players)} calls wait for ever")
        self.now += 2 * LIFE + 8 * self.pause
        self._look()
        for player in self.players:
            self._ask(player)
        if self.state.held:
            self.wrong.append(f"held at rest: {self.state.held}")
        if any(self.state.waits.values()):
            self.wrong.append(f"somebody waits at rest: {self.state.waits}")

    # --- the judge ---------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        for cell, judge in zip(self.cells, self.judges, strict=True):
            judge.look(self.now)
            if judge.worst > judge.bound:
                self.wrong.append(f"{cell}, {judge.limit}: {judge.worst} in a window")
                judge.bound = judge.worst
        if self.places is not None:
            held = sum(sum(end > self.now for end in player.busy) for player in self.players)
            if held > self.places.amount:
                self.wrong.append(f"{held} places of {self.places.amount} at {self.now}")

    def _check_order(self, player: Player, rank: Rank) -> None:
        """
        Nobody goes before somebody better of whom the store has been told, and who waits for the same.
        """
        if len(self.limits) > 1 or self.places is not None:
            return  # Who waits for another cell is passed by.
        for other in self.players:
            told = other.told
            if told is None or other is player or other.told_at <= self.now - STAY:
                continue
            if self._key((told, 0)) < self._key((rank, 0)):
                self.wrong.append(f"{rank} went before {told} at {self.now}")

    def _key(self, call: tuple[Rank, int]) -> tuple[int, int, int]:
        rank = call[0]
        level = rank.level + ((self.now - rank.since) // self.age if self.age else 0)
        return -min(3, level), rank.deadline, rank.since

    # --- how it is made ----------------------------------------------------------------------------------------------

    def _limits(self) -> list[Algorithm]:
        dice = self.dice
        found: list[Algorithm] = []
        for _ in range(dice.choice([1, 1, 1, 2, 3])):
            amount = dice.choice([1, 2, 5, 20, 100, 1_000])
            period = dice.choice([1, 1, 10, 60]) * SECOND
            kind = dice.randrange(3)
            if kind == 0:
                found.append(Sliding(amount=amount, period=period))
            elif kind == 1:
                found.append(Gcra(amount=amount, period=period, burst=dice.randrange(1, max(2, amount // 2 + 1))))
            else:
                found.append(Fixed(amount=amount, period=period))
        return found

    def _most(self) -> int:
        return max(1, min(limit.most if isinstance(limit, Gcra) else limit.amount for limit in self.limits) // 2)

    def _gap(self, limit: Algorithm) -> float:
        return limit.period / limit.amount if not isinstance(limit, Concurrency) else 0.0

    def _parts(self, cost: int) -> tuple[Part, ...]:
        parts = tuple([Part(cell, cost, limit) for cell, limit in zip(self.cells, self.limits, strict=True)])
        return parts if self.places is None else (*parts, Part("places", 1, self.places))

    def _alike(self, line: list[tuple[Rank, int]], best: tuple[Rank, int]) -> int:
        return 0 if self.dice.random() < 0.5 else sum(each is not best and each[1] == best[1] for each in line)

    def _is_late(self) -> bool:
        self.ends["refused"] += 1
        return False

    def _player(self) -> Player:
        self.names += 1
        return Player(f"m{self.names}")
