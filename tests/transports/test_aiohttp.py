"""
Requests through the middleware, against a real server: what is retried, what is counted, what comes out, what is held.
"""

from __future__ import annotations

import asyncio
import io
import os
import warnings
from threading import Semaphore
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from egressor import CircuitOpen, Governor, Paused, Rejected, WaitTooLong
from egressor.transports import NestedRetryWarning
from egressor.transports.aiohttp import middleware
from tests.transports.sessions import ENDLESS, LOST, awaiting, fetch, governor, state, strict, until
from tests.transports.upstream import answer, as_json, hang, lie, reset

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.transports.upstream import Behaviour, Upstream

pytestmark = pytest.mark.anyio


async def test_a_success_comes_out_as_the_server_sent_it(upstream: Upstream) -> None:
    """
    Status, headers, cookies and body are the server's, and the call is counted.
    """
    gov = governor()
    url = upstream.script("/a", answer(200, b"hello", {"x-own": "1", "set-cookie": "c=1"}))
    async with awaiting(gov) as client, client.get(url) as found:
        assert (found.status, found.headers["x-own"], await found.read()) == (200, "1", b"hello")
        assert found.cookies["c"].value == "1"
        assert isinstance(found, aiohttp.ClientResponse)

    assert (state(gov)["succeeded"], state(gov)["in_flight"]) == (1, 0)


@pytest.mark.parametrize(
    ("method", "options", "first", "sent", "status"),
    [
        ("GET", {}, answer(500), 2, 200),
        ("GET", {}, answer(404, b"no"), 1, 404),
        ("GET", {}, reset, 2, 200),
        ("GET", {}, lie, 1, None),
        ("PUT", {"data": b"x"}, reset, 2, 200),
        ("DELETE", {}, answer(500), 2, 200),
        ("HEAD", {}, answer(503), 2, 200),
        ("POST", {"json": {"x": 1}}, answer(429), 2, 200),
        ("POST", {"data": {"x": "1"}}, answer(503, headers={"retry-after": "1"}), 2, 200),
        ("POST", {"data": b"x"}, answer(500), 1, 500),
        ("POST", {"data": b"x"}, reset, 1, None),
        ("POST", {"data": b"x", "headers": {"Idempotency-Key": "k"}}, answer(500), 2, 200),
        ("POST", {"data": b"x", "headers": {"Idempotency-Key": ""}}, answer(500), 1, 500),
        ("GET", {}, as_json({"error": {"code": "insufficient_quota"}}, 429), 1, 429),
    ],
)
async def test_what_may_be_sent_again_is(
    upstream: Upstream, method: str, options: dict[str, Any], first: Behaviour, sent: int, status: int | None
) -> None:
    """
    A failure is retried if its verdict allows it; what may have been executed only if it is idempotent.
    """
    gov = governor()
    url = upstream.script("/a", first, answer(200, b"fine"))
    async with awaiting(gov) as client:
        got = None
        if status is None:
            with pytest.raises((*LOST, aiohttp.ClientPayloadError)):
                await fetch(client, method, url, **options)
        else:
            got, _ = await fetch(client, method, url, **options)

    assert (len(upstream.received), got) == (sent, status)
    assert len({each.body for each in upstream.received}) == 1
    assert state(gov)["in_flight"] == 0


async def test_retry_after_is_obeyed(upstream: Upstream) -> None:
    """
    The retry comes no earlier than the server said, and the wait is the clock's.
    """
    gov = governor()
    before = gov.clock.now()
    url = upstream.script("/a", answer(429, headers={"retry-after": "7"}), answer(200))
    async with awaiting(gov) as client:
        status, _ = await fetch(client, "GET", url)

    assert status == 200
    assert gov.clock.now() - before >= 7_000_000


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_aiohttps_own_second_round_is_stopped(upstream: Upstream, method: str) -> None:
    """
    Aiohttp sends an idempotent request again whose connection was lost: behind a policy it gets the policy's attempts,
    and the next call its own.
    """
    gov = governor()
    url = upstream.script("/a", reset)
    attempts = {"GET": 3, "POST": 1}[method]
    async with awaiting(gov) as client:
        for calls in (1, 2):
            with pytest.raises(LOST) as caught:
                await fetch(client, method, url)
            assert len(upstream.received) == calls * attempts
            note = "gave up after 3 attempts" if method == "GET" else "not tried again: it may have been executed"
            assert caught.value.__notes__ == [f"egressor: api: {note}"]


