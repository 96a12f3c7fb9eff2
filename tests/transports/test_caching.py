"""
Answers that are kept, and identical calls that share one, by each client.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event, Semaphore, Thread
from typing import TYPE_CHECKING, Any, ClassVar

import httpx
import httpx2
import openai
import pytest
import requests
from aiohttp import ClientSession
from requests.adapters import HTTPAdapter

from egressor import Governor, Rejected
from egressor._drivers.clock import Clock
from egressor.testing import FakeClock
from egressor.transports.aiohttp import middleware
from egressor.transports.httpx import AsyncTransport, Transport
from egressor.transports.requests import Adapter
from tests.transports.every import CLIENTS, EVERY, Ask
from tests.transports.sessions import awaiting, blocking, fetch, until
from tests.transports.upstream import Upstream, answer, as_json, hang, reset, stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.transports.conftest import Dial

LLM: dict[str, Any] = {"dialect": "openai", "retry": {"attempts": 1}, "timeout": 20.0}
CHAT = "/v1/chat/completions"
COLD: dict[str, Any] = {"model": "m", "temperature": 0, "messages": [{"role": "user", "content": "hi"}]}
SAID = {
    "id": "1",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "ho"}, "finish_reason": "stop"}],
}
CHUNKS = {"application/json": (b'{"n":', b"1}"), "text/event-stream": (b'data: {"n":1}\n\n', b"data: [DONE]\n\n")}
EVENTS = (b'data: {"n":1}\n\n', b'data: {"n":2}\n\n', b"data: [DONE]\n\n")


def keeping(clock: Clock | None = None, *, cache: dict[str, Any] | None = None, **policy: Any) -> Governor:
    """
    Return a governor of one service, ``api``, that keeps answers.
    """
    settled = {**LLM, "cache": {} if cache is None else cache, **policy}
    return Governor({"api": settled}, clock=clock or FakeClock())


def every(clients: dict[str, Ask]) -> Any:
    """
    Run a test with each of *clients*.
    """
    return pytest.mark.parametrize("ask", clients.values(), ids=clients)


@every(EVERY)
def test_a_second_time_nothing_is_sent(ask: Ask, upstream: Upstream) -> None:
    """
    A kept answer is the answer, and takes nothing of any limit.
    """
    url = upstream.script("/a", as_json({"n": 1}), as_json({"n": 2}))
    gov = keeping(limits=["1/minute"], max_wait=0)

    bodies = [json.loads(ask(gov, url)) for _ in range(3)]

    assert bodies == [{"n": 1}] * 3
    assert len(upstream.received) == 1
    assert gov.status()["api"]["admitted"] == 1


@every(EVERY)
def test_an_answer_has_its_time(ask: Ask, upstream: Upstream) -> None:
    """
    After its ttl an answer is asked for anew.
    """
    clock = FakeClock()
    url = upstream.script("/a", as_json({"n": 1}), as_json({"n": 2}))
    gov = keeping(clock, cache={"ttl": 60})

    ask(gov, url)
    clock.advance(59.9)
    before = json.loads(ask(gov, url))
    clock.advance(0.1)

    assert (before, json.loads(ask(gov, url))) == ({"n": 1}, {"n": 2})


@every(EVERY)
@pytest.mark.parametrize(
    "other",
    [
        {"Authorization": "Bearer b"},
        {"X-Api-Key": "b"},
        {"Api-Key": "b"},
        {"Cookie": "session=b"},
        {"X-Mbx-Apikey": "b"},
        {"OpenAI-Organization": "b"},
        {"Authorization": "Bearer a", "Host": "b.example"},
        {},
    ],
    ids=str,
)
def test_nobody_gets_an_answer_to_somebody_else(ask: Ask, other: dict[str, str], upstream: Upstream) -> None:
    """
    I07: the same request with another credential, vendor header, cookie or virtual host is another one.
    """
    url = upstream.script("/a", as_json({"for": "a"}), as_json({"for": "b"}))
    gov = keeping()

    first = ask(gov, url, headers={"Authorization": "Bearer a"})
    second = ask(gov, url, headers=other)

    assert [json.loads(each)["for"] for each in (first, second)] == ["a", "b"]
    assert json.loads(ask(gov, url, headers={"Authorization": "Bearer a"})) == {"for": "a"}


@pytest.mark.parametrize("client", ["httpx2", "httpx", "httpx2-async", "httpx-async"])
def test_a_request_for_another_target_than_its_url_s_shares_nothing(client: str, upstream: Upstream) -> None:
    """
    Regression: httpx's extension `target` asks for another path, and the first one's answer was everybody's.
    """
    url = upstream.script("/a", as_json({"n": 0}))
    for number in (1, 2):
        upstream.script(f"/{number}", as_json({"n": number}))

    async def ask_awaiting(gov: Governor, library: Any) -> list[Any]:
        async with library.AsyncClient(transport=AsyncTransport(gov, "api")) as session:
            return [(await session.get(url, extensions=each)).json()["n"] for each in said]

    def ask_blocking(gov: Governor, library: Any) -> list[Any]:
        with library.Client(transport=Transport(gov, "api")) as session:
            return [session.get(url, extensions=each).json()["n"] for each in said]

    said: list[dict[str, Any]] = [{}, {"target": b"/1"}, {"target": b"/2"}, {}]
    library = httpx2 if client.startswith("httpx2") else httpx
    gov = keeping()
    found = asyncio.run(ask_awaiting(gov, library)) if client.endswith("async") else ask_blocking(gov, library)

    assert found == [0, 1, 2, 0]
    assert len(upstream.received) == 3


@every(EVERY)
@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_an_error_is_never_kept(ask: Ask, status: int, upstream: Upstream) -> None:
    """
    What failed is asked again, whosever fault it was.
    """
    url = upstream.script("/a", as_json({"error": "no"}, status), as_json({"n": 2}))
    gov = keeping(FakeClock(), breaker={"enabled": False})

    ask(gov, url)

    assert json.loads(ask(gov, url)) == {"n": 2}


@every(EVERY)
@pytest.mark.parametrize(
    ("method", "headers", "options"),
    [
        ("GET", {"cache-control": "no-store"}, {}),
        ("GET", {"cache-control": "no-cache"}, {}),
        ("GET", {"cache-control": "private"}, {}),
        ("GET", {"set-cookie": "a=b"}, {}),
        ("GET", {"vary": "*"}, {}),
        ("GET", {}, {"headers": {"Cache-Control": "no-store"}}),
        ("GET", {}, {"headers": {"Cache-Control": "no-cache"}}),
        ("GET", {}, {"headers": {"Range": "bytes=0-1"}}),
        ("PUT", {}, {"json": COLD}),
        ("POST", {}, {"json": {**COLD, "temperature": 0.7}}),
        ("POST", {}, {"json": {**COLD, "temperature": None}}),
    ],
)
def test_what_may_not_be_kept_is_not(
    ask: Ask, method: str, headers: dict[str, str], options: dict[str, Any], upstream: Upstream
) -> None:
    """
    A server or a client that says no is obeyed, and what is drawn by chance is drawn each time.
    """
    url = upstream.script(CHAT, as_json(SAID, headers=headers))
    gov = keeping()

    for _ in range(2):
        ask(gov, url, method, **options)

    assert len(upstream.received) == 2


@every(EVERY)
def test_a_model_s_certain_answer_is_kept(ask: Ask, upstream: Upstream) -> None:
    """
    At temperature 0 a chat is answered from before, whatever its front says of caches and cookies.
    """
    url = upstream.script(CHAT, as_json(SAID, headers={"cache-control": "no-cache", "set-cookie": "__cf_bm=1"}))
    gov = keeping()

    bodies = [ask(gov, url, "POST", json=COLD) for _ in range(2)]

    assert bodies[0] == bodies[1]
    assert len(upstream.received) == 1


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v1/threads/thread_1/messages", {"role": "user", "content": "yes"}),
        ("/v1/responses", {"temperature": 0, "tools": [{"type": "mcp", "server_url": "https://m.example"}]}),
        ("/v1/responses", {"temperature": 0, "tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}),
    ],
    ids=str,
)
def test_an_action_is_sent_each_time(path: str, asked: dict[str, Any], upstream: Upstream) -> None:
    """
    What a request makes its provider do is done as often as it is asked for.
    """
    url = upstream.script(path, as_json(SAID))
    gov = keeping(cache={"any_temperature": True})

    for _ in range(3):
        CLIENTS["httpx2"](gov, url, "POST", json=asked)

    assert len(upstream.received) == 3


def test_what_computes_is_known_behind_any_base_url(upstream: Upstream) -> None:
    """
    A base URL may end with a name that no API has; a reload may give another one.
    """
    url = upstream.script("/team-a/chat/completions", as_json(SAID))
    base = url.removesuffix("/chat/completions")
    gov = keeping(base_url=base)
    ask = CLIENTS["httpx2"]

    for _ in range(2):
        ask(gov, url, "POST", json=COLD)
    kept = len(upstream.received)
    gov.reload({"api": {**LLM, "cache": {}, "base_url": base.removesuffix("-a")}})
    ask(gov, url, "POST", json=COLD)

    assert (kept, len(upstream.received)) == (1, 2)


@every(EVERY)
def test_a_packed_answer_is_given_again_as_it_came(ask: Ask, upstream: Upstream) -> None:
    """
    What was packed on the wire is unpacked by whoever gets it, from the cache as well.
    """
    packed = gzip.compress(b'{"n":1}')
    url = upstream.script("/a", answer(200, packed, {"content-encoding": "gzip", "content-type": "application/json"}))
    gov = keeping()

    bodies = [ask(gov, url, headers={"Accept-Encoding": "gzip"}) for _ in range(2)]

    assert bodies == [b'{"n":1}'] * 2
    assert len(upstream.received) == 1


@every(EVERY)
@pytest.mark.parametrize("size", [100_000, 200_000, 1_000_000])
def test_a_long_answer_is_given_again(ask: Ask, size: int, upstream: Upstream) -> None:
    """
    Regression: aiohttp's stream asked for its connection to pause, where there was none, and the call failed.
    """
    url = upstream.script("/a", as_json({"n": "x" * size}))
    gov = keeping()

    bodies = [ask(gov, url) for _ in range(2)]

    assert [json.loads(body) for body in bodies] == [{"n": "x" * size}] * 2
    assert len(upstream.received) == 1


@every(EVERY)
def test_a_stream_is_given_again_as_a_stream(ask: Ask, upstream: Upstream) -> None:
    """
    Events that were read to their end are kept, all of them.
    """
    url = upstream.script(CHAT, stream(*EVENTS))
    gov = keeping()

    bodies = [ask(gov, url, "POST", json={**COLD, "stream": True}) for _ in range(2)]

    assert bodies == [b"".join(EVENTS)] * 2
    assert len(upstream.received) == 1


@every(EVERY)
@pytest.mark.parametrize("kind", ["text/event-stream", "application/json"])
def test_an_answer_that_breaks_is_not_kept(ask: Ask, kind: str, upstream: Upstream) -> None:
    """
    Half of an answer is none.
    """
    url = upstream.script(CHAT, stream(*EVENTS, kind=kind, breaks=True), stream(*EVENTS, kind=kind))
    gov = keeping()

    with pytest.raises(Exception, match=r".*"):
        ask(gov, url, "POST", json=COLD)

    assert ask(gov, url, "POST", json=COLD) == b"".join(EVENTS)
    assert len(upstream.received) == 2


@every(EVERY)
@pytest.mark.parametrize("kind", ["text/event-stream", "application/json"])
def test_an_answer_that_is_too_long_goes_by(ask: Ask, kind: str, upstream: Upstream) -> None:
    """
    More than an eighth of the cache is given on, and not kept.
    """
    chunks = (b"x" * 1000,) * 100
    url = upstream.script("/a", stream(*chunks, kind=kind))
    gov = keeping(cache={"max_bytes": 80_000})

    bodies = [ask(gov, url) for _ in range(2)]

    assert bodies == [b"x" * 100_000] * 2
    assert len(upstream.received) == 2


@every(EVERY)
def test_a_head_without_a_body_is_kept(ask: Ask, upstream: Upstream) -> None:
    """
    An answer to HEAD is whole with its headers.
    """
    url = upstream.script("/a", answer(200, b"body"))
    gov = keeping()

    assert [ask(gov, url, "HEAD") for _ in range(2)] == [b"", b""]
    assert len(upstream.received) == 1


@every(CLIENTS)
def test_an_old_answer_is_better_than_none(ask: Ask, upstream: Upstream) -> None:
    """
    Where the service fails an answer serves for longer; where it refuses this caller, it doesn't.
    """
    clock = FakeClock()
    url = upstream.script("/a", as_json({"n": 1}), as_json({}, 503), reset, as_json({"no": 1}, 401), as_json({}, 503))
    gov = keeping(clock, cache={"ttl": 60, "stale_if_error": 60}, breaker={"enabled": False})

    ask(gov, url)
    clock.advance(60)
    bodies = [json.loads(ask(gov, url)) for _ in range(3)]
    clock.advance(60)
    gone = json.loads(ask(gov, url))

    assert bodies == [{"n": 1}, {"n": 1}, {"no": 1}]
    assert gone == {}
    assert len(upstream.received) == 5
    counted = gov.status()["api"]["cache"]
    assert {name: counted[name] for name in ("hits", "misses", "stale", "entries")} == {
        "hits": 0,
        "misses": 5,
        "stale": 2,
        "entries": 0,
    }


@every(CLIENTS)
def test_the_status_counts_what_was_served(ask: Ask, upstream: Upstream) -> None:
    """
    Hits and misses, what is kept, and None before there was any of it.
    """
    url = upstream.script("/a", as_json({"n": 1}))
    gov = keeping(FakeClock())
    before = gov.status()["api"]["cache"]

    for _ in range(3):
        ask(gov, url)
    counted = gov.status()["api"]["cache"]

    assert before is None
    assert 0 < counted.pop("bytes") < 2_000
    assert counted == {"hits": 2, "misses": 1, "stale": 0, "entries": 1}


def test_what_must_be_fresh_is_never_old(upstream: Upstream) -> None:
    """
    A server that forbids old answers is obeyed where it fails, too.
    """
    clock = FakeClock()
    headers = {"cache-control": "max-age=60, must-revalidate"}
    url = upstream.script("/a", as_json({"n": 1}, headers=headers), as_json({"no": 1}, 503))
    gov = keeping(clock, cache={"ttl": 60, "stale_if_error": 60}, breaker={"enabled": False})
    ask = CLIENTS["httpx2"]

    ask(gov, url)
    clock.advance(60)

    assert json.loads(ask(gov, url)) == {"no": 1}


def test_a_refusal_takes_an_old_answer(upstream: Upstream) -> None:
    """
    What the gate refuses is answered from before, if there is anything.
    """
    clock = FakeClock()
    url = upstream.script("/a", as_json({"n": 1}))
    gov = keeping(clock, cache={"ttl": 60, "stale_if_error": 60})
    ask = CLIENTS["httpx2"]

    ask(gov, url)
    clock.advance(60)
    gov.pause("api")

    assert json.loads(ask(gov, url)) == {"n": 1}
    clock.advance(60)
    with pytest.raises(Rejected):
        ask(gov, url)


def test_a_kept_response_says_so(dial: Dial, upstream: Upstream) -> None:
    """
    Its status, words and headers are those that came, with its age; a cookie, or what was left of a limit, is not.
    """
    clock = FakeClock()
    headers = {"x-ratelimit-remaining-requests": "3", "x-own": "yes"}
    url = upstream.script("/a", as_json({"n": 1}, headers=headers))
    client = dial(keeping(clock, cache={"ttl": 10, "stale_if_error": 60}), "api")

    fresh = client.get(url)
    clock.advance(7)
    hit = client.get(url)

    assert "egressor-cache" not in fresh.headers
    assert (hit.headers["egressor-cache"], hit.headers["age"], hit.headers["x-own"]) == ("hit", "7", "yes")
    assert "x-ratelimit-remaining-requests" not in hit.headers
    assert (hit.status_code, hit.reason_phrase) == (200, "OK")


PACKED: dict[str, Any] = {
    "content": gzip.compress(b'{"n": 1}'),
    "headers": {"content-encoding": "gzip", "content-type": "application/json"},
}


@pytest.mark.parametrize(
    ("method", "made"), [("GET", {"json": {"n": 1}}), ("GET", {"text": "one"}), ("GET", PACKED), ("HEAD", {})]
)
def test_an_answer_that_was_made_in_memory_is_kept(method: str, made: dict[str, Any], dial: Dial) -> None:
    """
    An answer that comes read, as those of a `MockTransport` do, was never kept.
    """
    gov = keeping()
    library = dial(gov, "api").library
    sent: list[Any] = []

    def say(request: Any) -> Any:
        sent.append(request)
        return library.Response(200, **made)

    client = dial(gov, "api", library.MockTransport(say))
    first, *others = [client.request(method, "http://x.example/a").content for _ in range(3)]

    assert (others, len(sent)) == ([first] * 2, 1)
    assert gov.status()["api"]["in_flight"] == 0


def test_an_error_that_was_made_in_memory_is_not_kept(dial: Dial) -> None:
    """
    An error inside of a good answer that comes read is none to keep.
    """
    gov = keeping(dialect="kraken")
    library = dial(gov, "api").library
    replies = [library.Response(200, json=each) for each in ({"error": ["EGeneral:Internal error"]}, {"result": 1})]
    client = dial(gov, "api", library.MockTransport(lambda request: replies.pop(0)))

    client.get("http://x.example/a")

    assert [client.get("http://x.example/a").json() for _ in range(2)] == [{"result": 1}] * 2


class Signing(httpx2.HTTPTransport):
    """
    A transport that signs in as somebody.
    """

    def __init__(self, who: str) -> None:
        super().__init__()
        self.who = who

    def handle_request(self, request: Any) -> Any:
        """
        Sign in.
        """
        request.headers["Authorization"] = self.who
        return super().handle_request(request)


class Wrapping(httpx2.BaseTransport):
    """
    One that signs in, and hands on to another.
    """

    def __init__(self, who: str) -> None:
        self.who = who
        self.next = httpx2.HTTPTransport()

    def handle_request(self, request: Any) -> Any:
        """
        Sign in.
        """
        headers = {**request.headers, "Authorization": self.who}
        return self.next.handle_request(httpx2.Request(request.method, request.url, headers=headers))

    def close(self) -> None:
        """
        Close the other.
        """
        self.next.close()


class Pool(httpx2.BaseTransport):
    """
    One that keeps the others where nobody looks for them.
    """

    pool: ClassVar = {"plain": httpx2.HTTPTransport()}

    def __init__(self, who: str) -> None:
        self.who = who

    def handle_request(self, request: Any) -> Any:
        """
        Sign in.
        """
        request.headers["Authorization"] = self.who
        return self.pool["plain"].handle_request(request)


class AsyncSigning(httpx2.AsyncHTTPTransport):
    """
    The same, awaiting.
    """

    def __init__(self, who: str) -> None:
        super().__init__()
        self.who = who

    async def handle_async_request(self, request: Any) -> Any:
        """
        Sign in.
        """
        request.headers["Authorization"] = self.who
        return await super().handle_async_request(request)


class SigningAdapter(HTTPAdapter):
    """
    An adapter of requests that signs in, by the hook that requests has for it.
    """

    who = ""

    def add_headers(self, request: Any, **_: Any) -> None:
        """
        Sign in.
        """
        request.headers["Authorization"] = self.who


def by_httpx(gov: Governor, url: str, who: str) -> str:
    """
    Ask as *who*.
    """
    with httpx2.Client(transport=Transport(gov, "api", Signing(who))) as client:
        return client.get(url).text


def by_wrapping(gov: Governor, url: str, who: str) -> str:
    """
    Ask as *who*.
    """
    with httpx2.Client(transport=Transport(gov, "api", Wrapping(who))) as client:
        return client.get(url).text


def by_pool(gov: Governor, url: str, who: str) -> str:
    """
    Ask as *who*.
    """
    with httpx2.Client(transport=Transport(gov, "api", Pool(who))) as client:
        return client.get(url).text


def by_async_httpx(gov: Governor, url: str, who: str) -> str:
    """
    Ask as *who*.
    """

    async def run() -> str:
        async with httpx2.AsyncClient(transport=AsyncTransport(gov, "api", AsyncSigning(who))) as client:
            return (await client.get(url)).text

    return asyncio.run(run())


def by_requests(gov: Governor, url: str, who: str) -> str:
    """
    Ask as *who*.
    """
    inner = SigningAdapter()
    inner.who = who
    with requests.Session() as session:
        session.mount("http://", Adapter(gov, "api", inner))
        return session.get(url).text


def by_aiohttp(gov: Governor, url: str, who: str) -> str:
    """
    Ask as *who*.
    """

    async def signs(request: Any, handler: Any) -> Any:
        request.headers["Authorization"] = who
        return await handler(request)

    async def run() -> str:
        async with ClientSession(middlewares=(middleware(gov, "api"), signs)) as session, session.get(url) as response:
            return await response.text()

    return asyncio.run(run())


@pytest.mark.parametrize("ask", [by_httpx, by_wrapping, by_pool, by_async_httpx, by_requests, by_aiohttp])
def test_what_signs_in_behind_the_gate_shares_nothing(
    ask: Callable[[Governor, str, str], str], upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Nobody sees there who asks, so that no answer is kept for anybody else; the log says so.
    """
    url = upstream.script("/a", as_json({"for": "alice"}), as_json({"for": "bob"}))
    gov = keeping()

    said = [json.loads(ask(gov, url, who))["for"] for who in ("alice", "bob")]

    assert said == ["alice", "bob"]
    assert "api: its cache is not used" in caplog.text


