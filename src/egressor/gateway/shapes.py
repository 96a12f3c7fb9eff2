"""
A refusal in a service's own shape, so that its SDK finds there what it looks for: data, and one function that fills it.

The members stand beside those of RFC 9457, and in front of them, since Google's SDK knows an error inside of a stream
by its first member only. Where both have a member of one name, the service's wins: in `type` of Anthropic's, which is a
relative reference and so a type in RFC 9457's sense still, and in `status` of Google's, which a reader of RFC 9457
ignores, as it is no number (section 3.1).

Reddit's, X's and Bybit's clients read the status, or ``detail``, which a problem has in any case.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

__all__ = ["NAMELESS", "shaped", "spoken"]


class _Slot(Enum):
    STATUS = auto()
    REASON = auto()
    DETAIL = auto()
    WORD = auto()  # the service's own for the status
    SECONDS = auto()
    DELAY = auto()  # the seconds as Google writes them


_RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": _Slot.DELAY}
_SHAPES: Mapping[str, object] = {
    "openai": {"error": {"message": _Slot.DETAIL, "type": _Slot.WORD, "param": None, "code": _Slot.REASON}},
    "anthropic": {"type": "error", "error": {"type": _Slot.WORD, "message": _Slot.DETAIL}},
    "gemini": {
        "error": {
            "code": _Slot.STATUS,
            "message": _Slot.DETAIL,
            "status": _Slot.WORD,
            "details": [_RETRY_INFO],
        },
        "status": _Slot.WORD,
    },
    "telegram": {
        "ok": False,
        "error_code": _Slot.STATUS,
        "description": _Slot.DETAIL,
        "parameters": {"retry_after": _Slot.SECONDS},
    },
    "binance": {"code": _Slot.WORD, "msg": _Slot.DETAIL},
}
_LLM: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "request_too_large",
    421: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
# google.rpc.Code
_RPC: Mapping[int, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "INVALID_ARGUMENT",
    408: "DEADLINE_EXCEEDED",
    413: "INVALID_ARGUMENT",
    421: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
# No code for 502 and 503: with 0 the libraries go by the status, and ccxt sees a NetworkError that may be tried again.
# Binance's own for them (-1006, -1008) are no such errors there, or known only under Binance's own host.
_BINANCE: Mapping[int, int] = {
    400: -1130,
    401: -1002,
    402: -1130,
    403: -1002,
    405: -1020,
    413: -1130,
    429: -1003,
    504: -1007,
}
# The words for each status, and the one for all others.
_WORDS: Mapping[str, tuple[Mapping[int, str | int], str | int]] = {
    "openai": (_LLM, "api_error"),
    "anthropic": (_LLM, "api_error"),
    "gemini": (_RPC, "UNKNOWN"),
    "telegram": ({}, ""),
    "binance": (_BINANCE, 0),
}
_LIKE = {"azure": "openai", "deepseek": "openai", "groq": "openai", "mistral": "openai", "openrouter": "openai"}
NAMELESS = frozenset({"openai", "gemini"})
"""
Whose streams have no event names: their SDKs look for the error in the data.
"""


def spoken(dialect: str) -> str:
    """
    Return the dialect in whose shape refusals to the SDKs of *dialect* are.
    """
    return _LIKE.get(dialect, dialect)


def shaped(dialect: str, status: int, *, reason: str, detail: str, seconds: int | None) -> dict[str, object]:
    """
    Return the members that the SDKs of *dialect* look for; none for a dialect without a shape.

    Args:
        dialect: Whose SDKs.
        status: The HTTP status.
        reason: Why, as a stable word.
        detail: Why, as a text.
        seconds: Seconds after which to try again; None where nobody knows.
    """
    dialect = spoken(dialect)
    if dialect not in _SHAPES:
        return {}
    words, other = _WORDS[dialect]
    filled = _filled(
        _SHAPES[dialect],
        {
            _Slot.STATUS: status,
            _Slot.REASON: reason,
            _Slot.DETAIL: detail,
            _Slot.WORD: words.get(status, other),
            _Slot.SECONDS: seconds or None,
            _Slot.DELAY: f"{seconds}s" if seconds else None,
        },
    )
    return filled if isinstance(filled, dict) else {}


def _filled(shape: object, values: Mapping[_Slot, object]) -> object:
    """
    Return *shape* with *values* in its slots, without the objects that have no value for one: None stands for such.
    """
    if isinstance(shape, _Slot):
        return values[shape]
    if isinstance(shape, list):
        return [each for each in (_filled(one, values) for one in shape) if each is not None]
    if not isinstance(shape, dict):
        return shape
    if any(isinstance(each, _Slot) and values[each] is None for each in shape.values()):
        return None
    found = {name: _filled(each, values) for name, each in shape.items()}
    return {name: each for name, each in found.items() if each is not None or shape[name] is None}
