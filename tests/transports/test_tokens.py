"""
Requests to language models under limits of tokens: expected, asked for, and settled, through every client.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from egressor import Governor, NeverFits, WaitTooLong, unwrap
from egressor._core.learned import tokens
from egressor.dialects.prompts import measured
from egressor.testing import FakeClock
from egressor.transports.httpx import AsyncTransport, Transport
from tests.transports.every import EVERY
from tests.transports.upstream import answer, as_json, reset, stream

if TYPE_CHECKING:
    from pathlib import Path

    from tests.transports.every import Ask
    from tests.transports.upstream import Behaviour, Handler, Upstream

ASKED = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "hello " * 50}]}
SENT = tokens(measured(ASKED)[0])
USED = {"prompt_tokens": 90, "completion_tokens": 5, "total_tokens": 95}
ANSWER = {"id": "x", "model": "m", "choices": [{"message": {"content": "hi"}}], "usage": USED}
FRAMES = (
    b'data: {"model": "m", "choices": [{"delta": {"content": "hi you"}}]}\n\n',
    b'data: {"model": "m", "choices": [], "usage": ' + json.dumps(USED).encode() + b"}\n\n",
    b"data: [DONE]\n\n",
)
CHAT = "/v1/chat/completions"


@pytest.fixture(params=EVERY)
def read(request: pytest.FixtureRequest) -> Ask:
    """
    A client that is asked for an answer and reads it whole.
    """
    return EVERY[request.param]


def governor(*limits: str, **policy: Any) -> Governor:
    """
    A governor of one service, which refuses what would have to wait, on a clock that stands still.
    """
    api = {"dialect": "openai", "limits": list(limits or ["4000 tokens/minute"]), "max_wait": 0, **policy}
    return Governor({"api": {"retry": {"attempts": 1}, "timeout": 5.0, **api}}, clock=FakeClock(), dice=lambda: 0.0)


def used(gov: Governor) -> dict[str, int]:
    """
    What is taken of each unit.
    """
    limits = gov.status()["api"]["limits"]
    return {each["unit"]: each["limit"] - each["left"] for each in limits}


def watched(gov: Governor, seen: list[dict[str, int]], behaviour: Behaviour) -> Behaviour:
    """
    Behave so, and note what is taken when the request is there.
    """

    def behave(handler: Handler) -> None:
        seen.append(used(gov))
        behaviour(handler)

    return behave


def packed(value: object) -> Behaviour:
    """
    Answer with a packed JSON document.
    """
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    return answer(200, gzip.compress(json.dumps(value).encode()), headers)


@pytest.mark.parametrize("dialect", ["openai", "openrouter", "generic"])
@pytest.mark.parametrize(
    "behaviour", [as_json(ANSWER), packed(ANSWER), stream(*FRAMES)], ids=["json", "packed", "events"]
)
def test_what_was_expected_is_settled_by_the_answer(
    read: Ask, upstream: Upstream, behaviour: Behaviour, dialect: str
) -> None:
    """
    Its text by four and all that it may be answered with, before; what the answer says, afterwards.
    """
    gov, seen = governor(dialect=dialect), list[dict[str, int]]()
    read(gov, upstream.script(CHAT, watched(gov, seen, behaviour)), "POST", json=ASKED)

    assert seen == [{"tokens": SENT + 100}]
    assert used(gov) == {"tokens": 95}


def test_each_direction_may_have_a_limit(read: Ask, upstream: Upstream) -> None:
    """
    Anthropic's limits are for what is sent, but for what its cache had, and for what is received.
    """
    gov = governor("4000 input_tokens/minute", "400 output_tokens/minute", "9/minute", dialect="anthropic")
    seen: list[dict[str, int]] = []
    usage = {"input_tokens": 60, "cache_read_input_tokens": 1000, "output_tokens": 7}
    said = as_json({"type": "message", "model": "m", "usage": usage})
    read(gov, upstream.script("/v1/messages", watched(gov, seen, said)), "POST", json=ASKED)

    assert seen == [{"input_tokens": SENT, "output_tokens": 100, "requests": 1}]
    assert used(gov) == {"input_tokens": 60, "output_tokens": 7, "requests": 1}


def test_more_than_was_expected_is_charged(read: Ask, upstream: Upstream) -> None:
    """
    Also beyond the limit: what was used was used.
    """
    gov = governor("1000 tokens/minute")
    usage = {"prompt_tokens": 900, "completion_tokens": 600, "total_tokens": 1500}
    url = upstream.script(CHAT, as_json({**ANSWER, "usage": usage}))
    read(gov, url, "POST", json=ASKED)

    assert used(gov) == {"tokens": 1000}
    with pytest.raises(WaitTooLong) as caught:
        read(gov, url, "POST", json=ASKED)
    refusal = unwrap(caught.value)
    assert isinstance(refusal, WaitTooLong)
    assert refusal.retry_after is not None
    assert 60 <= refusal.retry_after <= 61


def test_a_stream_that_does_not_say_is_counted_by_its_text(read: Ask, upstream: Upstream) -> None:
    """
    Six bytes are two tokens; the prompt stays as it was expected.
    """
    gov = governor()
    read(gov, upstream.script(CHAT, stream(FRAMES[0], FRAMES[2])), "POST", json=ASKED)

    assert used(gov) == {"tokens": SENT + 2}


@pytest.mark.parametrize(
    "behaviour", [stream(FRAMES[0]), as_json({"model": "m"}), answer(200, b"?")], ids=["cut", "silent", "text"]
)
def test_what_nobody_knows_stays_as_it_was_expected(read: Ask, upstream: Upstream, behaviour: Behaviour) -> None:
    """
    A stream that was cut off, an answer that says nothing.
    """
    gov = governor()
    read(gov, upstream.script(CHAT, behaviour), "POST", json=ASKED)

    assert used(gov) == {"tokens": SENT + 100}


@pytest.mark.parametrize(("status", "taken"), [(400, 0), (401, 0), (429, 0), (500, SENT + 100)])
def test_a_refusal_by_the_server_takes_nothing(read: Ask, upstream: Upstream, status: int, taken: int) -> None:
    """
    What it may have done before it failed, stays.
    """
    gov = governor()
    read(gov, upstream.script(CHAT, as_json({"error": {"message": "no"}}, status)), "POST", json=ASKED)

    assert used(gov) == {"tokens": taken}


def test_a_connection_that_breaks_leaves_it_as_it_was_expected(read: Ask, upstream: Upstream) -> None:
    """
    Nobody knows what was done.
    """
    gov = governor()
    with pytest.raises(Exception):  # noqa: B017, PT011 - each library has its own
        read(gov, upstream.script(CHAT, reset), "POST", json=ASKED)

    assert used(gov) == {"tokens": SENT + 100}


def test_what_was_used_stays_used_whatever_the_stream_ends_in(read: Ask, upstream: Upstream) -> None:
    """
    One that says what it used, and then that it was refused, has used it.
    """
    gov = governor(budget={"total": 1.0})
    error = b'data: {"error": {"code": 429, "message": "Rate limit exceeded"}}\n\n'
    url = upstream.script(CHAT, stream(*FRAMES[:2], error, FRAMES[2]))
    read(gov, url, "POST", json={**ASKED, "model": "gpt-4o"})

    assert gov.errors()["total"] == 1
    assert used(gov) == {"tokens": 95}


def test_each_attempt_takes_its_own(upstream: Upstream) -> None:
    """
    One that was refused gives its tokens back, and the next asks for them anew.
    """
    gov = governor(retry={"attempts": 2, "base": 0, "jitter": False}, max_wait=9)
    seen: list[dict[str, int]] = []
    script = [as_json({"error": {"message": "no"}}, 429), as_json(ANSWER)]
    url = upstream.script(CHAT, *[watched(gov, seen, each) for each in script])
    EVERY["httpx2"](gov, url, "POST", json=ASKED)

    assert seen == [{"tokens": SENT + 100}] * 2
    assert used(gov) == {"tokens": 95}


def test_a_prompt_that_can_never_fit_says_so(read: Ask, upstream: Upstream) -> None:
    """
    It is not sent; an answer that may be longer than the limit holds at once takes all that is left of it.
    """
    gov, seen = governor("400 tokens/minute"), list[dict[str, int]]()
    url = upstream.script(CHAT, watched(gov, seen, as_json(ANSWER)))
    with pytest.raises(NeverFits) as caught:
        read(gov, url, "POST", json={**ASKED, "messages": [{"role": "user", "content": "x" * 1985}]})
    read(gov, url, "POST", json={**ASKED, "max_tokens": 10**6})

    said = "a cost of 500 tokens can never fit 400 tokens/minute, which holds 400 at once"
    assert said in str(unwrap(caught.value))
    assert seen == [{"tokens": 400}]
    assert used(gov) == {"tokens": 95}


def test_the_expectation_learns(read: Ask, upstream: Upstream) -> None:
    """
    After twenty answers of five tokens no more is asked for, and the prompt is known better.
    """
    gov, seen = governor("1_000_000 tokens/minute"), list[dict[str, int]]()
    url = upstream.script(CHAT, watched(gov, seen, as_json(ANSWER)))
    for _ in range(22):
        read(gov, url, "POST", json=ASKED)
    asked_for = [each["tokens"] - 95 * number for number, each in enumerate(seen)]

    assert asked_for[0] == SENT + 100
    assert asked_for[19] < SENT + 100 + 5
    assert SENT < asked_for[21] < 95


def test_a_known_vocabulary_counts_exactly(upstream: Upstream) -> None:
    """
    Ten digits and a blank are five tokens of GPT-4o's, and two and three quarters for a model that nobody knows.
    """
    gov, seen = governor(), list[dict[str, int]]()
    url = upstream.script("/v1/responses", watched(gov, seen, as_json(ANSWER, 400)))
    for model in ("gpt-4o", "m"):
        EVERY["httpx2"](gov, url, "POST", json={"model": model, "input": "1234567890 " * 80, "max_output_tokens": 0})

    assert seen == [{"tokens": 80 * 5}, {"tokens": 80 * 11 // 4}]


def test_what_a_program_states_stays(upstream: Upstream) -> None:
    """
    A cost in tokens is neither guessed nor corrected; the other direction's limit is.
    """
    gov, seen = governor("4000 input_tokens/minute", "4000 output_tokens/minute"), list[dict[str, int]]()
    url = upstream.script(CHAT, watched(gov, seen, as_json(ANSWER)))
    with httpx2.Client(transport=Transport(gov, "api", cost={"input_tokens": 800})) as client:
        client.post(url, json=ASKED)

    assert seen == [{"input_tokens": 800, "output_tokens": 100}]
    assert used(gov) == {"input_tokens": 800, "output_tokens": 5}


def test_a_limit_that_does_not_apply_is_not_taken_from(upstream: Upstream) -> None:
    """
    A rule for another model has tokens; this call is left alone, and its stream is not listened to.
    """
    gov = governor("9/minute", rules=[{"match": {"model": "another"}, "limits": ["4 tokens/minute"]}])
    EVERY["httpx2"](gov, upstream.script(CHAT, as_json(ANSWER)), "POST", json=ASKED)

    assert used(gov) == {"requests": 1}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/models", None),
        ("POST", "/v1/messages/count_tokens", ASKED),
        ("POST", "/v1/images/generations", {"model": "m", "prompt": "a cat"}),
        ("POST", "/v1/files", {"purpose": "batch"}),
        ("POST", "/v1/chat/completions", [1, 2]),
    ],
)
def test_other_requests_take_no_tokens(read: Ask, upstream: Upstream, method: str, path: str, body: object) -> None:
    """
    What only looks, counts or uploads.
    """
    gov = governor()
    read(gov, upstream.script(path, as_json(ANSWER)), method, **({} if body is None else {"json": body}))

    assert used(gov) == {"tokens": 0}


def test_embeddings_receive_nothing(read: Ask, upstream: Upstream) -> None:
    """
    Only their text is asked for.
    """
    gov, seen = governor(), list[dict[str, int]]()
    said = as_json({"data": [], "model": "m", "usage": {"prompt_tokens": 90, "total_tokens": 90}})
    url = upstream.script("/v1/embeddings", watched(gov, seen, said))
    read(gov, url, "POST", json={"model": "m", "input": "x" * 400})

    assert seen == [{"tokens": 100}]
    assert used(gov) == {"tokens": 90}


def test_a_body_that_is_a_stream_is_taken_by_its_length(upstream: Upstream) -> None:
    """
    Nobody can read it before it is sent; where it doesn't even say how long it is, only its answer is expected.
    """
    gov, seen = governor(), list[dict[str, int]]()
    url = upstream.script(CHAT, watched(gov, seen, as_json(ANSWER)))
    body = json.dumps(ASKED).encode()
    with httpx2.Client(transport=Transport(gov, "api")) as client:
        client.post(url, content=iter([body]))
        client.post(url, content=iter([body]), headers={"content-length": str(len(body))})

    assert seen == [{"tokens": 1500}, {"tokens": 95 + tokens(len(body)) + 1500}]
    assert used(gov) == {"tokens": 2 * 95}


def test_an_answer_that_was_kept_takes_nothing(read: Ask, upstream: Upstream) -> None:
    """
    What is given again was sent once.
    """
    gov = governor(cache={"ttl": 60})
    url = upstream.script(CHAT, as_json(ANSWER))
    for _ in range(3):
        read(gov, url, "POST", json={**ASKED, "temperature": 0})

    assert len(upstream.received) == 1
    assert used(gov) == {"tokens": 95}


def test_a_model_s_limit_is_found_by_the_request(read: Ask, upstream: Upstream) -> None:
    """
    A rule for each model matches what the body names, and another model has a limit of its own.
    """
    rule = {"match": {"model": "*"}, "limits": ["400 tokens/minute"]}
    gov = governor("9/minute", rules=[rule])
    usage = {"prompt_tokens": 300, "completion_tokens": 100, "total_tokens": 400}
    url = upstream.script(CHAT, as_json({**ANSWER, "usage": usage}))
    read(gov, url, "POST", json=ASKED)
    with pytest.raises(WaitTooLong):
        read(gov, url, "POST", json=ASKED)
    read(gov, url, "POST", json={**ASKED, "model": "another"})

    assert used(gov) == {"requests": 2}
    assert len(upstream.received) == 2


def test_a_budget_and_a_limit_read_the_same_answer(read: Ask, upstream: Upstream) -> None:
    """
    Money and tokens are settled by what it says, whoever listens first.
    """
    for behaviour in (as_json(ANSWER), stream(*FRAMES)):
        gov = governor(budget={"total": 1.0})
        read(gov, upstream.script(CHAT, behaviour), "POST", json={**ASKED, "model": "gpt-4o"})

        assert used(gov) == {"tokens": 95}
        assert gov.costs()["total"]["unknown_usd"] == "0.000000"
        upstream.script(CHAT)


def test_processes_on_a_store_settle_for_each_other(read: Ask, upstream: Upstream, tmp_path: Path) -> None:
    """
    What one has settled another may take, and no more.
    """
    policy = {"dialect": "openai", "limits": ["400 tokens/minute"], "max_wait": 5.0, "retry": {"attempts": 1}}
    store = f"sqlite:///{tmp_path / 'cells.db'}"
    with Governor({"api": policy}, store=store) as one, Governor({"api": policy}, store=store) as other:
        read(one, upstream.script(CHAT, as_json(ANSWER)), "POST", json=ASKED)

        with pytest.raises(WaitTooLong):
            other.call("api", str, cost={"tokens": 306})
        other.call("api", str, cost={"tokens": 305})


def test_headers_correct_what_is_left(read: Ask, upstream: Upstream) -> None:
    """
    The server says that only 100 of its tokens are left, whatever we think: the next request is held back until there
    are as many again as it is expected to take.
    """
    gov = governor("40_000 tokens/minute")
    headers = {
        "x-ratelimit-limit-tokens": "4000",
        "x-ratelimit-remaining-tokens": "100",
        "x-ratelimit-reset-tokens": "39s",
    }
    url = upstream.script(CHAT, as_json(ANSWER, headers=headers))
    read(gov, url, "POST", json=ASKED)
    with pytest.raises(WaitTooLong) as caught:
        read(gov, url, "POST", json={**ASKED, "max_tokens": 2000})
    refusal = unwrap(caught.value)

    assert isinstance(refusal, WaitTooLong)
    assert "100 of 4000 tokens are left" in str(refusal)
    # It fills at a hundred a second, and calls of medium priority leave a sixteenth of it to higher ones.
    assert refusal.retry_after == pytest.approx((2000 + SENT - 100 + 250) / 100, abs=0.01)
    assert len(upstream.received) == 1


def test_of_thirty_calls_of_2000_tokens_two_go_in_each_minute(upstream: Upstream) -> None:
    """
    Where 4,000 tokens a minute are left to them: the others wait, and lose no time.
    """
    clock = FakeClock(jumps=False)
    api = {"dialect": "openai", "limits": ["4000 tokens/minute"], "max_wait": 1000, "timeout": 900}
    gov = Governor({"api": api}, clock=clock)
    usage = {"prompt_tokens": 1000, "completion_tokens": 1000, "total_tokens": 2000}
    url = upstream.script(CHAT, as_json({**ANSWER, "usage": usage}))
    asked = {**ASKED, "max_tokens": 1000, "messages": [{"role": "user", "content": "x" * 3985}]}
    sent: list[int] = []

    async def run() -> None:
        async with httpx2.AsyncClient(transport=AsyncTransport(gov, "api")) as client:
            calls = [asyncio.create_task(client.post(url, json=asked)) for _ in range(30)]
            for minute in range(15):
                async with asyncio.timeout(20):
                    while sum(call.done() for call in calls) < 2 * minute + 2:
                        await asyncio.sleep(0.005)  # real time: the server's
                sent.append(len(upstream.received))
                # A window of sixty seconds, and its last 64th.
                clock.advance(60 + 60 / 64)
            await asyncio.gather(*calls)

    asyncio.run(run())

    assert sent == list(range(2, 31, 2))