def test_a_session_that_signs_in_before_the_gate_has_its_answers(upstream: Upstream) -> None:
    """
    A middleware that stands before ours has signed in when the key is made: each of two has its own kept answer.
    """
    url = upstream.script("/a", as_json({"for": "alice"}), as_json({"for": "bob"}), as_json({"for": "nobody"}))
    gov = keeping()

    async def ask(who: str) -> str:
        async def signs(request: Any, handler: Any) -> Any:
            request.headers["Authorization"] = who
            return await handler(request)

        async with ClientSession(middlewares=(signs, middleware(gov, "api"))) as session, session.get(url) as response:
            return str((await response.json())["for"])

    assert [asyncio.run(ask(who)) for who in ("alice", "bob", "alice", "bob")] == ["alice", "bob"] * 2


@pytest.mark.parametrize("kind", ["plain", "packed"])
def test_an_answer_that_was_read_inside(kind: str, upstream: Upstream) -> None:
    """
    It is kept as it came; where it was unpacked in reading, nobody knows how it came, and it is not.
    """
    body = gzip.compress(b'{"n": 1}') if kind == "packed" else b'{"n": 1}'
    packing = {"content-encoding": "gzip"} if kind == "packed" else {}
    url = upstream.script("/a", answer(200, body, {"content-type": "application/json", **packing}))

    def read(request: Any) -> Any:
        with httpx2.HTTPTransport() as plain:
            response = plain.handle_request(request)
            response.read()
            return response

    with httpx2.Client(transport=Transport(keeping(), "api", httpx2.MockTransport(read))) as client:
        said = [client.get(url).json() for _ in range(2)]

    assert (said, len(upstream.received)) == ([{"n": 1}] * 2, 2 if kind == "packed" else 1)


