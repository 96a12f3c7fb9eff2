"""
CCXT, with Binance.
"""

from __future__ import annotations

from typing import Any

import aiohttp
import ccxt
import ccxt.async_support

WAYS = ("transport", "gateway")


def lead(exchange: Any, way: Any) -> Any:
    """
    Point the public API at *way*, and let the governor do the waiting.
    """
    exchange.urls["api"]["public"] = way.base + "/api/v3"
    return exchange


def plain(way: Any, symbol: str = "BTCUSDT") -> Any:
    """
    Ask for a price, and for the time.
    """
    exchange = lead(ccxt.binance({"enableRateLimit": False}), way)
    way.mount(exchange.session)
    return [exchange.public_get_ticker_price({"symbol": symbol}), exchange.fetch_time()]


def error(way: Any) -> Any:
    """
    Ask for what isn't traded.
    """
    return plain(way, "NONE")


async def async_plain(way: Any, symbol: str = "BTCUSDT") -> Any:
    """
    Ask for a price, and for the time.
    """
    async with aiohttp.ClientSession(middlewares=way.middlewares()) as session:
        settings = {"enableRateLimit": False, "session": session, "timeout": 120_000}
        exchange = lead(ccxt.async_support.binance(settings), way)
        try:
            return [await exchange.public_get_ticker_price({"symbol": symbol}), await exchange.fetch_time()]
        finally:
            await exchange.close()


async def async_error(way: Any) -> Any:
    """
    Ask for what isn't traded.
    """
    return await async_plain(way, "NONE")


USES = {"plain": plain, "error": error, "async_plain": async_plain, "async_error": async_error}
