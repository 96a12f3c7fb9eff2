"""
Cells by key: kept as long as they say something, and no longer.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from egressor.stores.cells import Bank, Places

HORIZON = 100


def test_a_key_that_nobody_has_touched_reads_as_zero_and_takes_no_room() -> None:
    """
    Looking is not touching.
    """
    bank, places = Bank(horizon=HORIZON), Places()

    assert (bank["u"], len(bank), places["u"], len(places)) == (0, 0, 0, 0)


@given(
    st.lists(
        st.tuples(st.integers(0, 2 * HORIZON), st.sampled_from("abc"), st.sampled_from(["write", "read", "turn"])),
        max_size=40,
    )
)
def test_a_cell_in_use_is_never_forgotten(moves: list[tuple[int, str, str]]) -> None:
    """
    However late anybody turns the generations, a cell written less than a horizon ago is as it was written.
    """
    bank, now = Bank(horizon=HORIZON), 1000
    written: dict[str, tuple[int, int]] = {}
    for pause, key, move in moves:
        now += pause
        if move == "write":
            bank[key] = now
            written[key] = now, now
        elif move == "turn":
            bank.turn(now)
        else:
            at, cell = written.get(key, (0, 0))
            assert bank[key] in ({cell} if now - at < HORIZON else {cell, 0})


def test_a_cell_written_just_before_a_late_turn_is_kept() -> None:
    """
    After a long silence the first key of the day survives the turn that is overdue.
    """
    bank = Bank(horizon=HORIZON)
    bank.turn(0)
    bank["u"] = 7

    bank.turn(10 * HORIZON)

    assert bank["u"] == 7


def test_ten_thousand_keys_are_given_back_after_two_horizons() -> None:
    """
    Turned when it is due, a bank forgets a key at the latest two horizons after it was touched, and hands it out whole.
    """
    bank = Bank(horizon=HORIZON)
    bank.turn(0)
    for number in range(10_000):
        bank[f"user{number}"] = number + 1

    sizes, gone = [], []
    for now in (HORIZON - 1, HORIZON, 2 * HORIZON):
        gone.append(sum(map(len, bank.turn(now))))
        sizes.append(len(bank))

    assert (sizes, gone) == ([10_000, 10_000, 0], [0, 0, 10_000])


def test_what_is_touched_moves_to_the_young_generation() -> None:
    """
    Of two keys of one age the one that is read again outlives the other, and is listed once.
    """
    bank = Bank(horizon=HORIZON)
    bank.turn(0)
    bank["old"], bank["young"] = 1, 2
    bank.turn(HORIZON)
    assert (bank["young"], sorted(bank.items())) == (2, [("old", 1), ("young", 2)])

    bank.turn(2 * HORIZON)

    assert (bank.items(), bank["old"]) == ([("young", 2)], 0)


def test_places_that_are_free_take_no_room() -> None:
    """
    A key is listed while it holds something.
    """
    places = Places()
    places["a"], places["b"] = 2, 1
    places["b"] = 0
    places["c"] = 0

    assert (len(places), places.items(), places["b"]) == (1, [("a", 2)], 0)
