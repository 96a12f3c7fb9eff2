"""
The servers that conformance suites run against, started once.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ledger.places import Postgres, running_postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """
    A PostgreSQL for all tests of this process.
    """
    with running_postgres() as server:
        yield server