async def test_statuses_open_the_breaker(upstream: Upstream) -> None:
    """
    Three 500s open it, and the fourth call is not sent: no exception was needed.
    """
    gov = governor(breaker={"consecutive": 3}, retry={"attempts": 1})
    url = upstream.script("/a", answer(500))
    async with awaiting(gov) as client:
        statuses = [(await fetch(client, "GET", url))[0] for _ in range(3)]
        with pytest.raises(CircuitOpen):
            await fetch(client, "GET", url)

    assert (statuses, len(upstream.received)) == ([500] * 3, 3)


async def test_a_refusal_is_raised_as_it_is(upstream: Upstream) -> None:
    """
    A call that was not sent raises our own exception, and the server hears nothing of it.
    """
    gov = governor(limits=["1/hour"])
    url = upstream.script("/a", answer())
    async with awaiting(gov) as client:
        await fetch(client, "GET", url)
        with pytest.raises(WaitTooLong) as caught:
            await fetch(client, "GET", url)

    assert (caught.value.service, len(upstream.received)) == ("api", 1)


async def test_the_librarys_exception_comes_out_with_a_note() -> None:
    """
    Nobody listens: the last attempt's error, with our note.
    """
    async with awaiting(governor()) as client:
        with pytest.raises(aiohttp.ClientConnectorError) as caught:
            await fetch(client, "GET", "http://127.0.0.1:1/a")
    assert caught.value.__notes__ == ["egressor: api: gave up after 3 attempts"]


async def test_the_policys_time_out_is_aiohttps_own(upstream: Upstream) -> None:
    """
    Who catches what aiohttp raises, or TimeoutError, catches ours.
    """
    gate = Semaphore(0)
    gov = strict(timeout=0.5)
    async with awaiting(gov) as client:
        with pytest.raises(aiohttp.ServerTimeoutError, match=r"api: no response .* \(timeout 0.5 s") as caught:
            await fetch(client, "GET", upstream.script("/a", hang(gate)))
    gate.release()

    assert isinstance(caught.value, TimeoutError)
    assert (state(gov)["in_flight"], state(gov)["state"]) == (0, "open")


async def test_a_total_counts_our_waits_and_gives_the_place_back(upstream: Upstream) -> None:
    """
    Aiohttp's total runs while a call waits for its turn: it times out unsent, and leaves the queue.
    """
    gov = strict(max_concurrency=1)
    url = upstream.script("/a", answer())
    is_free = asyncio.Event()

    async def occupy() -> None:
        async with gov.permit("api"):
            await is_free.wait()

    async with awaiting(gov, said={"timeout": aiohttp.ClientTimeout(total=0.05)}) as client:
        other = asyncio.create_task(occupy())
        await until(lambda: bool(state(gov)["in_flight"]))
        with pytest.raises(TimeoutError):
            await fetch(client, "GET", url)
        queue = state(gov)["waiting"]
        is_free.set()
        await other
        assert (await client.get(url, timeout=ENDLESS)).status == 200

    assert (sum(queue.values()), len(upstream.received), state(gov)["in_flight"]) == (0, 1, 0)


async def test_a_deadline_refuses_at_once_what_a_total_would_cut(upstream: Upstream) -> None:
    """
    A wait that can't fit is refused before it begins; that the call was not sent is then certain.
    """
    gov = governor(limits=["1/hour"], max_wait=7200.0)
    url = upstream.script("/a", answer())
    async with awaiting(gov, deadline=30.0) as client:
        await fetch(client, "GET", url)
        with pytest.raises(WaitTooLong):
            await fetch(client, "GET", url)

    assert len(upstream.received) == 1


def pipe() -> Any:
    """
    Return a file that can't be rewound.
    """
    reader, writer = os.pipe()
    os.write(writer, b"onetwo")
    os.close(writer)
    return open(reader, "rb")  # noqa: PTH123 - a descriptor, which the test closes


async def parts() -> AsyncIterator[bytes]:
    """
    Return a body that is read once.
    """
    yield b"one"
    yield b"two"


def form() -> aiohttp.FormData:
    """
    Return a form with a file.
    """
    made = aiohttp.FormData()
    made.add_field("f", io.BytesIO(b"onetwo"), filename="n")
    return made


