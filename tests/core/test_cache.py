"""
Which answers may be kept, under which key, and for how long: tables, and properties over requests.
"""

from __future__ import annotations

import json
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor._core.cache import (
    ANY_AGE,
    CacheSpec,
    Entry,
    Found,
    Taken,
    Use,
    cache_key,
    canonical,
    entry_of,
    found,
    is_computed,
    is_last,
    is_service_down,
    is_told,
    lifetime,
    may_be_cut,
    may_be_stale,
    members,
    pack,
    request_digest,
    returned,
    taken,
    unpack,
    use_of,
)
from egressor._core.model import ErrorCategory, Verdict

SECOND = 1_000_000
HOUR = 3600 * SECOND
SPEC = CacheSpec(HOUR)
ANY = CacheSpec(HOUR, any_temperature=True)
CHAT = "/v1/chat/completions"
COLD = b'{"model":"m","temperature":0}'
WALL = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT
KEY = (("authorization", "Bearer a"),)
ENTRY = entry_of(200, "OK", (("content-type", "text/event-stream"),), (b"data: 1\n\n", b"", b"data: [DONE]\n\n"))

Headers = tuple[tuple[str, str], ...]


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "spec", "expected"),
    [
        ("GET", "/a", (), b"", SPEC, Use.ALL),
        ("HEAD", "/a", (), b"", SPEC, Use.ALL),
        ("PUT", "/a", (), b"", SPEC, Use.NONE),
        ("DELETE", "/a", (), b"", SPEC, Use.NONE),
        ("POST", "/a", (), COLD, SPEC, Use.NONE),
        ("GET", "/a", (("cache-control", "no-store"),), b"", SPEC, Use.NONE),
        ("GET", "/a", (("cache-control", "max-age=5, No-Store"),), b"", SPEC, Use.NONE),
        ("GET", "/a", (("cache-control", "no-cache"),), b"", SPEC, Use.RENEW),
        ("GET", "/a", (("cache-control", "max-age=0"),), b"", SPEC, Use.RENEW),
        ("GET", "/a", (("pragma", "no-cache"),), b"", SPEC, Use.RENEW),
        ("GET", "/a", (("range", "bytes=0-1"),), b"", SPEC, Use.NONE),
        ("GET", "/a", (("if-none-match", '"1"'),), b"", SPEC, Use.NONE),
        ("GET", "/a", (("upgrade", "websocket"),), b"", SPEC, Use.NONE),
        ("POST", CHAT, (), COLD, SPEC, Use.ALL),
        ("POST", CHAT, (("cache-control", "no-cache"),), COLD, SPEC, Use.RENEW),
        ("POST", CHAT, (), b'{"temperature":0.0}', SPEC, Use.ALL),
        ("POST", CHAT, (), b'{"temperature":0.1}', SPEC, Use.NONE),
        ("POST", CHAT, (), b'{"temperature":0.1}', ANY, Use.ALL),
        ("POST", CHAT, (), b"{}", SPEC, Use.NONE),
        ("POST", CHAT, (), b"{}", ANY, Use.ALL),
        ("POST", CHAT, (), b'{"temperature":false}', SPEC, Use.NONE),
        ("POST", CHAT, (), b'{"temperature":"0"}', SPEC, Use.NONE),
        ("POST", CHAT, (), b'{"temperature":0,"temperature":1}', SPEC, Use.NONE),
        ("POST", CHAT, (), b"[]", ANY, Use.NONE),
        ("POST", CHAT, (), b"not json", ANY, Use.NONE),
        ("POST", CHAT, (), b"\xff\xfe\x00", ANY, Use.NONE),
        ("POST", CHAT, (), b"[" * 200_000, ANY, Use.NONE),
        ("POST", "/v1/responses", (), b'{"temperature":0,"background":true}', SPEC, Use.NONE),
        ("POST", "/v1/responses", (), b'{"temperature":0,"background":false}', SPEC, Use.ALL),
        ("POST", "/v1/responses", (), b'{"temperature":0,"conversation":"c"}', SPEC, Use.NONE),
        ("POST", "/v1/responses", (), b'{"temperature":0,"prompt":{"id":"p"}}', SPEC, Use.NONE),
        ("POST", "/v1/completions", (), b'{"temperature":0,"prompt":"a"}', SPEC, Use.ALL),
        ("POST", "/v1/messages", (), COLD, SPEC, Use.ALL),
        ("POST", "/v1/messages/batches", (), COLD, ANY, Use.NONE),
        ("POST", "/v1/embeddings", (), b'{"input":"a"}', SPEC, Use.ALL),
        ("POST", "/v1/models/g:generateContent", (), b'{"generationConfig":{"temperature":0}}', SPEC, Use.ALL),
        ("POST", "/v1/models/g:generateContent", (), b'{"temperature":0}', SPEC, Use.NONE),
        ("POST", "/v1/models/g:embedContent", (), b"{}", SPEC, Use.ALL),
    ],
)
def test_what_a_request_wants(
    method: str, path: str, headers: Headers, body: bytes, spec: CacheSpec, expected: Use
) -> None:
    """
    Reads are looked up, and of an LLM's POSTs those whose answer is certain; what its client forbids is left alone.
    """
    asked = members(body) if is_computed(method, path) else None

    assert use_of(method, path, headers, asked, spec=spec) is expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/chat/completions", True),
        ("/v1/chat/completions", True),
        ("/api/v1/chat/completions", True),
        ("/api/paas/v4/chat/completions", True),
        ("/v1beta/openai/chat/completions", True),
        ("/openai/deployments/gpt-5/chat/completions", True),
        ("/v1/projects/p/locations/l/endpoints/openapi/chat/completions", True),
        ("/v1/fim/completions", True),
        ("/beta/completions", True),
        ("/openai/responses", True),
        ("/anthropic/v1/messages", True),
        ("/v1/embeddings", True),
        ("/v1beta/models/g:generateContent", True),
        ("/v1/projects/p/locations/l/publishers/google/models/g:streamGenerateContent", True),
        ("/v1beta/tunedModels/t:generateContent", True),
        ("/v1beta/models/g:batchEmbedContents", True),
        ("/v1/threads/thread_1/messages", False),
        ("/threads/thread_1/messages", False),
        ("/channels/1/messages", False),
        ("/v1/conversations/c/responses", False),
        ("/v1/agents/completions", False),
        ("/async/chat/completions", False),
        ("/v1/chat/completions/c", False),
        ("/v1/messages/batches", False),
        ("/v1beta/models/g:batchGenerateContent", False),
        ("/v1beta/agents/a:generateContent", False),
        ("/v1/chat/completions\n", False),
    ],
)
def test_what_computes_is_known_by_its_whole_path(path: str, expected: bool) -> None:
    """
    A path that only ends alike may write to a thread, or let an agent work: its POST would be swallowed.
    """
    assert is_computed("POST", path) is expected


