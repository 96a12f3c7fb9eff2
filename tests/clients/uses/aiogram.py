"""
aiogram, for Telegram.
"""

from __future__ import annotations

from typing import Any

import aiohttp
from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer

WAYS = ("transport", "gateway")


class Session(AiohttpSession):
    """
    A session of aiogram's around one of aiohttp with middlewares.
    """

    hooks: Any = ()
    _session: Any

    async def create_session(self) -> Any:
        """
        Return the session of aiohttp.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(middlewares=self.hooks)
        return self._session


async def bot_of(way: Any, use: Any) -> Any:
    """
    Use a bot, and put it away.
    """
    session: Any = (Session if way.gov else AiohttpSession)(api=TelegramAPIServer.from_base(way.base), timeout=120)
    session.hooks = way.middlewares()
    async with Bot("7:t", session=session) as bot:
        return await use(bot)


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
