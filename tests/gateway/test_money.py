"""
Budgets at the gateway, for clients that know nothing of them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession, TCPConnector, web
from yarl import URL

from egressor.gateway.targets import origins
from egressor.ledger.money import Away
from egressor.policies import from_services
from egressor.policies.loader import from_table
from tests.gateway.rig import Rig, gateway_of, until, upstream

pytestmark = pytest.mark.anyio

ASKED = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "hello"}]}
USED = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
PRICES = {"models": [{"model": "m", "usd_per_mtok": {"input": 1, "output": 2}}]}


class Server:
    """
    An upstream that writes down what each call has cost.
    """

    def __init__(self) -> None:
        self.costs: list[int] = []
        self.asked: list[Any] = []
        self.is_hanging = False
        self.says = "hi"
        self.is_chunked = False
        # How many pieces of its streams come before it hangs.
        self.pieces = 1

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """
        Answer, whole or as a stream.
        """
        asked = await request.json()
        self.asked.append(asked)
        self.costs.append(20)
        body = {"model": "m", "choices": [{"message": {"content": self.says}}], "usage": USED}
        if not asked.get("stream"):
            answer = web.json_response(body)
            if self.is_chunked:
                answer.enable_chunked_encoding()
            return answer
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(self.pieces):
            await response.write(b'data: {"model": "m", "choices": [{"delta": {"content": "hi"}}]}\n\n')
        if self.is_hanging:
            await asyncio.sleep(30)  # real time: until its client is gone
        if asked.get("stream_options", {}).get("include_usage"):
            await response.write(b'data: {"choices": [], "usage": ' + json.dumps(USED).encode() + b"}\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response


def services(url: str, budget: float) -> dict[str, Any]:
    """
    One service with a budget in all.
    """
    return {"t": {"base_url": url, "dialect": "openai", "budget": {"total": budget}, "retry": {"attempts": 1}}}


def priced(rig: Rig) -> None:
    """
    Give the gateway's governor prices of its own.
    """
    money = rig.gov.context.money
    assert money is not None
    money.prices = from_table({"prices": PRICES}).prices


async def ask(rig: Rig, **more: Any) -> tuple[int, Any]:
    """
    Ask for an answer, and read it whole.
    """
    async with rig.session.post(f"{rig.url}/t/v1/chat/completions", json={**ASKED, **more}) as answer:
        text = await answer.text()
        return answer.status, json.loads(text) if text.startswith("{") else text


def cell(rig: Rig) -> tuple[int, int, int]:
    """
    What is spent, held and unknown.
    """
    money = rig.gov.context.money
    assert money is not None
    found = money.till.read(lambda page: page.budgets())[0].cell
    return found.spent, found.held, found.unknown


async def test_answers_and_streams_are_charged_at_what_they_say() -> None:
    """
    Ten tokens sent and five received, each time.
    """
    server = Server()
    async with upstream(server) as url, gateway_of(services(url, 1)) as rig:
        priced(rig)
        statuses = [(await ask(rig))[0], (await ask(rig, stream=True))[0]]
        await until(lambda: cell(rig) == (40, 0, 0))

    assert statuses == [200, 200]


async def test_no_spelling_of_a_path_gets_by_a_budget_or_a_limit() -> None:
    """
    Regression: with an escaped letter a speech was priced as a short answer, and an endpoint's limit not asked.
    """
    server = Server()
    speech = {"model": "m", "input": "x", "max_output_tokens": 1}
    async with upstream(server) as url:
        tables = services(url, 1)
        tables["t"] |= {"max_wait": 0, "rules": [{"match": {"endpoint": "chat/completions"}, "limits": ["1/hour"]}]}
        async with gateway_of(tables) as rig:
            priced(rig)
            paths = ["audio/speech", "aud%69o/speech", "AUDIO/speech", "aud%2569o/speech"]
            sounds = [await posted(rig, path, speech) for path in paths]
            paths = ["chat/completions", "chat/complet%69ons", "chat//completions/", "Chat/completions"]
            chats = [await posted(rig, path, ASKED) for path in paths]

    assert sounds == [402, 402, 402, 400]
    assert chats == [200, 429, 429, 429]
    assert len(server.asked) == 1


@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunks"])
async def test_a_long_request_is_priced(is_chunked: bool) -> None:
    """
    Regression: above 64 KiB, as with most pictures, each was refused; now it is read and held for.
    """
    server = Server()
    data = json.dumps({**ASKED, "messages": [{"role": "user", "content": "x" * 900_000}]}).encode()
    async with upstream(server) as url, gateway_of(services(url, 10)) as rig:
        priced(rig)
        found = await sent(rig, data, is_chunked=is_chunked)
        await until(lambda: cell(rig) == (20, 0, 0))
        taken = rig.gateway._shelf.taken

    assert found == (200, "")
    assert [len(each["messages"][0]["content"]) for each in server.asked] == [900_000]
    assert taken == 0


@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunks"])
async def test_a_request_that_is_too_long_to_be_priced_says_so(is_chunked: bool) -> None:
    """
    The refusal names the limit, and its bytes hold no room.
    """
    data = json.dumps({**ASKED, "messages": [{"role": "user", "content": "x" * 300_000}]}).encode()
    async with gateway_of(services("http://127.0.0.1:9", 10), bounds={"kept_body": 200_000}) as rig:
        priced(rig)
        status, detail = await sent(rig, data, is_chunked=is_chunked)
        taken = rig.gateway._shelf.taken

    assert (status, taken) == (402, 0)
    assert "its body is longer than the 200000 bytes up to which it is read (kept_body)" in detail


async def test_all_bodies_together_have_a_bound() -> None:
    """
    One more than there is room for gets 503, and what was taken for it is given back; so is that of one that was sent.
    One for which there never would be room is not read.
    """
    server = Server()
    short, long = (
        json.dumps({**ASKED, "messages": [{"role": "user", "content": "x" * count}]}).encode()
        for count in (150_000, 250_000)
    )
    async with upstream(server) as url, gateway_of(services(url, 10), bounds={"kept_bodies": 100_000}) as rig:
        priced(rig)
        shelf = rig.gateway._shelf
        found = [(await sent(rig, data))[0] for data in (short, short)]
        status, detail = await sent(rig, long)
        shelf.taken += 20_000
        found.append((await sent(rig, short))[0])
        shelf.taken -= 20_000
        found.append((await sent(rig, short))[0])

    assert (found, shelf.taken) == ([200, 200, 503, 200], 0)
    assert (status, "longer than the 165536 bytes up to which it is read (there is no room" in detail) == (402, True)


@pytest.mark.parametrize("values", [b"[" + b"[]," * 100_001 + b"0]", b"[" + b"0," * 1_000_001 + b"0]"])
async def test_a_body_that_is_all_brackets_is_not_read(values: bytes) -> None:
    """
    It would take seconds of the event loop, and twenty times its size.
    """
    data = json.dumps(ASKED).encode()[:-1] + b', "x": ' + values + b"}"
    async with gateway_of(services("http://127.0.0.1:9", 10)) as rig:
        priced(rig)
        status, detail = await sent(rig, data)

    assert (status, "its body holds more than 1,000,000 values, or 100,000 lists" in detail) == (402, True)


async def test_a_body_that_is_all_brackets_goes_by_where_nobody_pays() -> None:
    """
    Whole, as it came.
    """
    server = Server()
    data = json.dumps(ASKED).encode()[:-1] + b', "x": [' + b"[]," * 100_001 + b"0]}"
    table = {"t": {"base_url": "", "dialect": "openai", "limits": ["1000000000 tokens/minute"]}}
    async with upstream(server) as url:
        table["t"]["base_url"] = f"{url}/v1"
        async with gateway_of(table) as rig:
            status, _ = await sent(rig, data)

    assert (status, [len(each["x"]) for each in server.asked]) == (200, [100_002])


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ({"budget": {"day": 1}}, True),
        ({"rules": [{"match": {"model": "m"}, "limits": ["1/day"]}]}, True),
        ({"limits": ["1000 tokens/minute"]}, True),
        ({"cache": {}, "dialect": "generic"}, True),
        ({"cache": {}, "dialect": "github"}, False),
        ({"budget": {"day": 1}, "dialect": "generic"}, False),
        ({"rules": [{"match": {"user": "*"}, "limits": ["1/day"]}]}, False),
    ],
)
def test_only_what_needs_it_is_read(service: dict[str, Any], expected: bool) -> None:
    """
    Any other long body goes by piece by piece.
    """
    table = {"base_url": "http://127.0.0.1:9", "dialect": "openai", **service}

    assert origins(from_services({"t": table}))["t"].reads is expected


async def sent(rig: Rig, data: bytes, *, is_chunked: bool = False) -> tuple[int, str]:
    """
    Post *data* as a chat, with its length or in chunks; return the status, and what a problem says.
    """

    async def pieces() -> AsyncIterator[bytes]:
        yield data[:100_000]
        yield data[100_000:]

    url, headers = f"{rig.url}/t/v1/chat/completions", {"content-type": "application/json"}
    async with rig.session.post(url, data=pieces() if is_chunked else BytesIO(data), headers=headers) as answer:
        return answer.status, json.loads(await answer.text()).get("detail", "")


async def posted(rig: Rig, path: str, body: dict[str, Any]) -> int:
    """
    Post *body* to exactly *path*; return the status.
    """
    url = URL(f"{rig.url}/t/v1/{path}", encoded=True)
    async with rig.session.post(url, json=body) as answer:
        await answer.read()
        return answer.status


@pytest.mark.parametrize("cache", [{}, {"max_bytes": 100_000}], ids=["kept", "too long"])
async def test_a_long_answer_is_charged_at_what_it_says(cache: dict[str, Any]) -> None:
    """
    Regression: one that was begun to be read for the cache, and proved too long for it, was unknown.
    """
    server = Server()
    server.says, server.is_chunked = "x" * 200_000, True
    async with upstream(server) as url:
        tables = services(url, 1)
        tables["t"]["cache"] = cache
        async with gateway_of(tables) as rig:
            priced(rig)
            status, body = await ask(rig, temperature=0)
            await until(lambda: cell(rig)[1] == 0)
            found = cell(rig)

    assert (status, len(body["choices"][0]["message"]["content"])) == (200, 200_000)
    assert found == (20, 0, 0)


async def test_usage_is_asked_for_and_hidden_from_who_did_not_ask() -> None:
    """
    A stream says what it used only to whoever asks: the gateway does, and its client gets the stream that it wanted.
    """
    server = Server()
    async with upstream(server) as url, gateway_of(services(url, 1)) as rig:
        priced(rig)
        _, plain = await ask(rig, stream=True)
        _, told = await ask(rig, stream=True, stream_options={"include_usage": True})
        await until(lambda: cell(rig) == (40, 0, 0))

    assert [each["stream_options"] for each in server.asked] == [{"include_usage": True}] * 2
    assert ("usage" in plain, "usage" in told) == (False, True)
    assert plain == 'data: {"model": "m", "choices": [{"delta": {"content": "hi"}}]}\n\ndata: [DONE]\n\n'


async def test_usage_is_hidden_in_what_is_kept_too() -> None:
    """
    Regression: with a cache nothing was asked, and each stream was charged as unknown. Each client, and whoever asks
    the same later, gets the stream that it wanted; an answer from the cache costs nothing.
    """
    server = Server()
    async with upstream(server) as url:
        tables = services(url, 1)
        tables["t"]["cache"] = {}
        async with gateway_of(tables) as rig:
            priced(rig)
            wants = {"stream": True, "temperature": 0}
            plain = [await ask(rig, **wants) for _ in range(2)]
            told = [await ask(rig, **wants, stream_options={"include_usage": True}) for _ in range(2)]
            await until(lambda: cell(rig) == (40, 0, 0))

    assert [each["stream_options"] for each in server.asked] == [{"include_usage": True}] * 2
    assert plain == [(200, 'data: {"model": "m", "choices": [{"delta": {"content": "hi"}}]}\n\ndata: [DONE]\n\n')] * 2
    assert told[0] == told[1]
    assert "usage" in told[0][1]


async def test_without_a_budget_a_stream_is_left_alone() -> None:
    """
    Nothing is added to a request that nobody counts.
    """
    server = Server()
    async with upstream(server) as url, gateway_of({"t": {"base_url": url, "dialect": "openai"}}) as rig:
        await ask(rig, stream=True)

    assert "stream_options" not in server.asked[0]


async def test_of_fifty_requests_at_once_as_many_are_served_as_are_paid_for() -> None:
    """
    The others get 402, in the shape that their SDK reads; the list of the server is within the budget.
    """
    server = Server()
    async with upstream(server) as url, gateway_of(services(url, 0.0004)) as rig:
        priced(rig)
        answers = await asyncio.gather(*(ask(rig) for _ in range(50)))
        await until(lambda: cell(rig)[1] == 0)
        spent = cell(rig)[0]
    refused = [body for status, body in answers if status == 402]

    assert sum(server.costs) == spent <= 400
    assert len(server.costs) + len(refused) == 50
    assert len(refused) > 0
    assert {body["reason"] for body in refused} == {"budget"}
    assert all("the budget t/total@UTC of 0.000400 USD" in body["error"]["message"] for body in refused)


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("chat/completions", b'{"model":', 400, "t: the body is no JSON, so nobody knows what the request may cost"),
        ("chat/completions", b"[]", 402, "can't be read as a request to a language model"),
        ("chat/completions", b'{"model": "who", "messages": []}', 402, "the model who has no price"),
        ("files", b"no JSON", 402, "its path is not known as that of a request to a language model"),
    ],
)
async def test_what_nobody_can_price_is_said_so_that_its_client_can_mend_it(
    path: str, body: bytes, status: int, words: str
) -> None:
    """
    Regression: broken JSON was told of a spent budget; and an HTTP client was told to state a cost, which it can't.
    """
    async with gateway_of(services("http://127.0.0.1:9", 1)) as rig:
        priced(rig)
        async with rig.session.post(f"{rig.url}/t/{path}", data=body) as answer:
            document = await answer.json()

    assert (answer.status, document["reason"]) == (status, "bad_body" if status == 400 else "budget")
    assert document["detail"].endswith(words)
    assert document["error"]["message"] == document["detail"]


async def test_a_client_that_leaves_in_mid_stream_is_charged_as_unknown() -> None:
    """
    As long as no answer of the model has said what it used, its provider may bill all that was asked for; the next call
    finds no phantom hold.
    """
    server = Server()
    server.is_hanging = True
    async with upstream(server) as url, gateway_of(services(url, 1)) as rig:
        priced(rig)
        answer = await rig.session.post(f"{rig.url}/t/v1/chat/completions", json={**ASKED, "stream": True})
        await answer.content.readany()
        during = cell(rig)
        answer.close()
        await until(lambda: cell(rig)[1] == 0)
        after = cell(rig)

    assert during[0] == 0
    assert after == (during[1], 0, during[1])


async def leave(rig: Rig, pieces: int) -> None:
    """
    Ask for a stream, and leave it behind so many pieces, or behind its head.
    """
    answer = await rig.session.post(f"{rig.url}/t/v1/chat/completions", json={**ASKED, "stream": True})
    text = b""
    while text.count(b"data:") < pieces:
        text += await answer.content.readany()
    answer.close()


async def test_a_stream_that_is_left_is_charged_at_what_was_seen() -> None:
    """
    Behind each of its pieces in turn: what was sent, and a token for each piece, as the answer before had; with no more
    above it than what may be on its way. Of one that had said nothing nobody knows, and all that was held is charged.
    """
    server = Server()
    server.pieces = 5
    charged = []
    async with upstream(server) as url, gateway_of(services(url, 1)) as rig:
        priced(rig)
        await ask(rig, stream=True)
        await until(lambda: cell(rig) == (20, 0, 0))
        server.is_hanging = True
        for pieces in range(12):
            server.pieces = pieces
            before = cell(rig)[0]
            await leave(rig, pieces)
            await until(lambda: cell(rig)[1] == 0)
            spent, _, unknown = cell(rig)
            assert unknown == spent - 20
            charged.append(spent - before)

    body = json.dumps({**ASKED, "stream": True})
    assert charged[0] == len(body) + 200
    assert all(10 + 2 * pieces <= charged[pieces] <= 10 + 2 * (pieces + 17) for pieces in range(1, 12))


@pytest.mark.timeout(120)
async def test_after_five_hundred_that_left_there_is_money_for_one_that_fits() -> None:
    """
    While they are under way they hold all that there is; what they held comes back at once, but for what was seen.
    """
    server, many = Server(), 500
    server.pieces = 5
    held = len(json.dumps({**ASKED, "stream": True})) + 200
    tables = services("", (20 + many * held) / 1e6)
    async with upstream(server) as url:
        tables["t"]["base_url"] = url
        async with gateway_of(tables) as rig, ClientSession(connector=TCPConnector(limit=0)) as session:
            priced(rig)
            await ask(rig, stream=True)
            await until(lambda: cell(rig) == (20, 0, 0))
            server.is_hanging = True
            path = f"{rig.url}/t/v1/chat/completions"
            answers = await asyncio.gather(*(session.post(path, json={**ASKED, "stream": True}) for _ in range(many)))
            during, refused = cell(rig), (await ask(rig))[0]
            for answer in answers:
                await answer.content.readany()
                answer.close()
            await until(lambda: cell(rig)[1] == 0)
            left, served = cell(rig), (await ask(rig))[0]

    assert {answer.status for answer in answers} == {200}
    assert (during, refused) == ((20, many * held, 0), 402)
    assert many * 20 <= left[2] <= many * (20 + 34)
    assert served == 200


async def told(rig: Rig, path: str = "/t/v1/chat/completions", **more: Any) -> tuple[int, str | None, str | None]:
    """
    Ask for an answer, read it whole, and return what its head says of money.
    """
    async with rig.session.post(rig.url + path, json={**ASKED, **more}) as answer:
        await answer.read()
        return answer.status, answer.headers.get("Egressor-Cost-Usd"), answer.headers.get("Egressor-Budget")


@pytest.mark.parametrize("is_chunked", [False, True], ids=["of stated length", "chunked"])
async def test_an_answer_says_what_it_has_cost(is_chunked: bool) -> None:
    """
    Where that is known before its head goes out: of a document, and not of a stream.
    """
    server = Server()
    server.is_chunked = is_chunked
    async with upstream(server) as url, gateway_of(services(url, 1)) as rig:
        priced(rig)
        whole, stream = await told(rig), await told(rig, stream=True)

    assert (whole, stream) == ((200, "0.000020", None), (200, None, None))


async def test_a_packed_answer_says_what_it_has_cost() -> None:
    """
    A provider packs and chunks its answers where the client takes that.
    """

    async def server(request: web.BaseRequest) -> web.StreamResponse:
        answer = web.json_response({"model": "m", "usage": USED})
        answer.enable_compression(web.ContentCoding.gzip)
        answer.enable_chunked_encoding()
        return answer

    async with upstream(server) as url, gateway_of(services(url, 1)) as rig:
        priced(rig)

        assert await told(rig) == (200, "0.000020", None)


@pytest.mark.parametrize("first", [b"[", b"\n", b'{"model": "m"', b""], ids=["array", "blank", "object", "nothing"])
async def test_no_answer_is_held_back_for_its_cost(first: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Its head and its beginning are at the client before the server goes on, and it is charged at what it says; for what
    is no document the gateway doesn't wait at all.
    """
    if first in {b"[", b"\n"}:
        monkeypatch.setattr("egressor.gateway.answers._MOMENT", 60)
    went_on = asyncio.Event()
    rest = {b"[": b"{%s}]", b"\n": b"{%s}", b"": b"{%s}"}.get(first, b", %s}")

    async def server(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/json"})
        await response.prepare(request)
        await response.write(first)
        await went_on.wait()
        await response.write(rest % b'"usage": {"prompt_tokens": 10, "completion_tokens": 5}')
        return response

    async with upstream(server) as url, gateway_of(services(url, 1)) as rig:
        priced(rig)
        async with (
            asyncio.timeout(20),
            rig.session.post(f"{rig.url}/t/v1/chat/completions", json=ASKED) as answer,
        ):
            begun = await answer.content.readany() if first else b""
            went_on.set()
            whole = begun + await answer.read()
        await until(lambda: cell(rig)[1] == 0)

    assert begun == first
    assert "Egressor-Cost-Usd" not in answer.headers
    assert whole == first + rest % b'"usage": {"prompt_tokens": 10, "completion_tokens": 5}'


async def test_a_document_that_breaks_says_no_cost() -> None:
    """
    While its head waits: the client hears that it broke, and it is charged as unknown.
    """

    async def server(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/json"})
        await response.prepare(request)
        await response.write(b'{"usage": {"prompt_tokens": 1')
        assert request.transport is not None
        request.transport.abort()
        return response

    async with upstream(server) as url, gateway_of(services(url, 1)) as rig:
        priced(rig)
        with pytest.raises(ClientError):
            await told(rig)
        await until(lambda: cell(rig)[1] == 0)
        spent, _, unknown = cell(rig)

    assert spent == unknown > 0


async def test_what_costs_nothing_says_so() -> None:
    """
    A refusal of ours, one of the service's that it doesn't bill, what only counts, and an answer from the cache.
    """

    async def server(request: web.BaseRequest) -> web.StreamResponse:
        if "wrong" in request.path:
            return web.json_response({"error": {"message": "no"}}, status=400)
        return web.json_response({"model": "m", "usage": USED})

    async with upstream(server) as url:
        tables = services(url, 0.001)
        tables["t"]["cache"] = {}
        async with gateway_of(tables) as rig:
            priced(rig)
            first = await told(rig, temperature=0)
            found = [
                await told(rig, temperature=0),
                await told(rig, "/t/v1/wrong/chat/completions"),
                await told(rig, "/t/v1/messages/count_tokens"),
                await told(rig, max_tokens=10_000),
            ]

    assert first == (200, "0.000020", None)
    assert found == [(200, "0", None), (400, "0", None), (200, "0", None), (402, "0", None)]


async def test_a_retry_after_what_may_have_cost_something_says_no_cost() -> None:
    """
    The answer's own price would be less than what is charged for both attempts.
    """
    answers = [web.json_response({"model": "m", "usage": USED}), web.json_response({}, status=500)]

    async def server(request: web.BaseRequest) -> web.StreamResponse:
        return answers.pop()

    async with upstream(server) as url:
        tables = services(url, 1)
        tables["t"]["retry"] = {"attempts": 2, "base": 0.01, "cap": 0.02, "budget": False}
        async with gateway_of(tables) as rig:
            priced(rig)
            headers = {"Idempotency-Key": "k"}
            async with rig.session.post(f"{rig.url}/t/v1/chat/completions", json=ASKED, headers=headers) as answer:
                await answer.read()

    assert (answer.status, answer.headers["Egressor-Attempts"]) == (200, "2")
    assert "Egressor-Cost-Usd" not in answer.headers


async def test_an_answer_says_that_a_soft_share_is_reached() -> None:
    """
    With the call that reaches it and with each one after it, streams too, until the period ends.
    """
    server = Server()
    async with upstream(server) as url:
        tables = services(url, 1)
        tables["t"]["budget"]["soft"] = 0.0003
        async with gateway_of(tables) as rig:
            priced(rig)
            found = [await told(rig, max_tokens=1), await told(rig), await told(rig, stream=True)]

    assert [budget for _, _, budget in found] == [None, "soft", "soft"]


async def test_without_a_bound_every_answer_is_added_up() -> None:
    """
    Of a request that doesn't say how long its answer may be, too, and of a stream; nothing is refused.
    """
    server = Server()
    asked = {**ASKED}
    del asked["max_tokens"]
    async with upstream(server) as url:
        tables = services(url, 1)
        tables["t"]["budget"] = {"unbounded": True}
        async with gateway_of(tables) as rig:
            priced(rig)
            found = []
            for more in ({}, {"stream": True}):
                async with rig.session.post(f"{rig.url}/t/v1/chat/completions", json={**asked, **more}) as answer:
                    await answer.read()
                    found.append((answer.status, answer.headers.get("Egressor-Cost-Usd")))
            await until(lambda: rig.gov.costs()["total"]["calls"] == 2)
            costs = rig.gov.costs()

    assert found == [(200, "0.000020"), (200, None)]
    assert costs["total"] == {"calls": 2, "usd": "0.000040", "unknown_usd": "0.000000"}
    assert list(costs["by_model"]) == ["m"]


async def test_what_could_not_be_added_up_has_no_known_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    While the ledger is away a call that nothing bounds goes on; that it has cost nothing is not said.
    """
    server = Server()
    async with upstream(server) as url:
        tables = services(url, 1)
        tables["t"]["budget"] = {"unbounded": True}
        async with gateway_of(tables) as rig:
            priced(rig)
            money = rig.gov.context.money
            assert money is not None
            monkeypatch.setattr(money.till, "ahold", away)

            assert await told(rig) == (200, None, None)


async def away(_: object) -> Away:
    """
    Answer nobody.
    """
    return Away("it is away")