@pytest.mark.parametrize(
    ("tools", "expected"),
    [
        ([], Use.ALL),
        (None, Use.ALL),
        ([{"type": "function", "function": {"name": "f"}}], Use.ALL),
        ([{"type": "function", "name": "f"}, {"type": "custom", "name": "c"}], Use.ALL),
        ([{"name": "f", "input_schema": {}}], Use.ALL),
        ([{"functionDeclarations": [{"name": "f"}]}], Use.ALL),
        ([{"function_declarations": [{"name": "f"}]}], Use.ALL),
        *[
            ([{"type": "function", "name": "f"}, {"type": kind}], Use.NONE)
            for kind in (
                *("mcp", "code_interpreter", "computer_use_preview", "computer", "web_search", "web_search_preview"),
                *("file_search", "image_generation", "shell", "local_shell", "tool_search", "namespace"),
                *(
                    "code_execution_20250825",
                    "web_search_20250305",
                    "web_fetch_20250910",
                    "mcp_toolset",
                    "bash_20250124",
                ),
                *("openrouter:web_search", "browser_search", "$web_search", "", 1, ["function"], {"function": 1}),
            )
        ],
        ([{"googleSearch": {}}], Use.NONE),
        ([{"google_search": {}}], Use.NONE),
        ([{"codeExecution": {}}], Use.NONE),
        ([{"urlContext": {}}], Use.NONE),
        ([{"functionDeclarations": [], "googleSearchRetrieval": {}}], Use.NONE),
        ([{"name": "web_search"}], Use.NONE),
        (["web_search"], Use.NONE),
        ({"googleSearch": {}}, Use.NONE),
    ],
)
def test_only_tools_that_the_client_runs_leave_an_answer_certain(tools: object, expected: Use) -> None:
    """
    What the provider runs acts, or tells what is so at this moment; a kind that isn't known may be one of those.
    """
    for path, body in ((CHAT, {"temperature": 0}), ("/v1/models/g:generateContent", {"generationConfig": {}})):
        assert use_of("POST", path, (), {**body, "tools": tools}, spec=ANY) is expected