def test_a_stream_is_given_again_chunk_by_chunk(dial: Dial, upstream: Upstream) -> None:
    """
    A reader of a kept stream sees the pieces that its first reader saw.
    """
    url = upstream.script(CHAT, stream(*EVENTS))
    client = dial(keeping(cache={"any_temperature": True}), "api")

    first = list(client.chunks(client.open(url, "POST", json={"stream": True})))
    again = list(client.chunks(client.open(url, "POST", json={"stream": True})))

    assert again == first
    assert len(upstream.received) == 1


def test_the_openai_sdk_reads_a_kept_stream(upstream: Upstream) -> None:
    """
    An unmodified SDK gets the same chunks from the wire and from the cache, and the lease is back after each.
    """
    piece = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": []}
    events = [b"data: " + json.dumps({**piece, "created": n}).encode() + b"\n\n" for n in range(3)]
    upstream.script(CHAT, stream(*events, b"data: [DONE]\n\n"))
    gov = keeping()
    http = httpx2.Client(transport=Transport(gov, "api"))
    with openai.OpenAI(api_key="k", base_url=upstream.url + "/v1", http_client=http, max_retries=0) as client:
        read = [
            [
                each.created
                for each in client.chat.completions.create(model="m", messages=[], temperature=0, stream=True)
            ]
            for _ in range(2)
        ]

    assert read == [[0, 1, 2]] * 2
    assert len(upstream.received) == 1
    assert gov.status()["api"]["in_flight"] == 0


