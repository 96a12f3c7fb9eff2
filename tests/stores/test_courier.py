"""
The way to the store, where its end and a request come at the same time.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from egressor import Governor, Paused

if TYPE_CHECKING:
    import pytest


class Closing:
    """
    Between a governor and its store: while the next request is under way, the governor is closed.
    """

    def __init__(self, gov: Governor) -> None:
        courier: Any = gov._courier
        self._store = courier.store
        self._closer = threading.Thread(target=gov.close)
        courier.store = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def exchange(self, service: str, request: Any) -> Any:
        """
        Ask the store, while somebody closes it.
        """
        if threading.current_thread() is not self._closer and not self._closer.ident:
            self._closer.start()
            self._closer.join(0.1)  # real time: what must not happen now is waited for
        return self._store.exchange(service, request)

    def over(self) -> None:
        """
        Wait until it is closed.
        """
        self._closer.join()


def test_a_request_that_is_under_way_is_ended_before_the_store_is_closed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Whoever closes a governor closes its store under nobody, and nothing is said of a store that is away.
    """
    gov = Governor({"s": {"limits": ["10/second"]}}, store=f"sqlite:///{tmp_path / 'store.db'}")
    store = Closing(gov)

    with caplog.at_level(logging.WARNING, "egressor"):
        with suppress(Paused):
            gov.call("s", str)
        store.over()

    assert caplog.messages == []
    assert gov.status()["s"]["store_away"] == ""
