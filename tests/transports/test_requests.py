"""
Requests through the adapter, against a real server: what is retried, what is counted, what comes out, what is held.
"""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys
import warnings
from threading import Semaphore
from typing import TYPE_CHECKING, Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from requests.auth import HTTPDigestAuth
from urllib3 import HTTPResponse, Retry, Timeout

from egressor import CircuitOpen, ConfigError, Governor, Rejected, WaitTooLong
from egressor.transports import NestedRetryWarning
from egressor.transports.requests import Adapter
from tests.transports.sessions import EASY, blocking, governor, state, strict
from tests.transports.upstream import answer, as_json, hang, lie, reset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.transports.upstream import Behaviour, Upstream

pytestmark = pytest.mark.usefixtures("dropped_sessions")


def test_a_success_comes_out_as_the_server_sent_it(upstream: Upstream) -> None:
    """
    Status, headers, cookies and body are the server's, the response knows its request, and the call is counted.
    """
    gov = governor()
    url = upstream.script("/a", answer(200, b"hello", {"x-own": "1", "set-cookie": "c=1"}))

    with blocking(gov) as client:
        found = client.get(url)
        cookies = dict(client.cookies)
    assert (found.status_code, found.headers["x-own"], found.content, cookies) == (200, "1", b"hello", {"c": "1"})
    assert (found.request.url, isinstance(found.raw, HTTPResponse)) == (url, True)
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
        ("POST", {"files": {"f": b"x"}}, answer(429), 2, 200),
        ("GET", {}, as_json({"error": {"code": "insufficient_quota"}}, 429), 1, 429),
    ],
)
def test_what_may_be_sent_again_is(
    upstream: Upstream, method: str, options: dict[str, Any], first: Behaviour, sent: int, status: int | None
) -> None:
    """
    A failure is retried if its verdict allows it; what may have been executed only if it is idempotent.
    """
    gov = governor()
    url = upstream.script("/a", first, answer(200, b"fine"))
    with blocking(gov) as client:
        got = None
        if status is None:
            with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
                client.request(method, url, **options)
        else:
            got = client.request(method, url, **options).status_code

    assert (len(upstream.received), got) == (sent, status)
    assert len({each.body for each in upstream.received}) == 1
    assert state(gov)["in_flight"] == 0


def test_retry_after_is_obeyed(upstream: Upstream) -> None:
    """
    The retry comes no earlier than the server said, and the wait is the clock's.
    """
    gov = governor()
    before = gov.clock.now()
    url = upstream.script("/a", answer(429, headers={"retry-after": "7"}), answer(200))

    assert blocking(gov).get(url).status_code == 200
    assert gov.clock.now() - before >= 7_000_000


def test_statuses_open_the_breaker(upstream: Upstream) -> None:
    """
    Three 500s open it, and the fourth call is not sent: no exception was needed.
    """
    gov = governor(breaker={"consecutive": 3}, retry={"attempts": 1})
    client = blocking(gov)
    url = upstream.script("/a", answer(500))
    statuses = [client.get(url).status_code for _ in range(3)]

    with pytest.raises(CircuitOpen):
        client.get(url)
    assert (statuses, len(upstream.received)) == ([500] * 3, 3)


def test_a_refusal_is_raised_as_it_is(upstream: Upstream) -> None:
    """
    A call that was not sent raises our own exception, and the server hears nothing of it.
    """
    client = blocking(governor(limits=["1/hour"]))
    url = upstream.script("/a", answer())
    client.get(url)

    with pytest.raises(WaitTooLong) as caught:
        client.get(url)
    assert (caught.value.service, len(upstream.received)) == ("api", 1)


def test_the_librarys_exception_comes_out_with_a_note() -> None:
    """
    Nobody listens: the last attempt's ConnectionError, with our note.
    """
    with pytest.raises(requests.ConnectionError) as caught:
        blocking(governor()).get("http://127.0.0.1:1/a")
    assert caught.value.request is not None
    assert caught.value.__notes__ == ["egressor: api: gave up after 3 attempts"]


@pytest.mark.parametrize(
    "said",
    [None, 60, 60.0, (60, 60), (60, None), (None, None), Timeout(total=60), Timeout(connect=60, read=60)],
    ids=repr,
)
def test_the_policys_time_out_lowers_each_form_of_the_sessions(upstream: Upstream, said: Any) -> None:
    """
    Whatever the caller gave, or did not give: an attempt waits no longer than its policy says.
    """
    gate = Semaphore(0)
    client = blocking(Governor({"api": {**EASY, "timeout": 0.05, "retry": {"attempts": 1}}}))

    with pytest.raises(requests.ReadTimeout):
        client.get(upstream.script("/a", hang(gate)), timeout=said)
    gate.release()


