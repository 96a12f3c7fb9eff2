"""
JSON that is checked, and an answer that is sent back once.
"""

from __future__ import annotations

import json
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, Field

from egressor import ConfigError, Paused
from egressor.clients.llm import BadAnswer
from egressor.clients.llm.schemas import Misfit, Schema
from egressor.prices import Usage
from tests.clients_llm.rig import (
    CHATS,
    MESSAGES,
    ONE,
    THIRDS,
    THREE,
    TWO,
    Face,
    asked,
    completion,
    failure,
    governor,
    message,
    scripted,
)
from tests.transports.upstream import as_json

if TYPE_CHECKING:
    from tests.transports.upstream import Upstream

TABLE = {
    "type": "object",
    "properties": {"age": {"type": "integer", "minimum": 0}, "name": {"type": "string"}},
    "required": ["age"],
    "additionalProperties": False,
}
GOOD = '{"age": 7, "name": "Ann"}'
SECRET = "what-the-model-wrote"


class Person(BaseModel):
    """
    The same, as a model.
    """

    age: int = Field(ge=0)
    name: str = ""


@pytest.mark.parametrize(
    "text",
    [GOOD, f"  {GOOD}\n", f"```json\n{GOOD}\n```", f"```\n{GOOD}```", f"\n```JSON\n{GOOD}\n```\n"],
    ids=["plain", "blanks", "fence", "bare fence", "loud fence"],
)
def test_what_fits_is_read(text: str) -> None:
    """
    By a table as plain values, by a model as its instance; a fence is forgiven.
    """
    assert (Schema(TABLE).read(text), Schema(Person).read(text)) == (
        {"age": 7, "name": "Ann"},
        Person(age=7, name="Ann"),
    )


@pytest.mark.parametrize(
    ("text", "table", "model"),
    [
        ("", "it is no JSON", "it is no JSON"),
        (f"Here you are: {GOOD}", "it is no JSON", "it is no JSON"),
        ('{"age": NaN}', "it is no JSON", "it is no JSON"),
        ("[" * 100_000, "it is no JSON", "it is no JSON"),
        ("[]", "at $ it breaks the rule type", "at $ it breaks the rule model_type"),
        ("{}", "at $ it breaks the rule required", "at $.age it breaks the rule missing"),
        ('{"age": -1}', "at $.age it breaks the rule minimum", "at $.age it breaks the rule greater_than_equal"),
        (f'{{"age": "{SECRET}"}}', "at $.age it breaks the rule type", "at $.age it breaks the rule int_parsing"),
    ],
)
def test_what_does_not_fit_is_named(text: str, table: str, model: str) -> None:
    """
    Where, and by which rule; never with what was written.
    """
    for schema, expected in [(Schema(TABLE), table), (Schema(Person), model)]:
        with pytest.raises(Misfit) as caught:
            schema.read(text)

        assert str(caught.value) == expected


def test_a_name_that_is_the_models_own_is_not_repeated() -> None:
    """
    A schema may leave names open; places in lists are no names.
    """
    table = {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "integer"}}}
    with pytest.raises(Misfit) as caught:
        Schema(table).read(f'{{"{SECRET}": [1, "two"]}}')

    assert str(caught.value) == "at $.*[1] it breaks the rule type"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"type": "nothing"}, r"no valid JSON Schema, at \$\.type"),
        ("object", "a dictionary .* or a pydantic model"),
        (int, "a dictionary .* or a pydantic model"),
    ],
)
def test_what_is_no_schema_is_said_before_anything_is_sent(given: object, words: str) -> None:
    """
    A mistake of the program's.
    """
    with pytest.raises(ConfigError, match=words):
        Schema(given)


@pytest.mark.parametrize("reference", ["{url}/schema", "#/nowhere", "file:///etc/passwd"])
def test_a_reference_out_of_the_schema_is_not_fetched(upstream: Upstream, reference: str) -> None:
    """
    Nothing is called but what the gate lets through.
    """
    upstream.script("/schema", as_json({"type": "integer"}))
    with pytest.raises(ConfigError, match="leads nowhere"):
        Schema({"$ref": reference.format(url=upstream.url)}).read("1")

    assert upstream.received == []


def test_a_value_that_is_nested_too_deeply_is_a_misfit() -> None:
    """
    It could be read, but not be checked.
    """
    with pytest.raises(Misfit, match="nested too deeply"):
        Schema({"type": "array", "items": {"$ref": "#"}}).read("[" * 400 + "]" * 400)