# --- identical calls in flight ---------------------------------------------------------------------------------------


def when_waiting(gov: Governor, count: int) -> Callable[[], bool]:
    """
    Return what says whether *count* calls wait for another's answer.
    """

    def check() -> bool:
        caches = gov.context.caches._known
        crowds = list(caches["api"].crowds.known.values()) if "api" in caches else []
        return sum(len(crowd._waiting) for crowd in crowds) >= count

    return check


def once(condition: Callable[[], bool], then: Callable[[], object]) -> Thread:
    """
    Do *then*, in a thread, as soon as *condition* holds.
    """
    done = Event()

    def watch() -> None:
        while not condition():
            done.wait(0.001)  # real time: threads of sockets are on their way
        then()

    thread = Thread(target=watch, daemon=True)
    thread.start()
    return thread


def fifty_of_httpx(gov: Governor, url: str) -> list[bytes]:
    """
    Send 50 requests by 50 threads.
    """
    with httpx2.Client(transport=Transport(gov, "api"), timeout=20) as client, ThreadPoolExecutor(50) as pool:
        return list(pool.map(lambda _: client.post(url, json=COLD).content, range(50)))


def fifty_of_requests(gov: Governor, url: str) -> list[bytes]:
    """
    Send 50 requests by 50 threads.
    """
    with blocking(gov) as session, ThreadPoolExecutor(50) as pool:
        return list(pool.map(lambda _: session.post(url, json=COLD).content, range(50)))