@pytest.mark.parametrize("said", [0.05, (5, 0.05), Timeout(total=0.05)], ids=repr)
def test_the_sessions_shorter_time_out_stays(upstream: Upstream, said: Any) -> None:
    """
    The caller's own time-out is obeyed where it is shorter.
    """
    gate = Semaphore(0)
    client = blocking(governor(retry={"attempts": 1}))

    with pytest.raises(requests.ReadTimeout):
        client.get(upstream.script("/a", hang(gate)), timeout=said)
    gate.release()


def test_a_deadline_cuts_an_attempt_short(upstream: Upstream) -> None:
    """
    A time-out that the caller's own deadline brought isn't held against the service.
    """
    gate = Semaphore(0)
    gov = strict(retry={"attempts": 3, "base": 5.0})
    client = blocking(gov, deadline=0.1)

    with pytest.raises(requests.ReadTimeout):
        client.get(upstream.script("/a", hang(gate)))
    gate.release()
    assert (state(gov)["state"], len(upstream.received)) == ("closed", 1)


class Pipe(io.BytesIO):
    """
    A file that can't be rewound.
    """

    def seekable(self) -> bool:
        """
        Say no.
        """
        return False


def parts() -> Iterator[bytes]:
    """
    Return a body that is read once.
    """
    yield b"one"
    yield b"two"


@pytest.mark.parametrize(
    ("make", "sent"),
    [
        (lambda: b"onetwo", 2),
        (lambda: "onetwo", 2),
        (lambda: io.BytesIO(b"onetwo"), 2),
        (lambda: Pipe(b"onetwo"), 1),
        (lambda: io.TextIOWrapper(Pipe(b"onetwo")), 1),
        (parts, 1),
        (lambda: None, 2),
    ],
    ids=["bytes", "text", "file", "pipe", "text-pipe", "iterator", "none"],
)
@pytest.mark.parametrize("first", [answer(429), reset], ids=["429", "reset"])
def test_a_body_is_replayed_where_it_can_be(upstream: Upstream, make: Any, sent: int, first: Behaviour) -> None:
    """
    Bytes and files are sent again from their start; what can be read only once has gone with the first attempt.
    """
    url = upstream.script("/a", first, answer())
    client, body = blocking(governor()), make()
    if first is reset and sent == 1:
        with pytest.raises(requests.ConnectionError):
            client.put(url, data=body)
    else:
        # What is sent may be a copy: the caller's own request is on the response.
        assert client.put(url, data=body).request.body is body

    expected = b"onetwo" if make() is not None else b""
    assert [each.body for each in upstream.received] == [expected] * sent


def test_a_file_is_sent_from_where_it_stood(upstream: Upstream) -> None:
    """
    Not from its beginning: the caller had read three bytes of it.
    """
    file = io.BytesIO(b"onetwo")
    file.read(3)
    blocking(governor()).post(upstream.script("/a", answer(429), answer()), data=file)

    assert [each.body for each in upstream.received] == [b"two", b"two"]


def test_a_body_that_was_not_begun_is_sent_again(upstream: Upstream) -> None:
    """
    No connection was made, so that even an iterator's body is whole at the retry.
    """

    class Flaky(HTTPAdapter):
        is_broken = True

        def send(self, request: Any, *args: Any, **options: Any) -> Any:
            if self.is_broken:
                self.is_broken = False
                raise requests.ConnectTimeout(request=request)
            return super().send(request, *args, **options)

    client = blocking(governor(), inner=Flaky())

    assert client.put(upstream.script("/a", answer()), data=parts()).status_code == 200
    assert [each.body for each in upstream.received] == [b"onetwo"]


def test_redirects_are_calls_of_their_own(upstream: Upstream) -> None:
    """
    A redirect's lease ends before the next call, so that one place is enough; each is counted.
    """
    gov = governor(max_concurrency=1)
    upstream.script("/b", answer(200, b"there"))
    url = upstream.script("/a", answer(302, b"go", {"location": "/b"}))

    assert blocking(gov).get(url).content == b"there"
    assert (state(gov)["succeeded"], state(gov)["in_flight"]) == (2, 0)


def test_who_answers_a_challenge_passes_the_gate_again(upstream: Upstream) -> None:
    """
    Digest authentication sends its second request by the response's adapter: by ours.
    """
    gov = governor()
    challenge = {"www-authenticate": 'Digest realm="r", nonce="n", qop="auth"'}
    url = upstream.script("/a", answer(401, b"who?", challenge), answer(200, b"you"))

    assert blocking(gov).get(url, auth=HTTPDigestAuth("u", "p")).content == b"you"
    assert (state(gov)["admitted"], len(upstream.received)) == (2, 2)