def test_without_jsonschema_a_table_is_a_config_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It names what to install; a pydantic model needs no more.
    """
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(ConfigError, match=r"egressor\[llm\]"):
        Schema(TABLE)

    assert Schema(Person).read(GOOD).age == 7


@pytest.mark.parametrize(
    ("model", "form"),
    [
        (ONE, {"type": "json_schema", "json_schema": {"name": "answer", "schema": TABLE, "strict": False}}),
        (TWO, None),
        (THREE, {"type": "json_object"}),
    ],
)
@pytest.mark.parametrize(
    ("schema", "expected"), [(TABLE, {"age": 7, "name": "Ann"}), (Person, Person(age=7, name="Ann"))]
)
def test_a_schema_is_asked_for_and_checked(
    upstream: Upstream, colour: str, model: str, form: Any, schema: Any, expected: Any
) -> None:
    """
    In words for all, and in the API's own way where it documents one.
    """
    for path, behaviour in [(CHATS, completion(GOOD)), (MESSAGES, message(GOOD)), (THIRDS, completion(GOOD))]:
        upstream.script(path, as_json(behaviour))
    with governor(upstream) as gov:
        found = Face(colour, gov, model).chat("who?", schema=schema)
    body = asked(upstream)[0][1]

    assert found.parsed == expected
    assert "fits the following JSON Schema" in json.dumps(body)
    given = body.get("response_format")
    if schema is TABLE:
        assert given == form


def test_an_answer_that_does_not_fit_is_an_error_with_the_answer(upstream: Upstream, colour: str) -> None:
    """
    The message repeats nothing of it, and no other model is asked.
    """
    scripted(upstream)
    upstream.script(CHATS, as_json(completion(f'{{"age": "{SECRET}"}}')))
    with governor(upstream) as gov, pytest.raises(BadAnswer) as caught:
        Face(colour, gov, ONE, TWO).chat("who?", schema=TABLE)
    answer = caught.value.answer

    assert str(caught.value) == f"the answer of {ONE} is not what the schema asks for: at $.age it breaks the rule type"
    assert answer is not None
    assert (SECRET in answer.text, answer.cost_usd, answer.attempts) == (True, Decimal("0.00002"), 1)


@pytest.mark.parametrize("model", [ONE, TWO])
def test_an_answer_is_sent_back_once(upstream: Upstream, colour: str, model: str) -> None:
    """
    With what is wrong with it; usage, cost and attempts are those of both.
    """
    upstream.script(CHATS, as_json(completion('{"age": -1}')), as_json(completion(GOOD)))
    upstream.script(MESSAGES, as_json(message('{"age": -1}')), as_json(message(GOOD)))
    with governor(upstream) as gov:
        found = Face(colour, gov, model).chat("who?", schema=TABLE, repair=True)
    cost = {ONE: Decimal("0.00004"), TWO: Decimal("0.00010")}[model]
    said = asked(upstream)[1][1]["messages"][-2:]

    assert (found.parsed["age"], found.usage, found.cost_usd, found.attempts) == (
        7,
        Usage(input=20, output=10, requests=2),
        cost,
        2,
    )
    assert said[0] == {"role": "assistant", "content": '{"age": -1}'}
    assert said[1]["role"] == "user"
    assert "at $.age it breaks the rule minimum" in said[1]["content"]


def test_an_empty_answer_is_sent_back_without_itself(upstream: Upstream) -> None:
    """
    APIs refuse an empty message.
    """
    upstream.script(CHATS, as_json(completion(None)), as_json(completion(GOOD)))
    with governor(upstream) as gov:
        found = Face("sync", gov, ONE).chat("who?", schema=TABLE, repair=True)

    assert found.parsed["age"] == 7
    assert [each["role"] for each in asked(upstream)[1][1]["messages"]] == ["system", "user", "user"]


@pytest.mark.parametrize(
    ("first", "words", "requests"),
    [
        (completion("no"), "not what the schema asks for: it is no JSON", 2),
        (completion('{"age"', finish="length"), r"cut off at max_tokens, 4096", 1),
        (completion(None, refusal="never"), "has refused to answer", 1),
    ],
    ids=["twice", "length", "refused"],
)
def test_it_is_sent_back_once_at_most(
    upstream: Upstream, colour: str, first: dict[str, Any], words: str, requests: int
) -> None:
    """
    And not at all where that is in vain.
    """
    upstream.script(CHATS, as_json(first))
    with governor(upstream) as gov, pytest.raises(BadAnswer, match=words):
        Face(colour, gov, ONE, TWO).chat("who?", schema=TABLE, repair=True)

    assert len(upstream.received) == requests


def test_the_second_call_has_the_rest_of_the_chain(upstream: Upstream, colour: str) -> None:
    """
    From the model that answered on.
    """
    upstream.script(CHATS, as_json(completion("no")), failure(529, "overloaded_error"))
    upstream.script(MESSAGES, as_json(message(GOOD)))
    with governor(upstream) as gov:
        gov.pause("three")
        found = Face(colour, gov, THREE, ONE, TWO).chat("who?", schema=TABLE, repair=True)

    assert found.passed == (f"{THREE}: paused", f"{ONE}: overloaded")
    assert (found.model, found.attempts, len(upstream.received)) == (TWO, 3, 3)


def test_a_refused_second_call_is_a_refusal(upstream: Upstream, colour: str) -> None:
    """
    As any other call's.
    """

    def once(handler: Any) -> None:
        gov.pause("one")
        as_json(completion("no"))(handler)

    upstream.script(CHATS, once)
    with governor(upstream) as gov, pytest.raises(Paused):
        Face(colour, gov, ONE).chat("who?", schema=TABLE, repair=True)
