"""
python-telegram-bot.
"""

from __future__ import annotations

from typing import Any

from telegram import Bot
from telegram.request import HTTPXRequest

WAYS = ("transport", "gateway")


async def bot_of(way: Any, use: Any) -> Any:
    """
    Use a bot, and put it away.
    """
    hooked: Any = {"httpx_kwargs": {"transport": way.async_transport()}} if way.gov else {}
    bot = Bot("7:t", base_url=way.base + "/bot", request=HTTPXRequest(**hooked))
    try:
        return await use(bot)
    finally:
        await bot.shutdown()


async def plain(way: Any) -> Any:
    """
    Ask who we are.
    """
    return await bot_of(way, lambda bot: bot.get_me())


async def error(way: Any) -> Any:
    """
    Write to nobody.
    """
    return await bot_of(way, lambda bot: bot.send_message(chat_id=1, text="hello"))


USES = {"plain": plain, "error": error}