@pytest.mark.parametrize(
    "asked",
    [
        {"background": True},
        {"cachedContent": "cachedContents/1"},
        {"cached_content": "cachedContents/1"},
        {"container": {"skills": []}},
        {"conversation": "c"},
        {"data_sources": [{"type": "azure_search"}]},
        {"enable_search": True},
        {"mcp_servers": [{"url": "https://m.example"}]},
        {"plugins": [{"id": "web"}]},
        {"search_parameters": {"mode": "auto"}},
        {"web_search_options": {"search_context_size": "low"}},
        {"prompt": {"id": "p"}},
    ],
    ids=str,
)
def test_a_request_that_acts_is_never_kept(asked: dict[str, Any]) -> None:
    """
    A second one has to act as well, whatever the policy asks for.
    """
    assert use_of("POST", CHAT, (), {"temperature": 0, **asked}, spec=ANY) is Use.NONE


def test_a_post_to_anything_but_an_llm_is_never_kept() -> None:
    """
    A chat's API has messages, too, and each POST there is one.
    """
    assert use_of("POST", "/channels/1/messages", (), None, spec=ANY) is Use.NONE
    assert not is_computed("GET", CHAT)


def key(**said: Any) -> str:
    """
    Return the key of a request that differs from the plainest one as *said*.
    """
    plain: dict[str, Any] = {"method": "GET", "url": "https://a.example/x", "headers": (), "body": b""}
    return cache_key(said.pop("salt", b"salt"), request_digest(**(plain | said)))


DIFFERENT: list[dict[str, Any]] = [
    {},
    {"salt": b"other"},
    {"method": "HEAD"},
    {"url": "https://a.example/x?api_key=1"},
    {"url": "https://a.example/x?api_key=2"},
    {"url": "http://a.example/x"},
    {"url": "https://b.example/x"},
    {"url": "https://a.example/X"},
    {"body": b"x"},
    *(
        {"headers": ((name, value),)}
        for value in ("one", "two")
        for name in (
            "authorization",
            "x-api-key",
            "api-key",
            "x-goog-api-key",
            "cookie",
            "x-mbx-apikey",
            "openai-organization",
            "openai-project",
            "anthropic-version",
            "anthropic-beta",
            "accept",
            "accept-encoding",
            "accept-language",
            "host",
            "user-agent",
            "x-whatever-a-vendor-calls-its-key",
        )
    ),
    {"headers": (("cookie", "a"), ("cookie", "b"))},
    {"headers": (("cookie", "b"), ("cookie", "a"))},
    {"headers": (("cookie", "ab"),)},
    {"method": "GETh", "url": "ttps://a.example/x"},
]


def test_no_two_of_these_requests_share_a_key() -> None:
    """
    I07: another credential, in whichever header, cookie or part of the URL, another body: a miss.
    """
    keys = [key(**said) for said in DIFFERENT]

    assert [
        (DIFFERENT[one], DIFFERENT[two]) for one, two in combinations(range(len(keys)), 2) if keys[one] == keys[two]
    ] == []


@pytest.mark.parametrize(
    "headers",
    [
        (("x-stainless-retry-count", "1"),),
        (("traceparent", "00-1"),),
        (("x-request-id", "1"),),
        (("idempotency-key", "1"),),
        (("content-length", "3"),),
        (("egressor-hops", "a"),),
        (("cache-control", "no-cache"),),
    ],
)
def test_what_says_nothing_of_the_answer_does_not_count(headers: Headers) -> None:
    """
    A trace, a number of a try, a length: the same request.
    """
    assert key(headers=headers) == key()


