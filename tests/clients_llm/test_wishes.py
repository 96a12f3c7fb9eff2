"""
What is wrong with a question is said before anything is sent.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import pytest

from egressor import ConfigError, Governor, Policy
from egressor.clients.llm import LLM
from egressor.clients.llm.vendors import ANTHROPIC, OPENAI, speech_of, vendor_of
from tests.clients_llm.rig import CHATS, ONE, TWO, asked, completion, governor, scripted
from tests.transports.upstream import as_json

if TYPE_CHECKING:
    from pathlib import Path

    from tests.transports.upstream import Upstream

KEY = {"api_key": {"env": "LLM_KEY"}}


@pytest.mark.parametrize(
    ("models", "words"),
    [
        ([], "a chain of models is needed"),
        (None, "a chain of models is needed"),
        ("gpt-5-mini", "service/model"),
        ("/m", "service/model"),
        ("one/", "service/model"),
        ([ONE, 7], "service/model"),
        ("one/a\nb", "service/model"),
        ("onne/m", r"unknown service 'onne'.*did you mean 'one'"),
    ],
)
def test_a_chain_is_of_models_of_services(upstream: Upstream, models: Any, words: str) -> None:
    """
    Each written service/model, of services that there are.
    """
    with governor(upstream) as gov, pytest.raises(ConfigError, match=words):
        LLM(gov, models)


def test_a_models_name_may_have_slashes(upstream: Upstream) -> None:
    """
    The first one ends the service.
    """
    scripted(upstream)
    with governor(upstream) as gov, LLM(gov, "one/org/m") as llm:
        llm.chat("hi")

    assert asked(upstream)[0][1]["model"] == "org/m"


@pytest.mark.parametrize(
    ("name", "policy", "words"),
    [
        ("api", {"dialect": "binance"}, "the dialect binance is none of a language model"),
        ("groq", {"dialect": "groq"}, "services.groq.base_url"),
        ("anthropic", {}, 'dialect = "anthropic"'),
        ("gemini", {}, 'dialect = "gemini"'),
    ],
)
def test_a_service_says_how_it_is_spoken_to(name: str, policy: dict[str, Any], words: str) -> None:
    """
    So that no service's key goes to OpenAI by mistake.
    """
    with Governor({name: policy}) as gov, pytest.raises(ConfigError, match=words):
        LLM(gov, f"{name}/m")


@pytest.mark.parametrize("name", ["openai", "llm_api", "mine"])
def test_a_service_that_says_nothing_is_openais(name: str) -> None:
    """
    As in the README.
    """
    with Governor({name: {"type": "llm_api"}}) as gov, LLM(gov, f"{name}/gpt-5-mini") as llm:
        assert llm is not None


@pytest.mark.parametrize(
    ("policy", "speech"),
    [
        ({}, "openai"),
        ({"base_url": "https://api.openai.com/v1"}, "openai"),
        ({"base_url": "https://api.anthropic.com"}, "anthropic"),
        ({"base_url": "https://llm.example.org/v1"}, "generic"),
        ({"base_url": "https://api.openai.com/v1", "dialect": "azure"}, "azure"),
        ({"dialect": "anthropic"}, "anthropic"),
    ],
)
def test_an_address_says_whose_api_it_is(policy: dict[str, Any], speech: str) -> None:
    """
    Regression: a service without a dialect was asked in words that OpenAI's own models refuse.
    """
    found = Policy(**policy)

    assert speech_of(found) == speech
    assert vendor_of("mine", found) is (ANTHROPIC if speech == "anthropic" else OPENAI)


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ("", "content is a text"),
        (" \n", "content is a text"),
        ([], "no message of the user's"),
        ([{"role": "system", "content": "x"}], "no message of the user's"),
        ([{"role": "user"}], "a role and a content"),
        ([{"role": "user", "content": "x", "name": "n"}], "a role and a content"),
        ([{"role": "model", "content": "x"}], "one of system, user, assistant, tool"),
        ([{"role": "user", "content": [{"type": "text"}]}], "a part of a message's content"),
        (["hi"], "a role and a content"),
        (7, "a text, or a list of them"),
    ],
)
def test_messages_are_texts_with_roles(upstream: Upstream, messages: Any, words: str) -> None:
    """
    Whatever else some API takes.
    """
    with governor(upstream) as gov, LLM(gov, ONE) as llm, pytest.raises(ConfigError, match=words):
        llm.chat(messages)

    assert upstream.received == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 10_000_001}, "max_tokens"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"priority": "hi"}, "priority"),
        ({"repair": "x"}, "repair is true or false, not 'x'"),
        ({"repair": 1}, "repair"),
        ({"deadline": "soon"}, "deadline"),
        ({"schema": 7}, "schema"),
        ({"user": 7}, "scope"),
        ({"feature": "x" * 1025}, "scope"),
        ({"cost": {"tokens": -1}}, "cost"),
        ({"system": ""}, "content"),
    ],
)
def test_a_setting_out_of_its_range_is_named(upstream: Upstream, options: dict[str, Any], words: str) -> None:
    """
    By its own name.
    """
    scripted(upstream)
    with governor(upstream) as gov, LLM(gov, ONE) as llm, pytest.raises(ConfigError, match=words):
        llm.chat("hi", **options)

    assert upstream.received == []


def test_a_conversation_is_sent_in_its_order(upstream: Upstream, colour: str) -> None:
    """
    Anthropic has its system prompt beside it.
    """
    scripted(upstream)
    said = [
        {"role": "system", "content": "one"},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "ho"},
        {"role": "user", "content": "hu"},
    ]
    with governor(upstream) as gov, LLM(gov, ONE) as one, LLM(gov, TWO) as two:
        one.chat(said, system="zero")
        two.chat(said, system="zero")
    bodies = [body for _, body in asked(upstream)]

    assert bodies[0]["messages"] == [{"role": "system", "content": "zero"}, *said]
    assert (bodies[1]["system"], bodies[1]["messages"]) == ("zero\n\none", said[1:])


@pytest.mark.parametrize(("model", "package"), [(ONE, "openai"), (TWO, "anthropic"), (ONE, "httpx2")])
def test_a_missing_sdk_is_named(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch, colour: str, model: str, package: str
) -> None:
    """
    With what to install; no other model is asked in its place.
    """
    monkeypatch.setitem(sys.modules, package, None)
    with governor(upstream) as gov:
        llm = LLM(gov, [model, ONE])
        with pytest.raises(ConfigError, match=rf"package {package} is missing: pip install 'egressor\[llm\]'"):
            llm.chat("hi") if colour == "sync" else asyncio.run(llm.chat_async("hi"))


def test_importing_the_client_loads_no_sdk() -> None:
    """
    Nor any HTTP library: they come with the first call.
    """
    import subprocess

    code = "import sys, egressor.clients.llm; print(*{'openai', 'anthropic', 'httpx2', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == ""


@pytest.mark.parametrize(("model", "variable"), [(ONE, "OPENAI_API_KEY"), (TWO, "ANTHROPIC_API_KEY")])
def test_a_key_is_the_services_or_the_sdks_own(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch, model: str, variable: str
) -> None:
    """
    Without either it is a mistake that is named, before anything is sent.
    """
    scripted(upstream)
    service = model.partition("/")[0]
    with governor(upstream) as gov:
        policy = {"base_url": gov.config.services[service].base_url, "dialect": gov.config.services[service].dialect}
        gov.reload({service: policy})
        with LLM(gov, model) as llm:
            with pytest.raises(ConfigError, match=f"services.{service}.api_key: there is no key .* {variable}"):
                llm.chat("hi")
            monkeypatch.setenv(variable, "a-key-of-the-machine")
            llm.chat("hi")
    sent = upstream.received[0].headers

    assert "a-key-of-the-machine" in sent.get("authorization", "") + sent.get("x-api-key", "")


@pytest.mark.parametrize("content", [None, b"", b" \n", b"two words", "schlüssel".encode(), b"\xff"])
def test_a_file_without_a_key_is_named(upstream: Upstream, tmp_path: Path, content: bytes | None) -> None:
    """
    What stands in it stays unsaid.
    """
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with governor(upstream, one={"api_key": {"file": str(file)}}) as gov, LLM(gov, ONE) as llm:
        with pytest.raises(
            ConfigError, match=r"services\.one\.api_key: the file .* (can't be read|holds no key)"
        ) as caught:
            llm.chat("hi")

        assert "two words" not in str(caught.value)


def test_a_key_in_a_file_is_sent(upstream: Upstream, tmp_path: Path) -> None:
    """
    Without the white space around it.
    """
    file = tmp_path / "key"
    file.write_text("a-key-in-a-file\n")
    upstream.script(CHATS, as_json(completion()))
    with governor(upstream, one={"api_key": {"file": str(file)}}) as gov, LLM(gov, ONE) as llm:
        llm.chat("hi")

    assert upstream.received[0].headers["authorization"] == "Bearer a-key-in-a-file"
