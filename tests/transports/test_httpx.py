"""
Requests through the transport, against a real server: what is retried, what is counted, what comes out.
"""

from __future__ import annotations

import io
import sys
from threading import Semaphore
from typing import TYPE_CHECKING, Any

import pytest

from egressor import CircuitOpen, Governor, Rejected, WaitTooLong
from egressor.testing import FakeClock
from tests.transports.upstream import Caller, answer, as_json, hang, lie, reset, stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.transports.upstream import Behaviour, Upstream

    Dial = Callable[..., Caller]

EASY: dict[str, Any] = {"retry": {"attempts": 3, "jitter": False}, "breaker": {"consecutive": 50}, "timeout": 5.0}


def governor(**policy: Any) -> Governor:
    """
    Return a governor of one service, ``api``, on a clock that jumps over every wait.
    """
    return Governor({"api": {**EASY, **policy}}, clock=FakeClock())


def test_a_success_comes_out_as_the_server_sent_it(dial: Dial, upstream: Upstream) -> None:
    """
    Status, headers and body are the server's, and the call is counted.
    """
    gov = governor()
    url = upstream.script("/a", answer(200, b"hello", {"x-own": "1"}))

    response = dial(gov, "api").get(url)

    assert (response.status_code, response.headers["x-own"], response.content) == (200, "1", b"hello")
    state = gov.status()["api"]
    assert (state["succeeded"], state["in_flight"]) == (1, 0)


@pytest.mark.parametrize(
    ("method", "options", "first", "sent", "status"),
    [
        ("GET", {}, answer(500), 2, 200),
        ("GET", {}, answer(503), 2, 200),
        ("GET", {}, answer(404, b"no"), 1, 404),
        ("GET", {}, reset, 2, 200),
        ("GET", {}, lie, 1, None),
        ("PUT", {"content": b"x"}, reset, 2, 200),
        ("DELETE", {}, answer(500), 2, 200),
        ("POST", {"content": b"x"}, answer(429), 2, 200),
        ("POST", {"content": b"x"}, answer(503, headers={"retry-after": "1"}), 2, 200),
        ("POST", {"content": b"x"}, answer(500), 1, 500),
        ("POST", {"content": b"x"}, reset, 1, None),
        ("POST", {"content": b"x", "headers": {"Idempotency-Key": "k"}}, answer(500), 2, 200),
        ("POST", {"content": b"x", "headers": {"Idempotency-Key": ""}}, answer(500), 1, 500),
        ("POST", {"content": b"x", "headers": {"Idempotency-Key": "k"}}, reset, 2, 200),
        ("POST", {"files": {"f": b"x"}}, answer(429), 2, 200),
        ("GET", {}, as_json({"error": {"code": "insufficient_quota"}}, 429), 1, 429),
    ],
)
def test_what_may_be_sent_again_is(
    dial: Dial,
    upstream: Upstream,
    method: str,
    options: dict[str, Any],
    first: Behaviour,
    sent: int,
    status: int | None,
) -> None:
    """
    A failure is retried if its verdict allows it; what may have been executed only if it is idempotent.
    """
    url = upstream.script("/a", first, answer(200, b"fine"))
    caller = dial(governor(), "api")
    got = None
    if status is None:
        with pytest.raises((caller.library.ReadError, caller.library.RemoteProtocolError)):
            caller.request(method, url, **options)
    else:
        got = caller.request(method, url, **options).status_code

    assert (len(upstream.received), got) == (sent, status)
    assert len({each.body for each in upstream.received}) == 1


def test_statuses_open_the_breaker(dial: Dial, upstream: Upstream) -> None:
    """
    Three 500s open it, and the fourth call is not sent: no exception was needed.
    """
    gov = governor(breaker={"consecutive": 3}, retry={"attempts": 1})
    url = upstream.script("/a", answer(500))
    caller = dial(gov, "api")
    statuses = [caller.get(url).status_code for _ in range(3)]

    with pytest.raises(CircuitOpen):
        caller.get(url)
    assert (statuses, len(upstream.received)) == ([500] * 3, 3)


def test_retry_after_is_obeyed(dial: Dial, upstream: Upstream) -> None:
    """
    The retry comes no earlier than the server said, and the wait is the clock's.
    """
    gov = governor()
    before = gov.clock.now()
    url = upstream.script("/a", answer(429, headers={"retry-after": "7"}), answer(200))

    assert dial(gov, "api").get(url).status_code == 200
    assert gov.clock.now() - before >= 7_000_000


def test_a_refusal_is_raised_as_it_is(dial: Dial, upstream: Upstream) -> None:
    """
    A call that was not sent raises our own exception, and the server hears nothing of it.
    """
    gov = governor(limits=["1/hour"])
    url = upstream.script("/a", answer())
    caller = dial(gov, "api")
    caller.get(url)

    with pytest.raises(WaitTooLong) as caught:
        caller.get(url)
    assert (caught.value.service, len(upstream.received)) == ("api", 1)


