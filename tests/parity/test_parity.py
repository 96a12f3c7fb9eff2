"""
Each scene by both drivers, as a call and decorated, on the straight path and by the plan: one course for all.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest

from tests.parity.scenes import SCENES
from tests.parity.stage import perform

if TYPE_CHECKING:
    from tests.parity.stage import Scene

WAYS = list(product(("sync", "async"), ("call", "decorator"), (False, True)))


def by_name(scene: Scene) -> str:
    """
    Name a row.
    """
    return scene.name


@pytest.mark.parametrize("scene", SCENES, ids=by_name)
@pytest.mark.parametrize(("driver", "way", "tapped"), WAYS)
def test_a_scene_ends_as_the_table_says(scene: Scene, driver: str, way: str, tapped: bool) -> None:
    """
    Every call of a scene ends as stated, and attempts are sent when stated, whichever way is taken.
    """
    record = perform(scene, driver=driver, way=way, tapped=tapped)

    assert record.endings == list(scene.endings)
    assert record.sent_at == pytest.approx(list(scene.sent_at), abs=1e-5)


@pytest.mark.parametrize("scene", SCENES, ids=by_name)
def test_all_ways_leave_the_gate_in_the_same_state(scene: Scene) -> None:
    """
    After a scene the gate says the same whichever way was taken: cells, counts, breaker, queue, who else was served.
    """
    records = [perform(scene, driver=driver, way=way, tapped=tapped) for driver, way, tapped in WAYS]

    assert [each.status for each in records] == [records[0].status] * len(WAYS)
    assert [each.bystanders for each in records] == [records[0].bystanders] * len(WAYS)
    assert [each.elapsed for each in records] == [records[0].elapsed] * len(WAYS)


@pytest.mark.parametrize("scene", SCENES, ids=by_name)
def test_both_drivers_tell_the_same_story(scene: Scene) -> None:
    """
    A tap sees the same steps, replies and times from both drivers.
    """
    told = [
        perform(scene, driver=driver, way=way, tapped=True).events
        for driver, way in product(("sync", "async"), ("call", "decorator"))
    ]

    assert told == [told[0]] * 4
    assert told[0] or not scene.sent_at
