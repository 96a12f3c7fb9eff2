"""
``Retry-After`` in every form that servers send, through every kind of client (C04).

The judge is the server, which notes when each request arrives, by the same clock.
"""

from __future__ import annotations

from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import pytest

from egressor import Governor
from egressor.testing import FakeClock
from tests.transports.every import CLIENTS
from tests.transports.upstream import answer

if TYPE_CHECKING:
    from tests.transports.upstream import Handler, Upstream

DAY = 86_400.0
WALL = 1_800_000_000.0
BASE = 1.0
# What is sent, and the seconds that it asks for; None where it says nothing.
CORPUS: dict[str, tuple[list[str], float | None]] = {
    "nought": (["0"], 0.0),
    "seconds": (["7"], 7.0),
    "a fraction": (["1.5"], 1.5),
    "negative": (["-1"], None),
    "endless": (["1e12"], 30 * DAY),
    "not a number": (["soon"], None),
    "half a date": (["Wed, 99"], None),
    "in the past": ([formatdate(WALL - 3_600, usegmt=True)], 0.0),
    "in the future": ([formatdate(WALL + 90, usegmt=True)], 90.0),
    "two headers": (["5", "11"], 11.0),
    "right to left": (["\u202e17".encode().decode("latin-1")], None),
    "other digits": (["\u0663".encode().decode("latin-1")], None),
    "empty": ([""], None),
}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("case", CORPUS)
def test_every_form_is_obeyed(upstream: Upstream, client: str, case: str) -> None:
    """
    No request comes before the time that was asked for, nor later than that and its jitter; nonsense is no time, and
    holds back as a 429 without one does.
    """
    sent, told = CORPUS[case]
    clock = FakeClock(wall=WALL)
    policy: dict[str, Any] = {
        "retry": {"attempts": 2, "base": BASE, "cap": 30.0},
        "timeout": 20.0,
        "max_wait": 30 * DAY,
    }
    gov = Governor({"api": policy}, clock=clock, dice=lambda: 0.999)
    arrived: list[int] = []

    def limited(handler: Handler) -> None:
        arrived.append(clock.now())
        handler.send_response_only(429)
        for value in sent:
            handler.send_header("Retry-After", value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def fine(handler: Handler) -> None:
        arrived.append(clock.now())
        answer(200, b"fine")(handler)

    assert CLIENTS[client](gov, upstream.script("/a", limited, fine)) == b"fine"
    waited = (arrived[1] - arrived[0]) / 1e6
    least = BASE if told is None else told
    assert least <= waited <= max(BASE, least + min(least, max(10.0, least / 10))) + 0.001
    gov.close()
