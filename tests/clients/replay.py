"""
Replay answers to client libraries, and say what the classifier makes of each answer, and of the exception it became.

Run by an interpreter that has the libraries. Reads JSON on its standard input: the folder of Egressor's source, the
library's name, and rows of status, headers, body and dialect; writes, for each row, the verdict at the transport and
that of the exception (None where the library raised nothing).
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "1:" + "a" * 35
ROW: dict[str, Any] = {}


class Replay(BaseHTTPRequestHandler):
    """
    Answer everything with the present row.
    """

    def do_GET(self) -> None:
        """
        Answer.
        """
        self.rfile.read(int(self.headers.get("content-length") or 0))
        body = ROW["body"].encode()
        self.send_response(ROW["status"])
        for name, value in ROW["headers"].items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - http.server's own name

    def log_message(self, *_: object) -> None:
        """
        Say nothing.
        """


def redirected(session: Any, base: str) -> None:
    """
    Send all that a requests session sends to *base*: some libraries' hosts can't be set.
    """
    from urllib.parse import urlsplit

    from requests.adapters import HTTPAdapter

    class Rewriting(HTTPAdapter):
        def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            parts = urlsplit(request.url)
            request.url = f"{base}{parts.path}?{parts.query}"
            return super().send(request, *args, **kwargs)

    session.mount("https://", Rewriting())
    session.mount("http://", Rewriting())


def by_requests(base: str) -> None:
    """
    Ask by requests.
    """
    import requests

    requests.get(base, timeout=5).raise_for_status()


def by_httpx(base: str) -> None:
    """
    Ask by httpx.
    """
    import httpx

    httpx.get(base).raise_for_status()


async def by_aiohttp(base: str) -> None:
    """
    Ask by aiohttp.
    """
    import aiohttp

    async with aiohttp.ClientSession() as session, session.get(base) as response:
        response.raise_for_status()


def by_openai(base: str) -> None:
    """
    Ask by openai.
    """
    import openai

    client = openai.OpenAI(api_key="x", base_url=base, max_retries=0)
    client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])


def by_anthropic(base: str) -> None:
    """
    Ask by anthropic.
    """
    import anthropic

    client = anthropic.Anthropic(api_key="x", base_url=base, max_retries=0)
    client.messages.create(model="m", max_tokens=3, messages=[{"role": "user", "content": "x"}])


def by_groq(base: str) -> None:
    """
    Ask by groq.
    """
    import groq

    client = groq.Groq(api_key="x", base_url=base, max_retries=0)
    client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])


def by_mistralai(base: str) -> None:
    """
    Ask by mistralai.
    """
    from mistralai.client import Mistral

    Mistral(api_key="x", server_url=base).chat.complete(model="m", messages=[{"role": "user", "content": "x"}])


def by_genai(base: str) -> None:
    """
    Ask by genai.
    """
    from google import genai

    client = genai.Client(api_key="x", http_options={"base_url": base})
    client.models.generate_content(model="m", contents="x")


def by_praw(base: str) -> None:
    """
    Ask by praw.
    """
    import praw
    import requests

    # Its three tries are as good without the seconds between them.
    sys.modules["prawcore.sessions"].__dict__["FiniteRetryStrategy"]._sleep_seconds = lambda _: None
    session = requests.Session()
    redirected(session, base)
    words = {"reddit_url": base, "oauth_url": base, "requestor_kwargs": {"session": session}}
    reddit = praw.Reddit(client_id="a", client_secret="b", user_agent="t", check_for_updates=False, **words)
    reddit._core._authorizer.access_token = "t"
    reddit._core._authorizer._expiration_timestamp_ns = 2**62
    reddit.post("api/comment", data={"x": 1})


def by_tweepy(base: str) -> None:
    """
    Ask by tweepy.
    """
    import tweepy

    client = tweepy.Client("t")
    redirected(client.session, base)
    client.get_tweet(1)


def by_binance(base: str) -> None:
    """
    Ask by binance.
    """
    from binance.client import Client

    client = Client("k", "s", ping=False)
    redirected(client.session, base)
    client.get_server_time()


def by_pybit(base: str) -> None:
    """
    Ask by pybit.
    """
    from pybit.unified_trading import HTTP

    client = HTTP(max_retries=1, retry_delay=0, api_key="a", api_secret="b")
    redirected(client.client, base)
    client.get_server_time()


async def by_ptb(base: str) -> None:
    """
    Ask by ptb.
    """
    from telegram import Bot

    await Bot(KEY, base_url=f"{base}/bot").get_me()


async def by_aiogram(base: str) -> None:
    """
    Ask by aiogram.
    """
    from aiogram import Bot
    from aiogram.client.session.aiohttp import AiohttpSession
    from aiogram.client.telegram import TelegramAPIServer

    session = AiohttpSession(api=TelegramAPIServer.from_base(base))
    try:
        await Bot(KEY, session=session).get_me()
    finally:
        await session.close()


def by_ccxt(base: str) -> None:
    """
    Ask by ccxt.
    """
    import ccxt

    names = {"coinbase": "coinbaseexchange", "gemini_exchange": "gemini"}
    exchange = getattr(ccxt, names.get(ROW["dialect"], ROW["dialect"]))({"enableRateLimit": False})
    exchange.fetch(f"{base}/api/v3/time")


CLIENTS = {
    "aiogram": by_aiogram,
    "aiohttp": by_aiohttp,
    "anthropic": by_anthropic,
    "ccxt": by_ccxt,
    "google_genai": by_genai,
    "groq": by_groq,
    "httpx": by_httpx,
    "mistralai": by_mistralai,
    "openai": by_openai,
    "praw": by_praw,
    "pybit": by_pybit,
    "python_binance": by_binance,
    "python_telegram_bot": by_ptb,
    "requests": by_requests,
    "tweepy": by_tweepy,
}


def came_of(client: Any, base: str) -> BaseException | None:
    """
    Return what *client* raises at the present row.
    """
    try:
        found = client(base)
        if asyncio.iscoroutine(found):
            asyncio.run(found)
    except Exception as error:  # noqa: BLE001 - whatever it raises is what we want
        return error
    return None


def main() -> None:
    """
    Replay each row.
    """
    said = json.load(sys.stdin)
    sys.path.insert(0, said["src"])
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    from egressor.dialects import classify

    server = ThreadingHTTPServer(("127.0.0.1", 0), Replay)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    found = []
    for row in said["rows"]:
        ROW.clear()
        ROW.update(row)
        words = {name: row[name] for name in ("status", "headers", "body", "dialect")}
        error = came_of(CLIENTS[said["client"]], base)
        of_error = None if error is None else classify(error, dialect=row["dialect"] if said["named"] else "generic")
        found.append([told(classify(**words)), told(of_error), f"{type(error).__name__}: {error}"[:300]])
    json.dump(found, sys.stdout)


def told(verdict: Any) -> list[Any] | None:
    """
    Return what matters of a verdict.
    """
    if verdict is None:
        return None
    return [verdict.category and str(verdict.category), verdict.retryable, verdict.retry_after]


if __name__ == "__main__":
    main()
