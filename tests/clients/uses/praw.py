"""
PRAW, for Reddit: the page's adapter leads it elsewhere, inside ours or to the gateway.
"""

from __future__ import annotations

from typing import Any

import praw
import requests

WAYS = ("transport", "gateway")
HOSTS = ("https://www.reddit.com", "https://oauth.reddit.com")


def reddit(way: Any) -> Any:
    """
    Return a read-only client.
    """
    session = way.mount(requests.Session(), way.documented("Elsewhere")(dict.fromkeys(HOSTS, way.base)))
    return praw.Reddit(
        client_id="c",
        client_secret="s",
        user_agent="test of a governor",
        check_for_updates=False,
        requestor_kwargs={"session": session},
    )


def plain(way: Any, name: str = "python") -> Any:
    """
    Read a subreddit's posts.
    """
    return [(post.id, post.title, post.score) for post in reddit(way).subreddit(name).hot(limit=3)]


def error(way: Any) -> Any:
    """
    Read what is private.
    """
    return plain(way, "private")


USES = {"plain": plain, "error": error}
