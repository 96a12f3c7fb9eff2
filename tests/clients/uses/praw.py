"""
PRAW, for Reddit.
"""

from __future__ import annotations

from typing import Any

import praw
import requests

WAYS = ("transport",)


def reddit(way: Any) -> Any:
    """
    Return a read-only client.
    """
    hooked: Any = {"requestor_kwargs": {"session": way.mount(requests.Session())}} if way.gov else {}
    return praw.Reddit(
        client_id="c",
        client_secret="s",
        user_agent="test of a governor",
        oauth_url=way.base,
        reddit_url=way.base,
        check_for_updates=False,
        **hooked,
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
