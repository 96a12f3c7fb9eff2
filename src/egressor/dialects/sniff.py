"""
Whose answer or exception it is, where nobody has said.

An exception's library names its provider. A body's shape does, where a shape is a provider's own: Kraken's list of
``EOrder:…``, Bybit's ``retCode``, Telegram's ``ok`` beside ``error_code``. A shape that several share (``code`` and
``msg``) counts only together with a code of that provider's form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from egressor._core.saying import words_of

if TYPE_CHECKING:
    from egressor._core.evidence import Headers

__all__ = ["by_body", "by_headers", "by_library"]

_LIBRARIES: Final = {
    "aiogram": "telegram",
    "anthropic": "anthropic",
    "asyncpraw": "reddit",
    "asyncprawcore": "reddit",
    "binance": "binance",
    "coinbase": "coinbase",
    "coingecko_sdk": "coingecko",
    "discord": "discord",
    "disnake": "discord",
    "gate_api": "gate",
    "github": "github",
    "githubkit": "github",
    "groq": "groq",
    "hikari": "discord",
    "kraken": "kraken",
    "mistralai": "mistral",
    "nextcord": "discord",
    "okx": "okx",
    "openai": "openai",
    "openrouter": "openrouter",
    "praw": "reddit",
    "prawcore": "reddit",
    "pybit": "bybit",
    "pycoingecko": "coingecko",
    "pyrogram": "telegram",
    "telegram": "telegram",
    "telethon": "telegram",
    "tweepy": "x",
    "twscrape": "x",
}
# The names with which ccxt's messages begin.
_EXCHANGES: Final = {
    "binance": "binance",
    "binancecoinm": "binance",
    "binanceus": "binance",
    "binanceusdm": "binance",
    "bitget": "bitget",
    "bybit": "bybit",
    "coinbase": "coinbase",
    "coinbaseadvanced": "coinbase",
    "coinbaseexchange": "coinbase",
    "coinbaseinternational": "coinbase",
    "deribit": "deribit",
    "gate": "gate",
    "gateio": "gate",
    "gemini": "gemini_exchange",
    "htx": "htx",
    "huobi": "htx",
    "kraken": "kraken",
    "krakenfutures": "kraken",
    "kucoin": "kucoin",
    "kucoinfutures": "kucoin",
    "mexc": "mexc",
    "myokx": "okx",
    "okx": "okx",
    "okxus": "okx",
}
_HEADERS: Final = (
    ("x-bapi-limit-status", "bybit"),
    ("x-gate-ratelimit-reset-timestamp", "gate"),
    ("gw-ratelimit-reset", "kucoin"),
    ("x-rate-limit-remaining", "x"),
    ("x-ratelimit-scope", "discord"),
)


def by_library(exc: BaseException) -> str:
    """
    Name the dialect of the library that *exc* is of, else of what its message begins with; empty if neither is known.
    """
    kind: type = type(exc)
    for each in kind.__mro__[:8]:
        module = each.__module__
        if isinstance(module, str):
            root = module[:64].split(".")[0]
            if root == "ccxt":
                return _exchange(exc)
            if root in _LIBRARIES:
                return _LIBRARIES[root]
            if module.startswith("google.genai"):
                return "gemini"
    return ""


def _exchange(exc: BaseException) -> str:
    try:
        words = words_of(exc)[:64].split(None, 1)
    except Exception:  # noqa: BLE001 - somebody's __str__ may raise anything
        return ""
    if not words:
        return ""
    # By WebSocket ccxt leaves its own name out.
    return _EXCHANGES.get(words[0]) or ("kraken" if _is_kraken(words[0]) else "")


def by_headers(headers: Headers) -> str:
    """
    Name the dialect whose own header is there; empty if none is.
    """
    return next((name for header, name in _HEADERS if header in headers), "")


def by_body(parsed: object) -> str:  # noqa: C901, PLR0911 - a table of shapes, one line each
    """
    Name the dialect whose own shape *parsed* has; empty if it is nobody's.
    """
    if isinstance(parsed, list):
        inner = parsed[0] if parsed else None
        return "gemini" if isinstance(inner, dict) and _is_google(inner.get("error")) else ""
    if not isinstance(parsed, dict):
        return ""
    error = parsed.get("error")
    if isinstance(error, list):
        return "kraken" if any(_is_kraken(each) for each in error[:4]) else ""
    if "retCode" in parsed or "ret_code" in parsed:
        return "bybit"
    if "ok" in parsed and "error_code" in parsed:
        return "telegram"
    if isinstance(parsed.get("json"), dict) and isinstance(parsed["json"].get("errors"), list):
        return "reddit"
    if "err-code" in parsed or (type(parsed.get("err_code")) is int and "err_msg" in parsed):
        return "htx"
    if "error_id" in parsed and "error_name" in parsed:
        return "stackexchange"
    if "documentation_url" in parsed and "message" in parsed:
        return "github"
    if "jsonrpc" in parsed and isinstance(error, dict) and _number(error.get("code")) >= 9999:
        return "deribit"
    if parsed.get("result") == "error" and isinstance(parsed.get("reason"), str) and "message" in parsed:
        return "gemini_exchange"
    if isinstance(error, dict):
        return _by_error(parsed, error)
    if isinstance(parsed.get("label"), str) and parsed["label"].isupper():
        return "gate"
    if parsed.get("success") is False and "error_response" in parsed:
        return "coinbase"
    feedback = parsed.get("promptFeedback")
    if isinstance(feedback, dict) and "blockReason" in feedback:
        return "gemini"
    return _by_code(parsed) or _by_list(parsed)


def _by_error(parsed: dict[str, object], error: dict[str, object]) -> str:
    if parsed.get("type") == "error" and isinstance(error.get("type"), str):
        return "anthropic"
    if _is_google(error):
        return "gemini"
    code = error.get("code")
    if isinstance(error.get("status"), dict):
        return "coingecko"
    if type(code) is int and "message" in error and "jsonrpc" not in parsed:
        # Google's older APIs have a list of reasons beside the number, and mean a limit by some of them.
        return "openrouter" if 400 <= code <= 599 and "errors" not in error else ""
    if "message" not in error or "jsonrpc" in parsed:
        return ""
    return "openai" if "type" in error or "param" in error or "innererror" in error else ""


def _by_code(parsed: dict[str, object]) -> str:
    status = parsed.get("status")
    if isinstance(status, dict):
        told = _number(status.get("error_code"))
        return "coinmarketcap" if 1001 <= told <= 1011 else "coingecko" if told >= 400 else ""
    code = parsed.get("code")
    if type(code) is int:
        if code <= -1000 and "msg" in parsed:
            return "binance"
        return "discord" if 10_000 <= code < 300_000 and "message" in parsed else ""
    if not isinstance(code, str) or "msg" not in parsed or not code.isdigit():
        return ""
    if len(code) == 5 and code[0] in "56":
        return "okx"
    if code == "1" and isinstance(parsed.get("data"), list):
        return "okx"
    if len(code) == 5 and code[0] in "34":
        return "bitget"
    return "kucoin" if len(code) == 6 else ""


def _by_list(parsed: dict[str, object]) -> str:
    errors = parsed.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else None
    if isinstance(first, dict):
        if type(first.get("code")) is int and "message" in first:
            return "x"
        if isinstance(first.get("id"), str) and "message" in first:
            return "coinbase"
    kind = first.get("type") if isinstance(first, dict) and "type" in first else parsed.get("type")
    return "x" if isinstance(kind, str) and kind.startswith(("https://api.twitter.com/", "https://api.x.com/")) else ""


def _is_kraken(value: object) -> bool:
    return isinstance(value, str) and value[:1] in {"E", "W"} and value[1:2].isupper() and ":" in value[:24]


def _is_google(error: object) -> bool:
    if not isinstance(error, dict):
        return False
    status = error.get("status")
    return type(error.get("code")) is int and isinstance(status, str) and status.isupper()


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
