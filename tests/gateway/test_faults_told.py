"""
Faults of the gateway's own, as the log tells them.
"""

from __future__ import annotations

import pytest

from egressor.gateway.faults import Faults

SECOND = 1_000_000
MINUTE = 60 * SECOND


def fault(text: str = "sk-canary") -> ValueError:
    """
    Return an exception that was raised here.
    """
    with pytest.raises(ValueError, match=text) as caught:
        int(text)
    return caught.value


def other() -> ValueError:
    """
    Return one that was raised at another place.
    """
    with pytest.raises(ValueError, match="x") as caught:
        int("x")
    return caught.value


def test_a_line_has_service_kind_and_place() -> None:
    """
    They say what to look at, and nothing of what was sent.
    """
    line = Faults().line(fault(), service="openai", now=0)

    assert line is not None
    assert line.startswith("openai: a request failed by a fault of ours: ValueError at ")
    assert __file__ in line
    assert "canary" not in line


def test_one_line_in_a_minute() -> None:
    """
    The next one says how many it stands for, and is followed by silence again.
    """
    faults = Faults()
    times = [*range(0, MINUTE, SECOND // 10), MINUTE, MINUTE + 1, 3 * MINUTE, 5 * MINUTE]

    lines = [line for now in times if (line := faults.line(fault(), service="t", now=now)) is not None]

    assert [line.partition(" (")[2] for line in lines] == [
        "",
        "599 more since the last such line)",
        "1 more since the last such line)",
        "",
    ]


@pytest.mark.parametrize(
    ("service", "error"),
    [("b", fault()), ("", fault()), ("a", other()), ("a", TypeError())],
    ids=["service", "no service", "place", "kind"],
)
def test_a_loud_fault_hides_no_other(service: str, error: Exception) -> None:
    """
    Another service, place or kind has its own line at the same time; the same one has not.
    """
    faults = Faults()
    faults.line(fault(), service="a", now=0)

    told = [faults.line(each, service=name, now=0) for name, each in [("a", fault("x")), (service, error)]]

    assert [line is not None for line in told] == [False, True]
