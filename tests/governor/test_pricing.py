"""
What a request may cost, and what its answer says that it did.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import zlib
from typing import Any

import pytest

from egressor.dialects.answered import AnswerReader
from egressor.governor.pricing import Pricing, Quote
from egressor.policies.prices import read_prices

NOW = 1_795_953_600_000_000
PRICES = read_prices(
    {
        "models": [
            {"model": "m", "usd_per_mtok": {"input": 1, "output": 2, "audio_input": 50}},
            {"model": "m", "tier": "priority", "usd_per_mtok": {"input": 3, "output": 6}},
            {"model": "m", "tier": "flex", "usd_per_mtok": {"input": 0.1, "output": 0.1}},
            {"model": "big", "usd_per_mtok": {"input": 7, "output": 14}},
            {"model": "free", "usd_per_mtok": {"input": 0, "output": 0}},
        ]
    }
)
ELSEWHERE = "its path is not known as that of a request to a language model"
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


class Asked:
    """
    A request.
    """

    def __init__(self, body: object, path: str = "/v1/chat/completions", method: str = "POST") -> None:
        self.body = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        self.path = path
        self.method = method

    def asked(self) -> tuple[str, str, bytes | None]:
        """
        Say what is sent.
        """
        return self.method, self.path, self.body


def chat(**more: Any) -> dict[str, Any]:
    """
    A chat of model ``m`` whose body has 64 bytes without *more*.
    """
    return {"model": "m", "messages": [{"content": "hello there"}]} | more


def size(body: dict[str, Any]) -> int:
    """
    Bytes of *body*.
    """
    return len(json.dumps(body))


@pytest.mark.parametrize(
    ("body", "received"),
    [
        (chat(max_tokens=100), 100),
        (chat(max_completion_tokens=7, n=3), 21),
        (chat(max_tokens=0), 0),
    ],
)
def test_a_request_is_quoted_at_its_worst(body: dict[str, Any], received: int) -> None:
    """
    A token for each byte that is sent, and all that may come, for each answer.
    """
    assert Pricing(PRICES).quote("openai", Asked(body), NOW) == Quote(size(body) + 2 * received, "m", size=size(body))


@pytest.mark.parametrize(
    ("more", "times"),
    [
        ({"service_tier": "priority"}, 3),
        ({"service_tier": "flex"}, 1),
        ({"service_tier": "auto"}, 1),
        ({"models": ["m", "big"]}, 7),
        ({"n": 1, "best_of": 4}, None),
    ],
)
def test_what_a_request_may_come_to_is_quoted(more: dict[str, Any], times: int | None) -> None:
    """
    The tier that it asks for may be granted or denied, and any of its models may answer: the dearest of them is held.
    """
    body = chat(max_tokens=100, **more)
    expected = size(body) + 2 * 4 * 100 if times is None else times * (size(body) + 200)

    assert Pricing(PRICES).quote("openai", Asked(body), NOW) == Quote(expected, "m", size=size(body))


@pytest.mark.parametrize(
    ("dialect", "path", "body"),
    [
        ("openai", "/v1/aud%69o/speech", {"model": "m", "input": "x", "max_output_tokens": 1}),
        ("openai", "/v1/AUDIO/speech", {"model": "m", "input": "x", "max_output_tokens": 1}),
        ("openai", "/v1/aud%2569o/speech", {"model": "m", "input": "x", "max_output_tokens": 1}),
        ("openai", "/v1/batches", {"input_file_id": "f", **chat(max_tokens=1)}),
        ("anthropic", "/v1/messages/batches", {"requests": [], **chat(max_tokens=1)}),
        ("gemini", "/v1beta/models/g:batchGenerateContent", {"model": "m", "contents": [], "max_tokens": 1}),
        ("gemini", "/v1beta/models/i:predict", {"contents": [], "generationConfig": {"maxOutputTokens": 1}}),
        ("gemini", "/v1beta/models/m:generateContent:countTokens", {"contents": []}),
    ],
)
def test_what_a_path_asks_for_is_not_for_the_body_to_say(dialect: str, path: str, body: dict[str, Any]) -> None:
    """
    Regression: a path in another spelling, or of something dearer, was priced as the chat that its body looked like.
    """
    assert Pricing(PRICES).quote(dialect, Asked(body, path), NOW) == Quote(None, why=ELSEWHERE)


@pytest.mark.parametrize(
    "path",
    [
        "models/big:generateContent",
        "m%6fdels/big:generateContent",
        "models/big%3AgenerateContent",
        "Models/big:GENERATE",
    ],
)
def test_geminis_model_is_in_the_path_alone(path: str) -> None:
    """
    Regression: in another spelling of the path the body's model was priced.
    """
    body = {"model": "m", "contents": [], "generationConfig": {"maxOutputTokens": 100}}
    pricing = Pricing(PRICES)

    found = pricing.quote("gemini", Asked(body, f"/v1beta/{path}"), NOW)
    tuned = pricing.quote("gemini", Asked(body, "/v1beta/tunedModels/m:generateContent"), NOW)

    assert (found.micro_usd, found.model) == (7 * size(body) + 1400, "big")
    assert (tuned.micro_usd, tuned.model) == (None, "tunedModels/m")


@pytest.mark.parametrize(
    ("deployment", "said", "times"),
    [
        ("big", "m", 7),
        ("m", "big", 7),
        ("big", "big", 7),
        ("big", None, 7),
        ("big", "zzz", 7),
        # A deployment may have any name; then the body's is all that is known.
        ("prod", "m", 1),
        ("prod", "zzz", None),
        ("prod", None, None),
    ],
)
def test_azures_deployment_is_priced(deployment: str, said: str | None, times: int | None) -> None:
    """
    Regression: the body's model was, which Azure ignores. Where both have a price the dearer holds.
    """
    body = {**chat(max_tokens=100), "model": said}
    path = f"/openai/deployments/{deployment}/chat/completions?api-version=1"

    found = Pricing(PRICES).quote("azure", Asked(body, path), NOW)

    assert (found.micro_usd, found.model) == (times and times * (size(body) + 200), deployment)


def test_a_model_that_may_answer_instead_needs_a_price() -> None:
    """
    A call that could cost anything is refused, whichever of its models that is.
    """
    found = Pricing(PRICES).quote("openrouter", Asked(chat(max_tokens=1, models=["zzz"])), NOW)

    assert found == Quote(None, "m", "the model zzz has no price")


def test_what_is_not_text_is_quoted_at_the_dearest_kind() -> None:
    """
    A picture beside the text is taken to be many tokens, of whatever kind costs most.
    """
    body = chat(max_tokens=1, image_url="x")

    assert Pricing(PRICES).quote("openai", Asked(body), NOW).micro_usd == (size(body) + 100_000) * 50 + 2


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"max_tokens": 1}, ""),
        ({"max_tokens": 1, "image_url": "x"}, "what it sends beside its text is taken to be 100000 tokens"),
        (
            {"max_tokens": 1, "conversation": "c"},
            "what its provider may fetch or remember for it is taken to be up to 128000 tokens",
        ),
        (
            {"conversation": "c"},
            (
                "it does not say how long its answer may be: max_tokens,"
                " and what its provider may fetch or remember for it is taken to be up to 128000 tokens"
            ),
        ),
    ],
)
def test_a_quote_says_why_it_is_so_much(more: dict[str, Any], why: str) -> None:
    """
    A refusal repeats it, or nobody would know why a small request has no room.
    """
    assert Pricing(read_prices({})).quote("openai", Asked(chat(model="gpt-4o-mini", **more)), NOW).why == why


def test_a_tool_of_one_s_own_is_text() -> None:
    """
    Regression: with a property called ``container`` a request was held for at a context full of tokens.
    """
    found = []
    for name, field in (("get_pod", "pod"), ("web_search", "container")):
        schema = {"type": "object", "properties": {field: {"type": "string"}}}
        tool = {"type": "function", "function": {"name": name, "parameters": schema}}
        body = chat(model="gpt-4o-mini", max_tokens=100, tools=[tool])
        found.append(Pricing(read_prices({})).quote("openai", Asked(body), NOW))

    assert all(quote.size > 100 for quote in found)
    assert all(0 < (quote.micro_usd or 0) <= 0.15 * quote.size + 61 for quote in found)


def test_embeddings_have_no_output() -> None:
    """
    They need no bound on it.
    """
    body = {"model": "m", "input": "hello"}

    assert Pricing(PRICES).quote("openai", Asked(body, "/v1/embeddings"), NOW) == Quote(
        size(body), "m", size=size(body)
    )


@pytest.mark.parametrize(
    ("asked", "dialect", "expected"),
    [
        (Asked(None, method="GET"), "openai", Quote(0)),
        (Asked(b"x", method="DELETE"), "openai", Quote(0)),
        (Asked(chat(), "/v1/messages/count_tokens?beta=true"), "anthropic", Quote(0)),
        (Asked({"contents": []}, "/v1beta/models/m:countTokens"), "gemini", Quote(0)),
        (Asked({"model": "m", "prompt": "x", "max_tokens": 1}, "/v1/images/generations"), "openai",
         Quote(None, why=ELSEWHERE)),
        (Asked({"model": "m", "input": "x", "max_output_tokens": 1}, "/v1/audio/speech"), "openai",
         Quote(None, why=ELSEWHERE)),
        (Asked(None), "openai", Quote(None, why="its body can't be read as a request to a language model")),
        (Asked(chat()), "kraken", Quote(None, why="requests of the dialect kraken have no price")),
        (Asked(chat(max_tokens="many")), "openai",
         Quote(None, "m", "it does not say how long its answer may be: max_tokens")),
        (Asked({"model": "m", "prompt": "x"}, "/v1/completions"), "openai",
         Quote(None, "m", "it does not say how long its answer may be: max_tokens")),
        (Asked(chat(model="zzz")), "openai", Quote(None, "zzz", "the model zzz has no price")),
        (Asked(chat(model=3), "/v1/responses"), "openai",
         Quote(None, "", "the model that it does not name has no price")),
        (Asked(chat(model="free", max_tokens=9)), "openai",
         Quote(1, "free", size=size(chat(model="free", max_tokens=9)))),
    ],
)  # fmt: skip
def test_what_can_not_be_priced_says_why(asked: Asked, dialect: str, expected: Quote) -> None:
    """
    What only looks is free; a model that costs nothing is held for at the least that there is.
    """
    assert Pricing(PRICES).quote(dialect, asked, NOW) == expected


def test_an_answer_of_no_stated_length_may_be_estimated() -> None:
    """
    At more than most have, for each answer, if the configuration wants that.
    """
    prices = read_prices({"models": [{"model": "m", "usd_per_mtok": {"input": 1, "output": 2}}],
                          "on_unknown_price": "estimate"})  # fmt: skip
    body = chat(n=2)
    found = Pricing(prices).quote("openai", Asked(body), NOW)

    assert found._replace(cap=None) == Quote(size(body) + 2 * 2 * 16_384, "m", size=size(body))


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        # By its public price, 0.15 and 0.6 USD a million, its longest answer and its context of 128,000 tokens.
        ({}, 0.6 * 16_384),
        ({"n": 2}, 2 * 0.6 * 16_384),
        ({"max_tokens": 1000, "previous_response_id": "resp_1"}, 0.15 * 128_000 + 600),
    ],
)
def test_no_request_is_longer_than_its_model_s_context(more: dict[str, Any], expected: float) -> None:
    """
    So one that doesn't say how long its answer may be has a worst, too; and one whose text the provider keeps.
    """
    body = chat(model="gpt-4o-mini", **more)
    found = Pricing(read_prices({})).quote("openai", Asked(body), NOW).micro_usd
    sent = 0 if "max_tokens" in more else 0.15 * size(body)

    assert found is not None
    assert expected + sent <= found <= expected + sent + 1


@pytest.mark.parametrize(
    ("model", "dialect", "expected"),
    [
        ("gpt-4o-mini", "openai", ("max_completion_tokens", 4_096, 16_384, False)),
        ("gpt-5", "openai", ("max_completion_tokens", 16_384, 128_000, False)),
        # Its context is known, and how long an answer it can give is not.
        ("gpt-6-sol", "openai", ("max_completion_tokens", 4_096, 16_384, False)),
        # Neither is.
        ("mistral-large-latest", "mistral", ("max_tokens", 4_096, 4_096, True)),
    ],
)
def test_an_answer_of_no_stated_length_can_be_bounded(
    model: str, dialect: str, expected: tuple[str, int, int, bool]
) -> None:
    """
    To no more than its model can give, or than any is sure to take; to no less than one is likely to have.
    """
    cap = Pricing(read_prices({})).quote(dialect, Asked(chat(model=model)), NOW).cap

    assert cap is not None
    assert (cap.name, cap.usual, cap.most, cap.always) == expected


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (chat(model="gpt-4o-mini", max_tokens=5), "/v1/chat/completions"),
        (chat(model="gpt-4o-mini", max_completion_tokens="5"), "/v1/chat/completions"),
        (chat(model="gpt-4o-mini", messages=[{"content": "x" * 255_500}]), "/v1/chat/completions"),
        ({"model": "gpt-4o-mini", "prompt": "x"}, "/v1/completions"),
        ({"model": "text-embedding-3-small", "input": "x"}, "/v1/embeddings"),
    ],
    ids=["it says so", "in its own way", "no room", "completions", "embeddings"],
)
def test_not_every_answer_can_be_bounded(body: dict[str, Any], path: str) -> None:
    """
    One whose request says how long it may be, or has no word for it, or leaves no room in the model's context.
    """
    found = Pricing(read_prices({})).quote("openai", Asked(body, path), NOW)

    assert found.micro_usd is not None
    assert found.cap is None


@pytest.mark.parametrize("model", ["m", "free", "gpt-4o-mini", "gpt-5"])
@pytest.mark.parametrize("more", [{}, {"n": 3}, {"n": 10_000}, {"image_url": "x"}, {"models": ["m", "big"]}])
@pytest.mark.parametrize("over", [0, 1, 999, 1_000_000, 10**12])
def test_a_bound_costs_no_more_than_was_held(model: str, more: dict[str, Any], over: int) -> None:
    """
    For each answer, by the dearest of all its prices; and it is no less than what is likely.
    """
    pricing = Pricing(PRICES)
    cap = pricing.quote("openai", Asked(chat(model=model, **more)), NOW).cap
    assert cap is not None
    held = cap.likely + over
    tokens = cap.tokens(held)
    paid = max(each.most(cap.sent, tokens * cap.answers, text=cap.text) for each in cap.prices)

    assert paid <= max(held, 1)
    assert cap.usual <= tokens <= cap.most


def test_what_is_likely_is_learned_by_endpoint() -> None:
    """
    Of answers to requests that don't say how long they may be, once there are twenty; nearly all are no longer.
    """
    pricing, found = Pricing(read_prices({})), []

    def usual(endpoint: str = "") -> int:
        cap = pricing.quote("openai", Asked(chat(model="gpt-4o", n=2)), NOW, service="s", endpoint=endpoint).cap
        assert cap is not None
        return cap.usual

    for count in range(20):
        cap = pricing.quote("openai", Asked(chat(model="gpt-4o", n=2)), NOW, service="s").cap
        meter = pricing.meter("openai", "gpt-4o", NOW, cap=cap)
        assert meter is not None
        reader = AnswerReader("application/json")
        used = {"prompt_tokens": 10, "completion_tokens": 2_000 + count}
        reader.feed(json.dumps({"model": "gpt-4o", "usage": used}).encode())
        found.append(usual())
        meter.observe(reader.said(is_whole=False))
        meter.observe(reader.said(is_whole=True))
        meter._replace(cap=None).observe(reader.said(is_whole=True))

    assert found == [4_096] * 20
    assert 1_010 <= usual() <= 1_010 * 5 // 4
    assert usual("other") == 4_096


def test_no_answer_is_likely_to_be_a_word() -> None:
    """
    However short all answers were, the next one gets room; and no longer than the model can give is likely.
    """
    pricing, found = Pricing(read_prices({})), []
    for received in (1, 100_000):
        for _ in range(30):
            pricing.observe(("", "chat", "gpt-4o"), received)
        cap = pricing.quote("openai", Asked(chat(model="gpt-4o")), NOW).cap
        assert cap is not None
        found.append(cap.usual)

    assert found == [256, 16_384]


def test_a_model_that_was_seen_to_think_gets_room_for_that() -> None:
    """
    Of one whose longest answer is known it tells whether it thinks.
    """
    pricing = Pricing(PRICES)
    pricing.learn("openai", "m", (100, 25), (100, 25), 1)
    cap = pricing.quote("openai", Asked(chat()), NOW).cap

    assert cap is not None
    assert cap.usual == 16_384


def test_what_is_learned_of_answers_is_bounded() -> None:
    """
    Whoever makes up a name for each call fills nothing; what was known stays known.
    """
    pricing = Pricing(PRICES)
    for number in range(300):
        pricing.observe(("s", "chat", str(number)), 5)
    pricing.observe(("s", "chat", "0"), 5)

    assert len(pricing._answers) == 256
    assert pricing._answers["s", "chat", "0"].total == 2


def test_a_secret_in_a_model_s_name_is_not_told() -> None:
    """
    The name goes into the ledger and into messages.
    """
    secret = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGH"
    found = Pricing(PRICES).quote("openai", Asked(chat(model=secret, max_tokens=1)), NOW)

    assert secret not in str(found)


def events(*frames: object) -> bytes:
    """
    A stream of events.
    """
    return b"".join(b"data: " + json.dumps(frame).encode() + b"\n\n" for frame in frames)


BODY = json.dumps({"model": "m", "choices": [{}], "usage": USAGE}).encode()
STREAM = events({"model": "m", "choices": [{}]}, {"model": "m", "choices": [], "usage": USAGE})
BILLED = json.dumps({"model": "m", "choices": [{}], "usage": {**USAGE, "cost": 0.0000123}}).encode()


@pytest.mark.parametrize(
    ("media", "body", "is_whole", "expected"),
    [
        ("application/json", BODY, True, 20),
        ("application/json", BODY, False, None),
        ("application/json", gzip.compress(BODY, mtime=0), True, 20),
        ("application/json", zlib.compress(BODY), True, 20),
        ("application/json", gzip.compress(BODY, mtime=0)[:20] + b"broken", True, None),
        ("application/json", b"", True, None),
        ("application/json", BILLED, True, 13),
        ("text/event-stream; charset=utf-8", STREAM + b"data: [DONE]\n\n", False, 20),
        ("text/event-stream", STREAM, True, None),
    ],
)
def test_an_answer_says_what_it_cost(media: str, body: bytes, is_whole: bool, expected: int | None) -> None:
    """
    Packed or not, however it is cut; only if it has come to its end, or its provider says what it has billed.
    """
    pricing = Pricing(PRICES)
    for step in (len(body) or 1, 7):
        meter = pricing.meter("openai", "m", NOW)
        assert meter is not None
        reader = AnswerReader(media)
        for at in range(0, len(body), step):
            reader.feed(body[at : at + step])
        reader.feed(b"")

        assert meter.cost(reader.said(is_whole=is_whole)) == expected


PIECES = events({"model": "m", "choices": [{"delta": {"content": "0123456789"}}]})
STARTED = events({"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 7, "output_tokens": 1}}})


@pytest.mark.parametrize(
    ("dialect", "body", "expected"),
    [
        ("openai", b"", None),
        ("openai", events({"model": "m", "choices": [{"delta": {}}]}), None),
        ("openai", PIECES, 10 + 2 * (5 + 16)),
        ("openai", 3 * PIECES, 10 + 2 * (15 + 16)),
        ("openai", PIECES + b"data: [DONE]\n\n", None),
        ("openai", PIECES + events({"error": {"message": "no"}}), None),
        ("anthropic", STARTED + PIECES, 7 + 2 * (5 + 16)),
    ],
)
def test_what_was_seen_of_a_stream_is_priced(dialect: str, body: bytes, expected: int | None) -> None:
    """
    By what an answer before it has said of its bytes, twice ten of which were ten tokens; what it has said itself
    counts, but not what it has said at its beginning of its end.
    """
    pricing = Pricing(PRICES)
    meter = pricing.meter(dialect, "m", NOW, 100)
    assert meter is not None
    left, whole = AnswerReader("text/event-stream"), AnswerReader("text/event-stream")
    left.feed(body)
    whole.feed(PIECES + events({"choices": [], "usage": USAGE}) + b"data: [DONE]\n\n")
    at_first = meter.seen(left.said(is_whole=False))
    cost = meter.cost(whole.said(is_whole=True))

    assert (at_first, cost, meter.seen(left.said(is_whole=False))) == (None, 20, expected)


THOUGHT = {**USAGE, "completion_tokens": 8800, "completion_tokens_details": {"reasoning_tokens": 8000}}
LONG = events({"model": "m", "choices": [{"delta": {"content": "a" * 3200}}]})


@pytest.mark.parametrize(
    ("media", "body"),
    [
        ("text/event-stream", LONG + events({"choices": [], "usage": THOUGHT}) + b"data: [DONE]\n\n"),
        ("text/event-stream", events({"model": "m", "choices": [], "usage": THOUGHT}) + b"data: [DONE]\n\n"),
        ("application/json", json.dumps({"model": "m", "usage": THOUGHT}).encode()),
        (
            "text/event-stream",
            LONG + events({"choices": [], "usage": {**USAGE, "completion_tokens": 2800}}) + b"data: [DONE]\n\n",
        ),
    ],
    ids=["stream", "no text", "document", "unsaid"],
)
@pytest.mark.parametrize("is_later", [False, True])
def test_a_stream_of_a_model_that_thinks_unseen_is_charged_in_full(media: str, body: bytes, is_later: bool) -> None:
    """
    Regression: what was thought before the first word was spread over the text of a whole answer, so that whoever left
    early paid next to nothing of it. Answers without a thought, before or after, change nothing.
    """
    meter = Pricing(PRICES).meter("openai", "m", NOW, 100)
    assert meter is not None
    plain = ("text/event-stream", PIECES + events({"choices": [], "usage": USAGE}) + b"data: [DONE]\n\n")
    for kind, answer in (plain, (media, body), plain) if is_later else ((media, body), plain):
        whole = AnswerReader(kind)
        whole.feed(answer)
        meter.cost(whole.said(is_whole=True))
    left = AnswerReader("text/event-stream")
    left.feed(PIECES)

    assert meter.seen(left.said(is_whole=False)) is None


@pytest.mark.parametrize(
    ("size", "body", "expected"),
    [(100, PIECES, 10 + 2 * (5 + 16)), (0, PIECES, None), (0, STARTED + PIECES, 7 + 2 * (5 + 16))],
)
def test_what_was_sent_is_never_taken_to_be_nothing(size: int, body: bytes, expected: int | None) -> None:
    """
    Regression: a call of stated cost has no size, and a stream of it that was left was charged as if it sent nothing.
    """
    pricing = Pricing(PRICES)
    pricing.learn("anthropic", "m", (100, 10), (10, 5), 0)
    meter = pricing.meter("anthropic", "m", NOW, size)
    assert meter is not None
    left = AnswerReader("text/event-stream")
    left.feed(body)

    assert meter.seen(left.said(is_whole=False)) == expected


@pytest.mark.parametrize("more", [{"previous_response_id": "r"}, {"messages": [{"content": [{"type": "image_url"}]}]}])
def test_what_stands_for_more_than_its_bytes_has_no_size(more: dict[str, Any]) -> None:
    """
    Regression: a file, a picture or a conversation that a stream named was charged as the few bytes of its name.
    """
    assert Pricing(PRICES).quote("openai", Asked(chat(model="gpt-4o-mini", max_tokens=9, **more)), NOW).size == 0


def test_the_dearest_answer_counts_for_what_is_left() -> None:
    """
    Regression: each cheaper answer took an eighth off what was learned of it.
    """
    meter = Pricing(PRICES).meter("openai", "m", NOW, 100)
    assert meter is not None
    for many in (10, *[5] * 20):
        whole = AnswerReader("text/event-stream")
        used = {**USAGE, "completion_tokens": many}
        whole.feed(PIECES + events({"choices": [], "usage": used}) + b"data: [DONE]\n\n")
        meter.cost(whole.said(is_whole=True))
    left = AnswerReader("text/event-stream")
    left.feed(10 * PIECES)

    assert meter.seen(left.said(is_whole=False)) == 10 + 2 * (100 + 16)


def test_an_answer_of_nonsense_is_forgotten() -> None:
    """
    Regression: one that said too many tokens made every stream that was left dear, as long as the process ran.
    """
    pricing, found = Pricing(PRICES), set[tuple[bool, tuple[int, int] | None]]()
    pricing.learn("openai", "m", (100, 100), (100, 200), 0)
    for number in range(1, 1_100):
        found.add((number > 2 * 512, pricing.factors("openai", "m")))
        pricing.learn("openai", "m", (100, 25), (100, 50), 0)
    dear, plain = (4_000_000, 8_000_000), (1_000_000, 2_000_000)

    assert found == {(False, dear), (True, plain)}


def test_so_many_models_are_remembered() -> None:
    """
    What a client calls his models is his to choose: of the others nothing is learned.
    """
    pricing = Pricing(PRICES)
    for number in range(300):
        pricing.learn("openai", f"m{number}", (100, 10), (10, 5), 0)

    assert pricing.factors("openai", "m255") == (400_000, 2_000_000)
    assert pricing.factors("openai", "m256") is None


def test_other_dialects_have_no_meter() -> None:
    """
    What an exchange answers says nothing of a cost.
    """
    assert Pricing(PRICES).meter("kraken", "", NOW) is None


@pytest.mark.parametrize(
    ("policy", "is_loaded"),
    [
        ({"dialect": "openai", "budget": {"day": 1}}, True),
        ({"dialect": "openai", "rules": [{"match": {"user": "*"}, "budget": {"day": 1}}]}, True),
        ({"dialect": "openai"}, False),
        ({"budget": {"day": 1}}, False),
    ],
)
def test_prices_are_loaded_before_the_first_request_that_needs_them(policy: dict[str, Any], is_loaded: bool) -> None:
    """
    Regression: that took a quarter of a second of the request's event loop. Whoever needs none loads none.
    """
    program = (
        "import sys\nfrom egressor import Governor\n"
        f"gov = Governor({{'s': {policy!r}}})\n"
        "money = gov.context.money\n"
        "book = money and money._pricing and money._pricing.book\n"
        "print('egressor.prices.book' in sys.modules, bool(book and book._found))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == f"{is_loaded} {is_loaded}\n"
