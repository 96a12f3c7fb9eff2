"""
The steps as values: comparable, frozen, and each of them known to both drivers.
"""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import get_args

import pytest

from egressor._core import steps
from egressor._core.steps import MISS, Done, Recall, Sleep, Step


def test_every_step_is_in_the_union() -> None:
    """
    What is exported is a step, but for the miss, the union and the end of a plan.
    """
    assert {kind.__name__ for kind in get_args(Step)} == set(steps.__all__) - {"MISS", "Step", "Done"}


def test_steps_are_compared_by_value() -> None:
    """
    So that a story can be written down as a list.
    """
    assert (Sleep(7), Recall("k")) == (Sleep(7), Recall("k"))
    assert Sleep(7) != Sleep(8)


@pytest.mark.parametrize(("step", "name"), [(Sleep(7), "until"), (Done(), "attempts")])
def test_a_step_can_t_be_changed(step: object, name: str) -> None:
    """
    Taps are handed the very object that the driver performs.
    """
    with pytest.raises(FrozenInstanceError):
        setattr(step, name, 9)


def test_a_miss_is_not_none() -> None:
    """
    None may be what the cache holds.
    """
    assert (repr(MISS), MISS is None) == ("MISS", False)