@pytest.mark.parametrize(
    ("url", "host", "is_same"),
    [
        ("https://a.example/x", "a.example", True),
        ("https://a.example/x", "A.Example:443", True),
        ("HTTPS://me:pw@A.example:443?q=@b.example", "a.example", True),
        ("http://a.example:80", "a.example", True),
        ("http://[::1]:8080/x", "[::1]:8080", True),
        ("https://a.example/x", "a.example:80", False),
        ("https://a.example:8443/x", "a.example", False),
        ("https://a.example/x", "b.example", False),
        ("https://a.example/x", "", False),
        ("//a.example/x", "a.example", False),
    ],
)
def test_a_host_counts_where_it_is_another_than_the_url_s(url: str, host: str, is_same: bool) -> None:
    """
    A client may name a virtual host itself, whose page is nobody else's; its own name says what the URL says.
    """
    assert (key(url=url, headers=(("host", host),)) == key(url=url)) is is_same


def test_the_order_of_headers_does_not_count() -> None:
    """
    Headers of different names may stand in any order (RFC 9110 section 5.3).
    """
    pairs = (("accept", "a"), ("x-api-key", "b"))

    assert key(headers=pairs) == key(headers=pairs[::-1])


def test_a_key_holds_no_secret() -> None:
    """
    P10: a key is 32 hexadecimal digits, whatever went into it.
    """
    found = key(headers=(("authorization", "Bearer sk-secret"),), url="https://u:pw@a.example/?token=secret")

    assert len(found) == 32
    assert set(found) <= set("0123456789abcdef")


def test_an_sdk_of_another_make_shares_what_a_model_computes() -> None:
    """
    Who asks, by User-Agent, shapes a page but no model's answer.
    """
    asked = (("user-agent", "OpenAI/Python"),)

    assert key(headers=asked, is_computed=True) == key(is_computed=True)
    assert key(headers=asked) != key()


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (b'{"a":1,"b":2}', b'{ "b": 2,\n "a": 1 }', True),
        (b'{"a":"\\u00e9"}', '{"a":"é"}'.encode(), True),
        (b'{"a":{"x":1,"y":2}}', b'{"a":{"y":2,"x":1}}', False),
        (b'{"a":[1,2]}', b'{"a":[2,1]}', False),
        (b'{"a":1}', b'{"a":"1"}', False),
        (b'{"a":1}', b'{"a":1.0}', False),
        (b'{"a":1,"a":2}', b'{"a":2}', False),
        (b'{"a":1e999}', b'{"a":2e999}', False),
        (b'{"a":null}', b"{}", False),
        (b"[1]", b"[ 1 ]", False),
    ],
)
def test_a_body_counts_by_what_it_means(one: bytes, other: bytes, is_same: bool) -> None:
    """
    White space, escapes and the order of the outermost members don't count; whatever might, does.
    """
    forms = [canonical(body, members(body)) for body in (one, other)]

    assert (forms[0] == forms[1]) is is_same
    assert [canonical(body, None) for body in (one, other)] == [one, other]


@given(st.dictionaries(st.text(), st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5)))
def test_a_canonical_body_means_what_the_body_means(value: dict[str, Any]) -> None:
    """
    Nothing is lost or changed on the way to the canonical form.
    """
    body = json.dumps(value, indent=1).encode()

    form = canonical(body, members(body))

    assert json.loads(form) == value
    assert canonical(form, members(form)) == form


