"""
A local server that answers as the APIs do that the clients are made for: enough of each for a plain call, a stream and
an error.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from aiohttp import web

Answer = Callable[[web.BaseRequest, Any], Any]


class Refusal(Exception):
    """
    An API's own error.
    """

    def __init__(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.headers = headers


class Events(list[bytes]):
    """
    A stream of server-sent events, piece by piece.
    """


def events(found: Iterable[dict[str, Any]], *, named: bool = False, done: bool = False) -> Events:
    """
    Return *found* as a stream, each event in two pieces that don't respect its border.
    """
    pieces = Events()
    for each in found:
        name = f"event: {each['type']}\n" if named else ""
        data = f"{name}data: {json.dumps(each, ensure_ascii=False)}\n\n".encode()
        pieces += [data[:20], data[20:]]
    return Events([*pieces, b"data: [DONE]\n\n"]) if done else pieces


# --- language models --------------------------------------------------------------------------------------------------

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def chat(request: web.BaseRequest, asked: Any) -> Any:
    """
    OpenAI's chat completions, which Groq and Mistral speak too.
    """
    if asked["model"] == "broke":
        error = {"message": "no money", "type": "insufficient_quota", "param": None, "code": "insufficient_quota"}
        raise Refusal(429, {"error": error})
    if asked["model"] == "bad":
        error = {"message": "no such thing", "type": "invalid_request_error", "param": "messages", "code": "bad"}
        raise Refusal(400, {"error": error})
    head: dict[str, Any] = {"id": "c-1", "created": 1, "model": asked["model"]}
    if asked.get("stream"):
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        deltas += [{"content": word} for word in ("he", "llo ", "wörld")]
        choices: list[dict[str, Any]] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
        choices += [{"index": 0, "delta": {}, "finish_reason": "stop"}]
        chunks = [{**head, "object": "chat.completion.chunk", "choices": [choice]} for choice in choices]
        chunks[-1]["usage"] = USAGE
        if (asked.get("stream_options") or {}).get("include_usage"):
            # OpenAI's own way; others say so in their last chunk, unasked.
            chunks.append({**head, "object": "chat.completion.chunk", "choices": [], "usage": USAGE})
        return events(chunks, done=True)
    message: dict[str, Any] = {"role": "assistant", "content": "hello wörld"}
    if asked.get("tools"):
        function = {"name": asked["tools"][0]["function"]["name"], "arguments": '{"name": "Ann", "age": 7}'}
        message |= {"content": None, "tool_calls": [{"id": "t-1", "type": "function", "function": function}]}
    finish = "tool_calls" if asked.get("tools") else "stop"
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
    return {**head, "object": "chat.completion", "choices": [choice], "usage": USAGE}


def messages(request: web.BaseRequest, asked: Any) -> Any:
    """
    Anthropic's messages.
    """
    if asked["model"] == "bad":
        raise Refusal(400, {"type": "error", "error": {"type": "invalid_request_error", "message": "no such thing"}})
    message: dict[str, Any] = {
        "id": "m-1",
        "type": "message",
        "role": "assistant",
        "model": asked["model"],
        "content": [{"type": "text", "text": "hello wörld"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 2},
    }
    if not asked.get("stream"):
        return message
    begin = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    words = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
        for word in ("he", "llo ", "wörld")
    ]
    ending = {"stop_reason": "end_turn", "stop_sequence": None}
    found: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}},
        begin,
        {"type": "ping"},
        *words,
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": ending, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    ]
    return events(found, named=True)


def gemini(request: web.BaseRequest, asked: Any) -> Any:
    """
    Google's generateContent.
    """
    if "/bad:" in request.path:
        raise Refusal(400, {"error": {"code": 400, "message": "no such thing", "status": "INVALID_ARGUMENT"}})

    def part(text: str, **more: Any) -> dict[str, Any]:
        candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0, **more}
        return {"candidates": [candidate], "modelVersion": "m", "responseId": "r-1"}

    usage = {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5}
    if ":streamGenerateContent" in request.path:
        return events([part("he"), part("llo "), {**part("wörld", finishReason="STOP"), "usageMetadata": usage}])
    return {**part("hello wörld", finishReason="STOP"), "usageMetadata": usage}


# --- social media -----------------------------------------------------------------------------------------------------


def reddit(request: web.BaseRequest, asked: Any) -> Any:
    """
    Reddit, with its token.
    """
    if request.path == "/api/v1/access_token":
        return {"access_token": "t", "token_type": "bearer", "expires_in": 86400, "scope": "*"}
    if request.path.startswith("/r/private"):
        raise Refusal(403, {"message": "Forbidden", "error": 403, "reason": "private"})
    data = [{"id": f"p{each}", "name": f"t3_p{each}", "title": f"títle {each}", "score": each} for each in range(3)]
    posts = [{"kind": "t3", "data": each} for each in data]
    return {"kind": "Listing", "data": {"children": posts, "after": None, "before": None, "dist": 3}}


def x_users(request: web.BaseRequest, asked: Any) -> Any:
    """
    X's API, version 2.
    """
    if request.path.endswith("/nobody"):
        raise Refusal(403, {"title": "Forbidden", "detail": "no", "type": "about:blank", "status": 403})
    if request.path == "/2/tweets/search/stream":
        lines = [json.dumps({"data": {"id": str(number), "text": f"twéet {number}"}}).encode() for number in range(3)]
        return Events([line + b"\r\n" for line in lines])
    return {"data": {"id": "7", "name": "Ann", "username": "ann"}}


def telegram(request: web.BaseRequest, asked: Any) -> Any:
    """
    Telegram's bot API.
    """
    if request.path.endswith("/getMe"):
        return {"ok": True, "result": {"id": 7, "is_bot": True, "first_name": "Ann", "username": "ann_bot"}}
    raise Refusal(400, {"ok": False, "error_code": 400, "description": "Bad Request: chat not found"})


# --- exchanges --------------------------------------------------------------------------------------------------------


def binance(request: web.BaseRequest, asked: Any) -> Any:
    """
    Binance's public market data.
    """
    if request.query.get("symbol") == "NONE":
        raise Refusal(400, {"code": -1121, "msg": "Invalid symbol."}, {"x-mbx-used-weight-1m": "3"})
    if request.path.endswith("/time"):
        return {"serverTime": 1_700_000_000_000}
    return {"symbol": "BTCUSDT", "price": "4.00000200"}


def bybit(request: web.BaseRequest, asked: Any) -> Any:
    """
    Bybit's public market data.
    """
    if request.query.get("symbol") == "NONE":
        return {"retCode": 10001, "retMsg": "params error: symbol invalid", "result": {}, "retExtInfo": {}, "time": 1}
    tickers = [{"symbol": "BTCUSDT", "lastPrice": "4.0"}]
    return {"retCode": 0, "retMsg": "OK", "result": {"category": "spot", "list": tickers}, "retExtInfo": {}, "time": 1}


def refused(request: web.BaseRequest, asked: Any) -> Any:
    """
    Any API that refuses: the status is the first part of the path.
    """
    status = int(request.path.split("/")[2])
    kind = {401: "authentication_error", 429: "rate_limit_error"}.get(status, "overloaded_error")
    error = {"type": kind, "message": "no"}
    raise Refusal(status, {"type": "error", "error": error}, {"x-should-retry": "false"})


def anything(request: web.BaseRequest, asked: Any) -> Any:
    """
    What no SDK is made for.
    """
    if request.path == "/plain/bad":
        raise Refusal(404, {"error": "no such thing"}, {"x-own": "1"})
    if request.path == "/plain/stream":
        return Events([f"line {number} ".encode() * 50 + b"\n" for number in range(5)])
    return {"path": request.path_qs, "method": request.method, "asked": asked}


_APIS: list[tuple[str, Answer]] = [
    ("/status/", refused),
    ("/chat/completions", chat),
    ("/v1/messages", messages),
    ("enerateContent", gemini),
    ("/2/", x_users),
    ("/bot", telegram),
    ("/api/v3/", binance),
    ("/v5/", bybit),
    ("/plain", anything),
    ("/", reddit),
]


class Server:
    """
    All of these APIs, and what they were asked.

    Attributes:
        asked: Method and path of each request, as they came.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """
        Answer *request* by the first API whose mark is in its path.
        """
        self.asked.append(f"{request.method} {request.path}")
        body = await request.read()
        is_json = request.headers.get("content-type", "").startswith("application/json")
        answer = next(answer for mark, answer in _APIS if mark in request.path)
        try:
            found = answer(request, json.loads(body) if body and is_json else body.decode() or None)
        except Refusal as refusal:
            return web.json_response(refusal.body, status=refusal.status, headers=refusal.headers)
        if not isinstance(found, Events):
            return web.json_response(found, headers={"x-request-id": "r-1"})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "x-request-id": "r-2"})
        await response.prepare(request)
        for piece in found:
            await response.write(piece)
        return response
