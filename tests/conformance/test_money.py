"""
One suite for the money of all ledgers: what one holds, charges and adds up, the others do, and a judge that keeps a
list of the calls and adds it up anew says the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from egressor._core.budget import NEVER, Ask, Cell, Denied, Held
from egressor.ledger import Ledger, LedgerAway
from egressor.ledger.memory import MemoryLedger
from egressor.ledger.money import (
    FREE,
    MOST_SUMS,
    OTHER,
    SPENT,
    UNKNOWN,
    Budget,
    End,
    Page,
    Sum,
    Tags,
    Want,
    finish,
    forget,
    lose,
    take,
)
from egressor.ledger.money_sql import SqlPage
from egressor.ledger.postgres import PostgresLedger
from egressor.ledger.sqlite import SqliteLedger
from tests.ledger.places import DAY, NOW, SECOND, Postgres

LASTS = 60 * SECOND
HOUR = 3_600 * SECOND
TODAY = NOW // DAY * DAY
TAGS = Tags("openai", "m", "chat", "O'Brien; DROP TABLE egressor_holds --")
Open = Callable[..., Ledger]


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """
    Opens a hand on one ledger; each kind in turn. Every hand on one in memory is the same.
    """
    if request.param == "memory":
        only = MemoryLedger()
        yield lambda **_: only
        return
    if request.param == "sqlite":
        kind: Callable[..., Ledger] = partial(SqliteLedger, tmp_path / "history.db")
    else:
        server = request.getfixturevalue("postgres")
        assert isinstance(server, Postgres)
        kind = partial(PostgresLedger, server.new_database())
    opened: list[Ledger] = []

    def open_one(**options: Any) -> Ledger:
        opened.append(kind(**options))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


def asks(*limits: int, now: int = NOW) -> tuple[Ask, ...]:
    """
    Budgets of an hour, a day and in all, as many as there are limits.
    """
    spans = [
        ("hour", now // HOUR * HOUR, now // HOUR * HOUR + HOUR),
        ("day", now // DAY * DAY, now // DAY * DAY + DAY),
        ("total", 0, NEVER),
    ]
    return tuple(
        Ask(key, limit, limit * 8 // 10, start, end) for limit, (key, start, end) in zip(limits, spans, strict=False)
    )


def want(key: str, worst: int, *limits: int, owner: str = "me", now: int = NOW) -> Want:
    """
    A wish for money.
    """
    return Want(key, owner, asks(*limits, now=now), worst, TAGS)


def hold(ledger: Ledger, one: Want, now: int = NOW) -> Held | Denied:
    """
    Hold money in one transaction.
    """
    return ledger.money(lambda page: take(page, one, now=now, lasts=LASTS))


def end(ledger: Ledger, key: str, how: str, micro_usd: int = 0) -> tuple[str, ...]:
    """
    End a hold in one transaction.
    """
    return ledger.money(lambda page: finish(page, End(key, how, micro_usd)))


def cells(ledger: Ledger) -> dict[str, tuple[int, int, int]]:
    """
    What each budget has spent, holds, and doesn't know.
    """
    found = ledger.money(lambda page: page.budgets())
    # By key and period: the newest is the last.
    return {each.key: (each.cell.spent, each.cell.held, each.cell.unknown) for each in found}


def sums(ledger: Ledger) -> list[tuple[int, int, int]]:
    """
    How many calls, what they cost, and what of that is unknown, by day.
    """
    return [each[2:] for each in ledger.money(lambda page: page.sums(0))]


def test_a_hold_stands_in_all_of_its_budgets_or_in_none(opener: Open) -> None:
    """
    The one that refuses is named, with what is left, and no other is touched.
    """
    ledger = opener()
    first = hold(ledger, want("a", 750, 1000, 5000))
    second = hold(ledger, want("b", 750, 1000, 5000))

    assert isinstance(first, Held)
    assert second == Denied("hour", 250, NOW // HOUR * HOUR + HOUR, "in_flight")
    assert cells(ledger) == {"hour": (0, 750, 0), "day": (0, 750, 0)}


def test_the_budgets_nearest_to_their_limits_are_found(opener: Open) -> None:
    """
    So many at most, and how many there are; of one service, and none whose period is over, or has not begun.
    """
    ledger = opener()
    rows = {
        "a/hour@UTC": (Cell(0, NOW, 9), 9),
        "a/day@UTC": (Cell(0, NOW + 1, 1), 2),
        "a[user=*:x]/day@UTC": (Cell(0, NOW + 1, 2, 1), 4),
        "a[user=*:w]/day@UTC": (Cell(0, NOW + 1, 750_000_000, 0), 10**9),
        "ab/total@UTC": (Cell(0, NEVER, 5, 4), 9),
        "b/total@UTC": (Cell(0, NEVER, 0), 1),
        "a/week@UTC": (Cell(NOW + 1, NOW + 9, 1), 1),
    }

    def put(page: Page) -> None:
        named = {f"{key}#{cell.start}": (cell, most) for key, (cell, most) in rows.items()}
        page.put({name: cell for name, (cell, _) in named.items()}, {name: most for name, (_, most) in named.items()})

    ledger.money(put)
    every, total = ledger.money(lambda page: page.nearest("", now=NOW, most=4))
    ours, count = ledger.money(lambda page: page.nearest("a", now=NOW, most=2), patience=5.0)

    assert [each.key for each in every] == [
        "ab/total@UTC",
        "a[user=*:w]/day@UTC",
        "a[user=*:x]/day@UTC",
        "a/day@UTC",
    ]
    assert every[2] == Budget("a[user=*:x]/day@UTC", *rows["a[user=*:x]/day@UTC"])
    assert (total, [each.key for each in ours], count) == (5, ["a[user=*:w]/day@UTC", "a[user=*:x]/day@UTC"], 3)


def test_a_call_that_can_be_bounded_is_held_for_what_is_left(opener: Open) -> None:
    """
    At an eighth of what is free, at what is likely if that is more, and at its worst if that is less; refused if not
    even what is likely is there.
    """
    ledger = opener()
    found = [
        hold(ledger, want(key, worst, 1000)._replace(likely=likely))
        for key, worst, likely in [("a", 5000, 20), ("b", 5000, 200), ("c", 50, 20), ("d", 5000, 626), ("e", 5000, 625)]
    ]
    held = [(each.hold.amount, each.capped) for each in found if isinstance(each, Held)]

    assert held == [(125, True), (200, True), (50, False), (625, True)]
    assert found[3] == Denied("hour", 625, NOW // HOUR * HOUR + HOUR, "in_flight")
    assert cells(ledger) == {"hour": (0, 1000, 0)}


def test_the_truth_is_charged_once(opener: Open) -> None:
    """
    An end that comes a second time, or says something else then, changes nothing.
    """
    ledger = opener()
    hold(ledger, want("a", 750, 1000))
    for how, micro_usd in [(SPENT, 400), (SPENT, 400), (UNKNOWN, 0), (FREE, 0)]:
        end(ledger, "a", how, micro_usd)

    assert (cells(ledger), sums(ledger)) == ({"hour": (400, 0, 0)}, [(1, 400, 0)])


def test_what_was_not_spent_comes_back(opener: Open) -> None:
    """
    A call that was never sent leaves nothing, and is no call.
    """
    ledger = opener()
    hold(ledger, want("a", 750, 1000))
    end(ledger, "a", FREE)

    assert (cells(ledger), sums(ledger)) == ({"hour": (0, 0, 0)}, [])


def test_a_call_of_which_nobody_knows_is_charged_whole(opener: Open) -> None:
    """
    It is unknown, and shown as that.
    """
    ledger = opener()
    hold(ledger, want("a", 750, 1000))
    end(ledger, "a", UNKNOWN)

    assert (cells(ledger), sums(ledger)) == ({"hour": (750, 0, 750)}, [(1, 750, 750)])


@pytest.mark.parametrize(("told", "rest"), [(300, 450), (900, 0)])
def test_of_what_nobody_knows_that_which_was_charged_otherwise_is_not_charged(
    opener: Open, told: int, rest: int
) -> None:
    """
    What calls inside of it were charged is taken off what was held.
    """
    ledger = opener()
    hold(ledger, want("a", 750, 1000))
    end(ledger, "a", UNKNOWN, told)

    assert (cells(ledger), sums(ledger)) == ({"hour": (rest, 0, rest)}, [(1, rest, rest)])


def test_a_dead_owner_s_hold_is_lost_and_its_truth_may_come_later(opener: Open) -> None:
    """
    At the end of its time it is charged whole; the truth takes the estimate's place, once.
    """
    ledger = opener()
    hold(ledger, want("a", 750, 1000))
    hold(ledger, want("b", 100, 1000, owner="alive"))
    ledger.money(lambda page: page.extend("alive", NOW + 2 * LASTS))
    before = ledger.money(lambda page: lose(page, NOW + LASTS - 1))
    lost = ledger.money(lambda page: lose(page, NOW + LASTS))
    again = ledger.money(lambda page: lose(page, NOW + LASTS))
    # Whoever is lost is not found again by a late word that its owner lives.
    ledger.money(lambda page: page.extend("me", NOW + 9 * LASTS))
    shown = cells(ledger), sums(ledger)
    for _ in range(2):
        end(ledger, "a", SPENT, 400)

    assert (before, lost, again) == (0, 1, 0)
    assert shown == ({"hour": (750, 100, 750)}, [(1, 750, 750)])
    assert (cells(ledger), sums(ledger)) == ({"hour": (400, 100, 0)}, [(1, 400, 0)])


@pytest.mark.parametrize(("how", "spent", "calls"), [(FREE, 0, 0), (UNKNOWN, 750, 1)])
def test_a_lost_hold_may_end_in_other_ways(opener: Open, how: str, spent: int, calls: int) -> None:
    """
    A call that turns out not to have been sent costs nothing; of one that stays unknown nobody will say more.
    """
    ledger = opener()
    hold(ledger, want("a", 750, 1000))
    ledger.money(lambda page: lose(page, NOW + LASTS))
    end(ledger, "a", how)
    end(ledger, "a", SPENT, 1)

    assert cells(ledger) == {"hour": (spent, 0, spent)}
    assert sums(ledger) == [(calls, spent, spent)]


def test_a_truth_above_its_hold_is_charged_and_said(opener: Open) -> None:
    """
    Money that is gone is gone.
    """
    ledger = opener()
    hold(ledger, want("a", 750, 1000, 5000))

    assert end(ledger, "a", SPENT, 1200) == ("hour",)
    assert cells(ledger) == {"hour": (1200, 0, 0), "day": (1200, 0, 0)}


def test_what_is_of_no_more_use_is_forgotten(opener: Open) -> None:
    """
    Cells go two days and eight times their length after their period, lost holds after a month, sums when their
    retention is over.
    """
    ledger = opener()
    for key in "ab":
        hold(ledger, want(key, 10, 1000, 5000, 9000))
    end(ledger, "a", SPENT, 10)
    ledger.money(lambda page: lose(page, NOW + LASTS))
    found = []
    for days in (2, 4, 11, 12, 29, 31, 400):
        ledger.money(partial(_forget, now=TODAY + days * DAY))
        found.append((sorted(cells(ledger)), ledger.money(lambda page: page.kept("b")) is None, len(sums(ledger))))

    assert found == [
        (["day", "hour", "total"], False, 1),
        (["day", "total"], False, 1),
        (["day", "total"], False, 1),
        (["total"], False, 1),
        (["total"], False, 1),
        (["total"], True, 1),
        (["total"], True, 0),
    ]


def _forget(page: Page, now: int) -> None:
    forget(page, now, 366 * DAY)


def test_a_clock_that_is_ahead_spends_what_it_names_and_nothing_else(opener: Open) -> None:
    """
    Regression: one call by a clock that was days ahead took the place of what today had spent, and it was spent again.
    """
    ledger, ahead = opener(), NOW + 3 * DAY
    hold(ledger, want("a", 990, 1000, 1000))
    end(ledger, "a", SPENT, 990)
    hold(ledger, want("b", 600, 1000, 1000, now=ahead), ahead)
    end(ledger, "b", SPENT, 600)
    answers = [
        hold(ledger, want("c", 20, 1000, 1000)),
        hold(ledger, want("d", 500, 1000, 1000, now=ahead), ahead),
        hold(ledger, want("e", 10, 1000, 1000)),
    ]

    assert answers[0] == Denied("day", 10, TODAY + DAY, "spent")
    assert answers[1] == Denied("day", 400, TODAY + 4 * DAY, "spent")
    assert isinstance(answers[2], Held)


def test_what_was_spent_before_each_period_had_a_cell_stays_spent(opener: Open) -> None:
    """
    A ledger of the schema before goes on where it was, also with what is held.
    """
    old = opener()
    if old.name == "memory":
        return  # It lasts no longer than its program.
    hold(old, want("a", 750, 1000, 5000))

    def unname(page: Page) -> None:
        assert isinstance(page, SqlPage)
        page.flush()
        page._run("ALTER TABLE egressor_periods RENAME TO egressor_budgets", ())
        for each in asks(1000, 5000):
            page._run("UPDATE egressor_budgets SET name = ? WHERE name = ?", (each.key, each.cell))
        page._run("UPDATE egressor_ledger SET value = 2 WHERE name = 'schema'", ())

    old.money(unname)
    old.close()
    ledger = opener()
    end(ledger, "a", SPENT, 600)

    assert cells(ledger) == {"day": (600, 0, 0), "hour": (600, 0, 0)}
    assert hold(ledger, want("b", 401, 1000, 5000)) == Denied("hour", 400, NOW // HOUR * HOUR + HOUR, "spent")


def test_a_process_of_the_version_before_finds_no_money(opener: Open) -> None:
    """
    It has the ledger open, and goes on: what it counted beside the new cells passed their budgets.
    """
    ledger = opener()
    if ledger.name == "memory":
        return  # It is one process's.
    hold(ledger, want("a", 10, 1000))

    def asked_as_before(page: Page) -> None:
        assert isinstance(page, SqlPage)
        page._run("SELECT name FROM egressor_budgets", ())

    with pytest.raises(LedgerAway):
        ledger.money(asked_as_before)


def test_what_fails_in_the_middle_has_not_happened(opener: Open) -> None:
    """
    A transaction that ends with an error leaves the tables as they were.
    """
    ledger = opener()
    if ledger.name == "memory":
        return  # Nothing of it can fail in the middle.

    def broken(page: Page) -> None:
        take(page, want("a", 10, 1000), now=NOW, lasts=LASTS)
        raise KeyError

    with pytest.raises(KeyError):
        ledger.money(broken)

    assert cells(ledger) == {}


def test_many_hands_never_hold_more_than_there_is(opener: Open) -> None:
    """
    Of fifty calls at once that want three quarters of a budget, one gets it.
    """
    answers: list[Held | Denied] = []
    hands = [opener() for _ in range(5)]
    threads = [
        Thread(target=lambda n=n: answers.append(hold(hands[n % 5], want(f"h{n}", 750, 1000)))) for n in range(50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(answers) == 50
    assert sum(isinstance(answer, Held) for answer in answers) == 1


def _crowd(page: Page) -> list[object]:
    """
    Holds, ends, ends that come twice, a loss and a look, in one transaction.
    """
    wishes = [want(f"h{n}", 10 + n, 1_000, 5_000)._replace(tags=Tags("openai", f"m{n % 3}")) for n in range(20)]
    names = [each.cell for each in wishes[0].asks]
    page.expect(["h0", "none"], names[:1])
    said: list[object] = [take(page, each, now=NOW, lasts=LASTS) for each in wishes]
    # Regression: what had changed since the page was read was forgotten, so what dead processes had held stayed held.
    page.expect(["h1", "h2"], names)
    said += [finish(page, End(f"h{n % 7}", (SPENT, FREE, UNKNOWN)[n % 3], n)) for n in range(10)]
    said += [page.kept("h8"), page.kept("h0"), page.budgets(), page.sums(0)]
    page.extend("me", NOW + 2 * LASTS)
    said += [page.kept("h8"), lose(page, NOW + LASTS), lose(page, NOW + 2 * LASTS), finish(page, End("h9", SPENT, 3))]
    return [*said, finish(page, End("h10", FREE)), page.kept("h10"), page.kept("h11")]


def test_much_in_one_transaction_is_as_much_in_many(opener: Open) -> None:
    """
    Whatever a page remembers until its end, it answers and keeps as one in memory does; and so the next time.
    """
    ledger, judge = opener(), MemoryLedger()

    for _ in range(2):
        assert ledger.money(_crowd) == judge.money(_crowd)
    for look in (Page.budgets, lambda page: page.sums(0), lambda page: [page.kept(f"h{n}") for n in range(20)]):
        assert ledger.money(look) == judge.money(look)


class Judge:
    """
    A list of calls, added up anew each time.
    """

    def __init__(self) -> None:
        self.calls: dict[str, dict[str, Any]] = {}

    def cells(self, now: int) -> dict[str, tuple[int, int]]:
        """
        What is spent and what is held in the newest period of each budget that was used.
        """
        found = {}
        for key in ("hour", "day", "total"):
            inside = [call for call in self.calls.values() if key in call["in"]]
            if inside:
                newest = max(call["in"][key] for call in inside)
                those = [call for call in inside if call["in"][key] == newest]
                found[key] = (
                    sum(call["truth"] for call in those if call["over"]),
                    sum(call["held"] for call in those if not call["over"]),
                )
        return found


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("hold"), st.integers(0, 9), st.integers(1, 700), st.sampled_from([1, 2, 3])),
        st.tuples(st.just("end"), st.integers(0, 9), st.integers(0, 900), st.sampled_from([SPENT, FREE, UNKNOWN])),
        st.tuples(st.just("pass"), st.integers(0, 90), st.just(0), st.just("")),
    ),
    max_size=14,
)


def test_every_ledger_does_what_the_pure_functions_do(postgres: Postgres, tmp_path: Path) -> None:
    """
    Whatever is held, ended, lost, ended twice or too late: answers, cells and sums are the same, and the judge's.
    """
    round_of = iter(range(10**6))

    @settings(max_examples=40, suppress_health_check=list(HealthCheck), deadline=None)
    @given(STEPS)
    def compare(steps: list[tuple[str, int, int, Any]]) -> None:
        number = next(round_of)
        every: list[Ledger] = [MemoryLedger(), SqliteLedger(tmp_path / f"{number}.db"), remote]
        judge, now = Judge(), NOW
        remote.money(_empty)
        for what, first, second, third in steps:
            if what == "pass":
                now += first * 60 * SECOND
                assert len({ledger.money(partial(lose, now=now)) for ledger in every}) == 1
                for call in judge.calls.values():
                    if not call["over"] and call["until"] <= now:
                        call |= {"over": True, "lost": True, "truth": call["held"]}
                continue
            key = f"call{first}"
            if what == "hold":
                if key in judge.calls:
                    continue
                wish = want(key, second, *(1000, 2000, 3000)[:third], now=now)
                answers = [hold(ledger, wish, now) for ledger in every]
                assert answers[0] == answers[1] == answers[2]
                if isinstance(answers[0], Held):
                    places = {place.key: place.start for place in answers[0].hold.places}
                    judge.calls[key] = {
                        "in": places,
                        "held": second,
                        "truth": 0,
                        "over": False,
                        "lost": False,
                        "until": now + LASTS,
                    }
                continue
            said = {end(ledger, key, third, second) for ledger in every}
            assert len(said) == 1
            told = judge.calls.get(key)
            if told is not None and (not told["over"] or told["lost"]):
                # Of what is unknown, calls inside have paid that much; of what was lost, nothing is known of them.
                unknown = told["held"] if told["lost"] else max(0, told["held"] - second)
                truth = {SPENT: second, FREE: 0, UNKNOWN: unknown}[third]
                told |= {"over": True, "lost": False, "truth": truth}
        shown = [
            (ledger.money(lambda page: page.budgets()), ledger.money(lambda page: page.sums(0))) for ledger in every
        ]
        assert shown[0] == shown[1] == shown[2]
        assert {key: pair[:2] for key, pair in cells(every[0]).items()} == judge.cells(now)
        assert sum(each[1] for each in sums(every[0])) == sum(c["truth"] for c in judge.calls.values() if c["over"])

    remote = PostgresLedger(postgres.new_database())
    compare()
    remote.close()


def _empty(page: Page) -> None:
    assert isinstance(page, SqlPage)
    page._run("DELETE FROM egressor_periods", ())
    page.forget(cells=0, lost=0, sums=10**9)
    for number in range(10):
        page.drop(f"call{number}")


def test_a_cell_and_a_sum_come_back_as_they_were(opener: Open) -> None:
    """
    Every field survives, also the largest numbers, and texts that no SQL knows.
    """
    ledger = opener()
    cell = Cell(5, NEVER, 10**15, 10**15, 3, warned=True)
    each = Sum(20_000, TAGS._replace(model="ünïcode-日本"), 2**40, 10**15, 7)

    def put(page: Page) -> None:
        page.put({"a'b/day@UTC#5": cell}, {"a'b/day@UTC#5": 10**15})
        page.add(each, 1)

    ledger.money(put)

    assert ledger.money(lambda page: page.cells(["a'b/day@UTC#5", "other"])) == {"a'b/day@UTC#5": cell}
    assert ledger.money(lambda page: page.budgets()) == [Budget("a'b/day@UTC", cell, 10**15)]
    assert ledger.money(lambda page: (page.sums(20_000), page.sums(20_001))) == ([each], [])


def test_names_without_end_make_no_sums_without_end(opener: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Names that somebody makes up for each call leave users, then features, then models out; nothing of what was spent is
    left out, and what is corrected later is corrected in its place.
    """
    monkeypatch.setattr("egressor.ledger.money.MOST_SUMS", 3)
    monkeypatch.setattr("egressor.ledger.money._MORE_SUMS", 2)
    ledger = opener()
    made_up = [("m", "f", f"user{n}") for n in range(6)]
    made_up += [("m", f"feature{n}", "user0") for n in range(4)]
    made_up += [(f"model{n}", "f", "user0") for n in range(4)]

    def call(page: Page, number: int, tags: Tags) -> None:
        wish = want(f"c{number}", 10, 10**6)._replace(tags=tags)
        take(page, wish, now=NOW, lasts=LASTS)
        lose(page, NOW + LASTS)

    for number, names in enumerate(made_up):
        ledger.money(partial(call, number=number, tags=Tags("openai", *names)))
    ledger.money(partial(call, number=99, tags=Tags("reddit", "", "", "user9")))
    lost = ledger.money(lambda page: page.sums(0))
    for number in [*range(len(made_up)), 99]:
        end(ledger, f"c{number}", SPENT, 7)
    found = ledger.money(lambda page: page.sums(0))

    kept = {each.tags[1:]: each.calls for each in found if each.tags.service == "openai"}
    assert kept == {
        ("m", "f", "user0"): 1,
        ("m", "f", "user1"): 1,
        ("m", "f", "user2"): 1,
        ("m", "f", OTHER): 3,
        ("m", "feature0", OTHER): 1,
        ("m", OTHER, OTHER): 3,
        ("model0", OTHER, OTHER): 1,
        (OTHER, OTHER, OTHER): 3,
    }
    assert [each.tags.user for each in found if each.tags.service == "reddit"] == ["user9"]
    assert [(each.tags, 10 * each.calls, 10 * each.calls) for each in lost] == [
        (each.tags, each.micro_usd, each.unknown) for each in lost
    ]
    assert [(each.tags, 7 * each.calls, 0) for each in found] == [
        (each.tags, each.micro_usd, each.unknown) for each in found
    ]
    assert [each.calls for each in lost] == [each.calls for each in found]
    assert cells(ledger) == {"hour": (7 * 15, 0, 0)}


def test_what_was_begun_counts_no_more_once_it_is_forgotten(opener: Open) -> None:
    """
    A day's names are its own: yesterday's leave today's room as it is, also after they are forgotten.
    """
    ledger = opener()
    sum_of = Sum(20_000, TAGS, 1, 10, 0)
    other = TAGS._replace(user="another")

    def add(page: Page) -> list[bool]:
        later = sum_of._replace(day=20_001)
        found = [page.add(each, 1) for each in (sum_of, sum_of, later, sum_of._replace(tags=other))]
        page.forget(cells=0, lost=0, sums=20_001)
        return [*found, page.add(sum_of._replace(tags=other), 1), page.add(later._replace(tags=other), 1)]

    assert ledger.money(add) == [True, True, True, False, True, False]
    assert MOST_SUMS == 5_000