@pytest.mark.parametrize(
    ("status", "headers", "asked", "expected"),
    [
        (200, (), (), HOUR),
        (201, (), (), 0),
        (206, (), (), 0),
        (404, (), (), 0),
        (200, (("cache-control", "no-store"),), KEY, 0),
        (200, (("cache-control", "no-cache"),), KEY, 0),
        (200, (("cache-control", 'max-age=9, no-cache="x-a, x-b"'),), KEY, 0),
        (200, (("content-type", "Text/Event-Stream; charset=utf-8"),), KEY, 0),
        (200, (("content-type", "application/json"),), KEY, HOUR),
        (200, (("cache-control", "private"),), (), 0),
        (200, (("cache-control", 'private="x-a"'),), (), 0),
        (200, (("cache-control", "private"),), KEY, HOUR),
        (200, (("cache-control", "private"),), (("x-mbx-apikey", "k"),), HOUR),
        (200, (("set-cookie", "a=b"),), KEY, 0),
        (200, (("vary", "*"),), (), 0),
        (200, (("vary", "Accept, X-Request-Id"),), (), 0),
        (200, (("vary", "Accept-Encoding, Origin, User-Agent"),), (), HOUR),
        (200, (("cache-control", "max-age=60"),), (), 60 * SECOND),
        (200, (("cache-control", "public, max-age=999999"),), (), HOUR),
        (200, (("cache-control", "max-age=60, max-age=5"),), (), 5 * SECOND),
        (200, (("cache-control", "max-age=60"), ("age", "50")), (), 10 * SECOND),
        (200, (("cache-control", "max-age=60"), ("age", "70")), (), 0),
        (200, (("cache-control", 'max-age="60"'),), (), 60 * SECOND),
        (200, (("cache-control", "max-age=-1"),), (), 0),
        (200, (("cache-control", "max-age=0"),), (), 0),
        (200, (("cache-control", f"max-age={'9' * 19}"),), (), HOUR),
        (200, (("cache-control", f"max-age={'9' * 20}"),), (), HOUR),
        (200, (("cache-control", f"max-age={'9' * 5000}"),), (), HOUR),
        (200, (("cache-control", f"max-age={'0' * 5000}60"),), (), 60 * SECOND),
        (200, (("cache-control", "max-age=60"), ("age", "9" * 20)), (), 0),
        (200, (("expires", "0"),), (), 0),
        (200, (("expires", "Fri, 15 Jan 2027 08:01:00 GMT"),), (), 60 * SECOND),
        (200, (("expires", "Fri, 15 Jan 2027 07:59:00 GMT"),), (), 0),
        (200, (("expires", "Fri, 15 Jan 2027 07:59:00 GMT"), ("cache-control", "max-age=60")), (), 60 * SECOND),
    ],
)
def test_how_long_an_answer_is_fresh(status: int, headers: Headers, asked: Headers, expected: int) -> None:
    """
    As long as the policy says, or its server, whichever is less; not at all where the server forbids it.
    """
    assert lifetime(status, headers, asked=asked, is_computed=False, ttl=HOUR, wall=WALL) == expected


@pytest.mark.parametrize(
    ("status", "headers", "asked", "expected"),
    [
        (200, (("cache-control", "no-cache"), ("set-cookie", "__cf_bm=1"), ("expires", "0")), KEY, HOUR),
        (200, (("cache-control", "max-age=0"),), KEY, HOUR),
        (200, (("content-type", "text/event-stream"),), KEY, HOUR),
        (200, (("cache-control", "no-store"),), KEY, 0),
        (200, (("cache-control", "private"),), (), 0),
        (200, (("vary", "User-Agent"),), KEY, 0),
        (500, (), KEY, 0),
    ],
)
def test_how_long_a_computed_answer_is_fresh(status: int, headers: Headers, asked: Headers, expected: int) -> None:
    """
    What every answer of an LLM's API says means nothing; a plain no is obeyed.
    """
    assert lifetime(status, headers, asked=asked, is_computed=True, ttl=HOUR, wall=WALL) == expected


def test_what_was_true_at_that_moment_only_is_not_kept() -> None:
    """
    Cookies, limits and what belongs to a connection are left out.
    """
    headers = (
        ("content-type", "application/json"),
        ("set-cookie", "a=b"),
        ("x-ratelimit-remaining-requests", "3"),
        ("anthropic-ratelimit-tokens-remaining", "3"),
        ("retry-after", "3"),
        ("transfer-encoding", "chunked"),
        ("egressor-cache", "hit"),
        ("content-encoding", "gzip"),
    )

    assert returned(headers) == (("content-type", "application/json"), ("content-encoding", "gzip"))