def fifty_of_async_httpx(gov: Governor, url: str) -> list[bytes]:
    """
    Send 50 requests by 50 tasks.
    """

    async def run() -> list[bytes]:
        async with httpx2.AsyncClient(transport=AsyncTransport(gov, "api"), timeout=20) as client:
            found = await asyncio.gather(*[client.post(url, json=COLD) for _ in range(50)])
            return [each.content for each in found]

    return asyncio.run(run())


def fifty_of_aiohttp(gov: Governor, url: str) -> list[bytes]:
    """
    Send 50 requests by 50 tasks.
    """

    async def run() -> list[bytes]:
        async with awaiting(gov) as client:
            found = await asyncio.gather(*[fetch(client, "POST", url, json=COLD) for _ in range(50)])
            return [body for _, body in found]

    return asyncio.run(run())


def test_identical_calls_share_an_answer_that_is_made_in_memory() -> None:
    """
    Threads that ask a `MockTransport` the same at once have it asked once.
    """
    gov = Governor({"api": {**LLM, "cache": {}}})
    gate, sent = Semaphore(0), []

    def say(request: Any) -> Any:
        sent.append(request)
        gate.acquire()
        return httpx2.Response(200, json={"n": len(sent)})

    transport = Transport(gov, "api", httpx2.MockTransport(say))
    watcher = once(when_waiting(gov, 4), lambda: gate.release(10))
    with httpx2.Client(transport=transport) as client, ThreadPoolExecutor(5) as pool:
        said = [each.json() for each in pool.map(client.get, ["http://x.example/a"] * 5)]
    watcher.join()

    assert (said, len(sent)) == ([{"n": 1}] * 5, 1)


