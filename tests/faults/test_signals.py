"""
Signals whose handlers raise (Ctrl-C, a soft time limit) may come at any moment of a call, again and again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.faults.fleet import Place

SOAK = os.environ.get("EGRESSOR_SOAK") == "1"
SIGNALS = 50_000 if SOAK else 3_000

pytestmark = pytest.mark.timeout(1_200 if SOAK else 300)

# Some come while a call waits or works, most in the midst of ours; what comes of the calls that they end is not judged.
# One that is raised in a finaliser is lost: so they come again until one is heard.
STORM = """
import json, random, signal, sys, time
from contextlib import suppress
from egressor import Governor, Rejected

class Raised(BaseException):
    pass

def handler(*_):
    if is_armed:
        raise Raised

is_armed = False
signal.signal(signal.SIGALRM, handler)
gov = Governor({"s": {"limits": ["100000/second"], "breaker": {"enabled": False}}}, store=sys.argv[1])
dice = random.Random(sys.argv[1])
came = 0
while came < int(sys.argv[2]):
    try:
        is_armed = True
        signal.setitimer(signal.ITIMER_REAL, dice.uniform(0.00001, 0.001), 0.01)
        while True:
            with suppress(Rejected):
                gov.call("s", str)
    except Raised:
        came += 1
    finally:
        is_armed = False
signal.setitimer(signal.ITIMER_REAL, 0)
time.sleep(0.5)  # real time: a store that was found to be away may come back
print(json.dumps([gov.call("s", lambda: "done") for _ in range(20)]), flush=True)
import os
os._exit(0)
"""


def test_signals_at_any_moment_block_nobody_for_good(place: Place) -> None:
    """
    After thousands of them calls go as ever, through the same governor.
    """
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    done = subprocess.run(
        [sys.executable, "-c", STORM, place.address, str(SIGNALS)],
        capture_output=True,
        text=True,
        check=False,
        env=surroundings,
    )
    assert json.loads(done.stdout or "[]") == ["done"] * 20, done.stderr[-2_000:]
