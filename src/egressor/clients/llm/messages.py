"""
What is said to a model, in one form for all: messages, pictures in them, tools, and calls of tools.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final

from egressor._core.admission import shown
from egressor.errors import ConfigError

from .answers import ToolCall

__all__ = ["Message", "read_choice", "read_message", "read_tools"]

Message = dict[str, Any]

_PARTS: Final = frozenset({"name", "description", "parameters", "strict"})
_ROLES: Final = ("system", "user", "assistant", "tool")
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CHOICES: Final = ("auto", "none", "required")
# What a message of a role has beside its role and its content.
_MORE: Final = {"assistant": "tool_calls", "tool": "tool_call_id"}
_MEDIA: Final = ("image/png", "image/jpeg", "image/gif", "image/webp")


def read_message(given: object) -> Message:
    """
    Return a message as it is meant: pictures as base64, calls of tools as `ToolCall`.

    Raises:
        ConfigError: It is none.
    """
    # What stands in a message may be anybody's secret: errors name its kind only.
    more = _MORE.get(str(given.get("role"))) if isinstance(given, Mapping) else None
    if not isinstance(given, Mapping) or set(given) - {more} != {"role", "content"}:
        msg = "a message has a role and a content, and nothing else"
        raise ConfigError(msg, key="messages")
    role = given["role"]
    if role not in _ROLES:
        msg = f"a message's role is one of {', '.join(_ROLES)}, not {shown(role)}"
        raise ConfigError(msg, key="messages.role")
    found: Message = {"role": role, "content": given["content"]}
    if role == "tool":
        found["tool_call_id"] = _text(given.get("tool_call_id"), "tool_call_id")
    elif calls := given.get("tool_calls"):
        found["tool_calls"] = _calls(calls)
    if role == "user" and isinstance(given["content"], list) and given["content"]:
        found["content"] = [_part(each) for each in given["content"]]
    elif not (isinstance(given["content"], str) and ("tool_calls" in found or role == "tool")):
        _text(given["content"], "content")
    return found


def _text(given: object, name: str) -> str:
    if not isinstance(given, str) or not given.strip():
        kind = "an empty one" if isinstance(given, str) else type(given).__name__
        msg = f"a message's {name} is a text, not {kind}"
        raise ConfigError(msg, key=f"messages.{name}")
    return given


def _calls(given: object) -> tuple[ToolCall, ...]:
    if not isinstance(given, Sequence) or not all(isinstance(each, ToolCall) for each in given):
        msg = "a message's tool_calls are those of an answer"
        raise ConfigError(msg, key="messages.tool_calls")
    return tuple(given)


def _part(given: object) -> dict[str, str]:
    said = dict(given) if isinstance(given, Mapping) else {}
    kind = said.pop("type", None)
    if kind == "text" and set(said) == {"text"}:
        return {"type": "text", "text": _text(said["text"], "content.text")}
    if kind == "image" and set(said) == {"url"}:
        return {"type": "image", "url": _text(said["url"], "content.url")}
    if kind == "image" and set(said) == {"data", "media_type"} and said["media_type"] in _MEDIA:
        data = said["data"]
        text = b64encode(data).decode() if isinstance(data, bytes) else _text(data, "content.data")
        return {"type": "image", "media_type": said["media_type"], "data": text}
    msg = (
        "a part of a message's content is a text ({'type': 'text', 'text': …}) or a picture"
        f" ({{'type': 'image', 'data': …, 'media_type': …}}, one of {', '.join(_MEDIA)}; or with 'url')"
    )
    raise ConfigError(msg, key="messages.content")


def read_tools(given: object) -> tuple[dict[str, Any], ...]:
    """
    Return tools with ``name``, ``description`` and ``parameters``, a JSON Schema; OpenAI's own form is taken, too,
    and so is its ``strict``.

    Raises:
        ConfigError: They are none.
    """
    if given is None:
        return ()
    if not isinstance(given, Sequence) or isinstance(given, str):
        msg = f"tools are a list of them, not {type(given).__name__}"
        raise ConfigError(msg, key="tools")
    found = tuple([_tool(each) for each in given])
    if len({each["name"] for each in found}) < len(found):
        msg = "two tools have one name"
        raise ConfigError(msg, key="tools.name")
    return found


def _tool(given: object) -> dict[str, Any]:
    inner = given.get("function") if isinstance(given, Mapping) and given.get("type") == "function" else given
    if not isinstance(inner, Mapping) or "name" not in inner or set(inner) - _PARTS:
        msg = "a tool has a name, and may have a description, parameters, a JSON Schema, and strict"
        raise ConfigError(msg, key="tools")
    name, parameters = inner["name"], inner.get("parameters", {"type": "object", "properties": {}})
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        msg = f"a tool's name is 1 to 64 of A-Z, a-z, 0-9, _ and -, not {shown(name)}"
        raise ConfigError(msg, key="tools.name")
    if not isinstance(parameters, Mapping) or not isinstance(inner.get("description", ""), str):
        msg = f"the tool {name} needs a text as its description and a JSON Schema as its parameters"
        raise ConfigError(msg, key="tools")
    strict = inner.get("strict")
    if not isinstance(strict, bool | None):
        msg = f"the tool {name} is strict or it is not: true or false, not {shown(strict)}"
        raise ConfigError(msg, key="tools.strict")
    found = {"name": name, "description": inner.get("description", ""), "parameters": dict(parameters)}
    return found if strict is None else {**found, "strict": strict}


def read_choice(given: object, tools: Sequence[Mapping[str, Any]]) -> str:
    """
    Return which tool is to be called: ``auto``, ``none``, ``required`` or the name of one; empty if nobody says.

    Raises:
        ConfigError: There is no such tool.
    """
    if given is None:
        return ""
    names = [each["name"] for each in tools]
    if not names or given not in (*_CHOICES, *names):
        msg = f"tool_choice is one of {', '.join((*_CHOICES, *names))} where there are tools, not {shown(given)}"
        raise ConfigError(msg, key="tool_choice")
    return str(given)
