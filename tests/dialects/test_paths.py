"""
Paths, in whatever way they are written.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor.dialects.paths import deployment_at, has_no_text, is_count, kind_at, model_at, plain

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", ""),
        ("/", ""),
        ("/v1/chat/completions/?a=/b", CHAT),
        ("//v1///chat/completions//", CHAT),
        ("/v1/chat/complet%69ons", CHAT),
        ("/v1/%63%68%61%74/%43ompletions", "/v1/chat/Completions"),
        ("/v1beta/models/x%3AgenerateContent", "/v1beta/models/x:generateContent"),
        ("/a%2Fb%3fc%20d%25%32e", "/a%2Fb%3fc%20d%252e"),
        ("/caf%C3%A9", "/caf%C3%A9"),
    ],
)
def test_a_path_has_one_form(path: str, expected: str) -> None:
    """
    What needs no escape has none, and slashes are there where they part something.
    """
    assert plain(path) == expected


@given(
    st.sampled_from([CHAT, "/v1/audio/speech", "/v1beta/models/g-2.5:generateContent", "/v1/messages/count_tokens"]),
    st.lists(st.sampled_from(["", "hex", "HEX", "slash"]), min_size=48, max_size=48),
)
def test_no_spelling_gets_by(path: str, ways: list[str]) -> None:
    """
    However it is escaped, and however many slashes it has, a path is the same one; and its form is final.
    """
    spelt = ""
    for each, way in zip(path, ways, strict=False):
        code = f"{ord(each):02x}"
        spelt += {"hex": f"%{code}", "HEX": f"%{code.upper()}"}.get(way, each) if each != "/" else "/" * (1 + len(way))

    assert plain(spelt) == path
    assert plain(plain(spelt)) == path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (CHAT, "chat"),
        ("/v1/Chat/COMPLETIONS", "chat"),
        ("/v1/responses", "responses"),
        ("/v1/messages", "messages"),
        ("/v1/embeddings", "embeddings"),
        ("/v1/completions", "completions"),
        ("/v1/responses/compact", "responses"),
        ("/v1beta/models/g:generateContent", "gemini"),
        ("/v1beta/Models/g:STREAMgenerateContent", "gemini"),
        ("/v1beta/tunedModels/g:generateContent", "gemini"),
        ("/v1beta/models/g:batchGenerateContent", ""),
        ("/v1beta/models/g:predict", ""),
        ("/v1beta/models/g:generateContent:countTokens", ""),
        ("/v1/messages/batches", ""),
        ("/v1/batches", ""),
        ("/v1/audio/chat/completions", ""),
        ("/v1/chat/complet%2569ons", ""),
        ("", ""),
    ],
)
def test_a_path_tells_the_kind(path: str, expected: str) -> None:
    """
    In any case of its letters; what asks for much more at once is none of these.
    """
    assert kind_at(path) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1beta/models/g:generateContent", ("g", False)),
        ("/v1beta/models/g:streamGenerateContent", ("g", True)),
        ("/v1beta/models/i:predict", ("i", False)),
        # Whoever tunes a model gives it the name that he likes.
        ("/v1beta/tunedModels/g:generateContent", ("tunedModels/g", False)),
        ("/v1beta/models/g", ("", False)),
        (CHAT, ("", False)),
    ],
)
def test_a_path_of_geminis_names_the_model(path: str, expected: tuple[str, bool]) -> None:
    """
    And whether a stream is asked for.
    """
    assert model_at(path) == expected


def test_a_path_of_azures_names_the_deployment() -> None:
    """
    In the middle.
    """
    assert deployment_at("/openai/deployments/d/chat/completions") == "d"
    assert deployment_at(CHAT) == ""


@pytest.mark.parametrize(
    ("path", "counts", "sounds"),
    [
        ("/v1/messages/count_tokens", True, False),
        ("/v1/responses/input_tokens", True, False),
        ("/v1beta/models/g:countTokens", True, False),
        # What is free is known by its very letters.
        ("/v1/messages/COUNT_TOKENS", False, False),
        ("/v1beta/models/g:generateContent:countTokens", False, False),
        ("/v1/AUDIO/speech", False, True),
        ("/v1/images/generations", False, True),
        ("/v1/videos", False, True),
        (CHAT, False, False),
    ],
)
def test_a_path_tells_what_has_no_price_of_its_own(path: str, counts: bool, sounds: bool) -> None:
    """
    What only counts, and what is answered with no text.
    """
    assert (is_count(path), has_no_text(path)) == (counts, sounds)
