"""
Tweepy, for X, whose host is fixed: the page's adapter and middleware lead it elsewhere, inside ours or to the gateway.
"""

from __future__ import annotations

from typing import Any

import aiohttp
import tweepy
from tweepy.asynchronous import AsyncClient

WAYS = ("transport", "gateway")


class RequestError(Exception):
    """
    What the stream tells of an answer that is no stream: its status, by a method instead of an exception.
    """


def adapter(way: Any) -> Any:
    """
    Return what leads to where *way* begins.
    """
    return way.documented("Elsewhere")({"https://api.twitter.com": way.base})


def client(way: Any) -> Any:
    """
    Return a client.
    """
    sdk = tweepy.Client("t")
    way.mount(sdk.session, adapter(way))
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

        def on_request_error(self, status_code: int) -> None:
            errors.append(RequestError(status_code))
            self.disconnect()

        def on_exception(self, exception: Exception) -> None:
            errors.append(exception)

        def on_closed(self, response: Any) -> None:
            self.disconnect()

    reader = Reader("t", max_retries=0)
    way.mount(reader.session, adapter(way))
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
    led = way.documented("elsewhere")({"https://api.twitter.com": way.base})
    sdk = AsyncClient("t")
    async with aiohttp.ClientSession(middlewares=way.middlewares(led)) as session:
        sdk.session = session
        return (await sdk.get_user(username=name)).data.data


async def async_error(way: Any) -> Any:
    """
    Look up who may not be seen.
    """
    return await async_plain(way, "nobody")


USES = {"plain": plain, "error": error, "async_plain": async_plain, "async_error": async_error, "stream": stream}