def test_the_librarys_exception_comes_out_with_a_note(dial: Dial) -> None:
    """
    Nobody listens: the last attempt's ConnectError, its request set by the client, with our note.
    """
    caller = dial(governor(), "api")

    with pytest.raises(caller.library.ConnectError) as caught:
        caller.get("http://127.0.0.1:1/a")
    assert caught.value.request.url.path == "/a"
    assert caught.value.__notes__ == ["egressor: api: gave up after 3 attempts"]


@pytest.mark.parametrize(
    ("first", "status", "sent"),
    [(answer(500), 500, 1), (answer(429), 429, 1), (reset, None, 1)],
)
def test_a_body_that_is_read_once_is_sent_once(
    dial: Dial, upstream: Upstream, first: Behaviour, status: int | None, sent: int
) -> None:
    """
    An iterator's body has gone with the first attempt: its outcome is final, whatever it is.
    """
    url = upstream.script("/a", first, answer(200))
    caller = dial(governor(), "api")

    def parts() -> Any:
        yield b"one"
        yield b"two"

    async def async_parts() -> Any:
        yield b"one"
        yield b"two"

    body = async_parts() if caller.colour == "async" else parts()
    if status is None:
        with pytest.raises((caller.library.ReadError, caller.library.RemoteProtocolError)):
            caller.request("PUT", url, content=body)
    else:
        assert caller.request("PUT", url, content=body).status_code == status
    assert [each.body for each in upstream.received] == [b"onetwo"] * sent


class Pipe(io.BytesIO):
    """
    A file that can't be rewound.
    """

    def seekable(self) -> bool:
        """
        Say no.
        """
        return False


@pytest.mark.parametrize(("kind", "sent"), [(io.BytesIO, 2), (Pipe, 1)])
def test_a_form_is_sent_again_if_its_files_rewind(
    dial: Dial, upstream: Upstream, kind: type[io.BytesIO], sent: int
) -> None:
    """
    A file is read from its start again; what can't be is gone with the first attempt.
    """
    url = upstream.script("/a", answer(429), answer(200))
    dial(governor(), "api").post(url, files={"f": ("name", kind(b"content"))}, data={"d": "1"})

    assert len(upstream.received) == sent
    assert all(b"content" in each.body for each in upstream.received)


def test_a_body_that_was_not_begun_is_sent_again(dial: Dial, upstream: Upstream) -> None:
    """
    No connection was made, so that even an iterator's body is whole at the retry.
    """
    url = upstream.script("/a", answer(200))
    gov = governor()
    caller = dial(gov, "api", Flaky(upstream.url))

    def parts() -> Any:
        yield b"whole"

    async def async_parts() -> Any:
        yield b"whole"

    assert caller.post(url, content=async_parts() if caller.colour == "async" else parts()).status_code == 200
    assert [each.body for each in upstream.received] == [b"whole"]


