"""
Tweepy, for X, whose host is fixed: the adapter and the middleware inside ours lead it to the local server.
"""

from __future__ import annotations

from typing import Any

import aiohttp
import tweepy
from requests.adapters import HTTPAdapter
from tweepy.asynchronous import AsyncClient
from yarl import URL

WAYS = ("transport",)
HOST = "https://api.twitter.com"


class Elsewhere(HTTPAdapter):
    """
    What sends to another host than was asked for.
    """

    def __init__(self, base: str) -> None:
        super().__init__()
        self.base = base

    def send(self, request: Any, *args: Any, **options: Any) -> Any:
        """
        Send to the local server.
        """
        request.url = request.url.replace(HOST, self.base)
        return super().send(request, *args, **options)


def client(way: Any) -> Any:
    """
    Return a client.
    """
    sdk = tweepy.Client("t")
    way.mount(sdk.session, Elsewhere(way.base))
    return sdk


def plain(way: Any, name: str = "ann") -> Any:
    """
    Look a user up.
    """
    return client(way).get_user(username=name).data.data


def stream(way: Any) -> Any:
    """
    Read the filtered stream until it ends.
    """
    texts: list[str] = []
    errors: list[Exception] = []

    class Reader(tweepy.StreamingClient):
        def on_tweet(self, tweet: Any) -> None:
            texts.append(tweet.text)

        def on_exception(self, exception: Exception) -> None:
            errors.append(exception)

        def on_closed(self, response: Any) -> None:
            self.disconnect()

    reader = Reader("t", max_retries=0)
    way.mount(reader.session, Elsewhere(way.base))
    reader.filter()
    if errors:
        raise errors[0]
    return texts


def error(way: Any) -> Any:
    """
    Look up who may not be seen.
    """
    return plain(way, "nobody")


async def async_plain(way: Any, name: str = "ann") -> Any:
    """
    Look a user up.
    """

    async def elsewhere(request: Any, handler: Any) -> Any:
        request.url = URL(str(request.url).replace(HOST, way.base))
        return await handler(request)

    sdk = AsyncClient("t")
    async with aiohttp.ClientSession(middlewares=way.middlewares(elsewhere)) as session:
        sdk.session = session
        return (await sdk.get_user(username=name)).data.data


async def async_error(way: Any) -> Any:
    """
    Look up who may not be seen.
    """
    return await async_plain(way, "nobody")


USES = {"plain": plain, "error": error, "async_plain": async_plain, "async_error": async_error, "stream": stream}