def test_identical_tasks_share_an_answer_that_is_made_in_memory() -> None:
    """
    Likewise tasks of one loop.
    """
    gov = Governor({"api": {**LLM, "cache": {}}})
    sent: list[Any] = []

    async def say(request: Any) -> Any:
        sent.append(request)
        while not when_waiting(gov, 4)():
            await asyncio.sleep(0)
        return httpx2.Response(200, json={"n": len(sent)})

    async def run() -> list[Any]:
        transport = AsyncTransport(gov, "api", httpx2.MockTransport(say))
        async with httpx2.AsyncClient(transport=transport) as client:
            return await asyncio.gather(*[client.get("http://x.example/a") for _ in range(5)])

    said = [each.json() for each in asyncio.run(run())]

    assert (said, len(sent)) == ([{"n": 1}] * 5, 1)


@pytest.mark.parametrize("fifty", [fifty_of_httpx, fifty_of_async_httpx, fifty_of_requests, fifty_of_aiohttp])
@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
def test_fifty_identical_calls_make_one(
    fifty: Callable[[Governor, str], list[bytes]], kind: str, upstream: Upstream
) -> None:
    """
    Threads or tasks: all take what the first of them gets, be it a document or a stream.
    """
    gate = Semaphore(0)
    url = upstream.script(CHAT, stream(*CHUNKS[kind], gate=gate, kind=kind))
    gov = Governor({"api": {**LLM, "cache": {}}})
    watcher = once(when_waiting(gov, 49), lambda: gate.release(10))

    bodies = fifty(gov, url)
    watcher.join()

    assert bodies == [b"".join(CHUNKS[kind])] * 50
    assert len(upstream.received) == 1
    assert gov.status()["api"]["in_flight"] == 0


def test_threads_and_loops_share_one(upstream: Upstream) -> None:
    """
    Blocking and awaiting clients of three libraries wait for one answer.
    """
    gate = Semaphore(0)
    url = upstream.script("/a", stream(b'{"n":1}', gate=gate, kind="application/json"))
    gov = Governor({"api": {**LLM, "cache": {}}})
    asks = [CLIENTS[name] for name in ("httpx", "httpx-async", "httpx2", "httpx2-async", "requests")] * 2
    same = {"User-Agent": "u", "Accept": "*/*", "Accept-Encoding": "identity"}
    watcher = once(when_waiting(gov, 9), lambda: gate.release(10))

    with ThreadPoolExecutor(10) as pool:
        bodies = list(pool.map(lambda ask: ask(gov, url, headers=same, timeout=20), asks))
    watcher.join()

    assert bodies == [b'{"n":1}'] * 10
    assert len(upstream.received) == 1