class Flaky:
    """
    A transport, of either family and colour, whose first connection is refused.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.seen: list[Any] = []
        self.closed = 0
        self._inner: Any = None

    def _library(self, request: Any) -> Any:
        self.seen.append(request)
        library = sys.modules[type(request).__module__.partition(".")[0]]
        if len(self.seen) == 1:
            msg = "refused"
            raise library.ConnectError(msg)
        return library

    def handle_request(self, request: Any) -> Any:
        """
        Refuse once, then send.
        """
        library = self._library(request)
        self._inner = self._inner or library.HTTPTransport()
        return self._inner.handle_request(request)

    async def handle_async_request(self, request: Any) -> Any:
        """
        Refuse once, then send.
        """
        library = self._library(request)
        self._inner = self._inner or library.AsyncHTTPTransport()
        return await self._inner.handle_async_request(request)

    def close(self) -> None:
        """
        Count, and close.
        """
        self.closed += 1
        if self._inner is not None:
            self._inner.close()

    async def aclose(self) -> None:
        """
        Count, and close.
        """
        self.closed += 1
        if self._inner is not None:
            await self._inner.aclose()


def test_the_inner_transport_is_closed_once(dial: Dial, upstream: Upstream) -> None:
    """
    However often the client closes; and the governor stays open.
    """
    gov = governor()
    inner = Flaky(upstream.url)
    caller = dial(gov, "api", inner)
    caller.get(upstream.script("/a", answer()))
    transport = caller.client._transport

    async def enter() -> None:
        async with transport:
            pass

    for _ in range(2):
        if caller.colour == "async":
            caller.run(enter())
        else:
            with transport:
                pass

    assert inner.closed == 1
    assert dial(gov, "api").get(upstream.url + "/a").status_code == 200


@pytest.mark.parametrize(
    ("given", "timeout", "expected"),
    [
        (60.0, 5.0, 5.0),
        (2.0, 5.0, 2.0),
        (None, 5.0, 5.0),
    ],
)
def test_time_outs_are_lowered_and_never_raised(
    dial: Dial, upstream: Upstream, given: float | None, timeout: float, expected: float
) -> None:
    """
    Each of the client's own time-outs is at most the attempt's; the caller's request stays as it was.
    """
    inner = Flaky(upstream.url)
    caller = dial(governor(timeout=timeout), "api", inner)
    response = caller.get(upstream.script("/a", answer()), timeout=given)

    assert [each.extensions["timeout"] for each in inner.seen] == [
        dict.fromkeys(("connect", "read", "write", "pool"), expected)
    ] * 2
    assert response.request.extensions["timeout"]["read"] == given


def test_a_deadline_lowers_time_outs_too(dial: Dial, upstream: Upstream) -> None:
    """
    What is left of the call's deadline bounds its attempts; the retry has less.
    """
    inner = Flaky(upstream.url)
    caller = dial(governor(), "api", inner)
    caller.get(upstream.script("/a", answer()), extensions={"egressor": {"deadline": 3.0}})

    assert [each.extensions["timeout"]["read"] for each in inner.seen] == [3.0, 2.0]


def test_a_deadline_that_is_over_sends_nothing(dial: Dial, upstream: Upstream) -> None:
    """
    An attempt without any time left is not made: no library's socket takes a time-out of nothing.
    """
    caller = dial(governor(), "api", deadline=0.0)

    with pytest.raises((Rejected, caller.library.PoolTimeout)):
        caller.get(upstream.script("/a", answer()))
    assert upstream.received == []


def test_a_server_that_hangs_is_given_up(dial: Dial, upstream: Upstream) -> None:
    """
    The attempt's time is up: the library's own ReadTimeout, the lease is back, and a POST is not sent again.
    """
    gov = governor(timeout=0.5)
    gate = Semaphore(0)
    caller = dial(gov, "api")

    with pytest.raises(caller.library.ReadTimeout):
        caller.post(upstream.script("/a", hang(gate)))
    gate.release()
    state = gov.status()["api"]
    assert (state["in_flight"], state["categories"], len(upstream.received)) == (0, {"timeout": 1}, 1)


def test_time_outs_are_retried_and_noted(dial: Dial, upstream: Upstream) -> None:
    """
    A GET that hangs is sent again; the exception of the last attempt says how often.
    """
    gate = Semaphore(0)
    caller = dial(governor(timeout=1.0), "api")
    with pytest.raises(caller.library.ReadTimeout) as caught:
        caller.get(upstream.script("/a", hang(gate)))
    gate.release(9)

    assert (len(upstream.received), caught.value.request.url.path) == (3, "/a")
    assert caught.value.__notes__ == ["egressor: api: gave up after 3 attempts"]


def test_a_hanging_error_body_does_not_hold_the_call(dial: Dial, upstream: Upstream) -> None:
    """
    A failure that never ends its body is over when the attempt's time is.
    """
    gate = Semaphore(0)

    def slow(handler: Any) -> None:
        handler.head(400, {"content-length": "10"})
        handler.wfile.write(b"first")
        gate.acquire()
        handler.close_connection = True

    gov = governor(timeout=0.5, retry={"attempts": 1})
    caller = dial(gov, "api")
    with pytest.raises(caller.library.ReadTimeout):
        caller.get(upstream.script("/a", slow))
    gate.release()
    assert gov.status()["api"]["in_flight"] == 0


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_an_answer_without_a_body_ends_its_lease_at_once(
    dial: Dial, upstream: Upstream, method: str, status: int
) -> None:
    """
    Nobody needs to close what has no body.
    """
    gov = governor()
    caller = dial(gov, "api")
    response = caller.open(upstream.script("/a", answer(status)), method)

    assert (response.status_code, gov.status()["api"]["in_flight"]) == (status, 0)
    assert b"".join(caller.chunks(response)) == b""


def test_a_redirect_is_the_next_call(dial: Dial, upstream: Upstream) -> None:
    """
    Each hop passes the gate.
    """
    gov = governor()
    url = upstream.script("/a", answer(302, headers={"location": "/b"}))
    upstream.script("/b", answer(200, b"there"))

    assert dial(gov, "api").get(url, follow_redirects=True).content == b"there"
    assert gov.status()["api"]["admitted"] == 2


def test_a_mock_transport_inside_works(dial: Dial) -> None:
    """
    A response that was made in memory, read already, ends its lease at once; a failing one gets its verdict.
    """
    gov = governor()
    caller = dial(gov, "api")
    replies = [caller.library.Response(429, json={"error": "slow down"}), caller.library.Response(200, json=[1])]
    caller = dial(gov, "api", caller.library.MockTransport(lambda request: replies.pop(0)))

    assert caller.get("http://x.example/").json() == [1]
    state = gov.status()["api"]
    assert (state["in_flight"], state["categories"]) == (0, {"rate_limit": 1})


def test_a_stream_survives_its_attempts_time(dial: Dial, upstream: Upstream) -> None:
    """
    The time-out bounds an attempt up to its headers and each wait for a part, not the whole of a body.
    """
    gov = governor()
    caller = dial(gov, "api")
    response = caller.open(upstream.script("/a", stream(b"one", b"two")))
    gov.clock.advance(3_600)  # type: ignore[attr-defined]

    assert b"".join(caller.chunks(response)) == b"onetwo"