@pytest.mark.parametrize(
    ("unknown", "path", "outcome"), [("pass", "/v2", 200), ("refuse", "/v2", None), ("refuse", "/v1/x", 200)]
)
def test_a_service_is_found_by_its_base_url(upstream: Upstream, unknown: str, path: str, outcome: int | None) -> None:
    """
    What no base URL holds passes ungoverned, or is refused without its path being told.
    """
    gov = Governor({"api": {"base_url": upstream.url + "/v1"}}, unknown_hosts=unknown)
    url = upstream.script(path, answer())
    client = blocking(gov, None)
    if outcome is None:
        with pytest.raises(Rejected, match="unknown_hosts") as caught:
            client.get(url)
        assert (path in str(caught.value), caught.value.reason) == (False, "unknown_host")
    else:
        assert client.get(url).status_code == outcome
    assert state(gov)["admitted"] == int(path.startswith("/v1"))


def test_options_reach_the_rules(upstream: Upstream) -> None:
    """
    A scope may depend on the request; its rule's limit refuses the second.
    """
    rule = {"match": {"user": "*"}, "limits": ["1/hour"]}
    client = blocking(governor(rules=[rule]), scope=lambda request: {"user": request.headers["x-user"]})
    url = upstream.script("/a", answer())
    got = [client.get(url, headers={"x-user": user}).status_code for user in ("a", "b")]

    with pytest.raises(WaitTooLong):
        client.get(url, headers={"x-user": "a"})
    assert got == [200, 200]
    with pytest.raises(ConfigError):
        Adapter(governor(), "nobody")


def test_an_adapter_that_is_closed_after_each_call_goes_on(upstream: Upstream) -> None:
    """
    Some libraries close their session after each request: the limits' state is the governor's, and stays.
    """
    gov = governor(limits=["2/hour"])
    client = blocking(gov)
    url = upstream.script("/a", answer())
    for _ in range(2):
        client.get(url)
        client.close()

    with pytest.raises(WaitTooLong):
        client.get(url)
    Adapter(gov).close()


def test_closing_closes_the_connections(upstream: Upstream) -> None:
    """
    The inner adapter's, and as often as the session is closed.
    """

    class Counted(HTTPAdapter):
        closed = 0

        def close(self) -> None:
            self.closed += 1
            super().close()

    inner = Counted()
    client = blocking(governor(), inner=inner)
    for _ in range(2):
        client.get(upstream.script("/a", answer()))
        client.close()

    # The adapter is mounted for one scheme only.
    assert inner.closed == 2


@pytest.mark.parametrize(
    ("retries", "warned"),
    [
        (0, 0),
        (3, 1),
        (Retry(0, read=False), 0),
        (Retry(total=None, connect=0), 0),
        (Retry(total=None, status=2), 1),
        (Retry(total=False), 0),
    ],
    ids=repr,
)
def test_retries_inside_are_warned_of_once(upstream: Upstream, retries: Any, warned: int) -> None:
    """
    An inner adapter with retries of its own is named once for each governor.
    """
    client = blocking(governor(), inner=HTTPAdapter(max_retries=retries))
    url = upstream.script("/a", answer())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", NestedRetryWarning)
        for _ in range(2):
            client.get(url)

    assert [each.category for each in caught if each.category is NestedRetryWarning] == [NestedRetryWarning] * warned


def test_what_the_adapter_lacks_is_its_inner_ones() -> None:
    """
    Libraries look into an adapter; private names are not passed on, so that it isn't taken for a copy.
    """
    adapter: Any = Adapter(governor(), "api", HTTPAdapter(max_retries=0))

    assert adapter.max_retries.total == 0
    with pytest.raises(AttributeError, match="_nothing"):
        _ = adapter._nothing


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.deepcopy], ids=["pickle", "deepcopy"])
@pytest.mark.parametrize("is_mounted", [True, False])
def test_an_adapter_says_that_it_is_no_thing_to_copy(duplicate: Callable[[Any], Any], is_mounted: bool) -> None:
    """
    Alone or with the session that it is mounted on: the message says what to do instead.
    """
    client = blocking(governor())

    with pytest.raises(TypeError, match="copy the session first, then mount an Adapter on the copy"):
        duplicate(client if is_mounted else client.adapters["http://"])


@pytest.mark.parametrize(("status", "text"), [(200, b"local"), (500, b"local")])
def test_an_adapter_of_somebodys_own_is_settled_at_once(status: int, text: bytes) -> None:
    """
    A body that isn't urllib3's doesn't tell when it ends: nothing is held, and it comes out as it is.
    """

    class Local(HTTPAdapter):
        def send(self, request: Any, *args: Any, **options: Any) -> Any:
            made = requests.Response()
            made.status_code = status
            made.raw = io.BytesIO(text)
            made.url = request.url
            return made

    gov = governor(retry={"attempts": 1})
    found = blocking(gov, inner=Local()).get("http://x.example/", stream=True)

    assert (state(gov)["in_flight"], found.status_code, found.content) == (0, status, text)


def test_no_library_is_imported_before_it_is_asked() -> None:
    """
    The modules of the transports load neither requests nor aiohttp.
    """
    code = (
        "import sys, egressor.transports.requests, egressor.transports.aiohttp;"
        "print({'requests', 'urllib3', 'aiohttp', 'yarl'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n"
