"""
The matrix: which clients run, in which environment, and what a refusal of ours comes out as.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
NEWEST = Path(sys.executable)
OTHERS = ROOT / ".venv-clients" / "bin" / "python"


class Row(NamedTuple):
    """
    A client in the matrix.

    Attributes:
        name: Its file under ``uses``.
        python: The environment's interpreter.
        uses: How many things it does.
        transport: The class of a refusal behind a transport; None if it has no place for one.
        gateway: The class of a refusal by the gateway; None if its host can't be changed.
        dialect: In which shape the gateway refuses.
        apart: The class of a refusal by the gateway for those uses where it is another one.
    """

    name: str
    python: Path
    uses: int
    transport: str | None
    gateway: str | None
    dialect: str = "generic"
    apart: Mapping[str, str] = MappingProxyType({})


LANGCHAIN = "langchain_openai.chat_models.base"
INSTRUCTOR = "instructor.v2.core.errors.InstructorRetryException"
PAUSED = "egressor.errors.Paused"
ROWS = [
    Row("requests", NEWEST, 4, PAUSED, "requests.exceptions.HTTPError"),
    Row("aiohttp", NEWEST, 4, PAUSED, "aiohttp.client_exceptions.ClientResponseError"),
    Row("httpx", NEWEST, 5, PAUSED, "httpx.HTTPStatusError"),
    Row("curl", NEWEST, 4, None, "use_of_curl.CurlError"),
    Row("wrk", NEWEST, 2, None, "use_of_wrk.WrkError"),
    Row("openai", NEWEST, 7, PAUSED, "openai.InternalServerError", "openai"),
    Row("openai", OTHERS, 7, "openai.APIConnectionError", "openai.InternalServerError", "openai"),
    Row("anthropic", NEWEST, 6, "anthropic.APIConnectionError", "anthropic.ServiceUnavailableError", "anthropic"),
    Row("anthropic", OTHERS, 6, "anthropic.APIConnectionError", "anthropic.InternalServerError", "anthropic"),
    Row("groq", OTHERS, 4, "groq.APIConnectionError", "groq.InternalServerError", "openai"),
    Row("mistralai", OTHERS, 4, PAUSED, "mistralai.client.errors.sdkerror.SDKError", "openai"),
    Row("google_genai", OTHERS, 4, PAUSED, "google.genai.errors.ServerError", "gemini"),
    Row("langchain_openai", OTHERS, 4, f"{LANGCHAIN}.OpenAIConnectionError", f"{LANGCHAIN}.OpenAIAPIError", "openai"),
    Row("instructor", OTHERS, 3, INSTRUCTOR, INSTRUCTOR, "openai"),
    Row("litellm", OTHERS, 4, None, "litellm.exceptions.ServiceUnavailableError", "openai"),
    Row("litellm_anthropic", OTHERS, 2, None, "litellm.exceptions.InternalServerError", "anthropic"),
    Row("llm", OTHERS, 3, None, "use_of_llm.LlmError", "openai"),
    Row("praw", OTHERS, 2, "prawcore.exceptions.RequestException", "prawcore.exceptions.ResponseException"),
    Row(
        "asyncpraw",
        OTHERS,
        2,
        "asyncprawcore.exceptions.RequestException",
        "asyncprawcore.exceptions.ResponseException",
    ),
    Row(
        "tweepy",
        OTHERS,
        5,
        PAUSED,
        "tweepy.errors.TwitterServerError",
        apart={"stream": "use_of_tweepy.RequestError"},
    ),
    Row("ccxt", OTHERS, 4, PAUSED, "ccxt.base.errors.ExchangeNotAvailable", "binance"),
    Row("python_binance", OTHERS, 4, PAUSED, "binance.exceptions.BinanceAPIException", "binance"),
    Row("pybit", OTHERS, 2, PAUSED, "pybit.exceptions.FailedRequestError"),
    Row("python_telegram_bot", OTHERS, 2, "telegram.error.NetworkError", "telegram.error.NetworkError", "telegram"),
    Row("aiogram", OTHERS, 2, PAUSED, "aiogram.exceptions.TelegramServerError", "telegram"),
]
