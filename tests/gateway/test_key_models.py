"""
Which models a client's key may ask.
"""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from aiohttp import web

from egressor.gateway.keys import PREFIX, digest
from egressor.gateway.models import models_of
from egressor.policies import ClientKey
from tests.gateway.rig import gateway_of, upstream

pytestmark = pytest.mark.anyio
KEY = PREFIX + "k3Yq" * 10 + "a_c"
ANN = ClientKey(name="ann", sha256=digest(KEY), models=["gpt-4o-mini", "claude-*", "gemini-*-flash"])  # type: ignore[arg-type] # as files say it
CHAT = "/t/v1/chat/completions"
CONTENTS = b'{"contents": []}'


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/v1/models", b"", []),
        ("/v1/models/gpt-4o", b"", []),
        ("/v1/responses/r1/cancel", b"", []),
        ("/v1/files", b"--x", []),
        ("/v1/uploads/u1/parts", b"--x", []),
        ("/openai/deployments/files/chat/completions", b"{}", ["files"]),
        ("/x", b'{"model": "a"}', ["a"]),
        ("/x?model=b", b'{"model": "a"}', ["b", "a"]),
        ("/x", b'{"Model": "a"}', ["a"]),
        ("/x", b'{"model": "a", "models": ["b", "c"]}', ["a", "b", "c"]),
        ("/x", b'{"models": "b"}', ["b"]),
        ("/x", b'{"session": {"model": "a"}}', ["a"]),
        ("/x", b'{"model": "a", "tools": [{"model": "b"}, "x"]}', ["a", "b"]),
        ("/x", b'{"requests": [{"params": {"model": "a"}}, {"params": {"model": "b"}}]}', ["a", "b"]),
        ("/x", b'{"model": "a", "messages": [{"input": {"model": "Ford T"}}]}', ["a"]),
        ("/v1beta/models/g:generateContent", CONTENTS, ["g"]),
        ("/v1beta/models/g:embedContent", CONTENTS, ["g"]),
        ("/v1beta/models/%67%3AgenerateContent", CONTENTS, ["g"]),
        ("/v1beta/models/g:generateContent", b'{"model": "h", "contents": []}', ["g", "h"]),
        ("/openai/deployments/d/chat/completions?v=1", b'{"messages": []}', ["d"]),
        ("/OpenAI/Deployments//d/chat/completions", b'{"model": "a"}', ["d", "a"]),
        ("/v1beta/Models/g:generateContent", b'{"model": "h", "contents": []}', ["g", "h"]),
        ("/v1beta/tunedModels/g:generateContent", b'{"model": "h", "contents": []}', ["tunedModels/g", "h"]),
        ("/x", b'{"messages": []}', None),
        ("/x", b'{"model": null}', None),
        ("/x", b'{"model": ""}', None),
        ("/x", b'{"model": ["a"]}', None),
        ("/x", b'{"model": "a", "models": [1]}', None),
        ("/x", b'{"model": "a", "model": "b"}', None),
        ("/x", b'{"model": "a", "MODEL": "b"}', None),
        ("/x", b'{"m\\u006fdel": "a", "model": "b"}', None),
        ("/x", b'["a"]', None),
        ("/x", b"--x", None),
        ("/x", b"[" * 100_000, None),
        ("/v1/batches", b'{"input_file_id": "f"}', None),
    ],
)
def test_the_models_that_a_request_asks(path: str, body: bytes, expected: list[str] | None) -> None:
    """
    All that it names, wherever that stands; and of what nobody can tell, that.
    """
    assert models_of("https://host" + path, body) == expected


class Server:
    """
    An upstream that counts.
    """

    asked = 0

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        """
        Answer anything.
        """
        self.asked += 1
        return web.json_response({})


def packed(**body: Any) -> bytes:
    """
    Return *body* packed.
    """
    return gzip.compress(json.dumps(body).encode())


@pytest.mark.parametrize(
    ("path", "sent", "expected"),
    [
        (CHAT, {"json": {"model": "gpt-4o-mini"}}, 200),
        (CHAT, {"json": {"model": "claude-sonnet-5"}}, 200),
        (CHAT, {"json": {"model": "gemini-2.5-flash"}}, 200),
        (CHAT, {"json": {"model": "gpt-4o"}}, 403),
        (CHAT, {"json": {"model": "gpt-4o-mini-2"}}, 403),
        (CHAT, {"json": {"model": "GPT-4O-MINI"}}, 403),
        (CHAT, {"json": {"model": "my-claude-x"}}, 403),
        (CHAT, {"json": {"model": "gemini-2.5-flash-x"}}, 403),
        (CHAT, {"json": {"model": "gpt-4o-mini", "models": ["gpt-4o"]}}, 403),
        (CHAT, {"json": {"messages": []}}, 403),
        (CHAT, {"data": b"no json"}, 403),
        (CHAT, {"data": packed(model="gpt-4o-mini"), "headers": {"Content-Encoding": "gzip"}}, 403),
        ("/plain/x", {"json": {"model": "gpt-4o"}}, 403),
        ("/github/x", {"json": {"model": "gpt-4o"}}, 200),
        ("/inside/x", {"json": {"title": "x"}}, 200),
        ("/t/v1/files", {"data": b"a file"}, 200),
    ],
)
async def test_a_key_asks_its_models_only(path: str, sent: dict[str, Any], expected: int) -> None:
    """
    Anything else is refused in the shape that its SDK reads, and nothing is sent.
    """
    server = Server()
    async with upstream(server) as url:
        services: dict[str, dict[str, Any]] = {
            "t": {"base_url": url, "dialect": "openai"},
            "plain": {"base_url": url},
            "github": {"base_url": url, "dialect": "github"},
            "inside": {"base_url": url, "type": "internal_api"},
        }
        async with gateway_of(services, bounds={"keys": (ANN,)}) as rig:
            headers = {"Authorization": f"Bearer {KEY}", **sent.pop("headers", {})}
            async with rig.session.post(rig.url + path, headers=headers, **sent) as answer:
                status, text = answer.status, await answer.text()
            async with rig.session.get(rig.url + "/t/v1/models", headers=headers) as answer:
                listed = answer.status

    assert (status, listed, server.asked) == (expected, 200, 1 + (expected == 200))
    if expected == 403:
        assert json.loads(text)["reason"] == "not_this_model"
        assert "the key ann is for the models gpt-4o-mini, claude-*, gemini-*-flash" in text
        assert path != CHAT or json.loads(text)["error"]["message"]
        assert KEY not in text


async def test_a_body_that_is_not_all_there_and_a_websocket_are_refused() -> None:
    """
    What comes later may name any model.
    """
    server = Server()

    async def pieces() -> Any:
        yield b'{"model": "gpt-4o-mini", "x": "' + b"x" * 40_000_000
        yield b'"}'

    async with (
        upstream(server) as url,
        gateway_of({"t": {"base_url": url, "dialect": "openai"}}, bounds={"keys": (ANN,)}) as rig,
    ):
        headers = {"Authorization": f"Bearer {KEY}"}
        async with rig.session.post(
            rig.url + CHAT, headers={**headers, "Expect": "100-continue"}, data=pieces()
        ) as one:
            first = one.status
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
        async with rig.session.get(rig.url + "/t/v1/realtime?model=gpt-4o-mini", headers={**headers, **upgrade}) as two:
            second = two.status

    assert (first, second, server.asked) == (403, 403, 0)