@pytest.mark.parametrize(
    ("make", "sent"),
    [(lambda: b"onetwo", 2), (lambda: io.BytesIO(b"onetwo"), 2), (pipe, 1), (parts, 1), (form, 2)],
    ids=["bytes", "file", "pipe", "iterator", "form"],
)
@pytest.mark.parametrize("first", [answer(429), reset], ids=["429", "reset"])
async def test_a_body_is_replayed_where_it_can_be(upstream: Upstream, make: Any, sent: int, first: Behaviour) -> None:
    """
    Bytes and files are sent again from their start; what can be read only once has gone with the first attempt.
    """
    url = upstream.script("/a", first, answer())
    body = make()
    async with awaiting(governor()) as client:
        if first is reset and sent == 1:
            with pytest.raises(LOST):
                await fetch(client, "PUT", url, data=body)
        else:
            await fetch(client, "PUT", url, data=body)
    if isinstance(body, io.IOBase):
        body.close()

    assert len(upstream.received) == sent
    assert all(b"onetwo" in each.body for each in upstream.received)


async def test_a_body_that_was_not_begun_is_sent_again(upstream: Upstream) -> None:
    """
    No connection was made, so that even an iterator's body is whole at the retry.
    """
    broken = [True]

    async def flaky(request: Any, handler: Any) -> Any:
        if broken:
            broken.clear()
            raise aiohttp.ServerTimeoutError
        return await handler(request)

    made = aiohttp.ClientSession(middlewares=(middleware(governor(), "api"), flaky))
    async with made as client:
        status, _ = await fetch(client, "PUT", upstream.script("/a", answer()), data=parts())

    assert (status, [each.body for each in upstream.received]) == (200, [b"onetwo"])


async def test_redirects_are_calls_of_their_own(upstream: Upstream) -> None:
    """
    A redirect's lease ends before the next call, so that one place is enough; each is counted.
    """
    gov = governor(max_concurrency=1)
    upstream.script("/b", answer(200, b"there"))
    url = upstream.script("/a", answer(302, b"go", {"location": "/b"}))
    async with awaiting(gov) as client:
        assert await fetch(client, "GET", url) == (200, b"there")

    assert (state(gov)["succeeded"], state(gov)["in_flight"]) == (2, 0)


@pytest.mark.parametrize(
    ("unknown", "path", "outcome"), [("pass", "/v2", 200), ("refuse", "/v2", None), ("refuse", "/v1/x", 200)]
)
async def test_a_service_is_found_by_its_base_url(
    upstream: Upstream, unknown: str, path: str, outcome: int | None
) -> None:
    """
    What no base URL holds passes ungoverned, or is refused without its path being told.
    """
    gov = Governor({"api": {"base_url": upstream.url + "/v1"}}, unknown_hosts=unknown)
    url = upstream.script(path, answer())
    async with awaiting(gov, None) as client:
        if outcome is None:
            with pytest.raises(Rejected, match="unknown_hosts") as caught:
                await fetch(client, "GET", url)
            assert (path in str(caught.value), caught.value.reason) == (False, "unknown_host")
        else:
            assert (await fetch(client, "GET", url))[0] == outcome
    assert state(gov)["admitted"] == int(path.startswith("/v1"))


async def test_options_reach_the_rules(upstream: Upstream) -> None:
    """
    A scope may depend on the request; its rule's limit refuses the second.
    """
    rule = {"match": {"user": "*"}, "limits": ["1/hour"]}
    gov = governor(rules=[rule])
    url = upstream.script("/a", answer())
    async with awaiting(gov, scope=lambda request: {"user": request.headers["x-user"]}) as client:
        got = [(await fetch(client, "GET", url, headers={"x-user": user}))[0] for user in ("a", "b")]
        with pytest.raises(WaitTooLong):
            await fetch(client, "GET", url, headers={"x-user": "a"})

    assert got == [200, 200]


async def test_an_sdks_retries_are_warned_of_once(upstream: Upstream) -> None:
    """
    An SDK that says which of its tries a request is, says too that it retries.
    """
    url = upstream.script("/a", answer())
    async with awaiting(governor()) as client:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(2):
                await fetch(client, "GET", url, headers={"x-stainless-retry-count": "1"})

    assert [each.category for each in caught] == [NestedRetryWarning]


async def test_a_paused_service_is_refused_before_its_request_is_built(upstream: Upstream) -> None:
    """
    With an iterator's body, too: not a byte of it is read.
    """
    gov = governor()
    gov.pause("api")
    async with awaiting(gov) as client:
        with pytest.raises(Paused):
            await fetch(client, "POST", upstream.script("/a", answer()), data=parts())

    assert (upstream.received, state(gov)["denied"]) == ([], {"paused": 1})
