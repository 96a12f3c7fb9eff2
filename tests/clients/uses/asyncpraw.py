"""
Async PRAW, for Reddit: the page's middleware leads it elsewhere, inside ours or to the gateway.
"""

from __future__ import annotations

from typing import Any

import aiohttp
import asyncpraw

WAYS = ("transport", "gateway")
HOSTS = ("https://www.reddit.com", "https://oauth.reddit.com")


async def plain(way: Any, name: str = "python") -> Any:
    """
    Read a subreddit's posts.
    """
    led = way.documented("elsewhere")(dict.fromkeys(HOSTS, way.base))
    async with aiohttp.ClientSession(middlewares=way.middlewares(led)) as session:
        reddit = asyncpraw.Reddit(
            client_id="c",
            client_secret="s",
            user_agent="test of a governor",
            check_for_updates=False,
            requestor_kwargs={"session": session, "timeout": 120},
        )
        subreddit = await reddit.subreddit(name)
        return [(post.id, post.title, post.score) async for post in subreddit.hot(limit=3)]


async def error(way: Any) -> Any:
    """
    Read what is private.
    """
    return await plain(way, "private")


USES = {"plain": plain, "error": error}