@pytest.mark.parametrize(
    ("said", "is_computed", "expected"),
    [
        ("max-age=60", False, True),
        ("max-age=60, Must-Revalidate", False, False),
        ("proxy-revalidate", False, False),
        ("must-revalidate", True, True),
    ],
)
def test_what_must_be_fresh_never_serves_in_place_of_a_failure(said: str, is_computed: bool, expected: bool) -> None:
    """
    A server that forbids it is obeyed, but for what an LLM's front says of every answer.
    """
    entry = entry_of(200, "OK", (("cache-control", said),), (b"x",))

    assert may_be_stale(entry, is_computed=is_computed) is expected


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (99, None),
        (100, Found(ENTRY, 0)),
        (109, Found(ENTRY, 9)),
        (110, Found(ENTRY, 10, is_stale=True)),
        (114, Found(ENTRY, 14, is_stale=True)),
        (115, None),
    ],
)
def test_an_answer_ages(now: int, expected: Found | None) -> None:
    """
    It is fresh, then stale, then gone; both times are half open, and one from the future is nothing.
    """
    assert found(ENTRY, at=100, fresh_for=10, stale=5, now=now) == expected


@pytest.mark.parametrize(
    ("category", "told", "down"),
    [
        (ErrorCategory.BAD_REQUEST, True, False),
        (ErrorCategory.AUTHENTICATION, True, False),
        (ErrorCategory.PERMISSION, True, False),
        (ErrorCategory.NOT_FOUND, True, False),
        (ErrorCategory.SERVER_ERROR, False, True),
        (ErrorCategory.TIMEOUT, False, True),
        (ErrorCategory.RATE_LIMIT, False, True),
        (ErrorCategory.CANCELLED, False, False),
        (None, False, False),
    ],
)
def test_whose_failure_it_is(category: ErrorCategory | None, told: bool, down: bool) -> None:
    """
    A failure of the request is everybody's who sends it; one of the service lets old answers serve.
    """
    verdict = Verdict(category=category)

    assert (is_told(verdict), is_service_down(verdict)) == (told, down)


def test_a_refusal_lets_old_answers_serve_and_what_may_pass_is_nobodys() -> None:
    """
    A refusal has no verdict; a failure that a retry may cure is not handed on.
    """
    assert is_service_down(None)
    assert not is_told(Verdict(category=ErrorCategory.NOT_FOUND, retryable=True))


@given(st.lists(st.binary(max_size=9), max_size=9))
def test_a_body_comes_out_in_the_pieces_in_which_it_came(chunks: list[bytes]) -> None:
    """
    Also where there are none, or empty ones; what it takes is theirs and a few bytes for each.
    """
    entry = entry_of(200, "OK", (), chunks)

    assert entry.chunks == tuple(chunks)
    assert entry.size - entry_of(200, "OK", (), ()).size == sum(map(len, chunks)) + 8 * len(chunks)


@given(
    st.builds(
        entry_of,
        st.integers(100, 599),
        st.text(),
        st.lists(st.tuples(st.text(), st.text())).map(tuple),
        st.lists(st.binary()).map(tuple),
    )
)
def test_what_was_packed_comes_out_as_it_was(entry: Entry) -> None:
    """
    Status, words, headers and each chunk of the body.
    """
    assert unpack(pack(entry)) == entry


@given(st.binary(max_size=4), st.integers(0, len(pack(ENTRY)) - 1))
def test_what_was_changed_on_the_way_is_nothing(junk: bytes, at: int) -> None:
    """
    K05: a torn, cut or altered entry is a miss.
    """
    whole = pack(ENTRY)
    changed = whole[:at] + junk + whole[at + len(junk) :]

    assert unpack(changed) == (ENTRY if changed == whole else None)
    assert unpack(whole[:at]) is None


def planted(data: bytes) -> bytes:
    """
    Return *data* with the checksum that belongs to it.
    """
    from hashlib import blake2b

    return blake2b(data, digest_size=8).digest() + data


