"""
What holds for every test: how hypothesis looks for counterexamples, which event loop async tests run on, how long a
call waits for its money, and that each program that a test starts heeds Ctrl-C, and writes nothing into the user's own
state folder.

Nothing else belongs here. A fixture that serves one room lives in that room's folder.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A deadline in milliseconds would fail by the machine's load, not by the code: pytest-timeout catches what hangs.
settings.register_profile("dev", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "ci",
    parent=settings.get_profile("dev"),
    # The same examples on each run: a red build is red again when it is repeated.
    derandomize=True,
    print_blob=True,
)
settings.register_profile("deep", parent=settings.get_profile("dev"), max_examples=5_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))

# What a shell runs in the background ignores it, and so would whatever that starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """
    Run tests marked ``anyio`` on asyncio, which is the only event loop that the drivers speak.
    """
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def patience() -> Iterator[None]:
    """
    A ledger that answers is there, however long a busy machine keeps its thread or its disk from that.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("egressor.ledger.till._PATIENCE", 20.0)
        yield


@pytest.fixture(scope="session", autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """
    A state folder that is nobody's.
    """
    folder = tmp_path_factory.mktemp("state-home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder))
        yield folder
