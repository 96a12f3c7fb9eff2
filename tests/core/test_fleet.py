"""
What members of a fleet decide together, replayed by a judge that knows nothing of cells.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor._core.fleet import LIFE, STAY, Back, Part, Rank, Reply, Request, State, Top, Want, exchange
from egressor._core.limits import Algorithm, Concurrency, Fixed, Gcra, Sliding

SECOND = 1_000_000
START = 1_000 * SECOND
NEVER = 1 << 52
SLIDING = Sliding(amount=5, period=10 * SECOND)
BUCKET = Gcra(amount=20, period=10 * SECOND, burst=4)
BRISK = Gcra(amount=100, period=SECOND, burst=30)
SINGLE = Gcra(amount=10, period=SECOND, burst=1)
FIXED = Fixed(amount=4, period=5 * SECOND)
PLACES = Concurrency(amount=2)
LIMITS: dict[str, Algorithm] = {
    "sliding": SLIDING,
    "bucket": BUCKET,
    "brisk": BRISK,
    "single": SINGLE,
    "fixed": FIXED,
    "places": PLACES,
}
COUNTED = [cell for cell in LIMITS if cell != "places"]


def want(*cells: str, level: int = 1, since: int = START, deadline: int = NEVER, units: int = 1, most: int = 1) -> Want:
    """
    A want of so many units of each cell.
    """
    return Want(Rank(level, since, deadline), tuple(Part(cell, units, LIMITS[cell]) for cell in cells), most)


def one(state: State, member: str, *wants: Want, now: int = START, **options: object) -> Reply:
    """
    A member's request.
    """
    made = Request(member, address=f"at {member}", version=state.version, wants=wants)._replace(**options)  # type: ignore[arg-type]
    return exchange(state, made, now)


# --- the judge -------------------------------------------------------------------------------------------------------


class Grant(NamedTuple):
    """
    Units that may be used at any time from *at* up to, not including, *until*.
    """

    cell: str
    at: int
    until: int
    units: int


def most_at_will(grants: list[Grant], period: int) -> int:
    """
    The most units in any half-open window of *period*, if each is used when it hurts most.
    """
    ends = {grant.at + 1 for grant in grants} | {grant.at + period for grant in grants} | {g.until for g in grants}
    return max(
        (sum(g.units for g in grants if g.at < end and g.until > end - period) for end in ends),
        default=0,
    )


def overdrawn(cell: str, grants: list[Grant]) -> int:
    """
    By how many units the worst window of *cell* holds more than its limit says.
    """
    limit = LIMITS[cell]
    own = [grant for grant in grants if grant.cell == cell]
    if isinstance(limit, Fixed):
        windows = {grant.at // limit.period for grant in own} | {(g.until - 1) // limit.period for g in own}
        return max(
            (
                sum(g.units for g in own if g.at < (n + 1) * limit.period and g.until > n * limit.period) - limit.amount
                for n in windows
            ),
            default=0,
        )
    assert isinstance(limit, Gcra | Sliding)
    bound = limit.amount + (limit.most if isinstance(limit, Gcra) else 0)
    return most_at_will(own, limit.period) - bound


def goes_before(one: Rank, two: Rank, now: int, age: int) -> bool:
    """
    Whether *one* goes first, said from the design: level with age, then deadline, then who came first.
    """
    levels = [min(3, each.level + (max(0, now - each.since) // age if age else 0)) for each in (one, two)]
    return (-levels[0], one.deadline, one.since) < (-levels[1], two.deadline, two.since)


class Fleet:
    """
    Members that play by the rules, and what the judge knows of them.
    """

    def __init__(self) -> None:
        self.state = State()
        self.now = START
        self.grants: list[Grant] = []
        self.places: dict[str, int] = {}
        self.spoke: dict[str, int] = {}
        self.lives = dict.fromkeys("abc", 0)

    def act(self, who: str, made: Request, *, gives_back: bool, ends: int) -> None:
        """
        One exchange of *who*, which may give its last unused grant back, and some of its places.
        """
        self._mourn()
        name = f"{who}{self.lives[who]}"
        self.places[name] = max(0, self.places.get(name, 0) - ends)
        backs: tuple[Back, ...] = ()
        last = self.grants[-1] if self.grants else None
        if gives_back and last is not None and self.now < last.until:
            self.grants.remove(last)
            backs = (Back(Part(last.cell, last.units, LIMITS[last.cell]), last.at),)
        made = made._replace(
            member=name, version=self.state.version, backs=backs, places=(("places", self.places[name]),)
        )
        before = copy.deepcopy(self.state)
        reply = exchange(self.state, made, self.now)
        self.spoke[name] = self.now
        self._judge_order(before, made, reply)
        self._take(name, made, reply)

    def _mourn(self) -> None:
        for name in [name for name, at in self.spoke.items() if self.now - at >= LIFE]:
            del self.spoke[name]
            self.places.pop(name, None)
            self.lives[name[0]] += 1

    def _take(self, name: str, made: Request, reply: Reply) -> None:
        for asked, answer in zip(made.wants, reply.answers, strict=True):
            for part in asked.parts:
                self._note(name, part.cell, part.units * answer.times, answer.until)
        for top, (units, until) in zip(made.tops, reply.tops, strict=True):
            assert units <= top.part.units
            self._note(name, top.part.cell, units, until)

    def _note(self, name: str, cell: str, units: int, until: int) -> None:
        if units and cell == "places":
            self.places[name] += units
        elif units:
            self.grants.append(Grant(cell, self.now, until, units))

    def _judge_order(self, before: State, made: Request, reply: Reply) -> None:
        dead = {name for name, member in before.members.items() if member.until <= self.now}
        fresh = {
            cell: [
                wait.rank
                for name, wait in row.items()
                if name != made.member and name not in dead and wait.seen > self.now - STAY
            ]
            for cell, row in before.waits.items()
        }
        for asked, answer in zip(made.wants, reply.answers, strict=True):
            better = [
                rank
                for part in asked.parts
                for rank in fresh.get(part.cell, ())
                if goes_before(rank, asked.rank, self.now, made.age)
            ]
            assert not (better and answer.times), "overtaken"
        for top, (units, _) in zip(made.tops, reply.tops, strict=True):
            assert not (fresh.get(top.part.cell) and units), "taken from under a waiter"


STEPS = (0, 0, 1, 500, 5_000, 40_000, 99_999, 100_000, 150_000, 400_000, SECOND, 3 * SECOND, 6 * SECOND, 11 * SECOND)
RANKS = st.builds(
    Rank,
    st.integers(0, 3),
    st.integers(START - 9, START),
    st.sampled_from([START + 5 * SECOND, START + 60 * SECOND, NEVER]),
)
PARTS = st.builds(lambda cell, units: Part(cell, units, LIMITS[cell]), st.sampled_from(list(LIMITS)), st.integers(1, 4))
WANTS = st.builds(
    Want, RANKS, st.lists(PARTS, min_size=1, max_size=3, unique_by=lambda part: part.cell).map(tuple), st.integers(1, 5)
)
REQUESTS = st.builds(
    lambda **said: Request("", **said),
    wants=st.lists(WANTS, max_size=3).map(tuple),
    tops=st.lists(st.builds(Top, PARTS, st.integers(1, 3)), max_size=2, unique_by=lambda top: top.part.cell).map(tuple),
    left=st.lists(st.sampled_from(list(LIMITS)), max_size=1).map(tuple),
    age=st.sampled_from([0, SECOND]),
)
ACTS = st.tuples(st.sampled_from(STEPS), st.sampled_from("abc"), REQUESTS, st.booleans(), st.integers(0, 2))


@given(st.lists(ACTS, max_size=40))
def test_no_window_is_overdrawn_and_nobody_is_overtaken(acts: list[tuple[int, str, Request, bool, int]]) -> None:
    """
    Whenever granted units are used, each window holds; no place is held twice, also when members die; order is kept.
    """
    fleet = Fleet()
    for step, who, made, gives_back, ends in acts:
        fleet.now += step
        fleet.act(who, made, gives_back=gives_back, ends=ends)
        assert sum(fleet.places.values()) <= PLACES.amount

    worst = {cell: overdrawn(cell, fleet.grants) for cell in COUNTED}
    assert {cell: over for cell, over in worst.items() if over > 0} == {}


@pytest.mark.parametrize("cell", COUNTED)
@given(st.lists(st.integers(1, 64), min_size=1, max_size=4), st.integers(0, SECOND), st.sampled_from([1, 2, 5]))
def test_the_greediest_overdraws_no_window(cell: str, pauses: list[int], offset: int, share: int) -> None:
    """
    Who takes all there is, again and again, in whatever rhythm, can't use more in any window than the limit says.
    """
    limit, state, now, grants = LIMITS[cell], State(), START + offset, []
    assert not isinstance(limit, Concurrency)
    end = now + limit.period * 5 // 2
    while now < end:
        part = Part(cell, limit.most, limit)
        reply = one(state, "a", want(cell, most=limit.most), tops=(Top(part, share),), now=now)
        [answer], [top] = reply.answers, reply.tops
        grants += [Grant(cell, now, answer.until, answer.times), Grant(cell, now, top[1], top[0])]
        pauses = pauses[1:] + pauses[:1]
        now += limit.period * pauses[0] // 128

    assert overdrawn(cell, [grant for grant in grants if grant.units]) <= 0


@given(st.sampled_from(COUNTED), st.lists(st.tuples(st.sampled_from(STEPS), st.integers(1, 4)), max_size=20))
def test_to_wait_as_long_as_told_is_enough(cell: str, asks: list[tuple[int, int]]) -> None:
    """
    Who is told a wait and is alone gets it exactly then.
    """
    state, now = State(), START
    for step, units in asks:
        now += step
        wanted = want(cell, units=min(units, LIMITS[cell].most))
        [answer] = one(state, "a", wanted, now=now).answers
        if not answer.times:
            assert answer.wait is not None
            now += answer.wait
            [answer] = one(state, "a", wanted, now=now).answers
        assert (answer.times, answer.until > now) == (1, True)


@pytest.mark.parametrize("cell", COUNTED)
def test_what_comes_back_at_once_is_all_there_again(cell: str) -> None:
    """
    Nothing is lost on give-back: after a grant that was not used there is as much as before.
    """
    state, limit = State(), LIMITS[cell]
    one(state, "a", want(cell))
    before = limit.left(state.cells[cell], START)
    [answer] = one(state, "a", want(cell, most=2)).answers
    one(state, "a", backs=(Back(Part(cell, answer.times, limit), START),))

    assert limit.left(state.cells[cell], START) == before


# --- turns -----------------------------------------------------------------------------------------------------------


def full() -> State:
    """
    Both places are held, by a.
    """
    state = State()
    assert one(state, "a", want("places", most=2)).answers[0].times == 2
    return state


def test_who_waits_best_is_called_when_a_place_comes_free() -> None:
    """
    Of those who wait for a place the best one is called, and only it; meanwhile nobody else gets the place.
    """
    state = full()
    one(state, "b", want("places", level=1))
    one(state, "c", want("places", level=2))
    calls = one(state, "a", places=(("places", 1),)).calls
    passed = one(state, "b", want("places", level=1)).answers[0].times
    got = one(state, "c", want("places", level=2)).answers[0].times

    assert (calls, passed, got) == (("at c",), 0, 1)


@pytest.mark.parametrize(("silence", "times"), [(STAY - 1, 0), (STAY, 1)])
def test_a_waiter_that_says_nothing_passes_its_turn_on(silence: int, times: int) -> None:
    """
    A better waiter keeps its turn for so long after it was heard of, and no longer.
    """
    state = full()
    one(state, "b", want("places", level=3))
    one(state, "a", places=(("places", 1),))

    assert one(state, "c", want("places"), now=START + silence).answers[0].times == times


@pytest.mark.parametrize(("silence", "times"), [(LIFE - 1, 0), (LIFE, 1)])
def test_the_places_of_the_dead_come_back(silence: int, times: int) -> None:
    """
    A member that says nothing for so long is dead, and what it held is free.
    """
    state = full()

    assert one(state, "b", want("places"), now=START + silence).answers[0].times == times


def test_who_leaves_is_waited_for_no_more() -> None:
    """
    A member that says that nobody waits there any more lets others pass at once, and they are called.
    """
    state = full()
    one(state, "b", want("places", level=3))
    one(state, "c", want("places", level=1))
    one(state, "a", places=(("places", 1),))
    calls = one(state, "b", left=("places",)).calls

    assert (calls, one(state, "c", want("places", level=1)).answers[0].times) == (("at c",), 1)


def test_waiting_raises_a_level() -> None:
    """
    Who has waited for as many ages as it is levels below goes first; without ages it never does.
    """
    rows = []
    for age in (0, SECOND):
        state = full()
        one(state, "b", want("places", level=1, since=START - 2 * SECOND), age=age)
        one(state, "a", places=(("places", 1),), age=age)
        rows.append(one(state, "c", want("places", level=2), age=age).answers[0].times)

    assert rows == [1, 0]


def test_all_of_a_want_or_nothing() -> None:
    """
    Where one cell is short nothing is taken of the others, and the wait is the longest one.
    """
    state = State()
    one(state, "a", want("sliding", most=5))
    before = copy.deepcopy(state.cells)
    [answer] = one(state, "a", want("bucket", "sliding", "single")).answers

    assert (answer.times, answer.cell, state.cells) == (0, "sliding", before)


def test_of_several_only_the_first_goes_before_others_that_wait() -> None:
    """
    Behind the first call there may be lesser ones: they don't go past others that wait, whose turn it then is to tell.
    """
    state = State()
    one(state, "a", want("sliding", most=5))
    one(state, "b", want("sliding", level=2))
    later = START + 11 * SECOND
    state.members["b"] = state.members["b"]._replace(until=later + 1)
    state.waits["sliding"]["b"] = state.waits["sliding"]["b"]._replace(seen=later)

    assert one(state, "a", want("sliding", level=3, most=3), now=later).answers[0].times == 1


def test_an_outdated_standing_decides_nothing() -> None:
    """
    Who knows an old standing is told the new one, and everything else is as if it had not asked.
    """
    state = full()
    one(state, "a", standing="open")
    before = copy.deepcopy(state)
    made = Request("b", version=0, standing="mine", wants=(want("sliding"),), places=(("places", 2),))
    reply = exchange(state, made, START + LIFE)

    assert (reply.version, reply.standing, reply.answers) == (before.version, "open", ())
    assert all(getattr(before, name) == getattr(state, name) for name in State.__slots__)


def test_what_costs_more_than_was_taken_is_charged() -> None:
    """
    A charge after the fact counts whether it fits or not.
    """
    state = State()
    one(state, "a", backs=(Back(Part("sliding", 7, SLIDING), None),))

    assert one(state, "a", want("sliding")).answers[0].times == 0


@pytest.mark.parametrize(("share", "units"), [(1, 4), (2, 2), (5, 1), (6, 0)])
def test_a_top_is_a_share_of_what_is_left(share: int, units: int) -> None:
    """
    Who would like some at hand gets one part in so many of what the cell has left.
    """
    reply = one(State(), "a", tops=(Top(Part("sliding", 4, SLIDING), share),))

    assert reply.tops[0][0] == units
