"""
What holds for every test: how hypothesis looks for counterexamples, and which event loop async tests run on.

Nothing else belongs here. A fixture that serves one room lives in that room's folder.
"""

from __future__ import annotations

import os

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


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """
    Run tests marked ``anyio`` on asyncio, which is the only event loop that the drivers speak.
    """
    return "asyncio"
