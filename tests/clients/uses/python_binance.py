"""
python-binance.
"""

from __future__ import annotations

from typing import Any

from binance import AsyncClient, Client

WAYS = ("transport", "gateway")


def plain(way: Any, symbol: str = "BTCUSDT") -> Any:
    """
    Ask for a price.
    """
    client = Client(ping=False)
    client.API_URL = way.base + "/api"
    way.mount(client.session)
    return client.get_symbol_ticker(symbol=symbol)


def error(way: Any) -> Any:
    """
    Ask for what isn't traded.
    """
    return plain(way, "NONE")


async def async_plain(way: Any, symbol: str = "BTCUSDT") -> Any:
    """
    Ask for a price.
    """
    client = AsyncClient(session_params={"middlewares": way.middlewares()}, requests_params={"timeout": 120})
    client.API_URL = way.base + "/api"
    try:
        return await client.get_symbol_ticker(symbol=symbol)
    finally:
        await client.close_connection()


async def async_error(way: Any) -> Any:
    """
    Ask for what isn't traded.
    """
    return await async_plain(way, "NONE")


USES = {"plain": plain, "error": error, "async_plain": async_plain, "async_error": async_error}
