"""
What holds for every test of the governor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from egressor.governor.nesting import CURRENT

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def nothing_stays_current() -> Iterator[None]:
    """
    Check that no call is left behind as the innermost one, as the next test would be nested in it.
    """
    yield
    assert CURRENT.get() is None
