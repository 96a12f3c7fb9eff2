"""
Limits of tokens at the gateway, for clients that know nothing of them.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from egressor._core.learned import tokens
from egressor.dialects.prompts import measured
from egressor.governor.tokens import _model_beside
from tests.gateway.rig import Rig, gateway, until, upstream

pytestmark = pytest.mark.anyio

# With the names around it, 4,000 bytes of text.
ASKED: dict[str, Any] = {
    "model": "m",
    "max_tokens": 1000,
    "messages": [{"role": "user", "content": "hello you " * 398 + "later"}],
}
CHAT = "/t/v1/chat/completions"


class Server:
    """
    An upstream of answers that use 2,000 tokens, or what they are told to.
    """

    def __init__(self, sent: int = 1000, received: int = 1000) -> None:
        self.used = {"prompt_tokens": sent, "completion_tokens": received, "total_tokens": sent + received}
        self.asked: list[Any] = []
        self.says = "hi"

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """
        Answer, whole or as a stream that says what it used if it is asked to.
        """
        asked = await request.json()
        self.asked.append(asked)
        if not asked.get("stream"):
            answer = web.json_response(
                {"model": "m", "choices": [{"message": {"content": self.says}}], "usage": self.used}
            )
            answer.enable_chunked_encoding()
            return answer
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"model": "m", "choices": [{"delta": {"content": "hi"}}]}\n\n')
        if asked.get("stream_options", {}).get("include_usage"):
            await response.write(b'data: {"choices": [], "usage": ' + json.dumps(self.used).encode() + b"}\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response


def policy(limit: str = "4000 tokens/minute", **more: Any) -> dict[str, Any]:
    """
    A service of OpenAI's with a limit, which refuses what would have to wait.
    """
    return {"dialect": "openai", "limits": [limit], "max_wait": 0, **more}


async def ask(rig: Rig, **more: Any) -> tuple[int, Any]:
    """
    Ask for an answer, and read it whole.
    """
    async with rig.session.post(f"{rig.url}{CHAT}", json={**ASKED, **more}) as answer:
        text = await answer.text()
        return answer.status, json.loads(text) if text.startswith("{") else text


async def settled(rig: Rig) -> int:
    """
    The tokens that are taken once nothing is in flight.
    """
    [limit] = (await rig.at_rest())["limits"]
    return int(limit["limit"] - limit["left"])


async def test_of_thirty_calls_at_once_as_many_go_as_the_minute_has_tokens_for() -> None:
    """
    4,000 tokens a minute, thirty calls of 2,000: two go, and the others are told when to come back.
    """
    server = Server()
    async with upstream(server) as url, gateway(url, **policy()) as rig:
        answers = await asyncio.gather(*(ask(rig) for _ in range(30)))
        taken = await settled(rig)
    refused = [body for status, body in answers if status == 429]

    assert measured(ASKED) == (4000, 0)
    assert Counter(status for status, _ in answers) == {200: 2, 429: 28}
    assert len(server.asked) == 2
    assert taken == 4000
    assert {body["reason"] for body in refused} == {"wait_too_long"}
    assert all("4000 tokens/minute is used up" in body["error"]["message"] for body in refused)


async def test_calls_that_say_nothing_of_their_length_are_not_taken_for_short_ones() -> None:
    """
    Thirty at once of a short prompt, each answered with 2,000 tokens: as many go as would if that were known.
    """
    server = Server()
    short = {"model": "m", "max_tokens": None, "messages": [{"role": "user", "content": "Hello, say something nice."}]}
    async with upstream(server) as url, gateway(url, **policy()) as rig:
        answers = await asyncio.gather(*(ask(rig, **short) for _ in range(30)))
        taken = await settled(rig)

    assert Counter(status for status, _ in answers) == {200: 2, 429: 28}
    assert taken == 4000


@pytest.mark.parametrize("says", ["hi", "x" * 200_000])
@pytest.mark.parametrize("dialect", ["openai", "openrouter"])
async def test_an_answer_is_settled_at_what_it_says(says: str, dialect: str) -> None:
    """
    A short one, which is read first where its dialect has errors inside; and one too long for that.
    """
    server = Server(sent=900, received=70)
    server.says = says
    async with upstream(server) as url, gateway(url, **policy(dialect=dialect)) as rig:
        status, _ = await ask(rig)
        taken = await settled(rig)

    assert (status, taken) == (200, 970)


async def test_a_stream_is_asked_what_it_used_and_settled_at_that() -> None:
    """
    Its client gets the stream that it wanted.
    """
    server = Server(sent=900, received=70)
    async with upstream(server) as url, gateway(url, **policy()) as rig:
        _, text = await ask(rig, stream=True)
        taken = await settled(rig)

    assert server.asked[0]["stream_options"] == {"include_usage": True}
    assert text == 'data: {"model": "m", "choices": [{"delta": {"content": "hi"}}]}\n\ndata: [DONE]\n\n'
    assert taken == 970


@pytest.mark.parametrize("path", [CHAT, "/t/v1/images/generations", "/t/v1/moderations"])
async def test_a_model_that_has_to_wait_holds_no_other(path: str) -> None:
    """
    The model that a request names is its scope's, whatever it is asked for.
    """
    said = "Rate limit reached for a in organization org-x on requests per min (RPM). Please try again in 60s."
    asked = []

    async def serve(request: web.BaseRequest) -> web.StreamResponse:
        asked.append((await request.json())["model"])
        error = {"message": said, "type": "requests", "code": "rate_limit_exceeded"}
        is_limited = asked[-1] == "a"
        return web.json_response({"error": error} if is_limited else {"data": []}, status=429 if is_limited else 200)

    async with upstream(serve) as url, gateway(url, **policy("100/minute", retry={"attempts": 1})) as rig:
        for model in "abab":
            async with rig.session.post(f"{rig.url}{path}", json={"model": model, "prompt": "x"}) as answer:
                await answer.read()

    assert asked == ["a", "b", "b"]


async def test_without_a_limit_of_tokens_a_stream_is_left_alone() -> None:
    """
    Nothing is added to a request that nobody counts.
    """
    server = Server()
    async with upstream(server) as url, gateway(url, **policy("9/minute")) as rig:
        await ask(rig, stream=True)

    assert "stream_options" not in server.asked[0]


async def test_a_body_that_is_too_long_to_be_kept_is_taken_by_its_length() -> None:
    """
    Beyond what is kept a request goes on as it comes; its length stands for its text, and its answer says the truth.
    One that is longer than the limit takes all of that, as most of it may be a picture: so it waits, and can go.
    """
    server = Server(sent=50_000, received=70)
    long = {**ASKED, "messages": [{"role": "user", "content": "x" * 400_000}]}
    length = len(json.dumps(long))
    bounds = {"kept_body": 65_536}
    async with upstream(server) as url, gateway(url, bounds=bounds, **policy("150_000 tokens/minute")) as rig:
        async with rig.session.post(f"{rig.url}{CHAT}", json={**long, "max_tokens": 1000}) as answer:
            status = answer.status
            await answer.read()
        taken = await settled(rig)
        waits, body = await ask(rig, messages=[{"role": "user", "content": "x" * 700_000}])
        await until(lambda: not rig.state()["in_flight"])

    assert (status, taken) == (200, 50_070)
    assert tokens(length) > 100_000
    assert (waits, body["reason"]) == (429, "wait_too_long")


async def endless(request: web.BaseRequest) -> web.StreamResponse:
    """
    Begin a stream, and say no more.
    """
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    await response.write(b'data: {"model": "m", "choices": [{"delta": {"content": "hi"}}]}\n\n')
    await asyncio.sleep(30)  # real time: until its client is gone
    return response


async def test_a_long_body_of_unknown_length_is_taken_by_what_has_come() -> None:
    """
    Regression: it was taken for an empty one. Its first 64 KiB are there when it is asked for.
    """

    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"model": "m", "stream": true, "messages": [{"role": "user", "content": "'
        for _ in range(20):
            yield b"x" * 10_000
        yield b'"}]}'

    async with upstream(endless) as url, gateway(url, **policy("100000 tokens/minute")) as rig:
        answer = await rig.session.post(f"{rig.url}{CHAT}", data=pieces())
        await answer.content.readany()
        answer.close()
        taken = await settled(rig)

    assert taken >= tokens(65_536) + 1_500


async def test_a_client_that_leaves_in_mid_stream_leaves_what_was_expected() -> None:
    """
    Its provider may count all that it had asked for.
    """
    async with upstream(endless) as url, gateway(url, **policy()) as rig:
        answer = await rig.session.post(f"{rig.url}{CHAT}", json={**ASKED, "stream": True})
        await answer.content.readany()
        answer.close()
        taken = await settled(rig)

    assert taken == 2000


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"match": {"model": "m"}, "limits": ["1/day"]}, (413, "never_fits")),
        ({"match": {"model": "*", "endpoint": "chat/completions"}, "max_concurrency": 9}, (413, "never_fits")),
        ({"match": {"model": "m"}, "budget": {"day": 1}}, (402, "budget")),
        # Neither bounds what is asked of a model here.
        ({"match": {"model": "m", "user": "u"}, "limits": ["1/day"]}, (200, None)),
        ({"match": {"model": "m"}, "priority": "low"}, (200, None)),
        ({"match": {"model": "m"}, "budget": {"unbounded": True}}, (200, None)),
    ],
)
async def test_a_body_that_hides_its_model_gets_by_no_rule(
    rule: dict[str, Any], expected: tuple[int, str | None]
) -> None:
    """
    Regression: packed, a request of a model fell under no rule for that model, neither its limits nor its budget.
    """
    packed = gzip.compress(json.dumps(ASKED).encode())
    async with (
        upstream(answered) as url,
        gateway(url, **policy("99/second", rules=[rule])) as rig,
    ):
        headers = {"content-encoding": "gzip", "content-type": "application/json"}
        async with rig.session.post(f"{rig.url}{CHAT}", data=packed, headers=headers) as answer:
            found = answer.status, json.loads(await answer.text()).get("reason")
        async with rig.session.post(f"{rig.url}/t/v1/files", data=packed, headers=headers) as answer:
            other = answer.status

    assert (found, other) == (expected, 200)


async def test_padding_gets_by_no_rule_of_a_model() -> None:
    """
    Regression: blanks up to 70 KB hid the model from its rule.
    """
    server = Server()
    rules = [{"match": {"model": "m"}, "limits": ["1/day"]}]
    async with upstream(server) as url, gateway(url, **policy("99/second", rules=rules)) as rig:
        found = [(await ask(rig, stop=" " * 70_000))[0] for _ in range(2)]

    assert (found, len(server.asked)) == ([200, 429], 1)


FORM = (
    b'--b\r\nContent-Disposition: form-data; name="model"\r\nContent-Type: text/plain\r\n\r\n%s\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nsound\r\n%s--b--\r\n'
)
TWICE = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nother\r\n'


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        # Another model, and the rule's: once a day.
        ("/v1/audio/transcriptions", FORM % (b"other", b""), [200, 200]),
        ("/v1/audio/transcriptions", FORM % (b"m", b""), [200, 429]),
        # Nobody knows which of them counts.
        ("/v1/images/edits", FORM % (b"m", TWICE), [413, 413]),
        ("/v1/images/edits", b"--b--", [413, 413]),
        ("/v1/videos/v1/remix", b"{}", [413, 413]),
        # A thread's message asks no model.
        ("/v1/threads/t1/messages", b"{}", [200, 200]),
    ],
)
async def test_a_form_tells_its_model_too(path: str, body: bytes, expected: list[int]) -> None:
    """
    As SDKs send sounds and pictures: a rule for one model refused those that ask another.
    """
    rule = {"match": {"model": "m"}, "limits": ["1/day"]}
    found = []
    async with upstream(answered) as url, gateway(url, **policy("99/second", rules=[rule])) as rig:
        headers = {"content-type": "multipart/form-data; boundary=b"}
        for _ in expected:
            async with rig.session.post(f"{rig.url}/t{path}", data=body, headers=headers) as answer:
                found.append(answer.status)

    assert found == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [("?model=other", "other"), ("?v=1&model=m", "m"), ("?model=m&model=other", ""), ("", "")],
)
def test_a_websocket_tells_its_model_in_its_url(path: str, expected: str) -> None:
    """
    Where it says one.
    """

    class Socket:
        def asked(self) -> tuple[str, str, None]:
            return "UPGRADE", f"https://api.openai.com/v1/realtime{path}", None

    assert _model_beside(Socket()) == expected


async def answered(request: web.BaseRequest) -> web.Response:
    """
    Answer whatever is asked.
    """
    await request.read()
    return web.json_response({})
