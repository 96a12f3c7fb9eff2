"""
An SDK's own retries are noticed, and only they.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING

import httpx2
import openai
import pytest

from egressor import Governor
from egressor.testing import FakeClock
from egressor.transports import NestedRetryWarning
from egressor.transports.httpx import AsyncTransport, Transport
from tests.transports.upstream import Upstream, answer, reset

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.transports.upstream import Behaviour


def ask(gov: Governor, url: str, *, times: int, max_retries: int) -> list[str]:
    """
    Ask by an SDK, so many times, and return the warnings.
    """
    with (
        warnings.catch_warnings(record=True) as caught,
        httpx2.Client(transport=Transport(gov, "llm")) as client,
        openai.OpenAI(base_url=url, api_key="k", http_client=client, max_retries=max_retries) as sdk,
    ):
        warnings.simplefilter("always")
        for _ in range(times):
            with pytest.raises(openai.InternalServerError):
                sdk.models.list()
    return [str(each.message) for each in caught if each.category is NestedRetryWarning]


@pytest.mark.parametrize(("max_retries", "warned"), [(0, 0), (1, 1)])
def test_retries_inside_are_warned_of_once(upstream: Upstream, max_retries: int, warned: int) -> None:
    """
    However often an SDK retries on one governor, one warning says what to set; with ``max_retries=0`` none does.
    """
    gov = Governor({"llm": {"retry": {"attempts": 2}, "breaker": {"enabled": False}}}, clock=FakeClock())
    # The SDK's own back-off is real time; it obeys this header.
    upstream.script("/models", answer(500, headers={"retry-after-ms": "1"}))
    found = ask(gov, upstream.url, times=2, max_retries=max_retries)

    assert len(found) == warned
    assert all("max_retries=0" in text for text in found)
    assert len(upstream.received) == 2 * 2 * (1 + max_retries)


@pytest.mark.parametrize(("count", "warned"), [("0", 0), ("1", 1), ("17", 1), ("", 0), ("x", 0), ("-1", 0)])
def test_only_a_number_above_0_proves_it(upstream: Upstream, count: str, warned: int) -> None:
    """
    An SDK sends 0 also where it never retries.
    """
    gov = Governor({"llm": {}})
    url = upstream.script("/a", answer())
    with warnings.catch_warnings(record=True) as caught, httpx2.Client(transport=Transport(gov, "llm")) as client:
        warnings.simplefilter("always")
        client.get(url, headers={"X-Stainless-Retry-Count": count})

    assert len(caught) == warned


def test_a_warning_that_is_an_error_leaks_nothing(upstream: Upstream) -> None:
    """
    It is raised before anything is admitted.
    """
    gov = Governor({"llm": {}})
    with warnings.catch_warnings(), httpx2.Client(transport=Transport(gov, "llm")) as client:
        warnings.simplefilter("error")
        with pytest.raises(NestedRetryWarning):
            client.get(upstream.script("/a", answer()), headers={"x-stainless-retry-count": "1"})

    state = gov.status()["llm"]
    assert (state["admitted"], state["in_flight"]) == (0, 0)


def test_no_library_is_imported_before_it_is_asked() -> None:
    """
    Neither ``import egressor`` nor the transports' module loads httpx2 or httpx.
    """
    code = "import sys, egressor, egressor.transports.httpx; print({'httpx', 'httpx2', 'h11'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n"


def _nested(gov: Governor, ask: Callable[[], object]) -> Callable[[], object]:
    """
    Return *ask* inside of three decorated functions.
    """
    governed = gov.throttled("llm")
    return governed(governed(governed(ask)))


def _deep(gov: Governor, url: str, *, max_retries: int) -> tuple[Exception, list[str]]:
    with (
        warnings.catch_warnings(record=True) as caught,
        httpx2.Client(transport=Transport(gov, "llm")) as client,
        openai.OpenAI(base_url=url, api_key="k", http_client=client, max_retries=max_retries) as sdk,
    ):
        warnings.simplefilter("always")
        with pytest.raises(openai.APIError) as raised:
            _nested(gov, sdk.models.list)()
    return raised.value, [str(each.message) for each in caught if each.category is NestedRetryWarning]


async def _adeep(gov: Governor, url: str, *, max_retries: int) -> tuple[Exception, list[str]]:
    async with (
        httpx2.AsyncClient(transport=AsyncTransport(gov, "llm")) as client,
        openai.AsyncOpenAI(base_url=url, api_key="k", http_client=client, max_retries=max_retries) as sdk,
    ):
        governed = gov.throttled("llm")

        async def ask() -> object:
            return await sdk.models.list()

        async def middle() -> object:
            return await governed(ask)()

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with pytest.raises(openai.APIError) as raised:
                await governed(middle)()
        return raised.value, [str(each.message) for each in caught if each.category is NestedRetryWarning]


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (answer(503, b'{"error":{"message":"down"}}', {"retry-after-ms": "1"}), openai.InternalServerError),
        (reset, openai.APIConnectionError),
    ],
    ids=["503", "reset"],
)
def test_layers_of_retries_make_the_policys_attempts(
    upstream: Upstream, colour: str, behaviour: Behaviour, kind: type[Exception]
) -> None:
    """
    Decorators around an SDK that retries twice by itself: three attempts on the wire, and a warning names the SDK's.
    """
    policy = {"retry": {"attempts": 3, "budget": False}, "breaker": {"enabled": False}, "dialect": "openai"}
    gov = Governor({"llm": policy}, clock=FakeClock())
    upstream.script("/models", behaviour)
    if colour == "sync":
        error, found = _deep(gov, upstream.url, max_retries=2)
    else:
        error, found = asyncio.run(_adeep(gov, upstream.url, max_retries=2))

    assert type(error) is kind
    assert [each.headers["x-stainless-retry-count"] for each in upstream.received] == ["0"] * 3
    assert found == ["an SDK retries by itself, on top of its policy's retries: construct it with max_retries=0"]
    assert gov.status()["llm"]["in_flight"] == 0


def test_an_sdks_retry_is_one_of_the_calls(upstream: Upstream) -> None:
    """
    Where our own policy tries once and the decorated function's three times, an SDK's two retries are sent, no more.
    """
    services = {"llm": {"retry": {"attempts": 1}}, "outer": {"retry": {"attempts": 3}}}
    gov = Governor(services, clock=FakeClock())
    upstream.script("/models", answer(503, headers={"retry-after-ms": "1"}))
    with (
        warnings.catch_warnings(),
        httpx2.Client(transport=Transport(gov, "llm")) as client,
        openai.OpenAI(base_url=upstream.url, api_key="k", http_client=client, max_retries=5) as sdk,
    ):
        warnings.simplefilter("ignore")
        with pytest.raises(openai.InternalServerError):
            gov.call("outer", sdk.models.list)

    assert len(upstream.received) == 3


@pytest.mark.parametrize("named", [False, True])
def test_each_request_gets_its_own_answer_again(upstream: Upstream, named: bool) -> None:
    """
    Two requests to one address are told apart by their bodies, or by their idempotency keys; and one that nobody knows
    is sent.
    """
    gov = Governor({"llm": {"retry": {"attempts": 1}, "breaker": {"enabled": False}}}, clock=FakeClock())
    upstream.script("/x", answer(500, b"B failed"), answer(400, b"A is wrong"), answer(500, b"C failed"))

    def post(client: httpx2.Client, what: str, count: int) -> tuple[int, bytes]:
        headers = {"x-stainless-retry-count": str(count), **({"idempotency-key": what} if named else {})}
        # A form with files has another boundary each time: then the key tells.
        content = f"{what}{count}" if named else what
        response = client.post(f"{upstream.url}/x", content=content.encode(), headers=headers)
        return response.status_code, response.content

    def work() -> list[tuple[int, bytes]]:
        with httpx2.Client(transport=Transport(gov, "llm")) as client:
            order = [("B", 0), ("A", 0), ("B", 1), ("A", 1), ("B", 2), ("C", 1)]
            return [post(client, what, count) for what, count in order]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = gov.call("llm", work)

    b, a, c = (500, b"B failed"), (400, b"A is wrong"), (500, b"C failed")
    assert found == [b, a, b, a, b, c]
    assert len(upstream.received) == 3


def test_answers_that_are_kept_are_bounded(upstream: Upstream) -> None:
    """
    The last sixteen requests' are; an older one is sent again, and so is a body that is a stream.
    """
    gov = Governor({"llm": {"retry": {"attempts": 1}, "breaker": {"enabled": False}}}, clock=FakeClock())
    upstream.script("/x", answer(500, b"down"))

    def work() -> None:
        with httpx2.Client(transport=Transport(gov, "llm")) as client:
            for number in range(17):
                client.post(f"{upstream.url}/x", content=b"%d" % number, headers={"x-stainless-retry-count": "0"})
            for again in (b"1", b"16", b"0", iter([b"2"])):
                client.post(f"{upstream.url}/x", content=again, headers={"x-stainless-retry-count": "1"})

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gov.call("llm", work)

    assert len(upstream.received) == 17 + 2