@pytest.mark.parametrize(
    "data",
    [
        None,
        "text",
        b"",
        planted(b""),
        planted(b"[]\n"),
        planted(b"[200]\n"),
        planted(b"1\n"),
        planted(b'[200,"OK",[],[1]]\n'),
        planted(b'[200,"OK",[],[2]]\nx'),
        planted(b'[200,"OK",[],[-1,2]]\nx'),
        planted(b'[200,"OK",[],[true]]\nx'),
        planted(b'[200,"OK",[],1]\nx'),
        planted(b'["200","OK",[],[1]]\nx'),
        planted(b"[200,1,[],[1]]\nx"),
        planted(b'[200,"OK",[1],[1]]\nx'),
        planted(b"[" * 100_000 + b"\n"),
        planted(b"cposix\nsystem\n(S'true'\ntR."),
    ],
)
def test_what_nobody_has_packed_is_nothing(data: object) -> None:
    """
    K05: whatever is planted as an entry, pickles among it, is a miss, and never executed.
    """
    assert unpack(data) is None


def test_an_entry_says_what_it_takes_and_shows_no_body() -> None:
    """
    Its size counts heads, body and what holds them; its text shows neither.
    """
    assert ENTRY.size >= sum(map(len, ENTRY.chunks)) + len("content-type" + "text/event-stream")
    assert "DONE" not in repr(ENTRY)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (b'data: {"n":1}\n\ndata: [DONE]\n\n', True),
        (b"data: [DONE]\r\n\r\n", True),
        (b'event: message_stop\ndata: {"type":"message_stop"}\n\n', True),
        (b'event: response.completed\ndata: {"type":"response.completed"}\n\n', True),
        (b"data: [DONE]\n", False),
        (b'data: {"n":1}\n\n', False),
        (b'event: message_delta\ndata: {"n":"event: message_stop"}\n\n', False),
        (b"event: response.failed\ndata: {}\n\n", False),
        (b"", False),
    ],
)
def test_a_stream_says_that_it_is_over(said: bytes, expected: bool) -> None:
    """
    SDKs close a stream at its mark, and not at its end: it has come whole all the same.
    """
    assert is_last(said) is expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ((), ANY_AGE),
        (("max-age=60",), Taken(60 * SECOND)),
        (("max-age=60, Max-Age=5", "max-age=90"), Taken(5 * SECOND)),
        (("max-age=x",), Taken(0)),
        (("only-if-cached",), Taken(None, is_only=True)),
        (("no-transform, max-stale=9",), ANY_AGE),
    ],
)
def test_a_request_says_which_answers_it_takes(said: tuple[str, ...], expected: Taken) -> None:
    """
    RFC 9111 section 5.2.1: of several ages the least, and one that is no number is none at all.
    """
    headers = [("accept", "*/*"), *[("cache-control", each) for each in said]]

    assert taken(headers) == expected


@pytest.mark.parametrize(
    ("wish", "kept", "expected"),
    [
        (ANY_AGE, None, False),
        (ANY_AGE, Found(ENTRY, HOUR, is_stale=True), True),
        (Taken(60 * SECOND), Found(ENTRY, 60 * SECOND), True),
        (Taken(60 * SECOND), Found(ENTRY, 60 * SECOND + 1), False),
        (Taken(60 * SECOND), Found(ENTRY, 1, is_stale=True), False),
    ],
)
def test_an_answer_that_is_too_old_is_not_taken(wish: Taken, kept: Found | None, expected: bool) -> None:
    """
    Who says how old an answer may be takes none that is no longer fresh.
    """
    assert wish.takes(kept) is expected


@pytest.mark.parametrize(
    ("headers", "said", "expected"),
    [
        ([], b'{"finish_reason": "length"}', True),
        ([], b'data: {"finish_reason":"length"}', True),
        ([], b'{"finishReason" : "MAX_TOKENS"}', True),
        ([], b'{"stop_reason":"max_tokens"}', True),
        ([], b'{"status": "incomplete"}', True),
        ([], b'{"finish_reason": "stop"}', False),
        ([], b'{"content": "it says \\"finish_reason\\": \\"length\\""}', False),
        ([("content-encoding", "gzip")], b"x", True),
        ([("content-type", "application/json")], b"{}", False),
    ],
)
def test_an_answer_says_that_it_was_cut_off(headers: list[tuple[str, str]], said: bytes, expected: bool) -> None:
    """
    In each API's own word; of one that is packed nobody knows.
    """
    assert may_be_cut(headers, said) is expected
