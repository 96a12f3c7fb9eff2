"""
Answers that the gateway keeps: hits, misses, old ones, and requests that share one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from egressor.stores.shelf import MemoryShelf
from tests.gateway.rig import ONCE, Rig, gateway, until, upstream

CHAT: dict[str, Any] = {"model": "m", "temperature": 0, "messages": [{"role": "user", "content": "hi"}]}
EVENTS = (b'data: {"n":1}\n\n', b'data: {"n":2}\n\n', b"data: [DONE]\n\n")


class Api:
    """
    An upstream that counts, and answers by a script; the last answer goes on.
    """

    def __init__(self, *script: Callable[[web.BaseRequest], Any]) -> None:
        self.script = script
        self.seen: list[web.BaseRequest] = []
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """
        Answer.
        """
        self.seen.append(request)
        turn = len(self.seen)
        await request.read()
        await self.go.wait()
        found = self.script[min(turn, len(self.script)) - 1](request)
        answer: web.StreamResponse = await found if asyncio.iscoroutine(found) else found
        return answer


def say(value: object, status: int = 200, **headers: str) -> Callable[[web.BaseRequest], web.StreamResponse]:
    """
    Answer with a JSON document.
    """
    return lambda request: web.json_response(value, status=status, headers=headers)


async def events(request: web.BaseRequest) -> web.StreamResponse:
    """
    Answer with events.
    """
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for each in EVENTS:
        await response.write(each)
    await response.write_eof()
    return response


def policy(**settings: Any) -> dict[str, Any]:
    """
    Return a policy with a cache.
    """
    return {"dialect": "openai", "retry": ONCE, "breaker": {"enabled": False}, "cache": {}, **settings}


async def post(rig: Rig, path: str = "/t/chat/completions", **options: Any) -> tuple[int, bytes, str | None]:
    """
    Post a chat, and return status, body and what is said of the cache.
    """
    said = {"json": CHAT, **options}
    async with rig.session.post(rig.url + path, **said) as answer:
        return answer.status, await answer.read(), answer.headers.get("Egressor-Cache")


def run(test: Callable[[Rig, Api], Any], api: Callable[[], Api], **settings: Any) -> None:
    """
    Run *test* against a gateway in front of *api*.
    """

    async def main() -> None:
        made = api()
        async with upstream(made) as url, gateway(url, **policy(**settings)) as rig:
            await test(rig, made)
            assert (await rig.at_rest())["in_flight"] == 0

    asyncio.run(main())


def test_a_hit_says_so_and_sends_nothing() -> None:
    """
    The first answer is a miss, the next a hit with its age and no attempt; limits are not touched.
    """

    async def test(rig: Rig, api: Api) -> None:
        first = await post(rig)
        async with rig.session.post(rig.url + "/t/chat/completions", json=CHAT) as answer:
            second = answer.status, await answer.read(), answer.headers["Egressor-Cache"]
            told = answer.headers["Egressor-Attempts"], answer.headers["Age"], answer.headers["Content-Type"]

        assert first == (200, b'{"n": 1}', "miss")
        assert second == (200, b'{"n": 1}', "hit")
        assert told == ("0", "0", "application/json; charset=utf-8")
        assert len(api.seen) == 1

    run(test, lambda: Api(say({"n": 1}), say({"n": 2})), limits=["1/minute"], max_wait=0)


def test_a_service_without_a_cache_says_nothing_of_one() -> None:
    """
    Neither does one whose request may not be kept.
    """

    async def test(rig: Rig, api: Api) -> None:
        assert (await post(rig, json={**CHAT, "temperature": 1}))[2] is None

    async def plain(rig: Rig, api: Api) -> None:
        assert (await post(rig))[2] is None

    run(test, lambda: Api(say({})))
    run(plain, lambda: Api(say({})), cache=False)


def test_each_credential_has_answers_of_its_own() -> None:
    """
    I07: a client's own key goes upstream, and is a part of the key.
    """

    async def test(rig: Rig, api: Api) -> None:
        found = [await post(rig, headers={"Authorization": f"Bearer {who}"}) for who in "abab"]

        assert [each[1:] for each in found] == [
            (b'{"n": 1}', "miss"),
            (b'{"n": 2}', "miss"),
            (b'{"n": 1}', "hit"),
            (b'{"n": 2}', "hit"),
        ]

    run(test, lambda: Api(say({"n": 1}), say({"n": 2})))


def test_a_stream_is_kept_when_it_has_ended() -> None:
    """
    Events go on as they come, and are given again.
    """

    async def test(rig: Rig, api: Api) -> None:
        found = [await post(rig) for _ in range(3)]

        assert found == [(200, b"".join(EVENTS), "miss"), *[(200, b"".join(EVENTS), "hit")] * 2]
        assert len(api.seen) == 1

    run(test, lambda: Api(events))


@pytest.mark.parametrize("answer", [say({"n": 1}), events], ids=["document", "stream"])
def test_fifty_identical_requests_make_one(answer: Callable[[web.BaseRequest], Any]) -> None:
    """
    All get the answer of the first, also when a client that waits hangs up.
    """

    async def test(rig: Rig, api: Api) -> None:
        api.go.clear()
        tasks = [asyncio.create_task(post(rig)) for _ in range(50)]
        crowds = rig.gov.context.caches
        await until(lambda: bool(api.seen) and len(next(iter(crowds._known["t"].crowds.known.values()))._waiting) == 49)
        tasks[30].cancel()
        api.go.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)

        assert isinstance(found.pop(30), asyncio.CancelledError)
        assert {each[:2] for each in found if not isinstance(each, BaseException)} == {found[0][:2]}  # type: ignore[index]
        assert [type(each) for each in found] == [tuple] * 49
        assert len(api.seen) == 1

    run(test, lambda: Api(answer))


@pytest.mark.parametrize("status", [500, 503])
def test_an_old_answer_is_given_where_the_service_fails(status: int) -> None:
    """
    It is told as stale; where it is refused by the gate as well.
    """

    async def test(rig: Rig, api: Api) -> None:
        await post(rig)
        await asyncio.sleep(0.02)  # real time: the gateway's clock is the system's, and the answer has to be too old
        failed = await post(rig)
        rig.gov.pause("t")
        paused = await post(rig)

        assert failed == paused == (200, b'{"n": 1}', "stale")

    run(test, lambda: Api(say({"n": 1}), say({}, status)), cache={"ttl": 0.01, "stale_if_error": 60})


def test_an_error_is_passed_on_and_not_kept() -> None:
    """
    A failing answer is a miss each time.
    """

    async def test(rig: Rig, api: Api) -> None:
        found = [await post(rig) for _ in range(2)]

        assert [(status, told) for status, _, told in found] == [(400, "miss"), (200, "miss")]

    run(test, lambda: Api(say({"error": {"message": "no"}}, 400), say({"n": 2})))


def test_a_long_request_is_looked_at() -> None:
    """
    Regression: a body above 64 KiB went by, and its answer was not kept. It is read up to what is kept of one.
    """

    async def test(rig: Rig, api: Api) -> None:
        long = {**CHAT, "messages": [{"role": "user", "content": "x" * 70_000}]}

        assert [(await post(rig, json=long))[2] for _ in range(2)] == ["miss", "hit"]
        assert len(api.seen) == 1

    run(test, lambda: Api(say({"n": 1})))


def test_a_head_is_kept() -> None:
    """
    An answer without a body is whole.
    """

    async def test(rig: Rig, api: Api) -> None:
        told = []
        for _ in range(2):
            async with rig.session.head(rig.url + "/t/x") as answer:
                told.append((answer.status, answer.headers["Egressor-Cache"], answer.headers["Content-Length"]))

        assert told == [(200, "miss", "8"), (200, "hit", "8")]

    run(test, lambda: Api(say({"n": 1})))


def test_a_request_says_what_it_takes_of_what_is_kept() -> None:
    """
    `max-age` takes nothing that is older, `only-if-cached` nothing else; a refusal says that nothing is kept.
    """

    async def test(rig: Rig, api: Api) -> None:
        async def get(word: str) -> tuple[int, str | None, bytes]:
            async with rig.session.get(rig.url + "/t/x", headers={"Cache-Control": word}) as answer:
                return answer.status, answer.headers.get("Egressor-Cache"), await answer.read()

        nothing = await get("only-if-cached")
        first = await get("max-age=60")
        kept = await get("only-if-cached")
        renewed = await get("only-if-cached, no-cache")
        shelf = rig.gov.context.caches._known["t"].shelf
        assert isinstance(shelf, MemoryShelf)
        ((key, (old, _)),) = shelf._kept.items()
        shelf.put(key, old._replace(at=old.at - 61_000_000), until=0)
        again = await get("max-age=60")

        assert (nothing[0], b'"not_cached"' in nothing[2]) == (504, True)
        assert (first, kept[:2], renewed[0]) == ((200, "miss", b'{"n": 1}'), (200, "hit"), 504)
        assert again == (200, "miss", b'{"n": 2}')
        assert len(api.seen) == 2

    run(test, lambda: Api(say({"n": 1}), say({"n": 2})))


@pytest.mark.parametrize("dialect", ["openai", "kraken"])
def test_a_document_without_an_end_is_not_read_ahead(dialect: str) -> None:
    """
    Regression: up to 8 MiB of a GET's JSON were read before its client got any of it.
    """
    may_end = asyncio.Event()

    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(b'{"items": [' + b"1," * 40_000)
        await may_end.wait()
        await response.write(b"1]}")
        return response

    async def test(rig: Rig, api: Api) -> None:
        async with rig.session.get(rig.url + "/t/x") as answer:
            first = await answer.content.readexactly(80_000)
            may_end.set()
            rest = await answer.read()
        async with rig.session.get(rig.url + "/t/x") as answer:
            second, told = await answer.read(), answer.headers["Egressor-Cache"]

        assert first.startswith(b'{"items": [1,1')
        assert second == first + rest
        # Where errors hide in good answers, 64 KiB are read for them, and what is longer is not kept.
        assert told == {"openai": "hit", "kraken": "miss"}[dialect]

    run(test, lambda: Api(endless), dialect=dialect)
