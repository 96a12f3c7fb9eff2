"""
The servers that conformance suites run against, started once.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ledger.places import Postgres, running_postgres
from tests.stores.servers import Server, running


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """
    A PostgreSQL for all tests of this process.
    """
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Server]:
    """
    A Redis for all tests of this process.
    """
    with running(kind="redis") as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[Server]:
    """
    A Valkey likewise.
    """
    with running(kind="valkey") as server:
        yield server
