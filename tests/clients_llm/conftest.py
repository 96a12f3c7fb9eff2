"""
What the tests of the LLM client share: a server, a key, and both colours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.transports.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """
    A server of its own for each test.
    """
    with Upstream() as server:
        yield server


@pytest.fixture(params=["sync", "async"])
def colour(request: pytest.FixtureRequest) -> str:
    """
    Blocking, and awaiting.
    """
    return str(request.param)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The services' key, and none of the machine's.
    """
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LLM_KEY", "the-key-of-the-services")
