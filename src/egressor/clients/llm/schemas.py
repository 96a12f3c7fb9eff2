"""
The JSON that an answer must be: asked for in words, and checked when it comes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from egressor._core.admission import shown
from egressor.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Misfit", "Schema"]

_FENCE = re.compile(r"\A\s*```[A-Za-z]*\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)
_ASK = "Answer with one JSON value that fits the following JSON Schema, and with nothing else.\n"
_DEEPEST = 20


class Misfit(Exception):
    """
    Why a text is not the JSON that was asked for, in words that repeat nothing of it.
    """


class Schema:
    """
    A JSON Schema, or a pydantic model.

    Args:
        given: A dictionary (JSON Schema; draft 2020-12 unless its ``$schema`` says otherwise), or a pydantic model.

    Attributes:
        table: The JSON Schema.

    Raises:
        ConfigError: It is neither, is no valid schema, or the package ``jsonschema`` is missing.
    """

    def __init__(self, given: object) -> None:
        self._model: Any = None
        self._validator: Any = None
        if isinstance(given, type) and hasattr(given, "model_validate") and hasattr(given, "model_json_schema"):
            self._model = given
            self.table: dict[str, Any] = self._model.model_json_schema()
        elif isinstance(given, Mapping):
            self.table = dict(given)
            self._validator = _validator(self.table)
        else:
            msg = f"a schema is a dictionary (JSON Schema) or a pydantic model, not {shown(given)}"
            raise ConfigError(msg, key="schema")

    @property
    def words(self) -> str:
        """
        What tells a model what is wanted.
        """
        return _ASK + json.dumps(self.table, ensure_ascii=False)

    def read(self, text: str) -> Any:
        """
        Return the value that *text* is; a fence of Markdown around it is forgiven.

        Raises:
            Misfit: It is no JSON, or does not fit.
            ConfigError: A ``$ref`` of the schema leads out of it.
        """
        fenced = _FENCE.match(text)
        try:
            value = json.loads(fenced[1] if fenced else text, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            msg = "it is no JSON"
            raise Misfit(msg) from None
        return self._checked(value)

    def _checked(self, value: Any) -> Any:
        if self._model is not None:
            try:
                return self._model.model_validate(value)
            except ValueError as error:
                raise Misfit(self._of_pydantic(error)) from None
        try:
            found = next(iter(self._validator.iter_errors(value)), None)
        except RecursionError:
            msg = "it is nested too deeply to be checked"
            raise Misfit(msg) from None
        except import_module("referencing").exceptions.Unresolvable:
            msg = "a $ref in it leads nowhere, and none is fetched"
            raise ConfigError(msg, key="schema") from None
        if found is not None:
            raise Misfit(self._said(found.absolute_path, found.validator))
        return value

    def _of_pydantic(self, error: ValueError) -> str:
        # With neither the input nor the context: both repeat what the model wrote.
        listed = getattr(error, "errors", None)
        found = listed(include_url=False, include_context=False, include_input=False) if callable(listed) else []
        return self._said(found[0]["loc"], found[0]["type"]) if found else "it does not fit the model"

    def _said(self, path: Iterable[object], rule: object) -> str:
        # A name that is not the schema's is the model's own word.
        known = set(_names(self.table))
        steps = [f"[{step}]" if isinstance(step, int) else f".{step if step in known else '*'}" for step in path]
        return f"at ${''.join(steps[:_DEEPEST])} it breaks the rule {rule}"


def _no_constant(_: str) -> None:
    msg = "NaN and Infinity are no JSON"
    raise ValueError(msg)


def _validator(table: dict[str, Any]) -> Any:
    try:
        jsonschema: Any = import_module("jsonschema")
        referencing: Any = import_module("referencing")
    except ImportError:
        msg = "a JSON Schema is checked by the package jsonschema: pip install 'egressor[llm]'"
        raise ConfigError(msg, key="schema") from None
    kind = jsonschema.validators.validator_for(table, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(table)
    except jsonschema.SchemaError as error:
        msg = f"it is no valid JSON Schema, at {error.json_path}: {error.validator}"
        raise ConfigError(msg, key="schema") from None
    # An empty registry: a $ref that leads out of the schema fetches nothing.
    return kind(table, registry=referencing.Registry())


def _names(table: object) -> Iterator[str]:
    """
    Yield every name that a JSON Schema has, at any depth.
    """
    if isinstance(table, Mapping):
        yield from table
        for each in table.values():
            yield from _names(each)
    elif isinstance(table, list):
        for each in table:
            yield from _names(each)
