"""
pybit, for Bybit.
"""

from __future__ import annotations

from typing import Any

from pybit.unified_trading import HTTP

WAYS = ("transport", "gateway")


def plain(way: Any, symbol: str = "BTCUSDT") -> Any:
    """
    Ask for a price.
    """
    http = HTTP()
    http.endpoint = way.base
    way.mount(http.client)
    return http.get_tickers(category="spot", symbol=symbol)


def error(way: Any) -> Any:
    """
    Ask for what isn't traded.
    """
    return plain(way, "NONE")


USES = {"plain": plain, "error": error}