@pytest.mark.parametrize("kind", CHUNKS)
def test_whoever_is_cancelled_harms_nobody(kind: str, upstream: Upstream) -> None:
    """
    Of ten tasks the first, which makes the call, and one that waits are cancelled: the others get their answer.
    """
    gate = Semaphore(0)
    url = upstream.script(CHAT, stream(*CHUNKS[kind], gate=gate, kind=kind))

    async def run() -> list[Any]:
        async with awaiting(gov) as client:
            tasks = [asyncio.create_task(fetch(client, "POST", url, json=COLD)) for _ in range(10)]
            await until(when_waiting(gov, 9))
            await until(lambda: len(upstream.received) == 1)
            tasks[5].cancel()
            tasks[0].cancel()
            await until(lambda: len(upstream.received) == 2)
            gate.release(20)
            return await asyncio.gather(*tasks, return_exceptions=True)

    gov = Governor({"api": {**LLM, "cache": {}}})
    ended = asyncio.run(run())

    assert [type(each) for each in ended].count(asyncio.CancelledError) == 2
    assert [each for each in ended if not isinstance(each, BaseException)] == [(200, b"".join(CHUNKS[kind]))] * 8
    assert len(upstream.received) == 2
    assert gov.status()["api"]["in_flight"] == 0


def test_a_failure_of_the_service_is_tried_by_the_next(upstream: Upstream) -> None:
    """
    The first of five fails: one of the others takes its place, and all four get its answer.
    """
    gate = Semaphore(0)

    def fail(handler: Any) -> None:
        gate.acquire()
        as_json({"error": "down"}, 503)(handler)

    url = upstream.script("/a", fail, as_json({"n": 1}))
    gov = Governor({"api": {**LLM, "cache": {}}})
    watcher = once(when_waiting(gov, 4), gate.release)

    with ThreadPoolExecutor(5) as pool:
        bodies = list(pool.map(lambda _: json.loads(CLIENTS["httpx2"](gov, url)), range(5)))
    watcher.join()

    assert sorted(bodies, key=str) == [{"error": "down"}, *[{"n": 1}] * 4]
    assert len(upstream.received) == 2


@every(CLIENTS)
def test_a_failure_of_the_request_is_everybody_s(ask: Ask, upstream: Upstream) -> None:
    """
    A bad request is bad for all who send it at once, and asked anew by whoever comes later.
    """
    gate = Semaphore(0)

    def refuse(handler: Any) -> None:
        gate.acquire()
        as_json({"error": {"message": "no such model"}}, 400)(handler)

    url = upstream.script("/a", refuse, as_json({"n": 1}))
    gov = Governor({"api": {**LLM, "cache": {}}})
    watcher = once(when_waiting(gov, 4), gate.release)

    with ThreadPoolExecutor(5) as pool:
        bodies = list(pool.map(lambda _: json.loads(ask(gov, url)), range(5)))
    watcher.join()

    assert bodies == [{"error": {"message": "no such model"}}] * 5
    assert len(upstream.received) == 1
    assert json.loads(ask(gov, url)) == {"n": 1}


def test_what_is_for_one_only_lets_all_go(upstream: Upstream) -> None:
    """
    Once the first answer says that it is not for others, they all ask at once, and not one after the other.
    """
    gate, together = Semaphore(0), Barrier(4, timeout=10)

    def first(handler: Any) -> None:
        gate.acquire()
        as_json({}, headers={"cache-control": "no-store"})(handler)

    def others(handler: Any) -> None:
        together.wait()  # All of the four must be here at once.
        as_json({}, headers={"cache-control": "no-store"})(handler)

    url = upstream.script("/a", first, others)
    gov = Governor({"api": {**LLM, "cache": {}}})
    watcher = once(when_waiting(gov, 4), gate.release)

    with ThreadPoolExecutor(5) as pool:
        bodies = list(pool.map(lambda _: CLIENTS["requests"](gov, url), range(5)))
    watcher.join()

    assert bodies == [b"{}"] * 5
    assert len(upstream.received) == 5


def test_each_has_a_deadline_of_its_own(upstream: Upstream) -> None:
    """
    A call whose time is up goes, as one that was not sent; whom it waited for goes on.
    """
    gate = Semaphore(0)
    url = upstream.script("/a", stream(b"{}", gate=gate, kind="application/json"))
    gov = Governor({"api": {**LLM, "cache": {}}})

    async def run() -> tuple[int, bytes]:
        async with awaiting(gov) as client, awaiting(gov, deadline=0.05) as hasty:
            first = asyncio.create_task(fetch(client, "GET", url))
            await until(lambda: len(upstream.received) == 1)
            with pytest.raises(Rejected, match="the answer to the same request did not come in time"):
                await fetch(hasty, "GET", url)
            gate.release(5)
            return await first

    assert asyncio.run(run()) == (200, b"{}")
    assert len(upstream.received) == 1


def test_whoever_listens_to_events_has_its_own(upstream: Upstream) -> None:
    """
    A GET that is answered with events may never end: nobody waits for another's, and none is kept.
    """
    gate = Semaphore(2)
    url = upstream.script("/a", stream(*EVENTS, gate=gate))
    with httpx2.Client(transport=Transport(keeping(), "api")) as client:
        opened = [client.send(client.build_request("GET", url), stream=True) for _ in range(2)]
        gate.release(10)
        bodies = [each.read() for each in opened]
        again = client.get(url).content

    assert [*bodies, again] == [b"".join(EVENTS)] * 3
    assert len(upstream.received) == 3


