"""
What an attempt that didn't go well may have cost.
"""

from __future__ import annotations

import asyncio

import pytest

from egressor import classify
from egressor._core.charge import may_be_billed


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        ({"status": 200}, True),
        ({"status": 400}, False),
        ({"status": 401}, False),
        ({"status": 402}, False),
        ({"status": 404}, False),
        ({"status": 429}, False),
        ({"status": 529}, False),
        ({"status": 500}, True),
        ({"status": 504}, True),
        ({"exception_or_response": ConnectionRefusedError()}, False),
        ({"exception_or_response": ConnectionResetError()}, True),
        ({"exception_or_response": TimeoutError()}, True),
        ({"exception_or_response": asyncio.CancelledError()}, True),
        ({"exception_or_response": ValueError("x")}, True),
    ],
)
def test_what_may_have_been_done_may_be_billed(outcome: dict[str, object], expected: bool) -> None:
    """
    Only a refusal by the server, and a request that never reached it, cost nothing for certain.
    """
    verdict = classify(**outcome)  # type: ignore[arg-type]

    assert expected == may_be_billed(verdict)