@pytest.mark.parametrize("kind", ["application/x-ndjson", "application/stream+json"])
def test_lines_of_json_are_not_held_back(kind: str, upstream: Upstream) -> None:
    """
    They are handed out as they come, and kept when all of them have come.
    """
    gate = Semaphore(1)
    url = upstream.script("/a", stream(b'{"n":1}\n', b'{"n":2}\n', gate=gate, kind=kind))
    with httpx2.Client(transport=Transport(keeping(), "api")) as client:
        first = client.send(client.build_request("GET", url), stream=True)
        parts = first.iter_raw()
        begun = next(parts)
        gate.release(10)
        rest = list(parts)
        again = client.get(url).content

    assert [begun, *rest] == [b'{"n":1}\n', b'{"n":2}\n']
    assert again == b'{"n":1}\n{"n":2}\n'
    assert len(upstream.received) == 1


def test_a_reader_that_reads_nothing_is_not_waited_for(upstream: Upstream) -> None:
    """
    A program opens the same stream twice, and reads the second first: after ten seconds that one is asked for itself.
    """
    clock = FakeClock()
    url = upstream.script(CHAT, stream(*EVENTS))
    with httpx2.Client(transport=Transport(keeping(clock), "api")) as client:
        request = client.build_request("POST", url, json=COLD)
        began = clock.now()
        first = client.send(request, stream=True)
        # One piece has come.
        parts = first.iter_raw()
        next(parts)
        second = client.post(url, json=COLD)
        first.close()

    assert second.content == b"".join(EVENTS)
    assert clock.now() - began == 10_000_000
    assert len(upstream.received) == 2


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_response_that_is_dropped_lets_the_next_one_go(
    colour: str, upstream: Upstream, dropped_sessions: None
) -> None:
    """
    Whoever opens a stream and forgets it holds nobody up.
    """
    url = upstream.script(CHAT, stream(*EVENTS))
    gov = keeping()

    async def drop() -> None:
        client = httpx2.AsyncClient(transport=AsyncTransport(gov, "api"))
        response = await client.send(client.build_request("POST", url, json=COLD), stream=True)
        del response

    if colour == "async":
        asyncio.run(drop())
    else:
        with httpx2.Client(transport=Transport(gov, "api")) as client:
            response = client.send(client.build_request("POST", url, json=COLD), stream=True)
            del response

    assert gov.context.caches._known["api"].crowds.known == {}
    assert CLIENTS["httpx2"](gov, url, "POST", json=COLD) == b"".join(EVENTS)


def test_a_call_whose_loop_was_stopped_is_not_waited_for_for_ever(upstream: Upstream) -> None:
    """
    Regression: a task that is pending in a loop that no longer runs never ends, nor did the wait for its answer.
    """
    clock = FakeClock()
    gate = Semaphore(0)
    url = upstream.script("/a", hang(gate), as_json({"n": 2}))
    gov = keeping(clock, max_wait=30.0)
    loop = asyncio.new_event_loop()
    client = httpx2.AsyncClient(transport=AsyncTransport(gov, "api"))
    task = loop.create_task(client.get(url))
    loop.run_until_complete(until(lambda: len(upstream.received) == 1))
    began = clock.now()

    body = CLIENTS["httpx2"](gov, url)
    waited = clock.now() - began
    task.cancel()
    gate.release()
    loop.run_until_complete(asyncio.wait([task]))
    loop.run_until_complete(client.aclose())
    loop.close()

    assert json.loads(body) == {"n": 2}
    assert waited == (30 + 20 + 10) * 1_000_000


def test_a_call_inside_of_another_waits_for_nobody_who_waits_for_it(upstream: Upstream) -> None:
    """
    The service's only place is held by a call around this one; whoever has come before it waits for that place.
    """
    url = upstream.script("/a", as_json({"n": 1}))
    gov = keeping(Clock(), max_concurrency=1, max_wait=3600)

    def work() -> bytes:
        pool.submit(CLIENTS["httpx2"], gov, url)
        while not gov.context.caches._known or not gov.context.caches._known["api"].crowds.known:
            Event().wait(0.001)  # real time: the other thread is on its way
        return CLIENTS["httpx2"](gov, url)

    with ThreadPoolExecutor(1) as pool:
        body = gov.call("api", work)

    assert json.loads(body) == {"n": 1}


def test_a_tap_sees_hits_and_misses(upstream: Upstream) -> None:
    """
    Each lookup is a step; a hit's call has no other.
    """
    url = upstream.script("/a", as_json({"n": 1}))
    gov = keeping()
    seen: list[str] = []
    gov.tap(lambda event: seen.append(type(event.step).__name__))

    with blocking(gov) as session:
        session.get(url)
        gov.taps.drain(5.0)
        missed = list(seen)
        session.get(url)
    gov.taps.drain(5.0)

    assert missed == ["Recall", "Admit", "Send", "Settle", "Keep"]
    assert seen[5:] == ["Recall"]


def test_a_reload_keeps_answers_unless_the_cache_changes(upstream: Upstream) -> None:
    """
    Another limit leaves what is kept; another cache begins empty.
    """
    url = upstream.script("/a", as_json({"n": 1}))
    gov = keeping()
    ask = CLIENTS["httpx2"]

    ask(gov, url)
    gov.reload({"api": {**LLM, "cache": {}, "limits": ["9/second"]}})
    ask(gov, url)
    kept = len(upstream.received)
    gov.reload({"api": {**LLM, "cache": {"ttl": 5}}})
    ask(gov, url)

    assert (kept, len(upstream.received)) == (1, 2)
